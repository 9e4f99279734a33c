"""Release an assignment: write the files for students and instructors from its source.

An assignment is released only if every check passes the solution and fails the unedited stub and
every named wrong answer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lecture_grader.authoring.assignment import ExerciseError, read_assignment
from lecture_grader.authoring.handout import as_json, manifest, rehearsal, student_notebook
from lecture_grader.authoring.mutants import Row, kill_matrix
from lecture_grader.authoring.page import page, rubric
from lecture_vae.storage import write_together

__all__ = ["Released", "release"]


@dataclass(frozen=True)
class Released:
    """The files of a release."""

    notebook: Path  # for students
    solutions: Path
    rubric: Path
    manifest: Path
    rehearsal: Path  # a folder of submissions with known marks


def release(
    source: Path, out: Path, *, tried: Callable[[Row], None] = lambda row: None
) -> Released:
    """Runs every check of an assignment on every answer and, if all are as expected, writes files.

    Args:
        source: `exercises/NAME.md`.
        out: The folder for `student/NAME.ipynb` and, in `instructor/`, the solutions, rubric,
            manifest and submissions to rehearse the grading with. Files in `instructor/` have
            mode 0600, whatever the umask.
        tried: Called with each row of the kill matrix as soon as it is known.

    Raises:
        ExerciseError: A check passes a wrong answer or fails the solution. Nothing is written.
        OSError: The folder cannot be written.
    """
    assignment = read_assignment(source)
    rows = []
    for row in kill_matrix(assignment):
        tried(row)
        rows.append(row)
    bad = [row for row in rows if not row.is_expected]
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
        # First, because write_together may make `out` itself, which is not private.
        files.notebook: as_json(student_notebook(assignment)),
        files.solutions: page(assignment, solutions=True),
        files.rubric: f"# {assignment.title}: rubric\n\n{rubric(assignment)}",
        files.manifest: as_json(manifest(assignment)),
    }
    for name, answers in rehearsal(assignment).items():
        texts[files.rehearsal / f"{name}.ipynb"] = as_json(student_notebook(assignment, answers))
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
