"""Likelihoods: p(x | z), which says what the decoder's output means, and its distortion.

Nothing here knows a network. B images of D pixels, gray levels in [0, 1]. Logarithms are natural,
so log-densities are in nats.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from lecture_vae.distributions import LOG_2PI, Latents, PerImage
from lecture_vae.registry import Registry

__all__ = [
    "LIKELIHOODS",
    "BernoulliPixels",
    "GaussianPixels",
    "Likelihood",
    "register_likelihood",
    "squared_error",
]


def squared_error(x: Float[Tensor, "B ..."], x_hat: Float[Tensor, "B ..."]) -> PerImage:
    """Squared error, summed over the pixels of each image, in squared pixel units.

    -log N(x; x_hat, v I) is this divided by 2v, plus the constant (D/2) log(2 pi v): at v = 1/2
    the squared error itself counts nats, but for the constant.

    Raises:
        ValueError: If the shapes differ (they could broadcast to a wrong number).
    """
    if x.shape != x_hat.shape:
        raise ValueError(
            f"x and x_hat must have the same shape, got {tuple(x.shape)} and "
            f"{tuple(x_hat.shape)}. Is one of them flattened?"
        )
    return (x - x_hat).square().flatten(1).sum(dim=1)


@runtime_checkable
class Likelihood(Protocol):
    """A pixel likelihood p(x | z): what the decoder's numbers mean.

    A likelihood that can be stored is a frozen dataclass of plain values, registered by
    :func:`register_likelihood`.
    """

    term: ClassVar[str]  # what the distortion is called in a history

    def parameters(self, model: Any, z: Latents) -> Float[Tensor, "B ..."]:
        """What p(x | z) is made of, from the model's decoder."""

    def distortion(self, x: Float[Tensor, "B ..."], parameters: Tensor) -> PerImage:
        """The part of -log p(x | z) that depends on z, in a unit of its own."""

    def nats(self, distortion: Tensor) -> Tensor:
        """A distortion in nats, without the constant."""

    def log_prob(self, x: Float[Tensor, "B ..."], parameters: Tensor) -> PerImage:
        """Log density of each image, with every constant, in nats."""


@dataclass(frozen=True)
class GaussianPixels:
    """p(x | z) = N(x; x_hat, variance I), where x_hat is what the decoder gives.

    Its distortion is the squared error S; its part of the loss is S / (2 variance). At the default,
    1/2, that is S.

    Raises:
        ValueError: If ``variance`` is not a finite number > 0.
    """

    term: ClassVar[str] = "squared_error"
    variance: float = 0.5  # of each pixel, in squared pixel units

    def __post_init__(self) -> None:
        if not (math.isfinite(self.variance) and self.variance > 0):
            raise ValueError(f"variance must be a finite number > 0, got {self.variance}.")
        object.__setattr__(self, "variance", float(self.variance))

    def parameters(self, model: Any, z: Latents) -> Float[Tensor, "B ..."]:
        """The mean image, ``model.decode(z)``."""
        return model.decode(z)

    def distortion(self, x: Float[Tensor, "B ..."], parameters: Tensor) -> PerImage:
        """:func:`squared_error`, in squared pixel units."""
        return squared_error(x, parameters)

    def nats(self, distortion: Tensor) -> Tensor:
        """S / (2 variance)."""
        return distortion / (2 * self.variance)

    def log_prob(self, x: Float[Tensor, "B ..."], parameters: Tensor) -> PerImage:
        """-S / (2 variance) - (D/2) log(2 pi variance), in nats."""
        constant = 0.5 * x[0].numel() * (LOG_2PI + math.log(self.variance))
        return -self.nats(self.distortion(x, parameters)) - constant


@dataclass(frozen=True)
class BernoulliPixels:
    """p(x | z): each pixel is 1 with the probability that the decoder gives, else 0.

    Its distortion is the cross-entropy, which is -log p(x | z) for images of zeros and ones. Gray
    levels may be given too, and many programs do; then it is a loss, but no probability
    (Loaiza-Ganem & Cunningham, 2019, arXiv:1907.06845).
    """

    term: ClassVar[str] = "cross_entropy"

    def parameters(self, model: Any, z: Latents) -> Float[Tensor, "B ..."]:
        """The logits, ``model.decode_logits(z)``: log(p) of a rounded p could be -infinity."""
        if not hasattr(model, "decode_logits"):
            raise TypeError(
                f"Bernoulli pixels need a model with decode_logits(z), and {type(model).__name__} "
                "has none. Let it return what decode(z) passes through the sigmoid."
            )
        return model.decode_logits(z)

    def distortion(self, x: Float[Tensor, "B ..."], parameters: Tensor) -> PerImage:
        """Cross-entropy of the pixels and their probabilities, summed over each image, in nats.

        Raises:
            ValueError: If the shapes differ.
        """
        if x.shape != parameters.shape:
            raise ValueError(
                f"x and the logits must have the same shape, got {tuple(x.shape)} and "
                f"{tuple(parameters.shape)}. Is one of them flattened?"
            )
        each = binary_cross_entropy_with_logits(parameters, x, reduction="none")
        return each.flatten(1).sum(dim=1)

    def nats(self, distortion: Tensor) -> Tensor:
        """The cross-entropy itself."""
        return distortion

    def log_prob(self, x: Float[Tensor, "B ..."], parameters: Tensor) -> PerImage:
        """Minus the cross-entropy, in nats."""
        return -self.distortion(x, parameters)


LIKELIHOODS: Registry[Likelihood] = Registry("pixel likelihood")
register_likelihood = LIKELIHOODS.register
register_likelihood("gaussian", GaussianPixels)
register_likelihood("bernoulli", BernoulliPixels)
