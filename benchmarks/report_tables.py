"""The tables of the page on performance, made from the records in `results/`."""

from collections.abc import Mapping
from operator import itemgetter
from statistics import mean, median, stdev
from typing import Any

from lecture_book.tables import markdown_table, whole
from lecture_vae.budgets import FULL_STEPS

Record = Mapping[str, Any]

EXPLORER = "book/06_latent_space.html"
OURS = "lecture_vae"
ORIGINAL = "the original's way, 8 workers"
JAX = "JAX, Flax, lax.scan"
ONE, TWO, PAIR = "one core", "two cores", "a run on each of two cores"
BOOK = {
    "cold": 180,
    "cold, full budget": 360,
    "cold, full budget, the digits": 360,
    "nothing changed": 10,
    "the text of a chapter changed": 12,
}  # seconds
MODELS = {"linear-vae": "linear VAE", "conv-vae": "convolutional VAE"}
PEERS = {"linear-vae": "peers", "conv-vae": "conv_peers"}  # the record of each model's peers


def report_values(records: Mapping[str, Record]) -> dict[str, str]:
    """What the page on performance quotes, by name: `{{ bench_goals_table }}` and so on.

    The records of the book and of its pages may be missing: measuring them builds this page.

    Args:
        records: what `results/NAME.json` holds, by NAME.
    """
    steps = records["steps"]
    five_runs = {name: peer["five_runs_s"] for name, peer in records["peers"]["peers"].items()}
    conv_steps = {
        name: peer["modes"][ONE]["ms_per_step"]
        for name, peer in records["conv_peers"]["peers"].items()
    }
    values = {
        "goals_table": goals_table(records),
        "peers_table": peers_table(records, "linear-vae"),
        "conv_peers_table": peers_table(records, "conv-vae"),
        "lecture_table": lecture_table(records["lecture"], steps),
        "pages_table": pages_table(records["pages"]) if "pages" in records else "Not measured yet.",
        "machine": machine(steps),
        "lecture_steps": whole(records["lecture"]["steps"]),
        "peers_steps": whole(records["peers"]["steps"]),
        "conv_peers_steps": whole(records["conv_peers"]["steps"]),
        "jax_of_ours": short(five_runs[JAX] / five_runs[OURS]),
        "conv_jax_of_ours": short(conv_steps[JAX] / conv_steps[OURS]),
        "memory_returned": f"{returned_mb(records['memory']):.0f} MB",
    }
    for model in MODELS:
        values[f"{model.replace('-', '_')}_steps_table"] = steps_table(steps, model)
        values[f"{model.replace('-', '_')}_profile"] = profile(steps, model)
    for name, (saved, first, pays_after) in compiling(steps).items():
        values |= {
            f"{name}_compiled_saves": f"{saved:.0f} s",
            f"{name}_compiled_takes": f"{first:.0f} s",
            f"{name}_compiled_steps": whole(100 * round(pays_after / 100)),
        }
    return values | {f"cluster_{name}": text for name, text in cluster(records["cluster"]).items()}


def cluster(record: Record) -> dict[str, str]:
    """What a sweep costs beside training, and what is simulated of a hundred machines."""
    measured = record["measured"]
    tiny, speed_ups = measured["tiny"], measured["speed_up"]
    rows = [
        [
            each["what"], _minutes(each["minutes"]), f"{100 * each['efficiency']:.0f} %",
            each["waits_for"], f"{100 * each['waited_share'][each['waits_for']]:.0f} %",
        ]
        for each in record["scenarios"]
    ]  # fmt: skip
    header = ["What", "Minutes", "Training", "Waits most for", "which takes"]
    return {
        "machine": machine(record),
        "cores": whole(record["cores"]),
        "speed_up": f"{median(each['ratio'] for each in speed_ups):.2f}",
        "speed_up_runs": whole(speed_ups[0]["runs"]),
        "tiny_runs": whole(tiny["runs"]),
        "tiny_steps": whole(tiny["steps"]),
        "tiny_seconds": f"{tiny['seconds']:.0f} s",
        "overhead": f"{1e3 * tiny['overhead_s_per_run']:.0f} ms",
        "found_again": f"{tiny['found_again_s']:.1f} s",
        "scheduler": f"{min(measured['scheduler_ms']):.1f} ms",
        "run_seconds": f"{record['costs']['run_s']:.0f} s",
        "table": markdown_table(header, rows, words=1),
    }


def _minutes(value: float) -> str:
    return whole(value) if value >= 10 else f"{value:.1f}"


# ---------------------------------------------------------------------------- the goals


def goals_table(records: Mapping[str, Record]) -> str:
    """What was to be reached and what was."""
    rows = [
        [what, ours, other, short(ratio), f"{sign} {goal:g}", "yes" if reached else "**no**"]
        for what, ours, other, ratio, sign, goal in goals(records)
        for reached in [ratio >= goal if sign == "≥" else ratio <= goal]
    ]
    header = ["What", "Ours", "Beside", "Figure", "Goal", "Reached"]
    return markdown_table(header, rows, words=3)


def short(value: float) -> str:
    """Two digits, or all before the point: 0.3445 -> '0.34', 10.41 -> '10', 586.2 -> '586'."""
    return whole(value) if value >= 10 else f"{value:#.2g}"


def goals(records: Mapping[str, Record]) -> list[tuple[str, str, str, float, str, float]]:
    """What; ours; what it stands beside; the figure; how it shall compare; with what."""
    rows: list[tuple[str, str, str, float, str, float]] = []
    lecture, animation = records["lecture"], records["animation"]
    minutes = {name: way["lecture_s"] / 60 for name, way in lecture["ways"].items()}
    rows.append((
        "The five runs of the lecture", f"{minutes['ours']:.1f} min",
        f"{ORIGINAL}: {minutes[ORIGINAL]:.0f} min", minutes[ORIGINAL] / minutes["ours"], "≥", 15,
    ))  # fmt: skip
    for (model, name), goal in zip(MODELS.items(), (1.7, 2.2), strict=True):
        found = records["steps"]["models"][model]
        ms, limit = found["median_ms_per_step"]["train"], found["limit_ms_per_step"]
        rows.append((
            f"A step of the {name}", f"{ms:.2f} ms", f"the core's limit: {limit:.2f} ms",
            ms / limit, "≤", goal,
        ))  # fmt: skip
    for model, name in MODELS.items():
        peers = records[PEERS[model]]["peers"]
        seconds = {peer: figures["five_runs_s"] for peer, figures in peers.items()}
        ours = seconds.pop(OURS)
        fastest = min(seconds, key=seconds.__getitem__)
        rows.append((
            f"Five runs of the {name}", f"{ours:.0f} s",
            f"the fastest other, {fastest}: {seconds[fastest]:.0f} s", seconds[fastest] / ours,
            "≥", 1,
        ))  # fmt: skip
    per_frame = {name: 1e3 * value for name, value in animation["s_per_frame"].items()}
    slow = next(name for name in per_frame if name.startswith("celluloid"))
    frames = slow.partition(", ")[2]
    rows.append((
        f"A video of {frames}, {whole(animation['points'])} points",
        f"{per_frame[f'latent_evolution, {frames}']:.1f} ms a frame",
        f"celluloid: {per_frame[slow]:.0f} ms", animation["celluloid_per_ours"], "≥", 10,
    ))  # fmt: skip
    if "book" in records:
        built = records["book"]["median_s"]
        rows += [
            (f"`make book`, {name}", f"{built[name]:.0f} s", "", built[name], "≤", goal)
            for name, goal in BOOK.items()
        ]
    if "pages" in records:
        rows += page_goals(records["pages"])
    imports = records["imports"]
    beyond, answer = (
        max(0.0, imports["beyond_torch_s"]["import lecture_vae"]),  # less than the noise
        imports["median_s"]["lecture-vae --help"],
    )
    rows.append(
        ("`import lecture_vae`", f"{beyond:.2f} s", "beyond `import torch`", beyond, "≤", 0.3)
    )
    rows.append(("`lecture-vae --help`", f"{answer:.2f} s", "", answer, "≤", 0.5))
    megabytes = records["memory"]["beyond_torch_mb"]
    for (model, name), most in zip(MODELS.items(), (500, 500), strict=True):
        peak = megabytes[f"train {model}"]
        rows.append((
            f"Memory of a run, {name}", f"{peak:.0f} MB", "beyond `import torch`", peak, "≤", most,
        ))  # fmt: skip
    if "evidence" in records:
        evidence = records["evidence"]
        seconds, product = evidence["median_s"]["evidence"], evidence["median_s"]["product"]
        what = (
            f"Evidence of {whole(evidence['data']['test'])} images, {evidence['points']}² latents"
        )
        used = evidence["beyond_torch_mb"]["evidence"]
        rows += [
            (what, f"{seconds:.0f} s", f"its products: {product:.0f} s", seconds, "≤", 90),
            ("Memory of the same", f"{used:.0f} MB", "beyond `import torch`", used, "≤", 1000),
        ]
    return rows


def page_goals(pages: Record) -> list[tuple[str, str, str, float, str, float]]:
    """The goals of the pages and of the explorer, as rows of :func:`goals`."""
    here, slow = pages["frame_ms"]["here"], pages["frame_ms"]["slow phone"]
    live = max(pages["live_bytes"].values()) / 1e6
    scores = {page: score["median"] for page, score in pages["lighthouse_performance"].items()}
    slowest = min(scores, key=scores.__getitem__)
    return [
        (
            "A move in the explorer, 95 % of them", f"{here['p95']:.1f} ms",
            f"{pages['slow_phone']} times slower: {slow['p95']:.1f} ms", here["p95"], "≤", 8,
        ),
        ("A live figure's files before the first touch", f"{live:.2f} MB", "", live, "≤", 1),
        ("Speed of the explorer's page", "", "Lighthouse, of 100", scores[EXPLORER], "≥", 90),
        (
            "Speed of the slowest page", "", f"Lighthouse: {page_name(slowest)}", scores[slowest],
            "≥", 90,
        ),
    ]  # fmt: skip


def page_name(page: str) -> str:
    """What a table calls a page: 'book/exercises/03_elbo.html' -> 'exercises/03_elbo'."""
    return page.removeprefix("book/").removesuffix(".html")


# ---------------------------------------------------------------------------- the other tables


def pages_table(pages: Record) -> str:
    """Every page: what comes before anybody scrolls, and Lighthouse's score of its speed."""
    rows = [
        [page_name(page), f"{size / 1e6:.2f}", whole(round(score["median"]))]
        for page, size in pages["page_bytes"].items()
        for score in [pages["lighthouse_performance"][page]]
    ]
    return markdown_table(["Page", "MB", "Lighthouse, of 100"], rows, words=1)


def steps_table(steps: Record, model: str) -> str:
    """The step, its variants, its floor and the core's limit: milliseconds, how often the floor."""
    found = steps["models"][model]
    ms = found["median_ms_per_step"] | {"limit of the core": found["limit_ms_per_step"]}
    rows = []
    for name, value in sorted(ms.items(), key=itemgetter(1), reverse=True):
        facts = found["variants"].get(name, {})
        first = facts.get("first_steps_s", 0.0)
        rows.append([
            f"**`{name}`**" if name == "train" else name, f"{value:.2f}",
            f"{value / ms['floor']:.2f}", f"{first:.0f} s" if first >= 1 else "",
        ])  # fmt: skip
    return markdown_table(["Step", "ms", "of the floor", "Before the first step"], rows, words=1)


def compiling(steps: Record) -> dict[str, tuple[float, float, float]]:
    """What the best compiled step saves over `train` in PyTorch, for both models.

    Returns:
        For "linear" and "conv": seconds saved over the steps of the full budget, seconds that
        compiling takes first, and the number of steps after which both are equal.
    """
    found = {}
    for model, variant in (("linear-vae", "whole step compiled"), ("conv-vae", "torch.compile")):
        ms = steps["models"][model]["median_ms_per_step"]
        first = steps["models"][model]["variants"][variant]["first_steps_s"]
        saved = (ms["train in PyTorch"] - ms[variant]) / 1000
        found[model.split("-")[0]] = saved * FULL_STEPS.get(model, 25_000), first, first / saved
    return found


def profile(steps: Record, model: str) -> str:
    """Where the time of a step goes, as words: the parts in per cent, the largest first."""
    parts = dict(steps["models"][model]["profile_us_per_step"])
    whole_step = parts.pop("all")
    shares = sorted(parts.items(), key=lambda part: -part[1])
    return ", ".join(f"{name} {100 * us / whole_step:.0f} %" for name, us in shares if us)


def peers_table(records: Mapping[str, Record], model: str) -> str:
    """Every peer: a step on one core and on two, what happens once, whole runs, and its loss."""
    rows = []
    peers, full = records[PEERS[model]]["peers"], records["full_runs"]["models"][model]
    for name, peer in sorted(peers.items(), key=lambda entry: entry[1]["five_runs_s"]):
        one, two, pair = (peer["modes"][mode] for mode in (ONE, TWO, PAIR))
        losses = [loss for mode in peer["modes"].values() for loss in mode["test_loss"]]
        rows.append([
            "**ours**" if name == OURS else name, f"{one['ms_per_step']:.2f}",
            f"{two['ms_per_step']:.2f}", f"{pair['ms_per_step']:.2f}",
            f"{max(0, one['once_s']):.1f}",
            f"{full[name]['seconds']:.0f}" if name in full else "", f"{peer['five_runs_s']:.0f}",
            f"{peer['twelve_runs_s']:.0f}", f"{mean(losses):.1f} ± {stdev(losses):.1f}",
        ])  # fmt: skip
    header = [
        "", "1 core, ms a step", "2 cores, ms", "2 runs at once, ms", "once, s", "1 run, s",
        "5 runs, s", "12 runs, s", "test loss",
    ]  # fmt: skip
    return markdown_table(header, rows, words=1)


def lecture_table(lecture: Record, steps: Record) -> str:
    """The five runs in our way, in the original's, and what their products alone would take."""
    ours = lecture["ways"]["ours"]["lecture_s"]
    rows = [
        [
            "**ours**" if name == "ours" else name,
            *(f"{way['ms_per_step'][model]:.1f}" for model in MODELS),
            *(f"{way['s_per_evaluation'][model]:.2f}" for model in MODELS),
            f"{way['lecture_s'] / 60:.1f}", f"{way['lecture_s'] / ours:.1f}",
        ]
        for name, way in sorted(lecture["ways"].items(), key=lambda way: way[1]["lecture_s"])
    ]  # fmt: skip
    floor = {model: steps["models"][model]["median_ms_per_step"]["floor"] for model in MODELS}
    # Three linear runs of 25,000 steps, two convolutional ones of 30,000; ms.
    least = (75_000 * floor["linear-vae"] + 60_000 * floor["conv-vae"]) / 1e3 / lecture["cores"]
    rows.append([
        "the products alone", *(f"{ms:.1f}" for ms in floor.values()), "", "",
        f"{least / 60:.1f}", f"{least / ours:.1f}",
    ])  # fmt: skip
    header = [
        "", "linear, ms a step", "convolutional", "linear, s an evaluation", "convolutional",
        "Five runs, min", "of ours",
    ]  # fmt: skip
    return markdown_table(header, rows, words=1)


def returned_mb(memory: Record) -> float:
    """The memory of a convolutional run if the C library returns large blocks at once."""
    found = memory["beyond_torch_mb"]
    return next(mb for name, mb in found.items() if name.startswith("train conv-vae, MALLOC"))


def machine(record: Record) -> str:
    """Where and with what something was measured."""
    where, versions = record["machine"], record["versions"]
    return (
        f"{where['cpus']} cores of an {where['cpu']} ({where['vector_unit']}), {where['system']}, "
        f"Python {versions['python']}, torch {versions['torch']}; {record['date']}"
    )
