"""System calls that confine a process and that Python does not wrap, through ctypes.

:mod:`lecture_grader.sandbox.confine` decides which are made, and when. Every function raises
OSError if the kernel refuses.
"""

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Iterable

__all__ = [
    "close_all_but",
    "drop_bounding_set",
    "drop_capabilities",
    "landlock_abi",
    "landlock_restrict",
    "mount",
    "pivot_root",
    "prctl",
    "set_read_only",
    "syscall",
    "unmount",
    "unshare",
]

_libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_CAPBSET_DROP = 24
PR_SET_SECCOMP = 22
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47

# Since Linux 5.0 new system calls have one number on all architectures; older ones differ.
SYS_MOUNT_SETATTR = 442
SYS_LANDLOCK_CREATE_RULESET, SYS_LANDLOCK_ADD_RULE, SYS_LANDLOCK_RESTRICT_SELF = 444, 445, 446
_OLDER = {
    "x86_64": {"pivot_root": 155, "capset": 126},
    "aarch64": {"pivot_root": 41, "capset": 91},
}


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def syscall(number: int, *arguments: object, what: str) -> int:
    """Make a system call by its number. Integers are passed as C longs, bytes as pointers."""
    wide = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    return _checked(_libc.syscall(ctypes.c_long(number), *wide), what)


def _number(name: str) -> int:
    try:
        return _OLDER[platform.machine()][name]
    except KeyError:
        raise OSError(
            f"{name}: the number of this system call on {platform.machine()} is unknown"
        ) from None


def prctl(option: int, first: int = 0, second: int = 0, what: str = "prctl") -> int:
    """Set an attribute of this process: prctl(2)."""
    zero = ctypes.c_ulong(0)
    wide = ctypes.c_ulong(first), ctypes.c_ulong(second)
    return _checked(_libc.prctl(option, *wide, zero, zero), what)


def unshare(flags: int) -> None:
    """Move this process into new namespaces: unshare(2)."""
    _checked(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount `source` on `target`: mount(2)."""
    words = [os.fsencode(word) or None for word in (source, target, kind)]
    result = _libc.mount(*words, ctypes.c_ulong(flags), os.fsencode(options) or None)
    _checked(result, f"mount {kind or source} on {target}")


def set_read_only(target: str, recursive: bool = True) -> None:
    """Set MOUNT_ATTR_RDONLY and MOUNT_ATTR_NOSUID on a mount and, by default, those below it."""
    at_fdcwd, at_recursive = -100, 0x8000 if recursive else 0
    attributes = struct.pack("QQQQ", 1 | 2, 0, 0, 0)
    arguments = (at_fdcwd, os.fsencode(target), at_recursive, attributes, len(attributes))
    syscall(SYS_MOUNT_SETATTR, *arguments, what=f"mount_setattr {target}")


def pivot_root(new: str, old: str) -> None:
    """Make `new` the root mount and move the old root to `old`: pivot_root(2)."""
    syscall(_number("pivot_root"), os.fsencode(new), os.fsencode(old), what="pivot_root")


def unmount(target: str) -> None:
    """Detach the mount at `target`, even while it is busy: umount2(2)."""
    _checked(_libc.umount2(os.fsencode(target), MNT_DETACH), f"unmount {target}")


def drop_bounding_set() -> None:
    """Empty the capability bounding set, so that no exec regains a capability."""
    for number in range(64):
        try:
            prctl(PR_CAPBSET_DROP, number)
        except OSError:
            break  # past the last one, or not permitted: then no_new_privs suffices


def drop_capabilities() -> None:
    """Clear the ambient, permitted, effective and inheritable capabilities."""
    prctl(PR_CAP_AMBIENT, 4)  # clear all
    header, none = struct.pack("Ii", 0x20080522, 0), struct.pack("6I", 0, 0, 0, 0, 0, 0)
    syscall(_number("capset"), header, none, what="capset")


def close_all_but(keep: Iterable[int]) -> None:
    """Close every file descriptor except `keep`."""
    low = 0
    for number in [*sorted(keep), 1 << 20]:
        if low < number:
            os.closerange(low, number)
        low = number + 1


# Landlock's access rights, by bit.
_RUN, _WRITE, _READ, _LIST, _REMOVE_FOLDER, _REMOVE, _MAKE_FOLDER = (
    1 << bit for bit in (0, 1, 2, 3, 4, 5, 7)
)
_MAKE_FILE, _MAKE_SOCKET, _MAKE_FIFO, _MAKE_LINK, _MOVE, _TRUNCATE, _IOCTL = (
    1 << bit for bit in (8, 9, 10, 12, 13, 14, 15)
)
_FILE_RIGHTS = _RUN | _WRITE | _READ | _TRUNCATE | _IOCTL  # the others apply to directories
LIST = _LIST
READ = _RUN | _READ | _LIST
READ_WRITE = READ | _WRITE | _TRUNCATE
OWN = (
    READ_WRITE | _REMOVE_FOLDER | _REMOVE | _MAKE_FOLDER | _MAKE_FILE | _MAKE_SOCKET | _MAKE_FIFO
    | _MAKE_LINK | _MOVE
)  # fmt: skip


def landlock_abi() -> int:
    """The version of the Landlock ABI of this kernel; 0 without Landlock."""
    if not sys.platform.startswith("linux"):
        return 0
    try:
        return syscall(SYS_LANDLOCK_CREATE_RULESET, None, 0, 1, what="landlock")
    except OSError:
        return 0


def landlock_restrict(rights: dict[str, int]) -> None:
    """Restrict this process and its descendants to some access rights.

    From ABI 4 on TCP is denied as well, and from ABI 6 on signals and abstract Unix sockets across
    the boundary. ``no_new_privs`` must be set.

    Args:
        rights: The access rights to each path and what is below it; all others are denied.
    """
    abi = landlock_abi()
    files = {1: 13, 2: 14, 3: 15, 4: 15}.get(abi, 16)  # number of access rights in this ABI
    handled = (1 << files) - 1
    attributes = struct.pack("QQQ", handled, 0b11 if abi >= 4 else 0, 0b11 if abi >= 6 else 0)
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    ruleset = syscall(
        SYS_LANDLOCK_CREATE_RULESET, attributes[:size], size, 0, what="landlock_create_ruleset"
    )
    for path, allowed in rights.items():
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            allowed &= handled if os.path.isdir(path) else handled & _FILE_RIGHTS
            rule = struct.pack("=Qi", allowed, parent)
            syscall(SYS_LANDLOCK_ADD_RULE, ruleset, 1, rule, 0, what=f"landlock_add_rule {path}")
        finally:
            os.close(parent)
    syscall(SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0, what="landlock_restrict_self")
    os.close(ruleset)
