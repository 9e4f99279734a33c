"""Parsing: the process with limits in which the files of students are opened and parsed.

``python -I -m lecture_grader.submissions.parsing`` is told what was handed out, then one file after
the other, and answers in JSON, each message after its length. It imports neither torch nor
jupytext.
"""

import json
import resource
import struct
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lecture_grader.submissions.answers import HandedOut, Question, digest_of, read_notebook
from lecture_grader.submissions.archives import TooLarge, content, members
from lecture_grader.submissions.notebook_file import MAX_BYTES
from lecture_grader.submissions.submission import Submission

__all__ = ["HEAD", "MEMORY_MB", "SECONDS"]

SECONDS, MEMORY_MB = 10, 300  # for one file
RECYCLE_MB = 150  # a process that still holds more after a file makes place for a new one
HEAD = struct.Struct("!I")  # the length of a message
FIELDS = ("digest", "cells", "answers", "problem", "assignment")


@dataclass
class _Worker:
    """The process with limits: it answers one question after the other until nobody asks."""

    handed_out: HandedOut | None

    def answer(self, what: str, path: str, inside: list[int]) -> dict[str, Any]:
        """What is asked about a file; what is wrong with it is said in words."""
        if what == "members":
            try:
                return {"members": members(Path(path), inside)}
            except (ValueError, OSError) as error:
                return {"problem": getattr(error, "strerror", None) or str(error)}
        if what == "submitters":
            try:
                return {"submitters": _submitters(content(Path(path), inside, MAX_BYTES))}
            except (ValueError, OSError) as error:
                return {"problem": getattr(error, "strerror", None) or str(error)}
        assert self.handed_out is not None
        found = asdict(self._read(path, inside, self.handed_out))
        return {name: found[name] for name in FIELDS}

    def _read(self, path: str, inside: list[int], asked: HandedOut) -> Submission:
        try:
            return read_notebook("", content(Path(path), inside, MAX_BYTES), asked)
        except TooLarge as error:
            digest = digest_of(str(error.size).encode())
            return Submission("", digest, problem=f"{error}. Clear its outputs.")
        except OSError as error:
            return Submission("", "", problem=f"the file cannot be read: {error.strerror or error}")
        except ValueError as error:
            return Submission("", "", problem=f"the file cannot be read: {error}")


def _submitters(text: bytes) -> list[tuple[str, str, str]]:
    """Folder, name and number of every submitter that a Gradescope export lists.

    Raises:
        ValueError: It is no such list.
    """
    import yaml  # few classes need it

    try:
        listed = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"it is not YAML: {str(error).splitlines()[0]}") from error
    found = []
    for folder, about in listed.items() if isinstance(listed, dict) else ():
        people = about.get(":submitters") if isinstance(about, dict) else None
        for person in people if isinstance(people, list) else ():
            if isinstance(person, dict):
                name, number, mail = (
                    str(person.get(key) or "").strip() for key in (":name", ":sid", ":email")
                )
                found.append((str(folder), name, number or mail))
    if not found:
        raise ValueError("it lists no submitters")
    return found


def _limit() -> None:
    """Limits this process; the CPU time anew before every file."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_MB << 20, MEMORY_MB << 20))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_time() -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + SECONDS + 1
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    if most == resource.RLIM_INFINITY or seconds < most:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, most))


def _held_mb() -> int:
    """Resident memory now; the peak that getrusage tells is in part that of who started us."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() >> 20


def _message() -> Any:
    head = sys.stdin.buffer.read(HEAD.size)
    if len(head) < HEAD.size:
        sys.exit()
    return json.loads(sys.stdin.buffer.read(HEAD.unpack(head)[0]))


def _main() -> None:
    _limit()
    told = _message()
    if told is not None:
        questions = tuple(
            Question(**(each | {"checks": tuple(each["checks"])})) for each in told["questions"]
        )
        told = HandedOut(told["assignment"], told["setup"], questions)
    worker = _Worker(told)
    while True:
        what, path, inside = _message()
        _limit_time()
        answer = worker.answer(what, path, inside)
        data = json.dumps(answer | {"last": _held_mb() > RECYCLE_MB}, ensure_ascii=False).encode(
            "utf8", "surrogatepass"
        )
        sys.stdout.buffer.write(HEAD.pack(len(data)) + data)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _main()
