"""Values on their way out of a student's kernel: encoded there, decoded and compared here.

Only numbers, text, arrays and containers of them pass, as JSON: nothing that a kernel sends is
ever unpickled or executed. An array travels as its type, shape and bytes.
"""

import base64
import binascii
import math
from typing import Any

import numpy as np

__all__ = ["decode", "difference", "encode", "to_kernel"]

DTYPES = ("<f8", "<f4", "<f2", "<i8", "<i4", "<i2", "|i1", "|u1", "|b1")
DEPTH = 8


def encode(value: Any) -> Any:
    """Makes a value JSON: numbers, strings, None, tensors, arrays, and containers of them.

    Raises:
        TypeError: The value holds something else; the message names its type.
    """
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if type(value) in (list, tuple):
        return {"list": [encode(part) for part in value]}
    if type(value) is dict and all(type(key) is str for key in value):
        return {"dict": {key: encode(part) for key, part in value.items()}}
    if hasattr(value, "detach"):  # a tensor, without importing torch for those who need it not
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray | np.generic):
        array = np.ascontiguousarray(value).reshape(np.shape(value))
        array = array.astype(array.dtype.newbyteorder("<"))
        if array.dtype.str in DTYPES:
            data = base64.b64encode(array.tobytes()).decode("ascii")
            return {"array": data, "dtype": array.dtype.str, "shape": list(array.shape)}
        raise TypeError(f"an array of type {array.dtype}, where numbers were expected")
    raise TypeError(f"a {type(value).__name__}, where a number or a tensor was expected")


def decode(payload: Any, depth: int = 0) -> Any:
    """Undoes :func:`encode`, trusting nothing; tensors come back as NumPy arrays.

    Raises:
        ValueError: The payload is not what :func:`encode` makes.
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


def to_kernel(case: dict[str, Any]) -> dict[str, Any]:
    """The keyword arguments of one case as a probe gets them: arrays become tensors."""
    import torch

    def convert(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return torch.from_numpy(value.copy())
        if isinstance(value, list):
            return [convert(part) for part in value]
        if isinstance(value, dict):
            return {key: convert(part) for key, part in value.items()}
        return value

    return {name: convert(value) for name, value in case.items()}


def difference(expected: Any, got: Any, rtol: float, atol: float) -> str | None:
    """None where two decoded values agree, else what differs, without naming expected numbers.

    Numbers and arrays agree if their shapes do and |got - expected| <= atol + rtol |expected|
    everywhere. A float of any width and a zero-dimensional array are the same thing, but a truth
    value is no number.
    """
    if isinstance(expected, list | dict):
        if type(got) is not type(expected):
            return f"a {_kind(expected)} was expected, got {_kind(got)}"
        pairs: Any = enumerate(expected) if isinstance(expected, list) else expected.items()
        if len(got) != len(expected):
            return f"{len(expected)} values were expected, got {len(got)}"
        if isinstance(got, dict) and set(got) != set(expected):
            return f"the keys {sorted(expected)} were expected, got {sorted(got)}"
        for key, part in pairs:
            message = difference(part, got[key], rtol, atol)
            if message is not None:
                return f"{message} (at {key})"
        return None
    if expected is None or isinstance(expected, str):
        if type(got) is not type(expected):
            return f"{_kind(expected)} was expected, got {_kind(got)}"
        return None if got == expected else "the text differs"
    if not isinstance(got, int | float | np.ndarray):
        return f"{_kind(expected)} was expected, got {_kind(got)}"
    wanted, given = np.asarray(expected), np.asarray(got)
    if wanted.shape != given.shape:
        return f"shape {wanted.shape} was expected, got {given.shape}"
    if (wanted.dtype == bool) != (given.dtype == bool):
        return f"{_kind(expected)} was expected, got {_kind(got)}"
    try:
        wanted, given = wanted.astype(float), given.astype(float)
    except OverflowError:  # a whole number that no float holds
        return None if type(got) is type(expected) and got == expected else "the number differs"
    if np.isnan(given).any() and not np.isnan(wanted).any():
        return "nan where a number was expected"
    with np.errstate(over="ignore"):
        close = np.isclose(given, wanted, rtol=rtol, atol=atol, equal_nan=True)
    if close.all():
        return None
    many = f"{np.size(close) - np.count_nonzero(close)} of {np.size(close)} numbers differ"
    return "the number differs" if np.size(close) == 1 else many


def _kind(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    kinds = {bool: "a truth value", int: "a number", float: "a number", str: "a text"}
    return kinds.get(type(value), "None" if value is None else f"a {type(value).__name__}")
