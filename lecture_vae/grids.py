"""Grids."""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import Tensor

from lecture_vae.drawing import Array, to_array, white_axes

__all__ = ["latent_grid", "plot_image_grid", "plot_reconstructions", "quantile_grid"]


def latent_grid(n: int = 20, extent: float = 2.0) -> Float[Tensor, "{n}*{n} 2"]:
    """Square grid over [-extent, extent]: z2 falls from row to row, z1 rises along a row.

    Raises:
        ValueError: If ``n``, the number of codes per side, is below 2.
    """
    if n < 2:
        raise ValueError(f"a grid from edge to edge needs n >= 2 codes per side, got {n}.")
    line = torch.linspace(-extent, extent, n)
    return torch.cartesian_prod(line.flip(0), line).flip(1)


def quantile_grid(n: int = 20) -> Float[Tensor, "{n}*{n} 2"]:
    """Grid like :func:`latent_grid`, but on the quantiles (i - 1/2)/n, i = 1 ... n, of N(0, 1).

    Each code stands for the same share of the prior: Kingma & Welling (2014), Figure 4,
    arXiv:1312.6114.

    Raises:
        ValueError: If ``n`` is below 1.
    """
    if n < 1:
        raise ValueError(f"a grid needs n >= 1 codes per side, got {n}.")
    line = torch.special.ndtri((torch.arange(n, dtype=torch.float64) + 0.5) / n).float()
    return torch.cartesian_prod(line.flip(0), line).flip(1)


def plot_image_grid(
    images: Float[Array, "M 1 H W"],
    columns: int,
    ax: Axes | None = None,
    *,
    extent: float | None = None,
    title: str = "",
) -> Axes:
    """Gray images in full rows of ``columns``, drawn as one tiled array; 0 is black, 1 is white.

    Args:
        extent: That of :func:`latent_grid`, if the images were decoded from it. Puts z1 and z2 on
            the axes: each image is centered on its code.

    Raises:
        ValueError: If images have another shape, the last row is not full, or an extent is given
            for images that are not a square of 2 x 2 or more.
    """
    images = to_array(images)
    if images.ndim != 4 or images.shape[1] != 1 or not len(images):
        raise ValueError(f"images must have shape [M, 1, H, W], M >= 1, got {list(images.shape)}.")
    if columns < 1 or len(images) % columns:
        raise ValueError(f"{len(images)} images do not fill rows of {columns}.")
    rows, (height, width) = len(images) // columns, images.shape[2:]
    if extent is not None and not rows == columns >= 2:
        raise ValueError(f"extent belongs to a square latent_grid, got {rows} x {columns} images.")
    inch = min(0.9, 7 / columns)  # per image
    ax = white_axes(ax, (inch * columns + 0.5, inch * rows * height / width + 0.5))
    tiled = images.reshape(rows, columns, height, width).swapaxes(1, 2)
    picture = ax.imshow(tiled.reshape(rows * height, columns * width), "gray", vmin=0, vmax=1)
    ax.set_title(title)
    if extent is None:
        ax.set_axis_off()
    else:
        # Codes lie at the centers of the outer images, so the edge is half an image further out.
        edge = extent * columns / (columns - 1)
        picture.set_extent((-edge, edge, -edge, edge))
        ax.set(xlabel="$z_1$", ylabel="$z_2$")
    return ax


def plot_reconstructions(
    images: Mapping[str, Float[Array, "K 1 H W"]], ax: Axes | None = None
) -> Axes:
    """The same K images in one row per name, for instance original, AE, VAE.

    Raises:
        ValueError: If there is no row, or the rows differ in shape.
    """
    rows = [to_array(row) for row in images.values()]
    if len({row.shape for row in rows}) != 1:
        shapes = {name: list(row.shape) for name, row in zip(images, rows, strict=True)}
        raise ValueError(f"every row must have the same shape [K, 1, H, W], got {shapes}.")
    ax = plot_image_grid(np.concatenate(rows), max(1, len(rows[0])), ax)
    height = rows[0].shape[2]
    ax.set_axis_on()
    ax.set_yticks(height * (np.arange(len(rows)) + 0.5) - 0.5, list(images))
    ax.set_xticks([])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    for boundary in range(1, len(rows)):
        ax.axhline(boundary * height - 0.5, color="white", linewidth=3)
    return ax
