"""Write the output of a grading: gradebook.csv, results.jsonl, feedback pages and a summary.

They depend only on the results, not on their order. Wall times are only in results.jsonl and
summary.html, so that grading again gives the same gradebook and the same feedback.

gradebook.csv has the format of Canvas, following the source of its importer::

    Student, ID, SIS User ID, SIS Login ID, Section, one column an exercise, Final Points

The second row has the points possible. Canvas finds a student by ID, SIS User ID, SIS Login ID,
then name, and asks the teacher otherwise. ID is Canvas's own user id (it reads "12-anna" as user
12), which the file names of its downloads contain. For other files it is empty, and the file name
is Student and SIS Login ID. With a roster these columns hold what it says. An exercise becomes an
assignment of that name. Canvas ignores a column Final Points, so that nothing counts twice. An
empty cell means that the grader itself failed; where Canvas has a grade, its importer counts the
empty cell as a change (no_change_to_value? in lib/gradebook_importer.rb), and shows it first.

All files have mode 0600, whatever the umask.
"""

import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from lecture_grader.classroom.matching import Roll
from lecture_grader.classroom.roster import CANVAS, Member
from lecture_grader.reporting.markup import number_of, one_line, shorten
from lecture_grader.reporting.pages import attempted, feedback_page, graded, total
from lecture_grader.reporting.result import NOTHING, Result
from lecture_grader.reporting.spreadsheet import csv_text
from lecture_grader.reporting.summary import attention, summary_page
from lecture_vae.storage import write_atomically

__all__ = ["feedback_names", "figures", "summarize", "write_gradebook"]

STEM_BYTES = 60  # of a feedback page; shorter than a whole hash, see feedback_names


def write_gradebook(
    assignment_title: str,
    assignment_name: str,
    results: Sequence[Result],
    out: Path,
    not_graded: Sequence[tuple[str, str]] = (),
    roll: Roll | None = None,
    files: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> None:
    """Write all files of a graded assignment, each whole or not at all, the summary last.

    Args:
        assignment_title: Heading of the pages.
        assignment_name: File stem of the assignment, which begins every exercise's column.
        results: One for each student and exercise, in any order.
        out: Folder to write to; it need not exist. Feedback on students who are not among the
            results stays as it is.
        not_graded: Files that are nobody's, and why, for the summary.
        roll: Whose the submissions are, if there is a roster.
        files: canvas.csv, moodle.csv and nbgrader.csv, if they are wanted. Those of an earlier
            grading are deleted.
        notes: Sentences on these files, for the summary.

    Raises:
        ValueError: If a student lacks an exercise or has one twice, or if the results are of two
            versions of the assignment.
        OSError: The folder cannot be written or the disk is full.
    """
    students = by_student(results)
    links = feedback_names(students)
    members = roll.members if roll else {}
    for student, row in students.items():
        name = members[student].label if student in members else ""
        _write(out / "feedback" / links[student], feedback_page(assignment_title, row, name))
    if students:
        (out / "feedback").chmod(0o700)  # an earlier run may have left it open
    lines = (_json_line(each, members.get(name)) for name, row in students.items() for each in row)
    _write(out / "results.jsonl", "".join(lines))
    _write(out / "gradebook.csv", _table(assignment_name, students, roll))
    files = files or {}
    for name in ("canvas.csv", "moodle.csv", "nbgrader.csv"):
        if name in files:
            _write(out / name, files[name])
        else:  # of an earlier grading: who imports it would import old points
            (out / name).unlink(missing_ok=True)
    page = summary_page(assignment_title, students, links, not_graded, roll, notes)
    _write(out / "summary.html", page)


def figures(results: Sequence[Result]) -> dict[str, Any]:
    """Statistics of the results, ready for JSON; the mean is None if no student is fully graded.

    Raises:
        ValueError: As for :func:`write_gradebook`.
    """
    students = by_student(results)
    present = [row for row in students.values() if row[0].outcome not in NOTHING]
    totals = [reached for row in present if (reached := total(row)) is not None]
    exercises = []
    for column in zip(*students.values(), strict=True):
        first, outcomes = column[0], Counter(result.outcome for result in column)
        resembles = Counter(result.resembles for result in column if result.resembles)
        exercises.append(
            {
                "number": first.number,
                "name": first.exercise,
                "title": first.title,
                "possible": first.possible,
                "graded": len(attempted(column)),
                "outcomes": dict(sorted(outcomes.items())),
                "resembles": dict(sorted(resembles.items())),
            }
        )
    return {
        "students": len(present),
        "absent": len(students) - len(present),
        "possible": sum(exercise["possible"] for exercise in exercises),
        "mean": mean(totals) if totals else None,
        "exercises": exercises,
        "attention": {name: text for name, row in students.items() if (text := attention(row))},
    }


def summarize(results: Sequence[Result]) -> str:
    """Statistics of the results as lines for the terminal. Raises as :func:`figures` does."""
    found = figures(results)
    if not found["students"]:
        return "no submissions"
    average = "none fully graded"
    if found["mean"] is not None:
        average = f"mean {found['mean']:.1f} of {number_of(found['possible'], 'point')}"
    lines = [f"{found['students']} submission{'s' * (found['students'] > 1)}, {average}"]
    titles = [one_line(exercise["title"]) for exercise in found["exercises"]]
    for exercise, title in zip(found["exercises"], titles, strict=True):
        passed, counted = exercise["outcomes"].get("correct", 0), exercise["graded"]
        share = f"{passed / counted:.0%}" if counted else "-"
        label = f"{exercise['number']:>3}. {title:<{max(map(len, titles))}}"
        lines.append(f"{label}  {passed:>4} of {counted} correct  {share:>4}")
    attending = found["attention"].items()
    return "\n".join([*lines, *(f"attention: {one_line(name)}: {why}" for name, why in attending)])


def by_student(results: Iterable[Result]) -> dict[str, list[Result]]:
    """The results of each student, students in natural order ("s2" before "s10"), then numbers.

    Raises:
        ValueError: As for :func:`write_gradebook`.
    """
    students: dict[str, list[Result]] = {}
    for result in sorted(results, key=lambda result: (_natural(result.student), result.number)):
        students.setdefault(result.student, []).append(result)
    exercises = {
        (result.number, result.exercise, result.title, result.possible)
        for result in _flat(students)
    }
    numbers = sorted(number for number, *_ in exercises)
    if len(set(numbers)) < len(numbers):
        raise ValueError(
            "an exercise needs one name, title and number of points in all results; exercises "
            f"{sorted(number for number, n in Counter(numbers).items() if n > 1)} have several. "
            "Were results of two versions of the assignment mixed?"
        )
    for student, row in students.items():
        if (got := [result.number for result in row]) != numbers:
            raise ValueError(
                f"every student needs one result for each of the exercises {numbers}; "
                f"{one_line(student)!r} has {got}. Was a task lost or run twice?"
            )
    return students


def feedback_names(students: Iterable[str]) -> dict[str, str]:
    """A unique file name for every student, safe on every file system and in a URL.

    Names that would be the same file (also on case-insensitive file systems) get a short hash. If
    that collides with the name of a student, they get the whole hash, which is longer than the
    stem of any name.
    """
    stems = {student: _stem(student) for student in students}
    names = dict(stems)
    for digits in (8, 64):
        counts = Counter(map(_file_key, names.values()))
        for student, name in names.items():
            if counts[_file_key(name)] > 1:
                raw = student.encode("utf-8", "surrogatepass")
                names[student] = f"{stems[student]}-{hashlib.sha256(raw).hexdigest()[:digits]}"
    return {student: f"{name}.html" for student, name in names.items()}


def _file_key(name: str) -> str:
    """Equal for names that are one file on some file system, up to case and Unicode form.

    Both cases are needed, because dotless and dotted i share the capital I.
    """
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name.upper()).casefold())


def _stem(student: str) -> str:
    """The name with letters, digits, "-", "_" and "." only; at most STEM_BYTES long."""
    normal = unicodedata.normalize("NFKC", student)
    safe = "".join(char if char.isalnum() or char in "-_." else "_" for char in normal)
    cut = safe.strip("._-").encode()[:STEM_BYTES].decode(errors="ignore")
    return cut.rstrip("._-") or "student"


def _natural(text: str) -> tuple[list[tuple[int, str]], str]:
    """Sort key of natural order: numbers in a text by value, ties by the text itself."""
    parts = re.split(r"([0-9]+)", text.casefold())
    # A longer number is the larger one, and int() refuses very long ones.
    numbers = [part.lstrip("0") if at % 2 else part for at, part in enumerate(parts)]
    return [(len(part) * (at % 2), part) for at, part in enumerate(numbers)], text


def _flat(students: Mapping[str, Sequence[Result]]) -> list[Result]:
    return [result for row in students.values() for result in row]


def _json_line(result: Result, member: Member | None) -> str:
    fields = asdict(result)
    if member:
        fields |= {"name": member.label, "login": member.login}
    del fields["answer"], fields["printed"], fields["steps"]
    fields["message"] = shorten(result.message, 4_000)
    return json.dumps(fields, allow_nan=False) + "\n"


def _table(
    assignment_name: str, students: Mapping[str, Sequence[Result]], roll: Roll | None
) -> str:
    """gradebook.csv as text."""
    members = roll.members if roll else {}
    exercises = next(iter(students.values()), [])
    heads = [f"{assignment_name} {result.number}: {result.title}" for result in exercises]
    rows: list[list[str]] = [
        ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", *heads, "Final Points"],
        ["    Points Possible", "", "", "", "", *[f"{result.possible}" for result in exercises]],
    ]
    rows[1].append(str(sum(result.possible for result in exercises)))
    for student, row in students.items():
        points = ["" if not graded([result]) else f"{result.points:g}" for result in row]
        reached = total(row)
        # Canvas takes any row that says "Points Possible" for the second one.
        final = "" if reached is None else f"{reached:g}"
        number = row[0].id if re.fullmatch("[0-9]+", row[0].id) else ""
        about = [student, number, "", "" if number else student, ""]
        if roll and student in members:
            who = members[student]
            number = who.number if roll.roster.kind == CANVAS else ""
            login = who.login or ("" if number else student)
            about = [who.label, number, who.sis_id, login, who.section]
        about[0] = about[0].replace("Points Possible", "Points_Possible")
        rows.append([*about, *points, final])
    return csv_text(rows)


def _write(path: Path, text: str) -> None:
    write = partial(Path.write_text, data=text, encoding="utf-8", newline="\n")
    write_atomically(path, write, private=True)
