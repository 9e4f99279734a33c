"""Published: a network of the literature, to set its numbers and ours side by side.

Davidson, Falorsi, De Cao, Kipf & Tomczak (2018), arXiv:1804.00891, compare latent spaces of few
dimensions on binarized MNIST, and publish the code of their networks.
"""

from torch import nn

from lecture_vae import VAE, register
from lecture_vae.models import PIXELS, SIDE

__all__ = ["PUBLISHED", "published_vae"]

PUBLISHED = "published-vae"  # the registered name


def published_vae(*, latent_dim: int = 2) -> VAE:
    """The normal VAE of their example, at 32 x 32: 1024-256-128-d-128-256-1024, with ReLUs.

    The encoder gives log sigma^2 where theirs gives sigma, and the padding adds 240 pixels.

    Args:
        latent_dim: d.

    Examples:
        >>> published_vae().decode(torch.zeros(5, 2)).shape
        torch.Size([5, 1, 32, 32])
    """
    return VAE(
        trunk=nn.Sequential(
            nn.Flatten(), nn.Linear(PIXELS, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU()
        ),
        to_mu=nn.Linear(128, latent_dim),
        to_log_var=nn.Linear(128, latent_dim),
        decoder=nn.Sequential(
            nn.Linear(latent_dim, 128),
            nn.ReLU(),
            nn.Linear(128, 256),
            nn.ReLU(),
            nn.Linear(256, PIXELS),
            nn.Sigmoid(),
            nn.Unflatten(1, (1, SIDE, SIDE)),
        ),
        latent_shape=(latent_dim,),
    )


register(PUBLISHED, published_vae)
