"""The recorded experiments as text for the pages: `results/experiments.json`."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import mean
from typing import Any

from lecture_book.evidence_record import binarized_values, evidence_values
from lecture_book.tables import markdown_table, whole

EXPERIMENTS = Path("results") / "experiments.json"  # lecture_book/experiments/ writes it
EXPERIMENT_TERMS = (
    "squared_error", "squared_error_at_mean", "kl", "loss", "loss_at_7", "fitted_weight", "bits",
    "bits_calibrated", "worst_percent", "seventh", "best_seventh", "train_squared_error",
    "train_kl", "best_squared_error", "best_kl", "mixed", "perplexity", "dead", "bits_independent",
    "bits_training",
)  # fmt: skip
# Table -> the parts whose rows it has, and its terms with their headings. Each has a word: axe
# takes a heading of mathematics alone for an empty one.
TABLES: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "remedies": (
        ("remedies",),
        {
            "squared_error": "Squared error $S$",
            "kl": "$\\mathrm{KL}$ in nats",
            "active": "Active latents",
            "loss": "Loss $S + w\\,\\mathrm{KL}$",
        },
    ),
    "codes": (
        ("codes", "code_rates", "codes_long", "code_rates_long"),
        {"bits": "Bits per image", "squared_error": "Squared error"},
    ),
}


def experiment_values(root: Path) -> dict[str, str]:
    """The terms of the recorded experiments, over their seeds, and tables of them.

    A name is part, row, term: `locality_digits_convvae_kl` is the mean over the seeds, and the
    same with `_least` and `_most` the range.
    """
    path = root / EXPERIMENTS
    if not path.exists():
        return {}
    record = json.loads(path.read_text(encoding="utf8"))
    values = {}
    for part, content in record.items():
        local = part.startswith("locality")
        digits = 1 if local else 2
        groups = experiment_groups(content["rows"])
        for name, rows in groups.items():
            for term in EXPERIMENT_TERMS:
                if term in rows[0]:
                    found = [row[term] for row in rows]
                    key = f"{part}_{slug(name)}_{term}"
                    values[key] = f"{mean(found):.{digits}f}"
                    values[f"{key}_least"] = f"{min(found):.{digits}f}"
                    values[f"{key}_most"] = f"{max(found):.{digits}f}"
            if "collapsed_channels" in rows[0]:
                values[f"{part}_{slug(name)}_collapsed_channels"] = " or ".join(
                    sorted({str(row["collapsed_channels"]) for row in rows})
                )
        if local:
            values[f"{part}_table"] = locality_table(groups)
        if part == "evidence":
            values |= evidence_values(groups)
        if part == "binarized":
            values |= binarized_values(groups)
    for table, (parts, headings) in TABLES.items():
        if record.keys() >= set(parts):
            rows = [row for part in parts for row in record[part]["rows"]]
            values[f"{table}_table"] = terms_table(experiment_groups(rows), headings)
    return values


def experiment_groups(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The rows of a part that differ in their seed only, by what they have in common."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        name = row.get("control") or row.get("model") or f"w{row['kl_weight']:g}"
        if row.get("start", "random") != "random":
            name += f" from {row['start']}"
        groups.setdefault(name, []).append(row)
    return groups


def slug(name: str) -> str:
    """The words of a name, joined as in the name of a number: 'ConvVAE' -> 'convvae'."""
    return "_".join(re.findall(r"[a-z0-9]+", name.lower()))


def locality_table(groups: Mapping[str, list[Mapping[str, Any]]]) -> str:
    """Mean terms of the ConvVAE and its controls, and the range of the loss over the seeds."""
    rows = []
    for name, runs in groups.items():
        losses = [run["loss"] for run in runs]
        terms = [f"{mean(run[term] for run in runs):.1f}" for term in ("squared_error", "kl")]
        spread = [f"{min(losses):.1f} to {max(losses):.1f}"] if len(losses) > 1 else []
        rows.append([name, whole(runs[0]["parameters"]), *terms, f"{mean(losses):.1f}", *spread])
    header = ["Network", "Parameters", "Squared error", "KL", "Loss"]
    return markdown_table(header + ["Loss, range"] * (len(rows[0]) - 5), rows, words=1)


def terms_table(groups: Mapping[str, list[Mapping[str, Any]]], headings: Mapping[str, str]) -> str:
    """Terms of the rows that differ in their seed only: their mean and, in brackets, their range.

    Of whole numbers, such as the number of active latents, all that occur are listed.
    """

    def text(found: list[Any]) -> str:
        if all(isinstance(value, int) for value in found):
            return " or ".join(map(str, sorted(set(found))))
        return f"{mean(found):.2f} ({min(found):.2f} to {max(found):.2f})"

    def shown(name: str) -> str:
        return re.sub(r" w([\d.]+)", r", $w = \1$", name)

    rows = [
        [shown(name), *(text([run[term] for run in runs]) for term in headings)]
        for name, runs in groups.items()
    ]
    return markdown_table(["Run", *headings.values()], rows, words=1)
