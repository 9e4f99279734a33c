"""The command line, `lecture-grader`: release an assignment, grade what is handed in.

Modules are imported inside the commands, so that `lecture-grader --help` is fast.
"""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from lecture_vae.command_line import AsJson, Program

PROGRAM = Program("lecture-grader")
app = PROGRAM.app("Releases exercises to students and grades what they hand in.")


@contextmanager
def _extra() -> Iterator[None]:
    """Exit with a message on how to install the grading extra if an import fails."""
    try:
        yield
    except ModuleNotFoundError as error:
        PROGRAM.refuse(
            f"{error.name} is missing; releasing and grading need the grading extra: "
            "pip install 'lecture-vae[grading]'."
        )


@app.command()
def release(
    assignment: Annotated[Path, typer.Argument(help="The source: exercises/NAME.md.")],
    out: Annotated[Path, typer.Option(help="Gets student/ and instructor/.")],
) -> None:
    """Try every answer of an assignment and, if all fare as they should, write its files."""
    with _extra():
        from lecture_grader.authoring import release as releasing
        from lecture_grader.authoring.assignment import ExerciseError
        from lecture_grader.authoring.mutants import kill_table

    PROGRAM.check_out(out)
    rows: list[Any] = []
    try:
        files = releasing.release(assignment, out, tried=rows.append)
    except (ExerciseError, OSError) as error:
        if rows:
            typer.echo(kill_table(rows))
        PROGRAM.refuse(error)
    typer.echo(kill_table(rows))
    for path in vars(files).values():
        typer.echo(f"written: {path}")


@app.command()
def grade(
    assignment: Annotated[Path, typer.Argument(help="The source: exercises/NAME.md.")],
    submissions: Annotated[
        Path, typer.Argument(help="A folder of STUDENT.ipynb, or of a folder for each student.")
    ],
    out: Annotated[Path, typer.Option(help="Gets the gradebook, the feedback and the seed.")],
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Notebooks at a time; one a core if not given.")
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            min=0.1, max=86_400, help="CPU seconds for a cell; each exercise's own if not given."
        ),
    ] = None,
    wall: Annotated[
        float | None,
        typer.Option(
            min=10,
            max=86_400,
            help="Seconds for one submission, all its runs together; if not given, 60 and three "
            "times the CPU seconds of its exercises.",
        ),
    ] = None,
    memory: Annotated[
        int, typer.Option(min=64, max=2**20, help="MB for a notebook, beyond the libraries.")
    ] = 1024,
    sandbox: Annotated[
        str, typer.Option(help="auto, namespaces, bubblewrap, landlock or none.")
    ] = "auto",
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler that runs the tasks.")
    ] = None,
    only_changed: Annotated[
        bool,
        typer.Option(
            "--only-changed/--all", help="Grade what is new or changed, or everything again."
        ),
    ] = True,
    roster: Annotated[
        Path | None,
        typer.Option(
            help="Who is in the class: Canvas's gradebook export, Moodle's grading worksheet or "
            "grade export, or a CSV file with name, id or login."
        ),
    ] = None,
    column: Annotated[
        str,
        typer.Option(
            help="The platform's column for the points; the one with the assignment's title if "
            "not given."
        ),
    ] = "",
    nbgrader: Annotated[
        bool, typer.Option("--nbgrader", help="Also write nbgrader.csv, as nbgrader exports it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Grade a folder of submissions: gradebook.csv, results.jsonl, feedback and a summary."""
    with _extra():
        from lecture_grader import grade as grading
        from lecture_grader.authoring.assignment import ExerciseError
        from lecture_grader.register import Rules
        from lecture_grader.reporting import gradebook
        from lecture_grader.sandbox.choose import SandboxError

    PROGRAM.check_out(out)
    if column and roster is None:
        PROGRAM.refuse("--column names a column of the --roster, and there is none.")
    said: list[str] = []
    for name, seconds in (("--timeout", timeout), ("--wall", wall)):
        if seconds is not None and math.isnan(seconds):  # which some versions of click let pass
            PROGRAM.refuse(
                f"invalid value for '{name}': a number of seconds was expected, got nan."
            )
    try:
        results = grading.grade(
            assignment, submissions, out, jobs=jobs, timeout=timeout, wall=wall, memory_mb=memory,
            sandbox=sandbox, scheduler=scheduler, only_changed=only_changed,
            rules=Rules(roster, column, nbgrader), said=said.append,
        )  # fmt: skip
    except (ExerciseError, SandboxError, OSError, ImportError, ValueError) as error:
        PROGRAM.refuse(error)
    if as_json:
        typer.echo(json.dumps(gradebook.figures(results)))
    else:
        typer.echo("\n".join([gradebook.summarize(results), *said]))
        typer.echo(f"written: {out / 'gradebook.csv'} and {out / 'summary.html'}")
