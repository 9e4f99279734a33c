"""Training: a model, an objective and images go in; the model comes out trained, with its history.

Nothing here plots, stores or chooses a model, or asks what kind it is: the objective calls the
model, and one loop trains every pair that fits together. What wants to watch the training (the run
store, a lecture) passes ``on_evaluate``.

The random numbers come from :mod:`lecture_vae.randomness`: evaluating more often changes nothing,
and a resumed run ends where the uninterrupted one would have.
"""

import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from lecture_vae.data import ImageData
from lecture_vae.evaluation import evaluate
from lecture_vae.losses import Objective
from lecture_vae.models import Model
from lecture_vae.randomness import batches, noise

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Checkpoint",
    "History",
    "TrainConfig",
    "pick_device",
    "progress_bar",
    "storable_codes",
    "train",
]

LATENT_BYTES = 65_536  # kept of the codes of one evaluation: 16,384 of two dimensions


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained.

    Raises:
        ValueError: If a value makes no sense; the message names the field.
    """

    steps: int = 3_000  # optimizer updates
    batch_size: int = 64  # images per update
    lr: float = 5e-4  # Adam's step size
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


@dataclass
class History:
    """One row and one array of codes for every evaluation.

    ``rows[k]`` has ``step``; ``test_*`` for each term of the objective and ``loss``, with sampled
    latents from a generator that is the same at every evaluation; ``train_*``, the means over the
    steps since the evaluation before (absent at step 0). Each is in the unit of its term.
    ``latents[k]`` is [n, d]: the ``code`` of the first n test images, flattened, in float16, or in
    int32 where codes are whole numbers; n is as large as 64 KiB hold.
    """

    rows: list[dict[str, float | int]] = field(default_factory=list)
    latents: list[np.ndarray] = field(default_factory=list)
    seconds: float = 0.0  # spent training and evaluating

    @property
    def steps(self) -> list[int]:
        """The step of each evaluation."""
        return [int(row["step"]) for row in self.rows]

    def frame(self) -> "pd.DataFrame":
        """The rows as a table; ``train_*`` is NaN at step 0."""
        import pandas as pd

        return pd.DataFrame(self.rows, columns=list(self.rows[-1])).astype({"step": int})


class Checkpoint(NamedTuple):
    """All that going on from an evaluation needs; the tensors are live, so copy or save at once."""

    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    history: History


def train(
    model: Model,
    objective: Objective,
    data: ImageData,
    config: TrainConfig,
    *,
    device: str = "auto",
    resume: Checkpoint | None = None,
    on_evaluate: Callable[[Checkpoint], None] | None = None,
) -> History:
    """Train ``model`` in place with Adam; evaluate at step 0, every ``eval_every`` and at the end.

    Args:
        model: Anything that :class:`~lecture_vae.models.Model` describes; it is left on the device
            it was trained on, in eval mode.
        objective: What to minimize: ``SquaredError()``, ``NegativeELBO(kl_weight)``, or your own
            :class:`~lecture_vae.losses.Objective`.
        data: Training and test images; they move to the device once.
        config: Steps, batch size, step size, evaluations, seed.
        device: ``"cpu"``, ``"cuda"``, ``"mps"``, or ``"auto"`` for the best there is.
        resume: Go on from here; the result is bit for bit that of a run never interrupted.
        on_evaluate: Called after each evaluation.

    Raises:
        FloatingPointError: If a loss is not finite, naming the step, the term and likely causes.
    """
    on = pick_device(device)
    model.to(on)
    train_images, test_images = data.train.images.to(on), data.test.images.to(on)
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

    with _one_thread(on), progress_bar(config.steps, unit="step", initial=done) as bar:
        for stop in _evaluation_steps(config, after=history.steps):
            clock = time.perf_counter()
            model.train()
            log = []  # the terms and the loss of each step
            for step in range(done + 1, stop + 1):
                x = objective.inputs(train_images[next(indices).to(on)], config.seed, step)
                terms = objective.terms(model, x, next(epsilons).to(on))
                loss = objective.loss(terms, step)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                means = [values.detach().sum() / len(values) for values in terms.values()]
                log.append(torch.stack([*means, loss.detach()]))
            row = _means(log, names=[*terms, "loss"], first=done + 1) if log else {}
            test = evaluate(model, objective, test_images, seed=config.seed, step=stop)
            test_row = {f"test_{name}": value for name, value in test.terms.items()}
            history.rows.append({"step": stop, **row, **test_row, "test_loss": test.loss})
            history.latents.append(_kept_codes(test.code))
            history.seconds += time.perf_counter() - clock
            bar.update(stop - done)
            bar.set_postfix(test_loss=f"{test.loss:.2f}")
            done = stop
            if on_evaluate is not None:
                on_evaluate(Checkpoint(model.state_dict(), optimizer.state_dict(), history))
    model.eval()
    return history


def pick_device(device: str = "auto") -> torch.device:
    """``"auto"`` becomes CUDA, else Apple's MPS, else the CPU; another name is taken as it is.

    Raises:
        ValueError: If there is no such device on this machine, or torch was built without it.
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
    """Mean of each column; refuses a value that is not finite, naming its step."""
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


def storable_codes(code: Shaped[Tensor, "N ..."]) -> Shaped[Tensor, "N d"]:
    """Codes, flattened, as a run keeps them: float16, or int32 where they are whole numbers."""
    flat = code.reshape(len(code), -1)
    return flat.half() if flat.is_floating_point() else flat.int()


def _kept_codes(code: Tensor) -> np.ndarray:
    flat = storable_codes(code)
    kept = max(1, LATENT_BYTES // (flat.element_size() * flat.shape[1]))
    return flat[:kept].numpy()


@contextmanager
def _one_thread(device: torch.device) -> Iterator[None]:
    """Train on one core of a CPU.

    A second thread gains little on matrices this small, two runs side by side gain twice; and a sum
    taken by one thread has the same last digit on a laptop and on a server.
    """
    before = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def progress_bar(total: int, *, unit: str, initial: int = 0) -> Any:
    """A tqdm bar; quiet where CI or TQDM_DISABLE is set, because there nobody watches."""
    with warnings.catch_warnings():
        # Without ipywidgets tqdm.auto warns, and then draws a text bar, which is fine.
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm
    quiet = bool(os.environ.get("CI") or os.environ.get("TQDM_DISABLE"))
    return tqdm(total=total, initial=initial, unit=unit, disable=quiet)
