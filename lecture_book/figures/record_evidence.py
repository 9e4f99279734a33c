"""The file of chapter 9's live figure: evidence and posteriors of test images under two VAEs.

The images are scikit-learn's digits, which may be shown, and the VAEs those that the chapter's
cells train on them at the quick budget. `python -m lecture_book.figures.record_runs` writes this
file with the others.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lecture_vae import (
    GaussianPixels,
    ImageData,
    LatentGrid,
    NegativeELBO,
    Run,
    RunSpec,
    TrainConfig,
    fetch_runs,
    iwae_bound,
    log_evidence,
    log_standard_normal,
    true_posterior,
)
from lecture_vae.live import LiveFile, write_files
from lecture_vae.pairwise import log_prob_pairs

__all__ = ["Window", "bounds_of", "export_evidence", "log_ratios", "posterior_window", "record"]

WEIGHTS = 1.0, 0.06  # as in the chapter: usual, and sharp
CONFIG = TrainConfig(steps=3_000, eval_every=100)  # after 25,000 the encoder overfits
IMAGES = 40  # the first ones of the test set
SIZES = tuple(2**k for k in range(9))  # K, from the ELBO to 256 samples
DRAWS = 16_384  # of q(z | x) for each image: 64 groups of the largest K
GRID, COARSE = LatentGrid(768), LatentGrid(256)  # for the evidence; to find a posterior
SIDE = 44  # points along an edge of a posterior's own window
TAIL = 5e-4  # of the posterior's mass beyond each edge of its window
ROUNDS = 6  # of fitting the window; COARSE may have missed where the tails of a sharp one begin
NATS = 0.04  # a step of a stored log-density


class Window(NamedTuple):
    """log p(z | x) of one image on a grid of its own, which holds nearly all of its mass."""

    start: tuple[float, float]  # z of the first point
    spacing: tuple[float, float]
    below_peak: Float[Tensor, "SIDE SIDE"]  # nats below the largest value; row: z2, column: z1


def record(data: ImageData, folder: Path) -> list[Path]:
    """Train the two VAEs, where they are not stored, and write `evidence.safetensors`."""
    specs = [RunSpec("linear-vae", NegativeELBO(weight), CONFIG) for weight in WEIGHTS]
    return export_evidence(fetch_runs(specs, data), data, folder)


def export_evidence(
    runs: Sequence[Run], data: ImageData, folder: Path, images: int = IMAGES, draws: int = DRAWS
) -> list[Path]:
    """Write `evidence.safetensors`: what VAEs make of the first test images.

    `images` [N, 32, 32], `labels` [N]. For each of the M runs and each image: `mu` and `sigma`
    of q(z | x) [M, N, 2]; `decoded` [M, N, 32, 32], the decoder's image at mu; `log_evidence` and
    its estimated `error` [M, N]; `bounds` [M, N, K], of as many samples as `sizes` says, the first
    being the ELBO; `starts` and `spacings` [M, N, 2] of the posterior's window, and
    `posteriors` [M, N, SIDE, SIDE], its values in steps of `nats` below the largest. Gray levels
    are from 0 to 255.
    """
    x = data.test.images[:images]
    found = [_measured(run, x, draws) for run in runs]
    arrays = {name: np.stack([each[name] for each in found]) for name in found[0]}
    metadata = {
        "runs": [
            {
                "key": run.key,
                "kl_weight": _kl_weight(run),
                "steps": run.spec.config.steps,
                "seed": run.spec.config.seed,
                "data": run.data,
                "torch": run.versions["torch"],
            }
            for run in runs
        ],
        "sizes": SIZES,
        "draws": draws,
        "nats": NATS,
    }
    given = {"images": _gray(x), "labels": data.test.labels[:images].numpy().astype(np.uint8)}
    return write_files(folder, {"evidence": LiveFile(metadata, given | arrays)})


def log_ratios(
    model: Any, x: Float[Tensor, "1 32 32"], likelihood: GaussianPixels, draws: int
) -> Float[Tensor, " draws"]:
    """log p(x, z) - log q(z | x) of one image, for as many z from q(z | x).

    The bound of one sample is this ratio, and a batch that repeats the image draws a z for each.
    """
    return iwae_bound(model, x.expand(draws, -1, -1, -1), samples=1, likelihood=likelihood)


def bounds_of(ratios: Float[Tensor, " draws"]) -> Float[Tensor, " sizes"]:
    """An estimate of each bound of SIZES: the mean over groups of K of the same draws.

    Each group's log of the mean ratio has the bound as its expectation, so that the estimate is
    unbiased; and since larger groups are joined from smaller ones, it never falls with K: equation
    eq-ev-merge of chapter 9.
    """
    ratios = ratios.double()
    groups = [ratios.view(-1, size).logsumexp(dim=1) - math.log(size) for size in SIZES]
    return torch.stack([each.mean() for each in groups])


def posterior_window(
    model: Any,
    x: Float[Tensor, "1 32 32"],
    likelihood: GaussianPixels,
    log_posterior: Float[Tensor, " M"],
) -> Window:
    """The posterior of one image on a grid around its mass; `log_posterior` is that on COARSE."""
    mass = log_posterior.softmax(dim=0).view(COARSE.points, COARSE.points).T  # row: z2
    axes = [COARSE.axis(), COARSE.axis()]
    for _ in range(ROUNDS):
        ends = [_ends(axis, mass.sum(dim=k)) for k, axis in enumerate(axes)]
        axes = [torch.linspace(*end, SIDE, dtype=torch.double) for end in ends]
        z = torch.stack(torch.meshgrid(*axes, indexing="xy"), dim=-1).view(-1, 2).float()
        with torch.inference_mode():
            log_joint = log_prob_pairs(likelihood, x[None], likelihood.parameters(model, z))[0]
            log_joint += log_standard_normal(z)
        mass = log_joint.double().softmax(dim=0).view(SIDE, SIDE)
    (low1, _), (low2, _) = ends
    spacing = _spacing(axes[0]), _spacing(axes[1])
    return Window((low1, low2), spacing, (log_joint.max() - log_joint).view(SIDE, SIDE))


def _ends(axis: Float[Tensor, " P"], mass: Float[Tensor, " P"]) -> tuple[float, float]:
    """Where the tails of a mass along an axis begin, two points further out."""
    seen = mass.cumsum(dim=0)
    within = axis[(seen > TAIL) & (seen - mass < 1 - TAIL)]
    margin = 2 * _spacing(axis)
    return float(within[0]) - margin, float(within[-1]) + margin


def _spacing(axis: Float[Tensor, " P"]) -> float:
    return float(axis[1] - axis[0])


def _measured(run: Run, x: Float[Tensor, "N 1 32 32"], draws: int) -> dict[str, np.ndarray]:
    """The arrays of one run, see :func:`export_evidence`."""
    model: Any = run.model.eval()
    likelihood = GaussianPixels(variance=_kl_weight(run) / 2)
    exact = log_evidence(model, x, likelihood=likelihood, grid=GRID)
    log_posterior = true_posterior(model, x, likelihood=likelihood, grid=COARSE)
    windows = [
        posterior_window(model, image, likelihood, each)
        for image, each in zip(x, log_posterior, strict=True)
    ]
    with torch.inference_mode():
        q = model.encode(x)
        decoded = model.decode(q.mu)
    bounds = torch.stack([bounds_of(log_ratios(model, each, likelihood, draws)) for each in x])
    below = torch.stack([window.below_peak for window in windows])
    return {
        "mu": q.mu.numpy(),
        "sigma": (0.5 * q.log_var).exp().numpy(),
        "decoded": _gray(decoded),
        "log_evidence": exact.log_prob.numpy().astype(np.float32),
        "error": exact.error.numpy().astype(np.float32),
        "bounds": bounds.numpy().astype(np.float32),
        "starts": np.array([window.start for window in windows], np.float32),
        "spacings": np.array([window.spacing for window in windows], np.float32),
        "posteriors": (below / NATS).round().clamp(max=255).numpy().astype(np.uint8),
    }


def _gray(images: Float[Tensor, "N 1 32 32"]) -> np.ndarray:
    return (255 * images[:, 0]).round().numpy().astype(np.uint8)


def _kl_weight(run: Run) -> float:
    objective = run.spec.objective
    assert isinstance(objective, NegativeELBO)
    return objective.kl_weight
