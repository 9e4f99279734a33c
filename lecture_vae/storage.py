"""Storage: atomic writes, and the user's folders for caches and for data.

A file that is written here is complete or absent: no reader sees a part of one. Nothing here knows
what is in a file.
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
    """The user's folder for what can be made again: downloads and resized images.

    Returns:
        An absolute path; the folder need not exist. None for a user without a home folder, as in a
        container that runs under an arbitrary user id.

    Examples:
        >>> folder = cache_folder()  # ~/.cache/lecture_vae on Linux
        >>> folder is None or folder.is_absolute()
        True
    """
    return _user_folder(platformdirs.user_cache_path)


def data_folder() -> Path | None:
    """The user's folder for what is to be kept, such as trained models.

    Returns:
        An absolute path or None, as for :func:`cache_folder`.

    Examples:
        >>> data_folder() is None or data_folder() != cache_folder()
        True
    """
    return _user_folder(platformdirs.user_data_path)


def absolute(path: str | Path) -> Path:
    """The absolute path, with ~ expanded, so that it means the same in every process.

    Symbolic links are not resolved.

    Raises:
        OSError: If it begins with ~ and there is no such home folder, or if it is relative to a
            working directory that was deleted.

    Examples:
        >>> from pathlib import Path
        >>> absolute("runs") == Path.cwd() / "runs"
        True
    """
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:
        raise FileNotFoundError(
            errno.ENOENT, "there is no home folder that ~ could stand for", str(path)
        ) from error


def check_writable(folder: Path) -> None:
    """Check, before long work, that files can be created in a folder. It need not exist.

    Raises:
        OSError: If the folder, or else its nearest existing parent, is a file or read-only.

    Examples:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     check_writable(Path(folder) / "new" / "runs")
    """
    existing = next(
        place for place in (folder, *folder.absolute().parents) if os.path.lexists(place)
    )
    if not os.path.isdir(existing):
        raise NotADirectoryError(errno.ENOTDIR, "it must be a folder, but is none", str(existing))
    if not os.access(existing, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "the folder is read-only for you", str(existing))


def write_atomically(path: Path, write: Callable[[Path], object], *, private: bool = False) -> None:
    """Let ``write`` fill a temporary file, then rename it to ``path`` atomically.

    If an error, a full disk or a killed process stops ``write``, ``path`` stays as it was. Missing
    parent folders are created. Of several concurrent writers, the last one wins.

    Args:
        path: Where the finished file will be.
        write: Writes the file at the path that it is given. That path is in the same folder and
            has the same suffix as ``path``, because some writers choose the format by it.
        private: Give the file the mode 0600, even while it is written, and new parent folders the
            mode 0700, whatever the umask. A folder that exists keeps its mode.

    Raises:
        OSError: If the folder cannot be written, the disk is full, or ``write`` wrote nothing.
        Exception: Whatever else ``write`` raises.

    Examples:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "notes.txt"
        ...     write_atomically(path, lambda temporary: temporary.write_text("complete"))
        ...     path.read_text()
        'complete'
    """
    write_together({path: write}, private=[path] if private else ())


def write_together(
    files: Mapping[Path, Callable[[Path], object]], *, private: Collection[Path] = ()
) -> None:
    """Write files that belong together: none is renamed before all are on the disk.

    Args:
        files: Each path with the function that writes it, as for :func:`write_atomically`.
        private: The paths among them that only their owner may read.

    Raises:
        OSError: As :func:`write_atomically`.
        Exception: As :func:`write_atomically`.

    Examples:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     files = {Path(folder) / name: lambda path: path.write_text("") for name in "ab"}
        ...     write_together(files)
        ...     sorted(path.name for path in Path(folder).iterdir())
        ['a', 'b']
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
    """A temporary file beside ``path``, written and synced; removed unless it was renamed."""
    if private:
        _make_private(path.parent)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
    # A rename is atomic only within one file system, hence in the same folder.
    temporary = path.with_name(f".{path.stem}-{uuid.uuid4().hex}{path.suffix}")
    try:
        temporary.touch(0o600 if private else 0o666, exist_ok=False)
        if private:
            temporary.chmod(0o600)  # a umask may also deny the owner
        # The file exists already, to have its mode from the start. A modification time that does
        # not change tells a writer that wrote nothing from one that wrote an empty file.
        os.utime(temporary, (0, 0))
        created = temporary.stat()
        write(temporary)
        if temporary.stat().st_mtime_ns == created.st_mtime_ns:
            raise FileNotFoundError(errno.ENOENT, "nothing was written", str(path))
        # Some writers replace the file by one with another mode.
        temporary.chmod(stat.S_IMODE(created.st_mode))
        # Without this a power cut could keep the new name and lose the content.
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        yield temporary
    except SafetensorError as error:  # what safetensors raises on a full disk
        raise OSError(f"{path}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _make_private(folder: Path) -> None:
    """Create a folder and its missing parents with the mode 0700."""
    if not folder.is_dir():
        _make_private(folder.parent)
        folder.mkdir(0o700, exist_ok=True)
        folder.chmod(0o700)


def _user_folder(kind: Callable[..., Path]) -> Path | None:
    try:
        return absolute(kind("lecture_vae", appauthor=False))
    except (RuntimeError, OSError):  # some versions of platformdirs raise, others leave the ~ in
        return None


def keep_if_possible(what: str, folder: Path | None, write: Callable[[Path], object]) -> bool:
    """Try to write into a cache folder what can be made again.

    Args:
        what: A noun phrase for the warning.
        folder: The cache folder, or None if there is none.
        write: Writes into the folder that it is given.

    Returns:
        Whether it was written. If not, a :class:`UserWarning` says why and what to do.

    Examples:
        >>> import warnings
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore")
        ...     keep_if_possible("The download", None, lambda folder: None)
        False
    """
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


def say(line: str, package: str = "lecture_vae") -> None:
    """Print a line to standard error, after a package's name: work is repeated, or waited for.

    Args:
        line: What to say.
        package: Who says it.

    Examples:
        >>> say("downloading MNIST again.")  # lecture_vae: downloading MNIST again.
    """
    print(f"{package}: {line}", file=sys.stderr)
