"""The Linux calls that confine a process and that Python has no functions for, through ctypes.

Nothing here decides anything: :mod:`lecture_grader.sandbox.confine` says what is called, and when.
Every function raises OSError where the kernel refuses.
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

# Numbers of calls are one list for all architectures since Linux 5.0, except for the older calls.
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
    """Call Linux by number. Integers go as C longs, bytes and buffers as pointers."""
    wide = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    return _checked(_libc.syscall(ctypes.c_long(number), *wide), what)


def _number(name: str) -> int:
    try:
        return _OLDER[platform.machine()][name]
    except KeyError:
        raise OSError(f"{name}: its number on {platform.machine()} is not known here") from None


def prctl(option: int, first: int = 0, second: int = 0, what: str = "prctl") -> int:
    """Set an attribute of this process."""
    zero = ctypes.c_ulong(0)
    wide = ctypes.c_ulong(first), ctypes.c_ulong(second)
    return _checked(_libc.prctl(option, *wide, zero, zero), what)


def unshare(flags: int) -> None:
    """Leave the namespaces that `flags` names for new ones."""
    _checked(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount `source` on `target`."""
    words = [os.fsencode(word) or None for word in (source, target, kind)]
    result = _libc.mount(*words, ctypes.c_ulong(flags), os.fsencode(options) or None)
    _checked(result, f"mount {kind or source} on {target}")


def set_read_only(target: str, recursive: bool = True) -> None:
    """Make the mount at `target`, and those below it, read-only and without set-uid programs."""
    at_fdcwd, at_recursive = -100, 0x8000 if recursive else 0
    attributes = struct.pack("QQQQ", 1 | 2, 0, 0, 0)
    arguments = (at_fdcwd, os.fsencode(target), at_recursive, attributes, len(attributes))
    syscall(SYS_MOUNT_SETATTR, *arguments, what=f"mount_setattr {target}")


def pivot_root(new: str, old: str) -> None:
    """Make `new` the root of the tree; the one so far is then mounted at `old`."""
    syscall(_number("pivot_root"), os.fsencode(new), os.fsencode(old), what="pivot_root")


def unmount(target: str) -> None:
    """Take the mount at `target` out of the tree, even while it is in use."""
    _checked(_libc.umount2(os.fsencode(target), MNT_DETACH), f"unmount {target}")


def drop_bounding_set() -> None:
    """Let no program that is started from here on bring a capability back."""
    for number in range(64):
        try:
            prctl(PR_CAPBSET_DROP, number)
        except OSError:
            break  # beyond the last one; or not allowed, which no_new_privs makes good


def drop_capabilities() -> None:
    """Give up every capability that is held."""
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


# Landlock's rights over files, by the bit each one is.
_RUN, _WRITE, _READ, _LIST, _REMOVE_FOLDER, _REMOVE, _MAKE_FOLDER = (
    1 << bit for bit in (0, 1, 2, 3, 4, 5, 7)
)
_MAKE_FILE, _MAKE_SOCKET, _MAKE_FIFO, _MAKE_LINK, _MOVE, _TRUNCATE, _IOCTL = (
    1 << bit for bit in (8, 9, 10, 12, 13, 14, 15)
)
_OF_A_FILE = _RUN | _WRITE | _READ | _TRUNCATE | _IOCTL  # the others make sense for folders only
LIST = _LIST
READ = _RUN | _READ | _LIST
READ_WRITE = READ | _WRITE | _TRUNCATE
OWN = (
    READ_WRITE | _REMOVE_FOLDER | _REMOVE | _MAKE_FOLDER | _MAKE_FILE | _MAKE_SOCKET | _MAKE_FIFO
    | _MAKE_LINK | _MOVE
)  # fmt: skip


def landlock_abi() -> int:
    """Version of Landlock in this kernel: 0 where there is none."""
    if not sys.platform.startswith("linux"):
        return 0
    try:
        return syscall(SYS_LANDLOCK_CREATE_RULESET, None, 0, 1, what="landlock")
    except OSError:
        return 0


def landlock_restrict(rights: dict[str, int]) -> None:
    """Deny this process and all it starts every file, except `rights` below the paths given.

    From ABI 4 on TCP is denied as well; from ABI 6 on signals to processes outside and abstract
    Unix sockets outside. ``no_new_privs`` must have been set.
    """
    abi = landlock_abi()
    files = {1: 13, 2: 14, 3: 15, 4: 15}.get(abi, 16)  # how many rights this version knows
    handled = (1 << files) - 1
    attributes = struct.pack("QQQ", handled, 0b11 if abi >= 4 else 0, 0b11 if abi >= 6 else 0)
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    ruleset = syscall(
        SYS_LANDLOCK_CREATE_RULESET, attributes[:size], size, 0, what="landlock_create_ruleset"
    )
    for path, allowed in rights.items():
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            allowed &= handled if os.path.isdir(path) else handled & _OF_A_FILE
            rule = struct.pack("=Qi", allowed, place)
            syscall(SYS_LANDLOCK_ADD_RULE, ruleset, 1, rule, 0, what=f"landlock_add_rule {path}")
        finally:
            os.close(place)
    syscall(SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0, what="landlock_restrict_self")
    os.close(ruleset)
