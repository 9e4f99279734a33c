"""The still pictures of the live figures, which stand in for them and in the README.

`python book/_ext/stills.py` after `make book`: opens each figure in a browser and photographs it.
"""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"
LIVE = ROOT / "book" / "_static" / "live"
FIGURES = {
    "explorer": "book/06_latent_space.html",
    "divergence": "book/02_divergence.html",
    "reparameterization": "book/04_gaussian_kl.html",
    "balance": "book/05_linear_vae.html",
}
BROWSERS = "chromium", "chromium-browser", "google-chrome"


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder without a word on the terminal."""

    def log_message(self, *_: object) -> None:
        """Logs nothing."""


class _Server(ThreadingHTTPServer):
    """A browser that leaves a page before all of it has come is no error."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serve(folder: Path, handler: type[Quiet] = Quiet) -> Iterator[str]:
    """Serve a folder on a free port of this machine; gives its address."""
    server = _Server(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def browser_path() -> str | None:
    """A browser of this machine, if there is one."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def draw_seven(page: Any) -> None:
    """Draw a digit into the explorer, as a reader would with the mouse."""
    box = page.locator(".live-paper").bounding_box()
    corners = [(0.3, 0.25), (0.7, 0.25), (0.45, 0.8)]  # shares of the paper's width and height
    (x, y), *others = [
        (box["x"] + a * box["width"], box["y"] + b * box["height"]) for a, b in corners
    ]
    page.mouse.move(x, y)
    page.mouse.down()
    for x, y in others:
        page.mouse.move(x, y, steps=10)
    page.mouse.up()
    page.locator(".live-samples").wait_for()


def pages_of(site: Path) -> list[str]:
    """The addresses of a site's pages, below its own; not of those that forward to another one."""
    return [
        path.relative_to(site).as_posix()
        for path in sorted(site.rglob("*.html"))
        if "_static" not in path.relative_to(site).parts
        and 'http-equiv="Refresh"' not in path.read_text(encoding="utf8")
    ]


def main() -> None:
    """Photograph every figure."""
    from playwright.sync_api import sync_playwright

    path = browser_path()
    if path is None:
        sys.exit("a browser is needed (Debian: apt install chromium)")
    with serve(SITE) as origin, sync_playwright() as playwright:
        # Chromium's own sandbox does not start for root; the pages are ours.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
        for name, address in FIGURES.items():
            page.goto(f"{origin}/{address}")
            figure = page.locator(f"[data-live={name}][data-ready]")
            figure.scroll_into_view_if_needed()
            if name == "explorer":
                draw_seven(page)
            figure.screenshot(path=LIVE / f"{name}.png")
            print(LIVE / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    main()
