"""Source: a fingerprint of the code of functions and classes.

The code of a function or class is its source text, and that of every function, class and constant
it refers to, also in a dictionary or a list, in this package or in the user's own modules.
Comments, docstrings and blank lines are ignored. Of an installed library only the version counts;
the versions of torch, torchvision and numpy and the standard library are ignored, since a recipe
names torch's version itself.
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

PACKAGE = "lecture_vae"
IGNORED_LIBRARIES = {"torch", "torchvision", "numpy"}
# Since Python 3.14 annotations are functions that Python makes. They decide nothing, and have no
# source of their own.
ANNOTATIONS = {"__annotate__", "__annotate_func__"}
PLAIN_TYPES = (bool, int, float, complex, str, bytes, type(None))


class SourceError(ValueError):
    """The source text of a function cannot be read; the message names the function.

    Examples:
        >>> names = {"__name__": "__main__"}
        >>> exec("def double(x): return 2 * x", names)
        >>> code_fingerprint(names["double"])
        Traceback (most recent call last):
        ...
        lecture_vae.source.SourceError: the source of __main__.double cannot be read ...
    """


def code_fingerprint(*things: Any, without: Collection[Any] = ()) -> str:
    """16 hex digits that change when the code of one of the functions or classes changes.

    Args:
        things: Functions and classes.
        without: Functions and classes that do not affect a result; they are left out.

    Raises:
        SourceError: If the source of a function cannot be read, as when it was defined by ``exec``
            or at Python's interactive prompt.

    Examples:
        >>> code_fingerprint(LinearVAE) == code_fingerprint(LinearVAE)
        True
        >>> code_fingerprint(LinearVAE) == code_fingerprint(AffineVAE)
        False
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
                waiting += (
                    _referred_by_class(thing)
                    if isinstance(thing, type)
                    else _referred_by_function(thing)
                )
                text = _class_source(thing) if isinstance(thing, type) else _function_source(thing)
                found.add(f"{thing.__qualname__}: {text}")
            elif library:
                found.add(library)
        elif (constant := _constant(thing)) is not None:
            found.add(f"{name.rpartition('.')[2]} = {constant}")
        elif type(thing) in (dict, list, tuple):  # a table of functions
            items = thing.items() if isinstance(thing, dict) else enumerate(thing)
            waiting += [(f"{name}[{key}]", value) for key, value in items]
        elif is_dataclass(thing):  # an instance, such as a global likelihood
            waiting.append((name, type(thing)))
            waiting += [(f"{name}.{each}", value) for each, value in vars(thing).items()]
    # The names of files are not part of the fingerprint: code may be moved.
    return hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest()[:16]


def _library(module_name: str | None) -> str | None:
    """Name and version of a module's library, "" if it is ignored; None for code to be read."""
    top = (module_name or "builtins").partition(".")[0]
    if top in (PACKAGE, "__main__"):
        return None
    if top in sys.stdlib_module_names or top in IGNORED_LIBRARIES:
        return ""
    module = sys.modules.get(top)
    places = [getattr(module, "__file__", None), *getattr(module, "__path__", [])]
    if any({"site-packages", "dist-packages"} & {*Path(place).parts} for place in places if place):
        return f"{top} {getattr(module, '__version__', '')}"
    return None


def _referred_by_function(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """The names and values that a function refers to."""
    yield from _referred_by_code(function.__code__, function.__globals__)
    for cell in function.__closure__ or ():
        try:
            yield f"{function.__module__}.closed over by {function.__name__}", cell.cell_contents
        except ValueError:  # an empty cell: the name was never assigned
            continue
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    for number, default in enumerate(defaults):
        yield f"{function.__module__}.default {number} of {function.__name__}", default


def _referred_by_code(code: CodeType, scope: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    where = scope.get("__name__", "")
    for name in code.co_names:
        if name not in scope:
            continue
        value = scope[name]
        if not isinstance(value, ModuleType):
            yield f"{where}.{name}", value
        elif _library(value.__name__) is None:
            # For `losses.squared_error` the names hold the attribute as well as the module.
            for attribute in code.co_names:
                if attribute in vars(value) and not isinstance(vars(value)[attribute], ModuleType):
                    yield f"{value.__name__}.{attribute}", vars(value)[attribute]
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _referred_by_code(constant, scope)


def _members(thing: type) -> Iterator[tuple[str, FunctionType]]:
    """The functions that are defined in a class body, properties included."""
    for name, member in vars(thing).items():
        if name in ANNOTATIONS:
            continue
        for function in _functions_of(member):
            # What dataclass, NamedTuple, Enum and Protocol generate follows from the fields.
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


def _referred_by_class(thing: type) -> Iterator[tuple[str, Any]]:
    """The names and values that a class refers to: its bases, and those of its functions."""
    for base in thing.__mro__[1:]:
        yield "", base
    for _, function in _members(thing):
        yield from _referred_by_function(function)
    for name, member in vars(thing).items():
        if isinstance(member, type):
            yield name, member


def _class_source(thing: type) -> str:
    """The functions of a class and its plain attributes; inspect finds no class of a notebook."""
    texts = [f"{name}: {_function_source(function)}" for name, function in _members(thing)]
    for name, member in vars(thing).items():
        is_own = name in ("_fields", "_member_map_") or not name.startswith("_")
        if is_own and (text := _constant(member)) is not None:
            texts.append(f"{name} = {text}")
    return "\n".join(sorted(texts))


def _constant(thing: Any) -> str | None:
    """A constant as text; None if it is not a constant."""
    if isinstance(thing, PLAIN_TYPES):
        return repr(thing)
    if isinstance(thing, torch.Tensor):
        thing = thing.detach().cpu().numpy()
    if isinstance(thing, np.ndarray):
        return f"{thing.dtype}{thing.shape} {hashlib.sha256(thing.tobytes()).hexdigest()[:16]}"
    if isinstance(thing, tuple | list | set | frozenset):
        parts = [_constant(each) for each in thing]
        return None if None in parts else f"({', '.join(map(str, parts))})"
    if isinstance(thing, dict):
        pairs = [(_constant(key), _constant(value)) for key, value in thing.items()]
        return None if any(None in pair for pair in pairs) else str(pairs)
    return None


# Reading a source takes milliseconds. By identity: equal code may have other default arguments.
_sources: dict[int, tuple[CodeType, str]] = {}


def _function_source(function: FunctionType) -> str:
    whole = f"{function.__module__}.{function.__qualname__}"
    code = function.__code__
    if id(code) in _sources:
        return _sources[id(code)][1]
    try:
        source = textwrap.dedent(inspect.getsource(function))
        # inspect reads the file as it is now, which may have changed since it was imported.
        if function.__name__ != "<lambda>" and f"def {function.__name__}" not in source:
            raise OSError("the file holds other text at its place")
        _sources[id(code)] = code, _without_comments(source)
        return _sources[id(code)][1]
    except (OSError, SyntaxError, tokenize.TokenError) as error:
        raise SourceError(
            f"the source of {whole} cannot be read ({error}), so a change of it would go "
            "unnoticed. Was its file changed since it was imported? Then restart Python. Was it "
            "defined by exec, or at Python's prompt? Then write it to a file or a notebook's "
            "cell."
        ) from error


@cache
def _without_comments(source: str) -> str:
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
        # A docstring, or another constant that is not used.
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            for row in range(node.lineno - 1, node.end_lineno or node.lineno):
                lines[row] = ""
    return "\n".join(line.rstrip() for line in lines if line.strip())
