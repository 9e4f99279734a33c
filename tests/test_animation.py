"""Videos are decoded again: what they show, not that a file exists, is what is tested."""

import re
import subprocess
import sys
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import imageio_ffmpeg
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from celluloid import Camera
from matplotlib.animation import FuncAnimation
from matplotlib.colors import to_rgb
from PIL import Image

from lecture_vae.animation import latent_evolution, shown_evaluations
from lecture_vae.drawing import PALETTE
from lecture_vae.video import Video, record


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def decode(mp4: bytes, folder: Path) -> tuple[np.ndarray, str]:
    """Frames [F, H, W, 3], and what ffmpeg says about the file."""
    path = folder / "decoded.mp4"
    path.write_bytes(mp4)
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-i",
        path,
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-",
    ]
    done = subprocess.run(command, capture_output=True, check=True)
    about = next(line for line in done.stderr.decode().splitlines() if "Video: " in line)
    width, height = map(int, re.search(r", (\d+)x(\d+)", about).groups())
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3).astype(int), about


def centers(frame, c):
    """Rows and columns of the pixels that have the color of class c, in the plot's own area."""
    color = 255 * np.array(to_rgb(PALETTE[c]))
    near = abs(frame - color).max(axis=-1) < 30
    near[:, 590:] = False  # the legend
    return np.argwhere(near)


@pytest.fixture(scope="module")
def walk():
    """Four classes of 25 codes at the corners of a square; class 0 walks from left to right."""
    rng = np.random.default_rng(0)
    labels = np.arange(100) % 4
    corners = np.array([[-1, 1], [-1, -1], [1, -1], [1, 0.2]])[labels]
    latents = np.repeat(corners[None], 6, axis=0) + 0.03 * rng.normal(size=(6, 100, 2))
    latents[:, labels == 0, 0] += np.linspace(0, 2, 6)[:, None]
    return latents.astype(np.float16), labels, [0, 100, 200, 300, 400, 1_500]


@pytest.fixture(scope="module")
def video(walk):
    return latent_evolution(*walk, fps=5, description="Four classes; the first walks right.")


@pytest.fixture(scope="module")
def decoded(video, tmp_path_factory):
    return decode(video.mp4, tmp_path_factory.mktemp("video"))


# Latents over training


def test_evolution_shows_every_evaluation_and_holds_the_last_for_a_second(decoded):
    frames, about = decoded
    assert len(frames) == 6 + 4  # at 5 frames per second the last is shown 5 times
    assert " 5 fps" in about
    changes = abs(np.diff(frames, axis=0)).max(axis=(1, 2, 3)) > 100
    assert changes.tolist() == [True] * 5 + [False] * 4


def test_evolution_is_what_browsers_play(video, decoded):
    frames, about = decoded
    assert "Video: h264" in about and "yuv420p" in about and " 700x640" in about
    assert video.mp4.index(b"moov") < video.mp4.index(b"mdat")  # the index comes first: faststart
    corner = frames[:, :5, :5]
    assert (corner > 250).all()  # white and opaque


def test_points_have_the_color_of_their_class_where_their_codes_are(decoded):
    frames, _ = decoded
    first = [centers(frames[0], c).mean(axis=0) for c in range(4)]
    (top, left), (bottom, _), (_, right), (middle, _) = first
    assert first[1][1] == pytest.approx(left, abs=6) and first[3][1] == pytest.approx(right, abs=6)
    assert first[2][0] == pytest.approx(bottom, abs=6)
    # z2 = 0.2 is at 40 % of the way from z2 = 1 down to z2 = -1: one scale, rows downwards.
    assert (middle - top) / (bottom - top) == pytest.approx(0.4, abs=0.02)
    assert bottom - top == pytest.approx(right - left, abs=12)  # equal aspect


def test_colors_survive_the_encoding(video, decoded):
    frames, _ = decoded
    poster = np.asarray(Image.open(BytesIO(video.poster))).astype(int)
    for c in range(4):
        color = np.round(255 * np.array(to_rgb(PALETTE[c])))
        swatch = np.argwhere((poster[:, 600:] == color).all(axis=-1))  # in the legend
        row, column = np.median(swatch, axis=0).astype(int)
        np.testing.assert_allclose(frames[-1, row, 600 + column], color, atol=12)


def test_a_class_that_moves_moves_and_one_that_rests_rests(decoded):
    frames, _ = decoded
    walker = [centers(frame, 0).mean(axis=0) for frame in frames[:6]]
    rester = [centers(frame, 1).mean(axis=0) for frame in frames[:6]]
    columns = [column for _, column in walker]
    np.testing.assert_allclose(np.diff(columns), (columns[-1] - columns[0]) / 5, atol=6)
    assert columns[-1] - columns[0] > 300
    assert np.ptp(rester, axis=0).max() < 6


def test_names_are_written_at_the_medians(decoded):
    frames, _ = decoded
    for c in range(4):
        row, column = centers(frames[0], c).mean(axis=0).round().astype(int)
        around = frames[0, row - 8 : row + 9, column - 8 : column + 9]
        assert (around.max(axis=-1) < 60).sum() > 20  # nearly black


def test_names_have_a_white_halo(video):
    poster = np.asarray(Image.open(BytesIO(video.poster))).astype(int)[60:560, 90:580]
    letters = poster.max(axis=-1) < 60
    beside = sum(np.roll(letters, shift, axis) for shift in (-1, 1) for axis in (0, 1)) > 0
    colored = np.ptp(poster, axis=-1) > 60
    assert letters.sum() > 100
    assert (colored & beside).sum() < 5


def test_the_progress_line_follows_the_step(decoded):
    frames, _ = decoded
    done = [(frame[-2].mean(axis=-1) < 140).mean() for frame in frames[:6]]
    # Steps are not evenly spaced here, so evaluations counted instead would show.
    np.testing.assert_allclose(done, [0, 1 / 15, 2 / 15, 3 / 15, 4 / 15, 1], atol=0.01)


def test_the_poster_is_the_last_frame(video, decoded):
    frames, _ = decoded
    poster = np.asarray(Image.open(BytesIO(video.poster)).convert("RGB")).astype(int)
    assert poster.shape == frames[-1].shape
    assert abs(poster - frames[-1]).mean() < 2 < abs(poster - frames[0]).mean()


def test_the_same_latents_give_the_same_bytes_whatever_the_theme(walk, video):
    with plt.style.context("dark_background"), mpl.rc_context({"figure.dpi": 33}):
        again = latent_evolution(list(walk[0]), *walk[1:], fps=5, description="another")
    assert again.mp4 == video.mp4 and again.poster == video.poster


def test_points_outside_the_limits_are_counted_and_not_drawn(tmp_path):
    latents = np.random.default_rng(0).uniform(-1, 1, size=(2, 1_000, 2))
    latents[1, :, 0] = latents[0, :, 0]
    labels = (latents[0, :, 0] > 0).astype(int)  # class 0 on the left, class 1 on the right
    latents[1, 0] = [500, 500]
    video = latent_evolution(latents, labels, [0, 1], fps=1, description="one point flies away")
    frames, _ = decode(video.mp4, tmp_path)
    note = frames[:, 3:28, 350:585]  # above the axes, on the right
    assert (note[0] > 240).all()
    assert (note[1] < 150).any()
    # Had the limits followed the point, all others would be one dot.
    left, right = centers(frames[1], 0), centers(frames[1], 1)
    assert np.ptp(left[:, 0]) > 400 and np.ptp(left[:, 1]) > 200
    # The others keep their colors.
    assert left[:, 1].max() < right[:, 1].min() + 6


def test_of_many_evaluations_every_kth_and_the_last_are_shown():
    assert shown_evaluations(1) == [0]
    assert shown_evaluations(150) == list(range(150))
    assert shown_evaluations(151) == [*range(0, 150, 2), 150]
    assert shown_evaluations(400) == [*range(0, 399, 3), 399]
    for count in range(1, 1_000, 7):
        shown = shown_evaluations(count)
        assert (shown[0], shown[-1]) == (0, count - 1) and len(shown) <= 150


def test_a_long_evolution_skips_evaluations_but_not_the_last(walk, monkeypatch, tmp_path):
    monkeypatch.setattr("lecture_vae.animation.MAX_FRAMES", 3)
    video = latent_evolution(*walk, fps=1, description="x")
    frames, _ = decode(video.mp4, tmp_path)
    done = [(frame[-2].mean(axis=-1) < 140).mean() for frame in frames]
    np.testing.assert_allclose(done, [0, 3 / 15, 1], atol=0.01)  # evaluations 0, 3 and 5


def test_no_frame_is_kept(walk, monkeypatch):
    lazy = []

    def encode(frames, size, fps):
        lazy.append(iter(frames) is frames)
        return b""

    monkeypatch.setattr("lecture_vae.animation.encode", encode)
    latent_evolution(*walk, description="x")
    assert lazy == [True]  # an iterator: a frame exists only while it is encoded


def test_evolution_refuses_what_does_not_fit(walk):
    latents, labels, steps = walk
    with pytest.raises(ValueError, match=r"at step 0: .*\[100, 2\] and \[99\]"):
        latent_evolution(latents, labels[1:], steps, description="x")
    with pytest.raises(ValueError, match="6 evaluations and 5 steps"):
        latent_evolution(latents, labels, steps[1:], description="x")
    with pytest.raises(ValueError, match="steps must increase"):
        latent_evolution(latents, labels, [0, 100, 100, 300, 400, 500], description="x")
    with pytest.raises(ValueError, match=r"at step 0: .*\[100, 3\]"):
        latent_evolution(np.zeros((6, 100, 3)), labels, steps, description="x")
    broken = latents.copy()
    broken[4, 7, 1] = np.inf
    with pytest.raises(ValueError, match=r"at step 400: latents must be finite.*diverged"):
        latent_evolution(broken, labels, steps, description="x")


# matplotlib animations


def camera_animation(**keywords):
    """Three snaps of a line that rises, in a figure of odd size in pixels."""
    figure, ax = plt.subplots(figsize=(3.25, 2.25))
    camera = Camera(figure)
    for height in range(3):
        ax.plot([0, 1], [height, height], color=PALETTE[0], linewidth=8)
        camera.snap()
    return camera.animate(**keywords)


@pytest.mark.parametrize("keywords", [{}, {"blit": True}], ids=["plain", "blit"])
def test_record_makes_a_video_of_a_celluloid_camera(keywords, tmp_path):
    video = record(camera_animation(**keywords), fps=4, description="A line rises.")
    frames, about = decode(video.mp4, tmp_path)
    assert len(frames) == 3
    assert "Video: h264" in about and "yuv420p" in about and " 326x226" in about
    assert " 4 fps" in about
    rows = [centers(frame, 0)[:, 0].mean() for frame in frames]
    assert rows[0] > rows[1] + 30 > rows[2] + 60
    poster = np.asarray(Image.open(BytesIO(video.poster)).convert("RGB")).astype(int)
    assert centers(poster, 0)[:, 0].mean() == pytest.approx(rows[2], abs=2)


def test_record_depends_on_no_setting_and_leaves_none_and_no_figure_behind(tmp_path):
    before = dict(mpl.rcParams)
    theme = {"savefig.bbox": "tight", "figure.facecolor": "black", "figure.dpi": 50}
    with mpl.rc_context(theme):
        video = record(camera_animation(), description="A line rises.")
    assert plt.get_fignums() == []
    assert dict(mpl.rcParams) == before
    poster = Image.open(BytesIO(video.poster)).convert("RGB")
    assert decode(video.mp4, tmp_path)[0].shape == (3, 226, 326, 3)
    assert poster.size == (325, 225) and poster.getpixel((1, 1)) == (255, 255, 255)


def test_record_takes_any_matplotlib_animation(tmp_path):
    figure, ax = plt.subplots(figsize=(3, 2))
    ax.set(xlim=(-1, 4), ylim=(-1, 1))
    (dot,) = ax.plot([], [], "o", color=PALETTE[0], markersize=15)
    animation = FuncAnimation(figure, lambda i: dot.set_data([i], [0]), frames=4, blit=False)
    frames, _ = decode(record(animation, description="A dot moves.").mp4, tmp_path)
    columns = [centers(frame, 0)[:, 1].mean() for frame in frames]
    assert len(columns) == 4 and (np.diff(columns) > 20).all()


# When ffmpeg fails


@pytest.fixture
def broken_ffmpeg(tmp_path, monkeypatch):
    """An ffmpeg that complains on ten lines and gives up without reading a frame."""
    program = tmp_path / "ffmpeg"
    complain = "for i in range(10): print(f'complaint {i}', file=sys.stderr)"
    program.write_text(f"#!{sys.executable}\nimport sys\n{complain}\nsys.exit(3)\n")
    program.chmod(0o755)
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(program))


@pytest.mark.usefixtures("broken_ffmpeg")
def test_evolution_says_what_ffmpeg_said(walk):
    with pytest.raises(RuntimeError, match="ffmpeg could not write") as error:
        latent_evolution(*walk, description="x")
    assert str(error.value).splitlines()[1:] == [f"complaint {i}" for i in range(5, 10)]


@pytest.mark.usefixtures("broken_ffmpeg")
def test_record_says_what_ffmpeg_said_and_closes_the_figure():
    with pytest.raises(RuntimeError, match="ffmpeg could not write") as error:
        record(camera_animation(), description="x")
    assert str(error.value).splitlines()[1:] == [f"complaint {i}" for i in range(5, 10)]
    assert plt.get_fignums() == []


@pytest.mark.parametrize("missing", ["none is found", "the variable names nothing"])
def test_without_ffmpeg_both_ways_to_a_video_say_so(walk, monkeypatch, missing):
    def find():
        if missing == "none is found":
            raise RuntimeError("No ffmpeg exe could be found.")
        return "/nowhere/ffmpeg"

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", find)
    animation = camera_animation()
    animation._draw_was_started = True  # matplotlib warns of what was never drawn
    with pytest.raises(
        RuntimeError, match=r"made by ffmpeg, which cannot be started here: .*ffmpeg"
    ):
        latent_evolution(*walk, description="x")
    with pytest.raises(
        RuntimeError, match=r"made by ffmpeg, which cannot be started here: .*ffmpeg"
    ):
        record(animation, description="x")
    assert plt.get_fignums() == []


# In a page


class Elements(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.tags, self.text = {}, ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags[tag] = dict(attrs)

    def handle_data(self, data):
        self.text += data


def test_video_embeds_itself_with_controls_and_a_description(video):
    page = Elements(video._repr_html_())
    element = page.tags["video"]
    assert {"controls", "loop", "muted", "playsinline"} <= set(element)
    assert "autoplay" not in element
    assert element["preload"] == "metadata" and element["width"] == "700"
    assert element["aria-label"] == page.text == "Four classes; the first walks right."
    kind, _, data = element["poster"].partition(",")
    assert kind == "data:image/png;base64" and b64decode(data) == video.poster
    kind, _, data = page.tags["source"]["src"].partition(",")
    assert kind == "data:video/mp4;base64" and b64decode(data) == video.mp4
    assert page.tags["source"]["type"] == "video/mp4"


def test_a_description_cannot_break_the_page(video):
    text = """The "mean" of q <script>alert('x')</script> & its spread"""
    page = Elements(Video(video.mp4, video.poster, text)._repr_html_())
    assert page.tags["video"]["aria-label"] == page.text == text
    assert "script" not in page.tags


def test_a_video_prints_short_and_needs_a_description(video):
    assert repr(video) == "Video(description='Four classes; the first walks right.')"
    with pytest.raises(ValueError, match="needs a description"):
        Video(video.mp4, video.poster, "  ")


def test_save_writes_the_mp4_whole_or_not_at_all(video, tmp_path, monkeypatch):
    path = tmp_path / "new folder" / "latents.mp4"
    video.save(str(path))
    assert path.read_bytes() == video.mp4
    assert imageio_ffmpeg.count_frames_and_secs(str(path)) == (10, pytest.approx(2.0))

    def full_disk(self, data):
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    other = Video(b"other", video.poster, "other")
    with pytest.raises(OSError, match="no space left"):
        other.save(path)
    assert path.read_bytes() == video.mp4
    assert [file.name for file in path.parent.iterdir()] == ["latents.mp4"]
