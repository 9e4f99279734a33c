import json
from pathlib import Path

import pytest

from lecture_book.records import sampled_squared_error
from lecture_book.tables import four_digits
from lecture_vae.budgets import FULL_STEPS, lecture_config
from lecture_vae.losses import NegativeELBO, SquaredError
from lecture_vae.recipe import RunSpec, describe, key_of, with_engine
from lecture_vae.reproduction import LECTURE, report, reproduce, table, write_results
from lecture_vae.runs import fetch_run
from lecture_vae.training import TrainConfig

CONFIG = TrainConfig(steps=4, batch_size=8, eval_every=2)


@pytest.fixture
def results(tiny, monkeypatch):
    monkeypatch.setattr("lecture_vae.reproduction.lecture_config", lambda model, seed: (
        TrainConfig(steps=2, batch_size=8, eval_every=2, seed=seed)
    ))  # fmt: skip
    monkeypatch.setattr(
        "lecture_vae.runs.cores", lambda: 1
    )  # the tiny data cannot be loaded by a child
    return reproduce(tiny, device="cpu")


def test_a_vae_is_reported_in_the_originals_unit_and_in_the_common_one(tiny):
    run = fetch_run("linear-vae", NegativeELBO(3.0), tiny, CONFIG)
    figures, last = report(run, tiny), run.history.rows[-1]
    assert list(figures) == [
        "model", "steps", "kl_weight", "seed", "data", "train_loss", "test_loss",
        "test_reconstruction", "test_kl", "seconds", "objective", "engine", "key",
    ]  # fmt: skip
    assert figures["test_loss"] == pytest.approx(last["test_squared_error"] + 3 * last["test_kl"])
    assert figures["train_loss"] == last["train_loss"]
    assert figures["test_kl"] == pytest.approx(last["test_kl"])  # it does not depend on z
    assert figures["test_reconstruction"] != last["test_squared_error"]  # z = mu, not a sample
    assert figures["kl_weight"] == 3.0


def test_an_autoencoder_is_reported_per_pixel_and_per_image(tiny):
    run = fetch_run("linear-ae", SquaredError(), tiny, CONFIG)
    figures = report(run, tiny)
    assert figures["test_reconstruction"] == pytest.approx(1024 * figures["test_loss"])
    assert figures["train_loss"] == pytest.approx(run.history.rows[-1]["train_loss"] / 1024)
    assert figures["kl_weight"] is None
    assert figures["test_kl"] is None


def test_the_reproduction_has_all_five_runs_and_the_spread_of_the_linear_ones(results, tiny):
    assert list(results["runs"]) == list(LECTURE)
    for key, entry in results["runs"].items():
        assert entry["original"]["test_loss"] == LECTURE[key].test_loss
        assert ("spread" in entry) == (len(LECTURE[key].seeds) > 1)
    spread = results["runs"]["linear_vae_1"]["spread"]
    assert len(set(spread["test_losses"])) == 3
    assert spread["test_losses"][0] == results["runs"]["linear_vae_1"]["ours"]["test_loss"]
    assert results["data"]["name"] == "tiny"
    assert results["data"]["mean_image_error"] > 0
    assert results["data"]["total_variance"] > 0


def test_the_table_names_every_run_and_the_file_is_json(results, tmp_path):
    lines = table(results).splitlines()
    assert len(lines) == 1 + len(LECTURE)
    assert all(o.title in line for o, line in zip(LECTURE.values(), lines[1:], strict=True))
    path = write_results(results, tmp_path / "new")
    assert json.loads(path.read_text()) == results


RECORD = Path(__file__).parents[1] / "results" / "reproduction.json"
# How far our test loss may lie from the original's, to either side: a changed objective that scores
# lower is as wrong as one that scores higher.
TOLERANCE = {
    "linear_ae": 0.02,
    "linear_vae_1": 0.02,
    "linear_vae_100": 0.01,
    "conv_ae": 0.02,
    "conv_vae_0_8": 0.02,
}


@pytest.fixture(scope="module")
def record():
    return json.loads(RECORD.read_text())


@pytest.mark.parametrize("key", LECTURE)
def test_the_recorded_runs_are_of_the_code_that_stands_here(record, tiny, monkeypatch, key):
    monkeypatch.setenv("LECTURE_VAE_BUDGET", "full")
    original = LECTURE[key]
    spec = RunSpec(original.model, original.objective, lecture_config(original.model))
    recipe = with_engine(describe(spec, tiny, "cpu"), record["engine"]) | {
        "torch": record["versions"]["torch"].split("+")[0],
        "data": {name: record["data"][name] for name in ("name", "fingerprint")},
    }
    assert record["runs"][key]["key"] == key_of(recipe), (
        "the code that decides the weights has changed since results/reproduction.json was "
        "recorded: run `lecture-vae reproduce --full` on MNIST again"
    )
    assert record["data"]["name"] == "mnist"


@pytest.mark.parametrize("key", LECTURE)
def test_the_recorded_losses_reproduce_the_originals(record, key):
    ours, original = record["runs"][key]["ours"], record["runs"][key]["original"]
    assert original["test_loss"] == LECTURE[key].test_loss
    assert ours["steps"] == FULL_STEPS.get(LECTURE[key].model, 25_000)
    change = ours["test_loss"] / original["test_loss"] - 1
    assert abs(change) <= TOLERANCE[key]


def test_the_recorded_run_at_weight_100_has_collapsed(record):
    ours = record["runs"]["linear_vae_100"]["ours"]
    assert ours["kl"] < 0.01
    assert ours["squared_error"] == pytest.approx(record["data"]["mean_image_error"], rel=0.01)


def test_the_sampled_error_is_the_loss_without_its_kl_term(tiny):
    run = fetch_run("linear-vae", NegativeELBO(1), tiny, CONFIG)
    last = run.history.rows[-1]
    ours = {"test_loss": last["test_loss"], "kl": last["test_kl"]}
    sampled = sampled_squared_error("linear_vae_1", ours)
    assert sampled == four_digits(last["test_squared_error"])
    assert sampled_squared_error("linear_ae", ours) == "–"
