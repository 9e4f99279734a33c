"""Store: the files of the runs.

The store is one folder: ``LECTURE_VAE_RUNS``, or the user's data folder. It may also be a URL,
whose runs have a local folder, too (:mod:`lecture_vae.object_store`). Each run is a folder in it,
named by its key (:mod:`lecture_vae.recipe`). No file is a pickle::

    run.json                the recipe, history, versions; written last
    weights.safetensors     the trained model
    codes.safetensors       `code` of the whole test set at the end, `latents` of its first images
                            at every evaluation; float16, or int32 for integer codes
    decoders/STEP.safetensors   the decoder at about eight evaluations, in float16
    checkpoint.safetensors  while training: model, optimizer and history at the last evaluation

Checkpoints and decoders are described in :mod:`lecture_vae.checkpoints`. Other files in these
folders are ignored.
"""

import json
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lecture_vae.checkpoints import load_decoders, stack_latents
from lecture_vae.history import History, storable_codes
from lecture_vae.models import Model
from lecture_vae.networks import build_model
from lecture_vae.object_store import ObjectStore, is_url
from lecture_vae.recipe import RunSpec, spec_of
from lecture_vae.run_file import NewerFormat, check_registered, is_far_larger, read_run_file
from lecture_vae.storage import absolute, data_folder, write_atomically

__all__ = ["Run", "StoreError", "object_store", "open_run", "store_folder", "store_place"]


class StoreError(Exception):
    """The run store cannot be used; the message says what was found and what to do.

    Examples:
        >>> open_run("xyz", store="no/such/folder")
        Traceback (most recent call last):
        ...
        lecture_vae.store.StoreError: a run is opened by its key or enough of its first ...
    """


@dataclass(frozen=True)
class Run:
    """A trained model with its history; :func:`~lecture_vae.runs.fetch_run` returns it.

    Examples:
        >>> data, config = load_images("digits"), TrainConfig(steps=2, eval_every=1)
        >>> run = fetch_run("linear-ae", SquaredError(), data, config, device="cpu", store=None)
        >>> run.code.shape, run.seconds > 0
        (torch.Size([359, 2]), True)
    """

    key: str  # "" if it was trained without a store
    spec: RunSpec
    data: str  # name of the data set
    fingerprint: str  # of the data set
    device: str  # type of the device it was trained on
    engine: str  # "torch", or "native-" and the vector instructions: avx512, avx2, neon
    model: Model  # on the CPU, in eval mode
    history: History
    code: Shaped[Tensor, "N d"]  # of the test set, flattened; rounded to float16
    decoders: dict[int, dict[str, Tensor]]  # step -> weights in float16, except the last step
    versions: dict[str, str]  # of torch and numpy

    @property
    def mu(self) -> Shaped[Tensor, "N d"]:
        """The former name of :attr:`code`; deprecated, to be removed in version 0.3."""
        warnings.warn("Run.mu is now Run.code", DeprecationWarning, stacklevel=2)
        return self.code

    @property
    def seconds(self) -> float:
        """Seconds that the training took, evaluations included, even if the run was loaded."""
        return self.history.seconds


def object_store(store: str | Path = "auto") -> ObjectStore | None:
    """The object store of the runs, or None if they are in a folder.

    Args:
        store: As for :func:`store_folder`.

    Raises:
        StoreError: If its protocol is unknown, or a package is missing.

    Examples:
        >>> object_store("my_runs") is None, object_store("memory://runs").url
        (True, 'memory://runs')
    """
    named = _named(store)
    try:
        return ObjectStore(str(named)) if is_url(named) else None
    except OSError as error:
        raise StoreError(str(error)) from error


def store_place(store: str | Path = "auto") -> str:
    """What names the store in every process: its URL, or the absolute path of its folder.

    Args:
        store: As for :func:`store_folder`.

    Raises:
        StoreError: As :func:`store_folder`.

    Examples:
        >>> store_place("s3://bucket/runs")
        's3://bucket/runs'
    """
    named = _named(store)
    return str(named) if is_url(named) else str(store_folder(store))


def _named(store: str | Path) -> str | Path | None:
    return (os.environ.get("LECTURE_VAE_RUNS") or None) if store == "auto" else store


def store_folder(store: str | Path = "auto") -> Path:
    """The folder of the runs; of an object store, that of the runs on this machine.

    It need not exist yet.

    Args:
        store: A folder, a URL that fsspec knows, or ``"auto"`` for what ``LECTURE_VAE_RUNS`` names,
            or else the user's data folder.

    Raises:
        StoreError: If the folder is in a home folder that does not exist, or as
            :func:`object_store`.

    Examples:
        >>> store_folder("my_runs").name
        'my_runs'
    """
    named = _named(store)
    if (remote := object_store(store)) is not None:
        return remote.folder
    try:
        kept = data_folder() if named is None else absolute(named)
    except OSError as error:
        raise StoreError(
            f"runs are kept in a folder, but that of {named} cannot be found: {error}. Name it in "
            "full, in LECTURE_VAE_RUNS or as the store."
        ) from error
    if kept is None:
        raise StoreError(
            "runs are kept in the home folder, but this user has none: HOME is not set, and the "
            "system does not know one. Set LECTURE_VAE_RUNS to the folder for the runs."
        )
    return kept / "runs" if named is None else kept


def open_run(key: str, *, store: str | Path = "auto") -> Run:
    """Load a stored run by its key, or by an unambiguous prefix of the key.

    No lock is taken, and read permission suffices.

    Args:
        key: 16 hex digits, as ``lecture-vae train`` prints them, or their first ones.
        store: As for :func:`store_folder`.

    Raises:
        StoreError: If the prefix matches no run or several, if the model or the objective is not
            registered, or if the files cannot be read.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> data, config = load_images("digits"), TrainConfig(steps=2)
        >>> with TemporaryDirectory() as store:
        ...     run = fetch_run("linear-ae", SquaredError(), data, config, store=store)
        ...     open_run(run.key[:6], store=store).key == run.key
        True
    """
    folder, remote = store_folder(store), object_store(store)
    try:
        stored = _stored(folder) if remote is None else remote.keys(key[:16])
    except OSError as error:
        raise StoreError(str(error)) from error
    found = [name for name in stored if key and name.startswith(key)]
    if len(found) != 1:
        hint = "" if re.fullmatch("[0-9a-f]+", key) else " A key has only the digits 0-9 and a-f."
        raise StoreError(
            f"a run is opened by its key or enough of its first characters; {len(found)} of the "
            f"{len(stored)} runs in {store_place(store)} begin with {key!r}.{hint}"
        )
    folder /= found[0]
    try:
        if remote is not None:
            remote.bring(folder.name)
        head = read_run_file(folder)
        weights = load_file(folder / "weights.safetensors")
        codes = load_file(folder / "codes.safetensors")
        code = codes["code"] if "code" in codes else codes["mu"]
        latents = [*codes["latents"].numpy()]
        if (count := len(head["history"])) != len(latents):
            wrong = ValueError(f"codes of {len(latents)} evaluations, not {count}")
            raise _unreadable(folder, wrong)
    except NewerFormat as error:
        raise StoreError(
            f"run {folder.name} was stored by a newer version of lecture_vae. Update the "
            "package to open it."
        ) from error
    except PermissionError as error:
        raise StoreError(
            f"run {folder.name} may not be read: {error}. Ask its owner for permission to "
            "read the files."
        ) from error
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise _unreadable(folder, error) from error
    recipe = head["recipe"]
    try:
        check_registered(recipe)
    except KeyError as error:
        raise StoreError(
            f"run {folder.name} needs a definition that is not registered: {error.args[0]}"
        ) from error
    try:
        spec = spec_of(recipe)
        if is_far_larger(spec.model, spec.keywords, weights):
            raise _misfit(folder, spec, "it is far larger.")
        model = build_model(spec.model, **spec.keywords)
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise _unreadable(folder, error) from error
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise _misfit(folder, spec, " ".join(str(error).split())) from error
    model.eval()
    return Run(
        key=folder.name,
        spec=spec,
        data=recipe["data"]["name"],
        fingerprint=recipe["data"]["fingerprint"],
        device=recipe["device"],
        engine=recipe.get("engine", "torch"),  # that of all runs before version 0.3
        model=model,
        history=History(head["history"], latents, head["seconds"]),
        code=code.float() if code.is_floating_point() else code,
        decoders=load_decoders(folder),
        versions=head["versions"],
    )


def _stored(folder: Path) -> list[str]:
    """Keys of the complete runs in a store; other files are ignored."""
    try:
        found = os.listdir(folder)
    except FileNotFoundError:  # nothing was trained yet
        return []
    except OSError as error:
        raise StoreError(f"the run store {folder} cannot be read: {error}.") from error
    keys = sorted(name for name in found if re.fullmatch("[0-9a-f]{16}", name))
    return [key for key in keys if os.path.exists(folder / key / "run.json")]


def _unreadable(folder: Path, error: Exception) -> StoreError:
    return StoreError(
        f"the files of run {folder.name} are incomplete or damaged: {type(error).__name__}: "
        f"{error}. To train it again in their place, fetch it with fresh=True (on the command "
        f"line: --fresh), or delete {folder}."
    )


def _misfit(folder: Path, spec: RunSpec, why: str) -> StoreError:
    return StoreError(
        f"the weights of run {folder.name} do not fit today's {spec.model}: {why} Was the model "
        "changed since? Fetch the run anew, or go back to the code that trained it."
    )


def save_run(
    folder: Path, recipe: Mapping[str, Any], model: Model, history: History, code: Tensor
) -> None:
    """Save a trained run. run.json is written last: a run is complete if and only if it exists."""
    weights = {name: value.contiguous().cpu() for name, value in model.state_dict().items()}
    codes = {"code": storable_codes(code).contiguous(), "latents": stack_latents(history.latents)}
    head = {
        "recipe": recipe,
        "history": history.rows,
        "seconds": history.seconds,
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
    }
    write_atomically(folder / "weights.safetensors", lambda path: save_file(weights, path))
    write_atomically(folder / "codes.safetensors", lambda path: save_file(codes, path))
    write_atomically(folder / "run.json", lambda path: path.write_text(json.dumps(head, indent=1)))
