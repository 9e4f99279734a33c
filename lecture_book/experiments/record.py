"""The record of the experiments: what decides how trained networks behave, for the chapters.

`LECTURE_VAE_DATA=... python -m lecture_book.experiments` trains what is not in the store (about an
hour on two cores) and writes `results/experiments.json`; names of parts as arguments record
those parts only. The budgets are part of the experiments, LECTURE_VAE_BUDGET is not read.
"""

import argparse
import json
import platform
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lecture_book.experiments.binarized import binarized
from lecture_book.experiments.codes import SHORT_STEPS, code_rates, codes
from lecture_book.experiments.collapse import affine_optimum, calibration, remedies
from lecture_book.experiments.evidence import evidence
from lecture_book.experiments.measuring import CONV_STEPS, DIGITS_STEPS, LINEAR_STEPS, SEEDS, Rows
from lecture_book.experiments.training import ON_MNIST, early_death, locality, price_of_order
from lecture_book.project import root_or_exit
from lecture_vae import ImageData, load_images
from lecture_vae.cluster import cores
from lecture_vae.storage import write_atomically

__all__ = ["PARTS", "main", "write_part"]

RECORD = Path("results") / "experiments.json"

# Part -> data set, steps, seeds, and what to do.
PARTS: dict[str, tuple[str, int, tuple[int, ...], Callable[..., Rows]]] = {
    "early_death": ("mnist", LINEAR_STEPS, SEEDS, early_death),
    "price_of_order": ("mnist", LINEAR_STEPS, SEEDS, price_of_order),
    "locality_digits": ("digits", DIGITS_STEPS, SEEDS, locality),
    "locality_mnist": (
        "mnist",
        CONV_STEPS,
        (0,),
        lambda data, steps, seeds: locality(data, steps, seeds, ON_MNIST),
    ),
    "calibration": ("mnist", LINEAR_STEPS, SEEDS, calibration),
    "remedies": ("mnist", LINEAR_STEPS, SEEDS, remedies),
    "affine_optimum": ("mnist", LINEAR_STEPS, SEEDS, affine_optimum),
    "evidence": ("mnist", LINEAR_STEPS, SEEDS, evidence),
    "codes": ("mnist", SHORT_STEPS, SEEDS, codes),
    "codes_long": ("mnist", CONV_STEPS, SEEDS, codes),
    "code_rates": ("mnist", SHORT_STEPS, SEEDS, code_rates),
    "code_rates_long": ("mnist", CONV_STEPS, SEEDS, code_rates),
    "binarized": ("mnist-padded", LINEAR_STEPS, (0,), binarized),
}


def machine() -> dict[str, Any]:
    """What kind of machine this is; nothing that names it."""
    return {
        "cpus": cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "vector_unit": torch.backends.cpu.get_cpu_capability(),
    }


def write_part(name: str, rows: Rows, data: ImageData, path: Path) -> None:
    """Put the rows of a part into the record, beside the other parts."""
    _, steps, seeds, _ = PARTS[name]
    record: dict[str, Any] = {}
    if path.exists():
        record = json.loads(path.read_text(encoding="utf8"))
    record[name] = {
        "date": datetime.now(UTC).date().isoformat(),
        "data": {"name": data.name, "fingerprint": data.fingerprint},
        "budget": {"steps": steps, "batch_size": 64, "seeds": list(seeds)},
        "machine": machine(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "rows": rows,
    }
    text = json.dumps(record, indent=1, sort_keys=True) + "\n"
    write_atomically(path, lambda file: file.write_text(text, encoding="utf8"))


def line(row: Mapping[str, Any]) -> str:
    """A row as one line for the screen."""
    shown = "control", "model", "start", "seed", "kl_weight", "squared_error", "kl", "loss"
    return "  ".join(
        f"{row[name]:.2f}" if isinstance(row[name], float) else str(row[name])
        for name in shown
        if name in row
    )


def main() -> None:
    """Record the parts that are named, by default all."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parts = options.parse_args().parts or list(PARTS)
    if unknown := set(parts) - set(PARTS):
        sys.exit(f"no such part: {', '.join(unknown)}. There are {', '.join(PARTS)}.")
    path = root_or_exit() / RECORD
    for name in parts:
        source, steps, seeds, experiment = PARTS[name]
        padded = source == "mnist-padded"
        where = "digits" if source == "digits" else "auto"
        data = load_images(where, resize="pad" if padded else "interpolate")
        if data.name != source:
            sys.exit(f"{name} needs MNIST, got {data.name}. Set LECTURE_VAE_DATA.")
        rows = experiment(data, steps, seeds)
        print(name, *map(line, rows), sep="\n", flush=True)
        write_part(name, rows, data, path)
