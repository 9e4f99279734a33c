"""LMS: files that learning platforms import as they are.

Each is made from the platform's own export, of which nothing changes but the grades: its columns,
rows, ids, delimiter and line ends stay, and only the columns of this program (``extra days`` and so
on) are left out. The export itself is never written. A cell that a spreadsheet would run is made
harmless; in Canvas's and Moodle's files they are names, which these find by their ids.

canvas.csv
    Canvas finds a student by ID and an assignment by the number in its column, ``TITLE (ID)``; a
    column without a number becomes a new assignment if there is none of that title. It ignores
    totals, whose points possible are "(read only)". An empty cell where there is a grade counts as
    a change, and an excused student has ``EX``. (lib/gradebook_importer.rb and
    lib/gradebook_exporter.rb in https://github.com/instructure/canvas-lms.) So without a grade the
    cell stays as it was, and ``EX`` and ``N/A`` stay in any case.
moodle.csv, from a grading worksheet
    Moodle needs Identifier, Grade and Last modified (grade); a grade that is empty or above the
    maximum is skipped, and feedback comments are HTML. (mod/assign/feedback/offline/locallib.php,
    importgradeslib.php and mod/assign/feedback/comments/locallib.php in
    https://github.com/moodle/moodle.)
moodle.csv, from a grade export
    The teacher maps the columns: ``ID number`` or ``Email address`` to the user, the grade, and the
    feedback (https://docs.moodle.org/405/en/Grade_import). Here an empty grade would delete one,
    and a row without the number that is mapped would go to the student before it
    (grade/import/csv/classes/load_data.php). So rows without a grade are left out.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from lecture_grader.classroom.matching import Roll
from lecture_grader.classroom.roster import (
    CANVAS,
    MOODLE,
    OWN,
    PLAIN,
    POINTS_POSSIBLE,
    WORKSHEET,
    Roster,
)
from lecture_grader.classroom.tables import RosterError, Table, table_text
from lecture_grader.reporting.markup import one_line, plain
from lecture_grader.reporting.pages import total, words
from lecture_grader.reporting.result import OUTCOMES, Result
from lecture_grader.reporting.spreadsheet import kept_cell

__all__ = ["Export", "Students", "check_column", "decimal", "export"]

WITH_ID = re.compile(r"(.*)\s\((\d+)\)", re.DOTALL)
KEPT = ("EX", "EXCUSED", "N/A")  # what Canvas writes instead of a score
READ_ONLY = re.compile(r"read\s+only")
FEEDBACK = "feedback comments"
Students = Mapping[str, Sequence[Result]]


@dataclass(frozen=True)
class Export:
    """A file to import."""

    name: str
    text: str
    notes: tuple[str, ...]  # sentences for the teacher


def check_column(roster: Roster, title: str, name: str, column: str) -> None:
    """Finds the column before the work, and drops it.

    Raises:
        RosterError: As :func:`export`.
    """
    if roster.kind == CANVAS:
        _canvas_column(roster.table, (title, name), column)
    elif roster.kind == WORKSHEET and column and _fold(column) != "grade":
        raise RosterError(f"{roster.table.path}: a worksheet has one column of grades, Grade.")
    elif roster.kind == PLAIN and column:
        raise RosterError(
            f"{roster.table.path} is of no platform that this program knows, so there is no file "
            f"to import and no column {column!r} in it."
        )


def export(
    title: str, name: str, students: Students, roll: Roll, column: str = ""
) -> Export | None:
    """The file that the platform of a roster imports; None for a plain roster.

    Args:
        title: Of the assignment.
        name: Of the assignment, the stem of its file.
        students: The results of every student.
        roll: Whose they are.
        column: Canvas's or Moodle's column for the grade; the one with the title or the name of the
            assignment if empty.

    Raises:
        RosterError: There is no such column, or there are several.
    """
    check_column(roll.roster, title, name, column)
    if roll.roster.kind == CANVAS:
        return _canvas(title, name, students, roll, column)
    if roll.roster.kind == WORKSHEET:
        return _worksheet(students, roll)
    if roll.roster.kind == MOODLE:
        return _moodle(title, students, roll, column)
    return None


def decimal(points: float) -> str:
    """Points with at most two decimals, as platforms show them."""
    return f"{points:.2f}".rstrip("0").rstrip(".")


# ---------------------------------------------------------------------------- Canvas


def _canvas(title: str, name: str, students: Students, roll: Roll, column: str) -> Export:
    table = roll.roster.table
    place = _canvas_column(table, (title, name), column)
    possible = _possible(students)
    notes = []
    columns = [*table.columns]
    if place is None:
        place = len(columns)
        columns.append(one_line(title, 200))
        notes.append(
            f"canvas.csv: no column of the export is called {one_line(title)!r} or {name!r}, so "
            "Canvas will offer to make a new assignment. If there is one, name its column with "
            "--column."
        )
    else:
        notes.append(f"canvas.csv: the points are in the column {one_line(columns[place], 200)!r}.")
    grades, rows = _by_row(students, roll), []
    for at, row in enumerate(table.rows):
        cells = [*row.cells, *[""] * (len(columns) - len(row.cells))]
        if POINTS_POSSIBLE in cells[0]:
            if place == len(row.cells):
                cells[place] = decimal(possible)
            elif not _same(cells[place], possible):
                notes.append(_unlike(cells[place], possible, "Canvas"))
        elif (grade := grades.get(at)) is not None and cells[place].strip().upper() not in KEPT:
            cells[place] = decimal(grade)
        rows.append(cells)
    return Export("canvas.csv", _text(table, columns, rows), tuple(notes))


def _canvas_column(table: Table, names: Sequence[str], column: str) -> int | None:
    """The place of the assignment's column; None if there is none and none was asked for."""
    start = table.columns.index("Section") + 1 if "Section" in table.columns else 0
    readable = [at for row in table.rows if POINTS_POSSIBLE in row.cells[0]
                for at, cell in enumerate(row.cells) if not READ_ONLY.search(cell)]  # fmt: skip
    places = [at for at in range(start, len(table.columns)) if at in readable]
    assignments = [at for at in places if _fold(table.columns[at]) not in OWN]
    wanted = [_fold(column)] if column else [_fold(each) for each in names]
    found = [
        at
        for at in assignments
        if _fold(table.columns[at]) in wanted or _fold(_without_id(table.columns[at])) in wanted
    ]
    if len(found) == 1:
        return found[0]
    if not found and not column:
        return None
    shown = ", ".join(repr(one_line(table.columns[at], 80)) for at in (found or assignments)[:12])
    raise RosterError(
        f"{table.path}: the points need one column, but "
        + (
            f"several fit: {shown}. Name one with --column, with its number."
            if found
            else f"none is called {column!r}. The assignments: {shown or 'none'}."
        )
    )


def _without_id(column: str) -> str:
    found = WITH_ID.fullmatch(column)
    return found[1] if found else column


# ---------------------------------------------------------------------------- Moodle


def _worksheet(students: Students, roll: Roll) -> Export:
    table = roll.roster.table
    at_grade, at_feedback, at_most = (
        table.at("grade"), table.at(FEEDBACK), table.at("maximum grade"),
    )  # fmt: skip
    assert at_grade is not None
    possible, notes = _possible(students), ["moodle.csv: the points are in the column 'Grade'."]
    if at_feedback is None:
        notes.append(
            "There is no column 'Feedback comments', so no feedback goes to Moodle: switch on "
            "the feedback type 'Feedback comments' of the assignment, and export again."
        )
    mosts = {row.cells[at_most] for row in table.rows} if at_most is not None else set()
    for most in sorted(mosts):
        if not _same(most, possible):
            notes.append(_unlike(most, possible, "Moodle"))
    grades, comments, rows = _by_row(students, roll), _comments(students, roll), []
    for at, row in enumerate(table.rows):
        cells = [*row.cells]
        if (grade := grades.get(at)) is not None:
            cells[at_grade] = decimal(grade)
            if at_feedback is not None:
                cells[at_feedback] = comments[at]
        rows.append(cells)
    return Export("moodle.csv", _text(table, table.columns, rows), tuple(notes))


def _moodle(title: str, students: Students, roll: Roll, column: str) -> Export:
    table = roll.roster.table
    heading = column or one_line(title, 200)
    columns = ["First name", "Last name", "ID number", "Email address", heading,
               f"{heading} (feedback)"]  # fmt: skip
    grades, comments, rows = _by_row(students, roll), _comments(students, roll), []
    without = {"ID number": 0, "Email address": 0}
    for member in roll.roster.members:
        if (grade := grades.get(member.row)) is None:
            continue
        rows.append([member.first, member.last, member.sis_id, member.email, decimal(grade),
                     comments[member.row]])  # fmt: skip
        without["ID number"] += not member.sis_id
        without["Email address"] += not member.email
    notes = [
        f"moodle.csv: map 'ID number' or 'Email address' to the user, {heading!r} to the grade of "
        f"the assignment and '{heading} (feedback)' to its feedback."
    ]
    notes += [
        f"Do not map {name!r} to the user: {count} of the students have none."
        for name, count in without.items()
        if count
    ]
    return Export("moodle.csv", _text(table, columns, rows), tuple(notes))


# ---------------------------------------------------------------------------- parts


def _by_row(students: Students, roll: Roll) -> dict[int, float]:
    """The points of every student who is fully graded, by the row of the roster."""
    return {
        member.row: reached
        for student, member in roll.members.items()
        if (reached := total(students[student])) is not None
    }


def _comments(students: Students, roll: Roll) -> dict[int, str]:
    """Feedback as HTML, by the row of the roster."""
    return {member.row: _comment(students[name]) for name, member in roll.members.items()}


def _comment(results: Sequence[Result]) -> str:
    """What a student is told in one cell; nothing that the student wrote is quoted."""
    if results[0].outcome == "absent":
        return "Nothing was handed in."
    lines = []
    for result in results:
        text = f"{result.number}. {result.title}: {decimal(result.points)} of {result.possible}"
        text += f" ({result.outcome}: {OUTCOMES[result.outcome]})"
        if result.resembles:
            text += f". It behaves like a known mistake: {words(result.resembles)}"
        lines.append(escape(" ".join(plain(text).split())))
    return "<br>".join(lines)


def _text(table: Table, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The rows without the columns of this program, every cell harmless."""
    kept = [at for at, column in enumerate(columns) if _fold(column) not in OWN]
    return table_text(
        table,
        [kept_cell(columns[at]) for at in kept],
        [[kept_cell(row[at]) for at in kept] for row in rows],
    )


def _possible(students: Students) -> int:
    return sum(result.possible for result in next(iter(students.values()), []))


def _same(text: str, possible: float) -> bool:
    try:
        return abs(float(text.strip().replace(",", ".")) - possible) < 0.005
    except ValueError:
        return False


def _unlike(text: str, possible: float, platform: str) -> str:
    return (
        f"{platform} has {one_line(text) or 'no'} points possible, the assignment "
        f"{decimal(possible)}. The points are not scaled: change the points in {platform}."
    )


def _fold(text: str) -> str:
    return " ".join(text.split()).casefold()
