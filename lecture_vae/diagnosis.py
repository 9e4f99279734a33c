"""Diagnosis: what a trained VAE did, in one table, with a verdict.

It takes any run whose encoder gives a q(z | x) with ``kl`` and ``log_prob``. With Gaussian pixels
of variance v the objective S / (2v) + w KL is, up to a factor, S + 2 v w KL. So its weight in the
loss S + w KL, the *effective weight*, is 2 v w: thresholds and the implied sigma depend on it.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lecture_vae.bounds import elbo, iwae_bound
from lecture_vae.calibration import bits_per_dim, calibrated_variance
from lecture_vae.data import ImageData
from lecture_vae.diagnostics import (
    active_units,
    collapse_weights,
    kl_per_latent,
    principal_variances,
    used_latents,
)
from lecture_vae.evaluation import evaluate
from lecture_vae.evidence import evaluating, log_evidence
from lecture_vae.likelihoods import BernoulliPixels, GaussianPixels, Likelihood
from lecture_vae.losses import NegativeELBO
from lecture_vae.models import PIXELS
from lecture_vae.store import Run

__all__ = ["Diagnosis", "diagnose_run", "implied_likelihood"]

SAMPLES = 64  # K of the importance-weighted bound, and samples of the ELBO
UNITS = {
    "squared_error": "squared gray levels, z drawn from q",
    "squared_error_at_mean": "squared gray levels, z = mu",
    "kl": "nats",
    "kl_per_latent": "nats",
    "predicted_latents": "that the best affine VAE uses",
    "effective_weight": "w of the loss S + w KL",
    "first_threshold": "w above which the best affine VAE uses none",
    "calibrated_weight": "w = 2 S / D",
    "implied_sigma": "gray levels, sqrt(w / 2)",
    "calibrated_sigma": "gray levels, sqrt(S / D)",
    "elbo": "nats per image",
    "iwae_64": "nats per image",
    "log_evidence": "nats per image, by quadrature",
    "log_evidence_error": "nats, at most",
    "bits_per_dim": "bits, of the tightest of these",
}
MANY = 8  # latents whose KL is shown; all are in the JSON
FACTOR = 2.0  # a weight within this factor of the calibrated one counts as calibrated


@dataclass(frozen=True)
class Diagnosis:
    """What :func:`diagnose_run` found: means over the images; None where a row has no meaning.

    Examples:
        >>> data, config = load_images("digits"), TrainConfig(steps=2, eval_every=1)
        >>> run = fetch_run("linear-vae", NegativeELBO(100.0), data, config, store=None)
        >>> diagnose_run(run, data, images=50).verdict
        'collapsed because w > 2 lambda'
    """

    model: str
    data: str
    images: int
    squared_error: float  # S with z drawn from q(z | x), squared gray levels
    squared_error_at_mean: float  # S at z = mu
    kl: float  # nats
    kl_per_latent: list[float]  # nats
    active_latents: int
    predicted_latents: int | None  # that the best affine VAE of this weight uses
    effective_weight: float | None  # w of the loss S + w KL
    first_threshold: float | None  # 2 lambda_1: above it the best affine VAE uses no latent
    calibrated_weight: float | None  # 2 S / D
    implied_sigma: float | None  # sqrt(w / 2), gray levels
    calibrated_sigma: float | None  # sqrt(S / D), gray levels
    elbo: float  # nats
    iwae_64: float  # nats
    log_evidence: float | None  # nats, with one or two latents
    log_evidence_error: float | None  # nats, the mean estimate
    bits_per_dim: float  # of the tightest of the three
    verdict: str
    reason: str

    def rows(self) -> list[tuple[str, str]]:
        """The diagnosis as names and texts with their units, for the screen.

        What has no meaning for this run is left out.
        """
        found = []
        for name, value in asdict(self).items():
            if value is not None:
                unit = f"  ({UNITS[name]})" if name in UNITS else ""
                found.append((name.replace("_", " "), _shown(value) + unit))
        return found


def diagnose_run(run: Run, data: ImageData, *, images: int | None = 1000) -> Diagnosis:
    """What a VAE did: terms, latents used and predicted, sigmas, bounds and evidence, a verdict.

    Log-densities are those of the likelihood that the loss implies: Gaussian pixels of variance
    w / 2, w the effective weight; where the objective names another likelihood, of that one; and of
    the calibrated Gaussian where it names none.

    Args:
        run: Of a model whose encoder gives a q(z | x) with ``kl`` and ``log_prob``.
        data: On which it was trained. The prediction is made from its training images.
        images: How many of its test images are used; None for all.

    Raises:
        TypeError: If the run's encoder gives only a point.
        ValueError: If ``images`` is below 2.

    Examples:
        >>> data, config = load_images("digits"), TrainConfig(steps=2, eval_every=1)
        >>> run = fetch_run("linear-vae", NegativeELBO(1.0), data, config, store=None)
        >>> found = diagnose_run(run, data, images=50)
        >>> found.predicted_latents, found.elbo <= found.log_evidence
        (2, True)
    """
    if images is not None and images < 2:
        raise ValueError(f"a diagnosis needs 2 images or more, got {images}.")
    model, objective = run.model, run.spec.objective
    x = objective.inputs(data.test.images[:images], 0, 0)  # binarized, where the training is
    with evaluating(model):
        q: Any = model.encode(x.to(next(model.parameters())))
    if not (hasattr(q, "kl") and hasattr(q, "log_prob")):
        raise TypeError(
            f"a diagnosis needs a VAE, whose encoder gives a distribution q(z | x), and "
            f"{run.spec.model} gives a {type(q).__name__} without kl() or log_prob(z). "
            "An autoencoder has no KL and no evidence; for the codes of a VQ-VAE there are "
            "perplexity and fit_code_prior."
        )
    sampled, at_mean = (evaluate(model, NegativeELBO(), x, seed=seed).terms for seed in (0, None))
    s = sampled["squared_error"]
    likelihood, weight = implied_likelihood(objective, s, x[0].numel())
    bound = elbo(model, x, likelihood=likelihood, samples=SAMPLES).mean().item()
    iwae = iwae_bound(model, x, likelihood=likelihood, samples=SAMPLES).mean().item()
    exact = None
    if torch.Size(model.latent_shape).numel() <= 2:
        exact = log_evidence(model, x, likelihood=likelihood)
    best = iwae if exact is None else exact.log_prob.mean().item()
    discrete = isinstance(likelihood, BernoulliPixels)
    shares, active = _latents(q)
    predicted = threshold = calibrated = None
    if not discrete:
        calibrated = 2 * calibrated_variance(s, x[0].numel())
    if weight is not None:
        variances = principal_variances(data.train.images)[: len(shares)]
        predicted, threshold = (
            used_latents(weight, variances),
            float(collapse_weights(variances)[0]),
        )
    verdict, reason = _verdict(active, len(shares), predicted, weight, threshold, calibrated)
    if discrete and not ((x == 0) | (x == 1)).all():
        reason += (
            " The images are gray, though, and of gray levels a cross-entropy is a loss and no "
            "log-probability: train with BinarizedELBO to have bits that can be compared."
        )
    return Diagnosis(
        model=run.spec.model,
        data=data.name,
        images=len(x),
        squared_error=s,
        squared_error_at_mean=at_mean["squared_error"],
        kl=sampled["kl"],
        kl_per_latent=shares.tolist(),
        active_latents=active,
        predicted_latents=predicted,
        effective_weight=weight,
        first_threshold=threshold,
        calibrated_weight=calibrated,
        implied_sigma=None if weight is None else math.sqrt(weight / 2),
        calibrated_sigma=None if calibrated is None else math.sqrt(calibrated / 2),
        elbo=bound,
        iwae_64=iwae,
        log_evidence=None if exact is None else best,
        log_evidence_error=None if exact is None else exact.error.mean().item(),
        bits_per_dim=bits_per_dim(best, x[0].numel(), 1 if discrete else 256),
        verdict=verdict,
        reason=reason,
    )


def _latents(q: Any) -> tuple[Float[Tensor, " d"], int]:
    """KL of each latent in nats, and how many are active; of a q that is no diagonal Gaussian, all.

    Such a q has no mean and variance of each latent, only the KL of all.
    """
    if hasattr(q, "mu") and hasattr(q, "log_var"):
        return kl_per_latent(q.mu, q.log_var), int(active_units(q.mu).sum())
    return q.kl().mean()[None], int(active_units(q.code.float()).sum())


def implied_likelihood(
    objective: Any, s: float, pixels: int = PIXELS
) -> tuple[Likelihood, float | None]:
    """The likelihood p(x | z) under which the loss is a negative ELBO, and the effective weight.

    Args:
        objective: Of a run.
        s: S of the run, the mean squared error with z drawn from q(z | x).
        pixels: D.

    Returns:
        Gaussian pixels of half the effective weight; the objective's own likelihood where its
        pixels are not Gaussian; the calibrated Gaussian where it names none. The weight is None
        in the latter two cases.

    Examples:
        >>> implied_likelihood(NegativeELBO(4.0), s=30.0)
        (GaussianPixels(variance=2.0), 4.0)
    """
    likelihood = getattr(objective, "likelihood", None)
    weight = float(getattr(objective, "kl_weight", 1.0))
    if likelihood is not None and not isinstance(likelihood, GaussianPixels):
        return likelihood, None
    if likelihood is not None and weight > 0:
        effective = 2 * likelihood.variance * weight
        return GaussianPixels(effective / 2), effective
    return GaussianPixels(calibrated_variance(s, pixels)), None


def _verdict(
    active: int,
    latents: int,
    predicted: int | None,
    weight: float | None,
    threshold: float | None,
    calibrated: float | None,
) -> tuple[str, str]:
    """A verdict, and one sentence why."""
    if weight is None or predicted is None or threshold is None:
        if active == 0:
            return "collapsed", f"none of the {latents} latents is active."
        return (
            "healthy",
            f"{active} of {latents} latents are active. The loss implies no decoder variance, so "
            "that there is no threshold to compare with and nothing to calibrate.",
        )
    if active == 0 and predicted == 0:
        return (
            "collapsed because w > 2 lambda",
            f"w = {weight:.3g} is above 2 lambda_1 = {threshold:.3g}: the best affine VAE uses no "
            "latent, however it is trained. Take a smaller weight.",
        )
    if active < predicted:
        return (
            "collapsed although it need not be",
            f"{active} of {latents} latents are active, and at w = {weight:.3g} the best affine "
            f"VAE uses {predicted}. Start from a smaller weight, or let it rise while training.",
        )
    if calibrated is not None and not 1 / FACTOR < weight / calibrated < FACTOR:
        return (
            "miscalibrated",
            f"{active} of {latents} latents are active, but w = {weight:.3g} implies errors of "
            f"sigma = {math.sqrt(weight / 2):.3g} gray levels, and they are "
            f"{math.sqrt(calibrated / 2):.3g}: w = 2 S / D = {calibrated:.3g} would fit them.",
        )
    few = "" if predicted == latents else f", and the best affine VAE uses {predicted}"
    return (
        "healthy",
        f"{active} of {latents} latents are active{few}; the weight fits the errors within a "
        f"factor of {FACTOR:g}.",
    )


def _shown(value: Any) -> str:
    """A value as text; of a large number one decimal, of a small one three digits."""
    if isinstance(value, float):
        return f"{value:.1f}" if abs(value) >= 100 else f"{value:.3g}"
    if isinstance(value, list):
        shown = " ".join(f"{each:.2f}" for each in value[:MANY])
        return shown + (f" and {len(value) - MANY} more" if len(value) > MANY else "")
    return str(value)
