"""Runs: train a model once, and find it again.

:func:`fetch_run` loads the run that was asked for, goes on with it where it was interrupted, or
trains it. So no chapter trains what another one has trained, and two processes that want the same
run train it once. What a run is, and where it lies, is said in :mod:`lecture_vae.store`.
"""

import multiprocessing
import os
import shutil
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from threading import Thread

from filelock import FileLock

from lecture_vae.data import ImageData, load_images
from lecture_vae.losses import Objective
from lecture_vae.models import build_model
from lecture_vae.store import (
    Run,
    RunSpec,
    StoreError,
    decoder_steps,
    describe,
    key_of,
    load_checkpoint,
    open_run,
    save_checkpoint,
    save_decoder,
    save_run,
    store_folder,
)
from lecture_vae.training import Checkpoint, TrainConfig, evaluate, pick_device, progress_bar, train

__all__ = ["budget", "fetch_run", "fetch_runs", "lecture_config"]


def budget() -> str:
    """``"quick"`` or ``"full"``: how long the chapters train, from ``LECTURE_VAE_BUDGET``."""
    name = os.environ.get("LECTURE_VAE_BUDGET", "quick")
    if name not in ("quick", "full"):
        raise ValueError(f"LECTURE_VAE_BUDGET must be quick or full, got {name!r}.")
    return name


def lecture_config(model: str, seed: int = 0) -> TrainConfig:
    """How the chapters train a model: seconds at the quick budget, as the original at the full one.

    Quick: 3,000 steps, evaluated every 100. Full: 25,000 steps for the linear models and 30,000
    for the convolutional ones, evaluated every 250.
    """
    if budget() == "quick":
        return TrainConfig(steps=3_000, eval_every=100, seed=seed)
    steps = 30_000 if model.startswith("conv") else 25_000
    return TrainConfig(steps=steps, eval_every=250, seed=seed)


def fetch_run(
    model: str,
    objective: Objective,
    data: ImageData,
    config: TrainConfig,
    *,
    device: str = "auto",
    fresh: bool = False,
    **keywords: int,
) -> Run:
    """Load the run from the store; go on with it if it was interrupted; train it if it is new.

    Args:
        model: A name in ``MODELS``.
        objective: ``SquaredError()`` for an autoencoder, ``NegativeELBO(kl_weight)`` for a VAE.
        data: What to train and test on.
        config: How; :func:`lecture_config` gives what the chapters use.
        device: As for :func:`~lecture_vae.training.train`.
        fresh: Train again, and replace what is stored.
        **keywords: Passed to the model.

    Raises:
        StoreError: If the store cannot be written or the stored run is damaged.
    """
    return _fetch(RunSpec(model, objective, config, keywords), data, device, fresh)


def fetch_runs(
    specs: Iterable[RunSpec], data: ImageData, *, device: str = "auto", fresh: bool = False
) -> list[Run]:
    """:func:`fetch_run` for several runs; on a CPU those to be trained go side by side.

    Training uses one core (see :mod:`lecture_vae.training`), so as many runs as there are cores
    are trained at once, each in a process of its own that loads ``data.source`` again.
    """
    specs = list(specs)
    missing = [spec for spec in specs if fresh or not _is_complete(_folder(spec, data, device))]
    workers = min(len(missing), os.cpu_count() or 1)
    if workers > 1 and pick_device(device).type == "cpu":
        jobs = [(spec, data.source, data.fingerprint, fresh) for spec in missing]
        context = multiprocessing.get_context("spawn")  # forking a process with threads is unsafe
        with (
            progress_bar(len(jobs), unit="run") as bar,
            ProcessPoolExecutor(workers, mp_context=context, initializer=_follow_parent) as pool,
        ):
            for _ in pool.map(_fetch_in_child, jobs):
                bar.update()
        fresh = False
    return [_fetch(spec, data, device, fresh) for spec in specs]


def _fetch(spec: RunSpec, data: ImageData, device: str, fresh: bool) -> Run:
    folder = _folder(spec, data, device)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Whoever comes second waits here, and then finds the run.
        with FileLock(folder.with_suffix(".lock")):
            if fresh:
                shutil.rmtree(folder, ignore_errors=True)
            if not _is_complete(folder):
                _train_into(folder, spec, data, device)
    except OSError as error:
        raise StoreError(
            f"the run store {folder.parent} must be writable, but: {error}. Is the disk full or "
            "the folder read-only? Make room, or set LECTURE_VAE_RUNS to another folder. What was "
            "trained up to the last evaluation is kept."
        ) from error
    return open_run(folder.name)


def _folder(spec: RunSpec, data: ImageData, device: str) -> Path:
    return store_folder() / key_of(describe(spec, data, device))


def _is_complete(folder: Path) -> bool:
    return (folder / "run.json").exists()


def _train_into(folder: Path, spec: RunSpec, data: ImageData, device: str) -> None:
    checkpoint = folder / "checkpoint.safetensors"
    model = build_model(spec.model, seed=spec.config.seed, **spec.keywords)
    kept = decoder_steps(spec.config)

    def keep(state: Checkpoint) -> None:
        if (step := state.history.steps[-1]) in kept:
            save_decoder(folder, step, state.model)
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
    mu = evaluate(model, spec.objective, data.test.images, seed=None).mu
    save_run(folder, describe(spec, data, device), model, history, mu)
    checkpoint.unlink(missing_ok=True)


def _follow_parent() -> None:
    """Be quiet, and end with the parent: whoever kills it would not look for its children."""
    os.environ["TQDM_DISABLE"] = "1"
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _fetch_in_child(job: tuple[RunSpec, str, str, bool]) -> None:
    spec, source, fingerprint, fresh = job
    data = load_images(source)
    if data.fingerprint != fingerprint:
        raise StoreError(f"{source} now holds other images than when training was asked for.")
    _fetch(spec, data, "cpu", fresh)
