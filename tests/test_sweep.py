"""Sweeps: axes, rows and table; what they survive on this machine and on a cluster."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import has_ended
from typer.testing import CliRunner

from lecture_vae import (
    MODELS,
    BernoulliPixels,
    FittedVariance,
    GaussianPixels,
    NegativeELBO,
    RunSpec,
    SquaredError,
    TrainConfig,
    fetch_run,
    import_definitions,
    load_images,
    open_run,
    sweep_runs,
    sweep_specs,
    sweep_table,
)  # fmt: skip
from lecture_vae.cli import app
from lecture_vae.cli_sweep import _written
from lecture_vae.data import Split
from lecture_vae.diagnostics import kl_per_latent
from lecture_vae.options import axis_values
from lecture_vae.packing import pack_images, unpack_images
from lecture_vae.randomness import evaluation_noise
from lecture_vae.recipe import describe
from lecture_vae.store import StoreError, store_folder
from lecture_vae.sweep import MAX_RUNS, Row, _row
from lecture_vae.trainer import Job, Trained, Trainers

POISON = Path(__file__).parent / "outside" / "poison.py"
SHORT = TrainConfig(steps=40, eval_every=10, batch_size=8)
PATIENCE = 240  # seconds, on a busy machine


@pytest.fixture
def poison():
    """The models of outside/poison.py, for as long as a test runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path])
        patch.setattr(MODELS, "_builders", dict(MODELS._builders))
        import_definitions(str(POISON))
        yield
        del sys.modules["poison"]


@pytest.fixture
def gate(tmp_path):
    """A file that a gated model waits for."""
    path = tmp_path / "gate"
    path.touch()
    return path


def pids_at(gate):
    """The numbers of the process that waits at a gate and of its parent, when it waits."""
    until = time.monotonic() + PATIENCE
    while not (found := Path(f"{gate}.pids")).exists() or len(found.read_text().split()) < 2:
        assert time.monotonic() < until, "nobody came to the gate"
        time.sleep(0.02)
    return [int(number) for number in found.read_text().split()]


def gated(gate, **more):
    return RunSpec("gated", NegativeELBO(), replace(SHORT, **more), {"gate": str(gate)})


# ---------------------------------------------------------------------------- axes


@pytest.mark.parametrize(
    ("text", "kind", "values"),
    [
        (".06,.25,1,4", float, [0.06, 0.25, 1.0, 4.0]),
        ("1e-3, 2", float, [0.001, 2.0]),
        ("0..9", int, [*range(10)]),
        ("0..2,7,5..5", int, [0, 1, 2, 7, 5]),
        ("1..3", float, [1.0, 2.0, 3.0]),
    ],
)
def test_an_axis_is_read_as_it_is_typed(text, kind, values):
    found = axis_values("--x", text, kind)
    assert found == values
    assert {type(value) for value in found} == {kind}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "--x takes whole numbers with commas between them, such as 1,4 or 0..9, got ''"),
        ("1,,2", "got '1,,2'"),
        ("1.5", "whole numbers"),
        ("1..", "got '1..'"),
        ("a..b", "got 'a..b'"),
        ("5..2", "FIRST..LAST, both included, of 100,000 numbers at most, got '5..2'"),
        ("0..100000", "of 100,000 numbers at most, got '0..100000'"),
        (f"0..{'9' * 40}", "of 100,000 numbers at most"),
        ("1,2,1", "--x names each value once, got 1 2 times"),
        ("0..3,2", "got 2 2 times"),
    ],
)
def test_an_axis_that_cannot_be_read_says_what_it_may_be(text, message):
    with pytest.raises(ValueError, match="--x") as caught:
        axis_values("--x", text, int)
    assert message in str(caught.value)


def test_a_sweep_has_every_combination_once():
    objectives = [NegativeELBO(w) for w in (0.25, 4.0)]
    specs = sweep_specs("linear-vae", objectives, SHORT, seeds=[3, 5, 8], latent_dims=[2, 32])
    found = [(s.keywords["latent_dim"], s.objective.kl_weight, s.config.seed) for s in specs]
    assert found == [(d, w, seed) for d in (2, 32) for w in (0.25, 4.0) for seed in (3, 5, 8)]
    assert {replace(spec.config, seed=0) for spec in specs} == {SHORT}


def test_a_sweep_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="--latent-dim cannot be given to conv-vae"):
        sweep_specs("conv-vae", [NegativeELBO()], SHORT, seeds=[0], latent_dims=[2])
    with pytest.raises(ValueError, match="latent_dim must be at least 1"):
        sweep_specs("linear-vae", [NegativeELBO()], SHORT, seeds=[0], latent_dims=[0])
    seeds = range(MAX_RUNS // 2 + 1)
    with pytest.raises(ValueError, match=r"100,000 runs at most, and these axes give 100,002"):
        sweep_specs("linear-vae", [NegativeELBO(), NegativeELBO(2)], SHORT, seeds=seeds)


# ---------------------------------------------------------------------------- rows


def as_row(run):
    found = Trained(run.key, "cpu", run.engine, run.seconds, False, run.history.rows[-1])
    return _row(run.spec, math.prod(run.model.latent_shape), found)


@pytest.mark.parametrize(
    ("objective", "likelihood"),
    [
        (NegativeELBO(4.0), GaussianPixels(2.0)),
        (NegativeELBO(0.5, GaussianPixels(0.1)), GaussianPixels(0.05)),
        (NegativeELBO(3.0, BernoulliPixels()), BernoulliPixels()),
    ],
)
def test_the_elbo_of_a_row_is_that_of_the_likelihood_that_the_loss_implies(
    tiny, objective, likelihood
):
    run = fetch_run("linear-vae", objective, tiny, SHORT, device="cpu")
    row, x = as_row(run), tiny.test.images
    with torch.no_grad():
        q = run.model.encode(x)
        z = q.sample(evaluation_noise((len(x), 1, 2), SHORT.seed)[:, 0])
        log_p = likelihood.log_prob(x, likelihood.parameters(run.model, z)).mean().item()
        kl = kl_per_latent(q.mu, q.log_var).sum().item()
    assert row.kl == pytest.approx(kl, rel=1e-4)
    assert row.elbo == pytest.approx(log_p - kl, rel=1e-5)
    assert row.rate_bits == pytest.approx(kl / math.log(2), rel=1e-4)


def test_an_objective_without_a_kl_has_neither_rate_nor_elbo(tiny):
    row = as_row(fetch_run("linear-ae", SquaredError(), tiny, SHORT, device="cpu"))
    assert (row.kl_weight, row.kl, row.rate_bits, row.elbo) == (None, None, None, None)
    assert row.squared_error == row.loss > 0


def test_the_elbo_of_a_fitted_variance_is_minus_its_loss(tiny):
    row = as_row(fetch_run("linear-vae", FittedVariance(), tiny, SHORT, device="cpu"))
    assert row.elbo == pytest.approx(-row.loss, rel=1e-6)


def test_a_row_of_a_failed_run_says_what_it_was_and_why_on_one_line():
    spec = RunSpec("conv-vae", NegativeELBO(0.8), replace(SHORT, seed=3))
    row = _row(spec, 64, FloatingPointError("the loss\nis nan"))
    assert row == Row(
        "conv-vae", 0.8, 64, 3, status="failed", reason="FloatingPointError: the loss is nan"
    )


def test_the_table_is_in_order_and_keeps_whole_numbers_beside_missing_ones():
    rows = [Row("linear-vae", w, 2, seed, steps=5) for w in (4.0, 0.25) for seed in (10, 9)]
    table = sweep_table([replace(rows[0], steps=None), *rows[1:]])
    assert [*zip(table["kl_weight"], table["seed"], strict=True)] == [
        (0.25, 9), (0.25, 10), (4.0, 9), (4.0, 10),
    ]  # fmt: skip
    assert table.to_csv(index=False).splitlines()[-2].split(",")[12] == "5"
    assert table["steps"].isna().sum() == 1


# ---------------------------------------------------------------------------- images on their way


def test_images_arrive_as_they_were(tiny):
    digits = load_images("digits")
    for data, width in ((digits, 1), (tiny, 4)):
        packed = pack_images(data)
        back = unpack_images(packed)
        for name in ("train", "test"):
            for here, there in zip(getattr(data, name), getattr(back, name), strict=True):
                assert torch.equal(here, there)
        assert repr(back) == repr(data) and back.class_names == data.class_names
        pixels = 1024 * (len(data.train.images) + len(data.test.images))
        assert width <= len(packed) / pixels < width + 0.1


def test_images_of_one_levels_more_are_not_rounded(tiny):
    halves = replace(tiny, test=Split(torch.full((2, 1, 32, 32), 0.5), torch.zeros(2).long()))
    assert unpack_images(pack_images(halves)).test.images.unique().tolist() == [0.5]


# ---------------------------------------------------------------------------- on this machine


NO_IMAGES = b"what would be an error if it were sent"


def job_of(spec, data, **changes):
    recipe = describe(spec, data, "cpu") | changes
    return Job(recipe, data.fingerprint, (), "cpu", "torch", str(store_folder()))


def test_a_trainer_is_sent_the_images_once_and_refuses_other_code(tiny):
    spec = RunSpec("linear-vae", NegativeELBO(), TrainConfig(steps=2, batch_size=8))
    other = replace(spec, config=replace(spec.config, seed=1))
    with Trainers() as trainers:
        [first] = trainers.fetch(job_of(spec, tiny), pack_images(tiny))
        [again] = trainers.fetch(job_of(spec, tiny), NO_IMAGES)
        [second] = trainers.fetch(job_of(other, tiny), NO_IMAGES)
        assert (first.found, again.found, second.found) == (False, True, False)
        assert replace(first, found=True) == again
        assert open_run(second.key).spec.config.seed == 1
        code = describe(other, tiny, "cpu")["code"] | {"training": "older"}
        with pytest.raises(StoreError, match="but on this machine training differs"):
            trainers.fetch(job_of(other, tiny, code=code), NO_IMAGES)
        with pytest.raises(StoreError, match=r"torch .*, not 1\.0, differs"):
            trainers.fetch(job_of(other, tiny, torch="1.0"), NO_IMAGES)
    with pytest.raises(RuntimeError, match="interrupted"):
        trainers.fetch(job_of(spec, tiny), NO_IMAGES)


def test_a_run_that_harms_its_process_is_a_row_and_the_others_go_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["sweep", "poison", "--import", str(POISON), "--data", "digits", "--steps", "4"]
    words += ["--kl-weight", "2", "--jobs", "2", "--out", "out"]
    result = CliRunner().invoke(app, [*words, "--latent-dim", "2..5"])
    assert result.exit_code == 1, (result.output, result.exception)
    table = pd.read_csv("out/sweep.csv").set_index("latent_dim")
    assert table["status"].to_dict() == {2: "trained", 3: "failed", 4: "failed", 5: "trained"}
    assert table["reason"][3].startswith("FloatingPointError: the loss must stay finite")
    assert "ended 3 times: SIGKILL, SIGKILL, SIGKILL" in table["reason"][4]
    assert table["key"].notna().to_dict() == {2: True, 3: False, 4: False, 5: True}
    lines = result.stderr.splitlines()
    [told] = [line for line in lines if "of 4 runs failed" in line]
    assert told.startswith("lecture-vae: 2 of 4 runs failed; out/sweep.csv says why. The first")
    assert "4 runs: 2 trained, 0 found, 2 failed" in result.stdout
    assert "With 2 latents" in result.stdout and "With 5 latents" in result.stdout
    assert "<svg" in Path("out/rate_distortion.svg").read_text()
    again = CliRunner().invoke(app, [*words, "--latent-dim", "2,5"])
    assert again.exit_code == 0, (again.output, again.exception)
    assert "2 runs: 0 trained, 2 found, 0 failed" in again.stdout
    found = pd.read_csv("out/sweep.csv").set_index("latent_dim")
    same = ["key", "seconds", "loss", "elbo"]
    pd.testing.assert_frame_equal(found[same], table.loc[[2, 5], same])


def test_a_killed_trainer_loses_one_evaluation_interval_at_most(tiny, poison, gate):
    spec = gated(gate)
    with Trainers() as trainers, ThreadPoolExecutor(1) as pool:
        job = replace(job_of(spec, tiny), imports=(str(POISON),))
        answer = pool.submit(trainers.fetch, job, pack_images(tiny))
        pid, _ = pids_at(gate)
        os.kill(pid, signal.SIGKILL)
        gate.unlink()
        [trained] = answer.result(PATIENCE)
    updates = len(Path(f"{gate}.updates").read_text())
    assert updates == 25 + (40 - 20)  # the checkpoint was at 20, and it was killed in update 25
    whole = fetch_run("gated", spec.objective, tiny, SHORT, store=None, engine="torch",
                      device="cpu", **spec.keywords)  # fmt: skip
    assert trained.last == whole.history.rows[-1]


def test_whoever_stops_listening_ends_the_trainers(tiny, poison, gate):
    specs = [gated(gate), RunSpec("linear-vae", NegativeELBO(), SHORT)]
    rows = sweep_runs(specs, tiny, device="cpu", jobs=2)
    assert next(rows).model == "linear-vae"
    pid, _ = pids_at(gate)
    begun = time.monotonic()
    rows.close()
    assert time.monotonic() - begun < 20
    assert has_ended(pid)


def test_a_trainer_that_nobody_asks_exits_without_a_word():
    serve = "from lecture_vae import trainer; trainer.IDLE_SECONDS = 0.1; trainer.serve()"
    idle = subprocess.Popen(
        [sys.executable, "-c", serve], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert (idle.wait(120), idle.stderr.read()) == (0, "")
    finally:
        idle.communicate()


def test_a_model_that_no_other_process_can_import_is_refused_before_anything_is_trained(
    tiny, monkeypatch
):
    monkeypatch.setattr("lecture_vae.sweep.is_importable", lambda _: False)
    with pytest.raises(ValueError, match="Define it in a file"):
        next(sweep_runs([RunSpec("linear-vae", NegativeELBO(), SHORT)], tiny))
    assert not store_folder().exists()


# ---------------------------------------------------------------------------- on a cluster


class Cluster:
    """A scheduler on 127.0.0.1 and its workers, each a process without a nanny."""

    def __init__(self, folder):
        self.folder, self.processes = folder, []
        self.start_scheduler(port=0)

    def start(self, *words):
        command = [sys.executable, "-m", *words, "--no-dashboard"]
        places = [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
        with (self.folder / f"{len(self.processes)}.log").open("w") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def start_scheduler(self, port):
        file = self.folder / f"scheduler-{len(self.processes)}.json"
        self.scheduler = self.start(
            "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port),
            "--scheduler-file", str(file),
        )  # fmt: skip
        until = time.monotonic() + PATIENCE
        while not file.exists() or '"address"' not in file.read_text():
            assert time.monotonic() < until
            time.sleep(0.05)
        self.address = json.loads(file.read_text())["address"]

    def start_worker(self):
        return self.start(
            "distributed.cli.dask_worker", self.address, "--no-nanny", "--nthreads", "1",
            "--local-directory", str(self.folder),
        )  # fmt: skip

    def end(self):
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()


@pytest.fixture
def cluster(tmp_path):
    (tmp_path / "dask").mkdir()
    started = Cluster(tmp_path / "dask")
    yield started
    started.end()


@pytest.mark.slow
def test_a_cluster_survives_the_death_of_a_worker_and_of_its_scheduler(tiny, poison, gate, cluster):
    import dask
    import distributed  # noqa: F401  # its settings, which the end of the one below would take along

    specs = [gated(gate), RunSpec("linear-vae", NegativeELBO(), SHORT)]
    workers = {process.pid: process for process in (cluster.start_worker(), cluster.start_worker())}
    with dask.config.set({"distributed.comm.timeouts.connect": "2s"}):
        rows = sweep_runs(specs, tiny, device="cpu", scheduler=cluster.address)
        first = next(rows)
        assert (first.model, first.status) == ("linear-vae", "trained")
        # A worker in the middle of a run: the other one goes on with it.
        pid, worker = pids_at(gate)
        Path(f"{gate}.pids").unlink()  # before the other one can have written it anew
        workers[worker].kill()
        assert has_ended(pid)  # the trainer does not outlive it
        pid, other = pids_at(gate)
        assert other in workers and other != worker
        # The scheduler, and with it the worker: another scheduler at its address, another worker.
        cluster.scheduler.kill()
        cluster.scheduler.wait()
        assert has_ended(pid)
        gate.unlink()
        cluster.start_scheduler(port=cluster.address.rpartition(":")[2])
        cluster.start_worker()
        second = next(rows)
    assert (second.model, second.status) == ("gated", "trained")
    assert [*rows] == []
    updates = len(Path(f"{gate}.updates").read_text())
    assert (
        updates == 25 + 1 + 20
    )  # one that the second worker could do, and none of the first 20 twice
    whole = fetch_run("gated", specs[0].objective, tiny, SHORT, store=None, engine="torch",
                      device="cpu", **specs[0].keywords)  # fmt: skip
    assert second.loss == whole.history.rows[-1]["test_loss"]
    assert open_run(first.key).history.rows[-1]["test_loss"] == first.loss


def test_the_same_rows_give_the_same_files(tmp_path):
    rows = [
        Row("linear-vae", w, 2, 0, squared_error=30 + w, rate_bits=9 / w, kl=6 / w)
        for w in (1.0, 4.0)
    ]
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        _written(rows, tmp_path / name)
    for name in ("sweep.csv", "rate_distortion.svg"):
        first, second = ((tmp_path / each / name).read_bytes() for each in ("first", "second"))
        assert first == second, name
