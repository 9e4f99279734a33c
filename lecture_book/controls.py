"""Controls: the convolutional VAE of chapter 7 with one part changed.

The chapter asks why 64 latents on a 4 x 4 grid cost more nats than they should. Each control gives
the network one of the things that it may lack, and nothing else: a longer reach, a layer that knows
where it is, depth, or size. The weights of all other layers are the same, for the same seed.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lecture_vae import VAE, ConvVAE, register

__all__ = ["CONTROL", "LAYERS", "OwnWeights", "conv_vae_with"]

CONTROL = "conv-vae-control"  # the registered name
CHANNELS, SIDE = 4, 4  # of the cube of latents, [4, 4, 4]
SIZE = CHANNELS * SIDE * SIDE
Cube = Float[Tensor, "B 4 4 4"]


class OwnWeights(nn.Module):
    """A 1 x 1 convolution that has weights and biases of its own at each of the 16 positions.

    It reaches no further than a 1 x 1 convolution, and knows where it is.

    Examples:
        >>> sum(weight.numel() for weight in OwnWeights().parameters())  # 16 * (4 * 4 + 4)
        320
    """

    def __init__(self) -> None:
        super().__init__()
        bound = CHANNELS**-0.5  # as nn.Conv2d draws them
        self.weight = nn.Parameter(torch.empty(SIDE, SIDE, CHANNELS, CHANNELS))
        self.bias = nn.Parameter(torch.empty(CHANNELS, SIDE, SIDE))
        for parameter in (self.weight, self.bias):
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, cube: Cube) -> Cube:
        """Mix the channels of each position."""
        return torch.einsum("bchw,hwoc->bohw", cube, self.weight) + self.bias


def fully_connected() -> nn.Sequential:
    """Every number of the cube from every other, each with a weight of its own."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(SIZE, SIZE), nn.Unflatten(1, (CHANNELS, SIDE, SIDE))
    )


def convolution(kernel: int) -> nn.Conv2d:
    """A convolution that keeps the size of the cube."""
    return nn.Conv2d(CHANNELS, CHANNELS, kernel_size=kernel, padding=kernel // 2)


# What may stand, with a ReLU after it, between z and the decoder. With a kernel of 7 every
# position of a 4 x 4 grid reaches every other, and the weights depend on the offset alone.
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "1x1": lambda: convolution(1),
    "3x3": lambda: convolution(3),
    "7x7": lambda: convolution(7),
    "own weights": OwnWeights,
    "fully connected": fully_connected,
}


def conv_vae_with(
    *,
    heads: str = "3x3",
    layer: str = "none",
    encoder_width: int = 1,
    decoder_width: int = 1,
    last_relu: bool = True,
) -> VAE:
    """The ConvVAE with some of its parts changed.

    Args:
        heads: ``"3x3"``, as they are, or ``"fully connected"``.
        layer: A key of :data:`LAYERS`, which is put before the decoder; ``"none"`` adds nothing.
        encoder_width: Factor for the 8 and 16 channels of the encoder.
        decoder_width: Factor for the 16 and 8 channels of the decoder.
        last_relu: Keep the ReLU between the encoder's last convolution and the heads.

    Examples:
        >>> sum(weight.numel() for weight in conv_vae_with(layer="3x3").parameters())
        4237
    """
    model = ConvVAE(latent_channels=CHANNELS)
    if encoder_width > 1:
        model.trunk = _wide_encoder(encoder_width)
    if decoder_width > 1:
        model.decoder = _wide_decoder(decoder_width)
    if not last_relu:
        assert isinstance(model.trunk, nn.Sequential)
        model.trunk = model.trunk[:-1]
    if heads == "fully connected":
        model.to_mu, model.to_log_var = fully_connected(), fully_connected()
    if layer != "none":
        assert isinstance(model.decoder, nn.Sequential)
        model.decoder = nn.Sequential(LAYERS[layer](), nn.ReLU(), *model.decoder)
    return model


def _wide_encoder(factor: int) -> nn.Sequential:
    few, many = 8 * factor, 16 * factor
    return nn.Sequential(
        nn.Conv2d(1, few, kernel_size=5, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(few),
        nn.ReLU(),
        nn.Conv2d(few, many, kernel_size=3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(many),
        nn.ReLU(),
        nn.Conv2d(many, CHANNELS, kernel_size=3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(CHANNELS),
        nn.ReLU(),
    )


def _wide_decoder(factor: int) -> nn.Sequential:
    few, many = 8 * factor, 16 * factor
    return nn.Sequential(
        nn.ConvTranspose2d(CHANNELS, many, kernel_size=3, stride=2, bias=False),
        nn.BatchNorm2d(many),
        nn.ReLU(),
        nn.ConvTranspose2d(many, few, kernel_size=3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(few),
        nn.ReLU(),
        nn.ConvTranspose2d(few, 1, kernel_size=2, stride=2, padding=1),
        nn.Sigmoid(),
    )


register(CONTROL, conv_vae_with)
