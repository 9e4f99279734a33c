"""The supervisor: a process per box that limits the box's memory and reports its exit status.

It runs no code of the box. It exits with its parent, and the box is killed with it.
"""

import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from lecture_grader.sandbox.confine import Box, SandboxError
from lecture_grader.sandbox.start import Started, end, reap, start

__all__ = ["supervise"]

POLL_SECONDS = 0.25  # between two checks of memory and parent
MB = 1 << 20


def supervise(
    owner: int,
    box: Box,
    program: Callable[[], Any],
    command: list[str] | None,
    on_start: Callable[[int, int], Any],
    keep: Sequence[int] = (),
    listener: int = -1,
) -> str:
    """Run `program` in `box` and wait until it has exited.

    Args:
        owner: The pid of this process's parent; the box is killed when it exits.
        box: The box to enter.
        program: Called in the box.
        command: As for :func:`~lecture_grader.sandbox.start.start`.
        on_start: Called with the program's pid and a pidfd, once it is in the box.
        keep: As for :func:`~lecture_grader.sandbox.start.start`.
        listener: The write end of a pipe; the box is killed when its read end is closed.

    Returns:
        How the program ended: "exit N", "signal N" or "memory".

    Raises:
        SandboxError: If the box could not be entered.
    """
    started = start(box, program, command, keep)
    before = _anonymous(started.pid)
    try:
        pidfd = os.pidfd_open(started.pid)
    except ProcessLookupError as error:  # bubblewrap has reaped it
        reap()
        raise SandboxError("the program exited as soon as it was in its box") from error
    on_start(started.pid, pidfd)
    return watch(owner, started, pidfd, before + box.limits.memory_mb * MB, listener)


def watch(owner: int, started: Started, pidfd: int, max_bytes: int, listener: int = -1) -> str:
    """Wait until a program has exited; kill its box at the limit of memory or without an owner.

    Args:
        owner: As for :func:`supervise`.
        started: The program.
        pidfd: Of the program.
        max_bytes: Anonymous and shared memory that all processes of the box may have.
        listener: As for :func:`supervise`.

    Returns:
        As :func:`supervise`.
    """
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if listener >= 0:
        poll.register(listener, 0)  # only POLLERR is reported
    reason = ""
    while pidfd not in (events := dict(poll.poll(POLL_SECONDS * 1000))):
        if os.getppid() != owner or events:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            if events:
                poll.unregister(listener)
            continue
        family = descendants(started.waited)
        # The second sum is exact, but slow to read.
        if all(sum(map(size, family)) > max_bytes for size in (_anonymous, _proportional)):
            reason = "memory"
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    _, status = os.waitpid(started.waited, 0)
    # This subreaper has become the parent of all that the box left running.
    while orphans := descendants(os.getpid())[1:]:
        for pid in orphans:
            end(pid)
        reap()
        time.sleep(0.001)
    if reason:
        return reason
    code = os.waitstatus_to_exitcode(status)
    if started.waited != started.pid and code > 128:
        code = 128 - code  # bubblewrap encodes a signal as a shell does
    return f"exit {code}" if code >= 0 else f"signal {-code}"


def descendants(pid: int) -> list[int]:
    """`pid` and the pids of all its descendants."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                parent = int(Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, UnicodeDecodeError):
                continue
            children.setdefault(parent, []).append(int(name))
    family = [pid]
    for member in family:
        family += children.get(member, [])
    return family


def _anonymous(pid: int) -> int:
    """Bytes of a process that no file backs; shared pages count in full. Fast."""
    return _sum(f"/proc/{pid}/status", ("RssAnon", "RssShmem", "VmSwap"))


def _proportional(pid: int) -> int:
    """The same as proportional set size: a page counts by the number of processes that share it."""
    return _sum(f"/proc/{pid}/smaps_rollup", ("Pss_Anon", "Pss_Shmem", "SwapPss"))


def _sum(path: str, names: Iterable[str]) -> int:
    """Sum of the named lines of a file in /proc, in bytes; 0 if the process has exited."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return 0
    found = {name: value for name, _, value in (line.partition(":") for line in lines)}
    return sum(int(found[name].split()[0]) for name in names if name in found) * 1024
