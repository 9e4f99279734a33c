"""The static images of the live figures, used as fallbacks and in the README.

`python -m lecture_book.figures.stills`, after `make book`, opens each figure in a browser and takes
a screenshot.
"""

import sys
from typing import Any

from lecture_book.project import LIVE, root_or_exit
from lecture_book.site import browser_path, serve

FIGURES = {
    "latent-map": "book/index.html",
    "explorer": "book/06_latent_space.html",
    "divergence": "book/02_divergence.html",
    "reparameterization": "book/04_gaussian_kl.html",
    "balance": "book/05_linear_vae.html",
    "evidence": "book/09_evidence.html",
    "codes": "book/10_discrete_codes.html",
}


def draw_seven(page: Any) -> None:
    """Draw a digit into the explorer, as a reader would with the mouse."""
    page.locator(".live-paper").scroll_into_view_if_needed()
    box = page.locator(".live-paper").bounding_box()
    corners = [(0.3, 0.25), (0.7, 0.25), (0.45, 0.8)]  # fractions of the width and height
    (x, y), *others = [
        (box["x"] + a * box["width"], box["y"] + b * box["height"]) for a, b in corners
    ]
    page.mouse.move(x, y)
    page.mouse.down()
    for x, y in others:
        page.mouse.move(x, y, steps=10)
    page.mouse.up()
    page.locator(".live-samples").wait_for()


def change_a_code(page: Any) -> None:
    """Change the chosen code of the figure of codes, so that the picture shows what follows."""
    page.locator(".live-code [aria-current]").click()
    page.mouse.move(0, 0)


def settled(figure: Any) -> bytes:
    """A screenshot that a second one agrees with: formulas above no longer move the figure."""
    before, picture = b"", figure.screenshot()
    while picture != before:
        before, picture = picture, figure.screenshot()
    return picture


def main() -> None:
    """Take a screenshot of every figure."""
    from playwright.sync_api import sync_playwright

    root = root_or_exit()
    path = browser_path()
    if path is None:
        sys.exit("a browser is needed (Debian: apt install chromium)")
    live = root / LIVE
    with serve(root / "_build" / "html") as origin, sync_playwright() as playwright:
        # Chromium's own sandbox does not start for root; the pages are ours.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        # Tall: the header of a page that is scrolled would cover a part of the figure.
        page = browser.new_page(viewport={"width": 1280, "height": 1400}, color_scheme="light")
        for name, address in FIGURES.items():
            page.goto(f"{origin}/{address}", wait_until="networkidle")
            # A figure is loaded when it comes near the window.
            page.locator(f"[data-live={name}]").scroll_into_view_if_needed()
            figure = page.locator(f"[data-live={name}][data-ready]")
            figure.wait_for()
            if name == "explorer":
                draw_seven(page)
            if name == "codes":
                change_a_code(page)
            (live / f"{name}.png").write_bytes(settled(figure))
            print(live / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    main()
