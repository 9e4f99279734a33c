"""Video."""

from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from html import escape
from io import BytesIO
from pathlib import Path
from subprocess import DEVNULL, PIPE, CalledProcessError, Popen
from tempfile import TemporaryDirectory

import imageio_ffmpeg
import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import UInt8
from matplotlib import rc_context
from matplotlib.animation import Animation, FFMpegWriter
from PIL import Image

from lecture_vae.storage import write_together

__all__ = ["Video", "record"]

DPI = 100  # pixels per inch: the same video whatever the notebook's own setting

# What browsers play: H.264 in yuv420p, which needs even sizes, with the index in front (faststart).
# One thread and no time stamps: the same frames give the same bytes. Points jump rather than move,
# so searching for their motion finely costs a quarter of the time and saves 5 % of the size.
ENCODING = [
    *("-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2:color=white,scale=out_color_matrix=bt709"),
    *("-pix_fmt", "yuv420p", "-preset", "veryfast", "-crf", "26", "-threads", "1"),
    *("-x264-params", "subme=1:me=dia"),
    *("-colorspace", "bt709", "-movflags", "+faststart"),
    *("-fflags", "+bitexact", "-flags:v", "+bitexact"),
]


@dataclass(frozen=True)
class Video:
    """A video as the last expression of a notebook cell: it is embedded in the page, with controls.

    Raises:
        ValueError: If the description is empty: without it, who cannot see has nothing.
    """

    mp4: bytes = field(repr=False)
    poster: bytes = field(repr=False)  # PNG, shown until the video plays
    description: str  # what is seen, for screen readers and browsers without video

    def __post_init__(self) -> None:
        if not self.description.strip():
            raise ValueError("a video needs a description: say in one sentence what moves where.")

    def _repr_html_(self) -> str:
        with Image.open(BytesIO(self.poster)) as poster:
            width = poster.width
        description = escape(self.description)
        return (
            f'<video controls loop muted playsinline preload="metadata" width="{width}" '
            f'style="max-width: 100%; height: auto" aria-label="{description}" '
            f'poster="data:image/png;base64,{b64encode(self.poster).decode()}">'
            f'<source type="video/mp4" src="data:video/mp4;base64,{b64encode(self.mp4).decode()}">'
            f"<p>{description}</p></video>"
        )

    def save(self, path: str | Path, poster: str | Path | None = None) -> None:
        """Writes the mp4 and, if its place is named, the poster: both or, on a full disk, neither.

        A reader never meets a half-written one.

        Raises:
            OSError: The folder cannot be written or the disk is full.
        """
        files = {Path(path): partial(Path.write_bytes, data=self.mp4)}
        if poster is not None:
            files[Path(poster)] = partial(Path.write_bytes, data=self.poster)
        write_together(files)


def record(animation: Animation, *, fps: int = 10, description: str) -> Video:
    """A matplotlib animation, for instance ``Camera.animate()`` of celluloid, as a video.

    The poster is the last frame. The figure is closed: a notebook would print it below the video.

    Raises:
        RuntimeError: If ffmpeg is missing or fails, with what it said.
    """
    figure = animation._fig  # type: ignore[attr-defined]  # matplotlib has no public way
    figure.set_facecolor("white")
    poster = BytesIO()
    try:
        # A tight box would give frames and poster different sizes.
        with (
            rc_context({"animation.ffmpeg_path": _ffmpeg(), "savefig.bbox": "standard"}),
            TemporaryDirectory() as folder,
        ):
            path = Path(folder) / "video.mp4"
            animation.save(path, FFMpegWriter(fps, "libx264", extra_args=ENCODING), dpi=DPI)
            figure.savefig(poster, format="png", dpi=DPI)
            return Video(path.read_bytes(), poster.getvalue(), description)
    except CalledProcessError as error:
        raise _ffmpeg_failed(error.stderr) from None
    finally:
        plt.close(figure)


def encode(frames: Iterator[UInt8[np.ndarray, "H W 4"]], size: tuple[int, int], fps: int) -> bytes:
    height, width = size
    with TemporaryDirectory() as folder:
        path, log = Path(folder) / "video.mp4", Path(folder) / "log.txt"
        command = [_ffmpeg(), "-loglevel", "error"]
        command += ["-f", "rawvideo", "-pix_fmt", "rgba", "-s", f"{width}x{height}"]
        command += ["-framerate", str(fps), "-i", "pipe:", "-c:v", "libx264", *ENCODING, str(path)]
        # An ffmpeg that gives up closes its end of the pipe; what it said is in the log.
        with (
            log.open("wb") as errors,
            suppress(BrokenPipeError),
            Popen(command, stdin=PIPE, stderr=errors) as ffmpeg,
        ):
            assert ffmpeg.stdin is not None
            for frame in frames:
                ffmpeg.stdin.write(frame.tobytes())
        if ffmpeg.returncode:
            raise _ffmpeg_failed(log.read_text(errors="replace"))
        return path.read_bytes()


def _ffmpeg() -> str:
    """The program, which is there and starts.

    Raises:
        RuntimeError: If there is none.
    """
    try:
        program = imageio_ffmpeg.get_ffmpeg_exe()
        with Popen([program, "-version"], stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL):
            return program
    except (RuntimeError, OSError) as error:
        raise RuntimeError(
            f"a video is made by ffmpeg, which cannot be started here: {error} Was it not "
            "installed with imageio-ffmpeg, or does IMAGEIO_FFMPEG_EXE name something else?"
        ) from error


def _ffmpeg_failed(log: str) -> RuntimeError:
    last_lines = "\n".join(log.strip().splitlines()[-5:])
    return RuntimeError(f"ffmpeg could not write the video. Its last lines:\n{last_lines}")
