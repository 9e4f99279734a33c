"""A VAE by Keras 3, as its guide on subclassing has it: layers, add_loss, fit.

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
        """The steps of a chunk are done, also those that JAX only promised."""
        ops.convert_to_numpy(self.model.trainable_variables[0])
        watch.start_evaluation()

    def on_test_end(self, logs=None):
        """The chunk is done."""
        watch.stop_evaluation()


def as_torch(fan_in):
    """How torch's layers begin, so that losses can be compared."""
    kernel, bias = (keras.initializers.RandomUniform(-(fan_in**-0.5), fan_in**-0.5) for _ in "kb")
    return {"kernel_initializer": kernel, "bias_initializer": bias}


def dense(h, width, activation=None):
    """A fully connected layer."""
    return layers.Dense(width, activation, **as_torch(h.shape[-1]))(h)


def norm(h):
    """Batch normalisation with torch's constants, then a ReLU."""
    return layers.ReLU()(layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(h))


def conv(h, channels, size, strides=1, bias=True):
    """A convolution with a padding of one pixel."""
    first = as_torch(h.shape[-1] * size * size)
    padded = layers.ZeroPadding2D(1)(h)
    return layers.Conv2D(channels, size, strides=strides, use_bias=bias, **first)(padded)


def transposed(h, channels, size, cropped, bias=True):
    """A transposed convolution without the outermost ``cropped`` pixels."""
    first = as_torch(channels * size * size)
    h = layers.Conv2DTranspose(channels, size, strides=2, use_bias=bias, **first)(h)
    return layers.Cropping2D(cropped)(h) if cropped else h


def linear_vae(inputs):
    """1024-128-64-32, two heads, and back."""
    h = dense(dense(dense(inputs, 128, "relu"), 64, "relu"), 32)
    z = Sampling()([dense(h, 2), dense(h, 2)])
    h = dense(dense(dense(z, 32, "relu"), 64, "relu"), 128, "relu")
    return dense(h, 1024, "sigmoid")


def conv_vae(inputs):
    """Images of 32, 15, 8 and 4 pixels, two heads of 4 channels, then 9, 17 and 32 pixels."""
    h = layers.Reshape((32, 32, 1))(inputs)
    for channels, size in [(8, 5), (16, 3), (4, 3)]:
        h = norm(conv(h, channels, size, strides=2, bias=False))
    z = Sampling()([layers.Flatten()(conv(h, 4, 3)) for _ in range(2)])
    h = norm(transposed(layers.Reshape((4, 4, 4))(z), 16, 3, 0, bias=False))
    h = norm(transposed(h, 8, 3, 1, bias=False))
    h = layers.Activation("sigmoid")(transposed(h, 1, 2, 1))
    return layers.Flatten()(h)


inputs = keras.Input((1024,))
model = keras.Model(inputs, (linear_vae if task.model == "linear-vae" else conv_vae)(inputs))
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
