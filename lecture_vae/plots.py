"""Plots: latents, losses, rate and distortion, drawn into given Axes, which are returned.

Nothing here calls a model, shows or saves a figure. Without ``ax`` a function creates a figure.
Figures have a white, opaque background, so that they are readable in dark mode. Tensors and numpy
arrays are both accepted. N images, labels are classes 0 to 9, E evaluations of one training.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Integer
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patheffects import withStroke

from lecture_vae.drawing import (
    PALETTE,
    Array,
    Evolution,
    Names,
    check_evolution,
    check_latents,
    place_names,
    shared_limits,
    white_axes,
)

__all__ = [
    "plot_history",
    "plot_latent_evolution",
    "plot_latents",
    "plot_rate_distortion",
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
    """Scatter plot of two-dimensional latents, with the name of each class at its median.

    Args:
        mu: Latents, for instance means of q(z | x).
        labels: Classes 0 to 9.
        ax: Where to draw; None creates a figure.
        class_names: Of class 0, 1, ...; None for their numbers.
        title: Of the Axes.
        prior: Also draw the circles of radius 1, 2 and 3 about the origin, which hold 39, 86 and
            99 % of the prior N(0, I). Implies an equal aspect ratio.
        equal_aspect: Use the same scale on both axes.

    Raises:
        ValueError: If shapes do not match, a latent is not finite, or a class has no color or name.

    Examples:
        >>> ax = plot_latents(torch.randn(100, 2), torch.arange(100) % 10, prior=True)
        >>> ax.get_xlabel(), len(ax.lines)
        ('$z_1$', 3)
    """
    mu, labels, names = check_latents(mu, labels, class_names)
    ax = white_axes(ax, (5.5, 5.5))
    # One scatter in the order of the images: drawn class by class, later ones would cover others.
    ax.scatter(
        mu[:, 0],
        mu[:, 1],
        s=np.clip(20_000 / len(mu), 2.5, 22.0),
        c=np.array([to_rgb(color) for color in PALETTE])[labels],
        alpha=0.75,
        linewidths=0,
        rasterized=True,  # 10,000 vector marks slow down a page
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
    """Small multiples: one evaluation for each Axes, from the first to the last, on one scale.

    The evaluations are spaced geometrically, because latents change most early in a training.

    Args:
        latents: Latents at each evaluation, E arrays [N, 2].
        labels: Classes 0 to 9.
        steps: The step of each evaluation, increasing.
        axes: Where to draw, 2 to E Axes.
        class_names: Of class 0, 1, ...; None for their numbers.

    Returns:
        ``axes``.

    Raises:
        ValueError: As :func:`plot_latents`, or if there are fewer than 2 Axes or more than E.

    Examples:
        >>> import matplotlib.pyplot as plt
        >>> latents = [torch.randn(100, 2) for step in range(5)]
        >>> _, axes = plt.subplots(1, 3)
        >>> axes = plot_latent_evolution(latents, torch.arange(100) % 10, [0, 1, 2, 3, 4], axes)
        >>> [ax.get_title() for ax in axes]
        ['step 0', 'step 1', 'step 4']
    """
    latents, labels, names = check_evolution(latents, labels, steps, class_names)
    panels, last = list(np.ravel(np.asarray(axes, dtype=object))), len(latents) - 1
    if not 2 <= len(panels) <= last + 1:
        raise ValueError(
            "an evolution is drawn into 2 Axes or more, with an evaluation for each: "
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
    """Learning curves: ``column`` against ``step``, one curve for each run.

    Args:
        frames: ``{label: history.frame()}``; rows where ``column`` is NaN are left out.
        ax: Where to draw; None creates a figure.
        column: In the unit of its term; a loss has that of its objective.
        train: Also draw the corresponding ``train_...`` column, dashed.
        title: Of the Axes.

    Raises:
        ValueError: If there is no run, or a run lacks a column.

    Examples:
        >>> history = History(rows=[{"step": 0, "test_kl": 0.1}, {"step": 9, "test_kl": 4.0}])
        >>> ax = plot_history({"VAE": history.frame()}, column="test_kl")
        >>> ax.get_ylabel()
        'test kl (nats per image)'
    """
    if not frames:
        raise ValueError("plot_history needs at least one run, got none.")
    columns = [column, column.replace("test_", "train_")] if train else [column]
    for label, frame in frames.items():
        if missing := sorted({"step", *columns} - set(frame)):
            raise ValueError(f"run {label!r} has no column {missing}, only {list(frame)}.")
    ax = white_axes(ax, (6.5, 4.0))
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


def plot_rate_distortion(table: pd.DataFrame, ax: Axes | None = None, *, title: str = "") -> Axes:
    """Distortion against rate: a point for each run, a line through the means over the seeds.

    Runs of one number of latents share a color and a line, which leads from the largest KL weight,
    at the left, to the smallest. The numbers beside the line are the weights.

    Args:
        table: With the columns ``latent_dim``, ``kl_weight``, ``rate_bits`` (KL, bits per image)
            and ``squared_error`` (squared gray levels); rows where one is missing are left out.
        ax: Where to draw; None creates a figure.
        title: Of the Axes.

    Raises:
        ValueError: If no row is complete.

    Examples:
        >>> import pandas as pd
        >>> rows = {"latent_dim": [2, 2], "kl_weight": [1.0, 4.0], "rate_bits": [8.0, 5.0]}
        >>> ax = plot_rate_distortion(pd.DataFrame(rows | {"squared_error": [31.0, 35.0]}))
        >>> len(ax.lines), [text.get_text() for text in ax.texts]
        (1, ['4', '1'])
    """
    columns = ["latent_dim", "kl_weight", "rate_bits", "squared_error"]
    complete = table[columns].dropna()
    if complete.empty:
        raise ValueError(
            "a rate-distortion plot needs a run with a KL weight, a KL and a squared error, and "
            f"none of the {len(table)} rows has all of them."
        )
    ax = white_axes(ax, (6.5, 4.5))
    for i, (latents, rows) in enumerate(complete.groupby("latent_dim")):
        color = PALETTE[i % 10]
        means = rows.groupby("kl_weight").mean().sort_index(ascending=False)
        ax.plot(means["rate_bits"], means["squared_error"], color=color, label=f"{latents} latents")
        ax.scatter(rows["rate_bits"], rows["squared_error"], s=16, color=color, alpha=0.75)
        for weight, rate, error in means[["rate_bits", "squared_error"]].itertuples():
            ax.annotate(
                f"{weight:g}", (rate, error), (4, 4), textcoords="offset points", size=8,
                color="0.25",
            )  # fmt: skip
    ax.set(xlabel="rate: KL (bits per image)", ylabel="distortion: squared error", title=title)
    ax.legend()
    return ax


def _make_square(ax: Axes) -> None:
    """Use the same scale and the same length on both axes."""
    limits = np.array([ax.get_xlim(), ax.get_ylim()])
    half = np.ptp(limits, axis=1).max() / 2
    x, y = limits.mean(axis=1)
    ax.set(xlim=(x - half, x + half), ylim=(y - half, y + half), aspect="equal")
