"""The settings of `_config.yml` in Sphinx's own names, so that Sphinx builds the book alone.

Jupyter Book 1 is in maintenance. It translates `_config.yml`, adds defaults, and runs Sphinx with
extensions that are packages of their own; this module does the first two without importing it, and
`conf.py` hands the result to `sphinx-build`. A test compares it with Jupyter Book's, name by name.
"""

from pathlib import Path
from typing import Any

import yaml

from lecture_book.project import CONFIG, TOC, ProjectError

# Jupyter Book's key: Sphinx's name. An option of the theme stands behind "html_theme_options.".
NAMES = {
    "title": "html_title",
    "author": "author",
    "copyright": "copyright",
    "only_build_toc_files": "external_toc_exclude_missing",
    "exclude_patterns": "exclude_patterns",
    "repository.url": "html_theme_options.repository_url",
    "repository.branch": "html_theme_options.repository_branch",
    "repository.path_to_book": "html_theme_options.path_to_docs",
    "launch_buttons": "html_theme_options.launch_buttons",
    "execute.execute_notebooks": "nb_execution_mode",
    "execute.timeout": "nb_execution_timeout",
    "execute.raise_on_error": "nb_execution_raise_on_error",
    "execute.show_tb": "nb_execution_show_tb",
    "execute.stderr_output": "nb_output_stderr",
    "parse.myst_enable_extensions": "myst_enable_extensions",
    "html.favicon": "html_favicon",
    "html.use_repository_button": "html_theme_options.use_repository_button",
    "html.use_issues_button": "html_theme_options.use_issues_button",
    "html.use_edit_page_button": "html_theme_options.use_edit_page_button",
    "html.home_page_in_navbar": "html_theme_options.home_page_in_toc",
    "bibtex_bibfiles": "bibtex_bibfiles",
}
SPHINX = {"sphinx.recursive_update", "sphinx.config"}  # Sphinx's own names below the second

# Where Jupyter Book's default is not that of Sphinx, the theme or MyST.
DEFAULTS: dict[str, Any] = {
    "external_toc_path": TOC,
    "html_sourcelink_suffix": "",
    "html_theme": "sphinx_book_theme",
    "html_theme_options": {"search_bar_text": "Search this book..."},
    "myst_url_schemes": ["mailto", "http", "https"],
    "numfig": True,
    "pygments_style": "sphinx",
    "suppress_warnings": ["myst.domains"],
}
NO_PAGES = ["**.ipynb_checkpoints", ".DS_Store", "Thumbs.db", "_build"]

# Of Jupyter Book's extensions: the numbers of chapters that go on over the parts of the table of
# contents, which it loads itself, in its place; and no comments, which the book does not have but
# which Jupyter Book sets options of.
INSTEAD = {"jupyter_book": "sphinx_multitoc_numbering", "sphinx_comments": None}


def sphinx_settings(root: Path) -> dict[str, Any]:
    """The content of a `conf.py`, from the `_config.yml` of a checkout.

    Raises:
        ProjectError: `_config.yml` has a key of Jupyter Book that is not translated here.
    """
    config = yaml.safe_load((root / CONFIG).read_text(encoding="utf8"))
    given = _flat(config)
    if unknown := sorted(given.keys() - NAMES.keys() - SPHINX):
        raise ProjectError(
            f"{CONFIG} has {', '.join(unknown)}, which lecture_book/sphinx_config.py does not "
            "translate for Sphinx. Is the key new? Then give it its name in NAMES."
        )
    settings = _merged({}, DEFAULTS)
    for key, name in NAMES.items():
        if key in given:
            group, _, option = name.rpartition(".")
            _merged(settings.setdefault(group, {}) if group else settings, {option: given[key]})
    _merged(settings, given.get("sphinx.config", {}))
    settings["exclude_patterns"] = sorted({*NO_PAGES, *settings.get("exclude_patterns", [])})
    extensions = (INSTEAD.get(name, name) for name in settings["extensions"])
    settings["extensions"] = [name for name in extensions if name]
    return settings


def _flat(config: dict[str, Any]) -> dict[str, Any]:
    """The values of Jupyter Book's keys, 'execute.timeout' and the like."""
    whole = {name.partition(".")[0] for name in NAMES.keys() | SPHINX if "." not in name}
    found: dict[str, Any] = {}
    for key, value in config.items():
        if key in whole or not isinstance(value, dict):
            found[key] = value
        else:
            found |= {f"{key}.{name}": inner for name, inner in value.items()}
    return found


def _merged(settings: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """`settings` with `more` in it: tables are joined, everything else is replaced."""
    for name, value in more.items():
        if isinstance(value, dict):
            settings[name] = _merged(dict(settings.get(name, {})), value)
        else:
            settings[name] = value
    return settings
