"""A box, and how a process shuts itself into it for good."""

import json
import os
import resource
import signal
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from lecture_grader.sandbox import linux, mounts, seccomp

__all__ = ["INNER_ID", "LEVELS", "Box", "Limits", "SandboxError", "enter"]

LEVELS = ("namespaces", "bubblewrap", "landlock", "none")
INNER_ID = 1000  # of the box's user, inside
STACKS_MB = 128  # address space for the stacks of a kernel's own threads


class SandboxError(Exception):
    """Code cannot be shut in as it must be; the message says what was met and what to do."""


@dataclass(frozen=True)
class Limits:
    """What one box may use."""

    cpu_s: int = 600  # CPU time of one process
    memory_mb: int = 1024  # anonymous memory of all processes, above what they were forked with
    processes: int = 64  # threads count
    open_files: int = 256  # of one process
    file_mb: int = 50  # size of one file
    disk_mb: int = 200  # size of all files, where the working folder is in memory


@dataclass(frozen=True)
class Box:
    """How a program is shut in, and within which limits."""

    level: str
    limits: Limits
    home: str = "/tmp"  # the working folder; where files are the host's, a private one
    packages: tuple[str, ...] = ()  # folders and files that are shown beside Python

    @property
    def has_own_files(self) -> bool:
        """Whether nothing that is written in the box lies on a disk of the host."""
        return self.level in ("namespaces", "bubblewrap")

    def as_json(self) -> str:
        """The box as text, for a program that must be started anew."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> "Box":
        """Read what :meth:`as_json` wrote.

        Raises:
            ValueError: If it is anything else.
        """
        told = json.loads(text)
        try:
            limits = told["limits"]
            wanted = {each.name for each in fields(Limits)}
            if set(limits) != wanted or not all(type(n) is int and n > 0 for n in limits.values()):
                raise ValueError(f"limits are the positive integers {sorted(wanted)}")
            if told["level"] not in LEVELS or not os.path.isabs(told["home"]):
                raise ValueError(f"a box has one of the levels {LEVELS} and an absolute home")
            if not all(map(os.path.isabs, told["packages"])):
                raise ValueError(f"packages are absolute paths, got {told['packages']}")
            return cls(told["level"], Limits(**limits), told["home"], tuple(told["packages"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"a box has level, limits, home and packages: {error!r}") from error


def enter(box: Box, user: int | None, channel: socket.socket, keep: Iterable[int] = ()) -> None:
    """Confine this process, in this order: mounts, Landlock, rlimits, uid, seccomp.

    Args:
        box: Where to.
        user: The user to become, and the group of the same number.
        channel: Hears "ready", or what went wrong.
        keep: Descriptors that stay open beside it.
    """
    try:
        if channel.recv(16) != b"go":
            os._exit(1)
        descriptor = channel.fileno()
        linux.close_all_but([0, 1, 2, descriptor, *keep])
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        os.close(null)
        if box.level != "bubblewrap":
            os.setsid()
        os.umask(0o022)  # not the caller's: the box's user must enter the folders made here
        rlimits = _rlimits(box, user)
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")  # first to go, before the grader
        if box.level == "namespaces":
            linux.unshare(
                linux.CLONE_NEWNS | linux.CLONE_NEWNET | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS
            )
            mounts.build(INNER_ID, box.limits.disk_mb, box.packages)
            with suppress(FileNotFoundError):  # without a /proc, the filter alone forbids it
                Path("/proc/sys/user/max_user_namespaces").write_text("0")
        elif box.level == "bubblewrap":
            mounts.bound_entries()
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
        if linux.landlock_abi() if box.has_own_files else box.level == "landlock":
            linux.landlock_restrict(_rights(box))
        for which, most in rlimits.items():
            resource.setrlimit(which, (most, most))
        if user is not None:
            if box.level == "bubblewrap":
                os.chown("/tmp", user, user)
                os.chown("/dev/shm", user, user)
            os.setgroups([])
            os.setresgid(user, user, user)
        linux.drop_bounding_set()
        if user is not None:
            os.setresuid(user, user, user)
        linux.drop_capabilities()
        # A change of user undoes both.
        linux.prctl(linux.PR_SET_DUMPABLE, 1)
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
        os.chdir(box.home)
        _check_in_reach(box)
        os.environ.update(_environment(box))
        if box.level != "none" and seccomp.available():
            seccomp.forbid()
        channel.send(b"ready")  # fails if the supervisor has ended
        channel.close()
    except BaseException as error:
        with suppress(OSError):
            channel.send(f"{type(error).__name__}: {error}".encode()[:4000])
        os._exit(1)


def _check_in_reach(box: Box) -> None:
    """See that the box's user can read Python, which for root may lie in a private folder."""
    for place in (os.path.dirname(os.__file__), os.path.dirname(__file__)):
        try:
            os.listdir(place)
        except OSError as error:
            raise SandboxError(
                f"code runs as user {os.getuid()}, who must be able to read {place} ({error}); "
                "grade as an ordinary user, or use the level namespaces"
            ) from error
    if not os.access(box.home, os.W_OK):
        raise SandboxError(f"code runs as user {os.getuid()}, who cannot write to {box.home}")


def _rights(box: Box) -> dict[str, int]:
    rights = dict.fromkeys(mounts.places(box.packages), linux.READ) | {
        f"/dev/{name}": linux.READ for name in mounts.DEVICES
    }
    rights |= {"/dev/null": linux.READ_WRITE, "/proc": linux.READ, box.home: linux.OWN}
    if box.has_own_files:  # all there is has been chosen
        rights |= {"/": linux.LIST, "/dev/shm": linux.OWN, "/etc": linux.READ}
    else:
        rights |= dict.fromkeys(("/etc/passwd", "/etc/group", "/etc/nsswitch.conf"), linux.READ)
    return {place: right for place, right in rights.items() if os.path.exists(place)}


def _rlimits(box: Box, user: int | None) -> dict[int, int]:
    """Limits of this process, by their numbers in :mod:`resource`."""
    limits = box.limits
    # Linux counts processes by user. A box's user is its own, in its namespace or altogether;
    # else whatever runs already for this user has to be allowed for.
    alone = box.has_own_files or user is not None
    # The supervisor of a box in namespaces is in its user namespace: the same user if not root's.
    beside = int(box.level == "namespaces" and user is None)
    held = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    return {
        resource.RLIMIT_CPU: limits.cpu_s,
        resource.RLIMIT_FSIZE: limits.file_mb << 20,
        resource.RLIMIT_NPROC: limits.processes + (beside if alone else _threads_of(os.getuid())),
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_DATA: held + (limits.memory_mb + STACKS_MB << 20),
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_MEMLOCK: 0,
    }


def _threads_of(user: int) -> int:
    """How many threads run as `user`."""
    threads = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):
            lines = (line.split() for line in status.read_text().splitlines())
            told = {words[0]: words[1] for words in lines if len(words) > 1}
            threads += int(told["Threads:"]) * (told["Uid:"] == str(user))
    return threads


def _environment(box: Box) -> dict[str, str]:
    names = ["HOME", "TMPDIR", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR"]
    names += [f"XDG_{kind}" for kind in ("CACHE_HOME", "CONFIG_HOME", "DATA_HOME", "RUNTIME_DIR")]
    return dict.fromkeys(names, box.home) | {"USER": "student", "LOGNAME": "student"}
