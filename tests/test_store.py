import copy
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from lecture_vae import networks, store
from lecture_vae.checkpoints import load_checkpoint, save_checkpoint
from lecture_vae.data import load_images
from lecture_vae.evaluation import evaluate
from lecture_vae.losses import NegativeELBO, SquaredError
from lecture_vae.recipe import RunSpec, describe, key_of
from lecture_vae.runs import fetch_run
from lecture_vae.store import StoreError, open_run
from lecture_vae.training import TrainConfig, train

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
    kept = []

    def keep(state):
        save_checkpoint(tmp_path / "c.safetensors", state)
        kept.append(copy.deepcopy(state))

    train(
        networks.build_model("conv-ae"),
        SquaredError(),
        tiny,
        CONFIG,
        device="cpu",
        on_evaluate=keep,
    )
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


def test_without_a_home_folder_the_store_must_be_named(monkeypatch, tmp_path):
    monkeypatch.setattr(store, "data_folder", lambda: None)
    assert store.store_folder() == tmp_path / "runs"
    monkeypatch.delenv("LECTURE_VAE_RUNS")
    with pytest.raises(StoreError, match=r"this user has none.*Set LECTURE_VAE_RUNS"):
        store.store_folder()
    assert store.store_folder(tmp_path) == tmp_path


def test_a_store_in_the_home_of_nobody_is_refused(monkeypatch):
    with pytest.raises(StoreError, match="that of ~nobody-such/runs cannot be found"):
        store.store_folder("~nobody-such/runs")
    monkeypatch.setenv("LECTURE_VAE_RUNS", "~nobody-such/runs")
    with pytest.raises(StoreError, match="that of ~nobody-such/runs cannot be found"):
        store.store_folder()


def test_a_store_that_is_a_file_is_not_called_empty(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(
        StoreError, match=r"the run store .*/file cannot be read: .*Not a directory"
    ):
        open_run("0", store=tmp_path / "file")


# ---------------------------------------------------------------------------- what time does to it

OLD = Path(__file__).with_name("stored_0_1")  # a run of version 0.1, as its code left it
OLD_KEY = "16378af98a580983"


def test_a_run_of_the_first_version_opens_by_its_key():
    run = open_run(OLD_KEY, store=OLD)
    assert run.spec == RunSpec(
        "conv-vae", NegativeELBO(0.8), TrainConfig(steps=6, eval_every=3, seed=1),
        {"latent_channels": 1},
    )  # fmt: skip
    assert run.history.rows[-1]["test_loss"] == 141.00207268760064
    assert run.code.shape == (359, 16)
    assert list(run.decoders) == [0, 3]
    digits = load_images("digits")
    again = evaluate(run.model, run.spec.objective, digits.test.images, seed=1)
    assert again.loss == pytest.approx(run.history.rows[-1]["test_loss"], rel=1e-5)
    np.testing.assert_allclose(again.code.flatten(1), run.code, atol=2e-3)


def test_a_run_of_the_first_version_is_not_taken_for_a_new_one():
    run = open_run(OLD_KEY, store=OLD)
    assert key_of(describe(run.spec, load_images("digits"), "cpu")) != OLD_KEY


def test_a_run_of_a_later_format_is_not_called_damaged(run):
    path = store.store_folder() / run.key / "run.json"
    head = json.loads(path.read_text())
    head["recipe"]["format"] = 99
    path.write_text(json.dumps(head))
    with pytest.raises(StoreError, match="by a newer version of lecture_vae"):
        open_run(run.key)


def test_a_run_of_an_unknown_model_says_what_to_import(run):
    path = store.store_folder() / run.key / "run.json"
    path.write_text(path.read_text().replace('"conv-vae"', '"my-vae"'))
    with pytest.raises(StoreError, match=r"no model 'my-vae'.*--import FILE\.py"):
        open_run(run.key)
    text = path.read_text().replace('"my-vae"', '"conv-vae"')
    path.write_text(text.replace("negative-", "my-"))
    with pytest.raises(StoreError, match=r"no objective 'my-elbo'.*--import FILE\.py"):
        open_run(run.key)


def test_weights_that_fit_no_more_are_not_called_damaged(run, monkeypatch):
    monkeypatch.setitem(
        networks.MODELS._builders, "conv-vae", lambda: networks.ConvVAE(latent_channels=2)
    )
    with pytest.raises(StoreError, match=r"do not fit today's conv-vae: .* changed since\?"):
        open_run(run.key)


def test_what_a_killed_process_or_a_sync_program_left_is_passed_over(run):
    decoders = store.store_folder() / run.key / "decoders"
    for name in (".2-0123abcd.safetensors", "2 (conflict).safetensors", "old-2.safetensors"):
        shutil.copy(decoders / "0.safetensors", decoders / name)
    (store.store_folder() / "backup of a run").mkdir()
    (store.store_folder() / "backup of a run" / "run.json").write_text("{}")
    assert list(open_run(run.key).decoders) == list(run.decoders)
    with pytest.raises(StoreError, match="0 of the 1 runs"):
        open_run("backup")


def test_a_damaged_decoder_is_left_out_with_a_word(run, capsys):
    assert 2 in run.decoders
    path = store.store_folder() / run.key / "decoders" / "2.safetensors"
    path.write_bytes(path.read_bytes()[:50])
    assert list(open_run(run.key).decoders) == [step for step in run.decoders if step != 2]
    assert "2.safetensors cannot be read and is left out" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"\0" * 1_000, None])
def test_a_damaged_checkpoint_is_passed_over_with_a_word(tmp_path, tiny, capsys, content):
    path = tmp_path / "checkpoint.safetensors"
    state = train_states(tiny)[1]
    save_checkpoint(path, state)
    assert load_checkpoint(path) is not None
    path.write_bytes(path.read_bytes()[:1_000] if content is None else content)
    assert load_checkpoint(path) is None
    assert "is trained from the beginning" in capsys.readouterr().err


def train_states(tiny):
    kept = []
    model = networks.build_model("conv-ae")
    keep = lambda state: kept.append(copy.deepcopy(state))  # noqa: E731
    train(model, SquaredError(), tiny, CONFIG, device="cpu", on_evaluate=keep)
    return kept


def test_a_lack_of_rights_is_not_called_damage(run, monkeypatch):
    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(store, "load_file", refused)
    with pytest.raises(
        StoreError, match=r"may not be read: .*Permission denied.*for permission to"
    ):
        open_run(run.key)


@pytest.mark.parametrize(("umask", "rights"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_the_files_of_a_run_have_the_rights_that_the_umask_gives(tiny, umask, rights):
    before = os.umask(umask)
    try:
        run = fetch_run("conv-ae", SquaredError(), tiny, CONFIG, device="cpu")
    finally:
        os.umask(before)
    files = [p for p in (store.store_folder() / run.key).rglob("*") if p.is_file()]
    assert {path.stat().st_mode & 0o777 for path in files} == {rights}
    assert len(files) >= 4


def test_a_complete_run_is_read_without_a_lock_and_without_the_right_to_write(run, tiny):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lecture_vae.fetching.hold_lock", lambda _: pytest.fail("it asked for it"))
        patch.setattr(Path, "mkdir", lambda *_, **__: pytest.fail("it made a folder"))
        again = fetch_run("conv-vae", NegativeELBO(0.8), tiny, CONFIG, device="cpu")
    assert again.key == run.key


@pytest.mark.parametrize("text", ["*", "?" * 16, "[0-9a-f]*", "../runs", "/", "", "."])
def test_what_is_given_as_a_key_is_no_pattern_and_no_path(run, text):
    with pytest.raises(StoreError, match=r"0 of the 1 runs .* digits 0-9 and a-f"):
        open_run(text)
