"""What a cell may do in a boxed kernel, and where it ends whatever it does."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest
from boxes import printed
from machine import needs, strongest
from talk import Talk, lecture_forkserver

from lecture_grader.kernels import client as boxed
from lecture_grader.kernels.client import BoxedKernel, Stopped
from lecture_grader.kernels.frames import HEAD, FrameError, Kind, Reader, pack, well_formed
from lecture_grader.sandbox.choose import Limits
from lecture_grader.sandbox.confine import SandboxError

LIMITS = Limits(cpu_s=60, memory_mb=512)
FORGE = "channel = get_ipython().channel\nimport struct, threading, time\n"
DEAF = "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"


@pytest.fixture(scope="module")
def forkserver():
    with lecture_forkserver(strongest(), LIMITS) as forkserver:
        yield forkserver


@pytest.fixture
def talk(forkserver):
    talk = Talk(forkserver)
    yield talk
    talk.close()


@pytest.fixture(scope="module")
def tame(forkserver):
    """A kernel for cells that leave nothing behind."""
    talk = Talk(forkserver)
    yield talk
    talk.close()


# ------------------------------------------------------------------ what a cell may do


@pytest.mark.parametrize(
    "line",
    [
        "%matplotlib widget", "%matplotlib notebook", "%load_ext nothing_here", "%nothing_here",
        "%pip install nothing-here", "!pip install nothing-here", "%run nothing_here.py",
        "%timeit 1 / 0", "y = %nothing_here 3",
    ],
)  # fmt: skip
def test_a_magic_that_fails_does_not_stop_what_follows(tame, line):
    said = tame.run(f"x = 1\n{line}\nx = 2")
    assert tame.boxed.reply["status"] == "ok", said
    assert tame.run("print(x)") == "2"


def test_a_magic_that_fails_says_so(tame):
    assert tame.run("%load_ext nothing_here") == (
        "%load_ext: ModuleNotFoundError: No module named 'nothing_here'"
    )


def test_magics_that_work_see_the_names_of_the_cell(tame):
    assert tame.run("n = 3\n%time m = n + 1\nprint(m)").splitlines()[-1] == "4"
    assert tame.run("def f():\n    k = 5\n    %time print(k)\nf()").splitlines()[0] == "5"
    assert tame.run("%%writefile written.py\na = 7\n").startswith("Writing")
    assert tame.run("import written; print(written.a)") == "7"


def test_a_cell_magic_that_is_not_there_is_an_error(tame):
    tame.run("%%cython\nx = 1")
    assert tame.boxed.reply["ename"] == "UsageError"


@pytest.mark.parametrize(
    "end", ["exit()", "quit()", "import sys; sys.exit(0)", "exit", "raise SystemExit"]
)
def test_leaving_ends_the_cell_alone(tame, end):
    tame.run("x = 1")
    tame.run(f"{end}")
    assert tame.boxed.reply == {
        "status": "error", "ename": "SystemExit", "evalue": tame.boxed.reply["evalue"],
        "traceback": "",
    }  # fmt: skip
    tame.run(f"x = 2\n{end if '(' in end else 'exit()'}\nx = 3")
    assert tame.run("print(x)") == "2"


def test_nobody_answers_input(tame):
    begun = time.monotonic()
    tame.run("input('name?')")
    assert tame.boxed.reply["ename"] == "StdinNotImplementedError"
    assert "input('name?')" in tame.boxed.reply["evalue"]
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    "code",
    [
        "1 / 0",
        "get_ipython().showtraceback = lambda *_, **__: None\n1 / 0",
        "get_ipython()._showtraceback = lambda *_, **__: None\n1 / 0",
        "get_ipython().set_custom_exc((Exception,), lambda *_, **__: None)\n1 / 0",
        "get_ipython().set_custom_exc((Exception,), lambda *_, **__: 1 / 0)\n1 / 0",
        "await __import__('asyncio').sleep(0)\n1 / 0",
        "try:\n    1 / 0\nexcept ArithmeticError:\n    get_ipython().showtraceback()\n1 / 0",
    ],
)
def test_an_error_is_told_however_it_is_shown(talk, code):
    talk.run(code)
    assert talk.boxed.reply["status"] == "error"
    assert talk.boxed.reply["ename"] == "ZeroDivisionError"
    errors = [m["content"] for m in talk.heard if m["msg_type"] == "error"]
    assert [error["ename"] for error in errors] == ["ZeroDivisionError"]


def test_an_error_without_a_text_is_told(tame):
    tame.run("class E(Exception):\n    def __str__(self): 1 / 0\nraise E")
    assert tame.boxed.reply["ename"] == "E"
    assert "ZeroDivisionError" in tame.boxed.reply["evalue"]


def test_what_was_only_shown_is_no_error_of_the_cell(tame):
    said = tame.run("class Bad:\n    def __repr__(self): 1 / 0\ndisplay(Bad())\nprint('on')")
    assert tame.boxed.reply["status"] == "ok"
    assert "ZeroDivisionError" in said
    assert "on" in said


def test_half_a_character_is_replaced_and_halves_are_joined(tame):
    half, other = "\ud83d", "\ude00"
    assert tame.run(f"# {half}\nprint('{half}' + chr(0xD83D) + '.')") == "��."
    assert tame.run(f"print(chr({ord(half)}) + chr({ord(other)}))") == "😀"
    tame.run(f"raise ValueError(chr({ord(half)}))")
    assert tame.boxed.reply["evalue"] == "�"
    shown = "display({'application/vnd.lecture-vae+json': chr(0xD83D)}, raw=True)"
    tame.run(shown)
    assert tame.heard[0]["content"]["data"] == {"application/vnd.lecture-vae+json": "�"}
    assert tame.run("import sys; sys.stdout.write(b'\\xff\\xfe'.decode(errors='surrogateescape'))")
    assert tame.run("import os; _ = os.write(1, b'a\\xff')") == "a�"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("@torch.compile\ndef f(x): return x + 1\nprint(f(torch.ones(1)).item())", "2.0"),
        ("@torch.compile(mode='max-autotune')\ndef f(x): return x\nprint(f(3))", "3"),
        ("print(torch.compile(torch.nn.Linear(1, 2))(torch.ones(1)).shape[0])", "2"),
        ("m = torch.nn.Linear(1, 2)\nm.compile()\nprint(m(torch.ones(1)).shape[0])", "2"),
        (
            "import warnings\nwarnings.simplefilter('ignore')\n@torch.jit.script\n"
            "def f(x):\n    return x + 1\nprint(f(torch.ones(1)).item())",
            "2.0",
        ),
        (
            "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.savefig('a.png')\n"
            "import os; print(os.path.getsize('a.png') > 1000)",
            "True",
        ),
        ("import tempfile, os; print(os.path.isdir(tempfile.mkdtemp()))", "True"),
        (
            "import os\nnames = [n for n in os.environ if n.startswith('XDG_') or n == 'HOME']\n"
            "print(len(names), all(os.access(os.environ[n], os.W_OK) for n in names))",
            "5 True",
        ),
        ("!echo from a child", "from a child"),
        ("get_ipython().run_cell_magic('bash', '', 'echo from bash')", "from bash"),
        ("import asyncio\nawait asyncio.sleep(0)\nprint('slept')", "slept"),
        (
            "import threading\nt = threading.Thread(target=print, args=['thread'])\n"
            "t.start(); t.join()",
            "thread",
        ),
    ],
)
def test_ordinary_tools_work(tame, code, said):
    assert tame.run(f"import torch\n{code}") == said


def test_a_compiler_is_not_even_looked_for(talk):
    """To import it takes longer than most answers."""
    code = "import sys, torch\nprint(torch.compile(max)(1, 2), 'torch._dynamo' in sys.modules)"
    assert talk.run(code) == "2 False"


def test_what_a_forked_child_says_disturbs_nothing(tame):
    code = "import os\npid = os.fork()\nif pid == 0:\n    print('x' * 99)\n    os._exit(0)\n"
    assert tame.run(f"{code}_ = os.waitpid(pid, 0)\nprint('parent')") == "parent"


# ------------------------------------------------------------------ where it ends


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("print('x' * 9_000_000)", "output"),
        ("while True: print('x' * 100)", "output"),
        ("while True: print('x', flush=True)", "output"),
        ("while True: display({'text/plain': 'x' * 100_000}, raw=True)", "output"),
        ("while True: channel.send_all(struct.pack('!BII', 3, 99, 0))", "output"),
        ("channel.send_all(struct.pack('!BII', 3, channel.number, 500_000_000))", "output"),
        ("display({'text/plain': 'x' * 9_000_000}, raw=True)", "output"),
        ("channel.send_all(struct.pack('!BII', 6, channel.number, 100_000))", "output"),
        ("channel.send_all(struct.pack('!BII', 77, 0, 0))", "crashed"),
        ("channel.send_all(b'HTTP/1.1 200 OK\\r\\n\\r\\n')", "crashed"),
        ("channel.send_all(struct.pack('!BII', 7, channel.number, 2) + b'[]')", "crashed"),
        ("channel.send_all(struct.pack('!BII', 7, channel.number, 2) + b'{x')", "crashed"),
        ("n = 60_000\nchannel.send_all(struct.pack('!BII', 7, channel.number, n) + b'[' * n)",
         "crashed"),
        ("import os; os.closerange(3, 100)", "crashed"),
        ("import os; os._exit(3)", "crashed"),
        ("while True: pass", "timeout"),
        ("time.sleep(1000)", "timeout"),
        (DEAF + "while True: time.sleep(1)", "timeout"),
        (DEAF + "while True:\n    channel.send(3, b'drip'); time.sleep(0.01)", "timeout"),
        ("channel.send_all(struct.pack('!BII', 5, channel.number, 100))\ntime.sleep(1000)",
         "timeout"),
    ],
)  # fmt: skip
def test_every_cell_ends(forkserver, code, reason):
    talk = Talk(forkserver, cpu_limit=0.5 if reason == "timeout" else 30.0)
    try:
        begun = time.monotonic()
        assert talk.run(FORGE + code).startswith(reason)
        assert time.monotonic() - begun < 60
    finally:
        talk.close()


def test_output_is_bounded_over_all_cells(talk, monkeypatch):
    monkeypatch.setattr(boxed, "MAX_TOTAL", 1_000_000)
    ends = [talk.run("print('x' * 400_000)") for _ in range(3)]
    assert ends[2] == "output: more than 1,000,000 bytes of output"
    assert not talk.kernel.alive


SILENT = DEAF + "while True: time.sleep(1)"
DRIPS = FORGE + DEAF + "while True:\n    channel.send(3, b'drip'); time.sleep(0.001)"
WITHHOLDS = FORGE + "channel.send_all = lambda *_: None"


@pytest.mark.parametrize("code", [SILENT, DRIPS, WITHHOLDS])
def test_a_notebook_ends_when_its_time_is_over(talk, code):
    talk.boxed.ends_at = time.monotonic() + 0.5
    said = talk.run(code)
    assert said == "timeout: the notebook used up the time that it has in all"
    assert time.monotonic() < talk.boxed.ends_at + 10
    assert not talk.kernel.alive


def test_the_end_of_the_time_comes_before_the_grace_after_an_interrupt(talk, monkeypatch):
    monkeypatch.setattr(boxed, "GRACE_SECONDS", 1000.0)
    talk.boxed.cpu_limit = 0.1
    talk.boxed.ends_at = time.monotonic() + 1.0
    assert talk.run(SILENT).startswith("timeout")
    assert not talk.kernel.alive


def test_a_kernel_that_never_starts_ends_when_the_time_is_over(talk, monkeypatch):
    monkeypatch.setattr(BoxedKernel, "_take", lambda *_: None)  # its word that it is ready is lost
    talk.boxed.connection.end()
    talk.boxed.ends_at = time.monotonic() + 0.5
    with pytest.raises(Stopped, match="used up the time"):
        talk.boxed.start()


def test_nbval_finds_all_outputs_there_and_then_idle(talk):
    talk.run("import threading\ndef go():\n    while True: print('later' * 1000)\n")
    talk.run("print(1); threading.Thread(target=go, daemon=True).start()")
    messages = talk.heard
    assert messages[-1]["content"] == {"execution_state": "idle"}
    assert {m["parent_header"]["msg_id"] for m in messages} == {str(talk.boxed._number)}
    assert sum(len(m["content"].get("text", "")) for m in messages) <= boxed.MAX_TEXT


# ------------------------------------------------------------------ frames

MEASURE = """
import json, os, socket, sys, threading
from lecture_grader.kernels import client as boxed
from lecture_grader.kernels.frames import HEAD, Reader

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024

ours, theirs = socket.socketpair()
ours.setblocking(False)
code, mb = sys.argv[1:]
before = peak()
reader = Reader(ours, boxed.MAX_OUTPUT)

def send():
    try:
        exec(code, {"send": theirs.sendall, "HEAD": HEAD})
    except OSError:
        pass
    theirs.close()

threading.Thread(target=send, daemon=True).start()
held, end = 0, "all"
try:
    while not reader.ended:
        held += sum(len(payload) for _, _, payload in reader.read(lambda kind, _: kind != 2))
except ValueError as error:
    end = str(error)
print(end, peak() - before < int(mb), sep="\\n", flush=True)
os._exit(0)
"""


@pytest.mark.parametrize(
    ("code", "end", "mb"),
    [
        ("send(HEAD.pack(5, 1, 5_000_000) + bytes(5_000_000))", "all", 40),
        ("send(HEAD.pack(5, 1, 500_000_000))", "500,000,000 was sent", 5),
        ("for _ in range(10): send(HEAD.pack(3, 1, 0) * 100_000)", "all", 10),
        ("for _ in range(100): send(HEAD.pack(2, 1, 7_900_000) + bytes(7_900_000))", "all", 20),
    ],
)
def test_memory_is_bounded_whatever_is_sent(code, end, mb):
    said = printed(MEASURE, code, str(mb))
    assert said[0].endswith(end)
    assert said[1] == "True"


class Source:
    """A socket that gives bytes in pieces of one size."""

    def __init__(self, data, size):
        self.data, self.size = data, size

    def recv(self, _):
        part, self.data = self.data[: self.size], self.data[self.size :]
        return part


@pytest.mark.parametrize("size", [1, 2, 9, 10, 1000])
def test_frames_come_whole_however_they_arrive(size):
    sent = [(Kind.STDOUT, 1, b"one"), (Kind.STDERR, 2, b"two" * 9), (Kind.DISPLAY, 1, b"")]
    reader = Reader(Source(b"".join(pack(*each) for each in sent), size), 100)
    got = []
    while not reader.ended:
        got += reader.read(lambda _, number: number == 1)
    assert got == [sent[0], sent[2]]
    assert reader.frames == 3
    assert reader.received == 3 * HEAD.size + 30


def test_a_frame_that_is_too_large_is_refused_also_where_it_is_not_wanted():
    reader = Reader(Source(HEAD.pack(Kind.STDOUT, 1, 101), 99), 100)
    with pytest.raises(FrameError, match="at most 100 bytes; one of 101 was sent"):
        list(reader.read(lambda *_: False))


def test_text_is_made_well_formed():
    assert well_formed("a\ud83d") == "a�"
    assert well_formed("\ud83d\ude00") == "😀"
    assert well_formed("\ude00\ud83d") == "��"


def test_the_last_wall_bounds_the_memory_of_a_process():
    code = (
        "from lecture_grader.running.plugin import bound_memory\nbound_memory(400)\n"
        "try: bytearray(450 << 20)\nexcept MemoryError: print('held')"
    )
    assert printed(code) == ["held"]


# ------------------------------------------------------------------ places

GRADER = """
import json, os, sys, threading, time
from pathlib import Path
from lecture_grader.kernels.client import BoxedKernel
from lecture_grader.sandbox.choose import Limits, choose
from lecture_grader.kernels.forkserver import ForkServer

level, place = sys.argv[1:]
seen, done = set(), False

def look():
    while not done:
        for folder, folders, files in os.walk(place):
            for name in [*folders, *files]:
                path = os.path.join(folder, name)
                try:
                    seen.add((os.path.relpath(path, place).split(os.sep)[0][:3],
                              os.lstat(path).st_mode & 0o777 if folder == place else 0o700))
                except OSError:
                    pass
        time.sleep(0.001)

threading.Thread(target=look, daemon=True).start()
with ForkServer(choose(level), Limits()) as forkserver:
    BoxedKernel.forkserver = forkserver
    kernel = BoxedKernel("python3")
    request = kernel.execute_cell_input("import os; open('made', 'w'); os.mkdir('closed', 0)")
    kernel.await_reply(request)
    assert kernel.reply["status"] == "ok", kernel.reply
    kernel.stop()
done = True
time.sleep(0.3)
print(json.dumps([sorted(seen), os.listdir(place)]))
"""


@pytest.mark.parametrize("mask", ["000", "077"])
@pytest.mark.parametrize("level", ["namespaces", "bubblewrap", "landlock", "none"])
def test_a_box_leaves_nothing_on_the_disk_and_shows_nothing(level, mask, tmp_path):
    """Neither a long temporary folder nor the umask of the caller is in the way."""
    needs(level)
    place = tmp_path / ("long" * 30)
    place.mkdir()
    for folder in [place, *place.parents][:4]:
        folder.chmod(0o755)
    python = ["sh", "-c", f'umask {mask}; exec "$@"', "sh", sys.executable, "-P", "-c", GRADER]
    environment = {**os.environ, "TMPDIR": str(place)}
    done = subprocess.run(
        [*python, level, str(place)], env=environment, capture_output=True, text=True, timeout=100,
        check=False,
    )  # fmt: skip
    assert not done.stderr, done.stderr
    seen, left = json.loads(done.stdout)
    assert left == []
    assert {mode for name, mode in seen if name == "lv-"} <= {0o700, 0o777}
    assert (level in ("namespaces", "bubblewrap")) or seen


class NoBox:
    """A forkserver that cannot start a kernel; it keeps a copy of what it was given."""

    def fork(self, descriptor):
        self.copy = os.dup(descriptor)
        raise SandboxError("the box could not be entered")


def test_a_kernel_that_cannot_be_started_leaves_no_socket_open():
    forkserver = NoBox()
    with pytest.raises(SandboxError, match="could not be entered"):
        boxed.KernelConnection(forkserver)
    with socket.socket(fileno=forkserver.copy) as other_end:
        other_end.settimeout(5)
        assert other_end.recv(1) == b""  # nobody is at the other end
