"""The examples in the docstrings run; every public name has one; errors and sources are named."""

import ast
import doctest
import inspect
import io
import pkgutil
import re
import textwrap
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

import lecture_vae

CHAPTERS = (Path(__file__).resolve().parents[1] / "book").glob("*.md")
MODULES = [
    import_module(f"lecture_vae.{module.name}")
    for module in pkgutil.iter_modules(lecture_vae.__path__)
    if not module.ispkg
]
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.REPORT_NDIFF
WITHOUT_EXAMPLE = {
    "load_mnist": "downloads MNIST",
    "exit_at_end_of_input": "ends the process",
    "train_side_by_side": "starts processes, each of which imports torch",
    "reproduce": "trains the lecture's runs, for minutes",
    "table": "takes what reproduce returns",
    "export_run": "writes the files of a run that took seconds to train",
    "export_balance": "writes the files of runs that took minutes to train",
}


def public_names(module: ModuleType) -> dict[str, Any]:
    return {name: getattr(module, name) for name in getattr(module, "__all__", ())}


def public_callables() -> dict[str, Callable[..., Any]]:
    """The functions and classes; constants have no docstring of their own."""
    names = {name: value for each in MODULES for name, value in public_names(each).items()}
    return {
        name: value
        for name, value in names.items()
        if inspect.isroutine(value) or inspect.isclass(value)
    }


def with_methods(name: str, thing: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    """A function or class, and the public functions and properties that the class defines."""
    yield name, thing
    for member, value in vars(thing).items() if inspect.isclass(thing) else ():
        value = value.fget if isinstance(value, property) else value
        if inspect.isfunction(value) and not member.startswith("_"):
            yield f"{name}.{member}", value


# ---------------------------------------------------------------------------- examples


def examples() -> Iterator[doctest.DocTest]:
    """The names in an example: torch, np and what is public, in the package and in its module."""
    package = {name: getattr(lecture_vae, name) for name in lecture_vae.__all__}
    for module in MODULES:
        names = {"torch": torch, "np": np, **package, **public_names(module)}
        found = doctest.DocTestFinder().find(module, globs=names)
        yield from (example for example in found if example.examples)


EXAMPLES = list(examples())


@pytest.fixture(autouse=True)
def _without_figures():
    yield
    plt.close("all")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_example_gives_what_it_shows(example):
    report = io.StringIO()
    if doctest.DocTestRunner(optionflags=OPTIONS).run(example, out=report.write).failed:
        pytest.fail(report.getvalue(), pytrace=False)


def test_an_example_that_gives_something_else_is_reported():
    wrong = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, None)
    with pytest.raises(pytest.fail.Exception, match=r"(?s)- 3.*\+ 2"):
        test_an_example_gives_what_it_shows(wrong)


def test_every_public_name_has_an_example_except_where_it_would_cost_too_much():
    without = [
        name
        for name, thing in public_callables().items()
        if not any(">>> " in (inspect.getdoc(each) or "") for _, each in with_methods(name, thing))
    ]
    assert sorted(without) == sorted(WITHOUT_EXAMPLE)


def test_there_are_many_examples_of_many_names():
    assert len(EXAMPLES) >= 45
    assert sum(len(example.examples) for example in EXAMPLES) >= 60


# ---------------------------------------------------------------------------- errors


def raised(function: Callable[..., Any]) -> set[str]:
    """The exceptions that a function's own statements raise, by name."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    calls = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise)]
    return {each.func.id for each in calls if isinstance(each, ast.Call) and (
        isinstance(each.func, ast.Name) and not each.func.id.startswith("_")
    )}  # fmt: skip


def unnamed_errors(thing: Callable[..., Any]) -> set[str]:
    """What is raised without being named in the docstring. Construction is the class's affair."""
    functions = [thing]
    if inspect.isclass(thing):
        functions = [vars(thing)[name] for name in ("__init__", "__post_init__") if (
            inspect.isfunction(vars(thing).get(name))
            and vars(thing)[name].__module__ == thing.__module__
            and vars(thing)[name].__code__.co_filename == inspect.getfile(thing)
        )]  # fmt: skip
    document = inspect.getdoc(thing) or ""
    return {
        error
        for function in functions
        for error in raised(function)
        if not re.search(rf"\b{error}\b", document)
        and not any(re.search(rf"\b{base}\b", document) for base in bases(error, function))
    }


def bases(error: str, function: Callable[..., Any]) -> list[str]:
    import builtins

    kind = getattr(builtins, error, None) or inspect.unwrap(function).__globals__[error]
    return [
        base.__name__ for base in kind.__mro__ if base not in (object, BaseException, Exception)
    ]


def test_docstrings_name_the_errors_that_are_raised():
    missing = {
        name: errors
        for public, thing in public_callables().items()
        for name, each in with_methods(public, thing)
        if (errors := unnamed_errors(each))
    }
    assert missing == {}


def test_an_error_that_no_docstring_names_is_reported():
    def undocumented(x: int) -> None:
        """Raise."""
        raise ValueError(x)

    assert unnamed_errors(undocumented) == {"ValueError"}


# ---------------------------------------------------------------------------- sources


def test_equations_that_docstrings_name_are_in_the_book():
    label = r"(?:eq|def|thm)-[a-z0-9-]*[a-z0-9]"
    text = "\n".join(chapter.read_text(encoding="utf8") for chapter in CHAPTERS)
    labels = set(re.findall(rf"\(({label})\)$|:label: ({label})$", text, re.MULTILINE))
    known = {each for pair in labels for each in pair}
    named = {
        each
        for module in MODULES
        for each in re.findall(rf"\b{label}\b", inspect.getsource(module))
    }
    assert len(named) >= 8
    assert named <= known
