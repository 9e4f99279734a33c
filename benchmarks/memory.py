"""How much memory do a run and an animation take beyond `import torch`?

Each case runs in a process of its own and reports its peak. A run has the data of the full budget
and its 100 or 120 evaluations with their codes; it may have fewer steps between them, which changes
nothing: a step leaves nothing behind, but for one line of its log until the next evaluation.
"""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from timing import (
    ROOT,
    alternate,
    arguments_of,
    context,
    images,
    medians,
    objective_of,
    parser,
    table,
    write,
)

FULL_EVERY = 250  # steps between evaluations at full budget
EVALUATIONS = {"linear-vae": 100, "conv-vae": 120}
FRAMES = 25, 100
# With this glibc gives blocks above 1 MB back when they are freed; else it keeps them in a heap,
# where small blocks between them can keep them from being used again.
RETURN = "MALLOC_MMAP_THRESHOLD_=1000000"


def main() -> None:
    """Measures, prints and, if asked, records."""
    if len(sys.argv) > 2 and sys.argv[1] == "--case":
        sys.exit(case(*sys.argv[2:]))
    options = parser(__doc__, rounds=3)
    options.add_argument("--eval-every", type=int, default=10, help="steps; 250 is the full budget")
    arguments = arguments_of(options, "memory")
    names: dict[str, list[str]] = {"import torch": ["torch"], "load the images": ["images"]}
    names |= {f"train {model}": ["train", model, str(arguments.eval_every)]
              for model in EVALUATIONS}  # fmt: skip
    names[f"train conv-vae, {RETURN}"] = names["train conv-vae"]
    names["import matplotlib and the animation"] = ["animation", "0"]
    names |= {f"latent_evolution, {n} frames": ["animation", str(n)] for n in FRAMES}
    peaks = alternate({name: partial(peak, call, name) for name, call in names.items()},
                      arguments.rounds)  # fmt: skip
    median = medians(peaks)
    torch_mb = median["import torch"]
    rows = [[name, f"{mb:.0f}", f"{mb - torch_mb:.0f}"] for name, mb in median.items()]
    print(table(["", "peak MB", "beyond torch"], rows))
    print(f"{arguments.eval_every} steps between two evaluations; {FULL_EVERY} at full budget")
    results = {
        "eval_every": arguments.eval_every,
        "evaluations": EVALUATIONS,
        "peak_mb": peaks,
        "median_peak_mb": median,
        "beyond_torch_mb": {name: mb - torch_mb for name, mb in median.items()},
    }
    write(context(images()) | results, arguments.out)


def peak(call: list[str], name: str) -> float:
    """The peak of a process, in MB."""
    command = [sys.executable, __file__, "--case", *call]
    environment = os.environ | (dict([RETURN.split("=")]) if name.endswith(RETURN) else {})
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=ROOT, env=environment
    )
    return float(json.loads(done.stdout.strip().splitlines()[-1]))


def case(name: str, *arguments: str) -> None:
    """Does one thing and prints the peak of this process."""
    cases: dict[str, Callable[..., Any]] = {
        "torch": lambda: __import__("torch"),
        "images": images,
        "train": run,
        "animation": animate,
    }
    cases[name](*arguments)
    unit = 1_000_000 if sys.platform == "darwin" else 1_000_000 / 1024
    print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit))


def run(model: str, every: str) -> None:
    """Trains a model with all its evaluations."""
    from lecture_vae import TrainConfig, build_model, train

    config = TrainConfig(steps=EVALUATIONS[model] * int(every), eval_every=int(every))
    train(build_model(model), objective_of(model), images(), config, device="cpu")


def animate(frames: str) -> None:
    """Makes an animation; with no frames only what it imports and its codes count."""
    from animation import codes_of, ours

    codes, labels = codes_of(100, 10_000)
    if int(frames):
        ours(codes[: int(frames)], labels)


if __name__ == "__main__":
    main()
