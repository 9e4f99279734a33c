"""The page that a student gets: what came of each exercise, and why.

It is a function of the results alone. What a student may have written, the name included,
reaches it only through :func:`~lecture_grader.reporting.markup.tag`, which escapes it.
"""

import math
from collections.abc import Sequence

from lecture_grader.reporting.markup import Markup, one_line, page, shorten, tag
from lecture_grader.reporting.result import OUTCOMES, Result

__all__ = [
    "ATTENTION", "common_remarks", "feedback_page", "graded", "shown_name", "tone", "total",
    "words",
]  # fmt: skip

ATTENTION = ("tampered", "unreadable", "infrastructure")  # a person should look at these
FOUND_BY = {"id": "its cell id", "tag": "its cell tag", "source": "its text"}
MESSAGE_LIMIT, ANSWER_LIMIT, PRINTED_LIMIT = 4_000, 20_000, 4_000  # characters shown


def graded(results: Sequence[Result]) -> list[Result]:
    """Those that say something about an answer: all but failures of the grading itself."""
    return [result for result in results if result.outcome != "infrastructure"]


def total(results: Sequence[Result]) -> float | None:
    """Points of one student, or None while an exercise is not graded."""
    if len(graded(results)) < len(results):
        return None
    return math.fsum(result.points for result in results)


def feedback_page(assignment_title: str, results: Sequence[Result]) -> str:
    """The page for one student. It holds no wall time, so grading again gives the same page.

    Args:
        assignment_title: Of the assignment.
        results: All exercises of this student, in order.
    """
    first = results[0]
    reached, possible = total(results), sum(result.possible for result in results)
    if reached is None:
        line = tag("p", f"Not all of the {possible} points are graded yet.", class_="total")
    else:
        line = tag("p", tag("strong", f"{reached:g}"), f" of {possible} points", class_="total")
    provenance = (
        f"Graded from submission {first.submission} against version {first.assignment} of the "
        f"assignment and version {first.checks} of its checks."
    )
    remarks = common_remarks(results)
    return page(
        f"{first.student}: {assignment_title}",
        tag(
            "header",
            tag("p", assignment_title, class_="over"),
            tag("h1", one_line(first.student, 200) or "(no name)"),
            line,
            *[tag("p", remark) for remark in remarks],
        ),
        *[_feedback(result, remarks) for result in results],
        tag("footer", provenance),
    )


def common_remarks(results: Sequence[Result]) -> list[str]:
    """What is to be said of the whole submission, not of one exercise."""
    return [text for text in results[0].remarks if all(text in each.remarks for each in results)]


def _feedback(result: Result, said: Sequence[str]) -> Markup:
    """One exercise on a student's page, with the remarks that were not `said` before."""
    if result.outcome == "infrastructure":
        points = f"not graded yet ({result.possible})"
    else:
        points = f"{result.points:g} of {result.possible}"
    meaning = f"{result.outcome.capitalize()}: {OUTCOMES[result.outcome]}."
    parts = [
        tag(
            "div",
            tag("h2", f"{result.number}. {result.title}", style="margin: 0"),
            tag("span", points),
            class_="head",
        ),
        tag("p", meaning, class_=f"outcome {tone(result.outcome)}"),
    ]
    parts += [tag("p", remark) for remark in result.remarks if remark not in said]
    if result.message and result.message != OUTCOMES[result.outcome]:
        text = shorten(result.message, MESSAGE_LIMIT)
        parts.append(_block(text) if "\n" in text.strip() else tag("p", text))
    if result.resembles:
        alike = f"It behaves like a known mistake: {words(result.resembles)}."
        parts.append(tag("p", alike))
    if result.hint:
        parts.append(tag("p", tag("strong", "Hint. "), result.hint, class_="hint"))
    if result.answer:
        found = FOUND_BY.get(result.matched_by)
        title = f"Your answer as graded (found by {found})" if found else "Your answer as graded"
        parts.append(_folded(title, shorten(result.answer, ANSWER_LIMIT)))
    if result.printed:
        parts.append(_folded("What your cells printed", shorten(result.printed, PRINTED_LIMIT)))
    return tag("section", *parts, class_="exercise")


def tone(outcome: str) -> str:
    """The class of an outcome in a page: good, bad, warn or soft."""
    if outcome == "correct":
        return "good"
    if outcome in ATTENTION:
        return "warn"
    return "soft" if outcome in ("unanswered", "missing") else "bad"


def words(name: str) -> str:
    """The name of a known mistake as words."""
    return name.replace("-", " ")


def shown_name(student: str) -> str:
    """The name of a student on one line."""
    return one_line(student) or "(no name)"


def _block(text: str) -> Markup:
    # Inside `code`, because browsers drop a newline that directly follows <pre>.
    return tag("pre", tag("code", text))


def _folded(title: str, text: str) -> Markup:
    return tag("details", tag("summary", title), _block(text))
