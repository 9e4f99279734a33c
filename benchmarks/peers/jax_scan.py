"""A VAE in Flax NNX and optax, the steps between two evaluations in one jitted scan.

As Flax's guide on performance shows it: the model and the optimizer are split into a graph and a
state once, and the loop carries the state. ``models`` > 1 trains as many at once with ``jax.vmap``.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import Task, Watch
from flax import nnx

task = Task.read()
models = int(sys.argv[2]) if len(sys.argv) > 2 else 1


def as_torch(fan_in):
    """How torch's layers begin, so that losses can be compared."""
    bound = fan_in**-0.5

    def uniform(key, shape, dtype=jnp.float32, **_):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return {"kernel_init": uniform, "bias_init": uniform}


def linear(inputs, outputs, rngs):
    """A fully connected layer."""
    return nnx.Linear(inputs, outputs, rngs=rngs, **as_torch(inputs))


def conv(inputs, outputs, size, rngs, **more):
    """A convolution; padding of one pixel."""
    first = as_torch(inputs * size * size)
    return nnx.Conv(inputs, outputs, (size, size), padding=1, rngs=rngs, **first, **more)


def transposed(inputs, outputs, size, cropped, rngs, **more):
    """A transposed convolution; the margin is what torch's leaves with ``cropped`` pixels less."""
    margin = size - 1 - cropped
    return nnx.ConvTranspose(
        inputs, outputs, (size, size), strides=2, padding=[(margin, margin)] * 2, rngs=rngs,
        **as_torch(outputs * size * size), **more,
    )  # fmt: skip


def norm(channels, rngs):
    """Batch normalisation with torch's constants."""
    return nnx.BatchNorm(channels, momentum=0.9, epsilon=1e-5, rngs=rngs)


class ConvVAE(nnx.Module):
    """Images of 32, 15, 8 and 4 pixels, two heads of 4 channels, then 9, 17 and 32 pixels."""

    latents = 64

    def __init__(self, rngs: nnx.Rngs) -> None:
        two, bare = {"strides": 2, "use_bias": False}, {"use_bias": False}
        self.trunk = nnx.Sequential(
            lambda x: x.reshape(-1, 32, 32, 1),
            conv(1, 8, 5, rngs, **two), norm(8, rngs), nnx.relu,
            conv(8, 16, 3, rngs, **two), norm(16, rngs), nnx.relu,
            conv(16, 4, 3, rngs, **two), norm(4, rngs), nnx.relu,
        )  # fmt: skip
        self.heads = nnx.List([conv(4, 4, 3, rngs), conv(4, 4, 3, rngs)])
        self.decoder = nnx.Sequential(
            lambda z: z.reshape(-1, 4, 4, 4),
            transposed(4, 16, 3, 0, rngs, **bare), norm(16, rngs), nnx.relu,
            transposed(16, 8, 3, 1, rngs, **bare), norm(8, rngs), nnx.relu,
            transposed(8, 1, 2, 1, rngs), nnx.sigmoid,
            lambda x_hat: x_hat.reshape(-1, 1024),
        )  # fmt: skip

    def encode(self, x):
        """The parameters of q(z | x)."""
        h = self.trunk(x)
        return tuple(head(h).reshape(-1, self.latents) for head in self.heads)


class LinearVAE(nnx.Module):
    """1024-128-64-32, two heads, and back."""

    latents = 2

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.trunk = nnx.Sequential(
            linear(1024, 128, rngs), nnx.relu, linear(128, 64, rngs), nnx.relu,
            linear(64, 32, rngs),
        )  # fmt: skip
        self.heads = nnx.List([linear(32, 2, rngs), linear(32, 2, rngs)])
        self.decoder = nnx.Sequential(
            linear(2, 32, rngs), nnx.relu, linear(32, 64, rngs), nnx.relu,
            linear(64, 128, rngs), nnx.relu, linear(128, 1024, rngs), nnx.sigmoid,
        )  # fmt: skip

    def encode(self, x):
        """The parameters of q(z | x)."""
        h = self.trunk(x)
        return tuple(head(h) for head in self.heads)


def loss_of(model, x, key):
    """Squared error + KL, mean over the batch."""
    mu, log_var = model.encode(x)
    x_hat = model.decoder(mu + jnp.exp(0.5 * log_var) * jax.random.normal(key, mu.shape))
    kl = 0.5 * (mu**2 + jnp.exp(log_var) - 1 - log_var).sum(axis=1)
    return (((x - x_hat) ** 2).sum(axis=1) + kl).mean()


def build(seed):
    """The state of a fresh model and its optimizer."""
    model = (LinearVAE if task.model == "linear-vae" else ConvVAE)(nnx.Rngs(seed))
    return nnx.split((model, nnx.Optimizer(model, optax.adam(task.lr), wrt=nnx.Param)))


graph, state = build(task.seed)
if models > 1:
    states = [build(task.seed + number)[1] for number in range(models)]
    state = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


def chunk(state, images, indices, key):
    """As many steps as there are rows of indices."""

    def step(state, inputs):
        index, key = inputs
        model, optimizer = nnx.merge(graph, state)
        loss, gradients = nnx.value_and_grad(loss_of)(model, images[index], key)
        optimizer.update(model, gradients)
        return nnx.state((model, optimizer)), loss

    state, losses = jax.lax.scan(step, state, (indices, jax.random.split(key, len(indices))))
    return state, losses.mean()


def evaluation(state, images, key):
    """The loss on the test images, and their codes."""
    model, _ = nnx.merge(graph, state)
    model.eval()
    return loss_of(model, images, key), model.encode(images)[0]


if models > 1:
    chunk = jax.vmap(chunk, in_axes=(0, None, 0, 0))
    evaluation = jax.vmap(evaluation, in_axes=(0, None, 0))
chunk, evaluation = jax.jit(chunk, donate_argnums=0), jax.jit(evaluation)

train, test = (jnp.asarray(part) for part in task.images())
draw = np.random.default_rng(task.seed)
per_epoch = len(train) // task.batch * task.batch


def batches():
    """Rows of image numbers, an epoch after the other."""
    while True:
        yield from draw.permutation(len(train))[:per_epoch].reshape(-1, task.batch)


def next_indices(rows):
    """Those of a chunk; for several models a set each."""
    shape = (models, task.eval_every, task.batch) if models > 1 else (task.eval_every, task.batch)
    count = models * task.eval_every
    return jnp.asarray(np.stack([next(rows) for _ in range(count)]).reshape(shape))


rows, key = batches(), jax.random.key(task.seed)
watch = Watch()
for _ in range(task.evaluations):
    key, *keys = jax.random.split(key, 1 + 2 * models)
    own, other = (jnp.stack(keys[:models]), jnp.stack(keys[models:]))
    own, other = (own, other) if models > 1 else (own[0], other[0])
    state, train_loss = chunk(state, train, next_indices(rows), own)
    train_loss.block_until_ready()
    watch.start_evaluation()
    test_loss, codes = jax.block_until_ready(evaluation(state, test, other))
    kept = np.asarray(codes)
    watch.stop_evaluation()
watch.report(np.mean(train_loss), np.mean(test_loss), models=models)
