"""Recorded numbers reach the pages as MyST substitutions; a page without its number is an error."""

from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError

from lecture_book.notebooks.myst import substitution_names
from lecture_book.records import missing, recorded_values
from lecture_book.site import built_with


def fill_substitutions(app: Sphinx, config: Config) -> None:
    """Give the recorded numbers to MyST; a changed number makes Sphinx read the pages again."""
    config.myst_substitutions = {
        **config.myst_substitutions,
        **recorded_values(Path(app.srcdir)),
        "built_with": built_with(Path(app.outdir).parent),
    }


def refuse_missing_numbers(app: Sphinx, docname: str, source: list[str]) -> None:
    """Stop where a page asks for a number that nobody recorded."""
    values = app.config.myst_substitutions
    for name in substitution_names(source[0]):
        if name not in values:
            raise ExtensionError(f"{docname}: {missing(name, values, Path(app.srcdir))}")
