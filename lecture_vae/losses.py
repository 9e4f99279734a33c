"""Losses: how far a reconstruction is from its image, and q(z | x) from the prior.

Every term is one number per image, in nats; only :func:`negative_elbo` averages over the batch.
Nothing here knows a network or an optimizer.

**Scale.** The squared error is summed over the pixels of an image. Up to a constant that is
-log N(x; x_hat, I/2), a log likelihood, and may be added to a KL in nats. The original lecture also
uses the mean over pixels; :func:`pixel_mean_kl_weight` converts between the two.
"""

from dataclasses import dataclass
from math import isfinite

import torch
from jaxtyping import Float
from torch import Tensor

from lecture_vae.models import PIXELS, AEOutput, VAEOutput

__all__ = [
    "NegativeELBO",
    "Objective",
    "SquaredError",
    "image_sum_kl_weight",
    "kl_to_standard_normal",
    "negative_elbo",
    "pixel_mean_kl_weight",
    "squared_error",
]

PerImage = Float[Tensor, " B"]


def squared_error(x: Float[Tensor, "B ..."], x_hat: Float[Tensor, "B ..."]) -> PerImage:
    """Squared error, summed over the pixels of each image.

    Equals -log N(x; x_hat, I/2) up to the constant (D/2) log(pi), with D pixels: nats.

    Raises:
        ValueError: If the shapes differ (they could broadcast to a wrong number).
    """
    if x.shape != x_hat.shape:
        raise ValueError(
            f"x and x_hat must have the same shape, got {tuple(x.shape)} and "
            f"{tuple(x_hat.shape)}. Is one of them flattened?"
        )
    return (x - x_hat).square().flatten(1).sum(dim=1)


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


def negative_elbo(
    x: Float[Tensor, "B 1 32 32"], out: VAEOutput, *, kl_weight: float = 1.0
) -> Float[Tensor, ""]:
    """Batch mean of squared_error + kl_weight * KL, in nats per image: what a VAE minimizes.

    At ``kl_weight`` = w this is, up to the factor w and a constant, the negative ELBO of a Gaussian
    decoder of variance w/2.
    """
    objective = NegativeELBO(kl_weight)
    return objective.total(objective.terms(x, out)).mean()


def pixel_mean_kl_weight(kl_weight: float, n_pixels: int = PIXELS) -> float:
    """Weight that does beside the mean over pixels what ``kl_weight`` does beside the sum.

    sum + w KL = n_pixels * (mean + (w / n_pixels) KL): the same objective, scaled.
    """
    return kl_weight / n_pixels


def image_sum_kl_weight(pixel_mean_weight: float, n_pixels: int = PIXELS) -> float:
    """Inverse of :func:`pixel_mean_kl_weight`."""
    return pixel_mean_weight * n_pixels


@dataclass(frozen=True)
class SquaredError:
    """Objective of an autoencoder: the squared error alone."""

    def terms(self, x: Tensor, out: AEOutput | VAEOutput) -> dict[str, PerImage]:
        """Each term, one number per image, in nats."""
        return {"squared_error": squared_error(x, out.x_hat)}

    def total(self, terms: dict[str, PerImage]) -> PerImage:
        """The weighted sum of the terms, one number per image."""
        return terms["squared_error"]


@dataclass(frozen=True)
class NegativeELBO:
    """Objective of a VAE: squared error + kl_weight * KL.

    Raises:
        ValueError: If ``kl_weight`` is negative or not finite.
    """

    kl_weight: float = 1.0  # beta of Higgins et al. (2017)

    def __post_init__(self) -> None:
        if not (isfinite(self.kl_weight) and self.kl_weight >= 0):
            raise ValueError(
                f"kl_weight must be a finite number >= 0, got {self.kl_weight}. "
                "A negative weight would reward leaving the prior."
            )
        # 1 and 1.0 are one objective: they must give one run.
        object.__setattr__(self, "kl_weight", float(self.kl_weight))

    def terms(self, x: Tensor, out: AEOutput | VAEOutput) -> dict[str, PerImage]:
        """Each term, one number per image, in nats.

        Raises:
            TypeError: If ``out`` comes from an autoencoder, which has no q(z | x).
        """
        if not isinstance(out, VAEOutput):
            raise TypeError(
                "a KL needs a distribution q(z | x), and an autoencoder gives only a point. "
                "Train it with SquaredError(), or take a VAE."
            )
        return {
            "squared_error": squared_error(x, out.x_hat),
            "kl": kl_to_standard_normal(out.mu, out.log_var),
        }

    def total(self, terms: dict[str, PerImage]) -> PerImage:
        """The weighted sum of the terms, one number per image."""
        return terms["squared_error"] + self.kl_weight * terms["kl"]


Objective = SquaredError | NegativeELBO
