"""What a class needs of a grading: extra time, one exercise again, an account of every step."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from lecture_grader.account import steps
from lecture_grader.authoring.handout import student_notebook
from lecture_grader.cells import SETUP, probe_id, student_id
from lecture_grader.classroom.lateness import LateRule, time_of
from lecture_grader.classroom.matching import call_roll
from lecture_grader.classroom.roster import read_roster
from lecture_grader.classroom.tables import RosterError
from lecture_grader.register import Register, Rules, extra_time, names_of
from lecture_grader.reporting.pages import total
from lecture_grader.running.notebook import BY_NAME
from lecture_grader.running.observation import CellRun, Observation
from lecture_grader.session import Grading
from lecture_grader.submissions.reading import Reader
from lecture_grader.submissions.submission import HandIn

AVERAGES = Path(__file__).with_name("other_course") / "averages.md"


@pytest.fixture
def session(tmp_path):
    """A session, and the submission of every solution."""
    grading = Grading(AVERAGES, tmp_path / "marks", sandbox="none")
    answers = {each.name: each.solution for each in grading.assignment.exercises}
    path = tmp_path / "ada.ipynb"
    path.write_text(json.dumps(student_notebook(grading.assignment, answers)))
    with Reader(grading.handed_out) as reader:
        return grading, reader.notebook("ada", path)


def observed(run, **outcomes):
    """What a run would show if every cell ran to its end, but for some."""
    return Observation(
        run.notebook.key,
        tuple(CellRun(identity, outcomes.get(identity, "ok")) for identity in run.notebook.ids),
        1.0,
    )


def test_extra_time_extends_every_limit_of_time_and_nothing_else(session):
    grading, submission = session
    usual, longer = grading.task(submission), grading.task(submission, 1.5)
    assert longer.key != usual.key
    assert longer.wall == 1.5 * usual.wall
    (run,), (long_run,) = grading.whole_run(usual), grading.whole_run(longer)
    assert long_run.notebook.wall == 1.5 * run.notebook.wall
    for a, b in zip(run.notebook.cells, long_run.notebook.cells, strict=True):
        assert b == replace(a, timeout=1.5 * a.timeout)
    name = grading.assignment.exercises[0].name
    alone = longer.single_runs(grading.rebuilding, [(name, BY_NAME)])[0].notebook
    assert alone.cells[0].timeout == 1.5 * run.notebook.cells[0].timeout


def graded_once(grading, submission):
    """Keeps the results of a grading in which the second exercise was wrong."""
    first = grading.absent("ada", "")
    results = [
        replace(each, submission=submission.digest, outcome=outcome, assignment="old")
        for each, outcome in zip(first, ("correct", "wrong"), strict=True)
    ]
    grading.kept.write("key", results)
    grading.kept.note_latest({"ada": "key"})
    return results


def test_one_exercise_again_keeps_the_results_of_the_others(session):
    grading, submission = session
    before = graded_once(grading, submission)
    task = grading.task(submission)
    usual = task.key
    grading.keep_all_but(task, names_of(grading.assignment, ["2"]))
    assert task.key != usual and task.kept == {"weighted-mean": before[0]}
    (run,) = grading.whole_run(task)
    assert run.exercises == ("median-gap",)
    grading.judge(run, None)
    assert all("weighted-mean" not in each.exercises for each in grading.single_runs(task))
    first, second = grading.results(task)
    assert first == before[0] and second.assignment == grading.assignment.version


def test_who_handed_in_something_else_is_graded_in_all_exercises(session):
    grading, submission = session
    graded_once(grading, replace(submission, digest="other"))
    task = grading.task(submission)
    usual = task.key
    grading.keep_all_but(task, ["median-gap"])
    assert task.kept == {} and task.key == usual


def test_what_has_other_points_now_is_not_kept(session):
    grading, submission = session
    results = graded_once(grading, submission)
    grading.kept.write("key", [replace(results[0], possible=7), results[1]])
    task = grading.task(submission)
    grading.keep_all_but(task, ["median-gap"])
    assert task.kept == {}


def test_an_exercise_is_named_by_name_or_number(session):
    grading, _ = session
    assert names_of(grading.assignment, ["2", "weighted-mean"]) == ["median-gap", "weighted-mean"]
    with pytest.raises(ValueError, match=r"no exercise '3'; there are: 1 \(weighted-mean\), 2"):
        names_of(grading.assignment, ["3"])


def account(session, way="", **outcomes):
    grading, submission = session
    task = grading.task(submission)
    (run,) = grading.whole_run(task)
    answer = task.answers["median-gap"]
    probe = grading.rebuilding.probes[1]
    observation = observed(run, **outcomes)
    limits = grading.conditions.limits
    return steps(run.notebook, way, answer, probe, observation, limits, "correct"), answer


def test_every_step_and_every_limit_is_said(session):
    said, _ = account(session)
    assert said == (
        "In a new Python kernel, within 90 s and 1,024 MB: all your cells, in your order.",
        "The cell of your answer, which may use 20 s of CPU time, ran to its end.",
        "median_gap was to be called on 4 cases, within 20 s of CPU time: the call ran to its end.",
        "What it returned was compared outside of the kernel.",
        "Verdict of this run: correct.",
    )


def test_another_cell_that_stopped_is_said_and_a_call_that_did_not_happen(session):
    said, answer = account(session, **{student_id(0): "timeout", probe_id(2): "not run"})
    assert answer.cells != (0,)
    stopped = "Another cell of yours, which may use 20 s of CPU time, was stopped"
    assert any(text.startswith(stopped) for text in said)
    assert "the call was not run, because the run had ended before." in said[-2]
    assert "What it returned was compared outside of the kernel." not in said


def test_a_run_that_left_nothing_is_a_failure_of_the_grading(session):
    grading, submission = session
    task = grading.task(submission)
    (run,) = grading.whole_run(task)
    said = steps(run.notebook, "", task.answers["median-gap"], grading.rebuilding.probes[1], None,
                 grading.conditions.limits, "infrastructure")  # fmt: skip
    assert said[-1] == "Nothing came back from this run; that is a failure of the grading."


def test_the_steps_of_all_runs_reach_the_result_in_order(session):
    grading, submission = session
    task = grading.task(submission)
    (run,) = grading.whole_run(task)
    grading.judge(run, observed(run, **{probe_id(2): "timeout", SETUP: "ok"}))
    for single in grading.single_runs(task):
        if single.exercises == ("median-gap",):
            grading.judge(single, observed(single, **{probe_id(2): "timeout"}))
    _, second = grading.results(task)
    starts = [text for text in second.steps if text.startswith("In a new Python kernel")]
    assert len(starts) == 3
    assert "all your cells, in your order" in starts[0] and "alone" in starts[1]


def roll_of(tmp_path, text, *present):
    path = tmp_path / "class.csv"
    path.write_text(text)
    found = {name: HandIn(name, (), owner=name) for name in present}
    return call_roll(read_roster(path), found), found


def test_who_has_more_time_and_handed_in_nothing_yet_has_no_zero(session, tmp_path):
    grading, submission = session
    text = "login,extra days,extra time\nada,,50\nben,,\ncem,3,\n"
    roll, found = roll_of(tmp_path, text, "ada")
    results = {"ada": graded_once(grading, submission)}
    rules = Rules(late=LateRule(time.time() - 86_400))
    register = Register.of(grading, found, results, roll, rules)
    outcomes = {name: {each.outcome for each in row} for name, row in register.students.items()}
    assert outcomes == {"ada": {"correct", "wrong"}, "ben": {"absent"}, "cem": {"pending"}}
    assert total(register.students["ben"]) == 0 and total(register.students["cem"]) is None
    later = Register.of(grading, found, results, roll, Rules(late=LateRule(0)))
    assert {each.outcome for each in later.students["cem"]} == {"absent"}
    assert extra_time(roll, "ada") == 1.5 and extra_time(None, "ada") == 1


def test_a_team_shares_results_with_its_own_deadline_for_each(session, tmp_path):
    grading, submission = session
    text = "login,team,extra days,submitted\nada,A,,2026-11-21 12:00\nben,a,1,2026-11-21 12:00\n"
    roll, found = roll_of(tmp_path, text, "ada")
    row = [replace(each, points=1) for each in graded_once(grading, submission)]
    rule = LateRule(time_of("2026-11-20 23:59"), percent=10)
    register = Register.of(grading, found, {"ada": row}, roll, Rules(late=rule))
    assert [each.points for each in register.students["ada"]] == [0.9, 0.9]
    ben = register.students["ben"]
    assert [each.points for each in ben] == [1, 1] and {each.student for each in ben} == {"ben"}
    assert "Handed in by the team, as ada." in ben[0].remarks
    assert "Handed in in time. The deadline was 1 day later for you." in ben[0].remarks


def test_the_roster_is_kept_where_no_grading_writes(session, tmp_path):
    (tmp_path / "marks" / "r.csv").write_text("login\nada\n")
    with pytest.raises(RosterError, match="keep it elsewhere"):
        Rules(tmp_path / "marks" / "r.csv").read_roster(tmp_path / "marks")
