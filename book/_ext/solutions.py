"""What keeps solutions out of the students' site: three walls, none of which leans on another.

1. `exclude_patterns` of `_config.yml` names the folders that hold them.
2. Nothing is a page that `_toc.yml` does not name (`only_pages_of_the_toc`).
3. Before a site may stay, every text in it is searched for lines that students must not see.
"""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from exercise_pages import assignments, page_text
from flatten import toc_pages
from sphinx.application import Sphinx
from sphinx.config import Config

from lecture_grader.authoring.assignment import Assignment

DISTINCTIVE = 20  # signs, blanks and quotes not counted: a shorter line may stand anywhere
SHOWN = 5  # of the places where a solution was found


@dataclass(frozen=True)
class HiddenCell:
    """A cell that students must not see, by the lines that stand nowhere else."""

    name: str  # "the solution of known-variance-elbo"
    lines: frozenset[str]  # squeezed


def only_pages_of_the_toc(app: Sphinx, config: Config) -> None:
    """Let nothing be a page but what `_toc.yml` names.

    Jupyter Book excludes all other files one by one. It searches for them by the path of the
    checkout, and finds none where that holds a sign such as a bracket.
    """
    config.include_patterns = [f"{docname}.md" for docname, _ in toc_pages(Path(app.srcdir))]


def squeezed(text: str) -> str:
    """Without blanks, quotes and backslashes, which JSON, HTML and a line's width change."""
    return "".join(text.split()).replace('"', "").replace("'", "").replace("\\", "")


def hidden_cells(root: Path) -> list[HiddenCell]:
    """Every solution, wrong answer and hidden check of the exercises.

    Raises:
        ExerciseError: The source of an assignment breaks a rule.
    """
    sources = assignments(root)
    texts = [page_text(each, solutions=False) for each in sources]
    texts += [code for each in sources for code in _handed_out(each)]
    # Chapters may use the same lines, and the page on the package quotes it.
    files = [*(root / "book").glob("*.md"), *(root / "lecture_vae").rglob("*.py")]
    texts += [path.read_text(encoding="utf8") for path in files]
    shown = "\n".join(map(squeezed, texts))
    cells = [cell for each in sources for cell in _hidden(each)]
    return [HiddenCell(name, _distinctive(code, shown)) for name, code in cells]


def _distinctive(code: str, shown: str) -> frozenset[str]:
    lines = map(squeezed, code.splitlines())
    return frozenset(each for each in lines if len(each) >= DISTINCTIVE and each not in shown)


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
    """Where a site shows a hidden cell: 'exercises/a.html: the solution of b', one line each."""
    lines = {line for cell in cells for line in cell.lines}
    found = []
    for path in sorted(path for path in site.rglob("*") if path.is_file()):
        text = _readable(path)
        here = {line for line in lines if line in text}
        name = path.relative_to(site).as_posix()
        found += [f"{name}: {cell.name}" for cell in cells if here & cell.lines]
    return found


def _readable(path: Path) -> str:
    """What a file says, squeezed; nothing if it is no text."""
    try:
        text = path.read_text(encoding="utf8")
    except UnicodeDecodeError:
        return ""
    if path.suffix == ".html":  # with its tags, whose attributes may hold code, and without
        text = f"{text}\n{html.unescape(re.sub(r'<[^>]*>', '', text))}"
    return squeezed(text)


def complaint(found: list[str]) -> str:
    """What to say of a site that shows hidden cells; it quotes none of them."""
    places = "".join(f"\n  {line}" for line in found[:SHOWN])
    more = f"\n  and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return (
        "The students' site must show no solution, wrong answer or hidden check, but it did, so "
        f"it was removed:{places}{more}\n"
        "Does a page quote a file of exercises/, or does _toc.yml name one? If an earlier build "
        "left the page, build again. LECTURE_VAE_SOLUTIONS=1 builds the instructors' site."
    )
