"""Experiments: what decides the claims of chapters 5 and 7 about how trained networks behave.

`LECTURE_VAE_DATA=... python -m lecture_book.experiments` trains what is not in the store (about ten
minutes on two cores) and writes `results/experiments.json`; names of parts as arguments record
those parts only. The budgets are part of the experiments, LECTURE_VAE_BUDGET is not read.
"""

import argparse
import json
import platform
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lecture_book.controls import CONTROL
from lecture_book.project import root_or_exit
from lecture_vae import (
    ImageData,
    NegativeELBO,
    Run,
    RunSpec,
    SquaredError,
    TrainConfig,
    active_units,
    evaluate,
    fetch_runs,
    kl_per_latent,
    load_images,
)
from lecture_vae.cluster import cores
from lecture_vae.storage import write_atomically

__all__ = ["PARTS", "early_death", "locality", "measured", "price_of_order", "write_part"]

RECORD = Path("results") / "experiments.json"
SEEDS = 0, 1, 2
LINEAR_STEPS, CONV_STEPS, DIGITS_STEPS = 25_000, 30_000, 3_000  # the first two as the original
Rows = list[dict[str, Any]]

KL_WEIGHT = 0.8  # of the original's ConvVAE
# What is said of the network in the table -> model and keywords.
CONTROLS: dict[str, tuple[str, dict[str, Any]]] = {
    "ConvVAE": ("conv-vae", {}),
    "1x1 convolution": (CONTROL, {"layer": "1x1"}),
    "3x3 convolution": (CONTROL, {"layer": "3x3"}),
    "7x7 convolution": (CONTROL, {"layer": "7x7"}),
    "own weights": (CONTROL, {"layer": "own weights"}),
    "fully connected, decoder": (CONTROL, {"layer": "fully connected"}),
    "fully connected, heads": (CONTROL, {"heads": "fully connected"}),
    "fully connected, both": (CONTROL, {"heads": "fully connected", "layer": "fully connected"}),
    "wide encoder": (CONTROL, {"encoder_width": 4}),
    "wide decoder": (CONTROL, {"decoder_width": 4}),
    "no ReLU before the heads": (CONTROL, {"last_relu": False}),
    "linear VAE, 2 latents": ("linear-vae", {}),
    "linear VAE, 64 latents": ("linear-vae", {"latent_dim": 64}),
}
ON_MNIST = "ConvVAE", "fully connected, both", "linear VAE, 2 latents"


def measured(run: Run, data: ImageData) -> dict[str, Any]:
    """The terms of a run on the test set, and what identifies it.

    Returns:
        ``squared_error`` S and, for a VAE, ``kl`` in nats, ``kl_shares`` (of each latent, or of
        each channel of a cube), the numbers of ``active`` latents and ``collapsed_channels``, and
        ``loss`` S + w KL in loss units, with one sample of z for each image;
        ``squared_error_at_mean`` is S at z = mu.
    """
    objective, images = run.spec.objective, data.test.images
    sampled = evaluate(run.model, objective, images)
    at_mean = evaluate(run.model, objective, images, seed=None)
    row: dict[str, Any] = {
        "seed": run.spec.config.seed,
        "parameters": sum(weight.numel() for weight in run.model.parameters()),
        "squared_error": sampled.terms["squared_error"],
        "squared_error_at_mean": at_mean.terms["squared_error"],
        "loss": sampled.loss,
        "key": run.key,
        "engine": run.engine,
    }
    if isinstance(objective, NegativeELBO):
        with torch.inference_mode():
            q: Any = run.model.encode(images)
        channels = q.mu.shape[1]
        active = active_units(q.mu).view(channels, -1)
        row |= {"kl_weight": objective.kl_weight, "kl": sampled.terms["kl"]}
        row |= {"active": int(active.sum())}
        row |= {"collapsed_channels": channels - int(active.any(dim=1).sum())}
        if channels < 64:  # as many single shares would say little
            shares = kl_per_latent(q.mu, q.log_var).view(channels, -1).sum(dim=1)
            row["kl_shares"] = sorted(shares.tolist(), reverse=True)
    return row


def early_death(data: ImageData, steps: int = LINEAR_STEPS, seeds: Sequence[int] = SEEDS) -> Rows:
    """Chapter 5: the linear VAE at w = 6; at w = 7 with all seeds, and from the weights of w = 6.

    Each row has ``start``, "random" or "w6" (the trained weights of w = 6), and ``loss_at_7``,
    which is S + 7 KL.
    """

    def spec(weight: float, seed: int, start_from: str | None = None) -> RunSpec:
        config = TrainConfig(steps=steps, eval_every=_every(steps), seed=seed)
        return RunSpec("linear-vae", NegativeELBO(weight), config, start_from=start_from)

    cold = fetch_runs([spec(6, seeds[0]), *(spec(7, seed) for seed in seeds)], data)
    (warm,) = fetch_runs([spec(7, seeds[0], cold[0].key)], data)
    rows = []
    for start, run in [*(("random", run) for run in cold), ("w6", warm)]:
        row = measured(run, data)
        rows.append({"start": start, **row, "loss_at_7": row["squared_error"] + 7 * row["kl"]})
    return rows


def price_of_order(
    data: ImageData, steps: int = LINEAR_STEPS, seeds: Sequence[int] = SEEDS
) -> Rows:
    """Chapter 5: the squared errors of the linear autoencoder and of the linear VAE with w = 1."""
    specs = [
        RunSpec(model, objective, TrainConfig(steps=steps, eval_every=_every(steps), seed=seed))
        for model, objective in (("linear-ae", SquaredError()), ("linear-vae", NegativeELBO(1)))
        for seed in seeds
    ]
    runs = fetch_runs(specs, data)
    return [{"model": run.spec.model, **measured(run, data)} for run in runs]


def locality(
    data: ImageData, steps: int, seeds: Sequence[int], names: Iterable[str] = tuple(CONTROLS)
) -> Rows:
    """Chapter 7: the ConvVAE and its controls, all with w = 0.8."""
    asked = [(name, seed) for name in names for seed in seeds]
    specs = []
    for name, seed in asked:
        model, keywords = CONTROLS[name]
        config = TrainConfig(steps=steps, eval_every=_every(steps), seed=seed)
        specs.append(RunSpec(model, NegativeELBO(KL_WEIGHT), config, keywords))
    runs = fetch_runs(specs, data)
    return [
        {"control": name, **measured(run, data)} for (name, _), run in zip(asked, runs, strict=True)
    ]


def _every(steps: int) -> int:
    return 100 if steps == DIGITS_STEPS else 250  # as lecture_config, so that runs are shared


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
        data = load_images("digits") if source == "digits" else load_images()
        if data.name != source:
            sys.exit(f"{name} needs MNIST, got {data.name}. Set LECTURE_VAE_DATA.")
        rows = experiment(data, steps, seeds)
        print(name, *map(line, rows), sep="\n", flush=True)
        write_part(name, rows, data, path)


if __name__ == "__main__":
    main()
