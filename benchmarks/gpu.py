"""Is a GPU faster than one core for networks as small as ours, and from which batch on?

For the linear and the convolutional VAE and several batches, side by side in alternating order:
`train` on the GPU, on one thread of the processor in native kernels and in PyTorch; and, where JAX
sees the GPU, its scan (`peers/jax_scan.py`) at the batch of the lecture.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import torch
from timing import (
    alternate,
    arguments_of,
    context,
    few_test_images,
    images,
    medians,
    objective_of,
    parser,
    table,
    threads,
    timed,
    write,
)  # fmt: skip

from lecture_vae import ImageData, TrainConfig, build_model, train

MODELS = "linear-vae", "conv-vae"
BATCHES = {64: 400, 512: 100, 4096: 25}  # the steps of each measurement
WAYS = {
    "GPU": ("cuda", "torch"),
    "one core, native": ("cpu", "native"),
    "one core, PyTorch": ("cpu", "torch"),
}
JAX = "GPU, JAX scan"
JAX_STEPS, JAX_CHUNK = 3_000, 500


def main() -> None:
    """Measures, prints and, if asked, records."""
    arguments = arguments_of(parser(__doc__, rounds=5), "gpu")
    if not torch.cuda.is_available():
        sys.exit("gpu.py measures a GPU, and torch finds no CUDA device on this machine.")
    data = few_test_images(images())
    results = context(data) | {"gpu": torch.cuda.get_device_name(), "models": {}}
    with threads(1):
        for name in MODELS:
            results["models"][name] = {
                str(batch): measure(name, batch, steps, data, arguments)
                for batch, steps in BATCHES.items()
            }
            print(report(name, results["models"][name]), flush=True)
    write(results, arguments.out)


def measure(
    name: str, batch: int, steps: int, data: ImageData, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Milliseconds per step of each way, in every round and their median."""
    config = TrainConfig(steps=steps, eval_every=steps, batch_size=batch)

    def ours(device: str, engine: str) -> float:
        model = build_model(name)

        def run() -> None:
            train(model, objective_of(name), data, config, device=device, engine=engine)
            torch.cuda.synchronize()

        return 1e3 * timed(run) / steps

    calls: dict[str, Callable[[], float]] = {
        way: partial(ours, *where) for way, where in WAYS.items()
    }
    for call in calls.values():
        call()  # what is done once in a process does not count
    found = alternate(calls, arguments.rounds)
    if batch == min(BATCHES) and find_spec("jax") and find_spec("flax"):
        found[JAX] = jax_steps(name, batch, data)
    return {"ms_per_step": found, "median_ms_per_step": medians(found)}


def jax_steps(name: str, batch: int, data: ImageData) -> list[float]:
    """Milliseconds per step of each chunk after the first, which compiles."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        import numpy as np

        file = Path(folder) / "images.npz"
        parts = {"train": data.train, "test": data.test}
        np.savez(file, **{key: part.images.flatten(1).numpy() for key, part in parts.items()})
        task = {
            "data": str(file), "steps": JAX_STEPS, "eval_every": JAX_CHUNK, "batch": batch,
            "lr": 5e-4, "seed": 0, "threads": 1, "model": name,
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, Path(__file__).parent / "peers" / "jax_scan.py", json.dumps(task)],
            env=os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode:
        sys.exit(f"jax_scan.py failed:\n{done.stderr[-2000:]}")
    times = json.loads(done.stdout.strip().splitlines()[-1])
    pairs = zip(times["chunks"][1:], times["evaluations"][1:], strict=True)
    return [1e3 * (chunk - evaluation) / JAX_CHUNK for chunk, evaluation in pairs]


def report(name: str, found: dict[str, Any]) -> str:
    """A row for each batch and way."""
    rows = []
    for batch, result in found.items():
        best = result["median_ms_per_step"]["one core, native"]
        for way, figures in result["ms_per_step"].items():
            value = median(figures)
            spread = f"{min(figures):.2f} to {max(figures):.2f}"
            rows.append([f"{batch}: {way}", f"{value:.2f}", spread, f"{value / best:.2f}"])
    return table([name, "ms per step", "range", "x one core"], rows) + "\n"


if __name__ == "__main__":
    main()
