"""Diagnostics: which latents of a VAE carry information, what a useless one scores.

Codes or variances in, numbers out. Nothing here runs a model or draws. A code may have any shape;
its latents are counted in flattened order, d of them. N images.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lecture_vae.distributions import kl_to_standard_normal

__all__ = [
    "AffineVAEOptimum",
    "active_units",
    "affine_vae_optimum",
    "collapse_weights",
    "kl_per_latent",
    "principal_plane",
    "principal_variances",
    "total_variance",
]


def kl_per_latent(
    mu: Float[Tensor, "N ..."], log_var: Float[Tensor, "N ..."]
) -> Float[Tensor, " d"]:
    """Mean over the images of KL( q(z_j | x) || N(0, 1) ) for each latent j, in nats.

    A latent whose posterior has collapsed onto the prior scores 0. The sum over the latents is the
    KL term of the negative ELBO.

    Args:
        mu: Means of q(z | x), one row per image.
        log_var: Log variances of q(z | x), shaped like ``mu``.

    Raises:
        ValueError: If the shapes differ.
    """
    # Posterior and prior factorize: each latent of each image is a Gaussian of its own.
    kl = kl_to_standard_normal(mu.reshape(-1, 1), log_var.reshape(-1, 1))
    return kl.reshape(len(mu), -1).mean(dim=0)


def active_units(mu: Float[Tensor, "N ..."], threshold: float = 0.01) -> Bool[Tensor, " d"]:
    """Which latents the encoder uses: True where the variance of mu_j over images is > threshold.

    Definition and threshold: Burda, Grosse & Salakhutdinov (2016), section 5.2, arXiv:1509.00519.
    A collapsed latent has the same mean for every image, hence variance 0.

    Args:
        mu: Means of q(z | x), one row per image.
        threshold: Least variance of an active unit, in squared latent units.

    Raises:
        ValueError: If there are fewer than two images: one image has no variance.
    """
    if len(mu) < 2:
        raise ValueError(
            f"active units need the means of at least 2 images, got {len(mu)}. "
            "Did you pass a single code instead of the codes of a test set?"
        )
    return mu.flatten(1).var(dim=0, correction=0) > threshold


def total_variance(images: Float[Tensor, "N ..."]) -> float:
    """Mean over the images of the squared error to their mean image, in nats per image.

    Equals the sum of the pixels' variances. A decoder that ignores z gives one answer to all, and
    no single answer does better than the mean image: this is what a collapsed model scores at best.

    Args:
        images: Any shape per image.
    """
    return images.flatten(1).var(dim=0, correction=0).double().sum().item()


def principal_variances(images: Float[Tensor, "N ..."]) -> Float[Tensor, " D"]:
    """Variances of the images along their principal directions, the largest first, in float64.

    They are the eigenvalues of the covariance matrix of the pixels, and sum to
    :func:`total_variance`. :func:`collapse_weights` says which of them an affine VAE describes.

    Args:
        images: Any shape per image, of D numbers.
    """
    flat = images.flatten(1).double()
    centered = flat - flat.mean(dim=0)
    eigenvalues: Tensor = torch.linalg.eigvalsh(centered.T @ centered / len(centered))
    return eigenvalues.flip(0)


class AffineVAEOptimum(NamedTuple):
    """What the best affine VAE scores, as :func:`affine_vae_optimum` finds it."""

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

    The model is :class:`~lecture_vae.AffineVAE`. A :class:`~lecture_vae.LinearVAE` has nonlinear
    layers and may do better.

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


def principal_plane(latents: Float[np.ndarray, "E N d"]) -> Float[np.ndarray, "E N 2"]:
    """Codes of E evaluations, seen in the plane in which those of the last one vary most.

    One plane, spanned by the first two principal axes, serves all evaluations: with a plane for
    each, the picture would turn although no code moves. Two-dimensional codes are returned as they
    are.

    Raises:
        ValueError: If there are fewer than two latents or images.
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
