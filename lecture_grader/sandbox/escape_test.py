"""Ways out of a box, tried in a real one before any student's code is let in.

``python -m lecture_grader.sandbox.escape_test LEVEL`` builds a box with bait around it, lets a
program try every way out that the level promises to close, and prints what got through as JSON.
"""

import json
import os
import signal
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
from lecture_grader.sandbox.start import enter_and_tell, start, with_home

__all__ = ["measure", "promised", "try_all"]

PATIENCE = 20.0  # seconds for an answer from the box
MAX_BAIT = 1 << 17  # bytes


def promised(level: str, attempt: str) -> bool:
    """Whether `level` promises, on this machine, that `attempt` fails."""
    abi = linux.landlock_abi()
    if attempt == "start too many processes":
        return level != "none" or os.geteuid() != 0  # Linux does not count root's
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
    """In the box: hear over a socket what to try, and say what each attempt got."""
    with socket.socket(fileno=descriptor) as outside:
        bait = json.loads(outside.recv(MAX_BAIT))
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
    """What each attempt got out of a box of this level: nothing where it failed.

    Args:
        level: As for :func:`~lecture_grader.sandbox.choose.choose`.
        packages: Folders and files of packages that are shown in it.

    Raises:
        SandboxError: If the box cannot be entered.
        OSError: If the program in it does not answer.
    """
    with ExitStack() as stack:
        outside = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lv-")))
        # Unix sockets are bound to paths of at most 107 bytes; the temporary folder may have more.
        here = os.open(outside, os.O_PATH)
        stack.callback(os.close, here)
        box = stack.enter_context(with_home(Box(level, LIMITS, packages=tuple(packages))))
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
        for place in (outside, outside / "secret", outside / "socket", neighbor):
            place.chmod(0o777)  # only the box is to be in the way
        # All that lies beside a package, unless it is installed among other packages. Either may be
        # reached through a link, and by another one than Python is.
        shown = [mounts.OWN, *packages]
        beside = {path for place in shown for path in Path(place).parent.iterdir()}
        beside -= {*map(Path, shown)}
        python = [os.path.realpath(prefix) for prefix in (sys.prefix, sys.base_prefix)]
        bait = {
            "outside": str(outside), "secret": str(outside / "secret"), "neighbor": str(neighbor),
            "home": box.home, "own files": box.has_own_files, "grader": os.getpid(),
            "tcp": listeners["tcp"].getsockname()[1], "udp": listeners["udp"].getsockname()[1],
            "unix": str(outside / "socket"), "abstract": addresses["abstract"],
            "beside": [
                str(path) for path in beside
                if not any(_related(os.path.realpath(path), prefix) for prefix in python)
            ],
            "places": [str(outside), "/etc", "/usr", sys.prefix, *shown],
            "mark": f"bait-{os.getpid()}",
        }  # fmt: skip
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stack.enter_context(ours)
        command = ["-s", "-P", "-B", "-m", "lecture_grader.sandbox.escape_test", "--inside"]
        command.append(str(theirs.fileno()))
        with theirs:
            started = start(box, partial(try_all, theirs.fileno()), command, [theirs.fileno()])
        try:
            ours.settimeout(PATIENCE)
            ours.sendall(json.dumps(bait).encode())
            said = ours.recv(MAX_BAIT)
            if not said:
                raise SandboxError("a program that entered the box ended at once")
            results: dict[str, str] = json.loads(said)
            written = [place for place in bait["places"] if Path(place, bait["mark"]).exists()]
            return results | {"write outside": ", ".join(written)}
        finally:
            with suppress(ProcessLookupError):
                os.kill(started.pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(started.waited, 0)
            for place in bait["places"]:
                Path(place, bait["mark"]).unlink(missing_ok=True)


def _related(one: str, other: str) -> bool:
    return (one + "/").startswith(other + "/") or (other + "/").startswith(one + "/")


def main(arguments: list[str]) -> None:
    """Measure a level, or be the program in the box that bubblewrap has made."""
    if arguments[0] == "--inside":
        descriptor = int(arguments[1])
        enter_and_tell(int(arguments[2]), arguments[3], int(arguments[4]), keep=[descriptor])
        try_all(descriptor)
        return
    try:
        told = {"error": "", "results": measure(arguments[0], arguments[1:])}
    except (SandboxError, OSError, ValueError) as error:
        told = {"error": str(error), "results": {}}
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1:])
