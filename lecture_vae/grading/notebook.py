"""The notebooks that are run for a submission: the student's cells, then our probes.

One notebook runs what the student ran: all of their cells, in their order. What does not come out
right runs again, one exercise in a fresh kernel, in two ways, because neither what one exercise
does to another nor what an earlier attempt does to a later one shall cost a mark:

===============  ==================================================================
``whole``        all cells in order, then the probes of all exercises
``by name``      what the answer needs by its names, statement by statement
``up to``        all cells up to the answer, in order
===============  ==================================================================
"""

import json
from dataclasses import dataclass

from lecture_vae.grading.exercises import Assignment, Exercise
from lecture_vae.grading.submission import Answer, Submission
from lecture_vae.grading.trial import HiddenCheck
from lecture_vae.grading.values import encode

__all__ = ["BY_NAME", "UP_TO", "Cell", "Notebook", "Rebuilding"]

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


@dataclass(frozen=True)
class Rebuilding:
    """How the submissions of an assignment become notebooks.

    Attributes:
        assignment: Where set-up, probes and public checks come from.
        checks: The cases of each exercise, by name.
        timeout: CPU seconds for a cell, in place of each exercise's own.
    """

    assignment: Assignment
    checks: dict[str, HiddenCheck]
    timeout: float | None = None

    def whole(self, key: str, submission: Submission, canary: str | None, wall: float) -> Notebook:
        """All cells in their order, the probes, and a wrong answer to one exercise as a canary."""
        cells = [self._setup()]
        cells += [self._student(submission, place) for place in range(len(submission.cells))]
        answers = {answer.exercise: answer for answer in submission.answers}
        for exercise in self.assignment.exercises:
            if exercise.name in answers and answers[exercise.name].cells:
                cells.append(self._probe(exercise))
        return Notebook(key, (*cells, *self._canary(canary)), wall)

    def alone(
        self, key: str, submission: Submission, exercise: Exercise, way: str, wall: float
    ) -> Notebook:
        """One exercise, `way` being BY_NAME or UP_TO; our own check follows, for its words."""
        answer = self._answer(submission, exercise)
        cells = [self._setup()]
        if way == UP_TO:
            cells += [self._student(submission, at) for at in range(max(answer.cells) + 1)]
        else:
            needed = [self._student(submission, at, by_statement=True) for at in answer.alone]
            # What an earlier cell made of a name of the set-up is not what the answer means.
            cells += [*needed[:-1], self._setup("again"), needed[-1]]
        cells.append(self._probe(exercise))
        if not self.checks[exercise.name].judged:  # else the check is as long as the answer
            cells.append(Cell(f"e{exercise.number}-check", exercise.check, self._seconds(exercise)))
        return Notebook(key, (*cells, *self._canary(exercise.name)), wall)

    def differs(self, submission: Submission, exercise: Exercise, way: str) -> bool:
        """Whether a way to run an exercise alone differs from how it ran in the whole notebook."""
        answer, cells = self._answer(submission, exercise), len(submission.cells)
        others = any(each.cells for each in submission.answers if each != answer)
        if way == UP_TO:
            return others or max(answer.cells) + 1 < cells
        return others or len(answer.alone) < cells

    def solutions(self, key: str, wall: float) -> Notebook:
        """The right answers, to see before the first student that they come out right."""
        quick = [e for e in self.assignment.exercises if not self.checks[e.name].judged]
        cells = [self._setup()]
        cells += [Cell(f"e{e.number}-answer", e.solution, self._seconds(e)) for e in quick]
        return Notebook(key, (*cells, *map(self._probe, quick)), wall)

    def _answer(self, submission: Submission, exercise: Exercise) -> Answer:
        return next(each for each in submission.answers if each.exercise == exercise.name)

    def _seconds(self, *exercises: Exercise) -> float:
        return self.timeout or max(exercise.timeout for exercise in exercises)

    def _setup(self, stem: str = "setup") -> Cell:
        return Cell(stem, self.assignment.setup, OUR_SECONDS)

    def _student(self, submission: Submission, place: int, by_statement: bool = False) -> Cell:
        cell = submission.cells[place]
        answered = [e for e in self.assignment.exercises if e.name == cell.exercise]
        seconds = self._seconds(*answered or self.assignment.exercises)
        return Cell(f"s{place}", cell.source, seconds, by_statement=by_statement)

    def _probe(self, exercise: Exercise, planted: str = "", stem: str = "") -> Cell:
        others = [e.answer for e in self.assignment.exercises if e != exercise]
        asked = {
            "setup": self.assignment.setup,
            "probe": exercise.probe,
            "answers": [exercise.answer, *others],
            "planted": planted,
            "cases": [encode(case) for case in self.checks[exercise.name].cases],
        }
        source = _call("probe_answer", json.dumps(asked))
        return Cell(f"{stem or f'e{exercise.number}'}-probe", source, self._seconds(exercise), True)

    def _canary(self, name: str | None) -> list[Cell]:
        """A wrong answer in place of the student's: nothing of theirs may make it right."""
        return [
            self._probe(exercise, planted=exercise.wrong[0].source, stem="canary")
            for exercise in self.assignment.exercises
            if exercise.name == name
        ]


def _call(function: str, argument: str) -> str:
    """Code that calls a function of ``inside`` and leaves no name behind."""
    module = "lecture_vae.grading.inside"
    return f"__import__({module!r}, fromlist=['']).{function}({argument!r})"
