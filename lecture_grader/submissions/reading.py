"""Reading: have the files of students parsed in a process with rlimits.

That process receives the assignment and then requests about files, and replies in JSON. A file
that crashes or stalls it becomes a submission with a problem, and a new process continues.
"""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from lecture_grader.submissions.answers import HandedOut
from lecture_grader.submissions.archives import Member
from lecture_grader.submissions.parsing import HEAD, MEMORY_MB, SECONDS
from lecture_grader.submissions.submission import (
    OTHER_NOTEBOOK,
    Answer,
    HandIn,
    StudentCell,
    Submission,
)

__all__ = ["Reader", "Unreadable"]

MAX_ANSWER = 16_000_000  # bytes: twice all code that is read, every character as a JSON escape


class Unreadable(Exception):
    """A file crashed or stalled the process that parses it, or the reply is malformed."""


class Reader:
    """Reads submissions of one assignment, in a process that is started on demand.

    Args:
        handed_out: The assignment; None if only archives are listed.
    """

    def __init__(self, handed_out: HandedOut | None = None):
        self.handed_out = handed_out
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Reader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def read(self, hand_in: HandIn) -> Submission:
        """The submission of a student; with several notebooks, a remark says which one counts.

        Notebooks of this assignment take precedence, then those with answers, then the newest.
        """
        assert self.handed_out is not None
        expected = self.handed_out.assignment
        candidates = [
            (file, self.notebook(hand_in.student, file.path, file.inside)) for file in hand_in.files
        ]

        def rank(submission: Submission) -> tuple[bool, bool, int]:
            match = {expected: 2, "": 1}.get(submission.assignment, 0)
            answered = any(answer.cells for answer in submission.answers)
            return submission.problem is None, answered and match > 0, match

        file, chosen = max(candidates, key=lambda pair: rank(pair[1]))  # the newest of equals
        remarks = [*hand_in.remarks]
        if chosen.assignment not in ("", expected):
            remarks.append(f"{OTHER_NOTEBOOK} {chosen.assignment}, not of {expected}.")
        others = [other.name for other, _ in candidates if other is not file]
        if others:
            at = time.strftime("%Y-%m-%d %H:%M", time.localtime(file.modified))
            left_out = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
            remarks.append(
                f"{len(candidates)} notebooks: graded {file.name} of {at}; not {left_out}."
            )
        return replace(chosen, remarks=tuple(remarks), id=hand_in.id)

    def notebook(self, student: str, path: Path, inside: Sequence[int] = ()) -> Submission:
        """The submission in a file; its `problem` says why the file cannot be read.

        Args:
            student: The name of the student.
            path: A file on the disk.
            inside: Numbers of the members, if the notebook is in an archive.
        """
        if self.handed_out is None:
            raise ValueError("a reader without an assignment only lists archives")
        try:
            answer = self._ask("notebook", path, inside)
            return replace(_submission(answer, self.handed_out), student=student)
        except Unreadable as error:
            self._end()
            return Submission(student, "", problem=str(error))

    def members(self, path: Path, inside: Sequence[int] = ()) -> list[Member]:
        """The files in an archive.

        Raises:
            Unreadable: The file is not an archive, or it crashed or stalled the process.
        """
        answer = self._ask("members", path, inside)
        if "problem" in answer:
            raise Unreadable(str(answer["problem"]))
        return [_member(each) for each in _list(answer.get("members"))]

    def submitters(
        self, path: Path, inside: Sequence[int] = ()
    ) -> dict[str, list[tuple[str, str]]]:
        """Name and number of who handed in each folder of a Gradescope export.

        Raises:
            Unreadable: The file is not a list of submitters.
        """
        answer = self._ask("submitters", path, inside)
        if "problem" in answer:
            raise Unreadable(str(answer["problem"]))
        listed = _typed(answer, {"submitters": list})["submitters"]
        found: dict[str, list[tuple[str, str]]] = {}
        for each in map(_list, listed):
            if [type(value) for value in each] != [str, str, str]:
                raise Unreadable("the list of submitters has the wrong form")
            found.setdefault(each[0], []).append((each[1], each[2]))
        return found

    # -- the process

    def _ask(self, kind: str, path: Path, inside: Sequence[int]) -> dict[str, Any]:
        if self.process is not None:
            with suppress(Unreadable):  # an earlier file may be the cause
                return self._ask_once(kind, path, inside)
        return self._ask_once(kind, path, inside)

    def _ask_once(self, kind: str, path: Path, inside: Sequence[int]) -> dict[str, Any]:
        try:
            if self.process is None:
                self.process = _start()
                self._send(asdict(self.handed_out) if self.handed_out else None)
            self._send([kind, os.fspath(path.absolute()), list(inside)])
            answer = json.loads(self._receive(time.monotonic() + SECONDS))
            if type(answer) is not dict:
                raise ValueError("an answer is an object")
        except (OSError, EOFError, ValueError, RecursionError, MemoryError) as error:
            self._end()
            raise Unreadable(
                f"the file could not be read within {SECONDS} s and {MEMORY_MB} MB"
            ) from error
        except BaseException:
            self._end()
            raise
        if answer.pop("last", False):
            self._end()
        return answer

    def _send(self, message: object) -> None:
        assert self.process is not None and self.process.stdin is not None
        # File names that are not UTF-8 contain surrogates; JSON keeps them as escapes.
        data = json.dumps(message).encode("ascii")
        self.process.stdin.write(HEAD.pack(len(data)) + data)
        self.process.stdin.flush()

    def _receive(self, deadline: float) -> bytes:
        (length,) = HEAD.unpack(self._read(HEAD.size, deadline))
        if length > MAX_ANSWER:
            raise ValueError(f"an answer of {length:,} bytes")
        return self._read(length, deadline)

    def _read(self, length: int, deadline: float) -> bytes:
        assert self.process is not None and self.process.stdout is not None
        descriptor, data = self.process.stdout.fileno(), bytearray()
        while len(data) < length:
            ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
            part = os.read(descriptor, min(length - len(data), 1 << 20)) if ready else b""
            if not part:
                raise EOFError("no answer in time")
            data += part
        return bytes(data)

    def _end(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            with suppress(OSError):
                process.communicate()


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-B", "-m", "lecture_grader.submissions.parsing"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        env={"PATH": os.environ.get("PATH", os.defpath)},
        cwd="/",
    )


# ---------------------------------------------------------------------------- validation of replies


def _list(value: object) -> list[Any]:
    if type(value) is not list:
        raise Unreadable("the file could not be read: the reply has the wrong form")
    return value


def _typed(fields: object, kinds: Mapping[str, type[Any]]) -> dict[str, Any]:
    if type(fields) is not dict or {name: type(value) for name, value in fields.items()} != kinds:
        raise Unreadable("the file could not be read: the reply has the wrong form")
    return fields


def _member(fields: object) -> Member:
    values = _list(fields)
    if [type(value) for value in values] != [int, str, int, float, bool]:
        raise Unreadable("the archive could not be read: its list has the wrong form")
    number, path, size, changed, encrypted = values
    return number, path, size, changed, encrypted


def _submission(answer: dict[str, Any], handed_out: HandedOut) -> Submission:
    problem = answer.get("problem")
    fields = _typed(
        answer | {"problem": ""},
        {"digest": str, "cells": list, "answers": list, "problem": str, "assignment": str},
    )
    cell_kinds = dict.fromkeys(("source", "exercise", "matched_by"), str)
    cells = tuple(StudentCell(**_typed(each, cell_kinds)) for each in fields["cells"])
    kinds: dict[str, type[Any]] = {
        "exercise": str, "cells": list, "alone": list, "matched_by": str, "unanswered": bool,
        "remark": str,
    }  # fmt: skip
    answers = []
    for each in fields["answers"]:
        found = _typed(each, kinds)
        for name in ("cells", "alone"):
            if not all(type(at) is int and 0 <= at < len(cells) for at in found[name]):
                raise Unreadable("the file could not be read: an index of a cell is out of range")
            found[name] = tuple(found[name])
        answers.append(Answer(**found))
    names = [question.name for question in handed_out.questions]
    if problem is None and [each.exercise for each in answers] != names:
        raise Unreadable("the file could not be read: its exercises are not those asked for")
    if problem is not None and type(problem) is not str:
        raise Unreadable("the file could not be read: its problem is not a string")
    return Submission(
        "", fields["digest"], cells, tuple(answers), problem, assignment=fields["assignment"]
    )
