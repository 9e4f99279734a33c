"""The forkserver: a process that has imported torch and ipykernel and forks boxed kernels.

Importing torch takes longer than grading a notebook. The forkserver does it once, and a fork of it
is ready at once. It holds no secret, because each of its children can read all of its memory.
"""

import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Self

from lecture_grader.sandbox.choose import Sandbox
from lecture_grader.sandbox.confine import Box, Limits, SandboxError
from lecture_grader.sandbox.start import prepare, private_home
from lecture_grader.sandbox.supervisor import supervise

__all__ = ["ForkServer", "Kernel"]

REPLY_SECONDS = 120.0  # the first reply includes the time for the imports
ENVIRONMENT = {
    "LANG": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    "MPLBACKEND": "Agg",
    "TQDM_DISABLE": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "PIP_NO_INDEX": "1",  # without a network, pip should fail at once
    "PIP_RETRIES": "0",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}


class Kernel:
    """The owner's handle on a kernel in its box."""

    def __init__(self, pid: int, pidfd: int, report: int) -> None:
        self.pid = pid
        self._pidfd, self._report = pidfd, report
        self._cpu = 0.0
        self._reason: str | None = None

    def fileno(self) -> int:
        """A file descriptor that becomes readable when the kernel has exited."""
        return self._report

    @property
    def alive(self) -> bool:
        """Whether the kernel runs."""
        return self.wait(0.0) is None

    @property
    def reason(self) -> str | None:
        """How the kernel exited: "exit N", "signal N" or "memory"; None while it runs."""
        return self.wait(0.0)

    def wait(self, seconds: float) -> str | None:
        """Wait for the kernel to exit, at most some seconds; returns its :attr:`reason`."""
        if self._reason is None and _readable(self._report, seconds):
            # A killed supervisor reports nothing; its kernel has died with it.
            self._reason = os.read(self._report, 100).decode() or f"signal {int(signal.SIGKILL)}"
        return self._reason

    def cpu_seconds(self) -> float:
        """CPU seconds of the kernel and of its children that were waited for."""
        if self.alive:
            with suppress(OSError):  # it may just have exited
                numbers = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
                self._cpu = sum(map(int, numbers[11:15])) / os.sysconf("SC_CLK_TCK")
        return self._cpu

    def interrupt(self) -> None:
        """Send SIGINT, which raises KeyboardInterrupt in the running cell."""
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        """Kill all processes of the box and wait until they have exited.

        Raises:
            SandboxError: If they do not exit within 10 seconds.
        """
        self._signal(signal.SIGKILL)
        if self.wait(10.0) is None:
            raise SandboxError(f"a killed box ends within 10 seconds; process {self.pid} has not.")

    def _signal(self, number: int) -> None:
        if self.alive:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def close(self) -> None:
        """Kill the box if it runs and close the descriptors."""
        if self._pidfd >= 0:
            self.kill()
            os.close(self._pidfd)
            os.close(self._report)
            self._pidfd = self._report = -1


def _readable(descriptor: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


class ForkServer:
    """The owner's handle on a forkserver.

    Args:
        sandbox: The sandbox of its kernels.
        limits: Of each box.
        preload: Modules to import in addition to those that every kernel needs.
        environment: Environment variables of its kernels, in addition to :data:`ENVIRONMENT`.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        limits: Limits | None = None,
        preload: Sequence[str] = (),
        environment: Iterable[tuple[str, str]] = (),
    ) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Matplotlib writes its font cache on the first import.
        self._fonts: tempfile.TemporaryDirectory[str] | None = tempfile.TemporaryDirectory(
            prefix="lv-fonts-"
        )
        variables = {
            "MPLCONFIGDIR": self._fonts.name,
            "PATH": os.environ.get("PATH", os.defpath),
            "TMPDIR": tempfile.gettempdir(),  # for homes on the host
            **dict(environment),
            **ENVIRONMENT,
        }
        box = sandbox.box(limits or Limits()).as_json()
        python = [sys.executable, "-s", "-P", "-B", "-m", "lecture_grader.kernels.forkserver"]
        self._process: subprocess.Popen[bytes] | None = subprocess.Popen(
            [*python, str(theirs.fileno()), box, *preload],
            env=variables,
            cwd="/",
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # Ctrl-C must reach only its owner
        )
        theirs.close()
        self._socket, self._requests = ours, 0

    @classmethod
    def attach(cls, descriptor: int) -> Self:
        """A handle on the same forkserver in a child process that has inherited :meth:`fileno`."""
        self = cls.__new__(cls)
        self._process, self._fonts, self._requests = None, None, os.getpid() * 1000
        self._socket = socket.socket(fileno=descriptor)
        return self

    def fileno(self) -> int:
        """The descriptor of the socket; only one process at a time may use it."""
        return self._socket.fileno()

    def fork(self, descriptor: int) -> Kernel:
        """Start a kernel that serves a socket.

        Args:
            descriptor: The kernel's end of the socket, which the caller closes.

        Raises:
            SandboxError: If the kernel cannot be sandboxed.
        """
        self._requests += 1
        request = json.dumps({"number": self._requests}).encode()
        try:
            socket.send_fds(self._socket, [request], [descriptor])
            deadline = time.monotonic() + REPLY_SECONDS
            while _readable(self.fileno(), max(0.0, deadline - time.monotonic())):
                answer, descriptors, _, _ = socket.recv_fds(self._socket, 65536, 2)
                if not answer:
                    raise ConnectionError("it has exited")
                reply = json.loads(answer)
                if reply["number"] == self._requests and not reply["error"]:
                    return Kernel(reply["pid"], *descriptors)
                for descriptor in descriptors:  # of an earlier request that timed out
                    os.close(descriptor)
                if reply["number"] == self._requests:
                    raise SandboxError(reply["error"])
        except OSError as error:
            raise SandboxError(f"the forkserver does not answer: {error}") from error
        raise SandboxError(
            f"the forkserver answers within {REPLY_SECONDS:.0f} seconds; it has not."
        )

    def close(self) -> None:
        """Stop the forkserver, if this process started it; its boxes end within half a second."""
        self._socket.close()
        if self._process:
            try:
                self._process.wait(2.0)
            except subprocess.TimeoutExpired:  # another process still has the owner's socket open
                self._process.kill()
                self._process.wait()
        if self._fonts:
            self._fonts.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def main(descriptor: int, box_as_json: str, *preload: str) -> None:
    """Fork kernels on request until the owner's socket is closed."""
    from lecture_grader.kernels import serve

    box = Box.from_json(box_as_json)
    if box.level == "namespaces":
        prepare()
    if box.level != "bubblewrap":
        serve.warm_up(preload)
    gc.collect()
    gc.freeze()  # keeps the pages of these objects shared with the children
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps the supervisors
    with socket.socket(fileno=descriptor) as control:
        while True:
            request, descriptors, _, _ = socket.recv_fds(control, 65536, 16)
            if not request and not descriptors and _is_closed(control):
                return
            number = 0
            try:
                number = int(json.loads(request)["number"])
                (kernel_socket,) = descriptors
                owner = os.getpid()
                if os.fork() == 0:
                    _run_kernel(owner, control, number, box, kernel_socket, preload)
            except (ValueError, KeyError, TypeError, OSError) as error:
                reply = {"number": number, "error": f"a malformed request: {error!r}"}
                control.send(json.dumps(reply).encode())
            finally:
                for each in descriptors:
                    os.close(each)


def _is_closed(control: socket.socket) -> bool:
    poll = select.poll()
    poll.register(control, select.POLLIN)
    return any(event & select.POLLHUP for _, event in poll.poll(0))


def _run_kernel(
    owner: int, control: socket.socket, number: int, box: Box, kernel_socket: int,
    preload: Sequence[str],
) -> None:  # fmt: skip
    """In a fork: supervise one kernel and report how it exited."""
    from lecture_grader.kernels import serve

    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        read, write = os.pipe()

        def on_start(pid: int, pidfd: int) -> None:
            reply = json.dumps({"number": number, "error": "", "pid": pid}).encode()
            socket.send_fds(control, [reply], [pidfd, read])
            control.close()
            os.close(read)
            os.close(kernel_socket)  # so that the client sees when the kernel closes its copy

        command = ["-s", "-P", "-B", "-m", "lecture_grader.kernels.serve", str(kernel_socket)]
        command += preload
        try:
            with private_home(box) as own:
                program, keep = partial(serve.serve, kernel_socket), [kernel_socket]
                reason = supervise(owner, own, program, command, on_start, keep, write)
        except Exception as error:
            what = str(error) if isinstance(error, SandboxError) else f"the supervisor: {error!r}"
            control.send(json.dumps({"number": number, "error": what}).encode())
        else:
            with suppress(BrokenPipeError):  # the owner has closed its handle
                os.write(write, reason.encode())
    finally:
        os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
    os._exit(0)  # skips the slow shutdown of libraries
