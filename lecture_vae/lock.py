"""Lock: one process at a time trains a run. Whoever waits says for whom.

The lock itself is the operating system's, and falls open when its holder ends, however it ends.
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

STALLED = 900.0  # seconds without a sign of life after which waiting ends


@contextmanager
def hold_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of the run in a folder, so that no other process trains it.

    Raises:
        StoreError: If another process holds it and has written nothing for a quarter of an hour.
        OSError: If the store cannot be written.
    """
    path = folder.with_suffix(".lock")
    path.touch()  # with the rights that the umask gives, for a store that a group shares
    lock = FileLock(path, timeout=1.0, mode=path.stat().st_mode & 0o777)
    holder = folder / "holder.txt"
    began, said = time.time(), False
    while not lock.is_locked:
        with suppress(Timeout):
            lock.acquire()
            break
        with suppress(OSError):
            who = holder.read_text(encoding="utf-8")
            if not said:
                said = True
                say(f"run {folder.name} is being trained by {who}; waiting for it.")
        if (idle := time.time() - (_last_sign(folder) or began)) > STALLED:
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


def _last_sign(folder: Path) -> float | None:
    """When the holder of a lock last wrote anything; not into the lock, which whoever asks does."""
    try:
        return max((path.stat().st_mtime for path in folder.iterdir()), default=None)
    except OSError:
        return None
