"""Handout: the notebook for students, and submissions to rehearse the grading with."""

import json
from typing import Any

from lecture_grader import cells
from lecture_grader.authoring.assignment import Assignment
from lecture_grader.authoring.check import check_cell

__all__ = ["as_json", "manifest", "rehearsal", "student_notebook"]

HOW_TO = (
    "Write each answer into the cell that holds its signature, then run the check below it. The "
    "check knows a few cases, and a few common mistakes by what they give. Grading asks the same "
    "question on other cases."
)


def rehearsal(assignment: Assignment) -> dict[str, dict[str, str]]:
    """Submissions for a rehearsal, by name, each as answers by exercise.

    One has every solution, one is unchanged, and for each wrong answer there is one in which all
    other answers are correct.
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
    """The notebook for students: statements, stubs and checks, no solutions or hidden cells.

    Args:
        assignment: The exercises.
        answers: Sources that replace the stubs, by exercise.
    """
    answers = answers or {}
    found = [
        _markdown(cells.INTRODUCTION, f"{assignment.introduction}\n\n{HOW_TO}"),
        _code(cells.SETUP, assignment.setup, [cells.SETUP]),
    ]
    for exercise in assignment.exercises:
        heading, _, rest = exercise.statement.partition("\n")
        found += [
            _markdown(cells.statement_id(exercise.name), f"{heading} ({exercise.worth})\n{rest}"),
            _code(
                cells.answer_id(exercise.name),
                answers.get(exercise.name, exercise.stub),
                [cells.answer_tag(exercise.name)],
            ),
            _code(
                cells.check_id(exercise.name),
                check_cell(assignment, exercise),
                [cells.check_tag(exercise.name)],
            ),
        ]
    return {
        "cells": found,
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            **cells.assignment_metadata(assignment.name, assignment.version),
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
                "answer_cell": cells.answer_id(exercise.name),
                "answer_tag": cells.answer_tag(exercise.name),
                "wrong_answers": [wrong.name for wrong in exercise.wrong],
            }
            for exercise in assignment.exercises
        ],
    }


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


def as_json(document: dict[str, Any]) -> str:
    """Serialize a notebook or a manifest."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
