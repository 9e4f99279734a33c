"""A course: which packages its notebooks use, and what their kernels start with.

The file ``course.toml`` beside the sources of the assignments says it::

    packages = ["mycourse"]                  # shown in the sandbox, beside the installed libraries
    preload = ["pandas", "mycourse.data"]    # imported once, before any kernel starts
    [preload_where]
    "matplotlib" = ["matplotlib.pyplot"]     # if a solution or a notebook holds the word
    [environment]
    MYCOURSE_DATA = "small"                  # variables of the kernels

Without it, kernels have Python, its installed libraries, and this package.
"""

import hashlib
import os
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["Course", "CourseError", "code_of", "package_places", "read_course"]

FILE = "course.toml"
GRADER = "lecture_grader"  # what runs beside students' code is part of it


class CourseError(ValueError):
    """The description of a course breaks a rule; the message names it."""


@dataclass(frozen=True)
class Course:
    """What kernels have beside Python and its installed libraries."""

    packages: tuple[str, ...] = ()  # names of importable packages or modules
    preload: tuple[str, ...] = ()  # names of modules
    preload_where: tuple[tuple[str, tuple[str, ...]], ...] = ()  # (text, names of modules)
    environment: tuple[tuple[str, str], ...] = ()  # (variable, value)

    def preload_for(self, sources: Iterable[str]) -> tuple[str, ...]:
        """Modules to import before a kernel starts.

        Args:
            sources: The code that is to run.
        """
        waiting, wanted = dict(self.preload_where), [*self.preload]
        for source in sources:
            for text in [text for text in waiting if text in source]:
                wanted += waiting.pop(text)
        return tuple(dict.fromkeys(wanted))


def read_course(folder: Path) -> Course:
    """The course whose assignments lie in a folder.

    Raises:
        CourseError: ``course.toml`` is not TOML, has another form, or names what is not installed.
        OSError: It is there and cannot be read.
    """
    path = folder / FILE
    try:
        told = tomllib.loads(path.read_text(encoding="utf8"))
    except FileNotFoundError:
        return Course()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CourseError(f"{path}: a course is described in TOML, but: {error}.") from error
    rules = {
        "packages": _are_names, "preload": _are_names,
        "preload_where": lambda table: all(map(_are_names, table.values())),
        "environment": lambda table: all(type(value) is str for value in table.values()),
    }  # fmt: skip
    for key, value in told.items():
        table = key in ("preload_where", "environment")
        if key not in rules or isinstance(value, dict) != table or not rules[key](value):
            raise CourseError(
                f"{path}: packages and preload are lists of names, preload_where is a table of "
                f"such lists, environment a table of strings; got {key} = {value!r}."
            )
    course = Course(
        tuple(told.get("packages", ())),
        tuple(told.get("preload", ())),
        tuple((text, tuple(names)) for text, names in told.get("preload_where", {}).items()),
        tuple(told.get("environment", {}).items()),
    )
    conditional = (name for _, names in course.preload_where for name in names)
    for name in (*course.packages, *course.preload, *conditional):
        if find_spec(name.partition(".")[0]) is None:
            raise CourseError(f"{path}: names {name}, which is not installed here.")
    return course


def package_places(packages: Iterable[str]) -> list[str]:
    """Where the packages of a course lie: folders, or files of single modules.

    Raises:
        CourseError: One is not installed.
    """
    return [str(path) for name in packages for path in _places(name)]


def code_of(packages: Iterable[str]) -> str:
    """A hash of the Python code of this package and those of a course: 16 hex digits."""
    total = hashlib.sha256()
    for name in (GRADER, *packages):
        for place in _places(name):
            for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
                inside = file.relative_to(place.parent).as_posix()
                content = hashlib.sha256(file.read_bytes()).hexdigest()
                total.update(f"{inside} {content}\n".encode())
    return total.hexdigest()[:16]


def _places(name: str) -> Iterator[Path]:
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
