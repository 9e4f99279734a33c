"""The page "Notation": each symbol has one meaning, each name is in the code, each link leads."""

import inspect
import pkgutil
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributions as dist

import lecture_vae
from lecture_book.notebooks.book import Book, read_book
from lecture_book.notebooks.myst import Block, blocks
from lecture_book.notebooks.pages import Page
from lecture_vae import NegativeELBO, SquaredError, build_model, evaluate, kl_to_standard_normal

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "book" / "notation.md").read_text(encoding="utf8")

SYMBOLS = ["Symbol", "Meaning", "Unit or range", "In code", "Introduced in"]
NAMES = ["In code", "What it is", "Shape or value"]
DIFFERENCES = ["Here", "Still written", "Where"]

FORMULA = re.compile(r"\$([^$]+)\$")
ROLE = re.compile(r"\{(eq|ref|prf:ref|doc)\}`(?:[^`<]*<)?([^`<>]+)>?`")
CODE = re.compile(r"(?<![}`])`([^`]+)`")
QUOTED = re.compile(r'"([^"]+)"')


# ---------------------------------------------------------------------------- the page's tables


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def rows(text: str, header: list[str]) -> list[dict[str, str]]:
    """The rows of all tables with this header."""
    found, columns = [], None
    for line in text.splitlines():
        if not line.startswith("|"):
            columns = None
        elif columns is None:
            columns = cells(line)
        elif columns == header and not set(line) <= set("|-: "):
            found.append(dict(zip(columns, cells(line), strict=True)))
    return found


def bare(formula: str) -> str:
    """A formula without what only spaces it."""
    return re.sub(r"\\[,;! ]|\s", "", formula)


def symbols(text: str) -> list[str]:
    return [bare(f) for row in rows(text, SYMBOLS) for f in FORMULA.findall(row["Symbol"])]


def test_every_table_is_of_a_kind_that_is_checked():
    headers = re.findall(r"^(\|.*\|)\n\|[-| ]+\|$", PAGE, re.MULTILINE)
    assert [cells(line) for line in headers] == [SYMBOLS] * 6 + [NAMES, DIFFERENCES]
    lines = [line for line in PAGE.splitlines() if line.startswith("|")]
    read = sum(len(rows(PAGE, header)) for header in (SYMBOLS, NAMES, DIFFERENCES))
    assert read == len(lines) - 2 * len(headers)


def test_every_row_is_filled_in():
    for header in (SYMBOLS, NAMES, DIFFERENCES):
        assert [row for row in rows(PAGE, header) if not all(row.values())] == []
    for row in rows(PAGE, SYMBOLS):
        assert FORMULA.search(row["Symbol"]), row
        assert ROLE.search(row["Introduced in"]), row
        assert CODE.search(row["In code"]) or row["In code"] == "–", row


# ---------------------------------------------------------------------------- one meaning each


def repeated(text: str) -> list[str]:
    return [symbol for symbol, times in Counter(symbols(text)).items() if times > 1]


def test_every_symbol_has_one_meaning():
    assert repeated(PAGE) == []


def test_a_symbol_that_stands_twice_is_reported():
    table = "| " + " | ".join(SYMBOLS) + " |\n|---|---|---|---|---|\n"
    rest = "| a | b | – | {eq}`eq-a` |\n"
    page = f"{table}| $\\bar q(z)$ {rest}| $n$, $w$ {rest}\n{table}| $\\bar  q\\,(z)$ {rest}"
    assert symbols(page) == [r"\barq(z)", "n", "w", r"\barq(z)"]
    assert repeated(page) == [r"\barq(z)"]


# ---------------------------------------------------------------------------- names in code


@cache
def public() -> dict[str, Any]:
    """Every public name of the package's modules."""
    found = {}
    for module in pkgutil.iter_modules(lecture_vae.__path__):
        if not module.ispkg:
            home = import_module(f"lecture_vae.{module.name}")
            found |= {name: getattr(home, name) for name in getattr(home, "__all__", ())}
    return found


def parameters(of: Any) -> set[str]:
    try:
        return set(inspect.signature(of).parameters) - {"self"}
    except (TypeError, ValueError):  # a constant, or a type without a signature
        return set()


def members(of: Any) -> dict[str, Any]:
    """Parameters of a function; for a class its public fields, attributes and methods as well."""
    found: dict[str, Any] = dict.fromkeys(parameters(of))
    for ours in inspect.getmro(of) if inspect.isclass(of) else ():
        if ours.__module__.startswith("lecture_vae"):
            kept = re.findall(r"^ +self\.(\w+)(?:: .+)? = ", inspect.getsource(ours), re.MULTILINE)
            found |= dict.fromkeys([*kept, *inspect.get_annotations(ours)]) | vars(ours)
    return {name: value for name, value in found.items() if not name.startswith("_")}


@cache
def known() -> set[str]:
    """Public names, what they have, and what their methods are given."""
    names = set(public())
    for each in public().values():
        names |= set(members(each))
        for member in members(each).values():
            names |= parameters(member)
    return names


def terms() -> Iterator[set[str]]:
    """The names of the terms of each objective."""
    images = torch.rand(2, 1, 32, 32)
    yield set(evaluate(build_model("linear-ae"), SquaredError(), images).terms)
    vae = build_model("linear-vae")
    yield set(evaluate(vae, NegativeELBO(), images).terms)
    bernoulli = NegativeELBO(likelihood=public()["BernoulliPixels"]())
    yield set(evaluate(vae, bernoulli, images).terms)


def is_in_the_code(name: str) -> bool:
    if term := re.fullmatch(r'terms\["(\w+)"\]', name):
        return any(term[1] in each for each in terms())
    owner, dot, member = name.rpartition(".")
    return member in members(public()[owner]) if dot else name in known()


def names(text: str) -> list[str]:
    found = [*rows(text, SYMBOLS), *rows(text, NAMES)]
    return sorted({name for row in found for name in CODE.findall(row["In code"])})


@pytest.mark.parametrize("name", names(PAGE))
def test_every_name_is_in_the_code(name):
    assert is_in_the_code(name)


@pytest.mark.parametrize("name", ["x_hut", "TrainConfig.rate", 'terms["squared_err"]', "_AE"])
def test_a_name_that_the_code_does_not_have_is_reported(name):
    with pytest.raises((AssertionError, KeyError, TypeError)):
        assert is_in_the_code(name)


# ---------------------------------------------------------------------------- links


@pytest.fixture(scope="module")
def book() -> Book:
    return read_book(ROOT)


def page_at(book: Book, name: str) -> Page | None:
    """The page of a path as a link gives it, seen from this page."""
    return next((page for page in book.pages if page.docname == f"book/{name}"), None)


def dead_links(text: str, book: Book) -> list[str]:
    equations = {label for label, target in book.targets.items() if target.kind == "equation"}
    there = {
        "eq": equations,
        "ref": set(book.targets) - equations,
        "prf:ref": {label for label in book.targets if label.startswith(("def-", "thm-"))},
    }
    return [
        f"{role}: {name}"
        for role, name in ROLE.findall(text)
        if not (page_at(book, name) if role == "doc" else name in there[role])
    ]


def test_every_link_leads_somewhere(book):
    assert dead_links(PAGE, book) == []


def test_a_link_that_leads_nowhere_is_reported(book):
    text = "{eq}`eq-gone` {eq}`def-kl` {eq}`eq-bayes` {prf:ref}`thm-gone` {ref}`a <gone>` {doc}`99`"
    dead = ["eq: eq-gone", "eq: def-kl", "prf:ref: thm-gone", "ref: gone", "doc: 99"]
    assert dead_links(text, book) == dead


# ---------------------------------------------------------------------------- what still differs


def tokens(formula: str) -> list[str]:
    """A formula in pieces, without what only spaces it or sizes its brackets."""
    spacing = r"\\[,;! ]|\\(?:[bB]igg?[lrm]?|left|right)(?![A-Za-z])"
    return re.findall(r"\\[A-Za-z]+|\\.|[^\s]", re.sub(spacing, " ", formula))


def holds(text: str, formula: str) -> bool:
    """Whether a formula stands in a text, however it is spaced there."""
    whole, part = tokens(text), tokens(formula)
    return any(whole[at : at + len(part)] == part for at in range(len(whole) - len(part) + 1))


def labelled(text: str, label: str) -> Block | None:
    """The formula, definition or theorem with this label."""
    for block in blocks(text):
        if label in (block.name, block.options.get("label")):
            return block
        if block.kind == "directive" and (inside := labelled(block.body, label)):
            return inside
    return None


def text_at(book: Book, role: str, name: str) -> str:
    """What stands where a link leads: a whole page, or what has the label."""
    if role == "doc":
        page = page_at(book, name)
        return page.text if page else ""
    for cell in book.targets[name].page.cells:
        if cell.cell_type == "markdown" and (block := labelled(cell.source, name)):
            return block.body
    return ""


def outdated(text: str, book: Book) -> list[str]:
    """Rows that say what is not, or no longer, written in a place that they name; one line each."""
    lines = []
    for row in rows(text, DIFFERENCES):
        quotes = QUOTED.findall(row["Still written"])
        formulas = [] if quotes else FORMULA.findall(row["Still written"])
        for role, name in ROLE.findall(row["Where"]):
            place = text_at(book, role, name)
            found = [quote in " ".join(place.split()) for quote in quotes]
            found += [holds(place, formula) for formula in formulas]
            if not found or not all(found):
                lines.append(f"{name}: {row['Still written']}")
    return lines


def test_what_still_differs_is_written_where_the_page_says(book):
    assert [row for row in rows(PAGE, DIFFERENCES) if not ROLE.search(row["Where"])] == []
    assert outdated(PAGE, book) == []


def test_a_difference_that_is_gone_is_reported(book):
    table = "| " + " | ".join(DIFFERENCES) + " |\n|---|---|---|\n"
    true = "| $v$ | $s^2 I$ | {eq}`eq-def-gkl-decoder` |\n"
    false = '| $v$ | $v I$ | {eq}`eq-def-gkl-decoder` |\n| a | "gone" | {doc}`c <api>` |\n'
    assert outdated(table + true + false, book) == ["eq-def-gkl-decoder: $v I$", 'api: "gone"']


def letters(formula: str) -> set[str]:
    """The letters of a formula, Greek ones as commands; words set upright count as one."""
    words = re.findall(r"\\mathrm\{(\w+)\}", formula)
    rest = re.sub(r"\\mathrm\{\w+\}", " ", formula)
    return set(words) | {t for t in tokens(rest) if re.fullmatch(r"\\?[A-Za-z]+", t)}


def test_what_the_page_writes_instead_is_in_its_tables():
    listed = {letter for symbol in rows(PAGE, SYMBOLS) for letter in letters(symbol["Symbol"])}
    listed |= {r"\top"}
    for row in rows(PAGE, DIFFERENCES):
        for formula in FORMULA.findall(row["Here"]):
            assert letters(formula) - {r"\mathcal", r"\mathbb"} <= listed, row


# ---------------------------------------------------------------------------- units


@pytest.mark.proves("eq-notation-units")
@pytest.mark.parametrize("w", [0.25, 1.0, 7.0])
def test_the_loss_over_w_and_a_constant_is_the_negative_elbo(w, book):
    display = r"-\mathrm{ELBO}(x) = \frac{\mathbb E_q[S]}{w} + \mathrm{KL} + \frac D2 \log(\pi w)"
    assert holds(text_at(book, "eq", "eq-notation-units"), display)
    torch.manual_seed(0)
    pixels, latents, samples = 5, 2, 1_000
    x, slope = torch.rand(pixels).double(), torch.randn(latents, pixels).double()
    mu, log_var = torch.randn(2, latents).double()
    q = dist.Normal(mu, torch.exp(0.5 * log_var))
    x_hat = q.sample((samples,)) @ slope
    squared_error = (x - x_hat).square().sum(dim=1)
    kl = kl_to_standard_normal(mu[None], log_var[None])[0]
    decoder = dist.Normal(x_hat, (w / 2) ** 0.5)
    negative_elbo = -decoder.log_prob(x).sum(dim=1).mean() + kl
    constant = pixels / 2 * torch.log(torch.tensor(torch.pi * w, dtype=torch.float64))
    torch.testing.assert_close(negative_elbo, squared_error.mean() / w + kl + constant)


def test_the_constant_at_weight_one_is_the_printed_one():
    constant = 1024 / 2 * torch.log(torch.tensor(torch.pi)).item()
    assert f"which is {constant:.1f} for" in PAGE
