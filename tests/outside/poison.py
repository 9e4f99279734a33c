"""Models that harm whoever trains them: for the tests of what a sweep survives."""

import os
import signal
import time
from pathlib import Path

import torch

from lecture_vae import LinearVAE, register


class Poison(LinearVAE):
    """With three latents its images are not numbers; with four it kills its process."""

    def encode(self, x):
        if self.latent_shape == (4,) and self.training:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().encode(x)

    def decode(self, z):
        decoded = super().decode(z)
        return decoded * torch.nan if self.latent_shape == (3,) else decoded


class Gated(LinearVAE):
    """Waits from the 25th of all its updates on, in any process, while the file ``gate`` exists.

    Beside the gate it writes a character for each update and, when it waits, the numbers of its
    process and of the parent.
    """

    def __init__(self, gate: str = "", latent_dim: int = 2):
        super().__init__(latent_dim)
        self.gate = Path(gate)

    def encode(self, x):
        if self.training:
            with Path(f"{self.gate}.updates").open("a") as file:
                file.write(".")
            if Path(f"{self.gate}.updates").stat().st_size >= 25 and self.gate.exists():
                Path(f"{self.gate}.pids").write_text(f"{os.getpid()} {os.getppid()}")
                while self.gate.exists():
                    time.sleep(0.02)
        return super().encode(x)


register("poison", Poison)
register("gated", Gated)
