"""Verbs: the program `lecture-vae`, and the options and refusals that its verbs share."""

from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from lecture_vae.command_line import Program

__all__ = [
    "PROGRAM", "BatchSize", "Data", "Device", "Engine", "EvalEvery", "Imports", "LearningRate",
    "Likelihood", "Model", "Objective", "Samples", "Steps", "Variance", "app", "cannot_write",
    "config_for", "import_all", "load", "objective_for", "stored_run",
]  # fmt: skip

PROGRAM = Program("lecture-vae")
app = PROGRAM.app("Companion of the lecture on variational autoencoders.")

Model = Annotated[
    str, typer.Argument(help="linear-ae, linear-vae, conv-ae, conv-vae, affine-vae or yours.")
]
Objective = Annotated[
    str | None, typer.Option(help="squared-error, negative-elbo, negative-iwae or yours.")
]
Likelihood = Annotated[
    str | None, typer.Option(help="Of the pixels: gaussian, bernoulli or yours.")
]
Variance = Annotated[float | None, typer.Option(help="Of Gaussian pixels; 1/2 if not given.")]
Samples = Annotated[int | None, typer.Option(help="Latents drawn for each image.")]
Steps = Annotated[int | None, typer.Option(help="Updates; the budget's if not given.")]
EvalEvery = Annotated[int | None, typer.Option(help="Updates between evaluations.")]
BatchSize = Annotated[int | None, typer.Option(help="Images per update.")]
LearningRate = Annotated[float | None, typer.Option(help="Adam's step size.")]
Data = Annotated[str, typer.Option(help="A folder in torchvision's layout, mnist, digits, auto.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, mps, or auto for the best there is.")]
Engine = Annotated[str, typer.Option(help="native (C kernels, on a CPU), torch, or auto.")]
Imports = Annotated[
    list[str] | None,
    typer.Option(
        "--import", metavar="FILE.py|MODULE", help="Import it first: it registers models and more."
    ),
]


def objective_for(
    model: str,
    objective: str | None,
    likelihood: str | None,
    variance: float | None,
    options: dict[str, Any],
) -> Any:
    """The objective that the options name, or the model's own, with these options.

    Examples:
        >>> objective_for("linear-vae", None, "bernoulli", None, {"kl_weight": 4.0})
        NegativeELBO(kl_weight=4.0, likelihood=BernoulliPixels(), samples=1)
    """
    from lecture_vae.networks import MODELS, default_objective
    from lecture_vae.options import objective_of

    if model not in MODELS:
        PROGRAM.refuse(
            f"there is no model {model!r}; the models are {', '.join(MODELS)}. "
            "--import FILE.py brings yours."
        )
    try:
        return objective_of(objective or default_objective(model), likelihood, variance, options)
    except (ValueError, TypeError) as error:
        PROGRAM.refuse(error)


def config_for(model: str, *, seed: int = 0, **given: Any) -> Any:
    """The lecture's configuration for a model, but for what is given.

    Examples:
        >>> config_for("linear-vae", steps=100, lr=None).steps
        100
    """
    from dataclasses import replace

    from lecture_vae.budgets import lecture_config

    chosen = {name: value for name, value in given.items() if value is not None}
    try:
        return replace(lecture_config(model, seed), **chosen)
    except ValueError as error:
        PROGRAM.refuse(error)


def load(source: str, *, padded: bool = False) -> Any:
    """The images that --data names, padded to 32 x 32 pixels or interpolated."""
    from lecture_vae.data import DataError, load_images

    try:
        return load_images(source, resize="pad" if padded else "interpolate")
    except DataError as error:
        PROGRAM.refuse(error)


def cannot_write(path: Path, error: Exception) -> NoReturn:
    """Refuses, since a result could not be written."""
    PROGRAM.refuse(
        f"{path} could not be written: {error}. Is the disk full or the folder read-only?"
    )


def import_all(places: list[str] | None) -> None:
    """Imports what --import names."""
    from lecture_vae.registry import import_definitions

    try:
        for place in places or []:
            import_definitions(place)
    except ImportError as error:
        PROGRAM.refuse(error)


def stored_run(run: str, imports: list[str] | None, data: str) -> tuple[Any, Any]:
    """A stored run, and the data that it was trained on."""
    from lecture_vae.store import StoreError, open_run

    import_all(imports)
    try:
        stored = open_run(run)
    except StoreError as error:
        PROGRAM.refuse(error)
    images = load(data, padded=stored.data == "mnist-padded")
    if images.fingerprint != stored.fingerprint:
        PROGRAM.refuse(
            f"a run is looked at with the data that it was trained on, {stored.data} for run "
            f"{stored.key}, but --data {data} gives {images.name}. Name the right one."
        )
    return stored, images
