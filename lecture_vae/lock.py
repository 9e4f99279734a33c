"""Lock: one process at a time trains a run; other processes wait, with a message.

It is a lock of the operating system, which releases it when its holder ends, in whatever way.
"""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from lecture_vae.storage import say
from lecture_vae.store import StoreError

__all__ = ["hold_lock"]

STALL_SECONDS = 900.0  # without progress of the holder, after which waiting ends


@contextmanager
def hold_lock(folder: Path) -> Iterator[None]:
    """A context that holds the lock of the run in a folder, so that no other process trains it.

    Args:
        folder: Of the run; it is created. The lock is a file beside it, ``folder.lock``.

    Raises:
        StoreError: If another process holds the lock and has written nothing for 15 minutes.
        OSError: If the store cannot be written.

    Examples:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as store, hold_lock(Path(store) / "run"):
        ...     sorted(path.name for path in Path(store).iterdir())
        ['run', 'run.lock']
    """
    path = folder.with_suffix(".lock")
    path.touch()  # with the mode that the umask allows, for a store that a group shares
    lock = FileLock(path, timeout=1.0, mode=path.stat().st_mode & 0o777)
    holder = folder / "holder.txt"
    began, announced = time.time(), False
    while not lock.is_locked:
        with suppress(Timeout):
            lock.acquire()
            break
        with suppress(OSError):
            name = holder.read_text(encoding="utf-8")
            if not announced:
                announced = True
                say(f"run {folder.name} is being trained by {name}; waiting for it.")
        if (idle := time.time() - (_last_write(folder) or began)) > STALL_SECONDS:
            raise StoreError(
                f"run {folder.name} is locked, but has made no progress for {idle / 60:.0f} "
                f"minutes. Look for the process that holds {path} (its folder may say which: "
                f"{holder}) and end it."
            )
    try:
        with suppress(OSError):
            folder.mkdir(exist_ok=True)
            holder.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _last_write(folder: Path) -> float | None:
    """When the holder last wrote a file; the time of the lock itself is set by every process."""
    try:
        return max((path.stat().st_mtime for path in folder.iterdir()), default=None)
    except OSError:
        return None
