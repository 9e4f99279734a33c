"""Measuring commands: environments to run them in, their wall time and their CPU time."""

import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = [
    "Command", "clean_environment", "environment", "figures_of", "machine", "measure", "version_in",
]  # fmt: skip

PRIVATE = ("JUPYTER", "IPYTHON", "PYTHON", "VIRTUAL_ENV", "CONDA")  # settings of the user's

Command = tuple[Sequence[str | Path], Path]  # what to run, and in which folder


def machine() -> dict[str, Any]:
    """What kind of machine this is; nothing that names it."""
    model = platform.machine()
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {"cpus": len(os.sched_getaffinity(0)), "cpu": model, "system": platform.system()}


def environment(folder: Path, requirement: str | Sequence[str], pinned: Sequence[str]) -> Path:
    """The Python of a virtual environment with a package in it, made where it is not there yet.

    Args:
        folder: Where the environment is, or goes.
        requirement: The package, or packages, as pip understands it.
        pinned: Packages that it shall have in the same version as this process.
    """
    python = folder / "bin" / "python"
    wanted = [requirement] if isinstance(requirement, str) else requirement
    requirements = [*wanted, *(f"{name}=={version(name)}" for name in pinned)]
    ready = folder / "requirements.txt"
    if not ready.is_file() or ready.read_text(encoding="utf8").split() != requirements:
        print(f"installing {' '.join(requirements)} into {folder}", flush=True)
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "-q", "--clear", "-p", sys.executable, folder], check=True)
        install = [*uv, "pip", "install", "-q", "--compile-bytecode", "--python", python]
        subprocess.run([*install, *requirements], check=True)
        ready.write_text("\n".join(requirements) + "\n", encoding="utf8")
    return python


def version_in(python: Path, name: str) -> str:
    """The version of a package in the environment of another Python."""
    code = f"from importlib.metadata import version; print(version({name!r}))"
    return subprocess.run(
        [python, "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()


def clean_environment(home: Path, command: Sequence[str | Path]) -> dict[str, str]:
    """The environment of a command: that of its own Python, one thread, no settings of a user."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PRIVATE)}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    path = f"{Path(command[0]).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return kept | threads | {"HOME": str(home), "PATH": path}


def measure(commands: Sequence[Command], folder: Path, submissions: int) -> dict[str, Any]:
    """Runs commands side by side; wall time, and CPU time of all their descendants.

    Raises:
        SystemExit: A command failed; its output is shown.
    """
    with (folder / "log").open("w+", encoding="utf8") as log, _cpu_clock() as (clock, join, how):
        before, started = clock(), time.perf_counter()
        processes = [
            subprocess.Popen(
                command, cwd=cwd, env=clean_environment(folder, command), preexec_fn=join,
                stdout=log, stderr=subprocess.STDOUT,
            )
            for command, cwd in commands
        ]  # fmt: skip
        failed = [process.wait() for process in processes]
        wall = time.perf_counter() - started
        cpu = clock() - before
        if any(failed):
            log.seek(0)
            raise SystemExit(f"{commands[0][0][0]} failed, {failed}:\n{log.read()[-4000:]}")
    return figures_of(wall, cpu, submissions) | {"cpu_counted_by": how}


@contextmanager
def _cpu_clock() -> Iterator[tuple[Callable[[], float], Callable[[], None] | None, str]]:
    """A clock of CPU seconds of child processes, how a child joins it, and what counts.

    A control group counts every process that was ever in it. Without one there is getrusage, to
    which a process adds nothing if its parent did not wait for it: true of our boxed kernels.
    """
    group = _control_group()
    if group is None:
        yield _waited_for, None, "getrusage, without processes that nobody waited for"
        return

    def clock() -> float:
        fields = dict(map(str.split, (group / "cpu.stat").read_text().splitlines()))
        return int(fields["usage_usec"]) / 1e6

    def join() -> None:
        (group / "cgroup.procs").write_text("0")

    try:
        yield clock, join, "control group"
    finally:
        until = time.monotonic() + 10
        while (group / "cgroup.procs").read_text() and time.monotonic() < until:
            time.sleep(0.05)
        with suppress(OSError):  # something still runs: the system removes the group some day
            group.rmdir()


def _control_group() -> Path | None:
    """A new control group (version 2) below that of this process, where that is allowed."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        own = next(line for line in lines if line.startswith("0::"))[3:].strip("/")
        for mount in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")):
            group = mount / own / f"lecture-vae-benchmark-{os.getpid()}"
            if (mount / "cgroup.controllers").is_file():
                group.mkdir()
                return group
    return None


def _waited_for() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def figures_of(wall: float, cpu: float, submissions: int) -> dict[str, float]:
    """Seconds per submission, and submissions a minute."""
    return {
        "submissions": submissions,
        "wall_s_per_submission": round(wall / submissions, 4),
        "cpu_s_per_submission": round(cpu / submissions, 4),
        "submissions_per_minute": round(60 * submissions / wall, 2),
        "total_s": round(wall, 2),
    }
