"""Build the book: `python book/_ext/build.py`, which is what `make book` runs.

Jupyter Book's cache looks at the cells of a notebook alone. This driver adds what the cells stand
on: when the package, the data, the budget or a library changes, every chapter runs again. It also
chooses the data once, for all kernels, does not let a failed build pass the next time, and removes
a site for students that shows a solution.
"""

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from exercise_pages import solutions_wanted
from recorded import STAMP
from solutions import complaint, found_in, hidden_cells

from lecture_grader.authoring.assignment import ExerciseError
from lecture_vae.data import DataError
from lecture_vae.store import StoreError

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = (
    "torch", "torchvision", "matplotlib", "numpy", "pandas", "scipy", "scikit-learn", "seaborn",
    "sympy",
)  # fmt: skip
# Sphinx has told what went wrong when Jupyter Book raises; its own traceback would bury that.
JUPYTER_BOOK = """
import sys
from jupyter_book.cli.main import main
try:
    main()
except RuntimeError:
    sys.exit(1)
"""


def digest(paths: Iterable[Path], root: Path) -> str:
    """One hash over the names and contents of files, 16 hex digits."""
    total = hashlib.sha256()
    for path in sorted(paths):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{path.relative_to(root).as_posix()} {content}\n".encode())
    return total.hexdigest()[:16]


def site_sources(root: Path) -> list[Path]:
    """Every file that the site is made from."""
    named = [root / "_config.yml", root / "_toc.yml", *(root / "results").glob("*.json")]
    book = [path for path in (root / "book").rglob("*") if path.is_file()]
    exercises = list((root / "exercises").glob("*.md"))
    package = list((root / "lecture_vae").rglob("*.py"))
    ignored = {"__pycache__", ".ipynb_checkpoints", "_build"}
    return [
        path
        for path in [*named, *book, *exercises, *package]
        if path.exists() and not ignored & set(path.relative_to(root).parts)
    ]


def sources_digest(root: Path) -> str:
    """What the site is made from, as one hash: a site with another one is stale."""
    return digest(site_sources(root), root)


def execution_key(data: dict[str, str], budget: str) -> dict[str, Any]:
    """What the outputs of the cells depend on, besides the cells."""
    import lecture_vae

    package = Path(lecture_vae.__file__).parent
    rooms = [path for path in package.rglob("*.py") if path.parent.name != "grading"]
    return {
        "package": digest(rooms, package),
        "data": data,
        "budget": budget,
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
    }


def reading_key(root: Path) -> str:
    """What the pages depend on, besides their texts: Sphinx does not read them again for it."""
    return digest([*root.glob("_toc.yml"), *(root / "book" / "_ext").glob("*.py")], root)


def choose_data() -> tuple[str, dict[str, str]]:
    """The source that loads the data again without searching, and what the data are."""
    from lecture_vae import load_images

    data = load_images()
    return data.source, {"name": data.name, "fingerprint": data.fingerprint}


def kernel_environment(data_source: str) -> dict[str, str]:
    """The environment of the kernels: one data set and store for all, figures in the page, no bars.

    Kernels run in other folders than this process, so what it was given must not be relative.
    """
    from lecture_vae import store_folder

    environment = dict(os.environ)
    environment["LECTURE_VAE_DATA"] = data_source
    environment["LECTURE_VAE_RUNS"] = str(store_folder())
    environment["TQDM_DISABLE"] = "1"
    environment["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    # Set by a test run or a server, it would keep the kernels from choosing the inline backend.
    environment.pop("MPLBACKEND", None)
    return environment


def read_stamp(build: Path) -> dict[str, Any]:
    """What the last build was made from; empty where there is none, or none that can be read."""
    try:
        stamp: dict[str, Any] = json.loads((build / STAMP).read_text(encoding="utf8"))
    except (OSError, ValueError):
        return {}
    return stamp


def write_stamp(build: Path, stamp: dict[str, Any]) -> None:
    """Note what a build is made from; `sources` is None until the build has succeeded."""
    build.mkdir(parents=True, exist_ok=True)
    (build / STAMP).write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf8")


def forget(folder: Path) -> None:
    """Delete a folder if it is there."""
    if folder.exists():
        shutil.rmtree(folder)


def run_jupyter_book(root: Path, output: Path, environment: dict[str, str]) -> int:
    """Build the site with every warning an error; the exit status."""
    options = ["-W", "-n", "--keep-going", "--path-output", str(output)]
    command = [sys.executable, "-c", JUPYTER_BOOK, "build", *options, str(root)]
    return subprocess.run(command, cwd=root, env=environment, check=False).returncode


def build_book(root: Path, output: Path) -> int:
    """Build `root` into `output/_build`; the exit status. What cannot be used is told in a line."""
    try:
        return _build_book(root, output / "_build")
    except (DataError, ExerciseError, OSError, StoreError, ValueError) as error:
        print(f"The book cannot be built: {' '.join(str(error).split())}", file=sys.stderr)
        return 1


def _build_book(root: Path, build: Path) -> int:
    from lecture_vae import budget

    hidden = [] if solutions_wanted() else hidden_cells(root)
    steps = budget()
    source, data = choose_data()
    environment = kernel_environment(source)
    stamp = {"execution": execution_key(data, steps), "reading": reading_key(root)}
    before = read_stamp(build)
    if before.get("execution") != stamp["execution"]:
        forget(build / ".jupyter_cache")
        forget(build / ".doctrees")
    if before.get("reading") != stamp["reading"]:
        forget(build / ".doctrees")
    # Before the build, so that a file saved while it runs makes the site stale.
    sources = sources_digest(root)
    write_stamp(build, stamp | {"sources": None})
    status = run_jupyter_book(root, build.parent, environment)
    # A failed build leaves pages, too.
    if found := found_in(build / "html", hidden):
        forget(build / "html")
        forget(build / ".doctrees")
        print(complaint(found), file=sys.stderr)
        return status or 1
    if status != 0:
        # Sphinx does not read again a page whose warning it has shown: the next build would pass.
        forget(build / ".doctrees")
        print("The book was not built; the reason stands above.", file=sys.stderr)
        return status
    write_stamp(build, stamp | {"sources": sources})
    print(f"The book: {build / 'html' / 'index.html'}")
    return 0


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Build the book as a web site.")
    parser.add_argument(
        "--path-output",
        type=Path,
        metavar="DIR",
        help="where to put _build (default: beside _config.yml, or in _build/instructor)",
    )
    output = parser.parse_args().path_output
    if output is None:
        # Apart from the site for students, so that no solution is published by mistake.
        output = ROOT / "_build" / "instructor" if solutions_wanted() else ROOT
    return build_book(ROOT, output.resolve())


if __name__ == "__main__":
    sys.exit(main())
