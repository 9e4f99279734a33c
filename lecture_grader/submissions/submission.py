"""Submissions: the code cells and answers that a student handed in, as data.

:mod:`lecture_grader.submissions.answers` finds answers in a notebook.
"""

from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "HANDED_IN_LATE",
    "OTHER_NOTEBOOK",
    "Answer",
    "HandIn",
    "NotebookFile",
    "StudentCell",
    "Submission",
    "source_of",
]

# Beginnings of the remarks that need the teacher's attention.
HANDED_IN_LATE, OTHER_NOTEBOOK = "Handed in late", "This is the notebook of"


@dataclass(frozen=True)
class NotebookFile:
    """A file that may be a student's notebook, on the disk or in an archive."""

    name: str  # its path below the folder of submissions, through archives, for display
    path: Path  # of the file on the disk
    inside: tuple[int, ...]  # numbers of the members, if it is in an archive
    modified: float  # seconds since 1970


@dataclass(frozen=True)
class HandIn:
    """All that one student handed in."""

    student: str
    files: tuple[NotebookFile, ...]  # newest first
    id: str = ""  # the student's number in Canvas
    remarks: tuple[str, ...] = ()
    owner: str = ""  # the name as the platform writes it; `student` may distinguish it
    scheme: str = ""  # the platform whose number it is: canvas, moodle or gradescope
    number: str = ""  # the platform's number of the student, or of the participant
    late: bool = False  # the platform says so
    submitted: float | None = None  # when, in seconds since 1970, if the platform says it


@dataclass(frozen=True)
class StudentCell:
    """A code cell that the student wrote or changed."""

    source: str  # nbval's markers removed, every lone surrogate replaced by U+FFFD
    exercise: str  # name of the exercise that it answers, or ""
    matched_by: str  # how that was found: "id", "tag", "source" or ""


@dataclass(frozen=True)
class Answer:
    """One exercise as a student answered it."""

    exercise: str
    cells: tuple[int, ...]  # indices in Submission.cells of all that answer it, in order
    alone: tuple[int, ...]  # indices of all that it needs by name, then of the graded cell
    matched_by: str  # how it was found: "id", "tag", "source", or "" if there is none
    unanswered: bool  # the stub is unchanged
    remark: str = ""  # a sentence for the student about an unusual cell


@dataclass(frozen=True)
class Submission:
    """What a student handed in."""

    student: str
    digest: str  # 16 hex digits of the file
    cells: tuple[StudentCell, ...] = ()  # in order, without unchanged ones
    answers: tuple[Answer, ...] = ()  # one for each exercise, unless there is a problem
    problem: str | None = None  # why the file cannot be read
    remarks: tuple[str, ...] = ()  # about the file: late, one of several, ...
    id: str = ""  # the student's number in the LMS, as the name of the file says
    assignment: str = ""  # the name in the notebook's metadata


def source_of(submission: Submission, answer: Answer) -> str:
    """The source of an answer and of what it needs by name, for display."""
    return "\n\n".join(submission.cells[at].source for at in answer.alone)
