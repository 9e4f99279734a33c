"""Live figures: the directive, and which runs they show.

A live figure is a still picture that a script of `_static/live` replaces.
"""

from html import escape
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from lecture_book.hooks.loading import lazy_attributes
from lecture_book.project import LIVE
from lecture_book.site import budget_of

# What a figure with a choice of runs says of them.
OWN, RECORDED = "trained by this book's cells", "recorded with the lecture"


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
        still = Path(self.env.srcdir) / LIVE / f"{name}.png"
        self.env.note_dependency(str(still))  # for its size
        told = {"live": name}
        if "packs" in self.options:
            told["packs"] = f"{live}/{self.options['packs']}/"
        if "runs" in self.options:
            own = budget_of(Path(self.env.app.outdir).parent) == "full"
            told |= {"runs": self.options["runs"], "whose": OWN if own else RECORDED}
        data = " ".join(f'data-{key}="{escape(value)}"' for key, value in told.items())
        alt = escape(self.options["alt"])
        picture = f'{lazy_attributes(still)} src="{live}/{name}.png" alt="{alt}"'
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


def show_own_runs(app: Sphinx, error: Exception | None) -> None:
    """At the full budget, put the runs of this book's cells in the place of the recorded ones."""
    if error is not None or budget_of(Path(app.outdir).parent) != "full":
        return
    # Only here: torch takes a second to import.
    from lecture_book.figures.record_runs import export_explorer
    from lecture_vae import load_images

    export_explorer(load_images(), Path(app.outdir) / "_static" / "live" / "runs")
