import json
import os
import stat
import warnings
from dataclasses import replace
from pathlib import Path
from textwrap import indent

import nbformat
import pytest

from lecture_grader.authoring.assignment import ExerciseError, read_assignment
from lecture_grader.authoring.check import HiddenCheck
from lecture_grader.authoring.handout import manifest, rehearsal, student_notebook
from lecture_grader.authoring.mutants import Row, kill_matrix, kill_table
from lecture_grader.authoring.page import page, rubric
from lecture_grader.authoring.release import release

ROOT = Path(__file__).resolve().parents[1]
SMALL = ROOT / "tests" / "exercises" / "small.md"
PATHS = sorted((ROOT / "exercises").glob("*.md"))
QUICK = [path for path in PATHS if path.stem != "05_training"]


def written(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# ---------------------------------------------------------------------------- the gate


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=() if path in QUICK else pytest.mark.nightly) for path in PATHS],
    ids=lambda path: path.stem,
)
def test_every_check_of_the_lecture_tells_right_from_wrong(path):
    rows = list(kill_matrix(read_assignment(path)))
    assert [row for row in rows if not row.is_expected] == []


@pytest.mark.parametrize("seed", [2, 12345, 2**63])
@pytest.mark.parametrize("path", QUICK, ids=lambda path: path.stem)
def test_no_wrong_answer_survives_other_cases(path, seed):
    assignment = read_assignment(path)
    for exercise in assignment.exercises:
        check = HiddenCheck(assignment, exercise, seed)
        assert check.survivors == []
        for mistake, values in check.wrong:
            assert check.resembles(values) == mistake


SOURCE = '''\
---
jupytext:
  text_representation: {extension: .md, format_name: myst}
kernelspec: {display_name: Python 3, language: python, name: python3}
---

# Totals

```{code-cell} ipython3
:tags: [setup]

import numpy as np
import torch
```

+++ {"tags": ["exercise:total", "points:1"]}

## A total

Write `total(x)`, the sum of $x$, in English: "naïve".

```{code-cell} ipython3
:tags: [stub]

def total(x):
    """The sum of x."""
    raise NotImplementedError("Exercise total")
```

```{code-cell} ipython3
:tags: [solution]

def total(x):
    return x.sum()
```

```{code-cell} ipython3
:tags: [probe]

def probe(x):
    return total(x)
```

```{code-cell} ipython3
:tags: [check]

assert total(torch.ones(2)) == 2, "one and one is two"
```

```{code-cell} ipython3
:tags: [hidden]

def draw(rng):
    return [{"x": rng.uniform(1, 2, size=n)} for n in (2, 3, 5, 4)]
```

```{code-cell} ipython3
---
tags: ["wrong:mean"]
hint: "A mean."
---
def total(x):
    return x.mean()
```
'''
PROMISED = {
    "student/totals.ipynb",
    "instructor/totals-solutions.md",
    "instructor/totals-rubric.md",
    "instructor/totals-manifest.json",
    "instructor/rehearsal/all-right.ipynb",
    "instructor/rehearsal/untouched.ipynb",
    "instructor/rehearsal/total--mean.ipynb",
}


@pytest.fixture
def totals(tmp_path):
    def write(old="", new=""):
        assert old in SOURCE
        path = tmp_path / "totals.md"
        path.write_text(SOURCE.replace(old, new) if old else SOURCE, encoding="utf8")
        return path

    return write


JUDGED = "def judge(case, value): ...\n\ndef draw(rng):"
ASSERTS = SOURCE[SOURCE.index("assert") : SOURCE.index("def draw(rng):")]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("x.mean()", "x.sum()", "mean must fail, but passes the public and the hidden check"),
        ("x.sum()", "x.sum() + 1", "solution must pass, but the public check fails it .Assert"),
        ("x.sum()", "x.none()", "total: the solution fails: AttributeError"),
        ("raise NotImpl", "return x.sum()\n    raise NotImpl", "stub must fail, but passes the"),
        ("def draw(rng):", JUDGED, "mean must fail, but passes the hidden check"),
        (f"{ASSERTS}def draw(rng):", f"{ASSERTS[7:]}{JUDGED}", "public and the hidden check"),
        ("n in (2, 3, 5, 4)", "n in (1, 1, 1)", "mean must fail, but passes the hidden check"),
        ("rng.uniform", "rng.uni", "no cases can be drawn: AttributeError"),
        ("hint", "hnt", "wrong answer mean has no hint"),
    ],
)
def test_what_cannot_tell_right_from_wrong_is_not_released(totals, tmp_path, old, new, message):
    with pytest.raises(ExerciseError, match=message):
        release(totals(old, new), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_refused_release_leaves_the_one_before_alone(totals, tmp_path):
    release(totals(), tmp_path / "out")
    before = {name: (tmp_path / "out" / name).read_bytes() for name in PROMISED}
    with pytest.raises(ExerciseError, match="mean must fail"):
        release(totals("x.mean()", "x.sum()"), tmp_path / "out")
    assert {name: (tmp_path / "out" / name).read_bytes() for name in PROMISED} == before


# ---------------------------------------------------------------------------- its files


def test_a_release_writes_what_it_promises_and_nothing_else(totals, tmp_path):
    rows = []
    files = release(totals(), tmp_path / "out", tried=rows.append)
    assert [row.answer for row in rows] == ["solution", "stub", "mean"]
    assert written(tmp_path / "out") == PROMISED
    assert all(path.exists() for path in vars(files).values())
    assert files.notebook == tmp_path / "out" / "student" / "totals.ipynb"
    assert files.rehearsal.is_dir()
    assert "naïve" in files.notebook.read_text("utf8")
    assert "    return x.mean()" in files.solutions.read_text("utf8")
    assert files.rubric.read_text("utf8").startswith("# Totals: rubric\n\n| |")


@pytest.mark.parametrize("mask", [0o000, 0o077], ids=oct)
def test_what_instructors_get_nobody_else_may_read_whatever_the_umask(totals, tmp_path, mask):
    before = os.umask(mask)
    try:
        release(totals(), tmp_path / "course" / "out")
    finally:
        os.umask(before)
    instructor = tmp_path / "course" / "out" / "instructor"
    rights = {path: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "course").rglob("*")}
    private = {path: mode for path, mode in rights.items() if path.is_relative_to(instructor)}
    assert len(private) == len(PROMISED) - 1 + 2
    assert all(mode == (0o700 if path.is_dir() else 0o600) for path, mode in private.items())
    # What students get, and the way to it, has the rights that the umask gives.
    others = {path: mode for path, mode in rights.items() if path not in private}
    assert len(others) == 3
    assert all(mode == (0o777 if path.is_dir() else 0o666) & ~mask for path, mode in others.items())


def test_a_renamed_mistake_leaves_no_submission_behind(totals, tmp_path):
    release(totals(), tmp_path / "out")
    mine = tmp_path / "out" / "instructor" / "rehearsal" / "notes.txt"
    mine.write_text("mine")
    release(totals("wrong:mean", "wrong:average"), tmp_path / "out")
    there = written(tmp_path / "out" / "instructor" / "rehearsal")
    assert there == {"all-right.ipynb", "untouched.ipynb", "total--average.ipynb", "notes.txt"}


@pytest.mark.parametrize("path", [SMALL, *PATHS], ids=lambda path: path.stem)
def test_the_students_notebook_is_a_notebook_without_answers(path):
    assignment = read_assignment(path)
    notebook = student_notebook(assignment)
    nbformat.validate(nbformat.from_dict(notebook))
    identities = [cell["id"] for cell in notebook["cells"]]
    assert identities[:2] == ["introduction", "setup"]
    assert len(identities) == 2 + 3 * len(assignment.exercises)
    points = assignment.exercises[0].points
    assert f" ({points} point{'s' * (points > 1)})\n" in notebook["cells"][2]["source"]
    code = {cell["id"]: cell for cell in notebook["cells"] if cell["cell_type"] == "code"}
    assert all(cell["outputs"] == [] for cell in code.values())
    for exercise, listed in zip(
        assignment.exercises, manifest(assignment)["exercises"], strict=True
    ):
        answer = code[listed["answer_cell"]]
        assert answer["metadata"]["tags"] == [listed["answer_tag"]]
        assert answer["source"] == exercise.stub
        assert listed["defines"] == exercise.answer
        check = code[f"{exercise.name}-check"]
        assert indent(exercise.check, "    ") in check["source"]
        assert check["metadata"]["tags"] == [f"check:{exercise.name}"]


def test_the_rehearsal_has_each_mistake_once_and_the_rest_right():
    assignment = read_assignment(SMALL)
    found = rehearsal(assignment)
    assert len(found) == 2 + sum(len(exercise.wrong) for exercise in assignment.exercises)
    assert found["untouched"] == {}
    for exercise in assignment.exercises:
        assert found["all-right"][exercise.name] == exercise.solution
        for mistake in exercise.wrong:
            answers = found["all-right"] | {exercise.name: mistake.source}
            assert found[f"{exercise.name}--{mistake.name}"] == answers


def test_the_manifest_and_the_rubric_add_up():
    assignment = read_assignment(SMALL)
    listed = manifest(assignment)
    assert listed["version"] == assignment.version
    assert listed["points"] == sum(one["points"] for one in listed["exercises"]) == 10
    assert [one["timeout_cpu_s"] for one in listed["exercises"]] == [1, 2, 2, 20]
    assert json.loads(json.dumps(listed)) == listed
    table = rubric(assignment).splitlines()
    assert len(table) == 2 + 4 + 1
    assert {row.count("|") for row in table} == {5}
    assert "| 1 | A scaled sum | 1 | not scaled, mean |" in table
    assert "**10**" in table[-1]


def test_the_page_has_hints_and_for_instructors_solutions():
    assignment = read_assignment(SMALL)
    default = page(assignment, solutions=False, links="Get it here.")
    instructors = page(assignment, solutions=True)
    assert "Get it here." in default and "*2 points*" in default and "*1 point*" in default
    for exercise in assignment.exercises:
        assert exercise.stub in default
        assert exercise.solution in instructors and exercise.solution not in default
        assert exercise.hidden in instructors and exercise.hidden not in default
        for mistake in exercise.wrong:
            assert mistake.hint in default and mistake.hint in instructors
            assert mistake.source in instructors and mistake.source not in default


def test_each_exercise_of_a_page_has_a_label_and_its_solution_refers_to_it():
    assignment = read_assignment(SMALL)
    default, instructors = (page(assignment, solutions=solutions) for solutions in (False, True))
    for exercise in assignment.exercises:
        label = f"ex-{exercise.name}"
        opening = f"## {exercise.title}\n\n:::{{exercise}}\n:label: {label}\n\n"
        assert opening in default and opening in instructors
        solution = f":::{{solution}} {label}\n:label: {label}-solution\n:class: dropdown\n\n"
        assert solution in instructors
    assert "{solution}" not in default


STATEMENT = """## Three parts

Do it.

### A *part*

:::{note}
Mind this.
:::

Another
-------

```python
# not a heading
```

$$
a
=
b
$$"""


def test_a_statement_may_hold_headings_and_directives():
    assignment = read_assignment(SMALL)
    stub = "def total(x):\n    'As in ```total([1])```.'"
    exercise = replace(assignment.exercises[0], statement=STATEMENT, stub=stub)
    text = page(replace(assignment, exercises=(exercise,)), solutions=False)
    inside = text.split("\n::::{exercise}\n")[1].split("\n::::\n")[0]
    assert inside.endswith(f"````python\n{stub}\n````")
    assert ":::{note}\nMind this.\n:::\n" in inside
    assert "\n**A *part***\n" in inside and "\n**Another**\n" in inside
    assert "\n# not a heading\n" in inside and "$$\na\n=\nb\n$$" in inside


def test_the_kill_table_marks_what_must_not_be():
    row = Row("total", "solution", None, None)
    rows = [row, replace(row, answer="stub", public="no", hidden="no"), replace(row, answer="mean")]
    assert kill_table(rows).splitlines() == [
        "total",
        "  solution  public passes  hidden passes",
        "  stub      public fails   hidden fails ",
        "  mean      public passes  hidden passes   <-- must not be",
    ]


# ---------------------------------------------------------------------------- for students


def run(cells, exercise, answer):
    """Runs set-up, an answer and its check, as they stand in the notebook of students."""
    names = {"__name__": "__main__"}
    for source in (cells["setup"], answer, cells[f"{exercise.name}-check"]):
        exec(source, names)


@pytest.mark.parametrize("path", [SMALL, *QUICK], ids=lambda path: path.stem)
def test_the_check_of_students_tells_their_mistake(path, capsys):
    assignment = read_assignment(path)
    cells = {cell["id"]: cell["source"] for cell in student_notebook(assignment)["cells"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of 0 * log(0)
        for exercise in assignment.exercises:
            run(cells, exercise, exercise.solution)
            assert "Right on 3 known cases" in capsys.readouterr().out
            with pytest.raises(NotImplementedError, match=r"^Exercise "):
                run(cells, exercise, exercise.stub)
            for mistake in exercise.wrong:
                with pytest.raises(AssertionError) as error:
                    run(cells, exercise, mistake.source)
                assert str(error.value) == mistake.hint
