"""A kernel in a box as nbval wants one: it runs cells, and every cell comes to an end.

nbval's own kernel waits for its timeout when a kernel dies, and holds whatever it prints. This one
speaks to a boxed kernel over Unix sockets, and stops a cell at the death of the kernel or at a
limit of time or output.
"""

import json
import shutil
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import zmq
from jupyter_client.session import Session

from lecture_vae.grading.zygote import Kernel, Zygote

__all__ = ["BoxedKernel", "Stopped"]

START_SECONDS = 60.0
GRACE_SECONDS = 2.0  # between an interrupt and the kill
WALL = 3.0  # wall time allowed for each CPU second, because machines are shared
MAX_OUTPUT = 16_000_000  # bytes of one cell, a trained model's weights included


class Stopped(Exception):
    """A cell was stopped: reason is timeout, output, memory or crashed."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


class Line:
    """A kernel in a new box, and the sockets that lead to it."""

    context = zmq.Context()

    def __init__(self, zygote: Zygote):
        self.box = Path(tempfile.mkdtemp(prefix="lv-"))
        key = uuid.uuid4().hex
        names = ("shell", "iopub", "stdin", "control", "hb")
        connection = {
            "transport": "ipc", "ip": str(self.box / "k"), "key": key,
            "signature_scheme": "hmac-sha256", "kernel_name": "python3",
            **{f"{name}_port": number for number, name in enumerate(names, 1)},
        }  # fmt: skip
        file = self.box / "connection.json"
        file.write_text(json.dumps(connection), encoding="utf8")
        try:
            self.process: Kernel = zygote.fork(self.box, file)
        except BaseException:
            shutil.rmtree(self.box, ignore_errors=True)
            raise
        self.session = Session(key=key.encode())
        self.shell = self._connect(zmq.DEALER, 1)
        self.iopub = self._connect(zmq.SUB, 2)
        self.iopub.setsockopt(zmq.SUBSCRIBE, b"")

    def _connect(self, kind: int, port: int) -> zmq.Socket:
        socket = self.context.socket(kind)
        socket.linger = 0
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_OUTPUT)
        socket.setsockopt(zmq.RECONNECT_IVL, 5)  # ms; the kernel has yet to bind its end
        socket.connect(f"ipc://{self.box}/k-{port}")
        return socket

    def end(self) -> None:
        """Ends the kernel and removes its box."""
        self.process.close()
        self.shell.close()
        self.iopub.close()
        shutil.rmtree(self.box, ignore_errors=True)


class BoxedKernel:
    """What nbval asks of a kernel, for one that lives in a sandbox and speaks over files.

    Stands in for ``nbval.kernel.RunningKernel``. A cell ends with a reply, with the death of the
    kernel, or at one of its limits; none of them makes nbval wait for its own timeout.
    """

    zygote: Zygote  # set when pytest is configured
    spare: "Line | None" = None  # started while the notebook before still runs
    left = 0  # notebooks that have no kernel yet

    def __init__(self, kernel_name: str, cwd: str | None = None, startup_timeout: float = 60):
        self.cpu_limit = 20.0
        self.played: list[str] = []  # what to run again after a death
        self.start()
        BoxedKernel.left -= 1
        if BoxedKernel.left > 0:
            BoxedKernel.spare = Line(self.zygote)

    def start(self) -> None:
        """Takes the spare kernel, or a new one, and waits until it answers."""
        line, BoxedKernel.spare = BoxedKernel.spare or Line(self.zygote), None
        self.line, self.process = line, line.process
        self.session, self.shell, self.iopub = line.session, line.shell, line.iopub
        self.kept: deque[dict[str, Any]] = deque()
        self.received = 0
        deadline = time.monotonic() + START_SECONDS
        # A subscription takes a moment to arrive, so a request may pass unheard.
        while time.monotonic() < deadline:
            request = self._send("kernel_info_request", {})
            try:
                self.await_idle(request, timeout=0.1)
            except Empty:
                self._check_alive()
            else:
                return
        raise RuntimeError(f"the kernel did not answer within {START_SECONDS:g} s")

    def _send(self, kind: str, content: dict[str, Any]) -> str:
        message: Any = self.session.send(self.shell, kind, content)
        return str(message["header"]["msg_id"])

    def execute_cell_input(self, cell_input: str, allow_stdin: bool | None = None) -> str:
        """Asks the kernel to run a cell; returns the id of the request."""
        self.received = 0
        self.kept.clear()
        return self._send(
            "execute_request",
            {
                "code": cell_input,
                "silent": False,
                "store_history": False,
                "user_expressions": {},
                "allow_stdin": False,
                "stop_on_error": False,
            },
        )

    def await_reply(self, msg_id: str, timeout: float | None = None) -> None:
        """Waits for the end of a cell; keeps its outputs for :meth:`get_message`.

        Raises:
            Stopped: The kernel died, or the cell used up its time or its output.
        """
        begun, cpu = time.monotonic(), self.process.cpu_seconds()
        poller = zmq.Poller()
        for source in (self.shell, self.iopub, self.process):
            poller.register(source, zmq.POLLIN)
        while True:
            ready = dict(poller.poll(200))
            if self.iopub in ready:
                self.kept += self._read(self.iopub)
                if self.received > MAX_OUTPUT:
                    self._end()
                    raise Stopped("output", f"more than {MAX_OUTPUT:,} bytes of output")
            if self.shell in ready:
                for message in self._read(self.shell):
                    if message["parent_header"].get("msg_id") == msg_id:
                        return
            if not self.process.alive:
                self._check_alive()
            used = self.process.cpu_seconds() - cpu
            if used > self.cpu_limit or time.monotonic() - begun > WALL * self.cpu_limit:
                self._interrupt(msg_id)
                what = "CPU time" if used > self.cpu_limit else "time, most of it waiting"
                raise Stopped("timeout", f"more than {self.cpu_limit:g} s of {what}")

    def _interrupt(self, msg_id: str) -> None:
        """Stops a cell; a kernel that does not obey is killed."""
        self.process.interrupt()
        try:
            self.await_idle(msg_id, GRACE_SECONDS)
        except (Empty, Stopped):
            self._end()

    def _check_alive(self) -> None:
        """Raises Stopped if the kernel is dead."""
        if not self.process.alive:
            reason = self.process.reason
            self._end()
            if reason == "memory":
                raise Stopped("memory", "more memory than allowed")
            raise Stopped("crashed", f"the kernel died ({reason or 'no reason known'})")

    def _read(self, socket: zmq.Socket) -> Iterator[dict[str, Any]]:
        """Messages that have arrived on a socket; what is not a message ends the kernel."""
        for _ in range(64):  # then the caller looks at its limits again
            try:
                frames = socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            self.received += sum(map(len, frames))
            try:
                _, parts = self.session.feed_identities(frames)
                yield self.session.deserialize(parts)
            except Exception as error:  # a student's code can write anything on these sockets
                self._end()
                raise Stopped("crashed", f"the kernel sent what is no message: {error}") from error

    def get_message(self, stream: str, timeout: float | None = None) -> dict[str, Any]:
        """The next output; raises queue.Empty after `timeout` seconds without one."""
        deadline = time.monotonic() + (timeout or 0)
        while not self.kept:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise Empty
            if self.iopub.poll(int(min(remaining, 0.2) * 1000) + 1):
                self.kept += self._read(self.iopub)
                if self.received > MAX_OUTPUT:
                    self._end()
                    raise Stopped("output", f"more than {MAX_OUTPUT:,} bytes of output")
            elif not self.process.alive:
                self._check_alive()
        return self.kept.popleft()

    def await_idle(self, parent_id: str, timeout: float) -> None:
        """Drops outputs until the kernel is idle after a request; raises queue.Empty."""
        deadline = time.monotonic() + timeout
        while True:
            message = self.get_message("iopub", max(deadline - time.monotonic(), 0))
            if (
                message["parent_header"].get("msg_id") == parent_id
                and message["msg_type"] == "status"
                and message["content"].get("execution_state") == "idle"
            ):
                return

    def is_alive(self) -> bool:
        """Whether the kernel runs."""
        return self.process.alive

    def interrupt(self) -> None:
        """Interrupts the kernel; only nbval's own timeout, which never comes, would ask for it."""
        self.process.interrupt()

    def revive(self) -> None:
        """After a death: a new kernel, in which the answers that ran before run again."""
        self._renew()
        for source in list(self.played):
            try:
                self.await_reply(self.execute_cell_input(source))
            except Stopped:
                if not self.is_alive():
                    self._renew()

    def _renew(self) -> None:
        self.line.end()
        self.start()

    def _end(self) -> None:
        self.process.kill()

    def stop(self) -> None:
        """Ends the kernel and removes its box."""
        self.line.end()
