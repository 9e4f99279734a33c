"""What runs inside a student's kernel beside their cells: probes, and cells statement by statement.

Nothing here decides anything, and nothing here knows a right value: whatever a student's code
does to this module, it can only change what the grader hears, not what the grader expects. Nothing
here gets a name in the student's namespace either.
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

# A copy: a student's code may take built-ins away, and what is defined below finds them here.
globals()["__builtins__"] = dict(vars(builtins))

__all__ = ["MIME", "probe_answer", "run_statements"]

MIME = "application/vnd.lecture-vae.values+json"
MAX_FILES = 20  # names that are reported
TIMING = ("time", "timeit", "prun", "capture")  # cell magics whose body is the cell
AHEAD = 60  # pieces of text that one statement may stretch over where a cell does not parse


def probe_answer(told: str) -> None:
    """Displays what a probe gives on each case, as data of an own type.

    Set-up and probe live in a namespace of their own. The answer is taken from the student's, and
    finds there all that it uses.

    Args:
        told: JSON: ``setup`` and ``probe``, sources; ``answers``, names to take from the student's
            namespace, the first one required; ``planted``, a source to run instead; ``cases``;
            ``tensors``, whether their arrays become tensors.

    Raises:
        NameError: The student's cells have defined no answer.
        Exception: Whatever the answer raises, or TypeError if it returns no number.
    """
    import numpy as np
    from IPython import get_ipython
    from IPython.display import display

    asked = json.loads(told)
    theirs = get_ipython().user_ns
    names: dict[str, Any] = {"__name__": "probe"}
    exec(asked["setup"], names)
    names |= {name: theirs[name] for name in asked["answers"] if name in theirs}
    exec(asked["planted"], names)
    wanted = asked["answers"][0]
    if wanted not in names:
        raise NameError(f"your cells have run, and {wanted} is not defined")
    exec(asked["probe"], names)
    # Noise without a seed is the same in every run, so that a result can be repeated.
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (answers may use it)
    if asked["tensors"]:
        import torch

        torch.manual_seed(0)
    cases = [to_kernel(decode(case), tensors=asked["tensors"]) for case in asked["cases"]]
    values = [encode(names["probe"](**case)) for case in cases]
    said = {"values": values, "files": sorted(_written())[:MAX_FILES]}
    display({MIME: json.dumps(said)}, raw=True)


def _written() -> Iterator[str]:
    """Names of files and folders that the student's cells left in the working folder."""
    home = os.environ.get("HOME", "")
    for name in os.listdir(home) if os.path.isdir(home) else ():
        if not name.startswith(".") and name != "__pycache__":
            yield name.encode(errors="replace").decode()[:100]


def run_statements(source: str) -> None:
    """Runs a cell in the student's namespace, one top-level statement after the other.

    A statement that raises, or that does not parse, stops nothing after it; what happened is
    printed to stderr.
    """
    from IPython import get_ipython

    shell = get_ipython()
    first, _, rest = source.partition("\n")
    if first.startswith("%%") and first[2:].split(maxsplit=1)[:1] in [[each] for each in TIMING]:
        source = rest
    with suppress(SyntaxError):  # else its lines that only IPython understands stay as they are
        source = shell.transform_cell(source)
    for piece in _statements(source):
        try:
            # As IPython does it: the source can then be asked for, and a future import holds on.
            name = shell.compile.cache(piece, 0)
            exec(shell.compile(piece, name, "exec"), shell.user_ns)
        except Exception as error:
            line = piece.strip().partition("\n")[0][:80]
            print(f"{type(error).__name__}: {error} (at {line!r})", file=sys.stderr)


def _statements(source: str) -> Iterator[str]:
    """The source in pieces that each hold whole statements, what does not parse in pieces too."""
    lines = source.splitlines(keepends=True)
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        yield from _pieces(lines)
        return
    at = 0
    for node, after in zip(body, [*body[1:], None], strict=True):
        end = node.end_lineno or node.lineno
        if after is None or after.lineno > end:  # else several statements share a line
            yield "".join(lines[at:end])
            at = end


def _pieces(lines: list[str]) -> Iterator[str]:
    """Text that does not parse, cut before lines that could begin a statement."""
    starts = [
        place for place, line in enumerate(lines)
        if re.match(r"[A-Za-z_@\"'(\[{*]", line)
        and not re.match(r"(else|elif|except|finally|case)\b", line)
        and not (place and lines[place - 1].startswith("@"))
    ]  # fmt: skip
    ends = [*starts[1:], len(lines)]
    at = 0
    while at < len(starts):
        for more in range(at, min(at + AHEAD, len(starts))):
            piece = "".join(lines[starts[at] : ends[more]])
            try:
                ast.parse(piece)
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                continue
            yield piece
            at = more + 1
            break
        else:
            yield "".join(lines[starts[at] : ends[at]])  # which will say why it does not run
            at += 1
