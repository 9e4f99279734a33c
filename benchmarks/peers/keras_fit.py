"""The linear VAE by Keras 3, as its guide on subclassing has it: layers, add_loss, fit.

The backend is that of KERAS_BACKEND; the arguments are the task and ``steps_per_execution``.
"""

import sys

from common import Task, Watch

task = Task.read()

import keras  # noqa: E402
from keras import layers, ops  # noqa: E402

if keras.backend.backend() == "torch":
    import torch

    torch.set_num_threads(task.threads)
keras.utils.set_random_seed(task.seed)


class Sampling(layers.Layer):
    """z from q(z | x), and the KL as a loss."""

    def __init__(self) -> None:
        super().__init__()
        self.seed = keras.random.SeedGenerator(task.seed)

    def call(self, inputs):
        """One z for each image."""
        mu, log_var = inputs
        self.add_loss(ops.mean(ops.sum(0.5 * (mu**2 + ops.exp(log_var) - 1 - log_var), axis=1)))
        return mu + ops.exp(0.5 * log_var) * keras.random.normal(ops.shape(mu), seed=self.seed)


def squared_error(x, x_hat):
    """Summed over the pixels of each image."""
    return ops.sum(ops.square(x - x_hat), axis=-1)


class Clock(keras.callbacks.Callback):
    """Notes when evaluations begin and end."""

    def on_test_begin(self, logs=None):
        """The steps of a chunk are done."""
        watch.start_evaluation()

    def on_test_end(self, logs=None):
        """The chunk is done."""
        watch.stop_evaluation()


def dense(h, width, activation=None):
    """A layer that begins as torch's do, so that losses can be compared."""
    bound = h.shape[-1] ** -0.5
    start = [keras.initializers.RandomUniform(-bound, bound) for _ in range(2)]
    return layers.Dense(width, activation, kernel_initializer=start[0], bias_initializer=start[1])(
        h
    )


inputs = keras.Input((1024,))
h = dense(dense(dense(inputs, 128, "relu"), 64, "relu"), 32)
z = Sampling()([dense(h, 2), dense(h, 2)])
h = dense(dense(dense(z, 32, "relu"), 64, "relu"), 128, "relu")
model = keras.Model(inputs, dense(h, 1024, "sigmoid"))
model.compile(
    optimizer=keras.optimizers.Adam(task.lr, epsilon=1e-8),
    loss=squared_error,
    steps_per_execution=int(sys.argv[2]),
)
train, test = task.images()
watch = Watch()
history = model.fit(
    train, train, batch_size=task.batch, epochs=task.evaluations,
    steps_per_epoch=task.eval_every, validation_data=(test, test), validation_batch_size=1_000,
    callbacks=[Clock()], verbose=0,
)  # fmt: skip
watch.report(history.history["loss"][-1], history.history["val_loss"][-1])
