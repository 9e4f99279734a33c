"""How far is a training step of `train` from the limit of the core, and what takes the rest?

For the linear and the convolutional VAE: `train` in native kernels and in PyTorch, variants of its
loop with one idea each (`step_variants.py`), and the floor (`floors.py`), side by side in
alternating order on one thread; and the arithmetic limit of the core.
"""

import argparse
import os
import time
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any

import torch
from floors import Floor, arithmetic_peak, convolution_floor, linear_floor
from step_variants import VARIANTS, Setup, Steps
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
    write,
)  # fmt: skip
from torch.profiler import ProfilerActivity, profile

from lecture_vae import ImageData, TrainConfig, build_model, train

FLOORS: dict[str, Callable[[], Floor]] = {
    "linear-vae": linear_floor,
    "conv-vae": convolution_floor,
}
OURS, LOOP, FLOOR = "train", "train in PyTorch", "floor"
USUAL = "the products through torch's own choice"
COMPARED = 100  # steps whose losses are compared bit for bit
PROFILED = 200  # steps

# What an operator does, by the first of these words in its name; the rest is one small thing each.
KINDS = {
    "products": ("mm", "addmm", "_linear_pointwise", "convolution"),
    "batch norm": ("batch_norm",),
    "Adam": ("_fused_adam_", "_foreach_add_", "Optimizer"),
    "batch": ("index", "randperm", "randn", "normal_"),
    "elementwise and sums": (
        "relu", "clamp_min", "threshold", "sigmoid", "exp", "mul", "add", "sub", "pow", "sum",
        "mean", "neg", "div", "square",
    ),
    "views and copies": (
        "aten::t", "view", "transpose", "as_strided", "expand", "copy", "empty", "stack", "cat",
        "detach", "flatten", "slice", "select", "fill", "ones", "zero",
    ),
}  # fmt: skip


def main() -> None:
    """Measures both models, prints and, if asked, records."""
    options = parser(__doc__, rounds=5)
    options.add_argument("--steps", type=int, default=400, help="in each measurement")
    options.add_argument("--models", nargs="+", choices=FLOORS, default=list(FLOORS))
    options.add_argument("--variants", nargs="*", help="only these")
    arguments = arguments_of(options, "steps")
    data = few_test_images(images())
    results = context(data) | {"steps": arguments.steps, "threads": 1, "models": {}}
    # Compiling counts, so nothing that an earlier call has compiled may help.
    with threads(1), TemporaryDirectory(prefix="benchmark-") as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        for name in arguments.models:
            results["models"][name] = measure(name, data, arguments)
            print(report(name, results["models"][name]), flush=True)
    write(results, arguments.out)


def measure(name: str, data: ImageData, arguments: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds per step of everything, and what is known about it."""
    steps = arguments.steps
    config = TrainConfig(steps=steps, eval_every=steps)
    floor = FLOORS[name]()
    facts, running = prepare(Setup(name, data, config), arguments.variants)

    def ours(engine: str) -> None:
        train(build_model(name), objective_of(name), data, config, device="cpu", engine=engine)

    peak = arithmetic_peak()
    wall, cpu = {}, {}
    calls: dict[str, Callable[[], object]] = {
        OURS: lambda: ours("native"), LOOP: lambda: ours("torch")
    }  # fmt: skip
    calls |= {variant: lambda run=run: run(steps) for variant, run in running.items()}
    calls |= {USUAL: lambda: floor.run_usual(steps), FLOOR: lambda: floor.run(steps)}
    pairs = alternate({key: lambda c=call: _both(c, steps) for key, call in calls.items()},
                      arguments.rounds)  # fmt: skip
    for key, figures in pairs.items():
        wall[key], cpu[key] = [list(column) for column in zip(*figures, strict=True)]
    return {
        "ms_per_step": wall,
        "cpu_ms_per_step": cpu,
        "median_ms_per_step": medians(wall),
        "median_cpu_ms_per_step": medians(cpu),
        "variants": facts,
        "flop_per_step": floor.flop,
        "peak_flop_per_s": peak,
        "limit_ms_per_step": 1e3 * floor.flop / peak,
        "floor": {
            product: {
                "path": path,
                "us": round(1e6 * seconds, 1),
                "own_path": floor.usual[product][0],
                "own_us": round(1e6 * floor.usual[product][2], 1),
            }
            for product, (path, _, seconds) in floor.chosen.items()
        },
        "profile_us_per_step": breakdown(name, data),
    }


def prepare(setup: Setup, only: list[str] | None) -> tuple[dict[str, Any], dict[str, Steps]]:
    """The variants that run here, warm; how their first losses compare with those of the loop."""
    facts, running, reference = {}, {}, None
    for name, make in VARIANTS[setup.name].items():
        if only is not None and name not in only and reference is not None:
            continue
        started = time.perf_counter()
        try:
            run = make(setup)
            losses = run(COMPARED)
        except Exception as error:
            facts[name] = {"runs": False, "why": f"{type(error).__name__}: {error}"[:200]}
            continue
        reference = losses if reference is None else reference
        facts[name] = {
            "runs": True,
            "first_steps_s": round(time.perf_counter() - started, 2),
            "same_losses_bit_for_bit": torch.equal(losses, reference),
            "largest_relative_difference": ((losses - reference).abs() / reference).max().item(),
        }
        running[name] = run
    return facts, running


def _both(call: Callable[[], object], steps: int) -> tuple[float, float]:
    """Wall and CPU milliseconds per step."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return 1e3 * wall / steps, 1e3 * cpu / steps


def breakdown(name: str, data: ImageData) -> dict[str, float]:
    """Microseconds per step of ``train`` in PyTorch, by what the operators do; the rest is Python.

    The profiler adds about a microsecond to each of some hundred small operators, so small things
    look a little larger than they are, and the rest a little smaller.
    """
    config = TrainConfig(steps=PROFILED, eval_every=PROFILED)

    def run() -> None:
        train(build_model(name), objective_of(name), data, config, device="cpu", engine="torch")

    run()
    whole = min(_both(run, PROFILED)[0] for _ in range(3)) * 1e3
    tables = []
    for _ in range(3):
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            run()
        found = dict.fromkeys(KINDS, 0.0)
        for event in profiled.key_averages():
            if kind := _kind(event.key):
                found[kind] += event.self_cpu_time_total / PROFILED
        tables.append(found)
    found = min(tables, key=lambda found: sum(found.values()))  # the least disturbed
    rounded = {kind: round(value, 1) for kind, value in found.items()}
    return rounded | {
        "autograd, dispatch and Python": round(whole - sum(found.values()), 1),
        "all": round(whole, 1),
    }


def _kind(operator: str) -> str | None:
    """Of the operators that torch runs; those of autograd only call others."""
    if not operator.startswith(("aten::", "mkldnn::", "Optimizer")):
        return None
    return next(
        (kind for kind, words in KINDS.items() if any(word in operator for word in words)), None
    )


def report(name: str, result: dict[str, Any]) -> str:
    """The figures of a model as text."""
    median, cpu = result["median_ms_per_step"], result["median_cpu_ms_per_step"]
    rows = []
    for key, value in median.items():
        facts = result["variants"].get(key, {})
        difference = facts.get("largest_relative_difference")
        same = "same" if facts.get("same_losses_bit_for_bit") else f"{difference or 0:.0e}"
        rows.append([
            key, f"{value:.2f}", f"{value / median[FLOOR]:.2f}", f"{cpu[key]:.2f}",
            f"{cpu[key] / cpu[FLOOR]:.2f}", same if facts else "",
            facts.get("first_steps_s", ""),
        ])  # fmt: skip
    header = [name, "ms", "x floor", "CPU ms", "x floor", "losses", "first steps s"]
    lines = [table(header, rows)]
    lines += [f"{key} does not run here: {facts['why'].splitlines()[0]}"
              for key, facts in result["variants"].items() if not facts["runs"]]  # fmt: skip
    gflops = result["flop_per_step"] / 1e6 / median[FLOOR]
    parts = ", ".join(f"{kind} {value:.0f}" for kind, value in
                      result["profile_us_per_step"].items())  # fmt: skip
    limit = result["limit_ms_per_step"]
    lines += [
        f"floor: {gflops:.0f} GFLOP/s; limit: {result['peak_flop_per_s'] / 1e9:.0f} GFLOP/s, "
        f"{limit:.2f} ms, of which train takes {median[OURS] / limit:.2f} times as long",
        f"train in PyTorch, us per step: {parts}", "",
    ]  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    main()
