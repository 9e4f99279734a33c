"""The pages of the book as cells, their Markdown still in MyST."""

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

import jupytext
from nbformat import NotebookNode

from lecture_book.notebooks.inline import FlattenError
from lecture_book.notebooks.myst import blocks


@dataclass(frozen=True)
class Page:
    """One file of the table of contents."""

    docname: str  # "book/03_elbo"
    chapter: int | None  # its number on the site
    text: str

    @property
    def stem(self) -> str:
        """The file's name without folder and suffix."""
        return PurePosixPath(self.docname).name

    @cached_property
    def cells(self) -> list[NotebookNode]:
        """The page's cells, Markdown still in MyST."""
        cells: list[NotebookNode] = jupytext.reads(self.text, fmt="md:myst").cells
        return cells

    @property
    def is_notebook(self) -> bool:
        """Whether the page has code cells, and thus a sibling .ipynb."""
        return any(cell.cell_type == "code" for cell in self.cells)

    def link_from(self, other: "Page") -> str:
        """The file of this page, relative to the file of another one."""
        name = f"{self.docname}.ipynb" if self.is_notebook else f"{self.docname}.md"
        return posixpath.relpath(name, posixpath.dirname(other.docname))


@contextmanager
def errors_of(page: Page) -> Iterator[None]:
    """Prefix the message of a FlattenError with the name of the page."""
    try:
        yield
    except FlattenError as error:
        raise FlattenError(f"{page.docname}: {error}") from error


def cell_figure(cell: NotebookNode) -> dict[str, Any]:
    """The figure options of a code cell; empty if its output has no caption."""
    figure: dict[str, Any] = cell.metadata.get("mystnb", {}).get("figure", {})
    return figure if figure.get("caption") else {}


def page_title(page: Page) -> str:
    """The first heading of a page."""
    for cell in page.cells:
        for block in blocks(cell.source) if cell.cell_type == "markdown" else ():
            if block.kind == "heading":
                return block.argument
    return page.stem
