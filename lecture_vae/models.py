"""Networks: an image goes in, a latent code and a reconstruction come out.

Nothing here trains, plots or downloads. Four models share one interface, so that whoever uses one
never has to ask which it has::

    code = model.encode(x)        # what the encoder says about each image
    x_hat = model.decode(z)       # images from latents
    out = model(x, eps)           # both, through one latent per image

Shapes: B images, 1 channel, 32 x 32 pixels. ``latent_shape`` is ``(d,)`` for the linear models and
``(channels, 4, 4)``, a cube of features, for the convolutional ones. The layers are those of the
original lecture (Neubauer, "Variational AutoEncoders").
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = [
    "MODELS",
    "AECode",
    "AEOutput",
    "ConvAE",
    "ConvVAE",
    "LinearAE",
    "LinearVAE",
    "VAECode",
    "VAEOutput",
    "build_model",
    "reparameterize",
]

Images = Float[Tensor, "B 1 32 32"]
Latents = Float[Tensor, "B *latent"]

SIDE = 32  # pixels along an edge
PIXELS = SIDE * SIDE


class AECode(NamedTuple):
    """What an autoencoder's encoder says about each image: one point."""

    mu: Latents  # the code; called mu so that readers of codes read both kinds alike


class VAECode(NamedTuple):
    """What a VAE's encoder says about each image: q(z | x) = N(mu, diag exp(log_var))."""

    mu: Latents  # mean of q(z | x)
    log_var: Latents  # log variance of q(z | x)


class AEOutput(NamedTuple):
    """One pass of an autoencoder."""

    x_hat: Images  # reconstruction, pixels in [0, 1]
    mu: Latents  # the code that was decoded


class VAEOutput(NamedTuple):
    """One pass of a VAE."""

    x_hat: Images  # mean of p(x | z), pixels in [0, 1]
    mu: Latents  # mean of q(z | x)
    log_var: Latents  # log variance of q(z | x)
    z: Latents  # the sample from q(z | x) that was decoded


def reparameterize(mu: Latents, log_var: Latents, eps: Latents | None = None) -> Latents:
    """Sample z = mu + sigma * eps from N(mu, diag exp(log_var)), so that gradients reach both.

    One sample for each image. Kingma & Welling (2014), section 2.4, arXiv:1312.6114.

    Args:
        mu: Means.
        log_var: Log variances; sigma = exp(log_var / 2).
        eps: Standard normal numbers, one for every image and latent. None draws them from torch's
            global generator.

    Raises:
        ValueError: If eps has another shape than mu.
    """
    if eps is None:
        eps = torch.randn_like(mu)
    elif eps.shape != mu.shape:
        # A noise tensor of another shape could broadcast: one epsilon for the whole batch would
        # train, and train something else.
        raise ValueError(
            f"eps needs one number for every image and latent, shape {tuple(mu.shape)}, "
            f"got {tuple(eps.shape)}. Was it drawn for another batch or model?"
        )
    return mu + torch.exp(0.5 * log_var) * eps


def _check_images(x: Tensor) -> None:
    if x.ndim != 4 or x.shape[1:] != (1, SIDE, SIDE):
        raise ValueError(
            f"the models read images of shape [B, 1, {SIDE}, {SIDE}], got {tuple(x.shape)}. "
            "Was the batch axis dropped, the image flattened, or not resized?"
        )


def _check_positive(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}.")


def _linear_encoder() -> list[nn.Module]:
    return [
        nn.Flatten(),
        nn.Linear(PIXELS, 128),
        nn.ReLU(),
        nn.Linear(128, 64),
        nn.ReLU(),
        nn.Linear(64, 32),
    ]


def _linear_decoder(latent_dim: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(latent_dim, 32),
        nn.ReLU(),
        nn.Linear(32, 64),
        nn.ReLU(),
        nn.Linear(64, 128),
        nn.ReLU(),
        nn.Linear(128, PIXELS),
        nn.Sigmoid(),
        nn.Unflatten(1, (1, SIDE, SIDE)),
    )


def _conv_encoder(latent_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 8, kernel_size=5, stride=2, padding=1, bias=False),  # 32 -> 15
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, kernel_size=3, stride=2, padding=1, bias=False),  # 15 -> 8
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, latent_channels, kernel_size=3, stride=2, padding=1, bias=False),  # 8 -> 4
        nn.BatchNorm2d(latent_channels),
        nn.ReLU(),
    )


def _conv_decoder(latent_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(latent_channels, 16, kernel_size=3, stride=2, bias=False),  # 4 -> 9
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 8, kernel_size=3, stride=2, padding=1, bias=False),  # 9 -> 17
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.ConvTranspose2d(8, 1, kernel_size=2, stride=2, padding=1),  # 17 -> 32
        nn.Sigmoid(),
    )


class _AE(nn.Module):
    """An autoencoder from an ``encoder`` and a ``decoder``, which its subclasses bring."""

    encoder: nn.Module
    decoder: nn.Module
    latent_shape: tuple[int, ...]

    def encode(self, x: Images) -> AECode:
        """Compress images to codes."""
        _check_images(x)
        return AECode(self.encoder(x))

    def decode(self, z: Latents) -> Images:
        """Turn codes into images, pixels in [0, 1]."""
        return self.decoder(z)

    def forward(self, x: Images, eps: Latents | None = None) -> AEOutput:
        """Encode and decode. An autoencoder has no noise: ``eps`` is not used."""
        mu = self.encode(x).mu
        return AEOutput(self.decode(mu), mu)


class _VAE(nn.Module):
    """A VAE from a ``trunk``, two heads ``to_mu`` and ``to_log_var``, and a ``decoder``."""

    trunk: nn.Module
    to_mu: nn.Module
    to_log_var: nn.Module
    decoder: nn.Module
    latent_shape: tuple[int, ...]

    def encode(self, x: Images) -> VAECode:
        """Give the parameters of q(z | x) for every image."""
        _check_images(x)
        features = self.trunk(x)
        return VAECode(self.to_mu(features), self.to_log_var(features))

    def decode(self, z: Latents) -> Images:
        """Give the mean of p(x | z) for every latent, pixels in [0, 1]."""
        return self.decoder(z)

    def forward(self, x: Images, eps: Latents | None = None) -> VAEOutput:
        """Encode, sample one z per image from q(z | x) with the noise ``eps``, and decode it."""
        mu, log_var = self.encode(x)
        z = reparameterize(mu, log_var, eps)
        return VAEOutput(self.decode(z), mu, log_var, z)


class LinearAE(_AE):
    """Autoencoder of fully connected layers, 1024-128-64-32-d and back."""

    def __init__(self, latent_dim: int = 2):
        _check_positive("latent_dim", latent_dim)
        super().__init__()
        self.latent_shape = (latent_dim,)
        self.encoder = nn.Sequential(*_linear_encoder(), nn.ReLU(), nn.Linear(32, latent_dim))
        self.decoder = _linear_decoder(latent_dim)


class LinearVAE(_VAE):
    """VAE of fully connected layers, 1024-128-64-32 with two heads for mu and log_var.

    As in the original lecture there is no ReLU between the 32-unit layer and the heads, where
    :class:`LinearAE` has one: each head and that layer compose to one affine map.
    """

    def __init__(self, latent_dim: int = 2):
        _check_positive("latent_dim", latent_dim)
        super().__init__()
        self.latent_shape = (latent_dim,)
        self.trunk = nn.Sequential(*_linear_encoder())
        self.to_mu = nn.Linear(32, latent_dim)
        self.to_log_var = nn.Linear(32, latent_dim)
        self.decoder = _linear_decoder(latent_dim)


class ConvAE(_AE):
    """Autoencoder of convolutions; its code is a cube of ``latent_channels`` x 4 x 4 features."""

    def __init__(self, latent_channels: int = 4):
        _check_positive("latent_channels", latent_channels)
        super().__init__()
        self.latent_shape = (latent_channels, 4, 4)
        self.encoder = _conv_encoder(latent_channels)
        self.decoder = _conv_decoder(latent_channels)


class ConvVAE(_VAE):
    """VAE of convolutions: :class:`ConvAE` with two 3 x 3 convolutions as heads."""

    def __init__(self, latent_channels: int = 4):
        _check_positive("latent_channels", latent_channels)
        super().__init__()
        self.latent_shape = (latent_channels, 4, 4)
        self.trunk = _conv_encoder(latent_channels)
        self.to_mu = nn.Conv2d(latent_channels, latent_channels, kernel_size=3, padding="same")
        self.to_log_var = nn.Conv2d(latent_channels, latent_channels, kernel_size=3, padding="same")
        self.decoder = _conv_decoder(latent_channels)


Model = LinearAE | LinearVAE | ConvAE | ConvVAE

MODELS: dict[str, type[Model]] = {
    "linear-ae": LinearAE,
    "linear-vae": LinearVAE,
    "conv-ae": ConvAE,
    "conv-vae": ConvVAE,
}


def build_model(name: str, *, seed: int = 0, **keywords: int) -> Model:
    """Build a model with weights drawn from ``seed``, leaving torch's global generator alone.

    Args:
        name: A key of :data:`MODELS`.
        seed: Same seed, same weights.
        **keywords: Passed to the model: ``latent_dim`` (linear) or ``latent_channels``.

    Raises:
        ValueError: If there is no model of that name.
    """
    if name not in MODELS:
        raise ValueError(f"there is no model {name!r}; the models are {', '.join(MODELS)}.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MODELS[name](**keywords)
