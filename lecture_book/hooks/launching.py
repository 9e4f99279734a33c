"""Download and launch buttons: both open the notebook beside the source of a page.

That of a chapter has the content of the page; that of an exercise page is the student's notebook.
"""

import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from sphinx.application import Sphinx

from lecture_book.notebooks.exercises import FOLDER

LINK_GENERATOR = "https://nbgitpuller.readthedocs.io/en/latest/link.html"


def follow_notebook(app: Sphinx, docname: str, source: list[str]) -> None:
    """Make a page depend on the .ipynb beside it, to which the launch buttons point."""
    if "{code-cell}" in source[0] or docname.startswith(f"{FOLDER}/"):
        app.env.note_dependency(str(Path(app.srcdir) / f"{docname}.ipynb"))


def replace_downloaded_notebook(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Replace the notebook of the Download button by the flattened .ipynb beside the source.

    The theme's own copy contains MyST syntax that Jupyter shows as raw text.
    """
    sibling = Path(app.srcdir) / f"{pagename}.ipynb"
    if "ipynb_source" in context and sibling.exists():
        shutil.copyfile(sibling, Path(app.outdir) / "_sources" / context["ipynb_source"])


def add_exercise_buttons(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Add the download and launch buttons to the pages of exercises.

    The theme requires a kernel and an executed copy, which pages without cells lack.
    """
    if not pagename.startswith(f"{FOLDER}/"):
        return
    copy = Path(app.outdir).parent / "jupyter_execute" / f"{pagename}.ipynb"
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(app.srcdir) / f"{pagename}.ipynb", copy)
    app.env.metadata[pagename]["kernelspec"] = "python3"


def add_hub_button(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Add a JupyterHub button if no hub is configured.

    It opens nbgitpuller's link generator with all fields filled in but the address of the hub.
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
