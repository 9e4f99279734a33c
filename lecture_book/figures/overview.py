"""The picture in the README: codes of an autoencoder and a VAE, and what the VAE decodes.

`LECTURE_VAE_BUDGET=full python -m lecture_book.figures.overview` draws it again, with MNIST, from
the runs in the store, and trains those that are missing.
"""

from pathlib import Path

import matplotlib
import torch
from matplotlib.figure import Figure

from lecture_book.project import root_or_exit
from lecture_vae import (
    NegativeELBO,
    SquaredError,
    fetch_run,
    latent_grid,
    lecture_config,
    load_images,
    plot_image_grid,
    plot_latents,
)

PICTURE = Path("book") / "_static" / "overview.png"  # in a checkout


def draw() -> Figure:
    """Three panels: AE codes, VAE codes with the prior's circles, the VAE's decoded grid."""
    import matplotlib.pyplot as plt

    data = load_images()
    config = lecture_config("linear-vae")
    ae = fetch_run("linear-ae", SquaredError(), data, config)
    vae = fetch_run("linear-vae", NegativeELBO(kl_weight=1.0), data, config)
    with torch.no_grad():
        decoded = vae.model.decode(latent_grid(16, extent=2.0))
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 4.1), layout="constrained")
    plot_latents(ae.code, data.test.labels, left, title="autoencoder: codes of the test set")
    plot_latents(vae.code, data.test.labels, middle, title="VAE: codes and the prior", prior=True)
    plot_image_grid(decoded, 16, right, extent=2.0, title="VAE: decoded grid")
    return figure


if __name__ == "__main__":
    matplotlib.use("Agg")
    path = root_or_exit() / PICTURE
    draw().savefig(path, dpi=100)
    print(path)
