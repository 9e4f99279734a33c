"""Runs: train a model once, then load it.

:func:`fetch_run` loads a run from the store, resumes it if it was interrupted, or trains it. So
chapters share their runs, and of several processes that request the same run one trains it. The key
of a run is defined in :mod:`lecture_vae.recipe`, its files in :mod:`lecture_vae.store`, fetching
one run in :mod:`lecture_vae.fetching`, and training in parallel in :mod:`lecture_vae.side_by_side`.
"""

from collections.abc import Iterable
from typing import Any

from lecture_vae.cluster import cores
from lecture_vae.data import ImageData
from lecture_vae.fetching import Request, Store
from lecture_vae.losses import Objective
from lecture_vae.recipe import RunSpec, key_of
from lecture_vae.side_by_side import fetch_in_threads, is_importable, train_side_by_side
from lecture_vae.store import Run, open_run, store_folder
from lecture_vae.training import TrainConfig, pick_device

__all__ = ["fetch_run", "fetch_runs"]


def fetch_run(
    model: str,
    objective: Objective,
    data: ImageData,
    config: TrainConfig,
    *,
    device: str = "auto",
    engine: str = "auto",
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
        engine: As for :func:`~lecture_vae.native.engine.plan_for`. ``"auto"`` is content with a
            stored run of any engine; an interrupted run is resumed by the engine that began it.
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
        ValueError: If there is no such model, device or engine, or the warm start is of another
            model.

    Examples:
        >>> data, config = load_images("digits"), TrainConfig(steps=2, eval_every=1)
        >>> objective = NegativeELBO(kl_weight=1.0)
        >>> run = fetch_run("linear-vae", objective, data, config, store=None, latent_dim=3)
        >>> run.history.steps, run.code.shape
        ([0, 1, 2], torch.Size([359, 3]))
    """
    spec = RunSpec(model, objective, config, keywords, start_from)
    return Request(spec, data, device, engine, store).fetch(fresh=fresh)


def fetch_runs(
    specs: Iterable[RunSpec],
    data: ImageData,
    *,
    device: str = "auto",
    engine: str = "auto",
    fresh: bool = False,
    store: Store = "auto",
) -> list[Run]:
    """:func:`fetch_run` for several runs; on a CPU, new runs are trained in parallel.

    Training uses one thread, so as many runs are trained at a time as this process may use cores:
    with native kernels in threads of this process, in PyTorch each in a worker process that loads
    ``data.source`` again. A model that is defined in a notebook or a script is trained in this
    process, since a worker cannot import it; define it in a file.

    Args:
        specs: What to train.
        data: Training and test images.
        device: As for :func:`~lecture_vae.training.pick_device`.
        engine: As for :func:`fetch_run`.
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
    requests = [Request(spec, data, device, engine, store) for spec in specs]
    if store is None or pick_device(device).type != "cpu" or cores() == 1:
        return [request.fetch(fresh=fresh) for request in requests]
    # The keys of what is to be trained; two requests may have one.
    keys = {
        request: key_of(request.recipe) for request in requests if fresh or request.stored() is None
    }
    missing = {key: request for request, key in keys.items()}
    # A warm start waits for the run that it begins with.
    ready = {key: r for key, r in missing.items() if r.spec.start_from not in missing}
    threads = {key: r for key, r in ready.items() if r.plan is not None}
    workers = {key: r for key, r in ready.items() if r.plan is None and is_importable(r.spec)}
    trained = set[str]()
    if len(threads) > 1:
        fetch_in_threads([*threads.values()], cores(), fresh=fresh)
        trained |= threads.keys()
    if len(workers) > 1:
        train_side_by_side([*workers.values()], cores(), fresh=fresh)
        trained |= workers.keys()
    return [
        # What was trained now, not a stored run of another engine.
        open_run(keys[request], store=store_folder(store))
        if keys.get(request) in trained
        else request.fetch(fresh=fresh)
        for request in requests
    ]
