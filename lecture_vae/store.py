"""A run on disk: what it is called, and the files it is made of.

A run answers "which weights are these?". Its key is a hash of everything that decides them: model,
objective, :class:`~lecture_vae.training.TrainConfig`, data, device, torch's version, and the code
of the files that make a model (comments and docstrings aside).

The store is one folder: ``LECTURE_VAE_RUNS``, or the user's data folder. Each run is a folder in
it, named by its key, without pickles::

    run.json                what the key was made of, history, versions; written last
    weights.safetensors     the trained model
    codes.safetensors       means of q(z | x) in float16: `mu` of the whole test set at the end,
                            `latents` of its first images at every evaluation
    decoders/STEP.safetensors   the decoder at about eight evaluations, in float16
    checkpoint.safetensors  while training: model, optimizer and history at the last evaluation
"""

import ast
import hashlib
import io
import json
import os
import tokenize
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from lecture_vae import data as data_module
from lecture_vae import losses, models, randomness, training
from lecture_vae.data import ImageData
from lecture_vae.losses import NegativeELBO, Objective, SquaredError
from lecture_vae.models import Model, build_model
from lecture_vae.storage import write_atomically
from lecture_vae.training import Checkpoint, History, TrainConfig, pick_device

__all__ = ["Run", "RunSpec", "StoreError", "open_run", "store_folder"]

OBJECTIVES = {"SquaredError": SquaredError, "NegativeELBO": NegativeELBO}
DECISIVE = (data_module, models, losses, randomness, training)  # their code is part of the key


class StoreError(Exception):
    """The run store cannot be used; the message says what was met and what to do."""


@dataclass(frozen=True)
class RunSpec:
    """What to train, apart from the data: a model, an objective and how to train it."""

    model: str  # a name in MODELS
    objective: Objective
    config: TrainConfig
    keywords: dict[str, int] = field(default_factory=dict)  # of the model


@dataclass(frozen=True)
class Run:
    """A trained model with its history, as ``fetch_run`` and :func:`open_run` give it."""

    key: str
    spec: RunSpec
    data: str  # name of the data set
    fingerprint: str  # of the data set
    device: str  # kind of device it was trained on
    model: Model  # on the CPU, in eval mode
    history: History
    mu: Float[Tensor, "N d"]  # means of q(z | x) of the test set, flattened, rounded to float16
    decoders: dict[int, dict[str, Tensor]]  # step -> weights in float16, without the last one
    versions: dict[str, str]

    @property
    def seconds(self) -> float:
        """Time that training took, evaluations included, also when the run was found stored."""
        return self.history.seconds


def store_folder() -> Path:
    """The folder that holds the runs. It need not exist yet."""
    named = os.environ.get("LECTURE_VAE_RUNS")
    if named:
        return Path(named).expanduser().absolute()
    return platformdirs.user_data_path("lecture_vae", appauthor=False) / "runs"


def open_run(key: str) -> Run:
    """Open a stored run by its key, or by enough of its first characters.

    Raises:
        StoreError: If no run or more than one begins so, or if its files are damaged.
    """
    found = sorted(path.parent for path in store_folder().glob(f"{key}*/run.json"))
    if len(found) != 1:
        stored = [path.parent.name for path in store_folder().glob("*/run.json")]
        raise StoreError(
            f"a run is opened by its key or enough of its first characters; {len(found)} of the "
            f"{len(stored)} runs in {store_folder()} begin with {key!r}."
        )
    folder = found[0]
    try:
        head = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        weights = load_file(folder / "weights.safetensors")
        codes = load_file(folder / "codes.safetensors")
        decoders = {int(p.stem): load_file(p) for p in folder.glob("decoders/*.safetensors")}
        described = head["described"]
        objective = dict(described["objective"])
        spec = RunSpec(
            described["model"],
            OBJECTIVES[objective.pop("name")](**objective),
            TrainConfig(**described["config"]),
            described["keywords"],
        )
        model = build_model(spec.model, **spec.keywords)
        model.load_state_dict(weights)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise StoreError(
            f"the files of run {folder.name} are damaged or of another version ({error}). "
            f"Delete {folder} and fetch the run again."
        ) from error
    model.eval()
    history = History(head["history"], list(codes["latents"].numpy()), head["seconds"])
    return Run(
        key=folder.name,
        spec=spec,
        data=described["data"]["name"],
        fingerprint=described["data"]["fingerprint"],
        device=described["device"],
        model=model,
        history=history,
        mu=codes["mu"].float(),
        decoders=dict(sorted(decoders.items())),
        versions=head["versions"],
    )


def describe(spec: RunSpec, data: ImageData, device: str) -> dict[str, Any]:
    """Everything that decides the weights, ready for JSON."""
    return {
        "model": spec.model,
        "keywords": spec.keywords,
        "objective": {"name": type(spec.objective).__name__, **asdict(spec.objective)},
        "config": asdict(spec.config),
        "data": {"name": data.name, "fingerprint": data.fingerprint},
        "device": pick_device(device).type,
        "torch": torch.__version__.split("+")[0],
        "code": code_fingerprint(),
    }


def key_of(described: dict[str, Any]) -> str:
    """The name of the run that :func:`describe` describes: 16 hex digits."""
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]


@cache
def code_fingerprint() -> str:
    """Hash of the code that makes a model; comments, docstrings and blank lines do not count."""
    sources = [Path(str(module.__file__)).read_text(encoding="utf-8") for module in DECISIVE]
    return hashlib.sha256("\0".join(map(_bare, sources)).encode()).hexdigest()[:16]


def _bare(source: str) -> str:
    """Python source without comments, docstrings and blank lines."""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(source)):
        # A string that stands alone, a docstring, changes nothing that is computed.
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            for row in range(node.lineno - 1, node.end_lineno or node.lineno):
                lines[row] = ""
    return "\n".join(line.rstrip() for line in lines if line.strip())


def save_run(
    folder: Path, described: dict[str, Any], model: Model, history: History, mu: Tensor
) -> None:
    """Keep a finished run. It is complete exactly when run.json is there, so that comes last."""
    weights = {name: value.cpu() for name, value in model.state_dict().items()}
    codes = {"mu": mu.flatten(1).half(), "latents": _stack(history.latents)}
    head = {
        "described": described,
        "history": history.rows,
        "seconds": history.seconds,
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
    }
    write_atomically(folder / "weights.safetensors", lambda path: save_file(weights, path))
    write_atomically(folder / "codes.safetensors", lambda path: save_file(codes, path))
    write_atomically(folder / "run.json", lambda path: path.write_text(json.dumps(head, indent=1)))


def save_checkpoint(path: Path, state: Checkpoint) -> None:
    """Keep all that going on from an evaluation needs, in one file."""
    tensors = {f"model.{name}": value for name, value in state.model.items()}
    for number, moments in state.optimizer["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in moments.items()}
    tensors["latents"] = _stack(state.history.latents)
    tensors = {name: value.contiguous().cpu() for name, value in tensors.items()}
    head = {
        "rows": state.history.rows,
        "seconds": state.history.seconds,
        "param_groups": state.optimizer["param_groups"],
    }
    metadata = {"head": json.dumps(head)}
    write_atomically(path, lambda file: save_file(tensors, file, metadata=metadata))


def decoder_steps(config: TrainConfig) -> set[int]:
    """When the decoder is kept: before the first step, and at 1/64, 1/32, ... of all steps.

    A training changes most at its beginning, so the steps double; each is an evaluation's.
    """
    shares = [config.steps / 2**k for k in range(1, 7)]
    return {0} | {ceil(share / config.eval_every) * config.eval_every for share in shares}


def save_decoder(folder: Path, step: int, model: dict[str, Tensor]) -> None:
    """Keep the decoder of a model's state in half precision: it is for looking, not training."""
    weights = {
        name: (value.half() if value.is_floating_point() else value).contiguous().cpu()
        for name, value in model.items()
        if name.startswith("decoder.")
    }
    path = folder / "decoders" / f"{step}.safetensors"
    write_atomically(path, lambda file: save_file(weights, file))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read what :func:`save_checkpoint` kept."""
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
    return Checkpoint(model, optimizer, history)


def _stack(latents: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(latents))
