"""Variants of the training step, each with one idea, to learn what it is worth.

Every variant trains the same model from the same weights on the same batches with the same noise as
``train`` does. It gives a function that takes so many steps and returns the loss of each.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import torch
from handwritten import HandWritten, by_onednn, by_torch
from timing import objective_of
from torch import Tensor, nn

from lecture_vae import ImageData, LinearVAE, TrainConfig, build_model
from lecture_vae.models import Model
from lecture_vae.randomness import batches, noise

__all__ = ["VARIANTS", "Setup"]

Steps = Callable[[int], Tensor]  # takes so many steps; the loss of each


@dataclass(frozen=True)
class Setup:
    """What all variants train."""

    name: str  # of the model
    data: ImageData
    config: TrainConfig

    def model(self) -> Model:
        """The model as it is before training, in training mode."""
        return build_model(self.name, seed=self.config.seed).train()

    def indices(self) -> Iterator[Tensor]:
        """The images of each step."""
        count = len(self.data.train.images)
        return batches(count, self.config.batch_size, self.config.seed)

    def epsilons(self, model: Model) -> Iterator[Tensor]:
        """The noise of each step, one latent for each image."""
        return noise((self.config.batch_size, 1, *model.latent_shape), self.config.seed)


def loop(
    setup: Setup,
    *,
    prepare: Callable[[Model], Model] = lambda model: model,
    compiled: bool = False,
    flat: bool = False,
    foreach: bool = False,
    lean_log: bool = False,
    gather: bool = False,
) -> Steps:
    """The loop of ``train``, with what is asked for changed."""
    model, objective = prepare(setup.model()), objective_of(setup.name)
    parameters = [_flatten(model)] if flat else list(model.parameters())
    how: dict[str, Any] = {"foreach": True} if foreach else {"fused": True}
    optimizer = torch.optim.Adam(parameters, lr=setup.config.lr, **how)
    images = setup.data.train.images
    indices, epsilons = setup.indices(), setup.epsilons(model)
    buffer = torch.empty(setup.config.batch_size, *images.shape[1:])

    def loss_of(x: Tensor, eps: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        terms = objective.terms(model, x, eps)
        return terms, objective.loss(terms, 1)

    forward = torch.compile(loss_of) if compiled else loss_of

    def run(steps: int) -> Tensor:
        log = []
        for _ in range(steps):
            index = next(indices)
            x = torch.index_select(images, 0, index, out=buffer) if gather else images[index]
            terms, loss = forward(x, next(epsilons))
            optimizer.zero_grad(set_to_none=not flat)
            loss.backward()
            optimizer.step()
            if lean_log:
                log.append(loss.detach())
            else:
                means = [values.detach().mean() for values in terms.values()]
                log.append(torch.stack([*means, loss.detach()]))
        table = torch.stack(log)
        return table if lean_log else table[:, -1]

    return run


def whole_step(setup: Setup, prepare: Callable[[Model], Model] = lambda model: model) -> Steps:
    """Forward, backward and Adam as one function of the weights, compiled as one graph.

    What jax.jit does with a step: at run time there is no tape, no optimizer object and no Python
    but one call.
    """
    model, objective = prepare(setup.model()), objective_of(setup.name)

    class Loss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor, eps: Tensor) -> Tensor:
            return objective.loss(objective.terms(self.model, x, eps), 1)

    whole = Loss()
    weights = {name: part.detach() for name, part in whole.named_parameters()}
    first, second = ({n: torch.zeros_like(w) for n, w in weights.items()} for _ in range(2))
    images, lr, done = setup.data.train.images, setup.config.lr, torch.zeros(())
    indices, epsilons = setup.indices(), setup.epsilons(model)

    def loss_of(weights: dict[str, Tensor], x: Tensor, eps: Tensor) -> Tensor:
        loss: Tensor = torch.func.functional_call(whole, weights, (x, eps))
        return loss

    @torch.compile(fullgraph=True, dynamic=False)
    def step(index: Tensor, eps: Tensor) -> Tensor:
        slopes, loss = torch.func.grad_and_value(loss_of)(weights, images[index], eps)
        done.add_(1)
        for name, w in weights.items():  # Kingma & Ba (2015), algorithm 1
            m = first[name].lerp_(slopes[name], 0.1)
            v = second[name].mul_(0.999).addcmul_(slopes[name], slopes[name], value=0.001)
            w.sub_(lr * (m / (1 - 0.9**done)) / ((v / (1 - 0.999**done)).sqrt() + 1e-8))
        return loss

    def run(steps: int) -> Tensor:
        with torch.no_grad():
            return torch.stack([step(next(indices), next(epsilons)) for _ in range(steps)])

    return run


def _flatten(model: Model) -> nn.Parameter:
    """Moves all weights, and their gradients, into one tensor each, of which they become views."""
    parts = list(model.parameters())
    flat = nn.Parameter(torch.cat([part.detach().flatten() for part in parts]))
    flat.grad = torch.zeros_like(flat)
    sizes = [part.numel() for part in parts]
    slices = zip(flat.detach().split(sizes), flat.grad.split(sizes), strict=True)
    for part, (values, slope) in zip(parts, slices, strict=True):
        part.data, part.grad = values.view_as(part), slope.view_as(part)
    return flat


def large_layers_by_onednn(model: Model) -> Model:
    """Sends the products of the large linear layers to oneDNN."""
    for module in model.modules():
        for name, layer in module.named_children():
            if isinstance(layer, nn.Linear) and layer.weight.numel() > 65_536:
                setattr(module, name, OneDNNLinear(layer))
    return model


class OneDNNLinear(nn.Module):
    """A linear layer with the weights of another, its three products through oneDNN."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, x: Tensor) -> Tensor:
        """The affine map of x."""
        return _Affine.apply(x, self.weight, self.bias)


class _Affine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight) + bias

    @staticmethod
    def backward(ctx: Any, *d_ys: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        (d_y,) = d_ys
        x, weight = ctx.saved_tensors
        d_x = product(d_y, weight.t()) if ctx.needs_input_grad[0] else None
        return d_x, product(d_y.t(), x.t()), d_y.sum(dim=0)


# An operator that torch.compile takes as it is, and whose inside it does not see.
_LIBRARY = torch.library.Library("lecture_vae_benchmark", "DEF")
_LIBRARY.define("product(Tensor a, Tensor b) -> Tensor")
_LIBRARY.impl(
    "product", lambda a, b: torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], ""), "CPU"
)
torch.library.register_fake(
    "lecture_vae_benchmark::product", lambda a, b: a.new_empty(len(a), len(b)), lib=_LIBRARY
)


def product(a: Tensor, b: Tensor) -> Tensor:
    """The product of a with the transpose of b, by oneDNN."""
    return torch.ops.lecture_vae_benchmark.product(a, b)


def channels_last(model: Model) -> Model:
    """Keeps the channels of a pixel together in memory."""
    return model.to(memory_format=torch.channels_last)


def noise_at_once(setup: Setup, steps: int = 25_000) -> Steps:
    """All noise of a run drawn beforehand; the losses differ, because the noise does."""
    every = torch.randn(steps, setup.config.batch_size, 1, *setup.model().latent_shape)

    class Drawn(Setup):
        def epsilons(self, model: Model) -> Iterator[Tensor]:
            return iter(every)

    return loop(Drawn(setup.name, setup.data, setup.config))


def handwritten(setup: Setup, product: Any = by_torch) -> Steps:
    """The backward pass by hand."""
    model = setup.model()
    assert isinstance(model, LinearVAE)
    config, images = setup.config, setup.data.train.images
    study = HandWritten(model, config.batch_size, config.lr, kl_weight=1.0, product=product)
    indices, epsilons = setup.indices(), setup.epsilons(model)
    buffer = torch.empty(config.batch_size, *images.shape[1:])

    def run(steps: int) -> Tensor:
        log = []
        with torch.inference_mode():
            for index, eps in islice(zip(indices, epsilons, strict=False), steps):
                torch.index_select(images, 0, index, out=buffer)
                log.append(study.step(buffer, eps[:, 0]).sum(dim=0).mean())
            return torch.stack(log)

    return run


_BOTH: dict[str, Callable[[Setup], Steps]] = {
    "as it is": loop,
    "log the loss only": partial(loop, lean_log=True),
    "batch into a buffer": partial(loop, gather=True),
    "noise drawn beforehand": noise_at_once,
    "foreach Adam": partial(loop, foreach=True),
    "one flat parameter": partial(loop, flat=True),
    "torch.compile": partial(loop, compiled=True),
}
VARIANTS: dict[str, dict[str, Callable[[Setup], Steps]]] = {
    "linear-vae": _BOTH
    | {
        "oneDNN": partial(loop, prepare=large_layers_by_onednn),
        "whole step compiled": whole_step,
        "whole step compiled, oneDNN": partial(whole_step, prepare=large_layers_by_onednn),
        "by hand": handwritten,
        "by hand, oneDNN": partial(handwritten, product=by_onednn),
    },
    "conv-vae": _BOTH
    | {
        "channels last": partial(loop, prepare=channels_last),
        "channels last, compile": partial(loop, prepare=channels_last, compiled=True),
    },
}
