"""Objectives that are not in the package, written with its public names alone."""

from dataclasses import dataclass, field

from lecture_vae import (
    BernoulliPixels,
    Likelihood,
    NegativeELBO,
    Objective,
    bernoulli,
    squared_error,
)

PIXELS = 1024


@dataclass(frozen=True)
class WarmUp(Objective):
    """Squared error + weight * KL, where the weight rises from 0 over the first steps."""

    weight: float = 1.0
    warm_up: int = 20

    def terms(self, model, x, eps):
        q = model.encode(x)
        return {"squared_error": squared_error(x, model.decode(q.sample(eps[:, 0]))), "kl": q.kl()}

    def loss(self, terms, step):
        weight = self.weight * min(step / self.warm_up, 1)
        return terms["squared_error"].mean() + weight * terms["kl"].mean()


@dataclass(frozen=True)
class FreeBits(Objective):
    """Squared error + KL, of which the first nats of each latent are free.

    Kingma et al. (2016), arXiv:1606.04934: the KL of a latent counts as its mean over a batch.
    """

    nats: float = 0.5

    def terms(self, model, x, eps):
        q = model.encode(x)
        kl = 0.5 * (q.mu.square() + q.log_var.exp() - 1 - q.log_var)
        return {"squared_error": squared_error(x, model.decode(q.sample(eps[:, 0]))), "kl": kl}

    def loss(self, terms, step):
        return terms["squared_error"].mean() + terms["kl"].mean(0).clamp(min=self.nats).sum()


@dataclass(frozen=True)
class FittedVariance(Objective):
    """Negative ELBO, but for a constant, at the decoder variance that fits a batch best.

    That is S / D, with S the mean squared error: Rybkin, Daniilidis & Levine (2021),
    arXiv:2006.13202.
    """

    def terms(self, model, x, eps):
        q = model.encode(x)
        return {"squared_error": squared_error(x, model.decode(q.sample(eps[:, 0]))), "kl": q.kl()}

    def loss(self, terms, step):
        variance = terms["squared_error"].mean() / PIXELS
        return PIXELS / 2 * variance.log() + terms["kl"].mean()


@dataclass(frozen=True)
class Binarized(NegativeELBO):
    """The negative ELBO of images whose pixels are drawn anew at each step."""

    likelihood: Likelihood = field(default_factory=BernoulliPixels)

    def inputs(self, x, seed, step):
        return bernoulli(x, seed, step)
