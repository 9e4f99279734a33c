"""A VQ-VAE in one file, with public names alone: van den Oord, Vinyals & Kavukcuoglu (2017).

Equation numbers are those of arXiv:1711.00937.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lecture_vae import Objective, register, register_objective, squared_error


class Quantized(NamedTuple):
    """What the encoder says about each image: in each place, which vector of the codebook."""

    code: Tensor  # numbers of the vectors, [B, 4, 4]
    z_e: Tensor  # what the encoder gave, [B, dim, 4, 4]
    z_q: Tensor  # the nearest vectors of the codebook, [B, dim, 4, 4]

    def sample(self, eps=None):
        """The vectors; the gradient of each goes straight through to the encoder (section 3.2)."""
        return self.z_e + (self.z_q - self.z_e).detach()


class VQVAE(nn.Module):
    """A discrete code of 4 x 4 places, each with one of ``entries`` vectors."""

    noise_shape = ()  # encoding draws nothing

    def __init__(self, entries: int = 16, dim: int = 8):
        super().__init__()
        self.latent_shape = (dim, 4, 4)
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 16, kernel_size=4, stride=4),  # 32 -> 8
            nn.ReLU(),
            nn.Conv2d(16, dim, kernel_size=2, stride=2),  # 8 -> 4
        )
        self.codebook = nn.Embedding(entries, dim)
        nn.init.uniform_(self.codebook.weight, -0.2, 0.2)  # near what is encoded at first
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(dim, 16, kernel_size=2, stride=2),  # 4 -> 8
            nn.ReLU(),
            nn.ConvTranspose2d(16, 1, kernel_size=4, stride=4),  # 8 -> 32
            nn.Sigmoid(),
        )

    def encode(self, x):
        z_e = self.encoder(x)
        places = z_e.movedim(1, -1)
        code = torch.cdist(places.flatten(0, 2), self.codebook.weight).argmin(dim=1)
        code = code.view(places.shape[:-1])
        return Quantized(code, z_e, self.codebook(code).movedim(-1, 1))

    def decode(self, z):
        return self.decoder(z)


@dataclass(frozen=True)
class VQ(Objective):
    """Squared error + codebook + commitment, equation 3."""

    commitment: float = 0.25  # beta

    def terms(self, model, x, eps):
        q = model.encode(x)
        return {
            "squared_error": squared_error(x, model.decode(q.sample())),
            "codebook": squared_error(q.z_e.detach(), q.z_q),
            "commitment": squared_error(q.z_e, q.z_q.detach()),
        }

    def loss(self, terms, step):
        total = terms["squared_error"] + terms["codebook"] + self.commitment * terms["commitment"]
        return total.mean()


register("outside-vq-vae", VQVAE, objective="vq")
register_objective("vq", VQ)
