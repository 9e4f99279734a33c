"""The linear VAE in plain torch, for the peers that train torch modules."""

import torch
from torch import Tensor, nn


class VAE(nn.Module):
    """1024-128-64-32, two heads, and back."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Linear(1024, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 32)
        )
        self.to_mu, self.to_log_var = nn.Linear(32, 2), nn.Linear(32, 2)
        self.decoder = nn.Sequential(
            nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 128),
            nn.ReLU(), nn.Linear(128, 1024), nn.Sigmoid(),
        )  # fmt: skip

    def loss(self, x: Tensor) -> Tensor:
        """Squared error + KL, mean over the batch."""
        h = self.trunk(x)
        mu, log_var = self.to_mu(h), self.to_log_var(h)
        x_hat = self.decoder(mu + torch.exp(0.5 * log_var) * torch.randn_like(mu))
        kl = 0.5 * (mu.square() + log_var.exp() - 1 - log_var).sum(dim=1)
        return ((x - x_hat).square().sum(dim=1) + kl).mean()
