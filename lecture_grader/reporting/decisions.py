"""Decisions: points that the teacher has given by hand, each with a reason.

``decisions.jsonl`` beside the gradebook holds them, one in each line, and nothing deletes one: the
last on an exercise of a student counts. A decision is about one submission. If the student hands in
another one, it is not applied, and the teacher is told.
"""

import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

from lecture_grader.reporting.lms import decimal
from lecture_grader.reporting.markup import one_line
from lecture_grader.reporting.result import REGRADED, UNGRADED, Result
from lecture_vae.storage import write_atomically

__all__ = [
    "Decision", "apply_decisions", "decide", "find_answer", "read_decisions",
    "read_results",
]  # fmt: skip

FILE, RESULTS = "decisions.jsonl", "results.jsonl"
REASON_LIMIT = 500


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


def find_answer(folder: Path, student: str, exercise: str) -> dict[str, Any]:
    """The line of results.jsonl on one exercise of one student.

    Args:
        folder: With the results of a grading.
        student: The name of the submission; or the name, the id or the login in the roster, if
            they are those of one student only.
        exercise: Its name or its number.

    Raises:
        ValueError: There is no such student or exercise, or more than one student.
        OSError: The folder holds no results.
    """
    rows = read_results(folder)
    called: dict[str, list[str]] = {}  # what a student may be called
    for row in rows:
        names = [row["student"], *(row.get(each, "") for each in ("name", "id", "login"))]
        called[row["student"]] = [name for name in dict.fromkeys(names) if name]
    wanted = _folded(student)
    known = [who for who, names in called.items() if wanted in map(_folded, names)]
    if student in called:
        known = [student]
    if len(known) != 1:
        every = {_folded(name): who for who, names in called.items() for name in names}
        near = known or [every[name] for name in get_close_matches(wanted, every)]
        listed = "; ".join(one_line(" = ".join(called[who])) for who in dict.fromkeys(near))
        rule = (
            f"{student!r} is the name of {len(known)} students" if known
            else f"{folder} has no results of {student!r}"
        )  # fmt: skip
        raise ValueError(
            f"{rule}. " + (f"Did you mean: {listed}?" if listed else "summary.html lists all.")
        )
    own = [row for row in rows if row["student"] == known[0]]
    found = [row for row in own if exercise in (row["exercise"], str(row["number"]))]
    if not found:
        numbers = ", ".join(f"{row['number']} ({row['exercise']})" for row in own)
        raise ValueError(f"there is no exercise {exercise!r}; there are: {numbers}.")
    return found[0]


def _folded(name: str) -> str:
    """A name without the differences of case, Unicode form and spaces."""
    return " ".join(unicodedata.normalize("NFC", name).casefold().split())


def decide(folder: Path, student: str, exercise: str, points: float, reason: str) -> Decision:
    """Adds a decision to a graded folder; the next grading applies it.

    Args:
        folder: With the results of a grading.
        student, exercise: As of :func:`find_answer`.
        points: From 0 to the points of the exercise.
        reason: A sentence, which the student reads.

    Raises:
        ValueError: There is no such student or exercise, the points are out of range, or there is
            no reason.
        OSError: The folder holds no results, or cannot be written.
    """
    row = find_answer(folder, student, exercise)
    if row["outcome"] in UNGRADED:
        raise ValueError(f"exercise {row['number']} is not graded yet: grade again first.")
    if not 0 <= points <= row["possible"]:
        raise ValueError(
            f"exercise {row['number']} has 0 to {row['possible']} points, got {points:g}."
        )
    reason = " ".join(reason.split())
    if not reason or len(reason) > REASON_LIMIT:
        raise ValueError(f"a regrade needs a reason of 1 to {REASON_LIMIT} characters.")
    decision = Decision(row["student"], row["exercise"], row["submission"], points, reason)
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
