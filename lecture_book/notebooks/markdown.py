"""Convert MyST to plain Markdown: directives, roles and labels are rewritten for Jupyter."""

import base64
import posixpath
import re
from dataclasses import dataclass

from lecture_book.notebooks.book import Book
from lecture_book.notebooks.citations import citation
from lecture_book.notebooks.inline import FlattenError, Span, rewritten
from lecture_book.notebooks.labels import NUMBERED
from lecture_book.notebooks.myst import Block, blocks
from lecture_book.notebooks.pages import Page, page_title
from lecture_book.records import RecordError, missing

ADMONITIONS = {
    "attention", "caution", "danger", "error", "hint", "important", "note", "seealso", "tip",
    "warning",
}  # fmt: skip
# Inline syntax that Jupyter renders as the site does.
KEPT = {"autolink", "backticks", "entity", "escape", "math_inline"}
REFERENCES = {"eq", "ref", "numref", "prf:ref", "math:numref"}


@dataclass(frozen=True)
class Flattener:
    """Rewrites the MyST texts of one page."""

    page: Page
    book: Book

    def markdown(self, source: str, *, quoted: bool = False) -> str:
        """A MyST text as plain Markdown.

        Args:
            source: a Markdown cell, a caption or the body of a directive.
            quoted: whether the result goes into a block quote, where a formula must be one line.
        """
        parts = []
        for block in blocks(source):
            if block.kind in ("heading", "prose"):
                parts.append(self.text(block.body))
            elif block.kind == "verbatim":
                parts.append(block.body)
            elif block.kind == "math":
                parts.append(indented(self.math(block, quoted), block.indent))
            elif block.kind == "directive":
                parts.append(indented(self.directive(block), block.indent))
        return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).strip("\n")

    def math(self, block: Block, quoted: bool) -> str:
        """A displayed formula, its label turned into the number that the site shows."""
        tag = ""
        if block.name:
            tag = rf" \tag{{{self.book.targets[block.name].text.strip('()')}}}"
        # An empty line would end the formula in Jupyter.
        body = re.sub(r"\n\s*\n", "\n", block.body.strip())
        if quoted or "\n" not in block.body.strip("\n"):
            # Jupyter would read the ">" of a second quoted line as part of the formula.
            return f"$$ {' '.join(body.split())}{tag} $$"
        return f"$$\n{body}{tag}\n$$"

    def directive(self, block: Block) -> str:
        """A directive as a block quote with a bold heading; a figure with its number."""
        if block.name == "figure":
            return self.figure(block)
        argument, body = self.text(block.argument), self.markdown(block.body, quoted=True)
        if block.name == "prf:proof":
            return quote(f"*Proof.* {body}")
        if block.name.startswith("prf:") and block.name.removeprefix("prf:") in NUMBERED:
            if "label" not in block.options:
                raise FlattenError(f"a {block.name} has no label; it needs one for its number")
            number = self.book.targets[block.options["label"]].text
            return quote(f"**{number}{f' ({argument})' if argument else ''}.**\n\n{body}")
        if block.name in ADMONITIONS:
            # Sphinx takes an argument as the start of the text, not as a title.
            heading = "See also" if block.name == "seealso" else block.name.title()
            return quote(f"**{heading}.** {f'{argument} {body}'.strip()}")
        if block.name in ("admonition", "dropdown"):
            return quote(f"**{argument}**\n\n{body}")
        if block.name == "live-figure":
            return quote(f"**A figure that is live on the site.** {body}")
        raise FlattenError(f"the directive {{{block.name}}} has no plain form yet")

    def figure(self, block: Block) -> str:
        """A drawing with its number and caption.

        A notebook is handed on alone, so the picture is part of it: as PNG, because Colab shows
        neither attachments nor an SVG within the text.
        """
        folder = self.book.root / posixpath.dirname(self.page.docname)
        picture = (folder / block.argument).with_suffix(".png")
        if not picture.exists():
            raise FlattenError(f"{picture.name} is missing beside {block.argument}")
        missing_options = {"alt", "name"} - set(block.options)
        if missing_options:
            raise FlattenError(f"{block.argument} lacks {', '.join(sorted(missing_options))}")
        content = base64.b64encode(picture.read_bytes()).decode()
        number = self.book.targets[block.options["name"]].text
        caption = " ".join(self.markdown(block.body).split())
        return (
            f"![{block.options['alt']}](data:image/png;base64,{content})\n\n**{number}.** {caption}"
        )

    def text(self, source: str) -> str:
        """A paragraph or heading: its roles, recorded numbers and links rewritten."""
        return rewritten(source, self.span)

    def span(self, span: Span) -> str:
        """One piece of inline syntax."""
        if span.kind in KEPT:
            return span.source
        if span.kind == "substitution_inline":
            if span.content not in self.book.values:
                raise RecordError(missing(span.content, self.book.values, self.book.root))
            return self.book.values[span.content]
        if span.kind == "myst_role":
            return self.role(span.name, span.content)
        if span.kind in ("image", "link"):
            return self.link(span)
        raise FlattenError(f"{span.kind} has no plain form yet: {span.source!r}")

    def role(self, role: str, content: str) -> str:
        """One role as text, or as a link where it leads to another file."""
        titled = re.fullmatch(r"(?P<title>.+?)\s*<(?P<target>[^<>]+)>", content)
        title, name = (titled["title"], titled["target"]) if titled else ("", content)
        if role in ("cite:t", "cite:p", "cite"):
            return citation(role, content, self.book.bibliography)
        if role == "doc":
            return self.page_link(title, name)
        if role in REFERENCES:
            return self.reference(role, title, name)
        if role.startswith("py:"):
            # {py:func}`~lecture_vae.losses.squared_error` shows the last part of the name.
            return f"`{title or (name[1:].split('.')[-1] if name.startswith('~') else name)}`"
        if role == "math":
            return f"${content}$"
        raise FlattenError(f"the role {{{role}}} has no plain form yet")

    def reference(self, role: str, title: str, label: str) -> str:
        """The text of a cross reference: a number, a title, or the author's own words."""
        if label not in self.book.targets:
            raise FlattenError(f"nothing is labelled {label}")
        target = self.book.targets[label]
        number = target.text.split()[-1] if target.text else ""
        if role == "numref" and title:
            text = title.replace("%s", number).replace("{number}", number)
        elif title or target.kind != "section":
            text = title or target.text
        elif target.text:
            text = Flattener(target.page, self.book).text(target.text)
        else:
            raise FlattenError(f"{label} names no heading; give the words to show")
        return self.linked(text, target.page)

    def link(self, span: Span) -> str:
        """A Markdown link; links within the book are rewritten to the notebook of the page."""
        if re.match(r"https?:|mailto:", span.name):
            return span.source if span.kind == "image" else self.web_link(span)
        if span.kind == "image":
            raise FlattenError(f"a notebook holds no other files, so it cannot show {span.name}")
        title, address = self.text(span.content), span.name.removeprefix("#")
        if address in self.book.targets or span.name.startswith("#"):
            return self.reference("ref", title, address)
        return self.page_link(title, address.partition("#")[0].removesuffix(".md"))

    def web_link(self, span: Span) -> str:
        """A link with the same address, its text rewritten."""
        return f"[{self.text(span.content)}]{span.source[len(span.content) + 2 :]}"

    def page_link(self, title: str, name: str) -> str:
        """A link to a page by its name, with the title of the page as the default text."""
        to = self.book.page(name, posixpath.dirname(self.page.docname))
        return self.linked(title or Flattener(to, self.book).text(page_title(to)), to)

    def linked(self, text: str, to: Page) -> str:
        """A link to another page's file; only the text within the same notebook."""
        return text if to == self.page else f"[{text}]({to.link_from(self.page)})"


def indented(text: str, indent: str) -> str:
    """Indent a block, in a list for example."""
    return "\n".join(indent + line if line else line for line in text.split("\n"))


def quote(text: str) -> str:
    """A block quote."""
    return "\n".join(f"> {line}".rstrip() for line in text.split("\n"))
