"""The drawings in `book/_static/models`: `python -m lecture_book.figures.models`.

They show the models, and how the book is built.
Beside each SVG it writes the same as PNG, with a browser: a notebook on Colab shows no SVG.
"""

import hashlib
import sys
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lecture_book.figures.architectures import convolutional_networks, linear_network
from lecture_book.figures.data_flow import data_flow
from lecture_book.figures.graphs import computation_graph, graphical_model
from lecture_book.project import MODELS, root_or_exit
from lecture_book.site import browser_path

DRAWINGS: dict[str, Callable[[], str]] = {
    "graphical-model": graphical_model,
    "computation-graph": computation_graph,
    "linear-ae": partial(linear_network, "linear-ae", "The fully connected autoencoder"),
    "linear-vae": partial(linear_network, "linear-vae", "The fully connected VAE"),
    "convolutional": convolutional_networks,
    "data-flow": data_flow,
}
DIGEST = "Drawing"  # in a PNG: of which SVG it is
COLORS = 32
ZOOM = 1.25  # pixels of a picture per CSS pixel of its drawing


def digest_of(svg: str) -> str:
    """A hash of a drawing."""
    return hashlib.sha256(svg.encode()).hexdigest()[:16]


def as_png(screenshot: bytes, svg: str) -> bytes:
    """A picture of a drawing with few colors, and the hash of the drawing."""
    info = PngInfo()
    info.add_text(DIGEST, digest_of(svg))
    content = BytesIO()
    with Image.open(BytesIO(screenshot)) as image:
        few = image.convert("RGB").quantize(COLORS)
    few.save(content, "PNG", optimize=True, pnginfo=info)
    return content.getvalue()


def main() -> None:
    """Write every drawing, and a picture of each that has changed."""
    folder = root_or_exit() / MODELS
    svgs = {name: draw() for name, draw in DRAWINGS.items()}
    for name, svg in svgs.items():
        (folder / f"{name}.svg").write_text(svg, encoding="utf8")
    stale = [
        name for name, svg in svgs.items() if digest_in(folder / f"{name}.png") != digest_of(svg)
    ]
    if stale:
        photograph({name: svgs[name] for name in stale}, folder)


def digest_in(picture: Path) -> str | None:
    """The hash of the drawing that a picture shows; None if there is no picture."""
    if not picture.exists():
        return None
    with Image.open(picture) as image:
        digest: str | None = image.info.get(DIGEST)
    return digest


def photograph(svgs: dict[str, str], folder: Path) -> None:
    """Write a picture of each drawing with a browser."""
    from playwright.sync_api import sync_playwright

    path = browser_path()
    if path is None:
        sys.exit("a browser is needed (Debian: apt install chromium)")
    with sync_playwright() as playwright:
        # Chromium's own sandbox does not start for root; the drawings are ours.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(device_scale_factor=ZOOM)
        for name, svg in svgs.items():
            page.set_content(f"<body style='margin: 0'>{svg}</body>")
            screenshot = page.locator("svg").screenshot()
            (folder / f"{name}.png").write_bytes(as_png(screenshot, svg))
            print(folder / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    main()
