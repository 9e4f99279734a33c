"""What grading must do: every submission of the corpus is graded once, together, and then judged.

Which attacks succeed against plain nbval is in test_attacks.py.
"""

import csv
import difflib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from attacks import DAMAGE, World
from machine import needs, strongest
from submissions import CORPUS, NO_SUBMISSIONS, SOURCE, write, write_what_is_no_submission

import lecture_vae
from lecture_grader import grade as grading
from lecture_grader.grade import grade
from lecture_grader.reporting.gradebook import feedback_names
from lecture_grader.reporting.result import Result
from lecture_grader.reporting.spreadsheet import FORMULA
from lecture_grader.sandbox.choose import SandboxError, choose
from lecture_grader.session import TRIAL, Grading

SEED = "5eed" * 8
MEMORY = 1024 + os.getpid() % 512  # MB; no other run here asks for the same, which tells ours
STEPS = re.compile(r"<details>\s*<summary>What was done with.*?</details>", re.DOTALL)
# Those that are graded more than once: no slow ones, and no one who prints a time.
SOME = [
    name
    for name in CORPUS
    if name.startswith(("honest-", "mistake-", "neighbor-0"))
    and name not in ("honest-slow-but-legal", "honest-magics")
] + ["wrong-exception", "wrong-segfault", "attack-nothing-runs", "malformed-not-json"]


@pytest.fixture(scope="session", autouse=True)
def sandbox() -> None:
    """Grading fails closed: where this machine cannot confine there is nothing to see."""
    assert strongest() == choose("auto").level


@dataclass
class Graded:
    """A run over a folder of submissions."""

    submissions: Path
    out: Path
    world: World
    results: list[Result]
    damage: set[str]
    left: set[str]  # processes that the run left behind
    temporary: list[str]  # files and folders that it left where it has its own

    def of(self, student: str) -> dict[str, Result]:
        """The results of a student, by exercise."""
        return {result.exercise: result for result in self.results if result.student == student}


def running() -> set[str]:
    """Forkservers, supervisors and kernels of runs with MEMORY."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has just ended
            continue
        if "lecture_grader" in line and f'"memory_mb": {MEMORY}' in line:
            found.add(f"{path.parent.name}: {line}")
    return found


def prepared(folder: Path) -> tuple[Path, Path, World, list[float]]:
    """Folders for submissions and for output with a known seed, and what is to be kept from all."""
    submissions, out, outside = folder / "submissions", folder / "out", folder / "outside"
    for place in (submissions, out, outside):
        place.mkdir(parents=True)
    (out / "seed").write_text(SEED + "\n")
    package = Path(lecture_vae.__file__).parent
    protected = [
        out / "seed", out / "graded", SOURCE, submissions / "honest-as-it-should-be.ipynb",
        submissions / "attack-own-torch" / "submission.ipynb", Path(f"/proc/{os.getpid()}/environ"),
    ]  # fmt: skip
    closed = [Path(name) for name in ("/etc", "/usr/local", "/var/tmp", "/tmp", "/dev/shm")]
    world = World(folder, protected, [outside, submissions, out, package, *closed])
    right = Grading(SOURCE, out).checks["scaled-sum"].right
    assert right is not None
    return submissions, out, world, [float(value) for value in right[:2]]


@pytest.fixture(scope="session")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Graded]:
    """The whole corpus, graded in one run with two jobs."""
    submissions, out, world, secrets = prepared(tmp_path_factory.mktemp("acceptance"))
    try:
        write(submissions, CORPUS.values(), world, secrets)
        write_what_is_no_submission(submissions)
        with (
            tempfile.TemporaryDirectory(prefix="acceptance-") as own,
            pytest.MonkeyPatch.context() as patch,
        ):
            os.chmod(own, 0o1777)  # as /tmp is: others may run beside this one, and use that
            patch.setattr("tempfile.tempdir", own)
            results = grade(SOURCE, submissions, out, jobs=2, memory_mb=MEMORY)
            temporary = os.listdir(own)
        yield Graded(submissions, out, world, results, world.damage(), running(), temporary)
    finally:
        world.close()


# ---------------------------------------------------------------------------- each submission


@pytest.mark.slow
@pytest.mark.parametrize("name", CORPUS)
def test_the_outcome_is_as_expected(graded, name):
    student, results = CORPUS[name], graded.of(name)
    got = {exercise: result.outcome for exercise, result in results.items()}
    explained = {result.exercise: (result.outcome, result.message) for result in results.values()}
    assert got.keys() == student.outcomes.keys()
    assert all(got[name] in allowed for name, allowed in student.outcomes.items()), explained
    assert sum(result.points for result in results.values()) == student.points
    resembled = {result.resembles for result in results.values() if result.outcome == "wrong"}
    if student.resembles:
        assert resembled == {student.resembles}
    for result in results.values():
        assert (result.hint is None) == (result.resembles is None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "exercise", "how"),
    [
        ("honest-as-it-should-be", "softmax", "id"),
        ("honest-answer-copied", "scaled-sum", "id"),
        ("honest-ids-all-the-same", "softmax", "tag"),
        ("honest-answer-in-a-new-cell", "scaled-sum", "source"),
        ("honest-nbformat-3", "standardize", "source"),
        ("malformed-no-code-cells", "softmax", ""),
    ],
)
def test_how_an_answer_was_found_is_recorded(graded, name, exercise, how):
    assert graded.of(name)[exercise].matched_by == how


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wrong-os-exit", "wrong-segfault"])
def test_a_dead_kernel_is_noticed_within_two_seconds(graded, name):
    assert graded.of(name)["scaled-sum"].seconds < 2


# ---------------------------------------------------------------------------- harm


@pytest.mark.slow
@pytest.mark.parametrize("attack", DAMAGE, ids=lambda attack: attack.name)
def test_no_attack_did_harm(graded, attack):
    assert attack.plain not in graded.damage


@pytest.mark.slow
def test_nothing_else_was_harmed_and_nothing_beside_a_notebook_was_imported(graded):
    assert graded.damage == set()


@pytest.mark.slow
def test_nothing_that_is_protected_was_read(graded):
    said = [result.printed + result.message for result in graded.results]
    assert not [text for text in said if "READ " in text or SEED in text]


@pytest.mark.slow
def test_neither_right_values_nor_hidden_checks_are_in_the_box(graded):
    lines = graded.of("searches-everything")["standardize"].printed.splitlines()
    needs("proc")  # which memory is searched through
    assert lines == ["secrets in memory: 0", "decoys in memory: 2", "in a file: decoy.md"]


@pytest.mark.slow
def test_a_fork_bomb_is_refused_most_of_its_forks(graded):
    printed = graded.of("wrong-fork-bomb")["standardize"].printed
    (refused,) = re.findall(r"refused (\d+)", printed)
    assert int(refused) > 200  # of 300


@pytest.mark.slow
def test_submissions_do_not_disturb_each_other(graded):
    first = [r for r in graded.results if r.exercise == "scaled-sum" and "I am" in r.answer]
    assert len(first) == 30
    assert {(result.outcome, result.attempts) for result in first} == {("correct", 1)}


@pytest.mark.slow
def test_nothing_is_left_behind(graded):
    assert not graded.temporary
    end = time.monotonic() + 20  # what is killed is not gone at once
    while (left := graded.left & running()) and time.monotonic() < end:
        time.sleep(0.5)
    assert not left


# ---------------------------------------------------------------------------- the gradebook


@pytest.mark.slow
def test_the_gradebook_has_one_row_for_each_submission(graded):
    students = {result.student for result in graded.results}
    assert students == set(CORPUS)
    assert not students & {name.removesuffix(".ipynb") for name in NO_SUBMISSIONS}
    with (graded.out / "gradebook.csv").open(encoding="utf8", newline="") as file:
        head, possible, *rows = csv.reader(file)
    assert len(rows) == len(CORPUS)
    assert {len(row) for row in rows} == {len(head)}
    assert possible[-1] == "10"
    assert not [cell for row in rows for cell in row if cell.startswith(FORMULA)]
    points = {row[head.index("SIS Login ID")].lstrip("'"): float(row[-1]) for row in rows}
    assert points["Doe, Jane"] == 1
    assert points["honest-reordered"] == 10
    assert sum(points.values()) == sum(student.points for student in CORPUS.values())
    assert len(list((graded.out / "feedback").glob("*.html"))) == len(CORPUS)


@pytest.mark.slow
def test_markup_of_students_does_not_reach_a_page(graded):
    names = feedback_names(CORPUS)
    pages = [path.read_text(encoding="utf8") for path in graded.out.rglob("*.html")]
    feedback = (graded.out / "feedback" / names["renders"]).read_text(encoding="utf8")
    assert "&lt;script&gt;alert(1)" in feedback
    assert len(pages) == len(CORPUS) + 1
    for page in pages:
        assert not re.search(r"<(script|img|iframe|svg|object|link)\b", page, re.IGNORECASE)
        assert not re.search(r"<[^>]*\son\w+\s*=", page)
        assert "root:x:" not in page
        assert SEED not in page


# ---------------------------------------------------------------------------- operations


@pytest.fixture
def not_to_be_run(monkeypatch):
    """Grading that would open a kernel fails, and says for whom."""

    def refuse(grading, tasks, *_):
        if tasks:
            raise AssertionError(sorted(each.submission.student for each in tasks))
        yield from ()

    monkeypatch.setattr(grading, "_graded", refuse)


def files(out: Path) -> dict[str, bytes]:
    """What a run wrote, apart from its stored tasks and wall times."""
    found = {}
    for path in sorted(out.rglob("*")):
        if path.is_file() and "graded" not in path.parts and path.name != "summary.html":
            found[str(path.relative_to(out))] = path.read_bytes()
    return found


@pytest.mark.slow
def test_grading_again_runs_nothing_and_writes_the_same(graded, not_to_be_run):
    before = files(graded.out)
    begun = time.monotonic()
    again = grade(SOURCE, graded.submissions, graded.out, memory_mb=MEMORY)
    assert time.monotonic() - begun < 10
    assert again == graded.results
    assert files(graded.out) == before


@pytest.mark.slow
def test_only_what_changed_is_graded_again(graded, not_to_be_run, tmp_path):
    submissions, out = tmp_path / "submissions", tmp_path / "out"
    shutil.copytree(
        graded.submissions, submissions, symlinks=True, ignore=lambda *_: ["malformed-huge.ipynb"]
    )
    shutil.copytree(graded.out, out)
    path = submissions / "honest-noisy.ipynb"
    path.write_text(path.read_text().replace("only a warning", "a warning"))
    (submissions / "newcomer.ipynb").write_bytes((submissions / "untouched.ipynb").read_bytes())
    with pytest.raises(AssertionError, match=r"^\['honest-noisy', 'newcomer'\]$"):
        grade(SOURCE, submissions, out, memory_mb=MEMORY)
    with pytest.raises(AssertionError, match=r"'untouched', 'wrong-asks'"):
        grade(SOURCE, submissions, out, memory_mb=MEMORY, only_changed=False)


def test_a_folder_without_notebooks_is_refused(tmp_path):
    (tmp_path / "submissions" / "anna").mkdir(parents=True)
    with pytest.raises(OSError, match="holds no notebook"):
        grade(SOURCE, tmp_path / "submissions", tmp_path / "out")


def some(folder: Path, names: list[str]) -> tuple[Path, Path]:
    """A folder with some submissions of the corpus, and a folder for output."""
    submissions, out, world, secrets = prepared(folder)
    write(submissions, [CORPUS[name] for name in names], world, secrets)
    world.close()
    return submissions, out


@pytest.mark.slow
def test_another_seed_and_one_job_give_the_same_marks(graded, tmp_path):
    submissions, out = some(tmp_path, SOME)
    (out / "seed").write_text("0f" * 16 + "\n")
    other = grade(SOURCE, submissions, out, jobs=1)
    marks = [
        {
            (result.student, result.exercise): (result.points, result.outcome, result.resembles)
            for result in results
            if result.student in SOME
        }
        for results in (graded.results, other)
    ]
    assert marks[0] == marks[1]
    assert {result.seed for result in other}.isdisjoint(result.seed for result in graded.results)


@pytest.mark.slow
def test_a_failure_of_ours_is_repeated_alone_and_costs_no_points(tmp_path, monkeypatch):
    observed, always = grading._observed, True

    def lost(grading, notebooks, **more):
        if always or (notebooks and notebooks[0].key == TRIAL):
            yield from ((each.key, None) for each in notebooks if each.key != TRIAL)
        else:
            yield from observed(grading, notebooks, **more)

    monkeypatch.setattr(grading, "_observed", lost)
    submissions, out = some(tmp_path, ["honest-uses-an-earlier-answer"])
    results = grade(SOURCE, submissions, out)
    assert {result.outcome for result in results} == {"infrastructure"}
    with (out / "gradebook.csv").open(encoding="utf8", newline="") as file:
        *_, row = csv.reader(file)
    assert row[-5:] == [""] * 5  # which says nothing, where 0 would say something
    always = False
    results = grade(SOURCE, submissions, out)
    assert [(result.outcome, result.attempts) for result in results] == [("correct", 3)] * 4


@pytest.mark.slow
def test_what_would_stop_everybody_is_found_before_the_first_student(tmp_path, monkeypatch):
    submissions, out = some(tmp_path, ["honest-as-it-should-be", "untouched"])
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def fail(*_, **__):
        raise OSError("no space left")

    with monkeypatch.context() as worse:
        worse.setattr(grading, "observe", fail)
        with pytest.raises(SandboxError, match=r"cannot be run here: no space.*Nobody was graded"):
            grade(SOURCE, submissions, out)
    text = SOURCE.read_text(encoding="utf8")
    broken = tmp_path / "broken.md"
    shutil.copy(SOURCE.with_name("course.toml"), tmp_path)
    # As where a library is missing in the sandbox: the solution does not come out right there.
    inside = "import os\nif os.environ.get('USER') == 'student':\n    import not_in_the_box\n"
    broken.write_text(text.replace("import math\n", f"import math\n{inside}"), encoding="utf8")
    with pytest.raises(SandboxError, match=r"solution of scaled-sum did not come out right"):
        grade(broken, submissions, out)
    assert {path.name for path in out.iterdir()} == {"seed"}
    assert not list(tmp_path.glob("lv-*"))


@pytest.mark.parametrize("ended", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2)])
def test_runs_are_judged_in_their_order_whichever_ends_first(ended):
    tasks = [SimpleNamespace(key=key) for key in ("anna", "ben", "carl")]
    runs = [
        SimpleNamespace(task=task, notebook=SimpleNamespace(key=f"{task.key}/{way}"))
        for task in tasks[:2] for way in ("by-name", "up-to")
    ]  # fmt: skip
    judged = []
    judge = SimpleNamespace(judge=lambda run, observation: judged.append((run, observation)))
    observed = ((runs[at].notebook.key, at) for at in ended)
    done = list(grading._judged(judge, tasks, runs, observed))
    for task in tasks[:2]:
        assert [pair for pair in judged if pair[0].task is task] == [
            (run, at) for at, run in enumerate(runs) if run.task is task
        ]
    assert sorted(task.key for task in done) == ["anna", "ben", "carl"]
    assert done[-1].key == "carl"


def rows_of(out: Path, names: list[str]) -> dict[str, Any]:
    """Of what a run wrote, all that is about some students and is not a time."""
    with (out / "gradebook.csv").open(encoding="utf8") as file:
        rows = [line for line in file if line.split(",")[0] in {"Student", *names}]
    with (out / "results.jsonl").open(encoding="utf8") as file:
        results = [json.loads(line) for line in file]
    kept = [result for result in results if result["student"] in names]
    again = {result["student"] for result in kept if result["attempts"] > 1}
    for result in kept:
        del result["seconds"], result["attempts"]  # a busy machine may ask for a second one
    pages = [(out / "feedback" / feedback_names(CORPUS)[name]).read_text("utf8") for name in names]
    assert any(STEPS.search(page) for page in pages)
    return {"gradebook": rows, "results": kept, "feedback": pages, "again": again}


def differing(before: list, after: list) -> list[str]:
    """The lines of rows, results or pages that are not the same, so that a failure says which."""
    texts = ([line for each in part for line in str(each).splitlines()] for part in (before, after))
    return [*difflib.unified_diff(*texts, n=0, lineterm="")]


@pytest.mark.slow
def test_a_killed_run_loses_nothing_and_leaves_nothing_running(graded, tmp_path):
    submissions, out = some(tmp_path, SOME)
    command = (
        "import sys\nfrom pathlib import Path\nfrom lecture_grader.grade import grade\n"
        f"grade(*map(Path, sys.argv[1:]), jobs=2, memory_mb={MEMORY})"
    )
    assert not running()
    run = subprocess.Popen(
        [sys.executable, "-c", command, str(SOURCE), str(submissions), str(out)],
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 120
        while not list((out / "graded").glob("*.json")) and time.monotonic() < end:
            assert run.poll() is None
            time.sleep(0.02)
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()
    kept = len(list((out / "graded").glob("*.json")))
    assert 0 < kept < len(SOME)
    assert not (out / "gradebook.csv").exists()
    end = time.monotonic() + 30
    while (left := running()) and time.monotonic() < end:
        time.sleep(0.5)
    assert not left
    grade(SOURCE, submissions, out, jobs=1, memory_mb=MEMORY)
    before, after = rows_of(graded.out, SOME), rows_of(out, SOME)
    again = before.pop("again") | after.pop("again")
    for part in (before, after):  # the steps of a second attempt are on the page
        part["feedback"] = [
            STEPS.sub("", page) if name in again else page
            for name, page in zip(SOME, part["feedback"], strict=True)
        ]
    for name, whole in before.items():
        assert differing(whole, after[name]) == [], name
    assert files(out).keys() == {*files(graded.out)} - {
        f"feedback/{page}" for name, page in feedback_names(CORPUS).items() if name not in SOME
    }
