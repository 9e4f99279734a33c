"""Models: an image goes in, a posterior q(z | x) comes out; a latent goes in, an image comes out.

Nothing here trains, plots or downloads. A model is a :class:`torch.nn.Module` with four members
(:class:`Model`), so that whoever uses one never has to ask which it has::

    q = model.encode(x)           # what the encoder says about each image: a Posterior
    x_hat = model.decode(z)       # the mean of p(x | z), in pixel units
    model.latent_shape            # of z, without the batch
    model.noise_shape             # of the noise that q.sample takes, without the batch

Shapes: B images, 1 channel, 32 x 32 pixels. ``latent_shape`` is ``(d,)`` for the linear models and
``(channels, 4, 4)``, a cube of features, for the convolutional ones.

An own model is a subclass of :class:`Autoencoder` or :class:`VAE` with other networks, or any
module with the four members. The lecture's own are in :mod:`lecture_vae.networks`.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lecture_vae.distributions import DiagonalGaussian, Point, Posterior

__all__ = ["VAE", "AEOutput", "Autoencoder", "Model", "VAEOutput"]

Images = Float[Tensor, "B 1 32 32"]
Latents = Float[Tensor, "B *latent"]

SIDE = 32  # pixels along an edge
PIXELS = SIDE * SIDE


@runtime_checkable
class Model(Protocol):
    """What the training loop, objectives and figures ask of a model, which is an nn.Module."""

    latent_shape: tuple[int, ...]
    noise_shape: tuple[int, ...]  # () where encoding draws nothing
    training: bool

    def encode(self, x: Images) -> Posterior:
        """What the encoder says about each image."""

    def decode(self, z: Latents) -> Images:
        """The mean of p(x | z) for every latent, in pixel units, whatever the likelihood is."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """As of every nn.Module, like the members below."""

    def named_children(self) -> Iterator[tuple[str, nn.Module]]: ...  # noqa: D102

    def modules(self) -> Iterator[nn.Module]: ...  # noqa: D102

    def state_dict(self) -> dict[str, Tensor]: ...  # noqa: D102

    def load_state_dict(self, state_dict: Mapping[str, Tensor]) -> Any: ...  # noqa: D102

    def to(self, device: torch.device) -> Any: ...  # noqa: D102

    def train(self, mode: bool = True) -> Any: ...  # noqa: D102

    def eval(self) -> Any: ...  # noqa: D102


class AEOutput(NamedTuple):
    """One pass of an autoencoder."""

    x_hat: Images  # reconstruction
    code: Latents  # the code that was decoded


class VAEOutput(NamedTuple):
    """One pass of a VAE."""

    x_hat: Images  # mean of p(x | z)
    mu: Latents  # mean of q(z | x)
    log_var: Latents  # log variance of q(z | x)
    z: Latents  # the sample from q(z | x) that was decoded


def _check_images(x: Tensor) -> None:
    if x.ndim != 4 or x.shape[1:] != (1, SIDE, SIDE):
        raise ValueError(
            f"the models read images of shape [B, 1, {SIDE}, {SIDE}], got {tuple(x.shape)}. "
            "Was the batch axis dropped, the image flattened, or not resized?"
        )


def _logits(decoder: nn.Module, z: Latents) -> Float[Tensor, "B 1 32 32"]:
    """What a decoder passes through its sigmoid."""
    # Not children(): that gives a layer used twice, as one nn.ReLU may be, only once.
    layers = list(decoder) if isinstance(decoder, nn.Sequential) else []
    end = len(layers)
    while end and isinstance(layers[end - 1], nn.Flatten | nn.Unflatten):
        end -= 1
    if not end or not isinstance(layers[end - 1], nn.Sigmoid):
        raise TypeError(
            "logits are what a decoder passes through its sigmoid: it must be an nn.Sequential "
            "that ends in nn.Sigmoid(), after which only nn.Unflatten may come, got a "
            f"{type(decoder).__name__} that does not. Define decode_logits(z) of your model, or "
            "give it a decoder that ends so."
        )
    for layer in layers[: end - 1] + layers[end:]:
        z = layer(z)
    return z


class _WithDecoder(nn.Module):
    """What an autoencoder and a VAE have in common."""

    decoder: nn.Module

    def decode(self, z: Latents) -> Images:
        """Give the mean of p(x | z) for every latent, in pixel units."""
        return self.decoder(z)

    def decode_logits(self, z: Latents) -> Float[Tensor, "B 1 32 32"]:
        """What :meth:`decode` passes through the sigmoid at the end of the decoder.

        Raises:
            TypeError: If the decoder is no nn.Sequential that ends in an nn.Sigmoid.
        """
        return _logits(self.decoder, z)


class Autoencoder(_WithDecoder):
    """An autoencoder from an ``encoder`` and a ``decoder``.

    Args:
        encoder: Images [B, 1, 32, 32] to codes, ``latent_shape`` for each image.
        decoder: Codes to images.
        latent_shape: Of the code of one image.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, latent_shape: tuple[int, ...]):
        super().__init__()
        self.latent_shape = latent_shape
        self.noise_shape: tuple[int, ...] = ()
        self.encoder = encoder
        self.decoder = decoder

    def encode(self, x: Images) -> Point:
        """Compress images to codes.

        Raises:
            ValueError: If x has another shape.
        """
        _check_images(x)
        return Point(self.encoder(x))

    def forward(self, x: Images, eps: Tensor | None = None) -> AEOutput:
        """Encode and decode. An autoencoder has no noise: ``eps`` is not used."""
        code = self.encode(x).code
        return AEOutput(self.decode(code), code)


class VAE(_WithDecoder):
    """A VAE from a ``trunk``, two heads ``to_mu`` and ``to_log_var``, and a ``decoder``.

    Args:
        trunk: Images [B, 1, 32, 32] to features.
        to_mu: Features to the means of q(z | x), ``latent_shape`` for each image.
        to_log_var: Features to its log variances, of the same shape.
        decoder: Latents to the mean of p(x | z), [B, 1, 32, 32].
        latent_shape: Of the latent of one image.
    """

    def __init__(
        self,
        trunk: nn.Module,
        to_mu: nn.Module,
        to_log_var: nn.Module,
        decoder: nn.Module,
        latent_shape: tuple[int, ...],
    ):
        super().__init__()
        self.latent_shape = self.noise_shape = latent_shape
        self.trunk = trunk
        self.to_mu = to_mu
        self.to_log_var = to_log_var
        self.decoder = decoder

    def encode(self, x: Images) -> DiagonalGaussian:
        """Give q(z | x) for every image.

        Raises:
            ValueError: If x has another shape.
        """
        _check_images(x)
        features = self.trunk(x)
        return DiagonalGaussian(self.to_mu(features), self.to_log_var(features))

    def forward(self, x: Images, eps: Latents | None = None) -> VAEOutput:
        """Encode, sample one z per image from q(z | x) with the noise ``eps``, and decode it."""
        q = self.encode(x)
        z = q.sample(eps)
        return VAEOutput(self.decode(z), q.mu, q.log_var, z)
