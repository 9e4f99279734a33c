"""Keep solutions out of the students' site: three safeguards, each of which suffices alone.

1. `exclude_patterns` of `_config.yml` names the folders that hold them.
2. Only files in `_toc.yml` become pages (`hooks.solutions.only_pages_of_the_toc`).
3. After a build, every text file of the site is searched for lines of solutions; a site with such
   a line is removed (`build`).
"""

import html
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lecture_book.notebooks.exercises import assignments, page_text
from lecture_book.project import files_below, package_folder
from lecture_grader.authoring.assignment import Assignment

MIN_LENGTH = 20  # characters of a squeezed line; shorter ones may occur anywhere
MAX_LISTED = 5  # pages in an error message


@dataclass(frozen=True)
class HiddenCell:
    """A cell that students must not see, by the lines that occur nowhere else."""

    name: str  # "the solution of kl-in-bits"
    lines: frozenset[str]  # squeezed


def solutions_wanted() -> bool:
    """Whether this is an instructor's build (`LECTURE_VAE_SOLUTIONS=1`)."""
    return os.environ.get("LECTURE_VAE_SOLUTIONS", "") == "1"


def squeezed(text: str) -> str:
    """The text without white space, quotes and backslashes, which JSON and HTML may change."""
    return "".join(text.split()).replace('"', "").replace("'", "").replace("\\", "")


def hidden_cells(root: Path) -> list[HiddenCell]:
    """Every solution, wrong answer and hidden check of the exercises.

    Raises:
        ExerciseError: The source of an assignment breaks a rule.
    """
    sources = assignments(root)
    texts = [page_text(each, solutions=False) for each in sources]
    texts += [code for each in sources for code in _handed_out(each)]
    # Chapters may contain the same lines, and the API page quotes the package.
    code = [path for path in files_below(package_folder("lecture_vae")) if path.suffix == ".py"]
    files = [*(root / "book").glob("*.md"), *code]
    texts += [path.read_text(encoding="utf8") for path in files]
    shown = "\n".join(map(squeezed, texts))
    cells = [cell for each in sources for cell in _hidden(each)]
    return [HiddenCell(name, _distinctive(code, shown)) for name, code in cells]


def _distinctive(code: str, shown: str) -> frozenset[str]:
    lines = map(squeezed, code.splitlines())
    return frozenset(each for each in lines if len(each) >= MIN_LENGTH and each not in shown)


def _handed_out(assignment: Assignment) -> Iterator[str]:
    yield assignment.setup
    for exercise in assignment.exercises:
        yield from (exercise.stub, exercise.check)


def _hidden(assignment: Assignment) -> Iterator[tuple[str, str]]:
    for exercise in assignment.exercises:
        yield f"the solution of {exercise.name}", exercise.solution
        yield f"the hidden check of {exercise.name}", exercise.hidden
        for wrong in exercise.wrong:
            yield f"the wrong answer {wrong.name} of {exercise.name}", wrong.source


def found_in(site: Path, cells: list[HiddenCell]) -> list[str]:
    """The pages of a site that show a hidden cell: 'exercises/a.html: the solution of b', ..."""
    lines = {line for cell in cells for line in cell.lines}
    found = []
    for path in sorted(path for path in site.rglob("*") if path.is_file()):
        text = _readable(path)
        here = {line for line in lines if line in text}
        name = path.relative_to(site).as_posix()
        found += [f"{name}: {cell.name}" for cell in cells if here & cell.lines]
    return found


def _readable(path: Path) -> str:
    """The squeezed text of a file; "" for a binary file."""
    try:
        text = path.read_text(encoding="utf8")
    except UnicodeDecodeError:
        return ""
    if path.suffix == ".html":  # with and without its tags, whose attributes may contain code
        text = f"{text}\n{html.unescape(re.sub(r'<[^>]*>', '', text))}"
    return squeezed(text)


def complaint(found: list[str]) -> str:
    """The error message for a site that shows hidden cells; it quotes none of them."""
    places = "".join(f"\n  {line}" for line in found[:MAX_LISTED])
    more = f"\n  and {len(found) - MAX_LISTED} more" if len(found) > MAX_LISTED else ""
    return (
        "The students' site must show no solution, wrong answer or hidden check, but it did, so "
        f"it was removed:{places}{more}\n"
        "Does a page quote a file of exercises/, or does _toc.yml name one? If an earlier build "
        "left the page, build again. LECTURE_VAE_SOLUTIONS=1 builds the instructors' site."
    )
