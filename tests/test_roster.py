"""Who is in the class, and which student handed in what: by rules, and never by a guess."""

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lecture_grader.classroom.matching import call_roll, key_of_name, own_keys
from lecture_grader.classroom.roster import CANVAS, MOODLE, PLAIN, WORKSHEET, Member, read_roster
from lecture_grader.classroom.tables import RosterError, read_table, table_text
from lecture_grader.submissions.intake import collect
from lecture_grader.submissions.submission import HandIn

GOLDEN = Path(__file__).with_name("golden")


@pytest.fixture
def write(tmp_path):
    def written(text, name="roster.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return written


def handed_in(*names, **numbered):
    """Submissions: plain names, and names with (scheme, number)."""
    found = {name: HandIn(name, (), owner=name) for name in names}
    for name, (scheme, number) in numbered.items():
        found[name] = HandIn(name, (), owner=name, scheme=scheme, number=number)
    return found


def canvas(*rows):
    return "\n".join(["Student,ID,SIS User ID,SIS Login ID,Section", *rows, ""])


def labels(roll):
    return {name: member.label for name, member in roll.of.items()}


# ---------------------------------------------------------------------------- files


def test_canvas_export_is_read_without_its_rows_that_are_no_students():
    roster = read_roster(GOLDEN / "canvas_export.csv")
    assert roster.kind == CANVAS
    assert [member.number for member in roster.members] == [
        "12345", "12346", "12347", "12348", "12349", "12350",
    ]  # fmt: skip
    jane, zoe, *_, eve = roster.members
    assert (jane.name, jane.login, jane.sis_id, jane.section) == (
        "Doe, Jane", "jdoe", "S100", "Section A",
    )  # fmt: skip
    assert (zoe.extra_days, zoe.extra_time) == (2, 25) and jane.extra_time == 0
    assert eve.name == "=1+1, Eve"  # Canvas's own quotes, around what is no formula, are undone


def test_first_and_last_names_in_columns_of_their_own_are_canvas_too(write):
    path = write("LastName,FirstName,ID,SIS Login ID,Section\nDoe,Jane,1,jd,A\n")
    roster = read_roster(path)
    assert roster.kind == CANVAS
    (member,) = roster.members
    assert (member.name, member.number, member.last) == ("Jane Doe", "1", "Doe")


def test_moodles_worksheet_and_its_grade_export():
    sheet = read_roster(GOLDEN / "moodle_worksheet.csv")
    assert sheet.kind == WORKSHEET and sheet.table.bom and sheet.table.newline == "\r\n"
    assert [(each.number, each.name, each.team) for each in sheet.members] == [
        ("501", "Jane Doe", "Team 1"), ("502", "Zoë Müller", "Team 1"),
        ("503", "Sean Patrick O'Neil", "Team 2"),
    ]  # fmt: skip
    assert sheet.members[0].submitted == "Thursday, 19 November 2026, 5:03 PM"
    grades = read_roster(GOLDEN / "moodle_grades.csv")
    assert grades.kind == MOODLE and grades.table.delimiter == ";"
    assert [(each.name, each.sis_id, each.number) for each in grades.members] == [
        ("Jane Doe", "S100", ""), ("Zoë Müller", "", ""), ("Sean Patrick O'Neil", "S102", ""),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "name,login\nJane Doe,jd\n\nZoë,zo\n",
        "\ufeffName;LOGIN\r\nJane Doe;jd\r\n;\r\nZoë;zo\r\n",
        "name\tlogin\t\nJane Doe\tjd\t\nZoë\tzo",
        "login,first name,last name\njd,Jane,Doe\nzo,Zoë,\n",
    ],
)
def test_a_plain_file_may_have_any_delimiter_bom_and_line_ends(write, text):
    roster = read_roster(write(text))
    assert roster.kind == PLAIN
    assert [(each.name, each.login) for each in roster.members] == [
        ("Jane Doe", "jd"),
        ("Zoë", "zo"),
    ]


@pytest.mark.parametrize("name", ["canvas_export", "moodle_worksheet", "moodle_grades"])
def test_a_table_is_written_as_it_was_read(name):
    path = GOLDEN / f"{name}.csv"
    table = read_table(path)
    written = table_text(table, table.columns, [row.cells for row in table.rows])
    again = read_table(path)
    assert (table.columns, table.rows) == (again.columns, again.rows)
    bare = path.read_bytes().decode().replace('"', "")
    assert written.replace('"', "") == bare  # all but the quotes, which are not needed everywhere


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty: its first line must name the columns"),
        ("\n\n", "is empty"),
        ("name,login\n", "lists no student"),
        (canvas("    Points Possible,,,,"), "lists no student"),
        ("points,grade\n1,2\n", "is no roster: it needs the columns of Canvas's"),
        ("points,grade\n1,2\n", "Its columns: points, grade."),
        ("Student,ID,SIS Login ID\nDoe,1,x\n", "has no column Section"),
        ("Identifier,Full name,Grade\nParticipant 1,J,\n", "no column 'last modified (grade)'"),
        (
            "Identifier,Full name,Grade,Last modified (grade)\nParticipant,J,,\n",
            "line 2: an Identifier is 'Participant' and a number, got 'Participant'",
        ),
        (b"PK\x03\x04zip", "Is it a spreadsheet? Save it as CSV."),
        ("name,login\nZoë,z\n".encode("utf-16"), "is no text"),
        ("name,login\nJane,j\nZoë,z\n".encode("latin-1"), "line 3 is not UTF-8"),
        ("name,login\nDoe, Jane,jd\n", "line 2: 3 cells, but the first line names 2 columns"),
        ('name,login\n"Jane,jd\n', "no CSV"),
        ("id,name\n7,Jane\n8,Ben\n7,Eve\n", "lines 2 and 4 have the same id '7'"),
        ("login,name\nJd,Jane\njD,Eve\n", "lines 2 and 3 have the same login 'jd'"),
        ("name,login,section\n,,A\n", "line 2: a student without name, id and login"),
        ("name,extra days\nJ,-1\n", "extra days is days from 0 to 366, such as 2, got '-1'"),
        ("name,extra days\nJ,two\n", "got 'two'"),
        ("name,extra days\nJ,nan\n", "got 'nan'"),
        ("name,extra time\nJ,1.5\n", "a percentage from 0 to 900, such as 50%, got '1.5'"),
        ("name,extra time\nJ,1e9\n", "got '1e9'"),
    ],
)
def test_what_is_no_roster_is_refused_in_one_line(write, text, message):
    with pytest.raises(RosterError, match=r"roster\.csv") as caught:
        read_roster(write(text))
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


# ---------------------------------------------------------------------------- matching

CLASS = canvas(
    '"Doe, Jane",12345,S1,jdoe,A',
    '"Müller-Lüdenscheidt, Zoë",12346,S2,zml,A',
    '"O\'Neil, Sean Patrick",12347,S3,soneil,A',
    '"van der Berg, Anna",12348,S4,avdb,B',
    '"李, 小龙",12349,S5,xli,B',
)


def test_the_number_of_the_platform_comes_first(write):
    roster = read_roster(write(CLASS))
    # The name of the first file is that of another student: the number decides.
    found = handed_in(doejane=("canvas", "12347"), anything=("canvas", "12345"))
    roll = call_roll(roster, found)
    assert labels(roll) == {"doejane": "O'Neil, Sean Patrick", "anything": "Doe, Jane"}
    assert set(roll.by.values()) == {"id"} and roll.doubtful == ()
    assert len(roll.absent) == 3


def test_then_the_login_then_the_name(write):
    roster = read_roster(write(CLASS))
    nfd = unicodedata.normalize("NFD", "zoë müller-lüdenscheidt")
    found = handed_in("JDOE", "s3", nfd, "Anna van der Berg", "李小龙")
    roll = call_roll(roster, found)
    assert list(roll.by.values()) == ["login", "login", "name", "name", "name"]
    assert labels(roll) == {
        "JDOE": "Doe, Jane", "s3": "O'Neil, Sean Patrick", nfd: "Müller-Lüdenscheidt, Zoë",
        "Anna van der Berg": "van der Berg, Anna", "李小龙": "李, 小龙",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "student"),
    [
        ("doejane", "Doe, Jane"), ("Jane Doe", "Doe, Jane"), ("DOE, JANE", "Doe, Jane"),
        ("jane_doe", "Doe, Jane"), ("müllerlüdenscheidtzoë", "Müller-Lüdenscheidt, Zoë"),
        ("oneilseanpatrick", "O'Neil, Sean Patrick"),
        ("Sean Patrick O'Neil", "O'Neil, Sean Patrick"),
        ("Sean Patrick O’Neil", "O'Neil, Sean Patrick"),
        ("vanderberganna", "van der Berg, Anna"),
    ],
)  # fmt: skip
def test_a_name_is_the_same_in_any_order_case_and_form(write, name, student):
    roll = call_roll(read_roster(write(CLASS)), handed_in(name))
    assert labels(roll) == {name: student}


WORDS = st.lists(st.text("abcäöß李", min_size=1, max_size=5), min_size=1, max_size=4)


@settings(max_examples=30)
@given(WORDS, st.randoms())
def test_the_key_of_a_name_is_that_of_its_words_in_any_order(words, random):
    mixed = [*words]
    random.shuffle(mixed)
    form = random.choice(["NFC", "NFD"])
    assert key_of_name(unicodedata.normalize(form, ", ".join(mixed).upper().lower())) == (
        key_of_name(" ".join(words).upper().lower())
    )
    assert key_of_name(" ".join(mixed)) in own_keys(Member(" ".join(words), 0))


@pytest.mark.parametrize(
    ("found", "why"),
    [
        # what is like a name is named and not taken
        (handed_in("Jane A. Doe"), "it may be Doe, Jane (line 2)"),
        (handed_in("jnae doe"), "it may be Doe, Jane (line 2)"),
        (handed_in("sean oneil"), "it may be O'Neil, Sean Patrick (line 4)"),
        (handed_in("zoe mullerludenscheidt"), "nobody in the roster has this id, login or name"),
        (handed_in("somebody else"), "nobody in the roster has this id, login or name"),
        # a number of the platform that nobody has: the name alone does not outweigh it
        (handed_in(doejane=("canvas", "999")), "has the id 999 of its file; by name it may be Doe"),
        # two submissions of one student by the same rule: neither
        (handed_in("Doe Jane", "doejane"), "as does that of"),
    ],
)
def test_doubtful_matches_are_listed_and_not_guessed(write, found, why):
    roster = read_roster(write(CLASS))
    sure = handed_in("soneil") if "sean oneil" not in found else handed_in("jdoe")
    roll = call_roll(roster, found | sure)
    assert set(roll.of) == set(sure)
    assert {name for name, _ in roll.doubtful} == set(found)
    assert all(why in reason for _, reason in roll.doubtful), roll.doubtful


def test_of_two_submissions_the_one_with_the_stronger_rule_counts(write):
    found = handed_in("Jane Doe", doejane=("canvas", "12345"))
    roll = call_roll(read_roster(write(CLASS)), found)
    assert labels(roll) == {"doejane": "Doe, Jane"}
    assert roll.doubtful == (
        ("Jane Doe", "its name fits Doe, Jane (line 2), who handed in another one"),
    )


def test_two_students_of_one_name_are_told_apart_by_number_or_not_at_all(write):
    roster = read_roster(
        write(canvas('"Doe, Jane",1,,a,A', '"Doe, Jane",2,,b,A', '"Ro, Bo",3,,c,A'))
    )
    found = handed_in("c", "Jane Doe")
    roll = call_roll(roster, found)
    assert labels(roll) == {"c": "Ro, Bo"}
    assert roll.doubtful == (
        ("Jane Doe", "its name fits Doe, Jane (line 2) or Doe, Jane (line 3)"),
    )
    assert sorted(roll.absent) == ["Doe, Jane", "Doe, Jane (2)"]
    found = {
        f"doejane ({n})": HandIn("", (), owner="doejane", scheme="canvas", number=n) for n in "12"
    }
    assert labels(call_roll(roster, found)) == dict.fromkeys(found, "Doe, Jane")


def test_the_number_of_another_platform_is_no_number_here(write):
    # Moodle counts participants of an assignment; Canvas's user 12347 is somebody else.
    found = handed_in("jdoe", jane=("moodle", "12347"))
    roll = call_roll(read_roster(write(CLASS)), found)
    assert labels(roll) == {"jdoe": "Doe, Jane"} and [name for name, _ in roll.doubtful] == ["jane"]


def test_the_teacher_decides_a_doubt_in_the_roster(write):
    text = "name,submission\nJane Doe,Xx the Coder\nBen Ro,\n"
    roll = call_roll(read_roster(write(text)), handed_in("xx the coder", "ben ro"))
    assert roll.by == {"xx the coder": "submission", "ben ro": "name"}
    with pytest.raises(RosterError, match="line 2: there is no submission 'Xx the Coder'"):
        call_roll(read_roster(write(text)), handed_in("ben ro"))


def test_the_roster_of_another_course_is_refused(write):
    message = r"none of the 2 submissions .* of another course"
    with pytest.raises(RosterError, match=message) as caught:
        call_roll(read_roster(write(CLASS)), handed_in("ada", ben=("canvas", "5")))
    assert len(str(caught.value).splitlines()) == 1


def test_a_team_shares_what_one_of_it_handed_in():
    roster = read_roster(GOLDEN / "moodle_worksheet.csv")
    roll = call_roll(roster, handed_in(**{"Jane Doe": ("moodle", "501")}))
    assert labels(roll) == {"Jane Doe": "Jane Doe"}
    assert {name: own for name, (own, _) in roll.team.items()} == {"Zoë Müller": "Jane Doe"}
    assert list(roll.absent) == ["Sean Patrick O'Neil"]


def test_a_team_with_two_submissions_shares_none(write):
    text = "name,team\nada,A\nben,a\ncem,A\n"
    roll = call_roll(read_roster(write(text)), handed_in("ada", "ben"))
    assert roll.team == {} and list(roll.absent) == ["cem"]


def test_a_name_that_a_submission_has_is_not_that_of_who_is_absent(write):
    text = "id,name,submission\n1,Jane,\n2,Ro,Jane\n"
    roll = call_roll(read_roster(write(text)), handed_in("Jane"))
    assert labels(roll) == {"Jane": "Ro"} and list(roll.absent) == ["Jane (1)"]


def test_what_the_intake_says_of_a_file_is_enough(tmp_path, write):
    folder = tmp_path / "in"
    for name in (
        "doejane_LATE_12345_678_hw-1.ipynb", "müllerlüdenscheidtzoë_12346_679_hw.ipynb",
        "Jane Doe_501_assignsubmission_file_/hw.ipynb",
        "HW_zml_attempt_2026-11-20-10-11-12_x.ipynb",
    ):  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    found = collect(folder).found
    facts = {name: (each.scheme, each.number, each.late) for name, each in found.items()}
    assert facts["doejane"] == ("canvas", "12345", True)
    assert facts["müllerlüdenscheidtzoë"] == ("canvas", "12346", False)
    assert facts["Jane Doe"] == ("moodle", "501", False)
    assert facts["zml"][:2] == ("", "") and found["zml"].submitted
    assert found["doejane"].submitted is None
