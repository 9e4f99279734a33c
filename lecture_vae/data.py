"""Images: handwritten digits as tensors, from MNIST or from scikit-learn's embedded digits.

Images have 32 x 32 pixels, gray levels in [0, 1]; 0 is the background. N counts images. MNIST's
28 x 28 pixels are interpolated, as in the original lecture, or padded, which keeps every pixel:
only log-likelihoods of padded images can be set beside published ones.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lecture_vae.mnist import (
    MNIST_FILES,
    ByteImages,
    DataError,
    fingerprint_of,
    load_mnist,
    load_mnist_folder,
)
from lecture_vae.storage import say

__all__ = ["ImageData", "Split", "load_images"]

Resize = Literal["interpolate", "pad"]


class Split(NamedTuple):
    """The images of one split and their labels.

    Examples:
        >>> images, labels = load_images("digits").test
        >>> images.shape, images.min().item(), images.max().item()
        (torch.Size([359, 1, 32, 32]), 0.0, 1.0)
        >>> labels[:5]
        tensor([4, 9, 4, 9, 4])
    """

    images: Float[Tensor, "N 1 32 32"]  # gray levels in [0, 1], 0 is the background
    labels: Int[Tensor, " N"]  # int64, an index into class_names


@dataclass(frozen=True, eq=False, repr=False)
class ImageData:
    """A data set, with what identifies it and what loads it again.

    Examples:
        >>> data = load_images("digits")
        >>> data
        digits: 1,438 training and 359 test images, 32 x 32 (fingerprint ...)
        >>> load_images(data.source).fingerprint == data.fingerprint
        True
    """

    train: Split
    test: Split
    class_names: tuple[str, ...]
    name: str  # "mnist", "mnist-padded" or "digits"
    source: str  # load_images(source, resize=resize) loads the same images again
    fingerprint: str  # 16 hex digits of the SHA-256 of all pixels and labels
    resize: Resize = "interpolate"

    def __repr__(self) -> str:
        return (
            f"{self.name}: {len(self.train.labels):,} training and {len(self.test.labels):,} "
            f"test images, 32 x 32 (fingerprint {self.fingerprint})"
        )


def load_images(source: str | Path = "auto", *, resize: Resize = "interpolate") -> ImageData:
    """Load images of handwritten digits, 32 x 32 gray levels in [0, 1].

    Args:
        source: ``"mnist"`` is MNIST (LeCun, Cortes & Burges, 1998), downloaded once. ``"digits"``
            are the 1,797 digits that come with scikit-learn. A folder holds MNIST in torchvision's
            layout, MNIST/raw/train-images-idx3-ubyte and so on, gzipped or not. ``"auto"`` is what
            the environment variable LECTURE_VAE_DATA names; if it is not set, MNIST, or else the
            digits, with a message on standard error that says why.
        resize: How MNIST's 28 x 28 pixels become 32 x 32: ``"interpolate"``, as the lecture does
            it, changes every gray level; ``"pad"`` adds two rows or columns of background on each
            side and changes none. The digits, of 8 x 8 pixels, can only be interpolated.

    Raises:
        DataError: If the named data cannot be loaded, or not be resized in this way. No other data
            are loaded in their place.
        ValueError: If ``resize`` is neither of the two.

    Examples:
        >>> data = load_images("digits")
        >>> data.train.images.shape, data.train.labels.shape
        (torch.Size([1438, 1, 32, 32]), torch.Size([1438]))
        >>> data.class_names[3]
        '3'
    """
    if resize not in get_args(Resize):
        raise ValueError(f"resize must be 'interpolate' or 'pad', got {resize!r}.")
    padded = resize == "pad"
    if source == "digits":
        if padded:
            raise DataError(
                "Only MNIST's 28 x 28 pixels can be padded to 32 x 32; scikit-learn's digits have "
                "8 x 8 and would be a dot in the middle. Load them with resize='interpolate'."
            )
        return _load_digits()
    if source == "mnist":
        return _image_data(load_mnist(padded=padded), resize)
    if source != "auto":
        return _image_data(load_mnist_folder(source, padded=padded), resize)
    named = os.environ.get("LECTURE_VAE_DATA") or "auto"
    try:
        return load_images("mnist" if named == "auto" else named, resize=resize)
    except DataError as error:
        if named != "auto":
            raise DataError(f"LECTURE_VAE_DATA={named} cannot be used. {error}") from error
        if padded:
            raise
        say(f"using scikit-learn's digits in place of MNIST. {error}")
        return _load_digits()


def _load_digits() -> ImageData:
    """1,797 digits of 8 x 8 pixels and 17 gray levels (Alpaydin & Kaynak, 1998), enlarged."""
    from PIL import Image  # here, because both imports are slow
    from sklearn.datasets import load_digits

    digits = load_digits()
    small = (digits.images * (255 / 16)).round().astype(np.uint8)
    large = [Image.fromarray(image).resize((32, 32), Image.Resampling.BICUBIC) for image in small]
    images = torch.from_numpy(np.stack([np.asarray(image) for image in large])).unsqueeze(1)
    labels = torch.from_numpy(digits.target.astype(np.uint8))
    test = torch.arange(len(labels)) % 5 == 4  # every fifth image
    values = images[~test], labels[~test], images[test], labels[test]
    parts = dict(zip(MNIST_FILES, values, strict=True))
    return _image_data(ByteImages(parts, fingerprint_of(parts), "digits"), "interpolate")


def _image_data(images: ByteImages, resize: Resize) -> ImageData:
    parts = images.parts
    train, test = (  # popped one by one, so that bytes and floats are not all in memory at once
        Split(parts.pop(f"{split}_images").float().div_(255), parts.pop(f"{split}_labels").long())
        for split in ("train", "test")
    )
    kind = "digits" if images.source == "digits" else "mnist"
    name = f"{kind}-padded" if resize == "pad" else kind
    classes = tuple("0123456789")
    return ImageData(train, test, classes, name, images.source, images.fingerprint, resize)
