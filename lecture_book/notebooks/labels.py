"""The targets of labels, numbered as by Sphinx."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lecture_book.notebooks.myst import LITERAL, blocks
from lecture_book.notebooks.pages import Page, cell_figure

NUMBERED = {
    "algorithm", "assumption", "axiom", "conjecture", "corollary", "criterion", "definition",
    "example", "lemma", "notation", "observation", "property", "proposition", "remark", "theorem",
}  # fmt: skip


@dataclass(frozen=True)
class Target:
    """The target of a label."""

    page: Page
    text: str  # "(3.2)", "Fig. 5.1", "Theorem 2.1" or, for a section, its title
    kind: str  # "equation", "figure", "section", or a member of NUMBERED


def page_targets(page: Page) -> Iterator[tuple[str, Target]]:
    """The labels of a page, numbered as by Sphinx: one counter per kind and chapter."""
    counts: Counter[str] = Counter()

    def number(kind: str) -> str:
        counts[kind] += 1
        return f"{page.chapter}.{counts[kind]}" if page.chapter else str(counts[kind])

    for cell in page.cells:
        if cell.cell_type == "markdown":
            yield from text_targets(page, cell.source, number)
        elif figure := cell_figure(cell):
            label = figure.get("name") or f"{page.stem}-figure-{counts['figure'] + 1}"
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
