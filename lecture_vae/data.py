"""Images: handwritten digits as tensors, from MNIST or from scikit-learn's embedded digits.

Every image leaves this file as 32 x 32 gray levels in [0, 1]. N counts images.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

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


class Split(NamedTuple):
    """The images of one split and what they show."""

    images: Float[Tensor, "N 1 32 32"]  # gray levels in [0, 1], 0 is the background
    labels: Int[Tensor, " N"]  # int64, an index into class_names


@dataclass(frozen=True, eq=False, repr=False)
class ImageData:
    """A data set, with what is needed to recognize it and to load it again."""

    train: Split
    test: Split
    class_names: tuple[str, ...]
    name: str  # "mnist" or "digits"
    source: str  # load_images(source) gives exactly this again, without searching
    fingerprint: str  # 16 hex digits of the SHA-256 of all pixels and labels

    def __repr__(self) -> str:
        return (
            f"{self.name}: {len(self.train.labels):,} training and {len(self.test.labels):,} "
            f"test images, 32 x 32 (fingerprint {self.fingerprint})"
        )


def load_images(source: str | Path = "auto") -> ImageData:
    """Handwritten digits at 32 x 32.

    Args:
        source: "mnist" is MNIST, downloaded once. "digits" are the 1,797 digits that come with
            scikit-learn. A folder holds MNIST/raw/train-images-idx3-ubyte and so on, as it is or
            gzipped. "auto" is what the environment variable LECTURE_VAE_DATA names; where it is not
            set, MNIST if it can be had and else the digits, with a line that says why.

    Raises:
        DataError: What was named cannot be loaded. Other data would be a silent surprise.
    """
    if source == "digits":
        return _load_digits()
    if source == "mnist":
        return _image_data(load_mnist(), "mnist")
    if source != "auto":
        return _image_data(load_mnist_folder(source), "mnist")
    named = os.environ.get("LECTURE_VAE_DATA") or "auto"
    try:
        return load_images("mnist" if named == "auto" else named)
    except DataError as error:
        if named != "auto":
            raise DataError(f"LECTURE_VAE_DATA={named} cannot be used. {error}") from error
        say(f"using scikit-learn's digits in place of MNIST. {error}")
        return _load_digits()


def _load_digits() -> ImageData:
    """1,797 digits of 8 x 8 pixels and 17 gray levels (Alpaydin & Kaynak, 1998), enlarged."""
    from PIL import Image  # imported here so that importing this file stays quick
    from sklearn.datasets import load_digits

    digits = load_digits()
    small = (digits.images * (255 / 16)).round().astype(np.uint8)
    large = [Image.fromarray(image).resize((32, 32), Image.Resampling.BICUBIC) for image in small]
    images = torch.from_numpy(np.stack([np.asarray(image) for image in large])).unsqueeze(1)
    labels = torch.from_numpy(digits.target.astype(np.uint8))
    test = torch.arange(len(labels)) % 5 == 4  # every fifth image
    values = images[~test], labels[~test], images[test], labels[test]
    parts = dict(zip(MNIST_FILES, values, strict=True))
    return _image_data(ByteImages(parts, fingerprint_of(parts), "digits"), "digits")


def _image_data(images: ByteImages, name: str) -> ImageData:
    parts = images.parts
    train, test = (  # popped one by one: bytes and floats of all images need more memory
        Split(parts.pop(f"{split}_images").float().div_(255), parts.pop(f"{split}_labels").long())
        for split in ("train", "test")
    )
    return ImageData(train, test, tuple("0123456789"), name, images.source, images.fingerprint)
