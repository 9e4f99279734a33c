"""Everybody can read every page: axe in light and in dark, and less motion if asked."""

import pytest
from conftest import FORMULAS_SET, LOOKED_AT, TOOLS

from lecture_book.figures.stills import FIGURES

AXE = TOOLS / "node_modules" / "axe-core" / "axe.min.js"
LOOKS = [(scheme, width) for scheme in ("light", "dark") for width in (1280, 390)]
CONTENT = "main"  # the article with its title and its list of sections

pytestmark = LOOKED_AT


# ---------------------------------------------------------------------------- axe


def complaints(page):
    """What axe finds in the content of a page: the rule, and the elements that break it."""
    # Of rules that are kept one element is enough to see that axe looked.
    run = "content => axe.run(content, { resultTypes: ['violations'] })"
    found = page.evaluate(run, CONTENT)
    assert found["passes"], "axe looked at nothing"
    return [
        f"{rule['id']}: {rule['help']}"
        + "".join(f"\n        {node['html'][:200]}" for node in rule["nodes"][:3])
        for rule in found["violations"]
    ]


def look(page, scheme, width):
    """The page as readers with this color mode and this screen see it."""
    page.set_viewport_size({"width": width, "height": 900})
    page.evaluate("scheme => document.documentElement.dataset.theme = scheme", scheme)
    # The theme lets the keys reach what scrolls, 300 ms after the screen has changed.
    page.evaluate("() => new Promise(requestAnimationFrame)")
    page.wait_for_timeout(500)


def opened(page, address):
    """Opens a page and waits until its formulas are set and its live figure is alive."""
    page.goto(address)
    page.wait_for_function(FORMULAS_SET)
    live = page.locator("[data-live]")
    if live.count():
        live.scroll_into_view_if_needed()
        page.wait_for_selector("[data-live][data-ready]", timeout=30_000)
    page.add_script_tag(path=AXE)


@pytest.fixture
def page(browser):
    context = browser.new_context(reduced_motion="reduce")  # no color is caught while it changes
    yield context.new_page()
    context.close()


def test_axe_finds_nothing_in_our_content(page, origin, names):
    found = []
    for name in names:
        opened(page, f"{origin}/{name}")
        # A page without a live figure has the same elements in each look.
        for scheme, width in LOOKS if name in FIGURES.values() else (LOOKS[0], LOOKS[-1]):
            look(page, scheme, width)
            found += [f"{name}, {scheme}, {width} px: {text}" for text in complaints(page)]
    assert not found, "\n".join(["axe complains", *found])


def test_axe_finds_nothing_in_a_figure_that_is_used(page, origin):
    opened(page, f"{origin}/{FIGURES['explorer']}")
    paper = page.locator(".live-paper")
    paper.scroll_into_view_if_needed()
    box = paper.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] - 20, steps=5)
    page.mouse.up()
    page.locator(".live-samples").wait_for()  # hidden until the encoder has answered
    plane = page.locator(".live-plane").bounding_box()
    page.mouse.move(plane["x"] + plane["width"] / 2, plane["y"] + plane["height"] / 2)
    for scheme, width in LOOKS:
        look(page, scheme, width)
        assert complaints(page) == []


# ---------------------------------------------------------------------------- motion

# What the page asks for, not what a busy machine makes of it.
REMEMBER = """(() => {
  const start = setInterval;
  globalThis.intervals = [];
  globalThis.setInterval = (action, ms) => (intervals.push(ms), start(action, ms));
})()"""


@pytest.mark.parametrize(("motion", "pause"), [("reduce", 1000), ("no-preference", 150)])
def test_less_motion_is_respected(browser, origin, motion, pause):
    context = browser.new_context(reduced_motion=motion)
    page = context.new_page()
    page.add_init_script(REMEMBER)
    page.goto(f"{origin}/{FIGURES['explorer']}")
    page.locator("[data-live]").scroll_into_view_if_needed()
    page.wait_for_selector("[data-live][data-ready]", timeout=30_000)
    before = page.evaluate("intervals.length")
    page.get_by_role("button", name="Play the training").click()
    page.wait_for_function(
        "Number(document.querySelector('.live-explorer [type=range]').value) > 2"
    )
    assert page.evaluate(f"intervals.slice({before})") == [pause]
    if motion == "reduce":
        assert page.evaluate("document.getAnimations().length") == 0
        assert page.locator("video[autoplay]").count() == 0
        scrolling = "getComputedStyle(document.documentElement).scrollBehavior"
        assert page.evaluate(scrolling) == "auto"
    context.close()
