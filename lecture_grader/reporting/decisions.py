"""Decisions: points that the teacher has given by hand, each with a reason.

``decisions.jsonl`` beside the gradebook holds them, one in each line, and nothing deletes one: the
last on an exercise of a student counts. A decision is about one submission. If the student hands in
another one, it is not applied, and the teacher is told.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from lecture_grader.reporting.lms import decimal
from lecture_grader.reporting.markup import one_line
from lecture_grader.reporting.result import UNGRADED, Result
from lecture_vae.storage import write_atomically

__all__ = ["Decision", "apply_decisions", "decide", "read_decisions", "read_results"]

FILE, RESULTS = "decisions.jsonl", "results.jsonl"
REASON_LIMIT = 500
REGRADED = "Regraded"


@dataclass(frozen=True)
class Decision:
    """Points that the teacher gives for an answer."""

    student: str
    exercise: str
    submission: str  # hash of the file that it is about
    points: float
    reason: str


def read_results(folder: Path) -> list[dict[str, Any]]:
    """The lines of results.jsonl of a graded folder.

    Raises:
        ValueError: A line is no result.
        OSError: There is no such file.
    """
    path, rows = folder / RESULTS, []
    for number, line in enumerate(path.read_text(encoding="utf8").splitlines(), 1):
        try:
            row = json.loads(line)
            rows.append({**row, "key": (row["student"], row["exercise"])})
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path}, line {number}: no result of a grading.") from error
    return rows


def read_decisions(folder: Path) -> list[Decision]:
    """All decisions of a graded folder, in order; none without the file.

    Raises:
        ValueError: A line is no decision.
        OSError: The file cannot be read.
    """
    path = folder / FILE
    if not path.exists():
        return []
    found = []
    for number, line in enumerate(path.read_text(encoding="utf8").splitlines(), 1):
        try:
            decision = Decision(**json.loads(line))
            if type(decision.points) not in (int, float) or type(decision.reason) is not str:
                raise TypeError
            found.append(decision)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}, line {number}: no decision of a teacher.") from error
    return found


def decide(folder: Path, student: str, exercise: str, points: float, reason: str) -> Decision:
    """Adds a decision to a graded folder; the next grading applies it.

    Args:
        folder: With the results of a grading.
        student: As in results.jsonl.
        exercise: Its name or its number.
        points: From 0 to the points of the exercise.
        reason: A sentence, which the student reads.

    Raises:
        ValueError: There is no such student or exercise, the points are out of range, or there is
            no reason.
        OSError: The folder holds no results, or cannot be written.
    """
    rows = read_results(folder)
    own = [row for row in rows if row["student"] == student]
    if not own:
        names = ", ".join(dict.fromkeys(one_line(row["student"]) for row in rows[:40]))
        raise ValueError(f"{folder} has no results of {student!r}; it has those of: {names}.")
    found = [row for row in own if exercise in (row["exercise"], str(row["number"]))]
    if not found:
        names = ", ".join(f"{row['number']} ({row['exercise']})" for row in own)
        raise ValueError(f"there is no exercise {exercise!r}; there are: {names}.")
    (row,) = found
    if row["outcome"] in UNGRADED:
        raise ValueError(f"exercise {row['number']} is not graded yet: grade again first.")
    if not 0 <= points <= row["possible"]:
        raise ValueError(
            f"exercise {row['number']} has 0 to {row['possible']} points, got {points:g}."
        )
    reason = " ".join(reason.split())
    if not reason or len(reason) > REASON_LIMIT:
        raise ValueError(f"a regrade needs a reason of 1 to {REASON_LIMIT} characters.")
    decision = Decision(student, row["exercise"], row["submission"], points, reason)
    text = "".join(json.dumps(asdict(each)) + "\n" for each in (*read_decisions(folder), decision))
    write_atomically(
        folder / FILE, partial(Path.write_text, data=text, encoding="utf8"), private=True
    )
    return decision


def apply_decisions(
    students: Mapping[str, Sequence[Result]], decisions: Sequence[Decision]
) -> tuple[dict[str, list[Result]], list[str]]:
    """The results with the teacher's points, which lateness does not reduce.

    Returns:
        The results of every student, and a sentence on every decision.
    """
    last = {(each.student, each.exercise): each for each in decisions}
    changed = {name: list(row) for name, row in students.items()}
    lines = []
    for (student, exercise), decision in last.items():
        at = next(
            (at for at, each in enumerate(changed.get(student, ())) if each.exercise == exercise),
            None,
        )
        where = f"{one_line(student)}, {exercise}"
        if at is None or changed[student][at].submission != decision.submission:
            lines.append(f"not regraded: {where}: it was about another submission")
            continue
        before = changed[student][at]
        remark = (
            f"{REGRADED} by the teacher: {decimal(before.points)} -> {decimal(decision.points)} "
            f"points. {decision.reason}"
        )
        changed[student][at] = replace(
            before, points=decision.points, deducted=0.0, remarks=(*before.remarks, remark)
        )
        lines.append(
            f"regraded: {where}: {decimal(before.points)} -> {decimal(decision.points)}: "
            f"{one_line(decision.reason, 200)}"
        )
    return changed, lines
