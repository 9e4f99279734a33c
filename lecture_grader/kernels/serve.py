"""The Jupyter kernel of a box: ipykernel's shell, ready before the fork, behind one socket."""

import asyncio
import builtins
import getpass
import importlib
import os
import random
import signal
import socket
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

from lecture_grader.kernels.frames import Kind, read_exactly

__all__ = ["serve", "warm_up"]

WARM = (
    "numpy.random", "lecture_grader.student.probe", "IPython.core.completerlib",
    "IPython.core.debugger", "IPython.core.logger", "IPython.core.oinspect", "faulthandler",
    "stack_data", "pygments.formatters.terminal256",
)  # fmt: skip
LEAST_RECURSION = 1_000  # calls within each other; Python's own default
MOST_THREADS = 4  # of torch: a pool that cannot start a thread ends the process
MAX_CAPTURED = 100_000  # bytes of what a cell's child processes print

_shell: Any = None
_channel: Any = None


def warm_up(preload: Sequence[str] = ()) -> None:
    """Import what a kernel and an exercise need, make the shell, and compute nothing.

    Threads and CUDA do not survive a fork, so none may come into being here.

    Args:
        preload: Further modules.
    """
    global _shell, _channel
    # The debugger of ipykernel takes longer to import than all the rest of a kernel's start.
    sys.modules["debugpy"] = None  # type: ignore[assignment]
    for name in (*WARM, *preload):
        importlib.import_module(name)
    from lecture_grader.kernels.shell import Channel, make_shell
    from lecture_grader.student.values import tensor_maker

    if torch := sys.modules.get("torch"):
        tensor_maker()
        torch.compile = _as_it_is  # type: ignore[attr-defined]
    _channel = Channel()
    _shell = make_shell(_channel)


def _as_it_is(model: Any = None, **_: Any) -> Any:
    """``torch.compile`` where there is no compiler: what is compiled gives the same without."""
    return model if model is not None else _as_it_is


def serve(descriptor: int) -> None:
    """Be a kernel until the owner's end is closed.

    Args:
        descriptor: The socket on which requests come and frames go.
    """
    import numpy.random

    from lecture_grader.kernels.shell import Stream

    owner = socket.socket(fileno=descriptor)
    _channel.open(owner.sendall)
    tempfile.tempdir = None  # chosen anew: this process has another TMPDIR than its parent
    sys.path.insert(0, "")  # a module that a cell writes can be imported
    _capture()
    sys.stdout, sys.stderr = Stream(_channel, Kind.STDOUT), Stream(_channel, Kind.STDERR)
    builtins.input = getpass.getpass = _no_input
    # Unseeded noise is the same in every kernel, so that a result can be repeated.
    random.seed(0)
    numpy.random.seed(0)  # noqa: NPY002 (students may use it)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)
        many = torch.set_num_threads
        torch.set_num_threads = lambda nthreads: many(min(nthreads, MOST_THREADS))  # type: ignore[attr-defined]
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # between two cells
    streams = sys.stdout, sys.stderr
    _channel.send(Kind.READY)
    with suppress(EOFError):
        while True:
            _, _channel.number, code = read_exactly(owner)
            _restore(*streams)
            reply = _run(loop, code.decode())
            for stream in streams:
                stream.flush()
            _send_captured()
            _channel.send_json(Kind.REPLY, reply)


def _restore(output: Any, errors: Any) -> None:
    """Give back what IPython itself cannot do without, whatever the cell before did to it."""
    sys.setrecursionlimit(max(sys.getrecursionlimit(), LEAST_RECURSION))
    sys.stdout, sys.stderr = sys.stdout or output, sys.stderr or errors


def _run(loop: asyncio.AbstractEventLoop, code: str) -> Any:
    task = loop.create_task(_shell.run(code))
    try:
        signal.signal(signal.SIGINT, _channel.interrupt)
        try:
            return loop.run_until_complete(task)
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    except BaseException as error:  # met where no code of the cell ran
        task.cancel()
        return _shell.reply(error)


def _no_input(prompt: object = "", *_: Any, **__: Any) -> NoReturn:
    from IPython.core.error import StdinNotImplementedError

    raise StdinNotImplementedError(f"nobody is there to answer input({str(prompt)!r}).")


def _capture() -> None:
    """Let what child processes and C libraries print go into a file that has no name."""
    with tempfile.TemporaryFile() as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    import fcntl

    fcntl.fcntl(1, fcntl.F_SETFL, fcntl.fcntl(1, fcntl.F_GETFL) | os.O_APPEND)


def _send_captured() -> None:
    with suppress(OSError):  # a cell may have done anything to its descriptors
        if os.fstat(1).st_size:
            said = os.pread(1, MAX_CAPTURED, 0)
            os.ftruncate(1, 0)
            _channel.send(Kind.STDOUT, said.decode(errors="replace").encode())


if __name__ == "__main__":
    from lecture_grader.sandbox.start import enter_and_tell

    code = 1
    try:
        warm_up(sys.argv[2:-3])  # before its memory counts, as for a kernel that is forked
        enter_and_tell(int(sys.argv[-3]), sys.argv[-2], int(sys.argv[-1]), keep=[int(sys.argv[1])])
        serve(int(sys.argv[1]))
        code = 0
    finally:
        os._exit(code)  # threads that go on would keep the box
