"""Rosters: who is in the class, from Canvas, from Moodle, or from a plain CSV file.

The formats, with what they are taken from:

Canvas, the export of its gradebook (lib/gradebook_exporter.rb and lib/gradebook_importer.rb in
    https://github.com/instructure/canvas-lms)
    ``Student, ID, [SIS User ID,] SIS Login ID, [Integration ID,] [Root Account,] Section``, or
    ``LastName, FirstName`` for ``Student``; then the teacher's own columns, one column for each
    assignment, ``TITLE (ID)``, and totals that are read only. A row "Manual Posting" may follow,
    then ``    Points Possible``. ID is Canvas's number of the user, which the names of downloaded
    submissions contain (lib/content_zipper.rb). Last may come Canvas's own "Student, Test".
Moodle, the offline grading worksheet of an assignment (mod/assign/gradingtable.php and
    mod/assign/feedback/offline/importgradeslib.php in https://github.com/moodle/moodle)
    ``Identifier, Full name, [ID number,] [Email address, ...] Status, [Group,] Grade, Maximum
    Grade, ..., Last modified (submission), ..., Last modified (grade), Feedback comments``. An
    identifier is ``Participant N``, where the folders of downloaded submissions contain the same N.
    Only the English names of the columns are known here.
Moodle, the grade export (the setting grade_export_userprofilefields; admin/settings/grades.php)
    ``First name, Last name`` (or ``Surname``), ``ID number, ..., Email address, ...``.
Plain
    ``name`` (or ``first name`` and ``last name``), ``id``, ``login``, ``email``, ``section``: at
    least one of name, id and login.

Each may have further columns for this program: ``extra days`` (later deadline), ``extra time`` (in
percent, for all limits of time), ``submitted`` (when the work was handed in, as 2026-11-20 17:03),
``team`` (who shares one submission; in a worksheet, ``Group``) and ``submission`` (the name of a
submission that is this student's, where names leave a doubt).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lecture_grader.classroom.tables import RosterError, Row, Table, read_table

__all__ = ["CANVAS", "MOODLE", "OWN", "PLAIN", "WORKSHEET", "Member", "Roster", "read_roster"]

CANVAS, WORKSHEET, MOODLE, PLAIN = "Canvas", "Moodle's worksheet", "Moodle", "plain"
OWN = ("extra days", "extra time", "submitted", "team", "submission")  # columns of this program
MAX_DAYS, MAX_PERCENT = 366.0, 900.0
POINTS_POSSIBLE, TEST_STUDENT = "Points Possible", ("Student, Test", "Test Student")
PARTICIPANT = re.compile(r"\D*(\d+)")


@dataclass(frozen=True)
class Member:
    """A student of the class."""

    name: str  # as the roster has it: "Doe, Jane" or "Jane Doe"
    row: int  # place in the table of the roster
    number: str = ""  # the platform's, which names of files contain
    login: str = ""
    sis_id: str = ""  # the number of the institution: SIS User ID, ID number
    email: str = ""
    section: str = ""
    first: str = ""  # first names, if they have a column of their own
    last: str = ""
    team: str = ""
    submission: str = ""  # what the teacher says is theirs
    submitted: str = ""  # when, as the roster says it
    extra_days: float = 0.0
    extra_time: float = 0.0  # percent

    @property
    def label(self) -> str:
        """The name, or what else there is."""
        return self.name or self.login or self.number or self.email or self.sis_id


@dataclass(frozen=True)
class Roster:
    """The students of a class, and the table that they come from."""

    kind: str  # CANVAS, WORKSHEET, MOODLE or PLAIN
    members: tuple[Member, ...]
    table: Table


def read_roster(path: Path) -> Roster:
    """The students in a file.

    Raises:
        RosterError: The file is no roster, lists nobody or somebody twice, or an accommodation is
            not a number in its range.
        OSError: The file cannot be read.
    """
    table = read_table(path)
    kind = _kind(table)
    members = tuple(
        _member(table, kind, place, row)
        for place, row in enumerate(table.rows)
        if not (kind == CANVAS and _is_no_student(row))
    )
    if not members:
        raise RosterError(f"{path} lists no student: after the column names there is nobody.")
    _check_distinct(table, members, "number")
    if kind == PLAIN:
        _check_distinct(table, members, "login")
    return Roster(kind, members, table)


def _kind(table: Table) -> str:
    """Which platform wrote a table.

    Raises:
        RosterError: It has not the columns of any.
    """
    names = [column.strip() for column in table.columns]
    student = names[:2] == ["Student", "ID"] or names[:3] == ["LastName", "FirstName", "ID"]
    if student:
        if "Section" not in names:
            raise RosterError(
                f"{table.path} begins like Canvas's export, but has no column Section, without "
                f"which Canvas imports nothing. Its columns: {table.listed()}."
            )
        return CANVAS
    if table.at("identifier") is not None and table.at("full name") is not None:
        for needed in ("grade", "last modified (grade)"):
            if table.at(needed) is None:
                raise RosterError(
                    f"{table.path} begins like Moodle's grading worksheet, but has no column "
                    f"{needed!r}, without which Moodle imports nothing. Its columns: "
                    f"{table.listed()}."
                )
        return WORKSHEET
    known = {"first name", "name", "id", "login", "student", "full name"}
    if table.at("first name") is not None and table.at("email address") is not None:
        return MOODLE
    if not any(table.at(name) is not None for name in known):
        raise RosterError(
            f"{table.path} is no roster: it needs the columns of Canvas's gradebook export "
            "(Student, ID, ...), of Moodle's grading worksheet (Identifier, Full name, ...) or of "
            "its grade export (First name, ..., Email address), or one of name, id and "
            f"login. Its columns: {table.listed()}."
        )
    return PLAIN


def _is_no_student(row: Row) -> bool:
    """Whether a row of Canvas's export is about assignments, or its own test student."""
    if POINTS_POSSIBLE in row.cells[0] or row.cells[0].strip() in TEST_STUDENT:
        return True
    return all(re.fullmatch(r"\s*(Muted|Manual Posting.*)?\s*", cell, re.I) for cell in row.cells)


def _member(table: Table, kind: str, place: int, row: Row) -> Member:
    def cell(*names: str) -> str:
        at = table.at(*names)
        return row.cells[at].strip() if at is not None else ""

    first = cell("first name", "firstname", "first_name")
    last = cell("last name", "lastname", "last_name", "surname")
    number = cell("id", "identifier", "student_id")
    if kind == WORKSHEET:
        found = PARTICIPANT.fullmatch(number)
        if not found:
            raise RosterError(
                f"{table.path}, line {row.line}: an Identifier is 'Participant' and a number, got "
                f"{number!r}."
            )
        number = found[1]
    member = Member(
        name=_unquoted(cell("student", "full name", "name")) or f"{first} {last}".strip(),
        row=place,
        number=number if kind != MOODLE else "",
        login=cell("sis login id", "login", "username"),
        sis_id=cell("sis user id", "id number"),
        email=cell("email address", "email"),
        section=cell("section"),
        first=first,
        last=last,
        team=cell("team") or (cell("group") if kind == WORKSHEET else ""),
        submission=cell("submission"),
        submitted=cell("submitted", "last modified (submission)"),
        extra_days=_number(table, row, cell("extra days"), "extra days", MAX_DAYS),
        extra_time=_number(table, row, cell("extra time"), "extra time", MAX_PERCENT),
    )
    if not member.label:
        raise RosterError(f"{table.path}, line {row.line}: a student without name, id and login.")
    return member


def _unquoted(name: str) -> str:
    """A name that Canvas has quoted, ``="=name"``, because it begins like a formula."""
    return name[2:-1] if name.startswith('="') and name.endswith('"') else name


def _number(table: Table, row: Row, text: str, what: str, most: float) -> float:
    """An accommodation; 0 if the cell is empty."""
    if not text:
        return 0.0
    percent = what == "extra time"
    plain = text.removesuffix("%").strip() if percent else text
    try:
        found = float(plain.replace(",", "."))
    except ValueError:
        found = -1.0
    # A number such as 1.5 is more likely meant as a factor than as a percentage.
    if not 0 <= found <= most or (percent and "%" not in text and 0 < found < 5):
        rule = (
            f"a percentage from 0 to {most:g}, such as 50%"
            if percent
            else f"days from 0 to {most:g}, such as 2"
        )
        raise RosterError(f"{table.path}, line {row.line}: {what} is {rule}, got {text!r}.")
    return found


def _check_distinct(table: Table, members: Iterable[Member], what: str) -> None:
    seen: dict[str, Member] = {}
    for member in members:
        value = getattr(member, what).casefold()
        if value and value in seen:
            lines = table.rows[seen[value].row].line, table.rows[member.row].line
            raise RosterError(
                f"{table.path}: lines {lines[0]} and {lines[1]} have the same "
                f"{'id' if what == 'number' else what} {value!r}, so they cannot be told "
                "apart. Is a student in it twice?"
            )
        seen[value] = member
