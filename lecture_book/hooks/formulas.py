"""Formulas: KaTeX renders them when the site is built, so that they are there with the text.

KaTeX is JavaScript. It runs in an embedded V8 (`mini-racer`) or in Node. Where neither is, the
browser sets the formulas with MathJax, and a line in the build log says so. Style and fonts are in
`_static/katex`.
"""

import atexit
import json
import os
import re
import shutil
import sys
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError
from sphinx.util.logging import getLogger
from sphinx.util.math import get_node_equation_number
from sphinx.writers.html5 import HTML5Translator

NAME = "katex"  # of the renderer, for Sphinx
STYLE = "katex/katex.css"
# What every page with formulas needs.
FONTS = "KaTeX_Main-Regular", "KaTeX_Math-Italic"
FALLBACK = (
    "Formulas: KaTeX needs sphinxcontrib-katex and mini-racer or Node. Not all are here, so "
    "MathJax sets the formulas in the browser."
)
# MathML for screen readers, with the TeX source as an annotation, and HTML for the eye. `strict`
# refuses what LaTeX would refuse, too.
RENDER = """
function render(tex, displayMode) {
  try {
    const html = katex.renderToString(tex, { displayMode, strict: "error" });
    return JSON.stringify({ html });
  } catch (error) {
    return JSON.stringify({ error: error.message });
  }
}
"""
# Programs that take the file of KaTeX as argument and answer each line, [TeX, whether it is a
# display], with a line. V8 has a process of its own, whose end does not wait for its threads.
IN_V8 = f"""
import json, os, sys
from pathlib import Path
from py_mini_racer import MiniRacer
context = MiniRacer()
context.eval(Path(sys.argv[1]).read_text("utf8"))
context.eval({RENDER!r})
for line in sys.stdin:
    print(context.call("render", *json.loads(line)), flush=True)
os._exit(0)
"""
IN_NODE = f"""
globalThis.katex = require(process.argv[1]);
{RENDER}
const lines = require("readline").createInterface({{ input: process.stdin }});
lines.on("line", (line) => console.log(render(...JSON.parse(line))));
"""
ENVIRONMENT = re.compile(r"\\begin\{(\w+\*?)\}.*\\end\{\1\}", re.DOTALL)

logger = getLogger(__name__)


class FormulaError(ValueError):
    """KaTeX does not accept a formula."""


def katex_file() -> Path | None:
    """The `katex.min.js` of sphinxcontrib-katex, if it is installed."""
    try:
        found = find_spec("sphinxcontrib.katex")
    except ModuleNotFoundError:
        return None
    if found is None or found.origin is None:
        return None
    return Path(found.origin).with_name("katex.min.js")


def commands() -> list[list[str]]:
    """What may run KaTeX here, the best first."""
    katex, node = katex_file(), shutil.which("node")
    if katex is None:
        return []
    found = [[sys.executable, "-c", IN_V8, str(katex)]] if find_spec("py_mini_racer") else []
    return [*found, [node, "-e", IN_NODE, str(katex)]] if node else found


def started(command: list[str]) -> Popen[str]:
    """A process that renders formulas; it ends with this one."""
    environment = os.environ | {"PYTHONIOENCODING": "utf8"}
    process = Popen(command, stdin=PIPE, stdout=PIPE, encoding="utf8", env=environment)
    atexit.register(process.communicate)
    return process


def asked(process: Popen[str], tex: str, display: bool) -> dict[str, str]:
    """The `html` of a formula or an `error`; nothing from a process that has ended."""
    assert process.stdin and process.stdout
    with suppress(BrokenPipeError):
        process.stdin.write(json.dumps([tex, display]) + "\n")
        process.stdin.flush()
    found: dict[str, str] = json.loads(process.stdout.readline() or "{}")
    return found


@cache
def engine() -> Popen[str] | None:
    """What runs KaTeX here; None where nothing does."""
    processes = map(started, commands())
    return next((each for each in processes if "html" in asked(each, "x", False)), None)


@cache
def rendered(tex: str, display: bool) -> str:
    """The HTML of a formula.

    Raises:
        FormulaError: KaTeX does not accept it.
        ExtensionError: The process of KaTeX has ended.
    """
    process = engine()
    assert process, "KaTeX was not chosen"
    answer = asked(process, tex, display)
    if not answer:
        raise ExtensionError(f"KaTeX must answer, but its process ended at {tex!r}. Was it killed?")
    if "html" not in answer:
        raise FormulaError(answer["error"].removeprefix("KaTeX parse error: "))
    return answer["html"]


def display_source(text: str) -> str:
    r"""The TeX of a display; lines that `\\` ends outside of an environment are a `split`."""
    text = text.strip()
    if r"\\" not in ENVIRONMENT.sub("", text):
        return text
    return rf"\begin{{split}}{text}\end{{split}}"


def formula(writer: HTML5Translator, node: nodes.Element, tex: str, display: bool) -> str:
    """The HTML of a formula; a warning, which fails the build, if KaTeX does not accept it."""
    try:
        return rendered(tex, display)
    except FormulaError as error:
        logger.warning("KaTeX does not accept %s: %s", tex, error, location=node)
        return f"<code>{writer.encode(tex)}</code>"


def visit_math(writer: HTML5Translator, node: nodes.math) -> None:
    """Write a formula of a line."""
    writer.body.append(writer.starttag(node, "span", "", CLASS="math notranslate nohighlight"))
    writer.body.append(f"{formula(writer, node, node.astext().strip(), False)}</span>")
    raise nodes.SkipNode


def visit_display(writer: HTML5Translator, node: nodes.math_block) -> None:
    """Write a display with its number, as Sphinx does for MathJax."""
    writer.body.append(writer.starttag(node, "div", CLASS="math notranslate nohighlight"))
    if node["number"]:
        writer.body.append(f'<span class="eqno">({get_node_equation_number(writer, node)})')
        writer.add_permalink_ref(node, "Link to this equation")
        writer.body.append("</span>")
    writer.body.append(f"{formula(writer, node, display_source(node.astext()), True)}</div>\n")
    raise nodes.SkipNode


def choose_renderer(app: Sphinx, config: Config) -> None:
    """Let KaTeX render formulas if it runs here, else MathJax."""
    if engine() is None:
        logger.info(FALLBACK)
        app.setup_extension("sphinx-mathjax-offline")
        config.html_math_renderer = "mathjax"
    else:
        config.html_math_renderer = NAME
        app.add_css_file(STYLE)


def preload_fonts(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Fetch the fonts of formulas together with the style, so that no formula moves later."""
    static = f"{context['content_root']}_static/katex/fonts"
    context["fonts"] = [
        f"{static}/{name}.woff2" for name in FONTS if 'class="katex"' in context.get("body", "")
    ]


def register_formulas(app: Sphinx) -> None:
    """Register what renders formulas."""
    app.add_html_math_renderer(NAME, (visit_math, None), (visit_display, None))
    app.connect("config-inited", choose_renderer)
    app.connect("html-page-context", preload_fonts)
