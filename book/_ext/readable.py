"""Pages that everybody can read: aloud, and before their scripts are there."""

import re
from pathlib import Path
from typing import Any

from PIL import Image
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

# What the tools behind the pages write, and what a screen reader understands in its place.
MENDED = [
    # The name of a folded cell is what stands there to be read.
    (re.compile(r'<summary aria-label="Toggle hidden content">'), "<summary>"),
    # The empty corner of a table heads nothing.
    (re.compile(r"<th\b([^>]*)>(?:<p></p>)?\s*</th>"), r"<td\1></td>"),
    # The role of an entry is deprecated, and its list must hold items.
    (re.compile(r'role="doc-biblioentry"'), 'role="listitem"'),
]
IMAGE = re.compile(r'<img(?P<rest>\b[^>]*?\bsrc="(?P<src>[^"]*)"[^>]*>)')
PARAMETERS = re.compile(r"<dl>\n((?:<dd>.*</dd>\n)+)</dl>")  # of a signature, one on each line


def mend_body(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Give tables, folded cells, references and signatures markup that can be read aloud."""

    def listed(match: re.Match[str]) -> str:
        items = match[1].replace("<dd>", "<li>").replace("</dd>", "</li>")
        return f'<ul class="parameters">\n{items}</ul>'

    body = context.get("body", "")
    for written, wanted in MENDED:
        body = written.sub(wanted, body)
    context["body"] = PARAMETERS.sub(listed, body)


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


def place_of(path: Path) -> str:
    """The attributes of an image that keeps its place and comes after the text.

    `paper.js` then fetches what nobody has scrolled to: Chromium would not print it.
    """
    with Image.open(path) as image:
        width, height = image.size
    return f'loading="lazy" width="{width}" height="{height}"'


def place_images(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Keep the place of every image, so that the text below does not jump when it comes."""
    files = {name: Path(app.srcdir) / path for path, name in app.builder.images.items()}

    def sized(match: re.Match[str]) -> str:
        path = files.get(match["src"].rpartition("/")[2])
        if path is None or path.suffix != ".png" or "width" in match[0]:
            return match[0]
        return f"<img {place_of(path)}{match['rest']}"

    context["body"] = IMAGE.sub(sized, context.get("body", ""))
