"""Which files are pages, and what the pages of exercises show of the solutions."""

from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config

from lecture_book.notebooks.exercises import FOLDER, page_text
from lecture_book.project import toc_pages
from lecture_grader.authoring.assignment import read_assignment


def only_pages_of_the_toc(app: Sphinx, config: Config) -> None:
    """Let nothing be a page but what `_toc.yml` names.

    Jupyter Book excludes all other files one by one. It searches for them by the path of the
    checkout, and finds none where that holds a sign such as a bracket.
    """
    config.include_patterns = [f"{docname}.md" for docname, _ in toc_pages(Path(app.srcdir))]


def show_solutions(app: Sphinx, docname: str, source: list[str]) -> None:
    """In an instructor's build, put solutions, wrong answers and hidden checks on the pages."""
    if app.config.lecture_solutions and docname.startswith(f"{FOLDER}/"):
        exercise = Path(app.srcdir) / "exercises" / f"{Path(docname).name}.md"
        app.env.note_dependency(str(exercise))
        source[0] = page_text(read_assignment(exercise), solutions=True)
