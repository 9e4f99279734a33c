"""The notebooks that are run for a submission: the student's cells, then our probes.

One notebook runs what the student ran: all of their cells, in their order. What does not come out
right runs again, one exercise in a fresh kernel, in two ways, because neither what one exercise
does to another nor what an earlier attempt does to a later one shall cost a mark:

===============  ==================================================================
``whole``        all cells in order, then the probes of all exercises
``by name``      what the answer needs by its names, statement by statement
``up to``        all cells up to the answer, in order
===============  ==================================================================

Nothing here knows a right value, or what decides about one.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lecture_grader import cells
from lecture_grader.student import probe
from lecture_grader.student.values import encode
from lecture_grader.submissions.submission import Answer, Submission

__all__ = ["BY_NAME", "UP_TO", "Cell", "Notebook", "Probe", "Rebuilding", "differs"]

BY_NAME, UP_TO = "by name", "up to"
OUR_SECONDS = 60.0  # CPU time for cells that are ours alone


@dataclass(frozen=True)
class Cell:
    """One cell of a notebook that is run."""

    id: str
    source: str
    timeout: float  # CPU seconds
    probes: bool = False  # its values are wanted
    by_statement: bool = False  # its statements are run one by one

    @property
    def code(self) -> str:
        """What the kernel is asked to run. Made when it is needed: a source may be long."""
        return _call("run_statements", self.source) if self.by_statement else self.source


@dataclass(frozen=True)
class Notebook:
    """Cells to run in one kernel."""

    key: str  # names it in the observations
    cells: tuple[Cell, ...]
    wall: float  # seconds of wall time for all of it

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The ids of its cells, in the order in which they are expected to run."""
        return tuple(cell.id for cell in self.cells)


@dataclass(frozen=True)
class Probe:
    """How the answer to an exercise is called in a kernel."""

    exercise: str  # its name
    number: int  # its place in the assignment, from 1
    answer: str  # the top-level name that a student defines
    source: str  # defines probe(...), which calls the answer on one case
    cases: tuple[dict[str, Any], ...]  # the keyword arguments of the probe
    tensors: bool  # whether arrays among them become tensors
    seconds: float  # CPU time for one cell
    asserts: str | None  # those that students have seen, None if they take as long as the answer
    mistake: str  # source of a wrong answer, to be planted


@dataclass(frozen=True)
class Rebuilding:
    """How the submissions of an assignment become notebooks."""

    setup: str
    probes: tuple[Probe, ...]  # of all exercises, in order

    def whole(self, key: str, submission: Submission, canary: str | None, wall: float) -> Notebook:
        """All cells in their order, the probes, and a wrong answer to one exercise as a canary."""
        found = [self._setup()]
        found += [self._student(submission, place) for place in range(len(submission.cells))]
        answered = {answer.exercise for answer in submission.answers if answer.cells}
        found += [self._probe(each) for each in self.probes if each.exercise in answered]
        return Notebook(key, (*found, *self._canary(canary)), wall)

    def alone(
        self, key: str, submission: Submission, answer: Answer, way: str, wall: float
    ) -> Notebook:
        """One answer, `way` being BY_NAME or UP_TO; the asserts follow, for their words."""
        asked = next(each for each in self.probes if each.exercise == answer.exercise)
        found = [self._setup()]
        if way == UP_TO:
            found += [self._student(submission, at) for at in range(max(answer.cells) + 1)]
        else:
            needed = [self._student(submission, at, by_statement=True) for at in answer.alone]
            # What an earlier cell made of a name of the set-up is not what the answer means.
            found += [*needed[:-1], self._setup(cells.SETUP_AGAIN), needed[-1]]
        found.append(self._probe(asked))
        if asked.asserts is not None:
            found.append(Cell(cells.public_check_id(asked.number), asked.asserts, asked.seconds))
        return Notebook(key, (*found, *self._canary(asked.exercise)), wall)

    def _setup(self, identity: str = cells.SETUP) -> Cell:
        return Cell(identity, self.setup, OUR_SECONDS)

    def _student(self, submission: Submission, place: int, by_statement: bool = False) -> Cell:
        cell = submission.cells[place]
        seconds = {each.exercise: each.seconds for each in self.probes}
        most = seconds.get(cell.exercise, max(seconds.values()))
        return Cell(cells.student_id(place), cell.source, most, by_statement=by_statement)

    def _probe(self, asked: Probe, *, canary: bool = False) -> Cell:
        others = [each.answer for each in self.probes if each != asked]
        told = {
            "setup": self.setup,
            "probe": asked.source,
            "answers": [asked.answer, *others],
            "planted": asked.mistake if canary else "",
            "cases": [encode(case) for case in asked.cases],
            "tensors": asked.tensors,
        }
        source = _call("probe_answer", json.dumps(told))
        identity = cells.CANARY if canary else cells.probe_id(asked.number)
        return Cell(identity, source, asked.seconds, probes=True)

    def _canary(self, name: str | None) -> Iterator[Cell]:
        """A wrong answer in place of the student's: nothing of theirs may make it right."""
        for asked in self.probes:
            if asked.exercise == name:
                yield self._probe(asked, canary=True)


def differs(submission: Submission, answer: Answer, way: str) -> bool:
    """Whether a way to run an answer alone differs from how it ran in the whole notebook."""
    others = any(each.cells for each in submission.answers if each != answer)
    if way == UP_TO:
        return others or max(answer.cells) + 1 < len(submission.cells)
    return others or len(answer.alone) < len(submission.cells)


def _call(function: str, argument: str) -> str:
    """Code that calls a function of :mod:`lecture_grader.student.probe`, leaving no name behind."""
    return f"__import__({probe.__name__!r}, fromlist=['']).{function}({argument!r})"
