import json
import sys
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from boxes import LIMITS, guarded
from machine import IS_ROOT, lack, landlock_abi, needs

from lecture_grader.sandbox import choose as sandbox
from lecture_grader.sandbox.choose import choose, measure_escapes
from lecture_grader.sandbox.confine import LEVELS, Box, SandboxError
from lecture_grader.sandbox.escape_test import is_promised
from lecture_grader.sandbox.escapes import ATTEMPTS

CHILDREN = """
import os, time
for _ in range(5):
    if not os.fork():
        held = b"1" * (30 << 20)
        time.sleep(20)
time.sleep(20)
"""
SHARED = """
import mmap, time
held = mmap.mmap(-1, 200 << 20)
for _ in range(6): held.write(b"1" * (30 << 20))
time.sleep(20)
"""


@cache
def tried(level):
    try:
        return measure_escapes(level, ())
    except SandboxError as error:
        return str(error)


def got(level):
    """What the attempts got on a level. Skips where this machine cannot have the level."""
    needs(level)
    results = tried(level)
    assert not isinstance(results, str), results
    return results


@pytest.fixture
def box():
    needs("namespaces")
    return Box("namespaces", LIMITS)


@pytest.mark.parametrize(
    ("level", "attempt"),
    [(level, attempt) for level in LEVELS for attempt in ATTEMPTS if is_promised(level, attempt)],
)
def test_what_a_level_promises_holds(level, attempt):
    assert not got(level)[attempt]


def test_the_strong_levels_promise_everything():
    for level in ("namespaces", "bubblewrap"):
        assert all(is_promised(level, attempt) for attempt in ATTEMPTS)
    assert not any(is_promised("none", attempt) for attempt in ("read a secret", "tcp", "udp"))


@pytest.mark.parametrize(
    "attempt",
    [
        "write outside", "read a secret", "read a secret through a link", "read another box",
        "read beside the package", "tcp", "udp", "unix socket", "abstract socket",
        "signal the grader", "see processes", "fill the disk", "make too many files",
    ],
)  # fmt: skip
def test_an_attempt_gets_through_where_nothing_holds_it(attempt):
    assert got("none")[attempt]


@pytest.fixture
def results(monkeypatch):
    """Results by level that stand in for measured ones; a text is an error."""
    told = {}

    def measured(level, _packages):
        if isinstance(told[level], str):
            raise SandboxError(told[level])
        return dict.fromkeys(ATTEMPTS, "") | told[level]

    monkeypatch.setattr(sandbox, "measure_escapes", measured)
    choose.cache_clear()
    yield told
    choose.cache_clear()


def test_auto_takes_the_first_level_that_holds(results):
    results |= {"namespaces": {}, "bubblewrap": {}}
    assert choose().level == "namespaces"
    assert choose() is choose()


def test_auto_falls_back_to_bubblewrap(results):
    results |= {"namespaces": "unshare: not permitted", "bubblewrap": {}}
    assert choose().level == "bubblewrap"


def test_auto_never_takes_less(results):
    results |= {"namespaces": "unshare: not permitted", "bubblewrap": {"udp": "3"}}
    results |= {"landlock": {}, "none": {}}
    with pytest.raises(SandboxError, match=r"unshare: not permitted.*could udp.*weaker level"):
        choose()
    assert choose("landlock").level == "landlock"
    assert choose("none").description == "rlimits"


def test_a_level_is_judged_by_what_it_promises(results):
    results |= {"landlock": {"see processes": "['1']"}, "none": {"take memory": "1"}}
    assert choose("landlock").level == "landlock"
    with pytest.raises(SandboxError, match="none: a program in it could take memory"):
        choose("none")
    results["landlock"] = {"read a secret": "right answers"}
    choose.cache_clear()
    with pytest.raises(SandboxError, match="could read a secret"):
        choose("landlock")


def test_there_is_no_other_level():
    with pytest.raises(ValueError, match=r"one of auto, namespaces, .* got 'docker'"):
        choose("docker")


def test_the_description_names_what_holds():
    needs("namespaces")
    parts = choose("namespaces").description.split("+")
    assert parts == [
        "namespaces",
        *([f"landlock{landlock_abi()}"] if landlock_abi() else []),
        *(["seccomp"] if not lack("seccomp") else []),
        "rlimits",
        *(["uid"] if IS_ROOT else []),
    ]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("pass", "exit 0"),
        ("import os; os._exit(3)", "exit 3"),
        ("raise ValueError", "exit 1"),
        ("import ctypes; ctypes.string_at(0)", "signal 11"),
        ("import os\ntry: bytearray(400 << 20)\nexcept MemoryError: os._exit(9)", "exit 9"),
        (CHILDREN, "memory"),
        (SHARED, "memory"),
    ],
)  # fmt: skip
def test_the_supervisor_says_why_a_box_ended(box, code, reason):
    assert guarded(box, code) == reason


def test_cpu_time_runs_out(box):
    box = replace(box, limits=replace(LIMITS, cpu_s=1))
    assert guarded(box, "while True: pass") == "signal 9"


def test_the_number_of_processes_is_exact(box):
    code = (
        "import os, time\ncount = 0\ntry:\n    while count < 100:\n"
        "        if not os.fork():\n            time.sleep(20)\n        count += 1\n"
        "except BlockingIOError:\n    os._exit(count)"
    )
    assert guarded(box, code) == f"exit {LIMITS.processes - 1}"


@pytest.mark.parametrize(
    "step", ["tree.build", "linux.landlock_restrict", "linux.drop_capabilities", "linux.unshare"]
)
def test_what_fails_on_the_way_in_ends_it(box, step, tmp_path):
    spoil = f"def fails(*_, **__): raise OSError('no {step}')\n{step} = fails"
    ran = tmp_path / "ran"
    said = guarded(box, f"open({str(ran)!r}, 'w').close()", spoil)
    assert not ran.exists()
    assert said.startswith("SandboxError: the box (namespaces) could not be entered")
    assert f"no {step}" in said


# Instead of bubblewrap: a program that has ended, and been reaped, when it is looked for.
ENDED = f"""#!{sys.executable}
import os, socket, sys
info, channel = int(sys.argv[sys.argv.index("--info-fd") + 1]), int(sys.argv[-3])
os.write(info, b'{{"child-pid": 4194305}}')  # above the highest pid of Linux
socket.socket(fileno=channel).send(b"SAID")
"""


@pytest.mark.parametrize(
    ("last", "told"),
    [
        ("OSError: no box", "the box (bubblewrap) could not be entered: OSError: no box"),
        ("ready", "the program exited as soon as it was in its box"),
    ],
)
def test_a_program_that_has_ended_is_told_with_its_reason(tmp_path, last, told):
    (tmp_path / "bwrap").write_text(ENDED.replace("SAID", last))
    (tmp_path / "bwrap").chmod(0o755)
    found_first = f"os.environ['PATH'] = {str(tmp_path)!r} + os.pathsep + os.environ['PATH']"
    said = guarded(Box("bubblewrap", LIMITS), "pass", found_first)
    assert said == f"SandboxError: {told}"


def test_a_home_that_is_not_there_is_refused():
    said = guarded(Box("none", LIMITS, "/nowhere/home"), "pass")
    assert said.startswith(
        "SandboxError: the home of a box must be a directory of the caller's own"
    )


def test_a_program_sees_only_what_it_needs(box):
    needs("proc")
    code = (
        "import os\n"
        "assert os.getcwd() == os.environ['HOME'] == os.environ['TMPDIR'] == '/tmp'\n"
        "assert os.listdir('/dev/shm') == []\n"
        "others = {'box', 'home', 'mnt', 'opt', 'run', 'srv', 'sys', 'var'}\n"
        "assert not set(os.listdir('/')) & others\n"
        "assert os.getpid() == 1 and os.getuid() == 1000\n"
        "import tempfile; tempfile.TemporaryFile()\n"
        "assert open('/proc/sys/user/max_user_namespaces').read() == '0\\n'\n"
        "status = open('/proc/self/status').read()\n"
        "assert 'NoNewPrivs:\\t1' in status\n"
        f"assert 'Seccomp:\\t{0 if lack('seccomp') else 2}\\n' in status, status\n"
        "os._exit(7)"
    )
    assert guarded(box, code) == "exit 7"


def test_a_box_survives_json():
    box = Box("landlock", LIMITS, "/somewhere")
    assert Box.from_json(box.as_json()) == box


@pytest.mark.parametrize(
    "change",
    [
        {"level": "docker"},
        {"home": "relative"},
        {"limits": {}},
        {"limits": {**vars(LIMITS), "cpu_s": 0}},
        {"limits": {**vars(LIMITS), "cpu_s": "1"}},
        {"limits": {**vars(LIMITS), "other": 1}},
        {"limits": None},
    ],
)
def test_a_broken_box_is_refused(change):
    told = json.loads(Box("none", LIMITS, "/somewhere").as_json())
    with pytest.raises(ValueError, match=r"limits|level"):
        Box.from_json(json.dumps(told | change))


def test_what_a_box_shows_may_lie_below_tmp(box):
    """An environment in a clone in a temporary folder once kept every box from being entered."""
    with tempfile.TemporaryDirectory(dir="/tmp") as below:
        Path(below).chmod(0o755)
        Path(below, "shown").touch()
        before = (
            f"tree.visible_paths = lambda shown, old=tree.visible_paths: [*old(shown), {below!r}]"
        )
        code = (
            "import os, tempfile\n"
            f"assert os.listdir({below!r}) == ['shown']\n"
            "tempfile.TemporaryFile()\n"
            f"try: open({below + '/new'!r}, 'w')\n"
            "except OSError: os._exit(7)"
        )
        assert guarded(box, code, before) == "exit 7"
