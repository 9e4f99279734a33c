"""The site in a real browser, as a reader has it: its search, and its pages on paper."""

import re
from pathlib import Path

import pytest
from conftest import BROWSER
from flatten import toc_pages

ROOT = Path(__file__).resolve().parents[1]
PAPER = {"width": 718, "height": 1047}  # A4 in CSS pixels, less a margin of one centimeter

pytestmark = [
    pytest.mark.site,
    pytest.mark.skipif(BROWSER is None, reason="needs a browser (Debian: apt install chromium)"),
]


@pytest.fixture(scope="module")
def page(browser, origin):
    """A page of a browser in which addresses are those of the site."""
    context = browser.new_context(base_url=origin, viewport=PAPER, color_scheme="dark")
    yield context.new_page()
    context.close()


# ---------------------------------------------------------------------------- search


def found(page, words: str) -> set[str]:
    """The pages that the search lists, asked through its field."""
    page.emulate_media(media="screen")
    page.goto("/book/index.html")
    page.keyboard.press("Control+k")
    page.keyboard.type(words)
    page.keyboard.press("Enter")
    page.get_by_text(re.compile("Search finished|did not match any")).wait_for()
    links = page.locator("ul.search a").evaluate_all("links => links.map(link => link.pathname)")
    return {Path(link).stem for link in links}


@pytest.mark.parametrize(
    ("words", "pages"),
    [
        ("reparameterization", {"04_gaussian_kl", "05_linear_vae"}),
        ("KL", {"02_divergence", "03_elbo", "04_gaussian_kl", "05_linear_vae", "errata"}),
        ("fetch_run", {"api"}),
    ],
)
def test_the_search_finds_the_pages_of_a_word(page, words, pages):
    assert pages <= found(page, words)


def test_the_search_finds_nothing_where_there_is_nothing(page):
    assert found(page, "xylophone") == set()


# ---------------------------------------------------------------------------- paper

# The elements that show, and those of which a part lies beyond the edge of the paper.
SHOWN = "all => all.filter(each => each.getClientRects().length).map(each => each.className)"
CUT = """all => all.filter(each => each.getClientRects().length && (
    each.scrollWidth > each.clientWidth + 1 && each.matches("pre, .output")
    || each.getBoundingClientRect().right > innerWidth + 1
)).map(each => each.textContent.trim().slice(0, 60) || each.outerHTML.slice(0, 60))"""
# What a reader can click, and what moves.
LIVELY = (
    ".bd-header, .bd-header-article, .bd-sidebar-primary, .bd-sidebar-secondary, .bd-footer,"
    ".prev-next-footer, .bd-content :is(button, select, input, summary, video, canvas)"
)


def printed(page, docname: str) -> None:
    """Open a page as it comes to paper."""
    page.emulate_media(media="print")
    page.goto(f"/{docname}.html")
    page.evaluate("window.MathJax?.startup?.promise")


@pytest.mark.parametrize("docname", [docname for docname, _ in toc_pages(ROOT)])
def test_a_page_on_paper_is_whole_and_only_what_can_be_read(page, docname):
    printed(page, docname)
    assert page.locator(LIVELY).evaluate_all(SHOWN) == []
    wide = page.locator("article :is(pre, table, img, mjx-math, mjx-mtable, .output)")
    assert wide.evaluate_all(CUT) == []


def test_every_picture_comes_to_paper_though_nobody_scrolled_to_it(page):
    page.emulate_media(media="screen")
    page.goto("/book/06_latent_space.html")
    there = "all => all.length > 10 && all.every(image => image.naturalWidth > 0)"
    page.wait_for_function(f"({there})([...document.querySelectorAll('article img')])")


@pytest.mark.parametrize("docname", ["book/02_divergence", "book/06_latent_space"])
def test_on_paper_a_still_stands_in_for_what_moves(page, docname):
    printed(page, docname)
    moving = page.locator("article :is(video, figure.live)").count()
    assert moving >= 1
    stills = page.locator("article img.on-paper")
    assert stills.count() == moving
    loaded = "all => all.every(image => image.naturalWidth && image.getClientRects().length)"
    page.wait_for_function(f"({loaded})([...document.querySelectorAll('img.on-paper')])")
    page.emulate_media(media="screen")
    assert stills.evaluate_all(SHOWN) == []


def test_what_is_read_in_the_dark_is_printed_dark_on_white(page):
    page.emulate_media(media="screen", color_scheme="dark")
    page.goto("/book/06_latent_space.html")
    page.evaluate("""() => {
        const gray = selector => Math.max(...getComputedStyle(document.querySelector(selector))
            .color.match(/[\\d.]+/g).slice(0, 3).map(Number));
        const look = () => ["article p", "article pre"].map(gray);
        window.seen = [look()];
        addEventListener("beforeprint", () => seen.push(look()));
    }""")
    page.pdf()
    page.evaluate("seen.push([document.documentElement.dataset.theme])")
    before, printed, [after] = page.evaluate("seen")
    assert min(before) > 128 > max(printed)
    assert after == "dark"
