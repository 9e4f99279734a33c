"""The targets of labels, numbered as by Sphinx."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lecture_book.notebooks.myst import LITERAL, blocks
from lecture_book.notebooks.pages import Page, cell_figure

NUMBERED = {
    "algorithm", "assumption", "axiom", "conjecture", "corollary", "criterion", "definition",
    "example", "exercise", "lemma", "notation", "observation", "property", "proposition", "remark",
    "theorem",
}  # fmt: skip


@dataclass(frozen=True)
class Target:
    """The target of a label."""

    page: Page
    text: str  # "(3.2)", "Fig. 5.1", "Theorem 2.1" or, for a section, its title
    kind: str  # "equation", "figure", "section", or a member of NUMBERED


def page_targets(
    page: Page, counts: Counter[tuple[int | None, str]]
) -> Iterator[tuple[str, Target]]:
    """The labels of a page, numbered as Sphinx numbers them: one count per kind and chapter.

    Args:
        page: the next page in reading order.
        counts: how many of a chapter and kind stand on the pages before; pages without a number
            count as one chapter. This page's are added.
    """
    figures = 0

    def number(kind: str) -> str:
        counts[page.chapter, kind] += 1
        place = counts[page.chapter, kind]
        return f"{page.chapter}.{place}" if page.chapter else str(place)

    for cell in page.cells:
        if cell.cell_type == "markdown":
            yield from text_targets(page, cell.source, number)
        elif figure := cell_figure(cell):
            figures += 1
            label = figure.get("name") or f"{page.stem}-figure-{figures}"
            yield label, Target(page, f"Fig. {number('figure')}", "figure")


def text_targets(
    page: Page, text: str, number: Callable[[str], str]
) -> Iterator[tuple[str, Target]]:
    """The labels of one Markdown text; `number(kind)` increments a counter."""
    pending: list[str] = []  # labels whose heading follows
    for block in blocks(text):
        if block.kind == "target":
            pending.append(block.name)
        elif block.kind == "math" and block.name:
            yield block.name, Target(page, f"({number('equation')})", "equation")
        elif block.kind == "directive":
            kind = block.name.removeprefix("prf:")
            if kind == "figure":
                position = number(kind)
                label = block.options.get("name") or f"{page.stem}-drawing-{position}"
                yield label, Target(page, f"Fig. {position}", kind)
            if kind in NUMBERED:
                position = number(kind)
                label = block.options.get("label") or f"{page.stem}-{kind}-{position}"
                yield label, Target(page, f"{kind.title()} {position}", kind)
            if block.name not in LITERAL:
                yield from text_targets(page, block.body, number)
        if pending and block.body.strip():
            title = block.argument if block.kind == "heading" else ""
            yield from ((label, Target(page, title, "section")) for label in pending)
            pending = []
