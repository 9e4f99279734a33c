"""Losses: what training minimizes, and its terms.

Nothing here knows a network or an optimizer. An *objective* calls the model, computes *terms* for
every image, and reduces the terms of a batch to one number, the *loss*; see :class:`Objective`.

**Units.** The squared error S is summed over the pixels of an image, and the KL term is in nats.
S + w KL is in *loss units*, squared gray levels: up to the factor w and a constant it is the
negative ELBO of a Gaussian decoder of variance w/2. In nats that is S/w + KL + (D/2) log(pi w),
with D pixels: equation eq-notation-units of the page "Notation". The original lecture also uses the
mean over pixels; :func:`pixel_mean_kl_weight` converts between the two.
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

Terms = dict[str, Float[Tensor, "B ..."]]  # [B], or [B, d] with one value for each latent


def negative_elbo(
    x: Float[Tensor, "B 1 32 32"], out: VAEOutput, *, kl_weight: float = 1.0
) -> Float[Tensor, ""]:
    """Mean of S + w KL over a batch, in loss units: equation eq-def-lvae-loss of chapter 5.

    Up to the factor w and a constant it is the negative ELBO of a Gaussian decoder of variance w/2.

    Args:
        x: Images, [B, 1, 32, 32].
        out: What a VAE returned for them.
        kl_weight: w, 0 or more.

    Raises:
        ValueError: If the shapes of x and ``out.x_hat`` differ.

    Examples:
        >>> x, mu = torch.zeros(1, 1, 32, 32), torch.ones(1, 2)
        >>> out = VAEOutput(x_hat=x, mu=mu, log_var=torch.zeros(1, 2), z=mu)
        >>> negative_elbo(x, out, kl_weight=10.0)  # S = 0, KL = 2 * 1/2
        tensor(10.)
    """
    kl = kl_to_standard_normal(out.mu, out.log_var)
    return (squared_error(x, out.x_hat) + kl_weight * kl).mean()


def pixel_mean_kl_weight(kl_weight: float, n_pixels: int = PIXELS) -> float:
    """Convert a summed-error KL weight w to the per-pixel-mean convention, w' = w / D.

    S + w KL = D (S/D + w' KL), the same objective up to scale: equation eq-lvae-scale of chapter 5.

    Args:
        kl_weight: w, beside the sum over the pixels.
        n_pixels: D.

    Examples:
        >>> pixel_mean_kl_weight(1.0)  # 1 / 1024
        0.0009765625
    """
    return kl_weight / n_pixels


def image_sum_kl_weight(pixel_mean_weight: float, n_pixels: int = PIXELS) -> float:
    """Convert a per-pixel-mean KL weight w' to the summed-error convention, w = D w'.

    Args:
        pixel_mean_weight: w', beside the mean over the pixels.
        n_pixels: D.

    Examples:
        >>> image_sum_kl_weight(0.001)
        1.024
    """
    return pixel_mean_weight * n_pixels


@runtime_checkable
class Objective(Protocol):
    """What training minimizes: the loop calls the objective, and the objective calls the model.

    To write one, subclass this as a frozen dataclass whose fields are plain values or registered
    likelihoods, and define ``terms`` and ``loss``. Its runs can be stored once
    :func:`register_objective` has given it a name; it can be trained without one.

    Examples:
        >>> class RootMeanSquare(SquaredError):
        ...     def loss(self, terms, step):
        ...         return terms["squared_error"].mean().sqrt()
        >>> RootMeanSquare().loss({"squared_error": torch.tensor([20.0, 30.0])}, step=1)
        tensor(5.)
    """

    samples: int = 1  # latents drawn for each image

    def terms(
        self,
        model: Model,
        x: Float[Tensor, "B 1 32 32"],
        eps: Float[Tensor, "B K *noise"],
    ) -> Terms:
        """The terms of the loss: for each name [B], or [B, d] with one value for each latent.

        Args:
            model: In training mode while it is trained.
            x: What :meth:`inputs` returned, [B, 1, 32, 32].
            eps: Standard normal noise, ``[B, samples, *model.noise_shape]``.
        """
        ...

    def loss(self, terms: Terms, step: int) -> Float[Tensor, ""]:
        """The loss of a batch, a scalar; of all images when a model is evaluated.

        Args:
            terms: What :meth:`terms` returned. The loss need not be a mean over the images.
            step: The update, counted from 1, for warm-ups; in an evaluation, that of the last
                update. After training it is larger than any warm-up
                (:data:`~lecture_vae.evaluation.TRAINED`).
        """
        ...

    def inputs(
        self, x: Float[Tensor, "B 1 32 32"], seed: int, step: int
    ) -> Float[Tensor, "B 1 32 32"]:
        """The images to learn from, [B, 1, 32, 32]; by default ``x``.

        Dynamic binarization returns ``bernoulli(x, seed, step)``, see
        :func:`~lecture_vae.randomness.bernoulli`. An evaluation passes all its images at once and
        step 0, so that every evaluation has the same inputs.
        """
        return x


def _check_samples(samples: int) -> None:
    if not isinstance(samples, int) or isinstance(samples, bool) or samples < 1:
        raise ValueError(f"samples must be a whole number >= 1, got {samples!r}.")


@dataclass(frozen=True)
class SquaredError(Objective):
    """Objective of an autoencoder: the mean squared error S, summed over the pixels.

    Examples:
        >>> terms = {"squared_error": torch.tensor([20.0, 40.0])}
        >>> SquaredError().loss(terms, step=1)
        tensor(30.)
    """

    def terms(self, model: Model, x: Tensor, eps: Tensor) -> Terms:
        """``squared_error``, the S of each image, [B], in squared gray levels."""
        z = model.encode(x).sample(eps[:, 0])
        return {"squared_error": squared_error(x, model.decode(z))}

    def loss(self, terms: Terms, step: int) -> Tensor:
        """The mean of S, in squared gray levels."""
        return terms["squared_error"].mean()


@dataclass(frozen=True)
class NegativeELBO(Objective):
    """Objective of a VAE: distortion + w KL, without the constants of -log p(x | z).

    With a Gaussian decoder of variance v this is S / (2v) + w KL, equation eq-def-notation-loss of
    the page "Notation", and at the default v = 1/2 it is S + w KL; with a Bernoulli decoder the
    distortion is the cross-entropy. Kingma & Welling (2014), arXiv:1312.6114; the weight is the
    beta of Higgins et al. (2017).

    Args:
        kl_weight: w, 0 or more.
        likelihood: p(x | z).
        samples: K, latents drawn for each image, over which the distortion is averaged.

    Raises:
        ValueError: If ``kl_weight`` is negative or not finite, or ``samples`` below 1.

    Examples:
        >>> objective = NegativeELBO(kl_weight=2.0)
        >>> terms = {"squared_error": torch.tensor([20.0]), "kl": torch.tensor([5.0])}
        >>> objective.loss(terms, step=1)  # 20 + 2 * 5
        tensor(30.)
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
        """The likelihood's distortion, in its own unit, and ``kl`` in nats; each [B].

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
        """The mean of distortion + w KL, in loss units."""
        distortion = self.likelihood.nats(terms[self.likelihood.term])
        return (distortion + self.kl_weight * terms["kl"]).mean()


@dataclass(frozen=True)
class NegativeIWAE(Objective):
    """Objective of an importance-weighted autoencoder: minus a lower bound of log p(x), in nats.

    The bound is log( (1/K) sum_k p(x, z_k) / q(z_k | x) ), with K samples z_k from q(z | x). Its
    expectation is the ELBO at K = 1 and increases to log p(x) with K: Burda, Grosse & Salakhutdinov
    (2016), equation 8, arXiv:1509.00519. The constants of log p(x | z) are included.

    Args:
        samples: K, at least 1.
        likelihood: p(x | z).

    Raises:
        ValueError: If ``samples`` is below 1.

    Examples:
        >>> x, eps = torch.zeros(2, 1, 32, 32), torch.zeros(2, 5, 2)
        >>> terms = NegativeIWAE(samples=5).terms(build_model("linear-vae"), x, eps)
        >>> terms["negative_iwae"].shape
        torch.Size([2])
    """

    samples: int = 5
    likelihood: Likelihood = field(default_factory=GaussianPixels)

    def __post_init__(self) -> None:
        _check_samples(self.samples)

    def terms(self, model: Model, x: Tensor, eps: Tensor) -> Terms:
        """``negative_iwae``, minus the bound of each image, [B], in nats.

        Raises:
            TypeError: If what the encoder returns has no density, as in an autoencoder.
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
        """The mean over the batch, in nats."""
        return terms["negative_iwae"].mean()


OBJECTIVES: Registry[Objective] = Registry("objective")
register_objective = OBJECTIVES.register
register_objective("squared-error", SquaredError)
register_objective("negative-elbo", NegativeELBO)
register_objective("negative-iwae", NegativeIWAE)
