"""A VAE by PyTorch Lightning: a LightningModule, DataLoaders over tensors, a Trainer.

Without logger, checkpoints, progress bar and check of the first batches: training and evaluating
alone is timed.
"""

import logging
import warnings

import lightning as L
import torch
from common import Task, Watch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from torch_vae import VAE

warnings.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
task = Task.read()
torch.set_num_threads(task.threads)
L.seed_everything(task.seed, verbose=False)


class Module(L.LightningModule):
    """The VAE with its loss and its optimizer."""

    def __init__(self) -> None:
        super().__init__()
        self.vae = VAE(task.model)

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        """The loss of a batch."""
        loss = self.vae.loss(batch[0])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], _: int) -> None:
        """Adds a batch to the mean over the test images."""
        self.log("test_loss", self.vae.loss(batch[0]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam, as torch has it by default."""
        return torch.optim.Adam(self.parameters(), lr=task.lr)


class Clock(L.Callback):
    """Notes when evaluations begin and end."""

    def on_validation_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """The steps of a chunk are done."""
        watch.start_evaluation()

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """The chunk is done."""
        watch.stop_evaluation()


train, test = (TensorDataset(torch.from_numpy(part)) for part in task.images())
trainer = L.Trainer(
    accelerator="cpu", max_steps=task.steps, val_check_interval=task.eval_every,
    check_val_every_n_epoch=None, num_sanity_val_steps=0, logger=False,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    callbacks=[Clock()],
)  # fmt: skip
module = Module()
watch = Watch()
trainer.fit(module, DataLoader(train, batch_size=task.batch, shuffle=True), DataLoader(test, 1_000))
found = trainer.callback_metrics
watch.report(found["train_loss"], found["test_loss"])
