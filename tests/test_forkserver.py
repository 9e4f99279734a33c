import json
import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
from machine import needs
from talk import Talk, lecture_forkserver, until

from lecture_grader.kernels.forkserver import ForkServer
from lecture_grader.sandbox import supervisor
from lecture_grader.sandbox.choose import Limits, SandboxError, choose

LIMITS = Limits(cpu_s=60, memory_mb=256)


def boxed():
    needs("namespaces")
    return lecture_forkserver("namespaces", LIMITS)


@pytest.fixture(scope="module")
def forkserver():
    with boxed() as forkserver:
        yield forkserver


@pytest.fixture
def start(forkserver):
    talks = []

    def start(of=None):
        talks.append(Talk(of or forkserver))
        return talks[-1]

    yield start
    for talk in talks:
        talk.close()


def gone(pid):
    """Whether a process ends within some seconds."""
    return until(lambda: not Path(f"/proc/{pid}").exists())


def descriptor():
    """One that a kernel could serve."""
    ours, theirs = socket.socketpair()
    ours.close()
    return theirs


def test_a_kernel_is_warm_boxed_and_repeatable(start):
    first, second = start(), start()
    pids = ["self", first.kernel.pid, second.kernel.pid]
    code = "import os, sys; print('torch' in sys.modules, os.getpid(), os.getuid(), os.getcwd())"
    assert first.run(code) == "True 1 1000 /tmp"
    noise = (
        "import random, numpy, torch; print(random.random(), numpy.random.rand(), torch.rand(1))"
    )
    assert first.run(noise) == second.run(noise)
    assert first.run("import torch; print(torch.get_num_threads())") == "1"
    assert first.kernel.cpu_seconds() < 2  # importing torch takes longer
    assert first.kernel.reason is None
    for kind in ("user", "mnt", "pid", "net", "ipc", "uts"):
        spaces = [os.readlink(f"/proc/{pid}/ns/{kind}") for pid in pids]
        assert len(set(spaces)) == 3
    if os.geteuid() == 0:
        users = {Path(f"/proc/{talk.kernel.pid}").stat().st_uid for talk in (first, second)}
        assert len(users) == 2
        assert 0 not in users


def test_a_forkserver_has_one_thread(start, forkserver):
    start()
    assert len(os.listdir(f"/proc/{forkserver._process.pid}/task")) == 1


def test_a_forkserver_whose_owners_end_is_held_elsewhere_is_killed():
    ours, theirs = socket.socketpair()
    theirs.close()
    forkserver = ForkServer.attach(ours.detach())
    forkserver._process = subprocess.Popen(["sleep", "60"])  # as if it had not seen the end
    forkserver.close()
    assert forkserver._process.returncode == -signal.SIGKILL


def test_cpu_time_counts(start):
    talk = start()
    before = talk.kernel.cpu_seconds()
    talk.run("import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass")
    used = talk.kernel.cpu_seconds()
    assert 0.2 < used - before < 3
    talk.kernel.kill()
    assert talk.kernel.cpu_seconds() == used


@pytest.mark.parametrize(
    ("code", "reasons"),
    [
        ("import os; os._exit(3)", {"exit 3"}),
        ("import ctypes; ctypes.string_at(0)", {"signal 11"}),
    ],
)
def test_a_death_is_told_at_once_with_its_reason(start, code, reasons):
    talk = start()
    talk.run(code, wait=False)
    assert talk.end() in reasons


def test_much_memory_in_one_go_is_an_error(start):
    talk = start()
    assert talk.run(f"x = bytearray({3 * LIMITS.memory_mb} << 20)") == "MemoryError"
    assert talk.run("import torch; torch.ones(1 << 28)") == "RuntimeError"  # 1 GiB
    assert talk.run("print(torch.ones(1 << 24).sum())") == "tensor(16777216.)"  # 64 MiB


def test_much_memory_in_many_processes_ends_the_box(start):
    talk = start()
    code = (
        "import os, time\nfor _ in range(6):\n    if not os.fork():\n"
        "        held = b'1' * (100 << 20)\n        time.sleep(20)"
    )
    talk.run(code, wait=False)
    assert talk.end(10) == "memory"


def test_an_interrupt_is_a_keyboard_interrupt(start):
    talk = start()
    talk.run("print('up', flush=True)\nimport time\ntime.sleep(20)", wait=False)
    while not talk.boxed._text["stdout"]:
        talk.boxed._exchange(time.monotonic() + 5)
    talk.kernel.interrupt()
    talk.boxed.await_reply("1")
    assert talk.boxed.reply["ename"] == "KeyboardInterrupt"
    assert talk.run("print(1)") == "1"


def test_a_kill_ends_orphans_too(start):
    talk = start()
    code = (
        "import subprocess\nfor _ in range(3):\n"
        "    subprocess.Popen(['sh', '-c', 'sleep 60 & sleep 60'], start_new_session=True)"
    )
    talk.run(code)
    family = supervisor.descendants(talk.kernel.pid)
    assert len(family) > 3
    talk.kernel.kill()
    assert talk.kernel.reason == "signal 9"
    assert not talk.kernel.alive
    assert not [pid for pid in family if Path(f"/proc/{pid}").exists()]


def test_a_kernel_holds_no_one_elses_files(start, forkserver):
    other, talk = start(), start()

    def files(pid):
        links = set()
        for path in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # of the listing itself
                links.add(os.readlink(path))
        return {link for link in links if link.startswith(("socket:", "pipe:"))}

    assert talk.run("print(1)") == "1"
    theirs = files(forkserver._process.pid) | files(os.getpid()) | files(other.kernel.pid)
    assert len(files(forkserver._process.pid)) >= 1
    assert files(talk.kernel.pid)
    assert not files(talk.kernel.pid) & theirs


def test_kernels_do_not_disturb_each_other(start):
    talks = [start() for _ in range(8)]
    for number, talk in enumerate(talks):
        talk.run(f"own = {number}\nopen('own', 'w').write(str(own))", wait=False)
    talks[3].kernel.kill()
    for number, talk in enumerate(talks):
        if number != 3:
            assert talk.run("print(own, open('own').read())") == f"{number} {number}"


@pytest.mark.parametrize(
    "request_",
    [b"", b"\xff\xfe", b"{", b"[]", b"null", b"{}", b'{"number": "x"}', b'{"number": 1}'],
)
def test_a_malformed_request_is_refused_and_survived(forkserver, start, request_):
    forkserver._socket.send(request_)
    reply = json.loads(forkserver._socket.recv(65536))
    assert "a malformed request" in reply["error"]
    if request_ == b"{":
        assert start().run("print(1)") == "1"


def test_another_process_may_ask_and_late_replies_are_passed_over(forkserver, start):
    with descriptor() as late:
        socket.send_fds(forkserver._socket, [json.dumps({"number": 7}).encode()], [late.fileno()])
    attached = ForkServer.attach(os.dup(forkserver.fileno()))
    assert start(attached).run("print(1)") == "1"
    attached.close()
    assert start().run("print(2)") == "2"


def test_a_box_that_cannot_be_entered_is_told(monkeypatch):
    needs("none")
    limits = Limits(open_files=1)  # too few for what a box is entered with
    refused = pytest.raises(SandboxError, match=r"the box \(none\) could not be entered")
    with ForkServer(choose("none"), limits) as forkserver, descriptor() as socket_, refused:
        forkserver.fork(socket_.fileno())


def test_what_keeps_a_kernel_of_bubblewrap_from_its_box_is_told():
    needs("bubblewrap")
    why = r"the box \(bubblewrap\) could not be entered: ModuleNotFoundError: .*'no_such_module'"
    forkserver = ForkServer(choose("bubblewrap"), LIMITS, ["no_such_module"])
    with forkserver, descriptor() as socket_, pytest.raises(SandboxError, match=why):
        forkserver.fork(socket_.fileno())


def test_the_end_of_the_owner_ends_everything(start):
    forkserver = boxed()
    talk = start(forkserver)
    forkserver.close()
    assert talk.end() == "signal 9"
    assert gone(talk.kernel.pid)
    with pytest.raises(SandboxError, match="does not answer"), descriptor() as socket_:
        forkserver.fork(socket_.fileno())


def test_the_death_of_the_forkserver_ends_everything(start):
    forkserver = boxed()
    talk = start(forkserver)
    os.kill(forkserver._process.pid, signal.SIGKILL)
    assert talk.end() == "signal 9"
    assert gone(talk.kernel.pid)
    with pytest.raises(SandboxError, match="does not answer"), descriptor() as socket_:
        forkserver.fork(socket_.fileno())
    forkserver.close()


def test_a_kernel_to_which_nobody_listens_is_ended(start):
    """The process that asked for it was killed in the middle of a cell; the forkserver lives on."""
    talk = start()
    talk.run("while True: pass", wait=False)
    kernel = talk.kernel
    for mine in (kernel._report, kernel._pidfd):
        os.close(mine)
    kernel._report = kernel._pidfd = -1
    assert gone(kernel.pid)


def test_a_killed_supervisor_takes_its_kernel_along(start):
    talk = start()
    stat = Path(f"/proc/{talk.kernel.pid}/stat").read_text()
    os.kill(int(stat.rpartition(")")[2].split()[1]), signal.SIGKILL)
    assert talk.end() == "signal 9"
    assert gone(talk.kernel.pid)


@pytest.mark.parametrize("level", ["bubblewrap", "landlock", "none"])
def test_the_other_levels_give_kernels_too(start, level):
    needs(level)
    with lecture_forkserver(level, LIMITS) as forkserver:
        talk = start(forkserver)
        assert talk.run("import os, torch; print(torch.ones(2).sum().item())") == "2.0"
        talk.run("import subprocess; subprocess.Popen(['sleep', '60'], start_new_session=True)")
        family = supervisor.descendants(talk.kernel.pid)
        assert len(family) == 2
        talk.run("import os; os._exit(3)", wait=False)
        assert talk.end() == "exit 3"
        assert not [pid for pid in family if Path(f"/proc/{pid}").exists()]
