"""Runs under a URL: what is stored there, what happens when it fails, and S3 itself."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest
import torch
from typer.testing import CliRunner

from lecture_vae import NegativeELBO, TrainConfig, fetch_run, fetching, open_run
from lecture_vae.cli import app
from lecture_vae.object_store import ObjectStore
from lecture_vae.store import StoreError, store_folder

CONFIG = TrainConfig(steps=6, batch_size=8, eval_every=2)
ROOT = Path(__file__).resolve().parents[1]
URL = "memory://lecture/runs"
FILES = ["codes.safetensors", "decoders/0.safetensors", "decoders/2.safetensors",
         "decoders/4.safetensors", "run.json", "weights.safetensors"]  # fmt: skip


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """A machine with an empty cache; calling it makes another one. The object store is empty."""
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]
    monkeypatch.setenv("LECTURE_VAE_RUNS", URL)
    number = iter(range(9))

    def another():
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"machine-{next(number)}"))

    another()
    return another


def objects(key):
    start = f"/lecture/runs/{key}/"
    return sorted(path.removeprefix(start) for path in fsspec.filesystem("memory").find(start))


def fetch(data, **more):
    return fetch_run("linear-vae", NegativeELBO(), data, CONFIG, device="cpu", **more)


@pytest.fixture
def trainings(monkeypatch):
    """With how many evaluations each training in this process began."""
    calls = []
    original = fetching.train

    def counted(*args, **keywords):
        resume = keywords["resume"]
        calls.append(0 if resume is None else len(resume.history.rows))
        return original(*args, **keywords)

    monkeypatch.setattr(fetching, "train", counted)
    return calls


def same_weights(one, two):
    mine, others = one.model.state_dict(), two.model.state_dict()
    return all(torch.equal(mine[name], others[name]) for name in mine)


def test_a_run_that_one_machine_trained_is_found_by_another(tiny, machine, trainings):
    run = fetch(tiny)
    assert objects(run.key) == FILES  # and no checkpoint
    machine()
    found, opened = fetch(tiny), open_run(run.key[:5])
    assert trainings == [0]
    assert found.key == opened.key == run.key
    assert found.seconds == run.seconds
    assert same_weights(run, found)
    assert sorted(found.decoders) == [0, 2, 4]


def test_a_run_is_stored_if_and_only_if_it_is_under_the_url(tiny, trainings):
    run = fetch(tiny)
    fsspec.filesystem("memory").rm(f"/lecture/runs/{run.key}/run.json")
    with pytest.raises(StoreError, match=f"0 of the 0 runs in {URL} begin with"):
        open_run(run.key)
    assert fetch(tiny).key == run.key  # the files of this machine are sent again
    assert objects(run.key) == FILES
    assert trainings == [0]


def test_a_run_of_which_a_part_could_not_be_sent_is_not_stored_and_not_lost(
    tiny, monkeypatch, trainings
):
    kind = type(fsspec.filesystem("memory"))
    put = kind.put_file

    def refused(self, local, remote, **more):
        if remote.endswith("weights.safetensors"):
            raise PermissionError("Access Denied")
        put(self, local, remote, **more)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "put_file", refused)
        with pytest.raises(StoreError, match=r"^the object store memory://.*: PermissionError: A"):
            fetch(tiny)
        assert ObjectStore(URL).keys() == []
    run = fetch(tiny)
    assert ObjectStore(URL).keys() == [run.key]
    assert trainings == [0]


def test_an_interrupted_run_goes_on_from_its_last_evaluation_on_another_machine(
    tiny, machine, monkeypatch, trainings
):
    original = ObjectStore.send_checkpoint

    def stop_after_two(self, key):
        original(self, key)
        stop_after_two.sent += 1
        if stop_after_two.sent == 2:
            raise KeyboardInterrupt

    stop_after_two.sent = 0
    with monkeypatch.context() as patch:
        patch.setattr(ObjectStore, "send_checkpoint", stop_after_two)
        with pytest.raises(KeyboardInterrupt):
            fetch(tiny)
    [key] = {path.split("/")[3] for path in fsspec.filesystem("memory").find("/lecture/runs")}
    assert objects(key) == ["checkpoint.safetensors"]
    assert ObjectStore(URL).keys() == []
    machine()
    resumed = fetch(tiny)
    assert trainings == [0, 2]  # two evaluations were not repeated
    machine()
    whole = fetch(tiny, store=str(Path(store_folder()).parent / "folder"))
    assert resumed.history.rows == whole.history.rows
    assert same_weights(resumed, whole)


def test_a_checkpoint_that_cannot_be_sent_or_read_only_costs_time(tiny, monkeypatch, capsys):
    kind = type(fsspec.filesystem("memory"))

    def without_checkpoints(method):
        original = getattr(kind, method)

        def refused(self, one, two, **more):
            if one.endswith("checkpoint.safetensors"):
                raise ConnectionError("reset by peer")
            return original(self, one, two, **more)

        return refused

    for method in ("put_file", "get_file"):
        monkeypatch.setattr(kind, method, without_checkpoints(method))
    key = fetch(tiny).key
    told = capsys.readouterr().err
    assert told.count("ConnectionError: reset by peer") == 4  # one for each evaluation
    assert f"Run {key} goes on; if this machine is lost, it begins anew." in told
    fsspec.filesystem("memory").pipe_file(f"/lecture/runs/{key}/checkpoint.safetensors", b"old")
    fsspec.filesystem("memory").rm(f"/lecture/runs/{key}/run.json")
    shutil.rmtree(store_folder())
    assert fetch(tiny).key == key
    assert f"Run {key} is trained without its checkpoint." in capsys.readouterr().err


def test_fresh_replaces_what_is_under_the_url(tiny, trainings, monkeypatch):
    one = fetch(tiny)
    two = fetch(tiny, fresh=True)
    assert len(trainings) == 2
    assert two.seconds != one.seconds
    shutil.rmtree(store_folder())
    assert open_run(one.key).seconds == two.seconds

    def stop(self, key):
        raise KeyboardInterrupt

    monkeypatch.setattr(ObjectStore, "send_checkpoint", stop)
    with pytest.raises(KeyboardInterrupt):
        fetch(tiny, fresh=True)
    assert ObjectStore(URL).keys() == []  # a run that is trained anew is not stored yet


def test_a_run_of_which_a_part_did_not_arrive_is_brought_again(tiny, machine, monkeypatch):
    run = fetch(tiny)
    machine()
    kind = type(fsspec.filesystem("memory"))
    get = kind.get_file

    def refused(self, remote, local, **more):
        if remote.endswith("weights.safetensors"):
            raise ConnectionError("reset by peer")
        get(self, remote, local, **more)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "get_file", refused)
        with pytest.raises(StoreError, match="reset by peer"):
            fetch(tiny)
        with pytest.raises(StoreError, match="reset by peer"):
            open_run(run.key)
    assert same_weights(open_run(run.key), run)


def test_a_user_without_a_cache_folder_is_told(monkeypatch):
    monkeypatch.setattr("lecture_vae.object_store.cache_folder", lambda: None)
    with pytest.raises(StoreError, match="set HOME or XDG_CACHE_HOME"):
        store_folder()


def test_a_sweep_into_the_memory_of_one_process_is_refused():
    result = CliRunner().invoke(app, ["sweep", "linear-vae", "--data", "digits"])
    assert result.exit_code == 2
    assert "memory://lecture/runs is in the memory of one" in result.stderr


# ---------------------------------------------------------------------------- many processes


@pytest.mark.slow
def test_a_sweep_into_an_object_store_leaves_runs_that_another_machine_opens(
    machine, monkeypatch, tmp_path
):
    url = f"file://{tmp_path}/bucket/runs"  # through fsspec, as any other protocol
    monkeypatch.setenv("LECTURE_VAE_RUNS", url)
    words = ["sweep", "linear-vae", "--kl-weight", "1,4", "--data", "digits", "--jobs", "1"]
    words += ["--steps", "20", "--eval-every", "10", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, (result.output, result.exception)
    assert "2 runs: 2 trained, 0 found, 0 failed" in result.stdout
    machine()
    keys = ObjectStore(url).keys()
    assert {open_run(key).spec.objective.kl_weight for key in keys} == {1.0, 4.0}
    assert not [*(tmp_path / "bucket").rglob("checkpoint*")]


# What s3fs and moto, a server that answers as S3 does, bring along; none is needed elsewhere.
S3 = ["s3fs", "moto[s3]", "flask", "flask-cors"]


@pytest.mark.nightly
def test_s3_itself(tmp_path):
    folder = ROOT / "_build" / "s3"
    uv = [sys.executable, "-m", "uv"]
    python = folder / "bin" / "python"
    subprocess.run([*uv, "venv", "-q", "--clear", "-p", sys.executable, folder], check=True)
    subprocess.run([*uv, "pip", "install", "-q", "--python", python, *S3], check=True)
    [packages] = folder.glob("lib/python*/site-packages")
    own = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "own.pth").write_text("\n".join([*own, str(ROOT)]))
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "TQDM_DISABLE": "1"}
    command = [python, ROOT / "tests" / "s3.py"]
    ended = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
