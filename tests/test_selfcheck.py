import numpy as np
import pytest

from lecture_grader.student.selfcheck import KnownCases
from lecture_grader.student.values import encode

CASES = [{"x": np.array([1.0, 2.0])}, {"x": np.array([3.0])}]
HINT = "This behaves like a mean."


def packed(**more):
    known = {"right": [3.0, 3.0], "wrong": [(HINT, [1.5, 3.0]), ("A minus.", [-3.0, -3.0])]}
    return KnownCases.pack(CASES, **(known | more), rtol=1e-5, atol=1e-7, tensors=True)


@pytest.fixture
def known():
    return KnownCases(packed())


def test_known_cases_are_one_line_of_text_and_come_back(known):
    text = packed()
    assert text.isascii() and text.isprintable() and not {'"', "\\"} & set(text)
    assert [encode(case) for case in known.cases] == [encode(case) for case in CASES]
    assert known.right == [3.0, 3.0]
    assert known.wrong == [(HINT, [1.5, 3.0]), ("A minus.", [-3.0, -3.0])]
    assert known.tolerance == {"rtol": 1e-5, "atol": 1e-7}


def test_a_right_answer_passes_and_is_told_so(known, capsys):
    known.look_for_mistakes(lambda x: x.sum())
    known.check(lambda x: x.sum())
    assert capsys.readouterr().out.startswith("Right on 2 known cases.")


@pytest.mark.parametrize(
    ("probe", "hint"), [(lambda x: x.mean(), HINT), (lambda x: -x.sum(), "A minus.")]
)
def test_a_known_mistake_is_named(known, probe, hint):
    with pytest.raises(AssertionError) as error:
        known.look_for_mistakes(probe)
    assert str(error.value) == hint


def test_another_mistake_is_shown_on_its_case(known):
    def probe(x):
        return 3.0 if len(x) == 2 else 4.0

    known.look_for_mistakes(probe)
    with pytest.raises(AssertionError) as error:
        known.check(probe)
    message = str(error.value)
    assert message.startswith("Known case 2 of 2 comes out wrong: the number differs.\n")
    assert "case     {'x': array([3.])}" in message
    assert "expected 3.0\ngot      4.0" in message


def test_a_mistake_that_the_known_cases_do_not_tell_from_the_solution_is_no_hint():
    known = KnownCases(packed(wrong=[(HINT, [3.0, 3.0])]))
    known.look_for_mistakes(lambda x: x.sum())
    known.look_for_mistakes(lambda x: 3.0 + 1e-6)


def test_values_agree_within_the_tolerance_only(known):
    known.check(lambda x: 3.0 + 2e-5)
    with pytest.raises(AssertionError, match="the number differs"):
        known.check(lambda x: 3.0 + 4e-5)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "Your answer is None. Is a return missing?"),
        ("3.0", "Your answer is of another kind: a number was expected, got a text."),
        ([3.0], "Your answer is of another kind: a number was expected, got a list of 1 value."),
        (object(), "Your answer returns a value of type object, where a number or a tensor was "),
        (lambda: 3.0, "Your answer returns a value of type function, where a number or a tensor "),
    ],
)
def test_an_answer_of_another_kind_is_named_before_the_checks_of_the_author(known, value, message):
    with pytest.raises(AssertionError) as error:
        known.look_for_mistakes(lambda x: value)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_an_array_of_another_shape_is_left_to_the_checks_that_follow(known):
    known.look_for_mistakes(lambda x: np.zeros((2, 2)))
    with pytest.raises(AssertionError, match="a number was expected, got an array of numbers"):
        known.check(lambda x: np.zeros((2, 2)))


def test_a_dict_that_the_probe_makes_is_not_asked_of_students():
    """The probe hands on what it cannot put into its dict; the author's check has the words."""
    known = KnownCases(packed(right=[{"a": 1.0, "b": None}] * 2, wrong=[]))
    known.look_for_mistakes(lambda x: [1.0, 2.0, 3.0])
    known.look_for_mistakes(lambda x: {"a": 7.0, "b": None})
    for value, said in (
        ({"a": None, "b": None}, r"got None \(at \['a'\]\)"),
        ({"a": 1.0}, "lacks"),
    ):
        with pytest.raises(AssertionError, match=said):
            known.look_for_mistakes(lambda x, value=value: value)


def test_what_a_stub_raises_is_left_to_the_checks_that_follow(known):
    def stub(x):
        raise NotImplementedError("Exercise total: return one number.")

    known.look_for_mistakes(stub)  # the author's check may know which part is missing
    with pytest.raises(NotImplementedError, match="Exercise total"):
        known.check(stub)


def test_an_answer_that_changes_its_input_does_not_change_the_cases(known):
    def probe(x):
        total = x.sum()
        x.zero_()
        return total

    known.check(probe)
    known.check(probe)
