"""Experiments of chapter 9: exact evidence, bounds, gaps and the aggregate posterior."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Normal

from lecture_book.experiments.measuring import LINEAR_STEPS, SEEDS, Rows, every, measured
from lecture_vae import (
    GaussianPixels,
    ImageData,
    LatentGrid,
    NegativeELBO,
    Run,
    RunSpec,
    TrainConfig,
    bits_per_dim,
    calibrated_variance,
    elbo,
    fetch_runs,
    iwae_bound,
    load_images,
    log_evidence,
    squared_error,
    true_posterior,
)

__all__ = ["WEIGHTS", "aggregate_parts", "evidence", "gap_parts", "kinds_of_images"]

WEIGHTS = 1.0, 0.06
TEST_IMAGES, GAP_IMAGES, OTHER_IMAGES = 500, 64, 100  # the first ones, as in the chapter
POINTS, FINE_POINTS = 256, 3_072  # along an axis; the latter for the aggregate posterior
EMPTY = 0.1  # a hole is where the aggregate's density is below this share of the prior's


def evidence(data: ImageData, steps: int = LINEAR_STEPS, seeds: Sequence[int] = SEEDS) -> Rows:
    """Chapter 9: what the linear VAE's evidence, bounds and aggregate posterior are.

    Each row has the terms of ``measured`` and, in nats and as means over the first 500 test
    images, ``log_evidence``, ``elbo`` and ``iwae_64``, the estimated ``error`` and largest ``edge``
    of the evidence, ``approximation_gap`` and ``amortization_gap``, ``information`` and ``misfit``,
    ``hole_share``, ``hole_used`` and ``hole_price``; ``bits`` of the trained variance and
    ``bits_fitted`` of ``variance_fitted``; and ``others``, the mean log p(x) of other images under
    the latter, with the share of them that is above the median test image.
    """
    specs = [
        RunSpec(
            "linear-vae",
            NegativeELBO(weight),
            TrainConfig(steps=steps, eval_every=every(steps), seed=seed),
        )
        for weight in WEIGHTS
        for seed in seeds
    ]
    return [{**measured(run, data), **evidence_of(run, data)} for run in fetch_runs(specs, data)]


def evidence_of(run: Run, data: ImageData) -> dict[str, Any]:
    """The measurements of one run, see :func:`evidence`."""
    model: Any = run.model
    x = data.test.images[:TEST_IMAGES]
    objective = run.spec.objective
    assert isinstance(objective, NegativeELBO)
    pixels = GaussianPixels(variance=objective.kl_weight / 2)
    noisy = dequantized(x)
    exact = log_evidence(model, torch.cat([x, noisy]), likelihood=pixels)
    log_p, log_p_noisy = exact.log_prob.split(len(x))
    with torch.inference_mode():
        q = model.encode(x)
    fitted = GaussianPixels(variance=calibrated_variance(sampled_error(model, noisy)))
    fitted_evidence = log_evidence(model, noisy, likelihood=fitted).log_prob
    approximation, amortization = gap_parts(model, x[:GAP_IMAGES], pixels)
    parts = aggregate_parts(q)
    row = {
        "log_evidence": log_p.mean().item(),
        "error": exact.error.mean().item(),
        "edge": exact.edge.max().item(),
        "elbo": elbo(model, x, likelihood=pixels, samples=16).mean().item(),
        "iwae_64": iwae_bound(model, x, likelihood=pixels, samples=64).mean().item(),
        "approximation_gap": approximation.mean().item(),
        "amortization_gap": amortization.mean().item(),
        "information": q.kl().double().mean().item() - parts["misfit"],
        "bits": bits_per_dim(log_p_noisy.mean().item()),
        "bits_fitted": bits_per_dim(fitted_evidence.mean().item()),
        "variance_fitted": fitted.variance,
    }
    return row | parts | {"others": other_images(model, data, fitted)}


def dequantized(x: Tensor) -> Tensor:
    """Gray levels k / 255 as (k + noise) / 256: equation eq-ev-dequantized."""
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(0))
    return (255 * x + noise) / 256


def sampled_error(model: Any, x: Tensor) -> float:
    """The mean S with one z for each image."""
    with torch.inference_mode():
        q = model.encode(x)
        eps = torch.randn(q.mu.shape, generator=torch.Generator().manual_seed(0))
        return float(squared_error(x, model.decode(q.sample(eps))).mean())


def gap_parts(
    model: Any, x: Tensor, likelihood: GaussianPixels, steps: int = 150
) -> tuple[Tensor, Tensor]:
    """Approximation and amortization gap of each image, in nats: equation eq-ev-gap-split.

    A q without tilt is a product, so that its divergence from a table of the true posterior is two
    vectors and a matrix for each image.
    """
    grid = LatentGrid(POINTS)
    axis = grid.axis()
    table = true_posterior(model, x, likelihood=likelihood, grid=grid) + grid.log_cell
    table = table.view(len(x), POINTS, POINTS)
    with torch.no_grad():
        q = model.encode(x)
    mu = q.mu.detach().double().requires_grad_()
    log_sigma = (0.5 * q.log_var.detach()).double().requires_grad_()

    def divergence() -> Tensor:
        standardized = (axis - mu[..., None]) * torch.exp(-log_sigma)[..., None]
        factors = (-0.5 * standardized**2).log_softmax(dim=-1)
        first, second = factors.exp().unbind(dim=1)
        cross = ((first[:, None] @ table)[:, 0] * second).sum(dim=1)
        return (factors.exp() * factors).sum(dim=(1, 2)) - cross

    before = best = divergence().detach()
    optimizer = torch.optim.Adam([mu, log_sigma], lr=0.03)
    for _ in range(steps):
        loss = divergence()
        best = torch.minimum(best, loss.detach())
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
    return best, before - best


def aggregate_parts(q: Any) -> dict[str, float]:
    """The misfit of the aggregate posterior, and its holes, on a grid for very narrow q.

    Densities without tilt are products, so that the aggregate is a product of two matrices, however
    fine the grid. ``hole_share`` of the prior and ``hole_used`` of the aggregate are in holes, and
    these cost ``hole_price`` nats or more: equation eq-ev-hole.
    """
    grid = LatentGrid(FINE_POINTS, reach=8.0, dims=1)
    normal = Normal(q.mu.double()[..., None], (0.5 * q.log_var.double())[..., None].exp())
    factors = normal.log_prob(grid.axis()).exp() * grid.spacing
    aggregate = factors[:, 0].T @ factors[:, 1] / len(factors)
    along = Normal(0.0, 1.0).log_prob(grid.axis()).exp() * grid.spacing
    prior = along[:, None] * along
    hole = aggregate < EMPTY * prior
    share, used = prior[hole].sum().item(), aggregate[hole].sum().item()
    price = (1 - used) * math.log((1 - used) / (1 - share))
    misfit = torch.xlogy(aggregate, aggregate / prior).sum().item()
    price += used * math.log(used / share) if used else 0.0
    return {"misfit": misfit, "hole_share": share, "hole_used": used, "hole_price": price}


def kinds_of_images(model: Any, data: ImageData, variance: float) -> dict[str, Tensor]:
    """Test images, and images that resemble them less and less."""
    x = data.test.images[:OTHER_IMAGES]
    generator = torch.Generator().manual_seed(1)
    with torch.inference_mode():
        reconstructed = model.decode(model.encode(x).mu)
        drawn = model.decode(torch.randn(len(x), 2, generator=generator))
    shuffle = torch.randperm(x[0].numel(), generator=generator)
    return {
        "test images": x,
        "reconstructions": reconstructed,
        "samples": drawn + variance**0.5 * torch.randn(x.shape, generator=generator),
        "mean training image": data.train.images.mean(dim=0, keepdim=True),
        "upside down": x.flip(2),
        "shuffled": x.flatten(1)[:, shuffle].view_as(x),
        "inverted": 1 - x,
        "uniform noise": torch.rand(x.shape, generator=generator),
        "all background": torch.zeros_like(x[:1]),
        "scikit-learn's digits": load_images("digits").test.images[:OTHER_IMAGES],
    }


def other_images(
    model: Any, data: ImageData, likelihood: GaussianPixels
) -> dict[str, Mapping[str, float]]:
    """Mean log p(x) of each kind of image, and the share above the median test image."""
    kinds = kinds_of_images(model, data, likelihood.variance)
    together = torch.cat(list(kinds.values()))  # so that the grid is decoded once
    log_probs = log_evidence(model, together, likelihood=likelihood).log_prob
    found = dict(zip(kinds, log_probs.split([len(each) for each in kinds.values()]), strict=True))
    median = found["test images"].median()
    return {
        name: {
            "log_evidence": each.mean().item(),
            "above_median": (each > median).double().mean().item(),
        }
        for name, each in found.items()
    }
