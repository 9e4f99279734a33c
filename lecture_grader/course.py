"""A course: the packages that its notebooks use, and how their kernels start.

``course.toml`` beside the sources of the assignments holds the settings::

    packages = ["mycourse"]                  # visible in the sandbox, like the installed libraries
    preload = ["pandas", "mycourse.data"]    # imported once, before any kernel starts
    [preload_where]
    "matplotlib" = ["matplotlib.pyplot"]     # only if a solution or a notebook contains the key
    [environment]
    MYCOURSE_DATA = "small"                  # environment variables of the kernels

Without it, kernels have Python, the installed libraries and this package.
"""

import hashlib
import os
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["Course", "CourseError", "code_of", "package_paths", "read_course"]

FILE = "course.toml"
GRADER = "lecture_grader"  # the package of the probes that run in students' kernels


class CourseError(ValueError):
    """``course.toml`` breaks a rule; the message states it."""


@dataclass(frozen=True)
class Course:
    """What kernels have in addition to Python and the installed libraries."""

    packages: tuple[str, ...] = ()  # names of importable packages or modules
    preload: tuple[str, ...] = ()  # names of modules
    preload_where: tuple[tuple[str, tuple[str, ...]], ...] = ()  # (text, names of modules)
    environment: tuple[tuple[str, str], ...] = ()  # (variable, value)

    def preload_for(self, sources: Iterable[str]) -> tuple[str, ...]:
        """Modules to import before a kernel starts.

        Args:
            sources: The code that will run.
        """
        conditional, modules = dict(self.preload_where), [*self.preload]
        for source in sources:
            for text in [text for text in conditional if text in source]:
                modules += conditional.pop(text)
        return tuple(dict.fromkeys(modules))


def read_course(folder: Path) -> Course:
    """Read ``course.toml`` in a folder of assignments; without the file, the default course.

    Raises:
        CourseError: The file is not TOML, has another form, or names a missing package.
        OSError: The file cannot be read.
    """
    path = folder / FILE
    try:
        settings = tomllib.loads(path.read_text(encoding="utf8"))
    except FileNotFoundError:
        return Course()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CourseError(f"{path}: a course is described in TOML, but: {error}.") from error
    rules = {
        "packages": _are_names, "preload": _are_names,
        "preload_where": lambda table: all(map(_are_names, table.values())),
        "environment": lambda table: all(type(value) is str for value in table.values()),
    }  # fmt: skip
    for key, value in settings.items():
        table = key in ("preload_where", "environment")
        if key not in rules or isinstance(value, dict) != table or not rules[key](value):
            raise CourseError(
                f"{path}: packages and preload are lists of names, preload_where is a table of "
                f"such lists, environment a table of strings; got {key} = {value!r}."
            )
    course = Course(
        tuple(settings.get("packages", ())),
        tuple(settings.get("preload", ())),
        tuple((text, tuple(names)) for text, names in settings.get("preload_where", {}).items()),
        tuple(settings.get("environment", {}).items()),
    )
    conditional = (name for _, names in course.preload_where for name in names)
    for name in (*course.packages, *course.preload, *conditional):
        if find_spec(name.partition(".")[0]) is None:
            raise CourseError(f"{path}: names {name}, which is not installed here.")
    return course


def package_paths(packages: Iterable[str]) -> list[str]:
    """The paths of the packages of a course: directories, or files of single modules.

    Raises:
        CourseError: A package is not installed.
    """
    return [str(path) for name in packages for path in _paths(name)]


def code_of(packages: Iterable[str]) -> str:
    """A SHA-256 of the Python code of this package and those of a course, as 16 hex digits."""
    total = hashlib.sha256()
    for name in (GRADER, *packages):
        for path in _paths(name):
            for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
                relative = file.relative_to(path.parent).as_posix()
                content = hashlib.sha256(file.read_bytes()).hexdigest()
                total.update(f"{relative} {content}\n".encode())
    return total.hexdigest()[:16]


def _paths(name: str) -> Iterator[Path]:
    spec = find_spec(name)
    if spec is None:
        raise CourseError(f"the package {name} is not installed here.")
    if spec.submodule_search_locations:
        yield from map(Path, spec.submodule_search_locations)
    elif spec.origin and os.path.isabs(spec.origin):
        yield Path(spec.origin)


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(
        type(name) is str and all(part.isidentifier() for part in name.split(".")) for name in value
    )
