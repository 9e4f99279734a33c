"""Verdicts: what was observed, held against what is right, outside of the student's kernel.

A verdict reads numbers that a kernel printed. It never asks the kernel whether they are right.
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

STOPS = ("timeout", "crashed", "memory", "output")  # a cell can be stopped for
MAX_ANSWER = 20_100  # characters of an answer that are kept to be shown, a few more than are


@dataclass(frozen=True)
class Verdict:
    """What came of one exercise in one run of a notebook."""

    outcome: str  # a key of OUTCOMES
    message: str = ""
    resembles: str | None = None
    hint: str | None = None
    seconds: float = 0.0
    printed: str = ""
    attempts: int = 1
    remarks: tuple[str, ...] = ()
    called: bool = False  # whether its cells left something to call

    def result(
        self,
        exercise: Exercise,
        submission: Submission,
        answer: Answer | None,
        provenance: Provenance,
    ) -> Result:
        """The line of the gradebook."""
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
        )


def verdict(
    answer: Answer, check: HiddenCheck, notebook: Notebook, observation: Observation | None
) -> Verdict:
    """The verdict on an exercise whose answer was run.

    Args:
        answer: Which cells answer it.
        check: What decides.
        notebook: What was to run. If other cells ran, or in another order, nothing is decided.
        observation: What was observed of it, or None.
    """
    if (
        observation is None
        or observation.failure
        or tuple(cell.id for cell in observation.cells) != notebook.ids[: len(observation.cells)]
    ):
        why = observation.failure if observation else ""
        return Verdict("infrastructure", why or "the run of the notebook did not come to its end")
    number = check.exercise.number
    own = [observation.cell(student_id(place)) for place in answer.cells]
    own = [cell for cell in own if cell in observation.cells]
    probe = observation.cell(probe_id(number))
    seconds = sum(cell.seconds for cell in [*own, probe])
    printed = "".join(cell.printed for cell in own)[:4000]
    told = remarks(notebook, observation)
    called = probe.outcome != "not run" and all(cell.outcome == "ok" for cell in own)

    def say(outcome: str, message: str = "", **more: Any) -> Verdict:
        facts = {"seconds": seconds, "printed": printed, "remarks": told, "called": called}
        return Verdict(outcome, message, **facts | more)

    if probe.outcome == "not run":
        return say(*_why_not_run(observation, own))
    if probe.outcome != "ok":
        # An answer followed by an experiment that fails is an answer; but where the call fails,
        # the cell of the answer that stopped tells why.
        for cell, where in [*((each, "") for each in own), (probe, CALLED)]:
            if cell.outcome != "ok":
                return say(*failure(cell, where))
    if probe.values is None:
        return say("error", "no values came back when your answer was called")
    if parts(probe) > MAX_PARTS:
        return say("output", f"more than {MAX_PARTS:,} separate values came back: return tensors")
    try:
        values = values_of(probe)
    except (ValueError, RecursionError) as error:
        return say("tampered", f"the probe of this exercise printed what no probe prints: {error}")
    objection = check.objection(values)
    if objection is None:
        return say("correct")
    public = observation.cell(public_check_id(number))
    if public.outcome == "error" and public.error == "AssertionError":
        objection += f"\nThe check in your notebook says: {public.message}"
    wrong = check.resembles(values)
    if wrong is None:
        return say("wrong", objection)
    return say("wrong", objection, resembles=wrong.name, hint=wrong.hint)


def better(first: Verdict, second: Verdict) -> Verdict:
    """The one of two verdicts on an answer that counts: right once is right.

    Args:
        first: Of the run of the whole notebook, which says what was met on the way.
        second: Of a run of the answer alone.
    """
    order = ("infrastructure", *STOPS, "error", "wrong", "tampered", "correct")
    later = order.index(second.outcome) >= order.index(first.outcome)
    if first.outcome == "error" and not first.called:  # which tells more than what is left of it
        later = second.outcome in ("tampered", "correct")
    remarks = first.remarks
    if second.outcome == "correct":
        remarks += ("Run once more alone, in a new kernel, the answer came out right.",)
    return replace(
        second if later else first, attempts=first.attempts + second.attempts, remarks=remarks
    )


def is_tampered(check: HiddenCheck, observation: Observation | None) -> bool:
    """Whether the wrong answer that was planted came out right: then nothing of the run counts."""
    canary = observation.cell(CANARY) if observation else None
    if canary is None or canary.outcome != "ok" or canary.values is None:
        return False
    try:
        return check.objection(values_of(canary)) is None
    except (ValueError, RecursionError):
        return True


def _why_not_run(observation: Observation, own: Sequence[CellRun]) -> tuple[str, str]:
    """Outcome and message where an answer was not called, because an earlier cell ended the run."""
    stopped = [cell for cell in observation.cells if cell.outcome in STOPS]
    if stopped:
        where = "" if stopped[-1] in own else " (in another cell, before your answer was called)"
        return failure(stopped[-1], where)
    if observation.ended == "timeout":
        return "timeout", "your notebook used up all of its time before your answer was called"
    return "output", "your notebook sent more than can be read before your answer was called"
