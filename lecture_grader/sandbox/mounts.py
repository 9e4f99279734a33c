"""The files that a box shows: Python, the packages of the course, and nothing beside them."""

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from lecture_grader.sandbox import linux

__all__ = ["bound_entries", "build", "places"]

LINKED = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")  # in / often links into /usr
SYSTEM = (*(f"/{name}" for name in LINKED), *(f"/usr/{name}" for name in LINKED), "/nix/store")
SYSTEM += ("/usr/libexec", "/usr/share")  # not all of /usr: courses have been seen in /usr/src
ETC = ("alternatives", "fonts", "ld.so.cache", "localtime")
DEVICES = ("null", "zero", "full", "urandom", "random")
DEVICE_LINKS = {"fd": "/proc/self/fd"} | {
    name: f"/proc/self/fd/{number}" for number, name in enumerate(("stdin", "stdout", "stderr"))
}
OF_A_PREFIX = ("bin", "etc", "include", "lib", "lib64", "pyvenv.cfg", "share")
OWN = str(Path(__file__).parents[1])  # this package, parts of which run in the box
STAGE = "/sys"  # the new root is put together here, where nothing lies that goes into it
PASSWD, GROUP = "student:x:1000:1000::/tmp:/bin/sh\n", "student:x:1000:\n"
SHARED_MB = 64  # size of /dev/shm
ENTRIES, SHARED = 800, 200  # files, folders, links and sockets in /tmp and in /dev/shm


def places(packages: Iterable[str]) -> list[str]:
    """Files and folders that exist and are shown in a box, all read-only.

    Of the folder that holds a package only the package itself: exercises lie beside it. Of
    Python's own folders only those that hold Python, in case a course lives in an environment.

    Args:
        packages: Folders and files of packages that are shown beside this one.
    """
    prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    prefixes |= {os.path.realpath(prefix) for prefix in prefixes}
    prefixes |= {str(Path(os.path.realpath(sys.executable)).parent.parent), "/usr/local"}
    shown = {*SYSTEM, *(f"/etc/{name}" for name in ETC), OWN, *packages}
    shown |= {f"{prefix}/{name}" for prefix in prefixes for name in OF_A_PREFIX}
    kept: list[str] = []
    for place in sorted(place for place in shown if os.path.exists(place)):
        inside = any(place.startswith(f"{other}/") for other in kept if not os.path.islink(other))
        if not inside:
            kept.append(place)
    return kept


def build(owner: int, disk_mb: int, packages: Iterable[str]) -> None:
    """Give this process, alone in its mount namespace, a root of its own with :func:`places` in it.

    Args:
        owner: User and group of /tmp and /dev/shm, which are file systems in memory.
        disk_mb: Size of /tmp in MiB.
        packages: As for :func:`places`.

    Raises:
        OSError: If Linux refuses any step; that /proc cannot be mounted, which some containers do
            not allow, is none.
    """
    linux.mount("none", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    private = linux.MS_NOSUID | linux.MS_NODEV
    linux.mount("box", STAGE, "tmpfs", private, "size=1m,mode=0755")
    # Before the binds: Python's environment may itself lie below /tmp.
    for place, size_mb, entries in (("/tmp", disk_mb, ENTRIES), ("/dev/shm", SHARED_MB, SHARED)):
        os.makedirs(STAGE + place)
        options = f"size={size_mb}m,nr_inodes={entries},mode=0700,uid={owner},gid={owner}"
        linux.mount("none", STAGE + place, "tmpfs", private, options)
    for place in places(packages):
        if os.path.islink(place) and place in SYSTEM:
            os.symlink(os.readlink(place), STAGE + place)
        else:
            _show(place, place, linux.MS_REC)
            linux.set_read_only(STAGE + place)
    for name in DEVICES:
        _show(f"/dev/{name}", f"/dev/{name}")
    for name, target in DEVICE_LINKS.items():
        os.symlink(target, f"{STAGE}/dev/{name}")
    Path(f"{STAGE}/etc").mkdir(exist_ok=True)
    Path(f"{STAGE}/etc/passwd").write_text(PASSWD)
    Path(f"{STAGE}/etc/group").write_text(GROUP)
    os.mkdir(f"{STAGE}/proc")
    with suppress(PermissionError):
        linux.mount("proc", f"{STAGE}/proc", "proc", private | linux.MS_NOEXEC)
    os.chdir(STAGE)
    linux.pivot_root(".", ".")  # the old root now lies on top of the new one
    linux.unmount(".")
    os.chdir("/")
    linux.set_read_only("/", recursive=False)


def bound_entries() -> None:
    """Bound how much /tmp and /dev/shm hold where bubblewrap, which cannot, has mounted them."""
    for place, entries in (("/tmp", ENTRIES), ("/dev/shm", SHARED)):
        flags = linux.MS_REMOUNT | linux.MS_NOSUID | linux.MS_NODEV
        linux.mount("none", place, "tmpfs", flags, f"nr_inodes={entries}")


def _show(place: str, at: str, flags: int = 0) -> None:
    """Bind `place` below the stage."""
    there = Path(STAGE + at)
    there.parent.mkdir(parents=True, exist_ok=True)
    if os.path.isdir(place):
        there.mkdir(exist_ok=True)
    else:
        there.touch()
    linux.mount(os.path.realpath(place), str(there), flags=linux.MS_BIND | flags)
