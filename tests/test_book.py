"""The sources of the book: complete, cross-referenced, each equation checked, each figure told."""

import ast
import errno
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import yaml
from conftest import has_ended
from filelock import FileLock
from jupyter_client.connect import LocalPortCache
from myst_nb.core.config import NbParserConfig
from myst_parser.config.main import MdParserConfig
from nbclient.exceptions import DeadKernelError
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from PIL import Image
from safetensors import safe_open
from sphinx.errors import ExtensionError

from lecture_book import build, execution
from lecture_book.extension import assets_digest
from lecture_book.figures import record_runs, stills
from lecture_book.hooks import accessibility, live_figures, loading, numbers, videos
from lecture_book.hooks import execution as hooks_execution
from lecture_book.hooks.signatures import readable_defaults
from lecture_book.hooks.solutions import show_solutions
from lecture_book.notebooks import write
from lecture_book.notebooks.book import Book, read_book
from lecture_book.notebooks.inline import FlattenError, Span, spans
from lecture_book.notebooks.markdown import Flattener
from lecture_book.notebooks.myst import LITERAL, Block, blocks, substitution_names
from lecture_book.notebooks.pages import Page, cell_figure
from lecture_book.project import LIVE, ProjectError, package_digest, project_root, toc_pages
from lecture_book.records import (
    BALANCE,
    RecordError,
    balance_values,
    missing,
    nats,
    recorded_values,
)
from lecture_book.site import built_with, read_stamp, sources_digest, write_stamp
from lecture_vae import TrainConfig
from lecture_vae.live import LiveFile, write_files

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def book() -> Book:
    return read_book(ROOT)


def page_of(text: str, docname: str = "book/01_test") -> Page:
    return Page(docname, 1, text)


def notebook_of(*cells: str) -> Page:
    """A page whose code cells are given with their options."""
    head = "---\njupytext:\n  text_representation: {extension: .md, format_name: myst}\n---\n\n"
    return page_of(head + "\n\n".join(f"```{{code-cell}} ipython3\n{cell}\n```" for cell in cells))


# ---------------------------------------------------------------------------- the toc


def test_the_toc_lists_every_page_and_every_listed_page_is_there():
    listed = {f"{docname}.md" for docname, _ in toc_pages(ROOT)}
    there = {path.relative_to(ROOT).as_posix() for path in (ROOT / "book").rglob("*.md")}
    assert listed == there


def test_chapters_are_numbered_in_the_order_of_their_file_names():
    chapters = [(docname, number) for docname, number in toc_pages(ROOT) if number]
    assert [int(Path(docname).name[:2]) for docname, _ in chapters] == [n for _, n in chapters]


# ---------------------------------------------------------------------------- the package


def private_names(source: str) -> list[str]:
    """What a code cell takes from the package without it being public."""
    import lecture_vae

    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "lecture_vae":
            names += [a.name for a in node.names if a.name not in lecture_vae.__all__]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lecture_vae."):
            names.append(str(node.module))
    return names


def test_chapters_use_public_names_only(book):
    found = [
        (page.stem, name) for page, cell in code_cells(book) for name in private_names(cell.source)
    ]
    assert found == []


def test_a_private_name_in_a_chapter_is_reported():
    assert private_names("from lecture_vae import load_images, _hidden") == ["_hidden"]
    assert private_names("from lecture_vae.store import key_of") == ["lecture_vae.store"]


# ---------------------------------------------------------------------------- equations


def code_cells(book: Book) -> Iterator[tuple[Page, nbformat.NotebookNode]]:
    for page in book.notebooks:
        for cell in page.cells:
            if cell.cell_type == "code":
                yield page, cell


def reached(tree: ast.Module) -> Iterator[ast.AST]:
    """The nodes that run when a cell runs: functions count only where they are called."""
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    waiting: list[ast.AST] = [n for n in tree.body if not isinstance(n, ast.FunctionDef)]
    while waiting:
        for node in ast.walk(waiting.pop()):
            yield node
            if isinstance(node, ast.Name) and node.id in functions:
                waiting.append(functions.pop(node.id))


def called(node: ast.AST) -> str:
    """The name of the function that a node calls; empty if it calls none."""
    if not isinstance(node, ast.Call):
        return ""
    return ast.unparse(node.func).rpartition(".")[2]


def is_check(node: ast.AST) -> bool:
    """Whether a node can fail for being wrong: an assert on something that is not a constant."""
    if isinstance(node, ast.Assert):
        return not isinstance(node.test, ast.Constant)
    return called(node).startswith("assert_")


def cell_proofs(pages: Iterable[Page]) -> Iterator[tuple[str, bool]]:
    """For every tag `proves:LABEL` its label, and whether the cell checks anything."""
    for page in pages:
        for cell in page.cells:
            for tag in cell.metadata.get("tags", []) if cell.cell_type == "code" else []:
                if tag.startswith("proves:"):
                    checks = any(is_check(node) for node in reached(ast.parse(cell.source)))
                    yield tag.removeprefix("proves:"), checks


def marked_proofs(sources: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """The same for every test that is marked `proves(LABEL)`."""
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            for mark in getattr(node, "decorator_list", []):
                if called(mark) == "proves":
                    yield mark.args[0].value, any(is_check(each) for each in ast.walk(node))


def unproved(labels: Iterable[str], proofs: Iterable[tuple[str, bool]]) -> list[str]:
    """What is wrong between the labelled equations and their checks; one line each."""
    labels, proofs = set(labels), list(proofs)
    checked = {label for label, checks in proofs if checks}
    needed = {label for label in labels if not label.startswith("eq-def-")}
    lines = [f"{label} has no check" for label in sorted(needed - checked)]
    lines += [
        f"a check names {each}, which is no equation" for each, _ in proofs if each not in labels
    ]
    return lines + [
        f"the check of {label} asserts nothing" for label, checks in proofs if not checks
    ]


def equations(book: Book) -> list[str]:
    return [label for label, target in book.targets.items() if target.kind == "equation"]


def test_every_equation_is_checked_and_every_check_has_its_equation(book):
    sources = [path.read_text(encoding="utf8") for path in (ROOT / "tests").glob("test_*.py")]
    proofs = [*cell_proofs(book.notebooks), *marked_proofs(sources)]
    assert unproved(equations(book), proofs) == []


def test_labels_of_equations_begin_with_eq(book):
    assert [label for label in equations(book) if not label.startswith("eq-")] == []


def test_an_equation_without_a_check_is_reported():
    proof = ':tags: ["proves:eq-a", "proves:eq-gone"]\nassert x == 1'
    empty = ":tags: [proves:eq-b]\nprint(1)"
    never_called = ":tags: [proves:eq-c]\ndef check():\n    assert x == 1"
    vacuous = ":tags: [proves:eq-d]\nassert True"
    page = notebook_of(proof, empty, never_called, vacuous)
    labels = ["eq-a", "eq-b", "eq-c", "eq-d", "eq-e", "eq-def-f"]
    assert unproved(labels, cell_proofs([page])) == [
        "eq-b has no check",
        "eq-c has no check",
        "eq-d has no check",
        "eq-e has no check",
        "a check names eq-gone, which is no equation",
        "the check of eq-b asserts nothing",
        "the check of eq-c asserts nothing",
        "the check of eq-d asserts nothing",
    ]


def test_a_marked_test_counts_as_a_check_only_if_it_asserts():
    good = '@pytest.mark.proves("eq-a")\ndef test_a():\n    torch.testing.assert_close(x, y)'
    bad = '@pytest.mark.proves("eq-b")\ndef test_b():\n    x + y'
    assert list(marked_proofs([good, bad])) == [("eq-a", True), ("eq-b", False)]


def test_a_check_in_a_function_that_the_cell_calls_counts():
    page = notebook_of(":tags: [proves:eq-a]\ndef check():\n    assert x == 1\n\ncheck()")
    assert list(cell_proofs([page])) == [("eq-a", True)]


def test_a_label_that_is_used_twice_is_refused(tmp_path):
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "references.bib").touch()
    (tmp_path / "_toc.yml").write_text("root: book/a\nparts: []\n")
    (tmp_path / "book" / "a.md").write_text("$$ x $$ (eq-a)\n\n$$ y $$ (eq-a)\n")
    with pytest.raises(FlattenError, match="the label eq-a is also in book/a"):
        read_book(tmp_path)


# ---------------------------------------------------------------------------- references


def inline(text: str) -> Iterator[Span]:
    """The inline syntax of a text, that inside directives too."""
    for block in blocks(text):
        if block.kind in ("heading", "prose"):
            yield from spans(block.body)
        elif block.kind == "directive" and block.name not in LITERAL:
            yield from inline(f"{block.argument}\n\n{block.body}")


def broken_references(page: Page, book: Book) -> list[str]:
    """Cross references and citations of a page that lead nowhere."""
    captions = [cell_figure(cell)["caption"] for cell in page.cells if cell_figure(cell)]
    texts = [cell.source for cell in page.cells if cell.cell_type == "markdown"] + captions
    lines = []
    for span in (span for text in texts for span in inline(text)):
        role, content = span.name, span.content
        target = content.rpartition("<")[2].removesuffix(">")
        if role in ("eq", "ref", "numref", "prf:ref"):
            known = target in book.targets
        elif role == "doc":
            known = Path(target).name in {each.stem for each in book.pages}
        elif role in ("cite:t", "cite:p", "cite"):
            known = {key.strip() for key in content.split(",")} <= set(book.bibliography.entries)
        else:
            continue
        if not known:
            lines.append(f"{page.stem}: {{{role}}}`{content}`")
    return lines


def test_every_cross_reference_and_citation_leads_somewhere(book):
    assert [line for page in book.pages for line in broken_references(page, book)] == []


def test_a_broken_reference_is_reported(book):
    page = page_of(
        "{eq}`eq-nowhere`, {ref}`words <ch-nowhere>`, {doc}`99_no`, {cite:p}`kingma2014auto, who`"
    )
    assert len(broken_references(page, book)) == 4
    assert broken_references(page_of("{cite:t}`kingma2014auto`, `{eq}`"), book) == []


# ---------------------------------------------------------------------------- figures

DRAWS = re.compile(r"plot_\w+|subplots|figure|latent_evolution|record")
VIDEOS = {"latent_evolution", "record"}


def drawn_figures(text: str) -> Iterator[Block]:
    """The figures and images of a Markdown text that are files, inside of other directives, too."""
    for block in blocks(text):
        if block.kind != "directive":
            continue
        if block.name in ("figure", "image"):
            yield block
        elif block.name not in LITERAL:
            yield from drawn_figures(block.body)


def untold_figures(page: Page) -> list[str]:
    """The figures of a page that lack a caption or a description; one line each."""
    lines = []
    for position, cell in enumerate(page.cells):
        if cell.cell_type == "markdown":
            for block in drawn_figures(cell.source):
                if not block.body.strip():
                    lines.append(f"{page.stem}: {block.argument} has no caption")
                if len(block.options.get("alt", "")) < 40:
                    lines.append(f"{page.stem}: {block.argument} has no alt text")
        if cell.cell_type != "code":
            continue
        calls = [called(node) for node in reached(ast.parse(cell.source))]
        draws = any(DRAWS.fullmatch(name) for name in calls) and "close" not in calls
        options = cell.metadata.get("mystnb", {})
        described = options.get("image", {}).get("alt") or VIDEOS & set(calls)
        if draws and not cell_figure(cell):
            lines.append(f"{page.stem}: cell {position} draws a figure without a caption")
        if draws and not described:
            lines.append(f"{page.stem}: cell {position} draws a figure without alt text")
    return lines


def test_every_figure_has_alt_text_and_a_caption(book):
    assert [line for page in book.notebooks for line in untold_figures(page)] == []


def test_a_figure_without_alt_text_or_caption_is_reported():
    bare = "fig, ax = plt.subplots()"
    alt = "---\nmystnb:\n  image:\n    alt: A line.\n---\nplot_latents(mu, labels);"
    closed = "fig, ax = plt.subplots()\nplt.close(fig)"
    video = "---\nmystnb:\n  figure:\n    caption: Points.\n---\nrecord(a, description='Points.')"
    page = notebook_of(bare, alt, closed, video)
    assert [line.partition(": ")[2] for line in untold_figures(page)] == [
        "cell 0 draws a figure without a caption",
        "cell 0 draws a figure without alt text",
        "cell 1 draws a figure without a caption",
    ]


def test_a_drawing_without_alt_text_or_caption_is_reported():
    bare = "```{figure} a.svg\n:name: fig-a\n```"
    told = f"```{{figure}} b.svg\n:name: fig-b\n:alt: {'A line. ' * 6}\n\nA caption.\n```"
    nested = f":::{{dropdown}} More\n{bare}\n:::"
    page = page_of(f"{bare}\n\n{told}\n\n{nested}")
    assert untold_figures(page) == [
        f"{page.stem}: a.svg has no caption", f"{page.stem}: a.svg has no alt text"
    ] * 2  # fmt: skip


# ---------------------------------------------------------------------------- notebooks

FILE_NAME = re.compile(r"[\w./-]+\.(csv|gif|json|mp4|npz|npy|png|pt|safetensors|txt)")


def relative_paths(source: str) -> list[str]:
    """The files that a cell names without saying where they are."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
            if (FILE_NAME.fullmatch(text) and not text.startswith("/")) or re.match(
                r"\.{1,2}/", text
            ):
                found.append(text)
        elif called(node) in ("open", "Path") and node.args:
            name = getattr(node.args[0], "value", None)
            if isinstance(name, str) and not name.startswith(("/", "~")):
                found.append(name)
    return found


def test_no_cell_leans_on_files_beside_the_notebook(book):
    assert [
        (page.stem, p) for page, cell in code_cells(book) for p in relative_paths(cell.source)
    ] == []


def test_a_relative_path_is_reported():
    assert relative_paths('json.load(open("results"))') == ["results"]
    assert relative_paths('plt.imread("media/a.png")') == ["media/a.png"]
    assert relative_paths('f"../{name}"') == ["../"]
    assert relative_paths('ax.set_ylabel("nats/image"); print("x_hat.shape")') == []


def test_each_chapter_has_several_compared_cells(book):
    for page in book.notebooks:
        tags = [tag for cell in page.cells for tag in cell.metadata.get("tags", [])]
        assert tags.count("nbval-check-output") >= 3, page.stem


def test_the_first_code_cell_of_a_chapter_holds_imports_alone(book):
    for page in book.notebooks:
        first = next(cell for cell in page.cells if cell.cell_type == "code")
        kinds = {type(node) for node in ast.parse(first.source).body}
        assert kinds <= {ast.Import, ast.ImportFrom}, page.stem


# ---------------------------------------------------------------------------- recorded numbers


def test_every_recorded_number_that_a_page_uses_is_there(book):
    values = {*recorded_values(ROOT), "built_with"}
    unknown = [(page.stem, name) for page in book.pages for name in substitution_names(page.text)]
    assert [each for each in unknown if each[1] not in values] == []


def test_a_number_without_a_record_is_refused_with_the_reason(tmp_path):
    flattener = Flattener(page_of(""), Book(tmp_path, [], recorded_values(tmp_path), None))
    with pytest.raises(RecordError, match=r"a_loss.*does not exist.*lecture-vae reproduce --full"):
        flattener.markdown("{{ a_loss }}")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "reproduction.json").touch()
    message = missing("conv_ae_los", {"conv_ae_loss": "1"}, tmp_path)
    assert message.endswith("holds no such value. Similar names: conv_ae_loss.")


def test_numbers_are_looked_for_wherever_markdown_stands():
    text = "```{note}\n{{ a }}\n```\n\n:::{tip} {{ b }}\n{{ c }}\n:::\n\n- {{ d }}\n"
    assert substitution_names(text) == ["a", "b", "c", "d"]
    assert substitution_names("```{code-cell} ipython3\nf'{{ a }}'\n```\n`{{ a }}`") == []


def test_a_kl_that_is_practically_zero_is_written_as_such():
    assert nats(7.1e-8) == "less than 0.001"
    assert nats(5.17063) == "5.171"


def test_formulas_and_code_are_not_taken_for_recorded_numbers():
    text = r"$\frac{{a}}{b}$ and `{{ a }}` and {{ a }}" + "\n```python\n{{ a }}\n```\n$$ {{a}} $$"
    assert substitution_names(text) == ["a"]
    flattener = Flattener(page_of(""), Book(ROOT, [], {"a": "7"}, None))
    flat = text.replace("and {{ a }}", "and 7").replace("$$ {{a}} $$", "$$ {{a}} $$")
    assert flattener.markdown(text) == flat


# ---------------------------------------------------------------------------- the build


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project to build with a Jupyter Book that only notes that it was asked."""
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "a.md").write_text("# A")
    monkeypatch.setattr(build, "choose_data", lambda: ("digits", {"name": "d", "fingerprint": "f"}))
    monkeypatch.setattr(build, "run_jupyter_book", lambda root, output, environment: 0)
    return tmp_path


def caches(project: Path) -> list[bool]:
    """Whether the executed notebooks and the pages that were read are kept; makes both anew."""
    folders = [project / "_build" / name for name in (".jupyter_cache", ".doctrees")]
    kept = [folder.exists() for folder in folders]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    return kept


def test_the_project_is_found_from_any_folder_in_it(tmp_path, monkeypatch, capsys):
    (tmp_path / "text" / "book").mkdir(parents=True)
    (tmp_path / "text" / "_config.yml").touch()
    monkeypatch.chdir(tmp_path / "text" / "book")
    assert project_root() == tmp_path / "text"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProjectError, match=r"lies beside a _config\.yml.* hold none"):
        project_root()


@pytest.mark.parametrize("module", [build, write, stills, record_runs])
def test_a_command_outside_of_a_checkout_ends_with_one_line(tmp_path, monkeypatch, capsys, module):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["command"])
    monkeypatch.setattr(stills, "browser_path", lambda: "chromium")
    monkeypatch.setattr(record_runs, "load_images", lambda: SimpleNamespace(name="mnist"))
    monkeypatch.setattr(record_runs, "fetch_runs", lambda *_: pytest.fail("it trains"))
    monkeypatch.setenv("LECTURE_VAE_BUDGET", "full")
    try:
        status = module.main()
    except SystemExit as end:
        status = end.code
    told = status if isinstance(status, str) else capsys.readouterr().err.strip()
    assert status
    assert "Is this a checkout of the lecture?" in told
    assert "\n" not in told


def test_the_site_is_made_by_the_installed_extension():
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf8"))["sphinx"]
    assert "lecture_book.extension" in config["config"]["extensions"]
    assert "local_extensions" not in config


def test_a_changed_file_of_a_package_changes_its_digest(tmp_path, monkeypatch):
    """Code, and what code reads: sources in C, tables."""
    (tmp_path / "some_package" / "native").mkdir(parents=True)
    (tmp_path / "some_package" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    seen = {package_digest("some_package")}
    (tmp_path / "some_package" / "native" / "layer.c").write_text("int f;")
    seen.add(package_digest("some_package"))
    (tmp_path / "some_package" / "__pycache__").mkdir()
    (tmp_path / "some_package" / "__pycache__" / "a.pyc").touch()
    seen.add(package_digest("some_package"))
    (tmp_path / "some_package" / ".layer.c.swp").touch()  # an editor's
    seen.add(package_digest("some_package"))
    assert len(seen) == 2


def test_a_changed_solution_makes_sphinx_read_the_instructors_page_again(tmp_path):
    (tmp_path / "exercises").mkdir()
    shutil.copy(ROOT / "tests" / "exercises" / "small.md", tmp_path / "exercises")
    noted: list[str] = []
    app = SimpleNamespace(
        srcdir=tmp_path,
        config=SimpleNamespace(lecture_solutions=True),
        env=SimpleNamespace(note_dependency=noted.append),
    )
    show_solutions(app, "book/exercises/small", [""])
    assert noted == [str(tmp_path / "exercises" / "small.md")]


def test_the_first_page_names_data_of_any_name(tmp_path):
    made = {"data": {"name": "letters"}, "budget": "quick", "python": "3.13"}
    libraries = {"libraries": {"torch": "2.6", "matplotlib": "3.9"}}
    write_stamp(tmp_path, {"execution": made | libraries})
    assert built_with(tmp_path).startswith("Data: letters. Budget: quick.")
    (tmp_path / "lecture_vae.json").write_text("{")
    assert built_with(tmp_path).startswith("Data and budget are unknown")


def test_a_second_build_keeps_what_the_first_one_executed(project):
    assert build.build_book(project, project) == 0
    caches(project)
    assert build.build_book(project, project) == 0
    assert caches(project) == [True, True]


@pytest.mark.parametrize(
    "change",
    [
        {"budget": lambda: "full"},
        {"load": {"name": "d", "fingerprint": "g"}},
        {"version": lambda name: "0"},
        {"package_digest": lambda name: "another package"},
    ],
    ids=["budget", "data", "library", "package"],
)
def test_what_the_outputs_depend_on_makes_the_chapters_run_again(project, monkeypatch, change):
    build.build_book(project, project)
    caches(project)
    if "budget" in change:
        monkeypatch.setattr("lecture_vae.budget", change["budget"], raising=False)
    elif "load" in change:
        monkeypatch.setattr(build, "choose_data", lambda: ("digits", change["load"]))
    else:
        [(name, value)] = change.items()
        monkeypatch.setattr(execution, name, value)
    build.build_book(project, project)
    assert caches(project) == [False, False]


@pytest.mark.parametrize("changed", ["toc", "hook"])
def test_another_order_or_another_hook_makes_sphinx_read_all_pages_again(
    project, monkeypatch, changed
):
    build.build_book(project, project)
    caches(project)
    if changed == "toc":
        (project / "_toc.yml").write_text("")
    else:
        monkeypatch.setattr(build, "package_digest", lambda name: f"another {name}")
    build.build_book(project, project)
    assert caches(project) == [True, False]


def test_a_build_that_failed_fails_again(project, monkeypatch):
    monkeypatch.setattr(build, "run_jupyter_book", lambda root, output, environment: 3)
    caches(project)
    build.build_book(project, project)
    caches(project)
    assert build.build_book(project, project) == 3
    assert caches(project) == [True, False]
    assert read_stamp(project / "_build")["sources"] is None


BUILDING = """
import os, sys
from lecture_book.build import run_following
code = "import time; print(os.getpid(), flush=True); time.sleep(600)"
run_following(code, [], sys.argv[1], os.environ)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_builder_ends_with_the_process_that_started_it(tmp_path, number):
    building = subprocess.Popen(
        [sys.executable, "-c", BUILDING, tmp_path], stdout=subprocess.PIPE, text=True
    )
    builder = int(building.stdout.readline())
    assert not has_ended(builder, patience=0.1)
    building.send_signal(number)
    building.wait()
    assert has_ended(builder)
    building.stdout.close()


def test_the_builders_status_is_that_of_the_build(tmp_path):
    code = "sys.exit(int(sys.argv[1]) + int(os.environ['MORE']))"
    assert build.run_following(code, ["3"], tmp_path, os.environ | {"MORE": "4"}) == 7


def test_a_full_disk_outside_of_sphinx_is_told_in_one_line(tmp_path, capfd):
    package = tmp_path / "jupyter_book" / "cli"
    package.mkdir(parents=True)
    for folder in (package.parent, package):
        (folder / "__init__.py").touch()
    (package / "main.py").write_text("def main(): raise OSError(28, 'No space left on device')\n")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    assert build.run_following(build.JUPYTER_BOOK, [], tmp_path, environment) == 1
    assert capfd.readouterr().err == "OSError: [Errno 28] No space left on device\n"


def test_of_two_builds_in_one_folder_the_second_is_refused(project, capsys):
    (project / "_build").mkdir()
    with FileLock(project / "_build" / ".lock"):
        assert build.build_book(project, project) == 1
    assert capsys.readouterr().err == (
        f"Another process builds the book in {project / '_build'}: wait until it is done.\n"
    )
    assert build.build_book(project, project) == 0


def test_dots_that_seaborn_moves_aside_lie_where_they_lay_in_the_last_build():
    seeded = 0
    for page in (ROOT / "book").glob("*.md"):
        for cell in re.findall(
            r"```\{code-cell\}.*?^```", page.read_text("utf8"), re.DOTALL | re.M
        ):
            if "sns.stripplot(" in cell:
                assert "np.random.seed(" in cell.partition("sns.stripplot(")[0], page.name
                seeded += 1
    assert seeded >= 2


def test_a_changed_source_makes_the_site_stale(project):
    build.build_book(project, project)
    noted = read_stamp(project / "_build")["sources"]
    assert noted == sources_digest(project)
    (project / "book" / "a.md").write_text("# B")
    assert noted != sources_digest(project)


def chapter(source: str) -> str:
    return (
        "---\njupytext:\n  text_representation:\n    format_name: myst\n"
        "kernelspec:\n  name: python3\n---\n\n# A chapter\n\n"
        f"```{{code-cell}} ipython3\n{textwrap.dedent(source).strip()}\n```\n"
    )


# Each ends only when the other has begun.
MEETING = """
    import pathlib, time
    pathlib.Path("{mine}").touch()
    for _ in range(600):
        if pathlib.Path("{other}").exists():
            break
        time.sleep(0.1)
    else:
        raise TimeoutError("alone")
"""


def chapters_environment(folder):
    """What MyST-NB's environment says of chapters in this folder."""
    cache = str(folder / "cache")
    return SimpleNamespace(
        mystnb_config=NbParserConfig(execution_mode="cache", execution_cache_path=cache),
        myst_config=MdParserConfig(),
        doc2path=lambda docname: str(folder / f"{docname}.md"),
    )


def kept_chapters(env):
    with hooks_execution.cache_in(env.mystnb_config.execution_cache_path) as cache:
        return {Path(record.uri).stem for record in cache.list_cache_records()}


def test_chapters_are_executed_side_by_side_and_kept_for_their_reading(tmp_path, monkeypatch):
    pages = {
        "a": chapter(MEETING.format(mine="a.txt", other="b.txt")),
        "b": chapter(MEETING.format(mine="b.txt", other="a.txt")),
        "stops": chapter("1 / 0"),
        "text": "# No cells\n",
        "count": chapter("open('count.txt', 'a').write('once ')"),
    }
    for name, text in pages.items():
        (tmp_path / f"{name}.md").write_text(text)
    env = chapters_environment(tmp_path)
    monkeypatch.setattr(hooks_execution, "cores", lambda: 2)
    for _ in range(2):
        hooks_execution.execute_side_by_side(None, env, [*pages])
        assert kept_chapters(env) == {"a", "b", "count"}
    assert (tmp_path / "count.txt").read_text() == "once "


@pytest.fixture
def taken_ports(monkeypatch):
    """Says how many kernels shall get ports that another process, here this one, has taken."""
    free = LocalPortCache.find_available_port
    asked = []
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()

        def first(kernels):
            def find(cache, ip):
                asked.append(ip)
                return held.getsockname()[1] if len(asked) <= 5 * kernels else free(cache, ip)

            monkeypatch.setattr(LocalPortCache, "find_available_port", find)
            return asked

        yield first


def one_cell():
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("print(6 * 7)")])


def test_a_kernel_whose_ports_are_taken_is_started_again(taken_ports):
    taken_ports(1)
    notebook = one_cell()
    write.execute(notebook, "a page", dict(os.environ))
    assert notebook.cells[0].outputs[0].text == "42\n"


def test_kernels_that_never_start_are_an_error(taken_ports, monkeypatch):
    monkeypatch.setattr(execution, "STARTS", 2)
    asked = taken_ports(9)
    with pytest.raises(RuntimeError, match="Kernel died before replying"):
        write.execute(one_cell(), "a page", dict(os.environ))
    assert len(asked) == 2 * 5


def test_a_kernel_says_nothing_of_its_own(capfd):
    notebook = one_cell()
    write.execute(notebook, "a page", dict(os.environ))
    assert notebook.cells[0].outputs[0].text == "42\n"
    assert capfd.readouterr().err == ""


NOT_STARTED = """
import nbformat, os
from lecture_book.execution import run_cells
notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
try:
    run_cells(notebook, ".", 60, os.environ | {"PYTHONHOME": "/nowhere"})
except RuntimeError as error:
    print(error)
"""


def test_kernels_that_never_start_leave_no_traceback_at_the_end():
    command = [sys.executable, "-c", NOT_STARTED]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Kernel died before replying")
    assert "Traceback" not in done.stderr


def test_a_kernel_that_ends_in_a_cell_runs_it_once(tmp_path):
    count = tmp_path / "count"
    notebook = one_cell()
    notebook.cells[0].source = f"import os; open({str(count)!r}, 'a').write('once '); os._exit(1)"
    with pytest.raises(DeadKernelError):
        write.execute(notebook, "a page", dict(os.environ))
    assert count.read_text() == "once "


def test_a_kernel_that_ends_does_not_stop_the_chapters_beside_it(tmp_path, monkeypatch):
    """It comes first, as the last one of the book, whose chapters take longest."""
    (tmp_path / "1_runs.md").write_text(chapter("from pathlib import Path; Path('began').stat()"))
    (tmp_path / "2_dies.md").write_text(chapter("import os; open('began', 'w'); os._exit(1)"))
    env = chapters_environment(tmp_path)
    monkeypatch.setattr(hooks_execution, "cores", lambda: 1)
    hooks_execution.execute_side_by_side(None, env, ["1_runs", "2_dies"])
    assert kept_chapters(env) == {"1_runs"}


def test_a_full_disk_ends_the_execution_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "runs.md").write_text(chapter("1 + 1"))
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    tried = []

    def none_left(*arguments):
        tried.append(arguments)
        raise full

    monkeypatch.setattr(hooks_execution, "run_cells", none_left)
    monkeypatch.setattr(hooks_execution, "cores", lambda: 2)
    told = r"The chapters cannot be executed: OSError: \[Errno 28\] No space left on device$"
    with pytest.raises(ExtensionError, match=told):
        hooks_execution.execute_side_by_side(None, chapters_environment(tmp_path), ["runs"] * 9)
    assert len(tried) <= 2  # what follows would fail, too


def test_a_cache_on_a_full_disk_ends_the_execution_in_one_line(tmp_path, monkeypatch):
    def refuse(_, __, statement, *___):
        if statement.split()[0] == refused:
            raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(hooks_execution, "cores", lambda: 1)
    told = "The chapters cannot be executed: OperationalError: database or disk is full$"
    sqlalchemy = pytest.importorskip("sqlalchemy")
    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", refuse)
    try:
        for refused in ("CREATE", "INSERT"):
            (tmp_path / refused).mkdir()
            (tmp_path / refused / "runs.md").write_text(chapter("1 + 1"))
            with pytest.raises(ExtensionError, match=told):
                hooks_execution.execute_side_by_side(
                    None, chapters_environment(tmp_path / refused), ["runs"]
                )
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", refuse)


def test_what_a_dataclass_makes_leaves_a_signature_that_python_can_read():
    shown = "(rows: list[dict[str, float | int]] = <factory>, seconds: float = 0.0)"
    signature, returns = readable_defaults(None, "class", "History", None, None, shown, "None")
    ast.parse(f"def history{signature}: pass")
    assert signature.startswith("(rows: list[dict[str, float | int]] = ..., ")
    assert returns == "None"
    assert readable_defaults(None, "data", "NAMES", (), None, None, None) == (None, None)


def test_kernels_get_one_data_set_and_draw_into_the_page(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    environment = execution.kernel_environment("digits")
    assert environment["LECTURE_VAE_DATA"] == "digits"
    assert "MPLBACKEND" not in environment


def test_kernels_have_one_thread_each(monkeypatch):
    """What is computed in a kernel says so: more threads than cores would wait for each other."""
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    told = execution.kernel_environment("digits")
    code = """
import threadpoolctl, torch, sklearn.manifold
print(torch.get_num_threads(), {pool["num_threads"] for pool in threadpoolctl.threadpool_info()})
"""
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, env=told, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["1", "{1}"]


def test_kernels_keep_their_runs_where_this_process_does(tmp_path, monkeypatch):
    """They start in the folders of their pages, where a relative path names another place."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LECTURE_VAE_RUNS", "runs")
    assert execution.kernel_environment("digits")["LECTURE_VAE_RUNS"] == str(tmp_path / "runs")
    monkeypatch.delenv("LECTURE_VAE_RUNS")
    monkeypatch.setenv("XDG_DATA_HOME", "data")  # some versions of platformdirs take it as it is
    assert Path(execution.kernel_environment("digits")["LECTURE_VAE_RUNS"]).is_absolute()


def test_kernels_load_the_data_that_a_relative_folder_names_here(tmp_path, monkeypatch):
    raw = tmp_path / "data/MNIST/raw"
    raw.mkdir(parents=True)
    for split, n in (("train", 2), ("t10k", 1)):
        images = struct.pack(">4I", 2051, n, 28, 28) + bytes(n * 784)
        (raw / f"{split}-images-idx3-ubyte").write_bytes(images)
        (raw / f"{split}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 2049, n) + bytes(n))
    monkeypatch.setattr("lecture_vae.mnist.cache_folder", lambda: tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LECTURE_VAE_DATA", "data")
    source, _ = execution.choose_data()
    assert source == str(tmp_path / "data")


def test_videos_leave_the_page_and_unused_ones_the_site(tmp_path):
    app = SimpleNamespace(outdir=tmp_path)
    code = '<pre>src="data:video/mp4;base64,AAAA"</pre>'
    poster = 'poster="data:image/png;base64,QUJD" aria-label="A dot."'
    video = f'<video {poster} src="data:video/mp4;base64,REVG"></video>'
    context = {"body": code + video, "content_root": "../"}
    videos.move_videos(app, "book/a", "page.html", context, None)
    assert context["body"].startswith(code)
    assert context["body"].endswith('.png" alt="A dot.">')
    addresses = re.findall(r'"(\.\./_static/media/\w+\.\w+)"', context["body"])
    contents = [(tmp_path / address.removeprefix("../")).read_bytes() for address in addresses]
    assert contents == [b"ABC", b"DEF", b"ABC"]  # the poster again, for paper
    (tmp_path / "a.html").write_text(addresses[0])
    videos.drop_unused_media(app, None)
    assert [path.suffix for path in (tmp_path / "_static" / "media").iterdir()] == [".png"]


def test_what_a_screen_reader_cannot_read_is_mended():
    context = {
        "body": '<summary aria-label="Toggle hidden content">Show</summary>'
        '<tr><th></th><th class="head"><p></p></th><th>A</th></tr>'
        '<div role="doc-biblioentry">B</div><dl>\n<dd>path,</dd>\n<dd>write,</dd>\n</dl>'
        "<dl>\n<dt>a</dt>\n<dd>b</dd>\n</dl>"
        '<section id="exercise-content">C</section><section id="solution-content">D</section>'
    }
    accessibility.correct_markup(None, "book/a", "page.html", context, None)
    assert context["body"] == (
        '<summary>Show</summary><tr><td></td><td class="head"></td><th>A</th></tr>'
        '<div role="listitem">B</div>'
        '<ul class="parameters">\n<li>path,</li>\n<li>write,</li>\n</ul>'
        "<dl>\n<dt>a</dt>\n<dd>b</dd>\n</dl>"
        "<section>C</section><section>D</section>"
    )


def test_images_keep_their_place_until_they_are_there(tmp_path):
    Image.new("L", (30, 20)).save(tmp_path / "a.png")
    (tmp_path / "c.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="40.4" height="9"/>'
    )
    images = {"a.png": "b.png", "c.svg": "d.svg"}
    app = SimpleNamespace(srcdir=tmp_path, builder=SimpleNamespace(images=images))
    context = {
        "body": '<img alt="A" src="../_images/b.png" /><img src="_images/other.png">'
        '<img class="diagram" src="_images/d.svg" />'
    }
    loading.reserve_space(app, "book/a", "page.html", context, None)
    assert context["body"] == (
        '<img loading="lazy" width="30" height="20" alt="A" src="../_images/b.png" />'
        '<img src="_images/other.png">'
        '<img loading="lazy" width="40" height="9" class="diagram" src="_images/d.svg" />'
    )


def test_a_script_that_the_theme_no_longer_has_stops_the_build():
    head = '<link href="a.css"><script defer src="s/icons.js?v=1"></script>'
    assert loading.without_script(head, "icons.js") == '<link href="a.css">'
    with pytest.raises(ExtensionError, match=r"One script gone\.js was expected"):
        loading.without_script(head, "gone.js")


def test_a_changed_style_makes_sphinx_write_the_pages(tmp_path):
    (tmp_path / "_static").mkdir()
    style = tmp_path / "_static" / "a.css"
    style.write_text("a")
    before = assets_digest(tmp_path)
    style.write_text("b")
    assert assets_digest(tmp_path) != before


def test_a_page_that_asks_for_an_unrecorded_number_stops_the_build(tmp_path):
    config = SimpleNamespace(myst_substitutions={"there": "1"})
    app = SimpleNamespace(srcdir=tmp_path, config=config)
    numbers.refuse_missing_numbers(app, "book/a", ["{{ there }}"])
    with pytest.raises(ExtensionError, match=r"book/a: \{\{ gone \}\} cannot be filled in"):
        numbers.refuse_missing_numbers(app, "book/a", ["{{ gone }}"])


# ---------------------------------------------------------------------------- environments

CONDA_NAMES = {
    "torch": "pytorch",
    "jupyter-client": "jupyter_client",
    "jupyter-core": "jupyter_core",
}


def requirement(line: str) -> tuple[str, str]:
    """Name and version bounds of a dependency."""
    match = re.fullmatch(r"([\w.-]+)(.*)", line.strip())
    assert match, line
    return match[1], match[2]


def environment_differences(pyproject: dict, environment: dict) -> list[str]:
    """Where conda's environment is not that of pyproject.toml; one line each."""
    project = pyproject["project"]
    wanted = dict([("python", project["requires-python"])])
    extras = project["optional-dependencies"].values()
    for line in [*project["dependencies"], *(line for extra in extras for line in extra)]:
        name, bounds = requirement(line)
        wanted[CONDA_NAMES.get(name, name)] = bounds
    conda = [line for line in environment["dependencies"] if isinstance(line, str)]
    pip = [
        line
        for part in environment["dependencies"]
        if isinstance(part, dict)
        for line in part["pip"]
    ]
    given = dict(requirement(line) for line in [*conda, *pip] if not line.startswith("-"))
    given.pop("pip", None)
    lines = [
        f"{name}: {given.get(name, 'missing')}, pyproject.toml has {bounds}"
        for name, bounds in wanted.items()
        if given.get(name) != bounds
    ]
    return lines + [f"{name} is not in pyproject.toml" for name in given if name not in wanted]


def test_the_conda_environment_is_that_of_pyproject():
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf8"))
    assert environment_differences(pyproject, environment) == []


def test_a_difference_between_the_environments_is_reported():
    pyproject = {
        "project": {
            "requires-python": ">=3.11",
            "dependencies": ["torch>=2.3", "numpy>=1.26"],
            "optional-dependencies": {"dev": ["pytest>=8"]},
        }
    }
    environment = {
        "dependencies": ["python>=3.11", "pip", "pytorch>=2.4", "scipy>=1", {"pip": ["pytest>=8"]}]
    }
    assert environment_differences(pyproject, environment) == [
        "pytorch: >=2.4, pyproject.toml has >=2.3",
        "numpy: missing, pyproject.toml has >=1.26",
        "scipy is not in pyproject.toml",
    ]


# ---------------------------------------------------------------------------- runs of the figures


@pytest.mark.parametrize("made_at", ["full", "quick", None])
def test_the_explorer_gets_the_books_own_runs_at_the_full_budget(tmp_path, monkeypatch, made_at):
    monkeypatch.setenv("LECTURE_VAE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("LECTURE_VAE_DATA", "digits")
    short = TrainConfig(steps=8, eval_every=4)
    monkeypatch.setattr(record_runs, "lecture_config", lambda model: short)
    if made_at:
        write_stamp(tmp_path, {"execution": {"budget": made_at}, "sources": None})
    app = SimpleNamespace(outdir=tmp_path / "html")
    live_figures.show_own_runs(app, RuntimeError("the build failed"))
    assert not app.outdir.exists()
    live_figures.show_own_runs(app, None)
    packs = app.outdir / "_static" / "live" / "runs"
    assert packs.exists() == (made_at == "full")
    if made_at == "full":
        heads = {path.parent.name: path.read_bytes() for path in packs.glob("*/model.safetensors")}
        assert sorted(heads) == sorted(record_runs.EXPLORER)
        assert all(rb"\"data\":\"digits\"" in head for head in heads.values())
        assert all(rb"\"steps\":8" in head for head in heads.values())


def test_the_explorers_runs_are_those_that_the_chapter_trains(book):
    """Names of folders, models and objectives stand in three places: they must agree."""
    figure = next(
        line for line in book.page("06_latent_space").text.splitlines() if line.startswith(":runs:")
    )
    assert sorted(json.loads(figure.partition("'")[2].rstrip("'"))) == sorted(record_runs.EXPLORER)
    assert sorted(path.name for path in (ROOT / LIVE / "runs").iterdir()) == sorted(
        record_runs.EXPLORER
    )
    chapter = book.page("05_linear_vae").text
    for model, objective in record_runs.EXPLORER.values():
        weight = getattr(objective, "kl_weight", None)
        written = f"NegativeELBO(kl_weight={weight})" if weight else "SquaredError()"
        assert f'"{model}", {written}' in chapter


@pytest.mark.parametrize(("name", "budget"), [("digits", "full"), ("mnist", "quick")])
def test_runs_are_recorded_on_mnist_at_the_full_budget_only(monkeypatch, name, budget):
    monkeypatch.setattr(record_runs, "load_images", lambda: SimpleNamespace(name=name))
    monkeypatch.setattr(record_runs, "fetch_runs", lambda *_: pytest.fail("it trains"))
    monkeypatch.setenv("LECTURE_VAE_BUDGET", budget)
    with pytest.raises(SystemExit, match=f"MNIST at the full budget, got {name} and {budget}"):
        record_runs.main()


def test_what_the_pages_say_of_the_balance_is_in_its_file(tmp_path):
    rows = [
        {"kl_weight": w, "test_loss": e + w * kl, "test_squared_error": e, "test_kl": kl,
         "affine_vae": {"squared_error": linear}}
        for w, e, kl, linear in ((0.5, 20.0, 3.0, 33.5), (7, 30.0, 1.0, 38.5))
    ]  # fmt: skip
    metadata = {"rows": rows, "collapse_weights": [10.0, 4.0]}
    write_files((tmp_path / BALANCE).parent, {BALANCE.stem: LiveFile(metadata, {})})
    assert {key: text for key, text in balance_values(tmp_path).items() if "7" in key} == {
        "balance_0_5_at_7": "41.00",
        "balance_7_loss": "37.00",
        "balance_7_squared_error": "30.00",
        "balance_7_kl": "1.00",
        "balance_7_linear_squared_error": "38.50",
    }
    assert balance_values(tmp_path)["balance_threshold_1"] == "10.0"


def test_the_rate_distortion_figure_draws_the_recorded_runs(book):
    """Chapter 5 holds the numbers itself, because a notebook has no files beside it."""
    drawn = {}
    for cell in book.page("05_linear_vae").cells:
        if cell.cell_type == "code" and "RECORDED = [" in cell.source:
            for node in ast.parse(cell.source).body:
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in (
                    "RECORDED",
                    "AUTOENCODER",
                ):
                    drawn[ast.unparse(node.targets[0])] = ast.literal_eval(node.value)
                elif isinstance(node, ast.Assign) and "VARIANCES" in ast.unparse(node.targets[0]):
                    variances, total = node.value.elts
                    drawn["VARIANCES"] = [*ast.literal_eval(variances.args[0]), total.value]
    with safe_open(ROOT / BALANCE, "numpy") as file:
        recorded = json.loads(file.metadata()["lecture_vae"])
    rows = [
        (row["kl_weight"], row["test_squared_error"], *row["kl_per_latent"])
        for row in recorded["rows"]
    ]
    assert [list(row) for row in drawn["RECORDED"]] == [
        pytest.approx(list(row), abs=6e-4) for row in rows
    ]
    half = [weight / 2 for weight in recorded["collapse_weights"]]
    assert drawn["VARIANCES"] == pytest.approx([*half, recorded["total_variance"]], abs=1e-4)
    runs = json.loads((ROOT / "results" / "reproduction.json").read_text(encoding="utf8"))["runs"]
    autoencoder = runs["linear_ae"]["ours"]["squared_error"]
    assert drawn["AUTOENCODER"] == pytest.approx(autoencoder, abs=6e-4)


def test_the_package_leaves_an_older_torch_and_numpy_alone():
    # The oldest that a chapter was seen to run with; Colab has newer ones, and they must stay.
    oldest = {"torch": "2.6.0", "torchvision": "0.21.0", "numpy": "1.26.4"}
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))
    needed = {r.name: r for r in map(Requirement, pyproject["project"]["dependencies"])}
    assert {each.operator for r in needed.values() for each in r.specifier} == {">="}
    for name, version in oldest.items():
        assert needed[name].specifier.contains(version), needed[name]


def test_the_oldest_typer_that_may_be_installed_works_with_the_click_that_comes_today():
    # With click 8.5, 0.25 and older take a missing word for None: a verb ended in a traceback.
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))
    [typer] = [
        r for r in map(Requirement, pyproject["project"]["dependencies"]) if r.name == "typer"
    ]
    assert not typer.specifier.contains("0.25.99")
    assert typer.specifier.contains("0.26.0")


def test_binder_gets_a_python_that_the_package_accepts_and_nothing_that_it_does_not_need():
    folder = ROOT / ".binder"
    binder = yaml.safe_load((folder / "environment.yml").read_text(encoding="utf8"))
    whole = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf8"))
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))
    # Binder reads a version behind one equal sign only.
    [python] = [line for line in binder["dependencies"] if line.startswith("python=")]
    accepted = SpecifierSet(pyproject["project"]["requires-python"])
    assert accepted.contains(f"{python.removeprefix('python=')}.0")
    names = {requirement(line)[0] for line in whole["dependencies"] if isinstance(line, str)}
    assert {line for line in binder["dependencies"] if line != python} <= names
    script = folder / "postBuild"
    assert "pip install --no-cache-dir ." in script.read_text(encoding="utf8")
    assert os.access(script, os.X_OK)
