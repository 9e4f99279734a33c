"""The inline syntax of a MyST paragraph, parsed by `myst_parser` as on the site.

Its rules are wrapped to record the characters that they match, so that all other text can be kept
unchanged.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.mdit import create_md_parser

EXTENSIONS = {"colon_fence", "dollarmath", "substitution"}  # those of _config.yml
PLAIN = {"text", "newline", "emphasis"}  # inline rules whose text is kept
# Patterns that remain in plain text only if syntax is not closed or not supported.
UNPARSED = [
    (re.compile(r"\$"), "a formula is not closed (write \\$ for a dollar sign)"),
    (re.compile(r"\{[\w:+-]+\}`"), "a role is not closed"),
    (re.compile(r"\{\{"), "a substitution is not closed"),
    (re.compile(r"\[\^[^\]]*\]"), "notebooks show no footnotes"),
]


class FlattenError(Exception):
    """A chapter uses unsupported syntax or an undefined reference."""


@dataclass(frozen=True)
class Span:
    """Inline syntax: the characters from `start` to `end` of a text.

    `kind` is the parser's rule ("myst_role", "substitution_inline", "link", "image", "backticks",
    "math_inline", ...), `name` a role's name or a link's address, `content` what is inside.
    """

    kind: str
    start: int
    end: int
    source: str
    name: str = ""
    content: str = ""


def spans(text: str) -> list[Span]:
    """The outermost inline syntax of a paragraph, in order.

    Raises:
        FlattenError: something is not closed.
    """
    environment: dict[str, Any] = {"spanned": text, "spans": []}
    parser().inline.parse(text, parser(), environment, [])
    found: list[Span] = []
    position, plain = 0, ""
    for span in sorted(environment["spans"], key=lambda span: (span.start, -span.end)):
        if span.start >= position:
            found.append(span)
            plain += f"{text[position : span.start]} "
            position = span.end
    plain += text[position:]
    for pattern, complaint in UNPARSED:
        if match := pattern.search(plain):
            raise FlattenError(f"{complaint}: {plain[match.start() :][:60]!r}")
    return found


def rewritten(text: str, rewrite: Callable[[Span], str]) -> str:
    """A paragraph with each of its spans rewritten and all other text unchanged."""
    parts, position = [], 0
    for span in spans(text):
        parts += [text[position : span.start], rewrite(span)]
        position = span.end
    return "".join([*parts, text[position:]])


@cache
def parser() -> MarkdownIt:
    """The site's parser, with inline rules that record their matches."""
    parser = create_md_parser(MdParserConfig(enable_extensions=EXTENSIONS), RendererHTML)
    rules = parser.inline.ruler
    for name, rule in zip(parser.get_active_rules()["inline"], rules.getRules(""), strict=True):
        if name not in PLAIN:
            rules.at(name, _recording(name, rule))
    return parser


def _recording(
    name: str, rule: Callable[[StateInline, bool], bool]
) -> Callable[[StateInline, bool], bool]:
    def recording(state: StateInline, silent: bool) -> bool:
        start, count = state.pos, len(state.tokens)
        if not rule(state, silent):
            return False
        made = state.tokens[count:]  # empty if a rule takes a character as plain text
        # The alt text of an image is parsed separately, with other positions.
        if made and not silent and state.src is state.env.get("spanned"):
            source = state.src[start : state.pos]
            state.env["spans"].append(_span(name, start, source, made))
        return True

    return recording


def _span(kind: str, start: int, source: str, tokens: Sequence[Token]) -> Span:
    """The span of a rule that made these tokens."""
    made = next((token for token in tokens if token.type in (kind, f"{kind}_open")), None)
    name, content = "", " ".join(made.content.split()) if made else ""
    if made and kind == "myst_role":
        name = made.meta["name"]
    elif made and kind == "image":
        name = str(made.attrGet("src"))
    elif made and kind == "link":
        name, content = str(made.attrGet("href")), source[1:].rpartition("](")[0]
    return Span(kind, start, start + len(source), source, name, content)
