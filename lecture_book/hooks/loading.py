"""Page loading: defer scripts, load images lazily and reserve their space."""

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from PIL import Image
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

IMAGE = re.compile(r'<img(?P<rest>\b[^>]*?\bsrc="(?P<src>[^"]*)"[^>]*>)')


def without_script(html: str, name: str) -> str:
    """The head of a page without one of its scripts.

    Raises:
        ExtensionError: There is no such script, because the theme has changed.
    """
    kept, count = re.subn(rf"<script[^>]*/{re.escape(name)}[^>]*></script>", "", html)
    if count != 1:
        raise ExtensionError(f"One script {name} was expected in the head of a page, not {count}.")
    return kept


def defer_scripts(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Defer the scripts of a page, so that its text appears first."""
    context["without_script"] = without_script
    # Not documentation_options.js, which inline scripts use, nor any script of the search page.
    if pagename == "search":
        return
    for index, script in enumerate(context["script_files"]):
        name = str(script.filename or "")
        if not name or name.endswith("documentation_options.js"):
            continue
        attributes = script.attributes | {"defer": "defer"}
        context["script_files"][index] = type(script)(name, priority=script.priority, **attributes)


def lazy_attributes(path: Path) -> str:
    """The attributes of an image for lazy loading, with its size in pixels.

    Chromium does not load such images for printing; `paper.js` does.
    """
    if path.suffix == ".svg":
        root = ElementTree.parse(path).getroot()
        width, height = (round(float(root.attrib[side])) for side in ("width", "height"))
    else:
        with Image.open(path) as image:
            width, height = image.size
    return f'loading="lazy" width="{width}" height="{height}"'


def reserve_space(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Reserve the space of every image to avoid layout shifts."""
    files = {name: Path(app.srcdir) / path for path, name in app.builder.images.items()}

    def sized(match: re.Match[str]) -> str:
        path = files.get(match["src"].rpartition("/")[2])
        if path is None or path.suffix not in (".png", ".svg") or "width" in match[0]:
            return match[0]
        return f"<img {lazy_attributes(path)}{match['rest']}"

    context["body"] = IMAGE.sub(sized, context.get("body", ""))
