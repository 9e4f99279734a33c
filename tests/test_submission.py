import copy
import json
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import mutated

from lecture_grader.authoring.assignment import Assignment, Exercise, WrongAnswer
from lecture_grader.authoring.handout import student_notebook
from lecture_grader.extracts import handed_out
from lecture_grader.submissions.answers import read_notebook
from lecture_grader.submissions.submission import StudentCell, Submission, source_of

NO_JSON, NO_CELLS = "the file is not JSON", "JSON, but not a notebook: it has no cells"
STUB = 'def {0}(x):\n    """The sum."""\n    raise NotImplementedError("Exercise {0}")'
HIDDEN = 'def draw(rng):\n    return [{"x": np.ones(2)}, {"x": np.arange(3.0)}]'


def exercise(number, name):
    return Exercise(
        name=name, number=number, points=1, timeout=20, statement=f"## {name.capitalize()}",
        answer=name, stub=STUB.format(name), solution=f"def {name}(x):\n    return x.sum()",
        probe=f"def probe(x):\n    return {name}(x)", check=f"assert {name}(torch.ones(2)) == 2",
        hidden=HIDDEN, wrong=(WrongAnswer("mean", f"def {name}(x):\n    return x.mean()", "A."),),
    )  # fmt: skip


FIRST, SECOND = exercise(1, "first"), exercise(2, "second")
SETUP = "import numpy as np\nimport torch"
SMALL = Assignment("small", "Small", "# Small", SETUP, (FIRST, SECOND), "0" * 16)
RELEASED = student_notebook(SMALL)
ROOT = Path(__file__).parents[1]
INSTALL = json.loads((ROOT / "book" / "exercises" / "03_elbo.ipynb").read_text(encoding="utf8"))
INSTALL = "".join(INSTALL["cells"][1]["source"])


class Notebook:
    def __init__(self, first=FIRST.solution):
        self.document = copy.deepcopy(RELEASED)
        self.cells = self.document["cells"]
        self["first-answer"]["source"], self["second-answer"]["source"] = first, SECOND.solution

    def __getitem__(self, identity):
        return next(cell for cell in self.cells if cell["id"] == identity)

    def add(self, source, at=1000, **more):
        self.cells.insert(at, {"cell_type": "code", "id": "new", "source": source} | more)


@dataclass
class Found:
    """One answer with the texts of its cells."""

    submission: Submission
    exercise: str

    def __post_init__(self):
        (self.answer,) = [a for a in self.submission.answers if a.exercise == self.exercise]
        self.matched_by, self.unanswered = self.answer.matched_by, self.answer.unanswered
        self.remark = self.answer.remark
        self.sources = [self.submission.cells[place].source for place in self.answer.cells]
        self.alone = [self.submission.cells[place].source for place in self.answer.alone]


def read(notebook, assignment=SMALL):
    content = getattr(notebook, "document", notebook)
    content = content if type(content) is bytes else json.dumps(content).encode()
    return read_notebook("anna", content, handed_out(assignment))


def first(notebook):
    return Found(read(notebook), "first")


def second(notebook):
    return Found(read(notebook), "second")


def test_answers_are_found_by_cell_id():
    notebook = Notebook()
    notebook["first-answer"]["metadata"] = {}
    found = read(notebook)
    assert (found.student, found.problem, len(found.digest)) == ("anna", None, 16)
    both = [(answer.exercise, answer.matched_by) for answer in found.answers]
    assert both == [("first", "id"), ("second", "id")]
    assert found.cells == (
        StudentCell(FIRST.solution, "first", "id"), StudentCell(SECOND.solution, "second", "id"),
    )  # fmt: skip
    assert [(a.cells, a.alone, a.remark) for a in found.answers] == [
        ((0,), (0,), ""), ((1,), (1,), ""),
    ]  # fmt: skip
    assert source_of(found, found.answers[1]) == SECOND.solution
    notebook.add("1 + 1")
    assert read(notebook).digest != found.digest
    assert [cell.source for cell in read(notebook).cells][2:] == ["1 + 1"]


def test_then_by_tag_then_by_the_name_that_they_define():
    notebook = Notebook()
    notebook["first-answer"]["id"] = "elsewhere"
    assert first(notebook).matched_by == "tag"
    notebook["elsewhere"]["metadata"] = {}
    notebook.cells.reverse()
    assert (first(notebook).sources, first(notebook).matched_by) == ([FIRST.solution], "source")
    for text in ("if 1:\n    def first(x): pass", "first = lambda x: 1", "from m import first"):
        notebook["elsewhere"]["source"] = text
        assert (first(notebook).sources, first(notebook).matched_by) == ([text], "source")
    notebook["elsewhere"]["source"] = "def first(x) return 1"  # does not even parse
    assert first(notebook).matched_by == "source"
    notebook["elsewhere"]["source"] = "def other(x):\n    first = 1"
    found = first(notebook)
    assert (found.sources, found.alone, found.matched_by) == ([], [], "")
    assert not found.unanswered


def test_a_stub_is_no_answer_and_formatting_and_comments_do_not_make_it_one():
    stub = FIRST.stub
    for same in (stub, f"# my idea\n\n{stub}  # later\n", f"%%time\n{stub}", "", " \n\n",
                 f"%matplotlib inline\n{stub}",
                 stub.replace("    ", "  ").replace('"', "'")):  # fmt: skip
        answer = first(Notebook(first=same))
        assert (answer.unanswered, answer.sources, answer.matched_by) == (True, [], "id")
        assert [cell.exercise for cell in answer.submission.cells] == ["second"]
    for other in (stub.replace("raise", "x;raise"), stub.replace("sum", "Sum"), "def first(x)"):
        answer = first(Notebook(first=other))
        assert (answer.unanswered, answer.sources, answer.matched_by) == (False, [other], "id")


def test_of_several_cells_the_last_by_id_that_defines_the_answer_counts_alone():
    notebook = Notebook()
    half, final = "def half(x):\n    return x / 2", "def first(x):\n    return half(x)"
    notebook.cells.insert(0, notebook["first-answer"] | {"source": half})
    notebook.cells.insert(0, notebook["first-answer"] | {"source": "def first(x) return 1"})
    notebook.add(final)
    found = first(notebook)
    assert found.sources == ["def first(x) return 1", half, FIRST.solution, final]
    assert (found.alone, found.matched_by) == ([FIRST.solution], "id")
    notebook.add(FIRST.stub)  # left below, it does not replace them
    assert first(notebook).sources == found.sources
    notebook["first-answer"]["source"] = "1 +"  # defines nothing
    notebook.cells.remove(next(c for c in notebook.cells if c["source"] == FIRST.solution))
    assert first(notebook).alone == [half, final]


CHECK = student_notebook(SMALL)["cells"][4]["source"]


def test_what_is_as_handed_out_is_not_the_students():
    assert "KnownCases(" in CHECK
    notebook = Notebook()
    for source in (INSTALL, CHECK, CHECK.replace('Cases("', 'Cases("abc+/='), SETUP + "\n",
                   f"\n{CHECK}  \n", SETUP.replace("\n", "\r\n"), FIRST.check):  # fmt: skip
        notebook.add(source)
        assert len(read(notebook).cells) == 2, source
    for source in (INSTALL + "\nx = 1", CHECK + "\nx", f"{SETUP}\nimport os", "\nx = 1"):
        notebook.add(source)
        assert read(notebook).cells[-1].source == source
    assert len(read(notebook).cells) == 6


def test_the_cell_that_the_book_puts_first_is_known():
    from lecture_book.notebooks.cells import install_cell

    assert install_cell(ROOT) == INSTALL


def test_an_answer_in_the_cell_of_the_check_counts_where_there_is_no_other():
    notebook = Notebook(first=f"{FIRST.solution}\n\nAWAY + NEAR")
    theirs = {"source": "def first(x):\n    return 0\nAWAY = 1", "metadata": {}}
    notebook["first-check"].update(theirs)
    notebook.add("def first(x):\n    return 0\nNEAR = 1", metadata={"tags": ["check:first"]})
    found = first(notebook)
    assert (found.sources, found.matched_by) == ([f"{FIRST.solution}\n\nAWAY + NEAR"], "id")
    assert found.remark == ""
    for left in (FIRST.stub, ""):  # it was pasted below the stub
        notebook = Notebook(first=left)
        notebook["first-check"]["source"] = f"{FIRST.solution}\n{CHECK}"
        found = first(notebook)
        assert found.alone == found.sources == [f"{FIRST.solution}\n{CHECK}"]
        assert (found.unanswered, found.matched_by) == (False, "source")
        assert found.remark.startswith("Your answer is in the cell of a check")


@pytest.mark.parametrize("kind", ["markdown", "raw"])
@pytest.mark.parametrize("lost", [(), ("id",), ("id", "metadata")])
def test_an_answer_that_a_key_press_turned_into_text_is_graded_as_code(kind, lost):
    notebook = Notebook()
    cell = notebook["first-answer"]
    cell["cell_type"] = kind
    cell.update({"id": "new"} if "id" in lost else {})
    cell.update({"metadata": {}} if "metadata" in lost else {})
    found = first(notebook)
    assert (found.alone, found.matched_by) == ([FIRST.solution], ["id", "tag", "source"][len(lost)])
    assert found.remark == (
        f"The cell of your answer is a {kind.capitalize()} cell; it was graded as code."
    )
    assert second(notebook).remark == ""
    notebook.add("def first(x):\n    return 2")  # then the text is a note
    assert (first(notebook).alone, first(notebook).remark) == (["def first(x):\n    return 2"], "")
    notebook = Notebook(first=FIRST.stub)
    notebook["first-answer"]["cell_type"] = kind
    assert first(notebook).unanswered


def test_prose_is_no_answer():
    notebook = Notebook(first=FIRST.stub)
    notebook.add("I think `def first(x)` should sum.", cell_type="markdown")
    notebook.add("# def first\nfirst = 2", cell_type="markdown")
    assert first(notebook).sources == ["# def first\nfirst = 2"]
    notebook.cells.pop()
    assert first(notebook).unanswered


def test_half_a_sign_is_replaced_and_does_no_harm():
    found = first(Notebook(first=f"# \ud83d\n{FIRST.solution}"))
    assert found.alone == [f"# \ufffd\n{FIRST.solution}"]
    assert json.dumps(found.alone, ensure_ascii=False).encode("utf8")


def test_the_name_that_release_wrote_is_read():
    assert read(Notebook()).assignment == "small"
    for metadata in ({}, [], None, {"lecture_vae": 3}, {"lecture_vae": {"assignment": ["x"]}}):
        notebook = Notebook()
        notebook.document["metadata"] = metadata
        assert read(notebook).assignment == ""


@pytest.mark.parametrize(
    "marker",
    [
        "#NBVAL_SKIP", "# nbval_skip", "##  NBVAL_IGNORE_OUTPUT", "# PYTEST_VALIDATE_IGNORE_OUTPUT",
        "# nbval  NBVAL_SKIP", "# nbval\tNBVAL_SKIP NBVAL_SKIP", "#nbval#NBVAL_SKIP",
        "#\x0cNBVAL_SKIP", "# NBVAL_NBVAL_SKIP",
    ],
)  # fmt: skip
def test_markers_of_nbval_are_removed_from_comments(marker):
    from nbval.plugin import find_comment_markers

    with_marker = f"{marker}\n{FIRST.solution}\n    {marker}\ny = 1 {marker}"
    (source,) = first(Notebook(first=with_marker)).sources
    assert dict(find_comment_markers(source)) == {}
    kept = [line for line in source.splitlines() if line.strip(" #\t\x0c")]
    assert [line.rstrip(" #\t") for line in kept] == [*FIRST.solution.splitlines(), "y = 1"]
    other = f"# a note\n#\nnbval = 1  # mine\npytest = 2\n{FIRST.solution}\ns = 'nbval_skip'"
    assert first(Notebook(first=other)).sources == [other]


def test_a_formula_in_a_docstring_warns_nobody():
    helper = 'def helper(x):\n    """$\\mu$"""'
    notebook = Notebook(first='def first(x):\n    """$\\sum x$"""\n    return helper(x)')
    notebook.add(helper)
    with warnings.catch_warnings(record=True, action="always") as caught:
        assert helper in first(notebook).alone
    assert caught == []


def test_cells_and_code_are_counted():
    assert "has 2,001 cells; at most 2,000" in read({"cells": [{}] * 2001}).problem
    notebook = Notebook()
    notebook.cells += [{"cell_type": "code", "source": "x" * 190_000}] * 6
    assert "characters of code; at most 1,000,000 are read" in read(notebook).problem


@pytest.mark.parametrize(
    "source",
    ["(" * 90 + ")" * 90, "-" * 100_000 + "1", "[" * 100_000, "a." * 60_000 + "b", "\0", "\ud800",
     "from " + "." * 40_000 + " import x", "x+" * 60_000 + "1", "not " * 40_000 + "x",
     "1,\n" * 66_000, "lambda:" * 20_000 + "1"],
    ids=lambda source: source[:4].encode("unicode_escape").decode(),
)  # fmt: skip
def test_code_that_breaks_parsers_is_an_answer_like_any_other(source):
    notebook = Notebook(first=source)
    notebook.add(f"y = 1\n{source}")
    assert not first(notebook).unanswered


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the file is empty"), (b" \n", "the file is empty"),
        (b"{'cells': []}", NO_JSON), (b'{"cells": [', NO_JSON),
        (b"[" * 100_000, NO_JSON), (b'{"cells":' * 100_000, NO_JSON), (b"9" * 10_000, NO_JSON),
        (b'{"cells": "\xff"}', "the file is not UTF-8 text (byte 11)"),
        (b'{"cells": "\xff\xfe"}'.replace(b"{", b"\xff{"), "the file is not UTF-8 text"),
        (b"<!DOCTYPE html><html>", "it is a web page: download the notebook itself"),
        (b"[1]", "JSON, but not a notebook"), (b"null", "JSON, but not a notebook"),
        (b"{}", NO_CELLS), (b'{"cells": {"a": 1}}', NO_CELLS), (b'{"worksheets": 3}', NO_CELLS),
    ],
)  # fmt: skip
def test_what_is_no_notebook_is_told(content, problem):
    found = read(content)
    assert problem in found.problem
    assert (found.answers, len(found.digest)) == ((), 16)


def test_nbformat_3_is_read():
    cells = [{"cell_type": "code", "input": cell["source"].splitlines(keepends=True)}
             for cell in Notebook().cells if cell["cell_type"] == "code"]  # fmt: skip
    found = read({"nbformat": 3, "worksheets": [{"cells": cells[:2]}, {"cells": cells[2:]}]})
    assert [answer.matched_by for answer in found.answers] == ["source", "source"]
    assert found.cells[found.answers[0].cells[0]].source == FIRST.solution
    for sheets in ([], [{}], [{"cells": 5}], [{"cells": {"a": 1}}], [None, "a"]):
        found = read({"worksheets": sheets})
        assert (found.problem, [answer.matched_by for answer in found.answers]) == (None, ["", ""])


@pytest.mark.parametrize(
    ("cell", "matched_by"),
    [
        ({"id": 3}, "tag"), ({"id": None}, "tag"), ({"id": ["first-answer"]}, "tag"),
        ({"id": 3, "metadata": {"tags": "answer:first"}}, "source"),
        ({"id": 3, "metadata": {"tags": [["answer:first"], {}, 1, None]}}, "source"),
        ({"id": 3, "metadata": {"tags": {"answer:first": 1}}}, "source"),
        ({"id": 3, "metadata": ["tags"]}, "source"), ({"id": 3, "metadata": None}, "source"),
        ({"source": [*FIRST.solution.splitlines(keepends=True), 3, None, ["x"]]}, "id"),
    ],
)  # fmt: skip
def test_fields_of_a_wrong_type_are_passed_over(cell, matched_by):
    notebook = Notebook()
    notebook["first-answer"].update(cell)
    assert first(notebook).matched_by == matched_by
    assert first(notebook).sources == [FIRST.solution]
    for source in (None, 3, {"a": 1}, [1, 2], True):
        assert first(Notebook(first=source)).unanswered


SPARE = [None, True, 0, -1.5, 10**400, "", "code", "\ud800\0", [], {}, [[]], [None, 3],
         {"cells": 5}, {"tags": 3}, "def first(x): 1", ["def second(x):\n", " 1"]]  # fmt: skip


def test_a_mutated_notebook_never_raises():
    seen = set()

    @settings(max_examples=600)
    @given(mutated(st.builds(lambda: Notebook().document), st.sampled_from(SPARE) | st.text(),
                   ["worksheets", "input"]))  # fmt: skip
    def never_raises(document):
        found = read(document)
        seen.add(found.problem is None)
        assert len(found.answers) == (0 if found.problem else 2)

    never_raises()
    assert seen == {True, False}


@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"]
)
def test_every_form_of_unicode_is_read(encoding):
    notebook = Notebook(first=f"# Zoë 李\n{FIRST.solution}")
    content = json.dumps(notebook.document, ensure_ascii=False).encode(encoding)
    assert read(content).problem is None
    assert read(content).cells == read(notebook).cells
