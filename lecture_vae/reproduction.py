"""Reproduction: the original lecture's five runs, and ours in its units.

The original (Neubauer, "Variational AutoEncoders") reports S / D for an autoencoder, the squared
error per pixel, and S + w KL for a VAE, in loss units. These cannot be compared with each other, so
S and KL at z = mu are reported as well.
"""

import json
import os
import platform
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lecture_vae.budgets import lecture_config
from lecture_vae.data import ImageData
from lecture_vae.diagnostics import total_variance
from lecture_vae.evaluation import evaluate
from lecture_vae.likelihoods import squared_error
from lecture_vae.losses import OBJECTIVES, NegativeELBO, Objective, SquaredError
from lecture_vae.models import PIXELS
from lecture_vae.recipe import RunSpec
from lecture_vae.runs import fetch_runs
from lecture_vae.storage import write_atomically
from lecture_vae.store import Run

__all__ = ["LECTURE", "report", "reproduce", "table", "write_results"]

SPREAD_SEEDS = (0, 1, 2)  # of the linear models, which are quick to train


@dataclass(frozen=True)
class OriginalRun:
    """One of the original lecture's runs, with the final losses that it printed."""

    title: str
    model: str
    objective: Objective
    train_loss: float
    test_loss: float
    seeds: tuple[int, ...] = (0,)  # of our runs


LECTURE = {
    "linear_ae": OriginalRun(
        "LinearAE",
        "linear-ae",
        SquaredError(),
        0.029244251549243927,
        0.029575829162814055,
        SPREAD_SEEDS,
    ),
    "linear_vae_1": OriginalRun(
        "LinearVAE, kl_weight 1",
        "linear-vae",
        NegativeELBO(1),
        36.65879724884033,
        36.869628881952565,
        SPREAD_SEEDS,
    ),
    "linear_vae_100": OriginalRun(
        "LinearVAE, kl_weight 100",
        "linear-vae",
        NegativeELBO(100),
        57.90670295715332,
        58.16395097477421,
        SPREAD_SEEDS,
    ),
    "conv_ae": OriginalRun(
        "ConvAE", "conv-ae", SquaredError(), 0.004188918372616172, 0.004006271376600786
    ),
    "conv_vae_0_8": OriginalRun(
        "ConvVAE, kl_weight 0.8",
        "conv-vae",
        NegativeELBO(0.8),
        44.066411651611325,
        43.66845537902443,
    ),
}


def report(run: Run, data: ImageData) -> dict[str, Any]:
    """The final results of a run of any model and objective, as a dictionary for JSON.

    Returns:
        ``train_loss`` and ``test_loss``: the objective's loss, divided by D for ``SquaredError`` as
        in the original; ``train_loss`` is the mean over the steps since the last evaluation but
        one. ``test_reconstruction``: S in squared gray levels, at z = mu for a VAE. ``test_kl``: KL
        in nats, None for an autoencoder. ``seconds`` of training, and what identifies the run.

    Examples:
        >>> data, config = load_images("digits"), TrainConfig(steps=2, eval_every=1)
        >>> run = fetch_run("linear-ae", SquaredError(), data, config, store=None)
        >>> results = report(run, data)
        >>> np.isclose(results["test_reconstruction"], 1024 * results["test_loss"]).item()
        True
    """
    last, objective = run.history.rows[-1], run.spec.objective
    images = data.test.images
    try:
        noiseless = evaluate(run.model, NegativeELBO(), images, seed=None).terms
    except TypeError:  # there is no q(z | x)
        noiseless = evaluate(run.model, SquaredError(), images, seed=None).terms
    unit = PIXELS if isinstance(objective, SquaredError) else 1
    return {
        "model": run.spec.model,
        "steps": run.spec.config.steps,
        "kl_weight": getattr(objective, "kl_weight", None),
        "seed": run.spec.config.seed,
        "data": run.data,
        "train_loss": last["train_loss"] / unit,
        "test_loss": last["test_loss"] / unit,
        "test_reconstruction": noiseless["squared_error"],
        "test_kl": last.get("test_kl", noiseless.get("kl")),
        "seconds": run.seconds,
        "objective": OBJECTIVES.name_of(objective) or type(objective).__name__,
        "engine": run.engine,
        "key": run.key,
    }


def reproduce(data: ImageData, *, device: str = "auto", engine: str = "auto") -> dict[str, Any]:
    """Train or load the lecture's five runs at the present budget, the linear ones with 3 seeds.

    Returns:
        What :func:`write_results` saves: under ``runs``, for each key of :data:`LECTURE`, ``ours``
        (seed 0), ``original``, and ``spread`` over several seeds; data, versions and machine.

    Raises:
        Exception: As :func:`~lecture_vae.runs.fetch_runs`.
    """
    specs = {
        (key, seed): RunSpec(
            original.model, original.objective, lecture_config(original.model, seed)
        )
        for key, original in LECTURE.items()
        for seed in original.seeds
    }
    # The convolutional models, last in the list, take longest: start with them.
    order = list(reversed(specs))
    fetched = fetch_runs([specs[name] for name in order], data, device=device, engine=engine)
    runs = dict(zip(order, fetched, strict=True))
    reports = {name: report(runs[name], data) for name in specs}
    return {
        "runs": {
            key: {"key": runs[key, 0].key, **_beside_original(key, reports)} for key in LECTURE
        },
        "data": {
            "name": data.name,
            "fingerprint": data.fingerprint,
            "total_variance": total_variance(data.train.images),
            "mean_image_error": _mean_image_error(data),
        },
        "core_seconds": sum(r["seconds"] for r in reports.values()),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {runs[order[0]].device}",
        "engine": runs[order[0]].engine,
    }


def table(results: dict[str, Any]) -> str:
    """A table of our final losses and the original's, as text.

    Args:
        results: What :func:`reproduce` returned.
    """
    lines = [f"{'':24} {'original':>10} {'ours':>10} {'':>8} {'squared error':>14} {'KL':>8}"]
    for key, original in LECTURE.items():
        ours = results["runs"][key]["ours"]
        change = ours["test_loss"] / original.test_loss - 1
        kl = "-" if ours["kl"] is None else f"{ours['kl']:.3f}"
        lines.append(
            f"{original.title:24} {original.test_loss:10.5g} {ours['test_loss']:10.5g} "
            f"{change:+8.1%} {ours['squared_error']:14.4g} {kl:>8}"
        )
    return "\n".join(lines)


def write_results(results: dict[str, Any], folder: Path) -> Path:
    """Save the results as ``reproduction.json`` in ``folder``, atomically; return its path.

    Raises:
        OSError: If the file cannot be written.

    Examples:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     write_results({"runs": {}}, Path(folder)).name
        'reproduction.json'
    """
    path = folder / "reproduction.json"
    write_atomically(path, lambda file: file.write_text(json.dumps(results, indent=2) + "\n"))
    return path


def _beside_original(key: str, reports: dict[tuple[str, int], dict[str, Any]]) -> dict[str, Any]:
    ours = reports[key, 0]
    entry: dict[str, Any] = {
        "title": LECTURE[key].title,
        "ours": {
            "train_loss": ours["train_loss"],
            "test_loss": ours["test_loss"],
            "squared_error": ours["test_reconstruction"],
            "kl": ours["test_kl"],
            "steps": ours["steps"],
            "seconds": ours["seconds"],
        },
        "original": {"train_loss": LECTURE[key].train_loss, "test_loss": LECTURE[key].test_loss},
    }
    losses = [r["test_loss"] for (name, _), r in sorted(reports.items()) if name == key]
    if len(losses) > 1:
        entry["spread"] = {
            "seeds": list(SPREAD_SEEDS),
            "test_losses": losses,
            "mean": statistics.mean(losses),
            "sd": statistics.stdev(losses),
        }
    return entry


def _mean_image_error(data: ImageData) -> float:
    """S on the test set if every reconstruction is the mean training image."""
    mean = data.train.images.mean(dim=0, keepdim=True).expand_as(data.test.images)
    return squared_error(data.test.images, mean).mean().item()
