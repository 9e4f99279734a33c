"""The same assignment and the same answers as nbgrader and otter-grader want them.

Each peer gets what its documentation recommends: the author's notebook goes through its own
release step, the answers are put into the student notebook that comes out, and its own grader
grades them. Neither has to read or import anything of ours.
"""

import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
from measuring import Command, clean_environment
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_raw_cell

from lecture_grader.authoring.assignment import Assignment, Exercise
from lecture_grader.authoring.check import HiddenCheck

__all__ = ["Answers", "Marks", "Run", "nbgrader", "otter"]

Answers = dict[str, dict[str, str]]  # student -> exercise -> source
Marks = dict[str, dict[str, float]]  # student -> exercise -> points

PEER_SEED = 1  # of the cases that the peers' tests know; ours draws its own, from a secret

COMPARISON = """
def as_tensors(value):
    if isinstance(value, dict):
        return {key: as_tensors(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_tensors(part) for part in value]
    return torch.as_tensor(value).double()

def agree(right, got):
    pair = as_tensors(got), as_tensors(right)
    torch.testing.assert_close(*pair, rtol=RTOL, atol=ATOL, equal_nan=True)
"""

NBGRADER_CONFIG = """
c = get_config()
c.CourseDirectory.course_id = "lecture"
c.ClearSolutions.code_stub = {"python": "raise NotImplementedError()"}
"""

NBGRADER_MARKS = """
import json, sys
from nbgrader.api import Gradebook
marks = {}
for database in sys.argv[2:]:
    with Gradebook("sqlite:///" + database) as gradebook:
        for submission in gradebook.assignment_submissions(sys.argv[1]):
            marks[submission.student.id] = {
                grade.name.removesuffix("-tests"): grade.score
                for notebook in submission.notebooks
                for grade in notebook.grades
            }
print(json.dumps(marks))
"""

OTTER_GRADE = """
import json, pathlib, sys
from otter.api import grade_submission
autograder, out, *paths = sys.argv[1:]
marks = {}
for path in paths:
    results = grade_submission(path, autograder, quiet=True)
    marks[pathlib.Path(path).parent.name] = {
        name: results.get_score(name) for name in results.results
    }
pathlib.Path(out).write_text(json.dumps(marks))
"""


@dataclass(frozen=True)
class Run:
    """A grader over prepared submissions: commands that run side by side, then its marks."""

    commands: tuple[Command, ...]
    marks: Callable[[], Marks]
    sandbox: Callable[[], str] | None = None  # the level of isolation that it reports


# ---------------------------------------------------------------------------- tests for the peers


def hidden_test(assignment: Assignment, exercise: Exercise) -> str:
    """Asserts that compare an answer with expected numbers, on cases fixed when it is written."""
    hidden = HiddenCheck(assignment, exercise, PEER_SEED)
    if hidden.right is None:
        raise ValueError(
            f"{exercise.name} judges values itself, which has no counterpart in asserts on "
            "expected numbers: choose an assignment whose exercises compare with the solution."
        )
    return (
        f"{exercise.probe}\n{COMPARISON}\n"
        f"RTOL, ATOL = {hidden.rtol}, {hidden.atol}\n"
        f"cases = {_literal(hidden.cases)}\n"
        f"expected = {_literal(hidden.right)}\n"
        "for case, right in zip(cases, expected):\n    agree(right, probe(**case))"
    )


def _literal(value: Any) -> str:
    """Python source of a value of cases; arrays become tensors."""
    if isinstance(value, np.ndarray):
        return f"torch.tensor({_literal(value.tolist())}, dtype=torch.{value.dtype})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {_literal(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_literal, value)) + "]"
    if isinstance(value, float) and not np.isfinite(value):
        return f'float("{value}")'
    return repr(value)


def _call(command: Sequence[str | Path], folder: Path) -> str:
    """Runs a step of the preparation and returns what it printed; its failure is ours."""
    environment = clean_environment(folder, command)
    finished = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if finished.returncode:
        raise RuntimeError(f"{Path(command[0]).name} failed:\n{finished.stdout}{finished.stderr}")
    return finished.stdout


def _fill(
    notebook: Path, answers: dict[str, str], to: Path, exercise_of: Callable[[Any], str | None]
) -> None:
    """Writes a student's notebook: the released one with the answers in its answer cells."""
    document = nbformat.read(notebook, as_version=4)
    cells = {exercise_of(cell): cell for cell in document.cells}
    for exercise, answer in answers.items():
        cells[exercise].source = answer
    to.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(document, to)


def _notebook(cells: list[Any]) -> Any:
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel})


# ---------------------------------------------------------------------------- nbgrader


def nbgrader(
    python: Path, assignment: Assignment, answers: Answers, folder: Path, processes: int
) -> Run:
    """A course folder for each process, released by nbgrader, with the submissions in it.

    nbgrader grades one submission after the other. More processes are more course folders, each
    with a gradebook of its own, as its users do it (nbgrader issue 174).
    """
    name = assignment.name
    students = sorted(answers)
    courses = []
    for number in range(processes):
        course = folder / f"course{number}"
        source = course / "source" / name / f"{name}.ipynb"
        source.parent.mkdir(parents=True)
        (course / "nbgrader_config.py").write_text(NBGRADER_CONFIG, encoding="utf8")
        nbformat.write(_nbgrader_source(assignment), source)
        _call([python.with_name("nbgrader"), "generate_assignment", name], course)
        released = course / "release" / name / f"{name}.ipynb"
        for student in students[number::processes]:
            submitted = course / "submitted" / student / name / f"{name}.ipynb"
            _fill(
                released,
                answers[student],
                submitted,
                lambda cell: cell.metadata.get("nbgrader", {}).get("grade_id"),
            )
        courses.append(course)

    def marks() -> Marks:
        databases = [str(course / "gradebook.db") for course in courses]
        found: Marks = json.loads(
            _call([python, "-c", NBGRADER_MARKS, name, *databases], folder).splitlines()[-1]
        )
        return found

    command = (python.with_name("nbgrader"), "autograde", name)
    return Run(tuple((command, course) for course in courses), marks)


def _nbgrader_source(assignment: Assignment) -> Any:
    cells = [new_markdown_cell(assignment.introduction), new_code_cell(assignment.setup)]
    for exercise in assignment.exercises:
        tests = (
            f"{exercise.check}\n### BEGIN HIDDEN TESTS\n"
            f"{hidden_test(assignment, exercise)}\n### END HIDDEN TESTS"
        )
        solution = f"### BEGIN SOLUTION\n{exercise.solution}\n### END SOLUTION"
        cells += [
            new_markdown_cell(exercise.statement),
            new_code_cell(solution, metadata=_nbgrader_cell(exercise.name, solution=True)),
            new_code_cell(
                tests,
                metadata=_nbgrader_cell(
                    f"{exercise.name}-tests", grade=True, locked=True, points=exercise.points
                ),
            ),
        ]
    return _notebook(cells)


def _nbgrader_cell(name: str, **fields: Any) -> dict[str, Any]:
    kind = {"grade": False, "solution": False, "locked": False, "task": False}
    return {"nbgrader": {"schema_version": 3, "grade_id": name} | kind | fields}


# ---------------------------------------------------------------------------- otter-grader


def otter(
    python: Path, assignment: Assignment, answers: Answers, folder: Path, processes: int
) -> Run:
    """What Otter Assign makes, and one process for each share of the submissions.

    Without Docker, Otter grades one submission a call: `otter run`, or its Python interface
    `otter.api.grade_submission`. The interface is taken, in a loop, because `otter run` would
    import Otter again for each submission.
    """
    master = folder / f"{assignment.name}.ipynb"
    folder.mkdir(parents=True)
    nbformat.write(_otter_master(assignment), master)
    _call([python.with_name("otter"), "assign", "--no-pdfs", master, folder / "dist"], folder)
    released = folder / "dist" / "student" / master.name
    (autograder,) = (folder / "dist" / "autograder").glob("*.zip")
    stubs = {exercise.stub: exercise.name for exercise in assignment.exercises}
    for student, sources in answers.items():
        submitted = folder / "submissions" / student / master.name  # the name that it looks for
        _fill(released, sources, submitted, lambda cell: stubs.get(cell.source))
    paths = sorted((folder / "submissions").glob("*/*.ipynb"))
    outs = [folder / f"marks{number}.json" for number in range(processes)]
    commands = tuple(
        ((python, "-c", OTTER_GRADE, autograder, out, *paths[number::processes]), folder)
        for number, out in enumerate(outs)
    )

    def marks() -> Marks:
        return {
            student: points
            for out in outs
            for student, points in json.loads(out.read_text(encoding="utf8")).items()
        }

    return Run(commands, marks)


def _otter_master(assignment: Assignment) -> Any:
    config = f"# ASSIGNMENT CONFIG\nname: {assignment.name}\nexport_cell: false\n"
    cells = [
        new_raw_cell(config),
        new_markdown_cell(assignment.introduction),
        new_code_cell(assignment.setup),
    ]
    for exercise in assignment.exercises:
        question = (
            f"# BEGIN QUESTION\nname: {exercise.name}\npoints: {exercise.points}\n"
            "all_or_nothing: true"
        )
        solution = f"# BEGIN SOLUTION NO PROMPT\n{exercise.solution}\n# END SOLUTION"
        hidden = f"# HIDDEN\n{hidden_test(assignment, exercise)}"
        cells += [new_raw_cell(question), new_markdown_cell(exercise.statement)]
        cells += [_raw("BEGIN PROMPT"), new_code_cell(exercise.stub), _raw("END PROMPT")]
        cells += [_raw("BEGIN SOLUTION"), new_code_cell(solution), _raw("END SOLUTION")]
        cells += [_raw("BEGIN TESTS"), new_code_cell(exercise.check), new_code_cell(hidden)]
        cells += [_raw("END TESTS"), _raw("END QUESTION")]
    return _notebook(cells)


def _raw(marker: str) -> Any:
    return new_raw_cell(f"# {marker}")
