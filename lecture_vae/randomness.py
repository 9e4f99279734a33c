"""Randomness: every random number is a function of (seed, purpose, position).

The order of the images of epoch e, the noise of step s and the noise of the evaluation come from
generators of their own, seeded with just those numbers. So no state has to be carried: whoever
evaluates more often, or goes on from step s, draws what a plain run would have drawn. The numbers
are drawn on the CPU, so that every device sees the same ones.
"""

from collections.abc import Iterator
from enum import IntEnum

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["batches", "bernoulli", "evaluation_noise", "noise"]

NOISE_BLOCK = 100  # steps whose noise is drawn in one call


class _Purpose(IntEnum):
    SHUFFLE = 0
    NOISE = 1
    EVALUATION = 2
    INPUTS = 3


def batches(n_images: int, size: int, seed: int, *, start: int = 0) -> Iterator[Tensor]:
    """Image numbers of each batch, int64 [size], from step ``start`` on, without end.

    The epochs follow each other end to end, each in an order of its own: every image comes once an
    epoch, and no batch is short.
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
    """Standard normal numbers of ``shape`` for each step from ``start`` on, without end."""
    block, offset = divmod(start, NOISE_BLOCK)
    while True:
        generator = _generator(seed, _Purpose.NOISE, block)
        yield from torch.randn((NOISE_BLOCK, *shape), generator=generator)[offset:]
        block, offset = block + 1, 0


def evaluation_noise(shape: tuple[int, ...], seed: int) -> Tensor:
    """Standard normal numbers of ``shape``, the same at every evaluation."""
    return torch.randn(shape, generator=_generator(seed, _Purpose.EVALUATION))


def bernoulli(p: Float[Tensor, "*shape"], seed: int, step: int) -> Float[Tensor, "*shape"]:
    """Zeros and ones: each is 1 with the probability p in its place, drawn anew at each step.

    Of images in [0, 1] this is dynamic binarization: Salakhutdinov & Murray (2008).

    >>> bernoulli(torch.tensor([0.0, 1.0]), seed=0, step=1)
    tensor([0., 1.])
    """
    uniform = torch.rand(p.shape, generator=_generator(seed, _Purpose.INPUTS, step))
    return (uniform.to(p.device) < p).to(p.dtype)


def _generator(seed: int, purpose: _Purpose, position: int = 0) -> torch.Generator:
    words = np.random.SeedSequence([seed, purpose, position]).generate_state(1, np.uint64)
    # torch takes seeds below 2^63 on every platform.
    return torch.Generator().manual_seed(int(words[0]) >> 1)
