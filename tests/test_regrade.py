"""Points by hand with a reason, what changed between two gradebooks, and item statistics."""

import json
from dataclasses import replace

import pytest
from test_lms import FIRST, SECOND, WRONG

from lecture_grader.reporting.changes import changes, changes_text
from lecture_grader.reporting.decisions import (
    apply_decisions,
    decide,
    find_answer,
    read_decisions,
    read_results,
)  # fmt: skip
from lecture_grader.reporting.gradebook import write_gradebook
from lecture_grader.reporting.items import items
from lecture_grader.reporting.kept import Kept


def class_of(*names, **more):
    return {
        name: [replace(each, student=name, **more) for each in (FIRST, SECOND)] for name in names
    }


def write(folder, students):
    write_gradebook("T", "t", [each for row in students.values() for each in row], folder)
    return folder


def test_a_decision_is_kept_and_applied_with_its_reason(tmp_path):
    students = class_of("ada", "ben")
    students["ada"][1] = replace(students["ada"][1], **WRONG)
    write(tmp_path, students)
    decide(tmp_path, "ada", "2", 1.5, "The case was\n ambiguous.")
    decide(tmp_path, "ada", "median-gap", 2, "Seen again: right.")
    assert len(read_decisions(tmp_path)) == 2  # nothing is deleted
    found, lines = apply_decisions(students, read_decisions(tmp_path))
    given = found["ada"][1]
    assert (given.points, given.outcome) == (2, "wrong")  # what the run did is not rewritten
    assert given.remarks == ("Regraded by the teacher: 0 -> 2 points. Seen again: right.",)
    assert found["ben"] == students["ben"] and found["ada"][0] == students["ada"][0]
    assert lines == ["regraded: ada, median-gap: 0 -> 2: Seen again: right."]
    page = write(tmp_path, found) / "feedback" / "ada.html"
    assert "Regraded by the teacher: 0 -&gt; 2 points. Seen again: right." in page.read_text()
    assert (tmp_path / "decisions.jsonl").stat().st_mode & 0o777 == 0o600


def named(folder, **names):
    """The results of a folder, with what the roster says of its students."""
    path = folder / "results.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf8").splitlines()]
    lines = [json.dumps(row | names.get(row["student"], {})) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf8")
    return folder


def test_a_student_is_named_as_the_roster_does(tmp_path):
    folder = named(
        write(tmp_path, class_of("garcíajosé", "annlee", "annlee_7", "ann lee")),
        garcíajosé={"name": "García, José", "login": "jgarcia", "id": "40118"},
        annlee={"name": "Lee, Ann", "login": "alee", "id": "1"},
        annlee_7={"name": "Lee, Ann", "login": "annlee", "id": "7"},
    )
    decomposed = "Garci\u0301a,  jose\u0301"
    for name in ("garcíajosé", "García, José", decomposed, "jgarcia", "40118"):
        assert find_answer(folder, name, "2")["student"] == "garcíajosé"
    assert find_answer(folder, "annlee", "1")["id"] == "1"  # before the login of another
    assert find_answer(folder, "7", "1")["student"] == "annlee_7"
    assert decide(folder, "JGARCIA", "1", 1, "because").student == "garcíajosé"
    with pytest.raises(ValueError, match=r"'lee, ann' is the name of 2 students\. Did you mean: "):
        find_answer(folder, "lee, ann", "1")
    near = (
        r"no results of 'Garcia, Jose'\. Did you mean: garcíajosé = García, José = 40118 = jgarcia"
    )
    with pytest.raises(ValueError, match=near):
        find_answer(folder, "Garcia, Jose", "1")
    with pytest.raises(ValueError, match=r"no results of 'x'\. summary\.html lists all"):
        find_answer(folder, "x", "1")


def test_the_summary_lists_what_was_regraded_and_who_answered_nothing(tmp_path):
    students = class_of("ada", "ben")
    students["ben"] = [replace(each, outcome="unanswered", points=0) for each in students["ben"]]
    write(tmp_path, students)
    decide(tmp_path, "ada", "2", 1, "Half right.")
    found, _ = apply_decisions(students, read_decisions(tmp_path))
    page = (write(tmp_path, found) / "summary.html").read_text()
    assert "Regraded by hand (1)" in page
    assert "Regraded by the teacher: 2 -&gt; 1 points. Half right." in page
    assert "unanswered (all exercises): is it the file that was meant?" in page
    assert "Need attention (1)" in page
    assert "Regraded by hand" not in (write(tmp_path, students) / "summary.html").read_text()


def test_a_decision_is_about_one_submission(tmp_path):
    write(tmp_path, class_of("ada"))
    decide(tmp_path, "ada", "1", 1, "because")
    newer = class_of("ada", submission="6" * 16)
    found, lines = apply_decisions(newer, read_decisions(tmp_path))
    assert found == newer
    assert lines == ["not regraded: ada, weighted-mean: it was about another submission"]


def test_lateness_does_not_reduce_what_the_teacher_gave(tmp_path):
    late = class_of("ada", points=1.8, deducted=0.2)
    write(tmp_path, late)
    decide(tmp_path, "ada", "1", 2, "The platform was down.")
    found, _ = apply_decisions(late, read_decisions(tmp_path))
    assert (found["ada"][0].points, found["ada"][0].deducted) == (2, 0)
    assert (found["ada"][1].points, found["ada"][1].deducted) == (1.8, 0.2)


def test_what_could_not_be_graded_is_not_regraded(tmp_path):
    students = class_of("ada")
    students["ada"][0] = replace(students["ada"][0], outcome="infrastructure", points=0)
    write(tmp_path, students)
    with pytest.raises(ValueError, match="exercise 1 is not graded yet: grade again first"):
        decide(tmp_path, "ada", "1", 2, "because")


@pytest.mark.parametrize("line", ["[]", "{}", '{"student": 1}', "no"])
def test_a_damaged_file_of_decisions_is_said(tmp_path, line):
    (tmp_path / "decisions.jsonl").write_text(line + "\n")
    with pytest.raises(ValueError, match="line 1: no decision of a teacher"):
        read_decisions(tmp_path)


# ---------------------------------------------------------------------------- diff


def test_what_changed_for_whom_and_why(tmp_path):
    before = class_of("ada", "ben", "cem", "dan")
    after = class_of("ada", "ben", "cem", "eve")
    before["ada"][1] = replace(before["ada"][1], **WRONG)
    after["ada"][1] = replace(
        after["ada"][1], points=1, remarks=("Regraded by the teacher: 0 -> 1 points. Half right.",)
    )
    after["ben"] = [replace(each, points=1, submission="6" * 16) for each in after["ben"]]
    old, new = (
        read_results(write(tmp_path / name, students))
        for name, students in (("old", before), ("new", after))
    )
    assert changes_text(old, new) == (
        "4 of 5 students changed\n"
        "ada: 2 -> 3 points\n"
        "  2. The median & <b>its gap</b>: 0 wrong -> 1 correct\n"
        "     Regraded by the teacher: 0 -> 1 points. Half right.\n"
        "ben: 4 -> 2 points\n"
        "  1. A weighted mean: 2 correct -> 1 correct\n"
        "     another submission\n"
        "  2. The median & <b>its gap</b>: 2 correct -> 1 correct\n"
        "     another submission\n"
        "dan: 4 -> nothing points\n"
        "  1. A weighted mean: 2 correct -> none\n"
        "  2. The median & <b>its gap</b>: 2 correct -> none\n"
        "eve: nothing -> 4 points\n"
        "  1. A weighted mean: none -> 2 correct\n"
        "  2. The median & <b>its gap</b>: none -> 2 correct"
    )
    assert changes(new, new) == []
    assert changes_text(new, new) == "0 of 4 students changed"


def test_another_version_of_the_checks_and_other_cases_are_reasons():
    row = {"student": "ada", "exercise": "x", "key": ("ada", "x"), "number": 1, "title": "X",
           "points": 1, "outcome": "correct", "submission": "5", "assignment": "a", "checks": "c",
           "seed": "s", "remarks": []}  # fmt: skip
    (found,) = changes([row], [{**row, "points": 0, "checks": "d", "seed": "t"}])
    assert found.reasons == (
        "another version of the assignment or of the grader",
        "other hidden cases",
    )
    assert changes([row], [{**row, "checks": "d"}]) == []  # nothing changed for the student


# ---------------------------------------------------------------------------- kept results


def test_kept_results_are_read_back_with_their_steps_and_found_by_student(tmp_path):
    kept = Kept(tmp_path, ["weighted-mean", "median-gap"])
    row = [replace(each, steps=("one", "two"), remarks=("r",)) for each in (FIRST, SECOND)]
    kept.write("k1", row)
    kept.note_latest({"ada": "k1", "ben": "none"})
    again = Kept(tmp_path, ["weighted-mean", "median-gap"])
    assert again.read("k1") == again.latest("ada") == row
    assert again.latest("ben") is again.latest("eve") is None
    assert Kept(tmp_path, ["median-gap"]).read("k1") is None  # of another assignment
    (tmp_path / "latest").write_text("[1]")
    assert Kept(tmp_path, []).latest("ada") is None


# ---------------------------------------------------------------------------- items


def test_difficulty_and_discrimination_of_known_numbers():
    points = {"a": (2, 2), "b": (2, 2), "c": (2, 0), "d": (0, 0), "e": (0, 0), "f": (0, 2)}
    students = {
        name: [replace(FIRST, student=name, points=x), replace(SECOND, student=name, points=y)]
        for name, (x, y) in points.items()
    }
    students["g"] = [replace(each, outcome="absent", points=0) for each in (FIRST, SECOND)]
    first, second = items(students)
    assert first.difficulty == second.difficulty == pytest.approx(0.5)
    # Three of four agree in the upper and the lower half: r = (2 * 2 - 1 * 1) / 9
    assert first.discrimination == second.discrimination == pytest.approx(1 / 3)
    assert first.students == 6


@pytest.mark.parametrize("count", [0, 1, 4, 5])
def test_few_students_or_all_alike_have_no_discrimination(count):
    students = class_of(*"abcde"[:count])
    assert [each.discrimination for each in items(students)] == [None, None][: 2 * bool(count)]


def test_items_count_what_lateness_has_deducted_as_reached():
    students = class_of(*"abcde")
    students["a"] = [replace(each, points=1, deducted=1) for each in students["a"]]
    assert [each.difficulty for each in items(students)] == [1, 1]
    assert [each.discrimination for each in items(students)] == [None, None]  # all alike


def test_the_summary_shows_the_items_and_the_seconds_of_each_student(tmp_path):
    students = class_of(*"abcdef")
    for name in "abc":
        students[name] = [replace(each, points=0, outcome="wrong") for each in students[name]]
    page = " ".join((write(tmp_path, students) / "summary.html").read_text().split())
    said = "Difficulty index 0.50 (mean share of the points; 1 is the easiest), discrimination 1.00"
    assert page.count(said) == 2
    assert page.count('<td class="soft">1.0</td>') == 6


def test_the_steps_are_on_the_students_page_and_not_in_the_results(tmp_path):
    students = {"ada": [replace(FIRST, student="ada", steps=("In a new kernel.", "<b>ran</b>"))]}
    write(tmp_path, students)
    page = (tmp_path / "feedback" / "ada.html").read_text()
    assert "What was done with your notebook, step by step; of several runs the best counts" in page
    assert "<li>In a new kernel.</li>" in page and "<li>&lt;b&gt;ran&lt;/b&gt;</li>" in page
    (line,) = (tmp_path / "results.jsonl").read_text().splitlines()
    assert "steps" not in json.loads(line)
