"""Loading: the text of a page comes first, its scripts and pictures after it.

Formulas are typeset when the page has been shown: `_static/formulas.js` loads MathJax.
"""

import re
from pathlib import Path
from typing import Any

from PIL import Image
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

IMAGE = re.compile(r'<img(?P<rest>\b[^>]*?\bsrc="(?P<src>[^"]*)"[^>]*>)')


def without_script(html: str, name: str) -> str:
    """The head of a page without one of its scripts.

    Raises:
        ExtensionError: There is no such script: the theme has changed.
    """
    kept, count = re.subn(rf"<script[^>]*/{re.escape(name)}[^>]*></script>", "", html)
    if count != 1:
        raise ExtensionError(f"One script {name} was expected in the head of a page, not {count}.")
    return kept


def defer_scripts(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Let the text of a page appear before its scripts are there."""
    context["without_script"] = without_script
    # Inline scripts write into the options at once, and those of the search run while it loads.
    if pagename == "search":
        return
    for place, script in enumerate(context["script_files"]):
        told = dict(script.attributes)
        name = str(script.filename or "")
        if not name or name.endswith("documentation_options.js"):
            continue
        if "/mathjax/" in name:
            told["data-mathjax"], name = context["content_root"] + name, "_static/formulas.js"
        context["script_files"][place] = type(script)(
            name, priority=script.priority, **told | {"defer": "defer"}
        )


def lazy_attributes(path: Path) -> str:
    """The attributes of an image that keeps its place and comes after the text.

    `paper.js` then fetches what nobody has scrolled to: Chromium would not print it.
    """
    with Image.open(path) as image:
        width, height = image.size
    return f'loading="lazy" width="{width}" height="{height}"'


def reserve_space(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Keep the place of every image, so that the text below does not jump when it comes."""
    files = {name: Path(app.srcdir) / path for path, name in app.builder.images.items()}

    def sized(match: re.Match[str]) -> str:
        path = files.get(match["src"].rpartition("/")[2])
        if path is None or path.suffix != ".png" or "width" in match[0]:
            return match[0]
        return f"<img {lazy_attributes(path)}{match['rest']}"

    context["body"] = IMAGE.sub(sized, context.get("body", ""))
