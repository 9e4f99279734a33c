"""Pages from text that nobody vouches for: cleaned, escaped, without scripts, and set to be read.

Nothing here knows what a grade is.
"""

import html
import re

__all__ = ["Markup", "one_line", "page", "plain", "shorten", "tag"]

# Terminal sequences: CSI (colors, cursor), OSC (titles, links), and the short rest.
TERMINAL = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?|\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?"
)
LINE_ENDS = re.compile("\r\n?|[\v\f\x85\u2028\u2029]")
CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]")
# What reorders or hides text (bidirectional controls, zero-width signs, tags), and what cannot be
# written as UTF-8 (halves of surrogate pairs: bytes of a file name that were no UTF-8).
DECEPTIVE = re.compile(
    r"[\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    r"\U000e0000-\U000e007f]"
)


class Markup(str):
    """Text that is markup already. Every other text is escaped on its way into a page."""

    __slots__ = ()


def plain(text: str) -> str:
    """The text as a reader should see it.

    Terminal sequences and control characters are gone, every line end is a newline, and a
    character that reorders or hides others stands there by its number, as in ``[U+202E]``.
    """
    text = LINE_ENDS.sub("\n", TERMINAL.sub("", text))
    return DECEPTIVE.sub(lambda found: f"[U+{ord(found[0]):04X}]", CONTROLS.sub("", text))


def one_line(text: str, limit: int = 60) -> str:
    """The text as in :func:`plain`, on one line and cut: for terminals, lists and links."""
    line = " ".join(plain(text).split())
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


def shorten(text: str, limit: int) -> str:
    """The text, or its beginning and its end with a line between that counts what is missing."""
    if len(text) <= limit:
        return text
    left_out = f"\n[{len(text) - limit:,} characters left out]\n"
    return text[: limit - limit // 4] + left_out + text[-(limit // 4) :]


def tag(name: str, *children: str, **attributes: str) -> Markup:
    """An element. Whatever is not :class:`Markup`, attributes included, is cleaned and escaped.

    Args:
        name: Of the element.
        children: Texts and elements, in order.
        attributes: ``class_`` stands for class and ``aria_label`` for aria-label.
    """
    start = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_safe(value)}"'
        for key, value in attributes.items()
    )
    return Markup(f"<{name}{start}>{''.join(map(_safe, children))}</{name}>")


def page(title: str, *body: str) -> str:
    """A whole page that asks for nothing: no script, no font, no image, no other file."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"{tag('title', one_line(title, 200))}\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n{tag('main', *body)}\n</body>\n</html>\n"
    )


def _safe(text: str) -> str:
    return text if isinstance(text, Markup) else html.escape(plain(text))


LIGHT = """
  --paper: #fdfcf9; --tint: #f3f0e9; --ink: #22262b; --soft: #5c6068; --rule: #dcd8ce;
  --accent: #1d5a82; --good: #23603f; --bad: #9b2c27; --warn: #7d4e00;
"""
DARK = """
  --paper: #17191c; --tint: #212429; --ink: #e3e1db; --soft: #a5a9b0; --rule: #393d44;
  --accent: #8fc0e4; --good: #8acaa5; --bad: #f0a29b; --warn: #e3b766;
"""
STYLE = (
    f"""
:root {{ color-scheme: light dark; {LIGHT} }}
@media (prefers-color-scheme: dark) {{ :root {{ {DARK} }} }}
"""
    + """
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); overflow-wrap: anywhere;
  font: 1.0625rem/1.55 Charter, "Bitstream Charter", "Iowan Old Style", "Palatino Linotype",
    Cambria, "Source Serif 4", Georgia, serif;
  font-variant-numeric: lining-nums tabular-nums; -webkit-text-size-adjust: 100%; }
main { max-width: 44rem; margin: 0 auto; padding: 3.5rem 1.25rem 4rem; }
h1, h2, h3 { line-height: 1.2; font-weight: 600; margin: 0; text-wrap: balance; }
h1 { font-size: 2.1rem; letter-spacing: -0.01em; }
h2 { font-size: 1.4rem; margin: 3rem 0 1rem; }
h3 { font-size: 1.15rem; }
p, ul, dl, table, pre { margin: 0.6rem 0; }
a { color: var(--accent); text-underline-offset: 0.15em; text-decoration-thickness: 1px; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.over { margin: 0 0 0.4rem; color: var(--soft); }
.soft { color: var(--soft); font-size: 0.9375rem; } td.soft, .outcome.soft { font-size: inherit; }
.good { color: var(--good); } .bad { color: var(--bad); } .warn { color: var(--warn); }
.total { margin: 1rem 0 0; font-size: 1.25rem; }
.total strong { font-size: 2.1rem; font-weight: 600; }
.exercise { border-top: 1px solid var(--rule); margin-top: 2rem; padding-top: 1.4rem; }
h2 + .exercise { margin-top: 0; }
.head { display: flex; justify-content: space-between; align-items: baseline; gap: 1.5rem; }
.head > :last-child { white-space: nowrap; color: var(--soft); }
.outcome { font-weight: 600; }
.hint { border-left: 3px solid var(--accent); padding-left: 0.9rem; }
pre, code { font: 0.875rem/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono",
    monospace; }
pre { background: var(--tint); border-radius: 4px; padding: 0.75rem 0.9rem; overflow-x: auto;
  white-space: pre-wrap; tab-size: 4; }
summary { cursor: pointer; color: var(--accent); padding: 0.15rem 0; }
.bar { height: 0.7rem; margin: 0.6rem 0; background: var(--tint);
  box-shadow: inset 0 0 0 1px var(--rule); border-radius: 2px; overflow: hidden; }
.bar span { display: block; height: 100%; background: var(--accent); }
.histogram { display: flex; gap: 3px; text-align: center; margin-top: 1rem;
  font-size: 0.875rem; }
.histogram > span { flex: 1; display: flex; flex-direction: column; justify-content: flex-end; }
.histogram i { background: var(--accent); border-radius: 2px 2px 0 0; }
.histogram b { font-weight: 400; border-top: 1px solid var(--soft); margin: 0 -3px 0 0;
  padding-top: 0.2rem; color: var(--soft); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: center; padding: 0.3rem 0.5rem; border-bottom: 1px solid var(--rule);
  font-weight: 400; }
th:first-child { text-align: left; padding-left: 0; min-width: 9rem; }
td:last-child, th:last-child { text-align: right; padding-right: 0; white-space: nowrap; }
thead th { border-bottom: 1px solid var(--soft); color: var(--soft); font-size: 0.9375rem;
  vertical-align: bottom; }
abbr { text-decoration: none; font-weight: 600; }
thead abbr { font-weight: 400; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.2rem 1rem; }
dt { color: var(--soft); } dd { margin: 0; }
ul { padding-left: 1.2rem; }
footer { border-top: 1px solid var(--rule); margin-top: 3rem; padding-top: 1rem;
  color: var(--soft); font-size: 0.9375rem; }
@media (max-width: 30rem) { main { padding-top: 2rem; } h1 { font-size: 1.75rem; }
  h2 { font-size: 1.2rem; } h2, h3 { hyphens: auto; } .head { gap: 0.8rem; }
  th:first-child { min-width: 7rem; } }
@media print { :root { color-scheme: light; """
    + LIGHT
    + """ --paper: #fff; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  body { font-size: 10.5pt; } main { max-width: none; padding: 0; }
  .head, tr, .histogram { break-inside: avoid; } h2, .head { break-after: avoid; }
  details::details-content { content-visibility: visible; } .wide { overflow: visible; } }
"""
)
