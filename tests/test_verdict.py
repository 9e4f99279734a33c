import json
from dataclasses import replace

import pytest

from lecture_grader.authoring.assignment import Assignment, Exercise, WrongAnswer
from lecture_grader.authoring.check import HiddenCheck
from lecture_grader.extracts import rebuilding
from lecture_grader.reporting.result import OUTCOMES, Provenance
from lecture_grader.running.notebook import UP_TO
from lecture_grader.running.observation import CellRun, Observation
from lecture_grader.student.values import encode
from lecture_grader.submissions.submission import Answer, StudentCell, Submission
from lecture_grader.verdict import Verdict, better, is_tampered, verdict

FIRST = Exercise(
    name="total", number=1, points=3, timeout=20, statement="## A total", answer="total",
    stub="def total(x): raise NotImplementedError", solution="def total(x):\n    return x.sum()",
    probe="def probe(x):\n    return total(x)", check="assert total(torch.ones(2)) == 2",
    hidden="def draw(rng):\n    return [{'x': rng.uniform(1, 2, size=n)} for n in (2, 3)]",
    wrong=(WrongAnswer("mean", "def total(x):\n    return x.mean()", "A mean."),),
)  # fmt: skip
SECOND = replace(FIRST, name="again", number=10)
SMALL = Assignment("small", "Small", "# Small", "", (FIRST, SECOND), "a" * 16)
CHECKS = {exercise.name: HiddenCheck(SMALL, exercise, 1) for exercise in SMALL.exercises}
CHECK = CHECKS["total"]
ANSWER = Answer("total", (1,), (0, 1), "id", unanswered=False)
CELLS_OF_ANNA = (
    StudentCell("HALF = 0.5", "", ""),
    StudentCell("def total(x): ...", "total", "id"),
    StudentCell("1 / 0", "", ""),
)
ANNA = Submission("anna", "d" * 16, CELLS_OF_ANNA, (ANSWER,))
REBUILDING = rebuilding(SMALL, CHECKS)
WHOLE = REBUILDING.whole("key", ANNA, "total", 60.0)
ALONE = REBUILDING.alone("key", ANNA, ANSWER, UP_TO, 60.0)


def payload(values):
    return json.dumps({"values": values, "files": []})


RIGHT = payload([encode(value) for value in CHECK.right])
MEAN = payload([encode(value) for value in CHECK.wrong[0][1]])
NOTHING = payload([0.0, 0.0])


def failed(error="ValueError", message="no", outcome="error"):
    return {"outcome": outcome, "error": error, "message": message}


def stopped(outcome):
    return failed("", f"too much {outcome}", outcome)


NOT_RUN = failed("", "", "not run")


def observed(notebook=WHOLE, ended="", **changes):
    """An observation in which all went well and the probes printed what they should."""
    cells = []
    for name in notebook.ids:
        values = None
        if name.endswith("-probe"):
            values = MEAN if name.startswith("canary") else RIGHT
        cell = CellRun(name, "ok", printed=f"<{name}>", values=values, seconds=0.25)
        cells.append(replace(cell, **changes.get(name.replace("-", "_"), {})))
    return Observation("key", tuple(cells), 1.0, ended)


def judge(observation, notebook=WHOLE):
    return verdict(ANSWER, CHECK, notebook, observation)


# ---------------------------------------------------------------------------- outcomes


def test_right_values_are_correct():
    found = judge(observed())
    assert (found.outcome, found.message, found.resembles) == ("correct", "", None)
    assert found.seconds == 2 * 0.25  # of the answer's cell and its probe
    assert found.printed == "<s1>"  # what is printed while hidden cases are asked may show them
    assert found.remarks == ()


@pytest.mark.parametrize("where", ["s0", "s1", "s2"])
@pytest.mark.parametrize("how", [failed(), stopped("timeout"), stopped("crashed")])
def test_right_values_are_correct_whatever_else_went_wrong(where, how):
    assert judge(observed(**{where: how})).outcome == "correct"


def test_a_known_mistake_is_named_and_another_one_is_not():
    mean = judge(observed(e1_probe={"values": MEAN}))
    assert (mean.outcome, mean.resembles, mean.hint) == ("wrong", "mean", "A mean.")
    assert mean.message == "2 of 2 cases come out wrong, for example: the number differs"
    other = judge(observed(e1_probe={"values": NOTHING}))
    assert (other.outcome, other.resembles, other.hint) == ("wrong", None, None)


def test_a_wrong_answer_is_told_what_the_public_check_says():
    asserts = failed("AssertionError", "1 + 1 is 2")
    said = judge(observed(ALONE, e1_probe={"values": NOTHING}, e1_check=asserts), ALONE)
    assert said.message.endswith("\nThe check in your notebook says: 1 + 1 is 2")
    other = judge(
        observed(ALONE, e1_probe={"values": NOTHING}, e1_check=failed("NameError", "x")), ALONE
    )
    assert "notebook says" not in other.message
    assert judge(observed(e1_probe={"values": NOTHING})).outcome == "wrong"  # no check is run there


@pytest.mark.parametrize(
    ("changes", "outcome", "message"),
    [
        (
            {"e1_probe": failed("TypeError", "a set")},
            "error", "TypeError: a set (when your answer was called)",
        ),
        ({"s1": failed("KeyError", "k"), "e1_probe": failed("NameError")}, "error", "KeyError: k"),
        # Another cell that failed did not answer the exercise: what the call says counts.
        ({"s0": failed("A", "b"), "e1_probe": failed("B", "c")}, "error", "B: c (when your"),
        ({"e1_probe": failed("MemoryError", "")}, "memory", "MemoryError:  (when your answer was"),
        ({"e1_probe": failed("RuntimeError", "DefaultCPUAllocator: no")}, "memory", "RuntimeErr"),
        ({"s1": failed("MemoryError", "x"), "e1_probe": failed()}, "memory", "MemoryError: x"),
        ({"s1": stopped("timeout"), "e1_probe": failed("NameError")}, "timeout", "too much time"),
        ({"e1_probe": stopped("timeout")}, "timeout", "too much timeout (when your answer was"),
        ({"e1_probe": stopped("crashed")}, "crashed", "too much crashed"),
        ({"e1_probe": stopped("memory")}, "memory", "too much memory"),
        ({"e1_probe": stopped("output")}, "output", "too much output"),
        ({"e1_probe": stopped("infrastructure")}, "infrastructure", "too much infrastructure"),
        (
            {"s0": stopped("crashed"), "s1": NOT_RUN, "e1_probe": NOT_RUN},
            "crashed", "too much crashed (in another cell, before your answer was called)",
        ),
        ({"s1": stopped("crashed"), "e1_probe": NOT_RUN}, "crashed", "too much crashed"),
        # Values of a probe that did not end well do not count.
        ({"e1_probe": failed() | {"values": RIGHT}}, "error", "ValueError: no"),
        # Nor are values that are absent a sign of anything but that.
        ({"e1_probe": {"values": None}}, "error", "no values came back when your answer was"),
    ],
)  # fmt: skip
def test_a_probe_that_fails_is_explained_by_the_first_cell_that_failed(changes, outcome, message):
    found = judge(observed(**changes))
    assert found.outcome == outcome
    assert found.message.startswith(message)
    assert outcome in OUTCOMES


def test_what_a_call_says_is_cut_because_it_may_show_the_hidden_cases():
    call = judge(observed(e1_probe=failed("ValueError", "7" * 3000)))
    assert 100 < call.message.count("7") <= 200
    assert judge(observed(s1=failed("E", "7" * 3000), e1_probe=failed())).message.count("7") == 3000


def test_numbers_of_a_hidden_case_are_not_told_and_a_cell_is_no_file():
    call = judge(observed(e1_probe=failed("ValueError", "tensor([[ 2.0326, -0.2237e-05]]) of 3")))
    assert call.message == "ValueError: tensor([[ ..., -...]]) of 3 (when your answer was called)"
    cell = failed("SyntaxError", "invalid syntax (3257963144.py, line 2)")
    own = judge(observed(s1=cell, e1_probe=failed("NameError", "x")))
    assert own.message == "SyntaxError: invalid syntax (line 2)"


@pytest.mark.parametrize(
    ("ended", "outcome"), [("timeout", "timeout"), ("crashed", "output"), ("", "output")]
)
def test_a_run_that_was_ended_from_outside_says_why(ended, outcome):
    cut = observed(ended=ended)
    cut = replace(cut, cells=cut.cells[:2])
    assert judge(cut).outcome == outcome


MALFORMED = [
    "", "null", "{}", "3", '"text"', "[", "not json", '{"0": 1}', "[1.0, 1.0]",
    '{"values": null}', '{"values": {"0": 1}}', "[" * 10_000, "9" * 10_000,
    payload([{"list": 3}]), payload([[1]]),
    payload([{"array": "AAAA", "dtype": "|O8", "shape": [1]}, 1.0]),
    payload([1.0, {"array": "", "dtype": "<f8", "shape": [0, 10**30]}]),
]  # fmt: skip


@pytest.mark.parametrize("values", MALFORMED)
def test_a_probe_that_shows_what_no_probe_shows_was_tampered_with(values):
    found = judge(observed(e1_probe={"values": values}))
    assert found.outcome == "tampered"
    assert found.message.startswith("the probe of this exercise printed what no probe prints")


@pytest.mark.parametrize(
    "values",
    ["[]", "[1.0]", "[1.0, 2.0, 3.0]", '["a", null]', "[true, true]", "[NaN, Infinity]",
     f"[{10**400}, -{10**400}]", '[{"list": []}, {"dict": {}}]', None],
)  # fmt: skip
def test_strange_values_are_wrong(values):
    said = RIGHT.replace("<f8", "<i8") if values is None else payload(json.loads(values))
    found = judge(observed(e1_probe={"values": said}))
    assert (found.outcome, found.resembles) == ("wrong", None)


def test_values_are_not_even_read_if_they_are_too_many():
    many = '{"values": [' + "[]," * 300_000 + "[]]}"
    assert judge(observed(e1_probe={"values": many})).outcome == "output"
    assert is_tampered(CHECK, observed(canary_probe={"values": many}))


ALL = [cell.id for cell in WHOLE.cells]


@pytest.mark.parametrize(
    "cells",
    [ALL[1:], [*ALL, "e1-check"], ALL[::-1], [ALL[0], ALL[0], *ALL[2:]], ["e1-probe"],
     [*ALL[:3], *ALL[4:]]],
)  # fmt: skip
def test_nothing_is_decided_if_other_cells_ran_than_were_to_run(cells):
    ran = {cell.id: cell for cell in observed().cells}
    found = [ran.get(name, replace(ran["e1-probe"], id=name)) for name in cells]
    assert judge(replace(observed(), cells=tuple(found))).outcome == "infrastructure"


def test_nothing_is_decided_without_an_observation():
    assert judge(None).outcome == "infrastructure"


# ---------------------------------------------------------------------------- the better of two


@pytest.mark.parametrize(
    ("first", "second", "which"),
    [
        ("wrong", "correct", "correct"), ("error", "correct", "correct"),
        ("crashed", "correct", "correct"), ("tampered", "correct", "correct"),
        ("correct", "error", "correct"), ("wrong", "error", "wrong"), ("error", "wrong", "wrong"),
        ("crashed", "error", "error"), ("crashed", "infrastructure", "crashed"),
        ("infrastructure", "timeout", "timeout"), ("wrong", "tampered", "tampered"),
        ("tampered", "wrong", "tampered"),
    ],
)  # fmt: skip
def test_right_once_is_right_and_what_tells_most_is_told(first, second, which):
    found = better(Verdict(first, "1", called=True), Verdict(second, "2", called=True))
    assert (found.outcome, found.attempts) == (which, 2)


def test_of_two_wrong_the_later_one_counts_which_has_the_words_of_the_check():
    assert better(Verdict("wrong", "1"), Verdict("wrong", "2")).message == "2"


def test_a_cell_that_stopped_tells_more_than_what_is_left_of_it():
    first = Verdict("error", "No module named 'x'", called=False)
    assert better(first, Verdict("wrong", "2")).message == "No module named 'x'"
    assert better(first, Verdict("correct")).outcome == "correct"


def test_the_run_of_the_whole_notebook_says_what_was_met():
    first = Verdict("error", remarks=("A cell stopped.",))
    alone = "Run once more alone, in a new kernel, the answer came out right."
    assert better(first, Verdict("correct", remarks=("x",))).remarks == ("A cell stopped.", alone)
    assert better(first, Verdict("wrong", remarks=("x",))).remarks == ("A cell stopped.",)


def test_cells_that_stopped_that_were_not_run_and_files_are_told():
    stops = observed(s0=failed("NameError", "x"), s2=stopped("timeout"))
    assert judge(stops).remarks == (
        "The cell that begins with “HALF = 0.5” stopped: NameError: x",
        "The cell that begins with “1 / 0” stopped: too much timeout",
    )
    left = observed(s1=stopped("crashed"), s2=NOT_RUN, e1_probe=NOT_RUN)
    assert judge(left).remarks[1:] == ("The cell beginning with “1 / 0” could not run any more.",)
    files = json.dumps({"values": json.loads(RIGHT)["values"], "files": ["helpers.py", "a.csv"]})
    assert judge(observed(e1_probe={"values": files})).remarks == (
        "Your cells wrote files, which are not kept: helpers.py, a.csv.",
    )


# ---------------------------------------------------------------------------- the canary


def canary(**changes):
    return observed(canary_probe=changes)


def test_a_planted_wrong_answer_must_come_out_wrong():
    assert not is_tampered(CHECK, observed())
    assert not is_tampered(CHECK, canary(values=NOTHING))
    assert is_tampered(CHECK, canary(values=RIGHT))
    assert not is_tampered(CHECK, canary(values=RIGHT, outcome="error"))
    assert not is_tampered(CHECK, canary(values=None))  # it is absent, which shows nothing
    assert not is_tampered(
        CHECK, replace(observed(), cells=observed().cells[:-1])
    )  # none was planted
    assert not is_tampered(CHECK, None)


@pytest.mark.parametrize("values", [each for each in MALFORMED if each])
def test_a_planted_wrong_answer_whose_values_are_malformed_was_tampered_with(values):
    assert is_tampered(CHECK, canary(values=values))


# ---------------------------------------------------------------------------- the result

PROVENANCE = Provenance("a" * 16, "c" * 16, "namespaces", "s7")


def test_only_a_correct_answer_gets_points():
    for outcome in OUTCOMES:
        result = Verdict(outcome).result(FIRST, ANNA, ANSWER, PROVENANCE)
        assert (result.points, result.possible) == (3 if outcome == "correct" else 0, 3)


def test_a_result_holds_what_it_depends_on():
    found = Verdict("wrong", "m" * 5000, "mean", "A mean.", 1.23456, "out", 2, ("ran",))
    anna = replace(ANNA, remarks=("late",), id="77")
    result = found.result(FIRST, anna, replace(ANSWER, remark="pasted"), PROVENANCE)
    assert (result.remarks, result.id) == (("late", "pasted", "ran"), "77")
    assert (result.student, result.submission) == ("anna", "d" * 16)
    assert (result.exercise, result.number, result.title) == ("total", 1, "A total")
    assert (len(result.message), result.resembles, result.hint) == (4000, "mean", "A mean.")
    assert (result.seconds, result.printed, result.attempts) == (1.235, "out", 2)
    assert (result.assignment, result.checks) == ("a" * 16, "c" * 16)
    assert (result.sandbox, result.seed) == ("namespaces", "s7")
    assert (result.matched_by, result.answer) == ("id", "HALF = 0.5\n\ndef total(x): ...")
    without = found.result(FIRST, ANNA, None, PROVENANCE)
    assert (without.matched_by, without.answer) == ("", "")


def test_long_text_is_cut():
    assert len(judge(observed(s1={"printed": "x" * 9000})).printed) == 4000
