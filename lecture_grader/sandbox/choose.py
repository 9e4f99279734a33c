"""Which sandbox to grade in: the strongest that this machine was seen to hold, or none at all.

======================  ===================================================================
``namespaces``          mount, PID, network and user namespaces; Landlock, rlimits, seccomp
``bubblewrap``          the same through ``bwrap``, for machines that allow only it; slower
``landlock``            the host's files and processes, most of them out of reach; rlimits
``none``                rlimits only: for code that is trusted
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

from lecture_grader.course import package_places
from lecture_grader.sandbox import linux, seccomp
from lecture_grader.sandbox.confine import LEVELS, Box, Limits, SandboxError
from lecture_grader.sandbox.escape_test import promised

__all__ = ["Limits", "Sandbox", "SandboxError", "choose", "measure_escapes"]

PATIENCE = 90.0  # seconds for all attempts


@dataclass(frozen=True)
class Sandbox:
    """A level that held, and what it is made of on this machine."""

    level: str
    description: str  # such as "namespaces+landlock7+seccomp+rlimits+uid"
    packages: tuple[str, ...] = ()  # folders and files of packages that are shown in it

    def box(self, limits: Limits) -> Box:
        """A box in it."""
        return Box(self.level, limits, packages=self.packages)


@cache
def choose(level: str = "auto", packages: tuple[str, ...] = ()) -> Sandbox:
    """The sandbox of that level, after every way out it promises to close was tried in it.

    Args:
        level: "namespaces", "bubblewrap", "landlock" or "none"; "auto" takes the first of the
            first two that holds, and never less.
        packages: Names of the packages of a course, which are shown in it.

    Raises:
        SandboxError: If the level does not hold here.
        ValueError: If there is no such level.
    """
    if level not in ("auto", *LEVELS):
        raise ValueError(f"a sandbox is one of auto, {', '.join(LEVELS)}; got {level!r}.")
    failures, places = [], tuple(package_places(packages))
    for each in ("namespaces", "bubblewrap") if level == "auto" else (level,):
        try:
            results = measure_escapes(each, places)
        except SandboxError as error:
            failures.append(f"{each}: {error}")
            continue
        through = [name for name, got in results.items() if got and promised(each, name)]
        if not through:
            return Sandbox(each, _describe(each), places)
        failures.append(f"{each}: a program in it could {', '.join(through)}")
    raise SandboxError(
        "students' code runs only in a working sandbox, and none was found to hold on this "
        f"machine ({'; '.join(failures)}). Allow unprivileged user namespaces, install bubblewrap, "
        "grade in a virtual machine, or ask for a weaker level: landlock, or none."
    )


def measure_escapes(level: str, packages: Sequence[str]) -> dict[str, str]:
    """Try every way out of a box of this level; what each attempt got, nothing if it failed.

    Raises:
        SandboxError: If the box cannot be entered.
    """
    if not sys.platform.startswith("linux"):
        raise SandboxError(f"sandboxes need Linux; this is {sys.platform}")
    if level == "bubblewrap" and not shutil.which("bwrap"):
        raise SandboxError("there is no program bwrap")
    # A process of its own: it forks, and this one may have threads.
    python = [sys.executable, "-s", "-P", "-B", "-m", "lecture_grader.sandbox.escape_test", level]
    python += packages
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}
    try:
        done = subprocess.run(
            python, env=environment, cwd="/", capture_output=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise SandboxError(f"the ways out were not tried within {PATIENCE:.0f} s") from error
    try:
        told = json.loads(done.stdout)
    except ValueError as error:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise SandboxError(f"trying the ways out failed: {last or error}") from error
    if told["error"]:
        raise SandboxError(told["error"])
    results: dict[str, str] = told["results"]
    return results


def _describe(level: str) -> str:
    if level == "none":
        return "rlimits"
    abi = linux.landlock_abi()
    parts = [level if level != "landlock" else "", f"landlock{abi}" if abi else ""]
    parts += ["seccomp" if seccomp.available() else "", "rlimits"]
    parts.append("uid" if os.geteuid() == 0 else "")
    return "+".join(part for part in parts if part)
