"""The linear VAE's step with the backward pass written out: what autograd would do, by hand.

A study of the floor, and a page to read: no autograd, no optimizer object, no allocation of the
large arrays. All weights lie in one flat tensor, all gradients in another: Adam is one call.

Below, ``d_a`` is the derivative of the loss (the batch mean of the terms' sum) by ``a``.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lecture_vae import LinearVAE

__all__ = ["HandWritten"]

Product = Callable[[Tensor, Tensor, Tensor], object]  # (a, b, out): out = a @ b


def by_torch(a: Tensor, b: Tensor, out: Tensor) -> None:
    """The product as torch does it."""
    torch.mm(a, b, out=out)


def by_onednn(a: Tensor, b: Tensor, out: Tensor) -> None:
    """Through oneDNN where that pays, that is for large products."""
    if a.numel() * b.shape[1] < 4_000_000:
        torch.mm(a, b, out=out)
    else:
        out.copy_(torch.ops.mkldnn._linear_pointwise(a, b.t(), None, "none", [], ""))


class HandWritten:
    """Trains a :class:`LinearVAE` on squared error + kl_weight * KL."""

    def __init__(
        self, model: LinearVAE, batch: int, lr: float, kl_weight: float, product: Product = by_torch
    ) -> None:
        self.kl_weight, self.product, self.lr = kl_weight, product, lr
        layers = [m for m in model.modules() if isinstance(m, nn.Linear)]
        tensors = [t.detach() for layer in layers for t in (layer.weight, layer.bias)]
        self.weights = torch.cat([t.flatten() for t in tensors])
        self.gradients = torch.zeros_like(self.weights)
        self.moments = torch.zeros_like(self.weights), torch.zeros_like(self.weights)
        self.step_count = torch.zeros(())
        sizes = [t.numel() for t in tensors]
        views, slopes = (
            [part.view(t.shape) for part, t in zip(flat.split(sizes), tensors, strict=True)]
            for flat in (self.weights, self.gradients)
        )
        # (weight, bias, their gradients) of: three layers, two heads, four layers
        self.layers = list(zip(views[::2], views[1::2], slopes[::2], slopes[1::2], strict=True))
        widths = [layer.out_features for layer in layers]
        self.out = [torch.empty(batch, width) for width in widths]
        self.slope = [torch.empty(batch, width) for width in widths]

    def step(self, x: Tensor, eps: Tensor) -> Tensor:
        """One update; gives the squared error and the KL of each image, [2, batch]."""
        x = x.flatten(1)
        h = self._forward(0, x).relu_()
        h = self._forward(1, h).relu_()
        h = self._forward(2, h)
        mu, log_var = self._forward(3, h), self._forward(4, h)
        sigma = torch.exp(0.5 * log_var)
        z = mu + sigma * eps
        g = z
        for layer in (5, 6, 7):
            g = self._forward(layer, g).relu_()
        x_hat = self._forward(8, g).sigmoid_()

        error = self.slope[8]
        torch.sub(x_hat, x, out=error)
        squared_error = torch.linalg.vecdot(error, error)
        kl = 0.5 * (mu.square() + torch.expm1(log_var) - log_var).sum(dim=1)

        # x_hat = sigmoid(a): d_a = 2 (x_hat - x) x_hat (1 - x_hat) / batch
        torch.ops.aten.sigmoid_backward.grad_input(error, x_hat, grad_input=error)
        error.mul_(2 / len(x))
        for layer in (8, 7, 6):
            self._backward(layer, self.out[layer - 1], self.slope[layer - 1], relu=True)
        d_z = torch.empty_like(z)
        self._backward(5, z, d_z, relu=False)
        # z = mu + sigma eps; the KL adds mu and (exp(log_var) - 1) / 2, weighted
        scale = self.kl_weight / len(x)
        torch.add(d_z, mu, alpha=scale, out=self.slope[3])
        torch.mul(0.5 * sigma * eps, d_z, out=self.slope[4])
        self.slope[4].add_(torch.expm1(log_var), alpha=0.5 * scale)
        d_h = torch.empty_like(h)
        self._backward(3, h, d_h, relu=False)
        self._backward(4, h, self.slope[2], relu=False)
        self.slope[2].add_(d_h)
        self._backward(2, self.out[1], self.slope[1], relu=True)
        self._backward(1, self.out[0], self.slope[0], relu=True)
        self._backward(0, x, None, relu=False)
        self._adam()
        return torch.stack([squared_error, kl])

    def _forward(self, layer: int, x: Tensor) -> Tensor:
        weight, bias, _, _ = self.layers[layer]
        self.product(x, weight.t(), self.out[layer])
        return self.out[layer].add_(bias)

    def _backward(self, layer: int, x: Tensor, d_x: Tensor | None, *, relu: bool) -> None:
        """From d_y of y = x W' + b: d_W, d_b and, where it is wanted, d_x."""
        weight, _, d_weight, d_bias = self.layers[layer]
        d_y = self.slope[layer]
        self.product(d_y.t(), x, d_weight)
        torch.sum(d_y, dim=0, out=d_bias)
        if d_x is not None:
            self.product(d_y, weight, d_x)
            if relu:  # x = relu(a): where x is 0, a has no influence
                torch.ops.aten.threshold_backward.grad_input(d_x, x, 0, grad_input=d_x)

    def _adam(self) -> None:
        first, second = self.moments
        self.step_count += 1
        torch._fused_adam_(
            [self.weights], [self.gradients], [first], [second], [], [self.step_count],
            amsgrad=False, lr=self.lr, beta1=0.9, beta2=0.999, weight_decay=0.0, eps=1e-8,
            maximize=False,
        )  # fmt: skip
