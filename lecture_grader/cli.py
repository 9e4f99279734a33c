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
    gradescope: Annotated[
        bool,
        typer.Option(
            "--gradescope", help="Also write instructor/NAME-gradescope.zip, an autograder."
        ),
    ] = False,
    sandbox: Annotated[
        str, typer.Option(help="On Gradescope: auto, namespaces, bubblewrap, landlock or none.")
    ] = "auto",
) -> None:
    """Try every answer of an assignment and, if all fare as they should, write its files."""
    with _extra():
        from lecture_grader.authoring import release as releasing
        from lecture_grader.authoring.assignment import ExerciseError
        from lecture_grader.authoring.mutants import kill_table
        from lecture_grader.course import CourseError
        from lecture_grader.gradescope.pack import pack
        from lecture_grader.sandbox.choose import LEVELS

    PROGRAM.check_out(out)
    if sandbox not in ("auto", *LEVELS):
        PROGRAM.refuse(f"a sandbox is one of auto, {', '.join(LEVELS)}; got {sandbox!r}.")
    rows: list[Any] = []
    try:
        files = releasing.release(assignment, out, tried=rows.append)
    except (ExerciseError, OSError) as error:
        if rows:
            typer.echo(kill_table(rows))
        PROGRAM.refuse(error)
    typer.echo(kill_table(rows))
    written = list(vars(files).values())
    if gradescope:
        instructor = files.manifest.parent
        written.append(instructor / f"{assignment.stem}-gradescope.zip")
        try:
            pack(assignment, instructor / "seed", written[-1], sandbox)
        except (ExerciseError, CourseError, OSError) as error:
            PROGRAM.refuse(error)
    for path in written:
        typer.echo(f"written: {path}")


@app.command()
def grade(
    assignment: Annotated[Path, typer.Argument(help="The source, such as exercises/NAME.md.")],
    submissions: Annotated[
        Path,
        typer.Argument(
            help="A folder or a zip file of STUDENT.ipynb, or of a folder for each student; also "
            "what Canvas, Moodle, Gradescope or Blackboard gives."
        ),
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
    deadline: Annotated[
        str, typer.Option(help="When the work is due, such as 2026-11-20 23:59.")
    ] = "",
    late_percent: Annotated[
        float, typer.Option(help="Percent of the points deducted for each day begun.")
    ] = 0.0,
    late_cap: Annotated[float, typer.Option(help="Percent deducted at most.")] = 100.0,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="An exercise, by name or number, that is graded again; of unchanged "
            "submissions the others keep their last results. May be repeated."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Grade a folder of submissions: gradebook.csv, results.jsonl, feedback and a summary."""
    with _extra():
        from lecture_grader import grade as grading
        from lecture_grader.authoring.assignment import ExerciseError
        from lecture_grader.classroom.lateness import LateRule, time_of
        from lecture_grader.register import Rules
        from lecture_grader.reporting import gradebook
        from lecture_grader.sandbox.choose import SandboxError

    PROGRAM.check_out(out)
    if column and roster is None:
        PROGRAM.refuse("--column names a column of the --roster, and there is none.")
    said: list[str] = []
    late = None
    if deadline:
        try:
            late = LateRule(time_of(deadline), late_percent, late_cap)
        except ValueError as error:
            rule = "a deadline is such as 2026-11-20 23:59"
            PROGRAM.refuse(error if "percentages" in str(error) else f"{rule}, got {deadline!r}.")
    elif late_percent:
        PROGRAM.refuse("--late-percent needs a --deadline.")
    for name, seconds in (("--timeout", timeout), ("--wall", wall)):
        if seconds is not None and math.isnan(seconds):  # which some versions of click let pass
            PROGRAM.refuse(
                f"invalid value for '{name}': a number of seconds was expected, got nan."
            )
    try:
        results = grading.grade(
            assignment, submissions, out, jobs=jobs, timeout=timeout, wall=wall, memory_mb=memory,
            sandbox=sandbox, scheduler=scheduler, only_changed=only_changed,
            rules=Rules(roster, column, nbgrader, late, tuple(only or ())), said=said.append,
        )  # fmt: skip
    except (ExerciseError, SandboxError, OSError, ImportError, ValueError) as error:
        PROGRAM.refuse(error)
    if as_json:
        typer.echo(json.dumps(gradebook.figures(results)))
    else:
        typer.echo("\n".join([gradebook.summarize(results), *said]))
        typer.echo(f"written: {out / 'gradebook.csv'} and {out / 'summary.html'}")
        for platform in ("Canvas", "Moodle"):
            if (file := out / f"{platform.lower()}.csv").exists():
                typer.echo(f"import into {platform}: {file}")


def _points(text: str) -> float:
    """Points; not a difference, which would read the same."""
    if text.startswith("+"):
        raise typer.BadParameter(
            f"these are the new points of the answer, not what is added to them, so without a "
            f"sign; got {text!r}."
        )
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"a number of points was expected, got {text!r}.") from None


@app.command()
def regrade(
    graded: Annotated[Path, typer.Argument(help="The folder of the gradebook.")],
    student: Annotated[
        str, typer.Argument(help="Name, id or login in the roster, or the name of the submission.")
    ],
    exercise: Annotated[str, typer.Argument(help="Its number or its name.")],
    points: Annotated[
        float,
        typer.Argument(
            parser=_points, metavar="POINTS", help="Its new points, in place of what it has now."
        ),
    ],
    reason: Annotated[str, typer.Option(help="Why; the student reads it.")],
) -> None:
    """Give points by hand, with a reason; the next grading applies it."""
    with _extra():
        from lecture_grader.reporting.decisions import decide, find_answer
        from lecture_grader.reporting.markup import number_of

    try:
        before = find_answer(graded, student, exercise)
        found = decide(graded, student, exercise, points, reason)
    except (OSError, ValueError) as error:
        PROGRAM.refuse(error)
    typer.echo(f"kept in {graded / 'decisions.jsonl'}; grade again to apply it.")
    typer.echo(
        f"{found.student}, {found.exercise}: {before['points']:g} -> {found.points:g} of "
        f"{number_of(before['possible'], 'point')}: {found.reason}"
    )


@app.command()
def diff(
    old: Annotated[Path, typer.Argument(help="A folder of a gradebook, or a copy of one.")],
    new: Annotated[Path, typer.Argument(help="Another one.")],
    as_json: AsJson = False,
) -> None:
    """Compare two gradebooks: what changed for whom, and why."""
    with _extra():
        from lecture_grader.reporting import changes
        from lecture_grader.reporting.decisions import read_results

    try:
        rows = read_results(old), read_results(new)
    except (OSError, ValueError) as error:
        PROGRAM.refuse(error)
    if as_json:
        typer.echo(json.dumps({"changes": changes.as_json(changes.changes(*rows))}))
    else:
        typer.echo(changes.changes_text(*rows))
