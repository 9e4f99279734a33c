"""Recipe: everything that determines the weights of a run, and the key that is its hash.

A recipe names the model and its keywords, the objective, the
:class:`~lecture_vae.training.TrainConfig`, the data, the type of device, the engine, torch's
version, the run that a warm start begins with, and fingerprints of the code: of the model's
classes, of the objective, and of the training loop with its random numbers. A native engine is
named with its vector instructions, which decide how sums are rounded, and with a fingerprint of its
kernels. Adding a model changes no key; changing a layer changes the keys of its model only.

A recipe holds names and plain values, never code. A run that cannot be described in this way cannot
be stored, and is rejected before it is trained.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any

import torch
from torch import nn

from lecture_vae.data import ImageData
from lecture_vae.history import History
from lecture_vae.likelihoods import LIKELIHOODS, BernoulliPixels, GaussianPixels
from lecture_vae.losses import OBJECTIVES, NegativeELBO, Objective, SquaredError
from lecture_vae.models import VAE, Autoencoder, Model
from lecture_vae.native.build import (
    FAMILIES,
    FLAGS,
    kernel_sources,
    load_kernels,
    vector_family,
)
from lecture_vae.native.engine import plan_for
from lecture_vae.native.modules import _has_any_global_hook, network_of
from lecture_vae.native.plan import Plan
from lecture_vae.networks import MODELS, Constant, build_model
from lecture_vae.registry import Registry
from lecture_vae.source import SourceError, code_fingerprint
from lecture_vae.training import TrainConfig, pick_device, progress_bar, train

__all__ = [
    "NotStorableError", "RunSpec", "check_keywords", "describe", "key_of", "spec_of", "with_engine",
]  # fmt: skip

FORMAT = 2  # of a recipe; increment when an old reader would misread a new one
PLAIN_TYPES = (bool, int, float, str, type(None))
# The names of objectives in recipes of format 1.
FORMAT_1_NAMES = {"SquaredError": "squared-error", "NegativeELBO": "negative-elbo"}


class NotStorableError(ValueError):
    """A run can be trained but not stored; the message says why and what to do.

    Examples:
        >>> spec = RunSpec("linear-vae", NegativeELBO(), TrainConfig(), {"latent_dim": [2]})
        >>> describe(spec, load_images("digits"))
        Traceback (most recent call last):
        ...
        lecture_vae.recipe.NotStorableError: this run could be trained, but not stored ...
    """


@dataclass(frozen=True)
class RunSpec:
    """What to train, except for the data.

    Args:
        model: A name in :data:`~lecture_vae.networks.MODELS`.
        objective: What to minimize.
        config: How to train.
        keywords: Plain values, passed to the model.
        start_from: For a warm start, the key of a stored run of the same model, whose weights are
            the initial ones.

    Examples:
        >>> spec = RunSpec("linear-vae", NegativeELBO(2.0), TrainConfig(), {"latent_dim": 3})
        >>> spec.objective.kl_weight
        2.0
    """

    model: str
    objective: Objective
    config: TrainConfig
    keywords: Mapping[str, Any] = field(default_factory=dict)
    start_from: str | None = None


def describe(
    spec: RunSpec, data: ImageData, device: str = "auto", *, model: Model | None = None
) -> dict[str, Any]:
    """The recipe of a run that PyTorch trains, as a dictionary for JSON.

    Args:
        spec: What to train.
        data: Its name and fingerprint are part of the recipe.
        device: As for :func:`~lecture_vae.training.pick_device`.
        model: That of the spec, with any weights; None builds it.

    Raises:
        NotStorableError: If the run cannot be described by names and plain values.
        ValueError: If there is no model of that name, or no such device.

    Examples:
        >>> spec = RunSpec("linear-ae", SquaredError(), TrainConfig())
        >>> recipe = describe(spec, load_images("digits"), device="cpu")
        >>> recipe["objective"], recipe["device"]
        ({'name': 'squared-error'}, 'cpu')
    """
    check_keywords(spec.keywords)
    if model is None:
        model = build_model(spec.model, **spec.keywords)
    objective = _named(spec.objective, OBJECTIVES, "register_objective")
    try:
        code = {
            "model": _model_code(spec.model, model),
            "objective": code_fingerprint(
                type(spec.objective),
                *(type(v) for v in vars(spec.objective).values() if not isinstance(v, PLAIN_TYPES)),
            ),
            "training": _training_code(),
        }
    except SourceError as error:
        raise _not_storable(str(error)) from error
    return {
        "format": FORMAT,
        "model": spec.model,
        "keywords": dict(spec.keywords),
        "objective": objective,
        "config": asdict(spec.config),
        "start_from": spec.start_from,
        "data": {"name": data.name, "fingerprint": data.fingerprint},
        "device": pick_device(device).type,
        "engine": "torch",
        "torch": torch.__version__.split("+")[0],
        "code": code,
    }


def check_keywords(keywords: Mapping[str, Any]) -> None:
    """Refuse keywords of a model that a recipe cannot hold, before a model is built with them.

    Raises:
        NotStorableError: If a value is not plain.

    Examples:
        >>> check_keywords({"latent_dim": 2})
    """
    for name, value in keywords.items():
        _check_plain(value, f"the keyword {name} of the model")


def with_engine(recipe: Mapping[str, Any], engine: str) -> dict[str, Any]:
    """The recipe of the same run by another engine.

    Args:
        recipe: What :func:`describe` returned.
        engine: One of :func:`~lecture_vae.native.engine.engine_names`.

    Examples:
        >>> spec = RunSpec("linear-ae", SquaredError(), TrainConfig())
        >>> recipe = describe(spec, load_images("digits"), device="cpu")
        >>> key_of(with_engine(recipe, "native-avx2")) == key_of(recipe)
        False
    """
    native = {} if engine == "torch" else {"native": _native_code()}
    return {**recipe, "engine": engine, "code": {**recipe["code"], **native}}


def key_of(recipe: Mapping[str, Any]) -> str:
    """The key of a run: the first 16 hex digits of its recipe's SHA-256.

    Examples:
        >>> key_of({"model": "linear-ae"}) == key_of({"model": "linear-ae"})
        True
        >>> len(key_of({"model": "linear-vae"}))
        16
    """
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


def spec_of(recipe: Mapping[str, Any]) -> RunSpec:
    """The inverse of :func:`describe`, also for recipes of format 1.

    Raises:
        KeyError: If a name is not registered, or an entry is missing.
        TypeError: If an entry is not a parameter of the objective or of the configuration.

    Examples:
        >>> spec = RunSpec("linear-ae", SquaredError(), TrainConfig())
        >>> spec_of(describe(spec, load_images("digits"))) == spec
        True
    """
    objective = dict(recipe["objective"])
    objective["name"] = FORMAT_1_NAMES.get(objective["name"], objective["name"])
    return RunSpec(
        recipe["model"],
        _built(objective, OBJECTIVES),
        TrainConfig(**recipe["config"]),
        recipe["keywords"],
        recipe.get("start_from"),
    )


def _model_code(name: str, model: Model) -> str:
    """Fingerprint of a model's classes, its structure and the shapes of its parameters."""
    classes = {type(module) for module in model.modules()}
    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    structure = f"{model!r} {json.dumps(shapes)}"
    own = code_fingerprint(MODELS[name], *sorted(classes, key=lambda c: c.__qualname__))
    return hashlib.sha256(f"{own} {structure}".encode()).hexdigest()[:16]


def _training_code() -> str:
    """Fingerprint of the training loop, of the evaluation and of the random numbers."""
    others = (pick_device, progress_bar, plan_for, Plan, History, TrainConfig, nn.Module)
    return code_fingerprint(train, build_model, without=others)


@cache
def _native_code() -> str:
    """Fingerprint of the native kernels and of what calls them."""
    # What the kernels implement is in the fingerprints of model and objective.
    others: list[Any] = [nn.Module, Model, Autoencoder, VAE, Constant, Objective, SquaredError]
    others += [NegativeELBO, GaussianPixels, BernoulliPixels, load_kernels, vector_family]
    others.append(_has_any_global_hook)  # it decides who trains, not what comes out
    own = code_fingerprint(Plan, network_of, without=others)
    text = f"{own} {kernel_sources()} {FLAGS} {FAMILIES}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _not_storable(why: str) -> NotStorableError:
    return NotStorableError(
        f"this run could be trained, but not stored and found again: {why} "
        "To train it all the same, without the store, pass store=None."
    )


def _check_plain(value: object, what: str) -> None:
    if not isinstance(value, PLAIN_TYPES):
        raise _not_storable(
            f"{what} must be a number, a text, True, False or None, got a {type(value).__name__}."
        )


def _named(thing: object, registry: Registry[Any], register: str) -> dict[str, Any]:
    """An objective or likelihood as its name and the values of its fields."""
    kind = type(thing)
    if not is_dataclass(thing) or not kind.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise _not_storable(
            f"the {registry.kind} {kind.__name__} is not a frozen dataclass, so its results may "
            "depend on more than its fields. Put @dataclass(frozen=True) above its class."
        )
    name = registry.name_of(thing)
    if name is None:
        raise _not_storable(
            f"the {registry.kind} {kind.__name__} has no name. Give it one: "
            f'{register}("my-{registry.kind.split()[-1]}", {kind.__name__}).'
        )
    values: dict[str, Any] = {"name": name}
    for each in fields(thing):
        value = getattr(thing, each.name)
        if is_dataclass(value):
            value = _named(value, LIKELIHOODS, "register_likelihood")
        else:
            _check_plain(value, f"the field {each.name} of {kind.__name__}")
        values[each.name] = value
    return values


def _built(values: Mapping[str, Any], registry: Registry[Any]) -> Any:
    keywords = {
        name: _built(value, LIKELIHOODS) if isinstance(value, Mapping) else value
        for name, value in values.items()
        if name != "name"
    }
    return registry[values["name"]](**keywords)
