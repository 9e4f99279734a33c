"""Hostile submissions of tests/exercises/small.md, and what their grading costs. No test in here.

The first exercise of each gets a wrong formula, and around it the notebook tries to hold up the
grader, to swell it or to fill its disk. :data:`HOSTILE` holds them by name, and :func:`measured`
grades some of them in a process of its own, watched from outside.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from textwrap import dedent
from typing import Any

from submissions import FIRST, SOURCE, Notebook

from lecture_grader.reporting.result import OUTCOMES

__all__ = ["HOSTILE", "KINDS", "Hostile", "Measured", "measured"]

WRONG = "def scaled_sum(x, scale):\n    return scale * x.mean()\n"
ANYTHING = set(OUTCOMES) - {"infrastructure"}  # which would say that it was not their fault
NO_MARKS = ANYTHING - {"correct"}


@dataclass(frozen=True)
class Hostile:
    """A hostile notebook, and what its exercises may be called."""

    name: str
    kind: str  # one of KINDS: what it goes for
    content: Callable[[], Notebook | bytes]
    first: frozenset[str] = frozenset(NO_MARKS)  # the exercise with the wrong formula
    others: frozenset[str] = frozenset(ANYTHING)  # which are right, but time may be up

    def __bytes__(self) -> bytes:
        return bytes(self.content())


HOSTILE: dict[str, Hostile] = {}
KINDS = ("silence", "cells", "messages", "parsing", "notebooks", "folders", "processes")


def _add(name: str, kind: str, content: Callable[[], Notebook | bytes], **more: Any) -> None:
    assert name not in HOSTILE and kind in KINDS
    HOSTILE[name] = Hostile(name, kind, content, **more)


def _above(trick: str) -> Notebook:
    return Notebook.solved(scaled_sum=f"{dedent(trick).strip()}\n\n\n{WRONG}")


def _beside(cells: Iterable[str]) -> Notebook:
    notebook = Notebook.solved(scaled_sum=WRONG)
    for source in cells:
        notebook.add(source, before=f"{FIRST}-answer")
    return notebook


# ---------------------------------------------------------------------------- silence and drips

WITHHOLD = """
import ctypes
import os
import signal
import stat
import threading
import time

from jupyter_client.session import Session

kernel = get_ipython().kernel
whole = Session.send


def withhold(*kinds):
    def send(self, stream, message, *arguments, **more):
        kind = message if isinstance(message, str) else message["header"]["msg_type"]
        return None if kind in kinds else whole(self, stream, message, *arguments, **more)

    Session.send = send


def for_ever(step, pause=0.1):
    def work():
        while True:
            try:
                step()
            except Exception:
                pass
            time.sleep(pause)

    threading.Thread(target=work, daemon=True).start()


def publish(kind, **content):
    whole(kernel.session, kernel.iopub_socket, kind, content, parent=kernel.get_parent())


def write_to_every_socket(data):
    for number in range(256):
        try:
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                os.write(number, data)
        except OSError:
            pass
"""
SILENCE = {
    "idle-withheld": "withhold('status')",
    "replies-withheld": "withhold('execute_reply')",
    "everything-withheld": "withhold('status', 'execute_reply', 'kernel_info_reply', 'stream')",
    "waits-with-the-lock-held": (
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\nctypes.PyDLL(None).sleep(10**6)"
    ),
    "thread-takes-the-lock": (
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "threading.Timer(0.2, ctypes.PyDLL(None).sleep, (10**6,)).start()"
    ),
    "stopped-by-its-child": (
        "if os.fork() == 0:\n    os.kill(os.getppid(), signal.SIGSTOP)\n    os._exit(0)"
    ),
    "files-closed": "for_ever(lambda: os.closerange(3, 256))",
    "drips-status": (
        "withhold('status')\nfor_ever(lambda: publish('status', execution_state='busy'))"
    ),
    "drips-idle-of-nothing": (
        "withhold('execute_reply')\n"
        "for_ever(lambda: whole(kernel.session, kernel.iopub_socket, 'status',\n"
        "                       {'execution_state': 'idle'}, parent={}))"
    ),
    "drips-text": (
        "withhold('status')\nfor_ever(lambda: publish('stream', name='stdout', text='.'))"
    ),
    "drips-displays": (
        "withhold('status')\n"
        "for_ever(lambda: publish('display_data', data={'text/plain': '.'}, metadata={}))"
    ),
    "drips-bytes": "withhold('status')\nfor_ever(lambda: write_to_every_socket(b'\\x02'))",
    "drips-bytes-of-a-long-frame": (
        "withhold('status')\n"
        "write_to_every_socket(b'\\x02' + (2**40).to_bytes(8, 'big'))\n"
        "for_ever(lambda: write_to_every_socket(b'x'))"
    ),
    "asks-for-ever": (
        "withhold('status')\nfor_ever(lambda: publish('input_request', prompt='?', password=False))"
    ),
}
for _name, _trick in SILENCE.items():
    _add(_name, "silence", partial(_above, f"{WITHHOLD}\n\n{_trick}"))


# ---------------------------------------------------------------------------- cells that take time

SLEEP = "import time\n\ntime.sleep(2.5)"
BURN = "import time\n\nend = time.process_time() + 0.8\nwhile time.process_time() < end:\n    pass"


def _late_answers(source: str) -> Notebook:
    notebook = _beside([])
    for _ in range(40):
        notebook.add(source + "\n\n" + WRONG, before=f"{FIRST}-answer")
    return notebook


def _needed(value: str) -> Notebook:
    """Forty cells, each with a name that the answer uses."""
    cells = [f"import time\n\nneeded_{number} = {value}" for number in range(40)]
    notebook = _beside(cells)
    total = " + ".join(f"needed_{number}" for number in range(40))
    notebook.cell(f"{FIRST}-answer")["source"] = (
        f"def scaled_sum(x, scale):\n    return scale * x.mean() + {total}"
    )
    return notebook


_add("forty-cells-that-sleep", "cells", lambda: _beside([SLEEP] * 40))
_add("forty-cells-that-compute", "cells", lambda: _beside([BURN] * 40))
_add("forty-needed-cells-that-sleep", "cells", partial(_needed, "time.sleep(2.5) or 0"))
_add("forty-needed-cells-that-compute", "cells", partial(_needed, "0 * sum(range(2 * 10**7))"))
_add("forty-answers-that-sleep", "cells", partial(_late_answers, SLEEP))
_add("cells-that-never-end", "cells", lambda: _beside(["while True:\n    pass"] * 20))
_add(
    "cells-that-do-not-listen",
    "cells",
    lambda: _beside(
        ["while True:\n  try:\n    while True: pass\n  except BaseException: pass"] * 9
    ),
)
_add("cells-that-die", "cells", lambda: _beside(["import os\nos.abort()"] * 200))
_add("cells-that-eat", "cells", lambda: _beside(["rows = [b'x' * 2**30 for _ in range(9)]"] * 40))
_add(
    "output-after-the-cell",
    "cells",
    lambda: _above(f"{WITHHOLD}\n\nfor_ever(lambda: print('x' * 1000), 0.001)"),
)
_add(
    "two-thousand-cells",
    "cells",
    lambda: _beside([f"rows_{number} = torch.ones({number})" for number in range(1_900)]),
)
_add(
    "every-call-sleeps",
    "cells",
    lambda: Notebook.solved(
        scaled_sum="import time\n\ndef scaled_sum(x, scale):\n    time.sleep(1.4)\n    return 0.0",
        standardize="import time\n\ndef standardize(x):\n    time.sleep(1.4)\n    return x",
    ),
    others=frozenset(ANYTHING),
)


# ---------------------------------------------------------------------------- messages

SOCKETS = """
import gc

import zmq

(public,) = {
    each for each in gc.get_objects()
    if type(each).__name__ == "Socket" and not each.closed and each.socket_type == zmq.PUB
} or {None}
if public is None:
    (public,) = {
        each for each in gc.get_objects()
        if type(each).__name__ == "Socket" and not each.closed and each.socket_type == zmq.XPUB
    }
"""
# The values of a probe, whatever they are called, give way to others.
FORGE = """
def forged(payload):
    def send(self, stream, message, content=None, *arguments, **more):
        inner = content if isinstance(message, str) else message["content"]
        data = (inner or {}).get("data", {})
        for name in data if isinstance(data, dict) else ():
            if "lecture-vae" in name:
                data[name] = payload
        return whole(self, stream, message, content, *arguments, **more)

    Session.send = send
"""
MESSAGES = {
    **{
        f"message-of-{size}-mb": f"publish('stream', name='stdout', text='x' * {size} * 10**6)"
        for size in (5, 50, 500)
    },
    **{
        f"frame-of-{size}-mb": f"{SOCKETS}\npublic.send(b'x' * {size} * 10**6, copy=False)"
        for size in (5, 15, 50, 500)
    },
    "message-of-many-frames": f"{SOCKETS}\npublic.send_multipart([b''] * 10**6)",
    "message-of-many-small-frames": f"{SOCKETS}\npublic.send_multipart([b'x' * 100] * 10**5)",
    "many-messages": "for _ in range(10**6):\n    print(flush=True)",
    "many-displays-of-15-mb": (
        "for _ in range(100):\n"
        "    publish('display_data', data={'text/plain': 'x' * 15 * 10**6}, metadata={})"
    ),
    "errors-of-15-mb": (
        "publish('error', ename='x' * 5 * 10**6, evalue='x' * 5 * 10**6, traceback=['x'] * 10**6)"
    ),
    "displays-that-swell": (
        "publish('display_data', metadata={},\n"
        "        data={'text/plain': [{} for _ in range(3_000_000)]})"
    ),
    "values-of-15-mb": f"{FORGE}\nforged('[' + '0,' * 7_000_000 + '0]')",
    "values-that-swell": f"{FORGE}\nforged('[' + '[],' * 4_000_000 + '[]]')",
    "values-of-many-objects": f"{FORGE}\nforged('[' + '{{\"\":0}},' * 1_500_000 + '0]')",
    "values-nested": f"{FORGE}\nforged('[' * 5_000_000 + ']' * 5_000_000)",
    "values-with-long-numbers": f"{FORGE}\nforged('[' + '9' * 5_000_000 + ']')",
    "values-of-another-kind": f"{FORGE}\nforged([[[]] * 1_000_000])",
}  # fmt: skip
for _name, _trick in MESSAGES.items():
    _add(_name, "messages", partial(_above, f"{WITHHOLD}\n{_trick}"))


def _displays_in_cells() -> Notebook:
    source = (
        "from lecture_grader.student.probe import MIME\n"
        "from IPython.display import display\n"
        "display({MIME: '[' + '0,' * 3_500_000 + '0]'}, raw=True)"
    )
    return _beside([source] * 60)


_add("displays-of-values-in-sixty-cells", "messages", _displays_in_cells)


# ---------------------------------------------------------------------------- what is parsed

SOURCES = {
    "import-of-40000-dots": f"from {'.' * 40_000} import scaled_sum",
    "import-of-40000-names": f"import {'.'.join(['a'] * 40_000)}",
    "40000-attributes": f"y = {'.'.join(['a'] * 40_000)}",
    "100000-parentheses": f"y = {'(' * 100_000}{')' * 100_000}",
    "90-parentheses-many-times": "\n".join(f"y = {'(' * 90}0{')' * 90}" for _ in range(4_000)),
    "900000-open-parentheses": "(" * 900_000,
    "900000-open-brackets-in-text": "f'" + "{" * 900_000,
    "one-line-of-1-mb": f"y = {'1+' * 450_000}1",
    "list-of-450000": f"y = [{'0,' * 450_000}]",
    "dict-of-150000": f"y = {{{'0:[],' * 150_000}}}",
    "text-in-150000-parts": f"y = {chr(39) * 2 + ' '}" + "'a' " * 150_000,
    "nested-f-text": "y = " + "f'{" * 60_000 + "0" + "}'" * 60_000,
    "400000-minus-signs": f"y = {'-' * 400_000}1",
    "not-not-not": f"y = {'not ' * 200_000}1",
    "lambda-lambda": f"y = {'lambda:' * 120_000}0",
    "decorators": "@a\n" * 200_000 + "def scaled_sum(x, scale):\n    return 0",
    "elif-elif": "if a: pass\n" + "elif a: pass\n" * 60_000,
    "calls-of-calls": f"y = {'a(' * 100_000}{')' * 100_000}",
    "subscripts": f"y = a{'[0]' * 250_000}",
    "comparisons": f"y = 0{'<0' * 400_000}",
    "conditions": f"y = {'0 if 0 else ' * 70_000}0",
    "blocks-in-blocks": "".join(f"{' ' * n}if 1:\n" for n in range(1_300)),
    "many-definitions": "def scaled_sum(x,scale):0\n" * 36_000,
    "many-names": "\n".join(f"global_{n}=helper_{n}" for n in range(30_000)),
    "long-global": f"def f():\n    global {','.join(f'a{n}' for n in range(100_000))}",
    "long-name": f"{'ﬁ' * 300_000} = 1",
    "long-number": f"y = {'9' * 900_000}",
    "long-hex-number": f"y = 0x{'f' * 900_000}",
    "powers": "y = (((9**9)**9)**9)**9\nz = 'a' * 10**9\nw = ((0,) * 255,) * 255",
    "text-left-open": "'''" + "\\" * 900_000,
    "many-continued-lines": "y = \\\n" + "1 + \\\n" * 150_000 + "1",
    "comment-that-backtracks": "#" + " nbval" * 100_000 + "\n" + "# " * 150_000,
    "many-percent-signs": "%" * 900_000,
    "many-magics": "%time 0\n" * 100_000,
    "many-exclamation-marks": "y = " + "!" * 900_000,
    "many-question-marks": "?" * 900_000,
    "indentation": "\n".join(" " * (n % 1_000) + "x" for n in range(1_700)),
}


def _parsed(source: str) -> Notebook:
    """In a cell that the answer may need, and above the answer if so much code is read at all."""
    notebook = _beside([f"{source}\nneeded = a = 1"])
    above = source if len(source) < 400_000 else ""
    notebook.cell(f"{FIRST}-answer")["source"] = f"{above}\n\n{WRONG}\nneeded"
    return notebook


for _name, _source in SOURCES.items():
    _add(f"parsed-{_name}", "parsing", partial(_parsed, _source))


# ---------------------------------------------------------------------------- the file


def _with(**more: Any) -> Notebook:
    notebook = Notebook.solved(scaled_sum=WRONG)
    notebook.document |= more
    return notebook


def _swollen(part: str) -> bytes:
    head = bytes(Notebook.solved(scaled_sum=WRONG))[:-1]
    return head + b', "x": [' + (part * (18_000_000 // len(part))).encode() + b"0]}"


for _name, _part in {
    "lists": "[],", "objects": '{"":0},', "numbers": "0,", "texts": '"\\u1234",',
    "floats": "1e9,", "long-numbers": "9" * 4_000 + ",",
}.items():  # fmt: skip
    _add(f"file-of-many-{_name}", "notebooks", partial(_swollen, _part))


def _copies() -> Notebook:
    notebook = Notebook.solved(scaled_sum=WRONG)
    cell = notebook.cell(f"{FIRST}-answer")
    notebook.cells.extend(dict(cell, source=WRONG + "\n" * 400) for _ in range(1_800))
    return notebook


def _tags() -> Notebook:
    notebook = Notebook.solved(scaled_sum=WRONG)
    notebook.cell(f"{FIRST}-answer")["metadata"]["tags"] = [f"answer:{n}" for n in range(600_000)]
    return notebook


def _parts() -> Notebook:
    notebook = Notebook.solved(scaled_sum=WRONG)
    notebook.add("", before=f"{FIRST}-answer")["source"] = [""] * 4_000_000 + ["x = 1"]
    return notebook


_add("1800-copies-of-the-answer", "notebooks", _copies)
_add("600000-tags", "notebooks", _tags)
_add("source-of-many-parts", "notebooks", _parts)


# ---------------------------------------------------------------------------- disks

PLACES = """
import os
import socket
import tempfile

places = {os.getcwd(), os.path.expanduser("~"), tempfile.gettempdir(), "/dev/shm", "/box", "/run"}
try:
    with open("/proc/self/mountinfo") as mounts:
        places |= {line.split()[4] for line in mounts}
except OSError:
    pass


def everywhere(make, number=20_000):
    for place in sorted(places):
        try:
            os.chdir(place)
            for each in range(number):
                make(f"{each}")
        except OSError as error:
            print(place, each, error)


def bind(name):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)


def down(name):
    os.mkdir(name)
    os.chdir(name)


def sparse(name):
    with open(name, "wb") as file:
        os.truncate(file.fileno(), 10 * 2**30)


def closed(name):
    os.mkdir(name)
    os.chmod(name, 0)


def full(name):
    with open(name, "wb") as file:
        file.write(b"x" * 10**6)
"""
FOLDERS = {
    "files": "everywhere(lambda name: open(name, 'x').close())",
    "sockets": "everywhere(bind)",
    "folders": "everywhere(os.mkdir)",
    "links": "everywhere(lambda name: os.symlink('/etc/passwd', name))",
    "pipes": "everywhere(os.mkfifo)",
    "hard-links": "everywhere(lambda name: os.link('/box/k-1', name))",
    "deep-folders": "everywhere(down, 5_000)",
    "closed-folders": "everywhere(closed, 100)",
    "sparse-files": "everywhere(sparse, 10)",
    "full-files": "everywhere(full, 10_000)",
    "names": "everywhere(lambda name: open(name + '\\n' + 'é' * 120, 'x').close(), 5_000)",
    "sockets-gone": "for name in os.listdir('/box'):\n    os.unlink(f'/box/{name}')",
}
for _name, _trick in FOLDERS.items():
    _add(f"disk-{_name}", "folders", partial(_above, f"{PLACES}\n\n{_trick}"))


# ---------------------------------------------------------------------------- processes

PROCESSES = {
    "fork-bomb": "while True:\n    try:\n        os.fork()\n    except OSError:\n        pass",
    "children-that-sleep": (
        "for _ in range(40):\n    if os.fork() == 0:\n        os.setsid()\n"
        "        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\n"
        "        time.sleep(10**6)"
    ),
    "child-that-drips": (
        "if os.fork() == 0:\n    os.setsid()\n    while True:\n"
        "        write_to_every_socket(b'\\x02')\n        time.sleep(0.05)"
    ),
    "child-that-outlives": (
        "if os.fork() == 0:\n    os.setsid()\n    time.sleep(10**6)\nos.kill(os.getpid(), 9)"
    ),
    "shell-commands": "for _ in range(50):\n    os.system('sleep 100 & sleep 100 &')",
    "threads": (
        "for _ in range(10_000):\n    threading.Thread(target=time.sleep, args=(10**6,)).start()"
    ),
    "grows-slowly": "rows = []\nwhile True:\n    rows.append(b'x' * 10**7)\n    time.sleep(0.01)",
}
for _name, _trick in PROCESSES.items():
    _add(f"processes-{_name}", "processes", partial(_above, f"{WITHHOLD}\n\n{_trick}"))

_add(
    "displays-values-itself",
    "messages",
    lambda: Notebook.solved(
        scaled_sum=(
            "import json\nfrom IPython.display import display\n"
            "from lecture_grader.student.probe import MIME\n\n"
            "def scaled_sum(x, scale):\n"
            "    display({MIME: json.dumps([9.0, 9.0, 9.0, 9.0])}, raw=True)\n"
            "    raise SystemExit"
        )
    ),
    others=frozenset({"correct"}),
)
_add(
    "kills-the-kernel-before-every-cell",
    "cells",
    lambda: _beside(["import os\nos.kill(os.getpid(), 9)"] * 30),
    others=frozenset({"correct"}),
)


# ---------------------------------------------------------------------------- measuring

EVERY = 0.05  # seconds between two looks
GRADE = """
import json, sys
from dataclasses import asdict
from pathlib import Path

from lecture_grader.grade import grade

source, submissions, out = map(Path, sys.argv[1:4])
results = [asdict(result) for result in grade(source, submissions, out, **json.loads(sys.argv[4]))]
(out / "all.json").write_text(json.dumps(results))
"""


@dataclass
class Measured:
    """What a run did, as seen from outside."""

    results: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    main: int = 0  # most anonymous memory of the process that called grade(), in bytes
    others: dict[str, int] = field(default_factory=dict)  # peak resident memory, by module
    entries: int = 0  # most that lay below the temporary folder at a time
    disk: int = 0  # most bytes of them
    left: list[str] = field(default_factory=list)  # processes and entries after the end

    def outcomes(self, student: str) -> dict[str, str]:
        """What the exercises of a student are called."""
        return {line["exercise"]: line["outcome"] for line in self.results
                if line["student"] == student}  # fmt: skip


def measured(
    folder: Path, submissions: dict[str, bytes], patience: float, **options: Any
) -> Measured:
    """Grades submissions in a new process and watches it.

    Args:
        folder: An empty folder.
        submissions: Notebooks by student.
        patience: Seconds after which the run is ended; its `seconds` say so.
        options: For ``grade``.
    """
    for name in ("submissions", "out"):
        (folder / name).mkdir()
    for name, content in submissions.items():
        (folder / "submissions" / f"{name}.ipynb").write_bytes(content)
    found = Measured()
    # A short path, because the sockets of kernels lie below it.
    temporary = Path(tempfile.mkdtemp(prefix="m-"))
    command = [sys.executable, "-c", GRADE, SOURCE, folder / "submissions", folder / "out"]
    begun = time.monotonic()
    run = subprocess.Popen(
        [*map(str, command), json.dumps(options)],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdin=subprocess.DEVNULL,
    )
    family: dict[int, str] = {}
    try:
        while run.poll() is None and time.monotonic() - begun < patience:
            _look(run.pid, family, temporary, found)
            time.sleep(EVERY)
        found.seconds = time.monotonic() - begun
    finally:
        if run.poll() is None:
            run.send_signal(signal.SIGKILL)
        run.wait()
    end = time.monotonic() + 5
    while (left := [*_alive(family), *_entries(temporary)]) and time.monotonic() < end:
        time.sleep(EVERY)
    found.left = [str(each) for each in left]
    for pid in _alive(family):
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(temporary, ignore_errors=True)
    if (folder / "out" / "all.json").exists():
        found.results = json.loads((folder / "out" / "all.json").read_text())
    return found


def _look(main: int, family: dict[int, str], temporary: Path, found: Measured) -> None:
    children: dict[int, list[int]] = {}
    for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))):
        children.setdefault(_parent(pid), []).append(pid)
    members = [main]
    for pid in members:
        members += children.get(pid, [])
    for pid in members:
        family[pid] = family.get(pid) or _born(pid)
    # What it imports is larger than what it works with, so its peak would hide what it read.
    found.main = max(found.main, _bytes(main, "RssAnon"))
    for pid in members[1:]:
        module = _module(pid) if _outside(pid) else ""
        if module:
            found.others[module] = max(found.others.get(module, 0), _bytes(pid, "VmHWM"))
    entries = list(_entries(temporary))
    found.entries = max(found.entries, len(entries))
    sizes = 0
    for entry in entries:
        with suppress(OSError):  # it has just gone
            sizes += entry.lstat().st_blocks * 512
    found.disk = max(found.disk, sizes)


def _stat(pid: int) -> list[str]:
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return []
    return text.rpartition(b")")[2].decode().split()


def _parent(pid: int) -> int:
    return int((_stat(pid) or ["", "0"])[1])


def _born(pid: int) -> str:
    return (_stat(pid) or [""] * 20)[19]


def _alive(family: dict[int, str]) -> list[int]:
    return [
        pid for pid, born in family.items() if born and _born(pid) == born and _stat(pid)[0] != "Z"
    ]


def _bytes(pid: int, field: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def _outside(pid: int) -> bool:
    """Whether a process is in no box: it sees the files that we see."""
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt") == os.readlink("/proc/self/ns/mnt")
    except OSError:  # it has ended, or it is not ours to look at
        return False


def _module(pid: int) -> str:
    """What a process runs; nothing for one that has yet to start or has ended."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return ""
    if "-c" in words[:6]:  # a child of the process that called grade(), which still is its copy
        return ""
    return words[words.index("-m") + 1] if "-m" in words else words[0].rpartition("/")[2]


def _entries(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            yield Path(root, name)
