"""Assignments: one MyST notebook each, in which tags give the role of every cell.

A Markdown cell tagged ``exercise:NAME`` and ``points:N`` opens an exercise. The code cells that
follow are tagged ``stub``, ``solution``, ``probe``, ``check``, ``hidden`` or ``wrong:NAME``. The
code cells before the first exercise are tagged ``setup``. Nothing here runs a cell.
"""

import ast
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import indent
from typing import Any

import jupytext

from lecture_grader.cells import EXERCISE, POINTS, ROLES, SETUP, TIMEOUT, WRONG, tag_value

__all__ = [
    "Assignment",
    "Exercise",
    "ExerciseError",
    "WrongAnswer",
    "defined_names",
    "read_assignment",
]

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
SELFCHECK = "lecture_grader.student.selfcheck"  # imported by the check cells of notebooks
CPU_SECONDS = 20.0  # default for one cell of a student


class ExerciseError(Exception):
    """The source of an assignment breaks a rule; the message names the cell and the rule."""


@dataclass(frozen=True)
class WrongAnswer:
    """A common mistake as code, with a hint for students who make it."""

    name: str  # "sign-flipped"
    source: str
    hint: str


@dataclass(frozen=True)
class Exercise:
    """One question with its checks, its solution and known wrong answers."""

    name: str  # "discrete-kl"
    number: int  # its position in the assignment, from 1
    points: int
    timeout: float  # CPU seconds for one cell
    statement: str  # Markdown, with its heading
    answer: str  # the top-level name that a student defines
    stub: str
    solution: str
    probe: str  # calls the answer on one case; runs in the student's kernel
    check: str  # public asserts
    hidden: str  # draws the cases; never runs in a student's kernel
    wrong: tuple[WrongAnswer, ...]

    @property
    def worth(self) -> str:
        """Its points, in words."""
        return "1 point" if self.points == 1 else f"{self.points} points"

    @property
    def title(self) -> str:
        """The heading of the statement."""
        return self.statement.splitlines()[0].lstrip("# ").strip()

    def check_cell(self, known: str | None) -> str:
        """The source of the check cell, wrapped in a function so that it leaves no names behind.

        Args:
            known: The cases, packed by
                :meth:`~lecture_grader.student.selfcheck.KnownCases.pack`; None for a check with
                the author's asserts alone.
        """
        lines = indent(self.check_lines(known), "    ")
        return f"def _check():\n{lines}\n\n\ntry:\n    _check()\nfinally:\n    del _check"

    def check_lines(self, known: str | None) -> str:
        """The statements of the check, which were the whole cell until version 0.1."""
        if known is None:
            return self.check
        return (
            f"from {SELFCHECK} import KnownCases\n\n"
            f"{self.probe}\n\n"
            f'known = KnownCases("{known}")\n'
            "known.look_for_mistakes(probe)\n"
            f"{self.check}\n"
            "known.check(probe)"
        )


@dataclass(frozen=True)
class Assignment:
    """A set of exercises that is released, submitted and graded together."""

    name: str  # the stem of its file
    title: str
    introduction: str  # Markdown before the first exercise, with the title
    setup: str  # imports that every answer may use
    exercises: tuple[Exercise, ...]
    version: str  # 16 hex digits; another source, another version

    @property
    def tensors(self) -> bool:
        """Whether arrays reach answers as tensors of PyTorch: where the set-up imports it."""
        return re.search(r"^(import|from) torch\b", self.setup, re.MULTILINE) is not None

    @property
    def points(self) -> int:
        """The points of a correct submission."""
        return sum(exercise.points for exercise in self.exercises)


def defined_names(source: str) -> list[str]:
    """Functions, classes and variables that Python code defines at its top level, in order."""
    names: list[str] = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names += [(name.asname or name.name).split(".")[0] for name in node.names]
        else:
            names += [
                part.id
                for part in ast.walk(node)
                if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
            ]
    return names


def read_assignment(path: Path) -> Assignment:
    """Reads the source of an assignment.

    Raises:
        ExerciseError: A cell has no role, an exercise lacks a part, a name is used twice, ...
        OSError: The file cannot be read.
    """
    if path.suffix != ".md":
        raise ExerciseError(
            f"{path}: an assignment is the .md source of the exercises, got a "
            f"{path.suffix or 'folder or a file without suffix'}."
        )
    try:
        text = path.read_text(encoding="utf8")
    except UnicodeDecodeError as error:
        raise ExerciseError(
            f"{path}: an assignment is UTF-8 text; byte {error.start} is not. Was it saved in "
            "another encoding?"
        ) from error
    setup: list[str] = []
    introduction: list[str] = []
    drafts: list[_Draft] = []
    for cell in jupytext.reads(text, fmt="md:myst").cells:
        source, tags = cell.source.strip(), list(cell.metadata.get("tags", []))
        if not source:
            continue
        if cell.cell_type == "markdown":
            name = tag_value(tags, EXERCISE)
            if name is not None:
                drafts.append(_Draft(name, tags, [source]))
            else:
                (drafts[-1].statement if drafts else introduction).append(source)
        elif not drafts and tags == [SETUP]:
            setup.append(source)
        elif drafts and len(tags) == 1:
            drafts[-1].add(tags[0], source, cell.metadata)
        else:
            raise ExerciseError(
                f"{path.name}: every code cell has one tag (setup before the first exercise, then "
                f"{', '.join(ROLES)} or wrong:NAME), got {tags} at the cell that starts with "
                f"{source.splitlines()[0]!r}."
            )
    if not introduction or not introduction[0].startswith("# "):
        raise ExerciseError(f"{path.name}: the first cell must start with '# Title'.")
    if not drafts:
        raise ExerciseError(f"{path.name}: no Markdown cell is tagged exercise:NAME.")
    _parse(path.name, "setup", "\n\n".join(setup))
    names = [draft.name for draft in drafts]
    if len(set(names)) < len(names):
        raise ExerciseError(f"{path.name}: exercise names must be unique, got {names}.")
    return Assignment(
        name=path.stem,
        title=introduction[0].splitlines()[0].removeprefix("# ").strip(),
        introduction="\n\n".join(introduction),
        setup="\n\n".join(setup),
        exercises=tuple(draft.finish(path.name, number) for number, draft in enumerate(drafts, 1)),
        version=hashlib.sha256(text.encode()).hexdigest()[:16],
    )


@dataclass
class _Draft:
    """An exercise while its cells are read."""

    name: str
    tags: list[str]
    statement: list[str]
    parts: dict[str, str] = field(default_factory=dict)
    wrong: list[WrongAnswer] = field(default_factory=list)

    def add(self, tag: str, source: str, metadata: dict[str, Any]) -> None:
        name = tag_value([tag], WRONG)
        if name is not None:
            hint = str(metadata.get("hint", "")).strip()
            if not hint:
                raise ExerciseError(f"{self.name}: wrong answer {name} has no hint.")
            self.wrong.append(WrongAnswer(name, source, hint))
        elif tag not in ROLES:
            raise ExerciseError(
                f"{self.name}: a code cell is {', '.join(ROLES)} or wrong:NAME, got {tag!r}."
            )
        elif tag in self.parts:
            raise ExerciseError(f"{self.name}: two cells are tagged {tag}; one is the rule.")
        else:
            self.parts[tag] = source

    def finish(self, file: str, number: int) -> Exercise:
        where = f"{file}, exercise {self.name}"
        if not NAME.fullmatch(self.name):
            raise ExerciseError(f"{where}: names are lowercase words joined by hyphens.")
        missing = [role for role in ROLES if role not in self.parts]
        if missing:
            raise ExerciseError(f"{where}: no cell is tagged {', '.join(missing)}.")
        if not self.wrong:
            raise ExerciseError(f"{where}: at least one wrong answer must be named (wrong:NAME).")
        if len({wrong.name for wrong in self.wrong}) < len(self.wrong):
            raise ExerciseError(f"{where}: two wrong answers have the same name.")
        if not self.statement[0].startswith("## "):
            raise ExerciseError(f"{where}: the statement must start with '## Title'.")
        versions = {role: self.parts[role] for role in ("stub", "solution")}
        versions |= {f"wrong:{wrong.name}": wrong.source for wrong in self.wrong}
        answers = {role: _parse(where, role, source) for role, source in versions.items()}
        if len(set(map(tuple, answers.values()))) > 1 or len(answers["stub"]) != 1:
            raise ExerciseError(
                f"{where}: stub, solution and wrong answers must each define one and the same "
                f"top-level name, got {answers}."
            )
        if "probe" not in _parse(where, "probe", self.parts["probe"]):
            raise ExerciseError(f"{where}: the cell tagged probe must define probe(...).")
        if "draw" not in _parse(where, "hidden", self.parts["hidden"]):
            raise ExerciseError(f"{where}: the cell tagged hidden must define draw(rng).")
        _parse(where, "check", self.parts["check"])
        return Exercise(
            name=self.name,
            number=number,
            points=int(_number(where, self.tags, POINTS, None)),
            timeout=_number(where, self.tags, TIMEOUT, CPU_SECONDS),
            statement="\n\n".join(self.statement),
            answer=answers["stub"][0],
            wrong=tuple(self.wrong),
            **self.parts,
        )


def _number(where: str, tags: Sequence[str], key: str, default: float | None) -> float:
    value = tag_value(tags, key)
    if value is None and default is not None:
        return default
    if value is None or not value.isdecimal() or int(value) < 1:
        raise ExerciseError(f"{where}: the tag {key}:N needs a whole number >= 1, got {value}.")
    return int(value)


def _parse(where: str, role: str, source: str) -> list[str]:
    try:
        return defined_names(source)
    except SyntaxError as error:
        raise ExerciseError(f"{where}, cell {role}: {error}.") from error
