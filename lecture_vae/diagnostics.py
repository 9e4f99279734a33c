"""Diagnostics: which latents of a trained VAE are active, and the loss of a collapsed one.

Latents in, numbers out. Nothing here runs a model or draws. N images of D pixels, gray levels in
[0, 1]. Latents may have any shape; they are flattened, d for each image.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lecture_vae.distributions import kl_to_standard_normal

__all__ = [
    "AffineVAEOptimum",
    "RateDistortion",
    "active_units",
    "affine_vae_optimum",
    "collapse_weights",
    "kl_per_latent",
    "principal_plane",
    "principal_variances",
    "rate_distortion",
    "total_variance",
    "used_latents",
]


def kl_per_latent(
    mu: Float[Tensor, "N ..."], log_var: Float[Tensor, "N ..."]
) -> Float[Tensor, " d"]:
    """KL_j: the mean over the images of KL( q(z_j | x) || N(0, 1) ) for each latent j, in nats.

    It is 0 for a collapsed latent. The sum over the latents is the KL term of the negative ELBO:
    equation eq-gkl-latent-sum of chapter 4.

    Args:
        mu: Means of q(z | x), [N, ...].
        log_var: Log-variances of q(z | x), of the same shape.

    Returns:
        [d], in nats.

    Raises:
        ValueError: If the shapes differ.

    Examples:
        >>> mu = torch.tensor([[2.0, 0.0], [-2.0, 0.0]])  # the second latent has collapsed
        >>> kl_per_latent(mu, log_var=torch.zeros(2, 2))
        tensor([2., 0.])
    """
    # Posterior and prior factorize over the latents.
    kl = kl_to_standard_normal(mu.reshape(-1, 1), log_var.reshape(-1, 1))
    return kl.reshape(len(mu), -1).mean(dim=0)


def active_units(mu: Float[Tensor, "N ..."], threshold: float = 0.01) -> Bool[Tensor, " d"]:
    """Which latents are active: True where the variance of mu_j over the images is > threshold.

    Definition and threshold: Burda, Grosse & Salakhutdinov (2016), section 5.2, arXiv:1509.00519;
    definition def-lvae-active of chapter 5. A collapsed latent has variance 0.

    Args:
        mu: Means of q(z | x), [N, ...].
        threshold: Of the variance, in squared units of the latent.

    Returns:
        [d].

    Raises:
        ValueError: If there are fewer than two images.

    Examples:
        >>> active_units(torch.tensor([[2.0, 0.0], [-2.0, 0.0]]))  # variances 4 and 0
        tensor([ True, False])
    """
    if len(mu) < 2:
        raise ValueError(
            f"active units need the means of at least 2 images, got {len(mu)}. "
            "Did you pass a single code instead of the codes of a test set?"
        )
    return mu.flatten(1).var(dim=0, correction=0) > threshold


def total_variance(images: Float[Tensor, "N ..."]) -> float:
    """Total variance of the images: the sum of the variances of the pixels, in squared gray levels.

    It is the mean squared error of the mean image, which is the best reconstruction of a decoder
    that ignores z: the lowest S of a collapsed model. Equation eq-lvae-mean-image of chapter 5.

    Args:
        images: [N, ...], gray levels.

    Examples:
        >>> images = torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1).expand(2, 1, 32, 32)
        >>> total_variance(images)  # 1,024 pixels of variance 1/4
        256.0
    """
    return images.flatten(1).var(dim=0, correction=0).double().sum().item()


def principal_variances(images: Float[Tensor, "N ..."]) -> Float[Tensor, " D"]:
    """lambda_j: the variances along the principal directions, in descending order.

    They are the eigenvalues of the covariance matrix of the pixels; their sum is
    :func:`total_variance`. An affine VAE of KL weight w uses latent j only if w < 2 lambda_j:
    Lucas, Tucker, Grosse & Norouzi (2019), arXiv:1911.02469; theorem thm-lvae-threshold of
    chapter 5.

    Args:
        images: [N, ...] of D numbers for each image, gray levels.

    Returns:
        [D], float64, in squared gray levels.

    Examples:
        >>> images = torch.tensor([[3.0, 1.0], [3.0, -1.0], [-3.0, 1.0], [-3.0, -1.0]])
        >>> principal_variances(images)
        tensor([9., 1.], dtype=torch.float64)
    """
    flat = images.flatten(1).double()
    centered = flat - flat.mean(dim=0)
    eigenvalues: Tensor = torch.linalg.eigvalsh(centered.T @ centered / len(centered))
    return eigenvalues.flip(0)


class AffineVAEOptimum(NamedTuple):
    """What the best affine VAE scores, as :func:`affine_vae_optimum` finds it.

    Examples:
        Its loss at the weight w = 9 is S + w KL, in loss units:

        >>> best = affine_vae_optimum(9.0, torch.tensor([6.5, 4.0]), total_variance=50.0)
        >>> round(best.squared_error + 9.0 * best.kl.sum().item(), 2)
        49.65
    """

    squared_error: float  # squared gray levels per image, summed over the pixels
    kl: Float[Tensor, " d"]  # of each latent, nats per image


def collapse_weights(variances: Float[Tensor, " d"]) -> Float[Tensor, " d"]:
    """KL weights at which the latents of an affine VAE collapse: w = 2 lambda.

    Trained on the loss S + w KL, the best affine VAE uses latent i for principal direction i, of
    variance lambda_i, only while w < 2 lambda_i. Lucas, Tucker, Grosse & Norouzi (2019),
    arXiv:1911.02469, section 4.

    Args:
        variances: As :func:`principal_variances` gives them, in squared gray levels.

    Example:
        >>> collapse_weights(torch.tensor([6.5, 4.0]))
        tensor([13.,  8.])
    """
    return 2 * variances


def affine_vae_optimum(
    kl_weight: float, variances: Float[Tensor, " d"], total_variance: float
) -> AffineVAEOptimum:
    """Squared error and KL of the affine VAE with d latents whose loss S + w KL is least.

    A direction that has a latent leaves w / 2 of its variance lambda as squared error, and its
    latent costs 1/2 log(2 lambda / w) nats. A direction that has none, as every one of which
    w >= 2 lambda, leaves its whole variance, and its latent costs nothing.

    The model is :class:`~lecture_vae.networks.AffineVAE`. A
    :class:`~lecture_vae.networks.LinearVAE` has nonlinear layers and may do better.

    Args:
        kl_weight: w, above 0.
        variances: The d largest principal variances of the images, in squared gray levels.
        total_variance: Of the same images, see :func:`total_variance`.

    Raises:
        ValueError: If the weight is not positive: without a KL term the optimum has no finite KL.

    Example:
        At w = 9 the second latent has collapsed. Of 50 squared gray levels the first one saves
        6.5 - 9 / 2.

        >>> best = affine_vae_optimum(9.0, torch.tensor([6.5, 4.0]), total_variance=50.0)
        >>> best.squared_error
        48.0
        >>> best.kl
        tensor([0.1839, 0.0000])
    """
    if not kl_weight > 0:
        raise ValueError(
            f"the optimum of an affine VAE needs a KL weight above 0, got {kl_weight}. Without a "
            "KL term its posterior shrinks to a point, and the KL is infinite."
        )
    saved = (variances - kl_weight / 2).clamp(min=0).sum().item()
    kl = 0.5 * torch.log(collapse_weights(variances) / kl_weight).clamp(min=0)
    return AffineVAEOptimum(total_variance - saved, kl)


def used_latents(kl_weight: float, variances: Float[Tensor, " d"]) -> int:
    """How many latents the best affine VAE uses: those with w < 2 lambda_i.

    Args:
        kl_weight: w, of the loss S + w KL; 0 or more.
        variances: The d largest principal variances of the images, in squared gray levels.

    Examples:
        >>> used_latents(9.0, torch.tensor([6.5, 4.0]))  # the thresholds are 13 and 8
        1
    """
    return int((kl_weight < collapse_weights(variances)).sum())


class RateDistortion(NamedTuple):
    """What the best affine VAE scores at each of W KL weights: :func:`rate_distortion`.

    Examples:
        >>> curve = rate_distortion([1.0, 100.0], torch.tensor([6.5, 4.0]), total_variance=50.0)
        >>> curve.rate[1].item(), curve.distortion[1].item()  # collapsed
        (0.0, 50.0)
    """

    rate: Float[Tensor, " W"]  # KL, summed over the latents, nats per image
    distortion: Float[Tensor, " W"]  # S, squared gray levels per image


def rate_distortion(
    kl_weights: Sequence[float], variances: Float[Tensor, " d"], total_variance: float
) -> RateDistortion:
    """Rate and distortion of the affine VAEs whose loss S + w KL is least, for several weights.

    With as many latents as there are principal directions this is the rate-distortion function of a
    Gaussian source, by reverse water-filling: Cover & Thomas (2006), theorem 10.3.3; chapter 5.

    Args:
        kl_weights: W weights w, each above 0.
        variances: As for :func:`affine_vae_optimum`.
        total_variance: As for :func:`affine_vae_optimum`.

    Raises:
        ValueError: If a weight is not positive.

    Examples:
        >>> curve = rate_distortion([9.0, 12.0], torch.tensor([6.5, 4.0]), total_variance=50.0)
        >>> curve.distortion.tolist()
        [48.0, 49.5]
    """
    optima = [affine_vae_optimum(weight, variances, total_variance) for weight in kl_weights]
    return RateDistortion(
        torch.stack([optimum.kl.sum() for optimum in optima]),
        torch.tensor([optimum.squared_error for optimum in optima], dtype=variances.dtype),
    )


def principal_plane(latents: Float[np.ndarray, "E N d"]) -> Float[np.ndarray, "E N 2"]:
    """Project the latents of E evaluations onto the first two principal axes of the last one.

    The same plane is used for all evaluations; separate planes would show rotations that are not in
    the latents. Two-dimensional latents are returned unchanged.

    Args:
        latents: [E, N, d], for instance ``np.stack(history.latents)``.

    Returns:
        [E, N, 2].

    Raises:
        ValueError: If there are fewer than two latents or images.

    Examples:
        >>> latents = np.zeros((1, 2, 3))
        >>> latents[0, 1] = 3.0, 4.0, 0.0
        >>> plane = principal_plane(latents)
        >>> round(float(np.linalg.norm(plane[0, 1] - plane[0, 0])), 4)  # distances are kept
        5.0
    """
    if latents.ndim != 3 or min(latents.shape[1:]) < 2:
        raise ValueError(
            "a plane needs codes of shape [E, N, d] with N >= 2 and d >= 2, got "
            f"{list(latents.shape)}. Was latent_dim 1?"
        )
    if latents.shape[2] == 2:
        return latents
    from sklearn.decomposition import PCA

    plane = PCA(2, svd_solver="full").fit(latents[-1].astype(np.float64))
    return np.stack([plane.transform(codes.astype(np.float64)) for codes in latents])
