import ast
import json
from pathlib import Path

import pytest

import lecture_vae
from lecture_book.notebooks.exercises import drift
from lecture_grader.authoring.assignment import (
    CPU_SECONDS,
    Exercise,
    ExerciseError,
    defined_names,
    read_assignment,
)
from lecture_grader.authoring.check import check_cell, execute, quiet
from lecture_grader.authoring.handout import student_notebook
from lecture_grader.authoring.page import page

ROOT = Path(__file__).resolve().parents[1]
LECTURE = [read_assignment(path) for path in sorted((ROOT / "exercises").glob("*.md"))]
EVERY = [
    pytest.param(assignment, exercise, id=exercise.name)
    for assignment in LECTURE
    for exercise in assignment.exercises
]

HEAD = """\
---
jupytext:
  text_representation: {extension: .md, format_name: myst}
kernelspec: {display_name: Python 3, language: python, name: python3}
---

# Doubling

What to do.

```{code-cell} ipython3
:tags: [setup]

import math
```
"""
TWICE = """
+++ {"tags": ["exercise:twice", "points:3", "timeout:7"]}

## Twice a number

Write `twice(x)`.

```{code-cell} ipython3
:tags: [stub]

def twice(x):
    raise NotImplementedError("Exercise twice.")
```

Think of a sum.

```{code-cell} ipython3
:tags: [solution]

def twice(x):
    return x + x
```

```{code-cell} ipython3
:tags: [probe]

def probe(x):
    return twice(x)
```

```{code-cell} ipython3
:tags: [check]

assert twice(1) == 2
```

```{code-cell} ipython3
:tags: [hidden]

def draw(rng):
    return [{"x": float(rng.uniform(1, 2))}]
```

```{code-cell} ipython3
---
tags: ["wrong:square"]
hint: "This behaves like a square."
---
def twice(x):
    return x * x
```

```{code-cell} ipython3
---
tags: ["wrong:once"]
hint: This is the number itself.
---
def twice(x):
    return x
```
"""
SECOND = TWICE.replace("exercise:twice", "exercise:two-times-2").replace(', "timeout:7"', "")
SOURCE = HEAD + TWICE


@pytest.fixture
def read(tmp_path):
    def parse(text):
        path = tmp_path / "doubling.md"
        path.write_text(text, encoding="utf8")
        return read_assignment(path)

    return parse


# ---------------------------------------------------------------------------- parsing


def test_every_part_of_an_assignment_is_where_it_belongs(read):
    assignment = read(HEAD + TWICE + SECOND.replace("points:3", "points:4"))
    assert assignment.name == "doubling"
    assert assignment.title == "Doubling"
    assert assignment.introduction == "# Doubling\n\nWhat to do."
    assert assignment.setup == "import math"
    assert assignment.points == 3 + 4
    first, second = assignment.exercises
    assert (first.name, first.number, first.points, first.timeout) == ("twice", 1, 3, 7)
    assert (second.name, second.number, second.points) == ("two-times-2", 2, 4)
    assert second.timeout == CPU_SECONDS
    assert first.title == "Twice a number"
    assert first.statement == "## Twice a number\n\nWrite `twice(x)`.\n\nThink of a sum."
    assert first.answer == "twice"
    assert first.stub.startswith("def twice(x):\n    raise")
    assert first.solution == "def twice(x):\n    return x + x"
    assert first.probe.startswith("def probe(x)")
    assert first.check == "assert twice(1) == 2"
    assert first.hidden.startswith("def draw(rng)")
    assert [wrong.name for wrong in first.wrong] == ["square", "once"]
    assert first.wrong[0].hint == "This behaves like a square."
    assert first.wrong[0].source == "def twice(x):\n    return x * x"


def test_another_source_is_another_version(read):
    version = read(SOURCE).version
    assert len(version) == 16
    assert int(version, 16)
    assert read(SOURCE).version == version
    assert read(SOURCE.replace("uniform(1, 2)", "uniform(1, 3)")).version != version
    assert read(SOURCE.replace("What to do", "What to do now")).version != version


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("def f(x):\n    y = x\n    def g(): pass", ["f"]),
        ("class A:\n    b = 1", ["A"]),
        ("a = b = 1\nc: int = 2\nd, (e, f) = 1, (2, 3)", ["a", "b", "c", "d", "e", "f"]),
        ("import os.path\nfrom a import b as c, d", ["os", "c", "d"]),
        ("async def f(): pass", ["f"]),
        ("f(1)\nx.y = 3", []),
    ],
)
def test_defined_names_are_those_of_the_top_level(source, names):
    assert defined_names(source) == names


# ---------------------------------------------------------------------------- rules


def without(start, text=SOURCE):
    """The source without the code cell whose text begins with `start`."""
    cells = text.split("```{code-cell} ipython3\n")
    kept = [cell for cell in cells if not cell.startswith(start)]
    assert len(kept) == len(cells) - 1
    return "```{code-cell} ipython3\n".join(kept)


def changed(old, new):
    assert old in SOURCE
    return SOURCE.replace(old, new)


EXTRA = "```{code-cell} ipython3\n:tags: [check]\n\nassert twice(2) == 4\n```\n"
WRONGS = SOURCE[SOURCE.index('```{code-cell} ipython3\n---\ntags: ["wrong:square"]') :]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (changed(":tags: [check]\n", ""), r"doubling\.md: every code cell has one tag .* got \[\]"),
        (changed("[check]", "[check, hidden]"), r"got \['check', 'hidden'\] .* 'assert twice"),
        (changed("[setup]", "[check]"), r"got \['check'\] at .* 'import math'"),
        (changed("[check]", "[chek]"), "twice: a code cell is stub, .* got 'chek'"),
        (changed("[check]", "[setup]"), "twice: a code cell is stub, .* got 'setup'"),
        (changed("# Doubling", "Doubling"), "the first cell must start with '# Title'"),
        (HEAD, "no Markdown cell is tagged exercise:NAME"),
        (SOURCE + TWICE, r"exercise names must be unique, got \['twice', 'twice'\]"),
        (changed('hint: "This behaves like a square."', "x: 1"), "wrong answer square has no hint"),
        (SOURCE + EXTRA, "twice: two cells are tagged check"),
        (changed("exercise:twice", "exercise:Twice"), "names are lowercase words joined by"),
        (changed("exercise:twice", "exercise:twice-"), "names are lowercase words joined by"),
        (without(":tags: [check]"), "exercise twice: no cell is tagged check"),
        (without(":tags: [stub]"), "exercise twice: no cell is tagged stub"),
        (SOURCE.replace(WRONGS, ""), "at least one wrong answer must be named"),
        (changed("wrong:once", "wrong:square"), "two wrong answers have the same name"),
        (changed("## Twice", "### Twice"), "the statement must start with '## Title'"),
        (changed("def twice(x):\n    return x * x", "def double(x): ..."), "one and the same"),
        (changed("    return x + x", "    return x + x\n\ny = 1"), r"solution': \['twice', 'y'\]"),
        (SOURCE.replace("def twice(x):\n    r", "if True:\n    r"), "must each define one and the"),
        (changed("def probe(x)", "def prob(x)"), r"tagged probe must define probe\("),
        (changed("def draw(rng)", "def drew(rng)"), r"tagged hidden must define draw\(rng\)"),
        (changed("import math", "import math math"), r"doubling\.md, cell setup: invalid syntax"),
        (changed("return x + x", "return x +"), "exercise twice, cell solution: invalid syntax"),
        (changed("return x * x", "return x *"), "exercise twice, cell wrong:square: invalid"),
        (changed("def probe(x):", "def probe(x)"), "exercise twice, cell probe: expected ':'"),
        (changed("def draw(rng):", "def draw(rng)"), "exercise twice, cell hidden: expected ':'"),
        (changed("assert twice(1) == 2", "assert"), "exercise twice, cell check: invalid syntax"),
        (changed(', "points:3"', ""), "the tag points:N needs a whole number >= 1, got None"),
        (changed("points:3", "points:0"), "points:N needs a whole number >= 1, got 0"),
        (changed("points:3", "points:1.5"), "points:N needs a whole number >= 1, got 1.5"),
        (changed("timeout:7", "timeout:soon"), "timeout:N needs a whole number >= 1, got soon"),
        (changed("timeout:7", "timeout:-1"), "timeout:N needs a whole number >= 1, got -1"),
    ],
)
def test_a_broken_rule_is_named(read, text, message):
    with pytest.raises(ExerciseError, match=message):
        read(text)


def test_only_a_source_is_read(tmp_path):
    with pytest.raises(ExerciseError, match=r"is the \.md source of the exercises, got a \.ipynb"):
        read_assignment(tmp_path / "doubling.ipynb")
    with pytest.raises(ExerciseError, match="got a folder or a file without suffix"):
        read_assignment(tmp_path)


# ---------------------------------------------------------------------------- the lecture's own


def test_the_lecture_has_its_exercises():
    names = [exercise.name for assignment in LECTURE for exercise in assignment.exercises]
    assert len(names) >= 16
    assert len(set(names)) == len(names)
    for chapter in (1, 2, 3, 4, 5, 6, 7, 10):
        here = [a.exercises for a in LECTURE if a.name.startswith(f"{chapter:02}_")]
        assert sum(map(len, here)) >= 2
    titles = [assignment.title for assignment in LECTURE]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize(("assignment", "exercise"), EVERY)
def test_an_exercise_names_mistakes_and_is_not_answered_by_the_package(assignment, exercise):
    assert len(exercise.wrong) >= 3
    assert not hasattr(lecture_vae, exercise.answer)
    assert exercise.answer not in defined_names(assignment.setup)
    assert f"`{exercise.answer}(" in exercise.statement
    assert "NotImplementedError" in exercise.stub
    assert "assert " in exercise.check


# What an exercise may display: what is given, never what is asked.
GIVEN = {"kl-two-gaussians": "the two distributions, by their log-variances"}


@pytest.mark.parametrize(("assignment", "exercise"), EVERY)
def test_no_exercise_prints_the_formula_that_it_asks_for(assignment, exercise):
    assert exercise.name in GIVEN or "$$" not in exercise.statement
    told = ast.get_docstring(next(iter(ast.parse(exercise.stub).body)))
    for sign in ("log(", "exp(", "sqrt(", "sum over", "^2", "**", " * "):
        assert sign not in told.partition("Args:")[0], f"the docstring holds a formula: {sign}"


def an_answer(exercise: Exercise, body: str) -> str:
    if exercise.stub.startswith("class"):
        return f"{exercise.solution.rpartition('return ')[0]}{body}"  # of the last method
    return f"def {exercise.answer}(*_, **__):\n    {body}"


NO_ANSWERS = {
    "nothing": "return None",
    "a text": "return 'done'",
    "an object": "return object()",
    "a function": "return lambda *_: None",
    "one number": "return 0.5",
    "four empty values": "return None, None, None, None",
    "five functions without return": "return [lambda *_: None] * 5",
    "a scalar": "return torch.tensor(0.5)",
    "a large array": "return torch.zeros(7, 7, 7)",
    "an array of NumPy": "return np.zeros(2)",
    "a list": "return [0.25, 0.5]",
}


@pytest.mark.parametrize(("assignment", "exercise"), EVERY)
def test_an_answer_of_the_wrong_kind_gets_one_clear_line(assignment, exercise):
    check = check_cell(assignment, exercise)
    for what, body in NO_ANSWERS.items():
        with pytest.raises(AssertionError) as error, quiet():
            execute(assignment.setup, an_answer(exercise, body), check)
        message = str(error.value)
        assert len(message) > 20, what
        assert "\n" not in message and "NoneType" not in message, what
    with pytest.raises(ZeroDivisionError), quiet():  # the student's own exception stays as it is
        execute(assignment.setup, an_answer(exercise, "return 1 / 0"), check)


def lines(*texts: str) -> set[str]:
    return {line.strip() for text in texts for line in text.splitlines() if line.strip()}


def secrets(exercise: Exercise) -> list[set[str]]:
    """For each cell that students must not see: the lines that are in no cell they see."""
    public = lines(exercise.stub, exercise.check, exercise.probe, exercise.statement)
    cells = [exercise.solution, exercise.hidden, *(wrong.source for wrong in exercise.wrong)]
    return [lines(cell) - public for cell in cells]


@pytest.mark.parametrize(("assignment", "exercise"), EVERY)
def test_solutions_and_hidden_checks_are_shown_to_instructors_only(assignment, exercise):
    notebook = student_notebook(assignment)
    committed = ROOT / "book" / "exercises" / assignment.name
    released = json.loads(committed.with_suffix(".ipynb").read_text(encoding="utf8"))
    shown = [
        lines(*(cell["source"] for cell in notebook["cells"])),
        lines(*("".join(cell["source"]) for cell in released["cells"])),
        lines(page(assignment, solutions=False)),
        lines(committed.with_suffix(".md").read_text(encoding="utf8")),
    ]
    instructors = lines(page(assignment, solutions=True))
    for distinctive in secrets(exercise):
        assert distinctive  # else nothing was looked for
        assert distinctive <= instructors
        for students in shown:
            assert not distinctive & students


def test_the_pages_in_the_book_are_what_the_sources_give():
    assert drift(ROOT) == []
