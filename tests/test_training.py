import copy
import math
from dataclasses import replace

import pytest
import torch

from lecture_vae import MODELS
from lecture_vae.data import Split
from lecture_vae.evaluation import evaluate
from lecture_vae.history import Checkpoint
from lecture_vae.losses import OBJECTIVES, NegativeELBO, SquaredError
from lecture_vae.networks import build_model, default_objective
from lecture_vae.training import LATENT_BYTES, TrainConfig, pick_device, train

SHORT = TrainConfig(steps=25, batch_size=16, eval_every=10, seed=3)


def trained(data, config=SHORT, name="linear-vae", **keywords):
    model = build_model(name, seed=config.seed)
    objective = OBJECTIVES[default_objective(name)]()
    return model, train(model, objective, data, config, device="cpu", **keywords)


def weights(model):
    return torch.cat([value.flatten().double() for value in model.state_dict().values()])


@pytest.mark.parametrize("name", MODELS)
def test_training_lowers_the_test_loss(tiny, name):
    _, history = trained(tiny, TrainConfig(steps=150, eval_every=75), name)
    losses = history.frame()["test_loss"]
    assert losses.iloc[-1] < 0.8 * losses.iloc[0]


def test_it_evaluates_at_the_start_every_n_and_at_the_end(tiny):
    _, history = trained(tiny)
    assert history.steps == [0, 10, 20, 25]
    assert trained(tiny, replace(SHORT, steps=20))[1].steps == [0, 10, 20]
    assert trained(tiny, replace(SHORT, steps=3))[1].steps == [0, 3]


def test_the_last_evaluation_is_of_the_returned_model(tiny):
    model, history = trained(tiny)
    result = evaluate(model, NegativeELBO(), tiny.test.images, seed=SHORT.seed)
    assert history.rows[-1]["test_loss"] == pytest.approx(result.loss, rel=1e-6)
    torch.testing.assert_close(
        torch.from_numpy(history.latents[-1]).float(), result.code, atol=2e-3, rtol=1e-3
    )


@pytest.mark.parametrize("name", ["linear-vae", "conv-vae"])
def test_evaluating_more_often_changes_nothing(tiny, name):
    often, rarely = replace(SHORT, eval_every=1), replace(SHORT, eval_every=25)
    (model, history), (other, sparse) = trained(tiny, often, name), trained(tiny, rarely, name)
    assert torch.equal(weights(model), weights(other))
    assert history.rows[-1]["test_loss"] == sparse.rows[-1]["test_loss"]


def test_same_seed_same_history_and_another_seed_another(tiny):
    torch.manual_seed(0)
    _, one = trained(tiny)
    torch.manual_seed(1)  # the global generator has no say
    _, two = trained(tiny)
    assert one.rows == two.rows
    assert one.rows != trained(tiny, replace(SHORT, seed=4))[1].rows


@pytest.mark.parametrize("name", ["linear-ae", "conv-vae"])
def test_a_resumed_run_ends_bit_for_bit_where_the_plain_one_does(tiny, name):
    kept = []
    model, history = trained(
        tiny, name=name, on_evaluate=lambda state: kept.append(copy.deepcopy(state))
    )
    at_step_10 = kept[1]
    assert at_step_10.history.steps == [0, 10]
    resumed, second = trained(tiny, name=name, resume=Checkpoint(*at_step_10))
    assert torch.equal(weights(resumed), weights(model))
    assert second.rows == history.rows
    assert second.steps == [0, 10, 20, 25]


def test_the_train_columns_are_means_since_the_last_evaluation(tiny):
    _, history = trained(tiny, replace(SHORT, eval_every=1, steps=4))
    _, sparse = trained(tiny, replace(SHORT, eval_every=4, steps=4))
    each = history.frame()["train_loss"].iloc[1:]
    assert sparse.rows[-1]["train_loss"] == pytest.approx(each.mean(), rel=1e-6)
    frame = sparse.frame()
    assert list(frame.columns) == [
        "step", "train_squared_error", "train_kl", "train_loss",
        "test_squared_error", "test_kl", "test_loss",
    ]  # fmt: skip
    assert math.isnan(frame["train_loss"].iloc[0])
    total = frame["test_squared_error"] + frame["test_kl"]
    assert frame["test_loss"].to_numpy() == pytest.approx(total.to_numpy(), rel=1e-6)


def test_evaluation_averages_over_images_not_over_batches(tiny, monkeypatch):
    model = build_model("linear-vae")
    whole = evaluate(model, NegativeELBO(), tiny.test.images)
    monkeypatch.setattr("lecture_vae.evaluation.EVALUATION_BATCH", 64)  # 64 + 6 images
    split = evaluate(model, NegativeELBO(), tiny.test.images)
    assert split.loss == pytest.approx(whole.loss, rel=1e-6)
    torch.testing.assert_close(split.code, whole.code)


def test_evaluation_without_a_seed_decodes_the_mean(tiny):
    model = build_model("linear-vae")
    result = evaluate(model, NegativeELBO(), tiny.test.images, seed=None)
    with torch.no_grad():
        x_hat = model.decode(model.encode(tiny.test.images).mu)
        sampled = evaluate(model, NegativeELBO(), tiny.test.images, seed=0).terms
    error = (tiny.test.images - x_hat).square().flatten(1).sum(dim=1).mean().item()
    assert result.terms["squared_error"] == pytest.approx(error, rel=1e-5)
    assert result.terms["squared_error"] != sampled["squared_error"]


def test_codes_are_means_also_where_a_sample_is_decoded(tiny):
    model = build_model("linear-vae")
    with torch.no_grad():
        mu = model.encode(tiny.test.images).mu
    assert torch.equal(evaluate(model, NegativeELBO(), tiny.test.images, seed=0).code, mu)


def test_evaluation_keeps_the_mode_and_the_batch_statistics(tiny):
    model = build_model("conv-ae").train()
    before = weights(model)
    evaluate(model, SquaredError(), tiny.test.images)
    assert model.training
    assert torch.equal(weights(model), before)


def test_it_stores_means_and_only_so_many(tiny, monkeypatch):
    _, history = trained(tiny, name="conv-vae")
    assert all(codes.shape == (70, 64) and codes.dtype == "float16" for codes in history.latents)
    monkeypatch.setattr("lecture_vae.training.LATENT_BYTES", 64 * 2 * 5)
    _, history = trained(tiny, name="conv-vae")
    assert history.latents[0].shape == (5, 64)
    assert LATENT_BYTES // (2 * 2) > 10_000  # MNIST's test set in two dimensions is kept whole


def test_a_loss_that_is_not_finite_stops_the_run_and_says_where(tiny):
    images = tiny.train.images.clone()
    images[7, 0, 3, 3] = math.nan
    broken = replace(tiny, train=Split(images, tiny.train.labels))
    with pytest.raises(FloatingPointError, match=r"at step \d+ squared_error is nan. Likely"):
        trained(broken)


def test_the_first_bad_step_is_named(tiny):
    # An absurd step size: the first update ruins the weights, the second step meets them.
    with pytest.raises(FloatingPointError, match=r"at step 2 "):
        trained(tiny, replace(SHORT, lr=1e30))


def test_training_leaves_the_thread_count_alone(tiny):
    torch.set_num_threads(2)
    try:
        trained(tiny, replace(SHORT, steps=1))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("field", "value"),
    [("steps", 0), ("batch_size", 0), ("eval_every", -1), ("seed", -1), ("steps", 2.5),
     ("lr", 0.0), ("lr", math.nan)],
)  # fmt: skip
def test_a_senseless_config_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=f"{field} must be a"):
        replace(SHORT, **{field: value})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("name", MODELS)
def test_a_gpu_learns_what_a_cpu_learns(tiny, name):
    objective = OBJECTIVES[default_objective(name)]()
    losses = {}
    for device in ("cpu", "cuda"):
        model = build_model(name)
        history = train(model, objective, tiny, TrainConfig(steps=100), device=device)
        assert next(model.parameters()).device.type == device
        losses[device] = history.rows[-1]["test_loss"]
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=0.02)


def test_auto_takes_the_best_device_there_is(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pick_device().type == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device().type == "cuda"
    assert pick_device("cpu").type == "cpu"
