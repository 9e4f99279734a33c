"""Sweep: runs over the values of KL weight, latents and seed, and the table of what they came to.

A sweep is as many runs as its axes have combinations, in the run store like any other: what is
stored is found, what was interrupted is resumed. Each is trained in a process of its own
(:mod:`lecture_vae.trainer`), on this machine or on the workers of a Dask scheduler. A run that
fails is a row that says why; the others go on.
"""

import math
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from lecture_vae.calibration import bits_per_dim
from lecture_vae.cluster import check_scheduler, run_tasks
from lecture_vae.data import ImageData
from lecture_vae.diagnosis import implied_likelihood
from lecture_vae.likelihoods import GaussianPixels
from lecture_vae.losses import Objective
from lecture_vae.models import PIXELS
from lecture_vae.networks import build_model
from lecture_vae.packing import pack_images
from lecture_vae.recipe import RunSpec, describe
from lecture_vae.side_by_side import imports_of, is_importable
from lecture_vae.store import store_place
from lecture_vae.trainer import Job, Trained, Trainers, fetch_in_trainer
from lecture_vae.training import TrainConfig

__all__ = ["MAX_RUNS", "Row", "describe_table", "sweep_runs", "sweep_specs", "sweep_table"]

MAX_RUNS = 100_000  # of one sweep; a mistyped range would fill the memory


def sweep_specs(
    model: str,
    objectives: Sequence[Objective],
    config: TrainConfig,
    *,
    seeds: Sequence[int],
    latent_dims: Sequence[int] = (),
) -> list[RunSpec]:
    """Every combination of latents, objective and seed as a run, the seeds of one together.

    Args:
        model: A name in :data:`~lecture_vae.networks.MODELS`.
        objectives: One for each KL weight.
        config: How each run is trained, but for its seed.
        seeds: Of the runs.
        latent_dims: The model's keyword ``latent_dim``; without any, the model's own number.

    Raises:
        ValueError: If there are more than ``MAX_RUNS``, or the model has no ``latent_dim``.

    Examples:
        >>> objectives = [NegativeELBO(w) for w in (1.0, 4.0)]
        >>> len(sweep_specs("linear-vae", objectives, TrainConfig(), seeds=[0, 1, 2]))
        6
    """
    keywords: list[dict[str, Any]] = [{"latent_dim": d} for d in latent_dims] or [{}]
    if (runs := len(keywords) * len(objectives) * len(seeds)) > MAX_RUNS:
        raise ValueError(f"a sweep has {MAX_RUNS:,} runs at most, and these axes give {runs:,}.")
    for each in keywords:
        try:
            build_model(model, **each)
        except TypeError as error:
            raise ValueError(f"--latent-dim cannot be given to {model}: {error}.") from error
    return [
        RunSpec(model, objective, replace(config, seed=seed), each)
        for each, objective, seed in product(keywords, objectives, seeds)
    ]


@dataclass(frozen=True)
class Row:
    """A run of a sweep: what it is and what it came to, means over the test images.

    Entries that a model or an objective does not have are None, as are all but the first four of a
    run that failed.

    Examples:
        >>> row = Row("linear-vae", 1.0, 2, 0, status="failed", reason="the loss is nan")
        >>> row.key is None
        True
    """

    model: str
    kl_weight: float | None
    latent_dim: int | None  # latents of an image: 64 for four maps of 4 x 4
    seed: int
    key: str | None = None
    status: str = "failed"  # or "trained" now, or "found" in the store
    squared_error: float | None = None  # S with z drawn from q(z | x), squared gray levels
    kl: float | None = None  # nats per image
    rate_bits: float | None = None  # the KL in bits per image
    elbo: float | None = None  # nats, of the likelihood that the loss implies
    bits_per_dim: float | None = None  # of the ELBO
    loss: float | None = None  # in the unit of the objective
    steps: int | None = None
    seconds: float | None = None  # of training, also if it was stored before
    device: str | None = None
    engine: str | None = None
    reason: str | None = None  # why it failed


def sweep_runs(
    specs: Sequence[RunSpec],
    data: ImageData,
    *,
    device: str = "auto",
    engine: str = "auto",
    jobs: int | None = None,
    scheduler: str | None = None,
    store: str | Path = "auto",
) -> Generator[Row]:
    """Train what is not stored, and yield a row for each run as it is completed.

    Args:
        specs: The runs, of models and objectives that other processes can import.
        data: Training and test images. They travel once to each worker.
        device: As for :func:`~lecture_vae.training.pick_device`, where a run is trained.
        engine: As for :func:`~lecture_vae.runs.fetch_run`, likewise.
        jobs: Runs at a time on this machine; None for the number of cores.
        scheduler: Address of a Dask scheduler, whose workers then train.
        store: As for :func:`~lecture_vae.store.store_folder`; all workers must see it by this name.

    Raises:
        ValueError: If a model is defined where no other process can import it, or as
            :func:`~lecture_vae.cluster.check_scheduler`.
        NotStorableError: If a run cannot be described by names and plain values.
        ImportError: If a scheduler is named but Dask is not installed.
        OSError: If the scheduler cannot be reached.

    Examples:
        >>> data = load_images("digits")
        >>> next(iter(sweep_runs([], data)), "no runs, no rows")
        'no runs, no rows'
    """
    if scheduler is not None:
        check_scheduler(scheduler)
    place = store_place(store)
    if place.startswith("memory:"):
        raise ValueError(
            f"a sweep is trained by many processes, and {place} is in the memory of one. Set "
            "LECTURE_VAE_RUNS to a folder or to another URL."
        )
    blank, to_do = {}, list[Job]()  # rows to be filled in, by the identity of the job
    models: dict[tuple[str, str], Any] = {}  # to be described, with any weights
    for spec in specs:
        name = spec.model, repr(dict(spec.keywords))
        if name not in models:
            models[name] = build_model(spec.model, **spec.keywords)
        to_do.append(_job(spec, data, models[name], device, engine, place))
        blank[id(to_do[-1])] = spec, math.prod(models[name].latent_shape)
    if not specs:
        return
    with Trainers() as trainers:  # of which none is started if there is a scheduler
        fetch = trainers.fetch if scheduler is None else fetch_in_trainer
        for job, result in run_tasks(
            fetch, to_do, common=pack_images(data), jobs=jobs, scheduler=scheduler,
            stop=trainers.close,
        ):  # fmt: skip
            yield _row(*blank[id(job)], result)


def _job(spec: RunSpec, data: ImageData, model: Any, device: str, engine: str, store: str) -> Job:
    if not is_importable(spec):
        raise ValueError(
            f"a sweep is trained by other processes, and {spec.model} or its objective is "
            "defined where they cannot import it. Define it in a file and import that."
        )
    recipe = describe(spec, data, "cpu", model=model)
    return Job(recipe, data.fingerprint, tuple(imports_of(spec)), device, engine, store)


def _row(spec: RunSpec, latents: int, result: Trained | Exception) -> Row:
    objective: Any = spec.objective
    row = Row(spec.model, getattr(objective, "kl_weight", None), latents, spec.config.seed)
    if isinstance(result, Exception):
        return replace(row, reason=f"{type(result).__name__}: {' '.join(str(result).split())}")
    s, kl = (result.last.get(f"test_{name}") for name in ("squared_error", "kl"))
    elbo, bits = _elbo(objective, result.last)
    return replace(
        row,
        key=result.key,
        status="found" if result.found else "trained",
        squared_error=s,
        kl=kl,
        rate_bits=None if kl is None else kl / math.log(2),
        elbo=elbo,
        bits_per_dim=bits,
        loss=result.last["test_loss"],
        steps=spec.config.steps,
        seconds=result.seconds,
        device=result.device,
        engine=result.engine,
    )


def _elbo(objective: Any, last: Mapping[str, float]) -> tuple[float, float] | tuple[None, None]:
    """The ELBO in nats, of the likelihood that the loss implies, and in bits per dimension."""
    kl, s = last.get("test_kl"), last.get("test_squared_error")
    if kl is None:
        return None, None
    if s is not None and s > 0:
        likelihood, _ = implied_likelihood(objective, s)
        if isinstance(likelihood, GaussianPixels):
            variance = likelihood.variance
            elbo = -s / (2 * variance) - PIXELS / 2 * math.log(2 * math.pi * variance) - kl
            return elbo, bits_per_dim(elbo)
    if "test_cross_entropy" in last:
        elbo = -last["test_cross_entropy"] - kl
        return elbo, bits_per_dim(elbo, levels=1)
    return None, None


def sweep_table(rows: Iterable[Row]) -> pd.DataFrame:
    """The rows as a table, in the order of model, latents, KL weight and seed.

    Examples:
        >>> table = sweep_table([Row("linear-vae", w, 2, 0) for w in (4.0, 1.0)])
        >>> table["kl_weight"].tolist()
        [1.0, 4.0]
    """
    columns = [field.name for field in fields(Row)]
    table = pd.DataFrame([asdict(row) for row in rows], columns=columns)
    for name in ("latent_dim", "steps"):
        table[name] = table[name].astype("Int64")  # whole numbers, also beside missing ones
    return table.sort_values(["model", "latent_dim", "kl_weight", "seed"], ignore_index=True)


def describe_table(table: pd.DataFrame) -> str:
    """What :func:`~lecture_vae.plots.plot_rate_distortion` shows, in words: its alt text.

    Examples:
        >>> from dataclasses import replace
        >>> row = Row("linear-vae", 1.0, 2, 0, squared_error=31.0, rate_bits=9.0)
        >>> rows = [row, replace(row, kl_weight=4.0, rate_bits=3.0)]
        >>> describe_table(sweep_table(rows))
        'Squared error against rate of 2 runs. With 2 latents the rate falls from 9 to 3 bits ...'
    """
    complete = table.dropna(subset=["kl_weight", "rate_bits", "squared_error"])
    parts = [f"Squared error against rate of {len(complete)} runs."]
    for latents, rows in complete.groupby("latent_dim"):
        ends = rows.groupby("kl_weight")[["rate_bits", "squared_error"]].mean()
        (rate, error), (last_rate, last_error) = ends.iloc[0], ends.iloc[-1]
        if len(ends) == 1:
            parts.append(f"With {latents} latents: {error:.3g} at {rate:.3g} bits an image.")
            continue
        parts.append(
            f"With {latents} latents the rate falls from {rate:.3g} to {last_rate:.3g} bits an "
            f"image and the error goes from {error:.3g} to {last_error:.3g}, as the KL weight "
            f"rises from {ends.index[0]:g} to {ends.index[-1]:g}."
        )
    return " ".join(parts)
