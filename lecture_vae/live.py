"""Live: a run as the small files that the interactive figures of the book read.

The files are `safetensors <https://huggingface.co/docs/safetensors>`_: weights in float16, which
suffices for display; codes in int16; labels in uint8; what is predicted in float32. The metadata
has one entry, ``lecture_vae``, with JSON:

- ``format`` of the metadata, and ``crc32``: eight hexadecimal digits, the CRC-32 of the whole file
  with zeros in their place;
- ``run``: whose file it is;
- ``scales``: for each int16 array the number by which its values are multiplied;
- ``networks``: for each network its affine layers in order, and the activation after each; a layer
  with ``kernel``, ``stride`` and ``padding``, in pixels, is a transposed convolution.

``book/_static/live/safetensors.js`` reads them in the browser, ``safetensors.safe_open`` in Python.
"""

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int16
from safetensors.numpy import save
from torch import Tensor, nn

from lecture_vae.data import ImageData
from lecture_vae.diagnostics import (
    affine_vae_optimum,
    collapse_weights,
    kl_per_latent,
    principal_variances,
    total_variance,
)
from lecture_vae.drawing import shared_limits
from lecture_vae.storage import write_atomically
from lecture_vae.store import Run

__all__ = ["export_balance", "export_run"]

FORMAT = 3  # raise it when a reader of the old files would misread the new ones
IMAGES = 2_000  # test images whose codes move over the training
EVALUATIONS = 61  # of the training
THEORY_POINTS = 121  # of each curve that the linear theory predicts
ACTIVATIONS = {nn.ReLU: "relu", nn.Sigmoid: "sigmoid"}
# The layers that the browser's side can run, or that only shape what others make.
SUPPORTED_LAYERS = (nn.Linear, nn.ReLU, nn.Sigmoid, nn.Flatten, nn.Unflatten, nn.Sequential)


class LiveFile(NamedTuple):
    """What one file holds: JSON values, and arrays of the dtype in which they are stored."""

    metadata: dict[str, Any]
    arrays: dict[str, np.ndarray]


def export_run(run: Run, data: ImageData, folder: Path) -> list[Path]:
    """Write the files of a run with a two-dimensional latent into ``folder``.

    ``model.safetensors`` holds the decoder, and codes and labels of the test set;
    ``encoder.safetensors`` the encoder; ``training.safetensors`` the codes of 2,000 test images at
    about 60 evaluations; and ``decoder-STEP.safetensors`` the decoder as it was then.

    Returns:
        The files, in the order in which a page needs them.

    Raises:
        ValueError: If the run is not of a fully connected model with two latents, or was trained
            on other data.
    """
    _check(run, data)
    if not run.decoders:
        raise ValueError(
            f"run {run.key} was stored without the decoders of its training, by an older version. "
            "Train it again: `lecture-vae train ... --fresh`."
        )
    latents = np.stack(run.history.latents)
    shown = np.unique(np.linspace(0, len(latents) - 1, EVALUATIONS).round().astype(int))
    labels = data.test.labels.numpy().astype(np.uint8)
    mu, mu_scale = quantize(run.code.numpy())
    moving, moving_scale = quantize(latents[shown, :IMAGES].astype(np.float32))
    encoder = "encoder", "trunk", "to_mu", "to_log_var"
    files = {
        "model": LiveFile(
            {
                "limits": _limits(latents),
                "scales": {"mu": mu_scale},
                "networks": _networks(run, "decoder"),
            },
            _weights(run, "decoder") | {"mu": mu, "labels": labels},
        ),
        "encoder": LiveFile({"networks": _networks(run, *encoder)}, _weights(run, *encoder)),
        "training": LiveFile(
            {
                "rows": [run.history.rows[k] for k in shown],
                "decoders": [*run.decoders],
                "scales": {"latents": moving_scale},
            },
            {"latents": moving, "labels": labels[:IMAGES]},
        ),
    }
    for step, weights in run.decoders.items():
        files[f"decoder-{step}"] = LiveFile(
            {"step": step, "networks": _networks(run, "decoder")}, _half(weights)
        )
    identity = {"run": run_identity(run)}
    return write_files(
        folder,
        {name: LiveFile(identity | metadata, each) for name, (metadata, each) in files.items()},
    )


def export_balance(runs: Sequence[Run], data: ImageData, folder: Path) -> list[Path]:
    """Write what VAEs that differ in their KL weight alone make of the same images.

    ``balance.safetensors`` holds the codes of 2,000 test images at each weight, [weights, images,
    2]; in ``rows``, for each weight the terms on the test set with one sampled z per image, the KL
    of each latent, and what the best affine VAE scores. With d latents and the training images'
    first d principal variances, :func:`~lecture_vae.diagnostics.affine_vae_optimum` gives the
    curves over the weights: ``theory_kl_weight`` [121], ``theory_squared_error`` [121] and
    ``theory_kl`` [121, d]; ``collapse_weights`` says where they end. ``decoder-K.safetensors`` is
    the decoder of row K.

    Returns:
        The files, in the order in which a page needs them.

    Raises:
        ValueError: If a run is not of a fully connected VAE with two latents, or trained on other
            data; if the runs differ in more than their weight, or two have the same.
    """
    for run in runs:
        _check(run, data)
    weights = [_kl_weight(run) for run in runs]
    ways = {(run.spec.model, run.spec.config, *run.versions.items()) for run in runs}
    if len(runs) < 2 or None in weights or len({*weights}) < len(runs) or len(ways) > 1:
        raise ValueError(
            "a balance is shown by two or more VAEs that differ in their KL weight and in nothing "
            f"else, got weights {weights} and {len(ways)} ways to train. Is one of them an "
            "autoencoder, of another budget or another version of torch?"
        )
    runs = [run for _, run in sorted(zip(weights, runs, strict=True), key=itemgetter(0))]
    variances = principal_variances(data.train.images)[: runs[0].code.shape[1]]
    total = total_variance(data.train.images)
    rows = [_balance_row(run, data) for run in runs]
    for row in rows:
        row["affine_vae"] = affine_vae(row["kl_weight"], variances, total)
    codes = np.stack([run.code[:IMAGES].numpy() for run in runs]).astype(np.float32)
    latents, scale = quantize(codes)
    metadata = {
        "rows": rows,
        "collapse_weights": collapse_weights(variances).tolist(),
        "total_variance": total,
        "limits": _limits(codes),
        "scales": {"latents": scale},
    }
    arrays = {
        "latents": latents,
        "labels": data.test.labels[:IMAGES].numpy().astype(np.uint8),
        **theory_curves([row["kl_weight"] for row in rows], variances, total),
    }
    files = {"balance": LiveFile(metadata, arrays)}
    for number, run in enumerate(runs):
        files[f"decoder-{number}"] = LiveFile(
            {"run": run_identity(run), "networks": _networks(run, "decoder")},
            _weights(run, "decoder"),
        )
    return write_files(folder, files)


def affine_vae(
    kl_weight: float, variances: Float[Tensor, " d"], total: float
) -> dict[str, float | list[float]]:
    """What the best affine VAE scores at one weight, as JSON values."""
    best = affine_vae_optimum(kl_weight, variances, total)
    return {"squared_error": best.squared_error, "kl": best.kl.tolist()}


def theory_curves(
    kl_weights: Sequence[float], variances: Float[Tensor, " d"], total: float
) -> dict[str, np.ndarray]:
    """What the best affine VAE scores over a little more than the range of ascending weights."""
    over = np.geomspace(kl_weights[0] / 1.3, kl_weights[-1] * 1.3, THEORY_POINTS)
    curve = [affine_vae_optimum(w, variances, total) for w in over]
    return {
        "theory_kl_weight": over.astype(np.float32),
        "theory_squared_error": np.array([best.squared_error for best in curve], np.float32),
        "theory_kl": np.array([best.kl.tolist() for best in curve], np.float32),
    }


def quantize(codes: Float[np.ndarray, "..."]) -> tuple[Int16[np.ndarray, "..."], float]:
    """Codes as multiples of one step, and the step, in latent units.

    On a screen the relative precision of floats is of no use; steps of equal size are.
    """
    scale = float(np.abs(codes).max()) / 32_767 or 1.0
    return (codes / scale).round().astype(np.int16), scale


def serialize(file: LiveFile) -> bytes:
    """The bytes of one file; the same file gives the same bytes."""
    metadata = {"format": FORMAT, "crc32": "00000000", **file.metadata}
    # One entry: safetensors writes several in random order.
    text = json.dumps(metadata, separators=(",", ":"))
    content = save(file.arrays, {"lecture_vae": text})
    place = rb"\"crc32\":\"%08x"
    return content.replace(place % 0, place % zlib.crc32(content), 1)


def write_files(folder: Path, files: Mapping[str, LiveFile]) -> list[Path]:
    """Write each file as ``NAME.safetensors``; the folder is made where it is missing.

    Raises:
        OSError: If the folder or a file cannot be written.
    """
    paths = [folder / f"{name}.safetensors" for name in files]
    for path, file in zip(paths, files.values(), strict=True):
        write_atomically(path, partial(Path.write_bytes, data=serialize(file)))
    return paths


def _check(run: Run, data: ImageData) -> None:
    others = {
        type(layer).__name__
        for _, part in run.model.named_children()
        for layer in part.modules()
        if not isinstance(layer, SUPPORTED_LAYERS)
    }
    if run.code.shape[1] != 2 or others:
        raise ValueError(
            "the live figures show models with 2 latents whose networks are made of "
            f"{', '.join(kind.__name__ for kind in SUPPORTED_LAYERS)}; got {run.spec.model} with "
            f"{run.code.shape[1]} latents"
            + (f" and {', '.join(sorted(others))}." if others else ".")
        )
    if run.fingerprint != data.fingerprint:
        raise ValueError(
            f"run {run.key} was trained on other data ({run.data}) than the {data.name} given, so "
            "the labels would be wrong."
        )


def _balance_row(run: Run, data: ImageData) -> dict[str, Any]:
    with torch.inference_mode():
        q: Any = run.model.encode(data.test.images)
    last = {name: value for name, value in run.history.rows[-1].items() if name.startswith("test_")}
    return {**run_identity(run), **last, "kl_per_latent": kl_per_latent(q.mu, q.log_var).tolist()}


def _kl_weight(run: Run) -> float | None:
    return getattr(run.spec.objective, "kl_weight", None)


def run_identity(run: Run) -> dict[str, Any]:
    """Which run a file is of, as JSON values."""
    return {
        "key": run.key,
        "model": run.spec.model,
        "kl_weight": _kl_weight(run),
        "steps": run.spec.config.steps,
        "seed": run.spec.config.seed,
        "data": run.data,
        "torch": run.versions["torch"],
    }


def _limits(codes: np.ndarray) -> list[list[float]]:
    return [list(map(float, axis)) for axis in shared_limits(codes)]


def _weights(run: Run, *parts: str) -> dict[str, np.ndarray]:
    state = run.model.state_dict()
    return _half({n: value for n, value in state.items() if n.partition(".")[0] in parts})


def _half(weights: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: value.half().numpy() for name, value in weights.items()}


def _networks(run: Run, *parts: str) -> dict[str, list[dict[str, str]]]:
    """The layers of the parts that this model has."""
    have = dict(run.model.named_children())
    return {name: list(_layers(name, have[name])) for name in parts if name in have}


def _layers(name: str, part: nn.Module) -> Iterator[dict[str, str]]:
    """Each affine layer, and the activation after it."""
    modules: Sequence[tuple[str, nn.Module]] = [
        (f"{name}.{number}", module) for number, module in part.named_children()
    ] or [(name, part)]
    for (layer, module), (_, following) in zip(modules, [*modules[1:], ("", part)], strict=True):
        if isinstance(module, nn.Linear):
            yield {"layer": layer, "activation": ACTIVATIONS.get(type(following), "identity")}
