"""Format numbers and tables for the pages."""

from collections.abc import Iterable, Sequence


def four_digits(value: float) -> str:
    """Four significant digits, trailing zeros kept: 36.6 -> '36.60', 0.029221 -> '0.02922'."""
    return f"{value:#.4g}".rstrip(".")


def nats(value: float) -> str:
    """Four significant digits, or "less than 0.001"."""
    return four_digits(value) if value >= 0.001 else "less than 0.001"


def whole(value: float) -> str:
    """A whole number with its thousands marked: 25000 -> '25,000'."""
    return f"{value:,.0f}"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], words: int = 2) -> str:
    """A Markdown table: the first `words` columns aligned left, the others right."""
    rule = [":---"] * words + ["---:"] * (len(header) - words)
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, rule, *rows])
