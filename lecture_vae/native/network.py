"""Network: the layers of a model as a list, with the values between them.

A layer is an affine map, then perhaps a bias or a batch normalization, then perhaps an activation.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from math import prod
from typing import Any

from torch import Tensor, nn

__all__ = ["Activation", "Affine", "Layer", "Network", "Node"]


class Affine(IntEnum):
    """The affine map of a layer, numbered as in layers.h.

    Examples:
        >>> Affine.LINEAR.value
        2
    """

    COPY = 0
    CONSTANT = 1
    LINEAR = 2
    CONVOLUTION = 3
    TRANSPOSED = 4


class Activation(IntEnum):
    """What follows the affine map, numbered as in layers.h.

    Examples:
        >>> Activation.RELU.value
        1
    """

    NONE = 0
    RELU = 1
    SIGMOID = 2


@dataclass
class Node:
    """The values between two layers.

    Examples:
        >>> Node((8, 15, 15)).map_shape, Node((128,)).map_shape
        ((8, 15, 15), (128, 1, 1))
    """

    shape: tuple[int, ...]  # of one image, as in torch: (features,) or (channels, height, width)
    border: int = 0  # zeros around each map, for the paddings of the convolutions that read it
    view_of: int | None = None  # a node with the same values in another shape
    is_images: bool = False  # the images themselves, perhaps flattened
    has_gradient: bool = False  # whether a parameter affects it

    @property
    def map_shape(self) -> tuple[int, ...]:
        """Channels, height, width."""
        return self.shape if len(self.shape) == 3 else (prod(self.shape), 1, 1)


@dataclass
class Layer:
    """An affine map, then perhaps a bias or a normalization, then perhaps an activation.

    Examples:
        >>> from lecture_vae.native.modules import network_of
        >>> network = network_of(build_model("linear-ae"), logits=False)
        >>> [layer.activation.name for layer in network.layers][-2:]
        ['RELU', 'SIGMOID']
    """

    affine: Affine
    source: int  # number of a node
    target: int
    weight: Tensor | None = None
    bias: Tensor | None = None
    norm: nn.BatchNorm2d | None = None
    activation: Activation = Activation.NONE
    geometry: tuple[int, ...] = (1, 1, 1, 1, 0, 0)  # kernel, stride, padding; each (y, x)

    @property
    def parameters(self) -> list[Tensor]:
        """Weight, bias, scale and shift, as far as there are any."""
        norm = [] if self.norm is None else [self.norm.weight, self.norm.bias]
        return [each for each in (self.weight, self.bias, *norm) if each is not None]


@dataclass
class Network:
    """The layers of a model in the order in which they run.

    Examples:
        >>> from lecture_vae.native.modules import network_of
        >>> network = network_of(build_model("conv-vae"), logits=False)
        >>> len(network.layers), network.encoder_layers, network.nodes[network.mu].shape
        (8, 5, (4, 4, 4))
    """

    nodes: list[Node] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    encoder_layers: int = 0
    mu: int = 0  # numbers of nodes; of an autoencoder, the code
    log_var: int | None = None
    z: int = 0
    out: int = 0

    def node(self, shape: tuple[int, ...], **keywords: Any) -> int:
        """Add a node; its number."""
        self.nodes.append(Node(shape, **keywords))
        return len(self.nodes) - 1

    def layer(self, affine: Affine, source: int, shape: tuple[int, ...], **keywords: Any) -> int:
        """Add a layer and its target; the number of the target."""
        layer = Layer(affine, source, self.node(shape), **keywords)
        target = self.nodes[layer.target]
        target.has_gradient = bool(layer.parameters) or (
            affine != Affine.CONSTANT and self.nodes[source].has_gradient
        )
        self.layers.append(layer)
        return layer.target

    def convolution(
        self,
        affine: Affine,
        module: nn.Conv2d | nn.ConvTranspose2d,
        source: int,
        size: Sequence[int],
        padding: tuple[int, ...],
    ) -> int:
        """Add a convolution whose target has maps of ``size``; the number of the target."""
        return self.layer(
            affine,
            source,
            (module.out_channels, *size),
            weight=module.weight,
            bias=module.bias,
            geometry=(*module.kernel_size, *module.stride, *padding),
        )

    def view(self, source: int, shape: tuple[int, ...]) -> int:
        """Add a node with the values of another in a new shape; the number of the node."""
        node = self.nodes[source]
        if shape == node.shape:
            return source
        kept = {"is_images": node.is_images, "has_gradient": node.has_gradient}
        target = self.node(shape, view_of=source, **kept)
        self.layers.append(Layer(Affine.COPY, source, target))
        return target

    def base(self, number: int) -> int:
        """The node whose memory a view shares; of another node, itself."""
        while (view_of := self.nodes[number].view_of) is not None:
            number = view_of
        return number

    def separate(self, source: int, first: int) -> int:
        """``source``, or a copy of it, so that a layer from number ``first`` on writes it."""
        base = self.base(source)
        if any(layer.target == base for layer in self.layers[first:]):
            return source
        return self.layer(Affine.COPY, source, self.nodes[source].shape)

    def without_needless_copies(self) -> "Network":
        """The network without the copies between nodes that lie in memory in the same way.

        These are views without borders.
        """
        layers, encoder_layers = [], 0
        for number, layer in enumerate(self.layers):
            node = self.nodes[layer.target]
            if node.view_of is not None:
                if not (node.border or self.nodes[node.view_of].border):
                    continue
                node.view_of = None
            layers.append(layer)
            encoder_layers += number < self.encoder_layers
        return replace(self, layers=layers, encoder_layers=encoder_layers)
