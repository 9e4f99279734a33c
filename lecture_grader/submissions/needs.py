"""Needs: which cells of a notebook an answer stands on, by name."""

import builtins
from collections.abc import Collection, Mapping, Sequence

from lecture_grader.submissions.names import Names

__all__ = ["given_names", "needed"]

# What a function of a module sets that no answer depends on.
LOOKS = ("context", "option", "palette", "style", "theme")


def given_names(setup: Names) -> dict[str, str]:
    """The names that are there without any cell of the student, and how they are defined."""
    return dict.fromkeys(dir(builtins), "") | setup.defines


def needed(
    start: int,
    cells: Sequence[Names],
    given: Mapping[str, str],
    answers: Collection[int] = (),
) -> tuple[int, ...]:
    """The places of all cells that a cell needs by name, transitively, in order; then its own.

    Args:
        start: The place of the cell.
        cells: The names of all cells, in order.
        given: Names that are there without any cell, and how they are defined. One of them is
            needed from a cell only if that defines or imports another thing under its name:
            a variable of an experiment called ``sum`` is not what an answer means.
        answers: Places of cells that answer exercises. What they change of a module, such as a
            default of torch, is no concern of other answers.
    """
    by_name = _suppliers(cells, given, answers)
    chosen, todo = {start}, [start]
    todo += [place for place, names in enumerate(cells) if names.anything]
    chosen |= set(todo)
    seen: set[tuple[str, bool]] = set()
    while todo:
        names = cells[todo.pop()]
        wanted = {(name, True) for name in names.needs} | {(name, False) for name in names.touches}
        for name, also_definers in wanted - seen:
            definers, changers = by_name.get(name, ((), ()))
            for place in (*(definers if also_definers else ()), *changers):
                if place not in chosen:
                    chosen.add(place)
                    todo.append(place)
        seen |= wanted
    return (*sorted(chosen - {start}), start)


def _suppliers(
    cells: Sequence[Names], given: Mapping[str, str], answers: Collection[int]
) -> dict[str, tuple[list[int], list[int]]]:
    """For every name the places that define it and the places that change its object."""
    found: dict[str, tuple[list[int], list[int]]] = {}
    last = dict(given)
    modules = {name for name, how in given.items() if how.startswith("import")}
    effects: dict[str, set[tuple[str, str]]] = {}
    for place, names in enumerate(cells):
        for name, how in names.defines.items():
            effects.setdefault(name, set()).update(names.later if how == "def" else ())
            if how.startswith("import"):
                modules.add(name)
                if last.get(name) == how:  # the same again adds nothing
                    continue
            if name in given and how == "=":
                continue
            last[name] = how
            found.setdefault(name, ([], []))[0].append(place)
    for place, names in enumerate(cells):
        changes = names.changes.union(*(effects.get(called, ()) for called in names.calls))
        for name, method in changes:
            if name not in modules or (_matters(method) and place not in answers):
                found.setdefault(name, ([], []))[1].append(place)
    return found


def _matters(method: str) -> bool:
    """Whether a module is changed by an assignment or a function such as set_default_dtype."""
    return not method or (
        method.startswith("set")
        and method not in ("set", "setp")
        and not any(word in method for word in LOOKS)
    )
