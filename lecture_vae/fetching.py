"""Fetching: one run, from the store or trained.

A run of another engine answers a request as well, unless the engine is named; an interrupted run is
resumed by the engine that began it, since the engine is part of its key.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
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
from lecture_vae.native.engine import engine_names, plan_for
from lecture_vae.native.plan import Plan
from lecture_vae.networks import build_model
from lecture_vae.recipe import RunSpec, check_keywords, describe, key_of, with_engine
from lecture_vae.store import (
    Run,
    StoreError,
    object_store,
    open_run,
    save_run,
    store_folder,
    store_place,
)
from lecture_vae.training import pick_device, train

__all__ = ["Request", "Store"]

Store = str | Path | None


class Request:
    """A run that is asked for: what to train, on which data, where, and in which store.

    Args:
        spec: What to train.
        data: Training and test images.
        device: As for :func:`~lecture_vae.training.pick_device`.
        engine: As for :func:`~lecture_vae.native.engine.plan_for`.
        store: As for :func:`~lecture_vae.store.store_folder`; None is no store.

    Raises:
        ValueError: If there is no such model or device.
        NotStorableError: If there is a store, and a keyword of the model is not a plain value.
        StoreError: If the run that a warm start begins with cannot be found.

    Examples:
        >>> spec = RunSpec("linear-ae", SquaredError(), TrainConfig(steps=2))
        >>> request = Request(spec, load_images("digits"), "cpu", "torch", store=None)
        >>> request.fetch().engine
        'torch'
    """

    def __init__(self, spec: RunSpec, data: ImageData, device: str, engine: str, store: Store):
        if store is not None:
            check_keywords(spec.keywords)
            if spec.start_from is not None and len(spec.start_from) < 16:
                spec = replace(spec, start_from=open_run(spec.start_from, store=store).key)
        self.spec = spec
        self.data = data
        self.device = pick_device(device)
        self.engine = engine
        self.place = None if store is None else store_place(store)
        self.store = None if store is None else store_folder(store)
        self.remote = None if store is None else object_store(store)
        self.model = build_model(spec.model, seed=spec.config.seed, **spec.keywords)

    @cached_property
    def plan(self) -> Plan | None:
        """The native kernels that can train the run here, or None for PyTorch."""
        objective, size = self.spec.objective, self.spec.config.batch_size
        return plan_for(self.model, objective, size, self.device, self.engine)

    @property
    def trained_by(self) -> str:
        """The name, in a recipe, of the engine that can train the run here."""
        return "torch" if self.plan is None else self.plan.engine

    @cached_property
    def _in_torch(self) -> dict[str, Any]:
        return describe(self.spec, self.data, self.device.type, model=self.model)

    @property
    def recipe(self) -> dict[str, Any]:
        """The recipe of the run, if it is to be trained here.

        Raises:
            NotStorableError: If the run cannot be described by names and plain values.
        """
        return with_engine(self._in_torch, self.trained_by)

    def stored(self) -> Path | None:
        """The folder of a complete run of an engine that answers the request, or None.

        Raises:
            StoreError: If there is an object store that cannot be used.
        """
        assert self.store is not None
        for name in engine_names(self.engine, self.device):
            folder = self.store / key_of(with_engine(self._in_torch, name))
            if self._is_stored(folder):
                return folder
        return None

    def _is_stored(self, folder: Path) -> bool:
        """Whether a run is complete; with an object store, here and there."""
        if self.remote is None:
            return _is_complete(folder)
        with _told():
            if self.remote.has(folder.name):
                self.remote.bring(folder.name)
            elif _is_complete(folder):  # sending it was interrupted
                self.remote.send(folder.name)
        return _is_complete(folder)

    def fetch(self, *, fresh: bool = False, stopped: Event | None = None) -> Run:
        """The run: loaded, resumed or trained; see :func:`~lecture_vae.runs.fetch_run`.

        Args:
            fresh: Train again, and replace what is stored.
            stopped: When it is set, the training ends with an error at the next evaluation.

        Raises:
            StoreError: If the store cannot be written or the stored run cannot be read.
        """
        if self.store is None:
            return self._trained_without_store()
        stored = None if fresh else self.stored()
        if stored is not None:
            return open_run(stored.name, store=self.store)
        folder = self.store / key_of(self.recipe)
        try:
            self.store.mkdir(parents=True, exist_ok=True)
            with hold_lock(folder):
                if fresh:
                    if self.remote is not None:
                        with _told():
                            self.remote.drop(folder.name)
                    (folder / "run.json").unlink(missing_ok=True)  # first: it is incomplete now
                    shutil.rmtree(folder, ignore_errors=True)
                if not _is_complete(folder):  # another process may have trained it meanwhile
                    self._train_into(folder, stopped)
        except OSError as error:
            raise StoreError(
                f"the run store {self.store} must be writable, but: {error}. Is the disk full "
                "or the folder read-only? Free some space, or set LECTURE_VAE_RUNS to another "
                "folder. What was trained up to the last evaluation is kept."
            ) from error
        return open_run(folder.name, store=self.store)

    def _train(self, **keywords: Any) -> History:
        spec = self.spec
        if spec.start_from is not None:
            self._load_first_weights(spec.start_from)
        return train(
            self.model,
            spec.objective,
            self.data,
            spec.config,
            device=self.device.type,
            engine="torch" if self.plan is None else self.plan,
            **keywords,
        )

    def _load_first_weights(self, key: str) -> None:
        spec = self.spec
        start = open_run(key, store="auto" if self.place is None else self.place)
        if (start.spec.model, dict(start.spec.keywords)) != (spec.model, dict(spec.keywords)):
            raise ValueError(
                f"a warm start needs a run of the same model, {spec.model} with "
                f"{dict(spec.keywords)}; {start.key} is of {start.spec.model} with "
                f"{dict(start.spec.keywords)}."
            )
        self.model.load_state_dict(start.model.state_dict())

    def _train_into(self, folder: Path, stopped: Event | None) -> None:
        checkpoint = folder / "checkpoint.safetensors"
        kept = decoder_steps(self.spec.config)

        def keep(state: Checkpoint) -> None:
            if (step := state.history.steps[-1]) in kept:
                save_decoder(folder, step, self.model)
            save_checkpoint(checkpoint, state)
            if self.remote is not None:
                self.remote.send_checkpoint(folder.name)
            if stopped is not None and stopped.is_set():
                raise RuntimeError("the training was interrupted; what was trained is kept.")

        if self.remote is not None:
            self.remote.bring_checkpoint(folder.name)
        resume = load_checkpoint(checkpoint) if checkpoint.exists() else None
        history = self._train(resume=resume, on_evaluate=keep)
        save_run(folder, self.recipe, self.model, history, self._code(history))
        checkpoint.unlink(missing_ok=True)
        if self.remote is not None:
            with _told():
                self.remote.send(folder.name)

    def _trained_without_store(self) -> Run:
        history = self._train()
        code = storable_codes(self._code(history))
        return Run(
            key="",
            spec=self.spec,
            data=self.data.name,
            fingerprint=self.data.fingerprint,
            device=self.device.type,
            engine=self.trained_by,
            model=self.model.to(torch.device("cpu")),
            history=history,
            code=code.float() if code.is_floating_point() else code,
            decoders={},
            versions={"torch": torch.__version__, "numpy": np.__version__},
        )

    def _code(self, history: History) -> torch.Tensor:
        """The codes of the test set: those of the last evaluation, which may be long past."""
        if history.code is not None:
            return history.code
        images, seed = self.data.test.images, self.spec.config.seed
        return evaluate(self.model, self.spec.objective, images, seed=seed, plan=self.plan).code


def _is_complete(folder: Path) -> bool:
    return os.path.exists(folder / "run.json")


@contextmanager
def _told() -> Iterator[None]:
    """What goes wrong in an object store is not a fault of this machine's disk."""
    try:
        yield
    except OSError as error:
        raise StoreError(str(error)) from error
