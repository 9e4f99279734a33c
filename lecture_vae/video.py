"""Video: a matplotlib animation or a sequence of frames as an H.264 video for a notebook.

Frames are passed to ffmpeg one at a time and are not kept: memory does not grow with their number.
"""

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

DPI = 100  # pixels per inch, whatever the notebook's setting

# Browsers play H.264 in yuv420p, which needs even sizes; faststart puts the index first. One thread
# and no time stamps: the same frames give the same bytes. Points do not move continuously between
# frames: a finer motion estimation takes a third more time and saves 5 % of the size.
ENCODING = [
    *("-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2:color=white,scale=out_color_matrix=bt709"),
    *("-pix_fmt", "yuv420p", "-preset", "veryfast", "-crf", "26", "-threads", "1"),
    *("-x264-params", "subme=1:me=dia"),
    *("-colorspace", "bt709", "-movflags", "+faststart"),
    *("-fflags", "+bitexact", "-flags:v", "+bitexact"),
]


@dataclass(frozen=True)
class Video:
    """A video that a notebook shows, with controls, as the value of a cell.

    Raises:
        ValueError: If the description is empty, since screen readers depend on it.

    Examples:
        >>> Video(mp4=b"", poster=b"", description=" ")
        Traceback (most recent call last):
        ...
        ValueError: a video needs a description: say in one sentence what moves where.
    """

    mp4: bytes = field(repr=False)
    poster: bytes = field(repr=False)  # PNG, shown until the video plays
    description: str  # text alternative, for screen readers and browsers without video

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
        """Write the mp4 and, if its path is given, the poster, atomically: both files or none.

        Args:
            path: Of the mp4.
            poster: Of the PNG.

        Raises:
            OSError: If the folder cannot be written or the disk is full.

        Examples:
            >>> from pathlib import Path
            >>> from tempfile import TemporaryDirectory
            >>> video = Video(mp4=b"", poster=b"", description="Nothing moves.")
            >>> with TemporaryDirectory() as folder:
            ...     video.save(Path(folder) / "video.mp4")
            ...     [path.name for path in Path(folder).iterdir()]
            ['video.mp4']
        """
        files = {Path(path): partial(Path.write_bytes, data=self.mp4)}
        if poster is not None:
            files[Path(poster)] = partial(Path.write_bytes, data=self.poster)
        write_together(files)


def record(animation: Animation, *, fps: int = 10, description: str) -> Video:
    """Encode a matplotlib animation, for instance ``Camera.animate()`` of celluloid.

    The poster is the last frame. The figure is closed, so that a notebook does not show it as well.

    Args:
        animation: What to encode.
        fps: Frames per second.
        description: Text alternative, not empty.

    Raises:
        RuntimeError: If ffmpeg is missing or fails; the message holds its output.
        ValueError: If the description is empty.

    Examples:
        >>> import matplotlib.pyplot as plt
        >>> from matplotlib.animation import FuncAnimation
        >>> figure, ax = plt.subplots(figsize=(1, 1))
        >>> (line,) = ax.plot([0, 1], [0, 0])
        >>> animation = FuncAnimation(figure, lambda i: line.set_ydata([0, i]), frames=2)
        >>> record(animation, description="A line turns upwards.")
        Video(description='A line turns upwards.')
    """
    figure = animation._fig  # type: ignore[attr-defined]  # there is no public attribute
    figure.set_facecolor("white")
    poster = BytesIO()
    try:
        # A tight bounding box would give frames and poster different sizes.
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
    """Encode RGBA frames as an mp4.

    Args:
        frames: All of one size.
        size: Height H and width W, in pixels.
        fps: Frames per second.

    Raises:
        RuntimeError: If ffmpeg is missing or fails; the message holds its output.
    """
    height, width = size
    with TemporaryDirectory() as folder:
        path, log = Path(folder) / "video.mp4", Path(folder) / "log.txt"
        command = [_ffmpeg(), "-loglevel", "error"]
        command += ["-f", "rawvideo", "-pix_fmt", "rgba", "-s", f"{width}x{height}"]
        command += ["-framerate", str(fps), "-i", "pipe:", "-c:v", "libx264", *ENCODING, str(path)]
        # If ffmpeg fails it closes the pipe; the log says why.
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
    """The path of an ffmpeg that can be started."""
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
