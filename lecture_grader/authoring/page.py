"""Pages of an assignment in MyST: for the book, with hints or with solutions, and the rubric."""

import re
from itertools import pairwise

from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin

from lecture_grader.authoring.assignment import Assignment, Exercise

__all__ = ["page", "rubric"]


def rubric(assignment: Assignment) -> str:
    """The rubric as a Markdown table: exercise, points, what its checks tell apart."""
    lines = ["| | exercise | points | mistakes that its checks know |", "|---|---|---|---|"]
    for exercise in assignment.exercises:
        known = ", ".join(wrong.name.replace("-", " ") for wrong in exercise.wrong)
        lines.append(f"| {exercise.number} | {exercise.title} | {exercise.points} | {known} |")
    lines.append(f"| | **all** | **{assignment.points}** | |")
    return "\n".join(lines) + "\n"


def page(assignment: Assignment, *, solutions: bool, links: str = "") -> str:
    """The page of the book: statements with hints or, for instructors, with solutions.

    Each exercise is an `exercise` directive of sphinx-exercise below its heading, which the page's
    list of sections shows. Its label is `ex-` and its name: `` {ref}`ex-discrete-kl` `` reads
    "Exercise 2" and leads there. Its solution is a `solution` directive.

    Args:
        assignment: The exercises.
        solutions: Whether to show solutions, wrong answers and hidden checks, folded.
        links: What stands below the introduction: where to get the notebook.
    """
    parts = [assignment.introduction, *filter(None, [links])]
    if solutions:
        parts.append(rubric(assignment))
    for exercise in assignment.exercises:
        heading, _, question = exercise.statement.partition("\n")
        question = _without_headings(question)
        body = f"{question}\n\n*{exercise.worth}*\n\n{_code(exercise.stub)}".strip()
        parts += [heading, _directive("exercise", body, label=_label(exercise))]
        parts.append(_solution(exercise) if solutions else _hints(exercise))
    return "\n\n".join(parts) + "\n"


def _without_headings(text: str) -> str:
    """Markdown with its headings in bold: Sphinx would move a section out of the exercise."""
    lines = text.splitlines()
    tokens = MarkdownIt().use(dollarmath_plugin).parse(text)
    for opening, title in reversed(list(pairwise(tokens))):
        if opening.type == "heading_open" and opening.level == 0 and opening.map:
            lines[slice(*opening.map)] = [f"**{title.content}**", ""]
    return "\n".join(lines)


def _hints(exercise: Exercise) -> str:
    hints = "\n".join(f"- {wrong.hint}" for wrong in exercise.wrong)
    title = "Hints: what goes wrong most often"
    return _directive("admonition", hints, title, classes="dropdown tip")


def _solution(exercise: Exercise) -> str:
    label = _label(exercise)
    mistakes = "\n\n".join(
        f"**{wrong.name.replace('-', ' ')}.** {wrong.hint}\n\n{_code(wrong.source)}"
        for wrong in exercise.wrong
    )
    hidden = f"{_code(exercise.hidden)}\n\n{_code(exercise.probe)}"
    folded = [
        _directive(
            "solution",
            _code(exercise.solution),
            label,
            label=f"{label}-solution",
            classes="dropdown",
        ),
        _directive("admonition", mistakes, "Wrong answers", classes="dropdown"),
        _directive("admonition", hidden, "Hidden check", classes="dropdown"),
    ]
    return "\n\n".join(folded)


def _label(exercise: Exercise) -> str:
    """What other pages refer to; not the bare name, which may be the id of a heading."""
    return f"ex-{exercise.name}"


def _directive(
    name: str, body: str, argument: str = "", *, label: str = "", classes: str = ""
) -> str:
    """A directive whose fence is longer than any in its body, which thus cannot close it."""
    options = {"label": label, "class": classes}
    lines = [f":{option}: {value}" for option, value in options.items() if value]
    fence = _fence(":", body)
    return "\n".join([f"{fence}{{{name}}} {argument}".rstrip(), *lines, "", body, fence])


def _code(source: str) -> str:
    fence = _fence("`", source)
    return f"{fence}python\n{source}\n{fence}"


def _fence(sign: str, text: str) -> str:
    longest = max(map(len, re.findall(f"{sign}{{3,}}", text)), default=2)
    return sign * (longest + 1)
