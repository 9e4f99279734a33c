"""A key says what decides the weights: it changes with that, and with nothing else."""

import copy
from dataclasses import replace

import pytest
import torch

from lecture_vae import recipe
from lecture_vae.distributions import BernoulliPixels, GaussianPixels
from lecture_vae.losses import NegativeELBO, NegativeIWAE, SquaredError
from lecture_vae.recipe import RunSpec, describe, key_of, spec_of
from lecture_vae.training import TrainConfig

CONFIG = TrainConfig(steps=4, batch_size=8, eval_every=2)
SPEC = RunSpec("linear-vae", NegativeELBO(1.0), CONFIG, {"latent_dim": 3})


def key(spec, data, device="cpu"):
    return key_of(describe(spec, data, device))


@pytest.mark.parametrize(
    "other",
    [
        replace(SPEC, model="affine-vae"),
        replace(SPEC, keywords={}),
        replace(SPEC, objective=NegativeELBO(2.0)),
        replace(SPEC, objective=NegativeELBO(samples=2)),
        replace(SPEC, objective=NegativeELBO(likelihood=GaussianPixels(0.1))),
        replace(SPEC, objective=NegativeELBO(likelihood=BernoulliPixels())),
        replace(SPEC, objective=NegativeIWAE(1)),
        replace(SPEC, objective=SquaredError()),
        replace(SPEC, config=replace(CONFIG, steps=5)),
        replace(SPEC, config=replace(CONFIG, batch_size=9)),
        replace(SPEC, config=replace(CONFIG, lr=1e-3)),
        replace(SPEC, config=replace(CONFIG, eval_every=1)),
        replace(SPEC, config=replace(CONFIG, seed=1)),
        replace(SPEC, start_from="0" * 16),
    ],
)
def test_the_key_changes_with_whatever_was_asked_for(tiny, other):
    assert key(SPEC, tiny) == key(copy.deepcopy(SPEC), tiny)
    assert key(other, tiny) != key(SPEC, tiny)


def test_the_key_changes_with_data_device_torch_and_code(tiny, monkeypatch):
    before = key(SPEC, tiny)
    assert key(SPEC, replace(tiny, fingerprint="f" * 16)) != before
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: True)
        assert key(SPEC, tiny, "cuda") != before
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "9.9.9")
        assert key(SPEC, tiny) != before
    monkeypatch.setattr(recipe, "_training_code", lambda: "another")
    assert key(SPEC, tiny) != before


def test_a_whole_weight_and_a_float_weight_are_one_run(tiny):
    assert key(replace(SPEC, objective=NegativeELBO(1)), tiny) == key(SPEC, tiny)


@pytest.mark.parametrize(
    "objective",
    [
        SquaredError(),
        NegativeELBO(0.3, GaussianPixels(0.2), samples=3),
        NegativeELBO(likelihood=BernoulliPixels()),
        NegativeIWAE(7),
    ],
)
def test_a_recipe_gives_its_spec_back(tiny, objective):
    spec = replace(SPEC, objective=objective, start_from="1" * 16)
    assert spec_of(describe(spec, tiny, "cpu")) == spec
