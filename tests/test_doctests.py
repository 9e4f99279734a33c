"""The examples in the docstrings run; every public name has one; errors and sources are named."""

import ast
import builtins
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
    import_module(module.name)
    for module in pkgutil.walk_packages(lecture_vae.__path__, "lecture_vae.")
    if not module.ispkg and module.name != "lecture_vae.grading.selfcheck"  # it re-exports
]
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.REPORT_NDIFF
WITHOUT_EXAMPLE = {
    "load_mnist": "downloads MNIST",
    "load_kernels": "needs a C compiler",
    "check_structures": "needs a C compiler",
    "fetch_in_threads": "needs a C compiler",
    "train_side_by_side": "starts processes, each of which imports torch",
    "reproduce": "trains the lecture's runs, for minutes",
    "table": "takes what reproduce returns",
    "export_run": "writes the files of a run that took seconds to train",
    "export_balance": "writes the files of runs that took minutes to train",
    "cannot_write": "ends the program",
    "import_all": "imports a file of the user's",
    "load": "reads the images of the user",
    "stored_run": "opens a run of the user",
    "sweep": "a verb of the command line, which the book shows",
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


def construction(of: type) -> list[Callable[..., Any]]:
    """What runs when an object is made, as far as the class itself defines it."""
    functions = [vars(of).get(name) for name in ("__init__", "__post_init__")]
    file = inspect.getfile(of)  # dataclass and Protocol generate theirs elsewhere
    return [f for f in functions if inspect.isfunction(f) and f.__code__.co_filename == file]


def raised(function: Callable[..., Any]) -> list[type[Exception]]:
    """The exceptions of a function's own raise statements, apart from those that a helper makes."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    names = {
        node.exc.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and isinstance(node.exc.func, ast.Name)
    }
    scope = vars(builtins) | inspect.unwrap(function).__globals__
    return [scope[name] for name in sorted(names) if inspect.isclass(scope[name])]


def unnamed_errors(thing: Callable[..., Any]) -> list[str]:
    """What is raised although the docstring names neither it nor a base such as OSError."""
    functions = construction(thing) if inspect.isclass(thing) else [thing]
    named = set(re.findall(r"\w+", inspect.getdoc(thing) or "")) - {"Exception"}
    kinds = [kind for function in functions for kind in raised(function)]
    return [
        kind.__name__ for kind in kinds if named.isdisjoint(base.__name__ for base in kind.__mro__)
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

    assert unnamed_errors(undocumented) == ["ValueError"]


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
