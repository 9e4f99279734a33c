"""Engine: whether a training runs in native kernels or in PyTorch.

``auto`` takes the kernels wherever they can do the work. One line in the log of ``lecture_vae``
(level INFO) says which engine runs and, for torch, why.
"""

import logging
import os

import torch

from lecture_vae.losses import Objective
from lecture_vae.models import Model
from lecture_vae.native.build import FAMILIES, NotNativeError, vector_family
from lecture_vae.native.plan import Plan

__all__ = ["ENGINES", "engine_names", "plan_for"]

ENGINES = ("auto", "torch", "native")

log = logging.getLogger("lecture_vae")


def plan_for(
    model: Model, objective: Objective, batch_size: int, device: torch.device, engine: str = "auto"
) -> Plan | None:
    """The kernels that train a model, or None if PyTorch trains it.

    Args:
        model: Anywhere.
        objective: What to minimize.
        batch_size: B.
        device: Where it is to be trained.
        engine: ``"torch"``; ``"native"``; or ``"auto"``, which is what the environment variable
            LECTURE_VAE_ENGINE says, and if it is not set, native where that is possible.

    Raises:
        NotNativeError: If native is asked for and is not possible; the message says why.
        ValueError: If there is no such engine.

    Examples:
        >>> model, cpu = build_model("linear-vae"), torch.device("cpu")
        >>> plan_for(model, NegativeELBO(), 64, cpu, engine="torch") is None
        True
    """
    wanted = _wanted(engine)
    if wanted == "torch":
        return None
    try:
        if device.type != "cpu":
            raise NotNativeError(f"the kernels run on a CPU, not on {device.type}")
        plan = Plan(model, objective, batch_size)
    except NotNativeError as error:
        if wanted == "native":
            raise NotNativeError(f"native training is not possible: {error}.") from error
        log.info("%s is trained in PyTorch: %s", type(model).__name__, error)
        return None
    if wanted == "auto":
        log.info("%s is trained in native kernels (%s)", type(model).__name__, plan.engine)
    return plan


def engine_names(engine: str, device: torch.device) -> list[str]:
    """The names, in a recipe, of the engines whose runs answer a request; the preferred one first.

    Args:
        engine: As for :func:`plan_for`.
        device: As for :func:`plan_for`.

    Raises:
        ValueError: If there is no such engine.

    Examples:
        >>> engine_names("torch", torch.device("cpu"))
        ['torch']
    """
    wanted, own = _wanted(engine), vector_family()
    native = [f"native-{family}" for family in sorted(FAMILIES, key=lambda each: each != own)]
    if device.type != "cpu" or wanted == "torch":
        return ["torch"]
    return native if wanted == "native" else [native[0], "torch", *native[1:]]


def _wanted(engine: str) -> str:
    if engine == "auto":
        engine = os.environ.get("LECTURE_VAE_ENGINE") or "auto"
    if engine not in ENGINES:
        raise ValueError(f"an engine is {', '.join(ENGINES)}, got {engine!r}.")
    return engine
