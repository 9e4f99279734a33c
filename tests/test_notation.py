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
from conftest import source
from displays import latex
from torch import distributions as dist

import lecture_vae
from lecture_book.notebooks.book import Book, read_book
from lecture_book.notebooks.myst import LITERAL, Block, blocks
from lecture_book.notebooks.pages import Page
from lecture_vae import NegativeELBO, SquaredError, build_model, evaluate, kl_to_standard_normal

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "book" / "notation.md").read_text(encoding="utf8")

SYMBOLS = ["Symbol", "Meaning", "Unit or range", "In code", "Introduced in"]
NAMES = ["In code", "What it is", "Shape or value"]

FORMULA = re.compile(r"\$([^$]+)\$")
ROLE = re.compile(r"\{(eq|ref|prf:ref|doc)\}`(?:[^`<]*<)?([^`<>]+)>?`")
CODE = re.compile(r"(?<![}`])`([^`]+)`")


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
    assert [cells(line) for line in headers] == [SYMBOLS] * 7 + [NAMES]
    lines = [line for line in PAGE.splitlines() if line.startswith("|")]
    read = sum(len(rows(PAGE, header)) for header in (SYMBOLS, NAMES))
    assert read == len(lines) - 2 * len(headers)


def test_every_row_is_filled_in():
    for header in (SYMBOLS, NAMES):
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


# ---------------------------------------------------------------------------- letters of chapters


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


def listed_letters() -> set[str]:
    """Letters and words that the tables of the page explain, in the order of nothing."""
    rows_ = rows(PAGE, SYMBOLS)
    return {x for row in rows_ for f in FORMULA.findall(" ".join(row.values())) for x in letters(f)}


def letters(formula: str) -> set[str]:
    """The letters of a formula, Greek ones as commands, and its upright words."""
    found = set()
    for token in latex.tokens(formula):
        if token in latex.LETTERS:
            found.add(token)
        elif latex.WORDS.fullmatch(token) and not token.startswith(r"\text"):
            found.add(latex.written([token]))
    return found


def around(text: str) -> Iterator[tuple[str, str, str]]:
    """For each display its label, its LaTeX and the prose between the displays beside it."""
    pieces: list[tuple[str, str, str]] = []

    def walk(part: str) -> None:
        for block in blocks(part):
            if block.kind == "directive" and block.name not in LITERAL:
                walk(block.body)
            elif block.kind in ("math", "prose"):
                pieces.append((block.kind, block.name, block.body))

    walk(text)
    for at, (kind, label, body) in enumerate(pieces):
        if kind == "math":
            near = [piece[2] for piece in pieces[max(0, at - NEAR) : at + NEAR + 1]]
            yield label, body, " ".join(near[: NEAR * 2 + 1]).replace(body, "")


def unexplained(text: str, listed: set[str]) -> list[str]:
    """Letters of displays that are neither on the page nor explained beside the display.

    What a display beside it, or one that the text beside it refers to, explains, counts.
    """
    displays = {label: body for label, body, _ in around(text)}
    lines = []
    for label, body, near in around(text):
        beside = {x for formula in FORMULA.findall(near) for x in letters(formula)}
        for _, other in ROLE.findall(near):
            beside |= letters(displays.get(other, "")) if other != label else set()
        lines += [f"{label}: {x}" for x in sorted(letters(body) - listed - beside)]
    return lines


NEAR = 4  # paragraphs and displays before and after one

CHAPTERS = sorted((ROOT / "book").glob("[0-9]*.md"))

# What an index counts, and the symbols that have as many entries.
COUNTED = {
    "i": {"x", r"\hat x", r"\varepsilon", "H", r"\Sigma", r"\mu"},
    "j": {"z", r"\mu", r"\sigma", r"\ell", r"\varepsilon", "KL", r"\lambda", "u", "q", "p", "x",
          r"\rho", r"\Sigma", "e", "c"},
    "n": {"x", r"\hat x", "q", "r", "KL", "p", "c"},
    "k": {"z", "x", r"\rho"},
}  # fmt: skip
INDEXED = re.compile(
    r"(\\(?:hat|bar) ?[a-z]|\\mathrm\{KL\}|\\[a-z]+|[A-Za-z])_(?:\{)?([ijnk])(?![A-Za-z])"
)


def miscounted(formula: str) -> list[str]:
    """Symbols with an index that counts something else."""
    found = []
    for symbol, index in INDEXED.findall(formula):
        name = "KL" if "KL" in symbol else re.sub(r"\\(hat|bar) ?", r"\\\1 ", symbol)
        if name not in (r"\sum", r"\prod") and name not in COUNTED[index]:
            found.append(f"{symbol}_{index}")
    return found


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_each_letter_of_a_display_is_on_the_page_or_explained_beside_it(path):
    assert unexplained(source(path), listed_letters()) == []


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_an_index_counts_one_thing(path):
    wrong = [(label, miscounted(body)) for label, body, _ in around(source(path))]
    assert [each for each in wrong if each[1]] == []


# Letters of the page that a chapter introduces in its own words, in the meaning of the page.
INTRODUCED = {
    "01_autoencoders": ["x", "V", "A"],
    "02_divergence": [r"\mu", r"\mu", "Q", "p", "p", "q"],
    "03_elbo": ["x", r"\rho", "q", r"\Delta", "q"],
    "04_gaussian_kl": ["M"],
    "05_linear_vae": ["u"],
    "06_latent_space": ["R"],
    "07_convolutional_vae": ["h", "x"],
}


def introduced(text: str, listed: set[str]) -> list[str]:
    """Letters of the page that a text says the meaning of, in the order of the text."""
    said = re.findall(r"(?:[Ll]et|[Ww]rite|[Cc]all) \$(\\?[A-Za-z]+)\$ (?:be|for)\b", text)
    return [letter for letter in said if letter in listed]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_no_letter_of_the_page_is_given_another_meaning(path):
    found = introduced(source(path), listed_letters())
    assert sorted(found) == sorted(INTRODUCED.get(path.stem, []))


@pytest.mark.parametrize(
    "planted",
    [
        "$$\n\\psi = 1\n$$",
        "$$\nx = G z\n$$",
        "$$\n\\mathrm{width} = 2\n$$",
        "$$\n\\Omega(x) = y\n$$",
    ],
)
def test_a_letter_that_nobody_explains_is_reported(planted):
    known = {"x", "y", "z", "width", r"\Omega"}
    assert unexplained(f"Some text with $x$.\n\n{planted}\n", {"x", "y", "z"}) != []
    assert unexplained(f"With $\\psi$, $G$.\n\n{planted}\n", known) == []


@pytest.mark.parametrize("planted", [r"\mu_k", r"z_i", r"\lambda_n", r"\hat x_k", r"\sigma_{n}"])
def test_an_index_that_counts_something_else_is_reported(planted):
    assert miscounted(rf"\sum_i {planted}^2") != []
    assert miscounted(r"\sum_j \mu_j^2 + x_n + \hat x_i + z_k + \mathrm{KL}_j") == []


def test_a_letter_with_a_second_meaning_is_reported():
    assert introduced(r"Let $n$ be a count. Write $\mu$ for it.", {"n", r"\mu"}) == ["n", r"\mu"]
    assert introduced("Let $t$ be a time.", {"n"}) == []


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
