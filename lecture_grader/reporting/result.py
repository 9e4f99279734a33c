"""Results: one graded exercise of one student. All output of a grading is made from them."""

from dataclasses import dataclass

__all__ = ["NOTHING", "OUTCOMES", "REGRADED", "UNGRADED", "Provenance", "Result"]

OUTCOMES = {  # with explanations for teachers and students
    "correct": "every case came out right",
    "wrong": "the answer ran, and at least one case came out wrong",
    "error": "the answer raised an exception",
    "timeout": "the answer was stopped because it took too long",
    "crashed": "the answer ended the Python process that ran it",
    "memory": "the answer was stopped because it used too much memory",
    "output": "the answer was stopped because it printed too much",
    "unanswered": "the cell was left as it was handed out",
    "missing": "no cell of this exercise was found in the notebook",
    "absent": "nothing was handed in",
    "pending": "nothing was handed in yet, and the student has more time",
    "unreadable": "the notebook could not be read",
    "tampered": "the run interfered with its own grading",
    "infrastructure": "the grading itself failed, which says nothing about the answer",
}
NOTHING = ("absent", "pending")  # outcomes without a submission
REGRADED = "Regraded"  # begins the remark on points that the teacher has given
UNGRADED = ("infrastructure", "pending")  # outcomes that are no points, not even 0


@dataclass(frozen=True)
class Result:
    """One exercise of one student, graded."""

    student: str  # name of the submitted file or folder
    exercise: str  # name of the exercise
    number: int  # its position in the assignment, from 1
    title: str
    points: float
    possible: int  # points
    outcome: str  # a key of OUTCOMES
    message: str  # plain text for the student, at most 4000 characters; may quote the student
    resembles: str | None  # name of the wrong answer with the same values
    hint: str | None  # of that wrong answer
    matched_by: str  # how the answer was found: "id", "tag", "source" or ""
    seconds: float  # wall time
    submission: str  # hash of the submitted file
    assignment: str  # version of the assignment
    checks: str  # version of the checks
    sandbox: str  # description of the sandbox that it ran in
    seed: str  # id of the secret seed
    attempts: int
    answer: str  # source of the student's answer as graded, "" if there is none
    printed: str  # what its own cells wrote to stdout and stderr, trimmed
    remarks: tuple[str, ...] = ()  # sentences for the student
    id: str = ""  # user id in the LMS, "" if it is not known
    deducted: float = 0.0  # points that lateness has cost
    steps: tuple[str, ...] = ()  # what was done with the notebook for this exercise, in order


@dataclass(frozen=True)
class Provenance:
    """The fields of :class:`Result` that all results of one grading share."""

    assignment: str
    checks: str
    sandbox: str
    seed: str
