"""Checkpoints: what is saved while a run is trained.

A checkpoint is the state from which a training is resumed. The decoders of some evaluations are
saved as well, for figures that show how the model changed. Both are safetensors files, and both
only save time: one that is damaged is ignored, with a message on standard error.
"""

import json
import re
from collections.abc import Sequence
from math import ceil
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from lecture_vae.history import Checkpoint, History
from lecture_vae.models import Model
from lecture_vae.storage import say, write_atomically
from lecture_vae.training import TrainConfig

__all__ = [
    "decoder_steps",
    "load_checkpoint",
    "load_decoders",
    "save_checkpoint",
    "save_decoder",
    "stack_latents",
]


def save_checkpoint(path: Path, state: Checkpoint) -> None:
    """Save the state of a training in one file, atomically.

    Raises:
        OSError: If the file cannot be written.

    Examples:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from lecture_vae.history import Checkpoint
        >>> history = History([{"step": 0}], [np.zeros((5, 2), np.float16)])
        >>> optimizer = {"state": {}, "param_groups": []}
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "checkpoint.safetensors"
        ...     save_checkpoint(path, Checkpoint({"bias": torch.ones(2)}, optimizer, history))
        ...     load_checkpoint(path).model
        {'bias': tensor([1., 1.])}
    """
    tensors = {f"model.{name}": value for name, value in state.model.items()}
    for number, moments in state.optimizer["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in moments.items()}
    tensors["latents"] = stack_latents(state.history.latents)
    tensors = {name: value.contiguous().cpu() for name, value in tensors.items()}
    head = {
        "rows": state.history.rows,
        "seconds": state.history.seconds,
        "param_groups": state.optimizer["param_groups"],
    }
    metadata = {"head": json.dumps(head)}
    write_atomically(path, lambda file: save_file(tensors, file, metadata=metadata))


def load_checkpoint(path: Path) -> Checkpoint | None:
    """Load what :func:`save_checkpoint` saved.

    Returns:
        None if the file cannot be read; a message on standard error says why.

    Examples:
        >>> from pathlib import Path
        >>> load_checkpoint(Path("missing.safetensors")) is None
        True
    """
    try:
        tensors = load_file(path)
        with safe_open(path, framework="pt") as file:
            head = json.loads(file.metadata()["head"])
        model: dict[str, Tensor] = {}
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            kind, _, rest = name.partition(".")
            if kind == "model":
                model[rest] = value
            elif kind == "optimizer":
                number, _, moment = rest.partition(".")
                moments.setdefault(int(number), {})[moment] = value
        optimizer = {"state": moments, "param_groups": head["param_groups"]}
        history = History(head["rows"], list(tensors["latents"].numpy()), head["seconds"])
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        say(
            f"the checkpoint {path} cannot be read ({type(error).__name__}: {error}); the run "
            "is trained from the beginning."
        )
        return None
    return Checkpoint(model, optimizer, history)


def decoder_steps(config: TrainConfig) -> set[int]:
    """The steps at which the decoder is saved: 0, and about 1/64, 1/32, ..., 1/2 of all steps.

    They are doubled because a model changes most at the beginning, and rounded up to evaluations.

    Examples:
        >>> sorted(decoder_steps(TrainConfig(steps=6400, eval_every=100)))
        [0, 100, 200, 400, 800, 1600, 3200]
    """
    shares = [config.steps / 2**k for k in range(1, 7)]
    return {0} | {ceil(share / config.eval_every) * config.eval_every for share in shares}


def save_decoder(folder: Path, step: int, model: Model) -> None:
    """Save the child ``decoder`` of a model, if it has one, as decoders/STEP.safetensors.

    Weights are rounded to float16, which suffices for display.

    Raises:
        OSError: If the file cannot be written.

    Examples:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     save_decoder(Path(folder), 100, build_model("linear-ae"))
        ...     list(load_decoders(Path(folder)))
        [100]
    """
    decoder = dict(model.named_children()).get("decoder")
    if decoder is None:
        return
    weights = {
        f"decoder.{name}": (value.half() if value.is_floating_point() else value)
        for name, value in decoder.state_dict().items()
    }
    weights = {name: value.contiguous().cpu() for name, value in weights.items()}
    path = folder / "decoders" / f"{step}.safetensors"
    write_atomically(path, lambda file: save_file(weights, file))


def load_decoders(folder: Path) -> dict[int, dict[str, Tensor]]:
    """The saved decoders of a run's folder: step -> weights, in float16.

    A file that cannot be read is left out, with a message on standard error.

    Examples:
        >>> from pathlib import Path
        >>> load_decoders(Path("missing"))
        {}
    """
    decoders = {}
    for path in (folder / "decoders").glob("*.safetensors"):
        if not re.fullmatch("[0-9]+", path.stem):
            continue  # a temporary file of a killed process, or of a sync program
        try:
            decoders[int(path.stem)] = load_file(path)
        except (OSError, SafetensorError) as error:
            say(f"the decoder {path} cannot be read and is left out ({error}).")
    return dict(sorted(decoders.items()))


def stack_latents(latents: Sequence[np.ndarray]) -> Tensor:
    """``History.latents`` as one tensor, [E, M, d] for E evaluations.

    Examples:
        >>> stack_latents([np.zeros((5, 2)), np.ones((5, 2))]).shape
        torch.Size([2, 5, 2])
    """
    return torch.from_numpy(np.stack(latents))
