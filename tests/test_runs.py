import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lecture_vae import fetching, runs
from lecture_vae.budgets import budget, lecture_config
from lecture_vae.data import load_images
from lecture_vae.losses import NegativeELBO, SquaredError
from lecture_vae.recipe import RunSpec
from lecture_vae.runs import fetch_run, fetch_runs
from lecture_vae.store import StoreError, store_folder
from lecture_vae.training import TrainConfig

CONFIG = TrainConfig(steps=6, batch_size=8, eval_every=2)


@pytest.fixture(autouse=True)
def in_pytorch(monkeypatch):
    """Runs in worker processes and their interruptions; test_native.py has those in threads."""
    monkeypatch.setenv("LECTURE_VAE_ENGINE", "torch")


@pytest.fixture
def trainings(monkeypatch):
    """Counts how often something is trained in this process."""
    calls = []
    original = fetching.train

    def counted(*args, **keywords):
        calls.append(keywords.get("resume"))
        return original(*args, **keywords)

    monkeypatch.setattr(fetching, "train", counted)
    return calls


def weights(run):
    return torch.cat([value.flatten().double() for value in run.model.state_dict().values()])


def test_the_same_run_is_trained_once(tiny, trainings):
    one = fetch_run("linear-vae", NegativeELBO(), tiny, CONFIG)
    two = fetch_run("linear-vae", NegativeELBO(), tiny, CONFIG)
    assert len(trainings) == 1
    assert one.key == two.key
    assert torch.equal(weights(one), weights(two))
    assert one.seconds == two.seconds
    fetch_run("linear-vae", NegativeELBO(2.0), tiny, CONFIG)
    assert len(trainings) == 2


def test_fresh_trains_again_to_the_same_weights(tiny, trainings):
    one = fetch_run("linear-ae", SquaredError(), tiny, CONFIG)
    two = fetch_run("linear-ae", SquaredError(), tiny, CONFIG, fresh=True)
    assert len(trainings) == 2
    assert torch.equal(weights(one), weights(two))
    assert two.seconds != one.seconds


def test_an_interrupted_run_goes_on_from_its_last_evaluation(tiny, trainings, monkeypatch):
    plain = fetch_run("conv-vae", NegativeELBO(), tiny, CONFIG)
    monkeypatch.setenv("LECTURE_VAE_RUNS", str(store_folder().parent / "second"))
    original = fetching.save_checkpoint

    def stop_at_step_4(path, state):
        original(path, state)
        if state.history.steps[-1] == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fetching, "save_checkpoint", stop_at_step_4)
        with pytest.raises(KeyboardInterrupt):
            fetch_run("conv-vae", NegativeELBO(), tiny, CONFIG)
    assert not list(store_folder().glob("*/run.json"))
    resumed = fetch_run("conv-vae", NegativeELBO(), tiny, CONFIG)
    assert trainings[-1].history.steps == [0, 2, 4, 6]  # the history it went on with
    assert resumed.key == plain.key
    assert resumed.history.rows == plain.history.rows
    assert torch.equal(weights(resumed), weights(plain))
    assert not list(store_folder().glob("*/checkpoint.safetensors"))


CHILD = """
    from lecture_vae.data import load_images
    from lecture_vae.losses import NegativeELBO
    from lecture_vae.runs import fetch_run
    from lecture_vae.training import TrainConfig
    run = fetch_run("linear-vae", NegativeELBO(), load_images("digits"),
                    TrainConfig(steps=STEPS, eval_every=50), device="cpu")
    print(run.key, run.seconds, run.history.rows[-1]["test_loss"])
"""


def child(steps, folder):
    code = textwrap.dedent(CHILD).replace("STEPS", str(steps))
    environment = {**os.environ, "LECTURE_VAE_RUNS": str(folder)}
    return subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True
    )


def test_two_processes_train_one_run_once(tmp_path):
    both = [child(200, tmp_path / "runs") for _ in range(2)]
    lines = [process.communicate(timeout=120)[0] for process in both]
    # The seconds are those of one training: had both trained, they would differ.
    assert lines[0] == lines[1] != ""


def test_a_killed_run_loses_nothing_it_had_evaluated(tmp_path):
    steps = 600
    victim, plain = (child(steps, tmp_path / name) for name in ("runs", "plain"))
    deadline = time.monotonic() + 120
    while not list((tmp_path / "runs").glob("*/checkpoint.safetensors")):
        assert victim.poll() is None and time.monotonic() < deadline, "it never got to a checkpoint"
        time.sleep(0.02)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    assert not list((tmp_path / "runs").glob("*/run.json")), "it ended before it could be killed"
    again = child(steps, tmp_path / "runs")
    resumed, whole = (each.communicate(timeout=240)[0].split() for each in (again, plain))
    assert [resumed[0], resumed[2]] == [whole[0], whole[2]]  # the key and the last digit


def test_several_runs_go_side_by_side_and_are_the_same_runs(trainings, monkeypatch):
    monkeypatch.setattr(runs, "cores", lambda: 2)
    digits = load_images("digits")
    config = TrainConfig(steps=20, eval_every=10)
    specs = [RunSpec("linear-ae", SquaredError(), config)]
    specs += [RunSpec("linear-vae", NegativeELBO(w), config) for w in (1.0, 100.0)]
    together = fetch_runs(specs, digits, device="cpu")
    assert not trainings  # the other processes did it
    assert [run.spec for run in together] == specs
    monkeypatch.setenv("LECTURE_VAE_RUNS", str(store_folder().parent / "second"))
    alone = fetch_run("linear-vae", NegativeELBO(100.0), digits, config, device="cpu")
    assert len(trainings) == 1
    assert torch.equal(weights(alone), weights(together[2]))


TOGETHER = """
    from lecture_vae.data import load_images
    from lecture_vae.losses import SquaredError
    from lecture_vae.runs import fetch_runs
    from lecture_vae.recipe import RunSpec
    from lecture_vae.training import TrainConfig

    import lecture_vae.runs
    lecture_vae.runs.cores = lambda: 2
    config = TrainConfig(steps=10**6, eval_every=20)
    specs = [RunSpec(name, SquaredError(), config) for name in ("linear-ae", "conv-ae")]
    fetch_runs(specs, load_images("digits"), device="cpu")  # a script without a main guard
"""


def test_runs_side_by_side_end_when_their_parent_is_killed(tmp_path):
    script = tmp_path / "together.py"
    script.write_text(textwrap.dedent(TOGETHER))
    parent = subprocess.Popen([sys.executable, script])

    def checkpoints():
        found = store_folder().glob("*/checkpoint.safetensors")
        return {path: path.stat().st_mtime_ns for path in found}

    deadline = time.monotonic() + 240
    while len(checkpoints()) < 2:
        assert parent.poll() is None and time.monotonic() < deadline, "they never got going"
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    time.sleep(2)
    before = checkpoints()
    time.sleep(2)
    assert checkpoints() == before


def test_one_missing_run_is_trained_here(tiny, trainings):
    fetch_runs([RunSpec("linear-ae", SquaredError(), CONFIG)], tiny)
    assert len(trainings) == 1


def test_a_store_that_cannot_be_written_is_an_error_that_says_so(tiny, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LECTURE_VAE_RUNS", str(tmp_path / "file" / "runs"))
    with pytest.raises(StoreError, match=r"must be writable.*LECTURE_VAE_RUNS"):
        fetch_run("linear-ae", SquaredError(), tiny, CONFIG)


def test_a_full_disk_keeps_the_last_evaluation(tiny, trainings, monkeypatch):
    original = fetching.save_checkpoint

    def full(path, state):
        if state.history.steps[-1] == 4:
            raise OSError(28, "No space left on device")
        original(path, state)

    with monkeypatch.context() as patch:
        patch.setattr(fetching, "save_checkpoint", full)
        with pytest.raises(StoreError, match="No space left on device"):
            fetch_run("linear-ae", SquaredError(), tiny, CONFIG)
    fetch_run("linear-ae", SquaredError(), tiny, CONFIG)
    assert trainings[-1] is not None  # it went on, it did not begin again


def test_the_budget_is_one_switch(monkeypatch):
    assert budget() == "quick"
    assert lecture_config("linear-ae") == TrainConfig(steps=3_000, eval_every=100)
    monkeypatch.setenv("LECTURE_VAE_BUDGET", "full")
    assert lecture_config("linear-vae", seed=2) == TrainConfig(steps=25_000, eval_every=250, seed=2)
    assert lecture_config("conv-ae").steps == lecture_config("conv-vae").steps == 30_000
    monkeypatch.setenv("LECTURE_VAE_BUDGET", "huge")
    with pytest.raises(ValueError, match="must be quick or full, got 'huge'"):
        lecture_config("linear-ae")


def test_the_data_decides_the_run(tiny, trainings):
    fetch_run("linear-ae", SquaredError(), tiny, CONFIG)
    fetch_run("linear-ae", SquaredError(), replace(tiny, fingerprint="1" * 16), CONFIG)
    assert len(trainings) == 2


# ---------------------------------------------------------------------------- warm starts


def test_a_warm_start_begins_with_the_weights_of_another_run(tiny):
    first = fetch_run("linear-vae", NegativeELBO(1.0), tiny, CONFIG, device="cpu")
    ways = {"objective": NegativeELBO(7.0), "data": tiny, "config": CONFIG, "device": "cpu"}
    cold = fetch_run("linear-vae", **ways)
    warm = fetch_run("linear-vae", start_from=first.key[:6], **ways)
    assert warm.spec.start_from == first.key
    assert len({first.key, cold.key, warm.key}) == 3
    begun = warm.history.rows[0]  # before the first step: the other run's model at the new weight
    ended = first.history.rows[-1]
    assert begun["test_squared_error"] == pytest.approx(ended["test_squared_error"], rel=1e-6)
    assert begun["test_kl"] == pytest.approx(ended["test_kl"], rel=1e-6)
    assert fetch_run("linear-vae", start_from=first.key, **ways).key == warm.key


def test_a_warm_start_from_another_model_or_from_nothing_is_refused(tiny):
    first = fetch_run("linear-vae", NegativeELBO(), tiny, CONFIG, device="cpu")
    with pytest.raises(ValueError, match=r"same model, linear-vae with \{'latent_dim': 3\}"):
        fetch_run(
            "linear-vae", NegativeELBO(), tiny, CONFIG, start_from=first.key, latent_dim=3,
            device="cpu",
        )  # fmt: skip
    with pytest.raises(StoreError, match="0 of the 1 runs"):
        fetch_run("linear-vae", NegativeELBO(), tiny, CONFIG, start_from="f" * 16, device="cpu")


# ---------------------------------------------------------------------------- workers

LONG = TrainConfig(steps=10**6, eval_every=20)


def processes_of(parent):
    """The children of a process that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent and fields[0] != "Z":
                found.append(int(stat.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc").exists(), reason="reads /proc")
def test_an_interrupt_ends_every_worker(monkeypatch):
    monkeypatch.setattr(runs, "cores", lambda: 2)
    before, during = processes_of(os.getpid()), []

    def interrupt(seconds):
        during.extend(processes_of(os.getpid()))
        raise KeyboardInterrupt

    monkeypatch.setattr("lecture_vae.side_by_side.sleep", interrupt)
    specs = [RunSpec(name, SquaredError(), LONG) for name in ("linear-ae", "conv-ae")]
    with pytest.raises(KeyboardInterrupt):
        fetch_runs(specs, load_images("digits"), device="cpu")
    assert len(during) == len(before) + 2
    assert processes_of(os.getpid()) == before


def test_what_a_worker_cannot_do_is_raised_here_and_the_others_end_well(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "cores", lambda: 2)
    config = TrainConfig(steps=4, batch_size=8, eval_every=2)
    digits = load_images("digits")
    specs = [
        RunSpec("linear-ae", NegativeELBO(), config),  # an autoencoder has no KL
        RunSpec("linear-ae", SquaredError(), replace(config, lr=1e30)),
        RunSpec("linear-vae", NegativeELBO(), config),
    ]
    with pytest.raises((TypeError, FloatingPointError), match=r"no kl\(\)|must stay finite"):
        fetch_runs(specs, digits, device="cpu")
    assert len(list(store_folder().glob("*/run.json"))) == 1


def test_a_worker_that_is_killed_is_told_by_its_signal(monkeypatch):
    monkeypatch.setattr(runs, "cores", lambda: 2)
    monkeypatch.setattr("lecture_vae.side_by_side.PROGRAM", "import os; os.kill(os.getpid(), 9)")
    specs = [RunSpec(name, SquaredError(), CONFIG) for name in ("linear-ae", "conv-ae")]
    with pytest.raises(RuntimeError, match=r"ended with signal 9\. Did the machine run"):
        fetch_runs(specs, load_images("digits"), device="cpu")


def test_a_worker_that_finds_other_images_refuses(monkeypatch):
    monkeypatch.setattr(runs, "cores", lambda: 2)
    other = replace(load_images("digits"), fingerprint="1" * 16)
    specs = [RunSpec(name, SquaredError(), CONFIG) for name in ("linear-ae", "conv-ae")]
    with pytest.raises(StoreError, match="digits now holds other images"):
        fetch_runs(specs, other, device="cpu")


def test_fresh_trains_anew_what_workers_cannot_define_too(trainings, monkeypatch):
    monkeypatch.setattr(runs, "cores", lambda: 2)
    monkeypatch.setattr(runs, "is_importable", lambda spec: spec.model != "conv-vae")
    digits, config = load_images("digits"), TrainConfig(steps=2, batch_size=8, eval_every=2)
    specs = [RunSpec(name, SquaredError(), config) for name in ("linear-ae", "conv-ae", "conv-vae")]
    fetch_run("conv-vae", SquaredError(), digits, config, device="cpu")
    fetch_runs(specs, digits, device="cpu", fresh=True)
    assert len(trainings) == 2  # conv-vae twice; the others in their workers
