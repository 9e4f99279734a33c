"""A process that has torch and a kernel imported, and forks warm, boxed kernels on request.

Importing torch takes longer than grading a notebook. The forkserver does it once; a fork of it is a
kernel at once. It knows nothing that students may not know: each of its children can read all of
its memory.
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
from lecture_grader.sandbox.start import prepare, with_home
from lecture_grader.sandbox.supervisor import guard

__all__ = ["ForkServer", "Kernel"]

PATIENCE = 120.0  # seconds for a reply, which the first time waits for the imports too
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
    "PIP_NO_INDEX": "1",  # there is no network: what asks for it fails at once
    "PIP_RETRIES": "0",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}


class Kernel:
    """A kernel in its box, as its owner sees it."""

    def __init__(self, pid: int, pidfd: int, report: int) -> None:
        self.pid = pid
        self._pidfd, self._report = pidfd, report
        self._cpu = 0.0
        self._reason: str | None = None

    def fileno(self) -> int:
        """A descriptor that becomes readable when the kernel has ended."""
        return self._report

    @property
    def alive(self) -> bool:
        """Whether the kernel runs."""
        return self.wait(0.0) is None

    @property
    def reason(self) -> str | None:
        """Why the kernel ended: "exit N", "signal N" or "memory"; None while it runs."""
        return self.wait(0.0)

    def wait(self, seconds: float) -> str | None:
        """Why the kernel ended, if it does so within some seconds."""
        if self._reason is None and _readable(self._report, seconds):
            # A supervisor that was killed reports nothing, and has taken its kernel along.
            self._reason = os.read(self._report, 100).decode() or f"signal {int(signal.SIGKILL)}"
        return self._reason

    def cpu_seconds(self) -> float:
        """CPU time of the kernel and of its children that have ended, in seconds."""
        if self.alive:
            with suppress(OSError):  # it may just have ended: then what was read last
                numbers = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
                self._cpu = sum(map(int, numbers[11:15])) / os.sysconf("SC_CLK_TCK")
        return self._cpu

    def interrupt(self) -> None:
        """Raise KeyboardInterrupt in the cell that runs."""
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        """End the whole box and return when it is gone.

        Raises:
            SandboxError: If it does not go within 10 seconds.
        """
        self._signal(signal.SIGKILL)
        if self.wait(10.0) is None:
            raise SandboxError(f"a killed box ends within 10 seconds; process {self.pid} has not.")

    def _signal(self, number: int) -> None:
        if self.alive:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def close(self) -> None:
        """End the box if it runs and let go of it."""
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
    """The owner's end of a forkserver.

    Args:
        sandbox: Where its kernels are shut in.
        limits: Of each box.
        preload: Modules to import beyond those that every kernel needs.
        environment: Variables of its kernels, beyond :data:`ENVIRONMENT`.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        limits: Limits | None = None,
        preload: Sequence[str] = (),
        environment: Iterable[tuple[str, str]] = (),
    ) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Matplotlib writes a list of fonts where it is first imported.
        self._fonts: tempfile.TemporaryDirectory[str] | None = tempfile.TemporaryDirectory(
            prefix="lv-fonts-"
        )
        variables = {
            "MPLCONFIGDIR": self._fonts.name,
            "PATH": os.environ.get("PATH", os.defpath),
            "TMPDIR": tempfile.gettempdir(),  # for homes, where a box has no files of its own
            **dict(environment),
            **ENVIRONMENT,
        }
        told = sandbox.box(limits or Limits()).as_json()
        python = [sys.executable, "-s", "-P", "-B", "-m", "lecture_grader.kernels.forkserver"]
        self._process: subprocess.Popen[bytes] | None = subprocess.Popen(
            [*python, str(theirs.fileno()), told, *preload],
            env=variables,
            cwd="/",
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # Ctrl-C is for its owner
        )
        theirs.close()
        self._socket, self._asked = ours, 0

    @classmethod
    def attach(cls, descriptor: int) -> Self:
        """The same forkserver in another process, which has inherited :meth:`fileno`."""
        self = cls.__new__(cls)
        self._process, self._fonts, self._asked = None, None, os.getpid() * 1000
        self._socket = socket.socket(fileno=descriptor)
        return self

    def fileno(self) -> int:
        """The descriptor to hand on to a process that forks kernels. One at a time may do so."""
        return self._socket.fileno()

    def fork(self, descriptor: int) -> Kernel:
        """A new kernel that serves a socket.

        Args:
            descriptor: The kernel's end of it, which the caller closes.

        Raises:
            SandboxError: If the kernel cannot be shut in.
        """
        self._asked += 1
        request = json.dumps({"number": self._asked}).encode()
        try:
            socket.send_fds(self._socket, [request], [descriptor])
            end = time.monotonic() + PATIENCE
            while _readable(self.fileno(), max(0.0, end - time.monotonic())):
                answer, descriptors, _, _ = socket.recv_fds(self._socket, 65536, 2)
                if not answer:
                    raise ConnectionError("it has ended")
                reply = json.loads(answer)
                if reply["number"] == self._asked and not reply["error"]:
                    return Kernel(reply["pid"], *descriptors)
                for descriptor in descriptors:  # of a request that was given up
                    os.close(descriptor)
                if reply["number"] == self._asked:
                    raise SandboxError(reply["error"])
        except OSError as error:
            raise SandboxError(f"the forkserver does not answer: {error}") from error
        raise SandboxError(f"the forkserver answers within {PATIENCE:.0f} seconds; it has not.")

    def close(self) -> None:
        """End the forkserver, if it was started here; its boxes end within half a second."""
        self._socket.close()
        if self._process:
            try:
                self._process.wait(2.0)
            except subprocess.TimeoutExpired:  # another process still holds the owner's end
                self._process.kill()
                self._process.wait()
        if self._fonts:
            self._fonts.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def main(descriptor: int, told: str, *preload: str) -> None:
    """Fork kernels on request until the owner's end is closed."""
    from lecture_grader.kernels import serve

    plan = Box.from_json(told)
    if plan.level == "namespaces":
        prepare()
    if plan.level != "bubblewrap":
        serve.warm_up(preload)
    gc.collect()
    gc.freeze()  # the children leave these objects alone, and so their pages shared
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # supervisors are not waited for
    with socket.socket(fileno=descriptor) as control:
        while True:
            request, descriptors, _, _ = socket.recv_fds(control, 65536, 16)
            if not request and not descriptors and _hung_up(control):
                return
            number = 0
            try:
                number = int(json.loads(request)["number"])
                (serve_on,) = descriptors
                owner = os.getpid()
                if os.fork() == 0:
                    _supervise(owner, control, number, plan, serve_on, preload)
            except (ValueError, KeyError, TypeError, OSError) as error:
                reply = {"number": number, "error": f"a request is refused: {error!r}"}
                control.send(json.dumps(reply).encode())
            finally:
                for each in descriptors:
                    os.close(each)


def _hung_up(control: socket.socket) -> bool:
    poll = select.poll()
    poll.register(control, select.POLLIN)
    return any(event & select.POLLHUP for _, event in poll.poll(0))


def _supervise(
    owner: int,
    control: socket.socket,
    number: int,
    plan: Box,
    serve_on: int,
    preload: Sequence[str],
) -> None:
    from lecture_grader.kernels import serve

    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        read, write = os.pipe()

        def tell(pid: int, pidfd: int) -> None:
            reply = json.dumps({"number": number, "error": "", "pid": pid}).encode()
            socket.send_fds(control, [reply], [pidfd, read])
            control.close()
            os.close(read)
            os.close(serve_on)  # the kernel's alone, so that its end is seen

        command = ["-s", "-P", "-B", "-m", "lecture_grader.kernels.serve", str(serve_on)]
        command += preload
        try:
            with with_home(plan) as box:
                program = partial(serve.serve, serve_on)
                reason = guard(owner, box, program, command, tell, [serve_on], write)
        except Exception as error:
            what = str(error) if isinstance(error, SandboxError) else f"the supervisor: {error!r}"
            control.send(json.dumps({"number": number, "error": what}).encode())
        else:
            with suppress(BrokenPipeError):  # nobody listens any more
                os.write(write, reason.encode())
    finally:
        os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
    os._exit(0)  # libraries take their time to tear down, and nothing is left to save
