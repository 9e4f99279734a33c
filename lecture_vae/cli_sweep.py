"""The verb `sweep`: many runs, on this machine or on a cluster, then a table and a plot."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lecture_vae.verbs import (
    PROGRAM,
    BatchSize,
    Data,
    Device,
    Engine,
    EvalEvery,
    Imports,
    LearningRate,
    Likelihood,
    Model,
    Objective,
    Samples,
    Steps,
    Variance,
    cannot_write,
    config_for,
    import_all,
    load,
    objective_for,
)  # fmt: skip

if TYPE_CHECKING:
    import pandas as pd

    from lecture_vae.sweep import Row

__all__ = ["sweep"]

TABLE, PLOT = "sweep.csv", "rate_distortion.svg"


def sweep(
    model: Model,
    kl_weight: Annotated[
        str | None, typer.Option(metavar="LIST", help="Such as .06,.25,1,4; 1 if not given.")
    ] = None,
    seed: Annotated[str, typer.Option(metavar="LIST", help="Such as 0..9 or 0,3,7.")] = "0",
    latent_dim: Annotated[
        str | None, typer.Option(metavar="LIST", help="Such as 2,8,32; the model's if not given.")
    ] = None,
    objective: Objective = None,
    likelihood: Likelihood = None,
    variance: Variance = None,
    samples: Samples = None,
    steps: Steps = None,
    eval_every: EvalEvery = None,
    batch_size: BatchSize = None,
    lr: LearningRate = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time here; as many as cores.")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Of Dask, whose workers then train.")
    ] = None,
    out: Annotated[Path, typer.Option(help=f"Folder for {TABLE} and {PLOT}.")] = Path(),
    data: Data = "auto",
    device: Device = "auto",
    engine: Engine = "auto",
    imports: Imports = None,
) -> None:
    """Train a model for every combination of KL weight, latents and seed; write table and plot.

    What is stored is not trained again: the same command continues a sweep that was interrupted.
    """
    from lecture_vae.cluster import check_scheduler
    from lecture_vae.native.engine import engine_names
    from lecture_vae.options import axis_values
    from lecture_vae.storage import check_writable
    from lecture_vae.store import StoreError, object_store, store_folder
    from lecture_vae.sweep import sweep_runs, sweep_specs
    from lecture_vae.training import pick_device, progress_bar

    if jobs is not None and scheduler is not None:
        PROGRAM.refuse("--jobs is for this machine, and with --scheduler its workers train.")
    PROGRAM.check_out(out)
    import_all(imports)
    try:
        weights = [None] if kl_weight is None else axis_values("--kl-weight", kl_weight, float)
        seeds = axis_values("--seed", seed, int)
        dims = [] if latent_dim is None else axis_values("--latent-dim", latent_dim, int)
        if scheduler is None:  # what would be an error in every run
            engine_names(engine, pick_device(device))
            check_writable(store_folder())
            if (remote := object_store()) is not None:
                remote.has("0" * 16)
        else:
            check_scheduler(scheduler)
    except OSError as error:
        PROGRAM.refuse(f"the run store, which LECTURE_VAE_RUNS names, cannot be used: {error}")
    except (ValueError, StoreError) as error:
        PROGRAM.refuse(error)
    objectives = [
        objective_for(
            model, objective, likelihood, variance, {"kl_weight": weight, "samples": samples}
        )
        for weight in weights
    ]
    config = config_for(model, steps=steps, eval_every=eval_every, batch_size=batch_size, lr=lr)
    try:
        specs = sweep_specs(model, objectives, config, seeds=seeds, latent_dims=dims)
    except ValueError as error:
        PROGRAM.refuse(error)
    images = load(data)
    running = sweep_runs(
        specs, images, device=device, engine=engine, jobs=jobs, scheduler=scheduler
    )
    rows: list[Row] = []
    failed: list[Row] = []
    try:
        with progress_bar(len(specs), unit="run") as bar, closing(running):
            for row in running:
                rows.append(row)
                if row.status == "failed":
                    failed.append(row)
                bar.update()
                bar.set_postfix(failed=len(failed))
    except (ValueError, ImportError, OSError, StoreError) as error:
        PROGRAM.refuse(error)
    finally:  # also of an interrupted sweep
        table = _written(rows, out)
    count = table["status"].value_counts()
    typer.echo(
        f"{len(rows)} runs: "
        + ", ".join(f"{count.get(each, 0)} {each}" for each in ("trained", "found", "failed"))
    )
    if failed:
        first = failed[0]
        message = (
            f"{PROGRAM.name}: {len(failed)} of {len(rows)} runs failed; {out / TABLE} says why. "
            f"The first, of KL weight {first.kl_weight}, {first.latent_dim} latents and seed "
            f"{first.seed}: {first.reason}"
        )
        typer.echo(message, err=True)
        raise typer.Exit(1)


def _written(rows: "list[Row]", out: Path) -> "pd.DataFrame":
    """The table, written, and its plot where there is something to plot."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = PROGRAM.name
    from lecture_vae.plots import plot_rate_distortion
    from lecture_vae.storage import write_together
    from lecture_vae.sweep import describe_table, sweep_table

    table = sweep_table(rows)
    files: dict[Path, Any] = {}
    if rows:
        files[out / TABLE] = lambda file: table.to_csv(file, index=False)
    if not table.dropna(subset=["kl_weight", "rate_bits", "squared_error"]).empty:
        alt = describe_table(table)
        figure: Any = plot_rate_distortion(table).figure
        # Without the date and random ids: the same table gives the same file.
        files[out / PLOT] = lambda file: figure.savefig(
            file, metadata={"Description": alt, "Date": None}
        )
        typer.echo(f"alt text of the plot: {alt}")
    try:
        write_together(files)
    except OSError as error:
        cannot_write(out, error)
    if files:
        typer.echo(f"written: {' and '.join(map(str, files))}")
    return table
