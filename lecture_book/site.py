"""A built site: what it was made from, its pages, a server for it and a browser to open it in."""

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from lecture_book.project import CONFIG, TOC, digest, files_below, package_digest

STAMP = "lecture_vae.json"  # in _build: what the build was made from
PACKAGES = "lecture_vae", "lecture_grader", "lecture_book"
DATA_NAMES = {
    "mnist": "MNIST, 70,000 handwritten digits",
    "digits": "scikit-learn's handwritten digits, 1,797 small images",
}
BROWSERS = "chromium", "chromium-browser", "google-chrome"


# ---------------------------------------------------------------------------- what it is made from


def site_sources(root: Path) -> list[Path]:
    """Every file of a checkout that the site is made from, without the packages."""
    settings = [path for path in (root / CONFIG, root / TOC) if path.exists()]
    records = (root / "results").glob("*.json")
    return [*settings, *records, *files_below(root / "book"), *(root / "exercises").glob("*.md")]


def sources_digest(root: Path) -> str:
    """What the site is made from, as one hash: a site with another one is stale."""
    return "-".join([digest(site_sources(root), root), *map(package_digest, PACKAGES)])


def read_stamp(build: Path) -> dict[str, Any]:
    """What the last build was made from; empty where there is none, or none that can be read.

    Args:
        build: the folder that holds the stamp and `html/`.
    """
    try:
        stamp: dict[str, Any] = json.loads((build / STAMP).read_text(encoding="utf8"))
    except (OSError, ValueError):
        return {}
    return stamp


def write_stamp(build: Path, stamp: dict[str, Any]) -> None:
    """Note what a build is made from; `sources` is None until the build has succeeded."""
    build.mkdir(parents=True, exist_ok=True)
    (build / STAMP).write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf8")


def budget_of(build: Path) -> str | None:
    """The budget of a site, from its stamp; None where there is no stamp."""
    budget: str | None = read_stamp(build).get("execution", {}).get("budget")
    return budget


def built_with(build: Path) -> str:
    """Which data, budget and versions made a site, for its first page."""
    made = read_stamp(build).get("execution")
    if not made:
        return "Data and budget were not noted: `make book` did not build this copy."
    data = made["data"]["name"]
    return (
        f"Data: {DATA_NAMES.get(data, data)}. Budget: {made['budget']}. "
        f"Python {made['python']}, torch {made['libraries']['torch']}, "
        f"matplotlib {made['libraries']['matplotlib']}."
    )


# ---------------------------------------------------------------------------- opening it


def pages_of(site: Path) -> list[str]:
    """The addresses of a site's pages, relative to it, without pages that redirect."""
    return [
        path.relative_to(site).as_posix()
        for path in sorted(site.rglob("*.html"))
        if "_static" not in path.relative_to(site).parts
        and 'http-equiv="Refresh"' not in path.read_text(encoding="utf8")
    ]


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves a folder and logs nothing."""

    def log_message(self, *_: object) -> None:
        """Logs nothing."""


class _Server(ThreadingHTTPServer):
    """A browser that leaves a page before all of it has come is no error."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serve(folder: Path, handler: type[QuietHandler] = QuietHandler) -> Iterator[str]:
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
