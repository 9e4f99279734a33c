"""Submissions: from a student's notebook only the answers are taken; everything else is ours.

A submission is untrusted text. It is read under caps, as JSON, and never executed here. An answer
is found by cell id, then by tag, then as the cell that defines the answer's name. A further cell
of the student is taken along only if it defines a name that an answer uses.
"""

import ast
import builtins
import hashlib
import json
import re
import symtable
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lecture_vae.grading.exercises import Assignment, Exercise, defined_names

__all__ = ["Answer", "Submission", "find_submissions", "read_submission"]

MAX_BYTES = 20_000_000  # figures in the outputs of an honest notebook stay below
MAX_CELLS = 2_000
MAX_SOURCE = 200_000  # characters of one answer
MAX_CODE = 1_000_000  # characters of all code: to parse it takes 3 µs for each
# A comment can switch nbval off for a cell, and a tag too: neither is copied.
MARKER = re.compile(r"#[^\S\r\n]*(?:(?:nbval|pytest)\w*[^\S\r\n]*)+", re.IGNORECASE)
Parsed = TypeVar("Parsed")
UNPARSABLE = (SyntaxError, ValueError, RecursionError, MemoryError)


@dataclass(frozen=True)
class Answer:
    """One exercise as a student answered it."""

    exercise: str
    source: str  # the answer, nbval's markers removed
    helpers: tuple[str, ...]  # further cells of the student that the answer needs
    matched_by: str  # "id", "tag", "source", or "" if there is none
    unanswered: bool  # it is the stub
    uses: tuple[str, ...] = ()  # other exercises whose answers it calls


@dataclass(frozen=True)
class Submission:
    """What a student handed in."""

    student: str
    digest: str  # 16 hex digits of the file
    answers: tuple[Answer, ...]
    problem: str | None = None  # why the file cannot be read


def find_submissions(folder: Path) -> dict[str, Path]:
    """Notebooks by student: the .ipynb of the folder, or the newest of each student's folder.

    Links are not followed, so that no submission can name another one as its own.
    """
    found: dict[str, Path] = {}
    for entry in sorted(folder.iterdir()):
        if entry.is_symlink() or entry.name.startswith("."):
            continue
        if entry.is_file() and entry.suffix == ".ipynb":
            found[entry.stem] = entry
        elif entry.is_dir():
            notebooks = [
                path
                for path in entry.glob("*.ipynb")
                if path.is_file() and not path.is_symlink() and not path.name.startswith(".")
            ]
            if notebooks:
                found[entry.name] = max(notebooks, key=lambda path: (path.stat().st_mtime, path))
    return found


def read_submission(student: str, path: Path, assignment: Assignment) -> Submission:
    """Reads a notebook and finds its answers; a file that cannot be read is a `problem`."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            digest = hashlib.sha256(str(size).encode()).hexdigest()[:16]
            problem = (
                f"the file has {size:,} bytes; at most {MAX_BYTES:,} are read. Clear its outputs."
            )
            return Submission(student, digest, (), problem)
        content = path.read_bytes()
    except OSError as error:
        return Submission(student, "", (), f"the file cannot be read: {error.strerror}")
    digest = hashlib.sha256(content).hexdigest()[:16]
    try:
        cells = list(_code_cells(content))
    except ValueError as error:
        return Submission(student, digest, (), str(error))
    return Submission(student, digest, tuple(_answers(cells, assignment)))


@dataclass(frozen=True)
class _Cell:
    id: str
    tags: tuple[str, ...]
    source: str
    defines: frozenset[str]


def _code_cells(content: bytes) -> Iterator[_Cell]:
    """The code cells of a notebook in nbformat 3 or 4.

    Raises:
        ValueError: It is not a notebook.
    """
    try:
        notebook = json.loads(content.decode("utf8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"the file is not UTF-8 text (byte {error.start})") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the file is not JSON ({error})") from error
    if not isinstance(notebook, dict):
        raise ValueError("the file is JSON, but not a notebook")
    cells = notebook.get("cells")
    if cells is None and isinstance(notebook.get("worksheets"), list):  # nbformat 3
        sheets = [sheet for sheet in notebook["worksheets"] if isinstance(sheet, dict)]
        lists = [sheet["cells"] for sheet in sheets if isinstance(sheet.get("cells"), list)]
        cells = [cell for found in lists for cell in found]
    if not isinstance(cells, list):
        raise ValueError("the file is JSON, but not a notebook: it has no cells")
    if len(cells) > MAX_CELLS:
        raise ValueError(f"the notebook has {len(cells):,} cells; at most {MAX_CELLS:,} are read")
    code = [cell for cell in cells if isinstance(cell, dict) and cell.get("cell_type") == "code"]
    sources = [_source(cell) for cell in code]
    length = sum(map(len, sources))
    if length > MAX_CODE:
        raise ValueError(
            f"the notebook has {length:,} characters of code; at most {MAX_CODE:,} are read"
        )
    yield from map(_code_cell, code, sources)


def _source(cell: dict[str, Any]) -> str:
    source = cell.get("source", cell.get("input", ""))
    if isinstance(source, list):
        source = "".join(part for part in source if isinstance(part, str))
    return MARKER.sub("# ", source) if isinstance(source, str) else ""


def _code_cell(cell: dict[str, Any], source: str) -> _Cell:
    metadata = cell.get("metadata")
    tags = metadata.get("tags") if isinstance(metadata, dict) else None
    tags = [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []
    identity = cell.get("id")
    return _Cell(
        identity if isinstance(identity, str) else "", tuple(tags), source, _defines(source)
    )


def _defines(source: str) -> frozenset[str]:
    try:
        symbols = _parse(source, _symbols).get_symbols()
    except UNPARSABLE:
        return frozenset(re.findall(r"^(?:def|class)\s+(\w+)", source, re.MULTILINE))
    return frozenset(
        symbol.get_name() for symbol in symbols if symbol.is_assigned() or symbol.is_imported()
    )


def _uses(source: str) -> set[str]:
    """Names that code takes from outside: neither arguments nor local variables."""
    try:
        tables = [_parse(source, _symbols)]
    except UNPARSABLE:
        return set(re.findall(r"\b[A-Za-z_]\w*\b", source))
    used: set[str] = set()
    for table in tables:  # which grows on the way
        tables += table.get_children()
        used |= {
            symbol.get_name()
            for symbol in table.get_symbols()
            if symbol.is_global() and symbol.is_referenced()
        }
    return used


def _symbols(source: str) -> symtable.SymbolTable:
    return symtable.symtable(source, "answer", "exec")


def _parse(source: str, parser: Callable[[str], Parsed]) -> Parsed:
    """What a parser makes of a student's code; raises one of UNPARSABLE."""
    if len(source) > MAX_SOURCE:  # the tree of one long cell could fill the memory
        raise ValueError(f"more than {MAX_SOURCE:,} characters")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a formula in a docstring: invalid escape sequence
        return parser(_python(source))


def _python(source: str) -> str:
    """Source without the lines that only IPython understands."""
    return "\n".join(
        "" if line.startswith(("%", "!", "?")) else line for line in source.splitlines()
    )


def _answers(cells: list[_Cell], assignment: Assignment) -> Iterator[Answer]:
    checks = {f"{exercise.name}-check" for exercise in assignment.exercises}
    theirs = [
        cell
        for cell in cells
        if cell.id not in checks and not any(tag.startswith("check:") for tag in cell.tags)
    ]
    matches = {exercise.name: _matches(theirs, exercise) for exercise in assignment.exercises}
    taken = {id(cell) for found in matches.values() for cell, _ in found}
    extra = [cell for cell in theirs if id(cell) not in taken]
    known = set(dir(builtins)) | set(defined_names(assignment.setup))
    known |= {exercise.answer for exercise in assignment.exercises}
    for exercise in assignment.exercises:
        found = matches[exercise.name]
        # A cell that was copied, split or written anew appears more than once: whatever is not
        # the stub counts, in the order of the notebook, so that a later version replaces an
        # earlier one, as it does when the student runs it.
        answered = [
            (cell, how)
            for cell, how in found
            if cell.source.strip() and not _same(cell.source, exercise.stub)
        ]
        source = "\n\n".join(cell.source for cell, _ in answered)[:MAX_SOURCE]
        helpers = _helpers(source, extra, known)
        called = set().union(*map(_uses, (source, *helpers)))
        yield Answer(
            exercise.name,
            source,
            helpers,
            matched_by=next((how for _, how in answered or found), ""),
            unanswered=bool(found) and not answered,
            uses=tuple(
                e.name for e in assignment.exercises if e.answer in called and e != exercise
            ),
        )


def _matches(cells: list[_Cell], exercise: Exercise) -> list[tuple[_Cell, str]]:
    """Cells that answer an exercise, in the order of the notebook, and how each was found."""
    found = []
    for cell in cells:
        if cell.id == f"{exercise.name}-answer":
            found.append((cell, "id"))
        elif f"answer:{exercise.name}" in cell.tags:
            found.append((cell, "tag"))
        elif exercise.answer in cell.defines:
            found.append((cell, "source"))
    return found


def _helpers(source: str, extra: list[_Cell], known: set[str]) -> tuple[str, ...]:
    needed, chosen = _uses(source) - known, set[int]()
    while True:
        more = [
            (place, cell)
            for place, cell in enumerate(extra)
            if place not in chosen and cell.defines & needed and len(cell.source) <= MAX_SOURCE
        ]
        if not more:
            return tuple(extra[place].source for place in sorted(chosen))
        for place, cell in more:
            chosen.add(place)
            needed |= _uses(cell.source) - known


def _same(source: str, stub: str) -> bool:
    """Whether two sources are the same but for comments, blank lines and spacing."""
    try:
        return _parse(source, _tree) == _parse(stub, _tree)
    except UNPARSABLE:
        return False


def _tree(source: str) -> str:
    return ast.dump(ast.parse(source))
