"""Runs: train a model once, then load it.

:func:`fetch_run` loads a run from the store, resumes it if it was interrupted, or trains it. So
chapters share their runs, and of several processes that request the same run one trains it. The key
of a run is defined in :mod:`lecture_vae.recipe`, its files in :mod:`lecture_vae.store`, and
training in parallel in :mod:`lecture_vae.side_by_side`.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import torch

from lecture_vae.checkpoints import (
    decoder_steps,
    load_checkpoint,
    save_checkpoint,
    save_decoder,
)
from lecture_vae.cluster import cores
from lecture_vae.data import ImageData, load_images
from lecture_vae.evaluation import evaluate
from lecture_vae.history import Checkpoint, History, storable_codes
from lecture_vae.lock import hold_lock
from lecture_vae.losses import Objective
from lecture_vae.models import Model
from lecture_vae.networks import build_model
from lecture_vae.recipe import RunSpec, describe, key_of, spec_of
from lecture_vae.registry import import_definitions
from lecture_vae.side_by_side import exit_at_end_of_input, is_importable, train_side_by_side
from lecture_vae.store import (
    Run,
    StoreError,
    open_run,
    save_run,
    store_folder,
)
from lecture_vae.training import TrainConfig, pick_device, train

__all__ = ["fetch_run", "fetch_runs"]

Store = str | Path | None


def fetch_run(
    model: str,
    objective: Objective,
    data: ImageData,
    config: TrainConfig,
    *,
    device: str = "auto",
    fresh: bool = False,
    store: Store = "auto",
    start_from: str | None = None,
    **keywords: Any,
) -> Run:
    """Load a run from the store; resume it if it was interrupted; train it if it is new.

    Args:
        model: A name in ``MODELS``; :func:`~lecture_vae.networks.register` adds yours.
        objective: ``SquaredError()`` for an autoencoder, ``NegativeELBO(kl_weight)`` for a VAE, or
            your own.
        data: Training and test images.
        config: Steps, batch size and so on; the chapters use that of
            :func:`~lecture_vae.budgets.lecture_config`.
        device: As for :func:`~lecture_vae.training.pick_device`.
        fresh: Train again, and replace what is stored.
        store: As for :func:`~lecture_vae.store.store_folder`; None trains without a store.
        start_from: For a warm start, the key of a stored run of the same model.
        **keywords: Passed to the model.

    Returns:
        The run, its model on the CPU in eval mode.

    Raises:
        NotStorableError: If the run cannot be stored; nothing was trained.
        StoreError: If the store cannot be written or the stored run cannot be read.
        FloatingPointError: If a loss is not finite.
        ValueError: If there is no such model or device, or the warm start is of another model.

    Examples:
        >>> data, config = load_images("digits"), TrainConfig(steps=2, eval_every=1)
        >>> objective = NegativeELBO(kl_weight=1.0)
        >>> run = fetch_run("linear-vae", objective, data, config, store=None, latent_dim=3)
        >>> run.history.steps, run.code.shape
        ([0, 1, 2], torch.Size([359, 3]))
    """
    spec = RunSpec(model, objective, config, keywords, start_from)
    return _fetch(spec, data, device, fresh, store)


def fetch_runs(
    specs: Iterable[RunSpec],
    data: ImageData,
    *,
    device: str = "auto",
    fresh: bool = False,
    store: Store = "auto",
) -> list[Run]:
    """:func:`fetch_run` for several runs; on a CPU, new runs are trained in parallel.

    Training uses one thread, so as many runs are trained at a time as this process may use cores,
    each in a worker process that loads ``data.source`` again. A model that is defined in a notebook
    or a script is trained in this process, since a worker cannot import it; define it in a file.

    Args:
        specs: What to train.
        data: Training and test images.
        device: As for :func:`~lecture_vae.training.pick_device`.
        fresh: Train again, and replace what is stored.
        store: As for :func:`fetch_run`.

    Returns:
        The runs, in the order of ``specs``.

    Raises:
        Exception: The exception of the first run that failed, as for :func:`fetch_run`; the others
            have been trained.

    Examples:
        >>> config = TrainConfig(steps=2, eval_every=1)
        >>> specs = [RunSpec("linear-vae", NegativeELBO(w), config) for w in (1.0, 100.0)]
        >>> runs = fetch_runs(specs, load_images("digits"), store=None)
        >>> [run.spec.objective.kl_weight for run in runs]
        [1.0, 100.0]
    """
    specs, done = list(specs), list[RunSpec]()
    if store is not None and pick_device(device).type == "cpu" and cores() > 1:
        folder = store_folder(store)
        specs = [_with_full_key(spec, store) for spec in specs]
        recipes = {}
        for spec in specs:
            recipe = describe(spec, data, device)
            is_missing = fresh or not _is_complete(folder / key_of(recipe))
            if is_missing and is_importable(spec):
                recipes[key_of(recipe)] = (spec, recipe)
        if len(recipes) > 1:
            train_side_by_side([*recipes.values()], data, folder, cores(), fresh=fresh)
            done = [spec for spec, _ in recipes.values()]
    return [_fetch(spec, data, device, fresh and spec not in done, store) for spec in specs]


def _fetch(spec: RunSpec, data: ImageData, device: str, fresh: bool, store: Store) -> Run:
    if store is None:
        return _train_without_store(spec, data, device)
    spec = _with_full_key(spec, store)
    recipe = describe(spec, data, device)
    folder = store_folder(store) / key_of(recipe)
    if fresh or not _is_complete(folder):
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with hold_lock(folder):
                if fresh:
                    shutil.rmtree(folder, ignore_errors=True)
                if not _is_complete(folder):  # another process may have trained it meanwhile
                    _train_into(folder, spec, recipe, data, device, store)
        except OSError as error:
            raise StoreError(
                f"the run store {folder.parent} must be writable, but: {error}. Is the disk full "
                "or the folder read-only? Free some space, or set LECTURE_VAE_RUNS to another "
                "folder. What was trained up to the last evaluation is kept."
            ) from error
    return open_run(folder.name, store=folder.parent)


def _is_complete(folder: Path) -> bool:
    return os.path.exists(folder / "run.json")


def _with_full_key(spec: RunSpec, store: Store) -> RunSpec:
    """The spec with the full key of the run that it starts from, in place of a prefix."""
    if spec.start_from is None or len(spec.start_from) == 16 or store is None:
        return spec
    return replace(spec, start_from=open_run(spec.start_from, store=store).key)


def _initial_model(spec: RunSpec, store: Store) -> Model:
    model = build_model(spec.model, seed=spec.config.seed, **spec.keywords)
    if spec.start_from is not None:
        start = open_run(spec.start_from, store="auto" if store is None else store)
        if (start.spec.model, dict(start.spec.keywords)) != (spec.model, dict(spec.keywords)):
            raise ValueError(
                f"a warm start needs a run of the same model, {spec.model} with "
                f"{dict(spec.keywords)}; {start.key} is of {start.spec.model} with "
                f"{dict(start.spec.keywords)}."
            )
        model.load_state_dict(start.model.state_dict())
    return model


def _train_into(
    folder: Path, spec: RunSpec, recipe: dict[str, Any], data: ImageData, device: str, store: Store
) -> None:
    checkpoint = folder / "checkpoint.safetensors"
    model = _initial_model(spec, store)
    kept = decoder_steps(spec.config)

    def keep(state: Checkpoint) -> None:
        if (step := state.history.steps[-1]) in kept:
            save_decoder(folder, step, model)
        save_checkpoint(checkpoint, state)

    history = train(
        model,
        spec.objective,
        data,
        spec.config,
        device=device,
        resume=load_checkpoint(checkpoint) if checkpoint.exists() else None,
        on_evaluate=keep,
    )
    save_run(folder, recipe, model, history, _code(model, spec, data))
    checkpoint.unlink(missing_ok=True)


def _train_without_store(spec: RunSpec, data: ImageData, device: str) -> Run:
    model = _initial_model(spec, None)
    history: History = train(model, spec.objective, data, spec.config, device=device)
    code = storable_codes(_code(model, spec, data))
    return Run(
        key="",
        spec=spec,
        data=data.name,
        fingerprint=data.fingerprint,
        device=pick_device(device).type,
        model=model.to(torch.device("cpu")),
        history=history,
        code=code.float() if code.is_floating_point() else code,
        decoders={},
        versions={"torch": torch.__version__, "numpy": np.__version__},
    )


def _code(model: Model, spec: RunSpec, data: ImageData) -> torch.Tensor:
    # No noise affects codes, but an objective may draw its inputs: those of the last evaluation.
    return evaluate(model, spec.objective, data.test.images, seed=spec.config.seed).code


def work(job: dict[str, Any]) -> None:
    """Train or load the run of a job: the main function of a worker process.

    An exception is printed as one line of JSON, and the process exits with status 1.
    """
    Thread(target=exit_at_end_of_input, daemon=True).start()
    try:
        for definitions in job["imports"]:
            import_definitions(definitions)
        data = load_images(job["data"]["source"])
        if data.fingerprint != job["data"]["fingerprint"]:
            raise StoreError(
                f"{job['data']['source']} now holds other images than when training was requested."
            )
        spec = spec_of(job["recipe"])
        if key_of(describe(spec, data, "cpu")) != job["key"]:
            raise StoreError(
                "the code that decides the weights was changed while runs were trained. "
                "Start again."
            )
        _fetch(spec, data, "cpu", job["fresh"], job["store"])
    except Exception as error:
        print(json.dumps({"kind": type(error).__name__, "message": str(error)}), flush=True)
        sys.exit(1)
