"""The self-check that students run: known cases, and hints for known wrong answers.

The notebook contains the cases, the expected values and the values of each named wrong answer as
one line of text. Grading uses other cases.
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
        # Notebooks from before version 0.3 lack the entry and use tensors.
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
        """Serialize known cases as one line of text.

        Args:
            cases: Keyword arguments of the probe, a dict for each case.
            right: The value of the solution for each case.
            wrong: Hint and values of each wrong answer.
            rtol: Relative tolerance.
            atol: Absolute tolerance.
            tensors: Whether arrays reach the probe as tensors.
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
        """Raises AssertionError for an answer of another kind, or one like a known wrong answer.

        Of another kind is None, a text or a list where a number is right, for example. The message
        of a wrong answer is its hint.
        """
        try:
            values = [probe(**case) for case in self._arguments()]
        except (NotImplementedError, TypeError):
            return  # the checks that follow have better messages
        try:
            got = [decode(encode(value)) for value in values]
        except TypeError as error:
            raise AssertionError(f"Your answer returns {error}.") from None
        for hint, wrong in self.wrong:
            if self._agree(wrong, got) and not self._agree(self.right, got):
                raise AssertionError(hint)
        for right, value in zip(self.right, got, strict=True):
            if value is None and right is not None:
                raise AssertionError("Your answer is None. Is a return missing?")
            if isinstance(right, dict) and not isinstance(value, dict):
                return  # the probe makes the dict; the checks that follow know what is asked
            if not _same_kind(right, value):
                message = difference(right, value, **self.tolerance)
                raise AssertionError(f"Your answer is of another kind: {message}.")

    def check(self, probe: Callable[..., Any]) -> None:
        """Raises AssertionError for the first case in which an answer is wrong."""
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

    def _arguments(self) -> list[dict[str, Any]]:
        return [to_kernel(case, tensors=self.tensors) for case in self.cases]

    def _values(self, probe: Callable[..., Any]) -> list[Any]:
        return [decode(encode(probe(**case))) for case in self._arguments()]

    def _agree(self, values: list[Any], got: list[Any]) -> bool:
        return all(
            difference(a, b, **self.tolerance) is None for a, b in zip(values, got, strict=True)
        )


def _same_kind(right: Any, got: Any) -> bool:
    """Whether two values differ in nothing but numbers, texts and the shapes of arrays."""
    match right, got:
        case list(), list():
            return len(right) == len(got) and all(map(_same_kind, right, got))
        case dict(), dict():
            return set(right) == set(got) and all(_same_kind(right[key], got[key]) for key in right)
        case (None | str() | list() | dict(), _) | (_, None | str() | list() | dict()):
            return type(right) is type(got)
    return True
