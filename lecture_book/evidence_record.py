"""The recorded evidence of chapter 9 as text for the pages."""

from collections.abc import Callable, Mapping
from statistics import mean
from typing import Any

from lecture_book.tables import four_digits, markdown_table, nats, whole


def one_decimal(value: float) -> str:
    """A number to a tenth, with a proper minus sign: -620.14 -> '−620.1'."""
    return f"{value:.1f}".replace("-", "−")


def share(value: float) -> str:
    """A share in percent: 0.163 -> '16 %'."""
    return f"{100 * value:.0f} %"


EVIDENCE_TERMS: dict[str, Callable[[float], str]] = {
    "log_evidence": one_decimal,
    "approximation_gap": nats,
    "amortization_gap": nats,
    "information": nats,
    "misfit": nats,
    "hole_share": share,
    "hole_price": nats,
    "bits": four_digits,
    "bits_fitted": four_digits,
}


def evidence_values(groups: Mapping[str, list[Mapping[str, Any]]]) -> dict[str, str]:
    """Means over the seeds of what chapter 9 measures, and a table: `evidence_w_1_misfit`."""
    values = {}
    for rows in groups.values():
        name = "evidence_w_" + f"{rows[0]['kl_weight']:g}".replace(".", "_")
        for term, text in EVIDENCE_TERMS.items():
            values[f"{name}_{term}"] = text(mean(row[term] for row in rows))
        for bound in ("elbo", "iwae_64"):
            short = mean(row["log_evidence"] - row[bound] for row in rows)
            values[f"{name}_{bound}_gap"] = nats(short)
    kinds = {
        kind: [
            mean(row["others"][kind]["log_evidence"] for row in rows) for rows in groups.values()
        ]
        for kind in next(iter(groups.values()))[0]["others"]
    }
    ordered = sorted(kinds.items(), key=lambda each: -each[1][0])
    body = [[kind, *(whole(v).replace("-", "−") for v in found)] for kind, found in ordered]
    header = ["Images", *(f"Weight $w = {rows[0]['kl_weight']:g}$" for rows in groups.values())]
    return values | {"evidence_table": markdown_table(header, body, words=1)}


def binarized_values(groups: Mapping[str, list[Mapping[str, Any]]]) -> dict[str, str]:
    """What chapter 9 says of binarized images: a table, and means over all networks and seeds."""
    terms = "log_evidence", "iwae_64", "elbo", "kl"
    body = []
    for name, rows in groups.items():
        found = [[row[term] for row in rows] for term in terms]
        shown = [one_decimal(mean(values)) for values in found]
        if len(rows) > 1:
            shown[0] += f" ({one_decimal(min(found[0]))} to {one_decimal(max(found[0]))})"
        body.append([name, whole(rows[0]["parameters"]), *shown])
    rows = [row for group in groups.values() for row in group]
    constant = one_decimal(rows[0]["constant"])
    header = ["Network", "Parameters", "Evidence $\\log p_\\theta(x)$", "IWAE-64", "ELBO", "KL"]
    least = ["mean image", "784", constant, constant, constant, "0"]
    seeds = len({row["seed"] for row in rows})
    return {
        "binarized_seeds": "one seed" if seeds == 1 else f"{seeds} seeds",
        "binarized_images": whole(rows[0]["images"]),
        "binarized_table": markdown_table(header, [least, *body], words=1),
        "binarized_gray": f"{-mean(row['gray'] for row in rows):.2f}",
        "binarized_padding": nats(max(abs(row["padding"]) for row in rows)),
        "binarized_iwae_gap": f"{mean(row['log_evidence'] - row['iwae_64'] for row in rows):.1f}",
    }
