"""Files that are whole or absent: a reader never meets a half-written one.

Nothing here knows what is in a file.
"""

import os
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import platformdirs

__all__ = ["cache_folder", "say", "write_atomically"]


def cache_folder() -> Path:
    """The folder for what can be made again: downloads and resized images. It may not exist yet."""
    return platformdirs.user_cache_path("lecture_vae", appauthor=False)


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` fill a temporary file, then renames it to `path` in one step.

    Whatever stops `write`, be it an error, a full disk or a killed process, `path` stays as it
    was. Missing parent folders are created. Of several writers at once, the last one wins.

    Args:
        path: Where the finished file shall be.
        write: Writes the file at the path that it is given. That path is in the same folder and
            has the same suffix as `path`, because some writers choose the format by it.

    Raises:
        OSError: The folder cannot be written or the disk is full.
        Exception: Whatever `write` raises.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The same folder is the same file system: only there is a rename a single step.
    temporary = path.with_name(f".{path.stem}-{uuid.uuid4().hex}{path.suffix}")
    try:
        # Some writers make their file private; its rights shall be those that the umask gives.
        temporary.touch(exist_ok=False)
        rights = temporary.stat().st_mode & 0o777
        temporary.unlink()
        write(temporary)
        temporary.chmod(rights)
        # Without this a power cut could keep the new name and lose the content.
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def say(line: str) -> None:
    """A word to whoever watches, on standard error: of work done again, or of a wait."""
    print(f"lecture_vae: {line}", file=sys.stderr)
