"""Likelihoods: p(x | z), the decoder as a distribution of images.

Nothing here knows a network. B images of D pixels, gray levels in [0, 1]. Logarithms are natural,
so log-densities are in nats.

The part of -log p(x | z) that depends on z is the *distortion* of an image. It is the likelihood's
term in a loss; see :class:`Likelihood`.
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
    """Squared error S = ||x - x_hat||^2 of each image, summed over its pixels.

    -log N(x; x_hat, v I) = S / (2v) + (D/2) log(2 pi v), equation eq-gkl-decoder-nll of chapter 4.
    So at v = 1/2 it is S plus a constant.

    Args:
        x: Images, [B, 1, 32, 32] or any other shape with the batch first.
        x_hat: Means of p(x | z), of the same shape.

    Returns:
        [B], in squared gray levels.

    Raises:
        ValueError: If the shapes differ, which could broadcast to a wrong result.

    Examples:
        >>> squared_error(torch.zeros(2, 1, 32, 32), torch.full((2, 1, 32, 32), 0.5))  # 1024 / 4
        tensor([256., 256.])
    """
    if x.shape != x_hat.shape:
        raise ValueError(
            f"x and x_hat must have the same shape, got {tuple(x.shape)} and "
            f"{tuple(x_hat.shape)}. Is one of them flattened?"
        )
    return (x - x_hat).square().flatten(1).sum(dim=1)


@runtime_checkable
class Likelihood(Protocol):
    """A pixel likelihood p(x | z): the interface of ``NegativeELBO(likelihood=...)``.

    To store runs with a likelihood of your own, make it a frozen dataclass of plain values and
    register it with :func:`register_likelihood`.

    Examples:
        >>> isinstance(GaussianPixels(), Likelihood), isinstance(squared_error, Likelihood)
        (True, False)
    """

    term: ClassVar[str]  # the name of the distortion in a history

    def parameters(self, model: Any, z: Latents) -> Float[Tensor, "B ..."]:
        """The parameters of p(x | z) from the model's decoder, one for each pixel: [B, 1, 32, 32].

        Args:
            model: A :class:`~lecture_vae.models.Model`.
            z: Latents, ``[B, *latent]``.
        """

    def distortion(self, x: Float[Tensor, "B ..."], parameters: Tensor) -> PerImage:
        """The part of -log p(x | z) that depends on z, [B], in a unit of its own.

        Args:
            x: Images, [B, 1, 32, 32].
            parameters: What :meth:`parameters` returned, of the same shape.
        """

    def nats(self, distortion: Tensor) -> Tensor:
        """A distortion in nats, without the constants of -log p(x | z)."""

    def log_prob(self, x: Float[Tensor, "B ..."], parameters: Tensor) -> PerImage:
        """Log-density log p(x | z) of each image with all its constants, [B], in nats."""


@dataclass(frozen=True)
class GaussianPixels:
    """A Gaussian decoder, p(x | z) = N(x; x_hat, v I) with x_hat = ``model.decode(z)``.

    Its distortion is the squared error S, and its term in a loss is S / (2v): equation
    eq-def-notation-loss of the page "Notation".

    Args:
        variance: v, the variance of each pixel, in squared gray levels. At the default, 1/2, the
            term in a loss is S.

    Raises:
        ValueError: If ``variance`` is not a finite number > 0.

    Examples:
        >>> GaussianPixels(variance=0.1).nats(torch.tensor([20.0]))  # S / (2 * 0.1)
        tensor([100.])
    """

    term: ClassVar[str] = "squared_error"
    variance: float = 0.5  # of each pixel, in squared gray levels

    def __post_init__(self) -> None:
        if not (math.isfinite(self.variance) and self.variance > 0):
            raise ValueError(f"variance must be a finite number > 0, got {self.variance}.")
        object.__setattr__(self, "variance", float(self.variance))

    def parameters(self, model: Any, z: Latents) -> Float[Tensor, "B ..."]:
        """The mean images, ``model.decode(z)``, [B, 1, 32, 32]."""
        return model.decode(z)

    def distortion(self, x: Float[Tensor, "B ..."], parameters: Tensor) -> PerImage:
        """S of each image, [B], in squared gray levels: :func:`squared_error`.

        Raises:
            ValueError: If the shapes differ.
        """
        return squared_error(x, parameters)

    def nats(self, distortion: Tensor) -> Tensor:
        """S / (2v)."""
        return distortion / (2 * self.variance)

    def log_prob(self, x: Float[Tensor, "B ..."], parameters: Tensor) -> PerImage:
        """Log-density -S / (2v) - (D/2) log(2 pi v) of each image, [B], in nats.

        Examples:
            >>> x = torch.zeros(1, 1, 1, 2)
            >>> GaussianPixels().log_prob(x, x)  # -log(pi) at the mean of two pixels, v = 1/2
            tensor([-1.1447])
        """
        constant = 0.5 * x[0].numel() * (LOG_2PI + math.log(self.variance))
        return -self.nats(self.distortion(x, parameters)) - constant


@dataclass(frozen=True)
class BernoulliPixels:
    """A Bernoulli decoder: each pixel is 1 with the probability that the decoder gives, else 0.

    Its distortion is the binary cross-entropy (BCE), which is -log p(x | z) for images of zeros and
    ones. Many programs use it for gray levels as well; then it is a loss, but not a negative
    log-likelihood (Loaiza-Ganem & Cunningham, 2019, arXiv:1907.06845).

    Examples:
        >>> x, logits = torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
        >>> BernoulliPixels().distortion(x, logits)  # probabilities 1/2: 4 log(2)
        tensor([2.7726])
    """

    term: ClassVar[str] = "cross_entropy"

    def parameters(self, model: Any, z: Latents) -> Float[Tensor, "B ..."]:
        """The logits, ``model.decode_logits(z)``, [B, 1, 32, 32].

        Probabilities would not do: one that is rounded to 0 or 1 has an infinite cross-entropy.

        Raises:
            TypeError: If the model has no ``decode_logits``.
        """
        if not hasattr(model, "decode_logits"):
            raise TypeError(
                f"Bernoulli pixels need a model with decode_logits(z), and {type(model).__name__} "
                "has none. Let it return what decode(z) passes through the sigmoid."
            )
        return model.decode_logits(z)

    def distortion(self, x: Float[Tensor, "B ..."], parameters: Tensor) -> PerImage:
        """Binary cross-entropy of pixels and probabilities, summed over each image, [B], in nats.

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
        """The cross-entropy, which is in nats already."""
        return distortion

    def log_prob(self, x: Float[Tensor, "B ..."], parameters: Tensor) -> PerImage:
        """Log-probability of each image, minus the cross-entropy, [B], in nats.

        Examples:
            >>> x = torch.tensor([[[[1.0, 0.0]]]])
            >>> BernoulliPixels().log_prob(x, parameters=torch.zeros(1, 1, 1, 2))  # 2 log(1/2)
            tensor([-1.3863])
        """
        return -self.distortion(x, parameters)


LIKELIHOODS: Registry[Likelihood] = Registry("pixel likelihood")
register_likelihood = LIKELIHOODS.register
register_likelihood("gaussian", GaussianPixels)
register_likelihood("bernoulli", BernoulliPixels)
