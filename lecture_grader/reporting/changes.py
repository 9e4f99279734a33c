"""Changes between two gradebooks: what changed for whom, and why."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lecture_grader.reporting.lms import decimal
from lecture_grader.reporting.markup import one_line

__all__ = ["Change", "changes", "changes_text"]

REASONS = ("Regraded", "Handed in late")  # beginnings of remarks that explain a change


@dataclass(frozen=True)
class Change:
    """One exercise of one student, in the old and in the new gradebook."""

    student: str
    number: int
    title: str
    old: float | None  # points; None if the student is not in it
    new: float | None
    old_outcome: str
    new_outcome: str
    reasons: tuple[str, ...]


def changes(old: Iterable[Mapping[str, Any]], new: Iterable[Mapping[str, Any]]) -> list[Change]:
    """The exercises with other points or another outcome, by student and number.

    Args:
        old: The rows of results.jsonl, as
            :func:`~lecture_grader.reporting.decisions.read_results` gives them.
        new: Those of the other gradebook.
    """
    before, after = ({row["key"]: row for row in rows} for rows in (old, new))
    found = []
    for key in {**before, **after}:
        a, b = before.get(key), after.get(key)
        row = b or a
        assert row is not None
        if a and b and (a["points"], a["outcome"]) == (b["points"], b["outcome"]):
            continue
        reasons = []
        if a and b:
            if a["submission"] != b["submission"]:
                reasons.append("another submission")
            if (a["assignment"], a["checks"]) != (b["assignment"], b["checks"]):
                reasons.append("another version of the assignment or of the grader")
            if a["seed"] != b["seed"]:
                reasons.append("other hidden cases")
        reasons += [text for text in (b["remarks"] if b else ()) if text.startswith(REASONS)]
        found.append(
            Change(
                key[0],
                row["number"],
                row["title"],
                a["points"] if a else None,
                b["points"] if b else None,
                a["outcome"] if a else "",
                b["outcome"] if b else "",
                tuple(reasons),
            )
        )
    return sorted(found, key=lambda each: (each.student.casefold(), each.student, each.number))


def changes_text(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> str:
    """The changes as lines for the terminal."""
    found = changes(old, new)
    students = dict.fromkeys(each.student for each in found)
    lines = [f"{len(students)} of {len({row['student'] for row in (*old, *new)})} students changed"]
    for student in students:
        own = [each for each in found if each.student == student]
        totals = [
            decimal(sum(row["points"] for row in rows if row["student"] == student))
            if any(row["student"] == student for row in rows)
            else "nothing"
            for rows in (old, new)
        ]
        lines.append(f"{one_line(student)}: {totals[0]} -> {totals[1]} points")
        for each in own:
            was = f"{decimal(each.old)} {each.old_outcome}" if each.old is not None else "none"
            now = f"{decimal(each.new)} {each.new_outcome}" if each.new is not None else "none"
            lines.append(f"  {each.number}. {one_line(each.title)}: {was} -> {now}")
            lines += [f"     {one_line(reason, 200)}" for reason in each.reasons]
    return "\n".join(lines)


def as_json(found: Sequence[Change]) -> list[dict[str, Any]]:
    """The changes as plain values."""
    return [asdict(each) for each in found]
