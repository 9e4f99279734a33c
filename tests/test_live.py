"""The live figures in a real browser: they load, answer mouse, finger and keys, say what fails."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import BROWSER, FORMULAS_SET, SITE
from PIL import Image

from lecture_book.figures.stills import FIGURES
from lecture_book.site import QuietHandler, pages_of, serve

CHAPTER = FIGURES["explorer"]
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
MEGABYTE = 2**20

pytestmark = [
    pytest.mark.site,
    pytest.mark.skipif(BROWSER is None, reason="needs a browser (Debian: apt install chromium)"),
]


class Visit:
    """A page, with what it asked for and complained about."""

    def __init__(self, browser, origin, **options):
        self.context = browser.new_context(**({"viewport": WIDE} | options))
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.bytes: dict[str, int] = {}
        self.abroad: list[str] = []
        self.origin = origin
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on(
            "console", lambda m: self.complaints.append(m.text) if m.type == "error" else None
        )
        self.page.on("request", self.asked)
        self.page.on("response", self.answered)
        self.page.on("response", self.missed)

    def asked(self, request):
        if not request.url.startswith((self.origin, "data:", "blob:")):
            self.abroad.append(request.url)

    def missed(self, response):
        if response.status >= 400:
            self.complaints.append(f"{response.status}: {response.url}")

    def answered(self, response):
        if "/live/" in response.url:
            self.bytes[response.url.rpartition("/live/")[2]] = int(
                response.headers.get("content-length", 0)
            )

    def explorer(self):
        """Opens chapter 6 and waits until its figure is alive."""
        self.page.goto(f"{self.origin}/{CHAPTER}")
        self.page.wait_for_function(FORMULAS_SET)  # after that nothing moves
        host = self.page.locator("[data-live=explorer]")
        host.scroll_into_view_if_needed()
        self.page.wait_for_selector("[data-live=explorer][data-ready]", timeout=30_000)
        return self

    def digit(self):
        """What the large digit shows."""
        return self.page.eval_on_selector(".live-digit", "canvas => canvas.toDataURL()")

    def where(self):
        return self.page.inner_text(".live-where")

    def middle(self, selector):
        box = self.page.locator(selector).bounding_box()
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, box


@pytest.fixture
def visit(browser, origin):
    visits = []

    def start(**options):
        visits.append(Visit(browser, origin, **options))
        return visits[-1]

    yield start
    for each in visits:
        each.context.close()


def levels(picture):
    """The gray levels of a canvas as a data URL."""
    content = base64.b64decode(picture.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(content)).convert("L")).astype(int)


def drag(visit, dx, dy):
    x, y, box = visit.middle(".live-plane")
    visit.page.mouse.move(x, y)
    visit.page.mouse.down()
    visit.page.mouse.move(x + dx * box["width"], y + dy * box["height"], steps=5)
    visit.page.mouse.up()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_the_explorer_comes_alive_without_a_complaint(visit, viewport, scheme):
    here = visit(viewport=viewport, color_scheme=scheme).explorer()
    assert here.page.inner_text(".live-error") == ""
    assert here.page.evaluate("document.documentElement.dataset.theme") == scheme
    width = here.page.evaluate("document.documentElement.scrollWidth")
    assert width <= viewport["width"], "the page scrolls sideways"
    drawn = here.page.eval_on_selector(
        ".live-plane",
        """canvas => {
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          const seen = new Set();
          for (let at = 0; at < data.length; at += 4) if (data[at + 3] === 255)
            seen.add([data[at], data[at + 1], data[at + 2]].join());
          return [...seen];
        }""",
    )
    assert "63,144,218" in drawn  # the first color of the classes
    text = here.page.evaluate(
        "getComputedStyle(document.documentElement).getPropertyValue('--pst-color-text-base')"
    )
    numbers = [str(int(text.strip().lstrip("#")[i : i + 2], 16)) for i in (0, 2, 4)]
    assert ",".join(numbers) in drawn, "the ring has the color of the text"
    assert here.abroad == []
    assert here.complaints == []


def test_little_is_loaded_before_the_first_touch(visit):
    here = visit().explorer()
    assert {"explorer.js", "runs/vae_1/model.safetensors"} <= {*here.bytes}
    assert sum(here.bytes.values()) <= MEGABYTE
    assert not any("vae_100" in name or "training" in name for name in here.bytes)


def test_nothing_is_computed_before_the_figure_is_near(visit):
    here = visit()
    here.page.goto(f"{here.origin}/{CHAPTER}", wait_until="networkidle")
    assert "explorer.js" in here.bytes
    assert not any(name.endswith(".safetensors") for name in here.bytes)


def test_the_mouse_moves_the_latent_and_the_digit_follows(visit):
    here = visit().explorer()
    before = here.digit(), here.where()
    drag(here, 0.2, -0.1)
    after = here.digit(), here.where()
    assert before[0] != after[0]
    assert before[1] != after[1]
    drag(here, 3, 0)  # beyond the edge
    assert here.where().startswith("z = (")


def test_the_keys_move_the_latent_and_do_not_scroll(visit):
    here = visit().explorer()
    here.page.locator(".live-plane").focus()
    scrolled = here.page.evaluate("scrollY")
    seen = [here.where()]
    for key in ("ArrowRight", "ArrowUp", "ArrowLeft", "ArrowDown"):
        here.page.keyboard.press(key)
        seen.append(here.where())
    assert len({*seen}) == 4
    assert seen[0] == seen[-1]  # right, up, left, down: a round trip
    here.page.keyboard.press("Shift+ArrowRight")
    assert here.where() != seen[1]
    assert here.page.evaluate("scrollY") == scrolled


def test_a_finger_moves_the_latent(visit):
    here = visit(viewport=PHONE, has_touch=True, is_mobile=True).explorer()
    here.page.locator(".live-plane").scroll_into_view_if_needed()
    before = here.where()
    x, y, box = here.middle(".live-plane")
    here.page.touchscreen.tap(x + box["width"] / 4, y)
    assert here.where() != before


def test_each_model_shows_its_own_codes_and_decoder(visit):
    here = visit().explorer()
    digits, reached = {}, {}
    for name, words in (("vae_100", "KL weight 100"), ("ae", "no KL"), ("vae_1", "KL weight 1;")):
        here.page.select_option(".live-explorer select", name)
        here.page.get_by_text(words, exact=False).first.wait_for()
        before = here.digit()
        drag(here, 0.15, 0.1)
        digits[name] = before, here.digit()
        reached[name] = numbers_in(here.where())
    assert digits["vae_1"][0] != digits["vae_1"][1]
    assert digits["ae"][0] != digits["ae"][1]
    first, second = (levels(picture) for picture in digits["vae_100"])
    assert np.abs(first - second).max() <= 3  # of 255: the decoder ignores its latent
    # Its codes are one point; the plane reaches over the prior all the same.
    assert max(abs(z) for z in reached["vae_100"]) > 0.5
    first, second = (levels(picture) for picture in digits["vae_1"])
    assert np.abs(first - second).max() > 50
    assert here.complaints == []


def test_the_training_can_be_gone_through(visit):
    here = visit().explorer()
    last = here.digit()
    slider = here.page.locator(".live-explorer input[type=range]")
    slider.fill("0")
    here.page.get_by_text("step 0", exact=True).wait_for()
    first = here.digit()
    assert first != last
    drag(here, 0.2, 0.2)
    slider.fill("60")
    here.page.get_by_text("step 25,000", exact=True).wait_for()
    play = here.page.get_by_role("button", name="Play the training")
    play.click()
    here.page.get_by_text("decoder from step", exact=False).wait_for()
    here.page.get_by_role("button", name="Stop").click()
    assert here.complaints == []
    sizes = {name: size for name, size in here.bytes.items() if name.endswith(".safetensors")}
    assert all(size <= 2 * MEGABYTE for size in sizes.values())


def test_a_drawing_is_encoded(visit):
    here = visit().explorer()
    x, y, box = here.middle(".live-paper")
    here.page.mouse.move(x, y - box["height"] / 3)
    here.page.mouse.down()
    here.page.mouse.move(x, y + box["height"] / 3, steps=8)  # a one
    here.page.mouse.up()
    samples, paper = here.page.locator(".live-samples"), here.page.locator(".live-paper")
    samples.wait_for()
    table = here.page.locator(".live-sketch .live-table")
    deviations = numbers_in(table.inner_text().partition("standard deviation")[2])
    assert len(deviations) == 2
    assert all(0 < sigma < 1 for sigma in deviations)
    drawn = paper.evaluate("canvas => canvas.toDataURL()")
    drag(here, 0.2, 0.1)  # the answer goes, the drawing stays
    assert not samples.is_visible()
    assert paper.evaluate("canvas => canvas.toDataURL()") == drawn
    here.page.select_option(".live-explorer select", "ae")  # another model sees the same drawing
    here.page.get_by_text("one point, not a distribution", exact=False).wait_for()
    here.page.get_by_role("button", name="Clear").click()
    assert not samples.is_visible()
    assert np.ptp(levels(paper.evaluate("canvas => canvas.toDataURL()"))) == 0
    here.page.select_option(".live-explorer select", "vae_1")
    here.page.get_by_text("KL weight 1;", exact=False).wait_for()
    assert not samples.is_visible()
    assert here.complaints == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:-100], "is damaged or was cut off"),
        (lambda _: b"<!DOCTYPE html><title>Sign in</title>", "is not a safetensors file"),
    ],
    ids=["cut off", "another page"],
)
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("explorer", "model"),
        ("balance", "balance"),
        ("balance", "decoder-2"),
        ("evidence", "evidence"),
    ],
)
def test_a_damaged_file_is_named_and_the_picture_stays(visit, name, file, change, message):
    here = visit()
    here.page.route(
        f"**/{file}.safetensors",
        lambda route: route.fulfill(body=change(route.fetch().body())),
    )
    here.page.goto(f"{here.origin}/{FIGURES[name]}")
    figure = here.page.locator(f"[data-live={name}]")
    figure.scroll_into_view_if_needed()
    here.page.get_by_text(f"{file}.safetensors {message}", exact=False).wait_for()
    assert figure.locator("img").is_visible()


def test_without_scripts_a_picture_and_a_hint_stand_in(visit):
    here = visit(java_script_enabled=False)
    here.page.goto(f"{here.origin}/{CHAPTER}")
    picture = here.page.locator("[data-live=explorer] img")
    assert picture.is_visible()
    assert len(picture.get_attribute("alt")) > 50
    assert here.page.get_by_text("python -m http.server").is_visible()


def test_from_a_file_the_page_says_how_to_serve_it(visit):
    here = visit()
    here.page.goto((SITE / CHAPTER).as_uri())
    assert here.page.get_by_text("python -m http.server").is_visible()
    assert here.page.locator("[data-live=explorer] img").is_visible()


class Stock(QuietHandler):
    """Knows the types of a stock nginx, and answers no request for a part of a file."""

    TYPES = {  # noqa: RUF012
        "css": "text/css", "html": "text/html", "js": "application/javascript",
        "json": "application/json", "mp4": "video/mp4", "png": "image/png", "svg": "image/svg+xml",
        "woff": "font/woff", "woff2": "font/woff2",
    }  # fmt: skip

    def guess_type(self, path):
        return self.TYPES.get(Path(path).suffix.removeprefix("."), "application/octet-stream")


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_a_figure_comes_alive_on_a_stock_server_below_a_folder(browser, tmp_path, name):
    (tmp_path / "courses").mkdir()
    (tmp_path / "courses" / "vae").symlink_to(SITE)
    with serve(tmp_path, Stock) as address:
        here = Visit(browser, f"{address}/courses/vae/")
        try:
            here.page.goto(f"{here.origin}{FIGURES[name]}")
            here.page.locator(f"[data-live={name}]").scroll_into_view_if_needed()
            here.page.wait_for_selector(f"[data-live={name}][data-ready]", timeout=15_000)
            assert here.complaints == []
            assert here.abroad == []
        finally:
            here.context.close()


def test_no_page_of_the_site_complains_or_asks_others(visit):
    here = visit()
    pages = pages_of(SITE)
    assert len(pages) > 20
    for page in pages:
        here.page.goto(f"{here.origin}/{page}")
        assert here.complaints == [], page
        assert here.abroad == [], page


# ---------------------------------------------------------------------------- the other figures


def open_figure(visit, name, **options):
    here = visit(**options)
    here.page.goto(f"{here.origin}/{FIGURES[name]}")
    here.page.locator(f"[data-live={name}]").scroll_into_view_if_needed()
    here.page.wait_for_selector(f"[data-live={name}][data-ready]", timeout=30_000)
    return here


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("name", sorted({*FIGURES} - {"explorer"}))
def test_the_other_figures_come_alive_without_a_complaint(visit, name, viewport, scheme):
    here = open_figure(visit, name, viewport=viewport, color_scheme=scheme)
    width = here.page.evaluate("document.documentElement.scrollWidth")
    assert width <= viewport["width"], "the page scrolls sideways"
    assert here.abroad == []
    assert here.complaints == []


def numbers_in(text):
    return [float(part) for part in re.findall(r"[-−]?\d+\.\d+", text.replace("−", "-"))]


def test_the_two_divergences_follow_the_sliders_and_the_drag(visit):
    here = open_figure(visit, "divergence")
    rows = here.page.locator("[data-live=divergence] tbody tr")
    for slider, value in (("mean of p", "1"), ("standard deviation of p", "1"),
                          ("mean of q", "0"), ("standard deviation of q", "2")):  # fmt: skip
        here.page.get_by_label(slider).fill(value)
    forward, reverse = (numbers_in(rows.nth(k).inner_text()) for k in (0, 1))
    assert forward == pytest.approx([0.4431, 0.4431], abs=1e-3)  # 1/2 (1/4 + 1/4 - 1 + ln 4)
    assert reverse == pytest.approx([1.3069, 1.3069], abs=1e-3)  # 1/2 (4 + 1 - 1 - ln 4)
    curves = here.page.locator("[data-live=divergence] .live-curves")
    before = rows.nth(0).inner_text()
    box = curves.bounding_box()
    here.page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.5)
    here.page.mouse.down()
    here.page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + box["height"] * 0.3, steps=4)
    here.page.mouse.up()
    assert rows.nth(0).inner_text() != before
    here.page.get_by_label("mean of q").press("ArrowRight")
    assert here.complaints == []


def test_the_same_noise_moves_with_mu_and_log_var(visit):
    here = open_figure(visit, "reparameterization")
    row = here.page.locator("[data-live=reparameterization] tbody tr")

    def state():
        eps, sigma, z, by_log_var = numbers_in(row.inner_text())
        return eps, sigma, z, by_log_var

    here.page.get_by_label("mu", exact=True).fill("2")
    here.page.get_by_label("log variance").fill("1")
    eps, sigma, z, by_log_var = state()
    assert sigma == pytest.approx(np.exp(0.5), abs=0.005)
    assert z == pytest.approx(2 + sigma * eps, abs=0.02)
    assert by_log_var == pytest.approx(sigma * eps / 2, abs=0.02)
    here.page.get_by_label("mu", exact=True).fill("-1")
    assert state()[:3] == (eps, sigma, pytest.approx(-1 + sigma * eps, abs=0.02))
    here.page.get_by_role("button", name="Draw new noise").click()
    assert state()[0] != eps
    assert here.complaints == []


def test_everything_follows_the_kl_weight(visit):
    here = open_figure(visit, "balance")
    figure = here.page.locator("[data-live=balance]")
    slider = figure.get_by_role("slider")
    rows = figure.locator("tbody tr")

    def state():
        rebuilt, samples = (
            figure.locator(".live-strip").nth(k).evaluate("strip => strip.toDataURL()")
            for k in (0, 1)
        )
        numbers = [numbers_in(rows.nth(k).inner_text()) for k in range(3)]
        return np.array(numbers), levels(rebuilt), levels(samples)

    def used():
        return re.findall(r"\d of 2", rows.nth(3).inner_text())

    assert figure.locator("output").first.inner_text() == "w = 1"
    before, rebuilt, samples = state()
    error, kl, loss = before
    assert loss == pytest.approx(error + kl, abs=0.02)  # of the trained VAE and of the affine one
    assert {name for name in here.bytes if name.endswith(".safetensors")} == {
        "balance/balance.safetensors",
        "balance/decoder-2.safetensors",
    }
    assert sum(here.bytes.values()) <= MEGABYTE
    slider.press("End")
    figure.get_by_text("w = 100", exact=True).wait_for()
    assert used() == ["0 of 2", "0 of 2"]
    assert slider.get_attribute("aria-valuetext") == "w = 100"
    collapsed = state()
    assert (collapsed[0] != before).any()
    for strip in collapsed[1:]:  # ten times the mean image
        tiles = strip.reshape(32, 10, 32).transpose(1, 0, 2)
        assert np.abs(tiles - tiles[0]).max() <= 3
    for strip in (rebuilt, samples):
        tiles = strip.reshape(32, 10, 32).transpose(1, 0, 2)
        assert np.abs(tiles - tiles[0]).max() > 100
    curves = figure.locator(".live-curves")
    curves.scroll_into_view_if_needed()
    box = curves.bounding_box()
    here.page.mouse.click(box["x"] + 40, box["y"] + box["height"] / 2)
    figure.get_by_text("w = 0.1", exact=True).wait_for()
    assert used()[1] == "2 of 2"
    slider.press("ArrowRight")
    figure.get_by_text("w = 0.3", exact=True).wait_for()
    slider.fill("5")
    figure.get_by_text("w = 7", exact=True).wait_for()
    assert used() == ["1 of 2", "2 of 2"]
    assert here.complaints == []


def test_the_evidence_follows_the_image_the_samples_and_the_model(visit):
    here = open_figure(visit, "evidence")
    figure = here.page.locator("[data-live=evidence]")
    image, samples = (
        figure.get_by_role("slider", name=name) for name in ("Test image", "Samples K")
    )
    rows, curves = figure.locator("tbody tr"), figure.locator(".live-curves")
    assert sum(here.bytes.values()) <= MEGABYTE / 2

    def state():
        """Of ELBO, bound and log p(x): their nats, and how many are missing."""
        nats, missing = np.array([numbers_in(rows.nth(k).inner_text())[-2:] for k in range(3)]).T
        assert nats + missing == pytest.approx(np.full(3, nats[-1]), abs=0.02)
        return missing

    def pictures():
        places = [".live-plane", ".live-bars", ".live-digit >> nth=0", ".live-digit >> nth=1"]
        return [figure.locator(place).evaluate("canvas => canvas.toDataURL()") for place in places]

    samples.press("Home")
    assert figure.get_by_text("K = 1", exact=True).is_visible()
    elbo, bound, exact = state()
    assert elbo == bound > exact == 0  # one sample: the ELBO
    missing = []
    for _ in range(8):
        samples.press("ArrowRight")
        missing.append(state()[1])
    assert samples.get_attribute("aria-valuetext") == "K = 256"
    assert missing == sorted(missing, reverse=True)
    assert missing[-1] < elbo / 4
    image.press("Home")
    first, shown = state()[0], pictures()
    image.press("End")
    assert state()[0] > 10 * first  # sorted by the gap
    assert all(a != b for a, b in zip(shown, pictures(), strict=True))
    x = figure.locator(".live-digit").first.evaluate("canvas => canvas.toDataURL()")
    usual = state()[0]
    figure.get_by_label("sharp").check()
    assert figure.locator(".live-digit").first.evaluate("canvas => canvas.toDataURL()") == x
    assert state()[0] != usual  # the same image under the other model
    samples.press("Home")
    curves.scroll_into_view_if_needed()
    box = curves.bounding_box()
    here.page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + box["height"] / 2)
    here.page.mouse.down()
    far = state()[0]
    here.page.mouse.move(box["x"] - 20, box["y"] + box["height"] / 2, steps=4)
    here.page.mouse.up()
    assert figure.get_by_text("1 of 40", exact=False).is_visible()
    assert state()[0] < far
    heights = {figure.bounding_box()["height"]}
    for key in ("ArrowRight", "End", "PageDown"):
        image.press(key)
        samples.press(key)
        heights.add(figure.bounding_box()["height"])
    assert len(heights) == 1  # nothing below the figure moves
    assert here.complaints == []


@pytest.mark.parametrize("viewport", [WIDE | {"height": 800}, PHONE], ids=["wide", "phone"])
def test_the_first_page_opens_with_a_map_that_a_touch_wakes(visit, viewport):
    phone = viewport is PHONE
    here = visit(viewport=viewport, has_touch=phone, is_mobile=phone)
    total = []
    here.page.on("response", lambda r: total.append(int(r.headers.get("content-length", 0))))
    here.page.goto(f"{here.origin}/{FIGURES['latent-map']}", wait_until="networkidle")
    here.page.wait_for_selector("[data-live=latent-map][data-ready]")
    assert sum(here.bytes.values()) <= 200_000
    assert not any("model.safetensors" in name for name in here.bytes)
    for part in (".live-plane", ".live-digit"):  # above the fold, and whole
        box = here.page.locator(part).bounding_box()
        assert box["y"] + box["height"] <= viewport["height"], part
    before = here.digit(), here.where()
    assert np.ptp(levels(before[0])) > 150  # a digit, although no decoder is there yet
    x, y, box = here.middle(".live-plane")
    if phone:
        here.page.touchscreen.tap(x - box["width"] / 6, y)
    else:
        here.page.mouse.click(x - box["width"] / 6, y)
    here.page.wait_for_function(
        "before => document.querySelector('.live-digit').toDataURL() !== before", arg=before[0]
    )
    assert here.where() != before[1]
    assert "runs/vae_1/model.safetensors" in here.bytes
    assert here.complaints == []


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_what_is_touched_is_large_enough_for_a_finger_and_nothing_sticks_out(visit, name):
    here = open_figure(visit, name, viewport=PHONE, has_touch=True, is_mobile=True)
    figure = here.page.locator(f"[data-live={name}]")
    frame = figure.bounding_box()
    for part in figure.locator("button, select, input, canvas, table, label").all():
        if not part.is_visible():
            continue
        box, tag = part.bounding_box(), part.evaluate("each => each.outerHTML.slice(0, 60)")
        assert box["x"] >= frame["x"] - 1, tag
        assert box["x"] + box["width"] <= frame["x"] + frame["width"] + 1, tag
        if part.evaluate("each => each.matches('button, select, input[type=range]')"):
            assert box["height"] >= 43.5, tag


@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_the_drawing_pad_stands_beside_its_answer(visit, viewport):
    here = visit(viewport=viewport).explorer()
    paper = here.page.locator(".live-paper").bounding_box()
    answer = here.page.locator(".live-sketch .live-table").bounding_box()
    assert paper["x"] + paper["width"] < answer["x"]
    assert paper["y"] < answer["y"] + answer["height"] / 2 < paper["y"] + paper["height"]


@pytest.mark.parametrize("name", sorted({*FIGURES} - {"explorer", "latent-map", "codes"}))
def test_the_other_figures_follow_finger_and_keys(visit, name):
    here = open_figure(visit, name, viewport=PHONE, has_touch=True, is_mobile=True)
    figure = here.page.locator(f"[data-live={name}]")
    curves = figure.locator(".live-curves")
    here.page.wait_for_function(FORMULAS_SET)  # after that nothing moves
    curves.scroll_into_view_if_needed()
    before = figure.inner_text()
    scrolled = here.page.evaluate("scrollY")
    box = curves.bounding_box()
    finger = here.context.new_cdp_session(here.page)
    for share in (0.8, 0.7, 0.5, 0.3):
        point = {"x": box["x"] + share * box["width"], "y": box["y"] + share * box["height"]}
        kind = "touchStart" if share == 0.8 else "touchMove"
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    changed = f"before => document.querySelector('[data-live={name}]').innerText !== before"
    here.page.wait_for_function(changed, arg=before)
    assert here.page.evaluate("scrollY") == scrolled  # the finger moves the figure, not the page
    before = figure.inner_text()
    figure.get_by_role("slider").first.press("ArrowRight")
    here.page.wait_for_function(changed, arg=before)
    assert here.complaints == []


# ---------------------------------------------------------------------------- codes


class Codes:
    """The figure of chapter 10, as a reader sees it."""

    def __init__(self, visit, **options):
        self.here = open_figure(visit, "codes", **options)
        self.page = self.here.page
        self.page.wait_for_function(FORMULAS_SET)  # after that nothing moves
        self.root = self.page.locator("[data-live=codes]")
        self.cells = self.root.locator(".live-code button")
        self.choices = self.root.locator(".live-choices button")

    def codes(self):
        return [int(text) for text in self.cells.locator(".live-entry").all_inner_texts()]

    def prices(self):
        return [float(text) for text in self.cells.locator("small").all_inner_texts()]

    def table(self):
        """What the grid costs under each prior, and the mean over test images, [3, 2]."""
        return [numbers_in(row) for row in self.root.locator("tbody tr").all_inner_texts()]

    def chosen(self):
        return self.cells.evaluate_all("cells => cells.findIndex((cell) => cell.ariaCurrent)")

    def image(self):
        picture = self.root.locator(".live-digit").first
        return levels(picture.evaluate("canvas => canvas.toDataURL()"))

    def frame(self):
        """The first and the last row, and column, of the pixels in the frame."""
        style = self.root.locator(".live-reach").first.evaluate(
            "({ style }) => [style.top, style.height, style.left, style.width].map(parseFloat)"
        )
        top, height, left, width = (round(0.32 * share) for share in style)
        return top, top + height - 1, left, left + width - 1


def test_a_click_chooses_a_code_and_a_second_one_changes_its_patch_of_the_image(visit):
    figure = Codes(visit)
    codes, image = figure.codes(), figure.image()
    assert {*figure.here.bytes} >= {"codes.js", "codes/codes.safetensors"}
    assert sum(figure.here.bytes.values()) <= MEGABYTE
    figure.cells.nth(9).click()
    assert figure.chosen() == 9
    assert figure.codes() == codes
    assert (figure.image() == image).all()
    figure.cells.nth(9).click()
    changed = [*codes[:9], (codes[9] + 1) % 8, *codes[10:]]
    assert figure.codes() == changed
    assert "1 code is changed" in figure.root.inner_text()
    top, bottom, left, right = figure.frame()
    assert (bottom - top, right - left) == (13, 13)
    inside = np.zeros((32, 32), bool)
    inside[top : bottom + 1, left : right + 1] = True
    differs = figure.image() != image
    assert differs[inside].mean() > 0.2
    assert not differs[~inside].any()
    told = figure.root.locator(".live-changed").inner_text()
    assert told.startswith(f"Row 3, column 2: {codes[9]} became {changed[9]}. ")
    seen = int(re.search(r"(\d+) of 1,024 pixels", told)[1])
    # The canvas has 256 gray levels, so a change of 0.01 is one of 2 or 3.
    moved = np.abs(figure.image() - image)
    assert (moved >= 4).sum() <= seen <= (moved >= 1).sum()
    assert figure.here.complaints == []


def test_prices_are_of_codes_given_those_before_and_sum_to_that_of_the_grid(visit):
    figure = Codes(visit)
    before = figure.prices()
    uniform, independent, autoregressive = figure.table()
    assert uniform == [48, 48]
    assert sum(before) == pytest.approx(autoregressive[0], abs=16 * 0.05 + 0.05)
    assert autoregressive[1] < independent[1] < 48
    figure.cells.nth(10).click()
    figure.cells.nth(10).click()
    after = figure.prices()
    assert after[:10] == before[:10]
    assert after[10] != before[10]
    assert figure.table()[0] == uniform
    assert figure.table()[2] != autoregressive


def test_the_eight_entries_show_what_choosing_them_makes(visit):
    figure = Codes(visit)
    assert figure.choices.count() == 8
    where = figure.chosen()
    for entry in range(8):
        choice = figure.choices.nth(entry)
        promised = levels(choice.locator("canvas").evaluate("canvas => canvas.toDataURL()"))
        price = float(choice.locator("small").inner_text())
        choice.click()
        assert figure.codes()[where] == entry
        assert (figure.image() == promised).all()
        assert figure.table()[2][0] == price
        assert choice.get_attribute("aria-pressed") == "true"
    assert figure.root.locator("[aria-pressed=true]").count() == 1


def test_codes_are_chosen_and_changed_with_the_keys(visit):
    figure = Codes(visit)
    where = figure.chosen()
    figure.cells.nth(where).focus()
    scrolled = figure.page.evaluate("scrollY")
    for key, step in (("ArrowDown", 4), ("ArrowLeft", -1), ("ArrowUp", -4), ("ArrowRight", 1)):
        figure.page.keyboard.press(key)
        where += step
        assert figure.chosen() == where
    for _ in range(5):
        figure.page.keyboard.press("ArrowUp")  # and no further than to the edge
    where %= 4
    assert figure.chosen() == where
    assert figure.page.evaluate("scrollY") == scrolled
    for key, code in (("5", 5), ("Enter", 6), ("Space", 7), ("Space", 0), ("8", 0), ("x", 0)):
        figure.page.keyboard.press(key)
        assert figure.codes()[where] == code, key
    # One stop of the tab key for the grid.
    assert figure.root.locator(".live-code [tabindex='0']").count() == 1
    figure.page.keyboard.press("Tab")
    assert figure.choices.first.evaluate("each => each === document.activeElement")
    assert figure.here.complaints == []


def test_codes_are_changed_with_a_finger(visit):
    figure = Codes(visit, viewport=PHONE, has_touch=True, is_mobile=True)
    codes = figure.codes()
    for _ in range(2):
        figure.cells.nth(4).tap()
    assert figure.codes() == [*codes[:4], (codes[4] + 1) % 8, *codes[5:]]
    figure.choices.nth(codes[4]).tap()
    assert figure.codes() == codes
    for each in (figure.cells, figure.root.locator(".live-keys button")):
        for box in (button.bounding_box() for button in each.all()):
            assert min(box["width"], box["height"]) >= 43.5
    assert figure.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_draws_of_the_uniform_prior_cost_more_than_those_of_the_fitted_one(visit):
    figure = Codes(visit)
    cost = {}
    for name in ("uniform", "autoregressive"):
        button = figure.root.get_by_role("button", name=name, exact=True)
        grids, bits = [], []
        for _ in range(10):
            button.click()
            grids.append(figure.codes())
            bits.append(figure.table()[2][0])
        assert f"Drawn from a prior: {name}." in figure.root.inner_text()
        assert len({*map(tuple, grids)}) == 10
        cost[name] = np.mean(bits)
    assert cost["autoregressive"] < 36 < 48 < cost["uniform"]


def test_each_press_of_a_digit_gives_the_codes_of_its_next_test_image(visit):
    figure = Codes(visit)
    seven = figure.root.get_by_role("button", name="A test image of the digit 7")
    seen = []
    for image in range(11):
        seven.click()
        assert f"test image {image % 10 + 1} of 10 of the digit 7." in figure.root.inner_text()
        seen.append(tuple(figure.codes()))
    assert len({*seen}) > 5
    assert seen[10] == seen[0]


def test_without_its_file_the_figure_of_codes_keeps_its_picture_and_says_why(visit):
    here = visit()
    here.page.route("**/codes.safetensors", lambda route: route.abort())
    here.page.goto(f"{here.origin}/{FIGURES['codes']}")
    here.page.locator("[data-live=codes]").scroll_into_view_if_needed()
    here.page.wait_for_selector("[data-live=codes] .live-error:not([hidden])")
    assert "codes.safetensors could not be loaded" in here.page.inner_text(".live-error")
    assert here.page.locator("[data-live=codes] img").is_visible()
