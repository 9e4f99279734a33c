"""The notebooks that are run for a submission: the student's cells, then the probes.

The first notebook has all cells in the student's order. Each exercise that is not correct runs
again alone in a fresh kernel, in two ways, so that no side effect of another exercise or of an
earlier attempt costs a mark:

===============  ==================================================================
``whole``        all cells in order, then the probes of all exercises
``by name``      the cells whose names the answer uses, statement by statement
``up to``        all cells up to the answer, in order
===============  ==================================================================

No expected values are known here.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from lecture_grader import cells
from lecture_grader.student import probe as probe_module
from lecture_grader.student.values import encode
from lecture_grader.submissions.submission import Answer, Submission

__all__ = ["BY_NAME", "UP_TO", "Cell", "Notebook", "Probe", "Rebuilding", "differs"]

BY_NAME, UP_TO = "by name", "up to"
SETUP_SECONDS = 60.0  # CPU time of the set-up


@dataclass(frozen=True)
class Cell:
    """One cell of a notebook that is run."""

    id: str
    source: str
    timeout: float  # CPU seconds
    probes: bool = False  # it displays the values of a probe
    by_statement: bool = False  # its top-level statements run one by one

    @property
    def code(self) -> str:
        """The code for the kernel. A property, because a source may be long."""
        return _call("run_statements", self.source) if self.by_statement else self.source


@dataclass(frozen=True)
class Notebook:
    """Cells to run in one kernel."""

    key: str  # identifies it in the observations
    cells: tuple[Cell, ...]
    wall: float  # seconds of wall time for all cells

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The ids of its cells, in the expected order of execution."""
        return tuple(cell.id for cell in self.cells)

    def with_extra_time(self, factor: float) -> "Notebook":
        """A copy in which every cell may take longer by a factor; the wall time is not changed."""
        if factor == 1:
            return self
        return replace(
            self, cells=tuple(replace(cell, timeout=cell.timeout * factor) for cell in self.cells)
        )


@dataclass(frozen=True)
class Probe:
    """How the answer to an exercise is called in a kernel."""

    exercise: str  # its name
    number: int  # its position in the assignment, from 1
    answer: str  # the top-level name that a student defines
    source: str  # code that defines probe(...), which calls the answer on one case
    cases: tuple[dict[str, Any], ...]  # the keyword arguments of the probe
    tensors: bool  # whether arrays in the cases become tensors
    seconds: float  # CPU time for one cell
    asserts: str | None  # the public ones; None if they take as long as the answer
    mistake: str  # source of a wrong answer, for the canary


@dataclass(frozen=True)
class Rebuilding:
    """How the submissions of an assignment become notebooks."""

    setup: str
    probes: tuple[Probe, ...]  # of all exercises, in order

    def whole(self, key: str, submission: Submission, canary: str | None, wall: float) -> Notebook:
        """The notebook of all cells in their order and all probes.

        Args:
            key: Identifies the notebook.
            submission: What the student handed in.
            canary: The exercise whose probe also runs on a wrong answer; None for no canary.
            wall: Seconds of wall time.
        """
        found = [self._setup()]
        found += [self._student(submission, at) for at in range(len(submission.cells))]
        answered = {answer.exercise for answer in submission.answers if answer.cells}
        found += [self._probe(each) for each in self.probes if each.exercise in answered]
        return Notebook(key, (*found, *self._canary(canary)), wall)

    def alone(
        self, key: str, submission: Submission, answer: Answer, way: str, wall: float
    ) -> Notebook:
        """The notebook of one answer: its cells, its probe, the public asserts and the canary.

        Args:
            key: Identifies the notebook.
            submission: What the student handed in.
            answer: The answer to run.
            way: BY_NAME or UP_TO.
            wall: Seconds of wall time.
        """
        probe = next(each for each in self.probes if each.exercise == answer.exercise)
        found = [self._setup()]
        if way == UP_TO:
            found += [self._student(submission, at) for at in range(max(answer.cells) + 1)]
        else:
            needed = [self._student(submission, at, by_statement=True) for at in answer.alone]
            # An earlier cell may have rebound a name of the set-up.
            found += [*needed[:-1], self._setup(cells.SETUP_AGAIN), needed[-1]]
        found.append(self._probe(probe))
        if probe.asserts is not None:
            found.append(Cell(cells.public_check_id(probe.number), probe.asserts, probe.seconds))
        return Notebook(key, (*found, *self._canary(probe.exercise)), wall)

    def _setup(self, identity: str = cells.SETUP) -> Cell:
        return Cell(identity, self.setup, SETUP_SECONDS)

    def _student(self, submission: Submission, at: int, by_statement: bool = False) -> Cell:
        cell = submission.cells[at]
        seconds = {each.exercise: each.seconds for each in self.probes}
        timeout = seconds.get(cell.exercise, max(seconds.values()))
        return Cell(cells.student_id(at), cell.source, timeout, by_statement=by_statement)

    def _probe(self, probe: Probe, *, canary: bool = False) -> Cell:
        others = [each.answer for each in self.probes if each != probe]
        request = {
            "setup": self.setup,
            "probe": probe.source,
            "answers": [probe.answer, *others],
            "planted": probe.mistake if canary else "",
            "cases": [encode(case) for case in probe.cases],
            "tensors": probe.tensors,
        }
        source = _call("probe_answer", json.dumps(request))
        identity = cells.CANARY if canary else cells.probe_id(probe.number)
        return Cell(identity, source, probe.seconds, probes=True)

    def _canary(self, name: str | None) -> Iterator[Cell]:
        """The probe on a wrong answer; if it comes out right, the student's code has tampered."""
        for probe in self.probes:
            if probe.exercise == name:
                yield self._probe(probe, canary=True)


def differs(submission: Submission, answer: Answer, way: str) -> bool:
    """Whether running an answer alone differs from running the whole notebook.

    Args:
        submission: What the student handed in.
        answer: One of its answers.
        way: BY_NAME or UP_TO.
    """
    others = any(each.cells for each in submission.answers if each != answer)
    if way == UP_TO:
        return others or max(answer.cells) + 1 < len(submission.cells)
    return others or len(answer.alone) < len(submission.cells)


def _call(function: str, argument: str) -> str:
    """Code that calls a function of :mod:`lecture_grader.student.probe` and binds no name."""
    return f"__import__({probe_module.__name__!r}, fromlist=['']).{function}({argument!r})"
