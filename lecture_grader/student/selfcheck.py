"""The check that students run: their answer on known cases, with hints by named wrong answers.

What is known travels in the notebook as one line of text: the cases, the right values and the
values that each named wrong answer gives. Grading asks the same question on other cases.
"""

import base64
import json
import zlib
from collections.abc import Callable
from typing import Any

from lecture_grader.student.values import decode, difference, encode, to_kernel

__all__ = ["KnownCases"]


class KnownCases:
    """A few cases of an exercise, with the values of its solution and of its wrong answers.

    Args:
        packed: From :meth:`pack`.
    """

    def __init__(self, packed: str):
        known = json.loads(zlib.decompress(base64.b64decode(packed)))
        self.cases = [decode(case) for case in known["cases"]]
        self.right = [decode(value) for value in known["right"]]
        self.wrong = [
            (hint, [decode(value) for value in values]) for hint, values in known["wrong"]
        ]
        # Notebooks that were handed out before version 0.3 do not say it, and have tensors.
        self.tensors: bool = known.get("tensors", True)
        self.tolerance = {"rtol": known["rtol"], "atol": known["atol"]}

    @staticmethod
    def pack(
        cases: list[Any],
        right: list[Any],
        wrong: list[tuple[str, list[Any]]],
        *,
        rtol: float,
        atol: float,
        tensors: bool,
    ) -> str:
        """Known cases as one line of text.

        Args:
            cases: Keyword arguments of the probe, a dict for each case.
            right: What the solution gives, a value for each case.
            wrong: For each wrong answer its hint and its values.
            rtol: Relative tolerance.
            atol: Absolute tolerance.
            tensors: Whether the probe gets arrays as tensors.
        """
        known = {
            "cases": [encode(case) for case in cases],
            "right": [encode(value) for value in right],
            "wrong": [(hint, [encode(value) for value in values]) for hint, values in wrong],
            "rtol": rtol,
            "atol": atol,
            "tensors": tensors,
        }
        return base64.b64encode(zlib.compress(json.dumps(known).encode(), 9)).decode("ascii")

    def look_for_mistakes(self, probe: Callable[..., Any]) -> None:
        """Raises AssertionError with the hint of the wrong answer that an answer behaves like."""
        try:
            got = self._values(probe)
        except TypeError:
            return  # not even numbers: the checks that follow say it better
        for hint, values in self.wrong:
            if self._agree(values, got) and not self._agree(self.right, got):
                raise AssertionError(hint)

    def check(self, probe: Callable[..., Any]) -> None:
        """Raises AssertionError with the first case on which an answer is wrong."""
        for number, (case, right, got) in enumerate(
            zip(self.cases, self.right, self._values(probe), strict=True), 1
        ):
            message = difference(right, got, **self.tolerance)
            if message is not None:
                raise AssertionError(
                    f"Known case {number} of {len(self.cases)} comes out wrong: {message}.\n"
                    f"case     {case}\nexpected {right}\ngot      {got}"
                )
        print(f"Right on {len(self.cases)} known cases. Grading asks the same on others.")

    def _values(self, probe: Callable[..., Any]) -> list[Any]:
        cases = [to_kernel(case, tensors=self.tensors) for case in self.cases]
        return [decode(encode(probe(**case))) for case in cases]

    def _agree(self, values: list[Any], got: list[Any]) -> bool:
        return all(
            difference(a, b, **self.tolerance) is None for a, b in zip(values, got, strict=True)
        )
