"""Files that are whole or absent: a reader never meets a half-written one.

Nothing here knows what is in a file.
"""

import errno
import os
import stat
import sys
import uuid
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import platformdirs
from safetensors import SafetensorError

__all__ = [
    "absolute", "cache_folder", "check_writable", "data_folder", "keep_if_possible", "say",
    "write_atomically", "write_together",
]  # fmt: skip


def cache_folder() -> Path | None:
    """The folder for what can be made again: downloads and resized images. It may not exist yet.

    None for a user without a home folder, as in a container that runs under any number.
    """
    return _users(platformdirs.user_cache_path)


def data_folder() -> Path | None:
    """The folder for what shall be kept. It may not exist yet; None as for the cache."""
    return _users(platformdirs.user_data_path)


def absolute(path: str | Path) -> Path:
    """A path that somebody named, as it means the same in every process.

    Raises:
        OSError: It begins with ~ and there is no such home folder, or it is relative to a working
            folder that was deleted.
    """
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:
        raise FileNotFoundError(
            errno.ENOENT, "there is no home folder that ~ could stand for", str(path)
        ) from error


def check_writable(folder: Path) -> None:
    """Find out before long work that its files could not be put into a folder, new or not.

    Raises:
        OSError: It, or the nearest folder above it that exists, is a file or read-only.
    """
    there = next(place for place in (folder, *folder.absolute().parents) if os.path.lexists(place))
    if not os.path.isdir(there):
        raise NotADirectoryError(errno.ENOTDIR, "it must be a folder, but is none", str(there))
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "the folder is read-only for you", str(there))


def write_atomically(path: Path, write: Callable[[Path], object], *, private: bool = False) -> None:
    """Lets `write` fill a temporary file, then renames it to `path` in one step.

    Whatever stops `write`, be it an error, a full disk or a killed process, `path` stays as it
    was. Missing parent folders are created. Of several writers at once, the last one wins.

    Args:
        path: Where the finished file shall be.
        write: Writes the file at the path that it is given. That path is in the same folder and
            has the same suffix as `path`, because some writers choose the format by it.
        private: Whether, whatever the umask, nobody else may read the file, not even while it is
            written, and the folders that are created. A folder that exists keeps its rights.

    Raises:
        OSError: The folder cannot be written or the disk is full.
        Exception: Whatever else `write` raises.
    """
    write_together({path: write}, private=[path] if private else ())


def write_together(
    files: Mapping[Path, Callable[[Path], object]], *, private: Collection[Path] = ()
) -> None:
    """Writes files that belong together: none is renamed before all are on the disk.

    Args:
        files: Each path with what writes it, as for :func:`write_atomically`.
        private: The paths among them that nobody else may read.

    Raises:
        OSError, Exception: As :func:`write_atomically`.
    """
    with ExitStack() as stack:
        finished = {
            path: stack.enter_context(_finished(path, write, path in private))
            for path, write in files.items()
        }
        for path, temporary in finished.items():
            temporary.replace(path)


@contextmanager
def _finished(path: Path, write: Callable[[Path], object], private: bool) -> Iterator[Path]:
    """A temporary file beside `path`, filled and on the disk; removed unless it was renamed."""
    if private:
        _make_private(path.parent)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
    # The same folder is the same file system: only there is a rename a single step.
    temporary = path.with_name(f".{path.stem}-{uuid.uuid4().hex}{path.suffix}")
    try:
        temporary.touch(0o600 if private else 0o666, exist_ok=False)
        if private:
            temporary.chmod(0o600)  # some umasks take rights from the owner, too
        # The file stays, because another one would have other rights, and so its time tells
        # whether it was written: a writer that writes nothing is not taken for an empty file.
        os.utime(temporary, (0, 0))
        made = temporary.stat()
        write(temporary)
        if temporary.stat().st_mtime_ns == made.st_mtime_ns:
            raise FileNotFoundError(errno.ENOENT, "nothing was written", str(path))
        # Some writers make a file of their own, with its rights.
        temporary.chmod(stat.S_IMODE(made.st_mode))
        # Without this a power cut could keep the new name and lose the content.
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        yield temporary
    except SafetensorError as error:  # its writer's word for a full disk
        raise OSError(f"{path}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _make_private(folder: Path) -> None:
    """The folder and what is missing above it, for this user only."""
    if not folder.is_dir():
        _make_private(folder.parent)
        folder.mkdir(0o700, exist_ok=True)
        folder.chmod(0o700)


def _users(kind: Callable[..., Path]) -> Path | None:
    try:
        return absolute(kind("lecture_vae", appauthor=False))
    except (RuntimeError, OSError):  # some versions of platformdirs raise, others leave the ~ in
        return None


def keep_if_possible(what: str, folder: Path | None, write: Callable[[Path], object]) -> bool:
    """Let `write` keep in a folder what can be made again; False, with a word, if it cannot."""
    where, remedy = "", "set HOME, which is not set and which the system does not know"
    if folder is not None:
        try:
            write(folder)
            return True
        except OSError as error:
            where, remedy = f" in {folder} ({error})", "make the folder writable or free some space"
    warnings.warn(
        f"{what} could not be kept{where}, so the next call repeats the work. Nothing is lost; "
        f"{remedy}.",
        stacklevel=3,
    )
    return False


def say(line: str) -> None:
    """A word to whoever watches, on standard error: of work done again, or of a wait."""
    print(f"lecture_vae: {line}", file=sys.stderr)
