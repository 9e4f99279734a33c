"""Grids: latents to decode, and the images in rows and columns.

M images, one for each latent of a grid.
"""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import Tensor

from lecture_vae.drawing import Array, to_array, white_axes

__all__ = ["latent_grid", "plot_image_grid", "plot_reconstructions", "quantile_grid"]


def latent_grid(n: int = 20, extent: float = 2.0) -> Float[Tensor, "{n}*{n} 2"]:
    """Two-dimensional latents on a square grid over [-extent, extent].

    z1 increases along a row, and z2 decreases from row to row, as in a plot of the latents.

    Args:
        n: Latents per side, 2 or more.
        extent: The largest value of z1 and z2.

    Raises:
        ValueError: If ``n`` is below 2.

    Examples:
        >>> latent_grid(2, extent=1.0)
        tensor([[-1.,  1.],
                [ 1.,  1.],
                [-1., -1.],
                [ 1., -1.]])
    """
    if n < 2:
        raise ValueError(f"a grid from edge to edge needs n >= 2 latents per side, got {n}.")
    line = torch.linspace(-extent, extent, n)
    return torch.cartesian_prod(line.flip(0), line).flip(1)


def quantile_grid(n: int = 20) -> Float[Tensor, "{n}*{n} 2"]:
    """Latents on a square grid of quantiles of the prior, in the order of :func:`latent_grid`.

    Along each axis they are the quantiles of N(0, 1) at 1/(2n), 3/(2n), ..., (2n - 1)/(2n), so that
    every latent represents the same prior mass: equation eq-def-quantile-grid of chapter 6;
    Kingma & Welling (2014), Figure 4, arXiv:1312.6114.

    Args:
        n: Latents per side.

    Raises:
        ValueError: If ``n`` is below 1.

    Examples:
        >>> quantile_grid(2)[0]  # the quartiles of N(0, 1) are -0.6745 and 0.6745
        tensor([-0.6745,  0.6745])
    """
    if n < 1:
        raise ValueError(f"a grid needs n >= 1 latents per side, got {n}.")
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
    """Gray images in rows and columns, drawn as one array; 0 is black, 1 is white.

    Args:
        images: In [0, 1]. Their number is a multiple of ``columns``.
        columns: Images in a row.
        ax: Where to draw; None creates a figure.
        extent: The one of :func:`latent_grid`, if the images were decoded from it. The axes then
            show z1 and z2, with each image at its latent.
        title: Of the Axes.

    Raises:
        ValueError: If images have another shape, the last row is not full, or an extent is given
            for a grid that is not square with 2 x 2 images or more.

    Examples:
        >>> images = build_model("linear-vae").decode(latent_grid(3, extent=2.0))
        >>> ax = plot_image_grid(images, columns=3, extent=2.0)
        >>> ax.images[0].get_array().shape  # 3 x 3 images of 32 x 32 pixels
        (96, 96)
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
        # Latents are at the centers of images, so the edge is half an image further out.
        edge = extent * columns / (columns - 1)
        picture.set_extent((-edge, edge, -edge, edge))
        ax.set(xlabel="$z_1$", ylabel="$z_2$")
    return ax


def plot_reconstructions(
    images: Mapping[str, Float[Array, "N 1 H W"]], ax: Axes | None = None
) -> Axes:
    """The same N images in several rows with names, for instance original, AE and VAE.

    Args:
        images: Name -> images in [0, 1].
        ax: Where to draw; None creates a figure.

    Raises:
        ValueError: If there is no row, or the rows differ in shape.

    Examples:
        >>> x = torch.rand(5, 1, 32, 32)
        >>> ax = plot_reconstructions({"original": x, "VAE": build_model("linear-vae")(x).x_hat})
        >>> [label.get_text() for label in ax.get_yticklabels()]
        ['original', 'VAE']
    """
    rows = [to_array(row) for row in images.values()]
    if len({row.shape for row in rows}) != 1:
        shapes = {name: list(row.shape) for name, row in zip(images, rows, strict=True)}
        raise ValueError(f"every row must have the same shape [N, 1, H, W], got {shapes}.")
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
