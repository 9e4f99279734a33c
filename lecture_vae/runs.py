"""Runs: train a model once, and find it again.

:func:`fetch_run` loads the run that was asked for, goes on with it where it was interrupted, or
trains it. So no chapter trains what another one has trained, and two processes that want the same
run train it once. What names a run is said in :mod:`lecture_vae.recipe`, where it lies in
:mod:`lecture_vae.store`; how several are trained at once, in :mod:`lecture_vae.side_by_side`.
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
from lecture_vae.lock import hold_lock
from lecture_vae.losses import Objective
from lecture_vae.models import Model
from lecture_vae.networks import build_model
from lecture_vae.recipe import RunSpec, describe, key_of, spec_of
from lecture_vae.registry import import_definitions
from lecture_vae.side_by_side import (
    can_be_defined_elsewhere,
    end_with_input,
    train_side_by_side,
)
from lecture_vae.store import (
    Run,
    StoreError,
    open_run,
    save_run,
    store_folder,
)
from lecture_vae.training import (
    Checkpoint,
    History,
    TrainConfig,
    pick_device,
    storable_codes,
    train,
)

__all__ = ["budget", "fetch_run", "fetch_runs", "lecture_config"]

Store = str | Path | None

FULL_STEPS = {"conv-ae": 30_000, "conv-vae": 30_000}  # the original's; of all other models 25,000


def budget() -> str:
    """``"quick"`` or ``"full"``: how long the chapters train, from ``LECTURE_VAE_BUDGET``."""
    name = os.environ.get("LECTURE_VAE_BUDGET", "quick")
    if name not in ("quick", "full"):
        raise ValueError(f"LECTURE_VAE_BUDGET must be quick or full, got {name!r}.")
    return name


def lecture_config(model: str, seed: int = 0) -> TrainConfig:
    """How the chapters train a model: seconds at the quick budget, as the original at the full one.

    Quick: 3,000 steps, evaluated every 100. Full: 25,000 steps, but 30,000 for the convolutional
    models of the lecture, evaluated every 250.
    """
    if budget() == "quick":
        return TrainConfig(steps=3_000, eval_every=100, seed=seed)
    return TrainConfig(steps=FULL_STEPS.get(model, 25_000), eval_every=250, seed=seed)


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
    """Load the run from the store; go on with it if it was interrupted; train it if it is new.

    Args:
        model: A name in ``MODELS``; :func:`~lecture_vae.networks.register` adds yours.
        objective: ``SquaredError()`` for an autoencoder, ``NegativeELBO(kl_weight)`` for a VAE, or
            your own.
        data: What to train and test on.
        config: How; :func:`lecture_config` gives what the chapters use.
        device: As for :func:`~lecture_vae.training.train`.
        fresh: Train again, and replace what is stored.
        store: As for :func:`~lecture_vae.store.store_folder`; None trains and keeps nothing.
        start_from: Key of a stored run of the same model, whose weights are the first ones.
        **keywords: Passed to the model.

    Raises:
        NotStorableError: If the run could not be found again by its recipe; nothing was trained.
        StoreError: If the store cannot be written or the stored run cannot be read.
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
    """:func:`fetch_run` for several runs; on a CPU those to be trained go side by side.

    Training uses one core (see :mod:`lecture_vae.training`), so as many runs as this process may
    use cores are trained at once, each in a process of its own that loads ``data.source`` again. A
    model that is defined in a notebook or script is trained in this process, as others could not
    find it; put it into a file of its own.

    Raises:
        Exception: What :func:`fetch_run` raises for the first run that fails; the others are
            trained before.
    """
    specs, done = list(specs), list[RunSpec]()
    if store is not None and pick_device(device).type == "cpu" and cores() > 1:
        folder = store_folder(store)
        specs = [_with_whole_start(spec, store) for spec in specs]
        recipes = {}
        for spec in specs:
            recipe = describe(spec, data, device)
            is_missing = fresh or not _is_complete(folder / key_of(recipe))
            if is_missing and can_be_defined_elsewhere(spec):
                recipes[key_of(recipe)] = (spec, recipe)
        if len(recipes) > 1:
            train_side_by_side([*recipes.values()], data, folder, cores(), fresh=fresh)
            done = [spec for spec, _ in recipes.values()]
    return [_fetch(spec, data, device, fresh and spec not in done, store) for spec in specs]


def _fetch(spec: RunSpec, data: ImageData, device: str, fresh: bool, store: Store) -> Run:
    if store is None:
        return _train_without_store(spec, data, device)
    spec = _with_whole_start(spec, store)
    recipe = describe(spec, data, device)
    folder = store_folder(store) / key_of(recipe)
    if fresh or not _is_complete(folder):
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with hold_lock(folder):
                if fresh:
                    shutil.rmtree(folder, ignore_errors=True)
                if not _is_complete(folder):  # else another process has just trained it
                    _train_into(folder, spec, recipe, data, device, store)
        except OSError as error:
            raise StoreError(
                f"the run store {folder.parent} must be writable, but: {error}. Is the disk full "
                "or the folder read-only? Make room, or set LECTURE_VAE_RUNS to another folder. "
                "What was trained up to the last evaluation is kept."
            ) from error
    return open_run(folder.name, store=folder.parent)


def _is_complete(folder: Path) -> bool:
    return os.path.exists(folder / "run.json")


def _with_whole_start(spec: RunSpec, store: Store) -> RunSpec:
    """The spec with the whole key of the run it starts from: its first digits name the same run."""
    if spec.start_from is None or len(spec.start_from) == 16 or store is None:
        return spec
    return replace(spec, start_from=open_run(spec.start_from, store=store).key)


def _first_weights(spec: RunSpec, store: Store) -> Model:
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
    model = _first_weights(spec, store)
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
    model = _first_weights(spec, None)
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
    # Codes take no noise, but an objective may draw its inputs: those of the last evaluation.
    return evaluate(model, spec.objective, data.test.images, seed=spec.config.seed).code


def work(job: dict[str, Any]) -> None:
    """Train or find the run of a job, as :mod:`lecture_vae.side_by_side` gives it to a worker.

    What prevents it is printed, as one line of JSON, and ends the process with status 1.
    """
    Thread(target=end_with_input, daemon=True).start()
    try:
        for place in job["imports"]:
            import_definitions(place)
        data = load_images(job["data"]["source"])
        if data.fingerprint != job["data"]["fingerprint"]:
            raise StoreError(
                f"{job['data']['source']} now holds other images than when training was asked for."
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
