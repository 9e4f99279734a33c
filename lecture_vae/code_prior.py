"""Code prior: a distribution of the codes of a VQ-VAE, one position after the other.

p(c) = p(c_1) p(c_2 | c_1) ... p(c_d | c_1, ..., c_{d-1}), equation eq-codes-autoregressive of
chapter 10. Each factor is a softmax, so p sums to 1 over all M^d grids, and log p(c) is exact.
"""

import math
from itertools import islice

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from lecture_vae.randomness import batches

__all__ = ["CodePrior", "fit_code_prior"]

Codes = Int[Tensor, "B positions"]


class CodePrior(nn.Module):
    """An autoregressive distribution of d codes, each from 0 to M - 1.

    For every position a small network of its own, with one hidden layer, reads the codes before it.
    A mask hides the others.

    Args:
        positions: d, the number of codes of an image.
        entries: M, the length of the codebook.
        hidden: Hidden units for each position.

    Raises:
        ValueError: If one of them is below 1.

    Examples:
        >>> prior = CodePrior(positions=16, entries=8)
        >>> prior.log_prob(torch.zeros(5, 16, dtype=torch.int64)).shape
        torch.Size([5])
    """

    mask: Tensor

    def __init__(self, positions: int, entries: int, hidden: int = 16):
        if min(positions, entries, hidden) < 1:
            raise ValueError(
                f"positions, entries and hidden must be at least 1, got {positions}, {entries} and "
                f"{hidden}."
            )
        super().__init__()
        self.entries = entries
        self.read = nn.Parameter(torch.randn(positions, entries, positions, hidden) * 0.1)
        self.bias = nn.Parameter(torch.zeros(positions, hidden))
        self.write = nn.Parameter(torch.randn(positions, hidden, entries) / math.sqrt(hidden))
        self.level = nn.Parameter(torch.zeros(positions, entries))
        earlier = torch.ones(positions, positions).triu(diagonal=1)  # row i is read by column j > i
        self.register_buffer("mask", earlier[:, None, :, None], persistent=False)

    def logits(self, codes: Codes) -> Float[Tensor, "B positions entries"]:
        """Unnormalized log-probabilities of each code, given the codes before it.

        Args:
            codes: [B, d], whole numbers from 0 to M - 1; flatten a grid row by row.

        Returns:
            [B, d, M]. Entry j does not depend on the codes from position j on.
        """
        read = one_hot(codes.long(), self.entries).to(self.read.dtype)
        hidden = torch.einsum("bim,imjh->bjh", read, self.read * self.mask) + self.bias
        return torch.einsum("bjh,jhm->bjm", hidden.relu(), self.write) + self.level

    def log_prob(self, codes: Codes) -> Float[Tensor, " B"]:
        """log p(c) of each grid, in nats: the sum of the log-probabilities of its codes.

        Args:
            codes: [B, d].

        Examples:
            >>> prior = CodePrior(positions=2, entries=3)
            >>> grids = torch.cartesian_prod(torch.arange(3), torch.arange(3))  # all nine
            >>> round(prior.log_prob(grids).exp().sum().item(), 4)
            1.0
        """
        costs = cross_entropy(self.logits(codes).movedim(2, 1), codes.long(), reduction="none")
        return -costs.sum(dim=1)

    @torch.no_grad()
    def sample(self, number: int, seed: int = 0) -> Int[Tensor, "number positions"]:
        """Draw grids from p(c), one position after the other.

        Args:
            number: How many.
            seed: The same seed gives the same codes.

        Returns:
            int64, [number, d].

        Examples:
            >>> CodePrior(positions=16, entries=8).sample(5).shape
            torch.Size([5, 16])
        """
        generator = torch.Generator().manual_seed(seed)
        positions = len(self.bias)
        codes = torch.zeros(number, positions, dtype=torch.long)
        for position in range(positions):
            chances = self.logits(codes)[:, position].softmax(dim=1)
            codes[:, position] = torch.multinomial(chances, 1, generator=generator)[:, 0]
        return codes


def fit_code_prior(
    codes: Int[Tensor, "N positions"],
    entries: int,
    *,
    hidden: int = 16,
    steps: int = 1_000,
    batch_size: int = 128,
    lr: float = 1e-2,
    seed: int = 0,
) -> CodePrior:
    """Fit a :class:`CodePrior` to the codes of training images by maximum likelihood, with Adam.

    Args:
        codes: One row for each image; of the training set, so that those of the test set are new.
        entries: M.
        hidden: As for :class:`CodePrior`.
        steps: Updates.
        batch_size: Rows for each update.
        lr: Adam's step size, which falls to 0 in a straight line.
        seed: Of the weights and the order of the rows.

    Returns:
        The prior, in eval mode.

    Raises:
        ValueError: If a code is not from 0 to M - 1.

    Examples:
        >>> codes = torch.tensor([[0, 1], [1, 0]]).repeat(50, 1)  # the second is the other one
        >>> prior = fit_code_prior(codes, entries=2, steps=200)
        >>> prior.log_prob(torch.tensor([[0, 1], [0, 0]])).exp().round(decimals=1)
        tensor([0.5000, 0.0000], grad_fn=<RoundBackward1>)
    """
    if codes.min() < 0 or codes.max() >= entries:
        raise ValueError(
            f"codes are whole numbers from 0 to {entries - 1}, got {int(codes.min())} to "
            f"{int(codes.max())}. Is the codebook longer?"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        prior = CodePrior(codes.shape[1], entries, hidden)
    optimizer = torch.optim.Adam(prior.parameters(), lr=lr)
    order = batches(len(codes), batch_size, seed)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in `train`: the same sums on every number of cores
    try:
        for step, rows in enumerate(islice(order, steps)):
            optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
            loss = -prior.log_prob(codes[rows]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    finally:
        torch.set_num_threads(threads)
    return prior.eval()
