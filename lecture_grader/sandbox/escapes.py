"""Attempts to escape from a box or to exceed its limits, one function each."""

import os
import resource
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from lecture_grader.sandbox import linux
from lecture_grader.sandbox.confine import STACKS_MB, Limits

__all__ = ["ATTEMPTS", "LIMITS", "Bait"]

LIMITS = Limits(cpu_s=20, memory_mb=128, processes=64, open_files=64, file_mb=2, disk_mb=4)
MANY_FILES = 1_000  # more than the inodes of a box
FORKS = 200  # attempts: harmless where no rlimit applies

Bait = dict[str, Any]
ATTEMPTS: dict[str, Callable[[Bait], object]] = {}


def _attempt(function: Callable[[Bait], object]) -> Callable[[Bait], object]:
    """Register an attempt. It failed if it raises OSError or MemoryError, or returns nothing."""
    ATTEMPTS[function.__name__.removeprefix("_").replace("_", " ")] = function
    return function


@_attempt
def _write_outside(bait: Bait) -> object:
    # The result is checked from outside: the box may have its own directory at the same path.
    for folder in bait["places"]:
        with suppress(OSError):
            Path(folder, bait["mark"]).write_text("")
    return None


@_attempt
def _read_a_secret(bait: Bait) -> object:
    return Path(bait["secret"]).read_text()


@_attempt
def _read_a_secret_through_a_link(bait: Bait) -> object:
    link = Path(bait["home"], "link")
    link.symlink_to(bait["secret"])
    return link.read_text()


@_attempt
def _read_another_box(bait: Bait) -> object:
    return Path(bait["neighbor"]).read_text()


@_attempt
def _read_beside_the_package(bait: Bait) -> object:
    contents = []
    for path in bait["beside"]:
        with suppress(OSError):
            contents.append(os.listdir(path) if os.path.isdir(path) else Path(path).read_bytes())
    return contents


@_attempt
def _tcp(bait: Bait) -> object:
    with socket.create_connection(("127.0.0.1", bait["tcp"]), 1) as connection:
        return connection.getpeername()


@_attempt
def _udp(bait: Bait) -> object:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        return sender.sendto(b"out", ("127.0.0.1", bait["udp"]))


@_attempt
def _unix_socket(bait: Bait) -> object:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(bait["unix"])
    return bait["unix"]


@_attempt
def _abstract_socket(bait: Bait) -> object:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(bait["abstract"])
    return bait["abstract"]


@_attempt
def _signal_the_grader(bait: Bait) -> object:
    os.kill(bait["grader"], 0)
    return bait["grader"]


@_attempt
def _see_processes(bait: Bait) -> object:
    seen = [name for name in os.listdir("/proc") if name.isdecimal()]
    return seen if len(seen) > 1 or Path(f"/proc/{bait['grader']}").exists() else None


@_attempt
def _read_the_grader(bait: Bait) -> object:
    return Path(f"/proc/{bait['grader']}/environ").read_bytes()


@_attempt
def _become_root(bait: Bait) -> object:
    privileges = [
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith(("CapEff", "CapPrm")) and int(line.split()[1], 16)
    ]
    with suppress(OSError):
        os.setresuid(0, 0, 0)
        privileges.append(f"user 0 after user {os.getuid()}")
    return privileges


@_attempt
def _make_namespaces(bait: Bait) -> object:
    child = os.fork()
    if child == 0:
        with suppress(OSError):
            linux.unshare(linux.CLONE_NEWUSER)
            os._exit(0)
        os._exit(1)
    return os.waitpid(child, 0)[1] == 0


@_attempt
def _start_too_many_processes(bait: Bait) -> object:
    children = []
    read, write = os.pipe()
    with suppress(OSError):
        for _ in range(FORKS):
            child = os.fork()
            if child == 0:
                os.close(write)
                os.read(read, 1)  # until the parent closes its end
                os._exit(0)
            children.append(child)
    os.close(write)
    os.close(read)
    for child in children:
        os.waitpid(child, 0)
    # Other processes of the same user count as well, and some may end meanwhile.
    limit = LIMITS.processes if bait["own files"] else FORKS - 1
    return len(children) if len(children) > limit else None


@_attempt
def _write_a_large_file(bait: Bait) -> object:
    with open(Path(bait["home"], "large"), "wb") as file:
        os.ftruncate(file.fileno(), (LIMITS.file_mb << 20) + 1)
    return "written"


@_attempt
def _fill_the_disk(bait: Bait) -> object:
    try:
        for number in range(LIMITS.disk_mb + 1):
            Path(bait["home"], f"part{number}").write_bytes(bytes(1 << 20))
    finally:
        for part in Path(bait["home"]).glob("part*"):
            part.unlink()
    return "filled"


@_attempt
def _make_too_many_files(bait: Bait) -> object:
    made = []
    folders = [bait["home"], "/dev/shm"] if bait["own files"] else [bait["home"]]
    for folder in folders:
        with suppress(OSError):
            for number in range(MANY_FILES):
                made.append(Path(folder, f"{bait['mark']}-{number}"))
                os.mknod(made[-1], stat.S_IFSOCK | 0o600)
    count = sum(path.exists() for path in made)
    for path in made:
        path.unlink(missing_ok=True)
    return count if count >= MANY_FILES else None


@_attempt
def _take_memory(bait: Bait) -> object:
    return len(bytearray((LIMITS.memory_mb + STACKS_MB + 64) << 20))


@_attempt
def _raise_limits(bait: Bait) -> object:
    raised = []
    for number in (resource.RLIMIT_CPU, resource.RLIMIT_DATA, resource.RLIMIT_NOFILE):
        with suppress(OSError, ValueError):
            resource.setrlimit(number, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            raised.append(number)
    return raised
