"""Verdicts: what was observed, held against what is right, outside of the student's kernel.

A verdict reads numbers that a kernel printed. It never asks the kernel whether they are right.
"""

from dataclasses import dataclass, replace
from typing import Any

from lecture_vae.grading.exercises import Exercise
from lecture_vae.grading.notebook import Notebook
from lecture_vae.grading.observed import CALLED, MAX_PARTS, failure, parts, remarks, values_of
from lecture_vae.grading.submission import Answer, Submission, source_of
from lecture_vae.grading.trial import HiddenCheck

__all__ = ["OUTCOMES", "Provenance", "Result", "Verdict", "better", "is_tampered", "verdict"]

OUTCOMES = {  # each with its meaning, in words for teacher and student
    "correct": "every case came out right",
    "wrong": "the answer ran, and at least one case came out wrong",
    "error": "the answer raised an exception",
    "timeout": "the answer was stopped because it took too long",
    "crashed": "the answer ended the Python process that ran it",
    "memory": "the answer was stopped because it used too much memory",
    "output": "the answer was stopped because it printed too much",
    "unanswered": "the cell was left as it was handed out",
    "missing": "no cell of this exercise was found in the notebook",
    "unreadable": "the notebook could not be read",
    "tampered": "the run interfered with its own grading",
    "infrastructure": "the grading itself failed, which says nothing about the answer",
}

STOPS = ("timeout", "crashed", "memory", "output")  # a cell can be stopped for
MAX_ANSWER = 20_100  # characters of an answer that are kept to be shown, a few more than are
NOT_RUN: dict[str, Any] = {"outcome": "not run", "seconds": 0.0, "values": None, "printed": ""}


@dataclass(frozen=True)
class Result:
    """One exercise of one student, graded."""

    student: str  # what the submitted file or folder is called
    exercise: str  # name of the exercise
    number: int  # its place in the assignment, from 1
    title: str
    points: float
    possible: int  # points
    outcome: str  # a key of OUTCOMES
    message: str  # plain text for the student, at most 4000 characters; may quote the student
    resembles: str | None  # name of the wrong answer that it behaves like
    hint: str | None  # of that wrong answer
    matched_by: str  # how the answer was found: "id", "tag", "source" or ""
    seconds: float  # wall time
    submission: str  # hash of the submitted file
    assignment: str  # version of the assignment
    checks: str  # version of the checks
    sandbox: str  # level of isolation that it ran at
    seed: str  # id of the secret seed
    attempts: int
    answer: str  # source of the student's answer as graded, "" if there is none
    printed: str  # what its own cells wrote to stdout and stderr, trimmed
    remarks: tuple[str, ...] = ()  # sentences for the student: what was met on the way
    id: str = ""  # number that an LMS gave the student, "" if none is known


@dataclass(frozen=True)
class Provenance:
    """What all results of one grading have in common."""

    assignment: str  # version
    checks: str
    sandbox: str
    seed: str


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
        self, exercise: Exercise, submission: Submission, answer: Answer | None, of: Provenance
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
            assignment=of.assignment,
            checks=of.checks,
            sandbox=of.sandbox,
            seed=of.seed,
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
    exercise: Exercise,
    answer: Answer,
    check: HiddenCheck,
    notebook: Notebook,
    observation: dict[str, Any] | None,
) -> Verdict:
    """The verdict on an exercise whose answer was run.

    Args:
        exercise: What was asked.
        answer: Which cells answer it.
        check: What decides.
        notebook: What was to run. If other cells ran, or in another order, nothing is decided.
        observation: What :func:`lecture_vae.grading.observe.observe` reported, or None.
    """
    cells = (observation or {}).get("cells", [])
    ran = {cell["cell"]: cell for cell in cells}
    expected = [cell.id for cell in notebook.cells]
    broken = [cell for cell in cells if cell["outcome"] == "infrastructure"]
    if observation is None or broken or [*ran] != expected[: len(cells)]:
        why = broken[0]["message"] if broken else "the run of the notebook did not come to its end"
        return Verdict("infrastructure", why)
    own = [ran[f"s{place}"] for place in answer.cells if f"s{place}" in ran]
    probe = ran.get(f"e{exercise.number}-probe", NOT_RUN)
    seconds = sum(cell["seconds"] for cell in [*own, probe])
    printed = "".join(cell["printed"] for cell in own)[:4000]
    told = remarks(notebook, observation)
    called = probe["outcome"] != "not run" and all(cell["outcome"] == "ok" for cell in own)

    def say(outcome: str, message: str = "", **more: Any) -> Verdict:
        facts = {"seconds": seconds, "printed": printed, "remarks": told, "called": called}
        return Verdict(outcome, message, **facts | more)

    if probe["outcome"] == "not run":
        return say(*_why_not_run(cells, own, str(observation.get("ended", ""))))
    if probe["outcome"] != "ok":
        # An answer followed by an experiment that fails is an answer; but where the call fails,
        # the cell of the answer that stopped tells why.
        for cell, where in [*((each, "") for each in own), (probe, CALLED)]:
            if cell["outcome"] != "ok":
                return say(*failure(cell, where))
    if probe["values"] is None:
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
    public = ran.get(f"e{exercise.number}-check")
    if public and public["outcome"] == "error" and public["error"] == "AssertionError":
        objection += f"\nThe check in your notebook says: {public['message']}"
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


def is_tampered(check: HiddenCheck, observation: dict[str, Any] | None) -> bool:
    """Whether the wrong answer that was planted came out right: then nothing of the run counts."""
    for cell in (observation or {}).get("cells", []):
        if (
            cell["cell"] == "canary-probe"
            and cell["outcome"] == "ok"
            and cell["values"] is not None
        ):
            try:
                values = values_of(cell)
            except (ValueError, RecursionError):
                return True
            return check.objection(values) is None
    return False


def _why_not_run(
    cells: list[dict[str, Any]], own: list[dict[str, Any]], ended: str
) -> tuple[str, str]:
    """Outcome and message where an answer was not called, because an earlier cell ended the run."""
    stopped = [cell for cell in cells if cell["outcome"] in STOPS]
    if stopped:
        where = "" if stopped[-1] in own else " (in another cell, before your answer was called)"
        return failure(stopped[-1], where)
    if ended == "timeout":
        return "timeout", "your notebook used up all of its time before your answer was called"
    return "output", "your notebook sent more than can be read before your answer was called"
