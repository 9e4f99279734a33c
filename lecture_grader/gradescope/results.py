"""results.json, which tells Gradescope the marks of one submission.

The format is that of "Autograder Specifications", "Output format"
(https://gradescope-autograders.readthedocs.io/en/latest/specs/): one test for each exercise, with
``score``, ``max_score``, ``name``, ``number`` and ``output``, and a top-level ``score`` and
``output``. Gradescope shows the output in a ``<pre>``.
"""

from collections.abc import Sequence
from typing import Any

from lecture_grader.reporting.markup import plain, shorten
from lecture_grader.reporting.pages import common_remarks, total, words
from lecture_grader.reporting.result import OUTCOMES, Result

__all__ = ["results_document"]

LIMIT = 4_000  # characters of a message


def results_document(results: Sequence[Result], seconds: float) -> dict[str, Any]:
    """What results.json holds.

    Args:
        results: All exercises of the submission, in order.
        seconds: How long the grading took.

    Raises:
        ValueError: The grading itself failed for an exercise; then there is no score.
    """
    score = total(results)
    if score is None:
        failed = [result for result in results if result.outcome == "infrastructure"]
        raise ValueError(f"exercise {failed[0].number} could not be graded: {failed[0].message}")
    remarks = common_remarks(results)
    return {
        "score": round(score, 4),
        "execution_time": round(seconds),
        "output": plain("\n".join(remarks)),
        "tests": [
            {
                "number": str(result.number),
                "name": plain(result.title),
                "score": round(result.points, 4),
                "max_score": result.possible,
                "output": _output(result, remarks),
            }
            for result in results
        ],
    }


def _output(result: Result, common: Sequence[str]) -> str:
    meaning = OUTCOMES[result.outcome]
    lines = [f"{result.outcome.capitalize()}: {meaning}."]
    lines += [remark for remark in result.remarks if remark not in common]
    if result.message and result.message != meaning:
        lines.append(shorten(result.message, LIMIT))
    if result.resembles:
        lines.append(f"It behaves like a known mistake: {words(result.resembles)}.")
    if result.hint:
        lines.append(f"Hint. {result.hint}")
    return plain("\n".join(lines))
