"""The summary page for the teacher: statistics, students who need attention, ungraded files.

It depends only on the results and the list of ungraded files. Text from a student, also the name,
reaches it only through :func:`~lecture_grader.reporting.markup.render`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median
from urllib.parse import quote

from lecture_grader.classroom.matching import Roll
from lecture_grader.reporting.items import Item, items
from lecture_grader.reporting.markup import number_of, one_line, render
from lecture_grader.reporting.pages import (
    ATTENTION,
    attempted,
    common_remarks,
    shown_name,
    tone,
    total,
    words,
)  # fmt: skip
from lecture_grader.reporting.result import NOTHING, OUTCOMES, REGRADED, Result
from lecture_grader.submissions.submission import HANDED_IN_LATE, OTHER_NOTEBOOK

__all__ = ["MARKS", "attention", "summary_page"]

# In the order of OUTCOMES: correct, wrong, error, timeout, crash (K), memory, output, unanswered,
# missing (N), absent, pending, unreadable (R), tampered (X), infrastructure.
MARKS = dict(zip(OUTCOMES, "CWETKMOUNAPRXI", strict=True))
ALARMING = (HANDED_IN_LATE, OTHER_NOTEBOOK)  # beginnings of remarks that need attention


@dataclass(frozen=True)
class Mark:
    """One cell of the table of students."""

    letter: str
    title: str  # what the letter stands for
    tone: str


@dataclass(frozen=True)
class Student:
    """One row of the table of students."""

    name: str
    href: str  # of the feedback page
    marks: list[Mark]
    total: str
    seconds: str


@dataclass(frozen=True)
class Column:
    """One column of the histogram of total points."""

    least: int  # points
    count: int  # students
    height: str  # a length in CSS


@dataclass(frozen=True)
class ClassResult:
    """The results of the whole class in one exercise."""

    number: int
    title: str
    possible: str  # points, in words
    passed: int
    graded: int
    handed_in: int  # graded or not
    share: float  # passed / graded
    outcomes: str  # the number of students by outcome
    mistakes: list[tuple[int, str]]  # (number of answers, known mistake that they resemble)
    median_seconds: float
    most_seconds: float
    item: str  # difficulty and discrimination, in words


def summary_page(
    assignment_title: str,
    students: Mapping[str, Sequence[Result]],
    links: Mapping[str, str],
    not_graded: Sequence[tuple[str, str]] = (),
    roll: Roll | None = None,
    notes: Sequence[str] = (),
) -> str:
    """The page for the teacher.

    Args:
        assignment_title: Of the assignment.
        students: The results of every student, in the order of the exercises.
        links: The file name of every student in the folder ``feedback``.
        not_graded: Path and reason for every file that was not graded.
        roll: Whose the submissions are, if there is a roster.
        notes: Sentences on the file to import.
    """
    members = roll.members if roll else {}
    shown = {
        name: _student(members[name].label if name in members else name, row, links[name])
        for name, row in students.items()
    }
    exercises = list(zip(*students.values(), strict=True))
    possible = sum(column[0].possible for column in exercises)
    present = [row for row in students.values() if row[0].outcome not in NOTHING]
    totals = [reached for row in present if (reached := total(row)) is not None]
    columns = _histogram(totals, possible)
    facts = f"{number_of(len(present), 'submission')}."
    if totals:
        facts += f" {mean(totals):.1f} of {number_of(possible, 'point')} on average, "
        facts += f"median {median(totals):.1f}."
    if roll:
        facts += f" {number_of(len(students) - len(present), 'student')} handed in nothing."
        if roll.doubtful:
            doubtful = number_of(len(roll.doubtful), "submission")
            facts += f" Of {doubtful} it is in doubt whose it is."
    calm = {
        name: [text for text in common_remarks(row) if not text.startswith(ALARMING)]
        for name, row in students.items()
    }
    results = [result for row in students.values() for result in row]
    run = [result for row in present for result in row] or results
    occurring = {result.outcome for result in results}
    return render(
        "summary.html",
        f"Gradebook: {assignment_title}",
        assignment_title=assignment_title,
        facts=facts,
        columns=columns,
        spread="; ".join(f"from {each.least}: {each.count}" for each in columns if each.count),
        waiting=len(present) - len(totals),
        roster=roll is not None,
        notes=notes,
        doubtful=[(shown[name], why) for name, why in (roll.doubtful if roll else ())],
        absent=[
            (shown[name], OUTCOMES[students[name][0].outcome])
            for name in (roll.absent if roll else ())
        ],
        needy=[(shown[name], text) for name, row in students.items() if (text := attention(row))],
        not_graded=[(one_line(path, 200), why) for path, why in not_graded],
        regraded=[
            (shown[result.student], f"{result.title}: {text}")
            for result in results
            for text in result.remarks
            if text.startswith(REGRADED)
        ],
        remarked=[(shown[name], " ".join(texts)) for name, texts in calm.items() if texts],
        exercises=[
            _class_result(column, item)
            for column, item in zip(exercises, items(students), strict=True)
        ],
        students=list(shown.values()),
        legend=[
            (MARKS[name], f"{name}: {OUTCOMES[name]}") for name in OUTCOMES if name in occurring
        ],
        provenance=_provenance(run),
    )


def attention(results: Sequence[Result]) -> str:
    """Why the teacher should look at this student; "" if there is no reason."""
    reasons = [
        text[0].lower() + text[1:].rstrip(".")
        for text in common_remarks(results)
        if text.startswith(ALARMING)
    ]
    if all(result.outcome == "missing" for result in results):
        reasons.append("missing (all exercises): usually this is the wrong file")
    if all(result.outcome == "unanswered" for result in results):
        reasons.append("unanswered (all exercises): is it the file that was meant?")
    for outcome in ATTENTION:
        numbers = [str(result.number) for result in results if result.outcome == outcome]
        if len(numbers) == len(results):
            reasons.append(f"{outcome} (all exercises)")
        elif numbers:
            reasons.append(f"{outcome} ({', '.join(numbers)})")
    return ", ".join(reasons)


def _student(name: str, results: Sequence[Result], link: str) -> Student:
    """The row of one student."""
    marks = [
        Mark(
            MARKS[result.outcome],
            f"{result.title}: {result.outcome}, "
            f"{result.points:g} of {number_of(result.possible, 'point')}",
            tone(result.outcome),
        )
        for result in results
    ]
    reached = total(results)
    shown = "not yet" if reached is None else f"{reached:g}"
    seconds = f"{sum(result.seconds for result in results):.1f}"
    return Student(shown_name(name), f"feedback/{quote(link)}", marks, shown, seconds)


def _class_result(results: Sequence[Result], item: Item) -> ClassResult:
    """One exercise, from the results of all students."""
    first, counted = results[0], attempted(results)
    passed = sum(result.outcome == "correct" for result in counted)
    outcomes = Counter(result.outcome for result in results)
    alike = Counter(result.resembles for result in results if result.resembles)
    handed_in = [result for result in results if result.outcome not in NOTHING]
    seconds = [result.seconds for result in handed_in] or [0.0]
    return ClassResult(
        number=first.number,
        title=first.title,
        possible=number_of(first.possible, "point"),
        passed=passed,
        graded=len(counted),
        handed_in=len(handed_in),
        share=passed / len(counted) if counted else 0.0,
        outcomes=", ".join(
            f"{outcomes[name]}\N{NO-BREAK SPACE}{name}" for name in OUTCOMES if outcomes[name]
        ),
        mistakes=[
            (n, words(name))
            for name, n in sorted(alike.items(), key=lambda pair: (-pair[1], pair[0]))
        ],
        median_seconds=median(seconds),
        most_seconds=max(seconds),
        item=_item(item),
    )


def _item(item: Item) -> str:
    """Difficulty and discrimination, in words."""
    if item.difficulty is None:
        return ""
    text = f"Difficulty index {item.difficulty:.2f} (mean share of the points; 1 is the easiest)"
    if item.discrimination is None:
        return f"{text}."
    return (
        f"{text}, discrimination {item.discrimination:.2f} (correlation with the other exercises, "
        f"{item.students} students)."
    )


def _histogram(totals: Sequence[float], possible: int) -> list[Column]:
    """The histogram of totals, in at most 14 columns of a whole number of points each."""
    if not totals:
        return []
    width = possible // 13 + 1
    counts = Counter(int(min(reached, possible) // width) for reached in totals)
    highest = max(counts.values())
    return [
        Column(at * width, counts[at], f"{8 * counts[at] / highest:.2f}rem")
        for at in range(possible // width + 1)
    ]


def _provenance(results: Sequence[Result]) -> list[tuple[str, str]]:
    """The provenance of the grades; several values if gradings were mixed."""
    facts = {
        "Sandbox": {result.sandbox for result in results},
        "Seed": {result.seed for result in results},
        "Assignment": {result.assignment for result in results},
        "Checks": {result.checks for result in results},
    }
    return [(label, ", ".join(sorted(values))) for label, values in facts.items()]
