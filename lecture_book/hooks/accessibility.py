"""Accessibility: markup of other tools that a screen reader cannot use is corrected."""

import re
from typing import Any

from sphinx.application import Sphinx

# What Sphinx and its extensions write, and what a screen reader needs in its place.
CORRECTIONS = [
    # The name of a folded cell is what stands there to be read.
    (re.compile(r'<summary aria-label="Toggle hidden content">'), "<summary>"),
    # The empty corner of a table heads nothing.
    (re.compile(r"<th\b([^>]*)>(?:<p></p>)?\s*</th>"), r"<td\1></td>"),
    # sphinx-exercise gives one id to every exercise of a page, and one to every solution.
    (re.compile(r'<section id="(?:exercise|solution)-content">'), "<section>"),
    # The role of an entry is deprecated, and its list must hold items.
    (re.compile(r'role="doc-biblioentry"'), 'role="listitem"'),
]
PARAMETERS = re.compile(r"<dl>\n((?:<dd>.*</dd>\n)+)</dl>")  # of a signature, one on each line


def correct_markup(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Correct the markup of tables, folded cells, exercises, references and signatures."""

    def listed(match: re.Match[str]) -> str:
        items = match[1].replace("<dd>", "<li>").replace("</dd>", "</li>")
        return f'<ul class="parameters">\n{items}</ul>'

    body = context.get("body", "")
    for written, wanted in CORRECTIONS:
        body = written.sub(wanted, body)
    context["body"] = PARAMETERS.sub(listed, body)
