"""Budgets: how long the chapters train their models."""

import os

from lecture_vae.training import TrainConfig

__all__ = ["budget", "lecture_config"]

FULL_STEPS = {"conv-ae": 30_000, "conv-vae": 30_000}  # as the original; 25,000 for all others


def budget() -> str:
    """How long the chapters train: the environment variable LECTURE_VAE_BUDGET.

    Returns:
        ``"quick"``, the default, or ``"full"``; see :func:`lecture_config`.

    Raises:
        ValueError: If the variable has another value.

    Examples:
        >>> budget()
        'quick'
    """
    name = os.environ.get("LECTURE_VAE_BUDGET", "quick")
    if name not in ("quick", "full"):
        raise ValueError(f"LECTURE_VAE_BUDGET must be quick or full, got {name!r}.")
    return name


def lecture_config(model: str, seed: int = 0) -> TrainConfig:
    """The configuration with which the chapters train a model, at the present :func:`budget`.

    Quick: 3,000 steps, evaluated every 100, a few seconds. Full, as in the original lecture: 25,000
    steps, or 30,000 for the convolutional models, evaluated every 250.

    Args:
        model: A name in ``MODELS``.
        seed: Of the weights, the order of the images and the noise.

    Raises:
        ValueError: As :func:`budget`.

    Examples:
        >>> lecture_config("conv-vae").steps
        3000
    """
    if budget() == "quick":
        return TrainConfig(steps=3_000, eval_every=100, seed=seed)
    return TrainConfig(steps=FULL_STEPS.get(model, 25_000), eval_every=250, seed=seed)
