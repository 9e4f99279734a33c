"""Verdicts: compare the observed values with the expected ones, outside of students' kernels.

A verdict depends only on values that a kernel displayed, never on a comparison made in a kernel.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lecture_grader.authoring.assignment import Exercise
from lecture_grader.authoring.check import HiddenCheck
from lecture_grader.cells import CANARY, probe_id, public_check_id, student_id
from lecture_grader.reporting.result import Provenance, Result
from lecture_grader.running.messages import CALLED, MAX_PARTS, failure, parts, remarks, values_of
from lecture_grader.running.notebook import Notebook
from lecture_grader.running.observation import CellRun, Observation
from lecture_grader.submissions.submission import Answer, Submission, source_of

__all__ = ["STOPS", "Verdict", "better", "is_tampered", "verdict"]

STOPS = ("timeout", "crashed", "memory", "output")  # reasons why a cell was stopped
MAX_ANSWER = 20_100  # characters of an answer; more than feedback shows, which marks the cut


@dataclass(frozen=True)
class Verdict:
    """The verdict on one exercise in one run of a notebook."""

    outcome: str  # a key of OUTCOMES
    message: str = ""
    resembles: str | None = None
    hint: str | None = None
    seconds: float = 0.0
    printed: str = ""
    attempts: int = 1
    remarks: tuple[str, ...] = ()
    called: bool = False  # whether its cells succeeded and its probe ran
    steps: tuple[str, ...] = ()  # what the run did, for the student

    def result(
        self,
        exercise: Exercise,
        submission: Submission,
        answer: Answer | None,
        provenance: Provenance,
    ) -> Result:
        """The result of the exercise for the gradebook."""
        return Result(
            student=submission.student,
            exercise=exercise.name,
            number=exercise.number,
            title=exercise.title,
            points=exercise.points if self.outcome == "correct" else 0,
            possible=exercise.points,
            outcome=self.outcome,
            message=self.message[:4000],
            resembles=self.resembles,
            hint=self.hint,
            matched_by=answer.matched_by if answer else "",
            seconds=round(self.seconds, 3),
            submission=submission.digest,
            assignment=provenance.assignment,
            checks=provenance.checks,
            sandbox=provenance.sandbox,
            seed=provenance.seed,
            attempts=self.attempts,
            answer=source_of(submission, answer)[:MAX_ANSWER] if answer else "",
            printed=self.printed,
            remarks=(
                *submission.remarks,
                *([answer.remark] if answer and answer.remark else []),
                *self.remarks,
            ),
            id=submission.id,
            steps=self.steps,
        )


def verdict(
    answer: Answer, check: HiddenCheck, notebook: Notebook, observation: Observation | None
) -> Verdict:
    """The verdict on an exercise whose answer was run.

    Args:
        answer: Which cells answer it.
        check: Its hidden check.
        notebook: The notebook that was to run. If other cells ran, or in another order, the
            outcome is "infrastructure".
        observation: What its cells did; None if that is not known.
    """
    if (
        observation is None
        or observation.failure
        or tuple(cell.id for cell in observation.cells) != notebook.ids[: len(observation.cells)]
    ):
        why = observation.failure if observation else ""
        return Verdict("infrastructure", why or "the run of the notebook did not come to its end")
    number = check.exercise.number
    own = [observation.cell(student_id(at)) for at in answer.cells]
    own = [cell for cell in own if cell in observation.cells]
    probe = observation.cell(probe_id(number))
    seconds = sum(cell.seconds for cell in [*own, probe])
    printed = "".join(cell.printed for cell in own)[:4000]
    sentences = remarks(notebook, observation)
    called = probe.outcome != "not run" and all(cell.outcome == "ok" for cell in own)

    def conclude(outcome: str, message: str = "", **more: Any) -> Verdict:
        facts = {"seconds": seconds, "printed": printed, "remarks": sentences, "called": called}
        return Verdict(outcome, message, **facts | more)

    if probe.outcome == "not run":
        return conclude(*_why_not_run(observation, own))
    if probe.outcome != "ok":
        # A later failure in the cells of an answer matters only if the call fails as well; then
        # the failed cell explains it.
        for cell, where in [*((each, "") for each in own), (probe, CALLED)]:
            if cell.outcome != "ok":
                return conclude(*failure(cell, where))
    if probe.values is None:
        return conclude("error", "no values came back when your answer was called")
    if parts(probe) > MAX_PARTS:
        return conclude(
            "output", f"more than {MAX_PARTS:,} separate values came back: return tensors"
        )
    try:
        values = values_of(probe)
    except (ValueError, RecursionError) as error:
        return conclude(
            "tampered", f"the probe of this exercise printed what no probe prints: {error}"
        )
    objection = check.objection(values)
    if objection is None:
        return conclude("correct")
    public = observation.cell(public_check_id(number))
    if public.outcome == "error" and public.error == "AssertionError":
        objection += f"\nThe check in your notebook says: {public.message}"
    wrong = check.resembles(values)
    if wrong is None:
        return conclude("wrong", objection)
    return conclude("wrong", objection, resembles=wrong.name, hint=wrong.hint)


def better(first: Verdict, second: Verdict) -> Verdict:
    """The better of two verdicts on an answer: an answer that was correct once is correct.

    Args:
        first: Of the run of the whole notebook; its remarks are kept.
        second: Of a run of the answer alone.
    """
    order = ("infrastructure", *STOPS, "error", "wrong", "tampered", "correct")
    later = order.index(second.outcome) >= order.index(first.outcome)
    if first.outcome == "error" and not first.called:  # the original error is more informative
        later = second.outcome in ("tampered", "correct")
    remarks = first.remarks
    if second.outcome == "correct":
        remarks += ("Run once more alone, in a new kernel, the answer came out right.",)
    return replace(
        second if later else first,
        attempts=first.attempts + second.attempts,
        remarks=remarks,
        steps=first.steps + second.steps,
    )


def is_tampered(check: HiddenCheck, observation: Observation | None) -> bool:
    """Whether the canary, a wrong answer, came out right: then the run is not to be trusted."""
    canary = observation.cell(CANARY) if observation else None
    if canary is None or canary.outcome != "ok" or canary.values is None:
        return False
    try:
        return check.objection(values_of(canary)) is None
    except (ValueError, RecursionError):
        return True


def _why_not_run(observation: Observation, own: Sequence[CellRun]) -> tuple[str, str]:
    """Outcome and message of an answer that was not called because the run had ended before."""
    stopped = [cell for cell in observation.cells if cell.outcome in STOPS]
    if stopped:
        where = "" if stopped[-1] in own else " (in another cell, before your answer was called)"
        return failure(stopped[-1], where)
    if observation.ended == "timeout":
        return "timeout", "your notebook used up all of its time before your answer was called"
    return "output", "your notebook sent more than can be read before your answer was called"
