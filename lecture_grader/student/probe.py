"""The code of the grader that runs inside a student's kernel: probes, and cells by statement.

It knows no expected values and makes no verdict. Whatever a student's code does to this module, it
can change only the displayed values, not the comparison. No name enters the student's namespace.
"""

import ast
import builtins
import json
import os
import random
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from lecture_grader.student.values import decode, encode, to_kernel

# A copy, because a student's code may delete built-ins that the functions below use.
globals()["__builtins__"] = dict(vars(builtins))

__all__ = ["MIME", "probe_answer", "run_statements"]

MIME = "application/vnd.lecture-vae.values+json"
MAX_FILES = 20  # names in a report
MOUNTS = "/proc/self/mounts"
TIMING = ("time", "timeit", "prun", "capture")  # cell magics whose body is the cell
MAX_PIECES = 60  # pieces of text that are joined to one statement if a cell does not parse


def probe_answer(request: str) -> None:
    """Calls a probe on each case and displays the values with the MIME type of the grader.

    Set-up and probe run in a separate namespace. The answer comes from the student's namespace,
    which stays its global one.

    Args:
        request: JSON: ``setup`` and ``probe``, sources; ``answers``, names to take from the
            student's namespace, the first one required; ``planted``, a source to run instead;
            ``cases``; ``tensors``, whether their arrays become tensors.

    Raises:
        NameError: The student's cells do not define the answer.
        TypeError: The answer returns a value of an unsupported type.
        Exception: Whatever the answer raises.
    """
    import numpy as np
    from IPython import get_ipython
    from IPython.display import display

    fields = json.loads(request)
    student_names = get_ipython().user_ns
    names: dict[str, Any] = {"__name__": "probe"}
    exec(fields["setup"], names)
    names |= {name: student_names[name] for name in fields["answers"] if name in student_names}
    exec(fields["planted"], names)
    required = fields["answers"][0]
    if required not in names:
        raise NameError(f"your cells have run, and {required} is not defined")
    exec(fields["probe"], names)
    # Reproducible results, also of code that sets no seed.
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (answers may use it)
    if fields["tensors"]:
        import torch

        torch.manual_seed(0)
    cases = [to_kernel(decode(case), tensors=fields["tensors"]) for case in fields["cases"]]
    values = [encode(names["probe"](**case)) for case in cases]
    output = {"values": values, "files": sorted(_written_files())[:MAX_FILES]}
    display({MIME: json.dumps(output)}, raw=True)


def _written_files() -> Iterator[str]:
    """Names of the files and folders that the student's cells wrote to the working directory."""
    home = os.environ.get("HOME", "")
    mounted = set(_mounted(home))
    for name in os.listdir(home) if os.path.isdir(home) else ():
        if not name.startswith(".") and name != "__pycache__" and name not in mounted:
            yield name.encode(errors="replace").decode()[:100]


def _mounted(home: str) -> Iterator[str]:
    """Names in the working directory that lead to mounts: of packages installed below it."""
    with suppress(OSError), open(MOUNTS, encoding="utf-8", errors="replace") as mounts:
        for line in mounts:
            escaped = line.split(" ")[1]  # proc(5): octal for spaces
            place = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), escaped)
            if place.startswith(f"{home}/"):
                yield place.removeprefix(f"{home}/").partition("/")[0]


def run_statements(source: str) -> None:
    """Runs a cell in the student's namespace, one top-level statement after the other.

    If a statement raises or does not parse, the error is printed to stderr and the next one runs.

    Args:
        source: The source of the cell.
    """
    from IPython import get_ipython

    shell = get_ipython()
    first, _, rest = source.partition("\n")
    if first.startswith("%%") and first[2:].split(maxsplit=1)[:1] in [[each] for each in TIMING]:
        source = rest
    with suppress(SyntaxError):  # then IPython's syntax stays as it is
        source = shell.transform_cell(source)
    for piece in _statements(source):
        try:
            # As IPython does: keeps inspect.getsource and future imports working.
            name = shell.compile.cache(piece, 0)
            exec(shell.compile(piece, name, "exec"), shell.user_ns)
        except Exception as error:
            line = piece.strip().partition("\n")[0][:80]
            print(f"{type(error).__name__}: {error} (at {line!r})", file=sys.stderr)


def _statements(source: str) -> Iterator[str]:
    """The source in pieces of whole statements; pieces that do not parse are kept."""
    lines = source.splitlines(keepends=True)
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        yield from _pieces(lines)
        return
    at = 0
    for node, after in zip(body, [*body[1:], None], strict=True):
        end = node.end_lineno or node.lineno
        if after is None or after.lineno > end:  # otherwise they share a line
            yield "".join(lines[at:end])
            at = end


def _pieces(lines: list[str]) -> Iterator[str]:
    """Split text that does not parse before lines that could begin a statement."""
    starts = [
        number for number, line in enumerate(lines)
        if re.match(r"[A-Za-z_@\"'(\[{*]", line)
        and not re.match(r"(else|elif|except|finally|case)\b", line)
        and not (number and lines[number - 1].startswith("@"))
    ]  # fmt: skip
    ends = [*starts[1:], len(lines)]
    at = 0
    while at < len(starts):
        for more in range(at, min(at + MAX_PIECES, len(starts))):
            piece = "".join(lines[starts[at] : ends[more]])
            try:
                ast.parse(piece)
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                continue
            yield piece
            at = more + 1
            break
        else:
            yield "".join(lines[starts[at] : ends[at]])  # running it will print its error
            at += 1
