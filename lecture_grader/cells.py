"""The ids and tags of cells: the only module that writes or reads them.

Authors tag the cells of an assignment: :data:`SETUP`, ``exercise:NAME``, ``points:N``,
``timeout:N``, ``wrong:NAME`` and :data:`ROLES`. Notebooks for students have ids and tags by
exercise, so that an answer is found wherever it was moved. Notebooks that are run for a submission
have other ids.
"""

from collections.abc import Sequence
from typing import Any

__all__ = [
    "CANARY",
    "EXERCISE",
    "INTRODUCTION",
    "METADATA",
    "POINTS",
    "ROLES",
    "SETUP",
    "SETUP_AGAIN",
    "TIMEOUT",
    "WRONG",
    "answer_id",
    "answer_tag",
    "assignment_metadata",
    "assignment_of",
    "check_id",
    "check_tag",
    "is_check",
    "is_student",
    "probe_id",
    "public_check_id",
    "statement_id",
    "student_id",
    "tag_value",
]

# ---------------------------------------------------------------------------- by the author

SETUP, ROLES = "setup", ("stub", "solution", "probe", "check", "hidden")
EXERCISE, POINTS, TIMEOUT, WRONG = "exercise", "points", "timeout", "wrong"


def tag_value(tags: Sequence[str], key: str) -> str | None:
    """The VALUE of the first tag ``KEY:VALUE``; None if there is none."""
    return next((tag[len(key) + 1 :] for tag in tags if tag.startswith(f"{key}:")), None)


# ---------------------------------------------------------------------------- handed out

INTRODUCTION = "introduction"
METADATA = "lecture_grader"
BEFORE_0_3 = "lecture_vae"  # METADATA in notebooks of earlier versions


def statement_id(exercise: str) -> str:
    """The id of the cell with the statement of an exercise."""
    return f"{exercise}-statement"


def answer_id(exercise: str) -> str:
    """The id of the cell for the answer."""
    return f"{exercise}-answer"


def answer_tag(exercise: str) -> str:
    """The tag of the cell for the answer; some programs keep tags but change ids."""
    return f"answer:{exercise}"


def check_id(exercise: str) -> str:
    """The id of the cell that checks the answer."""
    return f"{exercise}-check"


def check_tag(exercise: str) -> str:
    """The tag of the cell that checks the answer."""
    return f"check:{exercise}"


def is_check(identity: str, tags: Sequence[str]) -> bool:
    """Whether a cell is one that checks an answer."""
    return identity.endswith("-check") or tag_value(tags, "check") is not None


def assignment_metadata(name: str, version: str) -> dict[str, Any]:
    """The entry about the assignment in the metadata of a notebook."""
    return {METADATA: {"assignment": name, "version": version}}


def assignment_of(metadata: object) -> str:
    """The name of the assignment in the metadata of a notebook; "" if there is none."""
    for key in (METADATA, BEFORE_0_3):
        entry = metadata.get(key) if isinstance(metadata, dict) else None
        name = entry.get("assignment") if isinstance(entry, dict) else None
        if isinstance(name, str):
            return name
    return ""


# ---------------------------------------------------------------------------- run

SETUP_AGAIN, CANARY = "again", "canary-probe"


def student_id(index: int) -> str:
    """The id of a student's cell, by its index in Submission.cells."""
    return f"s{index}"


def is_student(identity: str) -> bool:
    """Whether a cell is a student's."""
    return identity[:1] == "s" and identity[1:].isdecimal()


def probe_id(number: int) -> str:
    """The id of the cell that calls the answer to an exercise, by its number."""
    return f"e{number}-probe"


def public_check_id(number: int) -> str:
    """The id of the cell with the public asserts of an exercise, by its number."""
    return f"e{number}-check"
