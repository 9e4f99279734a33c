"""Escape tests: attempts to break out of a real box, made before students' code runs in one.

``python -m lecture_grader.sandbox.escape_test LEVEL`` builds a box, puts bait outside of it, runs
a program in it that makes every attempt, and prints what each one obtained as JSON.
"""

import json
import os
import socket
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

from lecture_grader.sandbox import linux, mounts, seccomp
from lecture_grader.sandbox.confine import Box, SandboxError
from lecture_grader.sandbox.escapes import ATTEMPTS, LIMITS, Bait
from lecture_grader.sandbox.start import end, enter_and_report, private_home, start

__all__ = ["is_promised", "measure", "try_all"]

TIMEOUT = 20.0  # seconds for the program in the box
MAX_MESSAGE = 1 << 17  # bytes, either way
MARK = ".lv-bait"  # of files that are written to see whether they can be; hidden, as no one's own


def is_promised(level: str, attempt: str) -> bool:
    """Whether `level` guarantees on this machine that `attempt` fails."""
    abi = linux.landlock_abi()
    if attempt == "start too many processes":
        return level != "none" or os.geteuid() != 0  # root is exempt from RLIMIT_NPROC
    if attempt in ("write a large file", "take memory", "raise limits"):
        return True
    if level == "none":
        return False
    if level in ("namespaces", "bubblewrap"):
        return True
    weaker = dict.fromkeys(
        ("fill the disk", "make too many files", "see processes", "unix socket"), False
    )
    weaker |= {"signal the grader": abi >= 6, "abstract socket": abi >= 6}
    weaker |= {"tcp": abi >= 4 or seccomp.available(), "udp": seccomp.available()}
    return weaker.get(attempt, True)


def try_all(descriptor: int) -> None:
    """In the box: receive the bait over a socket, make every attempt, send what each obtained.

    Args:
        descriptor: The box's end of the socket, which is closed at the end.
    """
    with socket.socket(fileno=descriptor) as outside:
        bait = json.loads(outside.recv(MAX_MESSAGE))
        outside.sendall(json.dumps(_results(bait)).encode())


def _results(bait: Bait) -> dict[str, str]:
    results = {}
    for name, attempt in ATTEMPTS.items():
        try:
            results[name] = str(attempt(bait) or "")[:200]
        except (OSError, MemoryError):
            results[name] = ""
        except ValueError as error:
            results[name] = repr(error)
    return results


def measure(level: str, packages: Sequence[str]) -> dict[str, str]:
    """Run the escape tests in a box of this level.

    Args:
        level: As for :func:`~lecture_grader.sandbox.choose.choose`.
        packages: Absolute paths of the packages that are visible in the box.

    Returns:
        What each attempt obtained, by its name; "" where it failed.

    Raises:
        SandboxError: If the box cannot be entered.
        OSError: If the program in the box does not answer.
    """
    with ExitStack() as stack:
        outside = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lv-")))
        # A Unix socket's path has at most 107 bytes; that of the temporary folder may be longer.
        here = os.open(outside, os.O_PATH)
        stack.callback(os.close, here)
        box = stack.enter_context(private_home(Box(level, LIMITS, packages=tuple(packages))))
        neighbor = outside / "neighbor" / "answer"
        neighbor.parent.mkdir(mode=0o700)
        neighbor.write_text("another student's answer")
        (outside / "secret").write_text("right answers")
        listeners = {
            "tcp": socket.socket(),
            "udp": socket.socket(type=socket.SOCK_DGRAM),
            "unix": socket.socket(socket.AF_UNIX),
            "abstract": socket.socket(socket.AF_UNIX),
        }
        addresses: dict[str, Any] = {
            "tcp": ("127.0.0.1", 0), "udp": ("127.0.0.1", 0),
            "unix": f"/proc/self/fd/{here}/socket", "abstract": f"\0lv-{os.getpid()}",
        }  # fmt: skip
        for name, listener in listeners.items():
            stack.enter_context(listener).bind(addresses[name])
            if name != "udp":
                listener.listen()
        for path in (outside, outside / "secret", outside / "socket", neighbor):
            path.chmod(0o777)  # so that only the sandbox denies access
        # The siblings of every package, except in site-packages. Package and Python may each be
        # reached through a different symbolic link.
        visible = [mounts.OWN_PACKAGE, *packages]
        siblings = {sibling for path in visible for sibling in Path(path).parent.iterdir()}
        siblings -= {*map(Path, visible)}
        python = [os.path.realpath(prefix) for prefix in (sys.prefix, sys.base_prefix)]
        bait = {
            "outside": str(outside), "secret": str(outside / "secret"), "neighbor": str(neighbor),
            "home": box.home, "own files": box.has_own_files, "grader": os.getpid(),
            "tcp": listeners["tcp"].getsockname()[1], "udp": listeners["udp"].getsockname()[1],
            "unix": str(outside / "socket"), "abstract": addresses["abstract"],
            "beside": [
                str(path) for path in siblings
                if not any(_related(os.path.realpath(path), prefix) for prefix in python)
            ],
            "places": [str(outside), "/etc", "/usr", sys.prefix, *visible],
            "mark": f"{MARK}-{os.getpid()}",
        }  # fmt: skip
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stack.enter_context(ours)
        command = ["-s", "-P", "-B", "-m", "lecture_grader.sandbox.escape_test", "--inside"]
        command.append(str(theirs.fileno()))
        with theirs:
            started = start(box, partial(try_all, theirs.fileno()), command, [theirs.fileno()])
        try:
            ours.settimeout(TIMEOUT)
            ours.sendall(json.dumps(bait).encode())
            answer = ours.recv(MAX_MESSAGE)
            if not answer:
                raise SandboxError("the program exited as soon as it had entered the box")
            results: dict[str, str] = json.loads(answer)
            written = [folder for folder in bait["places"] if Path(folder, bait["mark"]).exists()]
            return results | {"write outside": ", ".join(written)}
        finally:
            end(started.pid)
            with suppress(ChildProcessError):
                os.waitpid(started.waited, 0)
            for folder in bait["places"]:
                Path(folder, bait["mark"]).unlink(missing_ok=True)


def _related(one: str, other: str) -> bool:
    """Whether one path is, contains or is inside the other."""
    return (one + "/").startswith(other + "/") or (other + "/").startswith(one + "/")


def main(arguments: list[str]) -> None:
    """Test a level, or run as the program inside the box that bubblewrap made."""
    if arguments[0] == "--inside":
        descriptor = int(arguments[1])
        enter_and_report(int(arguments[2]), arguments[3], int(arguments[4]), keep=[descriptor])
        try_all(descriptor)
        return
    try:
        report = {"error": "", "results": measure(arguments[0], arguments[1:])}
    except (SandboxError, OSError, ValueError) as error:
        report = {"error": str(error), "results": {}}
    print(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1:])
