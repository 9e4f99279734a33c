"""Experiments of chapters 5 and 7: the death of a latent, the price of order, and locality."""

from collections.abc import Iterable, Sequence
from typing import Any

from lecture_book.controls import CONTROL
from lecture_book.experiments.measuring import LINEAR_STEPS, SEEDS, Rows, every, measured
from lecture_vae import ImageData, NegativeELBO, RunSpec, SquaredError, TrainConfig, fetch_runs

__all__ = ["CONTROLS", "ON_MNIST", "early_death", "locality", "price_of_order"]

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


def early_death(data: ImageData, steps: int = LINEAR_STEPS, seeds: Sequence[int] = SEEDS) -> Rows:
    """Chapter 5: the linear VAE at w = 6; at w = 7 with all seeds, and from the weights of w = 6.

    Each row has ``start``, "random" or "w6" (the trained weights of w = 6), and ``loss_at_7``,
    which is S + 7 KL.
    """

    def spec(weight: float, seed: int, start_from: str | None = None) -> RunSpec:
        config = TrainConfig(steps=steps, eval_every=every(steps), seed=seed)
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
        RunSpec(model, objective, TrainConfig(steps=steps, eval_every=every(steps), seed=seed))
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
        config = TrainConfig(steps=steps, eval_every=every(steps), seed=seed)
        specs.append(RunSpec(model, NegativeELBO(KL_WEIGHT), config, keywords))
    runs = fetch_runs(specs, data)
    return [
        {"control": name, **measured(run, data)} for (name, _), run in zip(asked, runs, strict=True)
    ]
