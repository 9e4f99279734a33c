"""LMS: the owners of files, by the naming schemes of downloads from learning platforms.

The schemes of Moodle and Gradescope are taken from public code, the others from what is known of
these programs. A name that matches no scheme is the name of a student.

Canvas (lib/content_zipper.rb)
    ``NAME[_LATE]_USERID_ATTACHMENTID_FILE``, where FILE ends in -1, -2, ... for later attempts.
Moodle (mod/assign/locallib.php, download_submissions)
    folders ``FULL NAME_PARTICIPANT_assignsubmission_file_`` or, without folders, the same before
    the name of the file. PARTICIPANT is a number of this assignment, not of the user.
Gradescope (Export Submissions)
    folders ``submission_NUMBER`` beside ``submission_metadata.yml``, which names the submitters.
Blackboard (Assignment File Download)
    ``ASSIGNMENT_LOGIN_attempt_YYYY-MM-DD-HH-MM-SS_FILE``.

An ambiguous name is taken literally.
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
    """The owner of a file or folder."""

    name: str
    number: str = ""  # distinguishes students of the same name
    canvas_id: str = ""  # user id in Canvas
    late: bool = False
    modified: float | None = None  # when it was handed in, in seconds since 1970, if known
    scheme: str = ""  # whose number it is: canvas, moodle or gradescope
    group: tuple[str, ...] = ()  # names of the other owners


def owners(names: Iterable[str]) -> dict[str, Owner]:
    """The owners by file name, for the names in one folder that match a platform's scheme."""
    names = list(names)
    return _blackboard(names) | _canvas(names) | _moodle(names)


def _moodle(names: list[str]) -> dict[str, Owner]:
    found = {name: MOODLE.fullmatch(name) for name in names}
    return {
        name: Owner(match["name"], match["id"] or "", scheme="moodle")
        for name, match in found.items()
        if match
    }


def _canvas(names: list[str]) -> dict[str, Owner]:
    """Owners by names that match Canvas's scheme, unless their numbers contradict it."""
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
        name: Owner(match["name"], match["id"], match["id"], bool(match["late"]), scheme="canvas")
        for name, match in matches.items()
    }


def _is_certain(match: re.Match[str]) -> bool:
    """Whether a match cannot be a date: attachment ids are long, file names have letters."""
    return len(match["file"]) > 2 and any(map(str.isalpha, SUFFIX.sub("", match["rest"])))


def _blackboard(names: list[str]) -> dict[str, Owner]:
    """The login follows the prefix that all names share; both may contain underscores."""
    matches = {name: match for name in names if (match := BLACKBOARD.fullmatch(name))}
    heads = {match["head"] for match in matches.values()}
    start = _common_prefix(heads) if len(heads) > 1 else min(heads, default="").rfind("_") + 1
    return {
        name: Owner(match["head"][start:] or match["head"], modified=_time(match["time"]))
        for name, match in matches.items()
    }


def _common_prefix(heads: set[str]) -> int:
    """Length of the common prefix, up to its last underscore."""
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
        listed: For every folder the names of its submitters, each with a number or address
            that distinguishes submitters of the same name.
    """
    found = {}
    for folder, people in listed.items():
        members = [(name, number) for name, number in people if name or number]
        found[folder] = [
            Owner(
                name or number,
                number,
                scheme="gradescope",
                group=tuple(other or n for other, n in members if (other, n) != (name, number)),
            )
            for name, number in members
        ]
    return found
