r"""Each display says what is true: its LaTeX is read from the page, computed and compared.

`displays/latex.py` reads, `displays/meanings.py` says what the symbols mean. A typo on the page,
say a sign or a factor, makes a side of a relation unequal to the other and this test red.
"""

import re
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from conftest import source
from displays.latex import Scope, Unreadable, faults
from displays.meanings import MEANINGS
from displays.values import Given, normal_density
from scipy.stats import multivariate_normal, norm

from lecture_book.notebooks.myst import LITERAL, blocks

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *sorted((ROOT / "book").glob("[0-9]*.md")),
    ROOT / "book/notation.md",
    ROOT / "book/own_model.md",
]
INSTANCES = 2

# Displays that nothing is computed of, and why.
LISTED = {
    "eq-def-elbo-objective": "the problem that training solves, not a statement",
}


def formulas(text: str) -> Iterator[tuple[str, str]]:
    """The label (or none) and the LaTeX of each display of a text, inside directives too."""
    for block in blocks(text):
        if block.kind == "math":
            yield block.name, block.body
        elif block.kind == "directive" and block.name not in LITERAL:
            yield from formulas(block.body)


def key_of(label: str, formula: str) -> str:
    """The name of a display in the tables: its label or, without one, its beginning."""
    words = " ".join(formula.split())
    known = [key for key in (*MEANINGS, *LISTED) if not key.startswith("eq-")]
    return label or next((key for key in known if words.startswith(key)), words[:40])


DISPLAYS = [
    (path.stem, key_of(label, formula), formula)
    for path in PAGES
    for label, formula in formulas(source(path))
]


def problems(key: str, formula: str, instances: int = INSTANCES) -> list[str]:
    """What is wrong with a display under the meanings of its key."""
    lines = []
    for instance in range(instances):
        names = MEANINGS[key](np.random.default_rng([instance, zlib.crc32(key.encode())]))
        alone = names.pop("alone", None)
        lines += faults(formula, Scope(names), alone)
    return lines


@pytest.mark.parametrize(
    ("key", "formula"), [pytest.param(k, f, id=k) for _, k, f in DISPLAYS if k in MEANINGS]
)
def test_a_display_is_true(key, formula):
    assert problems(key, formula) == []


def test_each_display_is_computed_or_listed_with_a_reason():
    known = {*MEANINGS, *LISTED}
    assert [(page, key) for page, key, _ in DISPLAYS if key not in known] == []


def test_no_table_names_a_display_that_is_gone():
    there = {key for _, key, _ in DISPLAYS}
    assert sorted({*MEANINGS, *LISTED, *STILL_TRUE} - there) == []
    assert sorted(LISTED.keys() & MEANINGS.keys()) == []


# ---------------------------------------------------------------------------- planted typos


def typos(formula: str) -> Iterator[str]:
    """The formula with one sign or one digit changed, place after place, or with a stray term."""
    for place in re.finditer(
        r"(?<![_^])(?<!\^\{)[+\-](?!1\})|(?<=[^\d.\\])[2-9](?![\d.])", formula
    ):
        other = {"+": "-", "-": "+"}.get(place[0]) or str(int(place[0]) % 9 + 1)
        yield formula[: place.start()] + other + formula[place.end() :]
    relation = re.search(r"=|\\le(?![a-z])|\\approx", formula)
    if relation:
        yield f"{formula[: relation.end()]} -1 + {formula[relation.end() :]}"


def is_found(key: str, formula: str) -> bool:
    try:
        return bool(problems(key, formula, 1))
    except (Unreadable, IndexError, ArithmeticError, ValueError, TypeError, RuntimeWarning):
        return True


# Displays whose first planted typo is as true as they are, and why.
STILL_TRUE = {
    "eq-normal-moments": "the noise has no side: mu + sigma eps is distributed as mu - sigma eps",
    "eq-def-covariance": "E[x_i (x_j - mu_j)] is the covariance with any number for mu_i",
    "eq-log-bound": "log t <= t + 1 is true, only weaker",
    "eq-midpoint-norm": "the two latents are independent, so the sign of their product is free",
    "eq-gkl-score-square": "the noise has no side",
    "eq-gkl-pathwise-mu": "the noise has no side",
    "eq-batch-norm-bias": "BN(a - b) is BN(a) as well",
    "eq-ev-hole": "the typo lowers the right side: true, only weaker",
    "eq-channel-price": "the typo weakens the first inequality",
}


@pytest.mark.parametrize(
    ("key", "formula"),
    [pytest.param(k, f, id=k) for _, k, f in DISPLAYS if k in MEANINGS and any(typos(f))],
)
def test_a_planted_typo_is_found(key, formula):
    first, *others = islice(typos(formula), 5)
    assert any(is_found(key, typo) for typo in (others if key in STILL_TRUE else [first]))


# ---------------------------------------------------------------------------- the reader itself


@pytest.mark.parametrize(
    ("formula", "names"),
    [
        (r"\frac12 + \tfrac32 = 2", {}),
        (r"1{,}024 = 2^{10}", {}),
        (r"2\,(a + b) = 2a + 2b, \qquad a < b", {"a": 1.0, "b": 3.0}),
        (r"\sum_{k=1}^{3} k^2 = 14", {}),
        (r"\int_0^1 t^2\, dt = \frac13", {}),
        (r"\log 2\pi = \log 2 + \log \pi", {}),
        (r"\frac{\partial}{\partial a} a^3 = 3 a^2", {"a": 1.5}),
        (r"\frac{\partial^2 C}{\partial a^2} = 6 a", {"a": 1.5, "C": Given(lambda s: s["a"] ** 3)}),
        (r"\left\lfloor \frac72 \right\rfloor = 3", {}),
    ],
)
def test_the_reader_knows_what_formulas_mean(formula, names):
    assert faults(formula, Scope(names)) == []


@pytest.mark.parametrize(
    "formula",
    [
        r"a = \unknown{2}",
        r"a = b",
        r"a = (2 + 3",
        r"a",
        r"a = \sum 3",
        r"\text{only words}",
        r"a_3 = 1",
    ],
)
def test_what_the_reader_does_not_know_is_an_error(formula):
    with pytest.raises(Unreadable):
        faults(formula, Scope({"a": 1.0}))


def test_the_density_of_the_reader_is_that_of_scipy():
    rng = np.random.default_rng(0)
    x, mu, root = rng.normal(size=(2, 1)), rng.normal(size=(2, 1)), rng.normal(size=(2, 2))
    cov = root @ root.T + np.eye(2)
    ours = normal_density(x, mu, cov)
    assert ours == pytest.approx(multivariate_normal.pdf(x[:, 0], mu[:, 0], cov))
    assert normal_density(0.3, 1.1, 0.5) == pytest.approx(norm.pdf(0.3, 1.1, 0.5**0.5))
