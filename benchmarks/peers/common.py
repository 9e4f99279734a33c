"""What every peer is told, and what it tells: one line of JSON each way. Needs numpy only."""

import json
import sys
import time
from dataclasses import dataclass, field

import numpy as np

__all__ = ["Task", "Watch"]


@dataclass(frozen=True)
class Task:
    """What to train. The objective is the squared error, summed over pixels, plus the KL."""

    data: str  # an .npz with train and test: float32 [N, 1024] in [0, 1]
    steps: int
    eval_every: int
    batch: int
    lr: float
    seed: int
    threads: int
    model: str  # "linear-vae" or "conv-vae"

    @classmethod
    def read(cls) -> "Task":
        """From the command line."""
        return cls(**json.loads(sys.argv[1]))

    def images(self) -> tuple[np.ndarray, np.ndarray]:
        """For training and for testing."""
        with np.load(self.data) as file:
            return file["train"], file["test"]

    @property
    def evaluations(self) -> int:
        """How many; each comes after ``eval_every`` steps."""
        return self.steps // self.eval_every


@dataclass
class Watch:
    """The clock of a peer: it runs from its making to the last evaluation."""

    chunks: list[float] = field(default_factory=list)  # seconds of steps and their evaluation
    evaluations: list[float] = field(default_factory=list)  # seconds of these alone
    cpu_chunks: list[float] = field(default_factory=list)  # CPU seconds of the process
    last: float = field(default_factory=time.perf_counter)
    last_cpu: float = field(default_factory=time.process_time)
    evaluating: float = 0.0

    def start_evaluation(self) -> None:
        """The steps of a chunk are done."""
        self.evaluating = time.perf_counter()

    def stop_evaluation(self) -> None:
        """The chunk is done."""
        now, cpu = time.perf_counter(), time.process_time()
        self.evaluations.append(now - self.evaluating)
        self.chunks.append(now - self.last)
        self.cpu_chunks.append(cpu - self.last_cpu)
        self.last, self.last_cpu = now, cpu

    def report(self, train_loss: float, test_loss: float, **more: object) -> None:
        """Prints what was found: the losses of the last chunk, in nats per image."""
        losses = {"train_loss": float(train_loss), "test_loss": float(test_loss)}
        times = {
            "chunks": self.chunks,
            "cpu_chunks": self.cpu_chunks,
            "evaluations": self.evaluations,
        }
        print(json.dumps(times | losses | more))
