"""The aggregate posterior: the mean of q(z | x) over the images, and what a KL term is made of.

The mean KL of the images is I(x; z) + KL( q-bar(z) || p(z) ): equation eq-aggregate of
chapter 3, Hoffman & Johnson (2016), "ELBO surgery". The first is the information that the latents
carry, in nats; the second is what a generator loses that draws from the prior.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lecture_vae.distributions import log_standard_normal
from lecture_vae.pairwise import log_normal_pairs
from lecture_vae.quadrature import LatentGrid

__all__ = ["aggregate_kl", "information", "log_aggregate"]

IMAGES = 500  # at a time: 262 MB for 65,536 latents
TOLERANCE = 1e-3  # of the aggregate posterior's mass


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
        grid: By default 256 points over [-6, 6] for each latent.

    Returns:
        In nats, 0 or more.

    Raises:
        ValueError: If the grid does not hold the aggregate posterior: its sum over the grid differs
            from 1 by more than 0.001.

    Examples:
        One image whose q(z | x) is N(1, 1): the divergence is 1/2.

        >>> q = DiagonalGaussian(mu=torch.ones(1, 1), log_var=torch.zeros(1, 1))
        >>> round(aggregate_kl(q), 4)
        0.5
    """
    grid = grid or LatentGrid(dims=q.mu[0].numel())
    z = grid.latents()
    log_q = log_aggregate(q, z)
    mass = (log_q + grid.log_cell).exp()
    if abs(mass.sum().item() - 1) > TOLERANCE:
        raise ValueError(
            f"the aggregate posterior must sum to 1 on the grid, got {mass.sum().item():.4f}. "
            f"A posterior is narrower than its cells of {grid.spacing:.3g}, or lies beyond "
            f"{grid.reach:.3g}: take a finer or a wider grid."
        )
    return (mass * (log_q - log_standard_normal(z))).sum().item()


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
