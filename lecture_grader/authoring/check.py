"""The checks of an exercise: what decides about an answer, from the values that it gave.

This is trusted code in a trusted process. What students hand in never comes here.
"""

import random
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from io import StringIO
from typing import Any

import numpy as np

from lecture_grader.authoring.assignment import Assignment, Exercise, ExerciseError, WrongAnswer
from lecture_grader.student.selfcheck import KnownCases
from lecture_grader.student.values import decode, difference, encode, to_kernel

__all__ = ["PUBLIC_SEED", "HiddenCheck", "check_cell", "execute", "quiet"]

KNOWN = 3  # cases that the public check knows
PUBLIC_SEED = 0


class HiddenCheck:
    """Decides about an answer from the values that it gave, on cases from one seed.

    Attributes:
        cases: The keyword arguments of the probe, one dict a case.
        tensors: Whether the probe gets arrays as tensors.
        right: What the solution gives, one value a case; None where the exercise has a judge.
        wrong: The wrong answers that give values on every case, and these values.

    Raises:
        ExerciseError: The hidden cell, the solution or a wrong answer fails on the way.
    """

    def __init__(self, assignment: Assignment, exercise: Exercise, seed: int):
        self.assignment, self.exercise = assignment, exercise
        self.tensors = assignment.tensors
        try:
            with quiet():
                execute(assignment.setup)  # so that what it imports is there to be seeded
            with quiet():
                names = execute(assignment.setup, exercise.hidden)
                drawn = names["draw"](np.random.default_rng(seed))
                # As they come out in a student's kernel, so that both sides see the same.
                self.cases: list[dict[str, Any]] = [decode(encode(case)) for case in drawn]
        except Exception as error:
            raise ExerciseError(f"{exercise.name}: no cases can be drawn: {error!r}.") from error
        self.rtol, self.atol = float(names.get("RTOL", 1e-5)), float(names.get("ATOL", 1e-7))
        self._judge: Callable[..., str | None] | None = names.get("judge")
        self.right: list[Any] | None = None
        if self._judge is None:
            try:
                self.right = self.values_of(exercise.solution)
            except Exception as error:
                raise ExerciseError(f"{exercise.name}: the solution fails: {error!r}.") from error
        self.wrong = [] if self.judged else list(self._values_of_wrong_answers())

    @property
    def judged(self) -> bool:
        """Whether the exercise judges the values itself, rather than comparing with a solution."""
        return self._judge is not None

    def values_of(self, source: str) -> list[Any]:
        """What an answer gives on every case; raises whatever the answer raises."""
        with quiet():
            names = execute(self.assignment.setup, source, self.exercise.probe)
            cases = [to_kernel(case, tensors=self.tensors) for case in self.cases]
            return [decode(encode(names["probe"](**case))) for case in cases]

    def objection(self, values: list[Any]) -> str | None:
        """None if the values are right on every case, else what is wrong with them."""
        if len(values) != len(self.cases):
            return f"{len(self.cases)} cases were asked, {len(values)} answered"
        found = []
        for index, (case, value) in enumerate(zip(self.cases, values, strict=True)):
            if self._judge is not None:
                try:
                    message = self._judge(case, value)
                except Exception as error:  # a value of a shape that the judge did not foresee
                    message = f"these values cannot be judged ({type(error).__name__}: {error})"
            else:
                assert self.right is not None
                message = difference(self.right[index], value, self.rtol, self.atol)
            if message is not None:
                found.append(message)
        if not found:
            return None
        if len(self.cases) == 1:
            return found[0]
        return f"{len(found)} of {len(self.cases)} cases come out wrong, for example: {found[0]}"

    def _values_of_wrong_answers(self) -> Iterator[tuple[WrongAnswer, list[Any]]]:
        for wrong in self.exercise.wrong:
            try:
                values = self.values_of(wrong.source)
            except Exception:  # it fails on some case, so no values can resemble it
                continue
            yield wrong, values

    @property
    def survivors(self) -> list[str]:
        """Wrong answers that get every case right: the cases are too weak to grade with."""
        return [wrong.name for wrong, values in self.wrong if self.objection(values) is None]

    def objection_to(self, source: str) -> str | None:
        """As :meth:`objection`, for an answer that is run here; raises what it raises."""
        return self.objection(self.values_of(source))

    def resembles(self, values: list[Any]) -> WrongAnswer | None:
        """The named wrong answer that gives these values on every case, if one does."""
        for wrong, theirs in self.wrong:
            if len(theirs) == len(values) and not any(
                difference(a, b, self.rtol, self.atol) for a, b in zip(theirs, values, strict=True)
            ):
                return wrong
        return None


def check_cell(assignment: Assignment, exercise: Exercise) -> str:
    """The public check as students get it: the author's asserts, then the self-check."""
    public = HiddenCheck(assignment, exercise, PUBLIC_SEED)
    if public.right is None:
        return exercise.check_cell(None)
    known = KnownCases.pack(
        public.cases[:KNOWN],
        public.right[:KNOWN],
        [(wrong.hint, values[:KNOWN]) for wrong, values in public.wrong],
        rtol=public.rtol,
        atol=public.atol,
        tensors=public.tensors,
    )
    return exercise.check_cell(known)


def execute(*cells: str) -> dict[str, Any]:
    """Executes cells in a fresh namespace and returns it."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in cells:
        exec(compile(cell, "<exercise>", "exec"), names)
    return names


@contextmanager
def quiet() -> Iterator[None]:
    """Fixed seeds, no warnings, no prints, one thread: as in the kernels of students."""
    torch = sys.modules.get("torch")  # which a course without it never imports
    with warnings.catch_warnings(), redirect_stdout(StringIO()), ExitStack() as stack:
        warnings.simplefilter("ignore")
        np.random.seed(0)  # noqa: NPY002 - answers may use the global generator
        random.seed(0)
        if torch is not None:
            stack.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(1)
            stack.enter_context(torch.random.fork_rng([]))
            torch.manual_seed(0)
        yield
