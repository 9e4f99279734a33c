"""What a cell defines and needs by name, and which cells an answer stands on."""

import ast
from pathlib import Path

import pytest

from lecture_grader.submissions import names as module
from lecture_grader.submissions.names import find_names
from lecture_grader.submissions.needs import given_names, needed
from lecture_grader.submissions.syntax import MAX_SOURCE, parse

SETUP = "import math\n\nimport numpy as np\nimport torch"
GIVEN = given_names(find_names(SETUP))


def needs_of(answer, *cells):
    """The cells, among others given before the answer, that it needs."""
    found = needed(len(cells), [find_names(cell) for cell in (*cells, answer)], GIVEN)
    assert len(cells) in found
    return [cells[place] for place in found if place < len(cells)]


@pytest.mark.parametrize(
    ("source", "defines"),
    [
        ("x = y = 1", "x y"),
        ("x, (y, *z) = a", "x y z"),
        ("x: int = 1\ny: int", "x"),
        ("x += 1", "x"),
        ("for i, j in a:\n    k = 1", "i j k"),
        ("with a as b, c as (d, e): pass", "b d e"),
        ("try:\n    a = 1\nexcept E as e:\n    b = 2\nelse:\n    c = 3", "a b c e"),
        ("import a.b, c.d as e\nfrom f import g, h as i", "a e g i"),
        ("def f(x): y = 1", "f"),
        ("async def f(): pass\nclass C:\n    x = 1", "f C"),
        ("(n := 3)", "n"),
        ("[i for i in range(3)]", ""),
        ("{i: j for i, j in a}", ""),
        ("list(i for i in a)", ""),
        ("[last := i for i in a]", "last"),
        ("def f():\n    [last := i for i in a]", "f"),
        ("def f():\n    global g\n    g = 1", "f g"),
        ("lambda x: x", ""),
        ("table[k] = 1", ""),
        (
            "match a:\n    case [b, *c]: pass\n    case {'k': d, **e}: pass\n    case 1 as g: pass",
            "b c d e g",
        ),
        ("x = [i := 1, [k for k in a]]", "x i"),
        ("%matplotlib inline\nx = 1", "x"),
        ("if a:\n    %load_ext autoreload\nx = 1", "x"),
        ("x = !ls", "x"),
        ("%time x = f()", "x"),
        ("%%time\nx = f()", "x"),
        ("%%capture\nx = f()", "x"),
        ("%%bash\nx=1", ""),
        ("f?\nx = 1", "x"),
        ("%%html\n<b>x = 1</b>", ""),
        ("%timeit -n 3 x = f()", ""),
        ("%%writefile m.py\nx = 1", "m.py"),
        ("  x = 1\n  y = 2", "x y"),
        (">>> x = 1\n>>> y = 2", "x y"),
        ("try:\n    f\nexcept E:\n    %pip install a", ""),
        ("%matplotlib \\\n  inline\nx = 1", "x"),
        ("'''\n%not magic\n'''\nx = 1", "x"),
        ("def f(x) return 1\ng = 2\nimport h", "f g h"),
        ("pip install a\nx = 1", "x"),
    ],
)
def test_what_a_cell_defines(source, defines):
    assert set(find_names(source).defines) == set(defines.split())


@pytest.mark.parametrize(
    ("source", "needs"),
    [
        ("x = a + b.c[d]", "a b d"),
        ("x = 1\nx", ""),
        ("x\nx = 1", "x"),
        ("x += 1", "x"),
        ("def f(x, y=d, *, z: t = e) -> r: return x + g", "d e g r t"),
        ("def f(): f()", ""),
        ("def f():\n    x = 1\n    def g(): return x + y", "y"),
        ("def f(): return late\nlate = 1", ""),
        ("[part + q for part in p if part > r]", "p q r"),
        ("[x for x in [y for y in z]]", "z"),
        ("class C(B):\n    x = a\n    def m(self): return x", "B a x"),
        ("f = lambda x, y=b: x + c", "b c"),
        ("import m.n", "m.py"),
        ("from m import n", "m.py"),
        ("def f():\n    global g\n    g += 1", "g"),
        ("def f():\n    try:\n        pass\n    except E as e:\n        return e", "E"),
        ("@d\ndef f(): pass", "d"),
        ("%matplotlib inline\nx = a", "a"),
        ("%time x = f(a)", "a f"),
        ("{**a, 'b': c}", "a c"),
        ("f'{a} {b:{c}}'", "a b c"),
        ("del x", ""),
        ("print(x)", "print x"),
        ("def f(x):\n    a = [q for q in x]\n    return q", "q"),
    ],
)
def test_what_a_cell_needs(source, needs):
    assert find_names(source).needs == set(needs.split())


def test_variables_of_comprehensions_are_nobodys_in_every_version_of_python():
    # symtable says otherwise since 3.12 (python/cpython 109292), so that nothing may rest on it.
    source = Path(module.__file__).read_text(encoding="utf8")
    assert "import symtable" not in source and "from symtable" not in source
    experiment = "for k in range(10**9): part = [part for part in range(k)]"
    assert needs_of("def f(x): return [part for part in x]", experiment) == []
    assert needs_of("def f(x): return {k: v for k, v in x for part in v}", experiment) == []
    assert needs_of("def f(x): return [part for _ in x]", "[part for part in range(9)]") == []
    assert needs_of("def f(x): return [part for _ in x]", experiment) == [experiment]


def test_what_is_needed_is_taken_along_transitively_and_nothing_else():
    inner, outer = "def inner(x):\n    return x * FACTOR", "def outer(x): return inner(x) + m.pi"
    cells = ("FACTOR = 3", inner, "import math as m, os.path", outer, "unused = 1 / 0", "outer(3)")
    assert needs_of("def first(x): return outer(x)", *cells) == [*cells[:4]]


FILL = "table = {}"


@pytest.mark.parametrize(
    "change",
    [
        "for k in range(3):\n    table[k] = k",
        "table.update(a=1)",
        "table.x = 3",
        "del table[0]",
        "table[0] += 1",
        "table['a']['b'].append(1)",
        "[table.append(k) for k in range(3)]",
        "_ = table.setdefault(1, 2)",
        "random.shuffle(table)",
        "with a:\n    table.fill_(0)",
        "def fill():\n    table[0] = 1\nfill()",
        "n = fill(table)\nfill(table)",
        "setattr(table, 'a', 1)",
        "@table.register\ndef g(): pass",
        "@table.register('x')\nclass C: pass",
        "%time table[0] = 1",
        "%%time\ntable[0] = 1",
        "%matplotlib inline\ntable[0] = 1",
    ],
)
def test_a_cell_that_changes_an_object_is_needed_by_who_uses_it(change):
    assert needs_of("def first(x): return table[x]", FILL, change) == [FILL, change]
    assert needs_of("def first(x): return x", FILL, change) == []


def test_a_function_that_fills_and_the_cell_that_calls_it():
    fill = "def fill(k):\n    table[k] = k"
    assert needs_of("def first(x): return table[x]", FILL, fill, "fill(3)") == [
        FILL, fill, "fill(3)",
    ]  # fmt: skip
    filled = "table = {}\ndef first(x): return table[x]"  # its own, but changed elsewhere
    assert needs_of(filled, "table[3] = 4") == ["table[3] = 4"]


def test_a_module_is_changed_by_assignment_and_by_what_sets_defaults():
    answer = "def first(x): return torch.zeros(3) + np.pi + math.e"
    matter = ("torch.set_default_dtype(torch.float64)", "math.tau = 6", "np.seterr(all='raise')")
    not_matter = ("torch.manual_seed(0)", "torch.add(x, x)", "np.sort(a)", "np.set_printoptions()",
                  "check(torch.float64, np)", "outer(torch.ones(2))")  # fmt: skip
    assert needs_of(answer, *not_matter, *matter[:2]) == [*matter[:2]]
    assert needs_of(answer, matter[2]) == [matter[2]]
    cells = [*map(find_names, ("table = {}", f"{matter[0]}\ntable[0] = 1", f"{answer}, table"))]
    assert needed(2, cells, GIVEN, {1, 2}) == (0, 1, 2)  # the other answer changes the table
    assert needed(1, [*cells[1:], find_names(answer)], GIVEN, {0, 1}) == (0, 1)
    assert needed(2, [*cells[1:], find_names(answer)], GIVEN, {0, 2}) == (2,)


def test_a_star_may_define_anything_and_is_always_needed():
    for star in (
        "from math import *",
        "%run m.py",
        "exec('a = 1')",
        "globals()['a'] = 1",
        "%pylab",
    ):
        assert needs_of("def first(x): return x", star) == [star]


def test_a_module_that_a_cell_writes_is_needed_by_who_imports_it():
    written = "%%writefile m.py\nimport helper\ndef g(x): return x"
    helper = "%%file ./helper.py\nK = 2"
    package = '%%writefile -a "pkg/inner.py"\nK = 2'
    other = "%%writefile other.py\nwhile 1: pass"
    for way in ("from m import g", "import m as n", "import m.deep", "import pkg.inner, m"):
        expected = [helper, *([package] if "pkg" in way else []), written]
        assert (
            needs_of(f"{way}\ndef first(x): return x", helper, package, other, written) == expected
        )
    assert needs_of("def first(x): return g(x)", helper, written, "from m import g") == [
        helper, written, "from m import g",
    ]  # fmt: skip


def test_names_that_are_given_are_needed_only_if_they_mean_another_thing():
    answer = "def first(x): return sum(np.abs(x)) + torch.ones(1)"
    experiments = ("x = y = 10**9\nwhile x: x -= 1", "print = sum = torch = None",
                   "import numpy as np\nwhile 1: pass", "import torch, math")  # fmt: skip
    assert needs_of(answer, *experiments) == []
    for own in ("def sum(x): return 0", "from numpy import sum", "import jax.numpy as np"):
        assert needs_of(answer, own) == [own]


def test_the_same_import_again_adds_nothing():
    answer = "def first(x): return F.softmax(x)"
    first, experiment = (
        "import torch.nn.functional as F",
        "import torch.nn.functional as F\nwhile 1: pass",
    )
    assert needs_of(answer, first, experiment) == [first]
    assert needs_of(answer, first, "import other as F") == [first, "import other as F"]


def test_code_that_does_not_parse_is_searched_for_words():
    broken = "def first(x) return helper(x)"
    assert needs_of(broken, "def helper(x): return x", "def other(): pass") == [
        "def helper(x): return x",
    ]  # fmt: skip
    assert needs_of("def first(x): return helper(x)", "def helper(x) return x") == [
        "def helper(x) return x",
    ]  # fmt: skip


def test_what_parses_is_taken_as_it_stands():
    assert ast.dump(parse("x = '''\n%time\n!ls\n'''")) == ast.dump(
        ast.parse("x = '''\n%time\n!ls\n'''")
    )
    assert ast.dump(parse("%matplotlib inline\n!ls\nx = 1")) == ast.dump(ast.parse("x = 1"))


def test_a_cell_of_the_largest_size_is_parsed_and_a_larger_one_is_not():
    assert parse("#" * MAX_SOURCE).body == []
    with pytest.raises(ValueError, match="more than 200,000 characters"):
        parse("#" * (MAX_SOURCE + 1))


@pytest.mark.parametrize(
    "deep", ["from " + ". " * 500 + "import a", "( " * 200, "[" * 200, "{" * 200]
)
def test_a_cell_that_is_nested_too_deeply_is_refused_before_the_parser(deep):
    with pytest.raises(ValueError, match="nested too deeply"):
        parse(deep)


def test_a_magic_with_options_is_no_code():
    assert parse("%timeit -n 3 total(x)").body == []
    assert ast.unparse(parse("%timeit total(x)")) == "total(x)"
