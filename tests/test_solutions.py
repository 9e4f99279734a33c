"""No solution reaches the students' site: each wall holds alone, wherever the checkout lies."""

import html
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from sphinx.project import Project

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book" / "_ext"))

import build
import solutions
from exercise_pages import assignments, page_text
from flatten import toc_pages

from lecture_grader.authoring.assignment import read_assignment
from lecture_grader.authoring.handout import student_notebook

ROOT = Path(__file__).resolve().parents[1]
SMALL = ROOT / "tests" / "exercises" / "small.md"
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf8"))


# ---------------------------------------------------------------------------- what is a page


def pages(tree: Path, **patterns) -> set[str]:
    """What Sphinx takes for a page of a folder."""
    return set(Project(str(tree), {".md": "markdown", ".ipynb": "myst-nb"}).discover(**patterns))


@pytest.fixture
def tree(tmp_path) -> Path:
    """Every .md and .ipynb of this repository, empty, and files that a checkout gathers."""
    command = ["git", "-C", str(ROOT), "ls-files", "*.md", "*.ipynb"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert "exercises/03_elbo.md" in names
    for name in [*names, "exercises/own/mine.md", "tests/a/b.md", "results/notes.md", ".venv/x.md"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    shutil.copy(ROOT / "_toc.yml", tmp_path)
    return tmp_path


def test_the_patterns_alone_let_nothing_but_the_book_be_a_page(tree):
    found = pages(tree, exclude_paths=CONFIG["exclude_patterns"])
    assert found == {docname for docname, _ in toc_pages(ROOT)}


def test_the_toc_alone_lets_nothing_but_its_pages_be_a_page(tree):
    (tree / "book" / "draft.md").touch()
    app, config = SimpleNamespace(srcdir=tree), SimpleNamespace()
    solutions.only_pages_of_the_toc(app, config)
    assert pages(tree, include_paths=config.include_patterns) == {
        docname for docname, _ in toc_pages(ROOT)
    }


@pytest.mark.slow
def test_a_checkout_may_lie_in_a_folder_of_any_name(tmp_path):
    """Built without the patterns, so that the toc alone decides."""
    signs = "" if os.name == "nt" else "*?"
    checkout = tmp_path / f"a [b] {{c}} ! %20 #é {signs}"
    ignored = shutil.ignore_patterns("__pycache__", "live", "*.ipynb_checkpoints")
    for name in ("_ext", "_static", "_templates", "exercises"):
        shutil.copytree(ROOT / "book" / name, checkout / "book" / name, ignore=ignored)
    for name in ("exercises", "results"):
        shutil.copytree(ROOT / name, checkout / name)
    shutil.copytree(ROOT / "tests" / "exercises", checkout / "tests" / "exercises")
    shutil.copy(ROOT / "book" / "references.bib", checkout / "book")
    (checkout / "book" / "index.md").write_text("(ch-elbo)=\n# A small book\n")
    chapters = [{"file": "book/exercises/03_elbo"}]
    toc = {"format": "jb-book", "root": "book/index", "parts": [{"chapters": chapters}]}
    (checkout / "_toc.yml").write_text(yaml.safe_dump(toc))
    config = CONFIG | {"exclude_patterns": ["**/*.ipynb", "*.ipynb"]}
    config["execute"] = CONFIG["execute"] | {"execute_notebooks": "off"}
    (checkout / "_config.yml").write_text(yaml.safe_dump(config))
    command = [sys.executable, checkout / "book" / "_ext" / "build.py"]
    environment = os.environ | {"LECTURE_VAE_DATA": "digits"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    site = checkout / "_build" / "html"
    built = {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    assert {"book/index.html", "book/exercises/03_elbo.html"} <= built
    assert [name for name in built if name.startswith(("exercises/", "tests/", "results/"))] == []


# ---------------------------------------------------------------------------- the last look


def test_every_solution_and_hidden_check_has_a_line_that_is_looked_for():
    cells = solutions.hidden_cells(ROOT)
    unknown = [cell.name for cell in cells if not cell.lines]
    assert len(cells) > 90
    assert [name for name in unknown if not name.startswith("the wrong answer")] == []
    assert len(unknown) <= 2  # a wrong answer may differ from the right one by a word


def test_what_students_get_shows_no_hidden_cell(tmp_path):
    for assignment in assignments(ROOT):
        (tmp_path / f"{assignment.name}.md").write_text(page_text(assignment, solutions=False))
        notebook = json.dumps(student_notebook(assignment))
        (tmp_path / f"{assignment.name}.ipynb").write_text(notebook)
    assert solutions.found_in(tmp_path, solutions.hidden_cells(ROOT)) == []


def highlighted(code: str) -> str:
    """Code as a page shows it: every word in a tag of its own."""
    return " ".join(f"<span class='n'>{html.escape(word)}</span>" for word in code.split(" "))


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("exercises/a.html", highlighted),
        ("b.html", lambda code: f'<button data-code="{code}">Copy</button>'),
        ("_sources/a.md.txt", str),
        ("_sources/a.ipynb", lambda code: json.dumps({"cells": [{"source": code}]})),
        ("searchindex.js", lambda code: f"Search.setIndex({json.dumps(code)})"),
        ("no-suffix", lambda code: code.replace("    ", "\t")),
    ],
)
@pytest.mark.parametrize("role", ["solution", "hidden"])
def test_a_hidden_cell_is_found_in_any_text_of_the_site(tmp_path, role, name, written):
    project = with_exercises(tmp_path / "project")
    exercise = read_assignment(SMALL).exercises[1]
    path = tmp_path / "site" / name
    path.parent.mkdir(parents=True)
    path.write_text(written(getattr(exercise, role)))
    (tmp_path / "site" / "picture.png").write_bytes(b"\x89PNG\xff\xfe")
    what = "solution" if role == "solution" else "hidden check"
    found = solutions.found_in(tmp_path / "site", solutions.hidden_cells(project))
    assert found == [f"{name}: the {what} of mean-and-variance"]


def with_exercises(project: Path) -> Path:
    (project / "exercises").mkdir(parents=True)
    (project / "book").mkdir()
    shutil.copy(SMALL, project / "exercises")
    return project


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project with exercises."""
    monkeypatch.setattr(build, "choose_data", lambda: ("digits", {"name": "d", "fingerprint": "f"}))
    return with_exercises(tmp_path)


def writes(*, solved: bool, status: int = 0):
    """A Jupyter Book that writes a page with or without solutions."""

    def run(root: Path, output: Path, environment: dict[str, str]) -> int:
        page = output / "_build" / "html" / "exercises" / "small.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(page_text(read_assignment(SMALL), solutions=solved))
        return status

    return run


@pytest.mark.parametrize("status", [0, 3], ids=["built", "failed"])
def test_a_site_that_shows_a_solution_is_removed(project, monkeypatch, capsys, status):
    monkeypatch.setattr(build, "run_jupyter_book", writes(solved=True, status=status))
    assert build.build_book(project, project) == (status or 1)
    assert not (project / "_build" / "html").exists()
    assert build.read_stamp(project / "_build")["sources"] is None
    message = capsys.readouterr().err
    assert "must show no solution, wrong answer or hidden check, but it did" in message
    assert "\n  exercises/small.html: the solution of mean-and-variance\n" in message
    assert "x.mean(dim=1)" not in message


def test_a_site_without_solutions_stays(project, monkeypatch):
    monkeypatch.setattr(build, "run_jupyter_book", writes(solved=False))
    assert build.build_book(project, project) == 0
    assert (project / "_build" / "html" / "exercises" / "small.html").exists()


def test_the_instructors_site_keeps_its_solutions(project, monkeypatch):
    monkeypatch.setenv("LECTURE_VAE_SOLUTIONS", "1")
    monkeypatch.setattr(build, "run_jupyter_book", writes(solved=True))
    assert build.build_book(project, project / "_build" / "instructor") == 0
    assert (project / "_build" / "instructor" / "_build" / "html").exists()


def test_exercises_that_break_a_rule_stop_the_build_before_anything_is_written(
    project, monkeypatch, capsys
):
    source = project / "exercises" / "small.md"
    text = source.read_text(encoding="utf8").replace(":tags: [solution]", ":tags: [solved]")
    source.write_text(text, encoding="utf8")
    monkeypatch.setattr(build, "run_jupyter_book", writes(solved=True))
    assert build.build_book(project, project) == 1
    assert not (project / "_build").exists()
    assert "got 'solved'" in capsys.readouterr().err
