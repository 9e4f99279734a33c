"""What the experiments measure of a run, and the budgets that they share."""

from typing import Any

import torch

from lecture_vae import ImageData, NegativeELBO, Run, active_units, evaluate, kl_per_latent

__all__ = ["CONV_STEPS", "DIGITS_STEPS", "LINEAR_STEPS", "SEEDS", "Rows", "every", "measured"]

SEEDS = 0, 1, 2
LINEAR_STEPS, CONV_STEPS, DIGITS_STEPS = 25_000, 30_000, 3_000  # the first two as the original
Rows = list[dict[str, Any]]


def every(steps: int) -> int:
    """Updates between evaluations: as in lecture_config, so that runs are shared."""
    return 100 if steps == DIGITS_STEPS else 250


def measured(run: Run, data: ImageData) -> dict[str, Any]:
    """The terms of a run on the test set, and what identifies it.

    Returns:
        ``squared_error`` S and, for a VAE, ``kl`` in nats, ``kl_shares`` (of each latent, or of
        each channel of a cube), the numbers of ``active`` latents and ``collapsed_channels``, and
        ``loss`` S + w KL in loss units, with one sample of z for each image;
        ``squared_error_at_mean`` is S at z = mu.
    """
    objective, images = run.spec.objective, data.test.images
    sampled = evaluate(run.model, objective, images)
    at_mean = evaluate(run.model, objective, images, seed=None)
    row: dict[str, Any] = {
        "seed": run.spec.config.seed,
        "parameters": sum(weight.numel() for weight in run.model.parameters()),
        "squared_error": sampled.terms["squared_error"],
        "squared_error_at_mean": at_mean.terms["squared_error"],
        "loss": sampled.loss,
        "key": run.key,
        "engine": run.engine,
    }
    if isinstance(objective, NegativeELBO):
        with torch.inference_mode():
            q: Any = run.model.encode(images)
        channels = q.mu.shape[1]
        active = active_units(q.mu).view(channels, -1)
        row |= {"kl_weight": objective.kl_weight, "kl": sampled.terms["kl"]}
        row |= {"active": int(active.sum())}
        row |= {"collapsed_channels": channels - int(active.any(dim=1).sum())}
        if channels < 64:  # as many single shares would say little
            shares = kl_per_latent(q.mu, q.log_var).view(channels, -1).sum(dim=1)
            row["kl_shares"] = sorted(shares.tolist(), reverse=True)
    return row
