"""What does importing lecture_vae add to importing torch, and how fast does the command answer?

Each figure is the median of fresh processes, in alternating order, after one that warms the disk.
"""

import subprocess
import sys
from functools import partial
from pathlib import Path

from timing import alternate, arguments_of, context, medians, parser, table, timed, write

COMMAND = Path(sys.executable).with_name("lecture-vae")
TORCH, PACKAGE, ALL = "import torch", "import lecture_vae", "import all of lecture_vae"
CALLS: dict[str, list[str | Path]] = {
    "python": [sys.executable, "-c", "pass"],
    TORCH: [sys.executable, "-c", "import torch"],
    PACKAGE: [sys.executable, "-c", "import torch, lecture_vae"],
    ALL: [sys.executable, "-c", "import torch; from lecture_vae import *"],
    "lecture-vae --help": [COMMAND, "--help"],
    "lecture-vae train --help": [COMMAND, "train", "--help"],
}


def main() -> None:
    """Measures, prints and, if asked, records."""
    arguments = arguments_of(parser(__doc__, rounds=15), "imports")
    for call in CALLS.values():
        _run(call)
    seconds = alternate(
        {name: partial(timed, partial(_run, call)) for name, call in CALLS.items()},
        arguments.rounds,
    )
    median = medians(seconds)
    added = {name: median[name] - median[TORCH] for name in (PACKAGE, ALL)}
    print(
        table(
            ["", "s", "s beyond torch"],
            [
                [name, f"{value:.3f}", f"{added[name]:.3f}" if name in added else ""]
                for name, value in median.items()
            ],
        )
    )
    results = {"seconds": seconds, "median_s": median, "beyond_torch_s": added}
    write(context(None) | results, arguments.out)


def _run(call: list[str | Path]) -> None:
    subprocess.run(call, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
