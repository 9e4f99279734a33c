"""Distributions: q(z | x), which an encoder gives, and p(x | z), which says what a decoder means.

Nothing here knows a network. B images, d latents in any shape ``*latent``, D pixels. Logarithms are
natural, so densities and divergences are in nats.

A *posterior*, what ``model.encode(x)`` returns, has two members:

- ``code``: what the encoder says about each image in short. A run keeps it, figures show it.
- ``sample(eps)``: a latent for each image, from standard normal noise.

A *pixel likelihood* p(x | z) has a term of its own in the loss, its *distortion*; see
:class:`Likelihood`.
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
    """Sample z = mu + sigma * eps from N(mu, diag exp(log_var)), so that gradients reach both.

    One sample for each image. Kingma & Welling (2014), section 2.4, arXiv:1312.6114.

    Args:
        mu: Means.
        log_var: Log variances; sigma = exp(log_var / 2).
        eps: Standard normal numbers, one for every image and latent. None draws them from torch's
            global generator.

    Raises:
        ValueError: If eps has another shape than mu.
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

    Closed form: Kingma & Welling (2014), Appendix B, arXiv:1312.6114. Zero exactly when mu = 0
    and log_var = 0; never negative. Written with expm1, because exp(log_var) - 1 loses its digits
    where log_var is near 0.

    Raises:
        ValueError: If the shapes differ.
    """
    if mu.shape != log_var.shape:
        raise ValueError(
            f"mu and log_var must have the same shape, got {tuple(mu.shape)} and "
            f"{tuple(log_var.shape)}. Do they come from the same encoder?"
        )
    return 0.5 * (mu.square() + torch.expm1(log_var) - log_var).flatten(1).sum(dim=1)


def log_standard_normal(z: Float[Tensor, "B ..."]) -> PerImage:
    """Log density of N(0, I) at each z, summed over its latents: the prior, in nats."""
    return -0.5 * (z.square() + LOG_2PI).flatten(1).sum(dim=1)


@runtime_checkable
class Posterior(Protocol):
    """What an encoder says about each image of a batch."""

    @property
    def code(self) -> Shaped[Tensor, "B ..."]:
        """What a run keeps of each image, such as the mean of q(z | x), or whole numbers."""

    def sample(self, eps: Any) -> Latents:
        """A latent for each image from standard normal noise, one ``noise_shape`` for each."""


class Point(NamedTuple):
    """What an autoencoder's encoder says about each image: one point."""

    code: Latents

    def sample(self, eps: Any = None) -> Latents:
        """The point itself: there is nothing to draw, and ``eps`` is not used."""
        return self.code


class DiagonalGaussian(NamedTuple):
    """What a VAE's encoder says about each image: q(z | x) = N(mu, diag exp(log_var)).

    >>> q = DiagonalGaussian(mu=torch.zeros(5, 2), log_var=torch.zeros(5, 2))
    >>> q.kl()
    tensor([0., 0., 0., 0., 0.])
    """

    mu: Latents  # mean of q(z | x)
    log_var: Latents  # log variance of q(z | x)

    @property
    def code(self) -> Latents:
        """The mean, the most probable latent of each image."""
        return self.mu

    def sample(self, eps: Latents | None = None) -> Latents:
        """z = mu + sigma * eps, as :func:`reparameterize`."""
        return reparameterize(self.mu, self.log_var, eps)

    def log_prob(self, z: Latents) -> PerImage:
        """Log density of q(z | x) at each z, summed over the latents, in nats.

        Raises:
            ValueError: If z has another shape than mu (they could broadcast to a wrong number).
        """
        if z.shape != self.mu.shape:
            raise ValueError(
                f"z needs one number for every image and latent, shape {tuple(self.mu.shape)}, "
                f"got {tuple(z.shape)}. Was it drawn for another batch or model?"
            )
        standardized = (z - self.mu) * torch.exp(-0.5 * self.log_var)
        return -0.5 * (standardized.square() + self.log_var + LOG_2PI).flatten(1).sum(dim=1)

    def kl(self) -> PerImage:
        """KL( q(z | x) || N(0, I) ) of each image, as :func:`kl_to_standard_normal`."""
        return kl_to_standard_normal(self.mu, self.log_var)
