"""The linear VAE in Flax NNX and optax, the steps between two evaluations in one jitted scan.

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


def linear(inputs, outputs, rngs):
    """A layer that begins as torch's do, so that losses can be compared."""
    bound = inputs**-0.5

    def uniform(key, shape, dtype=jnp.float32, **_):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return nnx.Linear(inputs, outputs, kernel_init=uniform, bias_init=uniform, rngs=rngs)


class VAE(nnx.Module):
    """1024-128-64-32, two heads, and back."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.trunk = nnx.Sequential(
            linear(1024, 128, rngs), nnx.relu, linear(128, 64, rngs), nnx.relu,
            linear(64, 32, rngs),
        )  # fmt: skip
        self.to_mu, self.to_log_var = linear(32, 2, rngs), linear(32, 2, rngs)
        self.decoder = nnx.Sequential(
            linear(2, 32, rngs), nnx.relu, linear(32, 64, rngs), nnx.relu,
            linear(64, 128, rngs), nnx.relu, linear(128, 1024, rngs), nnx.sigmoid,
        )  # fmt: skip

    def __call__(self, x, eps):
        """The reconstruction and the parameters of q(z | x)."""
        h = self.trunk(x)
        mu, log_var = self.to_mu(h), self.to_log_var(h)
        return self.decoder(mu + jnp.exp(0.5 * log_var) * eps), mu, log_var


def loss_of(model, x, key):
    """Squared error + KL, mean over the batch."""
    x_hat, mu, log_var = model(x, jax.random.normal(key, (len(x), 2)))
    kl = 0.5 * (mu**2 + jnp.exp(log_var) - 1 - log_var).sum(axis=1)
    return (((x - x_hat) ** 2).sum(axis=1) + kl).mean()


def build(seed):
    """The state of a fresh model and its optimizer."""
    model = VAE(nnx.Rngs(seed))
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
    return loss_of(model, images, key), model.to_mu(model.trunk(images))


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
