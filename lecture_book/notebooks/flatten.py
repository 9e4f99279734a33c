"""Flatten chapters: convert MyST to notebooks that Jupyter and Colab render well.

Directives, roles and labels become plain Markdown. Equations, figures, definitions and theorems
have the same numbers as on the site. Nothing here runs a cell or writes a file.
"""

import nbformat
from nbformat import NotebookNode

from lecture_book.notebooks.book import Book
from lecture_book.notebooks.cells import code_cell, install_cell, notebook_metadata
from lecture_book.notebooks.markdown import Flattener
from lecture_book.notebooks.pages import Page, cell_figure, errors_of


def flatten_page(page: Page, book: Book) -> NotebookNode:
    """A chapter as a notebook without outputs; the same source always gives the same bytes.

    Raises:
        FlattenError: the chapter uses unsupported syntax or an undefined reference.
        RecordError: a number that it quotes is not recorded.
    """
    with errors_of(page):
        cells = _flat_cells(page, book)
    for position, cell in enumerate(cells):
        cell.id = f"{page.stem}-{position:03d}"
    return nbformat.v4.new_notebook(cells=cells, metadata=notebook_metadata())


def _flat_cells(page: Page, book: Book) -> list[NotebookNode]:
    flattener = Flattener(page, book)
    cells: list[NotebookNode] = []
    figures = 0
    for cell in page.cells:
        if cell.cell_type == "markdown":
            if text := flattener.markdown(cell.source):
                cells.append(nbformat.v4.new_markdown_cell(text))
            continue
        if not any(each.cell_type == "code" for each in cells):
            cells.append(nbformat.v4.new_code_cell(install_cell(book.root)))
        cells.append(code_cell(cell))
        if figure := cell_figure(cell):
            figures += 1
            label = figure.get("name") or f"{page.stem}-figure-{figures}"
            caption = " ".join(flattener.markdown(figure["caption"]).split())
            text = f"**{book.targets[label].text}.** {caption}"
            cells.append(nbformat.v4.new_markdown_cell(text))
    return cells
