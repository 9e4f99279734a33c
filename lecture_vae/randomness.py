"""Randomness: every random number is a function of (seed, purpose, position).

The order of the images in epoch e, the noise of step s and the noise of an evaluation come from
separate generators, each seeded with these numbers only. So there is no generator state to save:
evaluating more often, or resuming at step s, changes no number. Numbers are drawn on the CPU, so
that they are the same for every device.
"""

from collections.abc import Iterator
from enum import IntEnum

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["batches", "bernoulli", "evaluation_noise", "noise"]

NOISE_BLOCK = 100  # steps; their noise is drawn in one call


class _Purpose(IntEnum):
    SHUFFLE = 0
    NOISE = 1
    EVALUATION = 2
    INPUTS = 3


def batches(n_images: int, size: int, seed: int, *, start: int = 0) -> Iterator[Tensor]:
    """An infinite iterator over the image indices of each batch.

    Every epoch is a new permutation of all images. A batch may span two epochs, so all batches have
    the same size.

    Args:
        n_images: N.
        size: B, images in a batch.
        seed: Of the permutations.
        start: Steps to skip.

    Yields:
        int64 [size], indices from 0 to N - 1.

    Examples:
        >>> from itertools import islice
        >>> epoch = torch.cat(list(islice(batches(6, size=2, seed=0), 3)))
        >>> sorted(epoch.tolist())  # each image once
        [0, 1, 2, 3, 4, 5]
    """
    epoch, offset = divmod(start * size, n_images)
    ahead = torch.empty(0, dtype=torch.long)
    while True:
        order = torch.randperm(n_images, generator=_generator(seed, _Purpose.SHUFFLE, epoch))
        ahead = torch.cat([ahead, order[offset:]])
        epoch, offset = epoch + 1, 0
        while len(ahead) >= size:
            yield ahead[:size]
            ahead = ahead[size:]


def noise(shape: tuple[int, ...], seed: int, *, start: int = 0) -> Iterator[Tensor]:
    """An infinite iterator over the standard normal noise of each step.

    Args:
        shape: Of the noise of one step.
        seed: The same seed gives the same noise.
        start: Steps to skip.

    Yields:
        float32 of ``shape``.

    Examples:
        >>> steps = noise((2, 3), seed=0)
        >>> first, second = next(steps), next(steps)
        >>> resumed = noise((2, 3), seed=0, start=1)
        >>> torch.equal(next(resumed), second)
        True
    """
    block, offset = divmod(start, NOISE_BLOCK)
    while True:
        generator = _generator(seed, _Purpose.NOISE, block)
        yield from torch.randn((NOISE_BLOCK, *shape), generator=generator)[offset:]
        block, offset = block + 1, 0


def evaluation_noise(shape: tuple[int, ...], seed: int) -> Tensor:
    """Standard normal noise, the same at every evaluation.

    Args:
        shape: Of the result, float32.
        seed: The same seed gives the same noise.

    Examples:
        >>> torch.equal(evaluation_noise((2, 3), seed=0), evaluation_noise((2, 3), seed=0))
        True
    """
    return torch.randn(shape, generator=_generator(seed, _Purpose.EVALUATION))


def bernoulli(p: Float[Tensor, "*shape"], seed: int, step: int) -> Float[Tensor, "*shape"]:
    """Independent Bernoulli samples, drawn anew at each step: 1 with the probability p, else 0.

    Of images in [0, 1] this is dynamic binarization: Salakhutdinov & Murray (2008).

    Args:
        p: Probabilities, of any shape and device.
        seed: The same seed and step give the same samples.
        step: Of the training; 0 in an evaluation.

    Returns:
        Zeros and ones, of the shape, type and device of p.

    Examples:
        >>> bernoulli(torch.tensor([0.0, 1.0]), seed=0, step=1)
        tensor([0., 1.])
        >>> p = torch.full((1000,), 0.5)
        >>> torch.equal(bernoulli(p, seed=0, step=1), bernoulli(p, seed=0, step=2))
        False
    """
    uniform = torch.rand(p.shape, generator=_generator(seed, _Purpose.INPUTS, step))
    return (uniform.to(p.device) < p).to(p.dtype)


def _generator(seed: int, purpose: _Purpose, position: int = 0) -> torch.Generator:
    words = np.random.SeedSequence([seed, purpose, position]).generate_state(1, np.uint64)
    # On every platform torch accepts seeds below 2^63.
    return torch.Generator().manual_seed(int(words[0]) >> 1)
