"""Build the book as a site: `python -m lecture_book.build`, which is what `make book` runs.

Jupyter Book's cache considers only the cells of a notebook. This driver runs all chapters again
when the package, the data, the budget or a library changes. It also chooses the data once for all
kernels, makes a failed build fail again, and removes a students' site that shows a solution.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lecture_book.execution import choose_data, execution_key, kernel_environment
from lecture_book.project import TOC, ProjectError, digest, package_digest, project_root
from lecture_book.site import read_stamp, sources_digest, write_stamp
from lecture_book.solutions import HiddenCell, complaint, found_in, hidden_cells, solutions_wanted
from lecture_grader.authoring.assignment import ExerciseError
from lecture_vae.data import DataError
from lecture_vae.store import StoreError

# A builder ends with this process, in whatever way this process ends. Otherwise it would go on
# writing pages, and the next build would write beside it.
FOLLOW = """
import os, sys, threading

def follow():
    while os.read(0, 1):  # to the end, which comes when the parent has gone
        pass
    os._exit(1)

threading.Thread(target=follow, daemon=True).start()
"""
# Hides the traceback of Jupyter Book, because Sphinx has already printed the error.
JUPYTER_BOOK = """
from jupyter_book.cli.main import main
try:
    main()
except RuntimeError:
    sys.exit(1)
except OSError as error:  # outside of Sphinx, such as a full disk
    sys.exit(f"{type(error).__name__}: {error}")
"""
SPHINX = """
from sphinx.cmd.build import main
sys.exit(main(sys.argv[1:]))
"""


def reading_key(root: Path) -> str:
    """A hash of further inputs of the pages, whose changes Sphinx does not detect."""
    return f"{digest(root.glob(TOC), root)}-{package_digest('lecture_book')}"


def forget(folder: Path) -> None:
    """Delete a folder if it exists."""
    if folder.exists():
        shutil.rmtree(folder)


def run_jupyter_book(root: Path, output: Path, environment: dict[str, str]) -> int:
    """Build the site with warnings as errors; returns the exit status."""
    options = ["-W", "-n", "--keep-going", "--path-output", str(output)]
    return run_following(JUPYTER_BOOK, ["build", *options, str(root)], root, environment)


def run_sphinx(root: Path, output: Path, environment: dict[str, str]) -> int:
    """The same without Jupyter Book: Sphinx alone, with the settings of `conf.py`."""
    build = output / "_build"
    options = ["-W", "-n", "--keep-going", "-b", "html", "-d", str(build / ".doctrees")]
    return run_following(SPHINX, [*options, str(root), str(build / "html")], root, environment)


def run_following(
    code: str, options: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> int:
    """Run code in a process that ends when this one does; returns its exit status."""
    command = [sys.executable, "-c", FOLLOW + code, *options]
    with subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.PIPE) as process:
        return process.wait()


def build_book(root: Path, output: Path, *, sphinx: bool = False) -> int:
    """Build a checkout as a site; prints errors in one line.

    Args:
        root: the checkout.
        output: the site is written into its folder `_build`.
        sphinx: whether Sphinx builds it alone, without Jupyter Book.

    Returns:
        The exit status.
    """
    build = output / "_build"
    try:
        return _build_book(root, build, run_sphinx if sphinx else run_jupyter_book)
    except Timeout:
        line = f"Another process builds the book in {build}: wait until it is done."
        print(line, file=sys.stderr)
        return 1
    except (DataError, ExerciseError, OSError, StoreError, ValueError) as error:
        print(f"The book cannot be built: {' '.join(str(error).split())}", file=sys.stderr)
        return 1


def _build_book(root: Path, build: Path, run: Callable[[Path, Path, dict[str, str]], int]) -> int:
    from lecture_vae import budget

    hidden = [] if solutions_wanted() else hidden_cells(root)
    steps = budget()
    source, data = choose_data()
    environment = kernel_environment(source)
    stamp = {"execution": execution_key(data, steps), "reading": reading_key(root)}
    build.mkdir(parents=True, exist_ok=True)
    with FileLock(build / ".lock", timeout=0):
        return _build_pages(
            root, build, partial(run, root, build.parent, environment), hidden, stamp
        )


def _build_pages(
    root: Path, build: Path, run: Callable[[], int], hidden: list[HiddenCell], stamp: dict[str, Any]
) -> int:
    before = read_stamp(build)
    if before.get("execution") != stamp["execution"]:
        forget(build / ".jupyter_cache")
        forget(build / ".doctrees")
    if before.get("reading") != stamp["reading"]:
        forget(build / ".doctrees")
    # Before the build, so that a file saved while it runs makes the site stale.
    sources = sources_digest(root)
    write_stamp(build, stamp | {"sources": None})
    status = run()
    # A failed build also leaves pages.
    if found := found_in(build / "html", hidden):
        forget(build / "html")
        forget(build / ".doctrees")
        print(complaint(found), file=sys.stderr)
        return status or 1
    if status != 0:
        # Sphinx would not repeat the warnings of unchanged pages, so the next build would pass.
        forget(build / ".doctrees")
        print("The book was not built; the reason stands above.", file=sys.stderr)
        return status
    write_stamp(build, stamp | {"sources": sources})
    print(f"The book: {build / 'html' / 'index.html'}")
    return 0


def output_folder(root: Path) -> Path:
    """Where `_build` is put if nothing else is said.

    A site with solutions is separate from the students', so that none is published by mistake.
    """
    return root / "_build" / "instructor" if solutions_wanted() else root


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m lecture_book.build", description="Build the book as a web site."
    )
    parser.add_argument(
        "--path-output",
        type=Path,
        metavar="DIR",
        help="where to put _build (default: beside _config.yml, or in _build/instructor)",
    )
    parser.add_argument(
        "--sphinx",
        action="store_true",
        help="let Sphinx build the same site without Jupyter Book, which is not imported",
    )
    given = parser.parse_args()
    try:
        root = project_root()
    except ProjectError as error:
        print(f"The book cannot be built: {error}", file=sys.stderr)
        return 1
    output = given.path_output or output_folder(root)
    return build_book(root, output.resolve(), sphinx=given.sphinx)


if __name__ == "__main__":
    sys.exit(main())
