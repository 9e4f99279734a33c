"""Source: a fingerprint of the code that something is made of.

The code of a function or class is its source, and that of every function, class and constant it
refers to, as far as it is ours or an adopter's. Comments, docstrings and blank lines do not count.
Libraries are not read: torch's version is named elsewhere in a recipe, and that of another one
where a class or function of it is used. Python's own library does not count.
"""

import ast
import hashlib
import inspect
import io
import linecache
import sys
import textwrap
import tokenize
from collections.abc import Collection, Iterator
from dataclasses import is_dataclass
from functools import cache, cached_property
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch

__all__ = ["SourceError", "code_fingerprint"]

OURS = "lecture_vae"
VERSIONED_ELSEWHERE = {"torch", "torchvision", "numpy"}
PLAIN = (bool, int, float, complex, str, bytes, type(None))


class SourceError(ValueError):
    """The source of something that decides a result cannot be read; the message says of what."""


def code_fingerprint(*things: Any, without: Collection[Any] = ()) -> str:
    """16 hex digits that change when the code of one of the functions or classes changes.

    Args:
        things: Functions and classes.
        without: What changes no result, and is not followed.

    Raises:
        SourceError: If the source of a function is not to be had, as where it was made by ``exec``
            or typed at Python's own prompt.
    """
    found: set[str] = set()
    done = {id(thing) for thing in without}
    waiting: list[tuple[str, Any]] = [("", thing) for thing in things]
    while waiting:
        name, thing = waiting.pop()
        if id(thing) in done:
            continue
        if isinstance(thing, MethodType):
            thing = thing.__func__
        if isinstance(thing, FunctionType | type):
            thing = inspect.unwrap(thing) if isinstance(thing, FunctionType) else thing
            name = f"{thing.__module__}.{thing.__qualname__}"
            library = _library(thing.__module__)
            if id(thing) in done:
                continue
            done.add(id(thing))
            if library is None:
                waiting += _class(thing) if isinstance(thing, type) else _function(thing)
                text = _class_text(thing) if isinstance(thing, type) else _text(thing)
                found.add(f"{thing.__qualname__}: {text}")
            elif library:
                found.add(library)
        elif (constant := _value(thing)) is not None:
            found.add(f"{name.rpartition('.')[2]} = {constant}")
        elif is_dataclass(thing):  # an instance, such as a likelihood that a module holds
            waiting.append((name, type(thing)))
            waiting += [(f"{name}.{each}", value) for each, value in vars(thing).items()]
    # Not in the fingerprint: which file something stands in.
    return hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest()[:16]


def _library(module_name: str | None) -> str | None:
    """The version of the library that a module belongs to, "" if none counts; None if it is own."""
    top = (module_name or "builtins").partition(".")[0]
    if top in (OURS, "__main__"):
        return None
    if top in sys.stdlib_module_names or top in VERSIONED_ELSEWHERE:
        return ""
    module = sys.modules.get(top)
    places = [getattr(module, "__file__", None), *getattr(module, "__path__", [])]
    if any({"site-packages", "dist-packages"} & {*Path(place).parts} for place in places if place):
        return f"{top} {getattr(module, '__version__', '')}"
    return None


def _function(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """What a function refers to."""
    yield from _referred(function.__code__, function.__globals__)
    for cell in function.__closure__ or ():
        try:
            yield f"{function.__module__}.closed over by {function.__name__}", cell.cell_contents
        except ValueError:  # a name that was never given a value
            continue
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    for number, default in enumerate(defaults):
        yield f"{function.__module__}.default {number} of {function.__name__}", default


def _referred(code: CodeType, scope: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    where = scope.get("__name__", "")
    for name in code.co_names:
        if name not in scope:
            continue
        value = scope[name]
        if not isinstance(value, ModuleType):
            yield f"{where}.{name}", value
        elif _library(value.__name__) is None:
            # `losses.squared_error`: which attribute is meant is among the names, too.
            for attribute in code.co_names:
                if attribute in vars(value) and not isinstance(vars(value)[attribute], ModuleType):
                    yield f"{value.__name__}.{attribute}", vars(value)[attribute]
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _referred(constant, scope)


def _members(thing: type) -> Iterator[tuple[str, FunctionType]]:
    """The functions that a class defines itself, properties among them."""
    for name, member in vars(thing).items():
        for function in _functions_of(member):
            # What dataclass, NamedTuple, Enum and Protocol write follows from the fields.
            ours = _library(function.__globals__.get("__name__")) is None
            if ours and not _is_generated(function):
                yield name, function


def _functions_of(member: Any) -> Iterator[FunctionType]:
    if isinstance(member, property):
        parts: list[Any] = [member.fget, member.fset]
    elif isinstance(member, staticmethod | classmethod):
        parts = [member.__func__]
    elif isinstance(member, cached_property):
        parts = [member.func]
    else:
        parts = [member]
    yield from (inspect.unwrap(part) for part in parts if isinstance(part, FunctionType))


def _is_generated(function: FunctionType) -> bool:
    file = function.__code__.co_filename
    is_special = function.__name__.startswith("_")
    return is_special and file.startswith("<") and not linecache.getlines(file)


def _class(thing: type) -> Iterator[tuple[str, Any]]:
    """What a class refers to: its bases and what its functions do."""
    for base in thing.__mro__[1:]:
        yield "", base
    for _, function in _members(thing):
        yield from _function(function)
    for name, member in vars(thing).items():
        if isinstance(member, type):
            yield name, member


def _class_text(thing: type) -> str:
    """The functions of a class and its plain attributes: classes of notebooks have no source."""
    texts = [f"{name}: {_text(function)}" for name, function in _members(thing)]
    for name, member in vars(thing).items():
        is_own = name in ("_fields", "_member_map_") or not name.startswith("_")
        if is_own and (text := _value(member)) is not None:
            texts.append(f"{name} = {text}")
    return "\n".join(sorted(texts))


def _value(thing: Any) -> str | None:
    """A constant as text; None for what is no constant."""
    if isinstance(thing, PLAIN):
        return repr(thing)
    if isinstance(thing, torch.Tensor):
        thing = thing.detach().cpu().numpy()
    if isinstance(thing, np.ndarray):
        return f"{thing.dtype}{thing.shape} {hashlib.sha256(thing.tobytes()).hexdigest()[:16]}"
    if isinstance(thing, tuple | list | set | frozenset):
        parts = [_value(each) for each in thing]
        return None if None in parts else f"({', '.join(map(str, parts))})"
    if isinstance(thing, dict):
        pairs = [(_value(key), _value(value)) for key, value in thing.items()]
        return None if any(None in pair for pair in pairs) else str(pairs)
    return None


def _text(function: FunctionType) -> str:
    whole = f"{function.__module__}.{function.__qualname__}"
    try:
        source = textwrap.dedent(inspect.getsource(function))
        # Python reads the file as it is now: other lines may stand there by now.
        if function.__name__ != "<lambda>" and f"def {function.__name__}" not in source:
            raise OSError("another text stands in its place")
        return _bare(source)
    except (OSError, SyntaxError, tokenize.TokenError) as error:
        raise SourceError(
            f"the source of {whole} cannot be read ({error}), so a change of it would go "
            "unnoticed. Was its file changed since it was imported? Then restart Python. Was it "
            "made by exec, or typed at Python's prompt? Then write it to a file or a notebook's "
            "cell."
        ) from error


@cache
def _bare(source: str) -> str:
    """Python source without comments, docstrings and blank lines."""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a lambda in the middle of an expression
        return "\n".join(line.rstrip() for line in lines if line.strip())
    for node in ast.walk(tree):
        # A string that stands alone, a docstring, changes nothing that is computed.
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            for row in range(node.lineno - 1, node.end_lineno or node.lineno):
                lines[row] = ""
    return "\n".join(line.rstrip() for line in lines if line.strip())
