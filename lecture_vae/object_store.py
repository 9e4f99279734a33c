"""Object store: runs under a URL such as ``s3://bucket/runs``, through fsspec.

An object store has no locks and no renames. So a run lives in a local folder while it is trained,
as in a store that is a folder, and what must outlive this machine is copied: its checkpoint after
each evaluation, and its files when it is finished, run.json last. A run is stored if and only if
its run.json is under the URL; the local files of a stored run are a cache.

Two machines may train one run at the same time, since neither sees the other's lock. Both write the
same files, so that time is lost but no result.
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lecture_vae.storage import cache_folder, say, write_atomically

__all__ = ["ObjectStore", "is_url"]

CHECKPOINT = "checkpoint.safetensors"
HEAD = "run.json"


def is_url(store: object) -> bool:
    """Whether a store is named by a URL; otherwise it is a folder.

    Examples:
        >>> is_url("s3://bucket/runs"), is_url("/home/ada/runs")
        (True, False)
    """
    return isinstance(store, str) and "://" in store


class ObjectStore:
    """The runs under a URL.

    Args:
        url: Of any protocol that fsspec knows. Credentials come from the environment.

    Raises:
        OSError: If the protocol is unknown, its package is missing, or there is no cache folder.

    Examples:
        >>> ObjectStore("memory://runs").has("0" * 16)
        False
        >>> ObjectStore("nonsense://runs")
        Traceback (most recent call last):
        ...
        OSError: the object store nonsense://runs cannot be used: ValueError: ...
    """

    def __init__(self, url: str):
        from fsspec.core import url_to_fs

        self.url = url
        options = {"auto_mkdir": True} if url.startswith(("file:", "local:")) else {}
        with self._told():
            self._files, root = url_to_fs(url, use_listings_cache=False, **options)
        self._root: str = root.rstrip("/")
        cache = cache_folder()
        if cache is None:
            raise OSError(
                f"runs of {url} are trained in a local cache folder, but this user has none: set "
                "HOME or XDG_CACHE_HOME."
            )
        # Where runs are while they are trained; one folder for each URL.
        self.folder: Path = cache / "live" / hashlib.sha256(url.encode()).hexdigest()[:16]

    def has(self, key: str) -> bool:
        """Whether a run is stored.

        Raises:
            OSError: If the object store cannot be read.
        """
        with self._told():
            return bool(self._files.exists(self._object(key, HEAD)))

    def keys(self, prefix: str = "") -> list[str]:
        """The keys of the stored runs that begin with a prefix.

        Raises:
            OSError: If the object store cannot be read.

        Examples:
            >>> ObjectStore("memory://none").keys()
            []
        """
        if re.fullmatch("[0-9a-f]{16}", prefix):
            return [prefix] if self.has(prefix) else []
        with self._told():
            found = self._files.glob(f"{self._root}/{prefix}*/{HEAD}")
        keys = sorted(path.rstrip("/").split("/")[-2] for path in found)
        return [key for key in keys if re.fullmatch("[0-9a-f]{16}", key)]

    def bring(self, key: str) -> None:
        """Copy a stored run into the local folder, unless it is there.

        Raises:
            OSError: If the object store cannot be read.
        """
        if (self.folder / key / HEAD).exists():
            return
        with self._told():
            names = self._names(key)
            for name in sorted(names, key=lambda name: name == HEAD):  # it comes last
                if name != CHECKPOINT:
                    self._get(key, name)

    def bring_checkpoint(self, key: str) -> None:
        """Copy the checkpoint of an interrupted run into the local folder, if there is one.

        It only saves time: if it cannot be read, a message on standard error says why.
        """
        try:
            with self._told():
                if self._files.exists(self._object(key, CHECKPOINT)):
                    self._get(key, CHECKPOINT)
        except OSError as error:
            say(f"{error} Run {key} is trained without its checkpoint.")

    def send_checkpoint(self, key: str) -> None:
        """Copy the checkpoint of a run from the local folder to the object store.

        It only saves time: if it cannot be written, a message on standard error says why.
        """
        try:
            with self._told():
                self._put(key, CHECKPOINT)
        except OSError as error:
            say(f"{error} Run {key} goes on; if this machine is lost, it begins anew.")

    def send(self, key: str) -> None:
        """Copy a finished run from the local folder to the object store, and drop its checkpoint.

        Raises:
            OSError: If the object store cannot be written. The local files are kept, and sent by
                the next fetch of the run on this machine.
        """
        folder = self.folder / key
        names = [path.relative_to(folder).as_posix() for path in folder.rglob("*.safetensors")]
        with self._told():
            for name in names:
                if name != CHECKPOINT and not Path(name).name.startswith("."):
                    self._put(key, name)
            self._put(key, HEAD)
            if self._files.exists(self._object(key, CHECKPOINT)):
                self._files.rm_file(self._object(key, CHECKPOINT))

    def drop(self, key: str) -> None:
        """Remove a run from the object store: first what makes it a stored one.

        Raises:
            OSError: If the object store cannot be written.
        """
        with self._told():
            for name in sorted(self._names(key), key=lambda name: name != HEAD):
                self._files.rm_file(self._object(key, name))

    def _object(self, key: str, name: str) -> str:
        return f"{self._root}/{key}/{name}"

    def _names(self, key: str) -> list[str]:
        """The objects of a run, by their names below its key."""
        start = f"{self._root}/{key}/"
        return [path.partition(start)[2] for path in self._files.find(start)]

    def _get(self, key: str, name: str) -> None:
        def fill(file: Path) -> None:
            self._files.get_file(self._object(key, name), str(file))

        write_atomically(self.folder / key / name, fill)

    def _put(self, key: str, name: str) -> None:
        self._files.put_file(str(self.folder / key / name), self._object(key, name))

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What goes wrong in an object store, of whatever kind, as an OSError that names it."""
        try:
            yield
        except Exception as error:
            raise OSError(
                f"the object store {self.url} cannot be used: {type(error).__name__}: "
                f"{' '.join(str(error).split())}. {_hint(error)}"
            ) from error


def _hint(error: Any) -> str:
    if isinstance(error, ImportError):
        return "For s3:// install the extra: pip install 'lecture-vae[s3]'."
    return "Is the URL right, and are its credentials in the environment?"
