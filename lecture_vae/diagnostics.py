"""Diagnostics: which latents of a trained VAE carry information, and what a useless one scores.

Codes in, numbers out. Nothing here runs a model or draws. A code may have any shape; its latents
are counted in flattened order, d of them. N images.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lecture_vae.distributions import kl_to_standard_normal

__all__ = [
    "active_units",
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
    :func:`total_variance`. A linear VAE of KL weight w uses a latent for direction i only while
    w < 2 times its variance: Lucas, Tucker, Grosse & Norouzi (2019), arXiv:1911.02469.

    Args:
        images: Any shape per image, of D numbers.
    """
    flat = images.flatten(1).double()
    centered = flat - flat.mean(dim=0)
    eigenvalues: Tensor = torch.linalg.eigvalsh(centered.T @ centered / len(centered))
    return eigenvalues.flip(0)


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
