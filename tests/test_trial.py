import warnings
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
import torch

from lecture_grader.authoring.assignment import Assignment, Exercise, ExerciseError, WrongAnswer
from lecture_grader.authoring.check import HiddenCheck, check_cell
from lecture_grader.authoring.mutants import kill_matrix

HIDDEN = """
def draw(rng):
    return [{"x": rng.normal(size=n) + 3, "scale": float(rng.uniform(2, 3))} for n in (2, 1, 4, 3)]
"""
TOTAL = Exercise(
    name="total",
    number=1,
    points=2,
    timeout=20,
    statement="## A total",
    answer="total",
    stub="def total(x, scale):\n    raise NotImplementedError('Exercise total')",
    solution="def total(x, scale):\n    return scale * x.sum()",
    probe="def probe(x, scale):\n    return total(x, scale)",
    check="assert total(torch.ones(2), 3.0) == 6, 'three and three'",
    hidden=HIDDEN,
    wrong=(
        WrongAnswer("not-scaled", "def total(x, scale):\n    return x.sum()", "The scale?"),
        WrongAnswer("mean", "def total(x, scale):\n    return scale * x.mean()", "A mean."),
    ),
)


def around(exercise, setup="import numpy as np\nimport torch"):
    return Assignment("small", "Small", "# Small", setup, (exercise,), "0" * 16)


def hidden(seed=1, **changes):
    exercise = replace(TOTAL, **changes)
    return HiddenCheck(around(exercise), exercise, seed)


def wrong(source, name="other"):
    return WrongAnswer(name, source, "A hint.")


# ---------------------------------------------------------------------------- the hidden check


def test_cases_depend_on_the_seed_and_on_nothing_else():
    first, again, other = hidden(1), hidden(1), hidden(2)
    assert first.right == again.right
    assert first.right != other.right
    assert len(first.cases) == 4


def test_the_solution_decides():
    check = hidden()
    assert check.objection(check.right) is None
    assert check.objection_to(TOTAL.solution) is None
    assert check.objection([value * (1 + 0.9e-5) for value in check.right]) is None
    assert check.objection([*check.right[:3], 0.0]) == (
        "1 of 4 cases come out wrong, for example: the number differs"
    )
    assert check.objection(check.right[:3]) == "4 cases were asked, 3 answered"
    assert check.objection([*check.right, 1.0]) == "4 cases were asked, 5 answered"
    assert check.objection([]) == "4 cases were asked, 0 answered"
    one = hidden(hidden="def draw(rng):\n    return [{'x': np.ones(1), 'scale': 2.0}]")
    assert one.objection([5.0]) == "the number differs"


def test_the_hidden_cell_sets_the_tolerance():
    strict, loose = hidden(), hidden(hidden=f"RTOL = 0.1\nATOL = 1\n{HIDDEN}")
    assert (strict.rtol, strict.atol) == (1e-5, 1e-7)
    off = [value * 1.05 for value in strict.right]
    assert strict.objection(off) is not None
    assert loose.objection(off) is None


def test_a_mistake_is_recognized_by_its_values():
    check = hidden()
    for mistake in TOTAL.wrong:
        values = check.values_of(mistake.source)
        assert check.objection(values) is not None
        assert check.resembles(values) == mistake
        assert check.resembles(values[:3]) is None
    assert check.resembles([0.0] * 4) is None
    assert check.resembles(["text", None, [], {}]) is None


def test_a_mistake_that_fails_on_a_case_resembles_nothing():
    fails = wrong("def total(x, scale):\n    return 1 / (len(x) - 1)")
    check = hidden(wrong=(fails, TOTAL.wrong[1]))
    assert [mistake.name for mistake, _ in check.wrong] == ["mean"]
    assert check.survivors == []


def test_a_wrong_answer_that_is_right_survives():
    same = wrong("def total(x, scale):\n    return (scale * x).sum()", "same")
    assert hidden().survivors == []
    assert hidden(wrong=(*TOTAL.wrong, same)).survivors == ["same"]


def test_cases_are_those_that_a_kernel_gets():
    odd = "def draw(rng):\n    return [{'x': np.ones(2, '>f4'), 'scale': (np.float64(2), 3)}]"
    seen = "def probe(x, scale):\n    return [str(x.dtype), type(scale).__name__, str(scale[0])]"
    check = hidden(hidden=odd, probe=seen, wrong=TOTAL.wrong)
    assert check.right == [["torch.float32", "list", "tensor(2., dtype=torch.float64)"]]


def test_a_judge_is_asked_instead_of_the_solution():
    judge = f"{HIDDEN}\n\ndef judge(case, value):\n    return None if value > 0 else 'too low'"
    check = hidden(hidden=judge, solution="def total(x, scale):\n    1 / 0")
    assert check.judged and check.right is None and check.wrong == []
    assert check.objection([1.0, 2, 0.5, np.array(7)]) is None
    assert check.objection([1.0, -2, 0.5, 7]).endswith("for example: too low")
    assert "cannot be judged (TypeError" in check.objection([1.0, "2", 0.5, None])
    assert not hidden().judged


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"solution": "def total(x, scale):\n    return 1 / 0"},
            "the solution fails: ZeroDivision",
        ),
        ({"solution": "def total(x, scale):\n    return {1}"}, "the solution fails: TypeError"),
        ({"hidden": "def draw(rng):\n    return rng.no_such"}, "no cases can be drawn: Attribute"),
        ({"hidden": "draw = 3"}, "no cases can be drawn: TypeError"),
        ({"hidden": "def draw(rng):\n    return [{'x': {1}}]"}, "no cases can be drawn: TypeErr"),
    ],
)
def test_an_exercise_that_cannot_be_tried_is_refused(changes, message):
    with pytest.raises(ExerciseError, match=f"total: {message}"):
        hidden(**changes)
    with pytest.raises(ExerciseError, match=f"total: {message}"):
        list(kill_matrix(around(replace(TOTAL, **changes))))


def test_a_set_up_that_fails_is_refused():
    with pytest.raises(ExerciseError, match="no cases can be drawn: ModuleNotFoundError"):
        HiddenCheck(around(TOTAL, "import nowhere_to_be_found"), TOTAL, 0)


def test_a_trial_is_silent_repeatable_and_leaves_no_trace(capsys):
    noisy = """
import random
import warnings
from contextlib import suppress


def total(x, scale):
    print("noise")
    warnings.warn("noise")
    noise = torch.rand(1).item() + np.random.rand() + random.random()
    return scale * x.sum() + noise + torch.get_num_threads()
"""
    torch.manual_seed(5)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    filters = list(warnings.filters)
    torch.set_num_threads(2)
    try:
        check = hidden(solution=noisy)
        assert torch.get_num_threads() == 2
        assert check.right == check.values_of(noisy)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.get_rng_state(), before)
    assert warnings.filters == filters
    assert capsys.readouterr().out == ""


# ---------------------------------------------------------------------------- the public check


def run(check, answer):
    names = {}
    for cell in ("import numpy as np\nimport torch", answer, check):
        exec(cell, names)


def test_the_public_check_has_asserts_and_known_cases(capsys):
    check = check_cell(around(TOTAL), TOTAL)
    assert TOTAL.check in check
    run(check, TOTAL.solution)
    assert capsys.readouterr().out.startswith("Right on 3 known cases")
    for mistake in TOTAL.wrong:
        with pytest.raises(AssertionError) as error:
            run(check, mistake.source)
        assert str(error.value) == mistake.hint
    with pytest.raises(AssertionError, match="three and three"):
        run(check, "def total(x, scale):\n    return scale + x.sum()")
    with pytest.raises(AssertionError, match="Known case 1 of 3 comes out wrong"):
        run(check, "def total(x, scale):\n    return 6.0")
    with pytest.raises(NotImplementedError, match="Exercise total"):
        run(check, TOTAL.stub)


def test_the_public_check_of_a_judged_exercise_is_what_the_author_wrote():
    judged = replace(TOTAL, hidden=f"{HIDDEN}\n\ndef judge(case, value): ...")
    cell = check_cell(around(judged), judged)
    assert TOTAL.check in cell
    assert "KnownCases" not in cell


# ---------------------------------------------------------------------------- the kill matrix


def bad(**changes):
    return [row.answer for row in kill_matrix(around(replace(TOTAL, **changes)))
            if not row.is_expected]  # fmt: skip


def test_a_sound_exercise_is_as_it_should_be():
    rows = list(kill_matrix(around(TOTAL)))
    assert [row.answer for row in rows] == ["solution", "stub", "not-scaled", "mean"]
    assert all(row.is_expected for row in rows)
    assert (rows[0].public, rows[0].hidden) == (None, None)
    assert rows[1].public == rows[1].hidden == "NotImplementedError: Exercise total"
    assert rows[2].public == "AssertionError: The scale?"
    assert rows[2].hidden.startswith("4 of 4 cases come out wrong")


JUDGE = f"{HIDDEN}\n\ndef judge(case, value): ..."
SOMETIMES = (  # wrong on the known cases, which have 2, 1 and 4 numbers, and right on others
    "def draw(rng):\n    n = 2 if rng.integers(2**32) == SEED_0 else 1\n"
    "    return [{'x': rng.normal(size=n), 'scale': 2.0}]"
)


@pytest.mark.parametrize(
    ("changes", "answers"),
    [
        ({"stub": TOTAL.solution}, ["stub"]),
        ({"wrong": (wrong(TOTAL.solution),)}, ["other"]),
        ({"check": "assert total(torch.ones(2), 3.0) == 7"}, ["solution"]),
        # A judge and no asserts: nothing tells an answer from another one.
        ({"check": "total(torch.ones(2), 3.0)", "hidden": JUDGE}, ["not-scaled", "mean"]),
        ({"check": "", "hidden": "def draw(rng):\n    return []"}, ["stub", "not-scaled", "mean"]),
        # Cases on which a mistake does not show.
        ({"hidden": "def draw(rng):\n    return [{'x': np.ones(1), 'scale': 2.0}]"}, ["mean"]),
        # Known cases that tell it apart, and others that do not.
        ({"hidden": SOMETIMES.replace("SEED_0", str(np.random.default_rng(0).integers(2**32)))},
         ["mean"]),
    ],
)  # fmt: skip
def test_a_weak_exercise_is_not(changes, answers):
    assert bad(**changes) == answers


def test_a_check_leaves_no_name_behind_whether_it_passes_or_not():
    judged = replace(TOTAL, hidden=f"{TOTAL.hidden}\ndef judge(case, values):\n    return None")
    for exercise in (TOTAL, judged):
        cell = check_cell(around(exercise), exercise)
        for answer in (exercise.solution, exercise.wrong[0].source):
            names: dict = {}
            exec(f"import numpy as np\nimport torch\n{answer}", names)
            before = set(names)
            with suppress(AssertionError):
                exec(cell, names)
            assert set(names) == before
