"""Quadrature: integrals over one or two latents as sums over a grid.

A grid of equal cells is the best one here. For a smooth function that vanishes at both ends, as a
density does, the error of the sum falls faster than any power of the spacing: Trefethen & Weideman
(2014), "The exponentially convergent trapezoidal rule". For a Gaussian of standard deviation s it
is about 2 exp(-2 (pi s / h)^2) of the integral: 5e-9 at the spacing h = s, and 1.4 % at h = 2s.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["LatentGrid"]

BLOCK = 4096  # latents that are decoded at a time: 16 MB of images
SHIFTS = 3  # sublattices along each axis


@dataclass(frozen=True)
class LatentGrid:
    """A grid of ``points ** dims`` latents, in the middle of equal cells over [-reach, reach].

    Args:
        points: Along each axis, at least 6.
        reach: Half the length of an axis.
        dims: d, the number of latents, 1 or 2.

    Raises:
        ValueError: If ``points`` is below 6, ``reach`` not above 0, or ``dims`` not 1 or 2.

    Examples:
        >>> grid = LatentGrid(points=6, reach=3.0, dims=1)
        >>> grid.latents().flatten().tolist(), grid.spacing
        ([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5], 1.0)
    """

    points: int = 256
    reach: float = 6.0
    dims: int = 2

    def __post_init__(self) -> None:
        if self.dims not in (1, 2):
            raise ValueError(
                f"a grid covers 1 or 2 latents, got dims={self.dims}: {self.points} points along "
                "each axis would be too many. For more latents take iwae_bound."
            )
        if self.points < 6 or not self.reach > 0:
            raise ValueError(
                "a grid needs 6 points or more along each axis and a reach above 0, got "
                f"points={self.points}, reach={self.reach}."
            )

    @property
    def spacing(self) -> float:
        """h, the distance of neighbors on an axis."""
        return 2 * self.reach / self.points

    @property
    def log_cell(self) -> float:
        """The logarithm of the area of a cell, h ** dims."""
        return self.dims * math.log(self.spacing)

    def axis(self) -> Float[Tensor, " points"]:
        """The coordinates along one axis, float64."""
        return (torch.arange(self.points, dtype=torch.double) + 0.5) * self.spacing - self.reach

    def latents(self) -> Float[Tensor, "M dims"]:
        """All latents, the last coordinate changing fastest, float64.

        Examples:
            >>> LatentGrid(points=8, dims=2).latents().shape
            torch.Size([64, 2])
        """
        return torch.cartesian_prod(*[self.axis()] * self.dims).reshape(-1, self.dims)

    def sublattices(self) -> list[Float[Tensor, "M dims"]]:
        """The 3 ** dims grids of three times the spacing, shifted against each other; float64.

        Together they are the whole grid. Each of them gives the integral, too; how far they
        disagree says what the error is at three times the spacing. Every second point would not
        do: a peak halfway between two points looks the same to the even and to the odd ones.

        Examples:
            >>> grids = LatentGrid(points=6, reach=3.0, dims=1).sublattices()
            >>> [grid.flatten().tolist() for grid in grids]
            [[-2.5, 0.5], [-1.5, 1.5], [-0.5, 2.5]]
        """
        axis = self.axis()
        return [
            torch.cartesian_prod(*[axis[start::SHIFTS] for start in starts]).reshape(-1, self.dims)
            for starts in itertools.product(range(SHIFTS), repeat=self.dims)
        ]

    def edge(self) -> Float[Tensor, "M dims"]:
        """The outermost latents: those with a coordinate at an end of its axis; float64."""
        z = self.latents()
        return z[(z.abs() > self.reach - self.spacing).any(dim=1)]


def blocks(latents: Float[Tensor, "M dims"]) -> Iterator[Float[Tensor, "b dims"]]:
    """The latents in blocks that can be decoded at once."""
    return iter(latents.split(BLOCK))
