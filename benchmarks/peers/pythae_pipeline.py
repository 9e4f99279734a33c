"""A VAE by pythae: a BetaVAE with networks of our sizes in its TrainingPipeline.

pythae evaluates once an epoch. To have it evaluate as often as the others, an epoch is a window of
``eval_every`` batches that moves through the training images. Its loss is half of ours: it takes
half the squared error, and gets half the KL by beta = 1/2.
"""

import contextlib
import io
import logging
import sys
import tempfile

import torch
from common import Task, Watch
from pythae.data.datasets import DatasetOutput
from pythae.models import BetaVAE, BetaVAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.pipelines import TrainingPipeline
from pythae.trainers import BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback
from torch import Tensor
from torch.utils.data import Dataset
from torch_vae import VAE

logging.disable(logging.CRITICAL)
task = Task.read()
torch.set_num_threads(task.threads)
torch.manual_seed(task.seed)
parts = VAE(task.model)


class Encoder(BaseEncoder):
    """Gives mu and log_var."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.to_mu, self.to_log_var = parts.trunk, parts.to_mu, parts.to_log_var

    def forward(self, x: Tensor) -> ModelOutput:
        """The parameters of q(z | x)."""
        h = self.trunk(x)
        return ModelOutput(embedding=self.to_mu(h), log_covariance=self.to_log_var(h))


class Decoder(BaseDecoder):
    """Gives images."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = parts.decoder

    def forward(self, z: Tensor) -> ModelOutput:
        """The mean of p(x | z)."""
        return ModelOutput(reconstruction=self.layers(z))


class Window(Dataset):
    """As many images as an epoch takes, from a place that moves."""

    def __init__(self, images: Tensor, length: int) -> None:
        self.images, self.length, self.start = images, length, 0

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> DatasetOutput:
        return DatasetOutput(data=self.images[(self.start + index) % len(self.images)])


class Clock(TrainingCallback):
    """Moves the window, and notes when evaluations begin and end."""

    def __init__(self) -> None:
        self.losses: dict[str, float] = {}

    def on_epoch_begin(self, *_: object, **__: object) -> None:
        """The next images."""
        train.start += len(train)

    def on_eval_step_begin(self, *_: object, **__: object) -> None:
        """The steps of a chunk are done."""
        watch.start_evaluation()

    def on_epoch_end(self, *_: object, **__: object) -> None:
        """The chunk is done."""
        watch.stop_evaluation()

    def on_log(self, config: object, logs: dict[str, float], **_: object) -> None:
        """The losses of the epoch."""
        self.losses = logs


images, test_images = (torch.from_numpy(part) for part in task.images())
train, test = Window(images, task.eval_every * task.batch), Window(test_images, len(test_images))
latents = 2 if task.model == "linear-vae" else 64
model = BetaVAE(
    BetaVAEConfig(input_dim=(1024,), latent_dim=latents, reconstruction_loss="mse", beta=0.5),
    Encoder(),
    Decoder(),
)
clock = Clock()
with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()) as said:
    pipeline = TrainingPipeline(
        model=model,
        training_config=BaseTrainerConfig(
            output_dir=folder, num_epochs=task.evaluations, learning_rate=task.lr,
            per_device_train_batch_size=task.batch, per_device_eval_batch_size=1_000,
            optimizer_cls="Adam", seed=task.seed, no_cuda=True,
        ),
    )  # fmt: skip
    watch = Watch()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            pipeline(train_data=train, eval_data=test, callbacks=[clock])
    except Exception:
        print(said.getvalue(), file=sys.stdout)
        raise
watch.report(2 * clock.losses["train_epoch_loss"], 2 * clock.losses["eval_epoch_loss"])
