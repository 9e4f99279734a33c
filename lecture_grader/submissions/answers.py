"""Answers: find the cells of a notebook that answer each exercise.

A notebook is untrusted. It is parsed as JSON within limits and never executed here. An answer is
found by cell id, then by tag, then as the cell that defines the required name.
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

# The cell that the pages of the book put before the set-up.
INSTALL = re.compile(
    r"# Where the companion package is missing [^\n]*\ntry:\n    import \w+\n"
    r'except ModuleNotFoundError:\n    %pip install -q "[^"\n]*"'
)
KNOWN_CASES = re.compile(
    r'KnownCases\("[A-Za-z0-9+/=]*"\)'
)  # the packed data differs in each release


@dataclass(frozen=True)
class Question:
    """One exercise as it was handed out."""

    name: str
    answer: str  # the top-level name that a student defines
    stub: str
    checks: tuple[str, ...]  # possible sources of its check cell


@dataclass(frozen=True)
class HandedOut:
    """An assignment as students received it, as far as it is needed to find answers."""

    assignment: str  # its name
    setup: str
    questions: tuple[Question, ...]

    @cached_property
    def given(self) -> Mapping[str, str]:
        """The names that the set-up and Python define."""
        return given_names(find_names(self.setup))

    @cached_property
    def unchanged(self) -> frozenset[str]:
        """The normalized sources of the cells that are not the student's."""
        checks = (check for question in self.questions for check in question.checks)
        return frozenset(map(_normalized, (self.setup, *checks)))


def read_notebook(student: str, content: bytes, handed_out: HandedOut) -> Submission:
    """Reads a notebook and finds its answers.

    Args:
        student: The name of the student.
        content: The bytes of the file.
        handed_out: The assignment.

    Returns:
        The submission; its `problem` says why a file cannot be read.
    """
    digest = digest_of(content)
    try:
        notebook = load_notebook(content)
        cells = list(cells_of(notebook))
    except ValueError as error:
        return Submission(student, digest, problem=str(error))
    student_cells, answers = _answers(cells, handed_out)
    return Submission(student, digest, student_cells, answers, assignment=assignment_of(notebook))


def digest_of(content: bytes) -> str:
    """A SHA-256 of the content of a file, as 16 hex digits."""
    return hashlib.sha256(content).hexdigest()[:16]


@dataclass(frozen=True)
class _Match:
    """A cell that answers a question."""

    position: int  # in the notebook
    how: str  # "id", "tag" or "source"
    cell: Cell
    is_stub: bool


def _answers(
    cells: Sequence[Cell], handed_out: HandedOut
) -> tuple[tuple[StudentCell, ...], tuple[Answer, ...]]:
    """The student's cells and the answers among them."""
    changed = {
        at: cell
        for at, cell in enumerate(cells)
        if cell.source.strip()
        and _normalized(cell.source) not in handed_out.unchanged
        and not INSTALL.fullmatch(cell.source.strip())
    }
    matches = {
        question.name: _matches(changed, question, handed_out) for question in handed_out.questions
    }
    stubs = {match.position for found in matches.values() for match in found if match.is_stub}
    answered = {match.position for found in matches.values() for match in found} - stubs
    kept = [
        at
        for at, cell in changed.items()
        if at in answered or (cell.kind == "code" and at not in stubs)
    ]
    names = [changed[at].names for at in kept]
    candidates = {
        question.name: [match for match in matches[question.name] if match.position not in stubs]
        for question in handed_out.questions
    }
    roles = {
        match.position: (name, match.how)
        for name, found in candidates.items()
        for match in found[::-1]
    }
    student_cells = tuple(StudentCell(changed[at].source, *roles.get(at, ("", ""))) for at in kept)
    answering = {kept.index(at) for at in roles}
    answers = []
    for question in handed_out.questions:
        found = candidates[question.name]
        emptied = _match_of_emptied(cells, question)
        if not found:
            how = next((match.how for match in matches[question.name]), emptied)
            answers.append(Answer(question.name, (), (), how, bool(how)))
            continue
        best = _graded_match(found, question)
        answers.append(
            Answer(
                question.name,
                tuple(kept.index(match.position) for match in found),
                needed(kept.index(best.position), names, handed_out.given, answering),
                best.how,
                unanswered=False,
                remark=_remark(best, question),
            )
        )
    return student_cells, tuple(answers)


def _matches(cells: Mapping[int, Cell], question: Question, handed_out: HandedOut) -> list[_Match]:
    """The cells that answer a question, in order, and how each was found."""
    found = []
    for at, cell in cells.items():
        how = _how(cell, question)
        if how:
            found.append(_Match(at, how, cell, _same(cell.source, question.stub)))
    # An answer in a Markdown cell or in the cell of a check counts only if there is no other:
    # students turn a cell into Markdown by accident, or type into the wrong cell.
    for odd in (_is_text, _is_check):
        others = [match for match in found if not match.is_stub and not odd(match.cell)]
        if others:
            found = [match for match in found if match.is_stub or not odd(match.cell)]
    return found


def _how(cell: Cell, question: Question) -> str:
    """How a cell matches a question: "id", "tag" or "source"; "" if it does not."""
    if cell.id == answer_id(question.name):
        return "id"
    if answer_tag(question.name) in cell.tags:
        return "tag"
    if cell.kind != "code" and f"def {question.answer}" not in cell.source:
        return ""  # prose, which is not parsed
    if _is_text(cell):
        try:
            parse(cell.source)
        except UNPARSABLE:
            return ""
    return "source" if question.answer in cell.names.defines else ""


def _graded_match(found: Sequence[_Match], question: Question) -> _Match:
    """The last match by id or tag that defines the name; else the last that defines it."""
    defining = [match for match in found if question.answer in match.cell.names.defines]
    identified = [match for match in defining if match.how != "source"]
    return (identified or defining or found)[-1]


def _remark(match: _Match, question: Question) -> str:
    """A sentence for the student about an answer in an unusual cell, or ""."""
    if _is_text(match.cell):
        kind = match.cell.kind.capitalize() if match.cell.kind else "text"
        return f"The cell of your answer is a {kind} cell; it was graded as code."
    if _is_check(match.cell):
        return (
            f"Your answer is in the cell of a check; it was found there because it defines "
            f"{question.answer}."
        )
    return ""


def _is_text(cell: Cell) -> bool:
    return cell.kind != "code"


def _is_check(cell: Cell) -> bool:
    return is_check(cell.id, cell.tags)


def _match_of_emptied(cells: Sequence[Cell], question: Question) -> str:
    """How an emptied answer cell matches: "id" or "tag"; "" if there is none."""
    for cell in cells:
        if not cell.source.strip() and (how := _how(cell, question)):
            return how
    return ""


def _normalized(source: str) -> str:
    """The source without blank lines, trailing blanks and the packed cases of a check."""
    lines = KNOWN_CASES.sub('KnownCases("")', source).splitlines()
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _same(source: str, stub: str) -> bool:
    """Whether two sources are equal up to comments, blank lines and spacing."""
    try:
        return _normalized(source) == _normalized(stub) or ast.dump(parse(source)) == _tree(stub)
    except UNPARSABLE:
        return False


@lru_cache
def _tree(stub: str) -> str:
    return ast.dump(parse(stub))
