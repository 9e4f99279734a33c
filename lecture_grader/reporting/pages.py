"""The feedback page of a student: the outcome of each exercise, and why.

It depends only on the results. Text from a student, also the name, reaches it only through
:func:`~lecture_grader.reporting.markup.render`, which escapes it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lecture_grader.reporting.markup import one_line, render, shorten
from lecture_grader.reporting.result import NOTHING, OUTCOMES, UNGRADED, Result

__all__ = [
    "ATTENTION", "attempted", "common_remarks", "feedback_page", "graded", "shown_name", "tone",
    "total", "words",
]  # fmt: skip

ATTENTION = ("tampered", "unreadable", "infrastructure")  # a person should look at these
FOUND_BY = {"id": "its cell id", "tag": "its cell tag", "source": "its text"}
MESSAGE_LIMIT, ANSWER_LIMIT, PRINTED_LIMIT = 4_000, 20_000, 4_000  # characters shown


@dataclass(frozen=True)
class Feedback:
    """One exercise on a student's page."""

    heading: str
    points: str
    outcome: str  # with its explanation
    tone: str
    remarks: list[str]  # about this exercise only
    message: str
    mistake: str  # the known mistake that the answer resembles, in words
    hint: str
    quotes: list[tuple[str, str]]  # (title, text): source and output of the student's cells
    steps: list[str]  # what was done with the notebook


def graded(results: Sequence[Result]) -> list[Result]:
    """The results without those that are not known yet, as where the grader itself failed."""
    return [result for result in results if result.outcome not in UNGRADED]


def attempted(results: Sequence[Result]) -> list[Result]:
    """The graded results of students who handed something in."""
    return [result for result in graded(results) if result.outcome not in NOTHING]


def total(results: Sequence[Result]) -> float | None:
    """Points of one student, or None while an exercise is not graded."""
    if len(graded(results)) < len(results):
        return None
    return math.fsum(result.points for result in results)


def feedback_page(assignment_title: str, results: Sequence[Result], name: str = "") -> str:
    """The page for one student. It holds no wall time, so grading again gives the same page.

    Args:
        assignment_title: Of the assignment.
        results: All exercises of this student, in order.
        name: Of the student, if it is not that of the submission.
    """
    first, reached, remarks = results[0], total(results), common_remarks(results)
    name = name or first.student
    return render(
        "feedback.html",
        f"{name}: {assignment_title}",
        assignment_title=assignment_title,
        student=one_line(name, 200) or "(no name)",
        reached=None if reached is None else f"{reached:g}",
        possible=sum(result.possible for result in results),
        remarks=remarks,
        exercises=[_feedback(result, remarks) for result in results],
        submission=first.submission,
        assignment=first.assignment,
        checks=first.checks,
    )


def common_remarks(results: Sequence[Result]) -> list[str]:
    """The remarks that all exercises of a submission share."""
    return [text for text in results[0].remarks if all(text in each.remarks for each in results)]


def _feedback(result: Result, common: Sequence[str]) -> Feedback:
    """One exercise on a student's page, without the `common` remarks."""
    meaning, found = OUTCOMES[result.outcome], FOUND_BY.get(result.matched_by)
    graded_as = "Your answer as graded" + (f" (found by {found})" if found else "")
    quotes = [
        (graded_as, shorten(result.answer, ANSWER_LIMIT)),
        ("What your cells printed", shorten(result.printed, PRINTED_LIMIT)),
    ]
    points = f"{result.points:g} of {result.possible}"
    return Feedback(
        heading=f"{result.number}. {result.title}",
        points=points if graded([result]) else f"not graded yet ({result.possible})",
        outcome=f"{result.outcome.capitalize()}: {meaning}.",
        tone=tone(result.outcome),
        remarks=[remark for remark in result.remarks if remark not in common],
        message="" if result.message == meaning else shorten(result.message, MESSAGE_LIMIT),
        mistake=words(result.resembles or ""),
        hint=result.hint or "",
        quotes=[(title, text) for title, text in quotes if text],
        steps=list(result.steps),
    )


def tone(outcome: str) -> str:
    """The CSS class of an outcome: good, bad, warn or soft."""
    if outcome == "correct":
        return "good"
    if outcome in ATTENTION:
        return "warn"
    return "soft" if outcome in ("unanswered", "missing", *NOTHING) else "bad"


def words(name: str) -> str:
    """The name of a known mistake as words."""
    return name.replace("-", " ")


def shown_name(student: str) -> str:
    """The name of a student on one line."""
    return one_line(student) or "(no name)"
