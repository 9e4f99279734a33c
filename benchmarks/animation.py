"""`latent_evolution` beside the celluloid way: 10,000 points, a frame an evaluation, to mp4.

The celluloid way draws a scatter of each class and a title, takes a snapshot with ``Camera.snap``
and lets matplotlib send the frames through the same ffmpeg, with the same settings and size.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import imageio_ffmpeg
import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from celluloid import Camera
from matplotlib.animation import FFMpegWriter
from timing import alternate, arguments_of, context, medians, parser, table, timed, write

from lecture_vae import latent_evolution
from lecture_vae.drawing import PALETTE
from lecture_vae.video import DPI, ENCODING

OURS, CELLULOID = "latent_evolution", "celluloid"


def main() -> None:
    """Measures, prints and, if asked, records."""
    options = parser(__doc__, rounds=3)
    options.add_argument("--frames", type=int, nargs="+", default=[25, 50, 100])
    options.add_argument("--points", type=int, default=10_000)
    options.add_argument("--celluloid-frames", type=int, default=100, help="its cost is per frame")
    arguments = arguments_of(options, "animation")
    codes, labels = codes_of(max(arguments.frames), arguments.points)
    calls = {
        f"{OURS}, {frames} frames": partial(timed, partial(ours, codes[:frames], labels))
        for frames in arguments.frames
    }
    slow = min(arguments.celluloid_frames, len(codes))
    calls[f"{CELLULOID}, {slow} frames"] = partial(
        timed, partial(by_celluloid, codes[:slow], labels)
    )
    ours(codes[:2], labels)  # fonts and ffmpeg into the cache
    seconds = alternate(calls, arguments.rounds)
    median = medians(seconds)
    counts = {name: int(name.split(", ")[1].split()[0]) for name in median}
    per_frame = {name: value / counts[name] for name, value in median.items()}
    largest = f"{OURS}, {max(arguments.frames)} frames"
    ratio = per_frame[f"{CELLULOID}, {slow} frames"] / per_frame[largest]
    rows = [[name, f"{value:.2f}", f"{1e3 * per_frame[name]:.1f}"] for name, value in
            median.items()]  # fmt: skip
    print(table([f"{arguments.points:,} points", "s", "ms a frame"], rows))
    print(f"celluloid takes {ratio:.1f} times as long a frame")
    results = {
        "points": arguments.points,
        "seconds": seconds,
        "median_s": median,
        "s_per_frame": per_frame,
        "celluloid_per_ours": ratio,
    }
    write(context(None, ["matplotlib", "celluloid", "imageio-ffmpeg"]) | results, arguments.out)


def codes_of(frames: int, points: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Ten clouds that drift apart."""
    draw = np.random.default_rng(0)
    labels = draw.integers(10, size=points)
    angle = 2 * np.pi * labels / 10
    centers = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    start = draw.normal(size=(points, 2))
    codes = [
        (0.6 * start + 2 * number / frames * centers).astype(np.float16) for number in range(frames)
    ]
    return codes, labels


def ours(codes: Sequence[np.ndarray], labels: np.ndarray) -> None:
    """As the chapters do it."""
    steps = [250 * number for number in range(len(codes))]
    latent_evolution(codes, labels, steps, description="Clouds that drift apart.")


def by_celluloid(codes: Sequence[np.ndarray], labels: np.ndarray) -> None:
    """Every frame drawn by matplotlib."""
    figure, ax = plt.subplots(figsize=(7, 6.4))
    camera = Camera(figure)
    for number, code in enumerate(codes):
        for digit in range(10):
            ax.scatter(*code[labels == digit].T, s=5, alpha=0.8, color=PALETTE[digit])
        ax.text(0, 1.02, f"step {250 * number:,}", transform=ax.transAxes)
        camera.snap()
    with TemporaryDirectory() as folder:
        ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
        with matplotlib.rc_context({"animation.ffmpeg_path": ffmpeg}):
            writer = FFMpegWriter(10, "libx264", extra_args=ENCODING)
            camera.animate().save(Path(folder) / "video.mp4", writer, dpi=DPI)
    plt.close(figure)


if __name__ == "__main__":
    main()
