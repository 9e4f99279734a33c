"""Drawing: what figures and animations of latents share: colors, checks, limits, places for names.

Nothing here draws. Tensors and numpy arrays are both welcome. N images, labels are classes 0 to 9,
E evaluations of one training.
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
Names = Sequence[str] | None  # what to write for class 0, 1, ...; None writes the number
Limits = tuple[float, float]

# The ten colors of Petroff (2021), arXiv:2107.02270, chosen to stay apart under color-vision
# deficiency. The order is ours: digits whose clusters touch, as 3 and 8, get colors far apart.
PALETTE = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#832db6", "#717581"),
    *("#e76300", "#94a4a2", "#b9ac70", "#a96b59", "#92dadd"),
)


def to_array(x: Array) -> np.ndarray:
    """The numbers of a tensor (of any device, with or without gradient) or array, for drawing."""
    return x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)


def check_latents(
    mu: Array, labels: Array, class_names: Names
) -> tuple[np.ndarray, np.ndarray, Sequence[str]]:
    """The same as arrays and names, once they are known to fit together."""
    mu, labels = to_array(mu).astype(np.float32), to_array(labels)
    if mu.shape != (len(labels), 2) or labels.ndim != 1 or not len(mu):
        raise ValueError(
            f"mu must have shape [N, 2] and labels [N], N >= 1, got {list(mu.shape)} and "
            f"{list(labels.shape)}. Codes of more dimensions need t-SNE or a choice of two first."
        )
    if not np.isfinite(mu).all():
        raise ValueError("codes must be finite, got NaN or infinity. Has the training diverged?")
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
    """:func:`check_latents` for several evaluations, which must have one rising step each."""
    if len(latents) != len(steps) or not len(steps) or not (np.diff(steps) > 0).all():
        raise ValueError(
            f"every evaluation needs a step, and steps must rise: got {len(latents)} evaluations "
            f"and {len(steps)} steps."
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
    """Where to write which name: at the median of each class, which no outlier moves.

    Names that would cover each other, being less than a ``letter`` (width and height in latent
    units) apart, become one: "4 9", or "10 classes" just above the spot where many classes lie.
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
    """Limits of z1 and z2, equally long, that hold at least 99 % of the points at each evaluation.

    The few points far out would shrink all others to a dot.
    """
    low, high = np.percentile(latents, [0.25, 99.75], axis=1)
    low, high = low.min(axis=0), high.max(axis=0)
    half = 0.55 * (high - low).max() or 1.0
    (x, y) = (low + high) / 2
    return (x - half, x + half), (y - half, y + half)


def white_axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    if ax is None:
        _, ax = plt.subplots(figsize=size, layout="constrained")
    ax.figure.set_facecolor("white")
    ax.set_facecolor("white")
    return ax
