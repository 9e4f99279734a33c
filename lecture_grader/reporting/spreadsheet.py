"""Cells of spreadsheets: untrusted text that no program may take for a formula."""

import csv
import io
import re
from collections.abc import Iterable, Sequence

from lecture_grader.reporting.markup import plain

__all__ = ["cell", "csv_text", "kept_cell"]

# OWASP, "CSV Injection": characters that start a formula in a spreadsheet, also full-width.
# A carriage return is one too, but plain() has replaced it by a newline.
SIGNS = "=+\\-@\u2212\ufe62\ufe63\ufe66\ufe6b＝＋－＠"
FORMULA = ("=", "+", "-", "@", "\t", "\n", "＝", "＋", "－", "＠")
# A spreadsheet may split a cell at other characters than the comma. So such a character is kept
# only after a letter or digit, as in Anne-Marie, after a dot, as in J.-P., or after itself.
STARTS = re.compile(rf"(?<![^\W_])(?<![.)\]'])(?=([{SIGNS}]))(?<!\1)")
NUMBER = re.compile(r"-?[0-9][0-9.,]*%?|-|")


def cell(text: str) -> str:
    """The text cleaned; an apostrophe goes before each possible formula, as OWASP advises."""
    clean = plain(text)  # first, because it may remove what precedes a formula
    return STARTS.sub("'", f"'{clean}" if clean.startswith(FORMULA) else clean)


def kept_cell(text: str) -> str:
    """As :func:`cell` for a cell of a platform's own file: its numbers and dashes stay."""
    return text if NUMBER.fullmatch(text) else cell(text)


def csv_text(rows: Iterable[Sequence[str]]) -> str:
    """Rows as CSV, every cell made harmless."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([map(cell, row) for row in rows])
    return text.getvalue()
