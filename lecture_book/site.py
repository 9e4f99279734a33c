"""The built site: a stamp of its inputs, its pages, and a local server and browser to open it."""

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

STAMP = "lecture_vae.json"  # in _build: the inputs of the build
PACKAGES = "lecture_vae", "lecture_grader", "lecture_book"
DATA_NAMES = {
    "mnist": "MNIST, 70,000 handwritten digits",
    "digits": "scikit-learn's handwritten digits, 1,797 small images",
}
BROWSERS = "chromium", "chromium-browser", "google-chrome"


# ---------------------------------------------------------------------------- inputs


def site_sources(root: Path) -> list[Path]:
    """Every source file of the site in a checkout, without the packages."""
    settings = [path for path in (root / CONFIG, root / TOC) if path.exists()]
    records = (root / "results").glob("*.json")
    return [*settings, *records, *files_below(root / "book"), *(root / "exercises").glob("*.md")]


def sources_digest(root: Path) -> str:
    """A hash of all inputs of the site; a site with another hash is stale."""
    return "-".join([digest(site_sources(root), root), *map(package_digest, PACKAGES)])


def read_stamp(build: Path) -> dict[str, Any]:
    """The inputs of the last build; empty if there is no readable stamp.

    Args:
        build: the folder that holds the stamp and `html/`.
    """
    try:
        stamp: dict[str, Any] = json.loads((build / STAMP).read_text(encoding="utf8"))
    except (OSError, ValueError):
        return {}
    return stamp


def write_stamp(build: Path, stamp: dict[str, Any]) -> None:
    """Record the inputs of a build; `sources` is None until the build has succeeded."""
    build.mkdir(parents=True, exist_ok=True)
    (build / STAMP).write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf8")


def budget_of(build: Path) -> str | None:
    """The training budget of a site, from its stamp; None if there is no stamp."""
    budget: str | None = read_stamp(build).get("execution", {}).get("budget")
    return budget


def built_with(build: Path) -> str:
    """A sentence with the data, budget and versions of a site, for its first page."""
    execution = read_stamp(build).get("execution")
    if not execution:
        return "Data and budget are unknown: this copy was not built by `make book`."
    data = execution["data"]["name"]
    return (
        f"Data: {DATA_NAMES.get(data, data)}. Budget: {execution['budget']}. "
        f"Python {execution['python']}, torch {execution['libraries']['torch']}, "
        f"matplotlib {execution['libraries']['matplotlib']}."
    )


# ------------------------------------------------------------------ pages, server, browser


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
    """Ignores clients that close the connection early."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serve(folder: Path, handler: type[QuietHandler] = QuietHandler) -> Iterator[str]:
    """Serve a folder on a free port of localhost; gives its address."""
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
    """The path of an installed browser, or None."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)
