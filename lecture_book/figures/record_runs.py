"""The runs that the live figures show.

`LECTURE_VAE_BUDGET=full python -m lecture_book.figures.record_runs` records them: on MNIST it
trains the runs that are not in the store (about 20 core-minutes) and writes the files of
`book/_static/live`; chapter 9's are of scikit-learn's digits. A book built at the full budget
shows the explorer with the runs of its own cells instead.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from lecture_book.figures import record_evidence
from lecture_book.figures.record_codes import export_codes
from lecture_book.project import LIVE, root_or_exit
from lecture_vae import (
    ImageData,
    NegativeELBO,
    RunSpec,
    SquaredError,
    budget,
    build_model,
    export_balance,
    export_run,
    fetch_runs,
    lecture_config,
    load_images,
)
from lecture_vae.live import LiveFile, write_files

EXPLORER: dict[str, tuple[str, NegativeELBO | SquaredError]] = {
    "vae_1": ("linear-vae", NegativeELBO(1)),
    "vae_100": ("linear-vae", NegativeELBO(100)),
    "ae": ("linear-ae", SquaredError()),
}
FIRST = "vae_1"  # the run that the first page shows
SHOWN = 2_000  # test images in its plane
START_CLASS = 2  # of the image that it decodes first: one in the middle of its class
# On both sides of twice the two largest variances of MNIST's images, 8.9 and 12.9.
WEIGHTS = 0.1, 0.3, 1, 3, 6, 7, 8, 9, 12, 15, 30, 100


def export_explorer(data: ImageData, folder: Path) -> None:
    """Write the files of the explorer's runs, trained as chapter 5 trains them."""
    specs = [
        RunSpec(model, objective, lecture_config(model)) for model, objective in EXPLORER.values()
    ]
    for name, run in zip(EXPLORER, fetch_runs(specs, data), strict=True):
        export_run(run, data, folder / name)
    export_preview(folder / FIRST)


def export_preview(folder: Path) -> Path:
    """Write `preview.safetensors` beside a run's `model.safetensors`: what the first page shows.

    It holds latents and labels of 2,000 test images, and, for one of them (`start`), the image that
    the decoder makes of it, in gray levels from 0 to 255. The decoder itself is fetched later.
    """
    with safe_open(folder / "model.safetensors", "pt") as file:
        model = json.loads(file.metadata()["lecture_vae"])
        weights = {name: file.get_tensor(name).float() for name in file.keys() if "." in name}  # noqa: SIM118
        mu, labels = (file.get_tensor(name)[:SHOWN] for name in ("mu", "labels"))
    decoder: Any = build_model(model["run"]["model"])
    decoder.load_state_dict(weights, strict=False)
    latents = mu.float() * model["scales"]["mu"]
    of_class = latents[labels == START_CLASS]
    start = of_class[(of_class - of_class.mean(0)).square().sum(1).argmin()]
    with torch.inference_mode():
        image = decoder.decode(start[None]).flatten()
    metadata = {name: model[name] for name in ("run", "limits", "scales")} | {
        "start": start.tolist()
    }
    arrays = {
        "mu": mu.numpy(),
        "labels": labels.numpy(),
        "image": (255 * image).round().to(torch.uint8).numpy(),
    }
    [path] = write_files(folder, {"preview": LiveFile(metadata, arrays)})
    return path


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
    record_evidence.record(load_images("digits"), live / "evidence")
    export_codes(data, live / "codes")


if __name__ == "__main__":
    main()
