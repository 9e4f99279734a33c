"""Start a program in a box.

:func:`start` forks a process that enters the box without ``exec``, so that it keeps the modules
that its parent has imported, and then runs a program. The process exits on any error while it
enters, so no program runs outside of a box.
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

__all__ = ["Started", "end", "enter_and_report", "prepare", "private_home", "reap", "start"]

FIRST_UNUSED_ID = 1_900_000_000  # above the uid ranges that distributions assign
TIMEOUT = 60.0  # seconds for one step of entering; under bubblewrap it includes all imports


@contextmanager
def private_home(box: Box) -> Iterator[Box]:
    """Give a box a private home on the host, if it has no tmpfs of its own; removed at the end."""
    if box.has_own_files:
        yield box
        return
    home = tempfile.mkdtemp(prefix="lv-")
    try:
        yield replace(box, home=home)
    finally:
        for folder, folders, _ in os.walk(home):  # a program may have taken away permissions
            for path in (os.path.join(folder, name) for name in folders):
                with suppress(OSError):
                    if not os.path.islink(path):
                        os.chmod(path, 0o700)
        shutil.rmtree(home, ignore_errors=True)


def start(
    box: Box,
    program: Callable[[], Any],
    command: list[str] | None = None,
    keep: Sequence[int] = (),
) -> "Started":
    """Fork a process that enters `box` and then runs `program`.

    The caller becomes the subreaper of the box's processes. It must be single-threaded and cannot
    start a second box, because it may have moved into the user namespace of the first.

    Args:
        box: The box to enter.
        program: Called in the box, in a fork of this process.
        command: For the level "bubblewrap", which starts a new Python: its arguments. The
            program must pass the arguments that are appended to :func:`enter_and_report`.
        keep: File descriptors that stay open in the program.

    Raises:
        SandboxError: If the box cannot be entered; no process is left running.
    """
    linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
    user = None if box.level == "none" else _unused_id(os.getpid())
    try:
        if not box.has_own_files:
            os.chmod(box.home, 0o700)
            if user is not None:
                os.chown(box.home, user, user)
    except OSError as error:
        raise SandboxError(
            f"the home of a box must be a directory of the caller's own: {error!r}"
        ) from error
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(TIMEOUT)
    started = Started(0, 0)
    try:
        if box.level == "namespaces":
            _start_in_namespaces(box, program, user, theirs, keep, started)
        elif box.level == "bubblewrap":
            _start_in_bubblewrap(box, command or [], user, theirs, keep, started)
        else:
            started.waited = started.pid = _fork(_enter_and_run, box, program, user, theirs, keep)
        theirs.close()
        answer = _answer(ours)
        if answer != b"ready":
            raise SandboxError(
                answer.decode(errors="replace") or "the process exited while it entered"
            )
    except (OSError, ValueError, SandboxError) as error:
        for pid in {started.pid, started.waited} - {0}:
            end(pid)
        reap()
        raise SandboxError(f"the box ({box.level}) could not be entered: {error}") from error
    finally:
        ours.close()
        theirs.close()
    return started


@dataclass
class Started:
    """A program that runs in a box."""

    pid: int  # of the program, in the caller's PID namespace
    waited: int  # pid of the child to wait for: the program itself, or bwrap


def _answer(ours: socket.socket) -> bytes:
    """Let a process enter; returns what it says, also if it has ended before it read this."""
    with suppress(BrokenPipeError):
        ours.send(b"go")
    try:
        return ours.recv(4096)
    except ConnectionResetError:  # comes once, before what was said
        return ours.recv(4096)


def end(pid: int) -> None:
    """Kill a process, which somebody else may have reaped: bubblewrap, or its own parent."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def reap() -> None:
    """Reap the children of this process that have exited."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _fork(function: Callable[..., Any], *arguments: Any) -> int:
    """Fork and call `function` in the child, which exits afterwards, also on an exception."""
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
    box: Box, program: Callable[[], Any], user: int | None, theirs: socket.socket,
    keep: Sequence[int], started: Started,
) -> None:  # fmt: skip
    """Unshare the user and PID namespaces and fork: a new PID namespace applies to children only.

    This process stays outside of the box, but its uid is that of root, or of the box's user, in
    the user namespace.
    """
    mapper = prepare()
    linux.unshare(linux.CLONE_NEWUSER | linux.CLONE_NEWPID)
    ours, mappers = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, mappers:
        request = json.dumps([os.getpid(), user]).encode()
        socket.send_fds(mapper, [request], [mappers.fileno()])
        mappers.close()
        answer = ours.recv(4096)
    if answer != b"mapped":
        raise SandboxError(
            answer.decode(errors="replace") or "the process that writes uid_map has exited"
        )
    inner = INNER_ID if user is not None else None
    started.waited = started.pid = _fork(_enter_and_run, box, program, inner, theirs, keep)


@cache
def prepare() -> socket.socket:
    """Fork the process that writes uid_map and gid_map of the user namespaces of boxes.

    Only a process in the parent user namespace may write them. It is forked once, best while this
    process is small, and exits when the last process with a copy of the socket has exited.
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
    """Serve one request; False at the end of the stream."""
    request, descriptors, _, _ = socket.recv_fds(control, 4096, 1)
    if not request:
        return False
    with socket.socket(fileno=descriptors[0]) as caller:
        try:
            pid, user = json.loads(request)
            uid, gid = os.geteuid(), os.getegid()
            maps = [(INNER_ID, uid, gid)]
            if user is not None:
                maps = [(0, uid, gid), (INNER_ID, user, user)]
            else:
                Path(f"/proc/{pid}/setgroups").write_text("deny")
            # Each file takes a single write(2).
            users = "\n".join(f"{inner} {outer} 1" for inner, outer, _ in maps)
            groups = "\n".join(f"{inner} {outer} 1" for inner, _, outer in maps)
            Path(f"/proc/{pid}/uid_map").write_text(users)
            Path(f"/proc/{pid}/gid_map").write_text(groups)
            answer = "mapped"
        except (OSError, ValueError) as error:
            answer = str(error)
        with suppress(OSError):
            caller.send(answer.encode())
    return True


def _start_in_bubblewrap(
    box: Box, command: list[str], user: int | None, theirs: socket.socket,
    keep: Sequence[int], started: Started,
) -> None:  # fmt: skip
    read, write = os.pipe()
    # Before the bind mounts: Python's environment may itself be below /tmp.
    binds = ["--size", str(box.limits.disk_mb << 20), "--tmpfs", "/tmp"]
    for path in mounts.visible_paths(box.packages):
        for parent in reversed(Path(path).parents[:-1]):  # bubblewrap makes them private
            binds += ["--perms", "0755", "--dir", str(parent)]
        binds += ["--ro-bind", path, path]
    # Not "--dev", which mounts devpts: an ordinary user could then remount nothing.
    for name in mounts.DEVICES:
        binds += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    for name, target in mounts.DEVICE_LINKS.items():
        binds += ["--symlink", target, f"/dev/{name}"]
    inner = [str(theirs.fileno()), box.as_json(), str(-1 if user is None else user)]
    needed = ["SYS_ADMIN"]  # for mounts.limit_inodes
    users: list[str] = []
    if user is not None:  # without a user namespace, in which that uid would not be mapped
        needed += ["CHOWN", "SETUID", "SETGID", "SETPCAP"]
    else:
        users = ["--unshare-user", "--uid", str(INNER_ID), "--gid", str(INNER_ID)]
    users += [word for name in needed for word in ("--cap-add", f"CAP_{name}")]
    wrapped = [
        "bwrap", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", *users,
        "--die-with-parent", "--new-session", "--as-pid-1", "--info-fd", str(write), *binds,
        "--proc", "/proc",
        "--size", str(mounts.SHM_MB << 20), "--tmpfs", "/dev/shm",
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


def enter_and_report(channel: int, box: str, user: int, keep: Sequence[int] = ()) -> None:
    """Enter a box from a process that bubblewrap has started in its namespaces.

    Args:
        channel: Descriptor of the socket that receives "ready" or an error message.
        box: From :meth:`Box.as_json`.
        user: The uid and gid to change to; a negative one keeps those of the caller.
        keep: Other file descriptors that stay open.
    """
    enter(Box.from_json(box), None if user < 0 else user, socket.socket(fileno=channel), keep)


def _enter_and_run(
    box: Box,
    program: Callable[[], Any],
    user: int | None,
    theirs: socket.socket,
    keep: Sequence[int],
) -> None:
    enter(box, user, theirs, keep)
    program()


def _unused_id(pid: int) -> int | None:
    """An unused uid and gid for a supervisor's box; None if this process cannot change to it."""
    if os.geteuid() != 0:
        return None
    for line in Path("/proc/self/uid_map").read_text().splitlines():
        first, _, count = map(int, line.split())
        if first <= FIRST_UNUSED_ID + pid < first + count:
            return FIRST_UNUSED_ID + pid
    return None
