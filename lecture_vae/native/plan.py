"""Plan: a model's training in native kernels, many steps in one call.

:class:`Plan` lists a model's layers for the kernels. Weights, Adam's moments and running statistics
stay where they are, in the model and in the optimizer: the kernels get their addresses.
"""

import ctypes
from collections.abc import Iterator
from ctypes import c_int32, c_int64
from itertools import islice
from math import prod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lecture_vae.distributions import Latents, PerImage
from lecture_vae.likelihoods import BernoulliPixels, GaussianPixels
from lecture_vae.losses import NegativeELBO, Objective, SquaredError
from lecture_vae.models import PIXELS, VAE, Autoencoder, Model
from lecture_vae.native.build import NotNativeError, load_kernels, vector_family
from lecture_vae.native.checks import address, check_batches, check_images, check_structures
from lecture_vae.native.modules import network_of, parameters_of
from lecture_vae.native.network import Affine, Layer, Network
from lecture_vae.native.structures import (
    AdamStruct,
    LayerStruct,
    NodeStruct,
    PlanStruct,
    WeightsStruct,
)

__all__ = ["Plan"]

CHUNK = 100  # steps in one call, after which an interrupt is noticed


class Plan:
    """A model, an objective and a batch size, as a list of kernels.

    Args:
        model: On the CPU, in float32; it stays the owner of its parameters.
        objective: ``SquaredError``, or ``NegativeELBO`` with one sample and Gaussian or
            Bernoulli pixels.
        batch_size: B, a multiple of 16.

    Raises:
        NotNativeError: If a layer, the objective or the batch size has no kernel, or the kernels
            cannot be compiled on this machine.

    Examples:
        >>> Plan(build_model("linear-vae"), NegativeIWAE(), batch_size=64)
        Traceback (most recent call last):
        ...
        lecture_vae.native.build.NotNativeError: there is no kernel for the objective NegativeIWAE
    """

    def __init__(self, model: Model, objective: Objective, batch_size: int):
        if batch_size % 16:
            raise NotNativeError(f"the batch size must be a multiple of 16, got {batch_size}")
        likelihood, kl_weight = _parts(objective)
        is_bernoulli = isinstance(likelihood, BernoulliPixels)
        if not isinstance(model, VAE | Autoencoder):
            raise NotNativeError(f"{type(model).__name__} is no Autoencoder or VAE")
        if isinstance(objective, NegativeELBO) and not isinstance(model, VAE):
            raise NotNativeError(f"{type(model).__name__} gives no q(z | x)")
        self.network = network_of(model, logits=is_bernoulli)
        self.parameters = parameters_of(self.network, model)
        self.kernels = load_kernels(batch_size)
        check_structures(self.kernels)
        self.engine = f"native-{vector_family()}"
        self.terms = [likelihood.term, *(["kl"] if isinstance(objective, NegativeELBO) else [])]
        self.batch_size = batch_size
        self._weight = float(likelihood.nats(torch.ones(()))), kl_weight
        self._lay_out(is_bernoulli)

    def steps(
        self,
        images: Float[Tensor, "N 1 32 32"],
        indices: Iterator[Tensor],
        epsilons: Iterator[Tensor],
        count: int,
        optimizer: torch.optim.Adam,
    ) -> Float[Tensor, "count terms"]:
        """Make ``count`` updates of the model's weights.

        Args:
            images: All training images, contiguous.
            indices: The images of each batch, as :func:`~lecture_vae.randomness.batches` yields.
            epsilons: The noise of each batch.
            count: Number of updates.
            optimizer: Its state is that after ``count`` updates; its hyperparameters are used.

        Returns:
            For each step the mean of each term, and the loss.

        Raises:
            ValueError: If the images have another shape or type.
        """
        check_images(images)
        group = optimizer.param_groups[0]
        adam = AdamStruct(group["lr"], *group["betas"], group["eps"])
        states = [_moments(optimizer, parameter) for parameter in self.parameters]
        self._bind(states)
        latents = self._plan.latents
        done, log = int(states[0]["step"]), torch.empty(count, 2, dtype=torch.float32)
        for start in range(0, count, CHUNK):
            here = min(CHUNK, count - start)
            index = torch.stack(list(islice(indices, here)))
            eps = torch.stack(list(islice(epsilons, here)))
            check_batches(index, eps, len(images), (here, self.batch_size), latents)
            self.kernels.train_steps(
                ctypes.byref(self._plan),
                c_int64(here),
                address(images),
                address(index),
                address(eps),
                adam,
                c_int64(done + start),
                address(log[start:]),
            )
        for state in states:
            state["step"] += count
        for layer in self.network.layers:
            if layer.norm is not None and layer.norm.num_batches_tracked is not None:
                layer.norm.num_batches_tracked += count
        distortion, kl = self._weight
        loss = distortion * log[:, 0] + kl * log[:, 1]
        return torch.cat([log[:, : len(self.terms)], loss[:, None]], dim=1)

    def evaluate(
        self, images: Float[Tensor, "N 1 32 32"], eps: Float[Tensor, "N 1 *noise"]
    ) -> tuple[dict[str, PerImage], Latents]:
        """The terms of each image and its code, in eval mode.

        Args:
            images: Contiguous.
            eps: Noise, one sample for each image.

        Raises:
            ValueError: If the images have another shape or type.
        """
        check_images(images)
        self._bind()
        count, shape = len(images), self.network.nodes[self.network.mu].shape
        sizes = (count,), (count,), (count, *shape)
        distortion, kl, code = (torch.empty(size, dtype=torch.float32) for size in sizes)
        eps = eps.to(torch.float32).contiguous()
        if eps.numel() < count * self._plan.latents:
            raise ValueError(f"eps needs one number for every image and latent, got {eps.shape}.")
        self.kernels.evaluate_images(
            ctypes.byref(self._plan),
            c_int64(count),
            *(address(t) for t in (images, eps, distortion, kl, code)),
        )
        return dict(zip(self.terms, (distortion, kl), strict=False)), code

    def _lay_out(self, is_bernoulli: bool) -> None:
        """Allocate what the kernels write between the layers, and describe the layers."""
        network, batch = self.network, self.batch_size
        self._buffers: list[Tensor] = []  # a tensor each, so that a sanitizer sees their ends
        nodes = (NodeStruct * len(network.nodes))()
        spare = 1
        for made, node in zip(nodes, network.nodes, strict=True):
            channels, height, width = node.map_shape
            size = channels * (height + 2 * node.border) * (width + 2 * node.border) * batch
            spare = max(spare, size)
            if node.view_of is None:
                values = [self._room(size) for _ in "adh"]
            else:
                values = [getattr(nodes[node.view_of], name) for name in "adh"]
            for name, value in zip("adh", values, strict=True):
                setattr(made, name, value)
            made.channels, made.height, made.width, made.border = *node.map_shape, node.border
        self._layers = (LayerStruct * len(network.layers))()
        for number, (made, layer) in enumerate(zip(self._layers, network.layers, strict=True)):
            self._describe(made, layer, number)
        self._weights = (WeightsStruct * len(self.parameters))()
        for made, parameter in zip(self._weights, self.parameters, strict=True):
            made.size = parameter.numel()
            made.gradient = self._room(parameter.numel())
        largest = max((parameter.numel() for parameter in self.parameters), default=1)
        inputs = [layer.weight.shape[1] for layer in network.layers if layer.weight is not None]
        widest = max(inputs, default=1)
        has_noise = network.log_var is not None
        latents = prod(network.nodes[network.mu].shape) if has_noise else 0
        self._nodes = nodes
        self._plan = PlanStruct(
            self._layers,
            nodes,
            self._weights,
            *(self._room(n) for n in (PIXELS * batch, largest, spare, widest * batch)),
            *(self._room(max(1, latents * batch)) for _ in range(4)),
            len(network.layers),
            network.encoder_layers,
            len(self.parameters),
            0,
            network.mu,
            network.log_var if network.log_var is not None else -1,
            network.z,
            network.out,
            latents,
            is_bernoulli,
            *self._weight,
        )

    def _describe(self, made: LayerStruct, layer: Layer, number: int) -> None:
        network = self.network
        source, target = network.nodes[layer.source], network.nodes[layer.target]
        fine, coarse = source.map_shape, target.map_shape
        if layer.affine == Affine.TRANSPOSED:
            fine, coarse = coarse, fine
        made.shape = (c_int32 * 12)(*coarse, *fine, *layer.geometry)
        made.affine, made.activation = layer.affine, layer.activation
        made.source, made.target = layer.source, layer.target
        made.weight, made.bias = self._number(layer.weight), self._number(layer.bias)
        norm = layer.norm
        made.scale = self._number(norm.weight if norm is not None else None)
        made.shift = self._number(norm.bias if norm is not None else None)
        if norm is not None:
            made.momentum, made.eps = norm.momentum, norm.eps
            made.inverse = self._room(norm.num_features)
        made.from_images = source.is_images
        made.passes_gradient = _passes_gradient(network, layer)
        made.adds = any(
            _passes_gradient(network, other)
            and network.base(other.source) == network.base(layer.source)
            for other in network.layers[number + 1 :]
        )

    def _room(self, size: int) -> int:
        """The address of so many zeros."""
        self._buffers.append(torch.zeros(size, dtype=torch.float32))
        return self._buffers[-1].data_ptr()

    def _number(self, parameter: Tensor | None) -> int:
        found = [n for n, each in enumerate(self.parameters) if each is parameter]
        return found[0] if found else -1

    def _bind(self, states: list[dict[str, Tensor]] | None = None) -> None:
        """Look up the addresses of what the model and the optimizer own: it may have moved."""
        for number, (made, parameter) in enumerate(
            zip(self._weights, self.parameters, strict=True)
        ):
            made.values = parameter.data_ptr()
            if states is not None:
                made.mean = states[number]["exp_avg"].data_ptr()
                made.square = states[number]["exp_avg_sq"].data_ptr()
        for made, layer in zip(self._layers, self.network.layers, strict=True):
            if layer.norm is not None:
                assert layer.norm.running_mean is not None and layer.norm.running_var is not None
                made.running_mean = layer.norm.running_mean.data_ptr()
                made.running_var = layer.norm.running_var.data_ptr()


def _parts(objective: Objective) -> tuple[GaussianPixels | BernoulliPixels, float]:
    """The likelihood and the weight of the KL."""
    if type(objective) is SquaredError:
        return GaussianPixels(), 0.0
    if type(objective) is not NegativeELBO:
        raise NotNativeError(f"there is no kernel for the objective {type(objective).__name__}")
    if objective.samples != 1:
        raise NotNativeError(f"there is a kernel for one sample of z, not for {objective.samples}")
    likelihood = objective.likelihood
    if type(likelihood) not in (GaussianPixels, BernoulliPixels):
        raise NotNativeError(f"there is no kernel for {type(likelihood).__name__}")
    assert isinstance(likelihood, GaussianPixels | BernoulliPixels)
    return likelihood, objective.kl_weight


def _passes_gradient(network: Network, layer: Layer) -> bool:
    return layer.affine != Affine.CONSTANT and network.nodes[layer.source].has_gradient


def _moments(optimizer: torch.optim.Adam, parameter: nn.Parameter) -> dict[str, Any]:
    """Adam's state of a parameter, begun as Adam itself begins it."""
    state: dict[str, Any] = optimizer.state[parameter]
    if not state:
        state["step"] = torch.zeros(())
        state["exp_avg"] = torch.zeros_like(parameter)
        state["exp_avg_sq"] = torch.zeros_like(parameter)
    return state
