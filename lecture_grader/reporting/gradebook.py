"""The files that grading leaves: gradebook.csv, results.jsonl, feedback pages and a summary.

They are functions of the results alone, in whatever order these come. Wall times are only in
results.jsonl and summary.html, so grading again gives the same gradebook and the same feedback.

gradebook.csv is what Canvas imports (its own importer was read for these rules)::

    Student, ID, SIS User ID, SIS Login ID, Section, one column an exercise, Final Points

The second row holds the points possible. Canvas looks a student up by ID, SIS User ID, SIS Login
ID, then name, and asks where it finds none. ID is a number of Canvas's own ("12-anna" there is
user 12), which the names of its downloads hold; for all other files it stays empty, and what the
file was called goes to Student and SIS Login ID. An exercise becomes an assignment of that name.
Canvas ignores a column called Final Points, so that nothing counts twice. A cell is empty where
the grading itself failed: Canvas leaves that alone.

All files are for their owner alone, whatever the umask.
"""

import csv
import hashlib
import io
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

from lecture_grader.reporting.markup import one_line, plain, shorten
from lecture_grader.reporting.pages import feedback_page, graded, total
from lecture_grader.reporting.result import Result
from lecture_grader.reporting.summary import attention, summary_page
from lecture_vae.storage import write_atomically

__all__ = ["feedback_names", "figures", "summarize", "write_gradebook"]

# OWASP, "CSV Injection": signs that make a spreadsheet take a cell for a formula, also full-width.
# A carriage return is one too; plain() has made it a newline before we look.
SIGNS = "=+\\-@\u2212\ufe62\ufe63\ufe66\ufe6b＝＋－＠"
FORMULA = ("=", "+", "-", "@", "\t", "\n", "＝", "＋", "－", "＠")
# Another spreadsheet may split a cell at other signs than the comma. So a formula's sign stands
# only after a letter or a digit, as in Anne-Marie, after a dot, as in J.-P., or after itself.
STARTS = re.compile(rf"(?<![^\W_])(?<![.)\]'])(?=([{SIGNS}]))(?<!\1)")
STEM_BYTES = 60  # of a feedback page; shorter than a whole hash, see feedback_names


def write_gradebook(
    assignment_title: str,
    assignment_name: str,
    results: Sequence[Result],
    out: Path,
    not_graded: Sequence[tuple[str, str]] = (),
) -> None:
    """Write all files of a graded assignment, each whole or not at all, the summary last.

    Args:
        assignment_title: Heading of the pages.
        assignment_name: File stem of the assignment, which begins every exercise's column.
        results: One for each student and exercise, in any order.
        out: Folder to write to; it need not exist. Feedback on students who are not among the
            results stays as it is.
        not_graded: Files that are nobody's, and why, for the summary.

    Raises:
        ValueError: If a student lacks an exercise or has one twice, or if the results are of two
            versions of the assignment.
        OSError: The folder cannot be written or the disk is full.
    """
    students = by_student(results)
    links = feedback_names(students)
    for student, row in students.items():
        _write(out / "feedback" / links[student], feedback_page(assignment_title, row))
    if students:
        (out / "feedback").chmod(0o700)  # an earlier run may have left it open
    _write(out / "results.jsonl", "".join(map(_json_line, _flat(students))))
    _write(out / "gradebook.csv", _table(assignment_name, students))
    _write(out / "summary.html", summary_page(assignment_title, students, links, not_graded))


def figures(results: Sequence[Result]) -> dict[str, Any]:
    """What came out, ready for JSON; the mean is None where nobody is fully graded.

    Raises:
        ValueError: As for :func:`write_gradebook`.
    """
    students = by_student(results)
    totals = [reached for row in students.values() if (reached := total(row)) is not None]
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
                "graded": len(graded(column)),
                "outcomes": dict(sorted(outcomes.items())),
                "resembles": dict(sorted(resembles.items())),
            }
        )
    return {
        "students": len(students),
        "possible": sum(exercise["possible"] for exercise in exercises),
        "mean": mean(totals) if totals else None,
        "exercises": exercises,
        "attention": {name: text for name, row in students.items() if (text := attention(row))},
    }


def summarize(results: Sequence[Result]) -> str:
    """What came out, as a few lines for the terminal. Raises as :func:`figures` does."""
    found = figures(results)
    if not found["students"]:
        return "no submissions"
    average = "none fully graded"
    if found["mean"] is not None:
        average = f"mean {found['mean']:.1f} of {found['possible']} points"
    lines = [f"{found['students']} student{'s' * (found['students'] > 1)}, {average}"]
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
    asked = {
        (result.number, result.exercise, result.title, result.possible)
        for result in _flat(students)
    }
    numbers = sorted(number for number, *_ in asked)
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
    """For every student a file name of its own, safe on every file system and in a link.

    Names that would be one file (also one where upper and lower case are the same) get a short
    hash each. Should somebody be called like another one's name with its hash, the hash is whole:
    it is longer than the rest of a name may be, so that nobody can be called like that.
    """
    stems = {student: _stem(student) for student in students}
    names = dict(stems)
    for digits in (8, 64):
        met = Counter(map(_alike, names.values()))
        for student, name in names.items():
            if met[_alike(name)] > 1:
                raw = student.encode("utf-8", "surrogatepass")
                names[student] = f"{stems[student]}-{hashlib.sha256(raw).hexdigest()[:digits]}"
    return {student: f"{name}.html" for student, name in names.items()}


def _alike(name: str) -> str:
    """Equal for names that are one file somewhere: where case or the form of a sign is the same.

    The dotless i has the capital I of the ordinary one, so both cases have a say.
    """
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name.upper()).casefold())


def _stem(student: str) -> str:
    """Letters, digits, and "-", "_" and "." inside; at most STEM_BYTES long."""
    normal = unicodedata.normalize("NFKC", student)
    safe = "".join(sign if sign.isalnum() or sign in "-_." else "_" for sign in normal)
    cut = safe.strip("._-").encode()[:STEM_BYTES].decode(errors="ignore")
    return cut.rstrip("._-") or "student"


def _natural(text: str) -> tuple[list[tuple[int, str]], str]:
    """Sorts numbers inside a text by their value; the text itself settles what is left equal."""
    parts = re.split(r"([0-9]+)", text.casefold())
    # A longer number is the larger one, and int() refuses very long ones.
    numbers = [part.lstrip("0") if place % 2 else part for place, part in enumerate(parts)]
    return [(len(part) * (place % 2), part) for place, part in enumerate(numbers)], text


def _flat(students: Mapping[str, Sequence[Result]]) -> list[Result]:
    return [result for row in students.values() for result in row]


def _json_line(result: Result) -> str:
    fields = asdict(result)
    del fields["answer"], fields["printed"]
    fields["message"] = shorten(result.message, 4_000)
    return json.dumps(fields, allow_nan=False) + "\n"


def _table(assignment_name: str, students: Mapping[str, Sequence[Result]]) -> str:
    """gradebook.csv as text."""
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
        name = student.replace("Points Possible", "Points_Possible")
        final = "" if reached is None else f"{reached:g}"
        number = row[0].id if re.fullmatch("[0-9]+", row[0].id) else ""
        login = "" if number else student
        rows.append([name, number, "", login, "", *points, final])
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([map(_cell, row) for row in rows])
    return text.getvalue()


def _cell(text: str) -> str:
    """The text without what could act: a formula gets a leading apostrophe, as OWASP advises.

    So does what a spreadsheet that splits at another sign would take for one.
    """
    clean = plain(text)  # first: cleaning may take away what stood before a formula's sign
    return STARTS.sub("'", f"'{clean}" if clean.startswith(FORMULA) else clean)


def _write(path: Path, text: str) -> None:
    write = partial(Path.write_text, data=text, encoding="utf-8", newline="\n")
    write_atomically(path, write, private=True)
