"""One style sheet for all pages, with the rules and the icons that they use.

The theme and the extensions bring a dozen style sheets and three fonts of icons, of which the pages
need a tenth, and a browser draws nothing before it has all sheets. Their rules stay in their order.
A rule goes if one of its classes, ids, elements or attributes is on no page and in no script. The
originals stay where they are, without a link.
"""

import hashlib
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any

import tinycss2
from fontTools import subset
from fontTools.ttLib import TTFont
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

BUNDLE = "_static/styles.css"
ICONS = "_static/icons"
HEAD = "/*! Made by lecture_book/hooks/styles.py of "  # and the names of the original sheets
LINK = re.compile(r"<link\b[^>]*>\n?")
HREF = re.compile(r'\bhref="([^"?]*)')
VERSION = re.compile(rf"(?<={re.escape(BUNDLE)}\?v=)[0-9a-f]*")  # empty on a new page
SCRIPT = re.compile(r'<script\b[^>]*?(?:\bsrc="([^"?]*)[^>]*)?>(.*?)</script>', re.DOTALL)
MODULE = re.compile(r"""\b(?:from|import)\s*\(?["'](\.[^"']+)["']""")
URL = re.compile(r"""url\(\s*(["']?)(?!data:|#|https?:|//)([^"')]+)\1\s*\)""")
IMPORT = re.compile(r"""@import\s+(?:url\()?["']([^"']+)["']\)?\s*;""")
ICON_FACE = re.compile(r"fontawesome/webfonts/([\w-]+)\.(?:woff2|ttf)")
GROUPS = {"media", "supports", "layer", "container"}  # rules that hold rules

logging.getLogger("fontTools.subset").setLevel(logging.WARNING)  # the theme has INFO printed


# ---------------------------------------------------------------------------- what pages use


@dataclass
class Used:
    """The names on pages and in scripts; a script may give any of its words to an element."""

    classes: set[str] = field(default_factory=set)
    ids: set[str] = field(default_factory=set)
    elements: set[str] = field(default_factory=lambda: {"html", "body"})
    attributes: set[str] = field(default_factory=lambda: {"class", "id", "style"})
    words: set[str] = field(default_factory=set)

    def add_page(self, html: str) -> None:
        """Add the names of a page."""
        for value in re.findall(r"""\bclass=["']([^"']*)["']""", html):
            self.classes.update(value.split())
        self.ids.update(re.findall(r"""\bid=["']([^"']*)["']""", html))
        self.elements.update(name.lower() for name in re.findall(r"<([a-zA-Z][\w-]*)", html))
        self.attributes.update(re.findall(r"\s([a-zA-Z][\w:-]*)(?:=|(?=[\s>]))", html))

    def add_script(self, source: str) -> None:
        """Add the words of a script."""
        self.words.update(re.findall(r"[\w-]+", source))


def matches(tokens: list[Any], used: Used) -> bool:
    """Whether a selector may match something on a page, now or after a script has run."""
    before = ""  # the last token, if it is a sign
    for token in tokens:
        kind, value = token.type, getattr(token, "value", "")
        if kind == "ident" and before != ":":
            names = used.classes if before == "." else used.elements
            known = value if before == "." else value.lower()
            if known not in names and value not in used.words:
                return False
        elif kind == "hash" and not ({value} & (used.ids | used.words)):
            return False
        elif kind == "[] block":
            name = next(each.value for each in token.content if each.type == "ident")
            if name not in used.attributes and name not in used.words:
                return False
        elif (
            kind == "function"
            and token.lower_name in ("is", "where", "has")
            and not any(matches(each, used) for each in selectors(token.arguments))
        ):
            return False
        before = value if kind == "literal" else ""
    return True


def selectors(tokens: list[Any]) -> Iterator[list[Any]]:
    """The selectors of a list, as tokens."""
    selector: list[Any] = []
    for token in tokens:
        if token.type == "literal" and token.value == ",":
            yield selector
            selector = []
        else:
            selector.append(token)
    yield selector


# ---------------------------------------------------------------------------- rules


def text_of(tokens: list[Any]) -> str:
    """Tokens as text, without comments and with single spaces."""
    kept = [token for token in tokens if token.type != "comment"]
    return re.sub(r"\s+", " ", tinycss2.serialize(kept)).strip()


def rules(source: list[Any] | str) -> list[Any]:
    """The rules of a sheet or of a block."""
    return tinycss2.parse_rule_list(source, skip_whitespace=True)


def pruned(source: list[Any] | str, used: Used) -> Iterator[str]:
    """The rules of a sheet or of a block that the pages use, in their order."""
    for rule in rules(source):
        if rule.type == "error":
            raise ExtensionError(f"A style sheet has a rule that cannot be read: {rule.message}")
        if rule.type == "comment":
            if rule.value.startswith("!"):  # a license
                yield f"/*{rule.value}*/"
        elif rule.type == "qualified-rule":
            found = [text_of(each) for each in selectors(rule.prelude) if matches(each, used)]
            if found and (content := text_of(rule.content)):
                yield f"{','.join(found)}{{{content}}}"
        elif rule.lower_at_keyword in GROUPS and rule.content is not None:
            if inner := "".join(pruned(rule.content, used)):
                yield f"@{rule.at_keyword} {text_of(rule.prelude)}{{{inner}}}"
        elif rule.lower_at_keyword != "charset":
            prelude = text_of(rule.prelude)
            block = ";" if rule.content is None else f"{{{text_of(rule.content)}}}"
            yield f"@{rule.at_keyword} {prelude}".rstrip() + block


def named(rule: str) -> str | None:
    """The name that a font or an animation gives itself; None for any other rule."""
    if match := re.match(r"@(?:-webkit-)?keyframes ([\w-]+)", rule):
        return match[1]
    if rule.startswith("@font-face") and (
        match := re.search(r"""font-family:\s*["']?([^"';}]+)""", rule)
    ):
        return match[1]
    return None


def without_unused(kept: list[str]) -> list[str]:
    """The rules without the fonts and animations that no rule uses."""
    others = "".join(rule for rule in kept if named(rule) is None)
    return [rule for rule in kept if (name := named(rule)) is None or name in others]


def sheet_text(site: Path, name: str) -> str:
    """A style sheet with what it imports; its addresses are relative to the bundle."""
    folder = PurePosixPath(name).parent

    def moved(match: re.Match[str]) -> str:
        path, mark, rest = re.match(r"([^?#]*)([?#]?)(.*)", match[2]).groups()  # type: ignore[union-attr]
        return f'url("{relpath(folder / path, PurePosixPath(BUNDLE).parent)}{mark}{rest}")'

    def imported(match: re.Match[str]) -> str:
        return sheet_text(site, normpath(str(folder / match[1])))

    # What is imported has addresses that are right already.
    parts = IMPORT.split(text := (site / name).read_text(encoding="utf8"))
    parts[::2] = [URL.sub(moved, part) for part in parts[::2]]
    parts[1::2] = [imported(match) for match in IMPORT.finditer(text)]
    return "".join(parts)


# ---------------------------------------------------------------------------- icons


def characters(css: str) -> set[str]:
    """Every character of a string in a style sheet; an icon is one."""

    def strings(tokens: list[Any]) -> Iterator[str]:
        for token in tokens:
            if token.type == "string":
                yield token.value
            yield from strings(getattr(token, "content", None) or getattr(token, "arguments", []))

    return set("".join(strings(tinycss2.parse_component_value_list(css))))


def write_icons(site: Path, css: str) -> str:
    """Write fonts with the icons that a style sheet names, and let it name these fonts."""
    wanted = characters(css)

    def replaced(match: re.Match[str]) -> str:
        icons = ICON_FACE.search(match[0])
        if icons is None:
            return match[0]
        font = TTFont(
            site / "_static" / "vendor" / "fontawesome" / "webfonts" / f"{icons[1]}.ttf",
            recalcTimestamp=False,
        )
        subsetter = subset.Subsetter(subset.Options(layout_features=[], notdef_outline=True))
        subsetter.populate(text="".join(wanted))
        subsetter.subset(font)
        font.flavor = "woff"
        path = site / ICONS / f"{icons[1]}.woff"
        path.parent.mkdir(exist_ok=True)
        font.save(path)
        return f'src:url("icons/{path.name}") format("woff")'

    return re.sub(r"src:[^;}]*", replaced, css)


# ---------------------------------------------------------------------------- hooks


class OneStyle:
    """The hooks: pages link one sheet, which is made of the sheets that they would have linked."""

    def __init__(self) -> None:
        self.sheets: set[tuple[str, ...]] = set()  # of the pages that were written

    def link(
        self, app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
    ) -> None:
        """Give the template a function that puts one link in the place of all links to sheets."""

        def with_one_style(head: str) -> str:
            found = []

            def taken(match: re.Match[str]) -> str:
                if 'rel="stylesheet"' not in match[0]:
                    return match[0]
                found.append(normpath(PurePosixPath(pagename).parent / HREF.findall(match[0])[0]))
                return ""

            rest = LINK.sub(taken, head)
            self.sheets.add(tuple(found))
            return f'<link rel="stylesheet" href="{context["content_root"]}{BUNDLE}?v=">\n{rest}'

        context["with_one_style"] = with_one_style

    def write(self, app: Sphinx, error: Exception | None) -> None:
        """Write the sheet, and name its version on every page, so that no browser keeps an old one.

        Raises:
            ExtensionError: Pages need different sheets, or a sheet cannot be read.
        """
        if error is not None or not self.sheets:  # no page was written, so nothing has changed
            return
        if len(self.sheets) > 1:
            raise ExtensionError(f"Pages link different style sheets: {sorted(self.sheets)}")
        site = Path(app.outdir)
        pages = {
            path: path.read_text("utf8")
            for path in site.rglob("*.html")
            if "_static" not in path.relative_to(site).parts
        }
        (sheets,) = self.sheets
        bundle = bundled(site, sheets, used_on(site, pages))
        (site / BUNDLE).write_text(bundle, encoding="utf8")
        version = hashlib.sha256(bundle.encode()).hexdigest()[:8]
        for path, html in pages.items():
            named = VERSION.sub(version, html)
            if named != html:
                path.write_text(named, encoding="utf8")


def used_on(site: Path, pages: dict[Path, str]) -> Used:
    """The names on the pages of a site and in their scripts, imported ones included."""
    used = Used()
    scripts = set()
    for path, html in pages.items():
        used.add_page(html)
        for source, inline in SCRIPT.findall(html):
            used.add_script(inline)
            if source:
                scripts.add((path.parent / source).resolve())
    waiting = list(scripts)
    while waiting:
        script = waiting.pop()
        text = script.read_text(encoding="utf8")
        used.add_script(text)
        found = {(script.parent / each).resolve() for each in MODULE.findall(text)} - scripts
        scripts |= found
        waiting += found
    return used


def bundled(site: Path, sheets: Sequence[str], used: Used) -> str:
    """The rules of some sheets that are used, in their order; writes the icons beside them."""
    kept = [rule for sheet in sheets for rule in pruned(sheet_text(site, sheet), used)]
    return write_icons(site, "\n".join([f"{HEAD}{' '.join(sheets)} */", *without_unused(kept), ""]))


def register_styles(app: Sphinx) -> None:
    """Register what gives all pages one style sheet."""
    style = OneStyle()
    app.connect("html-page-context", style.link)
    app.connect("build-finished", style.write, priority=900)  # when all scripts are there
