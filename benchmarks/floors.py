"""The floor: the matrix products or the convolutions of one training step, and nothing else.

Same shapes, same threads, forward and both backward products, through the fastest way that torch
has on this machine for each one. torch's own choice is not always that: on a CPU it sends products
of 32-bit numbers to MKL, and oneDNN may be faster.

Below it lies the arithmetic limit of the core: the same number of multiplications and additions at
the rate of multiply-adds that never leave the registers.
"""

import ctypes
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from itertools import product as pairs
from pathlib import Path as PathOnDisk
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from lecture_vae import build_model
from lecture_vae.native.build import NotNativeError, compile_command, vector_family

__all__ = ["Floor", "arithmetic_peak", "convolution_floor", "linear_floor"]

Path = Callable[[], object]

REPEATS = 10  # calls timed together


def arithmetic_peak(rounds: int = 1_000_000, tries: int = 20) -> float:
    """Multiplications and additions per second of one core in its registers (`peak.c`).

    Raises:
        NotNativeError: There are no vector instructions.
        CalledProcessError: The compiler fails.
    """
    family = vector_family()
    if family is None:
        raise NotNativeError("there are no vector instructions")
    with (
        resources.as_file(resources.files("lecture_vae.native")) as kernels,
        TemporaryDirectory(prefix="benchmark-") as folder,
    ):
        library = f"{folder}/peak.so"
        source = str(PathOnDisk(__file__).with_name("peak.c"))
        command = [*compile_command(family, 64), f"-I{kernels}", "-o", library, source]
        subprocess.run(command, check=True)
        peak = ctypes.CDLL(library)
    best = min(
        _thread_seconds(lambda: peak.multiply_adds(ctypes.c_int64(rounds))) for _ in range(tries)
    )
    return peak.operations() * rounds / best


@dataclass(frozen=True)
class Floor:
    """The products of a step, each through its fastest path."""

    chosen: dict[str, tuple[str, Path, float]]  # product -> path, the call, its seconds
    usual: dict[str, tuple[str, Path, float]]  # the same through the path that torch takes itself
    flop: float  # multiplications and additions of a step

    def run(self, steps: int) -> None:
        """All products of so many steps."""
        calls = [call for _, call, _ in self.chosen.values()]
        for _ in range(steps):
            for call in calls:
                call()

    def run_usual(self, steps: int) -> None:
        """The same products as torch would do them."""
        calls = [call for _, call, _ in self.usual.values()]
        for _ in range(steps):
            for call in calls:
                call()


def linear_floor(batch: int = 64) -> Floor:
    """The matrix products of a step of the linear VAE."""
    found: dict[str, dict[str, Path]] = {}
    flop = 0.0
    model = build_model("linear-vae")
    sizes = [tuple(m.weight.shape) for m in model.modules() if isinstance(m, nn.Linear)]
    for number, (outputs, inputs) in enumerate(sizes):
        x, w, gy = (
            torch.rand(batch, inputs),
            torch.rand(outputs, inputs),
            torch.rand(batch, outputs),
        )
        name = f"{number}: {inputs} to {outputs}"
        found[f"{name}, forward"] = _product_paths(x, w.t())
        found[f"{name}, weights"] = _product_paths(gy.t(), x)
        if number:  # images need no gradient
            found[f"{name}, input"] = _product_paths(gy, w)
        flop += (6 if number else 4) * batch * inputs * outputs
    return _fastest(found, flop)


def _product_paths(a: Tensor, b: Tensor) -> dict[str, Path]:
    """Ways to a @ b; the first is torch's own."""
    out = torch.empty(len(a), b.shape[1])
    paths: dict[str, Path] = {"mm": lambda: torch.mm(a, b, out=out)}
    onednn = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    if torch.backends.mkldnn.is_available() and onednn is not None:
        paths["oneDNN"] = lambda: onednn(a, b.t(), None, "none", [], "")
    return paths


def convolution_floor(batch: int = 64) -> Floor:
    """The convolutions of a step of the convolutional VAE."""
    found: dict[str, dict[str, Path]] = {}
    flop = 0.0
    for number, (layer, x) in enumerate(_convolutions(batch)):
        kind = type(layer).__name__.removesuffix("2d")
        inputs, outputs = layer.in_channels, layer.out_channels
        name = f"{number}: {kind} {inputs} to {outputs}"
        forward, backward = {}, {}
        layouts = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}
        for (layout, form), onednn in pairs(layouts.items(), (True, False)):
            path = f"{'oneDNN' if onednn else 'native'} {layout}"
            forward[path], backward[path] = _convolution_paths(
                layer, x.contiguous(memory_format=form), form, onednn, first=number == 0
            )
        found[f"{name}, forward"], found[f"{name}, backward"] = forward, backward
        positions = (x if "Transpose" in kind else layer(x)).shape[2:].numel()
        flop += (6 if number else 4) * batch * positions * layer.weight.numel()
    return _fastest(found, flop)


def _convolutions(batch: int) -> Iterator[tuple[nn.Conv2d | nn.ConvTranspose2d, Tensor]]:
    """Each convolution of the model, with an input as it meets it."""
    model = build_model("conv-vae")
    met: list[tuple[nn.Conv2d | nn.ConvTranspose2d, Tensor]] = []
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_hook(
                lambda layer, given, _: met.append((layer, given[0].detach()))
            )
    model(torch.rand(batch, 1, 32, 32), torch.randn(batch, *model.latent_shape))
    yield from met.copy()


def _convolution_paths(
    layer: nn.Conv2d | nn.ConvTranspose2d,
    x: Tensor,
    form: torch.memory_format,
    onednn: bool,
    *,
    first: bool,
) -> tuple[Path, Path]:
    w = layer.weight.detach().contiguous(memory_format=form)
    bias = None if layer.bias is None else layer.bias.detach()
    padding = [w.shape[-1] // 2] * 2 if layer.padding == "same" else list(layer.padding)
    rest = [list(layer.stride), padding, [1, 1], isinstance(layer, nn.ConvTranspose2d), [0, 0], 1]
    gy = torch.rand_like(torch.ops.aten.convolution(x, w, bias, *rest))
    sizes = None if bias is None else list(bias.shape)
    wanted = [not first, True, bias is not None]

    def forward() -> None:
        with _library(onednn):
            torch.ops.aten.convolution(x, w, bias, *rest)

    def backward() -> None:
        with _library(onednn):
            torch.ops.aten.convolution_backward(gy, x, w, sizes, *rest, wanted)

    return forward, backward


@contextmanager
def _library(onednn: bool) -> Iterator[None]:
    """oneDNN, which torch takes by itself, or torch's own convolutions."""
    if onednn:
        yield
        return
    torch.backends.mkldnn.set_flags(False)
    try:
        yield
    finally:
        torch.backends.mkldnn.set_flags(True)


def _fastest(found: dict[str, dict[str, Path]], flop: float, tries: int = 9) -> Floor:
    """The fastest path of each product, by its best time of several; torch's own is the first."""
    chosen, usual = {}, {}
    with torch.inference_mode():
        for name, paths in found.items():
            best = {
                path: min(_cpu_seconds(call) for _ in range(tries)) for path, call in paths.items()
            }
            path = min(best, key=best.__getitem__)
            chosen[name] = path, paths[path], best[path]
            own = next(iter(paths))
            usual[name] = own, paths[own], best[own]
    return Floor(chosen, usual, flop)


def _thread_seconds(call: Path) -> float:
    started = time.thread_time()
    call()
    return time.thread_time() - started


def _cpu_seconds(call: Path) -> float:
    """Of this thread, so that other work on the machine does not choose the path."""
    started = time.thread_time()
    for _ in range(REPEATS):
        call()
    return (time.thread_time() - started) / REPEATS
