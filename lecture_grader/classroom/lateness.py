"""Lateness: how late a submission is, and what that costs.

The rule: after the deadline, which a student's extra days move, every day begun costs the same
percentage of the points that were reached, in every exercise alike, up to a cap. What is left is
rounded to two decimals.

A time counts only if it is known: from the roster (``submitted``, or Moodle's ``Last modified
(submission)``), or from the platform's file (the name of a Blackboard download). Canvas marks a
late file and does not say how late it is, nor does it know of extra days in a roster: then nothing
is deducted, and the teacher is told. A submission that Canvas has not marked is in time.
"""

import math
import re
from dataclasses import dataclass
from datetime import datetime

from lecture_grader.classroom.roster import Member, Roster
from lecture_grader.classroom.tables import RosterError
from lecture_grader.submissions.submission import HANDED_IN_LATE, HandIn

__all__ = ["LateRule", "Lateness", "lateness", "submitted_at", "time_of"]

DAY = 86_400.0
# userdate() with strftimedaydatetime in Moodle's lang/en/langconfig.php.
MOODLE_TIME = "%A, %d %B %Y, %I:%M %p"


@dataclass(frozen=True)
class LateRule:
    """When work is due, and what a day costs."""

    deadline: float  # seconds since 1970
    percent: float = 0.0  # of the points reached, for each day begun
    cap: float = 100.0  # percent, at most

    def __post_init__(self) -> None:
        if not (0 <= self.percent <= 100 and 0 <= self.cap <= 100):
            raise ValueError(
                "a penalty for lateness and its cap are percentages from 0 to 100, got "
                f"{self.percent:g} and {self.cap:g}."
            )

    def due(self, member: Member | None) -> float:
        """When a student's work is due, in seconds since 1970."""
        return self.deadline + (member.extra_days * DAY if member else 0.0)


@dataclass(frozen=True)
class Lateness:
    """How late one submission is."""

    days: int | None  # begun after the student's deadline; None if that is not known
    percent: float  # deducted
    remark: str  # a sentence for the student and the teacher; "" if there is nothing to say


def time_of(text: str) -> float:
    """Seconds since 1970 of ``2026-11-20 17:03``, as ISO 8601 or as Moodle writes it in English.

    A time without an offset is that of this machine.

    Raises:
        ValueError: It is no such time.
    """
    text = " ".join(text.split())
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return datetime.strptime(text, MOODLE_TIME).timestamp()


def submitted_at(roster: Roster | None, member: Member | None, hand_in: HandIn) -> float | None:
    """When a submission was handed in, in seconds since 1970; None if nobody says it.

    Raises:
        RosterError: The roster has a time that cannot be read.
    """
    if roster and member and re.sub(r"\W", "", member.submitted):
        try:
            return time_of(member.submitted)
        except (ValueError, OverflowError, OSError) as error:
            raise RosterError(
                f"{roster.table.path}, line {roster.table.rows[member.row].line}: a time is such "
                f"as 2026-11-20 17:03, got {member.submitted!r}."
            ) from error
    return hand_in.submitted


def lateness(
    rule: LateRule, roster: Roster | None, member: Member | None, hand_in: HandIn
) -> Lateness:
    """How late a submission is.

    Args:
        rule: Deadline and penalty.
        roster: The class, if there is a roster.
        member: The student in it, if known.
        hand_in: What was handed in.

    Raises:
        RosterError: As :func:`submitted_at`.
    """
    extra = member.extra_days if member else 0.0
    extension = f" The deadline was {_days(extra)} later for you." if extra else ""
    at = submitted_at(roster, member, hand_in)
    if at is None:
        if hand_in.late:
            return Lateness(
                None, 0.0,
                f"{HANDED_IN_LATE}, as the platform says; by how long is not known, so nothing is "
                f"deducted.{extension}",
            )  # fmt: skip
        return Lateness(0 if hand_in.scheme == "canvas" else None, 0.0, "")
    seconds = at - rule.due(member)
    if seconds <= 0:
        inside = extra and at > rule.deadline
        return Lateness(0, 0.0, f"Handed in in time.{extension}" if inside else "")
    days = math.ceil(seconds / DAY)
    percent = min(rule.cap, rule.percent * days)
    said = f"{HANDED_IN_LATE}, by {_days(days)} (begun): {percent:g}% deducted.{extension}"
    return Lateness(days, percent, said)


def _days(number: float) -> str:
    return "1 day" if number == 1 else f"{number:g} days"
