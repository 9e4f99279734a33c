"""Answers: what is read of a notebook, from its bytes to the cells that answer each exercise.

A notebook is untrusted text. It is read under caps, as JSON, and never executed here. An answer
is found by cell id, then by tag, then as the cell that defines the answer's name.
"""

import ast
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from lecture_grader.cells import answer_id, answer_tag, is_check
from lecture_grader.submissions.names import find_names
from lecture_grader.submissions.needs import given_names, needed
from lecture_grader.submissions.notebook_file import Cell, assignment_of, cells_of, load_notebook
from lecture_grader.submissions.submission import Answer, StudentCell, Submission
from lecture_grader.submissions.syntax import UNPARSABLE, parse

__all__ = ["HandedOut", "Question", "digest_of", "read_notebook"]

# What the pages of the book put before the set-up: where the package is missing, get it.
INSTALL = re.compile(
    r"# Where the companion package is missing [^\n]*\ntry:\n    import \w+\n"
    r'except ModuleNotFoundError:\n    %pip install -q "[^"\n]*"'
)
KNOWN_CASES = re.compile(r'KnownCases\("[A-Za-z0-9+/=]*"\)')  # which differ with each release


@dataclass(frozen=True)
class Question:
    """One exercise as it was handed out."""

    name: str
    answer: str  # the top-level name that a student defines
    stub: str
    checks: tuple[str, ...]  # what the cell below may hold, with any known cases


@dataclass(frozen=True)
class HandedOut:
    """An assignment as students got it, in plain text: all that finding answers needs of it."""

    assignment: str  # its name
    setup: str
    questions: tuple[Question, ...]

    @cached_property
    def given(self) -> Mapping[str, str]:
        """The names that are there without any cell of the student."""
        return given_names(find_names(self.setup))

    @cached_property
    def unchanged(self) -> frozenset[str]:
        """The texts of cells that are not the student's."""
        checks = (check for question in self.questions for check in question.checks)
        return frozenset(map(_text, (self.setup, *checks)))


def read_notebook(student: str, content: bytes, handed_out: HandedOut) -> Submission:
    """Reads a notebook and finds its answers; what cannot be read is a `problem`."""
    digest = digest_of(content)
    try:
        notebook = load_notebook(content)
        cells = list(cells_of(notebook))
    except ValueError as error:
        return Submission(student, digest, problem=str(error))
    theirs, answers = _answers(cells, handed_out)
    return Submission(student, digest, theirs, answers, assignment=assignment_of(notebook))


def digest_of(content: bytes) -> str:
    """What tells one content of a file from another: 16 hex digits."""
    return hashlib.sha256(content).hexdigest()[:16]


@dataclass(frozen=True)
class _Match:
    """A cell that answers a question."""

    place: int  # in the notebook
    how: str  # "id", "tag" or "source"
    cell: Cell
    is_stub: bool


def _answers(
    cells: Sequence[Cell], handed_out: HandedOut
) -> tuple[tuple[StudentCell, ...], tuple[Answer, ...]]:
    """The student's cells and the answers among them."""
    theirs = {
        place: cell
        for place, cell in enumerate(cells)
        if cell.source.strip()
        and _text(cell.source) not in handed_out.unchanged
        and not INSTALL.fullmatch(cell.source.strip())
    }
    matches = {
        question.name: _matches(theirs, question, handed_out) for question in handed_out.questions
    }
    stubs = {match.place for found in matches.values() for match in found if match.is_stub}
    answered = {match.place for found in matches.values() for match in found} - stubs
    kept = [
        place
        for place, cell in theirs.items()
        if place in answered or (cell.kind == "code" and place not in stubs)
    ]
    names = [theirs[place].names for place in kept]
    counted = {
        question.name: [match for match in matches[question.name] if match.place not in stubs]
        for question in handed_out.questions
    }
    roles = {
        match.place: (name, match.how) for name, found in counted.items() for match in found[::-1]
    }
    student_cells = tuple(
        StudentCell(theirs[place].source, *roles.get(place, ("", ""))) for place in kept
    )
    answering = {kept.index(place) for place in roles}
    answers = []
    for question in handed_out.questions:
        found = counted[question.name]
        started = _is_blank(cells, question)
        if not found:
            how = next((match.how for match in matches[question.name]), started)
            answers.append(Answer(question.name, (), (), how, bool(how)))
            continue
        best = _that_counts(found, question)
        answers.append(
            Answer(
                question.name,
                tuple(kept.index(match.place) for match in found),
                needed(kept.index(best.place), names, handed_out.given, answering),
                best.how,
                unanswered=False,
                remark=_remark(best, question),
            )
        )
    return student_cells, tuple(answers)


def _matches(theirs: Mapping[int, Cell], question: Question, handed_out: HandedOut) -> list[_Match]:
    """The cells that answer a question, in order, and how each was found."""
    found = []
    for place, cell in theirs.items():
        how = _how(cell, question)
        if how:
            found.append(_Match(place, how, cell, _same(cell.source, question.stub)))
    # A key press makes an answer's cell Markdown, and a hurry fills the check's: such cells
    # count only where no other does.
    for odd in (_is_text, _is_check):
        others = [match for match in found if not match.is_stub and not odd(match.cell)]
        if others:
            found = [match for match in found if match.is_stub or not odd(match.cell)]
    return found


def _how(cell: Cell, question: Question) -> str:
    """How a cell is known to answer a question; "" if it does not."""
    if cell.id == answer_id(question.name):
        return "id"
    if answer_tag(question.name) in cell.tags:
        return "tag"
    if cell.kind != "code" and f"def {question.answer}" not in cell.source:
        return ""  # prose need not be parsed
    if _is_text(cell):
        try:
            parse(cell.source)
        except UNPARSABLE:
            return ""
    return "source" if question.answer in cell.names.defines else ""


def _that_counts(found: Sequence[_Match], question: Question) -> _Match:
    """The last that was found by id or tag, if it defines the name; else the last that does."""
    defining = [match for match in found if question.answer in match.cell.names.defines]
    placed = [match for match in defining if match.how != "source"]
    return (placed or defining or found)[-1]


def _remark(match: _Match, question: Question) -> str:
    if _is_text(match.cell):
        kind = match.cell.kind.capitalize() if match.cell.kind else "text"
        return f"The cell of your answer is a {kind} cell; it was graded as code."
    if _is_check(match.cell):
        return (
            f"Your answer stands in the cell of a check; it was found there because it defines "
            f"{question.answer}."
        )
    return ""


def _is_text(cell: Cell) -> bool:
    return cell.kind != "code"


def _is_check(cell: Cell) -> bool:
    return is_check(cell.id, cell.tags)


def _is_blank(cells: Sequence[Cell], question: Question) -> str:
    """How an emptied answer cell is known: "id", "tag" or ""."""
    for cell in cells:
        if not cell.source.strip() and (how := _how(cell, question)):
            return how
    return ""


def _text(source: str) -> str:
    """A cell but for line ends, blank lines, trailing blanks and the known cases of a check."""
    lines = KNOWN_CASES.sub('KnownCases("")', source).splitlines()
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _same(source: str, stub: str) -> bool:
    """Whether two sources are the same but for comments, blank lines and spacing."""
    try:
        return _text(source) == _text(stub) or ast.dump(parse(source)) == _tree(stub)
    except UNPARSABLE:
        return False


@lru_cache
def _tree(stub: str) -> str:
    return ast.dump(parse(stub))
