import json
import math
import re
import time
import tracemalloc
from collections import OrderedDict, defaultdict

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from mutations import mutated

from lecture_grader.student.values import DEPTH, DTYPES, decode, difference, encode, to_kernel

RTOL, ATOL = 1e-5, 1e-7


def over_the_wire(value):
    return decode(json.loads(json.dumps(encode(value), allow_nan=False)))


def differ(expected, got):
    return difference(expected, got, RTOL, ATOL)


# ---------------------------------------------------------------------------- round trip


@pytest.mark.parametrize(
    "value",
    [
        0.0, -0.0, 1.5, 1e-320, 1.7976931348623157e308, math.inf, -math.inf,
        0, -7, 2**53 + 1, -(2**63), 10**400, True, False, None, "", "text", 'é "\n\ud800',
        [], {}, [1, [2.0, None]], {"a": [True, {"b": "c"}], "float": 1.0}, {"list": []},
    ],
)  # fmt: skip
def test_plain_values_come_back_as_they_were(value):
    got = over_the_wire(value)
    assert type(got) is type(value)
    assert got == value
    assert repr(got) == repr(value)  # tells 0.0 from -0.0 and 1 from True


def test_nan_comes_back_and_a_tuple_comes_back_as_a_list():
    assert math.isnan(over_the_wire(math.nan))
    assert over_the_wire((1, (2, 3.0))) == [1, [2, 3.0]]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (2, 3), (1, 2, 3, 1)])
def test_arrays_of_every_type_and_shape_come_back(dtype, shape):
    array = np.arange(math.prod(shape)).reshape(shape).astype(dtype)
    got = over_the_wire(array)
    assert got.dtype == np.dtype(dtype)
    assert got.shape == shape
    np.testing.assert_array_equal(got, array)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=">f8").reshape(2, 3),
        np.arange(6, dtype=">i4"),
        np.arange(24.0).reshape(4, 6)[::2, ::-3],
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.broadcast_to(np.float32(3), (2, 2)),
        np.array([np.nan, np.inf, -np.inf, -0.0]),
        np.float64(1.5),
        np.int64(3),
        np.bool_(True),
    ],
)
def test_byte_order_strides_and_scalars_of_numpy_do_not_matter(array):
    got = over_the_wire(array)
    assert got.shape == np.shape(array)
    np.testing.assert_array_equal(got, array)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor(2.5),
        torch.ones(2, 3, requires_grad=True),
        torch.ones(2, 3, requires_grad=True) * 2,
        torch.arange(6).reshape(2, 3).T,
        torch.zeros(0, 2),
        torch.tensor([True, False]),
        torch.tensor([1.0], dtype=torch.float16),
        torch.nn.Parameter(torch.ones(2)),
        torch.tensor([1j, 2]).conj().imag,  # torch keeps the sign aside
    ],
)
def test_tensors_come_back_as_arrays(tensor):
    got = over_the_wire(tensor)
    assert got.shape == tuple(tensor.shape)
    np.testing.assert_array_equal(got, tensor.detach().resolve_neg().numpy())


ARRAYS = st_numpy.arrays(st.sampled_from(DTYPES), st_numpy.array_shapes(min_dims=0, max_side=3))
TEXTS = st.text(st.characters())  # also halves of surrogate pairs
PARTS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | ARRAYS


@st.composite
def accepted(draw, levels=DEPTH):
    """What encode takes: numbers, texts, arrays, and lists and dicts of them."""
    if levels and draw(st.booleans()):
        part = accepted(levels - 1)
        return draw(st.lists(part, max_size=3) | st.dictionaries(TEXTS, part, max_size=3))
    return draw(PARTS)


@hypothesis.given(accepted())
def test_whatever_encode_takes_comes_back_bit_by_bit(value):
    sent = json.dumps(encode(value), allow_nan=False)
    got = decode(json.loads(sent))
    assert json.dumps(encode(got)) == sent
    assert differ(value, got) is None


class Odd(dict):
    """A type of a student's own."""


@pytest.mark.parametrize(
    "value",
    [torch.ones(2, 3).shape, Odd(a=1), OrderedDict(a=1), defaultdict(int, a=1), time.gmtime(0)],
    ids=lambda value: type(value).__name__,
)
def test_what_is_a_list_a_tuple_or_a_dict_by_another_name_comes_back(value):
    plain = dict(value) if isinstance(value, dict) else list(value)
    assert over_the_wire(value) == plain
    assert differ(over_the_wire(plain), over_the_wire(value)) is None


def itself():
    loop = []
    loop.append(loop)
    return loop


def deep(levels):
    return [deep(levels - 1)] if levels else 1.0


WHERE = "where a number or a tensor was expected"
REAL = "where real numbers of at most 64 bits or truth values were expected"
BECOMES = "a value of type Tensor that becomes no array: "


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (object(), f"a value of type object, {WHERE}"),
        (1j, f"a value of type complex, {WHERE}"),
        ({1, 2}, f"a value of type set, {WHERE}"),
        (b"bytes", f"a value of type bytes, {WHERE}"),
        (lambda: 1, f"a value of type function, {WHERE}"),
        ([1.0, {"a": object}], f"a value of type type, {WHERE}"),
        (np.array([1j]), f"an array of type complex128, {REAL}"),
        (torch.tensor([1j]), f"an array of type complex64, {REAL}"),
        (np.array([object()]), f"an array of type object, {REAL}"),
        (np.array(["\ud800"]), f"an array of type <U1, {REAL}"),
        (np.longdouble(1), f"an array of type {np.dtype(np.longdouble)}, {REAL}"),
        ({1: 2.0}, "a dict with keys that are no text, where all must be"),
        (10**2500, "a whole number of 8,305 bits; 8,192 are the most"),
        (deep(DEPTH + 1), "values nested deeper than 8, where numbers were expected"),
        ({"a": {"a": deep(DEPTH - 1)}}, "values nested deeper than 8, where numbers were expected"),
        (itself(), "values nested deeper than 8, where numbers were expected"),
        (torch.ones(1, dtype=torch.bfloat16), f"{BECOMES}Got unsupported ScalarType BFloat16"),
        (torch.ones(1, device="meta"), BECOMES),
        (torch.ones(1).to_sparse(), BECOMES),
        (torch.Tensor, "a value of type _TensorMeta that becomes no array: "),
    ],
)
def test_what_is_no_number_is_refused_by_its_type(value, message):
    with pytest.raises(TypeError) as error:
        encode(value)
    assert str(error.value).startswith(message)
    assert message.endswith(": ") or str(error.value) == message


def test_what_encode_makes_decode_reads():
    """What one refuses and the other does not would be called tampering."""
    for value in (deep(DEPTH), {"a": deep(DEPTH - 1)}, 10**2400, -(10**2400)):
        assert over_the_wire(value) == value


def test_arrays_of_a_case_reach_the_probe_as_tensors():
    case = {"x": np.ones(2, dtype=np.float32), "n": [np.zeros(1), 3], "d": {"k": np.ones(())}}
    got = to_kernel(case, tensors=True)
    assert got["x"].dtype == torch.float32
    assert got["n"][0].dtype == torch.float64 and got["n"][1] == 3
    assert got["d"]["k"].shape == ()
    got["x"].fill_(7)  # what an answer does to its input does not reach the next answer
    assert case["x"].tolist() == [1, 1]
    same = to_kernel(case, tensors=False)
    assert type(same["x"]) is type(same["n"][0]) is np.ndarray
    same["x"].fill(7)
    assert case["x"].tolist() == [1, 1]


# ---------------------------------------------------------------------------- trusting nothing

ONE = {"array": "AAAAAAAA8D8=", "dtype": "<f8", "shape": [1]}


def array_with(**other):
    return ONE | other


@pytest.mark.parametrize(
    "payload",
    [
        [1.0], (), b"", 1j, object(), {}, {"list": 3}, {"list": {"0": 1}}, {"dict": [1]},
        {"float": "1.0"}, {"float": 1.0}, {"float": "nan", "more": 1}, {"list": [], "dict": {}},
        {"unknown": 1}, {"list": [{"list": [[]]}]}, {"dict": {"a": {}}},
        array_with(more=1), {"array": "", "dtype": "<f8"},
        array_with(dtype="|O8"), array_with(dtype="<U2"), array_with(dtype="<c16"),
        array_with(dtype="f8,f8"), array_with(dtype=[["a", "<f8"]]), array_with(dtype=None),
        array_with(shape=[2]), array_with(shape=[1, 0]), array_with(shape=[1] * 9),
        array_with(shape=[-1]), array_with(shape=[-1, -1]), array_with(shape=[1.0]),
        array_with(shape=[True]), array_with(shape=["1"]), array_with(shape="1"),
        array_with(shape=1), array_with(shape=[10**30]), array_with(shape=[2**62, 0, 8], array=""),
        array_with(shape=[0, 10**30], array=""),
        array_with(array="AAA="), array_with(array="AAAAAAAA8D8"), array_with(array="é"),
        array_with(array="AAAA AAAA8D8="), array_with(array=None), array_with(array=[0] * 8),
    ],
)  # fmt: skip
def test_what_no_encoder_makes_is_refused(payload):
    assert decode(ONE).tolist() == [1.0]
    with pytest.raises(ValueError, match=r"."):
        decode(payload)


def nested(levels):
    payload = 1.0
    for level in range(levels):
        payload = {"list": [payload]} if level % 2 else {"dict": {"a": payload}}
    return payload


def test_nesting_is_bounded():
    decode(nested(DEPTH))
    for levels in (DEPTH + 1, 100_000):
        with pytest.raises(ValueError, match="nested deeper than 8"):
            decode(nested(levels))


def test_a_claimed_shape_takes_no_memory():
    tracemalloc.start()
    for shape in ([10**9], [10**5, 10**5], [2**31] * 8):
        with pytest.raises(ValueError, match="an array of shape"):
            decode(array_with(shape=shape))
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()


SPARE = [
    None, True, -1, 3, 2**64, 10**400, 1.5, math.nan, "", "nan", "<f8", "|O8", "AAAA", "\ud800",
    [], {}, [[]], [0, 10**30], [-1], {"list": [1]}, {"float": "inf"}, {"array": ""},
]  # fmt: skip
SPARES = st.sampled_from(SPARE) | st.text() | st.floats() | st.integers()


def test_a_mutated_payload_is_read_or_refused_and_nothing_else():
    ends = set()

    @hypothesis.given(mutated(accepted().map(encode), SPARES, ["list", "dict", "dtype", "x"]))
    def read_or_refused(payload):
        try:
            got = decode(payload)
        except ValueError:
            ends.add("refused")
            return
        ends.add("read")
        assert differ(1.5, got) is None or isinstance(differ(1.5, got), str)  # compares, too

    read_or_refused()
    assert ends == {"read", "refused"}


# ---------------------------------------------------------------------------- comparing

A = np.array([[1.0, -2.0], [0.0, 4.0]])


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        (1.0, 1.0 + 0.99e-5), (1.0, 1.0 - 0.99e-5), (0.0, 0.99e-7), (1e6, 1e6 + 9.9),
        (math.nan, math.nan), (math.inf, math.inf), (-math.inf, -math.inf),
        (3, 3.0), (3.0, 3), (2.5, np.array(2.5)), (np.float32(2.5), 2.5), (10**400, 10**400),
        (A, A.astype(np.float32)), (A, A.astype(int)), (np.zeros((0, 2)), np.zeros((0, 2))),
        (np.array([True]), np.array([True])), (True, True), (None, None), ("a", "a"),
        (True, np.array(True)), (np.array(False), False),
        ([1.0, [A]], [1, [A]]), ({"a": 1, "b": A}, {"b": A, "a": 1.0}), ([], []),
        (np.array([np.nan, 1.0]), np.array([np.nan, 1.0])),
    ],
)  # fmt: skip
def test_equal_within_the_tolerance(expected, got):
    assert differ(expected, got) is None


BOOLS = np.array([True, False, True])
MANY = {f"key{i}": i for i in range(20)}


@pytest.mark.parametrize(
    ("expected", "got", "message"),
    [
        (1.0, 1.0 + 1.02e-5, "the number differs"),
        (1.0, 1.0 - 1.02e-5, "the number differs"),
        (0.0, 1.01e-7, "the number differs"),
        (1.0, math.nan, "the number is nan"),
        (math.nan, 1.0, "the number differs"),
        (math.inf, -math.inf, "the number differs"),
        (math.inf, 1e308, "the number differs"),
        (1.0, math.inf, "the number differs"),
        (-1.7e308, 1.7e308, "the number differs"),
        (1.0, 10**400, "the number differs"),
        (10**400, 1.0, "the number differs"),
        (10**400, 10**400 + 1, "the number differs"),
        (True, False, "the truth value differs"),
        (np.array(True), False, "the truth value differs"),
        (A, A + np.array([[0, 1], [0, 0]]), "1 of 4 numbers differs"),
        (A, A + np.array([0, 1]), "2 of 4 numbers differ"),
        (A, A.T, "2 of 4 numbers differ"),
        (np.ones(1), np.zeros(1), "the number differs"),
        (BOOLS, ~BOOLS, "3 of 3 truth values differ"),
        (BOOLS, BOOLS[[0, 0, 0]], "1 of 3 truth values differs"),
        (np.array([np.nan, 1.0]), np.array([1.0, np.nan]), "2 of 2 numbers differ"),
        (A, A * np.nan, "4 of 4 numbers are nan"),
        (A, np.where(A == 4, np.nan, A), "1 of 4 numbers is nan"),
        (A, 10**400, "an array of numbers of shape (2, 2) was expected, got a number"),
        (A, A[0], "an array of numbers of shape (2, 2) was expected, got an array of numbers of "
                  "shape (2,)"),
        (1.0, np.ones(1), "a number was expected, got an array of numbers of shape (1,)"),
        (np.ones(1), 1.0, "an array of numbers of shape (1,) was expected, got a number"),
        (np.zeros((0, 2)), np.zeros((2, 0)), "an array of numbers of shape (0, 2) was expected, "
                                             "got an array of numbers of shape (2, 0)"),
        (np.ones(3), BOOLS, "an array of numbers of shape (3,) was expected, got an array of "
                            "truth values of shape (3,)"),
        (BOOLS, np.ones(2), "an array of truth values of shape (3,) was expected, got an array "
                            "of numbers of shape (2,)"),
        (1, True, "a number was expected, got a truth value"),
        (True, 1, "a truth value was expected, got a number"),
        (np.array(True), 1, "a truth value was expected, got a number"),
        (np.array(1.0), np.array(True), "a number was expected, got a truth value"),
        (1.0, "1.0", "a number was expected, got a text"),
        (1.0, None, "a number was expected, got None"),
        (1.0, [1.0], "a number was expected, got a list of 1 value"),
        (1.0, {}, "a number was expected, got a dict"),
        (A, None, "an array of numbers of shape (2, 2) was expected, got None"),
        (None, 0, "None was expected, got a number"),
        (None, BOOLS, "None was expected, got an array of truth values of shape (3,)"),
        ("a", "b", "the text differs"),
        ("a", "\ud83d", "the text differs"),
        ("1", 1, "a text was expected, got a number"),
        ("1", None, "a text was expected, got None"),
        ([1, 2], A, "a list of 2 values was expected, got an array of numbers of shape (2, 2)"),
        ([1, 2], [1], "a list of 2 values was expected, got a list of 1 value"),
        ([1, 2], [], "a list of 2 values was expected, got an empty list"),
        ([], [[]], "an empty list was expected, got a list of 1 value"),
        ([1, 2], {"0": 1, "1": 2}, "a list of 2 values was expected, got a dict"),
        ({"a": 1}, [1], "a dict was expected, got a list of 1 value"),
        ({"a": 1}, None, "a dict was expected, got None"),
        ({"a": 1}, "a", "a dict was expected, got a text"),
        ({"a": 1}, {"a": 1, "b": 2}, "the dict has the key 'b' too many"),
        ({"a": 1}, {"b": 1}, "the dict lacks the key 'a'"),
        (MANY, {}, "the dict lacks the keys 'key0', 'key1', 'key10', 'key11', 'key12', "
                   "'key13', ..."),
        ({}, {"\ud83d": 1, "b": 2}, "the dict has the keys 'b', '\\ud83d' too many"),
        ({}, {"x" * 99: 1}, f"the dict has the key '{'x' * 12}...{'x' * 13}' too many"),
        ([1, [2, 3]], [1, [2, 4]], "the number differs (at [1][1])"),
        ({"mu": A}, {"mu": A + 1}, "4 of 4 numbers differ (at ['mu'])"),
        ({"a\ud83d": [None]}, {"a\ud83d": [0]}, "None was expected, got a number (at "
                                               "['a\\ud83d'][0])"),
        ([{"a": 1}], [{}], "the dict lacks the key 'a' (at [0])"),
        ([1, 2], [True, 3], "a number was expected, got a truth value (at [0])"),
    ],
)  # fmt: skip
def test_a_difference_is_told(expected, got, message):
    told = differ(expected, got)
    assert told == message
    assert told.encode("utf8").decode() == message  # also of half an emoji


VALUES = [
    None, "", "a", 1, 1.5, True, np.float32(1), np.array(2.0), np.array(False), math.nan, 10**400,
    np.ones(3), np.ones(3, int), BOOLS, np.ones((3, 1)), np.zeros(0), A, [], [1], [1, 2], [[]], {},
    {"a": 1}, {"b": 1}, MANY, {**MANY, "more": 1}, {"a" * 50: 1}, [None, {"a": BOOLS}],
]  # fmt: skip


@pytest.mark.parametrize("expected", VALUES, ids=repr)
def test_no_difference_says_that_one_thing_was_expected_and_the_same_came(expected):
    for got in VALUES:
        told = differ(expected, got) or ""
        wanted, _, came = told.partition(" was expected, got ")
        assert wanted != came or not told, told
        assert not re.search(r"\b(a a|a an|an a|a [aeiou]|1 values)\b", told), told


@pytest.mark.parametrize("got", [0.0, math.nan, True, "x", None, [], np.zeros(3), np.zeros(2)])
@pytest.mark.parametrize("secret", [31415.9, np.full(2, 31415.9), "31415.9"])
def test_what_is_told_never_has_the_expected_number_in_it(secret, got):
    for expected, given in ((secret, got), ([secret], [got]), ({"a": secret}, {"a": got})):
        assert "314" not in differ(expected, given)
