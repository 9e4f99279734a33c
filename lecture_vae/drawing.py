"""Drawing: what figures and animations of latents share: colors, checks, axis limits, label places.

Tensors and numpy arrays are both accepted. N images, labels are classes 0 to 9, E evaluations of
one training.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float, Integer
from matplotlib.axes import Axes
from torch import Tensor

__all__ = [
    "PALETTE",
    "check_evolution",
    "check_latents",
    "place_names",
    "shared_limits",
    "to_array",
    "white_axes",
]

Array = Tensor | np.ndarray
Evolution = Float[Array, "E N 2"] | Sequence[Float[Array, "N 2"]]  # as History.latents
Names = Sequence[str] | None  # of class 0, 1, ...; None for their numbers
Limits = tuple[float, float]

# The ten colors of Petroff (2021), arXiv:2107.02270, which remain distinguishable under
# color-vision deficiency. They are reordered: digits whose clusters touch, such as 3 and 8, get
# dissimilar colors.
PALETTE = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#832db6", "#717581"),
    *("#e76300", "#94a4a2", "#b9ac70", "#a96b59", "#92dadd"),
)


def to_array(x: Array) -> np.ndarray:
    """A tensor (on any device, with or without gradient) or array as a numpy array.

    Examples:
        >>> to_array(torch.ones(2, requires_grad=True))
        array([1., 1.], dtype=float32)
    """
    return x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)


def check_latents(
    mu: Array, labels: Array, class_names: Names
) -> tuple[np.ndarray, np.ndarray, Sequence[str]]:
    """Check latents and labels before they are drawn.

    Args:
        mu: [N, 2].
        labels: [N], integers.
        class_names: Of class 0, 1, ...; None for their numbers.

    Returns:
        Latents in float32 and labels as arrays, and the names.

    Raises:
        ValueError: If shapes do not match, a latent is not finite, or a class has no color or name.

    Examples:
        >>> mu, labels, names = check_latents(torch.zeros(3, 2), torch.arange(3), None)
        >>> mu.shape, names[2]
        ((3, 2), '2')
    """
    mu, labels = to_array(mu).astype(np.float32), to_array(labels)
    if mu.shape != (len(labels), 2) or labels.ndim != 1 or not len(mu):
        raise ValueError(
            f"mu must have shape [N, 2] and labels [N], N >= 1, got {list(mu.shape)} and "
            f"{list(labels.shape)}. Project more dimensions to two first, for instance by t-SNE."
        )
    if not np.isfinite(mu).all():
        raise ValueError("latents must be finite, got NaN or infinity. Has the training diverged?")
    names = [str(c) for c in range(len(PALETTE))] if class_names is None else list(class_names)
    known = min(len(names), len(PALETTE))
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= known:
        raise ValueError(
            f"labels must be whole numbers from 0 to {known - 1}, got {labels.dtype} from "
            f"{labels.min()} to {labels.max()}. There is one color and one name per class."
        )
    return mu, labels, names


def check_evolution(
    latents: Evolution, labels: Array, steps: Sequence[int], class_names: Names
) -> tuple[np.ndarray, np.ndarray, Sequence[str]]:
    """:func:`check_latents` for the evaluations of a training.

    Args:
        latents: E arrays [N, 2].
        labels: [N], integers.
        steps: The step of each evaluation, increasing.
        class_names: As for :func:`check_latents`.

    Returns:
        As :func:`check_latents`, with latents [E, N, 2].

    Raises:
        ValueError: As :func:`check_latents`, or if the steps do not match.

    Examples:
        >>> latents = [torch.zeros(3, 2), torch.ones(3, 2)]
        >>> check_evolution(latents, torch.arange(3), [0, 100], None)[0].shape
        (2, 3, 2)
    """
    if len(latents) != len(steps) or not len(steps) or not (np.diff(steps) > 0).all():
        raise ValueError(
            f"every evaluation needs a step, and steps must increase: got {len(latents)} "
            f"evaluations and {len(steps)} steps."
        )
    evaluations = []
    for step, mu in zip(steps, latents, strict=True):
        try:
            checked, classes, names = check_latents(mu, labels, class_names)
        except ValueError as error:
            raise ValueError(f"at step {step}: {error}") from None
        evaluations.append(checked)
    return np.stack(evaluations), classes, names


def place_names(
    mu: Float[np.ndarray, "N 2"],
    labels: Integer[np.ndarray, " N"],
    names: Sequence[str],
    letter: Float[np.ndarray, " 2"],
) -> list[tuple[Float[np.ndarray, " 2"], str]]:
    """Where to write the names of the classes: at the median of their latents.

    Names that would overlap are joined: "4 9", or for more than three classes "10 classes", written
    above the point.

    Args:
        mu: Latents.
        labels: Their classes.
        names: Of class 0, 1, ...
        letter: Width and height of a letter in the units of the latents.

    Returns:
        Pairs of a point and a text.

    Examples:
        >>> mu = np.array([[0.0, 0.0], [0.1, 0.1], [5.0, 5.0]])
        >>> places = place_names(mu, np.arange(3), "012", letter=np.array([1.0, 1.0]))
        >>> [text for point, text in places]
        ['0 1', '2']
    """
    medians = {c: np.median(mu[labels == c], axis=0) for c in np.unique(labels)}
    groups: list[list[int]] = []
    for c in medians:
        for group in groups:
            if (abs(medians[c] - medians[group[0]]) < letter).all():
                group.append(c)
                break
        else:
            groups.append([c])
    placed = []
    for group in groups:
        center = np.mean([medians[c] for c in group], axis=0)
        if len(group) <= 3:
            placed.append((center, " ".join(names[c] for c in group)))
        else:
            placed.append((center + np.array([0, letter[1]]), f"{len(group)} classes"))
    return placed


def shared_limits(latents: Float[np.ndarray, "E N 2"]) -> tuple[Limits, Limits]:
    """Limits of z1 and z2, equally long, that hold 99 % or more of the points of each evaluation.

    Limits that hold every outlier would make all other points too small to see.

    Args:
        latents: Of E evaluations.

    Returns:
        The limits of z1, then of z2.

    Examples:
        >>> line = np.linspace(0, 1, 1001)
        >>> x_limits, y_limits = shared_limits(np.stack([line, line / 2], axis=1)[None])
        >>> np.isclose(np.diff(x_limits), np.diff(y_limits)).item()
        True
    """
    low, high = np.percentile(latents, [0.25, 99.75], axis=1)
    low, high = low.min(axis=0), high.max(axis=0)
    half = 0.55 * (high - low).max() or 1.0
    (x, y) = (low + high) / 2
    return (x - half, x + half), (y - half, y + half)


def white_axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """``ax`` on a white background, or the Axes of a new figure if it is None.

    Args:
        ax: Where to draw.
        size: Width and height of the new figure, in inches.

    Examples:
        >>> white_axes(None, (4, 3)).figure.get_facecolor()
        (1.0, 1.0, 1.0, 1.0)
    """
    if ax is None:
        _, ax = plt.subplots(figsize=size, layout="constrained")
    ax.figure.set_facecolor("white")
    ax.set_facecolor("white")
    return ax
