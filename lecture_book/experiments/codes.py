"""Experiments of chapter 10: a VQ-VAE, a prior of its codes, and the ConvVAE at several rates."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lecture_book.experiments.measuring import (
    CONV_STEPS,
    SEEDS,
    Rows,
    every,
    measured,
)
from lecture_vae import (
    ImageData,
    NegativeELBO,
    QuantizedError,
    Run,
    RunSpec,
    TrainConfig,
    fetch_runs,
    fit_code_prior,
    perplexity,
)

__all__ = [
    "RATE_WEIGHTS",
    "SHORT_STEPS",
    "code_rates",
    "code_row",
    "codes",
    "codes_of",
    "independent_log_shares",
]

SHORT_STEPS = 3_000  # of the chapter's own cells, at every budget
PRIOR_STEPS = 4_000
RATE_WEIGHTS = 0.8, 1.4, 2.0  # of the ConvVAE


def codes(
    data: ImageData,
    steps: int = SHORT_STEPS,
    seeds: Sequence[int] = SEEDS,
    prior_steps: int = PRIOR_STEPS,
) -> Rows:
    """Chapter 10: the VQ-VAE with every seed, and what its codes cost under three priors."""
    specs = [
        RunSpec(
            "vq-vae", QuantizedError(), TrainConfig(steps=steps, eval_every=every(steps), seed=s)
        )
        for s in seeds
    ]
    return [code_row(run, data, prior_steps) for run in fetch_runs(specs, data)]


def code_row(run: Run, data: ImageData, prior_steps: int = PRIOR_STEPS) -> dict[str, Any]:
    """What is measured of a VQ-VAE, beside its terms.

    Returns:
        ``perplexity`` and ``dead`` code vectors on the test set; the mean of -log2 p(c) over the
        test images, ``bits``, under an autoregressive prior (``nats``: the same in nats), under
        independent positions (``bits_independent``), both fitted to the codes of the training
        images, and of the uniform prior (``bits_uniform``); ``bits_training``, that of the
        autoregressive prior on the training images; and ``alone``, the share of the test images
        whose grid no other test image has.
    """
    training = codes_of(run, data.train.images)
    test, entries = run.code.long(), len(run.model.codebook)  # type: ignore[attr-defined]
    prior = fit_code_prior(
        training, entries, steps=prior_steps, hidden=32, seed=run.spec.config.seed
    )
    with torch.inference_mode():
        nats = -prior.log_prob(test).mean().item()
        of_training = -torch.cat([prior.log_prob(c) for c in training.split(1_000)]).mean().item()
    _, place, times = test.unique(dim=0, return_inverse=True, return_counts=True)
    bit = math.log(2)
    return {
        "control": f"VQ-VAE, {run.spec.config.steps:,} steps",
        **measured(run, data),
        "entries": entries,
        "perplexity": perplexity(test),
        "dead": entries - len(test.unique()),
        "nats": nats,
        "bits": nats / bit,
        "bits_training": of_training / bit,
        "bits_independent": -independent_log_prob(training, test, entries).mean().item() / bit,
        "bits_uniform": test.shape[1] * math.log2(entries),
        "alone": (times[place] == 1).double().mean().item(),
    }


@torch.inference_mode()
def codes_of(run: Run, images: Float[Tensor, "N 1 32 32"]) -> Int[Tensor, "N d"]:
    """The codes of images, row by row of the grid."""
    model: Any = run.model
    return torch.cat([model.encode(part).code.flatten(1) for part in images.split(1_000)])


def independent_log_shares(codes: Int[Tensor, "N d"], entries: int) -> Float[Tensor, "d M"]:
    """Log-probabilities of the codes if positions were independent, in nats.

    Each code has been seen once more than it was, so that none has the probability 0.
    """
    counts = torch.stack([torch.bincount(each, minlength=entries) + 1 for each in codes.T])
    return (counts / counts.sum(dim=1, keepdim=True)).log()


def independent_log_prob(
    training: Int[Tensor, "T d"], test: Int[Tensor, "N d"], entries: int
) -> Float[Tensor, " N"]:
    """log p(c) of each row of ``test`` if positions were independent, in nats."""
    log_shares = independent_log_shares(training, entries)
    return log_shares[torch.arange(test.shape[1]), test].sum(dim=1)


def code_rates(
    data: ImageData,
    steps: int = CONV_STEPS,
    seeds: Sequence[int] = SEEDS,
    weights: Sequence[float] = RATE_WEIGHTS,
) -> Rows:
    """Chapter 10: the ConvVAE of chapter 7 at several KL weights; ``bits`` is its KL in bits."""
    specs = [
        RunSpec(
            "conv-vae",
            NegativeELBO(weight),
            TrainConfig(steps=steps, eval_every=every(steps), seed=seed),
        )
        for weight in weights
        for seed in seeds
    ]
    rows = [measured(run, data) for run in fetch_runs(specs, data)]
    return [
        {
            "control": f"ConvVAE w{row['kl_weight']:g}, {steps:,} steps",
            **row,
            "bits": row["kl"] / math.log(2),
        }
        for row in rows
    ]
