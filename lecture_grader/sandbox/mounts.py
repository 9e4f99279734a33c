"""The mounts of a box: Python, the packages of the course, and tmpfs for all that it writes."""

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from lecture_grader.sandbox import linux

__all__ = ["build", "limit_inodes", "visible_paths"]

LINKED = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")  # in /, often symbolic links into /usr
SYSTEM = (*(f"/{name}" for name in LINKED), *(f"/usr/{name}" for name in LINKED), "/nix/store")
SYSTEM += ("/usr/libexec", "/usr/share")  # not all of /usr: some courses are kept in /usr/src
ETC = ("alternatives", "fonts", "ld.so.cache", "localtime")
DEVICES = ("null", "zero", "full", "urandom", "random")
DEVICE_LINKS = {"fd": "/proc/self/fd"} | {
    name: f"/proc/self/fd/{number}" for number, name in enumerate(("stdin", "stdout", "stderr"))
}
PREFIX_ENTRIES = ("bin", "etc", "include", "lib", "lib64", "pyvenv.cfg", "share")
OWN_PACKAGE = str(Path(__file__).parents[1])  # parts of it run in the box
NEW_ROOT = "/sys"  # mount point of the new root; nothing below /sys goes into it
PASSWD, GROUP = "student:x:1000:1000::/tmp:/bin/sh\n", "student:x:1000:\n"
SHM_MB = 64  # size of /dev/shm
TMP_INODES, SHM_INODES = 800, 200


def visible_paths(packages: Iterable[str]) -> list[str]:
    """The existing files and directories that are visible in a box, all read-only.

    The parent directory of a package stays hidden, because it may hold the exercises. Of a Python
    prefix only the standard entries are visible, in case a course lives in an environment.

    Args:
        packages: Absolute paths of packages, in addition to this one.
    """
    prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    prefixes |= {os.path.realpath(prefix) for prefix in prefixes}
    prefixes |= {str(Path(os.path.realpath(sys.executable)).parent.parent), "/usr/local"}
    visible = {*SYSTEM, *(f"/etc/{name}" for name in ETC), OWN_PACKAGE, *packages}
    visible |= {f"{prefix}/{name}" for prefix in prefixes for name in PREFIX_ENTRIES}
    kept: list[str] = []
    for path in sorted(path for path in visible if os.path.exists(path)):
        inside = any(path.startswith(f"{other}/") for other in kept if not os.path.islink(other))
        if not inside:
            kept.append(path)
    return kept


def build(owner: int, disk_mb: int, packages: Iterable[str]) -> None:
    """Replace the root of this process's mount namespace by one with :func:`visible_paths` alone.

    Args:
        owner: uid and gid of /tmp and /dev/shm, which are tmpfs.
        disk_mb: Size of /tmp in MiB.
        packages: As for :func:`visible_paths`.

    Raises:
        OSError: If the kernel refuses any step but mounting /proc, which some containers forbid.
    """
    linux.mount("none", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    private = linux.MS_NOSUID | linux.MS_NODEV
    linux.mount("box", NEW_ROOT, "tmpfs", private, "size=1m,mode=0755")
    # Before the bind mounts: Python's environment may itself be below /tmp.
    for path, size_mb, inodes in (("/tmp", disk_mb, TMP_INODES), ("/dev/shm", SHM_MB, SHM_INODES)):
        os.makedirs(NEW_ROOT + path)
        options = f"size={size_mb}m,nr_inodes={inodes},mode=0700,uid={owner},gid={owner}"
        linux.mount("none", NEW_ROOT + path, "tmpfs", private, options)
    for path in visible_paths(packages):
        if os.path.islink(path) and path in SYSTEM:
            os.symlink(os.readlink(path), NEW_ROOT + path)
        else:
            _bind(path, linux.MS_REC)
            linux.set_read_only(NEW_ROOT + path)
    for name in DEVICES:
        _bind(f"/dev/{name}")
    for name, target in DEVICE_LINKS.items():
        os.symlink(target, f"{NEW_ROOT}/dev/{name}")
    Path(f"{NEW_ROOT}/etc").mkdir(exist_ok=True)
    Path(f"{NEW_ROOT}/etc/passwd").write_text(PASSWD)
    Path(f"{NEW_ROOT}/etc/group").write_text(GROUP)
    os.mkdir(f"{NEW_ROOT}/proc")
    with suppress(PermissionError):
        linux.mount("proc", f"{NEW_ROOT}/proc", "proc", private | linux.MS_NOEXEC)
    os.chdir(NEW_ROOT)
    linux.pivot_root(".", ".")  # stacks the old root on top of the new one
    linux.unmount(".")
    os.chdir("/")
    linux.set_read_only("/", recursive=False)


def limit_inodes() -> None:
    """Limit the inodes of /tmp and /dev/shm, for which bubblewrap has no option."""
    for path, inodes in (("/tmp", TMP_INODES), ("/dev/shm", SHM_INODES)):
        flags = linux.MS_REMOUNT | linux.MS_NOSUID | linux.MS_NODEV
        linux.mount("none", path, "tmpfs", flags, f"nr_inodes={inodes}")


def _bind(path: str, flags: int = 0) -> None:
    """Bind-mount `path` at the same path below the new root."""
    target = Path(NEW_ROOT + path)
    target.parent.mkdir(parents=True, exist_ok=True)
    if os.path.isdir(path):
        target.mkdir(exist_ok=True)
    else:
        target.touch()
    linux.mount(os.path.realpath(path), str(target), flags=linux.MS_BIND | flags)
