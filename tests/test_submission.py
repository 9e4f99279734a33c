import copy
import json
import os
import random
import warnings

import pytest

from lecture_vae.grading.exercises import Assignment, Exercise, WrongAnswer
from lecture_vae.grading.release import student_notebook
from lecture_vae.grading.answers import read_notebook
from lecture_vae.grading.cells import MAX_BYTES
from lecture_vae.grading.reading import Reader
from lecture_vae.grading.submission import source_of

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


class Notebook:
    def __init__(self, first=FIRST.solution):
        self.document = copy.deepcopy(RELEASED)
        self.cells = self.document["cells"]
        self["first-answer"]["source"], self["second-answer"]["source"] = first, SECOND.solution

    def __getitem__(self, identity):
        return next(cell for cell in self.cells if cell["id"] == identity)

    def add(self, source, at=1000, **more):
        self.cells.insert(at, {"cell_type": "code", "id": "new", "source": source} | more)


@pytest.fixture
def read(tmp_path):
    def parse(notebook):
        content = getattr(notebook, "document", notebook)
        path = tmp_path / "anna.ipynb"
        path.write_bytes(content if type(content) is bytes else json.dumps(content).encode())
        return read_submission("anna", path, SMALL)

    return parse


@pytest.fixture
def first(read):
    return lambda notebook: read(notebook).answers[0]


def test_answers_are_found_by_cell_id(read):
    notebook = Notebook()
    notebook["first-answer"]["metadata"] = {}
    found = read(notebook)
    assert (found.student, found.problem, len(found.digest)) == ("anna", None, 16)
    both = [(answer.exercise, answer.matched_by) for answer in found.answers]
    assert both == [("first", "id"), ("second", "id")]
    assert (found.answers[0].source, found.answers[0].helpers) == (FIRST.solution, ())
    notebook.add("1 + 1")
    assert read(notebook).digest != found.digest


def test_then_by_tag_then_by_the_name_that_they_define(first):
    notebook = Notebook()
    notebook["first-answer"]["id"] = "elsewhere"
    assert first(notebook).matched_by == "tag"
    notebook["elsewhere"]["metadata"] = {}
    notebook.cells.reverse()
    assert (first(notebook).source, first(notebook).matched_by) == (FIRST.solution, "source")
    for text in ("if 1:\n    def first(x): pass", "first = lambda x: 1", "from m import first"):
        notebook["elsewhere"]["source"] = text
        assert (first(notebook).source, first(notebook).matched_by) == (text, "source")
    notebook["elsewhere"]["source"] = "def first(x) return 1"  # does not even parse
    assert first(notebook).matched_by == "source"
    notebook["elsewhere"]["source"] = "def other(x):\n    first = 1"
    found = first(notebook)
    assert (found.source, found.matched_by, found.unanswered) == ("", "", False)


def test_a_stub_is_no_answer_and_formatting_and_comments_do_not_make_it_one(first):
    stub = FIRST.stub
    for same in (stub, f"# my idea\n\n{stub}  # later\n", f"%%time\n{stub}", "", " \n\n",
                 stub.replace("    ", "  ").replace('"', "'")):  # fmt: skip
        answer = first(Notebook(first=same))
        assert (answer.unanswered, answer.source, answer.matched_by) == (True, "", "id")
    for other in (stub.replace("raise", "x;raise"), stub.replace("sum", "Sum"), "def first(x)"):
        answer = first(Notebook(first=other))
        assert (answer.unanswered, answer.source, answer.matched_by) == (False, other, "id")


def test_split_and_copied_cells_come_in_the_order_of_the_notebook(first):
    notebook = Notebook()
    half, final = "def half(x):\n    return x / 2", "def first(x):\n    return half(x)"
    notebook.cells.insert(0, notebook["first-answer"] | {"source": half})
    notebook.add(final)
    found = first(notebook)
    assert found.source == f"{half}\n\n{FIRST.solution}\n\n{final}"
    assert found.matched_by == "id"
    notebook.add(FIRST.stub)  # left below, it does not replace them
    assert first(notebook) == found


def test_check_cells_are_never_answers_nor_helpers(first):
    notebook = Notebook(first=f"{FIRST.solution}\n\nAWAY + NEAR")
    theirs = {"source": "def first(x):\n    return 0\nAWAY = 1", "metadata": {}}
    notebook["first-check"].update(theirs)
    notebook.add("def first(x):\n    return 0\nNEAR = 1", metadata={"tags": ["check:first"]})
    found = first(notebook)
    assert (found.source, found.helpers) == (f"{FIRST.solution}\n\nAWAY + NEAR", ())


def test_helpers_are_taken_along_if_needed_and_what_they_need(read):
    inner = "def inner(x):\n    return x * FACTOR"
    outer = "def outer(x):\n    return inner(x) + m.pi"
    notebook = Notebook(first="def first(x):\n    return outer(x)")
    for source in ("import math as m, os.path", outer, "unused = 1 / 0", "outer(3)"):
        notebook.add(source)
    notebook.add(inner, at=0)
    notebook.add("FACTOR = 3", at=0)
    needed = ("FACTOR = 3", inner, "import math as m, os.path", outer)
    assert [answer.helpers for answer in read(notebook).answers] == [needed, ()]


def test_an_experiment_is_no_helper_because_it_uses_the_name_of_a_local_variable(first):
    notebook = Notebook(first="def first(x):\n    y = [part for part in x]\n    return sum(y)")
    notebook.add("x = y = 10**9\nwhile x: x -= 1")
    notebook.add("[part for part in range(10**9)]\nprint = sum = torch = None")
    assert first(notebook).helpers == ()


def test_an_import_that_was_added_to_the_set_up_is_a_helper(first):
    notebook = Notebook(first="def first(x):\n    return nn.Identity()(x).sum()")
    assert first(notebook).helpers == ()
    notebook["setup"]["source"] = added = "import torch\nfrom torch import nn"
    assert first(notebook).helpers == (added,)


@pytest.mark.parametrize(
    "marker",
    [
        "#NBVAL_SKIP", "# nbval_skip", "##  NBVAL_IGNORE_OUTPUT", "# PYTEST_VALIDATE_IGNORE_OUTPUT",
        "# nbval  NBVAL_SKIP", "# nbval\tNBVAL_SKIP NBVAL_SKIP", "#nbval#NBVAL_SKIP",
        "#\x0cNBVAL_SKIP", "# NBVAL_NBVAL_SKIP",
    ],
)  # fmt: skip
def test_markers_of_nbval_are_removed_from_comments(first, marker):
    from nbval.plugin import find_comment_markers

    with_marker = f"{marker}\n{FIRST.solution}\n    {marker}\ny = 1 {marker}"
    source = first(Notebook(first=with_marker)).source
    assert dict(find_comment_markers(source)) == {}
    kept = [line for line in source.splitlines() if line.strip(" #\t\x0c")]
    assert [line.rstrip(" #\t") for line in kept] == [*FIRST.solution.splitlines(), "y = 1"]
    other = f"# a note\n#\nnbval = 1  # mine\npytest = 2\n{FIRST.solution}\ns = 'nbval_skip'"
    assert first(Notebook(first=other)).source == other


def test_a_formula_in_a_docstring_warns_nobody(first):
    helper = 'def helper(x):\n    """$\\mu$"""'
    notebook = Notebook(first='def first(x):\n    """$\\sum x$"""\n    return helper(x)')
    notebook.add(helper)
    with warnings.catch_warnings(record=True, action="always") as caught:
        assert first(notebook).helpers == (helper,)
    assert caught == []


def test_a_file_too_large_is_not_read(tmp_path):
    path = tmp_path / "huge.ipynb"
    path.touch()
    os.truncate(path, 10**12)  # of which nothing is on the disk
    found = read_submission("huge", path, SMALL)
    assert found.problem.startswith(f"the file has 1,000,000,000,000 bytes; at most {MAX_BYTES:,}")
    assert (found.answers, len(found.digest)) == ((), 16)
    assert "cannot be read" in read_submission("none", tmp_path / "none.ipynb", SMALL).problem


def test_cells_and_code_are_counted(read, monkeypatch):
    assert "has 2,001 cells; at most 2,000" in read({"cells": [{}] * 2001}).problem
    notebook = Notebook()
    notebook.cells += [{"cell_type": "code", "source": "x" * 190_000}] * 6
    assert "characters of code; at most 1,000,000 are read" in read(notebook).problem
    monkeypatch.setattr(submission, "MAX_SOURCE", 20)
    cut = read(Notebook(first="def first(x): return 1234567890")).answers[0]
    assert cut.source == "def first(x): return"
    notebook = Notebook(first="first = aid")
    notebook.add("def aid(x): return 1234567890")
    assert read(notebook).answers[0].helpers == ()  # a helper too long is none


@pytest.mark.parametrize(
    "source",
    ["(" * 90 + ")" * 90, "-" * 100_000 + "1", "[" * 100_000, "a." * 60_000 + "b", "\0", "\ud800",
     "x+" * 60_000 + "1", "not " * 50_000 + "x", "1,\n" * 66_000, "lambda:" * 20_000 + "1"],
    ids=lambda source: source[:4].encode("unicode_escape").decode(),
)  # fmt: skip
def test_code_that_breaks_parsers_is_an_answer_like_any_other(first, source):
    notebook = Notebook(first=source)
    notebook.add(f"y = 1\n{source}")
    assert not first(notebook).unanswered


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", NO_JSON), (b"{'cells': []}", NO_JSON), (b'{"cells": [', NO_JSON),
        (b"[" * 100_000, NO_JSON), (b'{"cells":' * 100_000, NO_JSON), (b"9" * 10_000, NO_JSON),
        (b'{"cells": "\xff"}', "the file is not UTF-8 text (byte 11)"),
        ('{"cells": []}'.encode("utf-16"), "the file is not UTF-8 text"),
        (b"[1]", "JSON, but not a notebook"), (b"null", "JSON, but not a notebook"),
        (b"{}", NO_CELLS), (b'{"cells": {"a": 1}}', NO_CELLS), (b'{"worksheets": 3}', NO_CELLS),
    ],
)  # fmt: skip
def test_what_is_no_notebook_is_told(read, content, problem):
    found = read(content)
    assert problem in found.problem
    assert (found.answers, len(found.digest)) == ((), 16)


def test_nbformat_3_is_read(read):
    cells = [{"cell_type": "code", "input": cell["source"].splitlines(keepends=True)}
             for cell in Notebook().cells if cell["cell_type"] == "code"]  # fmt: skip
    found = read({"nbformat": 3, "worksheets": [{"cells": cells[:2]}, {"cells": cells[2:]}]})
    assert [answer.matched_by for answer in found.answers] == ["source", "source"]
    assert found.answers[0].source == FIRST.solution
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
def test_fields_of_a_wrong_type_are_passed_over(first, cell, matched_by):
    notebook = Notebook()
    notebook["first-answer"].update(cell)
    assert first(notebook).matched_by == matched_by
    assert first(notebook).source == FIRST.solution
    for source in (None, 3, {"a": 1}, [1, 2], True):
        assert first(Notebook(first=source)).unanswered


def test_a_mutated_notebook_never_raises(read):
    pick = random.Random(0)
    spare = [None, True, 0, -1.5, 10**400, "", "code", "\ud800\0", [], {}, [[]], [None, 3],
             {"cells": 5}, {"tags": 3}, "def first(x): 1", ["def second(x):\n", " 1"]]  # fmt: skip
    seen = set()
    for _ in range(300):
        root = [copy.deepcopy(Notebook().document)]
        for _ in range(pick.randint(1, 4)):
            parent, key = root, 0
            for _ in range(pick.randint(0, 6)):
                if isinstance(parent[key], dict | list) and parent[key]:
                    parent = parent[key]
                    named = isinstance(parent, dict)
                    key = pick.choice(list(parent if named else range(len(parent))))
            if isinstance(parent, dict) and pick.random() < 0.2:
                parent["worksheets" if parent is root[0] else "input"] = parent.pop(key)
            else:
                parent[key] = copy.deepcopy(pick.choice(spare))
        found = read(root[0])
        seen.add(found.problem is None)
        assert len(found.answers) == (0 if found.problem else 2)
    assert seen == {True, False}


def test_a_student_is_a_notebook_or_a_folder_with_one(tmp_path):
    for at, name in enumerate((
        "anna.ipynb", "ben/old.ipynb", "ben/new.ipynb", "ben/in/x.ipynb", "ben/.hid.ipynb", "t.txt",
        ".hidden.ipynb", ".git/x.ipynb", "carl/a.txt", "folder.ipynb/t.txt", "ben/y.ipynb/z.txt",
    )):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.touch()
        os.utime(path, (at, at))
    for link, target in {"a.ipynb": "anna.ipynb", "b": "ben", "carl/c.ipynb": "../a.ipynb"}.items():
        (tmp_path / link).symlink_to(target)
    new = tmp_path / "ben" / "new.ipynb"
    assert find_submissions(tmp_path) == {"anna": tmp_path / "anna.ipynb", "ben": new}
    os.utime(tmp_path / "ben" / "old.ipynb", (300, 300))
    assert find_submissions(tmp_path)["ben"].name == "old.ipynb"
