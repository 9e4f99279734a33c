"""Fetching: one run, from the store or trained.

A run of another engine answers a request as well, unless the engine is named; an interrupted run is
resumed by the engine that began it, since the engine is part of its key.
"""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import torch

from lecture_vae.checkpoints import (
    decoder_steps,
    load_checkpoint,
    save_checkpoint,
    save_decoder,
)
from lecture_vae.data import ImageData
from lecture_vae.evaluation import evaluate
from lecture_vae.history import Checkpoint, History, storable_codes
from lecture_vae.lock import hold_lock
from lecture_vae.models import Model
from lecture_vae.native.engine import engine_names, plan_for
from lecture_vae.native.plan import Plan
from lecture_vae.networks import build_model
from lecture_vae.recipe import RunSpec, describe, key_of, with_engine
from lecture_vae.store import Run, StoreError, open_run, save_run, store_folder
from lecture_vae.training import pick_device, train

__all__ = ["Store", "fetch", "recipe_of", "stored_folder", "with_full_key"]

Store = str | Path | None


def stored_folder(
    spec: RunSpec, data: ImageData, device: str, engine: str, store: Path
) -> Path | None:
    """The folder of a complete run of an engine that answers the request, or None.

    Examples:
        >>> from pathlib import Path
        >>> spec = RunSpec("linear-vae", NegativeELBO(), TrainConfig())
        >>> stored_folder(spec, load_images("digits"), "cpu", "auto", Path("empty")) is None
        True
    """
    recipe = describe(spec, data, device)
    for name in engine_names(engine, pick_device(device)):
        found = store / key_of(with_engine(recipe, name))
        if _is_complete(found):
            return found
    return None


def recipe_of(spec: RunSpec, data: ImageData, device: str, engine: str) -> dict[str, Any]:
    """The recipe of a run that is to be trained, with the engine that can train it here.

    Examples:
        >>> spec = RunSpec("linear-vae", NegativeIWAE(), TrainConfig())
        >>> recipe_of(spec, load_images("digits"), "cpu", "auto")["engine"]
        'torch'
    """
    model = build_model(spec.model, **spec.keywords)
    size, on = spec.config.batch_size, pick_device(device)
    plan = plan_for(model, spec.objective, size, on, engine)
    recipe = describe(spec, data, device)
    return recipe if plan is None else with_engine(recipe, plan.engine)


def fetch(
    spec: RunSpec,
    data: ImageData,
    device: str,
    engine: str,
    fresh: bool,
    store: Store,
    stopped: Event | None = None,
) -> Run:
    """The run of a spec: loaded, resumed or trained; see :func:`~lecture_vae.runs.fetch_run`.

    Args:
        stopped: When it is set, the training ends with an error at the next evaluation.

    Raises:
        StoreError: If the store cannot be written or the stored run cannot be read.

    Examples:
        >>> spec = RunSpec("linear-ae", SquaredError(), TrainConfig(steps=2))
        >>> fetch(spec, load_images("digits"), "cpu", "torch", fresh=False, store=None).engine
        'torch'
    """
    if store is None:
        return _train_without_store(spec, data, device, engine)
    spec = with_full_key(spec, store)
    stored = None if fresh else stored_folder(spec, data, device, engine, store_folder(store))
    if stored is not None:
        return open_run(stored.name, store=stored.parent)
    recipe = recipe_of(spec, data, device, engine)
    folder = store_folder(store) / key_of(recipe)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with hold_lock(folder):
            if fresh:
                (folder / "run.json").unlink(missing_ok=True)  # first: the run is incomplete now
                shutil.rmtree(folder, ignore_errors=True)
            if not _is_complete(folder):  # another process may have trained it meanwhile
                _train_into(folder, spec, recipe, data, store, stopped)
    except OSError as error:
        raise StoreError(
            f"the run store {folder.parent} must be writable, but: {error}. Is the disk full "
            "or the folder read-only? Free some space, or set LECTURE_VAE_RUNS to another "
            "folder. What was trained up to the last evaluation is kept."
        ) from error
    return open_run(folder.name, store=folder.parent)


def _is_complete(folder: Path) -> bool:
    return os.path.exists(folder / "run.json")


def with_full_key(spec: RunSpec, store: Store) -> RunSpec:
    """The spec with the full key of the run that it starts from, in place of a prefix.

    Examples:
        >>> spec = RunSpec("linear-ae", SquaredError(), TrainConfig())
        >>> with_full_key(spec, store="empty") is spec
        True
    """
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
    folder: Path,
    spec: RunSpec,
    recipe: dict[str, Any],
    data: ImageData,
    store: Store,
    stopped: Event | None,
) -> None:
    checkpoint = folder / "checkpoint.safetensors"
    model = _initial_model(spec, store)
    kept = decoder_steps(spec.config)

    def keep(state: Checkpoint) -> None:
        if (step := state.history.steps[-1]) in kept:
            save_decoder(folder, step, model)
        save_checkpoint(checkpoint, state)
        if stopped is not None and stopped.is_set():
            raise RuntimeError("the training was interrupted; what was trained is kept.")

    history = train(
        model,
        spec.objective,
        data,
        spec.config,
        device=recipe["device"],
        engine="torch" if recipe["engine"] == "torch" else "native",
        resume=load_checkpoint(checkpoint) if checkpoint.exists() else None,
        on_evaluate=keep,
    )
    save_run(folder, recipe, model, history, _code(model, spec, data, recipe["engine"]))
    checkpoint.unlink(missing_ok=True)


def _train_without_store(spec: RunSpec, data: ImageData, device: str, engine: str) -> Run:
    model = _initial_model(spec, None)
    size, on = spec.config.batch_size, pick_device(device)
    plan = plan_for(model, spec.objective, size, on, engine)
    history: History = train(model, spec.objective, data, spec.config, device=device, engine=engine)
    code = storable_codes(_code(model, spec, data, "torch" if plan is None else plan.engine))
    return Run(
        key="",
        spec=spec,
        data=data.name,
        fingerprint=data.fingerprint,
        device=on.type,
        engine="torch" if plan is None else plan.engine,
        model=model.to(torch.device("cpu")),
        history=history,
        code=code.float() if code.is_floating_point() else code,
        decoders={},
        versions={"torch": torch.__version__, "numpy": np.__version__},
    )


def _code(model: Model, spec: RunSpec, data: ImageData, engine: str) -> torch.Tensor:
    objective, config = spec.objective, spec.config
    plan = None if engine == "torch" else Plan(model, objective, config.batch_size)
    # No noise affects codes, but an objective may draw its inputs: those of the last evaluation.
    return evaluate(model, objective, data.test.images, seed=config.seed, plan=plan).code
