"""Evidence: log p(x) of a model with one or two latents, by quadrature.

p(x) is the integral of p(x | z) p(z) over z: equation eq-def-evidence of chapter 3. With two
latents it is a sum over a grid. The decoder runs once for each point of the grid, whatever the
number of images; where an image needs finer cells, only those that hold its p(z | x) are divided.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import max_pool1d, max_pool2d

from lecture_vae.distributions import Latents, PerImage, log_standard_normal
from lecture_vae.likelihoods import GaussianPixels, Likelihood
from lecture_vae.models import Model
from lecture_vae.pairwise import log_prob_pairs
from lecture_vae.quadrature import SHIFTS, LatentGrid, blocks

__all__ = ["Evidence", "log_evidence", "true_posterior"]

IMAGES = 2_500  # at a time: 40 MB for a block of latents
FEW_IMAGES = 240  # at a time, where all latents are kept and cells are divided, over PARTS
# Where no grid is given: what is still a good estimate, and what is done if it is worse.
ERROR, EDGE = 1.0, 1e-6
PARTS = 3, 9  # of the sides of the cells that hold p(z | x)
DEPTH = 25.0  # nats below the largest joint density: 65,536 cells that are lower hold under 1e-6
LogDensity = Callable[[Latents], PerImage]  # of M latents


class Evidence(NamedTuple):
    """Log-evidence of each image, and how far to trust it; see :func:`log_evidence`.

    Examples:
        >>> x = torch.zeros(3, 1, 32, 32)
        >>> evidence = log_evidence(build_model("linear-vae"), x, grid=LatentGrid(16))
        >>> evidence.log_prob.shape, bool((evidence.edge < 1e-6).all())
        (torch.Size([3]), True)
    """

    log_prob: PerImage  # log p(x), in nats
    error: PerImage  # of log_prob, in nats: an estimate that is too large rather than too small
    edge: PerImage  # share of p(z | x) on the outermost points; above 1e-6 a tail may be cut


@contextmanager
def evaluating(model: Model) -> Iterator[None]:
    """The model in eval mode and without gradients; its mode is restored."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(was_training)


def log_evidence(
    model: Model,
    x: Float[Tensor, "N 1 32 32"],
    *,
    likelihood: Likelihood | None = None,
    grid: LatentGrid | None = None,
    log_prior: LogDensity = log_standard_normal,
) -> Evidence:
    """log p(x) of each image by quadrature over the latents, with an estimate of the error.

    Two mistakes are easily made, and both are reported. A grid that is too coarse for a sharp
    p(z | x): ``error`` is large, the largest difference between the sum and the sums over every
    third point. Once it is below 1, the error of the sum itself is a ninth of it or less. A
    grid that ends too early: ``edge`` is large. In float32 rounding adds about 1e-5 S / v nats.

    Args:
        model: With one or two latents. It is evaluated in the type of its own numbers.
        x: Images in [0, 1].
        likelihood: p(x | z); by default Gaussian pixels of variance 1/2.
        grid: The same for all images. By default 256 points over [-6, 6] for each latent, and more
            for images that need more: twice the reach where ``edge`` is above 1e-6, and where
            ``error`` is above 1, cells divided by 3, or else 9, wherever p(z | x) is not nothing.
        log_prior: Log-density of the prior, of latents ``[M, *latent_shape]``, in nats.

    Returns:
        Log-evidence, error and edge of each image; float64.

    Raises:
        ValueError: If the model has more than two latents, or another number than the grid.

    Examples:
        >>> model, x = build_model("linear-vae"), torch.rand(2, 1, 32, 32)
        >>> fine, coarse = (log_evidence(model, x, grid=LatentGrid(n)) for n in (128, 64))
        >>> bool(((fine.log_prob - coarse.log_prob).abs() < 1e-3).all())
        True
    """
    density = _Joint(model, likelihood or GaussianPixels(), log_prior)
    base = _grid_for(model, grid)
    found = _on_grid(density, x, base)
    if grid is not None:
        return found
    wide = replace(base, points=2 * base.points, reach=2 * base.reach)
    beyond = found.edge > EDGE
    if beyond.any():
        _put(found, beyond, _on_grid(density, x[beyond], wide))
    for parts in PARTS:
        for taken, fine in ((base, ~beyond), (wide, beyond)):
            coarse = (fine & ~(found.error <= ERROR)).nonzero()[:, 0]
            for some in coarse.split(FEW_IMAGES // parts) if len(coarse) else ():
                refined = _in_parts(density, x[some], taken, parts)
                _put(found, some, Evidence(*refined, found.edge[some]))
    return found


def _put(found: Evidence, where: Tensor, better: Evidence) -> None:
    for each, values in zip(found, better, strict=True):
        each[where] = values


def true_posterior(
    model: Model,
    x: Float[Tensor, "N 1 32 32"],
    *,
    likelihood: Likelihood | None = None,
    grid: LatentGrid | None = None,
    log_prior: LogDensity = log_standard_normal,
) -> Float[Tensor, "N M"]:
    """log p(z | x) on the grid: Bayes' rule with the evidence of :func:`log_evidence`.

    Args:
        model: As for :func:`log_evidence`, as are the others.
        x: Images; the result needs 0.5 MB for each with the default grid.
        likelihood: p(x | z).
        grid: Its :meth:`~lecture_vae.quadrature.LatentGrid.latents` are the M points.
        log_prior: Log-density of the prior.

    Returns:
        Log-densities in nats, float64; exp of it times the area of a cell sums to 1.

    Raises:
        ValueError: As :func:`log_evidence`.

    Examples:
        >>> grid = LatentGrid(16)
        >>> log_p = true_posterior(build_model("linear-vae"), torch.zeros(1, 1, 32, 32), grid=grid)
        >>> round((log_p + grid.log_cell).exp().sum().item(), 6)
        1.0
    """
    grid = _grid_for(model, grid)
    joint = _Joint(model, likelihood or GaussianPixels(), log_prior).table(x, grid.latents())
    joint = joint.double()
    return joint - joint.logsumexp(dim=1, keepdim=True) - grid.log_cell


def _grid_for(model: Model, grid: LatentGrid | None) -> LatentGrid:
    latents = torch.Size(model.latent_shape).numel()
    if latents > 2:
        raise ValueError(
            f"quadrature needs a model with 1 or 2 latents, and {type(model).__name__} has "
            f"{latents}. For more latents take iwae_bound."
        )
    grid = grid or LatentGrid(dims=latents)
    if grid.dims != latents:
        raise ValueError(
            f"the grid has {grid.dims} axes and {type(model).__name__} has {latents} latents. "
            "Is it the grid of another model?"
        )
    return grid


@dataclass(frozen=True)
class _Joint:
    """log p(x, z) of images and latents."""

    model: Model
    likelihood: Likelihood
    log_prior: LogDensity

    def decoded(self, latents: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """The parameters of p(x | z) and log p(z), block by block."""
        like = next(self.model.parameters())
        for block in blocks(latents):
            z: Latents = block.to(like).view(-1, *self.model.latent_shape)
            yield self.likelihood.parameters(self.model, z), self.log_prior(z)

    def pairs(self, x: Tensor, parameters: Tensor, log_p: Tensor) -> Tensor:
        return log_prob_pairs(self.likelihood, x.to(parameters), parameters).add_(log_p)

    def table(self, x: Tensor, latents: Tensor) -> Tensor:
        """Of each image and latent, [N, M]."""
        with evaluating(self.model):
            return torch.cat([self.pairs(x, *each) for each in self.decoded(latents)], dim=1).cpu()

    def log_sum(self, x: Tensor, latents: Tensor) -> Tensor:
        """log sum_m p(x | z_m) p(z_m) of each image, [N], float64."""
        total = torch.full((len(x),), -torch.inf, dtype=torch.double)
        with evaluating(self.model):
            for each in self.decoded(latents):
                sums = [self.pairs(images, *each).logsumexp(dim=1) for images in x.split(IMAGES)]
                total = torch.logaddexp(total, torch.cat(sums).double().cpu())
        return total

    def each(self, x: Tensor, image: Tensor, latents: Tensor) -> Tensor:
        """Of each latent and the one image that belongs to it, [M], float64."""
        found, images = [], blocks(image)
        with evaluating(self.model):
            for parameters, log_p in self.decoded(latents):
                own = x[next(images)].to(parameters)
                found.append((self.likelihood.log_prob(own, parameters) + log_p).double().cpu())
        return torch.cat(found)


def _on_grid(joint: _Joint, x: Tensor, grid: LatentGrid) -> Evidence:
    parts = torch.stack([joint.log_sum(x, latents) for latents in grid.sublattices()])
    total = parts.logsumexp(dim=0)
    edge = (joint.log_sum(x, grid.edge()) - total).exp()
    return Evidence(total + grid.log_cell, _disagreement(parts, total), edge)


def _disagreement(parts: Tensor, total: Tensor) -> Tensor:
    """Of 3^d sums, each over cells 3^d times as large, with their sum; in nats."""
    return (parts + math.log(len(parts)) - total).abs().amax(dim=0)


def _in_parts(joint: _Joint, x: Tensor, grid: LatentGrid, parts: int) -> tuple[Tensor, Tensor]:
    """log p(x) and its error, with the cells that hold p(z | x) divided, ``parts`` to a side."""
    table = joint.table(x, grid.latents())
    held = (table > table.amax(dim=1, keepdim=True) - DEPTH).float()
    held = held.view(-1, 1, *[grid.points] * grid.dims)
    grow = max_pool1d if grid.dims == 1 else max_pool2d
    held = grow(held, kernel_size=3, stride=1, padding=1).flatten(1) > 0  # and their neighbors
    image, cell = held.nonzero(as_tuple=True)
    number = torch.arange(parts)
    shifts = torch.cartesian_prod(*[number] * grid.dims).view(-1, grid.dims)
    offsets = (shifts - (parts - 1) / 2) * (grid.spacing / parts)
    latents = (grid.latents()[cell, None] + offsets).flatten(0, 1)
    values = joint.each(x, image.repeat_interleave(len(offsets)), latents).view(-1, len(offsets))
    top = torch.full((len(x),), -torch.inf, dtype=torch.double)
    top = top.scatter_reduce(0, image, values.amax(dim=1), "amax")
    lattice = (shifts % SHIFTS) @ SHIFTS ** torch.arange(grid.dims)
    sums = torch.zeros(len(x), SHIFTS**grid.dims, dtype=torch.double)
    for each in range(sums.shape[1]):
        of_cells = (values[:, lattice == each] - top[image, None]).exp().sum(dim=1)
        sums[:, each].index_add_(0, image, of_cells)
    logs = sums.clamp(min=1e-300).log().T
    total = logs.logsumexp(dim=0)
    log_cell = grid.log_cell - grid.dims * math.log(parts)
    return total + top + log_cell, _disagreement(logs, total)
