"""The lecture's VAEs in plain torch, for the peers that train torch modules."""

import torch
from torch import Tensor, nn

__all__ = ["VAE"]

SIDE = 32  # pixels


def linear() -> tuple[nn.Module, nn.Module, nn.Module, nn.Module]:
    """1024-128-64-32, two heads, and back."""
    trunk = nn.Sequential(
        nn.Linear(1024, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 32)
    )
    decoder = nn.Sequential(
        nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 128), nn.ReLU(),
        nn.Linear(128, 1024), nn.Sigmoid(),
    )  # fmt: skip
    return trunk, nn.Linear(32, 2), nn.Linear(32, 2), decoder


def convolutional() -> tuple[nn.Module, nn.Module, nn.Module, nn.Module]:
    """Images of 32, 15, 8 and 4 pixels, two heads of 4 channels, then 9, 17 and 32 pixels."""
    trunk = nn.Sequential(
        nn.Unflatten(1, (1, SIDE, SIDE)),
        nn.Conv2d(1, 8, 5, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 4, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
    )  # fmt: skip
    decoder = nn.Sequential(
        nn.Unflatten(1, (4, 4, 4)),
        nn.ConvTranspose2d(4, 16, 3, stride=2, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.ConvTranspose2d(16, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8),
        nn.ReLU(), nn.ConvTranspose2d(8, 1, 2, stride=2, padding=1), nn.Sigmoid(), nn.Flatten(),
    )  # fmt: skip
    heads = [nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Flatten()) for _ in range(2)]
    return trunk, *heads, decoder


class VAE(nn.Module):
    """From images of 1,024 numbers to as many: "linear-vae" or "conv-vae"."""

    def __init__(self, name: str) -> None:
        super().__init__()
        parts = linear() if name == "linear-vae" else convolutional()
        self.trunk, self.to_mu, self.to_log_var, self.decoder = parts

    def loss(self, x: Tensor) -> Tensor:
        """Squared error + KL, mean over the batch."""
        h = self.trunk(x)
        mu, log_var = self.to_mu(h), self.to_log_var(h)
        x_hat = self.decoder(mu + torch.exp(0.5 * log_var) * torch.randn_like(mu))
        kl = 0.5 * (mu.square() + log_var.exp() - 1 - log_var).sum(dim=1)
        return ((x - x_hat).square().sum(dim=1) + kl).mean()
