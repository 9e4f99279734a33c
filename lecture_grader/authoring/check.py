"""The checks of an exercise, which judge an answer by the values that it returned.

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

KNOWN = 3  # cases of the public check
PUBLIC_SEED = 0


class HiddenCheck:
    """Judges an answer by its values on cases that are drawn from a seed.

    Attributes:
        cases: The keyword arguments of the probe, a dict for each case.
        tensors: Whether arrays reach the probe as tensors.
        right: The value of the solution for each case; None where the exercise has a judge.
        wrong: The wrong answers that return a value for every case, with these values.

    Raises:
        ExerciseError: The hidden cell or the solution raises an exception.
    """

    def __init__(self, assignment: Assignment, exercise: Exercise, seed: int):
        self.assignment, self.exercise = assignment, exercise
        self.tensors = assignment.tensors
        try:
            with quiet():
                execute(assignment.setup)  # imports the libraries whose generators quiet() seeds
            with quiet():
                names = execute(assignment.setup, exercise.hidden)
                drawn = names["draw"](np.random.default_rng(seed))
                # The same round trip as on the way to a student's kernel.
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
        """Whether the exercise defines judge(case, value), in place of a comparison."""
        return self._judge is not None

    def values_of(self, source: str) -> list[Any]:
        """The values of an answer for all cases; propagates its exceptions."""
        with quiet():
            names = execute(self.assignment.setup, source, self.exercise.probe)
            cases = [to_kernel(case, tensors=self.tensors) for case in self.cases]
            return [decode(encode(names["probe"](**case))) for case in cases]

    def objection(self, values: list[Any]) -> str | None:
        """What is wrong with the values; None if they are right in every case."""
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
            except Exception:  # it raises, so that no values can resemble it
                continue
            yield wrong, values

    @property
    def survivors(self) -> list[str]:
        """Names of the wrong answers that pass: surviving mutants, so the cases are too weak."""
        return [wrong.name for wrong, values in self.wrong if self.objection(values) is None]

    def objection_to(self, source: str) -> str | None:
        """As :meth:`objection` for the source of an answer; propagates its exceptions."""
        return self.objection(self.values_of(source))

    def resembles(self, values: list[Any]) -> WrongAnswer | None:
        """The named wrong answer with these values on every case, if there is one."""
        for wrong, expected in self.wrong:
            if len(expected) == len(values) and not any(
                difference(a, b, self.rtol, self.atol)
                for a, b in zip(expected, values, strict=True)
            ):
                return wrong
        return None


def check_cell(assignment: Assignment, exercise: Exercise) -> str:
    """The check cell of a notebook: the author's asserts and the self-check."""
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
    torch = sys.modules.get("torch")  # some courses never import it
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
