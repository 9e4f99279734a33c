"""Plots: arrays and Axes go in, the same Axes come out.

Nothing here calls a model, shows or saves a figure. Without ``ax`` a function opens one new figure;
figures are white and opaque, so that a page in dark mode stays readable. Tensors and numpy arrays
are both welcome. N images, labels are classes 0 to 9, E evaluations of one training.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Integer
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patheffects import withStroke
from torch import Tensor

from lecture_vae.drawing import (
    PALETTE,
    Array,
    Evolution,
    Names,
    check_evolution,
    check_latents,
    place_names,
    shared_limits,
    to_array,
)

__all__ = [
    "latent_grid",
    "plot_history",
    "plot_image_grid",
    "plot_latent_evolution",
    "plot_latents",
    "plot_reconstructions",
    "quantile_grid",
]

IN_NATS = {"kl", "cross_entropy", "negative_iwae"}  # terms; a loss has the unit of its objective


def plot_latents(
    mu: Float[Array, "N 2"],
    labels: Integer[Array, " N"],
    ax: Axes | None = None,
    *,
    class_names: Names = None,
    title: str = "",
    prior: bool = False,
    equal_aspect: bool = False,
) -> Axes:
    """Scatter of two-dimensional codes; every class is named at the median of its points.

    Args:
        prior: Also draw the circles of 1, 2 and 3 standard deviations of N(0, I), which hold 39, 86
            and 99 % of its probability. Implies equal aspect.
        equal_aspect: Give one latent unit the same length on both axes.

    Raises:
        ValueError: If shapes do not match, a code is not finite, or a class has no color or name.
    """
    mu, labels, names = check_latents(mu, labels, class_names)
    ax = _white_axes(ax, (5.5, 5.5))
    # One scatter in the order of the images: class after class would bury the first classes.
    ax.scatter(
        mu[:, 0],
        mu[:, 1],
        s=np.clip(20_000 / len(mu), 2.5, 22.0),
        c=np.array([to_rgb(color) for color in PALETTE])[labels],
        alpha=0.75,
        linewidths=0,
        rasterized=True,  # 10,000 vector marks make a page slow
    )
    if prior:
        angle = np.linspace(0, 2 * np.pi, 200)
        for r in (1, 2, 3):
            ax.plot(r * np.cos(angle), r * np.sin(angle), color="0.25", linewidth=1, linestyle="--")
    if prior or equal_aspect:
        _make_square(ax)
    panel = 72 / ax.figure.dpi * np.array(ax.get_window_extent().size)  # width, height in points
    fontsize = np.clip(panel[0] / 25, 9, 13)
    letter = fontsize / panel * np.ptp([ax.get_xlim(), ax.get_ylim()], axis=1)
    for (x, y), name in place_names(mu, labels, names, letter):
        text = ax.text(x, y, name, ha="center", va="center", weight="bold", size=fontsize)
        text.set(clip_on=True, path_effects=[withStroke(linewidth=3, foreground="white")])
    ax.set(xlabel="$z_1$", ylabel="$z_2$", title=title)
    return ax


def plot_latent_evolution(
    latents: Evolution,
    labels: Integer[Array, " N"],
    steps: Sequence[int],
    axes: Sequence[Axes] | np.ndarray,
    *,
    class_names: Names = None,
) -> Sequence[Axes] | np.ndarray:
    """Film strip: one evaluation per Axes, from the first to the last, all on the same scale.

    Most happens early in a training, so the evaluations between are spaced geometrically.

    Raises:
        ValueError: As :func:`plot_latents`, and if there are fewer than 2 Axes or more than E.
    """
    latents, labels, names = check_evolution(latents, labels, steps, class_names)
    panels, last = list(np.ravel(np.asarray(axes, dtype=object))), len(latents) - 1
    if not 2 <= len(panels) <= last + 1:
        raise ValueError(
            "a film strip needs 2 Axes or more, and an evaluation for each: "
            f"got {len(panels)} Axes and {last + 1} evaluations."
        )
    geometric = np.geomspace(last, 1, len(panels) - 1)[::-1].round().astype(int)
    chosen = np.maximum([0, *geometric], np.arange(len(panels)))  # no evaluation twice
    x_limits, y_limits = shared_limits(latents)
    for ax, i in zip(panels, chosen, strict=True):
        ax.set(xlim=x_limits, ylim=y_limits)
        title = f"step {steps[i]:,}"
        plot_latents(latents[i], labels, ax, class_names=names, title=title, equal_aspect=True)
        ax.label_outer()
    return axes


def plot_history(
    frames: Mapping[str, pd.DataFrame],
    ax: Axes | None = None,
    *,
    column: str = "test_loss",
    train: bool = False,
    title: str = "",
) -> Axes:
    """One curve per run: ``column`` against ``step``, without the rows where it is NaN.

    Args:
        frames: ``{label: history.frame()}``.
        train: Also draw the matching ``train_...`` column, dashed.

    Raises:
        ValueError: If there is no run, or a run lacks a column.
    """
    if not frames:
        raise ValueError("plot_history needs at least one run, got none.")
    columns = [column, column.replace("test_", "train_")] if train else [column]
    for label, frame in frames.items():
        if missing := sorted({"step", *columns} - set(frame)):
            raise ValueError(f"run {label!r} has no column {missing}, only {list(frame)}.")
    ax = _white_axes(ax, (6.5, 4.0))
    for i, (label, frame) in enumerate(frames.items()):
        color = PALETTE[i % 10]
        test = frame[["step", column]].dropna()
        (line,) = ax.plot(test["step"], test[column], color=color, label=label)
        line.set(marker="osD^vPX*<>"[i % 10], markevery=max(1, len(test) // 10))
        for name in columns[1:]:
            curve = frame[["step", name]].dropna()
            (line,) = ax.plot(curve["step"], curve[name], "--", color=color, linewidth=1)
            line.set_label(f"{label} (train)")
    unit = " (nats per image)" if column.partition("_")[2] in IN_NATS else ""
    ax.set(xlabel="step", ylabel=f"{column.replace('_', ' ')}{unit}", title=title)
    ax.legend()
    return ax


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
    ax = _white_axes(ax, (inch * columns + 0.5, inch * rows * height / width + 0.5))
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


def _white_axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    if ax is None:
        _, ax = plt.subplots(figsize=size, layout="constrained")
    ax.figure.set_facecolor("white")
    ax.set_facecolor("white")
    return ax


def _make_square(ax: Axes) -> None:
    """One unit is equally long on both axes; panels beside each other keep one size."""
    limits = np.array([ax.get_xlim(), ax.get_ylim()])
    half = np.ptp(limits, axis=1).max() / 2
    x, y = limits.mean(axis=1)
    ax.set(xlim=(x - half, x + half), ylim=(y - half, y + half), aspect="equal")
