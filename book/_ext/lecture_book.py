"""What this book needs from Sphinx beyond Jupyter Book: recorded numbers, videos, live figures.

Small hooks. Recorded numbers reach the pages as MyST substitutions, and a page that asks
for one that is not there stops the build. Videos leave the pages as files, so that a page stays
light and a browser can cache them. A live figure is a still picture that a script of `_static/live`
replaces. Citations get round brackets. In an instructor's build the pages of exercises show their
solutions; what keeps them out of the students' is in `solutions.py`. What takes a page away, and
what reads it aloud, is in `launching.py` and `readable.py`.
"""

import base64
import hashlib
import re
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, ClassVar

import sphinxcontrib.bibtex.plugin
from build import digest
from docutils import nodes
from docutils.parsers.rst import directives
from exercise_pages import FOLDER, page_text, solutions_wanted
from launching import (
    follow_notebook,
    launch_exercises,
    launch_on_any_hub,
    offer_flattened_notebook,
)
from readable import defer_scripts, mend_body, place_images, place_of
from recorded import budget_of, built_with, missing, recorded_values, used_names
from solutions import only_pages_of_the_toc
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective
from sphinxcontrib.bibtex.style.referencing import BracketStyle
from sphinxcontrib.bibtex.style.referencing.author_year import AuthorYearReferenceStyle

from lecture_grader.authoring.assignment import read_assignment

ASSETS = "_static", "_templates"
MEDIA = "_static/media"
DATA_URI = re.compile(
    r'(?P<attribute>src|poster)="data:(?:video|image)/(?P<kind>mp4|png);base64,'
    r'(?P<data>[A-Za-z0-9+/=\s]+)"'
)
# What a figure with a choice of runs says of them.
OWN, RECORDED = "trained by this book's cells", "recorded with the lecture"
VIDEO = re.compile(r"<video\b.*?</video>", re.DOTALL)


def round_brackets() -> BracketStyle:
    """Kingma and Welling (2014), not [2014]."""
    return BracketStyle(left="(", right=")")


@dataclass
class RoundAuthorYear(AuthorYearReferenceStyle):
    """The author-year citations of sphinxcontrib-bibtex, in round brackets."""

    bracket_textual: BracketStyle = field(default_factory=round_brackets)
    bracket_parenthetical: BracketStyle = field(default_factory=round_brackets)


class LiveFigure(SphinxDirective):
    """A figure that `_static/live/NAME.js` brings to life; `NAME.png` stands in where it cannot.

    On paper the picture always stands in.

    The content is the caption. What the script is told stands in ``data-*`` attributes.
    """

    has_content = True
    required_arguments = 1  # NAME
    option_spec: ClassVar[dict[str, Any]] = {
        "alt": directives.unchanged_required,  # of the still picture
        "packs": directives.unchanged_required,  # the folder of the packs, below _static/live
        "runs": directives.unchanged_required,  # JSON: folder of a run -> what to call it
    }

    def run(self) -> list[nodes.Node]:
        """The figure: the still picture with a hint, the script, the caption."""
        (name,) = self.arguments
        live = "../" * self.env.docname.count("/") + "_static/live"
        still = Path(self.env.srcdir) / "book" / "_static" / "live" / f"{name}.png"
        self.env.note_dependency(str(still))  # for its size
        told = {"live": name}
        if "packs" in self.options:
            told["packs"] = f"{live}/{self.options['packs']}/"
        if "runs" in self.options:
            own = budget_of(Path(self.env.app.outdir).parent) == "full"
            told |= {"runs": self.options["runs"], "whose": OWN if own else RECORDED}
        data = " ".join(f'data-{key}="{escape(value)}"' for key, value in told.items())
        picture = f'{place_of(still)} src="{live}/{name}.png" alt="{escape(self.options["alt"])}"'
        opening = (
            f'<figure class="live"><img class="on-paper" {picture}><div {data}><img {picture}>'
            '<p class="live-muted">This picture comes alive where scripts run and the page is '
            "served. A copy on your disk is served by <code>python -m http.server</code> in the "
            "folder of the site.</p></div>"
            f'<script type="module" src="{live}/{name}.js"></script><figcaption>'
        )
        caption = nodes.container()
        self.state.nested_parse(self.content, self.content_offset, caption)
        closing = "</figcaption></figure>"
        return [
            nodes.raw("", opening, format="html"),
            *caption.children,
            nodes.raw("", closing, format="html"),
        ]


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
    for name in used_names(source[0]):
        if name not in values:
            raise ExtensionError(f"{docname}: {missing(name, values, Path(app.srcdir))}")


def show_solutions(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put solutions, wrong answers and hidden checks on the pages of exercises."""
    exercise = Path(app.srcdir) / "exercises" / f"{Path(docname).name}.md"
    if app.config.lecture_solutions and docname.startswith(f"{FOLDER}/"):
        source[0] = page_text(read_assignment(exercise), solutions=True)


def move_videos(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Write embedded videos and their posters beside the pages and point to the files.

    The poster follows once more as a picture, for paper: browsers print a video as an empty box.
    """
    if "<video" not in context.get("body", ""):
        return
    prefix = context["content_root"] + MEDIA

    def to_file(match: re.Match[str]) -> str:
        content = base64.b64decode(match["data"])
        name = f"{hashlib.sha256(content).hexdigest()[:16]}.{match['kind']}"
        path = Path(app.outdir) / MEDIA / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return f'{match["attribute"]}="{prefix}/{name}"'

    def with_still(match: re.Match[str]) -> str:
        video = DATA_URI.sub(to_file, match[0])
        told = dict(re.findall(r'(poster|aria-label)="([^"]*)"', video))
        return f'{video}<img class="on-paper" src="{told["poster"]}" alt="{told["aria-label"]}">'

    context["body"] = VIDEO.sub(with_still, context["body"])


def show_own_runs(app: Sphinx, error: Exception | None) -> None:
    """At the full budget, put the runs of this book's cells in the place of the recorded ones."""
    if error is not None or budget_of(Path(app.outdir).parent) != "full":
        return
    # Only here: torch takes a second to import.
    from live_runs import export_explorer

    from lecture_vae import load_images

    export_explorer(load_images(), Path(app.outdir) / "_static" / "live" / "runs")


def drop_unused_media(app: Sphinx, error: Exception | None) -> None:
    """Delete the videos that no page of the site shows any more."""
    folder = Path(app.outdir) / MEDIA
    if error is not None or not folder.is_dir():
        return
    pages = "".join(page.read_text(encoding="utf8") for page in Path(app.outdir).rglob("*.html"))
    for path in folder.iterdir():
        if path.name not in pages:
            path.unlink()


def assets_digest(book: Path) -> str:
    """One hash over styles, scripts, pictures and templates."""
    files = [path for name in ASSETS for path in (book / name).rglob("*") if path.is_file()]
    return digest([path for path in files if "__pycache__" not in path.parts], book)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the hooks."""
    sphinxcontrib.bibtex.plugin.register_plugin(
        "sphinxcontrib.bibtex.style.referencing", "author_year_round", RoundAuthorYear
    )
    app.add_directive("live-figure", LiveFigure)
    app.add_config_value("lecture_solutions", solutions_wanted(), "env")
    # Sphinx copies styles and scripts only when it writes pages, so a changed one must make it.
    app.add_config_value("lecture_assets", assets_digest(Path(app.srcdir) / "book"), "html")
    app.connect("config-inited", only_pages_of_the_toc)
    app.connect("config-inited", fill_substitutions)
    app.connect("source-read", show_solutions)
    app.connect("source-read", refuse_missing_numbers)
    app.connect("source-read", follow_notebook)
    app.connect("html-page-context", move_videos)
    app.connect("html-page-context", mend_body)
    app.connect("html-page-context", place_images)
    app.connect("html-page-context", defer_scripts, priority=900)  # after all that add one
    # Before and after the theme's launch buttons (501), which need a file and write another one.
    app.connect("html-page-context", launch_exercises)
    app.connect("html-page-context", launch_on_any_hub, priority=600)
    app.connect("html-page-context", offer_flattened_notebook, priority=600)
    app.connect("build-finished", drop_unused_media)
    app.connect("build-finished", show_own_runs)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
