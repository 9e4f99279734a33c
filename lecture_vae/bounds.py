"""Bounds: the ELBO and the importance-weighted bounds of log p(x), image by image, in nats.

Both include the constants of log p(x | z), so that models of different likelihoods can be compared:
ELBO <= bound of K samples <= log p(x), on average over the noise.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lecture_vae.distributions import PerImage
from lecture_vae.evidence import evaluating, log_evidence
from lecture_vae.likelihoods import GaussianPixels, Likelihood
from lecture_vae.losses import NegativeIWAE
from lecture_vae.models import Model
from lecture_vae.quadrature import LatentGrid
from lecture_vae.randomness import evaluation_noise

__all__ = ["elbo", "iwae_bound", "posterior_gap"]

IMAGES = 250  # at a time


def elbo(
    model: Model,
    x: Float[Tensor, "N 1 32 32"],
    *,
    likelihood: Likelihood | None = None,
    samples: int = 64,
    seed: int = 0,
) -> PerImage:
    """The ELBO of each image: E_q log p(x | z) - KL( q(z | x) || p(z) ).

    Equation eq-elbo-split of chapter 3. The KL is exact; the expectation is a mean over samples.

    Args:
        model: A VAE: ``encode`` must give a q with ``kl``.
        x: Images in [0, 1].
        likelihood: p(x | z); by default Gaussian pixels of variance 1/2.
        samples: Latents drawn for each image.
        seed: Of the noise.

    Returns:
        [N], in nats.

    Raises:
        TypeError: If the model is an autoencoder.

    Examples:
        >>> elbo(build_model("linear-vae"), torch.zeros(3, 1, 32, 32)).shape
        torch.Size([3])
    """
    likelihood = likelihood or GaussianPixels()
    bounds = []
    with evaluating(model):
        for images, eps in _batches(model, x, samples, seed):
            q: Any = _posterior(model, images, "kl")
            log_probs = [
                likelihood.log_prob(images, likelihood.parameters(model, q.sample(each)))
                for each in eps.unbind(1)
            ]
            bounds.append(torch.stack(log_probs).mean(dim=0) - q.kl())
    return torch.cat(bounds)


def iwae_bound(
    model: Model,
    x: Float[Tensor, "N 1 32 32"],
    *,
    samples: int = 64,
    likelihood: Likelihood | None = None,
    seed: int = 0,
) -> PerImage:
    """The importance-weighted bound of log p(x) of each image.

    log( (1/K) sum_k p(x | z_k) p(z_k) / q(z_k | x) ) with K samples from q(z | x): Burda, Grosse &
    Salakhutdinov (2016), arXiv:1509.00519. Its mean over the noise is the ELBO at K = 1, never
    falls with K, and goes to log p(x).

    Args:
        model: A VAE: ``encode`` must give a q with ``log_prob``.
        x: Images in [0, 1].
        samples: K.
        likelihood: p(x | z); by default Gaussian pixels of variance 1/2.
        seed: Of the noise.

    Returns:
        [N], in nats.

    Raises:
        TypeError: If the model is an autoencoder.
        ValueError: If ``samples`` is below 1.

    Examples:
        >>> iwae_bound(build_model("linear-vae"), torch.rand(20, 1, 32, 32), samples=100).shape
        torch.Size([20])
    """
    objective = NegativeIWAE(samples, likelihood or GaussianPixels())
    bounds = []
    with evaluating(model):
        for images, eps in _batches(model, x, samples, seed):
            bounds.append(-objective.terms(model, images, eps)["negative_iwae"])
    return torch.cat(bounds)


def posterior_gap(
    model: Model,
    x: Float[Tensor, "N 1 32 32"],
    *,
    likelihood: Likelihood | None = None,
    grid: LatentGrid | None = None,
    samples: int = 64,
    seed: int = 0,
) -> PerImage:
    """KL( q(z | x) || p(z | x) ) of each image: log p(x) by quadrature minus the ELBO.

    Equation eq-elbo-identity of chapter 3. It is never negative, up to the noise of the ELBO's
    samples.

    Args:
        model: A VAE with one or two latents.
        x: Images in [0, 1].
        likelihood: p(x | z); by default Gaussian pixels of variance 1/2.
        grid: As for :func:`~lecture_vae.evidence.log_evidence`.
        samples: As for :func:`elbo`.
        seed: As for :func:`elbo`.

    Returns:
        [N], in nats; float64.

    Raises:
        TypeError: If the model is an autoencoder.
        ValueError: If the model has more than two latents.

    Examples:
        >>> gap = posterior_gap(build_model("linear-vae"), torch.zeros(1, 1, 32, 32))
        >>> bool(gap > 0)
        True
    """
    bound = elbo(model, x, likelihood=likelihood, samples=samples, seed=seed)
    exact = log_evidence(model, x, likelihood=likelihood, grid=grid).log_prob
    return exact - bound.cpu().double()


def _batches(model: Model, x: Tensor, samples: int, seed: int) -> Any:
    like = next(model.parameters())
    eps = evaluation_noise((len(x), samples, *model.noise_shape), seed)
    pairs = zip(x.split(IMAGES), eps.split(IMAGES), strict=True)
    return ((images.to(like), each.to(like)) for images, each in pairs)


def _posterior(model: Model, x: Tensor, needs: str) -> Any:
    q = model.encode(x)
    if not hasattr(q, needs):
        raise TypeError(
            f"a bound needs a distribution q(z | x), and an autoencoder gives only a point: what "
            f"{type(model).__name__}.encode returns has no {needs}(). Take a VAE."
        )
    return q
