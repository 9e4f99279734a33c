"""Needs: the cells that an answer depends on by name."""

import builtins
from collections.abc import Collection, Mapping, Sequence

from lecture_grader.submissions.names import Names

__all__ = ["given_names", "needed"]

# Words in the names of functions that set only the appearance of figures and tables.
APPEARANCE = ("context", "option", "palette", "style", "theme")


def given_names(setup: Names) -> dict[str, str]:
    """The names that Python and the set-up define, and how they are defined."""
    return dict.fromkeys(dir(builtins), "") | setup.defines


def needed(
    start: int,
    cells: Sequence[Names],
    given: Mapping[str, str],
    answers: Collection[int] = (),
) -> tuple[int, ...]:
    """The transitive dependencies of a cell by name.

    Args:
        start: Index of the cell.
        cells: The names of all cells, in order.
        given: Names that exist without any cell, and how they are defined. A cell supplies such a
            name only if it defines a function or class or imports something else under it: a
            variable called ``sum`` in an experiment does not replace the built-in function.
        answers: Indices of the cells that answer exercises. Their changes to modules, such as a
            default of torch, are ignored.

    Returns:
        The indices of all cells that it depends on, in order, then its own.
    """
    by_name = _suppliers(cells, given, answers)
    chosen, todo = {start}, [start]
    todo += [at for at, names in enumerate(cells) if names.anything]
    chosen |= set(todo)
    seen: set[tuple[str, bool]] = set()
    while todo:
        names = cells[todo.pop()]
        required = {(name, True) for name in names.needs} | {
            (name, False) for name in names.touches
        }
        for name, also_definers in required - seen:
            definers, changers = by_name.get(name, ((), ()))
            for at in (*(definers if also_definers else ()), *changers):
                if at not in chosen:
                    chosen.add(at)
                    todo.append(at)
        seen |= required
    return (*sorted(chosen - {start}), start)


def _suppliers(
    cells: Sequence[Names], given: Mapping[str, str], answers: Collection[int]
) -> dict[str, tuple[list[int], list[int]]]:
    """For every name the indices of the cells that define it and that change its object."""
    found: dict[str, tuple[list[int], list[int]]] = {}
    last = dict(given)
    modules = {name for name, how in given.items() if how.startswith("import")}
    effects: dict[str, set[tuple[str, str]]] = {}
    for at, names in enumerate(cells):
        for name, how in names.defines.items():
            effects.setdefault(name, set()).update(names.later if how == "def" else ())
            if how.startswith("import"):
                modules.add(name)
                if last.get(name) == how:  # repeated
                    continue
            if name in given and how == "=":
                continue
            last[name] = how
            found.setdefault(name, ([], []))[0].append(at)
    for at, names in enumerate(cells):
        changes = names.changes.union(*(effects.get(called, ()) for called in names.calls))
        for name, method in changes:
            if name not in modules or (_changes_module(method) and at not in answers):
                found.setdefault(name, ([], []))[1].append(at)
    return found


def _changes_module(method: str) -> bool:
    """Whether a change matters to answers: an assignment, or a call as of set_default_dtype."""
    return not method or (
        method.startswith("set")
        and method not in ("set", "setp")
        and not any(word in method for word in APPEARANCE)
    )
