"""Live figures: the directive and the data that the figures show.

A live figure is a static image that a script in `_static/live` replaces.
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

# The origin of the runs, as shown in the figure.
OWN, RECORDED = "trained by this book's cells", "recorded with the lecture"


class LiveFigure(SphinxDirective):
    """An interactive figure of `_static/live/NAME.js`, with `NAME.png` as a fallback.

    The fallback is also used in print. The content of the directive is the caption. ``data-*``
    attributes pass parameters to the script.
    """

    has_content = True
    required_arguments = 1  # NAME
    option_spec: ClassVar[dict[str, Any]] = {
        "alt": directives.unchanged_required,  # of the image
        "packs": directives.unchanged_required,  # the folder of the packs, below _static/live
        "runs": directives.unchanged_required,  # JSON: folder of a run -> its label
    }

    def run(self) -> list[nodes.Node]:
        """The nodes of the figure: image with a hint, script, caption."""
        (name,) = self.arguments
        live = "../" * self.env.docname.count("/") + "_static/live"
        still = Path(self.env.srcdir) / LIVE / f"{name}.png"
        self.env.note_dependency(str(still))  # for its size
        parameters = {"live": name}
        if "packs" in self.options:
            parameters["packs"] = f"{live}/{self.options['packs']}/"
        if "runs" in self.options:
            own = budget_of(Path(self.env.app.outdir).parent) == "full"
            parameters |= {"runs": self.options["runs"], "whose": OWN if own else RECORDED}
        data = " ".join(f'data-{key}="{escape(value)}"' for key, value in parameters.items())
        alt = escape(self.options["alt"])
        picture = f'{lazy_attributes(still)} src="{live}/{name}.png" alt="{alt}"'
        opening = (
            f'<link rel="stylesheet" href="{live}/live.css">'
            f'<figure class="live"><img class="on-paper" {picture}><div {data}><img {picture}>'
            '<p class="live-muted">This figure is interactive when scripts are enabled and the '
            "page comes from a web server. For a copy on your disk, run <code>python -m "
            "http.server</code> in the folder of the site.</p></div>"
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
    """At the full budget, replace the recorded runs by those of this book's cells."""
    if error is not None or budget_of(Path(app.outdir).parent) != "full":
        return
    # Here, because torch takes a second to import.
    from lecture_book.figures.record_runs import export_explorer
    from lecture_vae import load_images

    export_explorer(load_images(), Path(app.outdir) / "_static" / "live" / "runs")
