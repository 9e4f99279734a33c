import copy
import json

import numpy as np
import pytest
import torch

from lecture_vae import store
from lecture_vae.losses import NegativeELBO, SquaredError
from lecture_vae.runs import fetch_run
from lecture_vae.store import (
    StoreError,
    load_checkpoint,
    open_run,
    save_checkpoint,
)
from lecture_vae.training import TrainConfig

CONFIG = TrainConfig(steps=4, batch_size=8, eval_every=2)


@pytest.fixture
def run(tiny):
    return fetch_run("conv-vae", NegativeELBO(0.8), tiny, CONFIG, device="cpu")


def test_an_opened_run_is_the_run(run):
    opened = open_run(run.key)
    again = open_run(run.key[:7])
    assert opened.spec == run.spec == again.spec
    assert opened.history.rows == run.history.rows
    assert opened.seconds == run.seconds > 0
    assert torch.equal(opened.code, run.code)
    assert not opened.model.training
    state, other = opened.model.state_dict(), run.model.state_dict()
    assert all(torch.equal(state[name], other[name]) for name in state)


def test_a_run_keeps_codes_and_history(run, tiny):
    assert run.history.steps == [0, 2, 4]
    assert run.code.shape == (70, 64)
    assert [codes.shape for codes in run.history.latents] == [(70, 64)] * 3
    with torch.no_grad():
        mu = run.model.encode(tiny.test.images).mu.flatten(1)
    torch.testing.assert_close(run.code, mu, atol=2e-3, rtol=1e-3)
    np.testing.assert_array_equal(run.history.latents[-1], run.code.half().numpy())


def test_a_finished_run_has_its_files_and_no_pickle(run):
    files = sorted(path.name for path in (store.store_folder() / run.key).iterdir())
    assert files == ["codes.safetensors", "decoders", "run.json", "weights.safetensors"]
    decoders = sorted(path.name for path in (store.store_folder() / run.key / "decoders").iterdir())
    assert decoders == sorted(f"{step}.safetensors" for step in run.decoders)
    head = json.loads((store.store_folder() / run.key / "run.json").read_text())
    assert head["recipe"]["objective"] == {
        "name": "negative-elbo",
        "kl_weight": 0.8,
        "likelihood": {"name": "gaussian", "variance": 0.5},
        "samples": 1,
    }
    assert head["versions"]["torch"] == torch.__version__


def test_a_checkpoint_survives_the_disk(tmp_path, tiny):
    from lecture_vae.networks import build_model
    from lecture_vae.training import train

    kept = []

    def keep(state):
        save_checkpoint(tmp_path / "c.safetensors", state)
        kept.append(copy.deepcopy(state))

    train(build_model("conv-ae"), SquaredError(), tiny, CONFIG, device="cpu", on_evaluate=keep)
    loaded, last = load_checkpoint(tmp_path / "c.safetensors"), kept[-1]
    assert loaded.history.rows == last.history.rows
    assert loaded.history.seconds == last.history.seconds
    assert all(torch.equal(loaded.model[name], last.model[name]) for name in last.model)
    assert loaded.optimizer["state"].keys() == last.optimizer["state"].keys()
    for number, moments in last.optimizer["state"].items():
        assert moments.keys() == {"step", "exp_avg", "exp_avg_sq"}
        for name, value in moments.items():
            assert torch.equal(loaded.optimizer["state"][number][name], value)


def test_an_unknown_or_ambiguous_key_is_refused(run):
    with pytest.raises(StoreError, match=r"0 of the 1 runs in .* begin with 'zzz'"):
        open_run("zzz")
    other = store.store_folder() / (run.key[:2] + "0" * 14)
    other.mkdir()
    (other / "run.json").write_text("{}")
    with pytest.raises(StoreError, match="2 of the 2 runs"):
        open_run(run.key[:2])


@pytest.mark.parametrize("name", ["run.json", "weights.safetensors", "codes.safetensors"])
def test_a_damaged_run_is_refused_with_what_to_do(run, name):
    path = store.store_folder() / run.key / name
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StoreError, match=r"incomplete or damaged: .*fresh=True.*or delete .*"):
        open_run(run.key)


def test_the_store_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("LECTURE_VAE_RUNS", str(tmp_path / "here"))
    assert store.store_folder() == tmp_path / "here"
    monkeypatch.delenv("LECTURE_VAE_RUNS")
    assert store.store_folder().parts[-2:] == ("lecture_vae", "runs")
