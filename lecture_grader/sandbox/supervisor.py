"""The supervisor: one process beside each box that watches its memory and reports how it ended.

It runs no code of the box. It dies with its parent, and the box dies with it.
"""

import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from lecture_grader.sandbox.confine import Box
from lecture_grader.sandbox.start import Started, reap, start

__all__ = ["guard"]

EVERY = 0.25  # seconds between two looks
MB = 1 << 20


def guard(
    owner: int,
    box: Box,
    program: Callable[[], Any],
    command: list[str] | None,
    tell: Callable[[int, int], Any],
    keep: Sequence[int] = (),
    listener: int = -1,
) -> str:
    """Run `program` in `box` and wait for its end.

    Args:
        owner: The parent of this process; the box ends when it does.
        box: Where it runs.
        program: What runs.
        command: As for :func:`~lecture_grader.sandbox.start.start`.
        tell: Called with the program's pid, and a pidfd of it, once it is in the box.
        keep: As for :func:`~lecture_grader.sandbox.start.start`.
        listener: The end of a pipe to write to; the box ends when nobody can read from the other.

    Returns:
        Why it ended: "exit N", "signal N" or "memory".

    Raises:
        SandboxError: If the box could not be entered.
    """
    started = start(box, program, command, keep)
    before = _anonymous(started.pid)
    pidfd = os.pidfd_open(started.pid)
    tell(started.pid, pidfd)
    return watch(owner, started, pidfd, before + box.limits.memory_mb * MB, listener)


def watch(owner: int, started: Started, pidfd: int, most: int, listener: int = -1) -> str:
    """Wait for the end of `started`.

    It comes from here when its processes hold more than `most` bytes, or `owner` has ended, or
    nobody listens any more.
    """
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if listener >= 0:
        poll.register(listener, 0)  # an error alone is told
    reason = ""
    while pidfd not in (happened := dict(poll.poll(EVERY * 1000))):
        if os.getppid() != owner or happened:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            if happened:
                poll.unregister(listener)
            continue
        family = descendants(started.waited)
        if sum(map(_anonymous, family)) > most and sum(map(_share, family)) > most:
            reason = "memory"
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    _, status = os.waitpid(started.waited, 0)
    # Whatever the box left behind is now a child of this process.
    while left := descendants(os.getpid())[1:]:
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        reap()
        time.sleep(0.001)
    if reason:
        return reason
    code = os.waitstatus_to_exitcode(status)
    if started.waited != started.pid and code > 128:
        code = 128 - code  # bubblewrap tells a signal like a shell does
    return f"exit {code}" if code >= 0 else f"signal {-code}"


def descendants(pid: int) -> list[int]:
    """`pid` and all processes below it."""
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
    """Bytes of a process that no file backs, those shared with others in full. Cheap."""
    return _sum(f"/proc/{pid}/status", ("RssAnon", "RssShmem", "VmSwap"))


def _share(pid: int) -> int:
    """The same with every page divided by the number of processes that share it."""
    return _sum(f"/proc/{pid}/smaps_rollup", ("Pss_Anon", "Pss_Shmem", "SwapPss"))


def _sum(path: str, names: Iterable[str]) -> int:
    """Sum of the named lines, in bytes. A process that has ended holds nothing."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return 0
    found = {name: value for name, _, value in (line.partition(":") for line in lines)}
    return sum(int(found[name].split()[0]) for name in names if name in found) * 1024
