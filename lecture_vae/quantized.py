"""Quantized: a VQ-VAE, whose latents come from a finite list, and its objective.

van den Oord, Vinyals & Kavukcuoglu (2017), arXiv:1711.00937; chapter 10. The encoder gives a vector
at each of the d positions of a grid, and each vector is replaced by the nearest of M vectors, the
*codebook*. Nothing else passes to the decoder, so the d numbers of these vectors, the *codes*, are
all that is said about an image.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lecture_vae.likelihoods import squared_error
from lecture_vae.losses import Objective, Terms, register_objective
from lecture_vae.models import AEOutput, Model, _check_images, _WithDecoder
from lecture_vae.networks import _check_positive, _conv_decoder, _conv_encoder, register

__all__ = ["VQVAE", "Quantized", "QuantizedError", "perplexity"]

Images = Float[Tensor, "B 1 32 32"]
Codes = Int[Tensor, "B height width"]
Vectors = Float[Tensor, "B channels height width"]


class Quantized(NamedTuple):
    """What the encoder of a VQ-VAE returns: a whole number at each position of a grid.

    Args:
        code: Numbers of the code vectors, 0 to M - 1.
        encoded: What the encoder gave, before it was quantized.
        quantized: The nearest vectors of the codebook: ``codebook[code]``.
        entries: M, the length of the codebook.

    Examples:
        >>> q = VQVAE(entries=8).encode(torch.zeros(5, 1, 32, 32))
        >>> q.code.shape, q.sample().shape
        (torch.Size([5, 4, 4]), torch.Size([5, 4, 4, 4]))
    """

    code: Codes
    encoded: Vectors
    quantized: Vectors
    entries: int

    def sample(self, eps: Any = None) -> Vectors:
        """The code vectors; ``eps`` is ignored, since nothing is drawn.

        The straight-through estimator, equation eq-codes-straight-through of chapter 10: values of
        ``quantized``, and a gradient that arrives at ``encoded`` unchanged.
        """
        return self.encoded + (self.quantized - self.encoded).detach()

    def kl(self) -> Float[Tensor, " B"]:
        """KL( q(c | x) || p(c) ) to the uniform prior over all grids: d log M, in nats.

        It is the same for every image: q(c | x) is one grid with certainty. Equation eq-codes-kl of
        chapter 10.

        Examples:
            >>> VQVAE(entries=8).encode(torch.zeros(1, 1, 32, 32)).kl()  # 48 bits: 48 log 2
            tensor([33.2711])
        """
        positions = self.code[0].numel()
        return self.encoded.new_full((len(self.code),), positions * math.log(self.entries))


class VQVAE(_WithDecoder):
    """Convolutional VQ-VAE: the trunk and decoder of ``ConvVAE``, and a codebook between them.

    One head, a 3 x 3 convolution, gives a vector at each of the 4 x 4 positions. A batch
    normalization without scale and shift keeps its numbers where the code vectors begin, which are
    drawn from N(0, I).

    Args:
        entries: M, the length of the codebook; at least 2 (else a ValueError).
        latent_channels: Numbers in each code vector; at least 1 (else a ValueError).

    Examples:
        >>> model = VQVAE(entries=8)
        >>> model.codebook.shape
        torch.Size([8, 4])
        >>> model.decode(model.vectors(torch.zeros(5, 4, 4, dtype=torch.int64))).shape
        torch.Size([5, 1, 32, 32])
    """

    def __init__(self, entries: int = 8, latent_channels: int = 4):
        _check_positive("latent_channels", latent_channels)
        if entries < 2:
            raise ValueError(f"entries must be at least 2, got {entries}: one code says nothing.")
        super().__init__()
        self.latent_shape: tuple[int, ...] = (latent_channels, 4, 4)
        self.noise_shape: tuple[int, ...] = ()
        self.trunk = _conv_encoder(latent_channels)
        self.to_code = nn.Sequential(
            nn.Conv2d(latent_channels, latent_channels, kernel_size=3, padding="same", bias=False),
            nn.BatchNorm2d(latent_channels, affine=False),
        )
        self.codebook = nn.Parameter(torch.randn(entries, latent_channels))
        self.decoder = _conv_decoder(latent_channels)

    def encode(self, x: Images) -> Quantized:
        """The codes of images: at each position the number of the nearest code vector.

        Equation eq-def-codes-nearest of chapter 10.

        Args:
            x: Images, [B, 1, 32, 32].

        Raises:
            ValueError: If x has another shape.
        """
        _check_images(x)
        encoded = self.to_code(self.trunk(x))
        at_positions = encoded.detach().movedim(1, -1)  # [B, 4, 4, channels]
        distances = torch.cdist(
            at_positions.flatten(0, 2),
            self.codebook.detach(),
            compute_mode="donot_use_mm_for_euclid_dist",  # which is exact
        )
        code = distances.argmin(dim=1).view(at_positions.shape[:-1])
        return Quantized(code, encoded, self.vectors(code), len(self.codebook))

    def vectors(self, code: Codes) -> Vectors:
        """The code vectors of a grid of codes, which the decoder takes.

        Args:
            code: Whole numbers from 0 to M - 1, [B, 4, 4].

        Returns:
            [B, latent_channels, 4, 4].
        """
        return self.codebook[code].movedim(-1, 1)

    def forward(self, x: Images, eps: Tensor | None = None) -> AEOutput:
        """Encode, quantize and decode images [B, 1, 32, 32]; ``eps`` is ignored."""
        z = self.encode(x).sample()
        return AEOutput(self.decode(z), z)


@dataclass(frozen=True)
class QuantizedError(Objective):
    """Objective of a VQ-VAE: squared error + codebook term + ``commitment`` * commitment term.

    Equation eq-def-codes-loss of chapter 10; van den Oord et al. (2017), equation 3. Both terms are
    the squared distance of the encoder's vectors to their code vectors. The codebook term moves the
    code vectors only, the commitment term the encoder only.

    Args:
        commitment: gamma, 0 or more.

    Raises:
        ValueError: If ``commitment`` is negative or not finite.

    Examples:
        >>> terms = {"squared_error": 20.0, "codebook": 4.0, "commitment": 4.0}
        >>> terms = {name: torch.tensor([value]) for name, value in terms.items()}
        >>> QuantizedError(commitment=0.25).loss(terms, step=1)  # 20 + 4 + 4 / 4
        tensor(25.)
    """

    commitment: float = 0.25

    def __post_init__(self) -> None:
        if not (math.isfinite(self.commitment) and self.commitment >= 0):
            raise ValueError(f"commitment must be a finite number >= 0, got {self.commitment}.")
        object.__setattr__(self, "commitment", float(self.commitment))  # 1 and 1.0 are one run

    def terms(self, model: Model, x: Tensor, eps: Tensor) -> Terms:
        """``squared_error`` in squared gray levels, ``codebook`` and ``commitment``; each [B].

        Raises:
            TypeError: If the model has no codebook.
        """
        q: Any = model.encode(x)
        if not hasattr(q, "quantized"):
            raise TypeError(
                f"a codebook term needs quantized vectors, and what {type(model).__name__}.encode "
                "returns has none. Take a VQ-VAE."
            )
        return {
            "squared_error": squared_error(x, model.decode(q.sample())),
            "codebook": (q.encoded.detach() - q.quantized).square().flatten(1).sum(dim=1),
            "commitment": (q.encoded - q.quantized.detach()).square().flatten(1).sum(dim=1),
        }

    def loss(self, terms: Terms, step: int) -> Tensor:
        """The mean of the weighted sum, in squared gray levels."""
        total = terms["squared_error"] + terms["codebook"] + self.commitment * terms["commitment"]
        return total.mean()


def perplexity(codes: Int[Tensor, "..."]) -> float:
    """How many code vectors are in effect in use: exp of the entropy of their frequencies.

    Equation eq-def-perplexity of chapter 7. It is M if all M are used equally often, 1 if all codes
    are the same.

    Args:
        codes: Whole numbers, 0 or more, of any shape, such as ``run.code``.

    Raises:
        ValueError: If there are no codes.

    Examples:
        >>> round(perplexity(torch.tensor([0, 1, 2, 2, 1, 0])), 6)
        3.0
    """
    if codes.numel() == 0:
        raise ValueError("the perplexity of codes needs at least one, got none.")
    shares = torch.bincount(codes.flatten().long()).double() / codes.numel()
    return math.exp(torch.special.entr(shares).sum().item())


register_objective("quantized-error", QuantizedError)
register("vq-vae", VQVAE, objective="quantized-error")
