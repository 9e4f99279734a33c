"""Write the chapters as executed notebooks: `python -m lecture_book.notebooks.write`.

Each chapter's .md gets a sibling .ipynb. All cells run; outputs are kept only where nbval compares
them (cells tagged `nbval-check-output`), so that the files stay small and two runs give the same
bytes. The exercises' pages and notebooks are written too; their cells are left to the student.
`--check` runs nothing and lists the files that are out of date.
"""

import argparse
import re
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from lecture_book.execution import choose_data, kernel_environment, run_cells
from lecture_book.notebooks import exercises
from lecture_book.notebooks.book import Book, read_book
from lecture_book.notebooks.cells import notebook_metadata
from lecture_book.notebooks.flatten import flatten_page
from lecture_book.notebooks.inline import FlattenError
from lecture_book.notebooks.pages import Page
from lecture_book.project import ProjectError, project_root
from lecture_book.records import RecordError
from lecture_grader.authoring.assignment import ExerciseError

COMPARED = "nbval-check-output"
CELL_SECONDS = 7200  # one cell may train a model at the full budget
TEXT_TYPES = {"text/plain", "text/html", "text/latex", "text/markdown"}


class NotebookError(Exception):
    """A chapter does not run, or its compared outputs cannot be compared."""


def path_of(page: Page, book: Book) -> Path:
    """The path of the notebook of a chapter."""
    return book.root / f"{page.docname}.ipynb"


def execute(notebook: NotebookNode, name: str, environment: dict[str, str]) -> None:
    """Run all cells, in an empty folder, so that a chapter cannot depend on other files.

    Args:
        notebook: gets its outputs in place.
        name: for error messages.
        environment: of the kernel.

    Raises:
        NotebookError: a cell raised, or wrote a warning.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            run_cells(notebook, folder, CELL_SECONDS, environment)
        except CellExecutionError as error:
            raise NotebookError(f"{name} does not run:\n{error}") from error
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr" and re.search(r"\w*Warning: ", output.text):
                raise NotebookError(f"{name}: {cell.id} warns:\n{output.text}\n{cell.source}")


def keep_compared_outputs(notebook: NotebookNode, name: str) -> None:
    """Drop every output but those that nbval compares, and everything that differs per run.

    Raises:
        NotebookError: a compared cell has no output, writes to stderr or shows an image.
    """
    notebook.metadata = notebook_metadata()
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        cell.metadata.pop("execution", None)
        if COMPARED not in cell.metadata.get("tags", []):
            cell.outputs = []
            continue
        cell.outputs = joined_streams(cell.outputs)
        complaint = cannot_compare(cell.outputs)
        if complaint:
            raise NotebookError(f"{name}: {cell.id} is tagged {COMPARED}, but {complaint}")


def joined_streams(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """The outputs with consecutive streams joined, because their split depends on time."""
    joined: list[NotebookNode] = []
    for output in outputs:
        last = joined[-1] if joined else {}
        if output.output_type == "stream" and output.name == last.get("name"):
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def cannot_compare(outputs: list[NotebookNode]) -> str:
    """Why outputs cannot be compared on another machine; empty if they can."""
    if not outputs:
        return "it shows nothing"
    for output in outputs:
        if output.output_type == "stream" and output.name == "stderr":
            return f"it writes to stderr: {output.text!r}"
        other = set(output.get("data", {})) - TEXT_TYPES
        if other:
            return f"its output is no text: {', '.join(sorted(other))}"
    return ""


def write(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook; the same cells and outputs always give the same bytes."""
    nbformat.validate(notebook)
    path.write_text(nbformat.writes(notebook) + "\n", encoding="utf8")


def drift(book: Book) -> list[str]:
    """The differences between notebooks and chapters, without outputs, one line each."""
    lines = []
    for page in book.notebooks:
        path = path_of(page, book)
        if not path.exists():
            lines.append(f"{path.name} is missing")
            continue
        lines += [f"{path.name}: {line}" for line in differences(flatten_page(page, book), path)]
    known = {path_of(page, book) for page in book.notebooks}
    for path in sorted((book.root / "book").glob("*.ipynb")):
        if path not in known:
            lines.append(f"{path.name} belongs to no chapter")
    return lines


def differences(fresh: NotebookNode, path: Path) -> list[str]:
    """The differences between the notebook of a chapter and a file, one line each."""
    stored = nbformat.read(path, as_version=4)
    lines = []
    for new, old in zip(fresh.cells, stored.cells, strict=False):
        if [new[key] for key in ("id", "cell_type", "source", "metadata")] != [
            old.get(key) for key in ("id", "cell_type", "source", "metadata")
        ]:
            lines.append(f"{new.id} differs: {new.source.splitlines()[0]!r}")
    if len(fresh.cells) != len(stored.cells):
        lines.append(f"{len(stored.cells)} cells, the chapter gives {len(fresh.cells)}")
    if fresh.metadata != stored.metadata:
        lines.append("its metadata differ")
    return lines


def make_notebooks(book: Book, names: list[str]) -> None:
    """Flatten, run and write the chapters of these names, or all."""
    source, _ = choose_data()
    environment = kernel_environment(source)
    for page in book.notebooks:
        if names and page.stem not in names:
            continue
        print(f"{page.stem} ...", flush=True)
        notebook = flatten_page(page, book)
        execute(notebook, page.stem, environment)
        keep_compared_outputs(notebook, page.stem)
        write(notebook, path_of(page, book))


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m lecture_book.notebooks.write",
        description="Write the chapters as executed notebooks.",
    )
    parser.add_argument("chapters", nargs="*", help="file names without suffix (default: all)")
    parser.add_argument("--check", action="store_true", help="only list what has drifted")
    arguments = parser.parse_args()
    try:
        root = project_root()
        book = read_book(root)
        unknown = set(arguments.chapters) - {page.stem for page in book.notebooks}
        if unknown:
            raise NotebookError(f"no chapter is named {', '.join(sorted(unknown))}")
        if arguments.check:
            lines = drift(book) + exercises.drift(root)
            print("\n".join(lines) or "Every notebook is its chapter.")
            return 1 if lines else 0
        if not arguments.chapters:
            exercises.write(root)
        make_notebooks(book, arguments.chapters)
    except (ExerciseError, FlattenError, NotebookError, ProjectError, RecordError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
