"""Experiments of chapter 8: calibration, the affine VAE beside its closed form, and remedies."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from lecture_book.experiments.measuring import LINEAR_STEPS, SEEDS, Rows, every, measured
from lecture_vae import (
    AffineVAEOptimum,
    FittedVariance,
    FreeBits,
    ImageData,
    KLWarmUp,
    NegativeELBO,
    Objective,
    Run,
    RunSpec,
    TrainConfig,
    affine_vae_optimum,
    bits_per_dim,
    calibrated_variance,
    evaluate,
    fetch_runs,
    principal_variances,
    total_variance,
)

__all__ = ["STEP_SIZES", "affine_optimum", "calibration", "objective_of", "remedies"]

FREE = 0.5  # nats of each latent that free bits do not charge
WEIGHTS = 7.0, 14.0  # of the early death of a latent, and above the last threshold
FITTED = "fitted variance"
AFFINE_WEIGHT, AFFINE_LATENTS = 4.0, 8
# Row of the record -> step size of Adam; the last one starts where the one before it ended.
STEP_SIZES = {"usual steps": 5e-4, "large steps": 2e-3, "large, then small steps": 2e-4}


def objective_of(remedy: str, weight: float, steps: int) -> Objective:
    """The objective of a remedy; a warm start and a random start have the plain one."""
    if remedy == "KL warm-up":
        return KLWarmUp(weight, warm_up=max(1, 2 * steps // 5))
    if remedy == "free bits":
        return FreeBits(weight, free=FREE)
    return FittedVariance() if remedy == FITTED else NegativeELBO(weight)


def at_weight(run: Run, data: ImageData, weight: float) -> dict[str, Any]:
    """What :func:`measured` finds if the run is judged by S + w KL, whatever it was trained on."""
    return measured(replace(run, spec=replace(run.spec, objective=NegativeELBO(weight))), data)


def remedies(data: ImageData, steps: int = LINEAR_STEPS, seeds: Sequence[int] = SEEDS) -> Rows:
    """The linear VAE with two latents, with each remedy and each seed, at both weights.

    A warm start begins with the weights of w = 1 and the same seed. A fitted variance has no
    weight, so it is one run for both. Each row is judged by the plain loss S + w KL. It has
    ``remedy`` and, for a warm start, ``start_from``, the key of the run that it began with.
    """

    def spec(remedy: str, weight: float, seed: int, start_from: str | None = None) -> RunSpec:
        config = TrainConfig(steps=steps, eval_every=every(steps), seed=seed)
        objective = objective_of(remedy, weight, steps)
        return RunSpec("linear-vae", objective, config, start_from=start_from)

    begun = fetch_runs([spec("random start", 1.0, seed) for seed in seeds], data)
    asked: list[tuple[str, float, int, str | None]] = []
    for weight in WEIGHTS:
        for remedy in ("random start", "KL warm-up", "free bits"):
            asked += [(remedy, weight, seed, None) for seed in seeds]
        asked += [("warm start", weight, run.spec.config.seed, run.key) for run in begun]
        asked += [(FITTED, weight, seed, None) for seed in seeds]
    runs = fetch_runs([spec(*each) for each in asked], data)
    return [
        {
            "control": f"{remedy} w{weight:g}",
            "remedy": remedy,
            "start_from": start,
            **at_weight(run, data, weight),
        }
        for (remedy, weight, _, start), run in zip(asked, runs, strict=True)
    ]


def calibration(data: ImageData, steps: int = LINEAR_STEPS, seeds: Sequence[int] = SEEDS) -> Rows:
    """The linear VAE with two latents, at w = 1 and with a fitted variance.

    Each row has ``fitted_weight``, 2 S / D on the training images, and bits per pixel of the test
    images: ``bits`` at the variance w / 2, and ``bits_calibrated`` at half of the fitted weight.
    ``kl_weight`` is 1, or the fitted weight.
    """
    rows = []
    for remedy in ("w = 1", FITTED):
        configs = [TrainConfig(steps=steps, eval_every=every(steps), seed=seed) for seed in seeds]
        specs = [RunSpec("linear-vae", objective_of(remedy, 1.0, steps), each) for each in configs]
        for run in fetch_runs(specs, data):
            terms = evaluate(run.model, NegativeELBO(1.0), data.train.images).terms
            variance = calibrated_variance(terms["squared_error"], data.train.images[0].numel())
            weight = 2 * variance if remedy == FITTED else 1.0
            row = at_weight(run, data, weight)
            rows.append(
                {
                    "control": "linear VAE" if remedy == "w = 1" else FITTED,
                    **row,
                    "fitted_weight": 2 * variance,
                    "bits": bits_per_dim(elbo(row, weight / 2)),
                    "bits_calibrated": bits_per_dim(elbo(row, variance)),
                }
            )
    return rows


def elbo(row: dict[str, Any], variance: float, pixels: int = 1024) -> float:
    """The ELBO of a Gaussian decoder of this variance, in nats per image: eq-def-col-nats."""
    constant = pixels / 2 * torch.log(torch.tensor(2 * torch.pi * variance, dtype=torch.float64))
    return -float(row["squared_error"] / (2 * variance) + row["kl"] + constant)


def affine_optimum(
    data: ImageData, steps: int = LINEAR_STEPS, seeds: Sequence[int] = SEEDS
) -> Rows:
    """The affine VAE with 8 latents at w = 4: what training reaches, beside the closed form.

    It is trained with the step size of the lecture, with larger steps, and with small ones that
    start where the larger ones ended. ``model_variances`` are the squared singular values of the
    decoder's matrix, which no rotation changes, plus w / 2: the variances that the model gives to
    its directions. ``worst_percent`` is by how much they miss those of the data, at most, where
    these exceed 1.2 w / 2, and ``mixed`` which share of such a direction, at most, belongs to other
    latents than the one that has most of it. ``seventh`` and ``best_seventh`` are the
    squared slope of direction 7, and ``train_`` and ``best_`` the terms of the training images and
    those of the closed form.
    """

    def runs(step_size: float, starts: Sequence[str | None]) -> list[Run]:
        objective, keywords = NegativeELBO(AFFINE_WEIGHT), {"latent_dim": AFFINE_LATENTS}
        specs = []
        for seed, start in zip(seeds, starts, strict=True):
            config = TrainConfig(steps=steps, lr=step_size, eval_every=every(steps), seed=seed)
            specs.append(RunSpec("affine-vae", objective, config, keywords, start))
        return fetch_runs(specs, data)

    variances = principal_variances(data.train.images)[:AFFINE_LATENTS]
    best = affine_vae_optimum(AFFINE_WEIGHT, variances, total_variance(data.train.images))
    usual, large, small = STEP_SIZES.values()
    at_random = [None] * len(seeds)
    found = [runs(usual, at_random), runs(large, at_random)]
    found.append(runs(small, [run.key for run in found[1]]))
    return [
        {
            "control": name,
            "start_from": run.spec.start_from,
            **beside_optimum(run, data, variances, best),
        }
        for name, group in zip(STEP_SIZES, found, strict=True)
        for run in group
    ]


def beside_optimum(
    run: Run, data: ImageData, variances: torch.Tensor, best: AffineVAEOptimum
) -> dict[str, Any]:
    """What :func:`affine_optimum` says about a run."""
    noise = AFFINE_WEIGHT / 2
    terms = evaluate(run.model, run.spec.objective, data.train.images).terms
    matrix = run.model.state_dict()["decoder.0.weight"].double()
    _, singular_values, latents = torch.linalg.svd(matrix, full_matrices=False)
    slopes = singular_values.square()
    misses = ((slopes + noise) / variances - 1).abs()
    others = 1 - latents.square().amax(dim=1)
    clear = variances > 1.2 * noise
    return {
        **measured(run, data),
        "model_variances": (slopes + noise).tolist(),
        "worst_percent": 100 * misses[clear].max().item(),
        "mixed": others[clear].max().item(),
        "seventh": slopes[6].item(),
        "best_seventh": max(variances[6].item() - noise, 0.0),
        "train_squared_error": terms["squared_error"],
        "train_kl": terms["kl"],
        "best_squared_error": best.squared_error,
        "best_kl": best.kl.sum().item(),
    }
