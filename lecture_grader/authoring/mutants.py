"""Mutation testing of checks: every check must pass the solution and kill every mutant.

The mutants are the stub and the named wrong answers. The kill matrix has a row for each answer and
a column for each check. A check with a surviving mutant is too weak to grade with.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from lecture_grader.authoring.assignment import Assignment
from lecture_grader.authoring.check import PUBLIC_SEED, HiddenCheck, check_cell, execute, quiet

__all__ = ["Row", "kill_matrix", "kill_table"]


@dataclass(frozen=True)
class Row:
    """A row of the kill matrix: the outcome of an answer in both checks."""

    exercise: str
    answer: str  # "solution", "stub" or the name of a wrong answer
    public: str | None  # None if it passed, else the objection
    hidden: str | None

    @property
    def is_expected(self) -> bool:
        """Whether the solution passes both checks, or a mutant fails both."""
        passes = (self.public is None, self.hidden is None)
        return passes == ((True, True) if self.answer == "solution" else (False, False))


def kill_matrix(assignment: Assignment, seed: int = PUBLIC_SEED + 1) -> Iterator[Row]:
    """Runs every answer of every exercise through both of its checks, one row at a time.

    Raises:
        ExerciseError: A check cannot be made.
    """
    for exercise in assignment.exercises:
        check = check_cell(assignment, exercise)
        hidden = HiddenCheck(assignment, exercise, seed)
        answers = {"solution": exercise.solution, "stub": exercise.stub}
        answers |= {wrong.name: wrong.source for wrong in exercise.wrong}
        for name, source in answers.items():
            yield Row(
                exercise.name,
                name,
                public=_failure(execute, assignment.setup, source, check),
                hidden=_failure(hidden.objection_to, source),
            )


def kill_table(rows: Sequence[Row]) -> str:
    """The kill matrix as text, a line for each answer."""
    width = max(len(row.answer) for row in rows)
    lines: list[str] = []
    for exercise, group in groupby(rows, key=lambda row: row.exercise):
        lines.append(exercise)
        for row in group:
            public, hidden = ("fails" if why else "passes" for why in (row.public, row.hidden))
            mark = "" if row.is_expected else "   <-- must not be"
            lines.append(f"  {row.answer:{width}}  public {public:6}  hidden {hidden:6}{mark}")
    return "\n".join(lines)


def _failure(check: Callable[..., Any], *arguments: Any) -> str | None:
    """The exception or message of a check; None if it passes."""
    try:
        with quiet():
            objection = check(*arguments)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return objection if isinstance(objection, str) else None
