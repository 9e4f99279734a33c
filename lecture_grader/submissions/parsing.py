"""Parsing: the process with rlimits that opens and parses the files of students.

``python -I -m lecture_grader.submissions.parsing`` reads the assignment and then requests from
stdin, and writes a reply to each to stdout. Messages are JSON with a length prefix. It imports
neither torch nor jupytext.
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
RECYCLE_MB = 150  # a process with a larger resident set after a file is replaced
HEAD = struct.Struct("!I")  # length prefix of a message
FIELDS = ("digest", "cells", "answers", "problem", "assignment")


@dataclass
class _Worker:
    """Answers requests about files."""

    handed_out: HandedOut | None

    def answer(self, kind: str, path: str, inside: list[int]) -> dict[str, Any]:
        """The reply to a request about a file; its `problem` says why the file cannot be read."""
        if kind == "members":
            try:
                return {"members": members(Path(path), inside)}
            except (ValueError, OSError) as error:
                return {"problem": getattr(error, "strerror", None) or str(error)}
        if kind == "submitters":
            try:
                return {"submitters": _submitters(content(Path(path), inside, MAX_BYTES))}
            except (ValueError, OSError) as error:
                return {"problem": getattr(error, "strerror", None) or str(error)}
        assert self.handed_out is not None
        found = asdict(self._read(path, inside, self.handed_out))
        return {name: found[name] for name in FIELDS}

    def _read(self, path: str, inside: list[int], handed_out: HandedOut) -> Submission:
        try:
            return read_notebook("", content(Path(path), inside, MAX_BYTES), handed_out)
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
        ValueError: The text is not such a list.
    """
    import yaml  # here, because most classes do not need it

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
    """Sets the rlimits of this process but that of CPU time."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_MB << 20, MEMORY_MB << 20))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_time() -> None:
    """Sets RLIMIT_CPU so that SECONDS remain; called before every file."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + SECONDS + 1
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    if hard == resource.RLIM_INFINITY or seconds < hard:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, hard))


def _resident_mb() -> int:
    """Current resident set size in MiB; ru_maxrss of getrusage includes the parent's."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() >> 20


def _read_message() -> Any:
    head = sys.stdin.buffer.read(HEAD.size)
    if len(head) < HEAD.size:
        sys.exit()
    return json.loads(sys.stdin.buffer.read(HEAD.unpack(head)[0]))


def _main() -> None:
    _limit()
    handed_out = _read_message()
    if handed_out is not None:
        questions = tuple(
            Question(**(each | {"checks": tuple(each["checks"])}))
            for each in handed_out["questions"]
        )
        handed_out = HandedOut(handed_out["assignment"], handed_out["setup"], questions)
    worker = _Worker(handed_out)
    while True:
        kind, path, inside = _read_message()
        _limit_time()
        answer = worker.answer(kind, path, inside)
        data = json.dumps(
            answer | {"last": _resident_mb() > RECYCLE_MB}, ensure_ascii=False
        ).encode("utf8", "surrogatepass")
        sys.stdout.buffer.write(HEAD.pack(len(data)) + data)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _main()
