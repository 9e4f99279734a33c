"""Which cells are run for a submission, in which order, and what may help after the first run."""

import ast
import copy
import json
import shutil
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from submissions import SOURCE, Notebook, assignment

from lecture_grader import grade, session
from lecture_grader.authoring.check import HiddenCheck
from lecture_grader.extracts import handed_out, rebuilding
from lecture_grader.reporting.result import Provenance
from lecture_grader.running import batch
from lecture_grader.running.batch import observe, observe_on_worker
from lecture_grader.running.notebook import BY_NAME, UP_TO
from lecture_grader.sandbox.choose import Limits, Sandbox
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
    code = [each[part] for each in asked for part in ("setup", "probe", "planted")]
    code.append(next(cell.source for cell in whole.cells if cell.id == "setup"))
    secret = [part for each in assignment().exercises for part in (each.solution, each.hidden)]
    assert not [text for text in code for each in secret if each in text]


def test_asserts_that_take_as_long_as_the_answer_are_not_run():
    judged = {
        name: SimpleNamespace(cases=check.cases, judged=name == "softmax")
        for name, check in CHECKS.items()
    }
    asserts = {each.exercise: each.asserts for each in rebuilding(assignment(), judged).probes}
    public = {each.name: each.check for each in assignment().exercises}
    assert asserts == public | {"softmax": None}


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


# ---------------------------------------------------------------------------- the task


KEYED = {
    "student": "ben", "digest": "0" * 16, "problem": "no notebook", "remarks": ("Late.",),
    "id": "12",
}  # fmt: skip


@pytest.mark.parametrize("field", KEYED)
def test_another_submission_has_another_key(grading, field):
    first = submission(Notebook.solved())
    assert grading.task(first).key == grading.task(submission(Notebook.solved())).key
    assert grading.task(replace(first, **{field: KEYED[field]})).key != grading.task(first).key


@pytest.mark.parametrize(
    "changed",
    [
        lambda it: {"timeout": 3.0},
        lambda it: {"wall": 33.0},
        lambda it: {"conditions": replace(it.conditions, limits=Limits(memory_mb=7))},
        lambda it: {"course": replace(it.course, environment=(("DATA", "small"),))},
        *(
            lambda it, name=each.name: {"provenance": replace(it.provenance, **{name: "other"})}
            for each in fields(Provenance)
        ),
    ],
)
def test_what_decides_the_verdicts_is_part_of_the_key(grading, changed):
    other = copy.copy(grading)
    vars(other).update(changed(grading))
    theirs = submission(Notebook.solved())
    assert other.task(theirs).key != grading.task(theirs).key


def test_the_key_holds_the_code_of_the_grader_and_of_the_course(grading, tmp_path, monkeypatch):
    monkeypatch.setattr(session, "code_of", lambda packages: f"code of {packages}")
    (tmp_path / "course.toml").write_text('packages = ["json"]', encoding="utf8")
    source = shutil.copy(SOURCE, tmp_path)
    found = Grading(Path(source), tmp_path / "out", sandbox="none")
    assert found.provenance.checks == "code of ('json',)"


def test_what_needs_no_run_is_decided_at_once(grading):
    def decided(theirs):
        task = grading.task(theirs)
        return task.verdicts, [name for run in grading.whole_run(task) for name in run.exercises]

    names = [each.name for each in assignment().exercises]
    broken = replace(submission(Notebook.solved()), problem="no notebook")
    assert decided(broken) == (dict.fromkeys(names, Verdict("unreadable", "no notebook")), [])
    assert decided(submission(Notebook())) == (dict.fromkeys(names, Verdict("unanswered")), [])
    solved = submission(Notebook.solved())
    stubs = tuple(replace(each, unanswered=True) for each in solved.answers)
    assert decided(replace(solved, answers=stubs))[1] == []
    notebook = Notebook.solved()
    notebook.remove("softmax-answer")
    others = [name for name in names if name != "softmax"]
    assert decided(submission(notebook)) == ({"softmax": Verdict("missing")}, others)


def test_a_second_run_has_the_canary_of_its_own_exercise(grading):
    task = grading.task(submission(Notebook.solved()))
    task.verdicts |= {each.name: Verdict("error") for each in assignment().exercises}
    runs = grading.single_runs(task)
    assert [run.exercises for run in runs] == [(run.canary,) for run in runs]


def test_what_was_right_stays_right_and_every_run_uses_time(grading):
    task = grading.task(submission(Notebook.solved()))
    for outcome in ("wrong", "correct", "error"):
        task.add({"softmax": Verdict(outcome)}, 2.0)
    assert (task.verdicts["softmax"].outcome, task.used) == ("correct", 6.0)


def test_a_run_is_judged_by_the_notebook_that_was_run(grading, monkeypatch):
    judged = []

    def record(answer, check, notebook, observation):
        judged.append((answer.exercise, notebook))
        return Verdict("infrastructure")

    monkeypatch.setattr(session, "verdict", record)
    (run,) = grading.whole_run(grading.task(submission(Notebook.solved())))
    grading.judge(run, None)
    assert [name for name, _ in judged] == [each.name for each in assignment().exercises]
    assert all(notebook is run.notebook for _, notebook in judged)


# ---------------------------------------------------------------------------- the conditions


def test_kernels_have_what_the_course_says(tmp_path):
    (tmp_path / "course.toml").write_text(
        'packages = ["json"]\npreload = ["csv"]\n'
        '[preload_where]\n"import zlib" = ["zlib"]\n"torch" = ["colorsys"]\n"bz2" = ["bz2"]\n'
        '[environment]\nDATA = "small"\n',
        encoding="utf8",
    )
    found = Grading(Path(shutil.copy(SOURCE, tmp_path)), tmp_path / "out", sandbox="none")
    notebook = Notebook()
    notebook.add("import zlib")
    found.warm_for([submission(notebook)])  # that torch is needed, the solutions say
    assert found.conditions.sandbox.packages == ("json",)
    assert found.conditions.sandbox.paths == (str(Path(json.__file__).parent),)
    assert found.conditions.preload == ("csv", "zlib", "colorsys")
    assert found.conditions.environment == (("DATA", "small"),)


def test_a_forkserver_gets_all_conditions(monkeypatch):
    monkeypatch.setattr(batch, "ForkServer", lambda *given: given)
    given = (Sandbox("none", "rlimits"), Limits(memory_mb=7), ("csv",), (("DATA", "small"),))
    assert batch.Conditions(*given).forkserver() == given


@pytest.mark.parametrize("scheduler", [None, "tcp://127.0.0.1:1"])
def test_a_scheduler_has_the_sandbox_tested_on_its_workers(grading, monkeypatch, scheduler):
    called = []

    def record(function, tasks, **_):
        called.append((function.func, function.keywords))
        yield from ()

    monkeypatch.setattr(grade, "run_tasks", record)
    assert list(grade._observed(grading, [], jobs=1, scheduler=scheduler)) == []
    expected = observe_on_worker if scheduler else observe
    assert called == [(expected, {"conditions": grading.conditions})]


def test_a_wall_limit_can_be_given(tmp_path):
    assert Grading(SOURCE, tmp_path, sandbox="none", wall=33).wall == 33
    assert Grading(SOURCE, tmp_path, sandbox="none", timeout=5).wall == 60 + 3 * 5 * 4
