"""Tables: CSV files as learning platforms and spreadsheets write them.

The delimiter is a comma, a semicolon or a tab, whichever splits the first line into most cells; a
byte order mark and either kind of line end are read, and remembered for writing.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["RosterError", "Row", "Table", "read_table", "table_text"]

DELIMITERS = ",;\t"
MAX_BYTES = 20_000_000
BOM = "\ufeff"


class RosterError(ValueError):
    """A file with students breaks a rule; the message states it."""


@dataclass(frozen=True)
class Row:
    """One line of a table; it may span several lines of the file."""

    line: int  # of the file, from 1, where it ends
    cells: tuple[str, ...]  # as many as the table has columns


@dataclass(frozen=True)
class Table:
    """A CSV file with a line of column names."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]  # without empty ones
    delimiter: str = ","
    bom: bool = False
    newline: str = "\n"

    def at(self, *names: str) -> int | None:
        """The place of the first column with one of these names, whatever case; None without."""
        folded = [" ".join(column.split()).casefold() for column in self.columns]
        return next((folded.index(name) for name in names if name in folded), None)

    def listed(self) -> str:
        """The names of the columns, for messages."""
        shown = ", ".join(" ".join(column.split()) or "(no name)" for column in self.columns[:12])
        more = len(self.columns) - 12
        return f"{shown}, and {more} more" if more > 0 else shown


def read_table(path: Path) -> Table:
    """The table in a CSV file.

    Raises:
        RosterError: The file is not UTF-8 text, has no first line, or a line has more cells than
            the first one.
        OSError: The file cannot be read.
    """
    data = path.read_bytes()
    if len(data) > MAX_BYTES:
        raise RosterError(f"{path} has {len(data):,} bytes; a roster has at most {MAX_BYTES:,}.")
    if data.startswith((b"PK", b"\xd0\xcf\x11\xe0")) or b"\0" in data:
        raise RosterError(
            f"{path} is no text: a roster is a CSV file in UTF-8. Is it a spreadsheet? Save it as "
            "CSV."
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise RosterError(
            f"{path}: a roster is a CSV file in UTF-8, but line {line} is not UTF-8. Was it "
            "saved by a spreadsheet in an older encoding? Choose 'CSV UTF-8'."
        ) from error
    delimiter = max(DELIMITERS, key=lambda each: len(_first(text, each)))
    rows = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append(Row(reader.line_num, tuple(cells)))
    except csv.Error as error:
        raise RosterError(f"{path}, line {reader.line_num}: no CSV ({error}).") from error
    if not rows:
        raise RosterError(f"{path} is empty: its first line must name the columns.")
    columns = rows[0].cells
    while columns and not columns[-1].strip():  # spreadsheets leave empty cells at the end
        columns = columns[:-1]
    return Table(
        path, columns, tuple(_padded(path, row, len(columns)) for row in rows[1:]), delimiter,
        data.startswith(BOM.encode()), "\r\n" if "\r\n" in text else "\n",
    )  # fmt: skip


def table_text(table: Table, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows as text in the dialect of a table: delimiter, byte order mark and line ends.

    Args:
        table: The table that they come from.
        columns: The names of the columns.
        rows: Cells, as many in each row as there are columns.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=table.delimiter, lineterminator=table.newline)
    writer.writerow(columns)
    writer.writerows(rows)
    return (BOM if table.bom else "") + text.getvalue()


def _first(text: str, delimiter: str) -> list[str]:
    """The cells of the first line that is not empty."""
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        return next((cells for cells in reader if any(map(str.strip, cells))), [])
    except csv.Error:
        return []


def _padded(path: Path, row: Row, width: int) -> Row:
    cells, more = row.cells[:width], row.cells[width:]
    if any(cell.strip() for cell in more):
        raise RosterError(
            f"{path}, line {row.line}: {len(row.cells)} cells, but the first line names {width} "
            "columns. Does a cell with a comma lack its quotes?"
        )
    return Row(row.line, cells + ("",) * (width - len(cells)))
