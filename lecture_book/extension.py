"""The Sphinx extension of the book, which `_config.yml` names."""

from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

from lecture_book.hooks.accessibility import correct_markup
from lecture_book.hooks.citations import register_style
from lecture_book.hooks.execution import execute_side_by_side
from lecture_book.hooks.formulas import register_formulas
from lecture_book.hooks.launching import (
    add_exercise_buttons,
    add_hub_button,
    follow_notebook,
    replace_downloaded_notebook,
)
from lecture_book.hooks.live_figures import LiveFigure, show_own_runs
from lecture_book.hooks.loading import defer_scripts, reserve_space
from lecture_book.hooks.numbers import fill_substitutions, refuse_missing_numbers
from lecture_book.hooks.signatures import readable_defaults
from lecture_book.hooks.solutions import only_pages_of_the_toc, show_solutions
from lecture_book.hooks.styles import register_styles
from lecture_book.hooks.videos import drop_unused_media, move_videos
from lecture_book.project import digest, files_below
from lecture_book.solutions import solutions_wanted

ASSETS = "_static", "_templates"


def assets_digest(book: Path) -> str:
    """One hash over styles, scripts, pictures and templates."""
    return digest([path for name in ASSETS for path in files_below(book / name)], book)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the hooks."""
    register_style()
    register_formulas(app)
    register_styles(app)
    app.add_directive("live-figure", LiveFigure)
    app.add_config_value("lecture_solutions", solutions_wanted(), "env")
    # Sphinx copies static files only when it writes pages, so a change must rewrite them.
    app.add_config_value("lecture_assets", assets_digest(Path(app.srcdir) / "book"), "html")
    app.connect("config-inited", only_pages_of_the_toc)
    app.connect("config-inited", fill_substitutions)
    app.connect("env-before-read-docs", execute_side_by_side)
    app.connect("autodoc-process-signature", readable_defaults)
    app.connect("source-read", show_solutions)
    app.connect("source-read", refuse_missing_numbers)
    app.connect("source-read", follow_notebook)
    app.connect("html-page-context", move_videos)
    app.connect("html-page-context", correct_markup)
    app.connect("html-page-context", reserve_space)
    app.connect(
        "html-page-context", defer_scripts, priority=900
    )  # after the hooks that add scripts
    # Before and after the theme's launch buttons (priority 501), which read and write files.
    app.connect("html-page-context", add_exercise_buttons)
    app.connect("html-page-context", add_hub_button, priority=600)
    app.connect("html-page-context", replace_downloaded_notebook, priority=600)
    app.connect("build-finished", drop_unused_media)
    app.connect("build-finished", show_own_runs)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
