"""Starting a program in a box.

:func:`start` forks a process that enters the box without ``exec``, so that what its parent has
imported stays warm, and only then runs the program it was given. Whatever fails on the way ends the
process: no program runs unboxed.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from lecture_grader.sandbox import linux, mounts
from lecture_grader.sandbox.confine import INNER_ID, Box, SandboxError, enter

__all__ = ["Started", "enter_and_tell", "prepare", "reap", "start", "with_home"]

FIRST_SPARE_ID = 1_900_000_000  # above the ranges that distributions hand out
PATIENCE = 60.0  # seconds for one step of entering; bubblewrap's imports everything in it


@contextmanager
def with_home(box: Box) -> Iterator[Box]:
    """A box with a private home, which is made and removed where its files are the host's."""
    if box.has_own_files:
        yield box
        return
    home = tempfile.mkdtemp(prefix="lv-")
    try:
        yield replace(box, home=home)
    finally:
        for folder, folders, _ in os.walk(home):  # what a program has closed is removed as well
            for place in (os.path.join(folder, name) for name in folders):
                with suppress(OSError):
                    if not os.path.islink(place):
                        os.chmod(place, 0o700)
        shutil.rmtree(home, ignore_errors=True)


def start(
    box: Box,
    program: Callable[[], Any],
    command: list[str] | None = None,
    keep: Sequence[int] = (),
) -> "Started":
    """Fork a process that enters `box` and then runs `program`.

    The caller becomes the reaper of all that the box leaves behind. It must have one thread, and
    cannot start a second box: it may have left its user namespace for that of the first.

    Args:
        box: Where to.
        program: Called in the box, in a copy of this process.
        command: For the level "bubblewrap", which starts Python anew: its arguments after
            ``python``; it must call :func:`enter_and_tell` with what is appended to them.
        keep: Descriptors that the program finds open under the same numbers.

    Raises:
        SandboxError: If entering fails; nothing is left running then.
    """
    linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
    user = None if box.level == "none" else _spare_id(os.getpid())
    try:
        if not box.has_own_files:
            os.chmod(box.home, 0o700)
            if user is not None:
                os.chown(box.home, user, user)
    except OSError as error:
        raise SandboxError(f"a home is a private folder of its own: {error!r}") from error
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(PATIENCE)
    started = Started(0, 0)
    try:
        if box.level == "namespaces":
            _start_in_namespaces(box, program, user, theirs, keep, started)
        elif box.level == "bubblewrap":
            _start_in_bubblewrap(box, command or [], user, theirs, keep, started)
        else:
            started.waited = started.pid = _fork(_enter_and_run, box, program, user, theirs, keep)
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
    theirs: socket.socket,
    keep: Sequence[int],
    started: Started,
) -> None:
    """Leave for new namespaces and fork there: new process numbers hold for the children only.

    This process stays outside of the box, but becomes the root, or the user, of its user namespace.
    """
    mapper = prepare()
    linux.unshare(linux.CLONE_NEWUSER | linux.CLONE_NEWPID)
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, its:
        request = json.dumps([os.getpid(), user]).encode()
        socket.send_fds(mapper, [request], [its.fileno()])
        its.close()
        answer = ours.recv(4096)
    if answer != b"mapped":
        raise SandboxError(answer.decode(errors="replace") or "nobody maps the users")
    inner = INNER_ID if user is not None else None
    started.waited = started.pid = _fork(_enter_and_run, box, program, inner, theirs, keep)


@cache
def prepare() -> socket.socket:
    """Fork a process that stays outside of all boxes and says who their users are.

    Only a process outside may do so. It is forked once, best while this process is small, and ends
    with the last process that can ask it.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        try:
            ours.close()
            linux.close_all_but([0, 1, 2, theirs.fileno()])
            while _map_users(theirs):
                pass
        finally:
            os._exit(0)
    theirs.close()
    return ours


def _map_users(control: socket.socket) -> bool:
    """Serve one request; whether there was one."""
    request, descriptors, _, _ = socket.recv_fds(control, 4096, 1)
    if not request:
        return False
    with socket.socket(fileno=descriptors[0]) as caller:
        try:
            pid, user = json.loads(request)
            me, group = os.geteuid(), os.getegid()
            maps = [(INNER_ID, me, group)]
            if user is not None:
                maps = [(0, me, group), (INNER_ID, user, user)]
            else:
                Path(f"/proc/{pid}/setgroups").write_text("deny")
            # One write each, as Linux demands.
            users = "\n".join(f"{inner} {uid} 1" for inner, uid, _ in maps)
            groups = "\n".join(f"{inner} {gid} 1" for inner, _, gid in maps)
            Path(f"/proc/{pid}/uid_map").write_text(users)
            Path(f"/proc/{pid}/gid_map").write_text(groups)
            answer = "mapped"
        except (OSError, ValueError) as error:
            answer = str(error)
        with suppress(OSError):
            caller.send(answer.encode())
    return True


def _start_in_bubblewrap(
    box: Box,
    command: list[str],
    user: int | None,
    theirs: socket.socket,
    keep: Sequence[int],
    started: Started,
) -> None:
    read, write = os.pipe()
    # Before the binds: Python's environment may itself lie below /tmp.
    binds = ["--size", str(box.limits.disk_mb << 20), "--tmpfs", "/tmp"]
    for place in mounts.places(box.packages):
        for parent in reversed(Path(place).parents[:-1]):  # bubblewrap makes them private
            binds += ["--perms", "0755", "--dir", str(parent)]
        binds += ["--ro-bind", place, place]
    # With its own "--dev", which has terminals, bubblewrap allows no remount to an ordinary user.
    for name in mounts.DEVICES:
        binds += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    for name, target in mounts.DEVICE_LINKS.items():
        binds += ["--symlink", target, f"/dev/{name}"]
    inner = [str(theirs.fileno()), box.as_json(), str(-1 if user is None else user)]
    needed = ["SYS_ADMIN"]  # to bound the entries of /tmp
    users: list[str] = []
    if user is not None:  # then without a user namespace, in which that user would not exist
        needed += ["CHOWN", "SETUID", "SETGID", "SETPCAP"]
    else:
        users = ["--unshare-user", "--uid", str(INNER_ID), "--gid", str(INNER_ID)]
    users += [word for name in needed for word in ("--cap-add", f"CAP_{name}")]
    wrapped = [
        "bwrap", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", *users,
        "--die-with-parent", "--new-session", "--as-pid-1", "--info-fd", str(write), *binds,
        "--proc", "/proc",
        "--size", str(mounts.SHARED_MB << 20), "--tmpfs", "/dev/shm",
        "--chdir", "/tmp", sys.executable, *command, *inner,
    ]  # fmt: skip
    try:
        started.waited = subprocess.Popen(
            wrapped, stdin=subprocess.DEVNULL, pass_fds=[write, theirs.fileno(), *keep]
        ).pid
        os.close(write)
        with os.fdopen(read, "rb", closefd=False) as info:
            started.pid = int(json.load(info)["child-pid"])
    finally:
        os.close(read)


def enter_and_tell(channel: int, told: str, user: int, keep: Sequence[int] = ()) -> None:
    """Enter the box from a process that was started in its namespaces by bubblewrap."""
    enter(Box.from_json(told), None if user < 0 else user, socket.socket(fileno=channel), keep)


def _enter_and_run(
    box: Box,
    program: Callable[[], Any],
    user: int | None,
    theirs: socket.socket,
    keep: Sequence[int],
) -> None:
    enter(box, user, theirs, keep)
    program()


def _spare_id(pid: int) -> int | None:
    """A user and group that nobody has, one per supervisor, if this process may change to it."""
    if os.geteuid() != 0:
        return None
    for line in Path("/proc/self/uid_map").read_text().splitlines():
        first, _, count = map(int, line.split())
        if first <= FIRST_SPARE_ID + pid < first + count:
            return FIRST_SPARE_ID + pid
    return None
