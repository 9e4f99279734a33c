"""Evidence: log p(x) of a model with one or two latents, by quadrature.

p(x) is the integral of p(x | z) p(z) over z: equation eq-def-evidence of chapter 3. With two
latents it is a sum over a grid. The decoder runs once for each point of the grid, whatever the
number of images.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lecture_vae.distributions import Latents, PerImage, log_standard_normal
from lecture_vae.likelihoods import GaussianPixels, Likelihood
from lecture_vae.models import Model
from lecture_vae.pairwise import log_prob_pairs
from lecture_vae.quadrature import LatentGrid, blocks

__all__ = ["Evidence", "log_evidence", "true_posterior"]

IMAGES = 2_500  # at a time: 40 MB for a block of latents
LogDensity = Callable[[Latents], PerImage]  # of M latents


class Evidence(NamedTuple):
    """Log-evidence of each image, and how far to trust it; see :func:`log_evidence`.

    Examples:
        >>> x = torch.zeros(3, 1, 32, 32)
        >>> evidence = log_evidence(build_model("linear-vae"), x, grid=LatentGrid(16))
        >>> evidence.log_prob.shape, bool((evidence.edge < 1e-6).all())
        (torch.Size([3]), True)
    """

    log_prob: PerImage  # log p(x), in nats
    error: PerImage  # of log_prob, in nats: an estimate that is too large rather than too small
    edge: PerImage  # share of p(z | x) on the outermost points; above 1e-6 a tail may be cut


@contextmanager
def evaluating(model: Model) -> Iterator[None]:
    """The model in eval mode and without gradients; its mode is restored."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(was_training)


def log_evidence(
    model: Model,
    x: Float[Tensor, "N 1 32 32"],
    *,
    likelihood: Likelihood | None = None,
    grid: LatentGrid | None = None,
    log_prior: LogDensity = log_standard_normal,
) -> Evidence:
    """log p(x) of each image by quadrature over the latents, with an estimate of the error.

    Two mistakes are easily made, and both are reported. A grid that is too coarse for a sharp
    p(z | x): ``error`` is large, the largest difference between the sum and the sums over every
    third point. Once it is well below 1, the error of the sum itself is a ninth of it or less. A
    grid that ends too early: ``edge`` is large. In float32 rounding adds about 1e-5 S / v nats.

    Args:
        model: With one or two latents. It is evaluated in the type of its own numbers.
        x: Images in [0, 1].
        likelihood: p(x | z); by default Gaussian pixels of variance 1/2.
        grid: By default 256 points over [-6, 6] for each latent.
        log_prior: Log-density of the prior, of latents ``[M, *latent_shape]``, in nats.

    Returns:
        Log-evidence, error and edge of each image; float64.

    Raises:
        ValueError: If the model has more than two latents, or another number than the grid.

    Examples:
        >>> model, x = build_model("linear-vae"), torch.rand(2, 1, 32, 32)
        >>> fine, coarse = (log_evidence(model, x, grid=LatentGrid(n)) for n in (128, 64))
        >>> bool(((fine.log_prob - coarse.log_prob).abs() < 1e-3).all())
        True
    """
    likelihood, grid = likelihood or GaussianPixels(), _grid_for(model, grid)
    log_sums = [
        _log_integral(model, x, likelihood, log_prior, latents) for latents in grid.sublattices()
    ]
    edge = _log_integral(model, x, likelihood, log_prior, grid.edge())
    parts = torch.stack(log_sums)
    total = parts.logsumexp(dim=0)
    # Each of the 3^d parts is a sum over cells 3^d times as large.
    disagreement = (parts + torch.tensor(len(log_sums)).log() - total).abs().amax(dim=0)
    return Evidence(total + grid.log_cell, disagreement, (edge - total).exp())


def true_posterior(
    model: Model,
    x: Float[Tensor, "N 1 32 32"],
    *,
    likelihood: Likelihood | None = None,
    grid: LatentGrid | None = None,
    log_prior: LogDensity = log_standard_normal,
) -> Float[Tensor, "N M"]:
    """log p(z | x) on the grid: Bayes' rule with the evidence of :func:`log_evidence`.

    Args:
        model: As for :func:`log_evidence`, as are the others.
        x: Images; the result needs 0.5 MB for each with the default grid.
        likelihood: p(x | z).
        grid: Its :meth:`~lecture_vae.quadrature.LatentGrid.latents` are the M points.
        log_prior: Log-density of the prior.

    Returns:
        Log-densities in nats, float64; exp of it times the area of a cell sums to 1.

    Raises:
        ValueError: As :func:`log_evidence`.

    Examples:
        >>> grid = LatentGrid(16)
        >>> log_p = true_posterior(build_model("linear-vae"), torch.zeros(1, 1, 32, 32), grid=grid)
        >>> round((log_p + grid.log_cell).exp().sum().item(), 6)
        1.0
    """
    likelihood, grid = likelihood or GaussianPixels(), _grid_for(model, grid)
    with evaluating(model):
        joint = torch.cat(
            [
                _log_joint(likelihood, x, parameters, log_p)
                for parameters, log_p in _decoded(model, likelihood, log_prior, grid.latents())
            ],
            dim=1,
        ).double()
    return joint - joint.logsumexp(dim=1, keepdim=True) - grid.log_cell


def _grid_for(model: Model, grid: LatentGrid | None) -> LatentGrid:
    latents = torch.Size(model.latent_shape).numel()
    if latents > 2:
        raise ValueError(
            f"quadrature needs a model with 1 or 2 latents, and {type(model).__name__} has "
            f"{latents}. For more latents take iwae_bound."
        )
    grid = grid or LatentGrid(dims=latents)
    if grid.dims != latents:
        raise ValueError(
            f"the grid has {grid.dims} axes and {type(model).__name__} has {latents} latents. "
            "Is it the grid of another model?"
        )
    return grid


def _decoded(
    model: Model, likelihood: Likelihood, log_prior: LogDensity, latents: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """The parameters of p(x | z) and log p(z), block by block."""
    like = next(model.parameters())
    for block in blocks(latents):
        z: Latents = block.to(like).view(-1, *model.latent_shape)
        yield likelihood.parameters(model, z), log_prior(z)


def _log_joint(likelihood: Likelihood, x: Tensor, parameters: Tensor, log_p: Tensor) -> Tensor:
    return log_prob_pairs(likelihood, x.to(parameters), parameters).add_(log_p)


def _log_integral(
    model: Model, x: Tensor, likelihood: Likelihood, log_prior: LogDensity, latents: Tensor
) -> PerImage:
    """log sum_m p(x | z_m) p(z_m) of each image, float64."""
    total = torch.full((len(x),), -torch.inf, dtype=torch.double)
    with evaluating(model):
        for parameters, log_p in _decoded(model, likelihood, log_prior, latents):
            sums = [
                _log_joint(likelihood, images, parameters, log_p).logsumexp(dim=1)
                for images in x.split(IMAGES)
            ]
            total = torch.logaddexp(total, torch.cat(sums).double().cpu())
    return total
