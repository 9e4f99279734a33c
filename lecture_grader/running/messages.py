"""What the cells of a run did, in words and as values. Nothing here decides about an answer."""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from lecture_grader.cells import is_student
from lecture_grader.running.notebook import Notebook
from lecture_grader.running.observation import CellRun, Observation
from lecture_grader.student.values import decode

__all__ = ["CALLED", "MAX_PARTS", "failure", "parts", "remarks", "values_of"]

CALL_TEXT = 200  # characters of an exception's message that are told then
MAX_STOPPED = 4  # cells that are named as having stopped
LONG_NUMBER = re.compile(r"\d*\.\d{3,}(?:e[+-]?\d+)?")
PLACE = re.compile(r"\((?:\d+\.py|<[^>]*>), line (\d+)\)")  # a cell has no file
MAX_PARTS = 200_000  # separate values of a probe: each takes some 60 bytes here; arrays are one
CALLED = " (when your answer was called)"


def failure(cell: CellRun, where: str) -> tuple[str, str]:
    """Outcome and message of a cell that failed."""
    if cell.outcome != "error":
        return cell.outcome, f"{cell.message}{where}"
    message = PLACE.sub(r"(line \1)", cell.message)
    if where:  # what a call says may show the hidden cases
        message = LONG_NUMBER.sub("...", message)[:CALL_TEXT]
    no_memory = cell.error == "MemoryError" or "DefaultCPUAllocator" in cell.message
    return "memory" if no_memory else "error", f"{cell.error}: {message}{where}"


def remarks(notebook: Notebook, observation: Observation) -> tuple[str, ...]:
    """What the student should know about the run of their own cells."""
    sources = {cell.id: cell.source for cell in notebook.cells if is_student(cell.id)}
    ran = {cell.id for cell in observation.cells if cell.outcome != "not run"}
    told = [
        f"The cell that begins with {_start(sources[cell.id])} stopped: "
        f"{failure(cell, '')[1][:200]}"
        for cell in observation.cells
        if cell.id in sources and cell.id in ran and cell.outcome != "ok"
    ]
    if len(told) > MAX_STOPPED:
        told[MAX_STOPPED:] = [f"{len(told) - MAX_STOPPED} more cells stopped."]
    left = [source for name, source in sources.items() if name not in ran]
    if left:
        first = f"beginning with {_start(left[0])}"
        which = f"{len(left)} cells, the first {first}," if len(left) > 1 else f"The cell {first}"
        told.append(f"{which} could not run any more.")
    return (*told, *_files(observation.cells))


def _start(source: str) -> str:
    line = source.strip().partition("\n")[0]
    return f"“{line[:60]}”" if line else "an empty line"


def _files(cells: Iterable[CellRun]) -> Iterator[str]:
    for cell in cells:
        with suppress(ValueError, TypeError, AttributeError, RecursionError):
            if parts(cell) > MAX_PARTS:
                continue
            files = json.loads(cell.values or "null").get("files")
            if files and all(isinstance(name, str) for name in files):
                names = ", ".join(name[:100] for name in files[:20])
                yield f"Your cells wrote files, which are not kept: {names}."
                return


def parts(cell: CellRun) -> int:
    """How many values a text of JSON could hold at most, found without reading it."""
    return sum((cell.values or "").count(sign) for sign in "[{,")


def values_of(cell: CellRun) -> list[Any]:
    """The values that a probe displayed, one for each case.

    Raises:
        ValueError, RecursionError: It displayed what no probe does.
    """
    if parts(cell) > MAX_PARTS:
        raise ValueError("too many values")
    payload = json.loads(cell.values or "null")
    if type(payload) is not dict or type(payload.get("values")) is not list:
        raise ValueError("no list of values")
    return [decode(value) for value in payload["values"]]
