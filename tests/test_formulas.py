"""Formulas: KaTeX renders them when the site is built, strictly, and MathJax is the fallback."""

import json
import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from conftest import BROWSER
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import docutils_namespace, patch_docutils
from sphinxcontrib.katex import katex_version

from lecture_book.hooks import formulas
from lecture_book.hooks.formulas import FormulaError, display_source, rendered

ROOT = Path(__file__).resolve().parents[1]
KATEX = ROOT / "book" / "_static" / "katex"
PAGE = "book/04_gaussian_kl.html"  # the one with the most formulas

needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="needs a browser (Debian: apt install chromium)"
)


def built(folder, text):
    """The page and the log of a book of one page; its warnings are errors of the build."""
    (folder / "index.md").write_text(text, encoding="utf8")
    options = {
        "extensions": ["myst_parser", "alone"], "myst_enable_extensions": ["dollarmath"],
        "html_theme": "basic",
    }  # fmt: skip
    with (folder / "log").open("w") as log, patch_docutils(), docutils_namespace():
        app = Sphinx(
            folder, None, folder / "html", folder / "doctrees", "html", options, log, log,
            warningiserror=True, keep_going=True,
        )  # fmt: skip
        app.build()
    page = (folder / "html" / "index.html").read_text(encoding="utf8")
    return BeautifulSoup(page, "html.parser"), (folder / "log").read_text(encoding="utf8"), app


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """An extension with nothing but the formulas."""
    source = "from lecture_book.hooks.formulas import register_formulas as setup\n"
    (tmp_path / "alone.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))


# ---------------------------------------------------------------------------- one formula


def test_a_formula_is_there_for_the_eye_for_screen_readers_and_for_copying():
    for display in (True, False):
        soup = BeautifulSoup(rendered(r"\frac{a}{b}", display), "html.parser")
        assert (soup.select_one(".katex-display") is not None) == display
        assert soup.select_one(".katex-html[aria-hidden=true] .mfrac")
        assert soup.select_one(".katex-mathml math mfrac")
        assert soup.select_one("annotation").get_text() == r"\frac{a}{b}"


@pytest.mark.parametrize(
    ("tex", "complaint"),
    [
        (r"\frac{a}", "Unexpected end of input"),
        (r"\kl(q)", r"Undefined control sequence: \kl"),
        (r"\left( a", r"Expected '\right'"),
        ("a % b", "comment has no terminating newline"),
        ("50 €", "Unrecognized Unicode character"),  # strict
    ],
)
def test_what_katex_does_not_accept_is_refused(tex, complaint):
    with pytest.raises(FormulaError, match=re.escape(complaint)):
        rendered(tex, True)


def test_a_killed_process_is_named(monkeypatch):
    process = formulas.started(formulas.commands()[0])
    assert "html" in formulas.asked(process, "x", False)
    process.kill()
    process.wait()
    monkeypatch.setattr(formulas, "engine", lambda: process)
    with pytest.raises(ExtensionError, match="its process ended"):
        rendered(r"a \neq b", True)


def test_v8_and_node_render_the_same():
    answers = [
        formulas.asked(formulas.started(command), r"\mathbb{E}_q[z]", True)
        for command in formulas.commands()
    ]
    assert answers and all(answer == answers[0] and "html" in answer for answer in answers)


def test_lines_outside_of_an_environment_are_a_split():
    inside = r"\begin{aligned} a &= b \\ c &= d \end{aligned}"
    assert display_source(f"\n{inside}\n") == inside
    assert display_source(r"a \\ b") == r"\begin{split}a \\ b\end{split}"
    rendered(display_source(r"a &= b \\ &= c"), True)


def test_style_and_script_are_of_one_version():
    style = (KATEX / "katex.css").read_text(encoding="utf8")
    assert f'content:"{katex_version}"' in style
    fonts = set(re.findall(r"url\(fonts/([\w-]+\.woff2)\)", style))
    assert fonts == {path.name for path in (KATEX / "fonts").iterdir()}
    assert "MIT" in (KATEX / "LICENSE.txt").read_text(encoding="utf8")
    assert {f"{name}.woff2" for name in formulas.FONTS} <= fonts


# ---------------------------------------------------------------------------- a page

TEXT = r"""# One $a$

| a table |
|---|
| $t^2$ |

```{admonition} A title, $n$
Text.
```

```{math}
:label: eq-one
c = d
```

By {eq}`eq-one` and [](#eq-one) or $x < y$.
"""


def test_a_page_has_its_formulas_numbers_and_references(tmp_path):
    page, _, app = built(tmp_path, TEXT)
    assert app.statuscode == 0
    found = [each.get_text() for each in page.select("article annotation, .body annotation")]
    assert found == ["a", "t^2", "n", "c = d", "x < y"]
    [display] = page.select("div.math#equation-eq-one")
    assert display.select_one(".eqno").get_text().startswith("(1)")
    assert [a.get_text() for a in page.select('a[href="#equation-eq-one"]')][-1] == "(1)"
    index = (tmp_path / "html" / "searchindex.js").read_text(encoding="utf8")
    terms = json.loads(index.removeprefix("Search.setIndex(").rstrip().removesuffix(")"))["terms"]
    assert "tabl" in terms and not {"mrow", "semant", "annot", "katex", "strut"} & set(terms)


def test_a_broken_formula_fails_the_build_with_its_place(tmp_path):
    _, log, app = built(tmp_path, "# A page\n\nText.\n\n$$\n\\frac{a}\n$$\n\nAnd $\\oops$.\n")
    assert app.statuscode == 1
    places = re.findall(r"index\.md:(\d+): WARNING: KaTeX does not accept", log)
    assert places == ["5", "9"]


def test_without_katex_the_browser_sets_the_formulas(tmp_path, monkeypatch):
    monkeypatch.setattr(formulas, "commands", list)
    formulas.engine.cache_clear()
    try:
        page, log, app = built(tmp_path, "# A page\n\nBy $x$.\n")
    finally:
        formulas.engine.cache_clear()
    assert app.statuscode == 0
    assert formulas.FALLBACK in log
    assert page.select_one("span.math").get_text() == r"\(x\)"
    [script] = [tag["src"] for tag in page.select("script[src*=mathjax]")]
    assert (tmp_path / "html" / script.split("?")[0]).is_file()
    assert page.select("link[href*=katex]") == []


def test_what_does_not_start_is_passed_over(monkeypatch):
    (best, *_) = formulas.commands()
    broken = [[best[0], "-c", "raise SystemExit(1)"], best]
    monkeypatch.setattr(formulas, "commands", lambda: broken)
    formulas.engine.cache_clear()
    try:
        assert formulas.engine().args == best
    finally:
        formulas.engine.cache_clear()


# ---------------------------------------------------------------------------- in a browser


@pytest.fixture
def page(browser, origin):
    context = browser.new_context(viewport={"width": 390, "height": 900})
    page = context.new_page()
    page.goto(f"{origin}/{PAGE}", wait_until="load")
    yield page
    context.close()


@pytest.mark.site
@needs_browser
def test_formulas_are_there_without_scripts(browser, origin):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{origin}/{PAGE}")
    display = page.locator("div.math .katex-html").first
    assert display.bounding_box()["height"] > 20
    assert display.evaluate("each => getComputedStyle(each).fontFamily").startswith("KaTeX_Main")
    context.close()


@pytest.mark.site
@needs_browser
def test_a_wide_display_scrolls_by_itself_and_is_reached_by_keys(page):
    page.wait_for_selector(".katex-display[tabindex]")
    sizes = page.evaluate(
        "[...document.querySelectorAll('.katex-display')].map("
        "(each) => [each.scrollWidth > each.clientWidth, each.tabIndex === 0])"
    )
    assert all(wide == reached for wide, reached in sizes)
    assert {wide for wide, _ in sizes} == {True, False}
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.set_viewport_size({"width": 1600, "height": 900})
    page.wait_for_function("!document.querySelector('.katex-display[tabindex]')")


@pytest.mark.site
@needs_browser
def test_what_is_copied_is_tex(page):
    copied = """(part) => {
      const formula = document.querySelector(`.math:has(${part})`);
      getSelection().selectAllChildren(formula.parentElement);
      const data = new DataTransfer();
      dispatchEvent(new ClipboardEvent("copy", { clipboardData: data, cancelable: true }));
      return [data.getData("text/plain"), formula.querySelector("annotation").textContent];
    }"""
    for part, dollars in (("math[display=block]", "$$"), ("math:not([display])", "$")):
        text, tex = page.evaluate(copied, part)
        assert f"{dollars}{tex}{dollars}" in text
        assert "\u200b" not in text  # of the HTML for the eye


@pytest.mark.site
@needs_browser
def test_the_search_quotes_a_formula_once_as_tex(page, origin):
    page.goto(f"{origin}/search.html")
    html = f'<div role="main"><p>By {rendered("x^2", False)}.</p></div>'
    assert page.evaluate("html => Search.htmlToText(html)", html) == "By $x^2$."
