"""Animations: latents over training, or any matplotlib animation, as a video that a page can show.

Frames go to ffmpeg one at a time and are not kept: memory does not grow with their number. Nothing
here calls a model. N images, E evaluations of one training.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from io import BytesIO
from math import ceil
from operator import itemgetter
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float, Integer, UInt8
from matplotlib import get_data_path
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image, ImageDraw, ImageFont

from lecture_vae.drawing import (
    PALETTE,
    Array,
    Evolution,
    Limits,
    Names,
    check_evolution,
    place_names,
    shared_limits,
)
from lecture_vae.video import DPI, Video, encode

__all__ = ["latent_evolution"]

MAX_FRAMES = 150  # evaluations shown
PROGRESS_HEIGHT = 5  # pixels


def latent_evolution(
    latents: Evolution,
    labels: Integer[Array, " N"],
    steps: Sequence[int],
    *,
    class_names: Names = None,
    fps: int = 10,
    description: str,
) -> Video:
    """The codes of the same images, evaluation after evaluation, from step 0 to the end.

    All frames have the same limits, which hold at least 99 % of the points of each evaluation; a
    frame says how many are outside. The last one stays for a second and is the poster. Of more than
    150 evaluations every k-th is shown, and the last.

    Args:
        latents: Codes at each evaluation, for instance ``history.latents``.
        labels: Classes 0 to 9.
        steps: Training step of each evaluation, rising.
        class_names: What to write for class 0, 1, ...; their numbers by default.
        fps: Evaluations per second.
        description: What is seen, in words.

    Raises:
        ValueError: If shapes do not match, a code is not finite or steps do not rise.
        RuntimeError: If ffmpeg is missing or fails, with what it said.
    """
    latents, labels, names = check_evolution(latents, labels, steps, class_names)
    stage = _Stage(labels, names, *shared_limits(latents))
    first, length = steps[0], max(1, steps[-1] - steps[0])
    last = stage.frame(latents[-1], steps[-1], 1.0)

    def frames() -> Iterator[UInt8[np.ndarray, "H W 4"]]:
        for i in shown_evaluations(len(steps))[:-1]:
            yield stage.frame(latents[i], steps[i], (steps[i] - first) / length)
        for _ in range(fps):
            yield last

    poster = BytesIO()
    Image.fromarray(last).convert("RGB").save(poster, format="png")
    return Video(encode(frames(), last.shape[:2], fps), poster.getvalue(), description)


def shown_evaluations(count: int) -> list[int]:
    """Which of ``count`` evaluations become a frame: every k-th and the last."""
    every = max(1, ceil((count - 1) / (MAX_FRAMES - 1)))
    return sorted({*range(0, count, every), count - 1})


class _Stage:
    """Draws the axes once with matplotlib, then only points and text, as pixels, frame by frame.

    A frame costs a few milliseconds; matplotlib needs far more to draw the whole figure again.
    """

    def __init__(
        self, labels: np.ndarray, names: Sequence[str], x_limits: Limits, y_limits: Limits
    ) -> None:
        self.labels, self.names = labels, names
        with plt.style.context("default"):
            layout = ConstrainedLayoutEngine(rect=(0, 0.02, 1, 0.98))  # room for the progress line
            figure = Figure(figsize=(7, 6.4), dpi=DPI, facecolor="white", layout=layout)
            ax = figure.add_subplot(xlim=x_limits, ylim=y_limits, aspect="equal")
            ax.set_title(" ", fontsize=17)  # room for the step
            ax.set_xlabel("$z_1$", fontsize=16)
            ax.set_ylabel("$z_2$", fontsize=16)
            ax.tick_params(labelsize=13)
            for c in np.unique(labels):
                ax.scatter([], [], s=60, color=PALETTE[c], label=names[c])
            figure.legend(loc="outside right center", fontsize=14, handletextpad=0.1)
            canvas = FigureCanvasAgg(figure)
            canvas.draw()
            self.background = np.array(canvas.buffer_rgba())
            corners = ax.transData.transform(np.stack([x_limits, y_limits], axis=1))
        self.background[-PROGRESS_HEIGHT:] = 225
        corners[:, 1] = len(self.background) - corners[:, 1]  # matplotlib counts rows upwards
        self.low, self.high = np.stack([x_limits, y_limits], axis=1)
        self.corner, self.scale = corners[0], (corners[1] - corners[0]) / (self.high - self.low)
        self.disc = self._make_disc(np.clip(75 / np.sqrt(len(labels)), 1.3, 4.0))

    def _make_disc(self, radius: float) -> list[tuple[int, np.ndarray]]:
        """A point's pixels: their offset in memory and their color for each image.

        The farthest come first, so that no rim covers another point's center. The rim fades to
        white, which smooths it and sets points apart.
        """
        colors = np.array([to_rgb(color) for color in PALETTE])
        disc = []
        for row, column in np.argwhere(np.ones((11, 11))) - 5:
            opacity = min(1.0, radius + 0.5 - np.hypot(row, column))
            if opacity > 0:
                rgb = 255 * (1 - opacity * (1 - colors))
                rgba = np.c_[rgb, np.full(len(rgb), 255)].astype(np.uint8)
                offset = int(row * self.background.shape[1] + column)
                disc.append((opacity, offset, rgba.view(np.uint32)[self.labels, 0]))
        return [(offset, color) for _, offset, color in sorted(disc, key=itemgetter(0))]

    def frame(
        self, mu: Float[np.ndarray, "N 2"], step: int, progress: float
    ) -> UInt8[np.ndarray, "H W 4"]:
        """The codes at one step; ``progress`` is the share of the training that is done."""
        pixels = self.background.copy()
        width = pixels.shape[1]
        pixels[-PROGRESS_HEIGHT:, : round(progress * width), :3] = 64
        inside = ((mu >= self.low) & (mu <= self.high)).all(axis=1)
        columns, rows = self._to_pixels(mu[inside]).T
        flat = pixels.view(np.uint32).reshape(-1)  # a pixel is one number: one assignment
        for offset, color in self.disc:
            flat[rows * width + columns + offset] = color[inside]
        image = Image.fromarray(pixels)
        draw = ImageDraw.Draw(image)
        left, top = self._to_pixels(np.array([self.low[0], self.high[1]]))
        draw.text((left, top - 8), f"step {step:,}", "black", _font(22), "ls")
        if outside := len(mu) - len(rows):
            right, _ = self._to_pixels(self.high)
            text = f"{outside:,} of {len(mu):,} outside"
            draw.text((right, top - 8), text, "#555555", _font(15), "rs")
        for at, name in place_names(mu, self.labels, self.names, abs(20 / self.scale)):
            x, y = self._to_pixels(at)
            draw.text((x, y), name, "black", _font(20), "mm", stroke_width=2, stroke_fill="white")
        return np.asarray(image)

    def _to_pixels(self, z: Float[np.ndarray, "... 2"]) -> Integer[np.ndarray, "... 2"]:
        """Column and row of a code."""
        return np.floor(self.corner + (z - self.low) * self.scale).astype(int)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    # As text: Pillow 10 takes no path.
    return ImageFont.truetype(str(Path(get_data_path(), "fonts/ttf/DejaVuSans-Bold.ttf")), size)
