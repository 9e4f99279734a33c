"""The aggregate posterior: the mean of q(z | x) over the images, and what a KL term is made of.

The mean KL of the images is I(x; z) + KL( q-bar(z) || p(z) ): equation eq-aggregate of
chapter 3, Hoffman & Johnson (2016), "ELBO surgery". The first is the information that the latents
carry, in nats; the second is what a generator loses that draws from the prior.
"""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Normal

from lecture_vae.distributions import log_standard_normal
from lecture_vae.pairwise import log_normal_pairs
from lecture_vae.quadrature import LatentGrid

__all__ = ["aggregate_kl", "information", "log_aggregate"]

IMAGES = 500  # at a time
TOLERANCE = 1e-3  # of the aggregate posterior's mass
FEWEST, MOST = 256, 4096  # points along an axis, unless a grid is given


def log_aggregate(q: Any, z: Float[Tensor, "M d"]) -> Float[Tensor, " M"]:
    """log q-bar(z), the log of the mean of q(z | x_n) over N images.

    Args:
        q: A :class:`~lecture_vae.distributions.DiagonalGaussian` of N images.
        z: Latents.

    Returns:
        [M], in nats; float64.

    Examples:
        >>> q = DiagonalGaussian(torch.tensor([[-1.0], [1.0]]), torch.zeros(2, 1))
        >>> log_aggregate(q, torch.zeros(1, 1))  # both densities are N(1; 0, 1)
        tensor([-1.4189], dtype=torch.float64)
    """
    total = torch.full((len(z),), -torch.inf, dtype=torch.double)
    for mu, log_var in zip(q.mu.split(IMAGES), q.log_var.split(IMAGES), strict=True):
        pairs = log_normal_pairs(type(q)(mu, log_var), z)
        total = torch.logaddexp(total, pairs.logsumexp(dim=0))
    return total - torch.tensor(len(q.mu)).log()


def aggregate_kl(q: Any, grid: LatentGrid | None = None) -> float:
    """KL( q-bar(z) || p(z) ) from the aggregate posterior to the prior N(0, I), by quadrature.

    Args:
        q: A :class:`~lecture_vae.distributions.DiagonalGaussian` of N images and 1 or 2 latents.
        grid: By default one that fits q: cells no wider than the smallest standard deviation, out
            to six standard deviations beyond every mean, with 256 to 4,096 points along an axis.
            Two axes of P points need 16 P^2 bytes, 268 MB at most unless a grid is given.

    Returns:
        In nats, 0 or more.

    Raises:
        ValueError: If a grid that fits q would need more than 4,096 points along an axis; or if
            the given grid does not hold the aggregate posterior, so that its sum over the grid
            differs from 1 by more than 0.001.

    Examples:
        One image whose q(z | x) is N(1, 1): the divergence is 1/2.

        >>> q = DiagonalGaussian(mu=torch.ones(1, 1), log_var=torch.zeros(1, 1))
        >>> round(aggregate_kl(q), 4)
        0.5
    """
    grid = grid or _grid_that_fits(q)
    density = _density(q, grid)
    mass = density.sum().item() * math.exp(grid.log_cell)
    if abs(mass - 1) > TOLERANCE:
        raise ValueError(
            f"the aggregate posterior must sum to 1 on the grid, got {mass:.4f}. "
            f"A posterior is narrower than its cells of {grid.spacing:.3g}, or lies beyond "
            f"{grid.reach:.3g}: take a finer or a wider grid, or none, for one that fits."
        )
    # The prior is a product, so that of each axis only the aggregate's sums along it count.
    along = log_standard_normal(grid.axis()[:, None])
    sums = [density] if grid.dims == 1 else [density.sum(dim=0), density.sum(dim=1)]
    cross = sum(each.dot(along).item() for each in sums)
    return (torch.xlogy(density, density).sum().item() - cross) * math.exp(grid.log_cell)


def _grid_that_fits(q: Any) -> LatentGrid:
    """A grid whose cells are as small as the smallest sigma, and which holds all means."""
    sigma = (0.5 * q.log_var.double()).exp()
    reach, narrowest = (q.mu.abs() + 6 * sigma).max().item(), sigma.min().item()
    needed = 2 * reach / narrowest
    if not needed <= MOST:
        raise ValueError(
            f"a grid has at most {MOST:,} points along an axis unless it is given, and this "
            f"aggregate posterior needs {needed:,.0f}: its narrowest q(z | x) has a standard "
            f"deviation of {narrowest:.3g}, and the cells must be as narrow out to {reach:.3g}. "
            "Was it trained with a KL weight near 0, so that q is nearly a point? Give a "
            "LatentGrid that is coarser, if that will do, or finer."
        )
    return LatentGrid(max(FEWEST, math.ceil(needed)), reach, q.mu[0].numel())


def _density(q: Any, grid: LatentGrid) -> Float[Tensor, "points ..."]:
    """q-bar on the grid, [points] or [points, points], float64.

    Densities without tilt are products, so that their sum over the images is a matrix product.
    """
    axis, total = grid.axis(), torch.zeros([grid.points] * grid.dims, dtype=torch.double)
    mu, sigma = q.mu.flatten(1).double(), (0.5 * q.log_var.flatten(1).double()).exp()
    for means, widths in zip(mu.split(IMAGES), sigma.split(IMAGES), strict=True):
        factors = Normal(means[..., None], widths[..., None]).log_prob(axis).exp()
        if grid.dims == 1:
            total += factors[:, 0].sum(dim=0)
        else:
            total.addmm_(factors[:, 0].T, factors[:, 1])
    return total.div_(len(mu))


def information(q: Any, grid: LatentGrid | None = None) -> float:
    """I(x; z), the mutual information of images and latents: the mean KL minus the aggregate's.

    It is at most log N, since it is information about which of N images was encoded.

    Args:
        q: A :class:`~lecture_vae.distributions.DiagonalGaussian` of N images and 1 or 2 latents.
        grid: As for :func:`aggregate_kl`.

    Returns:
        In nats.

    Raises:
        ValueError: As :func:`aggregate_kl`.

    Examples:
        Two images, told apart with certainty: one bit.

        >>> mu, log_var = torch.tensor([[-3.0], [3.0]]), torch.full((2, 1), -4.0)
        >>> round(information(DiagonalGaussian(mu, log_var)), 4)  # log 2
        0.6931
    """
    return q.kl().double().mean().item() - aggregate_kl(q, grid)
