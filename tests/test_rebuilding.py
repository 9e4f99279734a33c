"""Which cells are run for a submission, in which order, and what may help after the first run."""

import ast
import json

import pytest
from submissions import SOURCE, Notebook, assignment

from lecture_grader.authoring.check import HiddenCheck
from lecture_grader.extracts import handed_out, rebuilding
from lecture_grader.running.notebook import BY_NAME, UP_TO
from lecture_grader.session import Grading
from lecture_grader.student.values import encode
from lecture_grader.submissions.answers import read_notebook
from lecture_grader.verdict import Verdict

CHECKS = {each.name: HiddenCheck(assignment(), each, 7) for each in assignment().exercises}
REBUILDING = rebuilding(assignment(), CHECKS)


def submission(notebook: Notebook):
    return read_notebook("anna", bytes(notebook), handed_out(assignment()))


def ids(notebook) -> list[str]:
    return [cell.id for cell in notebook.cells]


@pytest.fixture
def odd() -> Notebook:
    """An experiment, an answer that needs a helper, and a cell below all."""
    notebook = Notebook.solved()
    notebook.add("print('hello')", before="scaled-sum-answer")
    notebook.add("def exp(x):\n    return x.exp()", before="softmax-answer")
    notebook.cell("softmax-answer")["source"] = (
        "def softmax(logits, temperature):\n"
        "    return exp(logits / temperature) / exp(logits / temperature).sum(1, keepdim=True)"
    )
    notebook.add("1 / 0")
    return notebook


def test_the_whole_notebook_is_run_in_its_order_then_the_probes_then_the_canary(odd):
    whole = REBUILDING.whole("key", submission(odd), "softmax", 90.0)
    assert ids(whole) == [
        "setup", "s0", "s1", "s2", "s3", "s4", "s5", "s6",
        "e1-probe", "e2-probe", "e3-probe", "e4-probe", "canary-probe",
    ]  # fmt: skip
    sources = [cell.source for cell in whole.cells]
    assert sources[1] == "print('hello')"
    assert sources[7] == "1 / 0"
    assert whole.wall == 90.0
    assert [cell.id for cell in whole.cells if cell.probes] == ids(whole)[8:]


def test_alone_an_answer_runs_after_what_it_needs_or_after_all_that_stands_above(odd):
    theirs = submission(odd)
    answer = next(each for each in theirs.answers if each.exercise == "softmax")
    named = REBUILDING.alone("key", theirs, answer, BY_NAME, 9.0)
    assert ids(named) == ["setup", "s3", "again", "s4", "e3-probe", "e3-check", "canary-probe"]
    up_to = REBUILDING.alone("key", theirs, answer, UP_TO, 9.0)
    assert ids(up_to) == [
        "setup", "s0", "s1", "s2", "s3", "s4", "e3-probe", "e3-check", "canary-probe"
    ]  # fmt: skip


def test_right_values_are_in_no_cell(odd):
    whole = REBUILDING.whole("k", submission(odd), "softmax", 9.0)
    calls = [cell.source for cell in whole.cells if cell.probes]
    asked = [json.loads(ast.literal_eval(call.partition(".probe_answer")[2])) for call in calls]
    for check in CHECKS.values():
        assert [encode(case) for case in check.cases] in [each["cases"] for each in asked]
        for value in check.right:
            assert not [each for each in asked if json.dumps(encode(value)) in json.dumps(each)]
    solutions = [each.solution for each in assignment().exercises]
    assert not [call for call in calls for each in solutions if json.dumps(each)[1:-1] in call]


def test_cells_that_are_as_handed_out_are_not_run():
    assert submission(Notebook()).cells == ()
    whole = REBUILDING.whole("key", submission(Notebook.solved()), None, 9.0)
    assert ids(whole)[:5] == ["setup", "s0", "s1", "s2", "s3"]


def test_an_answer_has_its_own_time_and_another_cell_that_of_the_longest(odd):
    whole = REBUILDING.whole("key", submission(odd), None, 9.0)
    limits = {cell.id: cell.timeout for cell in whole.cells}
    longest = max(each.timeout for each in assignment().exercises)
    assert limits["s1"] == limits["e1-probe"] == assignment().exercises[0].timeout < longest
    assert limits["s0"] == longest
    short = rebuilding(assignment(), CHECKS, timeout=0.5).whole("k", submission(odd), None, 9.0)
    assert {cell.timeout for cell in short.cells if cell.id != "setup"} == {0.5}


# ---------------------------------------------------------------------------- what may help


@pytest.fixture(scope="module")
def grading(tmp_path_factory) -> Grading:
    return Grading(SOURCE, tmp_path_factory.mktemp("out"), sandbox="none")


def ways(grading: Grading, notebook: Notebook, verdict: Verdict) -> list[str]:
    """In which ways there would be another run, if the softmax alone was not right at once."""
    task = grading.task(submission(notebook))
    assert [len(run.exercises) for run in grading.whole_run(task)] == [4]
    verdicts = task.verdicts
    verdicts |= {each.name: Verdict("correct") for each in assignment().exercises}
    assert grading.single_runs(task) == []
    verdicts["softmax"] = verdict
    return [run.notebook.key.rpartition("/")[2] for run in grading.single_runs(task)]


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (Verdict("wrong"), [BY_NAME, UP_TO]),
        (Verdict("error"), [BY_NAME, UP_TO]),
        (Verdict("wrong", resembles="no-temperature"), [BY_NAME]),  # which would be right then
        (Verdict("tampered"), [BY_NAME, UP_TO]),
        (Verdict("infrastructure"), [BY_NAME, UP_TO]),
        (Verdict("timeout"), [BY_NAME, UP_TO]),
        (Verdict("crashed"), [BY_NAME, UP_TO]),
        (Verdict("unanswered"), []),
        (Verdict("missing"), []),
        (Verdict("unreadable"), []),
    ],
)
def test_what_is_not_right_runs_again_where_that_may_help(grading, verdict, expected):
    assert ways(grading, Notebook.solved(), verdict) == expected


def test_nothing_runs_twice_in_the_same_way(grading):
    notebook = Notebook(softmax="def softmax(logits, temperature):\n    return logits")
    task = grading.task(submission(notebook))
    assert [len(run.exercises) for run in grading.whole_run(task)] == [1]
    task.verdicts["softmax"] = Verdict("wrong")
    assert grading.single_runs(task) == []  # there is nothing beside it


def test_the_runs_of_a_submission_share_its_time(grading):
    assert grading.wall == 60 + 3 * sum(each.timeout for each in assignment().exercises)
    task = grading.task(submission(Notebook.solved()))
    (whole,) = grading.whole_run(task)
    assert whole.notebook.wall == grading.wall / 2
    task.used = whole.notebook.wall
    task.verdicts |= {each.name: Verdict("error") for each in assignment().exercises}
    walls = [run.notebook.wall for run in grading.single_runs(task)]
    assert len(walls) == 8
    assert sum(walls) == pytest.approx(grading.wall / 2)


def test_the_canary_is_one_that_is_run(grading):
    notebook = Notebook(softmax="def softmax(logits, temperature):\n    return logits")
    (run,) = grading.whole_run(grading.task(submission(notebook)))
    assert run.canary == "softmax"


def test_a_wall_limit_can_be_given(tmp_path):
    assert Grading(SOURCE, tmp_path, sandbox="none", wall=33).wall == 33
    assert Grading(SOURCE, tmp_path, sandbox="none", timeout=5).wall == 60 + 3 * 5 * 4
