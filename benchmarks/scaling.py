"""How does the time of a run grow with the batch, the data and the number of models at once?

The time is that of a run of 25,000 steps of the linear VAE with 100 evaluations, extrapolated from
a few hundred steps and one evaluation. Beside each stands the floor: the matrix products alone.
"""

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial

import torch
from floors import linear_floor
from timing import (
    alternate,
    arguments_of,
    context,
    few_test_images,
    images,
    medians,
    objective_of,
    parser,
    table,
    threads,
    timed,
    write,
)  # fmt: skip

from lecture_vae import ImageData, Split, TrainConfig, build_model, evaluate, train
from lecture_vae.cluster import cores
from lecture_vae.native.engine import plan_for

MODEL, STEPS, EVALUATIONS = "linear-vae", 25_000, 100
BATCHES = 16, 64, 256, 1024
SIZES = 6_000, 15_000, 30_000, 60_000
MODELS = 1, 2, 4


def main() -> None:
    """Measures, prints and, if asked, records."""
    options = parser(__doc__, rounds=3)
    options.add_argument("--steps", type=int, default=400, help="in each measurement")
    arguments = arguments_of(options, "scaling")
    data, steps = images(), arguments.steps
    floors = {}
    with threads(1):
        for batch in BATCHES:
            floor = linear_floor(batch)
            floors[batch] = STEPS * min(timed(lambda f=floor: f.run(100)) for _ in range(5)) / 100
        train_s = {f"batch {batch}": partial(of_a_run, data, batch, steps) for batch in BATCHES}
        train_s |= {f"{size:,} images": partial(of_a_run, some(data, size), 64, steps)
                    for size in SIZES if size <= len(data.train.images)}  # fmt: skip
        seconds = alternate(train_s, arguments.rounds)
    together = {f"{n} models": partial(of_models, n, steps) for n in MODELS}
    seconds |= alternate(together, arguments.rounds)
    median = medians(seconds)
    limit = {f"batch {batch}": value for batch, value in floors.items()}
    limit |= {name: floors[64] for name in train_s if name not in limit}
    limit |= {f"{n} models": floors[64] * max(1, n / cores()) for n in MODELS}
    rows = [[name, f"{value:.1f}", f"{limit[name]:.1f}", f"{value / limit[name]:.1f}"]
            for name, value in median.items()]  # fmt: skip
    print(table(["linear VAE", "s a run (all models)", "floor s", "ratio"], rows))
    results = {"steps": steps, "cores": cores(), "seconds": seconds, "median_s": median,
               "floor_s": limit}  # fmt: skip
    write(context(data) | results, arguments.out)


def some(data: ImageData, count: int) -> ImageData:
    """The first training images, and a sixth as many test images."""
    train, test = data.train, data.test
    fewer = Split(train.images[:count], train.labels[:count])
    return replace(data, train=fewer, test=Split(test.images[: count // 6],
                                                 test.labels[: count // 6]))  # fmt: skip


def of_a_run(data: ImageData, batch: int, steps: int) -> float:
    """Seconds of a whole run."""
    model, objective = build_model(MODEL), objective_of(MODEL)
    config = TrainConfig(steps=steps, batch_size=batch, eval_every=steps)
    few = few_test_images(data)
    train(model, objective, few, TrainConfig(steps=20, batch_size=batch), device="cpu")
    a_step = timed(lambda: train(model, objective, few, config, device="cpu")) / steps
    plan = plan_for(model, objective, batch, torch.device("cpu"))
    an_evaluation = timed(lambda: evaluate(model, objective, data.test.images, plan=plan))
    return STEPS * a_step + EVALUATIONS * an_evaluation


def of_models(count: int, steps: int) -> float:
    """Seconds of so many whole runs, as many at a time as there are cores."""
    context_ = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(count, cores()), mp_context=context_) as pool:
        list(pool.map(_ready, range(2 * count)))  # imports and data are not part of a run
        found = list(pool.map(partial(_model_in_child, steps=steps), range(count)))
    return sum(found) / min(count, cores())


_DATA: list[ImageData] = []


def _ready(_: int) -> None:
    torch.set_num_threads(1)
    if not _DATA:
        _DATA.append(images())
    time.sleep(0.5)


def _model_in_child(number: int, steps: int) -> float:
    if not _DATA:
        _DATA.append(images())
    return of_a_run(_DATA[0], 64, steps)


if __name__ == "__main__":
    main()
