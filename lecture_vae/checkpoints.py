"""Checkpoints."""

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

from lecture_vae.models import Model
from lecture_vae.storage import say, write_atomically
from lecture_vae.training import Checkpoint, History, TrainConfig

__all__ = ["decoder_steps", "load_checkpoint", "load_decoders", "save_checkpoint", "save_decoder"]


def save_checkpoint(path: Path, state: Checkpoint) -> None:
    """Keep all that going on from an evaluation needs, in one file."""
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
    """Read what :func:`save_checkpoint` kept; None, with a word, if it cannot be read."""
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
            "begins again."
        )
        return None
    return Checkpoint(model, optimizer, history)


def decoder_steps(config: TrainConfig) -> set[int]:
    """When the decoder is kept: before the first step, and at 1/64, 1/32, ... of all steps.

    A training changes most at its beginning, so the steps double; each is an evaluation's.
    """
    shares = [config.steps / 2**k for k in range(1, 7)]
    return {0} | {ceil(share / config.eval_every) * config.eval_every for share in shares}


def save_decoder(folder: Path, step: int, model: Model) -> None:
    """Keep the child ``decoder`` of a model, if it has one; float16 suffices for display."""
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
    decoders = {}
    for path in folder.glob("*.safetensors"):
        if not re.fullmatch("[0-9]+", path.stem):
            continue  # a sync program's copy, or what a killed process left
        try:
            decoders[int(path.stem)] = load_file(path)
        except (OSError, SafetensorError) as error:
            say(f"the decoder {path} cannot be read and is left out ({error}).")
    return dict(sorted(decoders.items()))


def stack_latents(latents: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(latents))
