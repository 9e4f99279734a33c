"""Files that platforms import: golden files, and what must not change in the platform's own."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from lecture_grader.classroom.matching import call_roll
from lecture_grader.classroom.roster import read_roster
from lecture_grader.classroom.tables import RosterError
from lecture_grader.reporting.gradebook import figures, write_gradebook
from lecture_grader.reporting.lms import check_column, decimal, export
from lecture_grader.reporting.nbgrader import nbgrader_text
from lecture_grader.reporting.result import Result
from lecture_grader.submissions.submission import HandIn

GOLDEN = Path(__file__).with_name("golden")
TITLE, NAME = "Averages", "averages"
FIRST = Result(
    student="", exercise="weighted-mean", number=1, title="A weighted mean", points=2, possible=2,
    outcome="correct", message="", resembles=None, hint=None, matched_by="id", seconds=0.5,
    submission="5" * 16, assignment="a" * 16, checks="c" * 16, sandbox="namespaces", seed="s7",
    attempts=1, answer="def f():\n    pass", printed="",
)  # fmt: skip
SECOND = replace(FIRST, exercise="median-gap", number=2, title="The median & <b>its gap</b>")
WRONG = {"points": 0, "outcome": "wrong", "resembles": "order-swapped"}
PLATFORMS = {
    "canvas_export": ("canvas", {"doejane": "12345", "müllerzoë": "12346", "oneilsean": "12347",
                                 "lixiaolong": "12348", "eve": "12350"}),
    "moodle_worksheet": ("moodle", {"Jane Doe": "501"}),
    "moodle_grades": ("", {"Jane Doe": "", "zoe@uni.example": "", "s102": ""}),
}  # fmt: skip


def class_of(name):
    """A roster of the golden files, whose submissions are, and everybody's results.

    The first is right, the second half, and the grading of the last failed.
    """
    scheme, numbers = PLATFORMS[name]
    found = {
        student: HandIn(student, (), owner=student, scheme=scheme, number=number)
        for student, number in numbers.items()
    }
    roll = call_roll(read_roster(GOLDEN / f"{name}.csv"), found)
    students = {}
    for place, student in enumerate(roll.members):
        first, second = (replace(each, student=student) for each in (FIRST, SECOND))
        if student in roll.absent:
            first, second = (
                replace(each, outcome="absent", points=0, answer="", submission="")
                for each in (first, second)
            )
        elif place == 1:
            first, second = replace(first, points=1.5, deducted=0.5), replace(second, **WRONG)
        elif place == len(numbers) - 1 > 1:
            second = replace(second, outcome="infrastructure", points=0)
        students[student] = [first, second]
    return roll, students


def exported(name, column=""):
    roll, students = class_of(name)
    return export(TITLE, NAME, students, roll, column)


def cells(text, delimiter=","):
    return list(csv.reader(text.removeprefix("\ufeff").splitlines(), delimiter=delimiter))


@pytest.mark.parametrize(
    ("name", "golden"),
    [
        ("canvas_export", "canvas.csv"),
        ("moodle_worksheet", "moodle_from_worksheet.csv"),
        ("moodle_grades", "moodle_from_grades.csv"),
    ],
)
def test_the_file_is_the_golden_one(name, golden):
    assert exported(name).text == (GOLDEN / golden).read_bytes().decode()


def test_nbgraders_file_is_the_golden_one():
    roll, students = class_of("canvas_export")
    text = nbgrader_text(NAME, students, roll)
    assert text == (GOLDEN / "nbgrader.csv").read_text(encoding="utf8")
    alone = nbgrader_text(NAME, {"x": students["doejane"]}, None)
    assert cells(alone)[1] == ["averages", "", "", "x", "", "", "", "4", "0", "4", "4"]


def test_of_canvas_export_nothing_but_the_one_column_changes():
    before = cells((GOLDEN / "canvas_export.csv").read_text(encoding="utf8"))
    made = exported("canvas_export")
    after = cells(made.text)
    own = [before[0].index(name) for name in ("Extra days", "Extra time")]
    place = before[0].index("Averages (9002)")
    kept = [[cell for at, cell in enumerate(row) if at not in (*own, place)] for row in before]
    place = after[0].index("Averages (9002)")
    same = [[cell for at, cell in enumerate(row) if at != place] for row in after]
    assert [row for row in same if row not in kept] == [same[8]]
    # A spreadsheet would run this name, so it is quoted; Canvas finds the student by the ID.
    assert [cell.replace("'", "") for cell in same[8]] == kept[8] and same[8][1] == "12350"
    points = {row[0]: row[place] for row in after[1:]}
    assert points == {
        "": "Manual Posting", "    Points Possible": "4", "Doe, Jane": "4", "Müller, Zoë": "1.5",
        "O'Neil, Sean Patrick": "EX",  # excused
        "Li, Xiaolong": "N/A",  # not assigned to this student
        "Away, Ann": "0",
        "'=\"'=1+1, Eve\"": "3",  # not fully graded: as it was
        "Student, Test": "",
    }  # fmt: skip
    assert made.notes == ("canvas.csv: the points are in the column 'Averages (9002)'.",)


@pytest.mark.parametrize("column", ["reading, WEEK 2", "Reading, week 2 (9003)"])
def test_a_column_is_named_with_or_without_its_number(column):
    made = exported("canvas_export", column)
    rows = cells(made.text)
    place = rows[0].index("Reading, week 2 (9003)")
    assert rows[3][place] == "4"
    # The points of Canvas are not ours: nothing is scaled in silence.
    assert made.notes[1].startswith("Canvas has 5 points possible, the assignment 4.")


def test_without_a_column_of_this_title_there_is_a_new_one_and_a_word():
    roll, students = class_of("canvas_export")
    made = export("Variances", "variances", students, roll)
    rows = cells(made.text)
    assert rows[0][-1] == "Variances" and rows[2][-1] == "4" and rows[3][-1] == "4"
    assert rows[1][-1] == rows[-1][-1] == ""
    assert "name its column with --column" in made.notes[0]


@pytest.mark.parametrize(
    ("name", "column", "message"),
    [
        ("canvas_export", "Homework 7", "none is called 'Homework 7'. The assignments: 'Notes', "),
        ("canvas_export", "Final Score", "none is called 'Final Score'"),  # read only
        ("canvas_export", "Extra days", "none is called 'Extra days'"),
        ("canvas_export", "ID", "none is called 'ID'"),
        ("moodle_worksheet", "Status", "a worksheet has one column of grades, Grade"),
    ],
)
def test_a_column_that_cannot_be_is_refused_before_the_work(name, column, message):
    roster = read_roster(GOLDEN / f"{name}.csv")
    with pytest.raises(RosterError, match=name) as caught:
        check_column(roster, TITLE, NAME, column)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_two_columns_of_one_title_need_a_number(tmp_path):
    path = tmp_path / "export.csv"
    path.write_text(
        "Student,ID,SIS Login ID,Section,Averages (1),averages (2)\n"
        "    Points Possible,,,,4,4\nDoe,1,d,A,,\n"
    )
    roster = read_roster(path)
    with pytest.raises(RosterError, match=r"several fit: 'Averages \(1\)', 'averages \(2\)'"):
        check_column(roster, TITLE, NAME, "")
    check_column(roster, TITLE, NAME, "averages (2)")


def test_a_plain_roster_has_no_file_to_import(tmp_path):
    path = tmp_path / "plain.csv"
    path.write_text("name,login\nJane,j\n")
    roll = call_roll(read_roster(path), {"j": HandIn("j", (), owner="j")})
    assert export(TITLE, NAME, {"j": [FIRST]}, roll) is None
    with pytest.raises(RosterError, match="there is no file to import"):
        check_column(roll.roster, TITLE, NAME, "x")


def test_moodles_worksheet_keeps_its_dialect_and_says_what_differs():
    made = exported("moodle_worksheet")
    assert made.text.startswith("\ufeffIdentifier,") and made.text.endswith("\r\n")
    rows = cells(made.text)
    before = cells((GOLDEN / "moodle_worksheet.csv").read_bytes().decode())
    changed = (before[0].index("Grade"), before[0].index("Feedback comments"))
    for old, new in zip(before, rows, strict=True):
        assert [c for at, c in enumerate(old) if at not in changed] == [
            c for at, c in enumerate(new) if at not in changed
        ]
    # Zoë is in the platform's group of Jane; the third one handed in nothing.
    assert [row[changed[0]] for row in rows[1:]] == ["4", "4", "0"]
    assert rows[3][changed[1]] == "Nothing was handed in."
    # Moodle takes it as HTML.
    assert "The median &amp; &lt;b&gt;its gap&lt;/b&gt;: 2 of 2" in rows[1][changed[1]]
    assert len(made.notes) == 1


def test_a_worksheet_without_feedback_and_with_another_maximum_says_so(tmp_path):
    path = tmp_path / "sheet.csv"
    path.write_text(
        "Identifier,Full name,Grade,Maximum Grade,Last modified (grade)\n"
        "Participant 7,Jane Doe,,100.00,-\n"
    )
    roll = call_roll(read_roster(path), {"Jane Doe": HandIn("Jane Doe", (), owner="Jane Doe")})
    made = export(TITLE, NAME, {"Jane Doe": [FIRST, SECOND]}, roll)
    assert "Feedback comments" in made.notes[1]
    assert made.notes[2].startswith("Moodle has 100.00 points possible, the assignment 4.")
    assert cells(made.text)[1][2] == "4"


def test_who_is_not_graded_is_left_out_where_an_empty_grade_would_delete_one():
    made = exported("moodle_grades")
    rows = cells(made.text, ";")
    assert [row[0] for row in rows[1:]] == ["Zoë", "Sean Patrick"]  # of Jane the grading failed
    assert rows[2][-1].endswith("It behaves like a known mistake: order swapped")
    assert "Do not map 'ID number' to the user: 1 of the students have none." in made.notes


@pytest.mark.parametrize(
    ("points", "text"),
    [(0, "0"), (3, "3"), (2.5, "2.5"), (1.005, "1"), (10.0, "10"), (1 / 3, "0.33")],
)
def test_points_have_two_decimals_at_most(points, text):
    assert decimal(points) == text


# ---------------------------------------------------------------------------- the gradebook


def flat(students):
    return [result for row in students.values() for result in row]


def test_the_gradebook_has_the_rosters_columns_and_a_row_for_everybody(tmp_path):
    roll, students = class_of("canvas_export")
    made = export(TITLE, NAME, students, roll)
    write_gradebook(TITLE, NAME, flat(students), tmp_path, (), roll, {made.name: made.text})
    rows = cells((tmp_path / "gradebook.csv").read_text(encoding="utf8"))
    assert len(rows) == 2 + len(roll.roster.members)
    by_id = {row[1]: row for row in rows[2:]}
    assert by_id["12345"][:5] == ["Doe, Jane", "12345", "S100", "jdoe", "Section A"]
    assert by_id["12349"][0] == "Away, Ann" and by_id["12349"][-3:] == ["0", "0", "0"]
    assert (tmp_path / "canvas.csv").stat().st_mode & 0o777 == 0o600
    page = (tmp_path / "feedback" / "doejane.html").read_text(encoding="utf8")
    assert "<h1>Doe, Jane</h1>" in page
    absent = (tmp_path / "feedback" / "Away__Ann.html").read_text(encoding="utf8")
    assert "Absent: nothing was handed in." in absent and "Graded: the file" not in absent


def test_a_file_to_import_of_an_earlier_grading_does_not_stay(tmp_path):
    roll, students = class_of("canvas_export")
    write_gradebook(TITLE, NAME, flat(students), tmp_path, (), roll, {"canvas.csv": "old"})
    write_gradebook(TITLE, NAME, flat(students), tmp_path, (), roll, {"nbgrader.csv": "new"})
    assert not (tmp_path / "canvas.csv").exists()
    assert (tmp_path / "nbgrader.csv").read_text() == "new"


def test_who_handed_in_nothing_is_in_no_average(tmp_path):
    roll, students = class_of("canvas_export")
    found = figures(flat(students))
    assert (found["students"], found["absent"]) == (5, 1)
    assert found["mean"] == pytest.approx((4 + 1.5 + 4 + 4) / 4)
    assert [each["graded"] for each in found["exercises"]] == [5, 4]
    json.dumps(found)
    write_gradebook(TITLE, NAME, flat(students), tmp_path, (), roll)
    page = " ".join((tmp_path / "summary.html").read_text(encoding="utf8").split())
    assert (
        "5 submissions. 3.4 of 4 points on average, median 4.0. 1 student handed in nothing."
        in page
    )
    assert "Handed in nothing (1)" in page and "In doubt whose it is (0)" in page
    assert "4/5, 80%" not in page and "5/5, 100%" in page


def test_a_doubtful_submission_is_in_the_gradebook_and_not_in_the_import(tmp_path):
    roster = read_roster(GOLDEN / "canvas_export.csv")
    found = {
        "doejane": HandIn("doejane", (), owner="doejane", scheme="canvas", number="12345"),
        "stranger": HandIn("stranger", (), owner="stranger"),
    }
    roll = call_roll(roster, found)
    students = {name: [replace(FIRST, student=name)] for name in found} | {
        name: [replace(FIRST, student=name, outcome="absent", points=0)] for name in roll.absent
    }
    write_gradebook(TITLE, NAME, flat(students), tmp_path, (), roll)
    assert "stranger" in (tmp_path / "gradebook.csv").read_text(encoding="utf8")
    assert "stranger" not in export(TITLE, NAME, students, roll).text
    page = " ".join((tmp_path / "summary.html").read_text(encoding="utf8").split())
    assert "In doubt whose it is (1)" in page
    assert "stranger</a>: nobody in the roster has this id, login or name" in page
