"""Options: what those of the command line say about the objective and the axes of a sweep."""

import re
from collections import Counter
from dataclasses import fields
from typing import Any

from lecture_vae.likelihoods import LIKELIHOODS
from lecture_vae.losses import OBJECTIVES
from lecture_vae.sweep import MAX_RUNS

__all__ = ["axis_values", "objective_of"]

RANGE = re.compile(r"(\d+)\.\.(\d+)")


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


def axis_values(name: str, text: str, kind: type[int] | type[float]) -> list[Any]:
    """The values of an axis of a sweep, as they are typed: ``.06,.25,1`` or ``0..9`` or both.

    Args:
        name: Of the option, for errors.
        text: Values with commas between them; ``A..B`` stands for the whole numbers from A to B.
        kind: ``int`` or ``float``.

    Raises:
        ValueError: If a value is missing, no number or named twice, or a range has no end.

    Examples:
        >>> axis_values("--kl-weight", ".06,.25,1", float)
        [0.06, 0.25, 1.0]
        >>> axis_values("--seed", "0..3,7", int)
        [0, 1, 2, 3, 7]
    """
    values: list[Any] = []
    for word in text.split(","):
        if span := RANGE.fullmatch(word.strip()):
            first, last = map(int, span.groups())
            if last < first or last - first >= MAX_RUNS:
                raise ValueError(
                    f"{name} names a range as FIRST..LAST, both included, of {MAX_RUNS:,} numbers "
                    f"at most, got {word.strip()!r}."
                )
            values += [kind(number) for number in range(first, last + 1)]
            continue
        try:
            values.append(kind(word))
        except ValueError as error:
            what = "whole numbers" if kind is int else "numbers"
            raise ValueError(
                f"{name} takes {what} with commas between them, such as 1,4 or 0..9, got {text!r}."
            ) from error
    value, count = Counter(values).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{name} names each value once, got {value} {count} times.")
    return values
