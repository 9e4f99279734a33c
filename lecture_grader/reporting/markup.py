"""Render HTML pages from untrusted text: cleaned, escaped, without scripts."""

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

__all__ = ["number_of", "one_line", "plain", "render", "shorten"]

# Terminal sequences: CSI (colors, cursor), OSC (titles, links), and the short rest.
TERMINAL = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?|\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?"
)
LINE_ENDS = re.compile("\r\n?|[\v\f\x85\u2028\u2029]")
CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]")
# Characters that reorder or hide text (bidirectional controls, zero-width characters, tags), and
# surrogates, which are not UTF-8 (from bytes of a file name that were not UTF-8).
DECEPTIVE = re.compile(
    r"[\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    r"\U000e0000-\U000e007f]"
)


def plain(text: str) -> str:
    """The text without invisible effects.

    Terminal sequences and control characters are removed, every line end is a newline, and a
    character that reorders or hides text is replaced by its code point, as in ``[U+202E]``.
    """
    text = LINE_ENDS.sub("\n", TERMINAL.sub("", text))
    return DECEPTIVE.sub(lambda found: f"[U+{ord(found[0]):04X}]", CONTROLS.sub("", text))


def one_line(text: str, limit: int = 60) -> str:
    """The text as in :func:`plain`, on one line of at most `limit` characters."""
    line = " ".join(plain(text).split())
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


def number_of(n: int, noun: str) -> str:
    """The number and the noun, in the plural unless it is one.

    >>> number_of(1, "point"), number_of(5, "point")
    ('1 point', '5 points')
    """
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def shorten(text: str, limit: int) -> str:
    """The text; beyond `limit` characters, its start and end and how much is left out."""
    if len(text) <= limit:
        return text
    left_out = f"\n[{len(text) - limit:,} characters left out]\n"
    return text[: limit - limit // 4] + left_out + text[-(limit // 4) :]


def render(template: str, title: str, **data: object) -> str:
    """Render a self-contained page: no scripts, fonts, images or other files.

    The value of every expression in the template is cleaned as in :func:`plain` and escaped, also
    if it is marked as safe. So only the template itself can contain markup.

    Args:
        template: File name in the folder ``templates``.
        title: Title of the page; cut to 200 characters.
        data: The variables of the template.

    Raises:
        jinja2.UndefinedError: The template uses another variable.
    """
    return TEMPLATES.get_template(template).render(data, title=one_line(title, 200))


def _cleaned(value: object) -> str:
    # A plain str: Jinja would not escape its own type for safe text.
    return plain(str(value))


TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    finalize=_cleaned,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
