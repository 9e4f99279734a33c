"""Remedies against collapse, as objectives: KL warm-up, free bits, and a fitted decoder variance.

They follow :mod:`~lecture_vae.losses` and share its units: S is a squared error in squared gray
levels, the KL is in nats, and D is the number of pixels of an image. Chapter 8 derives and tries
them. A fourth remedy, a warm start from the weights of another run, needs no objective: it is the
field ``start_from`` of a :class:`~lecture_vae.recipe.RunSpec`.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lecture_vae.losses import NegativeELBO, Objective, Terms, register_objective
from lecture_vae.models import PIXELS, Model

__all__ = ["FittedVariance", "FreeBits", "KLWarmUp"]


@dataclass(frozen=True)
class KLWarmUp(NegativeELBO):
    """:class:`~lecture_vae.losses.NegativeELBO` whose KL weight rises from 0 to w, then stays.

    In update t of the first ``warm_up`` the weight is w t / warm_up: equation eq-def-col-warm-up of
    chapter 8. Bowman et al. (2016), section 3.1. After training its loss is that of
    ``NegativeELBO(w)``.

    Args:
        warm_up: Updates until the weight is w, at least 1.

    Raises:
        ValueError: If ``warm_up`` is below 1, or as ``NegativeELBO``.

    Examples:
        >>> objective = KLWarmUp(kl_weight=4.0, warm_up=100)
        >>> terms = {"squared_error": torch.tensor([20.0]), "kl": torch.tensor([5.0])}
        >>> objective.loss(terms, step=25), objective.loss(terms, step=1_000)  # weights 1 and 4
        (tensor(25.), tensor(40.))
    """

    warm_up: int = 1_000

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.warm_up, int) or self.warm_up < 1:
            raise ValueError(f"warm_up must be a whole number of steps >= 1, got {self.warm_up!r}.")

    def loss(self, terms: Terms, step: int) -> Tensor:
        """The mean of distortion + w min(1, step / warm_up) KL, in loss units."""
        weight = self.kl_weight * min(1.0, step / self.warm_up)
        distortion = self.likelihood.nats(terms[self.likelihood.term])
        return (distortion + weight * terms["kl"]).mean()


@dataclass(frozen=True)
class FreeBits(NegativeELBO):
    """Each latent's KL, averaged over the batch, costs nothing up to ``free`` nats.

    The loss is S + w sum_j max(free, KL_j), equation eq-def-col-free-bits of chapter 8. Kingma et
    al. (2016), arXiv:1606.04934.

    Args:
        free: Nats of each latent that cost nothing, 0 or more.

    Raises:
        ValueError: If ``free`` is negative or not finite, or as ``NegativeELBO``.

    Examples:
        >>> objective = FreeBits(kl_weight=2.0, free=0.5)
        >>> kl = torch.tensor([[0.1, 3.0]])  # of two latents: 20 + 2 (0.5 + 3)
        >>> objective.loss({"squared_error": torch.tensor([20.0]), "kl": kl}, step=1)
        tensor(27.)
    """

    free: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (math.isfinite(self.free) and self.free >= 0):
            raise ValueError(f"free must be a finite number of nats >= 0, got {self.free}.")
        object.__setattr__(self, "free", float(self.free))  # 1 and 1.0 are one objective

    def terms(self, model: Model, x: Tensor, eps: Tensor) -> Terms:
        """The likelihood's distortion, [B], and ``kl`` of each latent in nats, [B, d]."""
        q: Any = model.encode(x)
        distortions = [
            self.likelihood.distortion(x, self.likelihood.parameters(model, q.sample(each)))
            for each in eps.unbind(1)
        ]
        mu, log_var = q.mu.flatten(1), q.log_var.flatten(1)
        return {
            self.likelihood.term: torch.stack(distortions).mean(dim=0),
            "kl": 0.5 * (mu.square() + log_var.exp() - 1 - log_var),
        }

    def loss(self, terms: Terms, step: int) -> Tensor:
        """The mean distortion + w sum_j max(free, mean KL_j), in loss units."""
        kl = terms["kl"].mean(dim=0).clamp(min=self.free).sum()
        distortion = self.likelihood.nats(terms[self.likelihood.term])
        return distortion.mean() + self.kl_weight * kl


@dataclass(frozen=True)
class FittedVariance(Objective):
    """The negative ELBO of Gaussian pixels whose variance is the best one, S/D, at every moment.

    (D/2) (log(2 pi S/D) + 1) + KL with the mean S of the batch, in nats: equation
    eq-col-fitted-loss of chapter 8. It has no KL weight; its gradient is that of S + w KL with
    w = 2S/D, up to a factor. Rybkin, Daniilidis & Levine (2021), arXiv:2006.13202.

    Examples:
        >>> S, kl = torch.tensor([1024 / 6.283185307]), torch.tensor([5.0])  # 2 pi S/D = 1
        >>> FittedVariance().loss({"squared_error": S, "kl": kl}, step=1)  # 512 (0 + 1) + 5
        tensor(517.)
    """

    def terms(self, model: Model, x: Tensor, eps: Tensor) -> Terms:
        """``squared_error`` in squared gray levels and ``kl`` in nats; each [B]."""
        return NegativeELBO().terms(model, x, eps)

    def loss(self, terms: Terms, step: int) -> Tensor:
        """The negative ELBO at the variance S/D, in nats per image; S is the mean over the images.

        A single z is drawn for each image, and S is that of the batch, so that the fitted variance
        varies a little from batch to batch.
        """
        variance = terms["squared_error"].mean() / PIXELS
        return PIXELS / 2 * ((2 * math.pi * variance).log() + 1) + terms["kl"].mean()


register_objective("kl-warm-up", KLWarmUp)
register_objective("free-bits", FreeBits)
register_objective("fitted-variance", FittedVariance)
