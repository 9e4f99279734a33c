"""Binarized images: drawn from (seed, step), true to the gray levels, and a proper likelihood."""

import itertools
import json
from dataclasses import replace

import pytest
import torch
from test_data import write_mnist
from typer.testing import CliRunner

from lecture_vae import (
    BernoulliPixels,
    BinarizedELBO,
    NegativeELBO,
    RunSpec,
    TrainConfig,
    build_model,
    diagnose_run,
    elbo,
    evaluate,
    fetch_run,
    fetch_runs,
    load_images,
    train,
)
from lecture_vae.cli import app
from lecture_vae.recipe import describe, spec_of

SHORT = TrainConfig(steps=2, eval_every=1, batch_size=16)
OBJECTIVE = BinarizedELBO()


@pytest.fixture
def gray():
    levels = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0])
    return levels.repeat(3, 205)[:, :1024].view(3, 1, 32, 32)


def test_a_draw_depends_on_seed_step_and_place_and_on_nothing_else(gray):
    first = OBJECTIVE.inputs(gray, 3, 7)
    torch.manual_seed(5)
    assert torch.equal(first, OBJECTIVE.inputs(gray, 3, 7))
    assert {*first.unique().tolist()} == {0.0, 1.0}
    half = torch.full_like(gray, 0.5)
    others = [OBJECTIVE.inputs(half, *place) for place in ((3, 8), (4, 7), (7, 3))]
    for one, other in itertools.combinations([OBJECTIVE.inputs(half, 3, 7), *others], 2):
        assert 0.4 < (one != other).float().mean() < 0.6  # independent
    one = OBJECTIVE.inputs(half, 3, 7)
    assert 0.4 < (one[0] != one[1]).float().mean() < 0.6  # and each image its own


def test_the_mean_over_the_steps_is_the_gray_level(gray):
    mean = torch.stack([OBJECTIVE.inputs(gray, 0, step) for step in range(1, 1_001)]).mean(dim=0)
    deviation = (gray * (1 - gray) / 1_000).sqrt()
    assert ((mean - gray).abs() <= 5 * deviation).all()  # 0 and 1 are never drawn otherwise
    assert (mean - gray)[gray == 0.5].square().mean().sqrt() > 0.7 * 0.5 / 1_000**0.5


def test_every_evaluation_draws_the_same_test_images_and_training_new_ones(tiny):
    model = build_model("linear-vae")
    seen = []

    class Watched(BinarizedELBO):
        def inputs(self, x, seed, step):
            found = super().inputs(x, seed, step)
            seen.append((len(x), step, found))
            return found

    train(model, Watched(), tiny, SHORT, engine="torch")
    tests = [images for count, _, images in seen if count == 70]
    batches = [(step, images) for count, step, images in seen if count == 16]
    assert len(tests) == 3 and all(torch.equal(tests[0], each) for each in tests)
    assert [step for step, _ in batches] == [1, 2]
    again = evaluate(model, OBJECTIVE, tiny.test.images).loss
    assert evaluate(model, OBJECTIVE, tiny.test.images).loss == again
    plain = NegativeELBO(likelihood=BernoulliPixels())
    assert evaluate(model, plain, tests[0]).loss == pytest.approx(again)


def test_its_loss_is_the_negative_elbo_in_nats(tiny):
    model, x = build_model("linear-vae"), tiny.test.images
    images = OBJECTIVE.inputs(x, 0, 0)
    bound = elbo(model, images, likelihood=BernoulliPixels(), samples=1).mean().item()
    assert evaluate(model, OBJECTIVE, x).loss == pytest.approx(-bound, rel=1e-5)
    # Averaged over the draws, the cross-entropy is that of the gray levels: it is linear in x.
    logits = model.decode_logits(torch.zeros(1, 2)).detach().expand_as(x)
    pixels = BernoulliPixels()
    draws = torch.stack([pixels.distortion(OBJECTIVE.inputs(x, 0, t), logits) for t in range(200)])
    noise = draws.std(dim=0) / 200**0.5
    assert ((draws.mean(dim=0) - pixels.distortion(x, logits)).abs() < 5 * noise).all()


def test_runs_on_padded_images_are_trained_in_workers_and_found_by_the_command_line(tmp_path):
    folder = write_mnist(tmp_path / "data")
    data = load_images(folder, resize="pad")
    specs = [RunSpec("linear-vae", OBJECTIVE, replace(SHORT, seed=seed)) for seed in (0, 1)]
    runs = fetch_runs(specs, data, engine="torch")
    assert [run.data for run in runs] == ["mnist-padded"] * 2
    words = ["diagnose", runs[0].key, "--data", str(folder), "--images", "4"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.stderr
    assert "mnist-padded" in result.stdout


def test_its_runs_are_stored_and_diagnosed():
    data = load_images("digits")
    spec = RunSpec("linear-vae", OBJECTIVE, SHORT)
    recipe = describe(spec, data, "cpu")
    assert recipe["objective"]["name"] == "binarized-elbo"
    assert spec_of(json.loads(json.dumps(recipe))) == spec
    run = fetch_run("linear-vae", OBJECTIVE, data, SHORT)
    assert run.engine == "torch"  # no kernel draws images
    assert fetch_runs([spec], data)[0].key == run.key
    found = diagnose_run(run, data, images=20)
    assert found.effective_weight is None and found.log_evidence <= 0
    result = CliRunner().invoke(app, ["diagnose", run.key, "--data", "digits", "--images", "20"])
    assert result.exit_code == 0, result.stderr
