"""Web: a run as the small files that the live figures of the book read.

A *pack* is one file::

    "LVAE"              4 bytes
    length of the head  uint32
    head                JSON, filled up with spaces so that the arrays begin at a multiple of 4
    arrays              each filled up with zeros to a multiple of 4

All numbers are little endian. The head has ``format`` (of the pack), ``run`` (whose it is),
``bytes`` and ``crc32`` of the arrays, and ``arrays``: for each its ``dtype``, ``shape``, ``offset``
behind the head and, for int16, the ``scale`` by which its numbers are multiplied. What a network
is made of stands in ``networks``: its layers in order, and what comes after each.

The browser's side is ``book/_static/live/pack.js``.
"""

import json
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lecture_vae.data import ImageData
from lecture_vae.diagnostics import kl_per_latent, principal_variances, total_variance
from lecture_vae.drawing import shared_limits
from lecture_vae.storage import write_atomically
from lecture_vae.store import Run

__all__ = ["export_balance", "export_run"]

FORMAT = 1  # raise it when a reader of the old packs would misread the new ones
IMAGES = 2_000  # test images whose codes move over the training
EVALUATIONS = 61  # of the training
AFTER = {nn.ReLU: "relu", nn.Sigmoid: "sigmoid"}
# The layers that the browser's side can run, or that only shape what others make.
SHOWN = (nn.Linear, nn.ReLU, nn.Sigmoid, nn.Flatten, nn.Unflatten, nn.Sequential)


def export_run(run: Run, data: ImageData, folder: Path) -> list[Path]:
    """Write the packs of a run with a two-dimensional latent into ``folder``.

    ``model.bin`` holds the decoder, and codes and labels of the test set; ``encoder.bin`` the
    encoder; ``training.bin`` the codes of 2,000 test images at about 60 evaluations; and
    ``decoder-STEP.bin`` the decoder as it was then. Weights are float16, codes int16.

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
    whose = _head(run)
    labels = data.test.labels.numpy().astype(np.uint8)
    latents = np.stack(run.history.latents)
    shown = np.unique(np.linspace(0, len(latents) - 1, EVALUATIONS).round().astype(int))
    limits = [list(map(float, axis)) for axis in shared_limits(latents)]
    packs: dict[str, tuple[dict[str, Any], dict[str, np.ndarray]]] = {
        "model.bin": (
            {"limits": limits, **_networks(run, "decoder")},
            _weights(run, "decoder") | {"mu": run.code.numpy(), "labels": labels},
        ),
        "encoder.bin": (
            _networks(run, "encoder", "trunk", "to_mu", "to_log_var"),
            _weights(run, "encoder", "trunk", "to_mu", "to_log_var"),
        ),
        "training.bin": (
            {"rows": [run.history.rows[k] for k in shown], "decoders": [*run.decoders]},
            {"latents": latents[shown, :IMAGES].astype(np.float32), "labels": labels[:IMAGES]},
        ),
    }
    for step, weights in run.decoders.items():
        arrays = {name: value.numpy() for name, value in weights.items()}
        packs[f"decoder-{step}.bin"] = {"step": step, **_networks(run, "decoder")}, arrays
    return _write_packs(
        folder, {name: (whose | head, arrays) for name, (head, arrays) in packs.items()}
    )


def export_balance(runs: Sequence[Run], data: ImageData, folder: Path) -> list[Path]:
    """Write what VAEs that differ in their KL weight alone make of the same images.

    ``balance.bin`` holds the codes of 2,000 test images at each weight, [weights, images, 2]; its
    head, in ``rows``, for each weight the terms on the test set with one sampled z per image, and
    the KL of each latent; and, of the training images, the ``total_variance`` and the ``variances``
    along the first principal directions, one for each latent. ``decoder-K.bin`` is the decoder of
    row K.

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
    head = {
        "rows": [_balance_row(run, data) for run in runs],
        "variances": principal_variances(data.train.images)[: runs[0].code.shape[1]].tolist(),
        "total_variance": total_variance(data.train.images),
        "limits": [list(map(float, axis)) for axis in shared_limits(_codes(runs))],
    }
    labels = data.test.labels[:IMAGES].numpy().astype(np.uint8)
    packs: dict[str, tuple[dict[str, Any], dict[str, np.ndarray]]] = {
        "balance.bin": (head, {"latents": _codes(runs), "labels": labels})
    }
    for number, run in enumerate(runs):
        packs[f"decoder-{number}.bin"] = (
            _head(run) | _networks(run, "decoder"),
            _weights(run, "decoder"),
        )
    return _write_packs(folder, packs)


def pack(head: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """One pack: float32 becomes float16, but int16 for codes (``mu``, ``latents``)."""
    described, parts, offset = {}, [], 0
    for name, array in arrays.items():
        stored: dict[str, Any] = {"shape": list(array.shape), "offset": offset}
        if array.dtype == np.uint8:
            values = array
        elif name in ("mu", "latents"):
            # A float's relative precision is of no use on a screen; steps of equal size are.
            stored["scale"] = float(np.abs(array).max()) / 32_767 or 1.0
            values = (array / stored["scale"]).round().astype("<i2")
        else:
            values = array.astype("<f2")
        stored["dtype"] = values.dtype.name
        part = values.tobytes()
        parts.append(part.ljust(-(-len(part) // 4) * 4, b"\0"))
        offset += len(parts[-1])
        described[name] = stored
    body = b"".join(parts)
    whole = {"format": FORMAT, "bytes": len(body), "crc32": zlib.crc32(body), "arrays": described}
    text = json.dumps(whole | dict(head), separators=(",", ":")).encode()
    text = text.ljust(-(-len(text) // 4) * 4)
    return b"LVAE" + struct.pack("<I", len(text)) + text + body


def _check(run: Run, data: ImageData) -> None:
    others = {
        type(layer).__name__
        for _, part in run.model.named_children()
        for layer in part.modules()
        if not isinstance(layer, SHOWN)
    }
    if run.code.shape[1] != 2 or others:
        raise ValueError(
            "the live figures show models with 2 latents whose networks are made of "
            f"{', '.join(kind.__name__ for kind in SHOWN)}; got {run.spec.model} with "
            f"{run.code.shape[1]} latents"
            + (f" and {', '.join(sorted(others))}." if others else ".")
        )
    if run.fingerprint != data.fingerprint:
        raise ValueError(
            f"run {run.key} was trained on other data ({run.data}) than the {data.name} given, so "
            "the labels would be wrong."
        )


def _codes(runs: Sequence[Run]) -> np.ndarray:
    return np.stack([run.code[:IMAGES].numpy() for run in runs]).astype(np.float32)


def _balance_row(run: Run, data: ImageData) -> dict[str, Any]:
    with torch.inference_mode():
        q: Any = run.model.encode(data.test.images)
    last = {name: value for name, value in run.history.rows[-1].items() if name.startswith("test_")}
    return {**_head(run)["run"], **last, "kl_per_latent": kl_per_latent(q.mu, q.log_var).tolist()}


def _kl_weight(run: Run) -> float | None:
    return getattr(run.spec.objective, "kl_weight", None)


def _head(run: Run) -> dict[str, Any]:
    spec = run.spec
    return {
        "run": {
            "key": run.key,
            "model": spec.model,
            "kl_weight": _kl_weight(run),
            "steps": spec.config.steps,
            "seed": spec.config.seed,
            "data": run.data,
            "torch": run.versions["torch"],
        }
    }


def _weights(run: Run, *parts: str) -> dict[str, np.ndarray]:
    state = run.model.state_dict()
    return {n: value.numpy() for n, value in state.items() if n.partition(".")[0] in parts}


def _networks(run: Run, *parts: str) -> dict[str, Any]:
    """The layers of the parts that this model has."""
    have = dict(run.model.named_children())
    return {"networks": {name: list(_layers(name, have[name])) for name in parts if name in have}}


def _layers(name: str, part: nn.Module) -> Iterator[dict[str, str]]:
    """Each affine layer, and what comes after it."""
    modules: Sequence[tuple[str, nn.Module]] = [
        (f"{name}.{number}", module) for number, module in part.named_children()
    ] or [(name, part)]
    for (layer, module), (_, following) in zip(modules, [*modules[1:], ("", part)], strict=True):
        if isinstance(module, nn.Linear):
            yield {"layer": layer, "then": AFTER.get(type(following), "none")}


def _write_packs(
    folder: Path, packs: Mapping[str, tuple[dict[str, Any], dict[str, np.ndarray]]]
) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, (head, arrays) in packs.items():
        write_atomically(folder / name, partial(_write, pack(head, arrays)))
    return [folder / name for name in packs]


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)
