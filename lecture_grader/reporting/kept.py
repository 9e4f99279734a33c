"""Kept results: those of each submission, in a file of its own, for the next grading."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path

from lecture_grader.reporting.result import Result
from lecture_vae.storage import say, write_atomically

__all__ = ["Kept"]

LATEST = "latest"  # beside the results, whose names end in .json
TUPLES = ("remarks", "steps")  # fields that JSON holds as lists


class Kept:
    """The results of an assignment in a folder, by the keys of their tasks."""

    def __init__(self, folder: Path, exercises: Sequence[str]):
        self.folder, self.exercises = folder, list(exercises)

    def read(self, key: str) -> list[Result] | None:
        """The results with a key, one for each exercise in order; None if there are none."""
        try:
            stored = json.loads(self._path(key).read_text(encoding="utf8"))
            results = [
                Result(**(each | {name: tuple(each[name]) for name in TUPLES})) for each in stored
            ]
        except OSError:  # there is none, or it cannot be read
            return None
        except (ValueError, TypeError, KeyError):  # damaged, or of another version
            return None
        return results if [result.exercise for result in results] == self.exercises else None

    def write(self, key: str, results: Sequence[Result]) -> None:
        """Stores results, each file whole or not at all.

        Raises:
            OSError: The folder cannot be written.
        """
        path, text = self._path(key), json.dumps([asdict(result) for result in results])
        try:
            _write(path, text)
        except IsADirectoryError:
            say(
                f"{path} is a folder, so what was graded is not kept; the next run grades it again",
                "lecture_grader",
            )

    def latest(self, student: str) -> list[Result] | None:
        """The results of a student in the last grading."""
        key = self._latest.get(student)
        return self.read(key) if isinstance(key, str) else None

    def note_latest(self, keys: Mapping[str, str]) -> None:
        """Stores the key of the results of every student.

        Raises:
            OSError: The folder cannot be written.
        """
        _write(self.folder / LATEST, json.dumps(dict(keys)))

    @cached_property
    def _latest(self) -> dict[str, object]:
        try:
            found = json.loads((self.folder / LATEST).read_text(encoding="utf8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json"


def _write(path: Path, text: str) -> None:
    write_atomically(path, partial(Path.write_text, data=text, encoding="utf8"), private=True)
