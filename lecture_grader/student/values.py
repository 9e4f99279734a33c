"""Serialize values in a student's kernel; deserialize and compare them in the grader.

Numbers, strings, arrays and containers of them are encoded as JSON. Nothing that a kernel sends is
ever unpickled or executed. An array is encoded by dtype, shape and bytes.
"""

import base64
import binascii
import builtins
import math
import reprlib
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np

# A copy, because a student's code may delete built-ins that the functions below use.
globals()["__builtins__"] = dict(vars(builtins))

__all__ = ["decode", "difference", "encode", "tensor_maker", "to_kernel"]

DTYPES = (
    "<f8", "<f4", "<f2", "<i8", "<i4", "<i2", "|i1", "<u8", "<u4", "<u2", "|u1", "|b1",
)  # fmt: skip
DEPTH = 8  # of nested containers
BITS = 8192  # of an integer: Python parses at most 4,300 digits


def encode(value: Any, depth: int = 0) -> Any:
    """Encodes numbers, strings, None, tensors, arrays and containers of them for JSON.

    Raises:
        TypeError: The value has an unsupported type or is nested too deeply.
    """
    if depth > DEPTH:
        raise TypeError(f"values nested deeper than {DEPTH}, where numbers were expected")
    if type(value) is int and value.bit_length() > BITS:
        raise TypeError(f"a whole number of {value.bit_length():,} bits; {BITS:,} are the most")
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, list | tuple):  # torch.Size is a tuple
        return {"list": [encode(part, depth + 1) for part in value]}
    if isinstance(value, dict):
        if not all(type(key) is str for key in value):
            raise TypeError("a dict with keys that are no text, where all must be")
        return {"dict": {key: encode(part, depth + 1) for key, part in value.items()}}
    kind = type(value).__name__
    if hasattr(value, "detach"):  # a tensor, without importing torch
        try:
            value = value.numpy(force=True)
        except Exception as error:  # NumPy lacks the dtype or layout
            raise TypeError(f"a value of type {kind} that becomes no array: {error}") from error
    if isinstance(value, np.ndarray | np.generic):
        array = np.ascontiguousarray(value).reshape(np.shape(value))
        array = array.astype(array.dtype.newbyteorder("<"))
        if array.dtype.str in DTYPES:
            data = base64.b64encode(array.tobytes()).decode("ascii")
            return {"array": data, "dtype": array.dtype.str, "shape": list(array.shape)}
        raise TypeError(
            f"an array of type {array.dtype}, where real numbers of at most 64 bits or truth "
            "values were expected"
        )
    raise TypeError(f"a value of type {kind}, where a number or a tensor was expected")


def decode(payload: Any, depth: int = 0) -> Any:
    """Inverts :func:`encode` on untrusted data; tensors become NumPy arrays.

    Raises:
        ValueError: The payload is not an output of :func:`encode`.
    """
    if depth > DEPTH:
        raise ValueError(f"values are nested deeper than {DEPTH}")
    if payload is None or type(payload) in (bool, int, float, str):
        return payload
    if type(payload) is dict:
        match payload:
            case {"float": "nan" | "inf" | "-inf" as text, **rest} if not rest:
                return float(text)
            case {"list": list(parts), **rest} if not rest:
                return [decode(part, depth + 1) for part in parts]
            case {"dict": dict(parts), **rest} if not rest:
                return {str(key): decode(part, depth + 1) for key, part in parts.items()}
            case {"array": str(data), "dtype": str(dtype), "shape": list(shape), **rest} if (
                not rest
            ):
                return _array(data, dtype, shape)
    raise ValueError("a value that no probe prints")


def _array(data: str, dtype: str, shape: list[Any]) -> np.ndarray:
    if dtype not in DTYPES or not all(type(n) is int and n >= 0 for n in shape) or len(shape) > 8:
        raise ValueError(f"an array of type {dtype!r} and shape {shape!r}")
    try:
        array = np.frombuffer(base64.b64decode(data, validate=True), dtype)
    except binascii.Error as error:
        raise ValueError("an array whose bytes are not base64") from error
    if array.size != math.prod(shape):
        raise ValueError(f"an array of shape {shape} with {array.size} numbers")
    return array.reshape(shape)


@cache
def tensor_maker() -> Callable[[np.ndarray], Any]:
    """``torch.from_numpy``, imported on the first call and cached.

    The first call comes before a student's code runs, which may change torch.
    """
    import torch

    return torch.from_numpy


def to_kernel(case: dict[str, Any], *, tensors: bool) -> dict[str, Any]:
    """Copies of the keyword arguments of one case, for the probe.

    Args:
        case: A decoded case, with NumPy arrays.
        tensors: Whether to convert arrays to tensors of PyTorch.
    """
    make = tensor_maker() if tensors else np.asarray

    def convert(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return make(value.copy())
        if isinstance(value, list):
            return [convert(part) for part in value]
        if isinstance(value, dict):
            return {key: convert(part) for key, part in value.items()}
        return value

    return {name: convert(value) for name, value in case.items()}


def difference(expected: Any, got: Any, rtol: float, atol: float) -> str | None:
    """How two decoded values differ, without naming expected numbers; None if they agree.

    Numbers and arrays agree if their shapes do and |got - expected| <= atol + rtol |expected|
    everywhere. Floats of any width and zero-dimensional arrays are equivalent; booleans are not
    numbers. Of several differences the first is returned, with its indices.

    Args:
        expected: The right value.
        got: The value of an answer.
        rtol: Relative tolerance.
        atol: Absolute tolerance.
    """
    for place, message in _differences(expected, got, rtol, atol, ""):
        return f"{message} (at {place})" if place else message
    return None


def _differences(
    expected: Any, got: Any, rtol: float, atol: float, place: str
) -> Iterator[tuple[str, str]]:
    """Yields the indices and the kind of each difference."""
    other_kind = f"{_kind(expected)} was expected, got {_kind(got)}"
    match expected, got:
        case list(), list() if len(expected) == len(got):
            for at, part in enumerate(expected):
                yield from _differences(part, got[at], rtol, atol, f"{place}[{at}]")
        case dict(), dict() if set(expected) == set(got):
            for key, part in expected.items():
                yield from _differences(part, got[key], rtol, atol, f"{place}[{key!r}]")
        case dict(), dict():
            missing, more = set(expected) - set(got), set(got) - set(expected)
            lacks = f"lacks {_keys(missing)}" if missing else f"has {_keys(more)} too many"
            yield place, f"the dict {lacks}"
        case str(), str():
            if got != expected:
                yield place, "the text differs"
        case None, None:
            pass
        case (None | str() | list() | dict(), _) | (_, None | str() | list() | dict()):
            yield place, other_kind
        case _:
            wanted, given = np.asarray(expected), np.asarray(got)
            same_type = (wanted.dtype == bool) == (given.dtype == bool)
            if wanted.shape != given.shape or not same_type:
                yield place, other_kind
            elif message := _difference_of_numbers(wanted, given, rtol, atol):
                yield place, message


def _difference_of_numbers(
    wanted: np.ndarray, given: np.ndarray, rtol: float, atol: float
) -> str | None:
    """How two arrays of the same shape differ, both of numbers or both of booleans."""
    what = "truth value" if wanted.dtype == bool else "number"
    try:
        a, b = wanted.astype(float), given.astype(float)
    except OverflowError:  # an integer too large for a float
        same = wanted.dtype == given.dtype and wanted.item() == given.item()
        return None if same else f"the {what} differs"
    unlike, verbs = np.isnan(b) & (not np.isnan(a).any()), ("is nan", "are nan")
    if not unlike.any():
        with np.errstate(over="ignore"):
            close = np.isclose(b, a, rtol=rtol, atol=atol, equal_nan=True)
        unlike, verbs = ~close, ("differs", "differ")
    wrong = int(np.count_nonzero(unlike))
    if wrong == 0:
        return None
    which = f"the {what}" if unlike.size == 1 else f"{wrong} of {unlike.size} {what}s"
    return f"{which} {verbs[wrong > 1]}"


def _kind(value: Any) -> str:
    """The kind of a value in words, distinct for kinds that are never equal."""
    if value is None:
        return "None"
    if isinstance(value, str):
        return "a text"
    if isinstance(value, dict):
        return "a dict"
    if isinstance(value, list):
        many = {0: "an empty list", 1: "a list of 1 value"}
        return many.get(len(value), f"a list of {len(value)} values")
    array = np.asarray(value)
    what = "truth value" if array.dtype == bool else "number"
    return f"an array of {what}s of shape {array.shape}" if array.shape else f"a {what}"


def _keys(keys: set[str]) -> str:
    """Some keys in words, shortened because a submission chose them."""
    return f"the key{'s' * (len(keys) > 1)} {reprlib.repr(sorted(keys))[1:-1]}"
