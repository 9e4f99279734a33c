"""What is graded, and how, is nobody else's to read; and a grading that is told to end does."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from machine import IS_ROOT, strongest
from submissions import SOURCE, Notebook

MARK = "the-answer-of-anna"
HIDDEN = "Nobody but the grader reads this line."
GRADE = (
    "import os, signal, sys\nos.umask(int(sys.argv[1], 8))\nfrom pathlib import Path\n"
    # A job in the background is started with this signal ignored, and so are these tests there.
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from lecture_grader.grade import grade\ngrade(*map(Path, sys.argv[2:5]), jobs=2)"
)
# Another user: looks into every folder again and again, and says what it could read or list.
SPY = """
import os, sys

found, rounds = set(), 0
while not os.path.exists(sys.argv[1]):
    rounds += 1
    for top in sys.argv[2:]:
        for folder, _, names in os.walk(top):
            for name in names:
                path = os.path.join(folder, name)
                try:
                    with open(path, "rb") as file:
                        text = file.read(1_000_000)
                except OSError:
                    continue
                if b"the-answer-of-anna" in text or b"Nobody but the grader" in text:
                    found.add(path)
print(rounds)
print("\\n".join(sorted(found)))
"""


@pytest.fixture
def place(tmp_path):
    """Submissions of some students, a folder for the results and one for temporary files."""
    for name in ("submissions", "temporary"):
        (tmp_path / name).mkdir()
    for number in range(6):
        notebook = Notebook.solved()
        notebook.cell("scaled-sum-answer")["source"] += f"\n# {MARK} {number}\n"
        if number == 0:
            notebook.add("import time\ntime.sleep(2)")
        (tmp_path / "submissions" / f"anna{number}.ipynb").write_bytes(bytes(notebook))
    return tmp_path


def started(place: Path, umask: str = "022") -> subprocess.Popen:
    """A grading in a process of its own."""
    strongest()
    folders = [str(SOURCE), str(place / "submissions"), str(place / "out")]
    with (place / "said").open("w") as said:
        return subprocess.Popen(
            [sys.executable, "-c", GRADE, umask, *folders],
            stderr=said,
            env=os.environ | {"TMPDIR": str(place / "temporary")},
        )


@pytest.mark.parametrize("umask", ["000", "022", "077"])
def test_all_that_is_written_is_the_teachers_alone_whatever_the_umask(place, umask):
    grading = started(place, umask)
    assert grading.wait(300) == 0, (place / "said").read_text()
    written = [place / "out", *(place / "out").rglob("*")]
    assert {path.name for path in written} > {"seed", "graded", "gradebook.csv", "feedback"}
    for path in written:
        rights = stat.S_IMODE(path.stat().st_mode)
        assert rights == (0o700 if path.is_dir() else 0o600), path
    assert not list((place / "temporary").iterdir())


@pytest.mark.skipif(not IS_ROOT, reason="only root can become another user")
def test_another_user_who_looks_all_the_time_reads_nothing(place):
    for path in [place, *place.parents]:  # so that it is not the way there that is closed
        if path.stat().st_uid == os.getuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)
    (place / "temporary").chmod(0o1777)
    (place / "out").mkdir(mode=0o755)
    (place / "submissions").chmod(0o700)
    # That it would find what lies open.
    (place / "temporary" / "open.txt").write_text(HIDDEN)
    end = place / "end"
    # This one, if the other user may run it, else the system's.
    python = next(
        path
        for path in map(os.path.realpath, (sys.executable, "/usr/bin/python3"))
        if not subprocess.run(
            ["test", "-x", path], user=54321, group=54321, extra_groups=[]
        ).returncode
    )
    watched = [str(place / "temporary"), str(place / "out"), "/dev/shm"]
    spy = subprocess.Popen(
        [python, "-c", SPY, str(end), *watched],
        stdout=subprocess.PIPE,
        text=True,
        user=54321,
        group=54321,
        extra_groups=[],
        cwd="/",
        env={},
    )
    try:
        grading = started(place, "000")
        assert grading.wait(300) == 0, (place / "said").read_text()
        end.touch()
        said, _ = spy.communicate(timeout=60)
    finally:
        spy.kill()
        spy.communicate()
    rounds, *found = said.split()
    assert int(rounds) > 50
    assert found == [str(place / "temporary" / "open.txt")]


def family(pid: int) -> set[int]:
    """A process and all below it."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(path.parent.name)] = int(fields[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_grading_that_is_told_to_end_ends_all_it_started_and_leaves_no_folder(place, number):
    notebook = Notebook.solved()
    notebook.add("import time\ntime.sleep(60)", before="scaled-sum-answer")
    for student in ("slow", "slower"):
        (place / "submissions" / f"{student}.ipynb").write_bytes(bytes(notebook))
    grading = started(place)
    until = time.monotonic() + 120
    while not list((place / "out").glob("graded/*.json")) and time.monotonic() < until:
        assert grading.poll() is None, (place / "said").read_text()
        time.sleep(0.05)
    time.sleep(0.5)
    started_by_it = family(grading.pid)
    assert len(started_by_it) > 4
    grading.send_signal(number)
    status = grading.wait(30)  # the notebooks alone would sleep for 60 s
    assert status == {signal.SIGTERM: 143, signal.SIGHUP: 129}.get(number, -signal.SIGINT)
    until = time.monotonic() + 20
    while any(_runs(pid) for pid in started_by_it) and time.monotonic() < until:
        time.sleep(0.05)
    assert not [pid for pid in started_by_it if _runs(pid)]
    assert list((place / "temporary").iterdir()) == []


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
