"""Packing: images as bytes, to be sent to another process or machine."""

import json

import torch
from safetensors.torch import load, save

from lecture_vae.data import ImageData, Split

__all__ = ["pack_images", "unpack_images"]


def pack_images(data: ImageData) -> bytes:
    """Images as bytes that travel: a byte a pixel where that loses nothing, else four.

    Examples:
        >>> data = load_images("digits")
        >>> len(pack_images(data)) < 1.01 * 1797 * 1024 + 8 * 1797
        True
    """
    tensors = {}
    for name, (images, labels) in (("train", data.train), ("test", data.test)):
        levels = (255 * images).round().to(torch.uint8)
        exact = torch.equal(levels.float().div_(255), images)
        tensors[f"{name}_images"] = levels if exact else images.contiguous()
        tensors[f"{name}_labels"] = labels.contiguous()
    head = {"class_names": data.class_names, "name": data.name, "source": data.source,
            "fingerprint": data.fingerprint, "resize": data.resize}  # fmt: skip
    return json.dumps(head).encode() + b"\n" + save(tensors)


def unpack_images(packed: bytes) -> ImageData:
    """The inverse of :func:`pack_images`.

    Examples:
        >>> data = load_images("digits")
        >>> torch.equal(unpack_images(pack_images(data)).test.images, data.test.images)
        True
    """
    line, _, rest = packed.partition(b"\n")
    head, tensors = json.loads(line), load(rest)
    for name in ("train_images", "test_images"):
        if tensors[name].dtype == torch.uint8:
            tensors[name] = tensors[name].float().div_(255)
    train, test = (
        Split(tensors[f"{name}_images"], tensors[f"{name}_labels"]) for name in ("train", "test")
    )
    return ImageData(train, test, **head | {"class_names": tuple(head["class_names"])})
