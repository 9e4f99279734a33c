"""Structures: what Python hands to the kernels, field by field as in products.h and layers.h."""

import ctypes
from ctypes import POINTER, c_double, c_float, c_int32, c_int64, c_void_p

__all__ = ["AdamStruct", "LayerStruct", "NodeStruct", "PlanStruct", "WeightsStruct"]


class NodeStruct(ctypes.Structure):
    """Values, gradients and normalized values between two layers; their shape.

    Examples:
        >>> import ctypes
        >>> ctypes.sizeof(NodeStruct)  # on a 64-bit system
        40
    """

    _fields_ = [(n, c_void_p) for n in "adh"] + [
        (n, c_int32) for n in ("channels", "height", "width", "border")
    ]


class WeightsStruct(ctypes.Structure):
    """A parameter, its gradient and Adam's two moments.

    Examples:
        >>> import ctypes
        >>> ctypes.sizeof(WeightsStruct)  # on a 64-bit system
        40
    """

    _fields_ = [(n, c_void_p) for n in ("values", "gradient", "mean", "square")]
    _fields_ += [("size", c_int64)]


class LayerStruct(ctypes.Structure):
    """A layer; the first field is the Shape of its convolution.

    Examples:
        >>> import ctypes
        >>> ctypes.sizeof(LayerStruct)  # on a 64-bit system
        128
    """

    _fields_ = [("shape", c_int32 * 12)]
    _fields_ += [(n, c_int32) for n in ("affine", "activation", "source", "target")]
    _fields_ += [(n, c_int32) for n in ("weight", "bias", "scale", "shift")]
    _fields_ += [(n, c_void_p) for n in ("running_mean", "running_var", "inverse")]
    _fields_ += [(n, c_float) for n in ("momentum", "eps")]
    _fields_ += [(n, c_int32) for n in ("from_images", "passes_gradient", "adds")]


class PlanStruct(ctypes.Structure):
    """A model, an objective and a batch size.

    Examples:
        >>> import ctypes
        >>> ctypes.sizeof(PlanStruct)  # on a 64-bit system
        136
    """

    _fields_ = [
        ("layer", POINTER(LayerStruct)),
        ("node", POINTER(NodeStruct)),
        ("weights", POINTER(WeightsStruct)),
    ]
    _fields_ += [(n, c_void_p) for n in ("rows", "packed", "spare", "turned")]
    _fields_ += [(n, c_void_p) for n in ("eps", "noise", "sigma", "expm1")]
    _fields_ += [(n, c_int32) for n in ("layers", "encoder_layers", "n_weights", "images")]
    _fields_ += [(n, c_int32) for n in ("mu", "log_var", "z", "out", "latents", "bernoulli")]
    _fields_ += [(n, c_float) for n in ("distortion_weight", "kl_weight")]


class AdamStruct(ctypes.Structure):
    """Hyperparameters of Adam.

    Examples:
        >>> import ctypes
        >>> ctypes.sizeof(AdamStruct)  # on a 64-bit system
        32
    """

    _fields_ = [(n, c_double) for n in ("lr", "beta1", "beta2", "eps")]
