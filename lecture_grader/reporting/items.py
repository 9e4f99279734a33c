"""Item statistics: how hard each exercise was for a class, and how well it told students apart.

Difficulty is the mean share of the points reached, so 1 is the easiest. Discrimination is the
correlation over the students between the points of an exercise and the points of all others
together (the corrected item-total correlation). Both leave out who handed in nothing, and exercises
that are not graded, and count what lateness has deducted as reached.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean

from lecture_grader.reporting.pages import attempted
from lecture_grader.reporting.result import Result

__all__ = ["MIN_STUDENTS", "Item", "items"]

MIN_STUDENTS = 5  # a correlation of fewer says nothing


@dataclass(frozen=True)
class Item:
    """One exercise."""

    difficulty: float | None  # 0 to 1; None if it is graded for nobody
    discrimination: float | None  # -1 to 1; None if it is not defined, or of few students
    students: int  # that the discrimination is of


def items(students: Mapping[str, Sequence[Result]]) -> list[Item]:
    """The statistics of every exercise, in order.

    Args:
        students: The results of every student, in the order of the exercises.
    """
    complete = [row for row in students.values() if len(attempted(row)) == len(row)]
    found = []
    for place, column in enumerate(zip(*students.values(), strict=True)):
        shares = [
            (each.points + each.deducted) / each.possible
            for each in attempted(column)
            if each.possible
        ]
        own = [row[place].points + row[place].deducted for row in complete]
        rest = [
            sum(each.points + each.deducted for at, each in enumerate(row) if at != place)
            for row in complete
        ]
        found.append(Item(fmean(shares) if shares else None, _correlation(own, rest), len(own)))
    return found


def _correlation(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Pearson's correlation; None for few students, or if one side is the same for all."""
    if len(x) < MIN_STUDENTS:
        return None
    mx, my = fmean(x), fmean(y)
    sxx, syy = sum((a - mx) ** 2 for a in x), sum((b - my) ** 2 for b in y)
    if sxx < 1e-12 or syy < 1e-12:
        return None
    sxy = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True))
    return max(-1.0, min(1.0, sxy / sqrt(sxx * syy)))
