"""The file that the live figure of chapter 10 shows: a VQ-VAE's decoder, priors, and codes.

The run and the prior are those that the chapter trains. Of the test images only codes are kept.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lecture_book.experiments.codes import codes_of, independent_log_shares
from lecture_vae import (
    CodePrior,
    ImageData,
    QuantizedError,
    Run,
    RunSpec,
    TrainConfig,
    fetch_runs,
    fit_code_prior,
)
from lecture_vae.live import ACTIVATIONS, LiveFile, run_identity, write_files

SPEC = RunSpec("vq-vae", QuantizedError(), TrainConfig(steps=3_000, eval_every=100))
PRIOR_STEPS = 3_000
STARTS = 10  # test images of each class whose codes the figure offers


def export_codes(data: ImageData, folder: Path) -> Path:
    """Train the VQ-VAE and its priors as chapter 10 does, and write `codes.safetensors`."""
    [run] = fetch_runs([SPEC], data)
    training = codes_of(run, data.train.images)
    model: Any = run.model
    entries = len(model.codebook)
    prior = fit_code_prior(training, entries, steps=PRIOR_STEPS)
    file = code_file(run, prior, independent_log_shares(training, entries), data)
    [path] = write_files(folder, {"codes": file})
    return path


def code_file(
    run: Run, prior: CodePrior, independent: Float[Tensor, "d M"], data: ImageData
) -> LiveFile:
    """What the figure needs.

    In the metadata: ``networks``, the decoder; ``bits``, the mean of -log2 p(c) over the test
    images for each prior. Arrays:

    - the weights of the decoder, each batch normalization folded into the layer before it;
    - ``codebook`` [M, channels];
    - ``starts`` [classes, images, d]: the codes of the first test images of each class;
    - ``independent`` [d, M], log-probabilities; and ``prior.read`` [d, M, d, hidden],
      ``prior.bias``, ``prior.write`` and ``prior.level``: the parameters of the
      :class:`~lecture_vae.code_prior.CodePrior`, where ``read`` is masked.
    """
    model: Any = run.model
    layers, weights = folded_decoder(model.decoder)
    codes, labels = run.code.long(), data.test.labels
    classes = [codes[labels == label][:STARTS] for label in labels.unique()]
    offered = min(map(len, classes))
    with torch.inference_mode():
        log_p = {
            "independent": independent.gather(1, codes.T).sum(dim=0),
            "autoregressive": prior.log_prob(codes),
        }
    parameters = {
        "read": prior.read * prior.mask,
        "bias": prior.bias,
        "write": prior.write,
        "level": prior.level,
    }
    halves = {
        **weights,
        "codebook": model.codebook,
        "independent": independent,
        **{f"prior.{name}": value for name, value in parameters.items()},
    }
    metadata = {
        "run": run_identity(run),
        "networks": {"decoder": layers},
        "bits": {name: -value.mean().item() / math.log(2) for name, value in log_p.items()},
    }
    starts = torch.stack([each[:offered] for each in classes])
    arrays = {name: value.detach().half().numpy() for name, value in halves.items()}
    return LiveFile(metadata, arrays | {"starts": starts.to(torch.uint8).numpy()})


def folded_decoder(decoder: nn.Module) -> tuple[list[dict[str, Any]], Mapping[str, Tensor]]:
    """The transposed convolutions of a decoder, and their weights.

    A batch normalization of a trained network is affine, so it goes into the layer before it.
    """
    layers: list[dict[str, Any]] = []
    convolutions: list[Any] = []
    for name, module in decoder.named_children():
        if isinstance(module, nn.ConvTranspose2d):
            sizes = (
                ("kernel", module.kernel_size),
                ("stride", module.stride),
                ("padding", module.padding),
            )
            layers.append(
                {"layer": f"decoder.{name}", "activation": "identity"}
                | {what: size[0] for what, size in sizes}  # the same along both axes
            )
            convolutions.append(module)
        elif isinstance(module, nn.BatchNorm2d):
            convolutions[-1] = fuse_conv_bn_eval(convolutions[-1], module, transpose=True)
        else:
            layers[-1]["activation"] = ACTIVATIONS[type(module)]
    weights = {
        f"{described['layer']}.{part}": getattr(layer, part)
        for described, layer in zip(layers, convolutions, strict=True)
        for part in ("weight", "bias")
    }
    return layers, weights
