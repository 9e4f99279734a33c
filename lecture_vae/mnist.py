"""MNIST: its four idx files are found or downloaded, parsed, and resized to 32 x 32 once.

The images are interpolated, or padded with background. Interpolated ones are cached in
:func:`~lecture_vae.storage.cache_folder`. Images are uint8 gray levels from 0, the background, to
255.
"""

import gzip
import hashlib
import math
import os
import shutil
import socket
import struct
import tempfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import interpolate, pad

from lecture_vae.storage import absolute, cache_folder, keep_if_possible, say, write_atomically

__all__ = ["ByteImages", "DataError", "fingerprint_of", "load_mnist", "load_mnist_folder"]

CACHE_FORMAT = "1"  # increment when the cached pixels or their layout change
DOWNLOAD_TIMEOUT = 10.0  # seconds without an answer from a mirror
IMAGES_MAGIC, LABELS_MAGIC = 2051, 2049  # idx: uint8 arrays of 3 axes and of 1
MNIST_FILES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}
Parts = dict[str, Tensor]  # the keys of MNIST_FILES; uint8, images at 32 x 32


class DataError(Exception):
    """The images cannot be loaded. The message states the rule, what was found, the likely cause.

    Examples:
        >>> load_images("no/such/folder")
        Traceback (most recent call last):
        ...
        lecture_vae.mnist.DataError: Images come from "auto", "mnist", "digits" or a folder ...
    """


class ByteImages(NamedTuple):
    """A data set as bytes, before its gray levels are divided by 255.

    Examples:
        >>> image, label = torch.zeros(1, 1, 32, 32, dtype=torch.uint8), torch.tensor([7])
        >>> parts = {"train_images": image, "train_labels": label}
        >>> ByteImages(parts, fingerprint="", source="digits").parts["train_labels"]
        tensor([7])
    """

    parts: Parts
    fingerprint: str  # 16 hex digits, as fingerprint_of gives
    source: str  # load_images(source, resize=...) loads the same images again


def load_mnist(*, padded: bool = False) -> ByteImages:
    """MNIST from the cache folder, or else downloaded into it.

    Args:
        padded: As for :func:`load_mnist_folder`.

    Returns:
        60,000 training and 10,000 test images, 32 x 32.

    Raises:
        DataError: If the download fails or its files are damaged.
    """
    kept = (cache := cache_folder()) and cache / "torchvision"
    if kept and os.path.isdir(kept):  # Path.is_dir raises without permission
        try:
            return load_mnist_folder(kept, padded=padded)
        except DataError as error:
            say(f"downloading MNIST again. {error}")
    return _download_mnist(kept, padded)


def _download_mnist(kept: Path | None, padded: bool) -> ByteImages:
    """Download MNIST with torchvision, which knows mirrors and checksums, into ``kept``."""
    from torchvision.datasets import MNIST

    # Files are copied into `kept` only after all of them were downloaded and parsed.
    with tempfile.TemporaryDirectory(prefix="lecture_vae-") as folder:
        timeout_before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
        try:
            MNIST(folder, download=True)
        except Exception as error:  # no network, a dead mirror, a wrong checksum, a full disk...
            reason = " ".join(str(error).split()) or type(error).__name__
            raise DataError(
                f"MNIST could not be downloaded: {reason}. Is there no network, or are the mirrors "
                "down? Set LECTURE_VAE_DATA to a folder that holds MNIST, or use "
                'load_images("digits").'
            ) from error
        finally:
            socket.setdefaulttimeout(timeout_before)
        images = load_mnist_folder(Path(folder), padded=padded)

        def copy(kept: Path) -> None:
            for file in _find_files(Path(folder)):
                write_atomically(kept / "MNIST/raw" / file.name, partial(shutil.copyfile, file))

        is_kept = keep_if_possible("The download of MNIST", kept, copy)
    return images._replace(source=str(kept) if is_kept else "mnist")


def load_mnist_folder(source: str | Path, *, padded: bool = False) -> ByteImages:
    """MNIST from a folder in torchvision's layout, MNIST/raw/train-images-idx3-ubyte and so on.

    Args:
        source: The folder that holds MNIST/raw. Each file may be gzipped.
        padded: Two rows or columns of background are added on each side; nothing is interpolated.

    Raises:
        DataError: If a file is missing, unreadable, damaged, or not of MNIST.

    Examples:
        >>> load_mnist_folder("~no-such-user")
        Traceback (most recent call last):
        ...
        lecture_vae.mnist.DataError: A folder of images must exist, but: ...
    """
    try:
        folder = absolute(source)
    except OSError as error:
        raise DataError(f"A folder of images must exist, but: {error}.") from error
    return ByteImages(*_at_32(_find_files(folder), padded), str(folder))


def _at_32(files: list[Path], padded: bool) -> tuple[Parts, str]:
    """MNIST at 32 x 32, and its fingerprint; interpolated once, then cached."""
    try:
        contents = [file.read_bytes() for file in files]
    except OSError as error:
        hint = (
            "Check its permissions" if isinstance(error, PermissionError) else "Is its disk damaged"
        )
        raise DataError(f"MNIST's files must be readable: {error}. {hint}?") from error
    if padded:  # too fast to be worth a cache
        parts = _parse_mnist(files, contents, _pad)
        return parts, fingerprint_of(parts)
    raw = hashlib.sha256(b"".join(hashlib.sha256(c).digest() for c in contents)).hexdigest()
    cache, name = cache_folder(), f"mnist-32x32-{raw[:16]}.safetensors"
    if cache and (cached := _read_cache(cache / name, raw)):
        return cached
    parts = _parse_mnist(files, contents, _interpolate)
    metadata = {"format": CACHE_FORMAT, "raw": raw, "pixels": fingerprint_of(parts)}
    save = partial(save_file, parts, metadata=metadata)
    keep_if_possible("MNIST at 32 x 32", cache, lambda kept: write_atomically(kept / name, save))
    return parts, metadata["pixels"]


def _find_files(folder: Path) -> list[Path]:
    """MNIST's four files, in the order of MNIST_FILES; each may be gzipped."""
    raw = folder / "MNIST" / "raw"
    for place in (folder, raw.parent, raw):
        if os.path.isdir(place) and not os.access(place, os.X_OK):
            raise DataError(
                f"{place} must be accessible to you, but is not. Check its permissions."
            )
    if not os.path.isdir(raw):
        raise DataError(
            'Images come from "auto", "mnist", "digits" or a folder that holds MNIST/raw; '
            f"{raw} is not a folder. Is the name misspelled, or did you give MNIST/raw itself?"
        )
    files = [raw / name for name in MNIST_FILES.values()]
    files = [f if os.path.isfile(f) else f.with_name(f"{f.name}.gz") for f in files]
    missing = [file for file in files if not os.path.isfile(file)]
    for file in (f for gz in missing for f in (gz.with_suffix(""), gz) if os.path.exists(f)):
        kind = "a folder" if os.path.isdir(file) else "a pipe or a device"
        raise DataError(f"{file} must be a file, got {kind}. Was it unpacked into a folder?")
    if missing:
        raise DataError(
            f"{raw} must hold MNIST's four files, as they are or gzipped (.gz); missing: "
            f"{', '.join(file.stem for file in missing)}. Was a download or a copy interrupted, or "
            "a file renamed?"
        )
    return files


def _parse_mnist(
    files: list[Path], contents: list[bytes], resize: Callable[[Tensor], Tensor]
) -> Parts:
    parts = {}
    for part, file, content in zip(MNIST_FILES, files, contents, strict=True):
        if part.endswith("images"):
            images = _read_idx(file, content, IMAGES_MAGIC)
            if images.shape[1:] != (28, 28):
                size = " x ".join(map(str, images.shape[1:]))
                raise DataError(
                    f"Images must be 28 x 28, got {size} in {file}. Is this really MNIST?"
                )
            parts[part] = resize(images.unsqueeze(1))
            continue
        labels = parts[part] = _read_idx(file, content, LABELS_MAGIC)
        images = parts[part.replace("labels", "images")]
        if labels.max() > 9:
            raise DataError(
                f"Labels must be in 0..9, got {labels.max()} in {file}. Is it another data set, "
                "such as EMNIST, or a damaged file?"
            )
        if len(labels) != len(images):
            raise DataError(
                f"Every image must have one label, got {len(images):,} images and {len(labels):,} "
                f"labels in {file}. Do the files belong to different data sets?"
            )
    return parts


def _read_idx(file: Path, content: bytes, magic: int) -> Tensor:
    """The uint8 array in an idx file: a magic number and the sizes, then one byte per value.

    The format: LeCun, Cortes & Burges, "The MNIST database of handwritten digits".
    """
    if file.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(
                f"{file} must be a whole gzip file, got: {error}. Was its download interrupted, "
                "or did a server send an error page?"
            ) from error
    dimensions = magic % 256  # the last byte of the magic number
    start = 4 * (1 + dimensions)  # the header: big-endian numbers of 32 bits
    found, *sizes = struct.unpack(f">{1 + dimensions}I", content[:start].ljust(start, b"\0"))
    if content and found != magic:
        raise DataError(
            f"{file} must begin with the magic number {magic}, got {found}. Are images and labels "
            "swapped, or is the file still compressed?"
        )
    expected = start + math.prod(sizes)
    if len(content) != expected or 0 in sizes:
        cause = "truncated" if len(content) <= expected else "joined with another file"
        raise DataError(
            f"{file} must have at least one value and the {expected:,} bytes that its header "
            f"announces, got {len(content):,}. Was it {cause}?"
        )
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=start).reshape(sizes).copy())


def _interpolate(images: Tensor) -> Tensor:
    """Bilinear, as in PIL: uint8 [N, 1, 28, 28] to uint8 [N, 1, 32, 32]."""
    chunks = images.split(5_000)  # to limit the memory for temporaries
    return torch.cat([interpolate(x, (32, 32), mode="bilinear", antialias=True) for x in chunks])


def _pad(images: Tensor) -> Tensor:
    """Two pixels of background on each side: uint8 [N, 1, 28, 28] to uint8 [N, 1, 32, 32]."""
    return pad(images, (2, 2, 2, 2))


def _read_cache(cache: Path, raw: str) -> tuple[Parts, str] | None:
    """What was resized from the raw files with this hash; None if it must be resized (again)."""
    if not os.path.exists(cache):
        return None
    with suppress(OSError, SafetensorError), safe_open(cache, framework="pt") as file:
        parts = {part: file.get_tensor(part) for part in MNIST_FILES}
        metadata = {"format": CACHE_FORMAT, "raw": raw, "pixels": fingerprint_of(parts)}
        if file.metadata() == metadata:
            return parts, metadata["pixels"]
    say(f"{cache} is damaged or of another version; it is made again.")
    return None


def fingerprint_of(parts: Parts) -> str:
    """16 hex digits of the SHA-256 of all pixels and labels, in the order of ``MNIST_FILES``.

    Args:
        parts: For each key of ``MNIST_FILES``, a uint8 tensor.

    Examples:
        >>> empty = torch.zeros(0, dtype=torch.uint8)
        >>> names = ("train_images", "train_labels", "test_images", "test_labels")
        >>> fingerprint_of({name: empty for name in names})  # SHA-256 of no bytes
        'e3b0c44298fc1c14'
    """
    digest = hashlib.sha256()
    for part in MNIST_FILES:
        digest.update(parts[part].numpy().data)
    return digest.hexdigest()[:16]
