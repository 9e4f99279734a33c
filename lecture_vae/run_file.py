"""Run file: `run.json` of a stored run, checked before anything is built from it.

A disk, a copy over a network or an editor may have changed it. What it says decides which model is
built and how large, so its form is checked first, and the sizes before any memory is taken.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lecture_vae.likelihoods import LIKELIHOODS
from lecture_vae.losses import OBJECTIVES
from lecture_vae.networks import MODELS, build_model
from lecture_vae.recipe import FORMAT, FORMAT_1_NAMES

__all__ = ["NewerFormat", "check_registered", "is_far_larger", "read_run_file"]

NUMBER = (int, float)
HEAD = {"history": list, "seconds": NUMBER, "versions": dict}
RECIPE = {
    "model": str, "keywords": dict, "objective": dict, "config": dict, "data": dict, "device": str,
}  # fmt: skip
DATA = {"name": str, "fingerprint": str}


class NewerFormat(Exception):
    """The file is of a version of the package that did not exist yet.

    Examples:
        >>> issubclass(NewerFormat, ValueError)  # such a file is not damaged
        False
    """


def read_run_file(folder: Path) -> dict[str, Any]:
    """The content of a run's `run.json`; its recipe is in ``recipe`` whatever the format.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is not JSON, or an entry is missing or of another type.
        NewerFormat: If a later version of the package wrote it.

    Examples:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     _ = (Path(folder) / "run.json").write_text('{"recipe": "none"}')
        ...     read_run_file(Path(folder))
        Traceback (most recent call last):
        ...
        ValueError: run.json: recipe is a str; it must be a dict
    """
    try:
        head = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("run.json is nested too deeply") from error
    if isinstance(head, dict):
        head["recipe"] = head.get("recipe") or head.pop("described", None)  # as format 1 calls it
    _check(head, {"recipe": dict}, "run.json")
    recipe = head["recipe"]
    _check({"format": 1, **recipe}, {"format": int}, "run.json: recipe")
    if recipe.get("format", 1) > FORMAT:
        raise NewerFormat
    _check(head, HEAD, "run.json")
    _check(recipe, RECIPE, "run.json: recipe")
    _check(recipe["objective"], {"name": str}, "run.json: recipe: objective")
    _check(recipe["data"], DATA, "run.json: recipe: data")
    for row in head["history"]:
        _check(row, {"step": int}, "run.json: history")
    return head


def check_registered(recipe: Mapping[str, Any]) -> None:
    """Look up the model, the objective and its likelihood.

    Raises:
        KeyError: If nothing has the name; the message lists all names.

    Examples:
        >>> check_registered({"model": "my-vae", "objective": {"name": "negative-elbo"}})
        Traceback (most recent call last):
        ...
        KeyError: "there is no model 'my-vae'; ..."
    """
    objective = recipe["objective"]
    MODELS[recipe["model"]]
    OBJECTIVES[FORMAT_1_NAMES.get(objective["name"], objective["name"])]
    for value in objective.values():
        if isinstance(value, dict):
            LIKELIHOODS[str(value.get("name"))]


def is_far_larger(model: str, keywords: Mapping[str, Any], weights: Mapping[str, Tensor]) -> bool:
    """Whether a model has more than twice the parameters of the weights that it shall get.

    No memory is taken for them.

    Raises:
        TypeError: If the model takes no such keywords.

    Examples:
        >>> weights = {"encoder.weight": torch.zeros(9)}
        >>> is_far_larger("linear-vae", {"latent_dim": 10**9}, weights)
        True
    """
    with torch.device("meta"):
        built = build_model(model, **keywords)
    size, stored = (
        sum(value.numel() for value in each.values()) for each in (built.state_dict(), weights)
    )
    return size > 2 * stored + 10**6


def _check(entries: Any, form: Mapping[str, Any], what: str) -> None:
    if not isinstance(entries, dict):
        raise ValueError(f"{what} is a {type(entries).__name__}; it must be a dict")
    for name, kind in form.items():
        value = entries.get(name)
        if not isinstance(value, kind) or isinstance(value, bool):
            wanted = "number" if kind is NUMBER else kind.__name__
            raise ValueError(f"{what}: {name} is a {type(value).__name__}; it must be a {wanted}")
