import json
from dataclasses import replace

import pytest

from lecture_vae.grading.exercises import Assignment, Exercise, WrongAnswer
from lecture_vae.grading.submission import Answer, Submission
from lecture_vae.grading.trial import HiddenCheck
from lecture_vae.grading.values import encode
from lecture_vae.grading.verdict import OUTCOMES, Provenance, Verdict, is_tampered, verdicts

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
ANSWER = Answer("total", "def total(x): ...", ("HALF = 0.5",), "id", unanswered=False)
ANNA = Submission("anna", "d" * 16, (ANSWER,))
CELLS = ["e1-before", "e1-helper1", "e1-answer", "e1-probe", "e1-check"]

RIGHT = json.dumps([encode(value) for value in CHECK.right])
MEAN = json.dumps([encode(value) for value in CHECK.wrong[0][1]])
NOTHING = json.dumps([0.0, 0.0])


def failed(error="ValueError", message="no", outcome="error"):
    return {"outcome": outcome, "error": error, "message": message}


def stopped(outcome):
    return failed("", f"too much {outcome}", outcome)


def observed(**changes):
    """An observation in which all went well and the probe printed the right values."""
    cells = []
    for name in CELLS:
        cell = {"cell": name, "outcome": "ok", "error": "", "message": "", "printed": f"<{name}>",
                "values": None, "seconds": 0.25}  # fmt: skip
        cells.append(cell | changes.get(name.partition("-")[2], {}))
    if cells[3]["values"] is None and cells[3]["outcome"] == "ok" and "probe" not in changes:
        cells[3]["values"] = RIGHT
    return {"notebook": "key", "cells": cells}


def judge(observation, submission=ANNA, expected=CELLS, only="total"):
    found = dict(verdicts(SMALL, submission, CHECKS, expected, observation, only))
    return found[FIRST]


# ---------------------------------------------------------------------------- outcomes


def test_right_values_are_correct():
    verdict = judge(observed())
    assert (verdict.outcome, verdict.message, verdict.resembles) == ("correct", "", None)
    assert verdict.seconds == 5 * 0.25
    assert verdict.printed == "".join(f"<{name}>" for name in CELLS)


@pytest.mark.parametrize("where", ["helper1", "answer", "check"])
@pytest.mark.parametrize("how", [failed(), stopped("timeout"), stopped("crashed")])
def test_right_values_are_correct_whatever_else_went_wrong(where, how):
    assert judge(observed(**{where: how})).outcome == "correct"


def test_a_known_mistake_is_named_and_another_one_is_not():
    mean = judge(observed(probe={"values": MEAN}))
    assert (mean.outcome, mean.resembles, mean.hint) == ("wrong", "mean", "A mean.")
    assert mean.message == "2 of 2 cases come out wrong, for example: the number differs"
    other = judge(observed(probe={"values": NOTHING}))
    assert (other.outcome, other.resembles, other.hint) == ("wrong", None, None)


def test_a_wrong_answer_is_told_what_the_public_check_says():
    asserts = failed("AssertionError", "1 + 1 is 2")
    said = judge(observed(probe={"values": NOTHING}, check=asserts))
    assert said.message.endswith("\nThe check in your notebook says: 1 + 1 is 2")
    other = judge(observed(probe={"values": NOTHING}, check=failed("NameError", "x")))
    assert "notebook says" not in other.message
    without = observed(probe={"values": NOTHING})
    without["cells"].pop()
    assert judge(without, expected=CELLS[:-1]).outcome == "wrong"  # a judged exercise has none


@pytest.mark.parametrize(
    ("changes", "outcome", "message"),
    [
        ({"probe": failed("TypeError", "a set")}, "error", "TypeError: a set (when your answer"),
        ({"answer": failed("KeyError", "k"), "probe": failed("NameError")}, "error", "KeyError: k"),
        ({"before": failed("A", "b"), "probe": failed()}, "error", "A: b (before your answer ran)"),
        ({"helper1": failed("A", "h"), "answer": failed("B"), "probe": failed()}, "error", "A: h"),
        ({"probe": failed("MemoryError", "")}, "memory", "MemoryError:  (when your answer was"),
        ({"probe": failed("RuntimeError", "DefaultCPUAllocator: no")}, "memory", "RuntimeError: D"),
        ({"answer": failed("MemoryError", "x"), "probe": failed()}, "memory", "MemoryError: x"),
        ({"answer": stopped("timeout"), "probe": failed("NameError")}, "timeout", "too much time"),
        (
            {"probe": stopped("timeout")},
            "timeout",
            "too much timeout (when your answer was called)",
        ),
        ({"probe": stopped("crashed")}, "crashed", "too much crashed"),
        ({"probe": stopped("memory")}, "memory", "too much memory"),
        ({"probe": stopped("output")}, "output", "too much output"),
        ({"probe": stopped("infrastructure")}, "infrastructure", "too much infrastructure"),
        # A cell after the probe does not explain why the probe failed.
        ({"probe": stopped("crashed"), "check": stopped("timeout")}, "crashed", "too much crashed"),
        # Values of a probe that did not end well do not count.
        ({"probe": failed() | {"values": RIGHT}}, "error", "ValueError: no"),
    ],
)
def test_a_probe_that_fails_is_explained_by_the_first_cell_that_failed(changes, outcome, message):
    verdict = judge(observed(**changes))
    assert verdict.outcome == outcome
    assert verdict.message.startswith(message)
    assert outcome in OUTCOMES


MALFORMED = [
    None, "", "null", "{}", "3", '"text"', "[", "not json", '{"0": 1}', '[{"list": 3}]', "[[1]]",
    '[{"array": "AAAA", "dtype": "|O8", "shape": [1]}, 1.0]', "[" * 10_000, "9" * 10_000,
    json.dumps([1.0, {"array": "", "dtype": "<f8", "shape": [0, 10**30]}]),
]  # fmt: skip


@pytest.mark.parametrize("values", MALFORMED)
def test_a_probe_that_ends_well_without_its_values_was_tampered_with(values):
    verdict = judge(observed(probe={"values": values}))
    assert verdict.outcome == "tampered"
    assert verdict.message.startswith("the probe of this exercise printed what no probe prints")


@pytest.mark.parametrize(
    "values",
    ["[]", "[1.0]", "[1.0, 2.0, 3.0]", '["a", null]', "[true, true]", "[NaN, Infinity]",
     f"[{10**400}, -{10**400}]", '[{"list": []}, {"dict": {}}]', RIGHT.replace("<f8", "<i8")],
)  # fmt: skip
def test_strange_values_are_wrong(values):
    verdict = judge(observed(probe={"values": values}))
    assert (verdict.outcome, verdict.resembles) == ("wrong", None)


@pytest.mark.parametrize(
    "cells",
    [
        [], CELLS[:-1], CELLS[1:], [*CELLS, "e1-check"], [*CELLS, "canary-probe"], CELLS[::-1],
        [CELLS[0], CELLS[0], *CELLS[2:]], ["e1-probe"],
    ],
)  # fmt: skip
def test_nothing_is_decided_unless_exactly_the_expected_cells_ran(cells):
    ran = {cell["cell"]: cell for cell in observed()["cells"]}
    observation = {"cells": [ran.get(name, ran["e1-probe"] | {"cell": name}) for name in cells]}
    assert judge(observation).outcome == "infrastructure"
    assert judge(observed(), expected=cells).outcome == "infrastructure"


def test_nothing_is_decided_without_an_observation():
    assert judge(None).outcome == "infrastructure"


def test_what_was_not_run_needs_no_observation():
    def outcome(**changes):
        return judge(None, replace(ANNA, **changes), expected=[]).outcome

    assert outcome(problem="the file is not JSON", answers=()) == "unreadable"
    assert outcome(answers=()) == "missing"
    assert outcome(answers=(replace(ANSWER, matched_by="", source=""),)) == "missing"
    assert outcome(answers=(replace(ANSWER, unanswered=True, source=""),)) == "unanswered"
    assert judge(None, replace(ANNA, problem="not JSON")).message == "not JSON"


def test_exercises_are_told_apart():
    both = (ANSWER, replace(ANSWER, exercise="again"))
    first, second = observed(probe={"values": MEAN})["cells"], observed()["cells"]
    right = json.dumps([encode(value) for value in CHECKS["again"].right])
    second[3]["values"] = right
    cells = first + [cell | {"cell": f"e10-{cell['cell'][3:]}"} for cell in second]
    found = verdicts(
        SMALL, replace(ANNA, answers=both), CHECKS, [cell["cell"] for cell in cells],
        {"cells": cells},
    )  # fmt: skip
    assert [(e.name, v.outcome) for e, v in found] == [("total", "wrong"), ("again", "correct")]
    only = verdicts(SMALL, ANNA, CHECKS, CELLS, observed(), "total")
    assert [exercise.name for exercise, _ in only] == ["total"]


# ---------------------------------------------------------------------------- the canary


def canary(**changes):
    cell = {"cell": "canary-probe", "outcome": "ok", "values": MEAN} | changes
    return {"cells": [*observed()["cells"], cell]}


def test_a_planted_wrong_answer_must_come_out_wrong():
    assert not is_tampered(CHECK, canary())
    assert not is_tampered(CHECK, canary(values=NOTHING))
    assert is_tampered(CHECK, canary(values=RIGHT))
    assert not is_tampered(CHECK, canary(values=RIGHT, outcome="error"))
    assert not is_tampered(CHECK, observed())  # none was planted


@pytest.mark.parametrize("values", MALFORMED)
def test_a_planted_wrong_answer_whose_values_are_malformed_was_tampered_with(values):
    assert is_tampered(CHECK, canary(values=values))


# ---------------------------------------------------------------------------- the result

PROVENANCE = Provenance("a" * 16, "c" * 16, "namespaces", "s7")


def test_only_a_correct_answer_gets_points():
    for outcome in OUTCOMES:
        result = Verdict(outcome).result(FIRST, ANNA, ANSWER, PROVENANCE)
        assert (result.points, result.possible) == (3 if outcome == "correct" else 0, 3)


def test_a_result_holds_what_it_depends_on():
    verdict = Verdict("wrong", "m" * 5000, "mean", "A mean.", 1.23456, "out", 2)
    result = verdict.result(FIRST, ANNA, ANSWER, PROVENANCE)
    assert (result.student, result.submission) == ("anna", "d" * 16)
    assert (result.exercise, result.number, result.title) == ("total", 1, "A total")
    assert (len(result.message), result.resembles, result.hint) == (4000, "mean", "A mean.")
    assert (result.seconds, result.printed, result.attempts) == (1.235, "out", 2)
    assert (result.assignment, result.checks) == ("a" * 16, "c" * 16)
    assert (result.sandbox, result.seed) == ("namespaces", "s7")
    assert (result.matched_by, result.answer) == ("id", "HALF = 0.5\n\ndef total(x): ...")
    without = verdict.result(FIRST, ANNA, None, PROVENANCE)
    assert (without.matched_by, without.answer) == ("", "")


def test_long_text_is_cut():
    assert len(judge(observed(answer={"printed": "x" * 9000})).printed) == 4000
