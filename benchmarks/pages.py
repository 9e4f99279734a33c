"""What does a page weigh, what does Lighthouse say of its speed, and how fast is the explorer?

On the built site, served as static hosts do: texts compressed, connections kept. Lighthouse looks
as a phone on a slow network and with a quarter of this processor, both simulated; the frame time of
the explorer is measured in the page, from a pointer's move until both canvases are drawn.
"""

import gzip
import json
import subprocess
import sys
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import sync_playwright
from timing import ROOT, arguments_of, context, parser, table, write

from lecture_book.figures.stills import FIGURES
from lecture_book.site import QuietHandler, browser_path, pages_of, read_stamp, serve

SITE = ROOT / "_build" / "html"
TOOLS = ROOT / "tests" / "browser"
MOVES = 400
SLOW_PHONE = 4  # times slower
TEXTS = "text/", "application/json", "application/javascript", "image/svg+xml"

# Moves a pressed pointer along a curve over the plane; the time of each move, in ms.
DRAG = """async (moves) => {
  const plane = document.querySelector(".live-plane");
  const digit = document.querySelector(".live-digit");
  const box = plane.getBoundingClientRect();
  const send = (type, x, y) => plane.dispatchEvent(new PointerEvent(type, {
    clientX: box.left + box.width * x, clientY: box.top + box.height * y, buttons: 1, bubbles: true,
  }));
  const times = [];
  for (let move = 0; move < moves; move++) {
    const turn = (2 * Math.PI * move) / moves;
    await new Promise(requestAnimationFrame);
    const started = performance.now();
    send("pointermove", 0.5 + 0.4 * Math.cos(3 * turn), 0.5 + 0.4 * Math.sin(2 * turn));
    // A pixel can be read when all is drawn.
    for (const canvas of [plane, digit]) canvas.getContext("2d").getImageData(0, 0, 1, 1);
    times.push(performance.now() - started);
  }
  return times;
}"""


class Compressed(QuietHandler):
    """Serves texts compressed, over connections that stay open."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answers with a file."""
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        kind, content = self.guess_type(path), path.read_bytes()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        if kind.startswith(TEXTS):
            content = gzip.compress(content)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def main() -> None:
    """Measures, prints and, if asked, records."""
    arguments = arguments_of(parser(__doc__, rounds=3), "pages")
    chrome = browser_path()
    if not pages_of(SITE):
        sys.exit(f"{SITE} holds no page: run `make book` first")
    if chrome is None or not (TOOLS / "node_modules" / "lighthouse").is_dir():
        sys.exit(
            "a browser and Lighthouse are needed (Debian: apt install chromium nodejs npm; then "
            "`npm ci --ignore-scripts` in tests/browser)"
        )
    with serve(SITE, Compressed) as origin:
        score = scores(chrome, origin, arguments.rounds)
        with sync_playwright() as playwright:
            # Chromium's own sandbox does not start for root; the pages are ours.
            options = {"executable_path": chrome, "args": ["--no-sandbox", "--disable-gpu"]}
            launched = playwright.chromium.launch(**options)
            weight = weights(launched, origin)
            live = live_files(launched, origin)
            frame = {
                "here": frame_times(launched, origin, 1),
                "slow phone": frame_times(launched, origin, SLOW_PHONE),
            }
            versions = {"chromium": launched.version}
    rows = [[page, f"{weight[page] / 1e6:.2f}", score[page]["median"]] for page in weight]
    print(table(["page", "MB", "Lighthouse"], rows))
    print(table(["figure", "kB"], [[name, f"{size / 1e3:.0f}"] for name, size in live.items()]))
    print(table(
        ["explorer, ms a move", "median", "95 %"],
        [[name, f"{ms['median']:.2f}", f"{ms['p95']:.2f}"] for name, ms in frame.items()],
    ))  # fmt: skip
    site = read_stamp(SITE.parent)["execution"]
    results = {
        "site": {"data": site["data"]["name"], "budget": site["budget"]},
        "page_bytes": weight, "lighthouse_performance": score, "live_bytes": live,
        "frame_ms": frame, "moves": MOVES, "slow_phone": SLOW_PHONE,
    }  # fmt: skip
    found = context(None, ["playwright"])
    found["versions"] |= versions | lighthouse_version()
    write(found | results, arguments.out)


def lighthouse_version() -> dict[str, str]:
    """Which Lighthouse is installed."""
    told = json.loads((TOOLS / "node_modules" / "lighthouse" / "package.json").read_text("utf8"))
    return {"lighthouse": told["version"]}


def scores(chrome: str, origin: str, rounds: int) -> dict[str, dict[str, Any]]:
    """Lighthouse's performance of every page; of the explorer's, the median of some rounds."""
    pages = [*pages_of(SITE), *[FIGURES["explorer"]] * (rounds - 1)]
    asked = {
        "chrome": chrome,
        "addresses": [f"{origin}/{page}" for page in pages],
        "settings": {"onlyCategories": ["performance"]},
    }
    done = subprocess.run(
        ["node", TOOLS / "lighthouse.mjs"],
        input=json.dumps(asked), stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    found: dict[str, list[int]] = {}
    for line in done.stdout.splitlines():
        verdict = json.loads(line)
        page = verdict["address"].removeprefix(f"{origin}/")
        found.setdefault(page, []).append(verdict["scores"]["performance"])
    return {page: {"all": each, "median": median(each)} for page, each in found.items()}


def fetched(launched: Any, address: str, near: str | None = None) -> dict[str, int]:
    """Bytes of each file that comes with a page, as they travel, without the heads of answers."""
    page = launched.new_page(viewport={"width": 1280, "height": 900})
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    urls: dict[str, str] = {}
    sizes: dict[str, int] = {}

    def began(event: Mapping[str, Any]) -> None:
        urls[event["requestId"]] = event["response"]["url"]

    def ended(event: Mapping[str, Any]) -> None:
        if (url := urls.get(event["requestId"], "")).startswith("http"):
            sizes[urlsplit(url).path.lstrip("/")] = int(event["encodedDataLength"])

    session.on("Network.responseReceived", began)
    session.on("Network.loadingFinished", ended)
    page.goto(address, wait_until="networkidle")
    # Pictures come after the text, whether or not somebody scrolls.
    page.wait_for_function("[...document.images].every((image) => image.naturalWidth)")
    if near:
        page.locator(near).scroll_into_view_if_needed()
        page.wait_for_selector(f"{near}[data-ready]")
        page.wait_for_load_state("networkidle")
    page.context.close()
    return sizes


def weights(launched: Any, origin: str) -> dict[str, int]:
    """Bytes of every page with what it fetches before anybody scrolls."""
    return {page: sum(fetched(launched, f"{origin}/{page}").values()) for page in pages_of(SITE)}


def live_files(launched: Any, origin: str) -> dict[str, int]:
    """Bytes of each live figure's own files before the first touch, compressed ones included."""
    found = {}
    for name, page in FIGURES.items():
        sizes = fetched(launched, f"{origin}/{page}", f"[data-live={name}]")
        found[name] = sum(size for path, size in sizes.items() if "_static/live/" in path)
    return found


def frame_times(launched: Any, origin: str, slower: int) -> dict[str, float]:
    """Milliseconds of the main thread for one move of the pointer over the explorer."""
    page = launched.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{origin}/{FIGURES['explorer']}", wait_until="networkidle")
    page.locator("[data-live=explorer]").scroll_into_view_if_needed()
    page.wait_for_selector("[data-live=explorer][data-ready]")
    session = page.context.new_cdp_session(page)
    session.send("Emulation.setCPUThrottlingRate", {"rate": slower})
    page.evaluate(DRAG, MOVES // 4)  # the compiler has seen it
    times = page.evaluate(DRAG, MOVES)
    page.context.close()
    return {"median": median(times), "p95": quantiles(times, n=20)[-1], "largest": max(times)}


if __name__ == "__main__":
    main()
