"""Verdicts: what was observed, held against what is right, outside of the student's kernel.

A verdict reads numbers that a kernel printed. It never asks the kernel whether they are right.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lecture_vae.grading.exercises import Assignment, Exercise
from lecture_vae.grading.submission import Answer, Submission, source_of
from lecture_vae.grading.trial import HiddenCheck
from lecture_vae.grading.values import decode

__all__ = ["INCIDENTS", "OUTCOMES", "Provenance", "Result", "Verdict", "is_tampered", "verdicts"]

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

# After one of these the state of a notebook is not what its answers made it.
INCIDENTS = {"timeout", "crashed", "memory", "output", "infrastructure"}


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
    printed: str  # what it wrote to stdout and stderr, trimmed
    remarks: tuple[str, ...] = ()  # sentences on how it was handed in
    id: str = ""  # the student's number in the LMS


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
            answer=source_of(submission, answer) if answer else "",
            printed=self.printed,
            remarks=(*submission.remarks, *([answer.remark] if answer and answer.remark else [])),
            id=submission.id,
        )


def verdicts(
    assignment: Assignment,
    submission: Submission,
    checks: dict[str, HiddenCheck],
    expected: list[str],
    observation: dict[str, Any] | None,
    only: str | None = None,
) -> Iterator[tuple[Exercise, Verdict]]:
    """The verdict on each exercise of a submission.

    Args:
        assignment: The exercises.
        submission: What was handed in.
        checks: What decides, by exercise.
        expected: The ids of the cells that were to run, in order. If any other set ran, nothing
            is decided.
        observation: What :func:`lecture_vae.grading.observe.observe` reported, or None.
        only: The one exercise that was run; all if None.
    """
    answers = {answer.exercise: answer for answer in submission.answers}
    observed = (observation or {}).get("cells", [])
    ran = {cell["cell"]: cell for cell in observed}
    complete = [cell["cell"] for cell in observed] == expected
    for exercise in assignment.exercises:
        if only not in (None, exercise.name):
            continue
        answer = answers.get(exercise.name)
        if submission.problem is not None:
            verdict = Verdict("unreadable", submission.problem)
        elif answer is None or not answer.matched_by:
            verdict = Verdict("missing", OUTCOMES["missing"])
        elif answer.unanswered:
            verdict = Verdict("unanswered", OUTCOMES["unanswered"])
        elif not complete:
            verdict = Verdict("infrastructure", "the run of the notebook did not come to its end")
        else:
            ours = {
                name.partition("-")[2]: cell
                for name, cell in ran.items()
                if name.startswith(f"e{exercise.number}-")
            }
            verdict = _verdict(exercise, checks[exercise.name], ours)
        yield exercise, verdict


def _verdict(exercise: Exercise, check: HiddenCheck, cells: dict[str, dict[str, Any]]) -> Verdict:
    """The verdict on an exercise whose cells have run: before, helpers, answer, probe, check."""
    seconds = sum(cell["seconds"] for cell in cells.values())
    printed = "".join(cell["printed"] for cell in cells.values())[:4000]

    def say(outcome: str, message: str = "", **more: Any) -> Verdict:
        return Verdict(outcome, message, seconds=seconds, printed=printed, **more)

    # What the probe prints decides. Only where it prints nothing, the first cell that failed
    # tells why: an answer followed by an experiment that fails is still an answer.
    if cells["probe"]["outcome"] != "ok":
        for name, cell in cells.items():
            where = {
                "before": " (before your answer ran)",
                "probe": " (when your answer was called)",
            }
            if cell["outcome"] == "error":
                outcome = "memory" if _out_of_memory(cell) else "error"
                return say(outcome, f"{cell['error']}: {cell['message']}{where.get(name, '')}")
            if cell["outcome"] != "ok":
                return say(cell["outcome"], f"{cell['message']}{where.get(name, '')}")
    try:
        values = _values(cells["probe"])
    except (ValueError, RecursionError) as error:
        return say("tampered", f"the probe of this exercise printed what no probe prints: {error}")
    objection = check.objection(values)
    if objection is None:
        return say("correct")
    wrong = check.resembles(values)
    public = cells.get("check")
    if public and public["outcome"] == "error" and public["error"] == "AssertionError":
        objection += f"\nThe check in your notebook says: {public['message']}"
    if wrong is None:
        return say("wrong", objection)
    return say("wrong", objection, resembles=wrong.name, hint=wrong.hint)


def is_tampered(check: HiddenCheck, observation: dict[str, Any]) -> bool:
    """Whether the wrong answer that was planted came out right: then nothing of the run counts."""
    for cell in observation["cells"]:
        if cell["cell"] == "canary-probe" and cell["outcome"] == "ok":
            try:
                values = _values(cell)
            except (ValueError, RecursionError):
                return True
            return check.objection(values) is None
    return False


def _values(cell: dict[str, Any]) -> list[Any]:
    payload = json.loads(cell["values"] or "null")
    if type(payload) is not list:
        raise ValueError("no values came out")
    return [decode(value) for value in payload]


def _out_of_memory(cell: dict[str, Any]) -> bool:
    return cell["error"] == "MemoryError" or "DefaultCPUAllocator" in cell["message"]
