"""The recorded numbers of `results/`, as text for the pages.

Pages refer to a number by name, `{{ linear_vae_1_test_loss }}`. Site and notebooks both take its
text from here, so that they cannot differ. Nothing here measures anything.
"""

import json
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from safetensors import safe_open

from lecture_book.experiment_record import experiment_values
from lecture_book.project import LIVE
from lecture_book.robustness_record import robustness_values
from lecture_book.tables import four_digits, markdown_table, nats, whole
from lecture_vae import NegativeELBO
from lecture_vae.reproduction import LECTURE

RECORD = Path("results") / "reproduction.json"
BALANCE = LIVE / "balance" / "balance.safetensors"
PERFORMANCE = Path("results") / "performance.json"  # benchmarks/report.py writes it


class RecordError(Exception):
    """A page uses a number that is not recorded."""


def percent_change(ours: float, original: float) -> str:
    """By how much `ours` is larger than `original`: '+0.12 %'; a minus sign means better."""
    return f"{100 * (ours / original - 1):+.2f} %".replace("-", "−")


FORMATS: dict[str, Callable[[float], str]] = {
    "train_loss": four_digits,
    "test_loss": four_digits,
    "squared_error": four_digits,
    "kl": nats,
    "steps": whole,
    "seconds": whole,
}


def recorded_values(root: Path) -> dict[str, str]:
    """The text of every recorded number, by the name that pages use.

    Args:
        root: the folder that holds `results/`.
    """
    values = performance_values(root) | balance_values(root) | experiment_values(root)
    values |= robustness_values(root)
    path = root / RECORD
    if not path.exists():
        return values
    record = json.loads(path.read_text(encoding="utf8"))
    for key, run in record["runs"].items():
        for prefix, part in ((key, "ours"), (f"original_{key}", "original")):
            for name, value in run.get(part, {}).items():
                if value is not None and name in FORMATS:
                    values[f"{prefix}_{name}"] = FORMATS[name](value)
    for name in ("total_variance", "mean_image_error"):
        values[f"mnist_{name}"] = four_digits(record["data"][name])
    values["reproduction_core_minutes"] = whole(record["core_seconds"] / 60)
    values["reproduction_versions"] = recorded_versions(record)
    values["reproduction_table"] = reproduction_table(record["runs"])
    values["reproduction_common_units_table"] = common_units_table(record["runs"])
    values["reproduction_spread_table"] = spread_table(record["runs"])
    return values


def performance_values(root: Path) -> dict[str, str]:
    """The tables and figures of the page on performance, names beginning with ``bench_``."""
    path = root / PERFORMANCE
    if not path.exists():
        return {}
    report = json.loads(path.read_text(encoding="utf8"))
    return {f"bench_{name}": text for name, text in report.items()}


def balance_values(root: Path) -> dict[str, str]:
    """The losses of the recorded VAEs at several KL weights: `balance_0_3_kl` is the KL at w = 0.3.

    `balance_WEIGHT_at_OTHER` is the loss of the model of one weight at the next larger weight,
    `balance_threshold_1` the weight at which the first latent of an affine VAE collapses, and
    `balance_WEIGHT_linear_squared_error` the squared error of the best affine VAE.
    """
    path = root / BALANCE
    if not path.exists():
        return {}
    with safe_open(path, "numpy") as file:  # written by lecture_vae/live.py
        metadata = json.loads(file.metadata()["lecture_vae"])
    rows = metadata["rows"]
    values = {
        f"threshold_{direction}": f"{weight:.1f}"
        for direction, weight in enumerate(metadata["collapse_weights"], start=1)
    }
    names = {row["kl_weight"]: f"{row['kl_weight']:g}".replace(".", "_") for row in rows}
    for row, after in zip(rows, [*rows[1:], None], strict=True):
        name = names[row["kl_weight"]]
        for term in ("loss", "squared_error", "kl"):
            values[f"{name}_{term}"] = f"{row[f'test_{term}']:.2f}"
        linear = row["affine_vae"]["squared_error"]
        values[f"{name}_linear_squared_error"] = f"{linear:.2f}"
        if after:
            at_next = row["test_squared_error"] + after["kl_weight"] * row["test_kl"]
            values[f"{name}_at_{names[after['kl_weight']]}"] = f"{at_next:.2f}"
    return {f"balance_{key}": text for key, text in values.items()}


def recorded_versions(record: Mapping[str, Any]) -> str:
    """Versions and machine of the runs: 'torch 2.15.0, numpy 2.4.6; x86_64, 2 cores, cpu'."""
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    return f"{versions}; {record['machine']}"


def missing(name: str, values: Mapping[str, str], root: Path) -> str:
    """Why a number is not recorded: a sentence for the author of a page."""
    if name.startswith("bench_") and not (root / PERFORMANCE).exists():
        return (
            f"{{{{ {name} }}}} cannot be filled in: {PERFORMANCE.as_posix()} does not exist. "
            "Record it with `make bench`."
        )
    if not (root / RECORD).exists():
        return (
            f"{{{{ {name} }}}} cannot be filled in: {RECORD.as_posix()} does not exist. "
            "Record it with `lecture-vae reproduce --full`."
        )
    near = get_close_matches(name, values, n=3, cutoff=0.5)
    hint = f" Similar names: {', '.join(near)}." if near else ""
    return f"{{{{ {name} }}}} cannot be filled in: {RECORD.as_posix()} holds no such value.{hint}"


def cell(values: Mapping[str, Any], name: str) -> str:
    """A number of a run as text; a dash if there is none (an autoencoder has no KL)."""
    return "–" if values[name] is None else FORMATS[name](values[name])


def train_and_test(losses: Mapping[str, Any]) -> str:
    """Training and test loss in one table cell, joined by no-break spaces."""
    return f"{cell(losses, 'train_loss')}\u00a0/\u00a0{cell(losses, 'test_loss')}"


def title(run: Mapping[str, Any]) -> str:
    """The name of a run as in the text."""
    return str(run["title"]).replace("kl_weight", "KL weight")


def unit(run: Mapping[str, Any]) -> str:
    """The unit of a run's losses; an autoencoder's is the mean over pixels, as in the original."""
    return "per pixel" if run["ours"]["kl"] is None else "per image"


def reproduction_table(runs: Mapping[str, Any]) -> str:
    """Losses of the original and of ours in the original's units, one row per model."""
    rows = []
    for run in runs.values():
        ours, original = run["ours"], run["original"]
        change = percent_change(ours["test_loss"], original["test_loss"])
        losses = [train_and_test(original), train_and_test(ours)]
        rows.append([title(run), unit(run), *losses, change])
    header = ["Model", "Loss", "Original, train / test", "Ours, train / test", "Change on test"]
    return markdown_table(header, rows)


def sampled_squared_error(key: str, ours: Mapping[str, Any]) -> str:
    """S of a VAE with one sample of z for each image, from its loss S + w KL; else a dash.

    Args:
        key: the name of one of the lecture's runs, whose objective has w.
        ours: the recorded test loss, in loss units, and KL, in nats.
    """
    objective = LECTURE[key].objective
    if not isinstance(objective, NegativeELBO):
        return "–"
    return FORMATS["squared_error"](ours["test_loss"] - objective.kl_weight * ours["kl"])


def common_units_table(runs: Mapping[str, Any]) -> str:
    """The terms of our test losses and the time, one row per model."""
    rows = []
    for key, run in runs.items():
        ours = run["ours"]
        noiseless, kl, seconds = (cell(ours, name) for name in ("squared_error", "kl", "seconds"))
        rows.append([title(run), noiseless, sampled_squared_error(key, ours), kl, seconds])
    header = ["Model", "$S$ at $z = \\mu$", "$S$ at a sample", "$\\mathrm{KL}$ in nats", "Seconds"]
    return markdown_table(header, rows)


def spread_table(runs: Mapping[str, Any]) -> str:
    """The test loss over several seeds, one row per model that was trained more than once."""
    rows = []
    for run in runs.values():
        if spread := run.get("spread"):
            rows.append(
                [
                    title(run),
                    unit(run),
                    ", ".join(map(str, spread["seeds"])),
                    ", ".join(map(four_digits, spread["test_losses"])),
                    four_digits(spread["mean"]),
                    f"{spread['sd']:.2g}",
                ]
            )
    header = ["Model", "Loss", "Seeds", "Test loss of each", "Mean", "Standard deviation"]
    return markdown_table(header, rows)
