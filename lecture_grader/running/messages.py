"""Messages and values of the cells of a run. No verdict is made here."""

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

MAX_CALL_MESSAGE = 200  # characters of the message of an exception that a probe raised
MAX_STOPPED = 4  # stopped cells that are listed
LONG_NUMBER = re.compile(r"\d*\.\d{3,}(?:e[+-]?\d+)?")
LOCATION = re.compile(r"\((?:\d+\.py|<[^>]*>), line (\d+)\)")  # a cell has no file
MAX_PARTS = 200_000  # values of a probe, about 60 bytes each; an array counts as one
CALLED = " (when your answer was called)"


def failure(cell: CellRun, where: str) -> tuple[str, str]:
    """Outcome and message of a failed cell.

    Args:
        cell: The cell.
        where: Suffix of the message; "" for a student's own cell.
    """
    if cell.outcome != "error":
        return cell.outcome, f"{cell.message}{where}"
    message = LOCATION.sub(r"(line \1)", cell.message)
    if where:  # the message may reveal the hidden cases
        message = LONG_NUMBER.sub("...", message)[:MAX_CALL_MESSAGE]
    out_of_memory = cell.error == "MemoryError" or "DefaultCPUAllocator" in cell.message
    return "memory" if out_of_memory else "error", f"{cell.error}: {message}{where}"


def remarks(notebook: Notebook, observation: Observation) -> tuple[str, ...]:
    """Sentences for the student about the run of their own cells: stops, files."""
    sources = {cell.id: cell.source for cell in notebook.cells if is_student(cell.id)}
    ran = {cell.id for cell in observation.cells if cell.outcome != "not run"}
    sentences = [
        f"The cell that begins with {_start(sources[cell.id])} stopped: "
        f"{failure(cell, '')[1][:200]}"
        for cell in observation.cells
        if cell.id in sources and cell.id in ran and cell.outcome != "ok"
    ]
    if len(sentences) > MAX_STOPPED:
        sentences[MAX_STOPPED:] = [f"{len(sentences) - MAX_STOPPED} more cells stopped."]
    skipped = [source for name, source in sources.items() if name not in ran]
    if skipped:
        first = f"beginning with {_start(skipped[0])}"
        which = (
            f"{len(skipped)} cells, the first {first}," if len(skipped) > 1 else f"The cell {first}"
        )
        sentences.append(f"{which} could not run any more.")
    return (*sentences, *_files(observation.cells))


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
    """An upper bound of the number of values in the JSON of a probe, without parsing it."""
    return sum((cell.values or "").count(sign) for sign in "[{,")


def values_of(cell: CellRun) -> list[Any]:
    """The values that a probe displayed, one for each case.

    Raises:
        ValueError, RecursionError: The output does not have the form of a probe's.
    """
    if parts(cell) > MAX_PARTS:
        raise ValueError("too many values")
    payload = json.loads(cell.values or "null")
    if type(payload) is not dict or type(payload.get("values")) is not list:
        raise ValueError("no list of values")
    return [decode(value) for value in payload["values"]]
