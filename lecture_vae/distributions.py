"""Distributions: the prior p(z) and the approximate posterior q(z | x), which an encoder gives.

Nothing here knows a network. B images, d latents in any shape ``*latent``. Logarithms are natural,
so log-densities and divergences are in nats.

What ``model.encode(x)`` returns, a :class:`Posterior`, has two members:

- ``code``: a summary of what the encoder says about each image. A run keeps it, figures show it.
- ``sample(eps)``: a latent for each image, from standard normal noise.
"""

import math
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

__all__ = [
    "DiagonalGaussian",
    "Point",
    "Posterior",
    "kl_to_standard_normal",
    "log_standard_normal",
    "reparameterize",
]

Latents = Float[Tensor, "B *latent"]
PerImage = Float[Tensor, " B"]

LOG_2PI = math.log(2 * math.pi)


def reparameterize(mu: Latents, log_var: Latents, eps: Latents | None = None) -> Latents:
    """Sample z = mu + sigma * eps from N(mu, diag exp(log_var)); differentiable in both.

    The reparameterization trick: Kingma & Welling (2014), section 2.4, arXiv:1312.6114; equation
    eq-def-gkl-reparameterization of chapter 4.

    Args:
        mu: Means of q(z | x), ``[B, *latent]``.
        log_var: Log-variances, of the same shape; sigma = exp(log_var / 2).
        eps: Standard normal noise, of the same shape. None draws it from torch's global generator.

    Returns:
        One sample for each image, ``[B, *latent]``.

    Raises:
        ValueError: If eps has another shape than mu.

    Examples:
        >>> mu, variance = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 9.0]])
        >>> reparameterize(mu, variance.log(), eps=torch.ones(1, 2))  # sigma is 1 and 3
        tensor([[2., 5.]])
    """
    if eps is None:
        eps = torch.randn_like(mu)
    elif eps.shape != mu.shape:
        # A noise tensor of another shape could broadcast: one epsilon for the whole batch would
        # train, and train something else.
        raise ValueError(
            f"eps needs one number for every image and latent, shape {tuple(mu.shape)}, "
            f"got {tuple(eps.shape)}. Was it drawn for another batch or model?"
        )
    return mu + torch.exp(0.5 * log_var) * eps


def kl_to_standard_normal(mu: Float[Tensor, "B ..."], log_var: Float[Tensor, "B ..."]) -> PerImage:
    """KL( N(mu, diag exp(log_var)) || N(0, I) ), summed over the latents of each image, in nats.

    The closed form, 1/2 sum (mu^2 + exp(log_var) - 1 - log_var): Kingma & Welling (2014),
    Appendix B, arXiv:1312.6114; equation eq-gkl-latent-sum of chapter 4. It is never negative, and
    zero only at mu = 0, log_var = 0. It is computed with expm1 to avoid catastrophic cancellation
    in exp(log_var) - 1 where log_var is near 0.

    Args:
        mu: Means of q(z | x), ``[B, *latent]``.
        log_var: Log-variances, of the same shape.

    Returns:
        [B], in nats.

    Raises:
        ValueError: If the shapes differ.

    Examples:
        >>> mu = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
        >>> kl_to_standard_normal(mu, log_var=torch.zeros(2, 2))  # 0, and (9 + 16) / 2
        tensor([ 0.0000, 12.5000])
    """
    if mu.shape != log_var.shape:
        raise ValueError(
            f"mu and log_var must have the same shape, got {tuple(mu.shape)} and "
            f"{tuple(log_var.shape)}. Do they come from the same encoder?"
        )
    return 0.5 * (mu.square() + torch.expm1(log_var) - log_var).flatten(1).sum(dim=1)


def log_standard_normal(z: Float[Tensor, "B ..."]) -> PerImage:
    """Log-density of the prior, log N(z; 0, I).

    Args:
        z: Latents, ``[B, *latent]``.

    Returns:
        [B], summed over the latents, in nats.

    Examples:
        >>> log_standard_normal(torch.zeros(1, 2))  # -log(2 pi) at the mode of two latents
        tensor([-1.8379])
    """
    return -0.5 * (z.square() + LOG_2PI).flatten(1).sum(dim=1)


@runtime_checkable
class Posterior(Protocol):
    """What an encoder says about each image of a batch: the interface of ``model.encode(x)``.

    Examples:
        >>> isinstance(Point(torch.zeros(5, 2)), Posterior)
        True
    """

    @property
    def code(self) -> Shaped[Tensor, "B ..."]:
        """What a run keeps of each image, such as the mean of q(z | x), or integer indices."""

    def sample(self, eps: Any) -> Latents:
        """A latent for each image, ``[B, *latent]``, from noise eps, ``[B, *noise_shape]``."""


class Point(NamedTuple):
    """What the encoder of an autoencoder returns: one point for each image, without noise.

    Args:
        code: The points, ``[B, *latent]``.

    Examples:
        >>> Point(torch.tensor([[1.0, 2.0]])).sample()
        tensor([[1., 2.]])
    """

    code: Latents

    def sample(self, eps: Any = None) -> Latents:
        """The point itself, ``[B, *latent]``; ``eps`` is ignored."""
        return self.code


class DiagonalGaussian(NamedTuple):
    """What the encoder of a VAE returns: q(z | x) = N(mu, diag exp(log_var)) for each image.

    Args:
        mu: Means, ``[B, *latent]``.
        log_var: Log-variances, of the same shape.

    Examples:
        >>> q = DiagonalGaussian(mu=torch.zeros(3, 2), log_var=torch.zeros(3, 2))
        >>> q.kl()  # q is the prior
        tensor([0., 0., 0.])
    """

    mu: Latents  # mean of q(z | x)
    log_var: Latents  # log-variance of q(z | x)

    @property
    def code(self) -> Latents:
        """The mean of q(z | x), ``[B, *latent]``, which is also its mode."""
        return self.mu

    def sample(self, eps: Latents | None = None) -> Latents:
        """One sample for each image, mu + sigma * eps: :func:`reparameterize`.

        Examples:
            >>> q = DiagonalGaussian(mu=torch.ones(1, 2), log_var=torch.zeros(1, 2))
            >>> q.sample(eps=torch.zeros(1, 2))  # without noise, the mean
            tensor([[1., 1.]])
        """
        return reparameterize(self.mu, self.log_var, eps)

    def log_prob(self, z: Latents) -> PerImage:
        """Log-density log q(z | x), summed over the latents.

        Args:
            z: One latent for each image, ``[B, *latent]``.

        Returns:
            [B], in nats.

        Raises:
            ValueError: If z has another shape than mu, which could broadcast to a wrong result.

        Examples:
            >>> q = DiagonalGaussian(mu=torch.ones(1, 2), log_var=torch.zeros(1, 2))
            >>> q.log_prob(torch.ones(1, 2))  # -log(2 pi) at the mean
            tensor([-1.8379])
        """
        if z.shape != self.mu.shape:
            raise ValueError(
                f"z needs one number for every image and latent, shape {tuple(self.mu.shape)}, "
                f"got {tuple(z.shape)}. Was it drawn for another batch or model?"
            )
        standardized = (z - self.mu) * torch.exp(-0.5 * self.log_var)
        return -0.5 * (standardized.square() + self.log_var + LOG_2PI).flatten(1).sum(dim=1)

    def kl(self) -> PerImage:
        """KL( q(z | x) || p(z) ) of each image, [B], in nats: :func:`kl_to_standard_normal`.

        Examples:
            >>> DiagonalGaussian(mu=torch.tensor([[2.0]]), log_var=torch.zeros(1, 1)).kl()
            tensor([2.])
        """
        return kl_to_standard_normal(self.mu, self.log_var)
