"""How late a submission is, what that costs, and what is not known."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from lecture_grader.classroom.lateness import LateRule, lateness, submitted_at, time_of
from lecture_grader.classroom.matching import call_roll
from lecture_grader.classroom.roster import Member, Roster, read_roster
from lecture_grader.classroom.tables import RosterError
from lecture_grader.register import _penalized, _without_deadline
from lecture_grader.submissions.submission import HandIn

GOLDEN = Path(__file__).with_name("golden")
DUE = time_of("2026-11-19 23:59")
RULE = LateRule(DUE, percent=10, cap=25)
HOUR, DAY = 3_600.0, 86_400.0


def handed_in(after=None, *, late=False, scheme=""):
    at = None if after is None else DUE + after
    return HandIn("ada", (), owner="ada", late=late, scheme=scheme, submitted=at)


@pytest.mark.parametrize(
    ("after", "days", "percent"),
    [
        (-DAY, 0, 0), (0, 0, 0), (1, 1, 10), (HOUR, 1, 10), (DAY, 1, 10), (DAY + 1, 2, 20),
        (2 * DAY + 1, 3, 25), (90 * DAY, 90, 25),
    ],
)  # fmt: skip
def test_every_day_begun_costs_the_same_up_to_the_cap(after, days, percent):
    found = lateness(RULE, None, None, handed_in(after))
    assert (found.days, found.percent) == (days, percent)
    assert bool(found.remark) == bool(days)
    if days:
        assert f"{percent:g}% deducted" in found.remark and "(begun)" in found.remark


def test_extra_days_move_the_deadline_of_one_student():
    member = Member("Ada", 0, extra_days=2)
    inside = lateness(RULE, None, member, handed_in(2 * DAY))
    assert (inside.days, inside.percent) == (0, 0)
    assert inside.remark == "Handed in in time. The deadline was 2 days later for you."
    after = lateness(RULE, None, member, handed_in(2 * DAY + 1))
    assert (after.days, after.percent) == (1, 10)
    assert lateness(RULE, None, member, handed_in(-1)).remark == ""


def test_what_is_not_known_costs_nothing_and_is_said():
    marked = lateness(RULE, None, None, handed_in(late=True, scheme="canvas"))
    assert (marked.days, marked.percent) == (None, 0)
    assert marked.remark.startswith(
        "Handed in late, as the platform says; by how long is not known"
    )
    # Canvas marks what is late; of a plain file nothing is known.
    assert lateness(RULE, None, None, handed_in(scheme="canvas")).days == 0
    assert lateness(RULE, None, None, handed_in()).days is None


@pytest.mark.parametrize(
    ("text", "hour"),
    [
        ("2026-11-19 17:03", 17), ("2026-11-19T17:03:00", 17),
        ("Thursday, 19 November 2026, 5:03 PM", 17), ("Thursday, 19  November 2026, 5:03 AM", 5),
    ],
)  # fmt: skip
def test_a_time_is_read_as_moodle_or_iso_writes_it(text, hour):
    found = datetime.fromtimestamp(time_of(text))
    assert (found.year, found.month, found.day, found.hour, found.minute) == (2026, 11, 19, hour, 3)


def test_a_time_with_an_offset_is_that_of_the_whole_world():
    at = datetime(2026, 11, 19, 12, tzinfo=UTC).timestamp()
    assert time_of("2026-11-19T12:00:00+00:00") == time_of("2026-11-19T14:00:00+02:00") == at


def test_the_time_in_the_roster_comes_before_that_of_the_file():
    roster = read_roster(GOLDEN / "moodle_worksheet.csv")
    jane, zoe, _ = roster.members
    assert submitted_at(roster, jane, handed_in(5)) == time_of("2026-11-19 17:03")
    assert submitted_at(roster, zoe, handed_in(5)) == DUE + 5  # Moodle's dash is no time


def test_a_time_that_cannot_be_read_names_the_line(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text("name,submitted\nada,yesterday\n")
    roster: Roster = read_roster(path)
    with pytest.raises(RosterError, match="line 2: a time is such as 2026-11-20 17:03, got 'yeste"):
        submitted_at(roster, roster.members[0], handed_in())


@pytest.mark.parametrize("numbers", [(-1, 50), (101, 50), (10, 101), (float("nan"), 1)])
def test_a_penalty_is_a_percentage(numbers):
    with pytest.raises(ValueError, match="percentages from 0 to 100"):
        LateRule(DUE, *numbers)


def test_the_penalty_is_of_the_points_reached_and_replaces_the_platforms_remark():
    from test_lms import FIRST

    result = FIRST.__class__(**{**FIRST.__dict__, "points": 1.5, "remarks": (
        "Handed in late, as the name of the file says.", "Another one.")})  # fmt: skip
    found = _penalized(result, lateness(RULE, None, None, handed_in(DAY + 1)))
    assert (found.points, found.deducted, found.possible) == (1.2, 0.3, 2)
    assert len(found.remarks) == 2 and "2 days (begun): 20% deducted" in found.remarks[0]
    on_time = lateness(RULE, None, None, handed_in(0))
    assert _penalized(result, on_time) == result


def test_columns_that_do_nothing_without_a_deadline_are_named(tmp_path):
    export = Path(__file__).with_name("golden") / "canvas_export.csv"
    found = _without_deadline(call_roll(read_roster(export), {}))
    assert found == [
        "no --deadline is given, so these columns of the roster do nothing: Extra days"
    ]
    (tmp_path / "plain.csv").write_text("name,section\nAda,A\n")
    assert _without_deadline(call_roll(read_roster(tmp_path / "plain.csv"), {})) == []
