"""A kernel in a box as nbval wants one: it runs cells, and every cell comes to an end.

nbval's own kernel waits for its timeout when a kernel dies, and holds whatever it prints. This one
stops a cell at the death of the kernel or at a limit of time or output. What nbval reads of a cell
lies here before nbval asks, so that nothing that a kernel sends or withholds can hold nbval up.
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
# Wall time of a cell for each CPU second that it has, and at least: machines are shared.
WALL, LEAST_WALL = 3.0, 10.0
LOOK_SECONDS = 0.1  # between two looks at the limits of a cell
MAX_OUTPUT = 8_000_000  # bytes of one cell, a trained model's weights included
MAX_TOTAL = 64_000_000  # bytes of all cells of a notebook
MAX_FRAMES = 100_000  # of one cell
MAX_TEXT = 20_000  # characters of printed text that are kept of a cell
MAX_DISPLAYS = 1_000  # the last ones are kept


class Stopped(Exception):
    """A cell was stopped: reason is timeout, output, memory or crashed."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


class KernelConnection:
    """A kernel in a new box, and the socket that leads to it."""

    def __init__(self, forkserver: ForkServer):
        self.socket, theirs = socket.socketpair()
        with theirs:
            self.process: Kernel = forkserver.fork(theirs.fileno())
        self.socket.setblocking(False)
        self.reader = Reader(self.socket, MAX_OUTPUT)

    def end(self) -> None:
        """Ends the kernel, and with it its box."""
        self.process.close()
        self.socket.close()


class BoxedKernel:
    """What nbval asks of a kernel, for one that lives in a sandbox.

    Stands in for ``nbval.kernel.RunningKernel``. A cell ends with a reply, with the death of the
    kernel, or at one of its limits; none of them makes nbval wait for its own timeout.

    Attributes:
        cpu_limit: CPU seconds of a cell.
        ends_at: When the kernel is killed, whatever it does, in the time of ``time.monotonic``.
        reply: How the last cell ended: ``status``, and ``ename`` and ``evalue`` of an error;
            empty if it was stopped. It says what the kernel said.
    """

    forkserver: ForkServer  # set when pytest is configured
    spare: "KernelConnection | None" = None  # started while the notebook before still runs
    left = 0  # notebooks that have no kernel yet

    def __init__(self, kernel_name: str, cwd: str | None = None, startup_timeout: float = 60):
        self.cpu_limit = 20.0
        self.ends_at = inf
        self.start()
        BoxedKernel.left -= 1
        if BoxedKernel.left > 0:
            BoxedKernel.spare = KernelConnection(self.forkserver)

    def start(self) -> None:
        """Takes the spare kernel, or a new one, and waits until it is ready.

        Raises:
            RuntimeError: If it is not ready in time.
            Stopped: If it dies, or its end comes first.
        """
        self.connection = BoxedKernel.spare or KernelConnection(self.forkserver)
        BoxedKernel.spare = None
        self.process = self.connection.process
        self._number = 0
        self._ready = False
        self._outgoing = memoryview(b"")
        self._begin()
        deadline = time.monotonic() + START_SECONDS
        while not self._ready:
            if time.monotonic() > deadline:
                self.connection.end()
                raise RuntimeError(f"the kernel was not ready within {START_SECONDS:g} s")
            self._exchange(deadline)

    def _begin(self) -> None:
        """Forgets what the last cell sent."""
        self.reply: dict[str, str] = {}
        self._text: dict[str, list[str]] = {"stdout": [], "stderr": []}
        self._room = MAX_TEXT
        self._kept: deque[dict[str, Any]] = deque(maxlen=MAX_DISPLAYS)
        self._error: dict[str, Any] = {}
        self._messages: deque[dict[str, Any]] = deque()
        reader = self.connection.reader
        self._received, self._frames = reader.received, reader.frames

    def execute_cell_input(self, cell_input: str, allow_stdin: bool | None = None) -> str:
        """Asks the kernel to run a cell; returns the id of the request."""
        self._begin()
        self._number += 1
        source = well_formed(cell_input).encode()
        self._outgoing = memoryview(pack(Kind.REQUEST, self._number, source))
        return str(self._number)

    def await_reply(self, msg_id: str, timeout: float | None = None) -> None:
        """Waits for the end of a cell; keeps its outputs for :meth:`get_message`.

        Raises:
            Stopped: The kernel died, or the cell used up its time or its output.
        """
        begun, cpu = time.monotonic(), self.process.cpu_seconds()
        looked, most = begun, max(WALL * self.cpu_limit, LEAST_WALL)
        while not self.reply:
            self._exchange(begun + most)
            now = time.monotonic()
            if self.reply or now - looked < LOOK_SECONDS:
                continue
            looked = now
            used = self.process.cpu_seconds() - cpu
            if used > self.cpu_limit or now - begun > most:
                self._interrupt()
                what = "CPU time" if used > self.cpu_limit else "time, most of it waiting"
                raise Stopped("timeout", f"more than {self.cpu_limit:g} s of {what}")
        self._messages.extend(self._as_nbval_reads_it(msg_id))

    def _exchange(self, deadline: float) -> None:
        """Sends and receives what can be sent and received within a moment.

        Raises:
            Stopped: If the kernel has died, sent too much, or has to end.
        """
        remaining = min(deadline, self.ends_at) - time.monotonic()
        waits = poll()
        if not self.connection.reader.ended:
            waits.register(self.connection.socket, POLLIN | (POLLOUT if self._outgoing else 0))
        waits.register(self.process, POLLIN)
        ready = dict(waits.poll(max(min(remaining, LOOK_SECONDS), 0.0) * 1000 + 1))
        happened = ready.get(self.connection.socket.fileno(), 0)
        if happened & POLLOUT:
            with suppress(OSError):  # a closed end is seen when reading
                self._outgoing = self._outgoing[self.connection.socket.send(self._outgoing) :]
        if happened & ~POLLOUT:
            self._receive()
        if time.monotonic() > self.ends_at:
            self._end()
            raise Stopped("timeout", "the notebook used up the time that it has in all")
        if self.reply:
            return
        received = self.connection.reader.received
        if received - self._received > MAX_OUTPUT or received > MAX_TOTAL:
            most = MAX_TOTAL if received > MAX_TOTAL else MAX_OUTPUT
            self._end()
            raise Stopped("output", f"more than {most:,} bytes of output")
        if self.connection.reader.frames - self._frames > MAX_FRAMES:
            self._end()
            raise Stopped("output", f"more than {MAX_FRAMES:,} pieces of output")
        if self.connection.reader.ended and self.process.wait(GRACE_SECONDS) is None:
            self._end()
            raise Stopped("crashed", "the kernel closed its end of the socket")
        if self.process.fileno() in ready and not happened & POLLIN:
            self._check_alive()

    def _receive(self) -> None:
        """Takes in one chunk of what the kernel has sent."""
        try:
            for kind, _, payload in self.connection.reader.read(self._is_wanted):
                self._take(kind, payload)
        except FrameSizeError as error:
            self._end()
            raise Stopped("output", str(error)) from error
        except (ValueError, RecursionError) as error:  # a student's code can send anything
            self._end()
            raise Stopped("crashed", f"the kernel sent what no kernel sends: {error}") from error

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
            told = json.loads(payload)
            if not isinstance(told, dict):
                raise FrameError("a reply is an object")
            words = {
                name: well_formed(str(told.get(name, "")))[:MAX_TEXT]
                for name in ("status", "ename", "evalue", "traceback")
            }
            if kind == Kind.REPLY:
                self.reply = words
            else:
                self._error = words

    def _as_nbval_reads_it(self, msg_id: str) -> list[dict[str, Any]]:
        """The outputs of a cell as Jupyter's messages, the last one says that it has ended."""
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
        """The next output of the last cell; raises queue.Empty if there is none, at once."""
        if not self._messages:
            raise Empty
        return self._messages.popleft()

    def await_idle(self, parent_id: str, timeout: float) -> None:
        """Drops the outputs of the last cell, which has ended."""
        self._messages.clear()

    def _interrupt(self) -> None:
        """Stops a cell; a kernel that does not obey is killed."""
        self.process.interrupt()
        deadline = time.monotonic() + GRACE_SECONDS
        try:
            while not self.reply:
                if time.monotonic() > deadline:
                    self._end()
                    return
                self._exchange(deadline)
        except Stopped:
            self._end()

    def _check_alive(self) -> None:
        """Raises Stopped if the kernel is dead."""
        if not self.process.alive:
            reason = self.process.reason
            self._end()
            if reason == "memory":
                raise Stopped("memory", "more memory than allowed")
            raise Stopped("crashed", f"the kernel died ({reason or 'no reason known'})")

    def is_alive(self) -> bool:
        """Whether the kernel runs."""
        return self.process.alive

    def interrupt(self) -> None:
        """Interrupts the kernel; only nbval's own timeout, which never comes, would ask for it."""
        self.process.interrupt()

    def _end(self) -> None:
        self.process.kill()

    def stop(self) -> None:
        """Ends the kernel and its box."""
        self.connection.end()
