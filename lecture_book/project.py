"""The project: the root folder of the text, its pages, and hashes of files and packages."""

import hashlib
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import yaml

CONFIG = "_config.yml"
TOC = "_toc.yml"
MODELS = Path("book") / "_static" / "models"  # drawings of models
LIVE = Path("book") / "_static" / "live"  # the live figures: scripts, packs, still pictures
NOT_SOURCES = {"__pycache__", "_build"}


class ProjectError(ValueError):
    """There is no project in the working directory, or a package is missing."""


def project_root(start: Path | None = None) -> Path:
    """The folder with `_config.yml`: the working directory or the nearest one above it.

    The package may be installed anywhere, but the text is read from a checkout.

    Args:
        start: where to begin; the working directory by default.

    Raises:
        ProjectError: neither `start` nor a folder above it has a `_config.yml`.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / CONFIG).is_file():
            return folder
    raise ProjectError(
        f"the text of the book lies beside a {CONFIG}, but {here} and the folders above it hold "
        "none. Is this a checkout of the lecture?"
    )


def root_or_exit() -> Path:
    """The project root for a command; exits with a message if there is none."""
    try:
        return project_root()
    except ProjectError as error:
        sys.exit(str(error))


def toc_pages(root: Path) -> list[tuple[str, int | None]]:
    """Every page of `_toc.yml` in reading order, with its chapter number or None."""
    toc = yaml.safe_load((root / TOC).read_text(encoding="utf8"))
    pages: list[tuple[str, int | None]] = [(toc["root"], None)]
    chapter = 0
    for part in toc["parts"]:
        for entry in part["chapters"]:
            chapter += 1 if part.get("numbered") else 0
            pages.append((entry["file"], chapter if part.get("numbered") else None))
    return pages


def package_folder(name: str) -> Path:
    """The folder of an installed package, found without importing it."""
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ProjectError(f"the package {name} is not installed")
    return Path(spec.submodule_search_locations[0])


def files_below(folder: Path) -> list[Path]:
    """The files in a folder and its subfolders, without caches and hidden files."""

    def is_source(path: Path) -> bool:
        parts = path.relative_to(folder).parts
        return not any(part.startswith(".") or part in NOT_SOURCES for part in parts)

    return [path for path in folder.rglob("*") if is_source(path) and path.is_file()]


def digest(paths: Iterable[Path], root: Path) -> str:
    """A SHA-256 of the names and contents of files, as 16 hex digits."""
    total = hashlib.sha256()
    for path in sorted(paths):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{path.relative_to(root).as_posix()} {content}\n".encode())
    return total.hexdigest()[:16]


def package_digest(name: str) -> str:
    """A hash of all files of an installed package, code and data."""
    folder = package_folder(name)
    return digest(files_below(folder), folder)
