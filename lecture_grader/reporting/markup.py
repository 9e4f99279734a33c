"""Pages from untrusted text: cleaned, escaped, without scripts, and set to be read.

Nothing here knows what a grade is.
"""

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

__all__ = ["one_line", "plain", "render", "shorten"]

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


def render(template: str, title: str, **data: object) -> str:
    """A whole page that asks for nothing: no script, no font, no image, no other file.

    Whatever an expression of the template gives is cleaned as in :func:`plain` and escaped, what
    calls itself markup included. So nothing but a template's own text is markup.

    Args:
        template: File name in the folder ``templates``.
        title: Of the page, in the browser's tab; cut to 200 characters.
        data: What the template lays out, by name.

    Raises:
        jinja2.UndefinedError: The template names something that is not among the data.
    """
    return TEMPLATES.get_template(template).render(data, title=one_line(title, 200))


def _cleaned(value: object) -> str:
    # Without Jinja's own type for markup, which it would not escape.
    return plain(str(value))


TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    finalize=_cleaned,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
