"""The grades of an assignment as nbgrader exports them, for programs that read its files.

The columns are those of ``CsvExportPlugin`` in nbgrader/plugins/export.py of
https://github.com/jupyter/nbgrader (``nbgrader export``): the score is the raw score without the
penalty for lateness, and who handed in nothing has 0. nbgrader itself does not quote a name with a
comma; here it is quoted.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

from lecture_grader.classroom.matching import Roll
from lecture_grader.reporting.lms import Students, decimal
from lecture_grader.reporting.pages import total
from lecture_grader.reporting.spreadsheet import csv_text

__all__ = ["nbgrader_text"]


def nbgrader_text(name: str, students: Students, roll: Roll | None, due: float | None = None,
                  times: Mapping[str, float | None] | None = None) -> str:  # fmt: skip
    """The grades as ``nbgrader export`` writes them.

    Args:
        name: Of the assignment.
        students: The results of every student.
        roll: Whose they are, if there is a roster; without one only the id is known.
        due: The deadline, in seconds since 1970; None if there is none.
        times: When each student handed in, in seconds since 1970, as far as it is known.
    """
    rows = [["assignment", "duedate", "timestamp", "student_id", "last_name", "first_name", "email",
             "raw_score", "late_submission_penalty", "score", "max_score"]]  # fmt: skip
    members = roll.members if roll else {}
    for student, row in students.items():
        reached = total(row)
        if reached is None:
            continue
        member = members.get(student)
        last, _, first = member.name.partition(",") if member else ("", "", "")
        deducted = sum(result.deducted for result in row)
        rows.append([
            name, _time(due), _time((times or {}).get(student)),
            (member.login or member.number or student) if member else student,
            (member.last or last.strip()) if member else "",
            (member.first or first.strip()) if member else "",
            member.email if member else "",
            decimal(reached + deducted), decimal(deducted), decimal(reached),
            decimal(sum(result.possible for result in row)),
        ])  # fmt: skip
    return csv_text(rows)


def _time(seconds: float | None) -> str:
    """A time as nbgrader's database holds it: in UTC, without saying so."""
    if seconds is None:
        return ""
    return str(datetime.fromtimestamp(round(seconds), UTC).replace(tzinfo=None))
