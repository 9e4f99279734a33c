"""Recorded numbers as MyST substitutions; a missing number is an error."""

from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError

from lecture_book.notebooks.myst import substitution_names
from lecture_book.records import missing, recorded_values
from lecture_book.site import built_with


def fill_substitutions(app: Sphinx, config: Config) -> None:
    """Define the recorded numbers as substitutions; Sphinx rereads all pages if one changes."""
    config.myst_substitutions = {
        **config.myst_substitutions,
        **recorded_values(Path(app.srcdir)),
        "built_with": built_with(Path(app.outdir).parent),
    }


def refuse_missing_numbers(app: Sphinx, docname: str, source: list[str]) -> None:
    """Raise ExtensionError if a page uses a number that is not recorded."""
    values = app.config.myst_substitutions
    for name in substitution_names(source[0]):
        if name not in values:
            raise ExtensionError(f"{docname}: {missing(name, values, Path(app.srcdir))}")
