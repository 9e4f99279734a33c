"""Release: from the source of an assignment to what students and instructors get.

The gate comes first. An assignment is released only if every check passes the solution, fails
the unedited stub and fails every named wrong answer.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from lecture_vae.grading.exercises import Assignment, Exercise, ExerciseError, read_assignment
from lecture_vae.grading.trial import Row, check_cell, kill_matrix
from lecture_vae.storage import write_together

__all__ = [
    "Released",
    "kill_table",
    "page",
    "rehearsal",
    "release",
    "rubric",
    "student_notebook",
]

HOW_TO = (
    "Write each answer into the cell that holds its signature, then run the check below it. The "
    "check knows a few cases, and a few common mistakes by what they give. Grading asks the same "
    "question on other cases."
)


@dataclass(frozen=True)
class Released:
    """The files of a release."""

    notebook: Path  # for students
    solutions: Path
    rubric: Path
    manifest: Path
    rehearsal: Path  # a folder of submissions whose marks are known


def release(
    source: Path, out: Path, *, tried: Callable[[Row], None] = lambda row: None
) -> Released:
    """Tries every answer of an assignment and, if all fare as they should, writes its files.

    Args:
        source: `exercises/NAME.md`.
        out: Gets `student/NAME.ipynb`, and in `instructor/` the solutions, rubric and manifest,
            and submissions to rehearse the grading with. What `instructor/` gets nobody else may
            read, whatever the umask.
        tried: Called with each row of the kill matrix as soon as it is there.

    Raises:
        ExerciseError: A check passes a wrong answer or fails the solution. Nothing is written.
        OSError: The folder cannot be written.
    """
    assignment = read_assignment(source)
    rows = []
    for row in kill_matrix(assignment):
        tried(row)
        rows.append(row)
    bad = [row for row in rows if not row.as_it_should_be]
    if bad:
        raise ExerciseError("; ".join(map(_complaint, bad)) + ". Nothing was released.")
    files = Released(
        out / "student" / f"{assignment.name}.ipynb",
        out / "instructor" / f"{assignment.name}-solutions.md",
        out / "instructor" / f"{assignment.name}-rubric.md",
        out / "instructor" / f"{assignment.name}-manifest.json",
        out / "instructor" / "rehearsal",
    )
    texts = {
        # The first: the folder above student/ is not only for the instructor.
        files.notebook: _json(student_notebook(assignment)),
        files.solutions: page(assignment, solutions=True),
        files.rubric: f"# {assignment.title}: rubric\n\n{rubric(assignment)}",
        files.manifest: _json(manifest(assignment)),
    }
    for name, answers in rehearsal(assignment).items():
        texts[files.rehearsal / f"{name}.ipynb"] = _json(student_notebook(assignment, answers))
    write_together(
        {
            path: partial(Path.write_text, data=text, encoding="utf8")
            for path, text in texts.items()
        },
        private=texts.keys() - {files.notebook},
    )
    for old in (
        set(files.rehearsal.glob("*.ipynb")) - texts.keys()
    ):  # wrong answers that are no more
        old.unlink()
    return files


def _complaint(row: Row) -> str:
    if row.answer == "solution":
        failed = {"public check": row.public, "hidden check": row.hidden}
        reasons = [f"the {name} fails it ({why})" for name, why in failed.items() if why]
        return f"{row.exercise}: the solution must pass, but {' and '.join(reasons)}"
    passed = [name for name, why in (("public", row.public), ("hidden", row.hidden)) if not why]
    return (
        f"{row.exercise}: {row.answer} must fail, but passes the {' and the '.join(passed)} check"
    )


def kill_table(rows: Sequence[Row]) -> str:
    """The kill matrix as text: one line an answer, what each check did with it."""
    width = max(len(row.answer) for row in rows)
    lines: list[str] = []
    for exercise, group in groupby(rows, key=lambda row: row.exercise):
        lines.append(exercise)
        for row in group:
            public, hidden = ("fails" if why else "passes" for why in (row.public, row.hidden))
            mark = "" if row.as_it_should_be else "   <-- must not be"
            lines.append(f"  {row.answer:{width}}  public {public:6}  hidden {hidden:6}{mark}")
    return "\n".join(lines)


# ---------------------------------------------------------------------------- documents


def rehearsal(assignment: Assignment) -> dict[str, dict[str, str]]:
    """Submissions to try a grading with, as answers by exercise.

    One has every solution, one is as handed out, and for each wrong answer there is one that is
    right but for it.
    """
    solutions = {exercise.name: exercise.solution for exercise in assignment.exercises}
    found = {"all-right": solutions, "untouched": {}}
    for exercise in assignment.exercises:
        for wrong in exercise.wrong:
            answers = solutions | {exercise.name: wrong.source}
            found[f"{exercise.name}--{wrong.name}"] = answers
    return found


def student_notebook(
    assignment: Assignment, answers: dict[str, str] | None = None
) -> dict[str, Any]:
    """The notebook that students get: statements, stubs, checks. No solution, no hidden cell.

    Args:
        assignment: The exercises.
        answers: What stands in place of the stubs, by exercise; nothing if None.
    """
    answers = answers or {}
    cells = [
        _markdown("introduction", f"{assignment.introduction}\n\n{HOW_TO}"),
        _code("setup", assignment.setup, ["setup"]),
    ]
    for exercise in assignment.exercises:
        points = "1 point" if exercise.points == 1 else f"{exercise.points} points"
        heading, _, rest = exercise.statement.partition("\n")
        cells += [
            _markdown(f"{exercise.name}-statement", f"{heading} ({points})\n{rest}"),
            _code(
                f"{exercise.name}-answer",
                answers.get(exercise.name, exercise.stub),
                [f"answer:{exercise.name}"],
            ),
            _code(
                f"{exercise.name}-check",
                check_cell(assignment, exercise),
                [f"check:{exercise.name}"],
            ),
        ]
    return {
        "cells": cells,
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            "lecture_vae": {"assignment": assignment.name, "version": assignment.version},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def manifest(assignment: Assignment) -> dict[str, Any]:
    """Which cells a submission is expected to have, and what each exercise is worth."""
    return {
        "assignment": assignment.name,
        "title": assignment.title,
        "version": assignment.version,
        "points": assignment.points,
        "exercises": [
            {
                "name": exercise.name,
                "number": exercise.number,
                "title": exercise.title,
                "points": exercise.points,
                "timeout_cpu_s": exercise.timeout,
                "defines": exercise.answer,
                "answer_cell": f"{exercise.name}-answer",
                "answer_tag": f"answer:{exercise.name}",
                "wrong_answers": [wrong.name for wrong in exercise.wrong],
            }
            for exercise in assignment.exercises
        ],
    }


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

    Args:
        assignment: The exercises.
        solutions: Whether to show solutions, wrong answers and hidden checks, folded.
        links: What stands below the introduction: where to get the notebook.
    """
    parts = [assignment.introduction, *filter(None, [links])]
    if solutions:
        parts.append(rubric(assignment))
    for exercise in assignment.exercises:
        points = "1 point" if exercise.points == 1 else f"{exercise.points} points"
        parts += [exercise.statement, f"*{points}*", _fence(exercise.stub)]
        parts.append(_solution(exercise) if solutions else _hints(exercise))
    return "\n\n".join(parts) + "\n"


def _hints(exercise: Exercise) -> str:
    hints = "\n".join(f"- {wrong.hint}" for wrong in exercise.wrong)
    return (
        f"::::{{admonition}} Hints: what goes wrong most often\n:class: dropdown tip\n{hints}\n::::"
    )


def _solution(exercise: Exercise) -> str:
    mistakes = "\n\n".join(
        f"**{wrong.name.replace('-', ' ')}.** {wrong.hint}\n\n{_fence(wrong.source)}"
        for wrong in exercise.wrong
    )
    return (
        f"::::{{admonition}} Solution\n:class: dropdown\n{_fence(exercise.solution)}\n::::\n\n"
        f"::::{{admonition}} Wrong answers\n:class: dropdown\n{mistakes}\n::::\n\n"
        f"::::{{admonition}} Hidden check\n:class: dropdown\n{_fence(exercise.hidden)}\n\n"
        f"{_fence(exercise.probe)}\n::::"
    )


def _fence(code: str) -> str:
    return f"```python\n{code}\n```"


def _markdown(identity: str, source: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "id": identity, "metadata": {}, "source": source}


def _code(identity: str, source: str, tags: list[str]) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "id": identity,
        "metadata": {"tags": tags},
        "source": source,
        "execution_count": None,
        "outputs": [],
    }


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
