"""Frames on the socket between the grader and a kernel in its box.

A frame is a head, which tells the kind, the number of the request and the size, and so many bytes.
Whoever reads sees the head first: what is too large is refused, and what nobody asked for is passed
over, before any of it is held. A kernel runs students' code, which may send anything.
"""

import socket
import struct
from collections.abc import Callable, Iterator
from enum import IntEnum

__all__ = [
    "MAX_JSON",
    "FrameError",
    "FrameSizeError",
    "Kind",
    "Reader",
    "pack",
    "read_exactly",
    "well_formed",
]

HEAD = struct.Struct("!BII")  # kind, number of the request, bytes that follow
MAX_JSON = 65_536  # bytes of a frame that is parsed as JSON
CHUNK = 65_536


class Kind(IntEnum):
    """What a frame holds."""

    READY = 1  # nothing: the kernel waits for requests
    REQUEST = 2  # the source of a cell
    STDOUT = 3  # text
    STDERR = 4  # text
    DISPLAY = 5  # a MIME type, a zero byte, and text
    ERROR = 6  # JSON: ename, evalue, traceback
    REPLY = 7  # JSON: status, ename, evalue; the cell has ended


class FrameError(ValueError):
    """What came is no frame."""


class FrameSizeError(FrameError):
    """A frame is larger than allowed."""


def pack(kind: Kind, number: int, payload: bytes = b"") -> bytes:
    """A frame as bytes."""
    return HEAD.pack(kind, number, len(payload)) + payload


def well_formed(text: str) -> str:
    """The same text with halves of characters joined, and those without a partner replaced."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def read_exactly(source: socket.socket) -> tuple[int, int, bytes]:
    """The next frame of a sender that is trusted; waits for it.

    Raises:
        EOFError: If the other end is closed.
    """
    kind, number, size = HEAD.unpack(_receive(source, HEAD.size))
    return kind, number, _receive(source, size)


def _receive(source: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        part = source.recv(min(size - len(received), 1 << 20))
        if not part:
            raise EOFError("the other end is closed")
        received += part
    return bytes(received)


class Reader:
    """Reads frames of a sender that is not trusted, without waiting.

    Args:
        source: A socket that does not block.
        max_frame: Bytes that a frame may have.
    """

    def __init__(self, source: socket.socket, max_frame: int):
        self.source, self.max_frame = source, max_frame
        self.received = self.frames = 0  # bytes and frames so far
        self.ended = False  # the other end is closed
        self._held = bytearray()
        self._skip = 0

    def read(self, wanted: Callable[[int, int], bool]) -> Iterator[tuple[int, int, bytes]]:
        """Kind, number and payload of the frames that have arrived, at most one chunk of them.

        Args:
            wanted: Whether a frame of this kind and number is to be held.

        Raises:
            FrameError: If a frame is none.
            FrameSizeError: If it is larger than allowed.
        """
        try:
            part = self.source.recv(CHUNK)
        except BlockingIOError:
            return
        except ConnectionResetError:  # it was closed with something unread
            part = b""
        self.ended = not part
        self.received += len(part)
        skipped = min(self._skip, len(part))
        self._skip -= skipped
        self._held += memoryview(part)[skipped:]
        at = 0
        while len(self._held) - at >= HEAD.size:
            kind, number, size = HEAD.unpack_from(self._held, at)
            if kind not in Kind.__members__.values():
                raise FrameError(f"a frame of an unknown kind, {kind}")
            most = MAX_JSON if kind in (Kind.ERROR, Kind.REPLY) else self.max_frame
            if size > most:
                raise FrameSizeError(
                    f"a frame has at most {most:,} bytes; one of {size:,} was sent"
                )
            end = at + HEAD.size + size
            if not wanted(kind, number):
                self.frames += 1
                self._skip = max(end - len(self._held), 0)
                at = min(end, len(self._held))
                continue
            if end > len(self._held):
                break
            self.frames += 1
            yield kind, number, bytes(memoryview(self._held)[at + HEAD.size : end])
            at = end
        del self._held[:at]
