"""Observations: what the cells of a notebook did, reported by the pytest process that ran them.

A report is a line of JSON. Much of its content comes from students' code and is untrusted; its
types are checked when it is parsed.
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
    """A notebook starts."""

    notebook: str  # name of its folder


@dataclass(frozen=True)
class End:
    """A notebook has finished."""

    notebook: str


@dataclass(frozen=True)
class CellRun:
    """What one cell did."""

    id: str
    outcome: str  # one of OUTCOMES
    error: str = ""  # class name of the exception
    message: str = ""  # of the exception, or why the cell was stopped
    printed: str = ""  # stdout and stderr; "" for a probe
    values: str | None = None  # JSON that a probe displayed
    seconds: float = 0.0  # wall time


@dataclass(frozen=True)
class Observation:
    """What a notebook did.

    Attributes:
        notebook: Its key.
        cells: What each cell that was started did, in order.
        seconds: Wall time.
        ended: Why it did not finish: "timeout", or "crashed" if its output crashed pytest; "" if
            it did.
    """

    notebook: str
    cells: tuple[CellRun, ...]
    seconds: float
    ended: str = ""

    def cell(self, identity: str) -> CellRun:
        """What a cell did; its outcome is "not run" if it was not started."""
        found = (cell for cell in self.cells if cell.id == identity)
        return next(found, CellRun(identity, "not run"))

    @property
    def failure(self) -> str:
        """The message of a failure of the grader itself; "" if there is none."""
        return next((c.message for c in self.cells if c.outcome == "infrastructure"), "")


def report(event: Begin | CellRun | End) -> bytes:
    """Serialize a report as one line."""
    return json.dumps([type(event).__name__, asdict(event)]).encode() + b"\n"


def read_report(line: bytes) -> Begin | CellRun | End:
    """Parse the output of :func:`report`.

    Raises:
        ReportError: The line is anything else.
    """
    kinds: dict[str, type[Begin | CellRun | End]] = {
        kind.__name__: kind for kind in (Begin, CellRun, End)
    }
    try:
        name, fields = json.loads(line)
        found = kinds[name](**fields)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ReportError(f"a line is not a report: {error!r}") from error
    if not all(_fits(key, value) for key, value in asdict(found).items()):
        raise ReportError(f"a report has a field of the wrong type: {line[:200]!r}")
    return found


def _fits(key: str, value: Any) -> bool:
    if key == "outcome":
        return value in OUTCOMES
    if key == "values" and value is None:
        return True
    return type(value) in ((int, float) if key == "seconds" else (str,))
