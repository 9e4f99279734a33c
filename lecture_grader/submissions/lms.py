"""LMS: whose a file is, by the names that learning platforms give to what they let one download.

The names are facts of these programs: Moodle's and Gradescope's were found in public code, the
others are as their source is known to give them. A name that fits none is the name of a student.

Canvas (lib/content_zipper.rb)
    ``NAME[_LATE]_USERID_ATTACHMENTID_FILE``, where FILE ends in -1, -2, ... for later attempts.
Moodle (mod/assign/locallib.php, download_submissions)
    folders ``FULL NAME_PARTICIPANT_assignsubmission_file_`` or, without folders, the same before
    the name of the file. PARTICIPANT is a number of this assignment, not of the user.
Gradescope (Export Submissions)
    folders ``submission_NUMBER`` beside ``submission_metadata.yml``, which names the submitters.
Blackboard (Assignment File Download)
    ``ASSIGNMENT_LOGIN_attempt_YYYY-MM-DD-HH-MM-SS_FILE``.

Where a name could be read in two ways it stands for itself.
"""

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = ["GRADESCOPE_LIST", "Owner", "owners", "submitters"]

GRADESCOPE_LIST = "submission_metadata.yml"
CANVAS = re.compile(r"(?P<name>.+?)(?P<late>_LATE)?_(?P<id>\d+)_(?P<file>\d+)_(?P<rest>.*)", re.S)
MOODLE = re.compile(r"(?P<name>.+?)(?:_(?P<id>\d+))?_assignsubmission_[a-z]+(?:_.*)?", re.S)
BLACKBOARD = re.compile(r"(?P<head>.+)_attempt_(?P<time>\d{4}(?:-\d\d){5})(?:[_.].*)?", re.S)
SUFFIX = re.compile(r"(?:\.ipynb(?:\.[a-z]+)*|\.zip)$", re.IGNORECASE)


@dataclass(frozen=True)
class Owner:
    """Whose a file or folder is."""

    name: str
    number: str = ""  # tells two of one name apart
    canvas_id: str = ""  # the number by which Canvas knows the user
    late: bool = False
    modified: float | None = None  # when it was handed in, where the name says so
    group: tuple[str, ...] = ()  # others whose it is as well


def owners(names: Iterable[str]) -> dict[str, Owner]:
    """The owners of those of the files and folders in one folder whose names a platform gave."""
    names = list(names)
    return _blackboard(names) | _canvas(names) | _moodle(names)


def _moodle(names: list[str]) -> dict[str, Owner]:
    found = {name: MOODLE.fullmatch(name) for name in names}
    return {name: Owner(match["name"], match["id"] or "") for name, match in found.items() if match}


def _canvas(names: list[str]) -> dict[str, Owner]:
    """Names that fit, unless the numbers show that they mean something else, as a date does."""
    matches = {}
    for name in names:
        match = CANVAS.fullmatch(name)
        if match and (match["late"] or _is_certain(match)):
            matches[name] = match
    persons: dict[str, set[str]] = {}
    for match in matches.values():
        persons.setdefault(match["id"], set()).add(match["name"])
    files = [match["file"] for match in matches.values()]
    if any(len(found) > 1 for found in persons.values()) or len(set(files)) < len(files):
        return {}
    return {
        name: Owner(match["name"], match["id"], match["id"], bool(match["late"]))
        for name, match in matches.items()
    }


def _is_certain(match: re.Match[str]) -> bool:
    """Whether this is no date: attachments have long numbers, and files have letters."""
    return len(match["file"]) > 2 and any(map(str.isalpha, SUFFIX.sub("", match["rest"])))


def _blackboard(names: list[str]) -> dict[str, Owner]:
    """The login is what the names of one download do not share; both may hold an underscore."""
    matches = {name: match for name in names if (match := BLACKBOARD.fullmatch(name))}
    heads = {match["head"] for match in matches.values()}
    start = _shared(heads) if len(heads) > 1 else min(heads, default="").rfind("_") + 1
    return {
        name: Owner(match["head"][start:] or match["head"], modified=_time(match["time"]))
        for name, match in matches.items()
    }


def _shared(heads: set[str]) -> int:
    """Length of what all begin with, up to an underscore."""
    first, last = min(heads), max(heads)
    same = next(
        (at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first)
    )
    return first.rfind("_", 0, same) + 1


def _time(text: str) -> float | None:
    try:
        return time.mktime(time.strptime(text, "%Y-%m-%d-%H-%M-%S"))
    except (ValueError, OverflowError):
        return None


def submitters(listed: Mapping[str, Iterable[tuple[str, str]]]) -> dict[str, list[Owner]]:
    """The owners of the folders of a Gradescope export; a group has several.

    Args:
        listed: For every folder the names of its submitters, each with what tells apart two of
            one name: their number or address.
    """
    found = {}
    for folder, people in listed.items():
        everybody = [(name, number) for name, number in people if name or number]
        found[folder] = [
            Owner(
                name or number,
                number,
                group=tuple(other or n for other, n in everybody if (other, n) != (name, number)),
            )
            for name, number in everybody
        ]
    return found
