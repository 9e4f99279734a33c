"""Models: an encoder from images to posteriors q(z | x), and a decoder from latents to images.

Nothing here trains, plots or downloads. A model is a :class:`torch.nn.Module` with four members,
whatever its networks are (:class:`Model`)::

    q = model.encode(x)           # what the encoder says about each image: a Posterior
    x_hat = model.decode(z)       # the mean of p(x | z), in gray levels
    model.latent_shape            # of z, without the batch
    model.noise_shape             # of the noise that q.sample takes, without the batch

Shapes: B images, 1 channel, 32 x 32 pixels. ``latent_shape`` is ``(d,)`` for the linear models and
``(channels, 4, 4)``, a stack of feature maps, for the convolutional ones.

To write a model, subclass :class:`Autoencoder` or :class:`VAE` with other networks, or give any
module the four members. The lecture's models are in :mod:`lecture_vae.networks`.
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
    """The interface of a model, an nn.Module, for the training loop, objectives and figures.

    Examples:
        >>> isinstance(build_model("linear-vae"), Model)
        True
    """

    latent_shape: tuple[int, ...]
    noise_shape: tuple[int, ...]  # () where encoding draws nothing
    training: bool

    def encode(self, x: Images) -> Posterior:
        """The posterior of each image, x in [0, 1]."""

    def decode(self, z: Latents) -> Images:
        """The mean of p(x | z) for each latent, in gray levels, whatever the likelihood is."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Like the members below, as in every nn.Module."""

    def named_children(self) -> Iterator[tuple[str, nn.Module]]: ...  # noqa: D102

    def modules(self) -> Iterator[nn.Module]: ...  # noqa: D102

    def state_dict(self) -> dict[str, Tensor]: ...  # noqa: D102

    def load_state_dict(self, state_dict: Mapping[str, Tensor]) -> Any: ...  # noqa: D102

    def to(self, device: torch.device) -> Any: ...  # noqa: D102

    def train(self, mode: bool = True) -> Any: ...  # noqa: D102

    def eval(self) -> Any: ...  # noqa: D102


class AEOutput(NamedTuple):
    """Forward pass of an autoencoder.

    Examples:
        >>> x_hat, code = build_model("linear-ae")(torch.zeros(5, 1, 32, 32))
        >>> x_hat.shape, code.shape
        (torch.Size([5, 1, 32, 32]), torch.Size([5, 2]))
    """

    x_hat: Images  # reconstructions, in gray levels
    code: Latents  # the codes that were decoded


class VAEOutput(NamedTuple):
    """Forward pass of a VAE.

    Examples:
        >>> x_hat, mu, log_var, z = build_model("linear-vae")(torch.zeros(5, 1, 32, 32))
        >>> x_hat.shape, z.shape
        (torch.Size([5, 1, 32, 32]), torch.Size([5, 2]))
    """

    x_hat: Images  # mean of p(x | z), in gray levels
    mu: Latents  # mean of q(z | x)
    log_var: Latents  # log-variance of q(z | x)
    z: Latents  # the sample from q(z | x) that was decoded


def _check_images(x: Tensor) -> None:
    if x.ndim != 4 or x.shape[1:] != (1, SIDE, SIDE):
        raise ValueError(
            f"the models read images of shape [B, 1, {SIDE}, {SIDE}], got {tuple(x.shape)}. "
            "Was the batch axis dropped, the image flattened, or not resized?"
        )


def _logits(decoder: nn.Module, z: Latents) -> Float[Tensor, "B 1 32 32"]:
    """The input of the sigmoid at the end of a decoder."""
    # Not children(), which yields a module that is used twice, such as an nn.ReLU, only once.
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
    """The decoder of an autoencoder or a VAE."""

    decoder: nn.Module

    def decode(self, z: Latents) -> Images:
        """The mean of p(x | z) for each latent, in gray levels.

        Args:
            z: Latents, ``[B, *latent_shape]``.

        Returns:
            [B, 1, 32, 32].
        """
        return self.decoder(z)

    def decode_logits(self, z: Latents) -> Float[Tensor, "B 1 32 32"]:
        """The input of the sigmoid at the end of the decoder, so that decode(z) = sigmoid(logits).

        Args:
            z: Latents, ``[B, *latent_shape]``.

        Returns:
            [B, 1, 32, 32].

        Raises:
            TypeError: If the decoder is not an nn.Sequential that ends in an nn.Sigmoid.

        Examples:
            >>> model, z = build_model("linear-vae"), torch.zeros(1, 2)
            >>> torch.allclose(model.decode_logits(z).sigmoid(), model.decode(z))
            True
        """
        return _logits(self.decoder, z)


class Autoencoder(_WithDecoder):
    """An autoencoder, composed of an ``encoder`` and a ``decoder``.

    Args:
        encoder: Maps images [B, 1, 32, 32] to codes ``[B, *latent_shape]``.
        decoder: Maps codes to images.
        latent_shape: The shape of the code of one image.

    Examples:
        >>> from torch import nn
        >>> model = Autoencoder(
        ...     encoder=nn.Sequential(nn.Flatten(), nn.Linear(1024, 2)),
        ...     decoder=nn.Sequential(nn.Linear(2, 1024), nn.Unflatten(1, (1, 32, 32))),
        ...     latent_shape=(2,),
        ... )
        >>> model.encode(torch.zeros(5, 1, 32, 32)).code.shape
        torch.Size([5, 2])
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, latent_shape: tuple[int, ...]):
        super().__init__()
        self.latent_shape = latent_shape
        self.noise_shape: tuple[int, ...] = ()
        self.encoder = encoder
        self.decoder = decoder

    def encode(self, x: Images) -> Point:
        """The codes of images.

        Args:
            x: Images, [B, 1, 32, 32].

        Raises:
            ValueError: If x has another shape.
        """
        _check_images(x)
        return Point(self.encoder(x))

    def forward(self, x: Images, eps: Tensor | None = None) -> AEOutput:
        """Encode and decode images [B, 1, 32, 32]. An autoencoder has no noise; eps is ignored."""
        code = self.encode(x).code
        return AEOutput(self.decode(code), code)


class VAE(_WithDecoder):
    """A VAE, composed of a ``trunk``, two heads ``to_mu`` and ``to_log_var``, and a ``decoder``.

    Kingma & Welling (2014), arXiv:1312.6114; equation eq-def-lvae-heads of chapter 5.

    Args:
        trunk: Maps images [B, 1, 32, 32] to features.
        to_mu: Maps features to the means of q(z | x), ``[B, *latent_shape]``.
        to_log_var: Maps features to its log-variances, of the same shape.
        decoder: Maps latents to the means of p(x | z), [B, 1, 32, 32].
        latent_shape: The shape of the latents of one image.

    Examples:
        >>> from torch import nn
        >>> model = VAE(
        ...     trunk=nn.Flatten(),
        ...     to_mu=nn.Linear(1024, 2),
        ...     to_log_var=nn.Linear(1024, 2),
        ...     decoder=nn.Sequential(nn.Linear(2, 1024), nn.Unflatten(1, (1, 32, 32))),
        ...     latent_shape=(2,),
        ... )
        >>> model(torch.zeros(5, 1, 32, 32)).mu.shape
        torch.Size([5, 2])
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
        """q(z | x) of each image.

        Args:
            x: Images, [B, 1, 32, 32].

        Raises:
            ValueError: If x has another shape.

        Examples:
            >>> model = build_model("conv-vae", latent_channels=4)
            >>> model.encode(torch.zeros(5, 1, 32, 32)).mu.shape
            torch.Size([5, 4, 4, 4])
        """
        _check_images(x)
        features = self.trunk(x)
        return DiagonalGaussian(self.to_mu(features), self.to_log_var(features))

    def forward(self, x: Images, eps: Latents | None = None) -> VAEOutput:
        """Encode images, draw one z from q(z | x) for each with the noise ``eps``, and decode it.

        Args:
            x: Images, [B, 1, 32, 32].
            eps: Standard normal noise, ``[B, *latent_shape]``; None draws it.

        Raises:
            ValueError: If x or eps has another shape.
        """
        q = self.encode(x)
        z = q.sample(eps)
        return VAEOutput(self.decode(z), q.mu, q.log_var, z)
