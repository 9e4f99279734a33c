"""Download and launch buttons: both give the notebook beside the page's source.

It shows in Jupyter what the site shows; on the pages of exercises it is the student's notebook.
"""

import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from sphinx.application import Sphinx

from lecture_book.notebooks.exercises import FOLDER

LINK_GENERATOR = "https://nbgitpuller.readthedocs.io/en/latest/link.html"


def follow_notebook(app: Sphinx, docname: str, source: list[str]) -> None:
    """Read a page again when its sibling .ipynb changes: the launch buttons point there."""
    if "{code-cell}" in source[0] or docname.startswith(f"{FOLDER}/"):
        app.env.note_dependency(str(Path(app.srcdir) / f"{docname}.ipynb"))


def offer_flattened_notebook(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Let the Download button give the sibling .ipynb, which reads well outside of this site.

    The theme has put its own copy there; it holds MyST syntax that Jupyter shows as raw text.
    """
    sibling = Path(app.srcdir) / f"{pagename}.ipynb"
    if "ipynb_source" in context and sibling.exists():
        shutil.copyfile(sibling, Path(app.outdir) / "_sources" / context["ipynb_source"])


def launch_exercises(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Give the pages of exercises the buttons of a chapter.

    The theme asks for a kernel and for an executed copy; these pages have no cells, so nobody made
    either.
    """
    if not pagename.startswith(f"{FOLDER}/"):
        return
    copy = Path(app.outdir).parent / "jupyter_execute" / f"{pagename}.ipynb"
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(app.srcdir) / f"{pagename}.ipynb", copy)
    app.env.metadata[pagename]["kernelspec"] = "python3"


def launch_on_any_hub(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Add the JupyterHub button where the book knows no hub: the reader has one, or none.

    It opens nbgitpuller's own link generator, filled in but for the address of the hub.
    """
    options = app.config.html_theme_options
    groups = [b for b in context["header_buttons"] if b.get("label") == "launch-buttons"]
    if not groups or options["launch_buttons"].get("jupyterhub_url"):
        return
    repository = options["repository_url"]
    query = {
        "repo": repository,
        "branch": options["repository_branch"],
        "urlpath": f"lab/tree/{repository.rpartition('/')[2]}/{pagename}.ipynb",
    }
    groups[0]["buttons"].append(
        {
            "type": "link",
            "text": "JupyterHub",
            "tooltip": "Make a link for your JupyterHub",
            "icon": "_static/images/logo_jupyterhub.svg",
            "url": f"{LINK_GENERATOR}?{urlencode(query, safe='/')}",
        }
    )
