"""How fast the lecture is: from what the benchmarks recorded to what the book shows.

`python benchmarks/report.py`, the last line of `make bench`, prints the first tables, writes
`results/performance.json`, which the page on performance quotes, and draws its pictures. Nothing
here measures anything.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from report_tables import MODELS, ONE, OURS, Record, goals_table, peers_table, report_values

from lecture_book.records import PERFORMANCE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[1]
# What `make bench` measures, each in its file of `results/`.
RECORDS = (
    "steps", "peers", "conv_peers", "full_runs", "lecture", "memory", "animation", "imports",
    "scaling", "book", "pages", "evidence", "cluster",
)  # fmt: skip
STATIC = Path("book") / "_static"


def read_records(root: Path) -> dict[str, Any]:
    """What is recorded, by its name in :data:`RECORDS`."""
    files = {name: root / "results" / f"{name}.json" for name in RECORDS}
    return {
        name: json.loads(path.read_text(encoding="utf8"))
        for name, path in files.items()
        if path.exists()
    }


# ---------------------------------------------------------------------------- pictures


def draw_peers(records: Mapping[str, Record]) -> "Figure":
    """Seconds of a run against its steps, compiling included, for every peer on one core."""
    import matplotlib.pyplot as plt

    peers = records["peers"]["peers"]
    figure, ax = plt.subplots(figsize=(8, 4.6), layout="constrained")
    ends = []
    for name, peer in peers.items():
        if "vmap" in name:
            continue
        run = peer["modes"][ONE]
        ms = median(run["ms_per_step_with_evaluations"])
        seconds = [max(0, run["once_s"]) + ms * steps for steps in (0, 25)]
        wide: dict[str, Any] = (
            {"linewidth": 3.5, "color": "#c03d00", "zorder": 3} if name == OURS else {}
        )
        ax.plot([0, 25_000], seconds, label=name, **wide)
        ends.append((seconds[1], name))
    floor = records["peers"]["floor_ms"]
    ax.plot([0, 25_000], [0, 25 * floor], "k--", label="matrix products alone")
    ax.set(xlim=(0, 25_000), ylim=(0, None), xlabel="steps", ylabel="seconds")
    ax.xaxis.set_major_formatter("{x:,.0f}")
    handles, labels = ax.get_legend_handles_labels()
    order = {name: end for end, name in ends}
    ranked = sorted(zip(handles, labels, strict=True), key=lambda pair: -order.get(pair[1], 0))
    ax.legend(*zip(*ranked, strict=True), frameon=False)
    return figure


def draw_scaling(records: Mapping[str, Record]) -> "Figure":
    """A run's time against batch, data and number of models, with the floor."""
    import matplotlib.pyplot as plt

    scaling = records["scaling"]
    panels = [
        ("batch ", "", "images in a batch"),
        ("", " images", "training images"),
        ("", " models", "models trained"),
    ]
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.8), layout="constrained")
    for ax, (before, after, label) in zip(axes, panels, strict=True):
        sizes = {
            int(name.removeprefix(before).removesuffix(after).replace(",", "")): name
            for name in scaling["median_s"]
            if name.startswith(before or tuple("123456789")) and name.endswith(after)
        }
        x = sorted(sizes)
        names = [sizes[size] for size in x]
        ax.plot(x, [scaling["median_s"][n] for n in names], "o-", color="#c03d00", lw=2.5,
                label="ours")  # fmt: skip
        ax.plot(x, [scaling["floor_s"][n] for n in names], "k--", label="matrix products alone")
        ax.set(xlabel=label, ylim=(0, None))
        ax.xaxis.set_major_formatter("{x:,.0f}")
        ax.locator_params(nbins=5)
    axes[0].set_ylabel("seconds for 25,000 steps")
    axes[0].legend(frameon=False)
    return figure


PICTURES: dict[str, Callable[[Mapping[str, Record]], "Figure"]] = {
    "performance_peers.png": draw_peers,
    "performance_scaling.png": draw_scaling,
}


def records_digest(root: Path) -> str:
    """One hash over what the pictures show; they carry it, and a test compares."""
    contents = b"".join(
        (root / "results" / f"{name}.json").read_bytes() for name in ("peers", "scaling")
    )
    return hashlib.sha256(contents).hexdigest()[:16]


def main() -> None:
    """Print tables, write what the page quotes, draw its pictures."""
    import matplotlib

    matplotlib.use("Agg")
    records = read_records(ROOT)
    if missing := {*RECORDS} - {*records, "book", "pages"}:
        sys.exit(f"not measured yet: {', '.join(sorted(missing))}. Run `make bench`.")
    tables = [peers_table(records, model) for model in MODELS]
    print(goals_table(records), *tables, sep="\n\n")
    values = json.dumps(report_values(records), indent=1, ensure_ascii=False)
    (ROOT / PERFORMANCE).write_text(values + "\n", encoding="utf8")
    for name, draw in PICTURES.items():
        draw(records).savefig(
            ROOT / STATIC / name, dpi=120, metadata={"Records": records_digest(ROOT)}
        )


if __name__ == "__main__":
    main()
