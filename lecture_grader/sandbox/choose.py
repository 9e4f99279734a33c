"""Choose a sandbox: the strongest level that passes the escape tests on this machine.

======================  ===================================================================
``namespaces``          mount, PID, network and user namespaces; Landlock, rlimits, seccomp
``bubblewrap``          the same through ``bwrap``, for machines that allow only it; slower
``landlock``            Landlock, rlimits, seccomp; files and processes are the host's
``none``                rlimits only: for trusted code
======================  ===================================================================
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from lecture_grader.course import package_paths
from lecture_grader.sandbox import linux, seccomp
from lecture_grader.sandbox.confine import LEVELS, Box, Limits, SandboxError
from lecture_grader.sandbox.escape_test import is_promised

__all__ = ["Limits", "Sandbox", "SandboxError", "choose", "choose_on_worker", "measure_escapes"]

TIMEOUT = 90.0  # seconds for all attempts


@dataclass(frozen=True)
class Sandbox:
    """A sandbox level that passed its escape tests, and the mechanisms behind it here."""

    level: str
    description: str  # such as "namespaces+landlock7+seccomp+rlimits+uid"
    packages: tuple[str, ...] = ()  # names of the packages of a course that are visible in it
    paths: tuple[str, ...] = ()  # of these packages on this machine

    def box(self, limits: Limits) -> Box:
        """A box of this level with these limits."""
        return Box(self.level, limits, packages=self.paths)


@cache
def choose(level: str = "auto", packages: tuple[str, ...] = ()) -> Sandbox:
    """Return the sandbox of a level after its escape tests have passed.

    Args:
        level: "namespaces", "bubblewrap", "landlock" or "none"; "auto" takes the first of the
            first two that passes, and never a weaker one.
        packages: Names of the packages of a course, which are visible in the sandbox.

    Raises:
        SandboxError: If an escape test of the level succeeds here.
        ValueError: If there is no such level.
    """
    if level not in ("auto", *LEVELS):
        raise ValueError(f"a sandbox is one of auto, {', '.join(LEVELS)}; got {level!r}.")
    failures, paths = [], tuple(package_paths(packages))
    for candidate in ("namespaces", "bubblewrap") if level == "auto" else (level,):
        try:
            results = measure_escapes(candidate, paths)
        except SandboxError as error:
            failures.append(f"{candidate}: {error}")
            continue
        escaped = [name for name, gain in results.items() if gain and is_promised(candidate, name)]
        if not escaped:
            return Sandbox(candidate, _describe(candidate), packages, paths)
        failures.append(f"{candidate}: a program in it could {', '.join(escaped)}")
    raise SandboxError(
        "students' code runs only in a working sandbox, and none works on this machine "
        f"({'; '.join(failures)}). Allow unprivileged user namespaces, install bubblewrap, "
        "grade in a virtual machine, or ask for a weaker level: landlock, or none."
    )


def choose_on_worker(chosen: Sandbox) -> Sandbox:
    """The same sandbox on the machine of a worker, after its escape tests have passed there.

    What was chosen elsewhere says nothing about this kernel, and the packages have other paths.

    Args:
        chosen: The sandbox that another machine chose; its level and packages are used.

    Raises:
        SandboxError: If an escape test of the level succeeds here.
        CourseError: If a package is not installed here.
    """
    return choose(chosen.level, chosen.packages)


def measure_escapes(level: str, packages: Sequence[str]) -> dict[str, str]:
    """Run every escape test in a box of this level.

    Args:
        level: As for :func:`choose`.
        packages: Absolute paths of the packages that are visible in the box.

    Returns:
        What each attempt obtained, by its name; "" where it failed.

    Raises:
        SandboxError: If the box cannot be entered.
    """
    if not sys.platform.startswith("linux"):
        raise SandboxError(f"sandboxes need Linux; this is {sys.platform}")
    if level == "bubblewrap" and not shutil.which("bwrap"):
        raise SandboxError("there is no program bwrap")
    # In a separate process: the test forks, and this process may have threads.
    python = [sys.executable, "-s", "-P", "-B", "-m", "lecture_grader.sandbox.escape_test", level]
    python += packages
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}
    try:
        done = subprocess.run(
            python, env=environment, cwd="/", capture_output=True, timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise SandboxError(f"the escape tests did not finish within {TIMEOUT:.0f} s") from error
    try:
        report = json.loads(done.stdout)
    except ValueError as error:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise SandboxError(f"the escape tests failed to run: {last or error}") from error
    if report["error"]:
        raise SandboxError(report["error"])
    results: dict[str, str] = report["results"]
    return results


def _describe(level: str) -> str:
    if level == "none":
        return "rlimits"
    abi = linux.landlock_abi()
    parts = [level if level != "landlock" else "", f"landlock{abi}" if abi else ""]
    parts += ["seccomp" if seccomp.available() else "", "rlimits"]
    parts.append("uid" if os.geteuid() == 0 else "")
    return "+".join(part for part in parts if part)
