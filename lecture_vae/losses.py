"""Losses: what training minimizes, and what it is made of.

Nothing here knows a network or an optimizer. An *objective* calls the model, gives its *terms* for
every image, and makes one number, the *loss*, of the terms of a batch; see :class:`Objective`.

**Units.** The squared error S is summed over the pixels of an image, and the KL term is in nats.
S + w KL is in *loss units*: up to the factor w and a constant it is a negative ELBO, that of
Gaussian pixels of variance w/2. In nats that is S/w + KL + (D/2) log(pi w), with D pixels. The
original lecture also uses the mean over pixels; :func:`pixel_mean_kl_weight` converts between the
two.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from lecture_vae.distributions import kl_to_standard_normal, log_standard_normal
from lecture_vae.likelihoods import GaussianPixels, Likelihood, squared_error
from lecture_vae.models import PIXELS, Model, VAEOutput
from lecture_vae.registry import Registry

__all__ = [
    "OBJECTIVES",
    "NegativeELBO",
    "NegativeIWAE",
    "Objective",
    "SquaredError",
    "image_sum_kl_weight",
    "negative_elbo",
    "pixel_mean_kl_weight",
    "register_objective",
]

Terms = dict[str, Float[Tensor, "B ..."]]  # [B], or [B, d] where each latent has its own


def negative_elbo(
    x: Float[Tensor, "B 1 32 32"], out: VAEOutput, *, kl_weight: float = 1.0
) -> Float[Tensor, ""]:
    """Batch mean of squared_error + kl_weight * KL, in loss units: what a VAE minimizes.

    At ``kl_weight`` = w this is, up to the factor w and a constant, the negative ELBO of Gaussian
    pixels of variance w/2.
    """
    kl = kl_to_standard_normal(out.mu, out.log_var)
    return (squared_error(x, out.x_hat) + kl_weight * kl).mean()


def pixel_mean_kl_weight(kl_weight: float, n_pixels: int = PIXELS) -> float:
    """The KL weight beside a mean over pixels that equals ``kl_weight`` beside the sum.

    sum + w KL = n_pixels * (mean + (w / n_pixels) KL): the same objective, scaled.
    """
    return kl_weight / n_pixels


def image_sum_kl_weight(pixel_mean_weight: float, n_pixels: int = PIXELS) -> float:
    """Inverse of :func:`pixel_mean_kl_weight`."""
    return pixel_mean_weight * n_pixels


@runtime_checkable
class Objective(Protocol):
    """What training minimizes. The loop calls it; it calls the model.

    To write an objective, subclass this, as a frozen dataclass whose fields are plain values or
    registered likelihoods, and give it ``terms`` and ``loss``; :func:`register_objective` names it,
    so that its runs can be stored. Without a name it trains all the same.
    """

    samples: int = 1  # latents drawn for each image

    def terms(
        self,
        model: Model,
        x: Float[Tensor, "B 1 32 32"],
        eps: Float[Tensor, "B K *noise"],
    ) -> Terms:
        """What the loss is made of: for each name [B], or [B, d] for a number per latent.

        Args:
            model: In training mode while it is trained.
            x: What :meth:`inputs` returned.
            eps: Standard normal noise: ``samples`` times ``model.noise_shape`` for each image.
        """
        ...

    def loss(self, terms: Terms, step: int) -> Float[Tensor, ""]:
        """One number from the terms of a batch, or of a whole set when a model is evaluated.

        Args:
            terms: As :meth:`terms` gives them. Means over the batch may be used in any way.
            step: Counts the optimizer's updates from 1, for warm-ups; an evaluation has that of
                the last update. After training it is larger than any warm-up
                (:data:`~lecture_vae.evaluation.TRAINED`).
        """
        ...

    def inputs(
        self, x: Float[Tensor, "B 1 32 32"], seed: int, step: int
    ) -> Float[Tensor, "B 1 32 32"]:
        """The images to learn from, by default ``x`` itself.

        Dynamic binarization returns ``bernoulli(x, seed, step)``, see
        :func:`~lecture_vae.randomness.bernoulli`. An evaluation passes all its images at once and
        step 0, so that it always sees the same.
        """
        return x


def _check_samples(samples: int) -> None:
    if not isinstance(samples, int) or isinstance(samples, bool) or samples < 1:
        raise ValueError(f"samples must be a whole number >= 1, got {samples!r}.")


@dataclass(frozen=True)
class SquaredError(Objective):
    """Objective of an autoencoder: the squared error alone."""

    def terms(self, model: Model, x: Tensor, eps: Tensor) -> Terms:
        """``squared_error`` of each image, in squared pixel units."""
        z = model.encode(x).sample(eps[:, 0])
        return {"squared_error": squared_error(x, model.decode(z))}

    def loss(self, terms: Terms, step: int) -> Tensor:
        """Its mean."""
        return terms["squared_error"].mean()


@dataclass(frozen=True)
class NegativeELBO(Objective):
    """Objective of a VAE: distortion + kl_weight * KL.

    With Gaussian pixels of variance v the distortion is S / (2v), at the default v = 1/2 the
    squared error S itself; with Bernoulli pixels it is the cross-entropy. The constants of
    log p(x | z) are left out.

    Args:
        kl_weight: w, beta of Higgins et al. (2017).
        likelihood: p(x | z).
        samples: Latents drawn for each image, over which the distortion is averaged.

    Raises:
        ValueError: If ``kl_weight`` is negative or not finite, or ``samples`` below 1.
    """

    kl_weight: float = 1.0
    likelihood: Likelihood = field(default_factory=GaussianPixels)
    samples: int = 1

    def __post_init__(self) -> None:
        if not (math.isfinite(self.kl_weight) and self.kl_weight >= 0):
            raise ValueError(
                f"kl_weight must be a finite number >= 0, got {self.kl_weight}. "
                "A negative weight would reward leaving the prior."
            )
        _check_samples(self.samples)
        # 1 and 1.0 are one objective: they must give one run.
        object.__setattr__(self, "kl_weight", float(self.kl_weight))

    def terms(self, model: Model, x: Tensor, eps: Tensor) -> Terms:
        """The likelihood's distortion, in its own unit, and ``kl`` in nats, of each image.

        Raises:
            TypeError: If the model is an autoencoder, which has no q(z | x).
        """
        q: Any = model.encode(x)
        if not hasattr(q, "kl"):
            raise TypeError(
                "a KL needs a distribution q(z | x), and an autoencoder gives only a point: what "
                f"{type(model).__name__}.encode returns has no kl(). "
                "Train it with SquaredError(), or take a VAE."
            )
        distortions = [
            self.likelihood.distortion(x, self.likelihood.parameters(model, q.sample(each)))
            for each in eps.unbind(1)
        ]
        distortion = sum(distortions[1:], distortions[0]) / self.samples
        return {self.likelihood.term: distortion, "kl": q.kl()}

    def loss(self, terms: Terms, step: int) -> Tensor:
        """Mean of distortion + kl_weight * KL, in loss units."""
        distortion = self.likelihood.nats(terms[self.likelihood.term])
        return (distortion + self.kl_weight * terms["kl"]).mean()


@dataclass(frozen=True)
class NegativeIWAE(Objective):
    """Objective of an importance-weighted autoencoder: minus a bound of log p(x), in nats.

    The bound is log( (1/K) sum_k p(x, z_k) / q(z_k | x) ), with K samples z_k from q(z | x). At
    K = 1 it is the ELBO in expectation, and it rises to log p(x) with K: Burda, Grosse &
    Salakhutdinov (2016), equation 8, arXiv:1509.00519. Every constant of p(x | z) is counted.

    Args:
        samples: K.
        likelihood: p(x | z).

    Raises:
        ValueError: If ``samples`` is below 1.
    """

    samples: int = 5
    likelihood: Likelihood = field(default_factory=GaussianPixels)

    def __post_init__(self) -> None:
        _check_samples(self.samples)

    def terms(self, model: Model, x: Tensor, eps: Tensor) -> Terms:
        """``negative_iwae``: minus the bound of each image, in nats.

        Raises:
            TypeError: If what the model's encoder gives has no density.
        """
        q: Any = model.encode(x)
        if not hasattr(q, "log_prob"):
            raise TypeError(
                f"an importance-weighted bound needs the density of q(z | x), and what "
                f"{type(model).__name__}.encode returns has no log_prob(z). Take a VAE."
            )
        log_weights = []
        for each in eps.unbind(1):
            z = q.sample(each)
            log_p_x = self.likelihood.log_prob(x, self.likelihood.parameters(model, z))
            log_weights.append(log_p_x + log_standard_normal(z) - q.log_prob(z))
        bound = torch.stack(log_weights).logsumexp(dim=0) - math.log(self.samples)
        return {"negative_iwae": -bound}

    def loss(self, terms: Terms, step: int) -> Tensor:
        """Its mean."""
        return terms["negative_iwae"].mean()


OBJECTIVES: Registry[Objective] = Registry("objective")
register_objective = OBJECTIVES.register
register_objective("squared-error", SquaredError)
register_objective("negative-elbo", NegativeELBO)
register_objective("negative-iwae", NegativeIWAE)
