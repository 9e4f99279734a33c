"""The recorded trials of `benchmarks/`, kills, fuzz and colab, as text for the pages."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lecture_book.tables import markdown_table, whole

INTERRUPTIONS = {
    "SIGKILL": "`SIGKILL`",
    "SIGTERM": "`SIGTERM`",
    "full": "disk full",
    "read-only": "read-only",
}
READERS = {
    "idx files": "MNIST's idx files",
    "run folders": "files of a stored run",
    "live files": "files of a live figure",
    "notebooks": "notebooks of students",
    "rosters": "class lists",
}


def robustness_values(root: Path) -> dict[str, str]:
    """Tables of interrupted programs, changed files and other environments: `kills_table`."""
    values: dict[str, str] = {}
    trials = {"kills": kills_values, "fuzz": fuzz_values, "colab": colab_values}
    for name, text in trials.items():
        path = root / "results" / f"{name}.json"
        if path.exists():
            record = json.loads(path.read_text(encoding="utf8"))
            values |= {f"{name}_{key}": value for key, value in text(record).items()}
    return values


def kills_values(record: Mapping[str, Any]) -> dict[str, str]:
    """How often each program was interrupted in each way, and how often its results were whole."""
    cases = record["cases"]
    rows = []
    for program in dict.fromkeys(case["program"] for case in cases):
        of_it = [case for case in cases if case["program"] == program]
        kinds = Counter(case["kind"] for case in of_it)
        good = sum(not case["differs"] and not case["half_written"] for case in of_it)
        counts = [whole(kinds[kind]) for kind in INTERRUPTIONS]
        rows.append([f"`{program}`", *counts, f"{good} of {len(of_it)}"])
    header = ["Program", *INTERRUPTIONS.values(), "Then whole"]
    return {
        "cases": whole(len(cases)),
        "faults": whole(record["faults"]),
        "table": markdown_table(header, rows, words=1),
    }


def fuzz_values(record: Mapping[str, Any]) -> dict[str, str]:
    """How many changed files of each kind were read or refused, and the most memory."""
    kinds = record["kinds"]
    rows = [
        [
            label, whole(kind["cases"]), whole(kind.get("read", 0)),
            whole(kind.get("refused", 0)), f"{kind['peak_bytes'] / 2**30:.2f} GiB",
        ]
        for name, label in READERS.items()
        for kind in [kinds[name]]
    ]  # fmt: skip
    header = ["Files", "Changed", "Read", "Refused", "Memory at most"]
    return {
        "cases": whole(sum(kind["cases"] for kind in kinds.values())),
        "faults": whole(sum(len(kind["faults"]) for kind in kinds.values())),
        "table": markdown_table(header, rows, words=1),
    }


def colab_values(record: Mapping[str, Any]) -> dict[str, str]:
    """How many notebooks ran to their end in each environment, without our package and with it."""
    rows = []
    for each in record["environments"]:
        versions, notebooks = each["after"], each["notebooks"].values()
        ran = [sum(not ways[way]["error"] for ways in notebooks) for way in ("without", "with")]
        names = "torch", "numpy", "matplotlib"
        rows.append([
            f"`{record['versions']['python']}`", *(f"`{versions[name]}`" for name in names),
            *(f"{count} of {len(notebooks)}" for count in ran),
        ])  # fmt: skip
    header = ["Python", "torch", "NumPy", "Matplotlib", "Without our package", "With it"]
    return {"table": markdown_table(header, rows, words=4)}
