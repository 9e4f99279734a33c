"""Modules: the modules of a model, read as the layers of a network.

The model stays the only definition of itself. A module that has no kernel is named in a
:class:`~lecture_vae.native.build.NotNativeError`.
"""

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as of_all_modules

from lecture_vae.models import SIDE, VAE, Autoencoder
from lecture_vae.native.build import NotNativeError
from lecture_vae.native.network import Activation, Affine, Layer, Network
from lecture_vae.networks import Constant

__all__ = ["network_of", "parameters_of"]


def network_of(model: Autoencoder | VAE, *, logits: bool) -> Network:
    """The layers of a model.

    Args:
        model: An :class:`~lecture_vae.models.Autoencoder` or a :class:`~lecture_vae.models.VAE`
            that defines no method of its own.
        logits: Leave out the sigmoid at the end of the decoder.

    Raises:
        NotNativeError: If there is no kernel for a layer, or the model is of another kind.

    Examples:
        >>> len(network_of(build_model("linear-vae"), logits=False).layers)
        9
    """
    _check(model)
    network = Network()
    images = network.node((1, SIDE, SIDE), is_images=True)
    if isinstance(model, VAE):
        features = _append(network, model.trunk, images)
        first = len(network.layers)
        network.mu = network.separate(_append(network, model.to_mu, features), first)
        first = len(network.layers)
        network.log_var = network.separate(_append(network, model.to_log_var, features), first)
        shapes = {network.nodes[n].shape for n in (network.mu, network.log_var)}
        shapes |= {tuple(model.noise_shape)}
        if len(shapes) > 1:
            raise NotNativeError(f"mu, log_var and the noise have different shapes, {shapes}")
        network.z = network.node(network.nodes[network.mu].shape, has_gradient=True)
    else:
        network.z = network.mu = network.separate(_append(network, model.encoder, images), 0)
    network.encoder_layers = len(network.layers)
    decoder = _without_sigmoid(model.decoder) if logits else model.decoder
    out = _append(network, decoder, network.z)
    network.out = network.separate(out, network.encoder_layers)
    if network.nodes[network.out].shape != (1, SIDE, SIDE):
        raise NotNativeError(f"the decoder gives images of shape {network.nodes[out].shape}")
    return network.without_needless_copies()


def _append(network: Network, module: nn.Module, source: int) -> int:
    """Add the layers of a module that reads the node ``source``; the number of the last target."""
    first = len(network.layers)
    for each in _flat(module):
        if type(each) not in READERS:
            raise _no_kernel(each)
        source = READERS[type(each)](network, each, source, first)
    return source


def _extended(network: Network, source: int, first: int, *, norm: bool = False) -> Layer:
    """The layer that a normalization or an activation of ``source`` belongs to, perhaps a copy."""
    last = network.layers[-1] if len(network.layers) > first else None
    if (
        last is None
        or network.nodes[source].view_of is not None
        or last.activation != Activation.NONE
        or (norm and last.norm is not None)
    ):
        network.layer(Affine.COPY, source, network.nodes[source].shape)
    return network.layers[-1]


def _norm(network: Network, module: nn.BatchNorm2d, source: int, first: int) -> int:
    shape = network.nodes[source].shape
    fits = len(shape) == 3 and module.num_features == shape[0]
    has_all = module.affine and module.running_mean is not None and module.momentum is not None
    if not (fits and has_all):
        raise _no_kernel(module)
    layer = _extended(network, source, first, norm=True)
    layer.norm = module
    network.nodes[layer.target].has_gradient = True
    return layer.target


def _activation(network: Network, module: nn.Module, source: int, first: int) -> int:
    layers = len(network.layers)
    layer = _extended(network, source, first)
    if getattr(module, "inplace", False) and len(network.layers) > layers:
        raise _no_kernel(module)  # it would change what other layers read
    layer.activation = Activation.RELU if isinstance(module, nn.ReLU) else Activation.SIGMOID
    return layer.target


def _flatten(network: Network, module: nn.Flatten, source: int, first: int) -> int:
    if (module.start_dim, module.end_dim) != (1, -1):
        raise _no_kernel(module)
    return network.view(source, (prod(network.nodes[source].shape),))


def _unflatten(network: Network, module: nn.Unflatten, source: int, first: int) -> int:
    shape, size = network.nodes[source].shape, module.unflattened_size
    is_map = isinstance(size, tuple) and len(size) == 3 and all(isinstance(n, int) for n in size)
    if module.dim != 1 or not is_map or shape != (prod(size),):
        raise _no_kernel(module)
    return network.view(source, tuple(size))


def _identity(network: Network, module: nn.Module, source: int, first: int) -> int:
    return source


def _constant(network: Network, module: Constant, source: int, first: int) -> int:
    return network.layer(Affine.CONSTANT, source, tuple(module.value.shape), bias=module.value)


def _linear(network: Network, module: nn.Linear, source: int, first: int) -> int:
    if network.nodes[source].shape != (module.in_features,):
        raise _no_kernel(module)
    weights = {"weight": module.weight, "bias": module.bias}
    return network.layer(Affine.LINEAR, source, (module.out_features,), **weights)


def _convolution(network: Network, module: nn.Conv2d, source: int, first: int) -> int:
    _check_convolution(network, module, source)
    size = network.nodes[source].shape[1:]
    before, after = _padding(module)
    kernel, stride = module.kernel_size, module.stride
    sides = zip(size, before, after, kernel, stride, strict=True)
    coarse = [(n + p + q - k) // s + 1 for n, p, q, k, s in sides]
    if min(coarse) < 1:
        raise _no_kernel(module)
    target = network.convolution(Affine.CONVOLUTION, module, source, coarse, before)
    # How far the windows reach beyond the map, before and after it.
    sides = zip(size, coarse, kernel, stride, before, strict=True)
    reach = [max(p, (m - 1) * s - p + k - n) for n, m, k, s, p in sides]
    network.nodes[source].border = max(network.nodes[source].border, *reach)
    return target


def _transposed(network: Network, module: nn.ConvTranspose2d, source: int, first: int) -> int:
    _check_convolution(network, module, source)
    size, padding = network.nodes[source].shape[1:], module.padding
    assert not isinstance(padding, str)
    kernel, stride, more = module.kernel_size, module.stride, module.output_padding
    sides = zip(size, kernel, stride, padding, more, strict=True)
    fine = [(n - 1) * s - 2 * p + k + m for n, k, s, p, m in sides]
    if min(fine) < 1:
        raise _no_kernel(module)
    target = network.convolution(Affine.TRANSPOSED, module, source, fine, padding)
    network.nodes[target].border = max(padding)
    return target


READERS: dict[type[nn.Module], Callable[[Network, Any, int, int], int]] = {
    nn.Linear: _linear,
    nn.Conv2d: _convolution,
    nn.ConvTranspose2d: _transposed,
    Constant: _constant,
    nn.BatchNorm2d: _norm,
    nn.ReLU: _activation,
    nn.Sigmoid: _activation,
    nn.Flatten: _flatten,
    nn.Unflatten: _unflatten,
    nn.Identity: _identity,
}


def _check_convolution(
    network: Network, module: nn.Conv2d | nn.ConvTranspose2d, source: int
) -> None:
    shape = network.nodes[source].shape
    is_plain = module.groups == 1 and module.dilation == (1, 1) and module.padding_mode == "zeros"
    if len(shape) != 3 or shape[0] != module.in_channels or not is_plain:
        raise _no_kernel(module)


def parameters_of(network: Network, model: nn.Module) -> list[nn.Parameter]:
    """The parameters of all layers of a network, in the order of the model.

    Raises:
        NotNativeError: If one is frozen, shared by two layers, or not in float32 on the CPU.

    Examples:
        >>> model = build_model("linear-ae")
        >>> len(parameters_of(network_of(model, logits=False), model))
        16
    """
    found = [parameter for layer in network.layers for parameter in layer.parameters]
    if len({id(each) for each in found}) < len(found):
        raise NotNativeError("two layers share a parameter")
    for each in found:
        if not isinstance(each, nn.Parameter) or not each.requires_grad:
            raise NotNativeError("a parameter is frozen")
        if each._backward_hooks or each._post_accumulate_grad_hooks:
            raise NotNativeError("there is a hook on a parameter")
        if each.dtype != torch.float32 or each.device.type != "cpu" or not each.is_contiguous():
            raise NotNativeError("a parameter is not in float32, contiguous, on the CPU")
    ids = {id(each) for each in found}
    return [parameter for parameter in model.parameters() if id(parameter) in ids]


def _check(model: Autoencoder | VAE) -> None:
    kind = type(model)
    known = VAE if isinstance(model, VAE) else Autoencoder
    methods = ("encode", "decode", "decode_logits", "train")
    for name in methods:
        if name in vars(model) or getattr(kind, name, None) is not getattr(known, name):
            raise NotNativeError(f"{kind.__name__} has a method {name} of its own")
    if _has_any_global_hook():
        raise NotNativeError("there is a hook on all modules")
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    for module in model.modules():
        if any(getattr(module, name) for name in hooks):
            raise NotNativeError(f"there is a hook on {module}")
        if "forward" in vars(module):
            raise NotNativeError(f"{type(module).__name__} has a method forward of its own")


def _has_any_global_hook() -> bool:
    # As torch's private function of this name, which torch 2.6 does not have.
    names = ("forward_pre", "forward", "backward_pre", "backward")
    return any(getattr(of_all_modules, f"_global_{name}_hooks") for name in names)


def _flat(module: nn.Module) -> list[nn.Module]:
    # Not children(), which yields a module that is used twice, such as an nn.ReLU, only once.
    if type(module) is nn.Sequential:
        return [layer for each in module for layer in _flat(each)]
    return [module]


def _without_sigmoid(decoder: nn.Module) -> nn.Module:
    """As ``decode_logits`` leaves it out: the decoder's own last layer but for a reshape."""
    layers = list(decoder) if type(decoder) is nn.Sequential else []
    end = len(layers)
    while end and isinstance(layers[end - 1], nn.Flatten | nn.Unflatten):
        end -= 1
    if not end or type(layers[end - 1]) is not nn.Sigmoid:
        raise NotNativeError("Bernoulli pixels need a decoder that ends in a sigmoid")
    return nn.Sequential(*layers[: end - 1], *layers[end:])


def _padding(module: nn.Conv2d) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Zeros before and after the map; of "same" with an even kernel there is one more after it."""
    if module.padding == "same":
        before = tuple((k - 1) // 2 for k in module.kernel_size)
        return before, tuple(k - 1 - p for k, p in zip(module.kernel_size, before, strict=True))
    if module.padding == "valid":
        return (0, 0), (0, 0)
    assert not isinstance(module.padding, str)
    return module.padding, module.padding


def _no_kernel(module: nn.Module) -> NotNativeError:
    return NotNativeError(f"there is no kernel for {' '.join(str(module).split())}")
