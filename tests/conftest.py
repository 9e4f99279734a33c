"""What the tests share: one thread, no display, tiny images, a store and a cache of their own."""

import os

os.environ["MPLBACKEND"] = "Agg"
os.environ["TQDM_DISABLE"] = "1"

import pytest
import torch

from lecture_vae.data import ImageData, Split

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    """No test reads or writes the user's runs, data setting or budget."""
    monkeypatch.setenv("LECTURE_VAE_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("LECTURE_VAE_DATA", raising=False)
    monkeypatch.delenv("LECTURE_VAE_BUDGET", raising=False)


@pytest.fixture(scope="session")
def tiny() -> ImageData:
    """200 training and 70 test images: bright squares, whose place is their class."""
    generator = torch.Generator().manual_seed(0)

    def split(n: int) -> Split:
        labels = torch.arange(n) % 10
        images = 0.1 * torch.rand(n, 1, 32, 32, generator=generator)
        for image, label in zip(images, labels.tolist(), strict=True):
            row, column = 6 * (label // 5) + 4, 5 * (label % 5) + 2
            image[:, row : row + 6, column : column + 6] += 0.9
        return Split(images, labels)

    names = tuple(str(digit) for digit in range(10))
    return ImageData(split(200), split(70), names, "tiny", "tiny", "0" * 16)
