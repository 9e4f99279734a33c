"""Pairwise log-densities: log p(x_n | z_m) of N images and M latents as one matrix.

For Gaussian and for Bernoulli pixels it is a matrix product, so that tens of thousands of latents
can be tried on thousands of images.
"""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from lecture_vae.distributions import LOG_2PI
from lecture_vae.likelihoods import BernoulliPixels, GaussianPixels, Likelihood

__all__ = ["log_normal_pairs", "log_prob_pairs"]


def log_prob_pairs(
    likelihood: Likelihood, x: Float[Tensor, "N ..."], parameters: Float[Tensor, "M ..."]
) -> Float[Tensor, "N M"]:
    """log p(x_n | z_m) for every image and every latent.

    ||x - y||^2 = ||x||^2 - 2 x.y + ||y||^2, and a cross-entropy of logits l is
    sum softplus(l) - x.l: both are one matrix product. In float32 their rounding error is about
    1e-4 of the squared error. A likelihood that is neither is asked image by image.

    Args:
        likelihood: p(x | z).
        x: Images.
        parameters: What ``likelihood.parameters(model, z)`` gave for the latents; each of the
            shape of an image.

    Returns:
        [N, M], in nats.

    Examples:
        >>> x, x_hat = torch.rand(3, 1, 4, 4), torch.rand(5, 1, 4, 4)
        >>> pairs = log_prob_pairs(GaussianPixels(), x, x_hat)
        >>> one = GaussianPixels().log_prob(x[:1], x_hat[4:])
        >>> torch.allclose(pairs[0, 4], one, atol=1e-4)
        True
    """
    # A subclass may define another density: only the two themselves are written out.
    if type(likelihood) is GaussianPixels:
        return _gaussian(likelihood, x.flatten(1), parameters.flatten(1))
    if type(likelihood) is BernoulliPixels:
        logits = parameters.flatten(1)
        return torch.addmm(-softplus(logits).sum(dim=1), x.flatten(1).to(logits), logits.T)
    return torch.stack(
        [likelihood.log_prob(image.expand_as(parameters), parameters) for image in x]
    )


def _gaussian(likelihood: GaussianPixels, x: Tensor, x_hat: Tensor) -> Tensor:
    # Shifting both changes no difference; small numbers lose fewer digits in the product.
    center = x_hat.mean(dim=0)
    x, x_hat = x.to(x_hat) - center, x_hat - center
    precision = 1 / likelihood.variance
    constant = 0.5 * x.shape[1] * (LOG_2PI + math.log(likelihood.variance))
    pairs = torch.addmm(-0.5 * precision * x_hat.square().sum(dim=1), precision * x, x_hat.T)
    return pairs.sub_((0.5 * precision * x.square().sum(dim=1) + constant)[:, None])


def log_normal_pairs(q: Any, z: Float[Tensor, "M d"]) -> Float[Tensor, "N M"]:
    """log q(z_m | x_n) for every image and every latent, in float64.

    Args:
        q: A :class:`~lecture_vae.distributions.DiagonalGaussian` of N images and d latents.
        z: Latents.

    Returns:
        [N, M], in nats.

    Examples:
        >>> q = DiagonalGaussian(torch.zeros(3, 2), torch.zeros(3, 2))
        >>> log_normal_pairs(q, torch.zeros(1, 2))[0]  # -log(2 pi) at the mean
        tensor([-1.8379], dtype=torch.float64)
    """
    mu, log_var = q.mu.flatten(1).double(), q.log_var.flatten(1).double()
    z, precision = z.double(), torch.exp(-log_var)
    constant = (mu.square() * precision + log_var + LOG_2PI).sum(dim=1)
    squares = precision @ z.square().T - 2 * (mu * precision) @ z.T
    return -0.5 * (squares + constant[:, None])
