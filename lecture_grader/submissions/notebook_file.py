"""Parse the untrusted file of a notebook within limits."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lecture_grader import cells
from lecture_grader.submissions.names import Names, find_names

__all__ = ["MAX_BYTES", "Cell", "assignment_of", "cells_of", "load_notebook"]

MAX_BYTES = 20_000_000  # enough for the figures in outputs
MAX_CELLS = 2_000
MAX_CODE = 1_000_000  # characters of all code, enough for embedded images
# Comments and tags can disable nbval for a cell; they are removed.
MARKER = re.compile(r"#[^\S\r\n]*(?:(?:nbval|pytest)\w*[^\S\r\n]*)+", re.IGNORECASE)
SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Cell:
    """A cell of the notebook."""

    id: str
    tags: tuple[str, ...]
    kind: str  # "code", "markdown" or "raw"
    source: str

    @cached_property
    def names(self) -> Names:
        """What it defines, changes and needs."""
        return find_names(self.source)


def load_notebook(content: bytes) -> dict[str, Any]:
    """Parse a notebook in UTF-8, UTF-16 or UTF-32.

    Raises:
        ValueError: The content is not a notebook.
    """
    if not content.strip():
        raise ValueError("the file is empty")
    try:
        text = content.decode(json.detect_encoding(content))
    except UnicodeDecodeError as error:
        raise ValueError(
            f"the file is not UTF-8 text (byte {error.start}); was it saved by a text editor?"
        ) from error
    try:
        notebook = json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        cause = ""
        if text.lstrip().startswith("<"):
            cause = "; it is a web page: download the notebook itself"
        raise ValueError(f"the file is not JSON ({error}){cause}") from error
    if not isinstance(notebook, dict):
        raise ValueError("the file is JSON, but not a notebook")
    return notebook


def cells_of(notebook: dict[str, Any]) -> Iterator[Cell]:
    """The cells of a notebook in nbformat 3 or 4.

    Raises:
        ValueError: The notebook has no cells, or too many or too long ones.
    """
    listed = notebook.get("cells")
    if listed is None and isinstance(notebook.get("worksheets"), list):  # nbformat 3
        sheets = [sheet for sheet in notebook["worksheets"] if isinstance(sheet, dict)]
        lists = [sheet["cells"] for sheet in sheets if isinstance(sheet.get("cells"), list)]
        listed = [cell for found in lists for cell in found]
    if not isinstance(listed, list):
        raise ValueError("the file is JSON, but not a notebook: it has no cells")
    if len(listed) > MAX_CELLS:
        raise ValueError(f"the notebook has {len(listed):,} cells; at most {MAX_CELLS:,} are read")
    found = [_cell(cell) for cell in listed if isinstance(cell, dict)]
    length = sum(len(cell.source) for cell in found if cell.kind == "code")
    if length > MAX_CODE:
        raise ValueError(
            f"the notebook has {length:,} characters of code; at most {MAX_CODE:,} are read"
        )
    yield from found


def _cell(cell: dict[str, Any]) -> Cell:
    metadata = cell.get("metadata")
    tags = metadata.get("tags") if isinstance(metadata, dict) else None
    tags = [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []
    source = cell.get("source", cell.get("input", ""))
    if isinstance(source, list):
        source = "".join(part for part in source if isinstance(part, str))
    source = MARKER.sub("# ", source) if isinstance(source, str) else ""
    identity, kind = cell.get("id"), cell.get("cell_type")
    return Cell(
        identity if isinstance(identity, str) else "",
        tuple(tags),
        kind if kind in ("code", "markdown", "raw") else "",
        SURROGATES.sub("\ufffd", source),
    )


def assignment_of(notebook: dict[str, Any]) -> str:
    """The name of the assignment in the metadata, at most 200 characters; "" if there is none."""
    return SURROGATES.sub("\ufffd", cells.assignment_of(notebook.get("metadata")))[:200]
