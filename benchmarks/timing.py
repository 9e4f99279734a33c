"""What the training benchmarks share: data, alternating rounds, medians, tables, records."""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch
from measuring import machine

from lecture_vae import ImageData, NegativeELBO, Split, SquaredError, load_images
from lecture_vae.losses import Objective
from lecture_vae.storage import write_atomically

__all__ = [
    "ROOT", "alternate", "arguments_of", "context", "few_test_images", "images", "medians",
    "objective_of", "parser", "table", "threads", "timed", "write",
]  # fmt: skip

ROOT = Path(__file__).resolve().parents[1]
MNIST_IMAGES = 60_000, 10_000

os.environ["TQDM_DISABLE"] = "1"


def parser(description: str | None, rounds: int) -> argparse.ArgumentParser:
    """The options that every training benchmark has."""
    options = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    options.add_argument("--rounds", type=int, default=rounds, help="how often each is measured")
    options.add_argument("--record", action="store_true", help="write results/NAME.json")
    options.add_argument("--out", type=Path, help="write the figures to this file")
    return options


def arguments_of(options: argparse.ArgumentParser, name: str) -> argparse.Namespace:
    """Parses the command line; ``out`` is where the figures go, if anywhere."""
    arguments = options.parse_args()
    if arguments.record and arguments.out is None:
        arguments.out = ROOT / "results" / f"{name}.json"
    return arguments


def images() -> ImageData:
    """MNIST from ``LECTURE_VAE_DATA``, else scikit-learn's digits repeated to as many images."""
    if os.environ.get("LECTURE_VAE_DATA"):
        return load_images()
    digits = load_images("digits")
    train, test = (
        Split(*(part.repeat(-(-count // len(part)), *[1] * (part.ndim - 1))[:count]
                for part in split))
        for split, count in zip((digits.train, digits.test), MNIST_IMAGES, strict=True)
    )  # fmt: skip
    return replace(digits, train=train, test=test, name="digits, repeated to the size of MNIST")


def few_test_images(data: ImageData, count: int = 1) -> ImageData:
    """The same training images; so few to test on that evaluating costs nothing."""
    return replace(data, test=Split(data.test.images[:count], data.test.labels[:count]))


def objective_of(model: str) -> Objective:
    """What the lecture minimizes with a model."""
    if model.endswith("-ae"):
        return SquaredError()
    return NegativeELBO(0.8 if model.startswith("conv") else 1.0)


def threads(count: int) -> AbstractContextManager[None]:
    """Runs a block with ``count`` threads."""

    @contextmanager
    def block() -> Any:
        before = torch.get_num_threads()
        torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    return block()


def timed(function: Callable[[], object]) -> float:
    """Wall seconds of a call."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def alternate(candidates: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Figures of each candidate, one a round; every other round goes backwards."""
    figures: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(rounds):
        for name in list(candidates)[:: -1 if number % 2 else 1]:
            print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr, flush=True)
            figures[name].append(candidates[name]())
    return figures


def medians(figures: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median of each."""
    return {name: median(values) for name, values in figures.items()}


def context(data: ImageData | None, packages: Sequence[str] = ()) -> dict[str, Any]:
    """When, where, with what and on which images something was measured."""
    names = ("lecture-vae", "torch", "numpy", *packages)
    versions = {"python": platform.python_version()} | {name: version(name) for name in names}
    found = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine() | {"vector_unit": torch.backends.cpu.get_cpu_capability()},
        "versions": versions,
    }
    if data is not None:
        found["data"] = {
            "name": data.name,
            "train": len(data.train.images),
            "test": len(data.test.images),
        }
    return found


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns of text: the first to the left, the others to the right."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for first, *rest in cells:
        numbers = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *numbers]).rstrip())
    return "\n".join(lines)


def write(results: Mapping[str, Any], path: Path | None) -> None:
    """Writes the figures, if they are to be kept."""
    if path is not None:
        text = json.dumps(results, indent=2, sort_keys=True) + "\n"
        write_atomically(path, lambda file: file.write_text(text, encoding="utf8"))
        print(f"written: {path.name}")
