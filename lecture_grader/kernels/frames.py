"""The framing protocol between the grader and a kernel in its box.

A frame is a header (kind, number of the request, size) and a payload. Kernels are untrusted, so a
reader rejects frames that are too large and skips frames of other requests by their headers,
before it stores any payload.
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

HEAD = struct.Struct("!BII")  # kind, number of the request, size of the payload in bytes
MAX_JSON = 65_536  # bytes of a payload that is parsed as JSON
CHUNK = 65_536  # bytes that are received at once


class Kind(IntEnum):
    """The kind of a frame, with its payload."""

    READY = 1  # empty: the kernel accepts requests
    REQUEST = 2  # the source of a cell
    STDOUT = 3  # text
    STDERR = 4  # text
    DISPLAY = 5  # a MIME type, a null byte, text
    ERROR = 6  # JSON: ename, evalue, traceback
    REPLY = 7  # JSON: status, ename, evalue; the cell has ended


class FrameError(ValueError):
    """Malformed data on the socket."""


class FrameSizeError(FrameError):
    """A frame is larger than allowed."""


def pack(kind: Kind, number: int, payload: bytes = b"") -> bytes:
    """Serialize a frame."""
    return HEAD.pack(kind, number, len(payload)) + payload


def well_formed(text: str) -> str:
    """The text with surrogate pairs joined and lone surrogates replaced by U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def read_exactly(source: socket.socket) -> tuple[int, int, bytes]:
    """Receive the next frame of a trusted sender; blocks.

    Returns:
        Kind, number and payload.

    Raises:
        EOFError: If the sender has closed the socket.
    """
    kind, number, size = HEAD.unpack(_receive(source, HEAD.size))
    return kind, number, _receive(source, size)


def _receive(source: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        part = source.recv(min(size - len(received), 1 << 20))
        if not part:
            raise EOFError("the sender has closed the socket")
        received += part
    return bytes(received)


class Reader:
    """Reads the frames of an untrusted sender without blocking.

    Args:
        source: A non-blocking socket.
        max_frame: Largest payload in bytes.
    """

    def __init__(self, source: socket.socket, max_frame: int):
        self.source, self.max_frame = source, max_frame
        self.received = self.frames = 0  # bytes and frames so far
        self.ended = False  # the sender has closed the socket
        self._buffer = bytearray()
        self._skip = 0  # bytes that still belong to a skipped payload

    def read(self, wanted: Callable[[int, int], bool]) -> Iterator[tuple[int, int, bytes]]:
        """Receive at most one chunk; yield kind, number and payload of each complete frame.

        Args:
            wanted: Whether to keep a frame of this kind and number; others are skipped.

        Raises:
            FrameError: If a frame is malformed.
            FrameSizeError: If a payload is too large.
        """
        try:
            part = self.source.recv(CHUNK)
        except BlockingIOError:
            return
        except ConnectionResetError:  # closed with unread data
            part = b""
        self.ended = not part
        self.received += len(part)
        skipped = min(self._skip, len(part))
        self._skip -= skipped
        self._buffer += memoryview(part)[skipped:]
        at = 0
        while len(self._buffer) - at >= HEAD.size:
            kind, number, size = HEAD.unpack_from(self._buffer, at)
            if kind not in Kind.__members__.values():
                raise FrameError(f"a frame of an unknown kind, {kind}")
            limit = MAX_JSON if kind in (Kind.ERROR, Kind.REPLY) else self.max_frame
            if size > limit:
                raise FrameSizeError(
                    f"a frame has at most {limit:,} bytes; one of {size:,} was sent"
                )
            end = at + HEAD.size + size
            if not wanted(kind, number):
                self.frames += 1
                self._skip = max(end - len(self._buffer), 0)
                at = min(end, len(self._buffer))
                continue
            if end > len(self._buffer):
                break
            self.frames += 1
            yield kind, number, bytes(memoryview(self._buffer)[at + HEAD.size : end])
            at = end
        del self._buffer[:at]
