"""The pages of exercises: statement and hints for readers, the notebook for students.

Both are made from the source in `exercises/`, which also contains solutions and hidden checks. The
pages show these only in an instructor's build.
"""

import re
from pathlib import Path

import nbformat

from lecture_book.notebooks.cells import install_cell
from lecture_grader.authoring.assignment import Assignment, read_assignment
from lecture_grader.authoring.handout import student_notebook
from lecture_grader.authoring.page import page

FOLDER = "book/exercises"


def assignments(root: Path) -> list[Assignment]:
    """Every assignment of the lecture, in reading order."""
    return [read_assignment(path) for path in sorted((root / "exercises").glob("*.md"))]


def page_text(assignment: Assignment, *, solutions: bool) -> str:
    """The page of an assignment as MyST."""
    notebook = f"{{download}}`the notebook of these exercises <{assignment.name}.ipynb>`"
    links = (
        f"Work in {notebook}, here or behind the rocket above: it has a cell for each answer, and "
        "a check that tells common mistakes apart. The signature and the hints stand here as well."
    )
    return page(assignment, solutions=solutions, links=links)


def notebook_text(assignment: Assignment, root: Path) -> str:
    """The student's notebook; its first cell installs the package where it is missing."""
    document = nbformat.from_dict(student_notebook(assignment))
    install = nbformat.v4.new_code_cell(install_cell(root), id="install")
    document.cells.insert(1, install)
    nbformat.validate(document)
    return f"{nbformat.writes(document)}\n"


def files(root: Path) -> dict[Path, str]:
    """The expected contents of `book/exercises`, by path."""
    found = {}
    for assignment in assignments(root):
        stem = root / FOLDER / assignment.name
        found[stem.with_suffix(".md")] = page_text(assignment, solutions=False)
        found[stem.with_suffix(".ipynb")] = notebook_text(assignment, root)
    return found


def _comparable(text: str) -> str:
    """The text without packed known cases, whose last digits depend on the machine."""
    return re.sub(r'KnownCases\(\\"[\w+/=]+\\"\)', "KnownCases(...)", text)


def drift(root: Path) -> list[str]:
    """The differences between `book/exercises` and its sources, one line each."""
    expected = files(root)
    lines = [
        f"{path.name} is {'out of date' if path.exists() else 'missing'}"
        for path, text in expected.items()
        if not path.exists() or _comparable(path.read_text(encoding="utf8")) != _comparable(text)
    ]
    for path in sorted((root / FOLDER).glob("*")):
        if path not in expected and path.suffix in (".md", ".ipynb"):
            lines.append(f"{path.name} belongs to no assignment")
    return lines


def write(root: Path) -> None:
    """Write the pages and notebooks of all assignments."""
    for path, text in files(root).items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf8")
