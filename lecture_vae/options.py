"""Options: what those of the command line say about the objective."""

from dataclasses import fields
from typing import Any

from lecture_vae.likelihoods import LIKELIHOODS
from lecture_vae.losses import OBJECTIVES

__all__ = ["objective_of"]


def objective_of(
    name: str, likelihood: str | None, variance: float | None, given: dict[str, Any]
) -> Any:
    """A registered objective with the options that were given, which it must have as fields.

    Args:
        name: Of the objective.
        likelihood: The name of its likelihood; None for the objective's own.
        variance: Of Gaussian pixels, in squared gray levels; None for the likelihood's own.
        given: Other options by the names of the fields; None where one was not given.

    Raises:
        ValueError: If a name is not registered, or an option does not belong to the objective.

    Examples:
        >>> objective_of("negative-elbo", None, None, {"kl_weight": 2.0, "samples": None}).kl_weight
        2.0
    """
    for registry, wanted in ((OBJECTIVES, name), (LIKELIHOODS, likelihood)):
        if wanted is not None and wanted not in registry:
            raise ValueError(
                f"there is no {registry.kind} {wanted!r}; there are {', '.join(registry)}. "
                "--import FILE.py brings yours."
            )
    options = {option: value for option, value in given.items() if value is not None}
    if variance is not None and likelihood not in (None, "gaussian"):
        raise ValueError(
            f"--variance is that of Gaussian pixels, and --likelihood is {likelihood}."
        )
    if likelihood is not None or variance is not None:
        keywords = {} if variance is None else {"variance": variance}
        options["likelihood"] = LIKELIHOODS[likelihood or "gaussian"](**keywords)
    known: Any = OBJECTIVES[name]
    has = {field.name for field in fields(known)}
    if missing := [option for option in options if option not in has]:
        raise ValueError(
            f"--{missing[0].replace('_', '-')} cannot be given: the objective {name} has no "
            f"{missing[0]}. Name another --objective?"
        )
    return known(**options)
