"""A linear-Gaussian model, whose evidence and posterior are known to the last digit."""

import math

import torch
from torch import nn
from torch.distributions import LowRankMultivariateNormal

from lecture_vae.distributions import DiagonalGaussian

VARIANCE = 0.3
PIXELS = 1024


class LinearGaussian(nn.Module):
    """p(x | z) = N(z W + b, v I), orthogonal rows of W or, ``tilted``, not; q is whatever is set.

    Its ``shift`` and ``stretch`` say how far q is from p(z | x): where the rows are orthogonal, 0
    and 1 are the exact posterior. Images of fewer pixels make it fast.
    """

    def __init__(self, latent_dim, shift=0.0, stretch=1.0, tilted=False, side=32):
        super().__init__()
        self.side, pixels = side, side**2
        generator = torch.Generator().manual_seed(latent_dim)
        columns = torch.randn(pixels, latent_dim, generator=generator, dtype=torch.double)
        lengths = torch.tensor([1.5, 0.6], dtype=torch.double)[:latent_dim]
        rows = lengths[:, None] * torch.linalg.qr(columns).Q.T
        if tilted:
            rows = torch.tensor([[0.8, 0.6], [-0.6, 0.8]], dtype=torch.double) @ rows
        self.W = nn.Parameter(rows)
        self.b = nn.Parameter(torch.rand(pixels, generator=generator, dtype=torch.double))
        self.latent_shape = self.noise_shape = (latent_dim,)
        self.shift, self.stretch = shift, stretch

    def encode(self, x):
        precision = 1 + self.W.square().sum(dim=1) / VARIANCE
        mean = (x.flatten(1) - self.b) @ self.W.T / VARIANCE / precision
        log_var = 2 * math.log(self.stretch) - precision.log()
        return DiagonalGaussian(mean + self.shift, log_var.expand_as(mean))

    def decode(self, z):
        return (z @ self.W + self.b).view(-1, 1, self.side, self.side)

    def log_evidence(self, x):
        noise = torch.full((self.side**2,), VARIANCE, dtype=torch.double)
        return LowRankMultivariateNormal(self.b, self.W.T, noise).log_prob(x.flatten(1))

    def elbo(self, x):
        """In closed form: E_q |x - z W - b|^2 is that at the mean and sigma^2 |W|^2 of each row."""
        q = self.encode(x)
        error = (x - self.decode(q.mu)).square().flatten(1).sum(dim=1)
        error = error + q.log_var.exp() @ self.W.square().sum(dim=1)
        log_p = -error / (2 * VARIANCE) - self.side**2 / 2 * math.log(2 * math.pi * VARIANCE)
        return log_p - q.kl()

    def posterior(self, x):
        """p(z | x): its means, one for each image, and its covariance."""
        identity = torch.eye(len(self.W), dtype=torch.double)
        covariance = (identity + self.W @ self.W.T / VARIANCE).inverse()
        return (x.flatten(1) - self.b) @ self.W.T / VARIANCE @ covariance, covariance
