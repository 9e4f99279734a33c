"""What the tests share: one thread, tiny images, own folders, pages' texts, a browser and tools."""

import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

os.environ["MPLBACKEND"] = "Agg"
os.environ["TQDM_DISABLE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"  # also of the processes that tests start
os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = f"{Path(__file__).parents[1]}/.pytest_cache/hypothesis"

import pytest
import torch
from hypothesis import HealthCheck, settings

from lecture_book.figures.stills import FIGURES
from lecture_book.site import browser_path, pages_of, serve
from lecture_vae.data import ImageData, Split

SITE = Path(__file__).resolve().parents[1] / "_build" / "html"
BROWSER = browser_path()
TOOLS = Path(__file__).resolve().parent / "browser"
# A page of each kind, and every live figure. The other pages are for the night.
BY_DAY = {
    "search.html", "genindex.html",
    "book/index.html", "book/01_autoencoders.html", "book/api.html", "book/instructor.html",
    "book/exercises/01_autoencoders.html",
    *FIGURES.values(),
}  # fmt: skip
LOOKED_AT = [
    pytest.mark.site,
    pytest.mark.skipif(BROWSER is None, reason="needs a browser (Debian: apt install chromium)"),
    pytest.mark.skipif(
        shutil.which("node") is None or not (TOOLS / "node_modules" / "axe-core").exists(),
        reason="needs Lighthouse and axe (Debian: apt install nodejs npm, then `make test`, or "
        "`npm ci --ignore-scripts` in tests/browser)",
    ),
]
FORMULAS_SET = "document.fonts.status === 'loaded'"  # after that they do not move

# The longest first. Tests that use all cores stay together by file, and a long file that begins as
# the last one would be waited for. `pytest --durations=0` tells.
LONGEST = (
    "test_accessibility.py", "test_lighthouse.py", "test_live.py", "test_acceptance.py",
    "test_runs.py", "test_sweep.py", "test_odd_notebooks.py", "test_hostile_notebooks.py",
    "test_native.py", "test_boxed.py", "test_privacy.py", "test_attacks.py",
)  # fmt: skip

torch.set_num_threads(1)
# The same examples everywhere, however busy the machine; what once failed is not kept.
settings.register_profile(
    "same", derandomize=True, deadline=None, database=None, max_examples=200,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
settings.load_profile("same")


OF_THE_SITE: set[Path] = set()


@pytest.hookimpl(tryfirst=True)  # before those of the site are left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files come first, the others as they were."""
    OF_THE_SITE.update(item.path for item in items if item.get_closest_marker("site"))
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(LONGEST)))


def source(page: Path) -> str:
    """The text of a page without its front matter."""
    return re.sub(r"\A---\n.*?\n---\n", "", page.read_text(encoding="utf8"), flags=re.DOTALL)


def has_ended(pid: int, patience: float = 240.0) -> bool:
    """Whether a process ends in so many seconds; it may wait for others, on a busy machine."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    """No test reads or writes the user's runs, data setting or budget."""
    monkeypatch.setenv("LECTURE_VAE_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("LECTURE_VAE_DATA", raising=False)
    monkeypatch.delenv("LECTURE_VAE_BUDGET", raising=False)


@pytest.fixture(scope="session")
def tiny() -> ImageData:
    """200 training and 70 test images: bright squares, whose place is their class."""
    generator = torch.Generator().manual_seed(0)

    def split(n: int) -> Split:
        labels = torch.arange(n) % 10
        images = 0.1 * torch.rand(n, 1, 32, 32, generator=generator)
        for image, label in zip(images, labels.tolist(), strict=True):
            row, column = 6 * (label // 5) + 4, 5 * (label % 5) + 2
            image[:, row : row + 6, column : column + 6] += 0.9
        return Split(images, labels)

    names = tuple(str(digit) for digit in range(10))
    return ImageData(split(200), split(70), names, "tiny", "tiny", "0" * 16)


@pytest.fixture(scope="session")
def origin() -> Iterator[str]:
    """The address of the built site, served."""
    if not pages_of(SITE):
        pytest.fail(f"{SITE} is missing: run `make book` first", pytrace=False)
    with serve(SITE) as address:
        yield address


@pytest.fixture(scope="module", params=["day", pytest.param("night", marks=pytest.mark.nightly)])
def names(request, origin):
    """The pages of the day, or those of the night."""
    built = pages_of(SITE)
    assert {*built} >= BY_DAY
    return [name for name in built if (name in BY_DAY) == (request.param == "day")]


@pytest.fixture(scope="session")
def browser():
    """A browser without windows."""
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        # Chromium's own sandbox does not start for root; the pages are ours.
        options = {"executable_path": BROWSER, "args": ["--no-sandbox", "--disable-gpu"]}
        launched = playwright.chromium.launch(**options)
        yield launched
        launched.close()
