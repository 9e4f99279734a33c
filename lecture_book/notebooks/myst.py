"""The blocks of a MyST text, parsed as on the site.

Tokens have line numbers, so that all other text can be kept unchanged. Unsupported syntax is an
error, so that none of it reaches a notebook.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from markdown_it.token import Token

from lecture_book.notebooks.inline import FlattenError, parser

DIRECTIVE = re.compile(r"\{(?P<name>[^{}\s]+)\}\s*(?P<argument>.*)")
OPTION = re.compile(r":([\w-]+):(.*)")

STRUCTURE = {
    "blockquote", "bullet_list", "code_block", "hr", "list_item", "ordered_list", "paragraph",
    "table", "tbody", "td", "th", "thead", "tr",
}  # fmt: skip
# Directives that hold no Markdown.
LITERAL = {
    "bibliography", "code", "code-block", "code-cell", "eval-rst", "literalinclude", "math", "raw",
    "toctree",
}  # fmt: skip


@dataclass(frozen=True)
class Block:
    """A piece of a Markdown text; all pieces joined by line breaks are the text.

    `kind` is "heading", "prose", "verbatim" (blank lines and code), "math", "directive", "target"
    or "comment". `body` is the content, dedented for a formula or a directive; `name` is a label or
    a directive's name, `argument` a title.
    """

    kind: str
    body: str = ""
    indent: str = ""
    name: str = ""
    argument: str = ""
    options: dict[str, Any] = field(default_factory=dict)


def blocks(text: str) -> Iterator[Block]:
    """Split a Markdown text into its blocks; the bodies of directives are not parsed.

    Raises:
        FlattenError: a block is not closed, or of an unsupported kind.
    """
    lines = text.split("\n")
    position = 0
    environment: dict[str, Any] = {}
    tokens = parser().parse(text, environment)
    for index, token in enumerate(tokens):
        if token.map is None or token.type.removesuffix("_open") in STRUCTURE:
            continue
        start, end = token.map
        if start < position:  # another cell of a table's row, or the text of a heading
            continue
        if token.type == "heading_open":
            title = tokens[index + 1].content
            block = Block("heading", "\n".join(lines[start:end]), argument=title)
        else:
            block = _block(token, lines[start:end])
        if position < start:
            yield Block("verbatim", "\n".join(lines[position:start]))
        yield block
        position = end
    if environment.get("references"):
        raise FlattenError("a link with its address elsewhere ([a]: b) has no plain form yet")
    if position < len(lines):
        yield Block("verbatim", "\n".join(lines[position:]))


def _block(token: Token, lines: Sequence[str]) -> Block:
    """The block of a token, which comes from these lines."""
    source = "\n".join(lines)
    if token.type in ("inline", "substitution_block"):
        return Block("prose", source)
    if token.type == "myst_line_comment":
        return Block("comment")
    indent = lines[0][: len(lines[0]) - len(lines[0].lstrip())]
    if token.type == "myst_target":
        return Block("target", indent=indent, name=token.content)
    if token.markup and not lines[0].startswith(indent + token.markup):
        raise FlattenError(f"this must begin on a line of its own, outside of quotes: {lines[0]!r}")
    if token.type in ("math_block", "math_block_label"):
        return Block("math", _dedented(token.content, indent), indent, token.info)
    if token.type in ("fence", "colon_fence"):
        if len(lines) < 2 or not _closes(lines[-1], token.markup):
            raise FlattenError(f"a fence is not closed: {lines[0]!r}")
        return _fence(token, source, indent)
    raise FlattenError(f"{token.type} has no plain form yet: {lines[0]!r}")


def _closes(line: str, markup: str) -> bool:
    return line.strip().startswith(markup) and set(line.strip()) == set(markup)


def _dedented(text: str, indent: str) -> str:
    return "\n".join(line.removeprefix(indent) for line in text.split("\n"))


def _fence(token: Token, source: str, indent: str) -> Block:
    """A directive, or code."""
    match = DIRECTIVE.fullmatch(token.info.strip())
    if match is None:
        return Block("verbatim", source)
    options, body = split_options(token.content.removesuffix("\n").split("\n"))
    if match["name"] == "math":
        return Block("math", body, indent, options.get("label", ""))
    return Block("directive", body, indent, match["name"], match["argument"], options)


def split_options(lines: list[str]) -> tuple[dict[str, Any], str]:
    """The options of a directive (`:name: value` lines, or YAML between `---`) and its body."""
    if lines[0].strip() == "---":
        end = next((i for i, line in enumerate(lines[1:], 1) if line.strip() == "---"), len(lines))
        return yaml.safe_load("\n".join(lines[1:end])) or {}, "\n".join(lines[end + 1 :])
    options: dict[str, Any] = {}
    while lines and (match := OPTION.fullmatch(lines[0].strip())):
        options[match[1]] = match[2].strip()
        lines = lines[1:]
    return options, "\n".join(lines)


def substitution_names(text: str) -> list[str]:
    """The names of the recorded numbers that a page uses: `{{ name }}`."""
    names = []
    for token in parser().parse(text):
        names += [
            each.content
            for each in (token, *(token.children or ()))
            if each.type in ("substitution_block", "substitution_inline")
        ]
        directive = DIRECTIVE.fullmatch(token.info.strip())
        if directive and directive["name"] not in LITERAL:
            names += substitution_names(f"{directive['argument']}\n\n{token.content}")
    return names
