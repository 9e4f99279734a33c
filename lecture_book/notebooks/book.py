"""The book: its pages, labels, recorded numbers and bibliography."""

import posixpath
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from pybtex.database import BibliographyData, parse_file  # type: ignore[import-untyped]

from lecture_book.notebooks.inline import FlattenError
from lecture_book.notebooks.labels import Target, page_targets
from lecture_book.notebooks.pages import Page, errors_of
from lecture_book.project import toc_pages
from lecture_book.records import recorded_values


@dataclass
class Book:
    """All pages of the book with everything that they refer to."""

    root: Path
    pages: list[Page]
    values: dict[str, str]
    bibliography: BibliographyData
    targets: dict[str, Target] = field(default_factory=dict)

    @property
    def notebooks(self) -> list[Page]:
        """The pages with code cells."""
        return [page for page in self.pages if page.is_notebook]

    def page(self, name: str, folder: str = "book") -> Page:
        """The page of a name, relative to a folder as in the role `doc`."""
        docname = posixpath.normpath(posixpath.join("/", folder, name)).removeprefix("/")
        for page in self.pages:
            if page.docname == docname:
                return page
        raise FlattenError(f"no page is named {name!r}")


def read_book(root: Path) -> Book:
    """Read all existing pages and number their labels.

    Args:
        root: the folder with `_toc.yml`, `book/` and `results/`.
    """
    pages = []
    for docname, chapter in toc_pages(root):
        path = root / f"{docname}.md"
        if path.exists():
            pages.append(Page(docname, chapter, path.read_text(encoding="utf8")))
    bibliography = parse_file(str(root / "book" / "references.bib"))
    book = Book(root, pages, recorded_values(root), bibliography)
    counts: Counter[tuple[int | None, str]] = Counter()
    for page in pages:
        with errors_of(page):
            for label, target in page_targets(page, counts):
                if label in book.targets:
                    first = book.targets[label].page.docname
                    raise FlattenError(f"the label {label} is also in {first}")
                book.targets[label] = target
    return book
