"""``python -m lecture_grader.gradescope.run ROOT [SANDBOX]``: grade one submission on Gradescope.

ROOT is ``/autograder``: it holds ``source`` (what :mod:`lecture_grader.gradescope.pack` packed) and
``submission``, and gets ``results/results.json``. If the grading fails, for example because the
container cannot confine a kernel, there is no such file, Gradescope reports a failure, and the
reason is on the standard output, which only instructors see.
"""

import json
import shutil
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from lecture_grader.authoring.assignment import ExerciseError
from lecture_grader.grade import grade
from lecture_grader.gradescope.results import results_document
from lecture_grader.sandbox.choose import SandboxError
from lecture_grader.session import SEED_FILE
from lecture_grader.submissions.intake import collect_one
from lecture_vae.storage import write_atomically

__all__ = ["run"]

STUDENT = "submission"


def run(root: Path, sandbox: str = "auto") -> None:
    """Grades the submission and writes results.json.

    Args:
        root: The folder that Gradescope calls ``/autograder``.
        sandbox: As of ``lecture-grader grade``.

    Raises:
        ExerciseError, SandboxError, OSError: As :func:`~lecture_grader.grade.grade`.
        ValueError: An exercise could not be graded.
    """
    started = time.monotonic()
    source = root / "source"
    (assignment,) = (source / "assignment").glob("*.md")
    with tempfile.TemporaryDirectory(prefix="lv-gradescope-") as name:
        out = Path(name) / "marks"
        out.mkdir(0o700)
        shutil.copy(source / "seed", out / SEED_FILE)
        collected = collect_one(root / "submission", STUDENT)
        results = grade(assignment, collected, out, jobs=1, sandbox=sandbox)
    text = json.dumps(results_document(results, time.monotonic() - started), allow_nan=False)
    write_atomically(
        root / "results" / "results.json", partial(Path.write_text, data=text, encoding="utf8")
    )


if __name__ == "__main__":
    try:
        run(Path(sys.argv[1]), *sys.argv[2:3])
    except (ExerciseError, SandboxError, OSError, ValueError) as error:
        sys.exit(f"the submission could not be graded: {error}")
