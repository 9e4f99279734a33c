"""Animation: latents over the course of a training, as a video.

Nothing here calls a model. N images, E evaluations of one training.
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

MAX_FRAMES = 150  # evaluations that are shown
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
    """A video of two-dimensional latents of the same images, one frame for each evaluation.

    All frames have the same axis limits, which hold 99 % or more of the points of each evaluation;
    a frame says how many are outside. The last frame is shown for a second, and is the poster. If
    there are more than 150 evaluations, they are subsampled evenly, with the last one included.

    Args:
        latents: Latents at each evaluation, E arrays [N, 2]: for instance ``history.latents``.
        labels: Classes 0 to 9.
        steps: The step of each evaluation, increasing.
        class_names: Of class 0, 1, ...; None for their numbers.
        fps: Evaluations per second.
        description: Text alternative, not empty.

    Raises:
        ValueError: If shapes do not match, a latent is not finite, steps do not increase, or the
            description is empty.
        RuntimeError: If ffmpeg is missing or fails; the message holds its output.

    Examples:
        >>> latents = [step * torch.randn(100, 2) for step in range(3)]
        >>> labels = torch.arange(100) % 10
        >>> latent_evolution(latents, labels, [0, 1, 2], description="Points move outwards.")
        Video(description='Points move outwards.')
    """
    latents, labels, names = check_evolution(latents, labels, steps, class_names)
    renderer = _FrameRenderer(labels, names, *shared_limits(latents))
    first, length = steps[0], max(1, steps[-1] - steps[0])
    last = renderer.frame(latents[-1], steps[-1], 1.0)

    def frames() -> Iterator[UInt8[np.ndarray, "H W 4"]]:
        for i in shown_evaluations(len(steps))[:-1]:
            yield renderer.frame(latents[i], steps[i], (steps[i] - first) / length)
        for _ in range(fps):
            yield last

    poster = BytesIO()
    Image.fromarray(last).convert("RGB").save(poster, format="png")
    return Video(encode(frames(), last.shape[:2], fps), poster.getvalue(), description)


def shown_evaluations(count: int) -> list[int]:
    """Indices of the evaluations that become frames, evenly spaced and with the last one."""
    every = max(1, ceil((count - 1) / (MAX_FRAMES - 1)))
    return sorted({*range(0, count, every), count - 1})


class _FrameRenderer:
    """Draws the axes once with matplotlib; for each frame, only points and text, as pixels.

    A frame takes a few milliseconds, much less than drawing the figure again.
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
        corners[:, 1] = len(self.background) - corners[:, 1]  # matplotlib's origin is at the bottom
        self.low, self.high = np.stack([x_limits, y_limits], axis=1)
        self.corner, self.scale = corners[0], (corners[1] - corners[0]) / (self.high - self.low)
        self.disc = self._make_disc(np.clip(75 / np.sqrt(len(labels)), 1.3, 4.0))

    def _make_disc(self, radius: float) -> list[tuple[int, np.ndarray]]:
        """The pixels of a point's disc: their offset in memory, and their color for each image.

        The outermost come first, so that no rim covers the center of another point. The rim fades
        to white, which smooths it and separates points.
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
        """The latents at one step; ``progress``, from 0 to 1, is drawn as a bar at the bottom."""
        pixels = self.background.copy()
        width = pixels.shape[1]
        pixels[-PROGRESS_HEIGHT:, : round(progress * width), :3] = 64
        inside = ((mu >= self.low) & (mu <= self.high)).all(axis=1)
        columns, rows = self._to_pixels(mu[inside]).T
        flat = pixels.view(np.uint32).reshape(-1)  # a pixel as one number
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
        """Column and row of a latent."""
        return np.floor(self.corner + (z - self.low) * self.scale).astype(int)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    # str: Pillow 10 does not accept a Path.
    return ImageFont.truetype(str(Path(get_data_path(), "fonts/ttf/DejaVuSans-Bold.ttf")), size)
