"""The whole lecture, its five runs, beside the way the original trains them.

The five runs: a linear autoencoder and two linear VAEs of 25,000 steps, a convolutional autoencoder
and a VAE of 30,000, evaluated on all test images every 250 steps. Ours train on one core each, as
many at once as there are cores. The original's way: PIL images from torchvision's MNIST through
Resize and ToTensor in the workers of a DataLoader, eight of them, and none or two besides; Adam as
it comes; the loss read at every step; evaluations through a loader, with gradients recorded.

Both are extrapolated: seconds per step and seconds per evaluation are measured in this run.
"""

import argparse
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from timing import (
    alternate,
    arguments_of,
    context,
    few_test_images,
    images,
    objective_of,
    parser,
    table,
    timed,
    write,
)  # fmt: skip
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.datasets import MNIST
from torchvision.transforms import Compose, Resize, ToTensor

from lecture_vae import ImageData, TrainConfig, build_model, evaluate, train
from lecture_vae.cluster import cores
from lecture_vae.models import Model
from lecture_vae.native.engine import plan_for

# model, KL weight (None: an autoencoder), steps
RUNS = [
    ("linear-ae", None, 25_000),
    ("linear-vae", 1.0, 25_000),
    ("linear-vae", 100.0, 25_000),
    ("conv-ae", None, 30_000),
    ("conv-vae", 0.8, 30_000),
]
KINDS = {"linear-ae": None, "linear-vae": 1.0, "conv-ae": None, "conv-vae": 0.8}
EVAL_EVERY, BATCH, LR = 250, 64, 5e-4
OURS = "ours"

Cost = dict[str, tuple[float, float]]  # model -> seconds of a step, seconds of an evaluation


def main() -> None:
    """Measures, prints and, if asked, records."""
    options = parser(__doc__, rounds=1)
    options.add_argument("--steps", type=int, default=300, help="of each model in a round")
    options.add_argument("--evaluations", type=int, default=2, help="of each model in a round")
    options.add_argument("--workers", type=int, nargs="+", default=[8, 2, 0])
    arguments = arguments_of(options, "lecture")
    data = images()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        root = pil_images(data, Path(folder))
        ways = {OURS: partial(ours, arguments)}
        for workers in arguments.workers:
            ways[f"the original's way, {workers} workers"] = partial(
                original, root, workers, arguments
            )
        costs = alternate(ways, arguments.rounds)  # type: ignore[arg-type]
    results = context(data, ["torchvision", "pillow"]) | {
        "steps": arguments.steps,
        "evaluations": arguments.evaluations,
        "cores": cores(),
        "ways": {name: summary(name, found) for name, found in costs.items()},
    }
    seconds = {name: way["lecture_s"] for name, way in results["ways"].items()}
    results["original_per_ours"] = {n: s / seconds[OURS] for n, s in seconds.items() if n != OURS}
    print(report(results))
    write(results, arguments.out)


def pil_images(data: ImageData, folder: Path) -> Path:
    """A folder in torchvision's layout: the images that we train on, or 28 x 28 ones like them."""
    if Path(data.source).is_dir():
        return Path(data.source)
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for prefix, split in (("train", data.train), ("t10k", data.test)):
        small = nn.functional.interpolate(split.images, (28, 28), mode="bilinear", antialias=True)
        for kind, array, magic in (
            ("images-idx3", (small * 255).round().byte().squeeze(1).numpy(), 2051),
            ("labels-idx1", split.labels.byte().numpy(), 2049),
        ):
            header = np.array([magic, *array.shape], ">i4").tobytes()
            (raw / f"{prefix}-{kind}-ubyte").write_bytes(header + array.tobytes())
    return folder


# ---------------------------------------------------------------------------- ours


def ours(arguments: argparse.Namespace) -> Cost:
    """What ours cost while as many train as there are cores."""
    at_once = cores()
    context_ = multiprocessing.get_context("spawn")
    found: Cost = {}
    with ProcessPoolExecutor(at_once, mp_context=context_) as pool:
        for name in KINDS:
            job = partial(our_cost, name, arguments.steps, arguments.evaluations)
            costs = list(pool.map(job, range(at_once)))
            found[name] = tuple(float(np.mean(part)) for part in zip(*costs, strict=True))  # type: ignore[assignment]
    return found


_DATA: list[ImageData] = []


def our_cost(name: str, steps: int, evaluations: int, _: int) -> tuple[float, float]:
    """Seconds of a step and of an evaluation, in a process of its own."""
    if not _DATA:
        _DATA.append(images())
    torch.set_num_threads(1)
    data, model, objective = _DATA[0], build_model(name), objective_of(name)
    config = TrainConfig(steps=steps, batch_size=BATCH, lr=LR, eval_every=steps)
    few = few_test_images(data)
    train(model, objective, few, TrainConfig(steps=10), device="cpu")
    step = timed(lambda: train(model, objective, few, config, device="cpu")) / steps
    test = data.test.images
    plan = plan_for(model, objective, BATCH, torch.device("cpu"))
    spent = [timed(lambda: evaluate(model, objective, test, plan=plan)) for _ in range(evaluations)]
    return step, median(spent)


# ---------------------------------------------------------------------------- the original's way


def original(root: Path, workers: int, arguments: argparse.Namespace) -> Cost:
    """What the original's loop costs; it trains one model after the other, with torch's threads."""
    transform = Compose([Resize((32, 32)), ToTensor()])
    sets = [MNIST(str(root), train=train, transform=transform) for train in (True, False)]
    loaders = [
        DataLoader(part, batch_size=BATCH, shuffle=number == 0, num_workers=workers)
        for number, part in enumerate(sets)
    ]
    return {
        name: original_cost(name, weight, *loaders, arguments) for name, weight in KINDS.items()
    }


def original_cost(
    name: str,
    kl_weight: float | None,
    train_loader: DataLoader[Any],
    test_loader: DataLoader[Any],
    arguments: argparse.Namespace,
) -> tuple[float, float]:
    """Seconds of a step, workers' start not counted, and of an evaluation, which starts them."""
    model = build_model(name).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    batches = iter(train_loader)
    losses = []
    for x, _ in islice(batches, 5):
        model(x)
    started = time.perf_counter()
    for x, _ in islice(batches, arguments.steps):
        loss = original_loss(model, x, kl_weight)[0]
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    step = (time.perf_counter() - started) / len(losses)
    del batches
    spent = [
        timed(lambda: original_evaluation(model, test_loader, kl_weight))
        for _ in range(arguments.evaluations)
    ]
    return step, median(spent)


def original_evaluation(
    model: Model, loader: DataLoader[Any], kl_weight: float | None
) -> tuple[np.ndarray, float]:
    """The latents with their labels, and the mean loss; gradients are recorded."""
    model.eval()
    rows, losses = [], []
    for x, labels in loader:
        loss, z = original_loss(model, x, kl_weight)
        losses.append(loss.item())
        rows.append(torch.cat((z.flatten(1), labels.reshape(-1, 1)), dim=-1))
    model.train()
    return torch.cat(rows).detach().numpy(), float(np.mean(losses))


def original_loss(model: Model, x: Tensor, kl_weight: float | None) -> tuple[Tensor, Tensor]:
    """The loss of a batch, and its latents."""
    out = model(x)
    if kl_weight is None:
        return torch.mean((x - out.x_hat) ** 2), out.code
    squared_error = ((x - out.x_hat) ** 2).flatten(1).sum(dim=-1).mean()
    inner = (1 + out.log_var - out.mu**2 - torch.exp(out.log_var)).flatten(1)
    return squared_error + kl_weight * (-0.5 * inner.sum(dim=-1)).mean(), out.z


# ---------------------------------------------------------------------------- figures


def summary(name: str, costs: list[Cost]) -> dict[str, Any]:
    """Medians over the rounds, and the seconds of the lecture."""
    middle = {
        model: [median(cost[model][part] for cost in costs) for part in (0, 1)] for model in KINDS
    }
    runs = [
        steps * middle[model][0] + steps // EVAL_EVERY * middle[model][1]
        for model, _, steps in RUNS
    ]
    lecture = makespan(runs, cores()) if name == OURS else sum(runs)
    return {
        "rounds": costs,
        "ms_per_step": {model: 1e3 * cost[0] for model, cost in middle.items()},
        "s_per_evaluation": {model: cost[1] for model, cost in middle.items()},
        "s_per_run": runs,
        "lecture_s": lecture,
    }


def makespan(runs: list[float], at_once: int) -> float:
    """When the last run ends if each, the longest first, goes to the core that is free first."""
    ends = [0.0] * at_once
    for seconds in sorted(runs, reverse=True):
        first = ends.index(min(ends))
        ends[first] += seconds
    return max(ends)


def report(results: dict[str, Any]) -> str:
    """The figures as text."""
    rows = []
    for name, way in results["ways"].items():
        cells = [
            f"{way['ms_per_step'][model]:.1f} / {way['s_per_evaluation'][model]:.2f}"
            for model in KINDS
        ]
        ratio = results["original_per_ours"].get(name)
        rows.append([name, *cells, f"{way['lecture_s'] / 60:.1f}", f"{ratio or 1:.1f}"])
    header = ["ms a step / s an evaluation", *KINDS, "lecture, minutes", "of ours"]
    note = (
        f"{results['data']['name']}; from {results['steps']} steps and {results['evaluations']} "
        "evaluations of each model and way; ours with "
        f"{results['cores']} runs at once"
    )
    return f"{table(header, rows)}\n{note}"


if __name__ == "__main__":
    main()
