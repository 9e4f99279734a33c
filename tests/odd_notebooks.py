"""Honest submissions of tests/exercises/small.md with odd habits: each one is right. No test here.

:data:`ODD` holds them by name. What each answers is right where its student ran it, which the tests
see by running its cells one after the other in a plain IPython.
"""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from textwrap import dedent

from submissions import CORRECT, FIRST, SECOND, THIRD, Notebook, assignment

__all__ = ["HABITS", "ODD", "OUR_WORDS", "Odd"]

Change = Callable[[Notebook], bytes | None]


@dataclass(frozen=True)
class Odd:
    """An odd notebook, and what must come of it."""

    name: str
    change: Change  # of a solved notebook, or the bytes of the file
    outcomes: dict[str, set[str]]  # by exercise: what each may be called
    runs_here: bool  # else it needs what only its student's machine had

    def __bytes__(self) -> bytes:
        notebook = Notebook.solved()
        content = self.change(notebook)
        return bytes(notebook) if content is None else content


ODD: dict[str, Odd] = {}


def odd(
    change: Change | None = None, *, runs_here: bool = True, **outcomes: str
) -> Callable[[Change], Change] | Change:
    """Registers a change; full marks are due, but for exercises of which `outcomes` says more."""

    def register(change: Change) -> Change:
        told = {name.replace("_", "-"): {outcome} for name, outcome in outcomes.items()}
        add(change.__name__.replace("_", "-"), change, told, runs_here)
        return change

    return register if change is None else register(change)


def add(
    name: str, change: Change, told: dict[str, set[str]] | None = None, runs_here: bool = True
) -> None:
    """Registers a change under a name."""
    assert name not in ODD
    ODD[name] = Odd(name, change, CORRECT | (told or {}), runs_here)


def answer(notebook: Notebook, **answers: str) -> None:
    """Other sources for answers."""
    for name, source in answers.items():
        notebook.cell(f"{name.replace('_', '-')}-answer")["source"] = dedent(source).strip("\n")


def before(notebook: Notebook, exercise: str, source: str) -> None:
    """A cell of the student's own above an answer."""
    notebook.add(dedent(source).strip("\n"), before=f"{exercise}-answer")


def above(notebook: Notebook, exercise: str, source: str) -> None:
    """Lines of the student's own above an answer, in its cell."""
    cell = notebook.cell(f"{exercise}-answer")
    cell["source"] = dedent(source).strip("\n") + "\n\n" + cell["source"]


def below(notebook: Notebook, exercise: str, source: str) -> None:
    """Lines of the student's own below an answer, in its cell."""
    notebook.cell(f"{exercise}-answer")["source"] += "\n\n\n" + dedent(source).strip("\n")


def stub(exercise: str) -> str:
    """The source of an answer's cell as it was handed out."""
    return next(e.stub for e in assignment().exercises if e.name == exercise)


# ---------------------------------------------------------------------------- names

# What a grader, a kernel or a probe may be tempted to call things of its own.
OUR_WORDS = (
    "report", "probe", "check", "known", "KnownCases", "values", "cases", "case", "setup",
    "display", "encode", "decode", "json", "clean_slate", "grade", "grader", "answer", "_probe",
    "In", "Out", "get_ipython", "exit", "quit", "inspect", "result", "namespace", "expected", "key",
    "mean", "variance",
)  # fmt: skip


def helper_called(word: str, notebook: Notebook) -> None:
    before(notebook, FIRST, f"def {word}(numbers):\n    return numbers.sum()")
    answer(notebook, scaled_sum=f"def scaled_sum(x, scale):\n    return scale * {word}(x)")
    # A second one of the name, for the last exercise only.
    answer(
        notebook,
        standardize=f"""
            class {word}:
                def __init__(self, x):
                    self.x = x - x.mean(dim=1, keepdim=True)

                def standard(self):
                    return self.x / (self.x**2).mean(dim=1, keepdim=True).sqrt()


            def standardize(x):
                return {word}(x).standard()
        """,
    )


for _word in OUR_WORDS:
    add(f"helper-called-{_word}", partial(helper_called, _word))


@odd
def our_words_as_variables(notebook: Notebook) -> None:
    lines = "\n".join(f"{word} = {number}.0" for number, word in enumerate(OUR_WORDS))
    before(notebook, FIRST, lines)
    before(notebook, THIRD, lines)  # the checks that were handed out have taken some of them
    total = " + ".join(f"0 * {word}" for word in OUR_WORDS)
    answer(notebook, scaled_sum=f"def scaled_sum(x, scale):\n    return scale * x.sum() + {total}")
    answer(
        notebook,
        softmax=f"""
            def softmax(logits, temperature):
                return torch.softmax(logits / temperature, dim=1) + {total}
        """,
    )


@odd
def built_ins_under_other_names(notebook: Notebook) -> None:
    before(
        notebook,
        FIRST,
        """
        type = torch.float32
        id = 3
        input = torch.ones(4)
        list = [1.0, 1.0]
        """,
    )
    answer(
        notebook,
        scaled_sum="""
            def scaled_sum(x, scale):
                return scale * x.sum().to(type) + 0 * id
        """,
        standardize="""
            def standardize(x):
                away = x - x.mean(dim=1, keepdim=True)
                weight = list[0] * input[0].to(type)
                return weight * away / (away**2).mean(dim=1, keepdim=True).sqrt()
        """,
    )


@odd
def own_sum_max_and_print(notebook: Notebook) -> None:
    before(
        notebook,
        FIRST,
        """
        def sum(values, axis=None):
            return values.sum() if axis is None else values.sum(dim=axis, keepdim=True)

        def max(values):
            return values.max(dim=1, keepdim=True).values

        def print(*anything):
            pass

        def len(values):
            return values.shape[1]
        """,
    )
    answer(
        notebook,
        scaled_sum="def scaled_sum(x, scale):\n    print(x)\n    return scale * sum(x)",
        mean_and_variance="""
            def mean_and_variance(x):
                mean = sum(x, 1) / len(x)
                return mean[:, 0], (sum((x - mean) ** 2, 1) / len(x))[:, 0]
        """,
        softmax="""
            def softmax(logits, temperature):
                powers = torch.exp((logits - max(logits)) / temperature)
                print(powers)
                return powers / sum(powers, axis=1)
        """,
    )


@odd
def answer_whose_arguments_hide_built_ins(notebook: Notebook) -> None:
    answer(
        notebook,
        scaled_sum="""
            sum = lambda input, float: float * input.sum()
            def scaled_sum(x, scale):
                return sum(x, scale)
        """,
    )


@odd
def torch_under_another_name(notebook: Notebook) -> None:
    above(notebook, FIRST, "import torch as T")
    before(notebook, SECOND, "torch = 'a light'\nnp = 'no problem'\nmath = None")
    answer(
        notebook,
        mean_and_variance="""
            def mean_and_variance(x):
                return T.mean(x, dim=1), T.var(x, dim=1, correction=0)
        """,
        softmax="""
            def softmax(logits, temperature):
                return T.softmax(logits / temperature, dim=1)
        """,
    )


@odd
def numpy_called_torch_np_and_torch(notebook: Notebook) -> None:
    before(notebook, FIRST, "import numpy as torch_np")
    answer(
        notebook,
        scaled_sum="""
            def scaled_sum(x, scale):
                return scale * torch_np.sum(x.numpy())
        """,
        standardize="""
            import numpy as torch

            def standardize(x):
                x = x.numpy()
                return (x - torch.mean(x, axis=1, keepdims=True)) / torch.std(
                    x, axis=1, keepdims=True
                )
        """,
    )


@odd
def import_inside_and_star_imports(notebook: Notebook) -> None:
    before(notebook, FIRST, "from math import *\nfrom numpy import *")
    answer(
        notebook,
        scaled_sum="def scaled_sum(x, scale):\n    return scale * array(x).sum() * cos(0 * pi)",
        softmax="""
            def softmax(logits, temperature):
                import scipy.special as special

                return special.softmax(logits.numpy() / temperature, axis=1)
        """,
    )


@odd
def names_with_other_letters(notebook: Notebook) -> None:
    # The first helper is called with one letter for two: to Python both names are one.
    before(notebook, FIRST, "def ﬁnal_größe(x):\n    σ = x.sum()\n    return σ\n\nλ = 1.0")
    answer(
        notebook,
        scaled_sum="def scaled_sum(x, scale):\n    return λ * scale * final_größe(x)",
        standardize="""
            def standardize(x):
                μ, σ2 = mean_and_variance(x)
                return (x - μ[:, None]) / σ2[:, None] ** 0.5
        """,
    )


@odd
def everything_in_one_letter(notebook: Notebook) -> None:
    before(notebook, FIRST, "n, x, y, i, s = 5, torch.arange(3.0), None, 0, 'text'")
    answer(
        notebook,
        scaled_sum="""
            n = 0.0
            def scaled_sum(x, scale):
                return scale * x.sum() + n
            for x in range(3):
                n = n * x
        """,
        mean_and_variance="""
            n = 1
            def mean_and_variance(x):
                return x.mean(dim=n), x.var(dim=n, correction=0)
            x = mean_and_variance(torch.ones(2, 3))
        """,
        softmax="""
            def softmax(logits, temperature):
                x = torch.exp((logits - logits.amax(n, keepdim=True)) / temperature)
                return x / x.sum(n, keepdim=True)
            [x for x in range(10)]
        """,
    )


@odd
def namespace_with_nothing_but_their_own(notebook: Notebook) -> None:
    for name in CORRECT:
        notebook.remove(f"{name}-check")  # which bring names of their own
    answer(
        notebook,
        scaled_sum=r"""
            import re

            theirs = {"In", "Out", "get_ipython", "exit", "quit", "open", "display"}
            mine = {"math", "np", "torch", "re", "theirs", "mine", "scaled_sum"}
            mine |= {"mean_and_variance", "softmax", "standardize"}

            def scaled_sum(x, scale):
                others = {name for name in globals() if not re.fullmatch(r"_+\w*", name)}
                assert others <= mine | theirs, others - mine - theirs
                return scale * x.sum()
        """,
    )


@odd
def results_in_other_clothes(notebook: Notebook) -> None:
    answer(
        notebook,
        scaled_sum="def scaled_sum(x, scale):\n    return np.float64(scale * x.sum())",
        mean_and_variance="""
            from collections import namedtuple

            Moments = namedtuple("Moments", "mean variance")

            def mean_and_variance(x):
                return Moments(x.mean(dim=1).double(), torch.nn.Parameter(x.var(1, correction=0)))
        """,
        standardize="""
            def standardize(x):
                x = x.clone().requires_grad_()
                return ((x - x.mean(1, keepdim=True)) / x.std(1, correction=0, keepdim=True)).T.T
        """,
    )


# ---------------------------------------------------------------------------- earlier attempts

LOWEST = """import sys

for limit in range(10, 1000):
    try:
        sys.setrecursionlimit(limit)
        break
    except RecursionError:
        pass"""
ATTEMPTS = {
    "syntax-error": "def scaled_sum(x, scale)\n    return scale * x.sum()",
    "half-finished": "def scaled_sum(x, scale):\n    total = \n",
    "body-forgotten": "def scaled_sum(x, scale):",
    "dots": "def scaled_sum(x, scale): ...",
    "indentation-error": "def scaled_sum(x, scale):\n    total = x.sum()\n   return scale * total",
    "bracket-left-open": "def scaled_sum(x, scale):\n    return scale * (x.sum()",
    "text-left-open": 'def scaled_sum(x, scale):\n    return scale * x.sum("dim=0)',
    "python-2": "print 'scaled sum of', 3",
    "raises": "def scaled_sum(x, scale):\n    return x.summe()\n\nscaled_sum(torch.ones(2), 1.0)",
    "raises-at-once": "scaled_sum = torch.scaled_sum",
    "missing-library": "import scaledsum\n\nscaled_sum = scaledsum.scaled_sum",
    "prose": "I first tried x.sum() * scale, but it did not work?!",
}


def attempt_above(attempt: str, notebook: Notebook) -> None:
    before(notebook, FIRST, ATTEMPTS[attempt])


def attempt_in_a_copy(attempt: str, notebook: Notebook) -> None:
    cell = notebook.cell(f"{FIRST}-answer")
    earlier = copy.deepcopy(cell)
    earlier["source"] = ATTEMPTS[attempt]
    notebook.cells.insert(notebook.cells.index(cell), earlier)


for _name in ATTEMPTS:
    add(f"attempt-above-{_name}", partial(attempt_above, _name))
    add(f"attempt-in-a-copy-{_name}", partial(attempt_in_a_copy, _name))


def attempt_in_the_cell(attempt: str, notebook: Notebook) -> None:
    # It stopped the cell when it was there; the student took it out, ran it and undid that.
    above(notebook, FIRST, ATTEMPTS[attempt])


for _name in ("raises", "raises-at-once", "missing-library", "syntax-error", "indentation-error"):
    add(f"attempt-in-the-cell-{_name}", partial(attempt_in_the_cell, _name), runs_here=False)


@odd
def attempt_below_that_does_not_parse(notebook: Notebook) -> None:
    after = notebook.cell(f"{FIRST}-check")["id"]
    notebook.add("def scaled_sum(x, scale):\n    return (scale * ", before=after)
    notebook.add("def scaled_sum(x, scale):\n  a = 1\n   b = 2", before=after)


@odd
def attempt_commented_out(notebook: Notebook) -> None:
    above(notebook, FIRST, "# def scaled_sum(x, scale):\n#     return x.sum()\n'''\ndef f(:\n'''")


@odd
def attempt_that_lowers_the_recursion_limit(notebook: Notebook) -> None:
    before(notebook, FIRST, LOWEST)


@odd
def attempt_that_patches_torch(notebook: Notebook) -> None:
    before(notebook, FIRST, "original = torch.sum\ntorch.sum = torch.mean\ntorch.Tensor.sum = 3")
    answer(
        notebook,
        scaled_sum="""
            torch.sum = original

            def scaled_sum(x, scale):
                return scale * torch.sum(x)
        """,
    )


@odd
def attempt_that_deletes_names(notebook: Notebook) -> None:
    before(notebook, SECOND, "del scaled_sum, torch\nimport torch")
    notebook.add("del softmax, standardize, np, math")


@odd
def attempt_that_resets_everything(notebook: Notebook) -> None:
    before(notebook, SECOND, "%reset -f")
    before(notebook, SECOND, "import math\nimport numpy as np\nimport torch")
    notebook.add("%reset -f")


@odd
def attempt_that_closes_stdout(notebook: Notebook) -> None:
    before(notebook, SECOND, "import sys\nsys.stdout.close()\nsys.stderr.close()")


@odd
def wrong_variant_shown_below(notebook: Notebook) -> None:
    notebook.add(
        "# What the mean in place of the sum would give:\n"
        "def scaled_sum(x, scale):\n    return scale * x.mean()\n\n"
        "scaled_sum(torch.ones(3), 2.0)",
        before=f"{SECOND}-statement",
    )
    notebook.add("softmax = torch.nn.Softmax(dim=0)\nsoftmax(torch.eye(2))")


@odd
def name_of_an_answer_used_for_its_result(notebook: Notebook) -> None:
    notebook.add("softmax = softmax(torch.eye(2), 1.0)\nprint(softmax)")
    notebook.add("scaled_sum = scaled_sum(torch.ones(3), 2.0)", before=f"{SECOND}-statement")


# ---------------------------------------------------------------------------- what answers need


@odd
def table_filled_in_a_loop(notebook: Notebook) -> None:
    before(notebook, FIRST, "axes = {}\nhalves = []")
    loop = "for name, axis in (('rows', 1), ('columns', 0)):\n    axes[name] = axis"
    before(notebook, FIRST, loop)
    before(notebook, FIRST, "halves.append(0.5)\nhalves += [0.5]\naxes.update(all=None)")
    answer(
        notebook,
        scaled_sum="def scaled_sum(x, scale):\n    return scale * x.sum() * sum(halves)",
        softmax="""
            def softmax(logits, temperature):
                return torch.softmax(logits / temperature, dim=axes["rows"])
        """,
    )


@odd
def attribute_set_elsewhere(notebook: Notebook) -> None:
    before(notebook, FIRST, "import types\nsettings = types.SimpleNamespace()")
    before(notebook, FIRST, "settings.factor = 1.0\nsetattr(settings, 'axis', 1)")
    answer(
        notebook,
        scaled_sum="def scaled_sum(x, scale):\n    return settings.factor * scale * x.sum()",
        standardize="""
            def standardize(x):
                away = x - x.mean(settings.axis, keepdim=True)
                return away / x.std(settings.axis, correction=0, keepdim=True)
        """,
    )


@odd
def state_in_a_class(notebook: Notebook) -> None:
    before(
        notebook,
        SECOND,
        """
        class Rows:
            weights = {}
            calls = 0

            def mean(self, x):
                Rows.calls += 1
                return (x * self.weights["mean"]).sum(dim=1) / x.shape[1]

        rows = Rows()
        """,
    )
    before(notebook, SECOND, "Rows.weights['mean'] = 1.0\nassert rows.calls == 0")
    answer(
        notebook,
        mean_and_variance="""
            def mean_and_variance(x):
                mean = rows.mean(x)
                return mean, rows.mean((x - mean[:, None]) ** 2)
        """,
    )


@odd
def method_attached_later(notebook: Notebook) -> None:
    before(notebook, FIRST, "class Tool:\n    pass")
    before(notebook, FIRST, "def total(self, x):\n    return x.sum()\n\nTool.total = total")
    answer(notebook, scaled_sum="def scaled_sum(x, scale):\n    return scale * Tool().total(x)")


@odd
def default_type_in_the_setup(notebook: Notebook) -> None:
    notebook.cell("setup")["source"] += "\ntorch.set_default_dtype(torch.float64)"
    answer(
        notebook,
        scaled_sum="def scaled_sum(x, scale):\n    return scale * (x @ torch.ones(len(x)))",
        mean_and_variance="""
            def mean_and_variance(x):
                weights = torch.full((x.shape[1],), 1 / x.shape[1])
                x = x.double()
                mean = x @ weights
                return mean, (x - mean[:, None]) ** 2 @ weights
        """,
    )


@odd
def own_imports_in_the_setup(notebook: Notebook) -> None:
    notebook.cell("setup")["source"] = (
        "import numpy as np, torch as th, math\n"
        "from torch import *\n"
        "import torch.nn.functional as F"
    )
    answer(
        notebook,
        mean_and_variance="""
            def mean_and_variance(x):
                return mean(x, 1), var(x, 1, correction=0)
        """,
        softmax="""
            def softmax(logits, temperature):
                return F.softmax(logits / th.tensor(temperature), dim=1)
        """,
    )
    notebook.add("import torch", before=f"{FIRST}-answer")


@odd
def module_written_and_imported(notebook: Notebook) -> None:
    before(notebook, FIRST, "%%writefile helpers.py\ndef total(x):\n    return x.sum()\n\nAXIS = 1")
    before(notebook, FIRST, "import helpers\nfrom helpers import AXIS")
    answer(
        notebook,
        scaled_sum="def scaled_sum(x, scale):\n    return scale * helpers.total(x)",
        softmax="""
            def softmax(logits, temperature):
                return torch.softmax(logits / temperature, dim=AXIS)
        """,
    )


@odd
def module_written_by_python(notebook: Notebook) -> None:
    before(
        notebook,
        FIRST,
        """
        from pathlib import Path

        Path("tools").mkdir(exist_ok=True)
        Path("tools/__init__.py").write_text("")
        Path("tools/sums.py").write_text("def total(x):\\n    return x.sum()\\n")
        """,
    )
    answer(
        notebook,
        scaled_sum="""
            from tools.sums import total

            def scaled_sum(x, scale):
                return scale * total(x)
        """,
    )


@odd
def file_written_and_read(notebook: Notebook) -> None:
    before(notebook, FIRST, "!echo 1.0 > factor.txt")
    before(notebook, FIRST, "with open('axis.json', 'w') as file:\n    file.write('1')")
    answer(
        notebook,
        scaled_sum="""
            with open("factor.txt") as file:
                factor = float(file.read())

            def scaled_sum(x, scale):
                return factor * scale * x.sum()
        """,
        softmax="""
            import json

            def softmax(logits, temperature):
                axis = json.load(open("axis.json"))
                return torch.softmax(logits / temperature, dim=axis)
        """,
    )


@odd
def cell_run_from_a_file(notebook: Notebook) -> None:
    before(notebook, FIRST, "%%writefile mine.py\ndef total(x):\n    return x.sum()")
    before(notebook, FIRST, "%run mine.py")
    answer(notebook, scaled_sum="def scaled_sum(x, scale):\n    return scale * total(x)")


@odd
def decorated_and_cached(notebook: Notebook) -> None:
    before(
        notebook,
        FIRST,
        """
        import functools

        def logged(function):
            @functools.wraps(function)
            def inner(*arguments, **named):
                calls.append(function.__name__)
                return function(*arguments, **named)
            return inner

        calls = []
        """,
    )
    answer(
        notebook,
        scaled_sum="@logged\ndef scaled_sum(x, scale):\n    return scale * x.sum()",
        softmax="""
            @functools.cache
            def axis():
                return 1

            @logged
            @functools.lru_cache(maxsize=None)
            def softmax(logits, temperature):
                return torch.softmax(logits / temperature, dim=axis())
        """,
    )


@odd
def closure_and_partial(notebook: Notebook) -> None:
    before(
        notebook,
        FIRST,
        "def make(reduce):\n"
        "    def reduced(x, scale):\n"
        "        return scale * reduce(x)\n"
        "    return reduced",
    )
    answer(
        notebook,
        scaled_sum="scaled_sum = make(torch.sum)",
        softmax="""
            from functools import partial

            def powers(axis, logits, temperature):
                return torch.softmax(logits / temperature, dim=axis)

            softmax = partial(powers, 1)
        """,
        standardize="""
            standardize = lambda x: (
                (x - x.mean(dim=1, keepdim=True)) / x.std(dim=1, correction=0, keepdim=True)
            )
        """,
    )


@odd
def object_that_is_called(notebook: Notebook) -> None:
    answer(
        notebook,
        scaled_sum="""
            class ScaledSum:
                def __call__(self, x, scale):
                    return scale * x.sum()

            scaled_sum = ScaledSum()
        """,
        softmax="""
            class Softmax(torch.nn.Module):
                def forward(self, logits, temperature):
                    return torch.softmax(logits / temperature, dim=1)

            softmax = Softmax()
        """,
    )


@odd
def assigned_in_odd_ways(notebook: Notebook) -> None:
    answer(
        notebook,
        scaled_sum="def total(x, s):\n    return s * x.sum()\n\nalias = scaled_sum = total",
        mean_and_variance="""
            def both(x):
                return x.mean(dim=1), x.var(dim=1, correction=0)

            mean_and_variance, nothing = both, None
        """,
        softmax="""
            if torch.__version__ > "0":
                def softmax(logits, temperature):
                    return torch.softmax(logits / temperature, dim=1)
            else:
                softmax = None
        """,
        standardize="""
            try:
                from nowhere import standardize
            except ImportError:
                def standardize(x):
                    away = x - x.mean(dim=1, keepdim=True)
                    return away / (away**2).mean(dim=1, keepdim=True).sqrt()
        """,
    )


@odd
def assigned_through_the_namespace(notebook: Notebook) -> None:
    answer(
        notebook,
        scaled_sum="""
            def version_2(x, scale):
                return scale * x.sum()

            globals()["scaled_sum"] = version_2
        """,
        standardize="""
            exec("def standardize(x):\\n    return (x - x.mean(dim=1, keepdim=True))"
                 " / x.std(dim=1, correction=0, keepdim=True)")
        """,
    )


@odd
def made_in_a_loop(notebook: Notebook) -> None:
    answer(
        notebook,
        mean_and_variance="""
            for power in (1, 2):
                if power == 1:
                    def mean_of(x):
                        return x.mean(dim=1)
                else:
                    def mean_and_variance(x):
                        away = x - mean_of(x)[:, None]
                        return mean_of(x), mean_of(away**2)
        """,
        softmax="""
            with torch.no_grad():
                def softmax(logits, temperature):
                    return torch.softmax(logits / temperature, dim=1)
        """,
    )


@odd
def globals_that_change(notebook: Notebook) -> None:
    before(notebook, FIRST, "import itertools\ncalls = itertools.count()\ntotal = 0")
    answer(
        notebook,
        scaled_sum="""
            def scaled_sum(x, scale):
                global total, last
                total += next(calls)
                last = x
                return scale * last.sum()
        """,
    )


@odd
def generator_at_the_top(notebook: Notebook) -> None:
    before(notebook, FIRST, "seeds = (2 * number for number in range(10**9))\nfirst = next(seeds)")
    answer(
        notebook,
        scaled_sum="""
            def scaled_sum(x, scale):
                return scale * x.sum() + 0 * next(seeds) + first
        """,
    )


@odd
def annotations_from_the_future(notebook: Notebook) -> None:
    before(notebook, FIRST, "from __future__ import annotations")
    answer(
        notebook,
        scaled_sum="""
            def scaled_sum(x: Vector, scale: Number) -> Number:
                return scale * x.sum()
        """,
        standardize="""
            from __future__ import annotations

            def standardize(x: Float[Tensor, "batch n"]) -> Float[Tensor, "batch n"]:
                return (x - x.mean(dim=1, keepdim=True)) / x.std(dim=1, correction=0, keepdim=True)
        """,
    )


@odd
def annotated_with_names_from_elsewhere(notebook: Notebook) -> None:
    before(notebook, FIRST, "from typing import TypeAlias\nfrom torch import Tensor")
    before(notebook, FIRST, "Pair: TypeAlias = tuple[Tensor, Tensor]\nAXIS: int = 1")
    answer(
        notebook,
        scaled_sum="def scaled_sum(x: Tensor, scale: float) -> Tensor:\n    return scale * x.sum()",
        mean_and_variance="""
            def mean_and_variance(x: Tensor, axis: int = AXIS) -> Pair:
                return x.mean(dim=axis), x.var(dim=axis, correction=0)
        """,
    )


@odd
def dataclass_with_inheritance(notebook: Notebook) -> None:
    before(
        notebook,
        FIRST,
        """
        from abc import ABC, abstractmethod
        from dataclasses import dataclass

        class Reduction(ABC):
            @abstractmethod
            def reduce(self, x): ...
        """,
    )
    before(
        notebook,
        FIRST,
        """
        @dataclass
        class Sum(Reduction):
            scale: float = 1.0

            def reduce(self, x):
                return self.scale * x.sum()
        """,
    )
    answer(notebook, scaled_sum="def scaled_sum(x, scale):\n    return Sum(scale).reduce(x)")


@odd
def helper_below_the_answer(notebook: Notebook) -> None:
    answer(notebook, scaled_sum="def scaled_sum(x, scale):\n    return scale * total(x)")
    notebook.add("def total(x):\n    return add_up(x)", before=f"{FIRST}-check")
    notebook.add("def add_up(x):\n    return x.sum()")


@odd
def helper_redefined_for_each_exercise(notebook: Notebook) -> None:
    for exercise, result in (
        (FIRST, "x.sum()"), (SECOND, "x.mean(dim=1)"), (THIRD, "x.amax(dim=1, keepdim=True)"),
    ):  # fmt: skip
        before(notebook, exercise, f"def h(x):\n    return {result}")
    answer(
        notebook,
        scaled_sum="def scaled_sum(x, scale):\n    return scale * h(x)",
        mean_and_variance="""
            def mean_and_variance(x):
                return h(x), h((x - h(x)[:, None]) ** 2)
        """,
        softmax="""
            def softmax(logits, temperature):
                powers = torch.exp((logits - h(logits)) / temperature)
                return powers / powers.sum(dim=1, keepdim=True)
        """,
    )


@odd
def constant_changed_for_each_exercise(notebook: Notebook) -> None:
    above(notebook, FIRST, "factor, axis = 1.0, None")
    answer(
        notebook,
        scaled_sum="""
            factor, axis = 1.0, None
            def scaled_sum(x, scale):
                return factor * scale * x.sum(dim=axis)
        """,
        mean_and_variance="""
            factor, axis = 2.0, 1
            def mean_and_variance(x):
                return x.mean(dim=axis), (factor * x).var(dim=axis, correction=0) / factor**2
        """,
        softmax="""
            factor = "eleven"
            def softmax(logits, temperature):
                return torch.softmax(logits / temperature, axis)
        """,
    )


@odd
def one_class_for_all(notebook: Notebook) -> None:
    before(
        notebook,
        FIRST,
        """
        class Answers:
            @staticmethod
            def scaled_sum(x, scale):
                return scale * x.sum()

            @classmethod
            def mean_and_variance(cls, x):
                return x.mean(dim=1), x.var(dim=1, correction=0)

            def softmax(self, logits, temperature):
                return torch.softmax(logits / temperature, dim=1)

        answers = Answers()
        """,
    )
    answer(
        notebook,
        scaled_sum="scaled_sum = Answers.scaled_sum",
        mean_and_variance="mean_and_variance = answers.mean_and_variance",
        softmax="softmax = answers.softmax",
    )


@odd
def awaited_at_the_top(notebook: Notebook) -> None:
    before(
        notebook,
        FIRST,
        """
        import asyncio

        async def one():
            await asyncio.sleep(0)
            return 1.0
        """,
    )
    before(notebook, FIRST, "factor = await one()")
    answer(
        notebook,
        scaled_sum="""
            def scaled_sum(x, scale):
                return factor * scale * x.sum()

            assert await one() == 1.0
        """,
    )


@odd
def value_of_the_cell_before(notebook: Notebook) -> None:
    before(notebook, FIRST, "torch.tensor(1.0)")
    before(notebook, FIRST, "one = _")
    answer(notebook, scaled_sum="def scaled_sum(x, scale):\n    return one * scale * x.sum()")


@odd
def lines_of_a_shell_command(notebook: Notebook) -> None:
    before(notebook, FIRST, "lines = !printf '1\\n1\\n'\nfactor = %precision 3\nuser = !whoami")
    answer(
        notebook,
        scaled_sum="def scaled_sum(x, scale):\n    return scale * x.sum() * len(lines) / 2",
    )


@odd
def own_magic(notebook: Notebook) -> None:
    before(
        notebook,
        FIRST,
        """
        from IPython.core.magic import register_cell_magic, register_line_magic

        @register_cell_magic
        def keep(line, cell):
            exec(cell, globals())

        @register_line_magic
        def one(line):
            return 1.0
        """,
    )
    before(notebook, FIRST, "%%keep\ndef total(x):\n    return x.sum()")
    answer(notebook, scaled_sum="def scaled_sum(x, scale):\n    return scale * total(x)")


@odd
def source_of_a_function_looked_up(notebook: Notebook) -> None:
    answer(
        notebook,
        scaled_sum="""
            import inspect

            def scaled_sum(x, scale):
                return scale * x.sum()

            lines = inspect.getsource(scaled_sum).splitlines()
            assert lines[0].startswith("def scaled_sum"), lines
        """,
    )


@odd
def answers_pickled_and_compared(notebook: Notebook) -> None:
    above(notebook, FIRST, "import copy, pickle")
    below(
        notebook,
        FIRST,
        """
        assert __name__ == "__main__"
        if __name__ == "__main__":
            pickle.dumps(scaled_sum)
            scaled_sum = copy.deepcopy(scaled_sum)
        """,
    )


@odd
def all_that_is_there_only_under_main(notebook: Notebook) -> None:
    answer(
        notebook,
        scaled_sum="""
            if __name__ == "__main__":
                def scaled_sum(x, scale):
                    return scale * x.sum()
        """,
    )


# ---------------------------------------------------------------------------- other places


@odd
def answer_in_the_check(notebook: Notebook) -> None:
    check, cell = notebook.cell(f"{FIRST}-check"), notebook.cell(f"{FIRST}-answer")
    check["source"] = cell["source"] + "\n\n" + check["source"]
    cell["source"] = stub(FIRST)
    check, cell = notebook.cell(f"{THIRD}-check"), notebook.cell(f"{THIRD}-answer")
    check["source"] = cell["source"]
    notebook.remove(f"{THIRD}-answer")


@odd
def answer_in_the_setup(notebook: Notebook) -> None:
    cell = notebook.cell(f"{THIRD}-answer")
    notebook.cell("setup")["source"] += "\n\n" + cell["source"]
    notebook.remove(f"{THIRD}-answer")


@odd
def answers_in_one_cell(notebook: Notebook) -> None:
    cells = [notebook.cell(f"{name}-answer") for name in CORRECT]
    cells[-1]["source"] = "\n\n\n".join(cell["source"] for cell in cells)
    for cell in cells[:-1]:
        notebook.cells.remove(cell)


@odd
def answers_at_the_end_below_stubs(notebook: Notebook) -> None:
    for name in CORRECT:
        cell = notebook.cell(f"{name}-answer")
        notebook.add(cell["source"])
        cell["source"] = stub(name)


@odd
def answer_below_the_stub_in_its_cell(notebook: Notebook) -> None:
    above(notebook, FIRST, stub(FIRST))
    above(notebook, THIRD, stub(THIRD) + "\n\n# My answer")


@odd
def answer_in_three_cells(notebook: Notebook) -> None:
    cell = notebook.cell(f"{SECOND}-answer")
    for source in ("def middle(x):\n    return x.mean(dim=1)", "def square(x):\n    return x * x"):
        part = copy.deepcopy(cell)
        part["source"] = source
        notebook.cells.insert(notebook.cells.index(cell), part)
    answer(
        notebook,
        mean_and_variance="""
            def mean_and_variance(x):
                return middle(x), middle(square(x - middle(x)[:, None]))
        """,
    )


@odd
def answer_in_halves_below_each_other(notebook: Notebook) -> None:
    cell = notebook.cell(f"{SECOND}-answer")
    answer(
        notebook,
        mean_and_variance="""
            def mean_and_variance(x):
                return x.mean(dim=1), variance_of(x)
        """,
    )
    part = copy.deepcopy(cell)
    part["source"] = "def variance_of(x):\n    return x.var(dim=1, correction=0)"
    notebook.cells.insert(notebook.cells.index(cell) + 1, part)


@odd(runs_here=False)
def answer_turned_into_markdown(notebook: Notebook) -> None:
    cell = notebook.cell(f"{THIRD}-answer")
    cell["cell_type"] = "markdown"
    del cell["outputs"], cell["execution_count"]


@odd(runs_here=False)
def answer_turned_into_raw_text(notebook: Notebook) -> None:
    cell = notebook.cell(f"{FIRST}-answer")
    cell["cell_type"] = "raw"
    del cell["outputs"], cell["execution_count"]


@odd
def check_turned_into_markdown_and_text_into_code(notebook: Notebook) -> None:
    notebook.cell(f"{FIRST}-check")["cell_type"] = "markdown"
    statement = notebook.cell(f"{THIRD}-statement")
    statement |= {"cell_type": "code", "outputs": [], "execution_count": 3}


@odd
def answers_tried_in_the_cell_of_another(notebook: Notebook) -> None:
    below(notebook, FIRST, "def softmax(logits, temperature):\n    return logits")
    above(notebook, "standardize", "def scaled_sum(x, scale):\n    return scale * x.sum()")


# ---------------------------------------------------------------------------- between exercises

# Cells that stand between the first exercise and the second: what follows them is right.
HABITS = {
    "recursion-limit": LOWEST,
    "patched-numpy": "np.sqrt = np.mean = np.sum = np.asarray = None",
    "patched-tensors": "torch.Tensor.sum = torch.Tensor.mean",
    "short-tensors": "torch.Tensor.__repr__ = lambda tensor: f'{tuple(tensor.shape)}'",
    "patched-torch": "torch.from_numpy = torch.tensor = torch.zeros = torch.as_tensor = None",
    "strict-numpy": "np.seterr(all='raise')",
    "strict-warnings": "import warnings\nwarnings.simplefilter('error')",
    "locale": "import locale\nlocale.setlocale(locale.LC_ALL, 'C')",
    "other-folder": "import os\nos.mkdir('plots')\nos.chdir('plots')\nos.rmdir('../plots')",
    "stdout-kept": "import io, sys\nsys.stdout = io.StringIO()\nsys.stderr = io.StringIO()",
    "stdout-none": "import sys\nsys.stdout = sys.__stdout__ = None",
    "no-gradients": "torch.set_grad_enabled(False)\ntorch.inference_mode().__enter__()",
    "default-type": "torch.set_default_dtype(torch.float16)",
    "default-device": "torch.set_default_device('meta')",
    "alarm": (
        "import signal\nsignal.signal(signal.SIGALRM, lambda *_: 1 / 0)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)"
    ),
    "interrupt-ignored": "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)",
    "at-exit": "import atexit\natexit.register(print, 'bye')\natexit.register(input, 'Save? ')",
    "sys-exit": "import sys\nsys.exit(3)",
    "quit": "quit()",
    "kernel-killed": "import os\nos._exit(1)",
    "kernel-shot": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
    "endless-loop": "while True:\n    pass",
    "long-sleep": "import time\ntime.sleep(3600)",
    "memory": "rows = [bytearray(10**8) for _ in range(30)]",
    "prints": "for number in range(10**6):\n    print(number, 'and again and again and again')",
    "asks": "name = input('Your name: ')",
    "asks-secretly": "import getpass\ngetpass.getpass()",
    "thread": "import threading, time\nthreading.Thread(target=time.sleep, args=(900,)).start()",
    "thread-that-prints": (
        "import threading, time\n\ndef talk():\n    while True:\n        time.sleep(0.01)\n"
        "        print('still training')\n\nthreading.Thread(target=talk, daemon=True).start()"
    ),
    "thread-that-computes": (
        "import threading\n\ndef work():\n    while True:\n        sum(range(1000))\n\n"
        "threading.Thread(target=work, daemon=True).start()"
    ),
    "child-process": "import subprocess\nsubprocess.Popen(['sleep', '900'])",
    "pool": (
        "from concurrent.futures import ProcessPoolExecutor\n"
        "pool = ProcessPoolExecutor(2)\nlist(pool.map(abs, range(4)))"
    ),
    "tracebacks": "%xmode Verbose\n%load_ext rich\n%pdb on",
    "own-tracebacks": (
        "def handle(shell, kind, error, tb, tb_offset=None):\n    print('never mind')\n\n"
        "get_ipython().set_custom_exc((BaseException,), handle)"
    ),
    "own-hook": "import sys\nsys.excepthook = None\nsys.displayhook = lambda value: None",
    "own-display": (
        "import IPython.display\nIPython.display.display = None\n"
        "get_ipython().display_formatter.formatters.clear()"
    ),
    "traced": "import sys\nsys.settrace(lambda *_: None)\nsys.setprofile(lambda *_: None)",
    "built-ins-gone": "import builtins\nbuiltins.sum = builtins.print = builtins.sorted = None",
    "built-in-open": "import builtins\nbuiltins.open = lambda *_, **__: 1 / 0",
    "no-collection": "import gc\ngc.disable()\ngc.set_threshold(0)",
    "modules-gone": "import sys\nfor name in ('json', 'base64'):\n    sys.modules[name] = None",
    "no-environment": "import os\nos.environ.clear()",
    "path-gone": "import sys\nsys.path.clear()",
    "cells-transformed": "get_ipython().input_transformers_cleanup.append(lambda lines: ['1 / 0'])",
    "last-line-hidden": "get_ipython().ast_node_interactivity = 'none'",
    "events": (
        "def stop(*_):\n    raise KeyboardInterrupt\n\n"
        "get_ipython().events.register('pre_run_cell', stop)"
    ),
    "open-files": "files = [open('/dev/null') for _ in range(10_000)]",
    "nested-loop": "import asyncio\nasyncio.get_event_loop().call_later(0.01, lambda: 1 / 0)",
    "random-state": "torch.manual_seed(7)\ntorch.use_deterministic_algorithms(True)",
    "many-threads": "torch.set_num_threads(64)",
    "wiped": "for name in [*globals()]:\n    if name[0] != '_':\n        del globals()[name]",
    "main-gone": "import sys\ndel sys.modules['__main__']",
}  # fmt: skip
# Where one of these spoilt what follows, the student started anew and left it out.


def habit(name: str, notebook: Notebook) -> None:
    notebook.add(HABITS[name], before=f"{SECOND}-statement")


for _name in HABITS:
    add(f"habit-{_name}", partial(habit, _name))

IN_THE_ANSWER = (
    "recursion-limit", "patched-tensors", "short-tensors", "strict-warnings", "no-gradients",
    "default-type", "stdout-none", "built-ins-gone", "own-tracebacks", "thread-that-prints",
    "other-folder",
)  # fmt: skip


def habit_in_the_answer(name: str, notebook: Notebook) -> None:
    """The first answer is right all the same."""
    answer(
        notebook,
        scaled_sum="""
            def scaled_sum(x, scale, one=torch.ones, matmul=torch.matmul):
                return scale * matmul(x, one(x.shape, dtype=x.dtype))
        """,
    )
    below(notebook, FIRST, HABITS[name])


for _name in IN_THE_ANSWER:
    add(f"habit-in-the-answer-{_name}", partial(habit_in_the_answer, _name))


@odd(scaled_sum="error")
def wrong_answer_under_own_tracebacks(notebook: Notebook) -> None:
    """It raises, which is no interference with anything."""
    notebook.add(HABITS["own-tracebacks"], before=f"{FIRST}-answer")
    answer(notebook, scaled_sum="def scaled_sum(x, scale):\n    return scale * x.summe()")


@odd(scaled_sum="error")
def wrong_answer_under_rich_tracebacks(notebook: Notebook) -> None:
    notebook.add(HABITS["tracebacks"], before=f"{FIRST}-answer")
    answer(notebook, scaled_sum="def scaled_sum(x, scale):\n    return scale * x.summe()")


@odd
def inputs_changed_in_place(notebook: Notebook) -> None:
    answer(
        notebook,
        scaled_sum="def scaled_sum(x, scale):\n    x *= scale\n    return x.sum()",
        standardize="""
            def standardize(x):
                x -= x.mean(dim=1, keepdim=True)
                x /= (x**2).mean(dim=1, keepdim=True).sqrt()
                return x
        """,
    )


# ---------------------------------------------------------------------------- text of notebooks

HALF_AN_EMOJI = "\ud83d"


@odd
def half_an_emoji(notebook: Notebook) -> None:
    above(notebook, FIRST, f"# done {HALF_AN_EMOJI}")
    above(notebook, THIRD, f'mood = "{HALF_AN_EMOJI}"')
    notebook.add(f"{HALF_AN_EMOJI} My notes", before=f"{THIRD}-answer", kind="markdown")
    notebook.add(f"print('{HALF_AN_EMOJI}')", before=f"{SECOND}-answer")


@odd
def surrogates_printed(notebook: Notebook) -> None:
    answer(
        notebook,
        scaled_sum="""
            def scaled_sum(x, scale):
                print("\\ud83d and \\x00 and \\x1b[31m")
                return scale * x.sum()
        """,
    )


@odd
def null_characters(notebook: Notebook) -> None:
    notebook.add("\0 nothing \0", before=f"{FIRST}-answer", kind="markdown")
    notebook.add("# \0 nothing\nx = 3", before=f"{FIRST}-answer")


@odd
def lines_of_windows(notebook: Notebook) -> None:
    for cell in notebook.cells:
        cell["source"] = cell["source"].replace("\n", "\r\n")


@odd
def lines_of_an_old_mac(notebook: Notebook) -> None:
    cell = notebook.cell(f"{FIRST}-answer")
    cell["source"] = cell["source"].replace("\n", "\r")


@odd
def tabs_and_form_feeds(notebook: Notebook) -> None:
    answer(
        notebook,
        scaled_sum="import math\n\f\ndef scaled_sum(x, scale):\n\treturn scale * x.sum()",
        softmax="""
            # a rule\f% of thumb
            # another\u2028!one, and a third\x85?
            def softmax(logits, temperature):
                'says\u2028%nothing'
                return torch.softmax(logits / temperature, dim=1)
        """,
    )


@odd
def whole_cells_indented(notebook: Notebook) -> None:
    cell = notebook.cell(f"{THIRD}-answer")
    cell["source"] = "\n".join(f"    {line}" for line in cell["source"].splitlines())


@odd
def pasted_from_a_prompt(notebook: Notebook) -> None:
    answer(
        notebook,
        scaled_sum=">>> def scaled_sum(x, scale):\n...     return scale * x.sum()",
        softmax=(
            "In [1]: def softmax(logits, temperature):\n"
            "   ...:     return torch.softmax(logits / temperature, dim=1)"
        ),
    )


@odd
def long_comment_and_picture_in_text(notebook: Notebook) -> None:
    above(notebook, FIRST, "# " + "why? " * 60_000)
    above(notebook, THIRD, f'PICTURE = "{"iVBORw0KGgo" * 25_000}"')


@odd
def marks_that_other_tools_read(notebook: Notebook) -> None:
    above(notebook, FIRST, "# NBVAL_SKIP\n# NBVAL_RAISES_EXCEPTION\n# pytest: skip")
    above(notebook, THIRD, "#%% [markdown]\n# + tags=['hide']\n#| eval: false\n# type: ignore")


@odd
def many_small_cells(notebook: Notebook) -> None:
    for number in range(300):
        notebook.add(f"step = {number}", before=f"{FIRST}-answer")


@odd
def byte_order_mark(notebook: Notebook) -> bytes:
    return b"\xef\xbb\xbf" + bytes(notebook)


@odd
def nbformat_3_with_headings(notebook: Notebook) -> None:
    cells = []
    for cell in notebook.cells:
        if cell["cell_type"] == "code":
            cells.append(
                {"cell_type": "code", "language": "python", "collapsed": False, "metadata": {},
                 "input": cell["source"], "outputs": [], "prompt_number": 2}
            )  # fmt: skip
        else:
            cells.append({"cell_type": "heading", "level": 2, "source": [cell["source"]]})
    half = len(cells) // 2
    notebook.document = {
        "metadata": {"name": "mine"},
        "nbformat": 3,
        "nbformat_minor": 0,
        "worksheets": [{"cells": cells[:half]}, {"cells": cells[half:], "metadata": {}}],
    }


@odd
def nbformat_4_0_without_ids(notebook: Notebook) -> None:
    notebook.document["nbformat_minor"] = 0
    for cell in notebook.cells:
        del cell["id"]


@odd
def every_cell_twice(notebook: Notebook) -> None:
    notebook.cells[:] = [copy.deepcopy(cell) for cell in notebook.cells for _ in range(2)]


@odd
def tags_as_text_and_ids_as_numbers(notebook: Notebook) -> None:
    for number, cell in enumerate(notebook.cells):
        cell["id"] = number
        cell["metadata"] = {"tags": "answer"} if number % 2 else {"tags": {"answer": None}}


@odd
def sources_as_lists(notebook: Notebook) -> None:
    for cell in notebook.cells:
        cell["source"] = cell["source"].splitlines(keepends=True)


@odd
def outputs_of_5_mb(notebook: Notebook) -> None:
    picture = {"image/png": "iVBORw0KGgo=" * 400_000, "text/plain": ["<Figure>"]}
    notebook.cell(f"{FIRST}-check")["outputs"] = [
        {"output_type": "display_data", "metadata": {}, "data": picture},
        {"output_type": "error", "ename": "KeyError", "evalue": "3", "traceback": ["\x1b[31m"]},
    ]


@odd
def attachments_and_other_metadata(notebook: Notebook) -> None:
    cell = notebook.add("![mine](attachment:a.png)", before=f"{FIRST}-answer", kind="markdown")
    cell["attachments"] = {"a.png": {"image/png": "iVBORw0KGgo=" * 1000}}
    notebook.document["metadata"] |= {"widgets": {"state": [None, 1]}, "colab": {"name": "x.ipynb"}}
    for cell in notebook.cells:
        cell["metadata"] |= {"collapsed": True, "editable": False, "nbgrader": {"grade": True}}


@odd
def written_by_another_json(notebook: Notebook) -> bytes:
    text = json.dumps(notebook.document, indent=8, ensure_ascii=False, sort_keys=True)
    return text.replace("\n", "\r\n").encode() + b"\r\n\r\n"


# ---------------------------------------------------------------------------- magics and machines

MAGICS = {
    "widget": "%matplotlib widget",
    "matplotlib-notebook": "%matplotlib notebook",
    "inline": "%matplotlib inline\n%config InlineBackend.figure_format = 'retina'",
    "autoreload": "%load_ext autoreload\n%autoreload 2",
    "cd": "%cd ..",
    "pip": "!pip install --quiet torch\n%pip install --no-index surely_no_such_package_12",
    "help": "?torch.softmax\ntorch.softmax?\ntorch.softmax??",
    "unknown": "%load_ext lab_black\n%nb_black\n%tensorboard --logdir runs",
    "time": "%time torch.ones(3).sum()\n%timeit -n 1 -r 1 torch.ones(3).sum()",
    "who": "%who\n%whos\n%history\n%env\n%lsmagic",
    "shell": "!ls -la ~ && nvidia-smi\n!unzip data.zip\n!cat nothing.txt | head",
    "prun": "%prun sum(range(10))\n%load_ext memory_profiler\n%memit 3",
}  # fmt: skip


def magic_in_a_cell(name: str, notebook: Notebook) -> None:
    before(notebook, FIRST, MAGICS[name])


def magic_above(name: str, notebook: Notebook) -> None:
    above(notebook, FIRST, MAGICS[name])
    above(notebook, "standardize", MAGICS[name])


# These stop a cell here, where their packages are missing.
STOPS_HERE = {"widget", "unknown", "matplotlib-notebook", "prun"}
for _name in MAGICS:
    add(f"magic-in-a-cell-{_name}", partial(magic_in_a_cell, _name))
    add(f"magic-above-{_name}", partial(magic_above, _name), runs_here=_name not in STOPS_HERE)


@odd
def cell_magics_over_answers(notebook: Notebook) -> None:
    above(notebook, FIRST, "%%time")
    above(notebook, SECOND, "%%capture captured --no-stderr")
    above(notebook, THIRD, "%%time\n# my answer")
    above(notebook, "standardize", "%%prun -q")


@odd
def cells_of_other_languages(notebook: Notebook) -> None:
    for source in (
        "%%bash\necho hello\nfalse", "%%sh\nexit 3", "%%html\n<b>sum</b>",
        "%%javascript\nalert(1)", "%%latex\n$\\sum$", "%%perl\nprint 3;", "%%R\nx <- 3",
        "%%script false\nnever", "%%markdown\n# Title", "%%svg\n<svg/>", "%%cython\nx = 3",
    ):  # fmt: skip
        notebook.add(source, before=f"{SECOND}-answer")


@odd
def google_drive_in_a_cell(notebook: Notebook) -> None:
    before(notebook, FIRST, "from google.colab import drive\ndrive.mount('/content/drive')")
    before(notebook, FIRST, "%cd /content/drive/MyDrive/course\n!ls")


@odd(runs_here=False)
def google_drive_above_the_answer(notebook: Notebook) -> None:
    above(notebook, FIRST, "from google.colab import drive\ndrive.mount('/content/drive')")
    above(notebook, "standardize", "import os\nos.chdir('/content/drive/MyDrive/course')")


@odd(runs_here=False)
def libraries_of_another_machine(notebook: Notebook) -> None:
    above(notebook, FIRST, "import numba\nimport tensorflow as tf\nfrom jaxtyping import Float32")
    above(notebook, THIRD, "device = torch.device('cuda')\ntorch.zeros(1).to(device)")


@odd
def numba_if_there(notebook: Notebook) -> None:
    answer(
        notebook,
        scaled_sum="""
            try:
                from numba import njit
            except ImportError:
                def njit(function):
                    return function

            @njit
            def total(x):
                return x.sum()

            device = "cuda" if torch.cuda.is_available() else "cpu"

            def scaled_sum(x, scale):
                return scale * total(x.to(device))
        """,
    )


@odd
def plots_everywhere(notebook: Notebook) -> None:
    notebook.cell("setup")["source"] += "\n%matplotlib inline\nimport matplotlib.pyplot as plt"
    for name in CORRECT:
        below(notebook, name, "plt.plot([1, 2])\nplt.title('$\\\\sum$')\nplt.show()")
    answer(
        notebook,
        scaled_sum="""
            def scaled_sum(x, scale):
                plt.figure()
                plt.plot(x)
                plt.show()
                return scale * x.sum()
        """,
    )


@odd
def plots_in_hundreds(notebook: Notebook) -> None:
    before(
        notebook,
        FIRST,
        "import matplotlib.pyplot as plt\n\nfor number in range(200):\n    plt.figure()\n"
        "    plt.plot([number])\n    plt.show()",
    )


@odd
def progress_bars(notebook: Notebook) -> None:
    before(notebook, FIRST, "from tqdm import tqdm, trange\nfrom tqdm.auto import tqdm as bar")
    answer(
        notebook,
        scaled_sum="""
            def scaled_sum(x, scale):
                total = 0.0
                for part in tqdm(x):
                    total += part
                for _ in trange(1000):
                    pass
                return scale * total
        """,
    )
    before(notebook, THIRD, "from tqdm.notebook import tqdm\nfor _ in tqdm(range(3)):\n    pass")
    before(notebook, THIRD, "from ipywidgets import interact\ninteract(softmax, x=(0, 1))")


@odd
def compiled_by_a_backend_of_python(notebook: Notebook) -> None:
    answer(
        notebook,
        standardize="""
            @torch.compile(backend="eager")
            def standardize(x):
                away = x - x.mean(dim=1, keepdim=True)
                return away / (away**2).mean(dim=1, keepdim=True).sqrt()
        """,
    )


@odd(runs_here=False)  # not everybody has a compiler
def compiled(notebook: Notebook) -> None:
    below(notebook, "standardize", "standardize = torch.compile(standardize)")


@odd
def scripted(notebook: Notebook) -> None:
    answer(
        notebook,
        standardize="""
            @torch.jit.script
            def standardize(x):
                away = x - x.mean(dim=1, keepdim=True)
                return away / (away**2).mean(dim=1, keepdim=True).sqrt()
        """,
    )


@odd
def profiled_and_hooked(notebook: Notebook) -> None:
    answer(
        notebook,
        softmax="""
            from torch.func import vmap

            def row(logits, temperature):
                return torch.softmax(logits / temperature, dim=0)

            def softmax(logits, temperature):
                return vmap(row, in_dims=(0, None))(logits, temperature)
        """,
        standardize="""
            import pandas as pd

            def standardize(x):
                frame = pd.DataFrame(x.numpy()).T
                return ((frame - frame.mean()) / frame.std(ddof=0)).T.to_numpy()
        """,
    )


@odd
def asks_in_cells(notebook: Notebook) -> None:
    before(notebook, FIRST, "name = input('Name: ')\nprint('Hello', name)")
    below(notebook, FIRST, "again = input('Again? ')")
    before(notebook, THIRD, "breakpoint()")


@odd
def looks_at_its_own_notebook(notebook: Notebook) -> None:
    before(
        notebook,
        FIRST,
        """
        import json, sys
        from pathlib import Path

        sys.argv
        print(Path(__file__).parent)
        """,
    )
    before(notebook, FIRST, "document = json.loads(next(Path('.').glob('*.ipynb')).read_text())")
