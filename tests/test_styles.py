"""One style sheet for all pages: what it keeps, what goes, and pages that look as before."""

import logging
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pydata_sphinx_theme
import pytest
from conftest import BROWSER, SITE
from fontTools.ttLib import TTFont
from sphinx.errors import ExtensionError

from lecture_book.hooks.styles import (
    BUNDLE,
    HEAD,
    ICONS,
    OneStyle,
    Used,
    characters,
    pruned,
    sheet_text,
    used_on,
    without_unused,
    write_icons,
)
from lecture_book.site import pages_of

PAGE = (
    '<div class="box open" id="top" data-kind="a"><p class=\'note\'>Text</p><svg></svg></div>'
    '<script>element.classList.add("is-set")</script>'
)


@pytest.fixture
def used():
    found = Used()
    found.add_page(PAGE)
    found.add_script('element.classList.add("is-set")')
    return found


def kept(css, used):
    return without_unused(list(pruned(css, used)))


# ---------------------------------------------------------------------------- rules


@pytest.mark.parametrize(
    "rule",
    [
        ".box{a:b}", "p.note:hover{a:b}", 'html[data-kind="dark"] .box>p{a:b}', "#top{a:b}",
        ".is-set{a:b}", "*{a:b}", ".box:not(.gone){a:b}", ":is(.gone,.box) svg::before{a:b}",
        "@media print{.box{a:b}}", "@media (max-width: 9px){@supports (a:b){p{a:b}}}",
        "@page{size:A4}", ":root{--a:b}", "input,p{a:b}", "P.note{a:b}",
    ],
)  # fmt: skip
def test_a_rule_that_may_match_stays(rule, used):
    assert kept(rule, used) == [rule.replace("input,", "")]


@pytest.mark.parametrize(
    "rule",
    [
        ".gone{a:b}", ".box .gone{a:b}", "table p{a:b}", "#bottom{a:b}", ".box.gone:hover{a:b}",
        "[data-bs-theme=dark] p{a:b}", ":is(.gone,table) p{a:b}", ".box:has(.gone){a:b}",
        "@media print{.gone{a:b}}", "@media print{}", "p{}", "/* said */", '@charset "utf-8";',
        "@keyframes turn{to{a:b}}", "@font-face{font-family:Far;src:url(far)}",
    ],
)  # fmt: skip
def test_a_rule_that_cannot_match_goes(rule, used):
    assert kept(rule, used) == []


def test_the_order_of_rules_is_kept_with_licenses_fonts_and_animations(used):
    css = """
    /*! MIT */
    @font-face { font-family: "Near"; src: url(near) }
    p { font-family: Near; /* note */ color: red }
    .box, .gone { animation: turn 1s }
    @keyframes turn { to { rotate: 1turn } }
    p { color: blue }
    """
    assert kept(css, used) == [
        "/*! MIT */",
        '@font-face{font-family: "Near"; src: url(near)}',
        "p{font-family: Near; color: red}",
        ".box{animation: turn 1s}",
        "@keyframes turn{to { rotate: 1turn }}",
        "p{color: blue}",
    ]


def test_a_sheet_that_cannot_be_read_is_refused(used):
    with pytest.raises(ExtensionError, match="cannot be read"):
        kept("p{a:b} }", used)


def test_addresses_are_moved_and_imports_are_put_in_their_place(tmp_path):
    (tmp_path / "_static" / "theme").mkdir(parents=True)
    (tmp_path / "_static" / "base.css").write_text("a{b:url(base.png)}")
    (tmp_path / "_static" / "theme" / "t.css").write_text(
        "@import \"../base.css\"; p{a:url('../fonts/f.woff2?v=1#x');b:url(data:x);c:url(t.svg)}"
    )
    assert sheet_text(tmp_path, "_static/theme/t.css") == (
        'a{b:url("base.png")} p{a:url("fonts/f.woff2?v=1#x");b:url(data:x);c:url("theme/t.svg")}'
    )


def test_two_builds_write_the_same_fonts_of_icons_and_say_nothing(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    theme = Path(pydata_sphinx_theme.__file__).parent / "theme" / "pydata_sphinx_theme"
    face = "@font-face{src:url(vendor/fontawesome/webfonts/fa-solid-900.ttf)}"
    css = face + r'a{content:"\f015"}'
    fonts = []
    for second in ("0", "1000000000"):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", second)  # what fontTools takes for now
        shutil.copytree(theme / "static" / "vendor", tmp_path / second / "_static" / "vendor")
        assert "icons/fa-solid-900.woff" in write_icons(tmp_path / second, css)
        fonts.append((tmp_path / second / ICONS / "fa-solid-900.woff").read_bytes())
    assert fonts[0] == fonts[1]
    assert caplog.messages == []


def test_scripts_and_what_they_import_are_read(tmp_path):
    (tmp_path / "live").mkdir()
    (tmp_path / "live" / "a.js").write_text('import { b } from "./b.js"; add("from-a")')
    (tmp_path / "live" / "b.js").write_text('import("../c.js"); add("from-b")')
    (tmp_path / "c.js").write_text('import "./live/a.js"; add("from-c")')
    html = '<script>add("inline")</script><script type="module" src="live/a.js?v=1"></script>'
    words = used_on(tmp_path, {tmp_path / "page.html": html}).words
    assert {"inline", "from-a", "from-b", "from-c"} <= words


def test_pages_that_link_different_sheets_are_refused(tmp_path):
    style = OneStyle()
    app = SimpleNamespace(outdir=tmp_path)
    for name, sheets in (("book/a", "../_static/x.css"), ("b", "_static/y.css")):
        context = {"content_root": "../"}
        style.link(app, name, "", context, None)
        head = f'<link rel="icon" href="i"><link href="{sheets}?v=1" rel="stylesheet" />'
        made = context["with_one_style"](head)
        assert made == f'<link rel="stylesheet" href="../{BUNDLE}?v=">\n<link rel="icon" href="i">'
    assert style.sheets == {("_static/x.css",), ("_static/y.css",)}
    with pytest.raises(ExtensionError, match="different"):
        style.write(app, None)


# ---------------------------------------------------------------------------- the site


@pytest.fixture(scope="module")
def style():
    if not (SITE / BUNDLE).exists():
        pytest.fail(f"{SITE / BUNDLE} is missing: run `make book` first", pytrace=False)
    return (SITE / BUNDLE).read_text(encoding="utf8")


def sheets(style):
    """The sheets of which the one is made."""
    return style.removeprefix(HEAD).partition(" */")[0].split()


@pytest.mark.site
def test_every_page_links_the_one_sheet_and_no_other_but_that_of_its_live_figure(style):
    for name in pages_of(SITE):
        html = (SITE / name).read_text(encoding="utf8")
        links = re.findall(r"<link\b[^>]*stylesheet[^>]*>", html)
        figures = [link for link in links if "_static/live/live.css" in link]
        assert len(figures) == ("data-live" in html), name
        links = [link for link in links if link not in figures]
        assert len(links) == 1, name
        assert re.search(
            rf'href="(?:\.{{1,2}}/)*{re.escape(BUNDLE)}\?v=[0-9a-f]{{8}}"', links[0]
        ), name


@pytest.mark.site
def test_the_sheet_has_every_icon_that_it_names_and_every_file(style):
    files = {SITE / "_static" / path for path in re.findall(r'url\("([\w./-]+)"\)', style)}
    assert files and all(path.is_file() for path in files)
    fonts = [TTFont(path) for path in files if path.is_relative_to(SITE / ICONS)]
    there = {code for font in fonts for code in font.getBestCmap()}
    wanted = {ord(char) for char in characters(style) if 0xE000 <= ord(char) <= 0xF8FF}
    assert len(wanted) > 10 and wanted <= there
    assert sum((SITE / ICONS / path.name).stat().st_size for path in files if "icons" in
               path.parts) < 30_000  # fmt: skip


# What a missing rule would change first, of each element and of what stands before and after it.
ALL_STYLES = """() => [document.documentElement, document.body,
  ...document.querySelectorAll("body :not(.katex *)")].flatMap((element) =>
  [undefined, "::before", "::after"].map((part) => {
    const style = getComputedStyle(element, part);
    if (part && style.content === "none") return "";
    return `${element.tagName}.${element.className}${part ?? ""} ` + [
      "display", "position", "width", "height", "margin", "padding", "border", "color", "font",
      "backgroundColor", "backgroundImage", "content", "visibility", "opacity", "overflow",
      "cursor", "transform", "textDecoration", "flex", "gap", "boxShadow", "filter", "inset",
    ].map((name) => `${name}:${style[name]}`).join(";");
  }))"""
ALL_THERE = """async () => {
  const images = [...document.images].filter((image) => image.checkVisibility());
  for (const image of images) image.loading = "eager";
  await Promise.all(images.map((image) => image.decode()));
  await Promise.all([...document.fonts].map((font) => font.load().catch(() => {})));
  await document.fonts.ready;
}"""
SWAP = """async ([sheets, bundle]) => {
  const link = document.querySelector(`link[href*="${bundle}"]`);
  const root = link.getAttribute("href").split(bundle)[0];
  await Promise.all(sheets.map((sheet) => new Promise((resume, fail) => {
    const other = Object.assign(document.createElement("link"), { rel: "stylesheet" });
    Object.assign(other, { href: root + sheet, onload: resume, onerror: fail });
    link.before(other);
  })));
  link.remove();
}"""


@pytest.mark.site
@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs a browser (Debian: apt install chromium)")
@pytest.mark.parametrize("media", ["screen", "print"])
@pytest.mark.parametrize("name", ["book/index.html", "search.html", "book/03_elbo.html",
                                  "book/exercises/01_autoencoders.html"])  # fmt: skip
def test_every_element_looks_as_with_the_original_sheets(browser, origin, style, name, media):
    context = browser.new_context(reduced_motion="reduce")
    page = context.new_page()
    page.goto(f"{origin}/{name}")
    page.emulate_media(media=media, reduced_motion="reduce")
    page.add_style_tag(content="* { transition: none !important }")
    # An image or a font that comes later would move what is below it.
    page.evaluate(ALL_THERE)
    looks = [(scheme, width) for scheme in ("light", "dark") for width in (1280, 390)]

    def seen(scheme, width):
        page.set_viewport_size({"width": width, "height": 900})
        page.evaluate("scheme => document.documentElement.dataset.theme = scheme", scheme)
        return page.evaluate(ALL_STYLES)

    ours = [seen(*look) for look in looks]
    page.evaluate(SWAP, [sheets(style), BUNDLE])
    page.evaluate(ALL_THERE)
    for look, mine in zip(looks, ours, strict=True):
        theirs = seen(*look)
        different = [
            (one.split(" ")[0], [*({*one.split(";")} ^ {*other.split(";")})][:6])
            for one, other in zip(mine, theirs, strict=True)
            if one != other
        ]
        assert different == [], look
    context.close()


# ---------------------------------------------------------------------------- print

A4 = 673  # px between the margins of lecture.css


@pytest.fixture
def paper(browser, origin):
    """A page as it is printed."""
    context = browser.new_context(viewport={"width": A4, "height": 950})
    page = context.new_page()
    page.emulate_media(media="print")
    yield page
    context.close()


@pytest.mark.site
@pytest.mark.skipif(BROWSER is None, reason="needs a browser (Debian: apt install chromium)")
def test_a_folded_answer_is_printed_and_asks_for_no_click(paper, origin):
    paper.goto(f"{origin}/book/exercises/03_elbo.html")
    paper.wait_for_selector(".admonition.toggle-hidden", state="attached")
    answer = paper.locator(".admonition.toggle-hidden > .admonition-title + *").first
    answer.evaluate("each => Promise.all(each.getAnimations().map((one) => one.finished))")
    assert answer.is_visible() and answer.bounding_box()["height"] > 10
    assert answer.evaluate("each => getComputedStyle(each).opacity") == "1"
    assert not any(each.is_visible() for each in paper.locator(".toggle-button").all())
    assert not any(each.is_visible() for each in paper.locator("details > summary").all())


@pytest.mark.site
@pytest.mark.skipif(BROWSER is None, reason="needs a browser (Debian: apt install chromium)")
def test_no_formula_runs_off_the_paper(paper, origin):
    wide = {}
    for name in pages_of(SITE):
        if "katex-display" in (SITE / name).read_text(encoding="utf8"):
            paper.goto(f"{origin}/{name}")
            paper.evaluate("document.fonts.ready")
            wide[name] = paper.evaluate(
                "[...document.querySelectorAll('.katex-display')]"
                ".filter((each) => each.scrollWidth > each.clientWidth + 1)"
                ".map((each) => each.querySelector('annotation').textContent)"
            )
    assert len(wide) >= 7
    assert {name: found for name, found in wide.items() if found} == {}
