"""The notebooks beside the chapters: the same cells, executed, readable outside of the site."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import nbformat
import pytest
import yaml

from lecture_book.notebooks import write
from lecture_book.notebooks.book import Book, read_book
from lecture_book.notebooks.flatten import flatten_page
from lecture_book.notebooks.inline import EXTENSIONS, FlattenError
from lecture_book.notebooks.labels import page_targets
from lecture_book.notebooks.markdown import Flattener
from lecture_book.notebooks.pages import Page

ROOT = Path(__file__).resolve().parents[1]
COMPARED = "nbval-check-output"
HEAD = "---\njupytext:\n  text_representation: {extension: .md, format_name: myst}\n---\n\n"

CHAPTER = r"""(ch-one)=
# The first chapter

We follow {cite:t}`kingma2014auto`, see {doc}`02_second`. Our loss is {{ a_loss }}.
% a remark for authors

$$
a = b
  + c
$$ (eq-sum)

From {eq}`eq-sum` and {eq}`eq-other` follows {prf:ref}`def-one`; {numref}`fig-line` shows it.

:::{prf:definition} Sum
:label: def-one

The sum is

$$
s = \sum_i
    a_i .
$$ (eq-def-s)
:::

:::{warning}
Never mix {math}`a` with `{b}`.

- Not even here.
:::

```python
untouched = "{{ a_loss }}"
```

```{code-cell} ipython3
import math
```

```{code-cell} ipython3
---
mystnb:
  image:
    alt: A line.
  figure:
    caption: |
      A line, after
      {cite:p}`burda2016importance,paszke2019pytorch`.
    name: fig-line
tags: [hide-input]
---
plt.plot([0, 1]);
```

```{code-cell} ipython3
:tags: [nbval-check-output]
print(math.pi)
```
"""
SECOND = r"""(ch-two)=
# The second chapter

$$ d = e $$ (eq-other)

:::{prf:proof}
By {ref}`the first chapter <ch-one>` and {ref}`ch-one`.
:::

```{code-cell} ipython3
1 + 1
```
"""


@pytest.fixture
def small(tmp_path) -> Book:
    """A book of two chapters that use everything the flattener knows."""
    (tmp_path / "book").mkdir()
    (tmp_path / "_toc.yml").write_text(
        "root: book/index\nparts:\n- numbered: 2\n  chapters:\n"
        "  - file: book/01_first\n  - file: book/02_second\n"
    )
    (tmp_path / "_config.yml").write_text(
        "repository: {url: 'https://github.com/us/ours', branch: trunk}\n"
    )
    (tmp_path / "book" / "references.bib").write_bytes(
        (ROOT / "book" / "references.bib").read_bytes()
    )
    (tmp_path / "book" / "01_first.md").write_text(HEAD + CHAPTER)
    (tmp_path / "book" / "02_second.md").write_text(HEAD + SECOND)
    book = read_book(tmp_path)
    book.values["a_loss"] = "36.60"
    return book


# ---------------------------------------------------------------------------- flattening

FIRST_CELL = r"""# The first chapter

We follow [Kingma and Welling (2014)](https://arxiv.org/abs/1312.6114), see [The second chapter](02_second.ipynb). Our loss is 36.60.

$$
a = b
  + c \tag{1.1}
$$

From (1.1) and [(2.1)](02_second.ipynb) follows Definition 1.1; Fig. 1.1 shows it.

> **Definition 1.1 (Sum).**
>
> The sum is
>
> $$ s = \sum_i a_i . \tag{1.2} $$

> **Warning.** Never mix $a$ with `{b}`.
>
> - Not even here.

```python
untouched = "{{ a_loss }}"
```"""  # noqa: E501


def test_a_chapter_becomes_plain_markdown(small):
    first, *_ = flatten_page(small.page("01_first"), small).cells
    assert first.source == FIRST_CELL


def test_a_proof_and_links_to_another_chapter(small):
    first, *_ = flatten_page(small.page("02_second"), small).cells
    assert first.source == (
        "# The second chapter\n\n$$ d = e \\tag{2.1} $$\n\n> *Proof.* By "
        "[the first chapter](01_first.ipynb) and [The first chapter](01_first.ipynb)."
    )


def test_the_first_code_cell_installs_the_package_where_it_is_missing(small):
    cell = flatten_page(small.page("01_first"), small).cells[1]
    assert cell.cell_type == "code"
    assert '%pip install -q "lecture-vae @ git+https://github.com/us/ours@trunk"' in cell.source
    assert "import lecture_vae" in cell.source


def test_a_caption_stands_under_its_figure_and_folded_code_stays_folded(small):
    cells = flatten_page(small.page("01_first"), small).cells
    assert cells[3].metadata["jupyter"] == {"source_hidden": True}
    assert cells[4].source == (
        "**Fig. 1.1.** A line, after ([Burda et al., 2016](https://arxiv.org/abs/1509.00519), "
        "[Paszke et al., 2019](https://arxiv.org/abs/1912.01703))."
    )


DRAWING = """```{figure} _static/models/a.svg
:name: fig-a
:class: diagram
:alt: Two boxes.

A drawing, beside
{numref}`fig-line`.
```"""


def test_a_drawing_is_numbered_with_the_other_figures_and_travels_with_the_notebook(small):
    folder = small.root / "book"
    (folder / "_static" / "models").mkdir(parents=True)
    (folder / "_static" / "models" / "a.png").write_bytes(b"picture")
    after = "plt.plot([0, 1]);\n```\n"
    assert after in CHAPTER
    for text, own, other in (
        (CHAPTER.replace(after, f"{after}\n{DRAWING}\n"), "1.2", "1.1"),
        (CHAPTER.replace("```{code-cell}", f"{DRAWING}\n\n```{{code-cell}}", 1), "1.1", "1.2"),
    ):
        (folder / "01_first.md").write_text(HEAD + text)
        book = read_book(small.root)
        book.values["a_loss"] = "36.60"
        notebook = flatten_page(book.page("01_first"), book)
        shown = "\n".join(cell.source for cell in notebook.cells)
        assert (
            "![Two boxes.](data:image/png;base64,cGljdHVyZQ==)\n\n"
            f"**Fig. {own}.** A drawing, beside Fig. {other}."
        ) in shown
        assert re.findall(r"^\*\*(Fig\. [\d.]+)\.", shown, re.MULTILINE) == ["Fig. 1.1", "Fig. 1.2"]


def test_cell_ids_say_where_a_cell_stands(small):
    cells = flatten_page(small.page("01_first"), small).cells
    assert [cell.id for cell in cells[:2]] == ["01_first-000", "01_first-001"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{unknown}`x`", "the role {unknown} has no plain form"),
        (":::{mystery}\nx\n:::", "the directive {mystery} has no plain form"),
        (":::{note}\nx", "a fence is not closed"),
        ("$$\na", "a formula is not closed"),
        ("{eq}`eq-nowhere`", "nothing is labelled eq-nowhere"),
        ("{cite:t}`who`", "who is not in references.bib"),
        ("{doc}`99_no`", "no page is named '99_no'"),
        ("![a](a.png)", "cannot show a.png"),
        ("```{figure} a.svg\n:name: fig-line\n:alt: A\n```", "a.png is missing beside a.svg"),
        ("A note[^1].", "no footnotes"),
        ("A note[^1].\n\n[^1]: Deep.", "no footnotes|footnote_reference_open has no plain form"),
        ("A fee of $5.", "a formula is not closed"),
        ("{eq}`eq-sum", "a role is not closed"),
        ("{{ a_loss }", "a substitution is not closed"),
        ("A <b>word</b>.", "html_inline has no plain form"),
        ("<div>\nx\n</div>", "html_block has no plain form"),
        ("[a][b]\n\n[b]: https://a.org", "with its address elsewhere"),
        ("- :::{note}\n  x\n  :::", "must begin on a line of its own"),
        ("> ```python\n> x\n> ```", "must begin on a line of its own"),
        ("(a-label)=\n+++", "myst_block_break has no plain form"),
    ],
)
def test_what_cannot_be_shown_in_a_notebook_is_refused(small, text, reason):
    page = Page("book/03_bad", 3, text)
    with pytest.raises(FlattenError) as error:
        Flattener(page, small).markdown(text)
    assert re.search(reason, str(error.value))


@pytest.mark.parametrize(
    ("text", "flat"),
    [
        (r"\$5 and \{eq}`x`", r"\$5 and \{eq}`x`"),
        ("`` {eq}`x` `` and `$`", "`` {eq}`x` `` and `$`"),
        ("[{{ a_loss }} nats](https://a.org/b_(c))", "[36.60 nats](https://a.org/b_(c))"),
        ("*[{eq}`eq-sum` in *it*](https://a.org)*", "*[(1.1) in *it*](https://a.org)*"),
        ("| a | b |\n|---|---|\n| {eq}`eq-sum` | x |", "| a | b |\n|---|---|\n| (1.1) | x |"),
        ("1. a\n\n   ```\n   {eq}`b`\n   ```\n", "1. a\n\n   ```\n   {eq}`b`\n   ```"),
        ("1. a\n\n   $$\n   a\n   $$ (eq-sum)\n", "1. a\n\n   $$ a \\tag{1.1} $$"),
        ("$$\na\n\n  b\n$$", "$$\na\n  b\n$$"),
        ("Text\n~~~{tip}\nx\n~~~\nText", "Text\n> **Tip.** x\nText"),
        ("::::{note}\n:::{tip}\nx\n:::\n::::", "> **Note.** > **Tip.** x"),
        ("Setext {eq}`eq-sum`\n---\n\n***", "Setext (1.1)\n---\n\n***"),
        ("    {eq}`code`", "    {eq}`code`"),
        ("[](#eq-other), [](02_second.md)",
         "[(2.1)](02_second.ipynb), [The second chapter](02_second.ipynb)"),
    ],
)  # fmt: skip
def test_what_is_rewritten_is_what_the_sites_parser_reads(small, text, flat):
    assert Flattener(small.page("01_first"), small).markdown(text) == flat


def test_the_parser_reads_what_the_site_reads():
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf8"))
    assert set(config["parse"]["myst_enable_extensions"]) == EXTENSIONS


def test_an_error_names_the_chapter(small):
    page = Page("book/03_bad", 3, HEAD + "{mystery}`x`\n\n```{code-cell} ipython3\n1\n```\n")
    with pytest.raises(FlattenError, match=r"^book/03_bad: the role \{mystery\}"):
        flatten_page(page, small)


def test_a_page_of_the_same_name_in_another_folder_is_another_page(small):
    """As in Sphinx, names are relative to the folder of the page."""
    text = "# Exercises\n\n{doc}`../01_first` and {doc}`01_first`"
    exercise = Page("book/exercises/01_first", None, text)
    small.pages.append(exercise)
    flat = Flattener(exercise, small).markdown(text)
    assert flat == "# Exercises\n\n[The first chapter](../01_first.ipynb) and Exercises"
    link = Flattener(small.page("02_second"), small).markdown("{doc}`exercises/01_first`")
    assert link == "[Exercises](exercises/01_first.md)"


def test_labels_are_not_looked_for_where_no_markdown_stands():
    text = "```{code-block} text\n$$ a $$ (eq-a)\n```\n\n```{math}\n:label: eq-b\nb\n```"
    assert [label for label, _ in page_targets(Page("book/04_x", 4, text), Counter())] == ["eq-b"]


def test_the_same_kind_counts_on_within_a_chapter_and_from_one_in_the_next():
    text = "$$ a $$ (eq-a)\n\n- in a list\n\n  $$ b $$ (eq-b)\n\n:::{note}\n$$ c $$ (eq-c)\n:::"
    targets = page_targets(Page("book/04_x", 4, text), Counter())
    numbers = {label: target.text for label, target in targets}
    assert numbers == {"eq-a": "(4.1)", "eq-b": "(4.2)", "eq-c": "(4.3)"}


def test_exercises_count_on_over_the_pages_without_a_number(small):
    """As Sphinx counts them, so that a chapter's notebook names the number on the site."""
    for name in ("a", "b"):
        text = f":::{{exercise}}\n:label: ex-{name}\n\nAnswer.\n:::\n"
        (small.root / "book" / f"exercises_{name}.md").write_text(f"# On {name}\n\n{text}")
    toc = yaml.safe_load((small.root / "_toc.yml").read_text())
    files = [{"file": f"book/exercises_{name}"} for name in ("a", "b")]
    toc["parts"].append({"caption": "Exercises", "chapters": files})
    (small.root / "_toc.yml").write_text(yaml.safe_dump(toc))
    book = read_book(small.root)
    flat = Flattener(book.page("01_first"), book).markdown("{ref}`ex-a`, {numref}`no. %s <ex-b>`")
    assert flat == "[Exercise 1](exercises_a.md), [no. 2](exercises_b.md)"


# ---------------------------------------------------------------------------- drift


def flattened_files(book: Book) -> None:
    for page in book.notebooks:
        write.write(flatten_page(page, book), write.path_of(page, book))


def test_notebooks_are_their_chapters():
    assert write.drift(read_book(ROOT)) == []


def test_drift_is_reported(small):
    flattened_files(small)
    assert write.drift(small) == []
    path = small.root / "book" / "02_second.ipynb"
    path.write_text(path.read_text().replace("1 + 1", "1 + 2"))
    (small.root / "book" / "01_first.ipynb").rename(small.root / "book" / "09_old.ipynb")
    assert write.drift(small) == [
        "01_first.ipynb is missing",
        "02_second.ipynb: 02_second-002 differs: '1 + 1'",
        "09_old.ipynb belongs to no chapter",
    ]


def test_a_changed_record_is_drift(small):
    flattened_files(small)
    small.values["a_loss"] = "36.61"
    assert write.drift(small) == ["01_first.ipynb: 01_first-000 differs: '# The first chapter'"]


# ---------------------------------------------------------------------------- execution


def unexecuted(notebook: nbformat.NotebookNode) -> list[str]:
    """The code cells that never ran, and the compared ones that have nothing to compare."""
    lines = []
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.execution_count is None:
            lines.append(f"{cell.id} was not executed")
        if COMPARED in cell.metadata.get("tags", []) and not cell.outputs:
            lines.append(f"{cell.id} has no output to compare")
    return lines


def test_every_chapter_was_executed_and_compares_something():
    for path in sorted((ROOT / "book").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        assert unexecuted(notebook) == [], path.name
        compared = [c for c in notebook.cells if COMPARED in c.metadata.get("tags", [])]
        assert len(compared) >= 3, path.name


def test_a_notebook_that_was_not_executed_is_reported(small):
    lines = unexecuted(flatten_page(small.page("01_first"), small))
    assert "01_first-002 was not executed" in lines
    assert "01_first-005 has no output to compare" in lines


def code_notebook(*sources: str, compared: bool = True) -> nbformat.NotebookNode:
    metadata = {"tags": [COMPARED]} if compared else {}
    cells = [nbformat.v4.new_code_cell(source, metadata=metadata) for source in sources]
    for position, cell in enumerate(cells):
        cell.id = f"x-{position:03d}"
    return nbformat.v4.new_notebook(cells=cells)


def ran(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    write.execute(notebook, "x", {**os.environ, "PYDEVD_DISABLE_FILE_VALIDATION": "1"})
    return notebook


def test_running_twice_gives_the_same_bytes(tmp_path):
    source = "import sys\nfor i in range(3):\n    print(i); sys.stdout.flush()\n1 + 1"
    for name in ("a", "b"):
        notebook = ran(code_notebook(source))
        write.keep_compared_outputs(notebook, "x")
        write.write(notebook, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert "version" not in notebook.metadata.language_info
    printed, shown = notebook.cells[0].outputs
    assert printed.text == "0\n1\n2\n"
    assert shown.data["text/plain"] == "2"


def test_a_chapter_runs_in_a_folder_of_its_own():
    notebook = ran(code_notebook("import os\nos.listdir()"))
    assert notebook.cells[0].outputs[0].data["text/plain"] == "[]"


def test_outputs_that_are_not_compared_are_dropped():
    notebook = ran(code_notebook("print(1)", compared=False))
    write.keep_compared_outputs(notebook, "x")
    assert notebook.cells[0].outputs == []
    assert notebook.cells[0].execution_count == 1


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("x = 1", "shows nothing"),
        ("import sys; print('a', file=sys.stderr)", "writes to stderr"),
        ("from IPython.display import Image, display; display(Image(b'x'))", "is no text"),
    ],
)
def test_a_compared_cell_must_show_text(source, reason):
    with pytest.raises(write.NotebookError, match=reason):
        write.keep_compared_outputs(ran(code_notebook(source)), "x")


def test_an_error_and_a_warning_stop_the_making_of_notebooks():
    with pytest.raises(write.NotebookError, match="ZeroDivisionError"):
        ran(code_notebook("1 / 0"))
    with pytest.raises(write.NotebookError, match="it is old"):
        ran(code_notebook("import warnings; warnings.warn('it is old', FutureWarning)"))


# ---------------------------------------------------------------------------- nbval


def nbval(path: Path) -> subprocess.CompletedProcess[str]:
    """Run nbval as `make test` does, over one notebook and with nothing of ours around it."""
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env"]
    options = ["--nbval-cell-timeout=60", "-p", "no:cacheprovider", "--rootdir", str(path.parent)]
    return subprocess.run(
        [*command, *options, "-c", os.devnull, str(path)],
        cwd=path.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def test_nbval_passes_on_the_right_number_and_fails_on_a_changed_one(tmp_path):
    notebook = ran(code_notebook("x = 6 * 7", "print(x)"))
    notebook.cells[0].metadata = {}
    write.keep_compared_outputs(notebook, "x")
    path = tmp_path / "number.ipynb"
    write.write(notebook, path)
    right = nbval(path)
    assert right.returncode == 0, right.stdout
    path.write_text(path.read_text().replace('"42\\n"', '"43\\n"'))
    wrong = nbval(path)
    assert wrong.returncode == 1, wrong.stdout
    assert "43" in wrong.stdout
    assert "42" in wrong.stdout
