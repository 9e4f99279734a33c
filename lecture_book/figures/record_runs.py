"""The runs that the live figures show.

`LECTURE_VAE_BUDGET=full python -m lecture_book.figures.record_runs` records them: on MNIST it
trains the runs that are not in the store (about 20 core-minutes) and writes the files of
`book/_static/live`. A book built at the full budget shows the explorer with the runs of its own
cells instead.
"""

import sys
from pathlib import Path

from lecture_book.project import LIVE, root_or_exit
from lecture_vae import (
    ImageData,
    NegativeELBO,
    RunSpec,
    SquaredError,
    budget,
    export_balance,
    export_run,
    fetch_runs,
    lecture_config,
    load_images,
)

EXPLORER: dict[str, tuple[str, NegativeELBO | SquaredError]] = {
    "vae_1": ("linear-vae", NegativeELBO(1)),
    "vae_100": ("linear-vae", NegativeELBO(100)),
    "ae": ("linear-ae", SquaredError()),
}
# On both sides of twice the two largest variances of MNIST's images, 8.9 and 12.9.
WEIGHTS = 0.1, 0.3, 1, 3, 6, 7, 8, 9, 12, 15, 30, 100


def export_explorer(data: ImageData, folder: Path) -> None:
    """Write the files of the explorer's runs, trained as chapter 5 trains them."""
    specs = [
        RunSpec(model, objective, lecture_config(model)) for model, objective in EXPLORER.values()
    ]
    for name, run in zip(EXPLORER, fetch_runs(specs, data), strict=True):
        export_run(run, data, folder / name)


def main() -> None:
    """Record the runs of all live figures."""
    live = root_or_exit() / LIVE
    data = load_images()
    if budget() != "full" or data.name != "mnist":
        sys.exit(
            "the runs must be recorded on MNIST at the full budget, got "
            f"{data.name} and {budget()}. Set LECTURE_VAE_BUDGET=full and LECTURE_VAE_DATA."
        )
    config = lecture_config("linear-vae")
    specs = [RunSpec("linear-vae", NegativeELBO(weight), config) for weight in WEIGHTS]
    export_balance(fetch_runs(specs, data), data, live / "balance")
    export_explorer(data, live / "runs")


if __name__ == "__main__":
    main()
