import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from lecture_vae import store
from lecture_vae.losses import NegativeELBO, SquaredError
from lecture_vae.runs import fetch_run
from lecture_vae.store import (
    RunSpec,
    StoreError,
    describe,
    key_of,
    load_checkpoint,
    open_run,
    save_checkpoint,
)
from lecture_vae.training import TrainConfig

CONFIG = TrainConfig(steps=4, batch_size=8, eval_every=2)
SPEC = RunSpec("linear-vae", NegativeELBO(1.0), CONFIG, {"latent_dim": 3})


@pytest.fixture
def run(tiny):
    return fetch_run("conv-vae", NegativeELBO(0.8), tiny, CONFIG, device="cpu")


def key(spec, data, device="cpu"):
    return key_of(describe(spec, data, device))


@pytest.mark.parametrize(
    "other",
    [
        replace(SPEC, model="conv-vae"),
        replace(SPEC, keywords={}),
        replace(SPEC, objective=NegativeELBO(2.0)),
        replace(SPEC, objective=SquaredError()),
        replace(SPEC, config=replace(CONFIG, steps=5)),
        replace(SPEC, config=replace(CONFIG, batch_size=9)),
        replace(SPEC, config=replace(CONFIG, lr=1e-3)),
        replace(SPEC, config=replace(CONFIG, eval_every=1)),
        replace(SPEC, config=replace(CONFIG, seed=1)),
    ],
)
def test_the_key_changes_with_whatever_was_asked_for(tiny, other):
    assert key(SPEC, tiny) == key(copy.deepcopy(SPEC), tiny)
    assert key(other, tiny) != key(SPEC, tiny)


def test_the_key_changes_with_data_device_torch_and_code(tiny, monkeypatch):
    before = key(SPEC, tiny)
    assert key(SPEC, replace(tiny, fingerprint="f" * 16)) != before
    assert key(SPEC, tiny, "cuda") != before
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "9.9.9")
        assert key(SPEC, tiny) != before
    monkeypatch.setattr(store, "code_fingerprint", lambda: "another")
    assert key(SPEC, tiny) != before


def test_a_whole_weight_and_a_float_weight_are_one_run(tiny):
    assert key(replace(SPEC, objective=NegativeELBO(1)), tiny) == key(SPEC, tiny)


def test_the_code_counts_and_its_comments_do_not():
    source = '"""Doc."""\n\nx = 1  # one\n\n\ndef f():\n    """Doc\n    more."""\n    return "#"\n'
    bare = store._bare(source)
    assert bare == 'x = 1\ndef f():\n    return "#"'
    commented = source.replace("# one", "# uno").replace("Doc", "Text").replace("\n\n\n", "\n\n")
    assert store._bare(commented) == bare
    assert store._bare(source.replace("x = 1", "x = 2")) != bare


def test_an_opened_run_is_the_run(run):
    opened = open_run(run.key)
    again = open_run(run.key[:7])
    assert opened.spec == run.spec == again.spec
    assert opened.history.rows == run.history.rows
    assert opened.seconds == run.seconds > 0
    assert torch.equal(opened.mu, run.mu)
    assert not opened.model.training
    state, other = opened.model.state_dict(), run.model.state_dict()
    assert all(torch.equal(state[name], other[name]) for name in state)


def test_a_run_keeps_codes_and_history(run, tiny):
    assert run.history.steps == [0, 2, 4]
    assert run.mu.shape == (70, 64)
    assert [codes.shape for codes in run.history.latents] == [(70, 64)] * 3
    with torch.no_grad():
        mu = run.model.encode(tiny.test.images).mu.flatten(1)
    torch.testing.assert_close(run.mu, mu, atol=2e-3, rtol=1e-3)
    np.testing.assert_array_equal(run.history.latents[-1], run.mu.half().numpy())


def test_a_finished_run_has_its_files_and_no_pickle(run):
    files = sorted(path.name for path in (store.store_folder() / run.key).iterdir())
    assert files == ["codes.safetensors", "decoders", "run.json", "weights.safetensors"]
    decoders = sorted(path.name for path in (store.store_folder() / run.key / "decoders").iterdir())
    assert decoders == sorted(f"{step}.safetensors" for step in run.decoders)
    head = json.loads((store.store_folder() / run.key / "run.json").read_text())
    assert head["described"]["objective"] == {"name": "NegativeELBO", "kl_weight": 0.8}
    assert head["versions"]["torch"] == torch.__version__


def test_a_checkpoint_survives_the_disk(tmp_path, tiny):
    from lecture_vae.models import build_model
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
    with pytest.raises(StoreError, match=r"damaged .* Delete .* and fetch the run again"):
        open_run(run.key)


def test_the_store_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("LECTURE_VAE_RUNS", str(tmp_path / "here"))
    assert store.store_folder() == tmp_path / "here"
    monkeypatch.delenv("LECTURE_VAE_RUNS")
    assert store.store_folder().parts[-2:] == ("lecture_vae", "runs")
