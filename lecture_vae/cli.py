"""The command line, `lecture-vae`: a verb for each thing that one does outside of a notebook.

Modules are imported inside the verbs, so that `lecture-vae --help` answers at once.
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from lecture_vae.cli_sweep import sweep
from lecture_vae.command_line import AsJson
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
    app,
    cannot_write,
    config_for,
    import_all,
    load,
    objective_for,
    stored_run,
)  # fmt: skip

__all__ = ["app"]


@app.command()
def data(source: Annotated[str, typer.Argument(help="As --data of train.")] = "auto") -> None:
    """Find the images, downloading and resizing them if need be, and say which they are."""
    images = load(source)
    typer.echo(f"{images!r} from {images.source}")


@app.command()
def train(
    model: Model,
    objective: Objective = None,
    kl_weight: Annotated[
        float | None, typer.Option(help="Weight of the KL; 1 if not given.")
    ] = None,
    likelihood: Likelihood = None,
    variance: Variance = None,
    samples: Samples = None,
    steps: Steps = None,
    eval_every: EvalEvery = None,
    batch_size: BatchSize = None,
    lr: LearningRate = None,
    seed: Annotated[int, typer.Option(help="Of weights, order and noise.")] = 0,
    start_from: Annotated[
        str | None, typer.Option(metavar="RUN", help="A stored run whose weights are the first.")
    ] = None,
    data: Data = "auto",
    device: Device = "auto",
    engine: Engine = "auto",
    fresh: Annotated[bool, typer.Option("--fresh", help="Train again if it is stored.")] = False,
    imports: Imports = None,
    as_json: AsJson = False,
) -> None:
    """Train a model, or find it in the run store, and report its final losses."""
    from lecture_vae.reproduction import report
    from lecture_vae.runs import fetch_run
    from lecture_vae.store import StoreError

    PROGRAM.show_log("lecture_vae")
    import_all(imports)
    options = {"kl_weight": kl_weight, "samples": samples}
    minimized = objective_for(model, objective, likelihood, variance, options)
    config = config_for(
        model, seed=seed, steps=steps, eval_every=eval_every, batch_size=batch_size, lr=lr
    )
    images = load(data)
    try:
        run = fetch_run(
            model, minimized, images, config, device=device, engine=engine, fresh=fresh,
            start_from=start_from,
        )  # fmt: skip
    except (ValueError, TypeError, RuntimeError, FloatingPointError, StoreError) as error:
        PROGRAM.refuse(error)
    figures = report(run, images)
    if as_json:
        typer.echo(json.dumps(figures))
    else:
        typer.echo(f"run {figures.pop('key')}")
        for name, value in figures.items():
            typer.echo(f"{name:20} {format(value, '.6g') if isinstance(value, float) else value}")


app.command()(sweep)


@app.command()
def reproduce(
    full: Annotated[bool, typer.Option("--full", help="The original's number of steps.")] = False,
    data: Data = "auto",
    device: Device = "auto",
    engine: Engine = "auto",
    out: Annotated[Path, typer.Option(help="Folder for reproduction.json (with --full).")] = Path(
        "results"
    ),
    imports: Imports = None,
) -> None:
    """Train the original lecture's five runs and show our final losses beside its own."""
    import os

    from lecture_vae.reproduction import reproduce as reproduce_lecture
    from lecture_vae.reproduction import table, write_results
    from lecture_vae.store import StoreError

    PROGRAM.show_log("lecture_vae")
    import_all(imports)
    if full:
        PROGRAM.check_out(out)
        os.environ["LECTURE_VAE_BUDGET"] = "full"
    images = load(data)
    try:
        results = reproduce_lecture(images, device=device, engine=engine)
    except (ValueError, RuntimeError, FloatingPointError, StoreError) as error:
        PROGRAM.refuse(error)
    typer.echo(table(results))
    if full:
        try:
            typer.echo(f"written to {write_results(results, out)}")
        except OSError as error:
            cannot_write(out, error)
    else:
        typer.echo("At the quick budget these are not the original's numbers; use --full for them.")


@app.command()
def diagnose(
    run: Annotated[str, typer.Argument(help="Key of a stored run, or its first characters.")],
    data: Data = "auto",
    images: Annotated[int, typer.Option(min=2, help="Test images to use, at most.")] = 1000,
    imports: Imports = None,
    as_json: AsJson = False,
) -> None:
    """Say what a VAE did: its terms, its latents used and predicted, its evidence, a verdict."""
    from dataclasses import asdict

    from lecture_vae.diagnosis import diagnose_run

    stored, fitting = stored_run(run, imports, data)
    try:
        found = diagnose_run(stored, fitting, images=images)
    except (TypeError, ValueError) as error:
        PROGRAM.refuse(error)
    if as_json:
        typer.echo(json.dumps({"run": stored.key, **asdict(found)}))
        return
    typer.echo(f"{'run':24} {stored.key}")
    for name, text in found.rows():
        typer.echo(f"{name:24} {text}")


@app.command()
def animate(
    run: Annotated[str, typer.Argument(help="Key of a stored run, or its first characters.")],
    data: Data = "auto",
    out: Annotated[Path | None, typer.Option(help="The mp4; RUN.mp4 if not given.")] = None,
    imports: Imports = None,
) -> None:
    """Write the codes of a run over its training as an mp4, its last frame as a png beside it."""
    import numpy as np

    from lecture_vae.animation import latent_evolution
    from lecture_vae.diagnostics import principal_plane

    if out is not None and (out.suffix.lower() != ".mp4" or out.is_dir()):
        PROGRAM.refuse(f"--out is the video, a file whose name ends in .mp4, got {out}.")
    PROGRAM.check_out(out.parent if out else Path())
    stored, images = stored_run(run, imports, data)
    codes = np.stack(stored.history.latents)
    shown = f"Codes of {stored.data} test images while a {stored.spec.model} is trained."
    path = out or Path(f"{stored.key}.mp4")
    try:
        video = latent_evolution(
            principal_plane(codes),
            images.test.labels[: codes.shape[1]].numpy(),
            stored.history.steps,
            class_names=images.class_names,
            description=shown,
        )
        video.save(path, path.with_suffix(".png"))
    except (ValueError, RuntimeError) as error:
        PROGRAM.refuse(error)
    except OSError as error:
        cannot_write(path, error)
    typer.echo(f"written: {path} and {path.with_suffix('.png')}")


@app.command()
def export(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Keys of stored runs, or how they begin.")
    ],
    out: Annotated[Path, typer.Option(help="The folder for the files.")],
    data: Data = "auto",
    imports: Imports = None,
) -> None:
    """Write a run, or VAEs of several KL weights, as the files that the live figures read."""
    from lecture_vae.live import export_balance, export_run
    from lecture_vae.store import StoreError, open_run

    import_all(imports)
    PROGRAM.check_out(out)
    try:
        opened, images = [open_run(key) for key in runs], load(data)
        if len(opened) == 1:
            files = export_run(opened[0], images, out)
        else:
            files = export_balance(opened, images, out)
    except (StoreError, ValueError) as error:
        PROGRAM.refuse(error)
    except OSError as error:
        cannot_write(out, error)
    for path in files:
        typer.echo(f"written: {path} ({path.stat().st_size / 1024:.0f} KB)")


ANY_WORDS = {"ignore_unknown_options": True, "help_option_names": []}
Words = Annotated[list[str] | None, typer.Argument()]


@app.command(hidden=True, context_settings=ANY_WORDS)
def release(words: Words = None) -> None:
    """Say where this verb has gone."""
    PROGRAM.refuse("exercises are released by the grader now: lecture-grader release ...")


@app.command(hidden=True, context_settings=ANY_WORDS)
def grade(words: Words = None) -> None:
    """Say where this verb has gone."""
    PROGRAM.refuse("notebooks are graded by the grader now: lecture-grader grade ...")
