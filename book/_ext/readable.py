"""Pages that everybody can read: aloud, and before their scripts are there."""

import re
from typing import Any

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
    if pagename != "search":
        context["script_files"] = [
            type(script)(
                script.filename, priority=script.priority, **script.attributes | {"defer": "defer"}
            )
            if script.filename and not script.filename.endswith("documentation_options.js")
            else script
            for script in context["script_files"]
        ]
