"""Observations: what the cells of a notebook did, as the process that ran them reports it.

A report is one line of JSON. It comes from a process of ours, but much of what it holds a student's
code has said: types are checked when it is read, and nothing in it is believed.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Begin", "CellRun", "End", "Observation", "ReportError", "read_report", "report"]

OUTCOMES = (
    "ok", "error", "timeout", "crashed", "memory", "output", "not run", "infrastructure",
)  # fmt: skip


class ReportError(ValueError):
    """A line is not a report."""


@dataclass(frozen=True)
class Begin:
    """A notebook begins."""

    notebook: str  # the folder that it lies in


@dataclass(frozen=True)
class End:
    """A notebook has come to its end."""

    notebook: str


@dataclass(frozen=True)
class CellRun:
    """What one cell did."""

    id: str
    outcome: str  # one of OUTCOMES
    error: str = ""  # name of the exception's class
    message: str = ""  # of the exception, or why the cell was stopped
    printed: str = ""  # to stdout and stderr; nothing for a probe
    values: str | None = None  # JSON, of a probe that displayed some
    seconds: float = 0.0  # wall time


@dataclass(frozen=True)
class Observation:
    """What a notebook did.

    Attributes:
        notebook: Its key.
        cells: Of those that were begun, in order.
        seconds: Wall time.
        ended: Why it did not run to its end: "" if it did, "timeout", or "crashed" where what it
            sent ended the process that reads it.
    """

    notebook: str
    cells: tuple[CellRun, ...]
    seconds: float
    ended: str = ""

    def cell(self, identity: str) -> CellRun:
        """What a cell did; one that was never begun was not run."""
        found = (cell for cell in self.cells if cell.id == identity)
        return next(found, CellRun(identity, "not run"))

    @property
    def failure(self) -> str:
        """Why nothing can be concluded from it: a fault of the grading itself; "" if none."""
        return next((c.message for c in self.cells if c.outcome == "infrastructure"), "")


def report(what: Begin | CellRun | End) -> bytes:
    """A report as one line."""
    return json.dumps([type(what).__name__, asdict(what)]).encode() + b"\n"


def read_report(line: bytes) -> Begin | CellRun | End:
    """What :func:`report` wrote.

    Raises:
        ReportError: It is anything else.
    """
    kinds: dict[str, type[Begin | CellRun | End]] = {
        kind.__name__: kind for kind in (Begin, CellRun, End)
    }
    try:
        name, fields = json.loads(line)
        found = kinds[name](**fields)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ReportError(f"a line that is no report: {error!r}") from error
    if not all(_fits(key, value) for key, value in asdict(found).items()):
        raise ReportError(f"a report with a field of another type: {line[:200]!r}")
    return found


def _fits(key: str, value: Any) -> bool:
    if key == "outcome":
        return value in OUTCOMES
    if key == "values" and value is None:
        return True
    return type(value) in ((int, float) if key == "seconds" else (str,))
