"""IPython's shell in a box: it publishes outputs as frames on one socket.

ipykernel serves many clients over five ZeroMQ sockets and three threads, and a receiver cannot
limit the memory of a message. A boxed kernel has one client and runs one cell at a time, so that
frames on one socket suffice. Cells notice no difference.
"""

import io
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

from ipykernel.ipkernel import IPythonKernel
from ipykernel.zmqshell import ZMQInteractiveShell
from IPython.core.profiledir import ProfileDir
from jupyter_client.session import Session
from traitlets.config import Config

from lecture_grader.kernels.frames import MAX_JSON, Kind, pack, well_formed

__all__ = ["BoxedShell", "Channel", "make_shell"]

FLUSH_BYTES, FLUSH_SECONDS = 65_536, 0.2  # of buffered text
MAX_MESSAGE = 4_000  # characters of an exception's message
SENT = ("text/plain", "application/vnd.lecture-vae")  # no images: the grader does not use them


class Channel:
    """Sends frames on the kernel's socket; discards them until :meth:`open`."""

    def __init__(self) -> None:
        self.send_all: Callable[[bytes], Any] | None = None
        self.number = 0  # of the current request
        self._lock = threading.Lock()
        self._process = 0
        self._sending = self._interrupted = False  # of the main thread

    def open(self, send_all: Callable[[bytes], Any]) -> None:
        """Send from now on, but not in child processes that a cell forks."""
        self.send_all, self._process = send_all, os.getpid()

    def send(self, kind: Kind, payload: bytes = b"") -> None:
        """Send one frame."""
        if self.send_all is None or os.getpid() != self._process:
            return
        in_main = threading.current_thread() is threading.main_thread()
        with self._lock:
            try:
                self._sending = self._sending or in_main
                self.send_all(pack(kind, self.number, payload))
            finally:
                self._sending = self._sending and not in_main
        if in_main and self._interrupted:
            self.interrupt()

    def interrupt(self, *_: object) -> None:
        """Raise KeyboardInterrupt in the main thread, deferred to the end of a frame."""
        self._interrupted = self._sending
        if not self._sending:
            raise KeyboardInterrupt

    def send_json(self, kind: Kind, content: dict[str, Any]) -> None:
        """Send an object as JSON, without its traceback if it is too large."""
        text = json.dumps(content)
        if len(text) > MAX_JSON:
            text = json.dumps(content | {"traceback": []})
        self.send(kind, text.encode())

    def display(self, data: dict[str, Any]) -> None:
        """Send the representations of a displayed object whose MIME types the grader reads."""
        for mime, text in data.items():
            if isinstance(text, str) and mime.startswith(SENT):
                self.send(Kind.DISPLAY, mime.encode() + b"\0" + well_formed(text).encode())


class Stream(io.TextIOBase):
    """Standard output or error of a cell."""

    encoding, errors = "utf-8", "replace"

    def __init__(self, channel: Channel, kind: Kind):
        self.channel, self.kind = channel, kind
        self._parts: list[str] = []
        self._size, self._sent = 0, 0.0
        self._lock = threading.RLock()

    @property
    def name(self) -> str:
        return f"<{self.kind.name.lower()}>"

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 1 if self.kind == Kind.STDOUT else 2

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        with self._lock:
            self._parts.append(text)
            self._size += len(text)
            if self._size > FLUSH_BYTES or time.monotonic() - self._sent > FLUSH_SECONDS:
                self.flush()
        return len(text)

    def flush(self) -> None:
        with self._lock:
            text, self._parts, self._size = "".join(self._parts), [], 0
            self._sent = time.monotonic()
        for at in range(0, len(text), FLUSH_BYTES):
            self.channel.send(self.kind, well_formed(text[at : at + FLUSH_BYTES]).encode())


class _Session(Session):
    """Sends as frames what ipykernel's objects publish."""

    channel: Channel

    def send(self, stream: Any, msg_or_type: Any, content: Any = None, *_: Any, **__: Any) -> None:
        if isinstance(msg_or_type, dict):
            msg_or_type, content = msg_or_type["msg_type"], msg_or_type["content"]
        if msg_or_type in ("display_data", "execute_result", "update_display_data"):
            self.channel.display(content["data"])


class BoxedShell(ZMQInteractiveShell):
    """The shell that runs cells."""

    system = ZMQInteractiveShell.system_raw  # else "!" requires a pseudo-terminal

    def __init__(self, *arguments: Any, **keywords: Any):
        super().__init__(*arguments, **keywords)
        self.channel = Channel()
        self.tracebacks: list[list[str]] = []  # of this cell, not yet sent

    def init_ipython_dir(self, ipython_dir: Any) -> None:
        """Skip the directory of settings: this is called outside of the box."""

    def _showtraceback(self, etype: Any, evalue: Any, stb: list[str]) -> None:
        """Keep the traceback; only at the end of the cell is it known whether the cell failed."""
        self.tracebacks.append([str(line) for line in stb])
        self._last_traceback = stb

    def run_line_magic(self, magic_name: str, line: str, _stack_depth: int = 1) -> Any:
        """Run a line magic. If it fails, print the error and continue with the next statement.

        ``%matplotlib widget`` or ``%load_ext`` may work only on the student's machine.
        """
        try:
            return super().run_line_magic(magic_name, line, _stack_depth + 1)
        except Exception as error:
            print(f"%{magic_name}: {type(error).__name__}: {message_of(error)}", file=sys.stderr)
            return None

    def ask_exit(self) -> NoReturn:
        """End the cell, not the kernel."""
        raise SystemExit

    async def run(self, code: str) -> dict[str, str]:
        """Run a cell.

        Returns:
            The reply: ``status`` is "ok" or "error", with ``ename`` and ``evalue`` then.
        """
        self.tracebacks.clear()
        failed = None
        try:
            transformed = self.transform_cell(code)
        except Exception:
            transformed, failed = code, sys.exc_info()
        result = await self.run_cell_async(
            code, transformed_cell=transformed, preprocessing_exc_tuple=failed
        )
        self.events.trigger("post_execute")
        self.events.trigger("post_run_cell", result)
        return self.reply(result.error_before_exec or result.error_in_exec)

    def reply(self, error: BaseException | None) -> dict[str, str]:
        """Send the error of a cell, if any, and return the reply, as :meth:`run` does."""
        last = self.tracebacks.pop() if error is not None and self.tracebacks else []
        for lines in self.tracebacks:
            print("\n".join(lines), file=sys.stderr)
        if error is None:
            return {"status": "ok"}
        content = {"ename": type(error).__name__[:200], "evalue": well_formed(message_of(error))}
        self.channel.send_json(Kind.ERROR, {**content, "traceback": [well_formed("\n".join(last))]})
        return {"status": "error", **content}


def message_of(error: BaseException) -> str:
    """The message of an exception, also if its ``__str__`` raises."""
    try:
        return str(error)[:MAX_MESSAGE]
    except Exception as second:
        return f"(its message raises {type(second).__name__})"


class _Profile(ProfileDir):
    """A profile without a directory: settings are neither read nor written."""

    def _location_changed(self, change: Any) -> None:
        pass

    def check_dirs(self) -> None:
        pass


class _Kernel(IPythonKernel):
    """The kernel object that extensions and comms use."""

    shell_class = BoxedShell

    async def do_shutdown(self, restart: bool) -> NoReturn:
        raise RuntimeError("a cell cannot restart or shut down the kernel during grading.")


def make_shell(channel: Channel) -> BoxedShell:
    """Create the shell of this process, which sends its outputs on `channel`."""
    config = Config()
    config.HistoryManager.enabled = False
    session = _Session()
    session.channel = channel
    kernel = _Kernel.instance(
        config=config,
        session=session,
        profile_dir=_Profile(location="/nowhere"),
        iopub_socket=object(),
        user_ns={},
    )
    shell = kernel.shell
    assert isinstance(shell, BoxedShell)
    shell.channel = channel
    return shell
