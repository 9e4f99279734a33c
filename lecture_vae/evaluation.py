"""Evaluation: the terms and the loss of a model on a set of images."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from lecture_vae.distributions import Posterior
from lecture_vae.losses import Objective, Terms
from lecture_vae.models import Model
from lecture_vae.native.plan import Plan
from lecture_vae.randomness import evaluation_noise

__all__ = ["TRAINED", "Evaluation", "evaluate"]

EVALUATION_BATCH = 250  # images; the convolutional models are faster than with 1,000
TRAINED = sys.maxsize  # the step at which an objective's warm-up, however long, is over


class Evaluation(NamedTuple):
    """Terms, loss and codes of a model on a set of images.

    Examples:
        >>> x = torch.zeros(3, 1, 32, 32)
        >>> evaluation = evaluate(build_model("linear-vae"), NegativeELBO(), x)
        >>> sorted(evaluation.terms), evaluation.code.shape
        (['kl', 'squared_error'], torch.Size([3, 2]))
    """

    terms: dict[str, float]  # mean of each term over the images; [N, d] is summed over d first
    loss: float  # the objective's loss of all images
    code: Shaped[Tensor, "N ..."]  # of each image, the mean of q(z | x) for a VAE; on the CPU


def evaluate(
    model: Model,
    objective: Objective,
    images: Float[Tensor, "N 1 32 32"],
    *,
    seed: int | None = 0,
    step: int = TRAINED,
    plan: Plan | None = None,
) -> Evaluation:
    """The terms and the loss of ``images`` as one batch, in eval mode; the mode is restored.

    Args:
        model: Trained or not.
        objective: Its loss is computed once, in float64, from the terms of all images.
        images: N gray images in [0, 1], on any device.
        seed: Of the noise, the same in every call. None means no noise: z = mu.
        step: The training step, for an objective with a warm-up; by default the warm-up is over.
        plan: Of this model and objective, to compute the terms in native kernels.

    Returns:
        Each term in its own unit, the loss in the objective's.

    Examples:
        >>> model, x = build_model("linear-ae"), torch.ones(3, 1, 32, 32)
        >>> loss = evaluate(model, SquaredError(), x).loss
        >>> x_hat = model.decode(model.encode(x).code)
        >>> abs(loss - squared_error(x, x_hat).mean().item()) < 1e-3
        True
    """
    shape = (len(images), objective.samples, *model.noise_shape)
    eps = torch.zeros(shape) if seed is None else evaluation_noise(shape, seed)
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        if plan is None:
            images = objective.inputs(images, 0 if seed is None else seed, 0)
            per_image, code = _in_torch(model, objective, images, eps)
        else:
            per_image, code = plan.evaluate(images, eps)
        terms = {name: values.double() for name, values in per_image.items()}
        loss = objective.loss(terms, step).item()
    model.train(was_training)
    means = {name: (values.sum() / len(values)).item() for name, values in terms.items()}
    return Evaluation(means, loss, code)


def _in_torch(
    model: Model, objective: Objective, images: Tensor, eps: Tensor
) -> tuple[Terms, Tensor]:
    """The terms and the codes of all images, on the CPU."""
    on = next(model.parameters()).device
    terms: dict[str, list[Tensor]] = {}
    codes = []
    for x, e in zip(images.split(EVALUATION_BATCH), eps.split(EVALUATION_BATCH), strict=True):
        x = x.to(on)
        with _recorded_posteriors(model) as recorded:
            for name, values in objective.terms(model, x, e.to(on)).items():
                terms.setdefault(name, []).append(values.cpu())
        q = next((q for images_, q in recorded if images_ is x), None) or model.encode(x)
        codes.append(q.code.cpu())
    return {name: torch.cat(values) for name, values in terms.items()}, torch.cat(codes)


@contextmanager
def _recorded_posteriors(model: Model) -> Iterator[list[tuple[Tensor, Posterior]]]:
    """Record the encoder's inputs and outputs while an objective calls the model.

    Encoding again to get the codes would make an evaluation a third slower.
    """
    recorded: list[tuple[Tensor, Posterior]] = []
    encode = model.encode

    def encode_and_record(x: Tensor) -> Posterior:
        recorded.append((x, encode(x)))
        return recorded[-1][1]

    model.encode = encode_and_record  # type: ignore[method-assign]
    try:
        yield recorded
    finally:
        del model.encode
