"""Each measured number of the prose has a source: a record, or a cell beside it that would fail.

A number needs a source if it has a decimal point or a percent sign, or if it is an integer of
three or more significant digits. Its source is one of

- a value in `RECORDS`, which it must be to the printed digits (three of them or more, since
  among many values a shorter one finds an equal by chance);
- a number in a code cell at most `NEAR` cells away, in an assertion or a setting;
- the same number elsewhere on the page, where it has a source;
- a formula in `COMPUTED`, for what follows from numbers that are printed beside it;
- the rules for sizes in `is_size`, or the list `EXEMPT`, which gives a reason for each entry.

Numbers in inline code and in displays are not looked at: `test_displays.py` computes the latter.
"""

import ast
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from lecture_book.notebooks.book import read_book
from lecture_book.notebooks.myst import LITERAL, blocks
from lecture_book.notebooks.pages import Page
from lecture_vae import build_model

ROOT = Path(__file__).resolve().parents[1]

NEAR = 3

RECORDS = ("reproduction.json", "experiments.json")

# page, number as printed: how it follows from constants
COMPUTED: dict[tuple[str, str], str] = {
    ("02_divergence", "39 %"): "1 - exp(-1 / 2)",
    ("02_divergence", "0.693"): "log(2)",
    ("02_divergence", "0.242"): "1 / sqrt(2 * pi * e)",
    ("02_divergence", "2.081"): "sqrt(0.7**2 + 2**2 - 0.4**2)",
    ("03_elbo", "317"): "0.01 * 100**8 / 100**2 / (365.25 * 24 * 3600)",
    ("03_elbo", "0.303"): "0.5 * 0.2 / 0.33",
    ("03_elbo", "0.636"): "0.3 * 0.7 / 0.33",
    ("03_elbo", "0.061"): "0.2 * 0.1 / 0.33",
    ("03_elbo", "0.264"): "log(0.33) - 0.5 * log(0.2) - 0.3 * log(0.7) - 0.2 * log(0.1)",
    ("04_gaussian_kl", "2.3"): "log(10)",
    ("04_gaussian_kl", "0.37"): "exp(-2 / 2)",
    ("05_linear_vae", "249"): "250 - 1",
    ("errata", "249"): "250 - 1",
    ("reproduction", "249"): "250 - 1",
    ("06_latent_space", "86 %"): "1 - exp(-(2**2) / 2)",
    ("06_latent_space", "9 %"): "1 - erf(2 / sqrt(2)) ** 2",
    ("07_convolutional_vae", "1.5"): "3_000 * 5e-4",
    ("07_convolutional_vae", "1,809"): "decoder_parameters('conv-vae')",
    ("instructor", "264"): "200 + 64",
    ("performance", "6.25"): "10_000 / 1_600",
    ("performance", "89 %"): "10_000 / 1_600 / 7",
    ("02_divergence", "11.3"): "sqrt(2 * 64)",
    ("03_elbo", "0.105"): "-log(1 - 0.1)",
    ("03_elbo", "0.69"): "-log(1 - 0.5)",
    ("04_gaussian_kl", "0.06"): "2 * 30 / 1024",
    ("04_gaussian_kl", "0.71"): "sqrt(1 / 2)",
    ("04_gaussian_kl", "13.8"): "log(0.001 ** 2)",
    ("05_linear_vae", "0.10"): "0.0001 * 1024",
    ("05_linear_vae", "78.4"): "sqrt(12_288 / 2)",
    ("05_linear_vae", "6{,}144"): "12_288 / 2",
    ("05_linear_vae", "65,504"): "(2 - 2**-10) * 2**15",
    ("05_linear_vae", "0.51"): "0.0005 * 1024",
    ("05_linear_vae", "0.71"): "sqrt(1 / 2)",
    ("05_linear_vae", "7.07"): "sqrt(100 / 2)",
    ("05_linear_vae", "12{,}288"): "3 * 64 * 64",
    ("05_linear_vae", "24,750"): "25_000 - 250",
    ("05_linear_vae", "2,080"): "(64 + 1) * 32",
    ("06_latent_space", "39 %"): "1 - exp(-1 / 2)",
    ("06_latent_space", "0.02 %"): "1 - exp(-0.5) * sum(0.5**k / factorial(k) for k in range(5))",
    ("errata", "0.10"): "0.0001 * 1024",
    ("errata", "0.51"): "0.0005 * 1024",
    ("errata", "0.71"): "sqrt(1 / 2)",
    ("errata", "7.1"): "sqrt(100 / 2)",
    ("errata", "65,504"): "(2 - 2**-10) * 2**15",
    ("errata", "24,750"): "25_000 - 250",
    ("errata", "29,750"): "30_000 - 250",
    ("09_evidence", "0.17"): "sqrt(0.06 / 2)",
    ("09_evidence", "0.71"): "sqrt(1 / 2)",
    ("09_evidence", "99 %"): "1 - exp(-(3**2) / 2)",
    ("09_evidence", "4.9"): "log(128)",
    ("09_evidence", "8.83"): "8 + log(pi) / (2 * log(2))",
    ("errata", "8.88"): "8 + (36.87 + 512 * log(pi)) / (1024 * log(2))",
    ("errata", "0.06"): "2 * 30 / 1024",
    ("09_evidence", "8.88"): "8 + (36.87 + 512 * log(pi)) / (1024 * log(2))",
    ("09_evidence", "0.004"): "(1 / 0.9 - 1 + log(0.9)) / (2 * log(2))",
    ("notation", "586.1"): "1024 / 2 * log(pi)",
    ("08_collapse", "0.71"): "sqrt(1 / 2)",
    ("08_collapse", "8.83"): "8 + log(pi) / (2 * log(2))",
    ("08_collapse", "0.06"): "2 * 30 / 1024",
}

# page, number as printed: why it needs no source on the page
EXEMPT: dict[tuple[str, str], str] = {
    ("02_divergence", "0.7"): "width of a mode of the mixture, a setting of the figure's cell",
    ("04_gaussian_kl", "0.001"): "an example of a standard deviation",
    ("05_linear_vae", "0.01"): "the threshold by which the literature calls a latent active",
    ("01_autoencoders", "1,797"): "size of scikit-learn's digits",
    ("troubleshooting", "1,797"): "size of scikit-learn's digits",
    ("errata", "0.0001"): "the original's own rule of thumb",
    ("errata", "0.0005"): "the original's own rule of thumb",
    ("09_evidence", "144.5"): "published: Mathieu et al. (2019), at second hand, as the page says",
    ("09_evidence", "0.4"): "published with it",
    ("09_evidence", "142.9"): "published by those who repeated the run",
    ("09_evidence", "86.76"): "published: Burda et al. (2016), VAE, dynamic binarization",
    ("09_evidence", "84.78"): "published: Burda et al. (2016), IWAE-50, dynamic binarization",
    ("09_evidence", "88.71"): "published: Burda et al. (2016), VAE, static binarization",
    ("09_evidence", "87.10"): "published: Burda et al. (2016), IWAE-50, static binarization",
    ("reproduction", "0.0005"): "the original's step size of Adam, a setting",
    ("index", "4.0"): "version of the license",
    ("instructor", "12345"): "an example of a file's name",
    ("troubleshooting", "3.11"): "version of Python",
    ("troubleshooting", "24.04"): "version of Ubuntu",
}

NUMBER = re.compile(
    r"(?<![\w.])(?:\d{1,3}(?:(?:,|\{,\})\d{3})+|\d+)(?:\.\d+)?(?:\s?\\?%)?(?![\w]|\.\d)"
)
SKIPPED = re.compile(
    r"`+[^`]*`+|\]\([^)]*\)|<[^>\s]*>|https?://\S+|\{\{.*?\}\}|\\tag\{.*?\}|\[\d[\d.]*\]", re.DOTALL
)


@dataclass(frozen=True)
class Printed:
    """A number of the prose, as it is printed."""

    text: str
    value: float
    decimals: int
    percent: bool

    @property
    def digits(self) -> int:
        """Significant digits; of an integer, without the zeros at its end."""
        plain = re.sub(r"\D", "", self.text).lstrip("0")
        return len(plain if self.decimals else plain.rstrip("0"))

    def is_rounded(self, value: float) -> bool:
        """Whether this is a value to the printed digits; a percentage may be kept as a share."""
        values = [value, 100 * value] if self.percent else [value]
        half = 0.5 * 10**-self.decimals
        return any(abs(abs(v) - self.value) <= half * (1 + 1e-9) for v in values)


def printed(text: str) -> list[Printed]:
    """The numbers of a piece of prose that need a source."""
    found = []
    for match in NUMBER.finditer(SKIPPED.sub(" ", text)):
        number = printed_as(match[0])
        if number.decimals or number.percent or (number.digits >= 3 and not is_size(number.value)):
            found.append(number)
    return found


def printed_as(text: str) -> Printed:
    bare = re.sub(r"[,{}%\s\\]", "", text)
    return Printed(text, float(bare), len(bare.partition(".")[2]), text.endswith("%"))


def is_size(value: float) -> bool:
    """Years, powers of two, and the sizes of images and data sets that chapter 1 introduces."""
    year = 1900 <= value < 2030
    return year or math.log2(value).is_integer() or value in (784, 28 * 28, 32 * 32)


# ---------------------------------------------------------------------------- sources


def prose(text: str) -> Iterator[str]:
    """Paragraphs, headings, captions and alternative texts; those inside directives too."""
    for block in blocks(text):
        if block.kind in ("prose", "heading"):
            yield block.body
        elif block.kind == "directive" and block.name not in LITERAL:
            yield from (block.argument, str(block.options.get("alt", "")))
            yield from prose(block.body)


def literals(source: str) -> set[float]:
    """The numbers that a code cell is written with, those inside its texts too."""
    found: set[float] = set()
    for node in ast.walk(ast.parse(re.sub(r"(?m)^\s*[%!].*$", "", source))):
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            found.add(abs(float(node.value)))
    return found


def leaves(tree: Any) -> Iterator[float]:
    """The single numbers of a record; lists hold raw measurements."""
    if isinstance(tree, dict):
        for value in tree.values():
            yield from leaves(value)
    elif isinstance(tree, int | float) and not isinstance(tree, bool):
        yield float(tree)


@cache
def recorded() -> frozenset[float]:
    files = [ROOT / "results" / name for name in RECORDS if (ROOT / "results" / name).exists()]
    return frozenset(v for file in files for v in leaves(json.loads(file.read_text("utf8"))))


def without_source(page: Page, records: frozenset[float]) -> list[str]:
    """The numbers of a page that nothing stands behind; one line each."""
    cells = page.cells
    code = [literals(c.source) if c.cell_type == "code" else None for c in cells]
    unknown: list[tuple[str, str]] = []
    sourced: set[str] = set()
    for at, cell in enumerate(cells):
        if cell.cell_type == "code":
            continue
        before = [c for c in code[:at] if c is not None][-NEAR:]
        after = [c for c in code[at + 1 :] if c is not None][:NEAR]
        beside = set().union(*before, *after)
        for piece in prose(cell.source):
            for number in printed(piece):
                recorded_ = number.digits >= 3 and any(number.is_rounded(v) for v in records)
                listed = {(page.stem, number.text)} & (EXEMPT.keys() | COMPUTED.keys())
                if listed or recorded_ or any(number.is_rounded(v) for v in beside):
                    sourced.add(number.text)
                else:
                    unknown.append((number.text, " ".join(piece.split())[:100]))
    return [f"{page.stem}: {n} in: {near}" for n, near in unknown if n not in sourced]


@pytest.fixture(scope="module")
def pages() -> list[Page]:
    found = read_book(ROOT).pages
    return [page for page in found if re.fullmatch(r"book/[^/]+", page.docname)]


def test_every_measured_number_has_a_source(pages):
    assert [line for page in pages for line in without_source(page, recorded())] == []


def test_every_exemption_is_still_used(pages):
    there = {
        (page.stem, number.text)
        for page in pages
        for cell in page.cells
        if cell.cell_type != "code"
        for piece in prose(cell.source)
        for number in printed(piece)
    }
    assert sorted({*EXEMPT, *COMPUTED} - there) == []


def decoder_parameters(name: str) -> int:
    return sum(weights.numel() for weights in build_model(name).decoder.parameters())


def is_computed(text: str, formula: str) -> bool:
    return printed_as(text).is_rounded(
        eval(formula, {**vars(math), "decoder_parameters": decoder_parameters})
    )


@pytest.mark.parametrize(("place", "formula"), COMPUTED.items())
def test_what_is_computed_is_the_printed_number(place, formula):
    assert is_computed(place[1], formula)


# ---------------------------------------------------------------------------- planted numbers

CELL = """```{code-cell} ipython3
import numpy as np
loss = 31.25
assert abs(loss - 31.25) < 0.005 and share > 0.97
```"""


def page_of(text: str) -> Page:
    head = "---\njupytext:\n  text_representation: {extension: .md, format_name: myst}\n---\n\n"
    return Page("book/01_test", 1, head + text)


@pytest.mark.parametrize(
    "planted",
    [
        "The loss is 31.74 after training.",
        "The loss falls to $31.74$.",
        "# A loss of 31.74",
        "- a list says 31.74",
        "| loss | 31.74 |\n|---|---|\n| at the end | 31.25 |",
        "It explains 83 % of the variance.",
        "It explains $83\\,\\%$ of it, so 0.83.",
        "Of 1,797 digits 1,643 are told apart.",
        "In all 1{,}643 of them: $1{,}643$.",
        "It is 31.2501 to four digits.",
        "```{note}\nA note says 31.74.\n```",
        "````{admonition} It is 31.74\n:class: dropdown\n\nText.\n````",
        "```{figure} a.png\n:alt: a curve that ends at 31.74\n\nThe curve.\n```",
        "```{figure} a.png\n:alt: a curve\n\nThe curve ends at 31.74.\n```",
    ],
)
def test_a_planted_number_is_reported(planted):
    assert without_source(page_of(f"{CELL}\n\n{planted}\n"), frozenset())


@pytest.mark.parametrize(
    "sourced",
    [
        "The loss is 31.25, or about 31.3.",
        "It is right for 97 % of the images.",
        "In 2014, with 60,000 images of $32 \\times 32 = 1{,}024$ pixels.",
        "See `31.74`, {eq}`eq-31.74` and [a page](https://example.org/31.74).",
        "The recorded one is 17.94.",
    ],
)
def test_a_number_with_a_source_is_not_reported(sourced):
    assert without_source(page_of(f"{CELL}\n\n{sourced}\n"), frozenset({17.9371})) == []


def test_a_number_far_from_its_cell_is_reported():
    far = "\n\n".join(f"Text.\n\n```{{code-cell}} ipython3\nx = {n}\n```" for n in range(NEAR))
    assert without_source(page_of(f"{CELL}\n\n{far}\n\nIt is 31.25.\n"), frozenset())


def test_a_formula_that_gives_another_number_is_reported():
    assert is_computed("39 %", "1 - exp(-1 / 2)")
    assert not is_computed("38 %", "1 - exp(-1 / 2)")
