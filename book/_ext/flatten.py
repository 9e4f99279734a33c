"""Chapters as plain notebooks: MyST syntax becomes what Jupyter and Colab show well.

Sphinx builds the site from the MyST sources. Here the same sources become Markdown and code cells
without directives, roles and labels; equations, figures, definitions and theorems carry the
numbers that they have on the site. Syntax that this file does not know is an error, so that none
of it reaches a notebook raw. Nothing here runs a cell or writes a file.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import jupytext
import nbformat
import yaml
from nbformat import NotebookNode
from pybtex.database import (  # type: ignore[import-untyped]
    BibliographyData,
    Entry,
    parse_file,
)
from recorded import recorded_values, substitute

ADMONITIONS = {
    "attention", "caution", "danger", "error", "hint", "important", "note", "seealso", "tip",
    "warning",
}  # fmt: skip
NUMBERED = {
    "algorithm", "assumption", "axiom", "conjecture", "corollary", "criterion", "definition",
    "example", "lemma", "notation", "observation", "property", "proposition", "remark", "theorem",
}  # fmt: skip
HIDDEN = {"hide-cell", "hide-input"}

FENCE = re.compile(r"(?P<marks>`{3,}|~{3,}|:{3,})\s*(?:\{(?P<name>[\w:-]+)\})?\s*(?P<rest>[^`]*)")
MATH = re.compile(
    r"\$\$(?P<body>.*?)\$\$[ \t]*(?:\((?P<label>[\w:.-]+)\))?(?P<after>.*)", re.DOTALL
)
TARGET = re.compile(r"\((?P<label>[\w:.-]+)\)=")
HEADING = re.compile(r"(?P<level>#+)\s+(?P<title>.+)")
INLINE = re.compile(
    r"\{(?P<role>[\w:+-]+)\}(?P<ticks>`+)(?P<content>.+?)(?P=ticks)"
    r"|(?P<kept>(?P<marks>`+).+?(?P=marks)|(?<!\\)\$[^$]+\$)"
    r"|(?P<image>!)?\[(?P<text>[^\[\]]*)\]\((?P<url>[^()\s]+)\)"
    r"|(?P<footnote>\[\^[^\]]+\])",
    re.DOTALL,
)


class FlattenError(Exception):
    """A chapter uses syntax that cannot be flattened, or refers to nothing."""


# ---------------------------------------------------------------------------- the book


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

    @property
    def is_notebook(self) -> bool:
        """Whether the page has code cells, and thus a sibling .ipynb."""
        return "{code-cell}" in self.text

    @property
    def link(self) -> str:
        """The file to open beside a notebook in order to read this page."""
        return f"{self.stem}.ipynb" if self.is_notebook else f"{self.stem}.md"

    @cached_property
    def cells(self) -> list[NotebookNode]:
        """The page's cells, Markdown still in MyST."""
        if not self.is_notebook:
            return [nbformat.v4.new_markdown_cell(self.text)]
        cells: list[NotebookNode] = jupytext.reads(self.text, fmt="md:myst").cells
        return cells


@dataclass(frozen=True)
class Target:
    """What a label stands for."""

    page: Page
    text: str  # "(3.2)", "Fig. 5.1", "Theorem 2.1" or, for a section, its title
    kind: str  # "equation", "figure", "section", or a member of NUMBERED


def toc_pages(root: Path) -> list[tuple[str, int | None]]:
    """Every page of `_toc.yml` in reading order, with its chapter number where it has one."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf8"))
    pages: list[tuple[str, int | None]] = [(toc["root"], None)]
    chapter = 0
    for part in toc["parts"]:
        for entry in part["chapters"]:
            chapter += 1 if part.get("numbered") else 0
            pages.append((entry["file"], chapter if part.get("numbered") else None))
    return pages


@dataclass
class Book:
    """All pages, what their labels stand for, and the texts that come from outside of them."""

    root: Path
    pages: list[Page]
    values: dict[str, str]
    bibliography: BibliographyData
    targets: dict[str, Target] = field(default_factory=dict)

    @property
    def notebooks(self) -> list[Page]:
        """The pages with code cells."""
        return [page for page in self.pages if page.is_notebook]

    def page(self, docname: str) -> Page:
        """The page of that name; a bare file name is enough."""
        for page in self.pages:
            if PurePosixPath(docname).name == page.stem:
                return page
        raise FlattenError(f"no page is named {docname!r}")


def read_book(root: Path) -> Book:
    """Read every page that exists and number what can be referred to.

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
    for page in pages:
        for label, target in page_targets(page):
            if label in book.targets:
                first = book.targets[label].page.docname
                raise FlattenError(f"{page.docname}: the label {label} is also in {first}")
            book.targets[label] = target
    return book


# ---------------------------------------------------------------------------- blocks


@dataclass(frozen=True)
class Block:
    """A piece of a Markdown text, taken out of its indentation.

    `kind` is "text", "code" (a fence without a directive), "math", "directive", "target" or
    "comment". `name` is a directive's name or a label, `body` what is inside.
    """

    kind: str
    body: str
    indent: str = ""
    name: str = ""
    argument: str = ""
    options: dict[str, Any] = field(default_factory=dict)


def blocks(text: str) -> Iterator[Block]:
    """Split a Markdown text into its blocks; directives are not looked into."""
    lines = text.split("\n")
    plain: list[str] = []
    position = 0
    while position < len(lines):
        block, length = block_at(lines, position)
        if block is None:
            plain.append(lines[position])
            position += 1
            continue
        if plain:
            yield Block("text", "\n".join(plain))
            plain = []
        yield block
        position += length
    if plain:
        yield Block("text", "\n".join(plain))


def block_at(lines: list[str], start: int) -> tuple[Block | None, int]:
    """The block that begins at a line, with its number of lines; None where it is plain text."""
    line = lines[start].strip()
    indent = lines[start][: len(lines[start]) - len(lines[start].lstrip())]
    if match := TARGET.fullmatch(line):
        return Block("target", "", indent, name=match["label"]), 1
    if line.startswith("%"):
        return Block("comment", line), 1
    if line.startswith("$$"):
        return math_block(lines, start, indent)
    if match := FENCE.fullmatch(line):
        end = closing_fence(lines, start, match["marks"])
        inside = [without(each, indent) for each in lines[start + 1 : end]]
        if match["name"] is None:
            return Block("code", "\n".join(lines[start : end + 1])), end + 1 - start
        options, body = split_options(inside)
        return (
            Block("directive", body, indent, match["name"], match["rest"].strip(), options),
            end + 1 - start,
        )
    return None, 0


def without(line: str, indent: str) -> str:
    """The line less the indentation of the block that it is in."""
    return line.removeprefix(indent) if line.strip() else ""


def math_block(lines: list[str], start: int, indent: str) -> tuple[Block | None, int]:
    """A displayed formula, from `$$` to `$$`."""
    for end in range(start, len(lines)):
        text = "\n".join(without(line, indent) for line in lines[start : end + 1])
        if match := MATH.fullmatch(text):
            if match["after"].strip():
                return None, 0
            return Block("math", match["body"], indent, name=match["label"] or ""), end + 1 - start
    raise FlattenError(f"a formula is not closed: {lines[start]!r}")


def closing_fence(lines: list[str], start: int, marks: str) -> int:
    """The line that closes a fence."""
    closing = re.compile(rf"\s*{re.escape(marks[0])}{{{len(marks)},}}\s*")
    for end in range(start + 1, len(lines)):
        if closing.fullmatch(lines[end]):
            return end
    raise FlattenError(f"a fence is not closed: {lines[start]!r}")


def split_options(lines: list[str]) -> tuple[dict[str, Any], str]:
    """The options of a directive (`:name: value` lines, or YAML between `---`) and its body."""
    if lines and lines[0].strip() == "---":
        end = next(i for i, line in enumerate(lines[1:], start=1) if line.strip() == "---")
        return yaml.safe_load("\n".join(lines[1:end])) or {}, "\n".join(lines[end + 1 :])
    options: dict[str, Any] = {}
    while lines and (match := re.fullmatch(r":([\w-]+):(.*)", lines[0].strip())):
        options[match[1]] = match[2].strip()
        lines = lines[1:]
    return options, "\n".join(lines)


# ---------------------------------------------------------------------------- labels


def page_targets(page: Page) -> Iterator[tuple[str, Target]]:
    """The labels of a page, numbered as Sphinx numbers them: one count per kind and chapter."""
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
    """The labels of one Markdown text; `number(kind)` counts on."""
    waiting: list[str] = []  # labels that stand before the heading they name
    for block in blocks(text):
        if block.kind == "target":
            waiting.append(block.name)
        elif block.kind == "math" and block.name:
            yield block.name, Target(page, f"({number('equation')})", "equation")
        elif block.kind == "directive":
            kind = block.name.removeprefix("prf:")
            if kind in NUMBERED:
                text_of = f"{kind.title()} {number(kind)}"
                label = block.options.get("label") or f"{page.stem}-{kind}-{text_of.split()[-1]}"
                yield label, Target(page, text_of, kind)
            yield from text_targets(page, block.body, number)
        if block.kind in ("text", "math", "directive", "code") and waiting and block.body.strip():
            heading = HEADING.match(block.body.strip())
            for label in waiting:
                title = heading["title"].strip() if heading else ""
                yield label, Target(page, title, "section")
            waiting = []


def cell_figure(cell: NotebookNode) -> dict[str, Any]:
    """The figure options of a code cell; empty where its output carries no caption."""
    figure: dict[str, Any] = cell.metadata.get("mystnb", {}).get("figure", {})
    return figure if figure.get("caption") else {}


def page_title(page: Page) -> str:
    """The first heading of a page."""
    for cell in page.cells:
        for block in blocks(cell.source) if cell.cell_type == "markdown" else ():
            for line in block.body.split("\n") if block.kind == "text" else ():
                if match := HEADING.fullmatch(line.strip()):
                    return match["title"].strip()
    return page.stem


# ---------------------------------------------------------------------------- Markdown


def flatten_markdown(text: str, page: Page, book: Book, *, quoted: bool = False) -> str:
    """A MyST text as plain Markdown.

    Args:
        text: the source of a Markdown cell.
        page: where it stands, for links and error messages.
        book: what labels, citations and recorded numbers stand for.
        quoted: whether the result goes into a block quote, where a formula must be one line.
    """
    parts = []
    for block in blocks(text):
        if block.kind == "text":
            parts.append(flatten_text(block.body, page, book))
        elif block.kind == "code":
            parts.append(block.body)
        elif block.kind == "math":
            parts.append(indented(flatten_math(block, book, quoted), block.indent))
        elif block.kind == "directive":
            parts.append(indented(flatten_directive(block, page, book, quoted), block.indent))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).strip("\n")


def indented(text: str, indent: str) -> str:
    """Put a block back where it stood, in a list for example."""
    return "\n".join(indent + line if line else line for line in text.split("\n"))


def flatten_math(block: Block, book: Book, quoted: bool) -> str:
    """A displayed formula, its label turned into the number that the site shows."""
    tag = ""
    if block.name:
        tag = rf" \tag{{{book.targets[block.name].text.strip('()')}}}"
    body = block.body.strip()
    if quoted or "\n" not in block.body.strip("\n"):
        # Jupyter takes the quote's ">" at the beginning of a second line for part of the formula.
        return f"$$ {' '.join(body.split())}{tag} $$"
    return f"$$\n{body}{tag}\n$$"


def flatten_directive(block: Block, page: Page, book: Book, quoted: bool) -> str:
    """A directive as a block quote with a bold heading."""
    body = flatten_markdown(block.body, page, book, quoted=True)
    argument = flatten_text(block.argument, page, book)
    kind = block.name.removeprefix("prf:")
    if block.name == "prf:proof":
        return quote(f"*Proof.* {body}")
    if block.name.startswith("prf:") and kind in NUMBERED:
        return quote(f"**{numbered_heading(block, page, book)}.**\n\n{body}")
    if block.name in ADMONITIONS:
        # Sphinx reads words behind the name as the first of the text, so they are no title here.
        heading = "See also" if block.name == "seealso" else block.name.title()
        return quote(f"**{heading}.** {f'{argument} {body}'.strip()}")
    if block.name in ("admonition", "dropdown"):
        return quote(f"**{argument}**\n\n{body}")
    if block.name == "live-figure":
        return quote(f"**A figure that is live on the site.** {body}")
    if block.name == "math":
        label = block.options.get("label", "")
        return flatten_math(Block("math", block.body, name=label), book, quoted)
    raise FlattenError(f"{page.docname}: the directive {{{block.name}}} has no plain form yet")


def numbered_heading(block: Block, page: Page, book: Book) -> str:
    """Definition 2.1 (Entropy)."""
    kind = block.name.removeprefix("prf:")
    label = block.options.get("label")
    if label is None:
        raise FlattenError(f"{page.docname}: a {kind} has no label; it needs one for its number")
    title = f" ({flatten_text(block.argument, page, book)})" if block.argument else ""
    return book.targets[label].text + title


def quote(text: str) -> str:
    """A block quote."""
    return "\n".join(f"> {line}".rstrip() for line in text.split("\n"))


def flatten_text(text: str, page: Page, book: Book) -> str:
    """Paragraphs, headings and lists: roles, recorded numbers and links."""

    def replace(match: re.Match[str]) -> str:
        if match["kept"]:
            return match[0]
        if match["footnote"]:
            raise FlattenError(f"{page.docname}: notebooks show no footnotes: {match[0]}")
        if match["role"]:
            return flatten_role(match["role"], " ".join(match["content"].split()), page, book)
        return flatten_link(match, page, book)

    return INLINE.sub(replace, substitute(text, book.values, book.root))


def flatten_role(role: str, content: str, page: Page, book: Book) -> str:
    """One role as text, or as a link where it leads to another file."""
    titled = re.fullmatch(r"(?P<title>.+?)\s*<(?P<target>[^<>]+)>", content)
    title, name = (titled["title"], titled["target"]) if titled else ("", content)
    if role in ("cite:t", "cite:p", "cite"):
        return citation(role, content, page, book)
    if role == "doc":
        to = book.page(name)
        return linked(title or flatten_text(page_title(to), to, book), to, page)
    if role in ("eq", "ref", "numref", "prf:ref", "math:numref"):
        return reference(role, title, name, page, book)
    if role.startswith("py:"):
        # {py:func}`~lecture_vae.losses.squared_error` shows the last part of the name.
        return f"`{title or (name[1:].split('.')[-1] if name.startswith('~') else name)}`"
    if role == "math":
        return f"${content}$"
    raise FlattenError(f"{page.docname}: the role {{{role}}} has no plain form yet")


def reference(role: str, title: str, label: str, page: Page, book: Book) -> str:
    """What a cross reference reads: a number, a title, or the words that the author gave."""
    if label not in book.targets:
        raise FlattenError(f"{page.docname}: nothing is labelled {label}")
    target = book.targets[label]
    text = target.text
    if role == "numref" and title:
        text = title.replace("%s", text.split()[-1]).replace("{number}", text.split()[-1])
    elif title:
        text = title
    elif target.kind == "section":
        if not text:
            raise FlattenError(f"{page.docname}: {label} names no heading; give the words to show")
        text = flatten_text(text, target.page, book)
    return linked(text, target.page, page)


def linked(text: str, to: Page, page: Page) -> str:
    """A link to another page's file; within a notebook the words alone."""
    return text if to == page else f"[{text}]({to.link})"


def flatten_link(match: re.Match[str], page: Page, book: Book) -> str:
    """A Markdown link: outside ones stay, those within the book lead to the sibling's file."""
    text, url = match["text"], match["url"]
    if re.match(r"https?:|mailto:", url):
        return match[0]
    if match["image"]:
        raise FlattenError(f"{page.docname}: a notebook travels alone, so it cannot show {url}")
    if url.startswith("#"):
        return reference("ref", text, url[1:], page, book)
    if url in book.targets:
        return reference("ref", text, url, page, book)
    to = book.page(url.split("#")[0].removesuffix(".md"))
    return linked(text or flatten_text(page_title(to), to, book), to, page)


# ---------------------------------------------------------------------------- citations


def citation(role: str, content: str, page: Page, book: Book) -> str:
    """Kingma and Welling (2014) for `cite:t`, (Kingma and Welling, 2014) for `cite:p`."""
    texts = []
    for key in content.split(","):
        if key.strip() not in book.bibliography.entries:
            raise FlattenError(f"{page.docname}: {key.strip()} is not in references.bib")
        entry = book.bibliography.entries[key.strip()]
        names, year = author_names(entry), entry.fields["year"]
        text = f"{names} ({year})" if role == "cite:t" else f"{names}, {year}"
        url = entry_url(entry)
        texts.append(f"[{text}]({url})" if url else text)
    return ", ".join(texts) if role == "cite:t" else f"({', '.join(texts)})"


def author_names(entry: Entry) -> str:
    """Family names: one, two joined by 'and', or the first 'et al.'."""
    names = [
        " ".join(str(part) for part in [*person.rich_prelast_names, *person.rich_last_names])
        for person in entry.persons["author"]
    ]
    if len(names) > 2:
        return f"{names[0]} et al."
    return " and ".join(names)


def entry_url(entry: Entry) -> str:
    """Where a cited work can be read; empty where the bibliography does not say."""
    if "doi" in entry.fields:
        return f"https://doi.org/{entry.fields['doi']}"
    return str(entry.fields.get("url", ""))


# ---------------------------------------------------------------------------- notebooks


def install_cell(root: Path) -> str:
    """The first code cell: it installs the package where it is missing, on Colab for example."""
    repository = yaml.safe_load((root / "_config.yml").read_text(encoding="utf8"))["repository"]
    source = f"git+{repository['url']}@{repository['branch']}"
    return (
        "# Where the companion package is missing (a fresh Colab session), install it once.\n"
        "try:\n"
        "    import lecture_vae\n"
        "except ModuleNotFoundError:\n"
        f'    %pip install -q "lecture-vae @ {source}"'
    )


def flatten_page(page: Page, book: Book) -> NotebookNode:
    """A chapter as a notebook without outputs; the same source always gives the same bytes."""
    cells: list[NotebookNode] = []
    figures = 0
    for cell in page.cells:
        if cell.cell_type == "markdown":
            if text := flatten_markdown(cell.source, page, book):
                cells.append(nbformat.v4.new_markdown_cell(text))
            continue
        if not any(each.cell_type == "code" for each in cells):
            cells.append(nbformat.v4.new_code_cell(install_cell(book.root)))
        cells.append(code_cell(cell))
        if figure := cell_figure(cell):
            figures += 1
            label = figure.get("name") or f"{page.stem}-figure-{figures}"
            caption = " ".join(flatten_markdown(figure["caption"], page, book).split())
            text = f"**{book.targets[label].text}.** {caption}"
            cells.append(nbformat.v4.new_markdown_cell(text))
    for position, cell in enumerate(cells):
        cell.id = f"{page.stem}-{position:03d}"
    return nbformat.v4.new_notebook(cells=cells, metadata=notebook_metadata())


def code_cell(cell: NotebookNode) -> NotebookNode:
    """A code cell with its tags; cells that the site folds are folded in Jupyter and Colab too."""
    tags = list(cell.metadata.get("tags", []))
    metadata: dict[str, Any] = {"tags": tags} if tags else {}
    if HIDDEN & set(tags):
        metadata |= {"cellView": "form", "jupyter": {"source_hidden": True}}
    return nbformat.v4.new_code_cell(cell.source, metadata=metadata)


def notebook_metadata() -> dict[str, Any]:
    """What a notebook says about itself, without the versions of the machine that ran it."""
    return {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
