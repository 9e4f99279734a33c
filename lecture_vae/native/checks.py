"""Checks: an address knows no shape and no type, so what the kernels read is checked before.

It is checked in each call, and costs nothing beside the steps of the call.
"""

import ctypes
from ctypes import c_int32, c_void_p
from math import prod

import torch
from torch import Tensor

from lecture_vae.models import SIDE
from lecture_vae.native.build import NotNativeError
from lecture_vae.native.structures import (
    AdamStruct,
    LayerStruct,
    NodeStruct,
    PlanStruct,
    WeightsStruct,
)

__all__ = ["address", "check_batches", "check_images", "check_structures"]


def check_images(images: Tensor) -> None:
    """Check that images are what the kernels read.

    Raises:
        ValueError: If they have another shape or type.

    Examples:
        >>> check_images(torch.zeros(5, 1, 32, 32))
    """
    if images.shape[1:] != (1, SIDE, SIDE) or images.dtype != torch.float32:
        raise ValueError(
            f"the models read images of shape [N, 1, {SIDE}, {SIDE}] in float32, got "
            f"{tuple(images.shape)} in {str(images.dtype).removeprefix('torch.')}."
        )
    if not images.is_contiguous():
        raise ValueError("the kernels read contiguous images; call contiguous() once before.")


def check_batches(
    index: Tensor, eps: Tensor, images: int, shape: tuple[int, int], latents: int
) -> None:
    """Check the images and the noise of several batches.

    Args:
        index: int64 of ``shape``.
        eps: float32, for each image of each batch ``latents`` numbers.
        images: How many there are.
        shape: Batches, images in a batch.
        latents: Of one image; 0 where no noise is read.

    Raises:
        ValueError: If a shape, a type or an index is wrong.

    Examples:
        >>> check_batches(torch.tensor([[3] * 16]), torch.zeros(1, 16, 1, 2), 4, (1, 16), 2)
    """
    lowest, highest = (int(index.min()), int(index.max())) if index.numel() else (0, 0)
    if index.dtype != torch.int64 or index.shape != shape or lowest < 0 or highest >= images:
        raise ValueError(
            f"a batch names {shape[1]} of {images} images by int64, got {index.dtype} "
            f"{tuple(index.shape[1:])}, {lowest} to {highest}."
        )
    if latents and (eps.dtype != torch.float32 or eps.numel() != prod(shape) * latents):
        raise ValueError(
            f"the noise of a batch is float32 [{shape[1]}, 1, {latents}], got {eps.dtype} "
            f"{tuple(eps.shape[1:])}."
        )


def check_structures(kernels: ctypes.CDLL) -> None:
    """Check that Python and C lay out the structures alike: else they are read as something else.

    Raises:
        NotNativeError: If they do not.
    """
    ours = [PlanStruct, LayerStruct, NodeStruct, WeightsStruct, AdamStruct]
    theirs = (c_int32 * len(ours)).in_dll(kernels, "struct_sizes")
    if list(theirs) != [ctypes.sizeof(each) for each in ours]:
        raise NotNativeError("the structures of the kernels are not those of this version")


def address(tensor: Tensor) -> c_void_p:
    """The address of a tensor's first number.

    Raises:
        ValueError: If the tensor is not contiguous, or not on the CPU.

    Examples:
        >>> address(torch.zeros(2)).value > 0
        True
    """
    if not tensor.is_contiguous() or tensor.device.type != "cpu":
        raise ValueError("the kernels read contiguous memory of the CPU.")
    return c_void_p(tensor.data_ptr())
