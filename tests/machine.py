"""What this machine can confine, found out without the code that is tested.

A broken sandbox must fail its tests, so the sandbox is never asked whether it works: util-linux's
``unshare``, ``bwrap`` and Linux itself are. With ``LECTURE_REQUIRE_SANDBOX=1``, which CI sets, a
machine that cannot confine fails the tests instead of skipping them.
"""

import ctypes
import errno
import os
import platform
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "lecture_grader"
REQUIRED = os.environ.get("LECTURE_REQUIRE_SANDBOX", "") not in ("", "0")
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
# Where these are missing CI goes on: bubblewrap is a second choice, and what root cannot do for
# want of a Python that others can read, an ordinary user does (tests/as_user.sh).
EXCUSED = ("there is no program bwrap", "root's Python is private")

UNSHARE = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--net", "--ipc",
           "--uts"]  # fmt: skip
SYS_MOUNT_SETATTR, SYS_LANDLOCK_CREATE_RULESET = 442, 444  # on all architectures


def system_call(number: int, *arguments: object) -> int:
    """What Linux answers to a raw call: the result, or an error number below zero."""
    libc = ctypes.CDLL(None, use_errno=True)
    result: int = libc.syscall(ctypes.c_long(number), *arguments)
    return result if result >= 0 else -ctypes.get_errno()


@cache
def landlock_abi() -> int:
    """The version of Landlock in this kernel, 0 where there is none."""
    return max(system_call(SYS_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), 1), 0)


def _fails(*command: str, **options: object) -> str:
    """Why a command fails, nothing if it succeeds."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    except OSError as error:
        return str(error)
    if done.returncode == 0:
        return ""
    return done.stderr.strip() or f"exit {done.returncode}"


@cache
def lack(what: str) -> str:
    """Why this machine cannot have `what`, in words; nothing if it can.

    Args:
        what: A level of the sandbox, or "auto" for one of the first two; "seccomp"; "landlock
            rules", which hold without a box too; or "proc", a /proc of the box's own.
    """
    if not sys.platform.startswith("linux"):
        return f"sandboxes need Linux; this is {sys.platform}"
    if what == "auto":
        reasons = [lack("namespaces"), lack("bubblewrap")]
        return "; ".join(reasons) if all(reasons) else ""
    if what == "namespaces":
        if system_call(SYS_MOUNT_SETATTR, -1, b"", 0, b"", ctypes.c_size_t(0)) == -errno.ENOSYS:
            return f"read-only mounts need Linux 5.12; this is {platform.release()}"
        said = _fails(*UNSHARE, "mount", "-t", "tmpfs", "none", "/sys")
        return said and f"no new namespaces for user {os.geteuid()}: {said}"
    if what == "bubblewrap":
        if not shutil.which("bwrap"):
            return "there is no program bwrap"
        separate = ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
        separate += [] if IS_ROOT else ["--unshare-user"]
        files = ["--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"]
        files += ["--size", "1048576", "--tmpfs", "/tmp", "--perms", "0755"]
        files += ["--dir", str(Path("/tmp", "new"))]
        said = _fails("bwrap", *separate, *files, "true")
        return said and f"bwrap fails for user {os.geteuid()}: {said}"
    if what == "landlock rules":
        return "" if landlock_abi() else "this Linux has no Landlock"
    if what == "landlock":
        if lack("landlock rules") or not IS_ROOT:
            return lack("landlock rules")
        # Root's box has another user, who must be able to read Python.
        reads = [sys.executable, "-c", "import os, sys; os.listdir(sys.argv[1])", str(PACKAGE)]
        said = _fails(*reads, user=65534, group=65534, extra_groups=[], cwd="/")
        return said and f"root's Python is private: {said.splitlines()[-1]}"
    if what == "seccomp":
        known = platform.machine() in ("x86_64", "aarch64")
        return "" if known else f"calls are numbered otherwise on {platform.machine()}"
    if what == "proc":
        said = lack("namespaces") or _fails(*UNSHARE, "mount", "-t", "proc", "none", "/proc")
        return said and f"no /proc can be mounted: {said}"
    return {"none": ""}[what]


def needs(what: str) -> None:
    """Skip the test that runs where this machine cannot have `what`; fail it if CI requires it."""
    reason = lack(what)
    if reason and REQUIRED and not reason.startswith(EXCUSED):
        pytest.fail(f"LECTURE_REQUIRE_SANDBOX is set, but {reason}", pytrace=False)
    if reason:
        pytest.skip(reason)


def strongest() -> str:
    """The level that "auto" must come to on this machine; skips or fails where there is none."""
    needs("auto")
    return "bubblewrap" if lack("namespaces") else "namespaces"
