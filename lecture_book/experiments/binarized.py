"""Experiment of chapter 9: binarized images, of which nats can be compared with published ones."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lecture_book.experiments.measuring import LINEAR_STEPS, SEEDS, Rows, every
from lecture_book.published import PUBLISHED
from lecture_vae import (
    BernoulliPixels,
    BinarizedELBO,
    ImageData,
    Run,
    RunSpec,
    TrainConfig,
    elbo,
    fetch_runs,
    iwae_bound,
    log_evidence,
)

__all__ = ["MODELS", "Inner", "binarized", "binarized_row"]

# What is said of the network in the table -> registered name.
MODELS = {"linear VAE": "linear-vae", "published network": PUBLISHED}
IMAGES = 2_000  # the first test images
FEW = 500  # of these, for differences, which vary little from image to image
PADDING = 2  # pixels on each side


class Inner(nn.Module):
    """A model of padded images as one of the pixels inside the padding, which it ignores."""

    def __init__(self, model: Any):
        super().__init__()
        self.model, self.latent_shape = model, model.latent_shape

    def decode_logits(self, z: Tensor) -> Tensor:
        """The logits of the inner pixels, [B, 1, 28, 28]."""
        return inner(self.model.decode_logits(z))


def inner(x: Float[Tensor, "B 1 32 32"]) -> Float[Tensor, "B 1 28 28"]:
    """The pixels inside the padding."""
    return x[..., PADDING:-PADDING, PADDING:-PADDING]


def binarized(data: ImageData, steps: int = LINEAR_STEPS, seeds: Sequence[int] = SEEDS) -> Rows:
    """Chapter 9: two networks with two latents each, trained on images binarized at every step."""
    named = [(name, seed) for name in MODELS for seed in seeds]
    specs = []
    for name, seed in named:
        config = TrainConfig(steps=steps, eval_every=every(steps), seed=seed)
        specs.append(RunSpec(MODELS[name], BinarizedELBO(), config))
    runs = fetch_runs(specs, data)
    return [
        {"control": name, **binarized_row(run, data)}
        for (name, _), run in zip(named, runs, strict=True)
    ]


def binarized_row(run: Run, data: ImageData) -> dict[str, Any]:
    """What is measured of a run on test images, binarized once with seed 0; means in nats.

    Returns:
        ``log_evidence`` by quadrature with its mean ``error`` and largest ``edge``, ``elbo``,
        ``iwae_64`` and ``kl``; ``constant``, the log-probability under the training images' mean.
        Of the first images: ``padding``, by how much log p(x) is higher without the padding; and
        ``gray``, by how much it is higher for gray levels in the place of zeros and ones.
    """
    model: Any = run.model
    without_padding: Any = Inner(model)
    pixels = BernoulliPixels()
    x = run.spec.objective.inputs(data.test.images, 0, 0)[:IMAGES]
    found = log_evidence(model, x, likelihood=pixels)
    few = found.log_prob[:FEW]
    gray = log_evidence(model, data.test.images[:FEW], likelihood=pixels).log_prob
    within = log_evidence(without_padding, inner(x[:FEW]), likelihood=pixels).log_prob
    with torch.inference_mode():
        kl = torch.cat([model.encode(images).kl() for images in x.split(1_000)])
    constant = data.train.images.mean(dim=0, keepdim=True).clamp(1e-6, 1 - 1e-6).logit()
    return {
        "seed": run.spec.config.seed,
        "model": run.spec.model,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "images": len(x),
        "log_evidence": found.log_prob.mean().item(),
        "error": found.error.mean().item(),
        "edge": found.edge.max().item(),
        "elbo": elbo(model, x, likelihood=pixels, samples=16).mean().item(),
        "iwae_64": iwae_bound(model, x, likelihood=pixels, samples=64).mean().item(),
        "kl": kl.mean().item(),
        "constant": pixels.log_prob(x, constant.expand_as(x)).mean().item(),
        "padding": (within - few).mean().item(),
        "gray": (gray - few).mean().item(),
        "key": run.key,
        "engine": run.engine,
    }
