"""Opening the core changed no number: runs are those of version 0.1, to the last bit."""

import json
from itertools import islice
from pathlib import Path

import pytest
import torch

from lecture_vae.data import load_images
from lecture_vae.losses import NegativeELBO, SquaredError, negative_elbo
from lecture_vae.networks import build_model
from lecture_vae.randomness import batches, noise
from lecture_vae.training import TrainConfig, train

CONFIG = TrainConfig(steps=40, eval_every=20, seed=5)
RECORD = json.loads(Path(__file__).with_name("history_0_1.json").read_text(encoding="utf8"))


@pytest.fixture(scope="module")
def digits():
    return load_images("digits")


def as_in_0_1(name, kl_weight, images):
    """The losses and the weights of version 0.1, whose loop called the model, not the objective."""
    model = build_model(name, seed=CONFIG.seed).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=CONFIG.lr, fused=True)
    indices = batches(len(images), CONFIG.batch_size, CONFIG.seed)
    epsilons = noise((CONFIG.batch_size, *model.latent_shape), CONFIG.seed)
    losses = []
    for index, eps in islice(zip(indices, epsilons, strict=False), CONFIG.steps):
        x = images[index]
        out = model(x, eps)
        if kl_weight is None:
            loss = (x - out.x_hat).square().flatten(1).sum(dim=1).mean()
        else:
            loss = negative_elbo(x, out, kl_weight=kl_weight)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, model.state_dict()


@pytest.mark.parametrize("name", RECORD)
def test_the_objective_that_calls_the_model_changes_no_bit(digits, name):
    kl_weight = RECORD[name]["kl_weight"]
    objective = SquaredError() if kl_weight is None else NegativeELBO(kl_weight)
    losses, weights = as_in_0_1(name, kl_weight, digits.train.images)
    model = build_model(name, seed=CONFIG.seed)
    history = train(model, objective, digits, CONFIG, device="cpu", engine="torch")
    for key, value in model.state_dict().items():
        assert torch.equal(value, weights[key]), key
    means = [sum(losses[:20]) / 20, sum(losses[20:]) / 20]
    assert [row["train_loss"] for row in history.rows[1:]] == pytest.approx(means, rel=1e-12)


@pytest.mark.parametrize("name", RECORD)
def test_the_history_is_the_recorded_one(digits, name):
    # Another processor sums in another order: what it may change is far below a loss's meaning.
    kl_weight = RECORD[name]["kl_weight"]
    objective = SquaredError() if kl_weight is None else NegativeELBO(kl_weight)
    model = build_model(name, seed=CONFIG.seed)
    history = train(model, objective, digits, CONFIG, device="cpu", engine="torch")
    assert len(history.rows) == len(RECORD[name]["rows"]) == 3
    for row, recorded in zip(history.rows, RECORD[name]["rows"], strict=True):
        assert row == pytest.approx(recorded, rel=2e-5)
