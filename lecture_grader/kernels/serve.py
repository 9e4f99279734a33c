"""The Jupyter kernel of a box: ipykernel's shell, imported before the fork, on one socket."""

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
MIN_RECURSION = 1_000  # Python's default recursion limit
MAX_THREADS = 4  # of torch, whose thread pool aborts the process where it cannot start a thread
MAX_CAPTURED = 100_000  # bytes of output of a cell's child processes

_shell: Any = None
_channel: Any = None


def warm_up(preload: Sequence[str] = ()) -> None:
    """Import what kernels and exercises need and create the shell, without starting threads.

    Neither threads nor CUDA survive a fork.

    Args:
        preload: Names of further modules to import.
    """
    global _shell, _channel
    # ipykernel's debugger takes longer to import than all the rest.
    sys.modules["debugpy"] = None  # type: ignore[assignment]
    for name in (*WARM, *preload):
        importlib.import_module(name)
    from lecture_grader.kernels.shell import Channel, make_shell
    from lecture_grader.student.values import tensor_maker

    if torch := sys.modules.get("torch"):
        tensor_maker()
        torch.compile = _without_compiling  # type: ignore[attr-defined]
    _channel = Channel()
    _shell = make_shell(_channel)


def _without_compiling(model: Any = None, **_: Any) -> Any:
    """Replaces ``torch.compile``, because a box has no compiler: returns the model unchanged."""
    return model if model is not None else _without_compiling


def serve(descriptor: int) -> None:
    """Run a kernel until the owner closes the socket.

    Args:
        descriptor: Of the socket for requests and replies.
    """
    import numpy.random

    from lecture_grader.kernels.shell import Stream

    owner = socket.socket(fileno=descriptor)
    _channel.open(owner.sendall)
    tempfile.tempdir = None  # the parent's default: this process has another TMPDIR
    sys.path.insert(0, "")  # for modules that a cell writes
    _redirect_descriptors()
    sys.stdout, sys.stderr = Stream(_channel, Kind.STDOUT), Stream(_channel, Kind.STDERR)
    builtins.input = getpass.getpass = _no_input
    # Reproducible results, also of code that sets no seed.
    random.seed(0)
    numpy.random.seed(0)  # noqa: NPY002 (students may use it)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)
        set_threads = torch.set_num_threads
        torch.set_num_threads = lambda nthreads: set_threads(min(nthreads, MAX_THREADS))  # type: ignore[attr-defined]
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # between cells
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
    """Restore what IPython needs, whatever the previous cell did to it."""
    sys.setrecursionlimit(max(sys.getrecursionlimit(), MIN_RECURSION))
    sys.stdout, sys.stderr = sys.stdout or output, sys.stderr or errors


def _run(loop: asyncio.AbstractEventLoop, code: str) -> Any:
    task = loop.create_task(_shell.run(code))
    try:
        signal.signal(signal.SIGINT, _channel.interrupt)
        try:
            return loop.run_until_complete(task)
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    except BaseException as error:  # raised outside of the cell's code
        task.cancel()
        return _shell.reply(error)


def _no_input(prompt: object = "", *_: Any, **__: Any) -> NoReturn:
    from IPython.core.error import StdinNotImplementedError

    raise StdinNotImplementedError(f"input({str(prompt)!r}) is not available during grading.")


def _redirect_descriptors() -> None:
    """Redirect descriptors 1 and 2, for child processes and C libraries, to an unnamed file."""
    with tempfile.TemporaryFile() as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    import fcntl

    fcntl.fcntl(1, fcntl.F_SETFL, fcntl.fcntl(1, fcntl.F_GETFL) | os.O_APPEND)


def _send_captured() -> None:
    """Send what that file holds and truncate it."""
    with suppress(OSError):  # a cell may have closed its descriptors
        if os.fstat(1).st_size:
            output = os.pread(1, MAX_CAPTURED, 0)
            os.ftruncate(1, 0)
            _channel.send(Kind.STDOUT, output.decode(errors="replace").encode())


def main(descriptor: int, preload: Sequence[str], channel: int, box: str, user: int) -> None:
    """Serve a socket from a box that bubblewrap has made.

    Args:
        descriptor: As for :func:`serve`.
        preload: As for :func:`warm_up`.
        channel: As for :func:`~lecture_grader.sandbox.start.enter_and_report`, as the others.
    """
    from lecture_grader.sandbox.confine import refuse
    from lecture_grader.sandbox.start import enter_and_report

    try:
        warm_up(preload)  # before memory is measured, as for a forked kernel
    except BaseException as error:
        refuse(socket.socket(fileno=channel), error)
        raise
    enter_and_report(channel, box, user, keep=[descriptor])
    serve(descriptor)


if __name__ == "__main__":
    code = 1
    try:
        main(int(sys.argv[1]), sys.argv[2:-3], int(sys.argv[-3]), sys.argv[-2], int(sys.argv[-1]))
        code = 0
    finally:
        os._exit(code)  # also ends threads that would keep the box alive
