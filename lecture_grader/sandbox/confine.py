"""Confine a process irrevocably: mounts, Landlock, rlimits, uid, seccomp."""

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

__all__ = ["INNER_ID", "LEVELS", "Box", "Limits", "SandboxError", "enter", "refuse"]

LEVELS = ("namespaces", "bubblewrap", "landlock", "none")
INNER_ID = 1000  # uid and gid of the box's user inside its user namespace
STACKS_MB = 128  # RLIMIT_DATA for the stacks of a kernel's own threads


class SandboxError(Exception):
    """A sandbox cannot be set up; the message states the cause and the remedy."""


@dataclass(frozen=True)
class Limits:
    """The resource limits of one box."""

    cpu_s: int = 600  # CPU time of one process
    memory_mb: int = 1024  # anonymous memory of all processes, beyond what they inherit at the fork
    processes: int = 64  # and threads
    open_files: int = 256  # of one process
    file_mb: int = 50  # size of one file
    disk_mb: int = 200  # size of all files, where the working directory is a tmpfs


@dataclass(frozen=True)
class Box:
    """How a program is confined, and its limits."""

    level: str
    limits: Limits
    home: str = "/tmp"  # working directory; a private one on the host without a mount namespace
    packages: tuple[str, ...] = ()  # paths that are visible in addition to Python's

    @property
    def has_own_files(self) -> bool:
        """Whether the box has a mount namespace: all that it writes stays in a tmpfs."""
        return self.level in ("namespaces", "bubblewrap")

    def as_json(self) -> str:
        """Serialize the box for a program that is started by ``exec``."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> "Box":
        """Parse the output of :meth:`as_json`.

        Raises:
            ValueError: If the text is anything else.
        """
        box = json.loads(text)
        try:
            limits = box["limits"]
            names = {each.name for each in fields(Limits)}
            if set(limits) != names or not all(type(n) is int and n > 0 for n in limits.values()):
                raise ValueError(f"limits are the positive integers {sorted(names)}")
            if box["level"] not in LEVELS or not os.path.isabs(box["home"]):
                raise ValueError(f"a box has one of the levels {LEVELS} and an absolute home")
            if not all(map(os.path.isabs, box["packages"])):
                raise ValueError(f"packages are absolute paths, got {box['packages']}")
            return cls(box["level"], Limits(**limits), box["home"], tuple(box["packages"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"a box has level, limits, home and packages: {error!r}") from error


def enter(box: Box, user: int | None, channel: socket.socket, keep: Iterable[int] = ()) -> None:
    """Confine this process, in this order: mounts, Landlock, rlimits, uid, seccomp.

    Args:
        box: The box to enter.
        user: The uid and gid to change to; None keeps those of the caller.
        channel: Receives "ready", or an error message.
        keep: Other file descriptors that stay open.
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
        os.umask(
            0o022
        )  # whatever the caller's was, the box's user must be able to enter these directories
        rlimits = _rlimits(box, user)
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(
                "1000"
            )  # the OOM killer prefers it to the grader
        if box.level == "namespaces":
            linux.unshare(
                linux.CLONE_NEWNS | linux.CLONE_NEWNET | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS
            )
            mounts.build(INNER_ID, box.limits.disk_mb, box.packages)
            with suppress(FileNotFoundError):  # without /proc, only seccomp forbids it
                Path("/proc/sys/user/max_user_namespaces").write_text("0")
        elif box.level == "bubblewrap":
            mounts.limit_inodes()
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
        if linux.landlock_abi() if box.has_own_files else box.level == "landlock":
            linux.landlock_restrict(_rights(box))
        for number, limit in rlimits.items():
            resource.setrlimit(number, (limit, limit))
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
        # A change of uid resets both.
        linux.prctl(linux.PR_SET_DUMPABLE, 1)
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
        os.chdir(box.home)
        _check_access(box)
        os.environ.update(_environment(box))
        if box.level != "none" and seccomp.available():
            seccomp.forbid()
        channel.send(b"ready")  # fails if the supervisor has ended
        channel.close()
    except BaseException as error:
        refuse(channel, error)
        os._exit(1)


def refuse(channel: socket.socket, error: BaseException) -> None:
    """Tell whoever starts this process why it does not enter its box."""
    with suppress(OSError):
        channel.send(f"{type(error).__name__}: {error}".encode()[:4000])


def _check_access(box: Box) -> None:
    """Check that the box's user can read Python, which root may have in a private directory."""
    for folder in (os.path.dirname(os.__file__), os.path.dirname(__file__)):
        try:
            os.listdir(folder)
        except OSError as error:
            raise SandboxError(
                f"code runs as user {os.getuid()}, who must be able to read {folder} ({error}); "
                "grade as an ordinary user, or use the level namespaces"
            ) from error
    if not os.access(box.home, os.W_OK):
        raise SandboxError(f"code runs as user {os.getuid()}, who cannot write to {box.home}")


def _rights(box: Box) -> dict[str, int]:
    """The Landlock access rights of a box, by path."""
    rights = dict.fromkeys(mounts.visible_paths(box.packages), linux.READ) | {
        f"/dev/{name}": linux.READ for name in mounts.DEVICES
    }
    rights |= {"/dev/null": linux.READ_WRITE, "/proc": linux.READ, box.home: linux.OWN}
    if box.has_own_files:  # mounts.build decided what / and /etc hold
        rights |= {"/": linux.LIST, "/dev/shm": linux.OWN, "/etc": linux.READ}
    else:
        rights |= dict.fromkeys(("/etc/passwd", "/etc/group", "/etc/nsswitch.conf"), linux.READ)
    return {path: right for path, right in rights.items() if os.path.exists(path)}


def _rlimits(box: Box, user: int | None) -> dict[int, int]:
    """The rlimits of this process, by their numbers in :mod:`resource`."""
    limits = box.limits
    # RLIMIT_NPROC counts the processes of a uid per user namespace. Where the box has neither a
    # uid nor a user namespace of its own, the user's other processes are added to the limit.
    alone = box.has_own_files or user is not None
    # An unprivileged supervisor has the same uid in the box's user namespace.
    supervisors = int(box.level == "namespaces" and user is None)
    inherited = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    return {
        resource.RLIMIT_CPU: limits.cpu_s,
        resource.RLIMIT_FSIZE: limits.file_mb << 20,
        resource.RLIMIT_NPROC: limits.processes
        + (supervisors if alone else _threads_of(os.getuid())),
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_DATA: inherited + (limits.memory_mb + STACKS_MB << 20),
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_MEMLOCK: 0,
    }


def _threads_of(user: int) -> int:
    """The number of threads that run as uid `user`."""
    threads = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):
            lines = (line.split() for line in status.read_text().splitlines())
            entries = {words[0]: words[1] for words in lines if len(words) > 1}
            threads += int(entries["Threads:"]) * (entries["Uid:"] == str(user))
    return threads


def _environment(box: Box) -> dict[str, str]:
    names = ["HOME", "TMPDIR", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR"]
    names += [f"XDG_{kind}" for kind in ("CACHE_HOME", "CONFIG_HOME", "DATA_HOME", "RUNTIME_DIR")]
    return dict.fromkeys(names, box.home) | {"USER": "student", "LOGNAME": "student"}
