"""The client of a boxed kernel, with the interface of nbval's own.

nbval's kernel waits for a timeout when its kernel dies, and keeps all output in memory. This one
stops a cell when the kernel dies or a limit of time or output is reached. It has received all
outputs of a cell before nbval reads them, so that a kernel cannot block nbval.
"""

import json
import socket
import time
from collections import deque
from contextlib import suppress
from math import inf
from queue import Empty
from select import POLLIN, POLLOUT, poll
from typing import Any

from lecture_grader.kernels.forkserver import ForkServer, Kernel
from lecture_grader.kernels.frames import (
    FrameError,
    FrameSizeError,
    Kind,
    Reader,
    pack,
    well_formed,
)

__all__ = ["BoxedKernel", "Stopped"]

START_SECONDS = 60.0
GRACE_SECONDS = 2.0  # between an interrupt and the kill
# Wall time of a cell, more than its CPU time because machines are shared.
WALL_SECONDS_PER_CPU_SECOND, MIN_WALL_SECONDS = 3.0, 10.0
POLL_SECONDS = 0.1  # between two checks of a cell's limits
MAX_OUTPUT = 8_000_000  # bytes of one cell, a trained model's weights included
MAX_TOTAL = 64_000_000  # bytes of all cells of a notebook
MAX_FRAMES = 100_000  # of one cell
MAX_TEXT = 20_000  # characters of printed text that are kept per cell
MAX_DISPLAYS = 1_000  # the last ones are kept


class Stopped(Exception):
    """A cell was stopped; `reason` is timeout, output, memory or crashed."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


class KernelConnection:
    """A kernel in a new box, and the socket to it."""

    def __init__(self, forkserver: ForkServer):
        self.socket, theirs = socket.socketpair()
        try:
            with theirs:
                self.process: Kernel = forkserver.fork(theirs.fileno())
        except BaseException:  # there is no kernel, and nobody who could end it
            self.socket.close()
            raise
        self.socket.setblocking(False)
        self.reader = Reader(self.socket, MAX_OUTPUT)

    def end(self) -> None:
        """Kills the kernel and its box."""
        self.process.close()
        self.socket.close()


class BoxedKernel:
    """Replaces ``nbval.kernel.RunningKernel`` for a kernel in a sandbox.

    A cell ends with a reply, when the kernel dies or at a limit, never at nbval's timeout.

    Attributes:
        cpu_limit: CPU seconds of a cell.
        ends_at: Deadline of the kernel on the clock ``time.monotonic``; it is killed then.
        reply: How the last cell ended: ``status``, and ``ename`` and ``evalue`` of an error;
            empty if it was stopped. It comes from the kernel and is untrusted.
    """

    forkserver: ForkServer  # set when pytest is configured
    spare: "KernelConnection | None" = None  # started while the previous notebook runs
    remaining = 0  # notebooks that have no kernel yet

    def __init__(self, kernel_name: str, cwd: str | None = None, startup_timeout: float = 60):
        self.cpu_limit = 20.0
        self.ends_at = inf
        self.start()
        BoxedKernel.remaining -= 1
        if BoxedKernel.remaining > 0:
            BoxedKernel.spare = KernelConnection(self.forkserver)

    def start(self) -> None:
        """Takes the spare kernel, or a new one, and waits until it is ready.

        Raises:
            RuntimeError: If it is not ready in time.
            Stopped: If it dies, or at the deadline of the notebook.
        """
        self.connection = BoxedKernel.spare or KernelConnection(self.forkserver)
        BoxedKernel.spare = None
        self.process = self.connection.process
        self._number = 0
        self._ready = False
        self._outgoing = memoryview(b"")
        self._reset()
        deadline = time.monotonic() + START_SECONDS
        while not self._ready:
            if time.monotonic() > deadline:
                self.connection.end()
                raise RuntimeError(f"the kernel was not ready within {START_SECONDS:g} s")
            self._exchange(deadline)

    def _reset(self) -> None:
        """Discards the outputs of the last cell."""
        self.reply: dict[str, str] = {}
        self._text: dict[str, list[str]] = {"stdout": [], "stderr": []}
        self._room = MAX_TEXT
        self._kept: deque[dict[str, Any]] = deque(maxlen=MAX_DISPLAYS)
        self._error: dict[str, Any] = {}
        self._messages: deque[dict[str, Any]] = deque()
        reader = self.connection.reader
        self._received, self._frames = reader.received, reader.frames

    def execute_cell_input(self, cell_input: str, allow_stdin: bool | None = None) -> str:
        """Requests the execution of a cell; returns the id of the request."""
        self._reset()
        self._number += 1
        source = well_formed(cell_input).encode()
        self._outgoing = memoryview(pack(Kind.REQUEST, self._number, source))
        return str(self._number)

    def await_reply(self, msg_id: str, timeout: float | None = None) -> None:
        """Waits for the reply to a cell; keeps its outputs for :meth:`get_message`.

        Raises:
            Stopped: The kernel died, or the cell reached a limit.
        """
        started, cpu = time.monotonic(), self.process.cpu_seconds()
        wall = max(WALL_SECONDS_PER_CPU_SECOND * self.cpu_limit, MIN_WALL_SECONDS)
        checked = started
        while not self.reply:
            self._exchange(started + wall)
            now = time.monotonic()
            if self.reply or now - checked < POLL_SECONDS:
                continue
            checked = now
            used = self.process.cpu_seconds() - cpu
            if used > self.cpu_limit or now - started > wall:
                self._interrupt()
                what = "CPU time" if used > self.cpu_limit else "time, most of it waiting"
                raise Stopped("timeout", f"more than {self.cpu_limit:g} s of {what}")
        self._messages.extend(self._jupyter_messages(msg_id))

    def _exchange(self, deadline: float) -> None:
        """Sends and receives for at most POLL_SECONDS.

        Raises:
            Stopped: If the kernel has died, sent too much or reached its deadline.
        """
        remaining = min(deadline, self.ends_at) - time.monotonic()
        poller = poll()
        if not self.connection.reader.ended:
            poller.register(self.connection.socket, POLLIN | (POLLOUT if self._outgoing else 0))
        poller.register(self.process, POLLIN)
        ready = dict(poller.poll(max(min(remaining, POLL_SECONDS), 0.0) * 1000 + 1))
        events = ready.get(self.connection.socket.fileno(), 0)
        if events & POLLOUT:
            with suppress(OSError):  # reading detects a closed socket
                self._outgoing = self._outgoing[self.connection.socket.send(self._outgoing) :]
        if events & ~POLLOUT:
            self._receive()
        if time.monotonic() > self.ends_at:
            self.process.kill()
            raise Stopped("timeout", "the notebook used up the time that it has in all")
        if self.reply:
            return
        received = self.connection.reader.received
        if received - self._received > MAX_OUTPUT or received > MAX_TOTAL:
            limit = MAX_TOTAL if received > MAX_TOTAL else MAX_OUTPUT
            self.process.kill()
            raise Stopped("output", f"more than {limit:,} bytes of output")
        if self.connection.reader.frames - self._frames > MAX_FRAMES:
            self.process.kill()
            raise Stopped("output", f"more than {MAX_FRAMES:,} pieces of output")
        if self.connection.reader.ended and self.process.wait(GRACE_SECONDS) is None:
            self.process.kill()
            raise Stopped("crashed", "the kernel closed its end of the socket")
        if self.process.fileno() in ready and not events & POLLIN:
            self._check_alive()

    def _receive(self) -> None:
        """Receives one chunk of frames."""
        try:
            for kind, _, payload in self.connection.reader.read(self._is_wanted):
                self._take(kind, payload)
        except FrameSizeError as error:
            self.process.kill()
            raise Stopped("output", str(error)) from error
        except (ValueError, RecursionError) as error:  # the kernel is untrusted
            self.process.kill()
            raise Stopped("crashed", f"the kernel sent a malformed message: {error}") from error

    def _is_wanted(self, kind: int, number: int) -> bool:
        if kind in (Kind.STDOUT, Kind.STDERR) and self._room <= 0:
            return False
        return number == self._number and not self.reply and kind != Kind.REQUEST

    def _take(self, kind: int, payload: bytes) -> None:
        if kind == Kind.READY:
            self._ready = True
        elif kind in (Kind.STDOUT, Kind.STDERR):
            text = payload.decode(errors="replace")[: self._room]
            self._room -= len(text)
            self._text["stdout" if kind == Kind.STDOUT else "stderr"].append(text)
        elif kind == Kind.DISPLAY:
            mime, _, text = payload.decode(errors="replace").partition("\0")
            self._kept.append({"data": {mime: text}, "metadata": {}})
        elif kind in (Kind.ERROR, Kind.REPLY):
            content = json.loads(payload)
            if not isinstance(content, dict):
                raise FrameError("a reply is an object")
            fields = {
                name: well_formed(str(content.get(name, "")))[:MAX_TEXT]
                for name in ("status", "ename", "evalue", "traceback")
            }
            if kind == Kind.REPLY:
                self.reply = fields
            else:
                self._error = fields

    def _jupyter_messages(self, msg_id: str) -> list[dict[str, Any]]:
        """The outputs of a cell as Jupyter messages on iopub, "idle" last."""
        outputs: list[tuple[str, dict[str, Any]]] = [
            ("stream", {"name": name, "text": "".join(parts)})
            for name, parts in self._text.items()
            if parts
        ]
        outputs += [("display_data", display) for display in self._kept]
        if self._error:
            outputs.append(("error", {**self._error, "traceback": [self._error["traceback"]]}))
        outputs.append(("status", {"execution_state": "idle"}))
        return [
            {"msg_type": kind, "parent_header": {"msg_id": msg_id}, "content": content}
            for kind, content in outputs
        ]

    def get_message(self, stream: str, timeout: float | None = None) -> dict[str, Any]:
        """The next output of the last cell; raises queue.Empty without waiting if there is none."""
        if not self._messages:
            raise Empty
        return self._messages.popleft()

    def await_idle(self, parent_id: str, timeout: float) -> None:
        """Discards the outputs of the last cell, which has ended."""
        self._messages.clear()

    def _interrupt(self) -> None:
        """Interrupts a cell; kills the kernel if there is no reply within GRACE_SECONDS."""
        self.process.interrupt()
        deadline = time.monotonic() + GRACE_SECONDS
        try:
            while not self.reply:
                if time.monotonic() > deadline:
                    self.process.kill()
                    return
                self._exchange(deadline)
        except Stopped:
            self.process.kill()

    def _check_alive(self) -> None:
        """Raises Stopped if the kernel has exited."""
        if not self.process.alive:
            reason = self.process.reason
            self.process.kill()
            if reason == "memory":
                raise Stopped("memory", "more memory than allowed")
            raise Stopped("crashed", f"the kernel died ({reason or 'unknown reason'})")

    def is_alive(self) -> bool:
        """Whether the kernel runs."""
        return self.process.alive

    def interrupt(self) -> None:
        """Interrupts the kernel; for nbval's own timeout, which is never reached."""
        self.process.interrupt()

    def stop(self) -> None:
        """Kills the kernel and its box."""
        self.connection.end()
