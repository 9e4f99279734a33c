"""Networks: the lecture's models, and the registry of models.

The layers of the first four are those of the original lecture (Neubauer, "Variational
AutoEncoders"). :func:`register` adds a model of yours.
"""

from collections.abc import Callable
from threading import RLock
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lecture_vae.models import PIXELS, SIDE, VAE, Autoencoder, Model
from lecture_vae.registry import Registry

__all__ = [
    "MODELS",
    "AffineVAE",
    "ConvAE",
    "ConvVAE",
    "LinearAE",
    "LinearVAE",
    "build_model",
    "default_objective",
    "register",
]


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


class LinearAE(Autoencoder):
    """Autoencoder of fully connected layers, 1024-128-64-32-d-32-64-128-1024, with ReLUs.

    Args:
        latent_dim: d, at least 1 (else a ValueError).
    Examples:
        >>> sum(weight.numel() for weight in LinearAE(latent_dim=2).parameters())
        284226
    """

    def __init__(self, latent_dim: int = 2):
        _check_positive("latent_dim", latent_dim)
        super().__init__(
            encoder=nn.Sequential(*_linear_encoder(), nn.ReLU(), nn.Linear(32, latent_dim)),
            decoder=_linear_decoder(latent_dim),
            latent_shape=(latent_dim,),
        )


class LinearVAE(VAE):
    """VAE of fully connected layers: trunk 1024-128-64-32, two heads, decoder d-32-64-128-1024.

    As in the original lecture there is no ReLU between the layer of 32 units and the heads, where
    :class:`LinearAE` has one, so that this layer and each head compose to one affine map. The
    "linear VAE" of Lucas et al. (2019) is another model, :class:`AffineVAE`.

    Args:
        latent_dim: d, at least 1 (else a ValueError).
    Examples:
        >>> q = LinearVAE(latent_dim=3).encode(torch.zeros(5, 1, 32, 32))
        >>> q.mu.shape, q.log_var.shape
        (torch.Size([5, 3]), torch.Size([5, 3]))
    """

    def __init__(self, latent_dim: int = 2):
        _check_positive("latent_dim", latent_dim)
        super().__init__(
            trunk=nn.Sequential(*_linear_encoder()),
            to_mu=nn.Linear(32, latent_dim),
            to_log_var=nn.Linear(32, latent_dim),
            decoder=_linear_decoder(latent_dim),
            latent_shape=(latent_dim,),
        )


class ConvAE(Autoencoder):
    """Convolutional autoencoder; images of 32, 15, 8 and 4 pixels, then 9, 17 and 32.

    Args:
        latent_channels: Feature maps of the code, each 4 x 4; at least 1 (else a ValueError).
    Examples:
        >>> ConvAE(latent_channels=4).encode(torch.zeros(5, 1, 32, 32)).code.shape
        torch.Size([5, 4, 4, 4])
    """

    def __init__(self, latent_channels: int = 4):
        _check_positive("latent_channels", latent_channels)
        super().__init__(
            encoder=_conv_encoder(latent_channels),
            decoder=_conv_decoder(latent_channels),
            latent_shape=(latent_channels, 4, 4),
        )


class ConvVAE(VAE):
    """Convolutional VAE: :class:`ConvAE` with two 3 x 3 convolutions as heads.

    Args:
        latent_channels: Feature maps of mu and of log_var; at least 1 (else a ValueError).
    Examples:
        >>> ConvVAE().decode(torch.zeros(5, 4, 4, 4)).shape
        torch.Size([5, 1, 32, 32])
    """

    def __init__(self, latent_channels: int = 4):
        _check_positive("latent_channels", latent_channels)
        # The order decides the weights: each layer draws its own when it is built.
        super().__init__(
            trunk=_conv_encoder(latent_channels),
            to_mu=nn.Conv2d(latent_channels, latent_channels, kernel_size=3, padding="same"),
            to_log_var=nn.Conv2d(latent_channels, latent_channels, kernel_size=3, padding="same"),
            decoder=_conv_decoder(latent_channels),
            latent_shape=(latent_channels, 4, 4),
        )


class Constant(nn.Module):
    """A learned vector, the same for every image of a batch."""

    def __init__(self, size: int):
        super().__init__()
        self.value = nn.Parameter(torch.zeros(size))

    def forward(self, features: Float[Tensor, "B ..."]) -> Float[Tensor, "B size"]:
        return self.value.expand(len(features), -1)


class AffineVAE(VAE):
    """The linear VAE of Lucas, Tucker, Grosse & Norouzi (2019), arXiv:1911.02469, section 3.

    Encoder and decoder are affine: p(x | z) = N(W z + b, v I), not restricted to [0, 1], and
    q(z | x) = N(W_mu x + b_mu, diag exp(log_var)) with the same log_var for every image. At its
    optimum it is probabilistic PCA (Tipping & Bishop, 1999).

    Args:
        latent_dim: d, at least 1 (else a ValueError).
    Examples:
        >>> AffineVAE().encode(torch.zeros(2, 1, 32, 32)).log_var
        tensor([[0., 0.],
                [0., 0.]], grad_fn=<ExpandBackward0>)
    """

    def __init__(self, latent_dim: int = 2):
        _check_positive("latent_dim", latent_dim)
        super().__init__(
            trunk=nn.Flatten(),
            to_mu=nn.Linear(PIXELS, latent_dim),
            to_log_var=Constant(latent_dim),
            decoder=nn.Sequential(nn.Linear(latent_dim, PIXELS), nn.Unflatten(1, (1, SIDE, SIDE))),
            latent_shape=(latent_dim,),
        )


MODELS: Registry[Model] = Registry("model")
_OBJECTIVE: dict[str, str] = {}  # model -> name of its default objective


def register(name: str, build: Callable[..., Model], *, objective: str = "negative-elbo") -> None:
    """Register a model, so that its runs can be stored and the command line can train it.

    Args:
        name: As in ``lecture-vae train NAME``, with hyphens.
        build: The class, or a function of plain keywords, that returns the model.
        objective: Name of the model's default objective.

    Raises:
        ValueError: If another model has the name.

    Examples:
        >>> register("linear-vae", ConvVAE)
        Traceback (most recent call last):
        ...
        ValueError: the model 'linear-vae' is already lecture_vae.networks.LinearVAE. ...
    """
    MODELS.register(name, build)
    _OBJECTIVE[name] = objective


def default_objective(name: str) -> str:
    """The name of the objective that a registered model is trained with by default.

    Raises:
        KeyError: If there is no model of that name.

    Examples:
        >>> default_objective("conv-ae")
        'squared-error'
    """
    return _OBJECTIVE[name]


register("linear-ae", LinearAE, objective="squared-error")
register("linear-vae", LinearVAE)
register("conv-ae", ConvAE, objective="squared-error")
register("conv-vae", ConvVAE)
register("affine-vae", AffineVAE)


_DRAWING = RLock()  # a model may build another one


def build_model(name: str, *, seed: int = 0, **keywords: Any) -> Model:
    """Build a model with weights drawn from ``seed``; torch's global generator is not changed.

    Args:
        name: A key of :data:`MODELS`.
        seed: The same seed gives the same weights.
        **keywords: Passed to the model: ``latent_dim`` (linear) or ``latent_channels``.

    Raises:
        ValueError: If there is no model of that name.
        TypeError: If what is built is not a :class:`~lecture_vae.models.Model`.

    Examples:
        >>> model, same = build_model("linear-ae", seed=1), build_model("linear-ae", seed=1)
        >>> z = torch.zeros(1, 2)
        >>> torch.equal(model.decode(z), same.decode(z))
        True
    """
    if name not in MODELS:
        raise ValueError(
            f"there is no model {name!r}; the models are {', '.join(MODELS)}. Is the file that "
            "registers it not imported yet (on the command line: --import FILE.py)?"
        )
    # Layers draw from torch's one global generator, which another thread may be seeding as well.
    with _DRAWING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MODELS[name](**keywords)
    wanted = ("encode", "decode", "latent_shape", "noise_shape")
    missing = [member for member in wanted if not hasattr(model, member)]
    if missing or not isinstance(model, nn.Module):
        raise TypeError(
            f"a model is an nn.Module with {', '.join(wanted)}; what {name!r} builds, a "
            f"{type(model).__name__}, "
            + (f"lacks {', '.join(missing)}." if missing else "is no nn.Module.")
        )
    return model
