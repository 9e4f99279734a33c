"""The drawings of the lecture's networks, read from the models themselves."""

from collections.abc import Sequence
from itertools import pairwise
from math import log2, prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lecture_book.figures.svg import (
    DECODER,
    DECODER_FILL,
    ENCODER,
    ENCODER_FILL,
    GRAY,
    INK,
    PLAIN_FILL,
    WIDTH,
    arrow,
    box,
    drawing,
    formula,
    words,
)
from lecture_vae import build_model

BAR = 24  # height of what comes out of a layer
IMAGE = (1, 32, 32)
ORANGE, BLUE = (ENCODER_FILL, ENCODER), (DECODER_FILL, DECODER)
GROUND, LATENT = (PLAIN_FILL, INK), ("#fff", INK)


class Step(NamedTuple):
    """Layers that are drawn as one: the first has weights. `shape` is what comes out."""

    layers: tuple[str, ...]
    shape: tuple[int, ...]  # of one image, without the batch


class Architecture(NamedTuple):
    """The steps of a model; a VAE has two heads that are alike, and `head` is one of them."""

    encoder: list[Step]
    head: Step | None
    decoder: list[Step]


def read_architecture(name: str) -> Architecture:
    """The layers of a registered model, and the shapes as one image passes through it.

    Raises:
        ValueError: A layer has no name here, or the two heads differ.
    """
    model: Any = build_model(name).eval()
    x = torch.zeros(1, *IMAGE)
    if not hasattr(model, "to_mu"):
        encoder, z = _steps(model.encoder, x)
        return Architecture(encoder, None, _steps(model.decoder, z)[0])
    if describe(model.to_mu) != describe(model.to_log_var):
        raise ValueError(f"the two heads of {name} differ, but are drawn as if they were alike.")
    trunk, features = _steps(model.trunk, x)
    (head,), z = _steps(nn.Sequential(model.to_mu), features)
    return Architecture(trunk, head, _steps(model.decoder, z)[0])


@torch.inference_mode()
def _steps(layers: nn.Sequential, x: Tensor) -> tuple[list[Step], Tensor]:
    steps: list[Step] = []
    for layer in layers:
        x = layer(x)
        shape = tuple(x.shape[1:])
        if isinstance(layer, nn.Flatten):
            continue  # the same numbers in a row
        if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            steps.append(Step((describe(layer),), shape))
        elif isinstance(layer, nn.Unflatten):
            steps[-1] = steps[-1]._replace(shape=shape)
        else:
            steps[-1] = Step((*steps[-1].layers, describe(layer)), shape)
    return steps, x


def describe(layer: nn.Module) -> str:
    """A layer in a few words, with its kernel and stride.

    Raises:
        ValueError: The layer has no name here.
    """
    match layer:
        case nn.ConvTranspose2d() | nn.Conv2d():
            kind = "transposed conv" if isinstance(layer, nn.ConvTranspose2d) else "conv"
            stride = "" if layer.stride[0] == 1 else f", stride {layer.stride[0]}"
            return f"{kind} {shape_text(layer.kernel_size)}{stride}"
        case nn.Linear():
            return "linear"
        case nn.ReLU():
            return "ReLU"
        case nn.Sigmoid():
            return "sigmoid"
        case nn.BatchNorm2d():
            return "batch norm"
    raise ValueError(f"no drawing of a {type(layer).__name__} yet.")


def shape_text(shape: tuple[int, ...]) -> str:
    """(1, 32, 32) as "1 × 32 × 32"."""
    return " × ".join(f"{size:,}" for size in shape)


# ---------------------------------------------------------------------------- drawings


def linear_network(name: str, title: str) -> str:
    """A fully connected model from top to bottom, its layers named beside the arrows."""
    model = read_architecture(name)
    pitch, x, right = 46, 120, 216
    ys = [BAR + pitch * number for number in range(_rows(model))]
    heads = len(model.encoder) + 1 if model.head else None
    parts = _column(x, ys, model)
    for y, step in zip(_gaps(ys, heads), [*model.encoder, *model.decoder], strict=True):
        parts.append(words((right, y), ", ".join(step.layers), anchor="start", size=14))
    if model.head and heads:
        each = shape_text(model.head.shape)
        parts += _head_labels(right, ys, heads, [f"two heads, linear: {each} each"], "start", 14)
    parts += _ends(right, ys, model)
    return drawing((WIDTH, ys[-1] + BAR), title, _told(model), parts)


def convolutional_networks() -> str:
    """ConvAE and ConvVAE side by side, with the layers that they share between them."""
    ae, vae = read_architecture("conv-ae"), read_architecture("conv-vae")
    if (ae.encoder, ae.decoder) != (vae.encoder, vae.decoder):
        raise ValueError("conv-ae and conv-vae share their layers no more, and the drawing does.")
    pitch, left, middle, right = 58, 68, 200, 332
    ys = [BAR + 26 + pitch * number for number in range(_rows(vae))]
    heads = len(vae.encoder) + 1
    without = ys[:heads] + ys[heads + 2 :]
    parts = [
        words((left, 18), "ConvAE", bold=True),
        words((right, 18), "ConvVAE", bold=True),
        *_column(left, without, ae),
        *_column(right, ys, vae),
    ]
    for y, step in zip(_gaps(ys, heads), [*vae.encoder, *vae.decoder], strict=True):
        for line, text in enumerate((step.layers[0], ", ".join(step.layers[1:]))):
            parts.append(words((middle, y + 15 * line - 7.5), text, size=13))
    assert vae.head
    lines = ["two heads,", vae.head.layers[0], f"{shape_text(vae.head.shape)} each"]
    parts += _head_labels(middle, ys, heads, lines, "middle", 13)
    return drawing(
        (WIDTH, ys[-1] + BAR),
        "The convolutional autoencoder and the convolutional VAE",
        f"Left, the autoencoder. {_told(ae)} Right, the VAE. {_told(vae)}",
        parts,
    )


def _rows(model: Architecture) -> int:
    return 1 + len(model.encoder) + (2 if model.head else 0) + len(model.decoder)


def _gaps(ys: Sequence[float], heads: int | None) -> list[float]:
    """The middle between rows where a layer acts; not around the heads and their sample."""
    middles = [(upper + lower) / 2 for upper, lower in pairwise(ys)]
    return middles if heads is None else middles[: heads - 1] + middles[heads + 1 :]


def _column(x: float, ys: Sequence[float], model: Architecture) -> list[str]:
    """A model from top to bottom: an image, the encoder, perhaps two heads and z, the decoder."""
    trunk = [(step.shape, ORANGE) for step in model.encoder]
    if model.head is None:
        trunk[-1] = trunk[-1][0], LATENT
    decoder = [(step.shape, BLUE) for step in model.decoder[:-1]]
    first = [(IMAGE, GROUND), *trunk]
    last = [*decoder, (model.decoder[-1].shape, GROUND)]
    if model.head is None:
        return [*_down(x, ys), *_bars(x, ys, [*first, *last])]
    upper, lower = ys[: len(first)], ys[len(first) + 1 :]
    heads, apart = ys[len(first)], 34
    parts = [*_down(x, upper), *_down(x, lower)]
    for side, text in ((x - apart, "μ"), (x + apart, "log σ^2")):
        parts += [
            arrow((x, upper[-1] + BAR / 2), (side, heads - BAR / 2), color=GRAY),
            arrow((side, heads + BAR / 2), (x, lower[0] - BAR / 2), color=GRAY),
            box((side, heads), (60, BAR), *ORANGE),
            formula((side, heads), text),
        ]
    return [
        *parts, *_bars(x, upper, first), *_bars(x, lower, [(model.head.shape, LATENT), *last]),
    ]  # fmt: skip


def _down(x: float, ys: Sequence[float]) -> list[str]:
    return [
        arrow((x, above + BAR / 2), (x, below - BAR / 2), color=GRAY)
        for above, below in pairwise(ys)
    ]


def _bars(
    x: float, ys: Sequence[float], rows: Sequence[tuple[tuple[int, ...], tuple[str, str]]]
) -> list[str]:
    """What comes out of each step; the wider, the more numbers it has (on a logarithmic scale)."""
    parts = []
    for y, (shape, colors) in zip(ys, rows, strict=True):
        width = 24 + 9.5 * log2(prod(shape))
        parts += [box((x, y), (width, BAR), *colors), words((x, y), shape_text(shape), size=14)]
    return parts


def _head_labels(
    x: float, ys: Sequence[float], heads: int, lines: list[str], anchor: str, size: float
) -> list[str]:
    """What happens at the two heads, and the sample."""
    middle = (ys[heads - 1] + ys[heads]) / 2
    first = middle - 7.5 * (len(lines) - 2)
    return [
        *(
            words((x, first + 15 * (number - 0.5)), text, anchor=anchor, size=size)
            for number, text in enumerate(lines)
        ),
        formula((x, ys[heads + 1]), "z = μ + σ ⊙ ε", anchor=anchor),
    ]


def _ends(x: float, ys: Sequence[float], model: Architecture) -> list[str]:
    """Names of what goes in, of the code, and of what comes out."""
    names = {ys[0]: "image x", ys[-1]: "reconstruction x\u0302"}
    if model.head is None:
        names[ys[len(model.encoder)]] = "code z"
    return [formula((x, y), text, anchor="start", color=GRAY) for y, text in names.items()]


def _told(model: Architecture) -> str:
    """The shapes in words, for those who cannot see them."""
    encoder = ", ".join(shape_text(step.shape) for step in model.encoder)
    decoder = ", ".join(shape_text(step.shape) for step in model.decoder)
    heads = (
        f"Two heads give mu and log sigma squared, {shape_text(model.head.shape)} each. "
        if model.head
        else ""
    )
    return (
        f"The encoder takes an image of {shape_text(IMAGE)} to {encoder}. {heads}"
        f"The decoder goes on to {decoder}."
    )
