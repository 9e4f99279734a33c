"""Training: the training loop and its configuration.

Nothing here plots, stores or chooses a model, or depends on its kind: the objective calls the
model, and one loop trains every compatible pair. A callback, ``on_evaluate``, observes the
training; the run store uses it.

The random numbers come from :mod:`lecture_vae.randomness`: evaluating more often changes no result,
and a resumed run has the same result as one that was not interrupted.
"""

import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from math import isfinite
from threading import current_thread, main_thread
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lecture_vae.data import ImageData
from lecture_vae.evaluation import evaluate
from lecture_vae.history import Checkpoint, History, storable_codes
from lecture_vae.losses import Objective
from lecture_vae.models import Model
from lecture_vae.native.engine import plan_for
from lecture_vae.native.plan import Plan
from lecture_vae.randomness import batches, noise

__all__ = [
    "TrainConfig",
    "pick_device",
    "progress_bar",
    "train",
]

LATENT_BYTES = 65_536  # of codes kept for one evaluation: 16,384 codes of two float16


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained, with Adam: Kingma & Ba (2015), arXiv:1412.6980.

    Raises:
        ValueError: If a value is out of range; the message names the field.

    Examples:
        >>> TrainConfig(steps=500, seed=1)
        TrainConfig(steps=500, batch_size=64, lr=0.0005, eval_every=100, seed=1)
        >>> TrainConfig(steps=0)
        Traceback (most recent call last):
        ...
        ValueError: steps must be a whole number >= 1, got 0.
    """

    steps: int = 3_000  # T, updates of all weights
    batch_size: int = 64  # B, images per update
    lr: float = 5e-4  # eta, Adam's step size
    eval_every: int = 100  # updates between two evaluations on the test set
    seed: int = 0  # of the weights, the order of the images and the noise

    def __post_init__(self) -> None:
        for f in fields(self):
            value, least = getattr(self, f.name), 0 if f.name == "seed" else 1
            if f.name == "lr":
                if not (isfinite(value) and value > 0):
                    raise ValueError(f"lr must be a finite number > 0, got {value}.")
            elif not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{f.name} must be a whole number >= {least}, got {value!r}.")


def train(
    model: Model,
    objective: Objective,
    data: ImageData,
    config: TrainConfig,
    *,
    device: str = "auto",
    engine: str | Plan = "auto",
    resume: Checkpoint | None = None,
    on_evaluate: Callable[[Checkpoint], None] | None = None,
) -> History:
    """Train ``model`` in place with Adam; evaluate at step 0, every ``eval_every`` and at the end.

    Args:
        model: A :class:`~lecture_vae.models.Model`; it is left in eval mode, on the device it was
            trained on.
        objective: What to minimize: ``SquaredError()``, ``NegativeELBO(kl_weight)``, or an
            :class:`~lecture_vae.losses.Objective` of your own.
        data: Training and test images; they are moved to the device once.
        config: Steps, batch size, step size, evaluations, seed.
        device: As for :func:`pick_device`. On a CPU one thread is used.
        engine: ``"torch"``, ``"native"`` (kernels in C, on a CPU) or ``"auto"``: as for
            :func:`~lecture_vae.native.engine.plan_for`, or what that returned for this model.
        resume: Where to continue. With the same engine the result is bit for bit that of an
            uninterrupted training.
        on_evaluate: Called after each evaluation.

    Returns:
        The history, complete even if the training was resumed.

    Raises:
        FloatingPointError: If a loss is not finite; the message names step, term, likely causes.
        ValueError: If there is no such device or engine; a
            :class:`~lecture_vae.native.build.NotNativeError` if native is asked for in vain.

    Examples:
        >>> data, config = load_images("digits"), TrainConfig(steps=4, eval_every=2)
        >>> history = train(build_model("linear-ae"), SquaredError(), data, config, device="cpu")
        >>> history.steps
        [0, 2, 4]
        >>> list(history.rows[-1])[:3]
        ['step', 'train_squared_error', 'train_loss']
        >>> history.latents[-1].shape  # of the 359 test images
        (359, 2)
    """
    on = pick_device(device)
    model.to(on)
    train_images, test_images = (
        split.images.to(on).contiguous() for split in (data.train, data.test)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr, fused=True)
    history = History()
    if resume is not None:
        model.load_state_dict(resume.model)
        optimizer.load_state_dict(resume.optimizer)
        history = resume.history
    done = history.steps[-1] if history.rows else 0
    indices = batches(len(train_images), config.batch_size, config.seed, start=done)
    shape = (config.batch_size, objective.samples, *model.noise_shape)
    epsilons = noise(shape, config.seed, start=done)
    plan: Plan | None
    if isinstance(engine, str):
        plan = plan_for(model, objective, config.batch_size, on, engine)
    else:
        plan = engine

    with _one_thread(on, plan), progress_bar(config.steps, unit="step", initial=done) as bar:
        for stop in _evaluation_steps(config, after=history.steps):
            clock = time.perf_counter()
            model.train()
            log: list[Tensor] = []  # terms and loss of each step
            if plan is not None:
                names = [*plan.terms, "loss"]
                table = plan.steps(train_images, indices, epsilons, stop - done, optimizer)
                log = list(table)
            else:
                for step in range(done + 1, stop + 1):
                    x = objective.inputs(train_images[next(indices).to(on)], config.seed, step)
                    terms = objective.terms(model, x, next(epsilons).to(on))
                    loss = objective.loss(terms, step)
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    names = [*terms, "loss"]
                    means = [values.detach().sum() / len(values) for values in terms.values()]
                    log.append(torch.stack([*means, loss.detach()]))
            row = _means(log, names, first=done + 1) if log else {}
            test = evaluate(model, objective, test_images, seed=config.seed, step=stop, plan=plan)
            test_row = {f"test_{name}": value for name, value in test.terms.items()}
            history.rows.append({"step": stop, **row, **test_row, "test_loss": test.loss})
            history.latents.append(_first_codes(test.code))
            history.code = test.code
            history.seconds += time.perf_counter() - clock
            bar.update(stop - done)
            bar.set_postfix(test_loss=f"{test.loss:.2f}")
            done = stop
            if on_evaluate is not None:
                on_evaluate(Checkpoint(model.state_dict(), optimizer.state_dict(), history))
    model.eval()
    return history


def pick_device(device: str = "auto") -> torch.device:
    """The device to compute on.

    Args:
        device: ``"cpu"``, ``"cuda"``, ``"mps"``, or ``"auto"``: CUDA if there is one, else Apple's
            MPS, else the CPU.

    Raises:
        ValueError: If there is no such device on this machine, or torch was built without it.

    Examples:
        >>> pick_device("cpu")
        device(type='cpu')
    """
    has_cuda, has_mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if device == "auto":
        return torch.device("cuda" if has_cuda else "mps" if has_mps else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"a device is auto, cpu, cuda or mps, got {device!r}.") from error
    if (chosen.type, False) in (("cuda", has_cuda), ("mps", has_mps)):
        raise ValueError(
            f"torch {torch.__version__} finds no {chosen.type} device on this machine. Is the "
            "driver missing, or is it a build of torch for the CPU alone? Use auto or cpu."
        )
    return chosen


def _evaluation_steps(config: TrainConfig, after: list[int]) -> list[int]:
    steps = [*range(0, config.steps, config.eval_every), config.steps]
    return [step for step in steps if not after or step > after[-1]]


def _means(log: list[Tensor], names: list[str], first: int) -> dict[str, float]:
    """Mean of each column; raises if a value is not finite, with its step."""
    table = torch.stack(log).cpu()
    bad = (~table.isfinite()).nonzero()
    if len(bad):
        row, column = bad[0].tolist()
        raise FloatingPointError(
            f"the loss must stay finite, but at step {first + row} {names[column]} is "
            f"{table[row, column].item()}. Likely causes: lr too high, pixels outside [0, 1], or a "
            "log_var so large that exp(log_var) overflows."
        )
    means = table.double().mean(dim=0).tolist()
    return {f"train_{name}": value for name, value in zip(names, means, strict=True)}


def _first_codes(code: Tensor) -> np.ndarray:
    flat = storable_codes(code)
    kept = max(1, LATENT_BYTES // (flat.element_size() * flat.shape[1]))
    return flat[:kept].numpy().copy()  # a view would keep the codes of all images in memory


@contextmanager
def _one_thread(device: torch.device, plan: Plan | None) -> Iterator[None]:
    """Use one thread on a CPU.

    A second thread saves little time on matrices this small; training two runs in parallel saves
    half. And with one thread, sums are rounded in the same way on every number of cores. Native
    kernels use one thread anyway; and several trainings in threads of one process must not change
    a setting that they share.
    """
    if device.type != "cpu" or plan is not None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def progress_bar(total: int, *, unit: str, initial: int = 0) -> Any:
    """A tqdm progress bar; disabled if the environment variable CI or TQDM_DISABLE is set.

    It is disabled outside of the main thread too: several bars would overwrite each other.

    Args:
        total: Units of the whole work.
        unit: The name of one, such as ``"step"``.
        initial: Units that are done already.

    Examples:
        >>> with progress_bar(100, unit="step", initial=40) as bar:
        ...     _ = bar.update(60)
    """
    quiet = bool(os.environ.get("CI") or os.environ.get("TQDM_DISABLE"))
    if quiet or current_thread() is not main_thread():
        from tqdm import tqdm

        return tqdm(disable=True)
    with warnings.catch_warnings():
        # Without ipywidgets tqdm.auto warns and shows a text bar.
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm
    return tqdm(total=total, initial=initial, unit=unit)
