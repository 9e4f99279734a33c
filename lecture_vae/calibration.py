"""Calibration: the decoder's variance that fits the errors, and bits per dimension.

Images have D pixels, gray levels in [0, 1]. Logarithms are natural, log-densities are in nats.
"""

import math
from typing import overload

from torch import Tensor

__all__ = ["bits_per_dim", "calibrated_variance"]


def calibrated_variance(squared_error: float, pixels: int = 1024) -> float:
    """The variance of a Gaussian decoder under which the errors are most likely: v = S / D.

    -log p(x | z) = S / (2v) + (D/2) log(2 pi v) is least where its derivative in v,
    -S / (2 v^2) + D / (2v), is zero. With the loss S + w KL this is the KL weight w = 2v:
    Rybkin, Daniilidis & Levine (2021), arXiv:2006.13202.

    Args:
        squared_error: S, the mean over the images, with z drawn from q(z | x), in squared gray
            levels summed over the pixels.
        pixels: D.

    Returns:
        v, in squared gray levels.

    Raises:
        ValueError: If S is not a finite number > 0: without an error the density has no bound.

    Examples:
        >>> variance = calibrated_variance(30.72)
        >>> round(variance, 4), round(2 * variance, 4)  # v, and the KL weight that implies it
        (0.03, 0.06)
    """
    if not (math.isfinite(squared_error) and squared_error > 0):
        raise ValueError(
            f"a variance is fitted to a squared error that is finite and > 0, got {squared_error}. "
            "Was it measured on images that the model copies exactly?"
        )
    return squared_error / pixels


@overload
def bits_per_dim(log_prob: float, pixels: int = 1024, levels: int = 256) -> float: ...
@overload
def bits_per_dim(log_prob: Tensor, pixels: int = 1024, levels: int = 256) -> Tensor: ...
def bits_per_dim(log_prob: float | Tensor, pixels: int = 1024, levels: int = 256) -> float | Tensor:
    """Bits that a code of the images needs per pixel: -log p(x) / (D log 2) + log2(levels).

    A density of gray levels in [0, 1] becomes a probability of whole gray levels by uniform noise
    of the width of one level, 1 / ``levels``, which is added to the images: dequantization. The
    bits of images without that noise are an approximation. Theis, van den Oord & Bethge (2016),
    section 3.1, arXiv:1511.01844.

    Args:
        log_prob: Log-density of an image, a bound on it, or a tensor of them, in nats.
        pixels: D.
        levels: Gray levels of a pixel; 1 if ``log_prob`` is the log-probability of a discrete
            image, as with Bernoulli pixels.

    Returns:
        Bits per dimension, of the type and shape of ``log_prob``.

    Examples:
        >>> bits_per_dim(0.0)  # the uniform density: each of 256 levels is as probable
        8.0
        >>> bits_per_dim(torch.tensor(2.0).log() * 1024)  # twice as dense in each pixel
        tensor(7.)
    """
    return -log_prob / (pixels * math.log(2)) + math.log2(levels)
