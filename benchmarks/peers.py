"""Our training beside PyTorch Lightning, pythae, Keras 3 and a jitted JAX loop.

Same layers, objective, batch, Adam and number of evaluations over the test images. Each peer is a
script in `peers/`, written as its documentation recommends, and runs in an environment of its own.
Compiling, and whatever else happens once, is not in the steady figures; it has a column.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from floors import convolution_floor, linear_floor
from measuring import environment, version_in
from timing import ROOT, alternate, arguments_of, context, images, parser, table, threads, timed
from timing import write as write_results

from lecture_vae import ImageData

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = ROOT / "_build" / "benchmark-environments"
LECTURE_STEPS, RUNS, SWEEP, MODELS = 25_000, 5, 12, 5
FLOORS = {"linear-vae": linear_floor, "conv-vae": convolution_floor}
OURS = "lecture_vae"
CORES = {"one core": [1], "two cores": [2], "a run on each of two cores": [1, 1]}


@dataclass(frozen=True)
class Peer:
    """How a peer is installed and started."""

    script: str
    folder: str = ""  # of its environment; ours has none
    packages: tuple[str, ...] = ()
    pinned: tuple[str, ...] = ()  # in our version
    arguments: tuple[str, ...] = ()
    backend: str = ""  # of Keras
    models: int = 1  # trained at once in one process


JAX = {"folder": "jax", "packages": ("jax", "flax", "optax")}
KERAS = {"folder": "keras", "packages": ("keras", "jax"), "pinned": ("torch",)}
PEERS = {
    OURS: Peer("ours.py"),
    "JAX, Flax, lax.scan": Peer("jax_scan.py", **JAX),
    f"JAX, vmap over {MODELS}": Peer("jax_scan.py", **JAX, arguments=(f"{MODELS}",), models=MODELS),
    "Lightning": Peer("lightning_trainer.py", "lightning", ("lightning",), ("torch",)),
    "Keras, JAX": Peer("keras_fit.py", **KERAS, arguments=("1",), backend="jax"),
    "Keras, JAX, 25 steps a call": Peer("keras_fit.py", **KERAS, arguments=("25",), backend="jax"),
    "Keras, torch": Peer("keras_fit.py", **KERAS, arguments=("1",), backend="torch"),
    "pythae": Peer("pythae_pipeline.py", "pythae", ("pythae",), ("torch",)),
}


def main(
    model: str, name: str, steps: int, eval_every: int, peers: Sequence[str] = tuple(PEERS)
) -> None:
    """Installs, measures, prints and, if asked, records as ``results/NAME.json``."""
    options = parser(__doc__, rounds=3)
    options.add_argument("--steps", type=int, default=steps, help="in each measurement")
    options.add_argument("--eval-every", type=int, default=eval_every)
    options.add_argument("--only", nargs="+", choices=PEERS, default=list(peers))
    options.add_argument("--environments", type=Path, default=ENVIRONMENTS)
    arguments = arguments_of(options, name)
    arguments.model = model
    data = images()
    results = context(data) | {"steps": arguments.steps, "eval_every": arguments.eval_every}
    pythons = {name: python_of(PEERS[name], arguments.environments) for name in arguments.only}
    results["versions"] |= {
        package: version_in(pythons[name], package)
        for name in arguments.only
        for package in PEERS[name].packages
    }
    floor = FLOORS[model]()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        file = save_images(data, Path(folder))
        found = {name: {mode: [] for mode in CORES} for name in pythons}
        # Every process of a peer has a seed of its own, and all peers have the same ones.
        seeds = {name: count() for name in pythons}
        calls = {
            f"{name}/{mode}": partial(
                start, PEERS[name], pythons[name], file, mode, arguments, seeds[name]
            )
            for name in pythons
            for mode in CORES
        }
        with threads(1):
            calls["floor"] = lambda: 1e3 * timed(lambda: floor.run(1_000)) / 1_000
            measured: dict[str, list[Any]] = alternate(calls, arguments.rounds)
    results["floor_ms"] = median(measured.pop("floor"))
    for key, runs in measured.items():
        name, mode = key.rsplit("/", 1)
        found[name][mode] = runs
    results["peers"] = {
        name: figures(PEERS[name], runs, arguments.eval_every) for name, runs in found.items()
    }
    print(report(results))
    write_results(results, arguments.out)


def python_of(peer: Peer, folder: Path) -> Path:
    """The interpreter of a peer's environment."""
    if not peer.folder:
        return Path(sys.executable)
    return environment(folder / peer.folder, peer.packages, peer.pinned)


def save_images(data: ImageData, folder: Path) -> Path:
    """A file that every peer can read."""
    file = folder / "images.npz"
    parts = {"train": data.train, "test": data.test}
    np.savez(file, **{name: part.images.flatten(1).numpy() for name, part in parts.items()})
    return file


def start(
    peer: Peer,
    python: Path,
    file: Path,
    mode: str,
    arguments: argparse.Namespace,
    seeds: Iterator[int],
) -> list[dict[str, Any]]:
    """Runs a peer on so many cores, or once on each; what each process reports."""
    free = sorted(os.sched_getaffinity(0))
    processes = []
    for number, cores in enumerate(CORES[mode]):
        mine = free[number : number + cores]
        task = {
            "data": str(file), "steps": arguments.steps, "eval_every": arguments.eval_every,
            "batch": 64, "lr": 5e-4, "seed": next(seeds), "threads": cores,
            "model": arguments.model,
        }  # fmt: skip
        variables = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(cores))
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "KERAS"))}
        processes.append(
            subprocess.Popen(
                [python, HERE / "peers" / peer.script, json.dumps(task), *peer.arguments],
                env=kept | variables | {"KERAS_BACKEND": peer.backend or "torch"},
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                preexec_fn=partial(os.sched_setaffinity, 0, mine),
            )
        )  # fmt: skip
    reports = []
    for process in processes:
        out, errors = process.communicate()
        if process.returncode:
            raise SystemExit(f"{peer.script} failed:\n{out[-2000:]}{errors[-4000:]}")
        reports.append(json.loads(out.strip().splitlines()[-1]))
    return reports


def figures(peer: Peer, runs: dict[str, list[Any]], every: int) -> dict[str, Any]:
    """Medians of a peer's reports; what five and twelve runs of 25,000 steps would take."""
    found: dict[str, Any] = {"modes": {}}
    for mode, rounds in runs.items():
        reports = [report for reports in rounds for report in reports]
        count = len(reports[0]["chunks"])
        steady = [median(report["chunks"][1:]) for report in reports]
        alone = [median(report["evaluations"]) for report in reports]
        found["modes"][mode] = {
            "ms_per_step_with_evaluations": [1e3 * chunk / every for chunk in steady],
            "ms_per_step": median(
                1e3 * (chunk - pause) / every for chunk, pause in zip(steady, alone, strict=True)
            ),
            "cpu_ms_per_step_with_evaluations": median(
                1e3 * median(report["cpu_chunks"][1:]) / every for report in reports
            ),
            "evaluation_ms": 1e3 * median(alone),
            "once_s": median(
                sum(report["chunks"]) - count * chunk
                for report, chunk in zip(reports, steady, strict=True)
            ),
            "test_loss": [report["test_loss"] for report in reports],
            "train_loss": [report["train_loss"] for report in reports],
        }
    seconds = {
        mode: median(figure["ms_per_step_with_evaluations"]) * LECTURE_STEPS / 1e3
        for mode, figure in found["modes"].items()
    }
    found["five_runs_s"] = seconds_of(RUNS, peer, *seconds.values())
    found["twelve_runs_s"] = seconds_of(SWEEP, peer, *seconds.values())
    return found


def seconds_of(runs: int, peer: Peer, one: float, two: float, pair: float) -> float:
    """Seconds of so many runs, from those of one on a core, of one on two, and of a pair."""
    if peer.models > 1:
        return two * runs / peer.models
    # Two by two and an odd one alone, or one after the other on both cores.
    return min(runs // 2 * pair + runs % 2 * min(one, two), runs * two)


def report(results: dict[str, Any]) -> str:
    """The figures as text."""
    rows = []
    ours = results["peers"].get(OURS)
    for name, peer in results["peers"].items():
        one, two, pair = (peer["modes"][mode] for mode in CORES)
        rows.append([
            name, f"{one['ms_per_step']:.2f}", f"{one['ms_per_step'] / results['floor_ms']:.1f}",
            f"{two['ms_per_step']:.2f}", f"{pair['ms_per_step']:.2f}",
            f"{one['evaluation_ms']:.0f}", f"{one['once_s']:.1f}", f"{peer['five_runs_s']:.0f}",
            f"{peer['twelve_runs_s']:.0f}",
            f"{peer['five_runs_s'] / ours['five_runs_s']:.2f}" if ours else "",
            f"{median(one['test_loss']):.2f}",
        ])  # fmt: skip
    header = [
        "", "ms a step, 1 core", "x floor", "2 cores", "2 runs at once", "evaluation ms",
        "once s", f"{RUNS} runs s", f"{SWEEP} runs s", "of ours", "test loss",
    ]  # fmt: skip
    return "\n".join([
        table(header, rows),
        f"floor: {results['floor_ms']:.2f} ms a step on 1 core; {results['steps']} steps each, "
        f"the {RUNS} runs extrapolated to {LECTURE_STEPS:,} steps with an evaluation every "
        f"{results['eval_every']}, without what happens once; vmap: ms of {MODELS} models together",
    ])  # fmt: skip


if __name__ == "__main__":
    main("linear-vae", "peers", steps=2_000, eval_every=250)
