"""Archives: the members of a zip file, and the content of a file or of a member.

Nothing is ever unpacked to the disk, so names cannot escape a directory. Both the declared and
the actual sizes are limited.
"""

import io
import os
import stat
import time
import zipfile
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

__all__ = ["MAX_MEMBERS", "Member", "TooLarge", "content", "members"]

MAX_MEMBERS = 10_000  # files in one archive
MAX_INNER = 60_000_000  # bytes of an archive in an archive, which is kept in memory
DAMAGED = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError)

Member = tuple[int, str, int, float, bool]  # number, path, bytes, time of change, encrypted


class TooLarge(ValueError):
    """A file is larger than the limit."""

    def __init__(self, size: int, limit: int):
        super().__init__(f"the file has {size:,} bytes; at most {limit:,} are read")
        self.size = size


def members(path: Path, inside: Sequence[int]) -> list[Member]:
    """The files in an archive, without directories.

    Args:
        path: A file on the disk.
        inside: Empty for that file itself; else the number of an inner archive.

    Raises:
        ValueError: The file is not an archive, or has too many members.
        OSError: The file cannot be read.
    """
    try:
        infos = _archive(path, inside).infolist()
    except DAMAGED as error:
        raise ValueError(f"it is no zip file, or a damaged one ({error})") from error
    if len(infos) > MAX_MEMBERS:
        raise ValueError(f"it holds {len(infos):,} files; at most {MAX_MEMBERS:,} are looked at")
    return [
        (number, _name(info), info.file_size, _time(info), bool(info.flag_bits & 1))
        for number, info in enumerate(infos)
        if not info.is_dir()
    ]


def content(path: Path, inside: Sequence[int], limit: int) -> bytes:
    """The content of a file on the disk, of a member of it, or of a member of an inner archive.

    Args:
        path: A file on the disk.
        inside: Empty for that file itself; else the numbers of the members on the way.
        limit: Largest size in bytes.

    Raises:
        TooLarge: The declared or the actual size is above `limit`.
        ValueError: The archive is damaged or encrypted.
        OSError: The file cannot be read.
    """
    if inside:
        return _member(path, inside, limit)
    with _open(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise TooLarge(size, limit)
        return file.read(limit)


def _open(path: Path) -> BinaryIO:
    # The file may have been replaced by a link or a FIFO since it was listed.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("it is no regular file")
    return os.fdopen(descriptor, "rb")


def _archive(path: Path, inside: Sequence[int]) -> zipfile.ZipFile:
    if inside:
        return zipfile.ZipFile(io.BytesIO(_member(path, inside, MAX_INNER)))
    with _open(path) as file:
        status = os.fstat(file.fileno())
        return _cached(path, status.st_ino, status.st_mtime_ns)


@lru_cache(maxsize=1)
def _cached(path: Path, *_: int) -> zipfile.ZipFile:
    """The archive, kept open: listing that of a whole class for each student takes too long."""
    return zipfile.ZipFile(_open(path))


def _member(path: Path, inside: Sequence[int], limit: int) -> bytes:
    try:
        archive = _archive(path, inside[:-1])
        info = archive.infolist()[inside[-1]]
        if info.flag_bits & 1:
            raise ValueError("it is encrypted: no password is known here")
        if info.file_size > limit:
            raise TooLarge(info.file_size, limit)
        with archive.open(info) as opened:
            data = opened.read(limit + 1)
    except TooLarge:
        raise
    except (*DAMAGED, IndexError) as error:
        raise ValueError(f"it cannot be unpacked ({error})") from error
    if len(data) > limit:
        raise TooLarge(len(data), limit)
    return data


def _name(info: zipfile.ZipInfo) -> str:
    """The path in the archive; some programs write UTF-8 without setting its flag."""
    if not info.flag_bits & 0x800:
        try:
            return info.orig_filename.encode("cp437").decode("utf8").replace("\\", "/")
        except UnicodeError:
            pass
    return info.filename.replace("\\", "/")


def _time(info: zipfile.ZipInfo) -> float:
    """Time of modification in seconds since 1970; archives hold local time."""
    try:
        return time.mktime((*info.date_time, 0, 0, -1))
    except (ValueError, OverflowError):
        return 0.0
