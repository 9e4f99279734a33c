"""Starting a program in a box.

:func:`start` forks a process that enters the box without ``exec``, so that what its parent has
imported stays warm, and only then runs the program it was given. Whatever fails on the way ends the
process: no program runs unboxed.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lecture_vae.grading import linux, tree
from lecture_vae.grading.confine import INNER_ID, Box, SandboxError, enter

__all__ = ["Started", "enter_and_tell", "reap", "start"]

FIRST_SPARE_ID = 1_900_000_000  # above the ranges that distributions hand out
PATIENCE = 60.0  # seconds for one step of entering; bubblewrap's imports everything in it

_NAMESPACES = (
    linux.CLONE_NEWUSER | linux.CLONE_NEWNS | linux.CLONE_NEWPID | linux.CLONE_NEWNET
    | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS
)  # fmt: skip


def start(box: Box, program: Callable[[], Any], command: list[str] | None = None) -> "Started":
    """Fork a process that enters `box` and then runs `program`.

    The caller becomes the reaper of all that the box leaves behind and should have one thread.

    Args:
        box: Where to.
        program: Called in the box, in a copy of this process.
        command: For the level "bubblewrap", which starts Python anew: its arguments after
            ``python``; it must call :func:`enter_and_tell` with the descriptor appended to it.

    Raises:
        SandboxError: If entering fails; nothing is left running then.
    """
    linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
    user = None if box.level == "none" else _spare_id(os.getpid())
    try:
        if not box.folder.is_dir():
            raise NotADirectoryError(str(box.folder))
        if box.home != "/tmp":
            os.makedirs(box.home, mode=0o700, exist_ok=True)
        if user is not None:
            for place in [box.folder, *box.folder.iterdir()]:
                os.chown(place, user, user, follow_symlinks=False)
    except OSError as error:
        raise SandboxError(f"a box is a private folder of its own: {error!r}") from error
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(PATIENCE)
    started = Started(0, 0)
    try:
        if box.level == "namespaces":
            _start_in_namespaces(box, program, user, ours, theirs, started)
        elif box.level == "bubblewrap":
            _start_in_bubblewrap(box, command or [], user, theirs, started)
        else:
            started.waited = started.pid = _fork(_enter_and_run, box, program, user, ours, theirs)
        theirs.close()
        ours.send(b"go")
        answer = ours.recv(4096)
        if answer != b"ready":
            raise SandboxError(answer.decode(errors="replace") or "the process ended on its way in")
    except (OSError, ValueError, SandboxError) as error:
        for pid in {started.pid, started.waited} - {0}:
            os.kill(pid, signal.SIGKILL)
        reap()
        raise SandboxError(f"the box ({box.level}) could not be entered: {error}") from error
    finally:
        ours.close()
        theirs.close()
    return started


@dataclass
class Started:
    """A program in its box."""

    pid: int  # of the program, as seen from here
    waited: int  # the child of this process that ends with it, the same or its parent


def reap() -> None:
    """Wait for whatever has ended among the children of this process."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _fork(function: Callable[..., Any], *arguments: Any) -> int:
    """Fork, call `function` in the child and end it there, whatever happens."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        function(*arguments)
        code = 0
    finally:
        os._exit(code)


def _start_in_namespaces(
    box: Box,
    program: Callable[[], Any],
    user: int | None,
    ours: socket.socket,
    theirs: socket.socket,
    started: Started,
) -> None:
    """Fork twice: new process numbers hold for the children of the one that asks for them."""
    middle = _fork(_go_between, box, program, user, ours, theirs)
    try:
        told = ours.recv(4096)
        if told != b"unshared":
            raise SandboxError(told.decode(errors="replace") or "unshare failed")
        maps = [(INNER_ID, os.geteuid(), os.getegid())]
        if user is not None:
            maps = [(0, os.geteuid(), os.getegid()), (INNER_ID, user, user)]
        else:
            Path(f"/proc/{middle}/setgroups").write_text("deny")
        # One write each, as Linux demands.
        users = "\n".join(f"{inner} {uid} 1" for inner, uid, _ in maps)
        groups = "\n".join(f"{inner} {gid} 1" for inner, _, gid in maps)
        Path(f"/proc/{middle}/uid_map").write_text(users)
        Path(f"/proc/{middle}/gid_map").write_text(groups)
        ours.send(b"mapped")
        told = ours.recv(4096)
        if not told.startswith(b"pid "):
            raise SandboxError(told.decode(errors="replace") or "fork failed")
        started.pid = started.waited = int(told[4:])
    except BaseException:
        os.kill(middle, signal.SIGKILL)
        raise
    finally:
        os.waitpid(middle, 0)


def _go_between(
    box: Box,
    program: Callable[[], Any],
    user: int | None,
    ours: socket.socket,
    theirs: socket.socket,
) -> None:
    ours.close()
    try:
        linux.unshare(_NAMESPACES)
        theirs.send(b"unshared")
        if theirs.recv(16) != b"mapped":
            return
        inner = INNER_ID if user is not None else None
        child = _fork(_enter_and_run, box, program, inner, None, theirs)
        theirs.send(b"pid %d" % child)
    except OSError as error:
        theirs.send(str(error).encode())


def _start_in_bubblewrap(
    box: Box, command: list[str], user: int | None, theirs: socket.socket, started: Started
) -> None:
    read, write = os.pipe()
    # Before the binds: Python's environment may itself lie below /tmp.
    mounts = ["--size", str(box.limits.disk_mb << 20), "--tmpfs", "/tmp"]
    for place in tree.places():
        for parent in reversed(Path(place).parents[:-1]):  # bubblewrap makes them private
            mounts += ["--perms", "0755", "--dir", str(parent)]
        mounts += ["--ro-bind", place, place]
    inner = [str(theirs.fileno()), box.as_json(), str(-1 if user is None else user)]
    # As root without a user namespace: the id that the box then takes on must exist in it.
    users = (
        ["--unshare-user", "--uid", str(INNER_ID), "--gid", str(INNER_ID)]
        if user is None
        else [
            word
            for needed in ("CHOWN", "SETUID", "SETGID", "SETPCAP")
            for word in ("--cap-add", f"CAP_{needed}")
        ]
    )
    wrapped = [
        "bwrap", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", *users,
        "--die-with-parent", "--new-session", "--as-pid-1", "--info-fd", str(write), *mounts,
        "--proc", "/proc", "--dev", "/dev", "--bind", str(box.folder), box.inside,
        "--size", str(tree.SHARED_MB << 20), "--tmpfs", "/dev/shm",
        "--chdir", "/tmp", sys.executable, *command, *inner,
    ]  # fmt: skip
    try:
        started.waited = subprocess.Popen(
            wrapped, stdin=subprocess.DEVNULL, pass_fds=[write, theirs.fileno()]
        ).pid
        os.close(write)
        with os.fdopen(read, "rb", closefd=False) as info:
            started.pid = int(json.load(info)["child-pid"])
    finally:
        os.close(read)


def enter_and_tell(channel: int, told: str, user: int) -> Box:
    """Enter the box from a process that was started in its namespaces by bubblewrap."""
    box = Box.from_json(told)
    theirs = socket.socket(fileno=channel)
    enter(box, None if user < 0 else user, theirs)
    return box


def _enter_and_run(
    box: Box,
    program: Callable[[], Any],
    user: int | None,
    ours: socket.socket | None,
    theirs: socket.socket,
) -> None:
    if ours:
        ours.close()
    enter(box, user, theirs)
    program()


def _spare_id(pid: int) -> int | None:
    """A user and group that nobody has, one per warden, if this process may change to it."""
    if os.geteuid() != 0:
        return None
    for line in Path("/proc/self/uid_map").read_text().splitlines():
        first, _, count = map(int, line.split())
        if first <= FIRST_SPARE_ID + pid < first + count:
            return FIRST_SPARE_ID + pid
    return None
