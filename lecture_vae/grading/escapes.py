"""Ways out of a box, tried in a real one before any student's code is let in.

``python -m lecture_vae.grading.escapes LEVEL`` builds a box with bait around it, lets a program try
every way out that the level promises to close, and prints what got through as JSON.
"""

import json
import os
import signal
import socket
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import lecture_vae
from lecture_vae.grading import linux, seccomp
from lecture_vae.grading.attempts import ATTEMPTS, LIMITS, Bait
from lecture_vae.grading.box import enter_and_tell, start
from lecture_vae.grading.confine import Box, SandboxError

__all__ = ["measure", "promised", "try_all"]

PATIENCE = 20.0  # seconds for an answer from the box


def promised(level: str, attempt: str) -> bool:
    """Whether `level` promises, on this machine, that `attempt` fails."""
    abi = linux.landlock_abi()
    if attempt == "start too many processes":
        return level != "none" or os.geteuid() != 0  # Linux does not count root's
    if attempt in ("write a large file", "take memory", "raise limits"):
        return True
    if level == "none":
        return False
    if attempt == "write beside the sockets":
        return abi > 0
    if level in ("namespaces", "bubblewrap"):
        return True
    weaker = {"fill the disk": False, "see processes": False, "unix socket": False}
    weaker |= {"signal the grader": abi >= 6, "abstract socket": abi >= 6}
    weaker |= {"tcp": abi >= 4 or seccomp.available(), "udp": seccomp.available()}
    return weaker.get(attempt, True)


def try_all(bait: Bait) -> None:
    """In the box: make every attempt and say over a socket in it what each one got."""
    results = {}
    for name, attempt in ATTEMPTS.items():
        try:
            results[name] = str(attempt(bait) or "")[:200]
        except (OSError, MemoryError):
            results[name] = ""
        except ValueError as error:
            results[name] = repr(error)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{bait['inside']}/said")
        listener.listen()
        connection, _ = listener.accept()
        with connection:
            connection.sendall(json.dumps(results).encode())


def measure(level: str) -> dict[str, str]:
    """What each attempt got out of a box of this level: nothing where it failed.

    Raises:
        SandboxError: If the box cannot be entered.
        OSError: If the program in it does not answer.
    """
    with ExitStack() as stack:
        outside = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lv-")))
        box = Box(level, outside / "box", LIMITS)
        neighbor = outside / "neighbor" / "answer"
        for folder in (box.folder, neighbor.parent):
            folder.mkdir(mode=0o700)
        neighbor.write_text("another student's answer")
        (outside / "secret").write_text("right answers")
        listeners = {
            "tcp": socket.socket(),
            "udp": socket.socket(type=socket.SOCK_DGRAM),
            "unix": socket.socket(socket.AF_UNIX),
            "abstract": socket.socket(socket.AF_UNIX),
        }
        addresses: dict[str, Any] = {
            "tcp": ("127.0.0.1", 0), "udp": ("127.0.0.1", 0), "unix": str(outside / "socket"),
            "abstract": f"\0{outside}",
        }  # fmt: skip
        for name, listener in listeners.items():
            stack.enter_context(listener).bind(addresses[name])
            if name != "udp":
                listener.listen()
        for place in (outside, outside / "secret", outside / "socket", neighbor):
            place.chmod(0o777)  # only the box is to be in the way
        package = Path(lecture_vae.__file__).parent
        # All that lies beside the package, unless it is installed among other packages. Either may
        # be reached through a link, and by another one than Python is.
        beside = [path for path in package.parent.iterdir() if path != package]
        python = [os.path.realpath(prefix) for prefix in (sys.prefix, sys.base_prefix)]
        bait = {
            "outside": str(outside), "secret": str(outside / "secret"), "neighbor": str(neighbor),
            "home": box.home, "inside": box.inside, "grader": os.getpid(),
            "tcp": listeners["tcp"].getsockname()[1], "udp": listeners["udp"].getsockname()[1],
            "unix": addresses["unix"], "abstract": addresses["abstract"],
            "beside": [
                str(path) for path in beside
                if not any(_related(os.path.realpath(path), prefix) for prefix in python)
            ],
            "places": [str(outside), "/etc", "/usr", sys.prefix, str(package / "grading")],
            "mark": f"bait-{os.getpid()}",
        }  # fmt: skip
        (box.folder / "bait.json").write_text(json.dumps(bait))
        command = ["-s", "-P", "-B", "-m", "lecture_vae.grading.escapes", "--inside"]
        started = start(box, lambda: try_all(bait), command)
        try:
            results = _hear(started.waited, box.folder / "said")
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


def _hear(speaker: int, path: Path) -> dict[str, str]:
    end = time.monotonic() + PATIENCE
    while True:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            try:
                connection.connect(str(path))
            except (FileNotFoundError, ConnectionRefusedError):
                if os.waitpid(speaker, os.WNOHANG)[0] or time.monotonic() > end:
                    raise SandboxError("a program that entered the box ended at once") from None
                time.sleep(0.01)
                continue
            with connection.makefile("rb") as file:
                told: dict[str, str] = json.load(file)
                return told


def main(arguments: list[str]) -> None:
    """Measure a level, or be the program in the box that bubblewrap has made."""
    if arguments[0] == "--inside":
        box = enter_and_tell(int(arguments[1]), arguments[2], int(arguments[3]))
        try_all(json.loads(Path(box.inside, "bait.json").read_text()))
        return
    try:
        told = {"error": "", "results": measure(arguments[0])}
    except (SandboxError, OSError, ValueError) as error:
        told = {"error": str(error), "results": {}}
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1:])
