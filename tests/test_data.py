"""The images are the right ones, and every way in which they can be wrong has its own error."""

import functools
import gzip
import hashlib
import http.server
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.datasets
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits

import lecture_vae.mnist
from lecture_vae.data import DataError, load_images

FILES = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
]
REAL_MNIST = Path(os.environ.get("LECTURE_VAE_DATA") or Path(__file__).parents[2] / "shared/data")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache folder and nothing set in the environment."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(lecture_vae.mnist, "cache_folder", lambda: folder)
    monkeypatch.delenv("LECTURE_VAE_DATA", raising=False)
    return folder


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Mirrors that refuse at once: port 9 of this machine. The code under test is the real one."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])


def idx(values: np.ndarray) -> bytes:
    """An idx file: magic number and sizes, then the bytes."""
    header = struct.pack(f">{1 + values.ndim}I", 2048 + values.ndim, *values.shape)
    return header + values.astype(np.uint8).tobytes()


def random_digits(n: int, seed: int, size: int = 28) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, size, size)), np.arange(n) % 10


def write_mnist(folder: Path, *, zipped: bool = False, **changed: bytes) -> Path:
    """A tiny MNIST, 20 + 10 random images; `changed` replaces a file, e.g. train_images=b""."""
    contents = [idx(a) for a in (*random_digits(20, seed=0), *random_digits(10, seed=1))]
    keys = ["train_images", "train_labels", "test_images", "test_labels"]
    raw = folder / "MNIST/raw"
    raw.mkdir(parents=True)
    for key, name, content in zip(keys, FILES, contents, strict=True):
        content = changed.get(key, content)
        if zipped:
            (raw / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (raw / name).write_bytes(content)
    return folder


def pil_resize(image: np.ndarray) -> np.ndarray:
    enlarged = Image.fromarray(image.astype(np.uint8)).resize((32, 32), Image.Resampling.BILINEAR)
    return np.asarray(enlarged).astype(int)


def assert_same(a, b) -> None:
    assert a.fingerprint == b.fingerprint
    for split in ("train", "test"):
        assert torch.equal(getattr(a, split).images, getattr(b, split).images)
        assert torch.equal(getattr(a, split).labels, getattr(b, split).labels)


# scikit-learn's digits


def test_digits_have_the_promised_shapes_types_and_ranges():
    data = load_images("digits")
    for split, n in ((data.train, 1438), (data.test, 359)):
        assert split.images.shape == (n, 1, 32, 32)
        assert split.images.dtype == torch.float32
        assert split.images.min() == 0.0 and split.images.max() == 1.0
        assert split.labels.shape == (n,)
        assert split.labels.dtype == torch.int64
        assert split.labels.unique().tolist() == list(range(10))
    assert data.class_names == tuple("0123456789")
    assert (data.name, data.source) == ("digits", "digits")


def test_digits_are_the_same_everywhere():
    assert load_images("digits").fingerprint == "016e325147e28b26"


def test_digits_splits_share_no_image():
    data = load_images("digits")
    train, test = ({x.numpy().tobytes() for x in s.images} for s in (data.train, data.test))
    assert len(train) == 1438 and len(test) == 359
    assert not train & test


def test_every_fifth_digit_is_a_test_image_and_keeps_its_label():
    data, source = load_images("digits"), load_digits()
    assert data.test.labels.tolist() == source.target[4::5].tolist()
    # Averaging 4 x 4 pixels undoes the enlargement, nearly: the labels belong to these images.
    shrunk = torch.nn.functional.avg_pool2d(data.test.images, 4).flatten(1)
    original = torch.from_numpy(source.images[4::5] / 16).float().flatten(1)
    assert (torch.cdist(shrunk, original).argmin(dim=1) == torch.arange(359)).all()


def test_a_data_set_introduces_itself():
    assert repr(load_images("digits")) == (
        "digits: 1,438 training and 359 test images, 32 x 32 (fingerprint 016e325147e28b26)"
    )


# MNIST from a folder


def test_mnist_has_the_promised_shapes_types_and_ranges(tmp_path):
    folder = write_mnist(tmp_path / "data")
    data = load_images(folder)
    for split, n in ((data.train, 20), (data.test, 10)):
        assert split.images.shape == (n, 1, 32, 32)
        assert split.images.dtype == torch.float32
        assert 0.0 <= split.images.min() < 0.1 and 0.9 < split.images.max() <= 1.0
        assert split.labels.dtype == torch.int64
        assert split.labels.tolist() == [i % 10 for i in range(n)]
    assert (data.name, data.source) == ("mnist", str(folder))


def test_resized_images_equal_pils_within_one_gray_level(tmp_path):
    data = load_images(write_mnist(tmp_path / "data"))
    for (pixels, _), split in (
        (random_digits(20, 0), data.train),
        (random_digits(10, 1), data.test),
    ):
        expected = np.stack([pil_resize(image) for image in pixels])
        assert np.abs(255 * split.images.squeeze(1).numpy() - expected).max() < 1.001


@pytest.mark.skipif(not (REAL_MNIST / "MNIST/raw").is_dir(), reason=f"no MNIST in {REAL_MNIST}")
def test_the_real_mnist():
    data = load_images(REAL_MNIST)
    assert data.train.images.shape == (60_000, 1, 32, 32)
    assert data.test.images.shape == (10_000, 1, 32, 32)
    assert data.fingerprint == "2b227aaf980e2e1b"
    assert data.train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert data.test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    source = torchvision.datasets.MNIST(REAL_MNIST, train=True)
    for i in range(0, 60_000, 1_000):
        expected = pil_resize(source.data[i].numpy())
        assert np.abs(255 * data.train.images[i, 0].numpy() - expected).max() < 1.001


def test_padded_images_are_the_bytes_of_the_file_with_background_around(tmp_path):
    folder = write_mnist(tmp_path / "data")
    data, usual = load_images(folder, resize="pad"), load_images(folder)
    for (pixels, labels), split in (
        (random_digits(20, 0), data.train),
        (random_digits(10, 1), data.test),
    ):
        levels = (255 * split.images).round()
        assert split.images.shape == (len(pixels), 1, 32, 32)
        assert np.array_equal(levels[:, 0, 2:-2, 2:-2].numpy(), pixels)
        assert levels.sum() == pixels.sum(dtype=int)  # and nothing else
        assert split.labels.tolist() == labels.tolist()
    assert (data.name, usual.name) == ("mnist-padded", "mnist")
    assert data.fingerprint != usual.fingerprint
    assert_same(data, load_images(data.source, resize=data.resize))


def test_what_is_cached_is_never_taken_for_padded_images(tmp_path, monkeypatch, cache):
    monkeypatch.setenv("LECTURE_VAE_DATA", str(write_mnist(tmp_path / "data")))
    usual = load_images()
    assert cache.is_dir()
    padded = load_images(resize="pad")
    assert not torch.equal(padded.test.images, usual.test.images)
    assert_same(load_images(), usual)


def test_only_mnist_can_be_padded(monkeypatch, cache, no_network):
    with pytest.raises(DataError, match=r"8 x 8 .* resize='interpolate'"):
        load_images("digits", resize="pad")
    monkeypatch.setenv("LECTURE_VAE_DATA", "digits")
    with pytest.raises(DataError, match=r"LECTURE_VAE_DATA=digits cannot be used.*8 x 8"):
        load_images(resize="pad")
    monkeypatch.delenv("LECTURE_VAE_DATA")
    with pytest.raises(DataError, match="could not be downloaded"):  # no digits in their place
        load_images(resize="pad")
    with pytest.raises(ValueError, match="'interpolate' or 'pad', got 'crop'"):
        load_images("digits", resize="crop")


def test_more_images_than_one_chunk_stay_in_order(tmp_path):
    images = np.broadcast_to((np.arange(5_300) % 256)[:, None, None], (5_300, 28, 28))
    folder = write_mnist(
        tmp_path / "data", train_images=idx(images), train_labels=idx(np.zeros(5_300))
    )
    levels = (255 * load_images(folder).train.images).round()
    assert torch.equal(levels.mean(dim=(1, 2, 3)), torch.arange(5_300) % 256.0)


def test_gzipped_files_give_the_same_images(tmp_path):
    assert_same(
        load_images(write_mnist(tmp_path / "plain")),
        load_images(write_mnist(tmp_path / "zipped", zipped=True)),
    )


def test_a_folder_may_be_relative_and_the_source_is_absolute(tmp_path, monkeypatch):
    folder = write_mnist(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    assert load_images("data").source == str(folder)


def test_the_source_loads_the_same_again(tmp_path):
    data = load_images(write_mnist(tmp_path / "data"))
    assert_same(data, load_images(data.source))


def test_the_fingerprint_changes_with_a_pixel_and_with_a_label(tmp_path):
    pixels, labels = random_digits(20, seed=0)
    pixels[3, 14, 14] ^= 255
    labels[3] = 9
    folders = [
        write_mnist(tmp_path / "a"),
        write_mnist(tmp_path / "b", train_images=idx(pixels)),
        write_mnist(tmp_path / "c", train_labels=idx(labels)),
    ]
    assert len({load_images(folder).fingerprint for folder in folders}) == 3


# Bad input

LARGE_LABEL = np.arange(20)  # as in EMNIST, whose letters go beyond 9
BAD_FILES = {
    "truncated": (dict(train_images=idx(random_digits(20, 0)[0])[:-100]), "15,596.*truncated"),
    "cut in the header": (dict(train_labels=b"\0\0\x08\x01\0"), "got 5.*truncated"),
    "empty": (dict(test_images=b""), "got 0.*truncated"),
    "trailing bytes": (dict(test_labels=idx(np.zeros(10)) + b"more"), "18 bytes.*got 22.*joined"),
    "wrong magic": (dict(train_images=idx(np.zeros(20))), "number 2051, got 2049.*swapped"),
    "hidden gzip": (dict(train_labels=gzip.compress(b"x")), "number 2049.*still compressed"),
    "no images": (dict(test_images=idx(np.zeros((0, 28, 28)))), "at least one value.*truncated"),
    "count mismatch": (dict(train_labels=idx(np.zeros(19))), "got 20 images and 19 labels"),
    "label too large": (dict(train_labels=idx(LARGE_LABEL)), r"in 0\.\.9, got 19.*EMNIST"),
    "other size": (dict(test_images=idx(random_digits(10, 1, size=20)[0])), "28 x 28, got 20 x 20"),
}


@pytest.mark.parametrize(("changed", "message"), BAD_FILES.values(), ids=BAD_FILES.keys())
@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzipped"])
def test_a_bad_file_is_named_with_what_is_wrong(tmp_path, cache, changed, message, zipped):
    folder = write_mnist(tmp_path / "data", zipped=zipped, **changed)
    with pytest.raises(DataError, match=message) as caught:
        load_images(folder)
    name = FILES[["train_images", "train_labels", "test_images", "test_labels"].index(*changed)]
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not cache.exists()  # nothing bad is kept


def flip(content: bytes, place: int) -> bytes:
    changed = bytearray(content)
    changed[place] ^= 0xFF
    return bytes(changed)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: flip(content, place=-8),
        lambda content: content[:10] + b"\xff" + content[11:],  # a block of a reserved type
        lambda content: content[:-10],
        lambda content: b"<html>not found</html>",
    ],
    ids=["wrong checksum", "invalid block", "truncated", "an error page"],
)
def test_a_corrupted_gzip_file_is_named(tmp_path, damage):
    folder = write_mnist(tmp_path / "data", zipped=True)
    file = folder / "MNIST/raw/t10k-images-idx3-ubyte.gz"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte\.gz must be a whole gzip file"):
        load_images(folder)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere/MNIST/raw is not a folder.*misspelled"):
        load_images(tmp_path / "nowhere")


def test_a_misspelled_source_shows_the_choices():
    with pytest.raises(DataError, match='"auto", "mnist", "digits" or a folder'):
        load_images("mnits")


def test_missing_files_are_listed(tmp_path):
    folder = write_mnist(tmp_path / "data")
    (folder / "MNIST/raw" / FILES[1]).unlink()
    (folder / "MNIST/raw" / FILES[2]).unlink()
    with pytest.raises(DataError, match=f"missing: {FILES[1]}, {FILES[2]}\\."):
        load_images(folder)


@pytest.mark.parametrize("error", [PermissionError(13, "denied"), OSError(5, "I/O error")])
def test_an_unreadable_file_is_a_data_error_with_its_own_cause(tmp_path, monkeypatch, error):
    def fail(self):
        raise error

    folder = write_mnist(tmp_path / "data")
    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(DataError, match="must be readable") as caught:
        load_images(folder)
    assert ("permissions" in str(caught.value)) == isinstance(error, PermissionError)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_but_has_the_name_of_one_is_said_to_be_what_it_is(tmp_path, suffix, kind):
    place = write_mnist(tmp_path / "data") / "MNIST/raw" / FILES[1]
    place.unlink()
    place = place.with_name(place.name + suffix)
    place.mkdir() if kind == "folder" else os.mkfifo(place)
    with pytest.raises(DataError, match=f"{place} must be a file, got a {kind}"):
        load_images(tmp_path / "data")


def test_a_gzipped_file_is_read_where_the_plain_name_is_a_folders(tmp_path):
    expected = load_images(write_mnist(tmp_path / "plain"))
    (write_mnist(tmp_path / "data", zipped=True) / "MNIST/raw" / FILES[0]).mkdir()
    assert_same(load_images(tmp_path / "data"), expected)


@pytest.mark.parametrize("closed", ["", "MNIST", "MNIST/raw"])
def test_a_folder_that_may_not_be_entered_is_not_called_misspelled_or_incomplete(
    tmp_path, monkeypatch, closed
):
    folder = write_mnist(tmp_path / "data")
    monkeypatch.setattr(os, "access", lambda place, _: Path(place) != folder / closed)
    with pytest.raises(
        DataError, match=f"{folder / closed} must be accessible to you.*permissions"
    ):
        load_images(folder)


# The cache


def test_the_second_call_reads_the_cache(tmp_path, cache, monkeypatch):
    folder = write_mnist(tmp_path / "data")
    first = load_images(folder)
    assert len(os.listdir(cache)) == 1
    monkeypatch.delattr(lecture_vae.mnist, "_parse_mnist")
    assert_same(first, load_images(folder))


def test_changed_files_are_not_answered_from_the_cache(tmp_path):
    folder = write_mnist(tmp_path / "data")
    first = load_images(folder)
    (folder / "MNIST/raw" / FILES[1]).write_bytes(idx(np.full(20, 7)))
    second = load_images(folder)
    assert second.train.labels.tolist() == [7] * 20
    assert second.fingerprint != first.fingerprint


def test_two_data_sets_do_not_take_turns_in_one_cache(tmp_path, cache):
    load_images(write_mnist(tmp_path / "a"))
    load_images(write_mnist(tmp_path / "b", train_labels=idx(np.zeros(20))))
    assert len(os.listdir(cache)) == 2


def rewrite_as_older_format(file: Path) -> None:
    with safe_open(file, framework="pt") as opened:
        metadata = opened.metadata()
    save_file(load_file(file), file, metadata | {"format": "0"})


def take_from_other_files(file: Path) -> None:
    with safe_open(file, framework="pt") as opened:
        metadata = opened.metadata()
    save_file(load_file(file), file, metadata | {"raw": "0" * 64})


@pytest.mark.parametrize(
    "spoil",
    [
        rewrite_as_older_format,
        lambda file: file.write_bytes(flip(file.read_bytes(), place=-100)),
        take_from_other_files,
        lambda file: file.write_bytes(file.read_bytes()[:1000]),
        lambda file: file.write_bytes(b""),
        lambda file: save_file({"other": torch.zeros(1)}, file),
    ],
    ids=["older format", "changed pixel", "other raw files", "truncated", "empty", "other content"],
)
def test_a_bad_cache_is_made_again(tmp_path, cache, capsys, spoil):
    folder = write_mnist(tmp_path / "data")
    first = load_images(folder)
    [file] = cache.iterdir()
    spoil(file)
    capsys.readouterr()
    assert_same(first, load_images(folder))
    note = capsys.readouterr().err
    assert "is damaged or of another version; it is made again" in note
    assert note.count("\n") == 1
    assert_same(first, load_images(folder))
    assert capsys.readouterr().err == ""  # the new cache is good


def test_an_unwritable_cache_costs_time_only(tmp_path, cache, capsys):
    folder = write_mnist(tmp_path / "data")
    expected = load_images(folder)
    shutil.rmtree(cache)
    cache.write_text("a file where the folder should be")  # stops root too
    with pytest.warns(UserWarning, match="could not be kept in .*next call repeats") as caught:
        assert_same(expected, load_images(folder))
    assert str(cache) in str(caught[0].message)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), SafetensorError("No space left on device")]
)
def test_a_full_disk_costs_time_only_and_leaves_no_half_file(tmp_path, cache, monkeypatch, error):
    def half(parts, path, metadata):
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(lecture_vae.mnist, "save_file", half)
    folder = write_mnist(tmp_path / "data")
    with pytest.warns(UserWarning, match=r"No space left on device.*free some space"):
        data = load_images(folder)
    assert data.train.labels.tolist() == [i % 10 for i in range(20)]
    assert os.listdir(cache) == []


# No home folder

# As under a number that the system does not know, in a container.
HOMELESS = """
import os, pwd, sys
for name in [name for name in os.environ if name == "HOME" or name.startswith("XDG_")]:
    del os.environ[name]
def nobody(_): raise KeyError("uid not found")
pwd.getpwuid = nobody
"""


def without_home(program: str, *words: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-W", "always", "-c", HOMELESS + program, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_without_a_home_folder_images_are_loaded_with_a_word(tmp_path):
    folder = write_mnist(tmp_path / "data")
    program = "from lecture_vae import load_images; print(load_images(sys.argv[1]).fingerprint)"
    done = without_home(program, folder)
    assert done.stdout.strip() == load_images(folder).fingerprint, done.stderr
    assert "MNIST at 32 x 32 could not be kept" in done.stderr
    assert "set HOME" in done.stderr


def test_without_a_home_folder_or_a_network_auto_falls_back_to_digits():
    done = without_home(
        "import torchvision; torchvision.datasets.MNIST.mirrors = ['http://127.0.0.1:9/']\n"
        "from lecture_vae import load_images; print(load_images().name)"
    )
    assert done.stdout.splitlines()[-1] == "digits", done.stderr
    assert "using scikit-learn's digits" in done.stderr


def test_without_a_home_folder_a_download_serves_all_the_same(mirror, monkeypatch):
    monkeypatch.setattr(lecture_vae.mnist, "cache_folder", lambda: None)
    with (
        pytest.warns(UserWarning, match="MNIST at 32 x 32 could not be kept, so"),
        pytest.warns(UserWarning, match="The download of MNIST could not be kept, so"),
    ):
        assert load_images("mnist").source == "mnist"


def test_a_home_folder_that_does_not_exist_cannot_be_meant():
    with pytest.raises(DataError, match="no home folder that ~ could stand for: '~nobody-such/x'"):
        load_images("~nobody-such/x")


# The download


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A mirror on this machine that serves the tiny MNIST; torchvision itself downloads it."""
    raw = write_mnist(tmp_path / "served", zipped=True) / "MNIST/raw"

    class QuietHandler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args) -> None:
            pass

    handler = functools.partial(QuietHandler, directory=raw)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))  # poll: seconds
    thread.start()
    resources = [
        (f"{name}.gz", hashlib.md5((raw / f"{name}.gz").read_bytes()).hexdigest()) for name in FILES
    ]
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", resources)
    monkeypatch.setattr(
        torchvision.datasets.MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"]
    )
    yield raw
    server.shutdown()
    server.server_close()
    thread.join()


def use_no_mirror(monkeypatch) -> None:
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])


@pytest.mark.parametrize("source", ["mnist", "auto"])
def test_mnist_is_downloaded_once(mirror, cache, monkeypatch, source):
    first = load_images(source)
    assert (first.name, first.source) == ("mnist", str(cache / "torchvision"))
    use_no_mirror(monkeypatch)
    assert_same(first, load_images(source))
    assert_same(first, load_images(first.source))
    assert_same(first, load_images(mirror.parents[1]))


def test_the_timeout_holds_during_the_download_only(mirror, monkeypatch):
    timeouts = []
    download = torchvision.datasets.MNIST.download
    monkeypatch.setattr(
        torchvision.datasets.MNIST,
        "download",
        lambda self: (timeouts.append(socket.getdefaulttimeout()), download(self)),
    )
    load_images("mnist")
    assert timeouts == [10.0]
    assert socket.getdefaulttimeout() is None


def test_mirrors_down_is_an_error_with_the_two_ways_out(cache):
    with pytest.raises(DataError, match=r"127\.0\.0\.1.*mirrors down\? Set LECTURE_VAE_DATA") as e:
        load_images("mnist")
    assert 'load_images("digits")' in str(e.value)
    assert "\n" not in str(e.value)
    assert socket.getdefaulttimeout() is None
    assert not cache.exists()


def test_a_mirror_that_never_answers_is_given_up(monkeypatch):
    monkeypatch.setattr(lecture_vae.mnist, "DOWNLOAD_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [url])
        with pytest.raises(DataError, match="timed out"):
            load_images("mnist")


def test_a_download_with_a_wrong_checksum_is_not_kept(mirror, cache):
    file = mirror / f"{FILES[3]}.gz"
    file.write_bytes(gzip.compress(idx(np.ones(10))))
    with pytest.raises(DataError, match="could not be downloaded"):
        load_images("mnist")
    assert not cache.exists()


def test_an_interrupted_download_is_not_taken_for_a_whole_one(mirror, cache, capsys):
    whole = load_images("mnist")
    (cache / "torchvision/MNIST/raw" / FILES[0]).unlink()
    capsys.readouterr()
    assert_same(whole, load_images("mnist"))
    assert "downloading MNIST again" in capsys.readouterr().err
    assert (cache / "torchvision/MNIST/raw" / FILES[0]).exists()


def test_a_download_that_cannot_be_kept_is_used_all_the_same(mirror, cache):
    expected = load_images(mirror.parents[1])
    shutil.rmtree(cache)
    cache.write_text("a file where the folder should be")
    with (
        pytest.warns(UserWarning, match="MNIST at 32 x 32 could not be kept"),
        pytest.warns(UserWarning, match="The download of MNIST could not be kept"),
    ):
        data = load_images("mnist")
    assert (data.name, data.source) == ("mnist", "mnist")
    assert_same(expected, data)


# What is used when


def test_auto_falls_back_to_digits_and_says_why(capsys):
    assert load_images().name == "digits"
    note = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lecture_vae")]
    assert len(note) == 1
    assert "using scikit-learn's digits" in note[0] and "could not be downloaded" in note[0]


@pytest.mark.parametrize("source", ["mnist", "nowhere", Path("nowhere"), Path("digits")])
def test_naming_a_source_never_falls_back(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError):
        load_images(source)


def test_the_environment_decides_without_a_word(tmp_path, monkeypatch, capsys):
    folder = write_mnist(tmp_path / "data")
    for named, name in ((str(folder), "mnist"), ("digits", "digits")):
        monkeypatch.setenv("LECTURE_VAE_DATA", named)
        assert load_images().name == name
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("named", ["nowhere", "mnist"])
def test_a_broken_environment_is_an_error(tmp_path, monkeypatch, named):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LECTURE_VAE_DATA", named)
    with pytest.raises(DataError, match=f"^LECTURE_VAE_DATA={named} cannot be used"):
        load_images()


def test_a_truncated_file_in_the_environments_folder_is_an_error(tmp_path, monkeypatch):
    folder = write_mnist(tmp_path / "data", train_images=b"\0\0\x08\x03")
    monkeypatch.setenv("LECTURE_VAE_DATA", str(folder))
    with pytest.raises(DataError, match="truncated"):
        load_images()


def test_a_named_source_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("LECTURE_VAE_DATA", "nowhere")
    assert load_images("digits").name == "digits"


@pytest.mark.parametrize("named", ["", "auto"])
def test_an_environment_that_names_nothing_is_no_error(monkeypatch, named):
    monkeypatch.setenv("LECTURE_VAE_DATA", named)
    assert load_images().name == "digits"


def test_importing_loads_no_data_set_library():
    program = (
        "import sys, lecture_vae.data\n"
        "print(sorted({'PIL', 'sklearn', 'torchvision'} & set(sys.modules)))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert finished.stdout.strip() == "[]"
