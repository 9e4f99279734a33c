"""A VAE of the lecture by lecture_vae."""

import time

import torch
from common import Task, Watch

from lecture_vae import (
    ImageData,
    NegativeELBO,
    Split,
    TrainConfig,
    build_model,
    evaluate,
    train,
)
from lecture_vae.history import Checkpoint
from lecture_vae.native.engine import plan_for

task = Task.read()
parts = [torch.from_numpy(part).view(-1, 1, 32, 32) for part in task.images()]
splits = [Split(part, torch.zeros(len(part), dtype=torch.long)) for part in parts]
data = ImageData(splits[0], splits[1], tuple("0123456789"), "benchmark", "benchmark", "0" * 16)
config = TrainConfig(task.steps, task.batch, task.lr, task.eval_every, task.seed)
objective = NegativeELBO(1.0)
clock = Watch()


def note(_: Checkpoint) -> None:
    """Called after each evaluation, the one at step 0 first."""
    clock.stop_evaluation()


model = build_model(task.model, seed=task.seed)
history = train(model, objective, data, config, device="cpu", on_evaluate=note)
watch = Watch(chunks=clock.chunks[1:], cpu_chunks=clock.cpu_chunks[1:])
torch.set_num_threads(1)
plan = plan_for(model, objective, task.batch, torch.device("cpu"))
for _ in range(3):  # train does not say how long its evaluations took
    started = time.perf_counter()
    evaluate(model, objective, data.test.images, seed=task.seed, plan=plan)
    watch.evaluations.append(time.perf_counter() - started)
watch.report(history.rows[-1]["train_loss"], history.rows[-1]["test_loss"])
