"""Objectives from outside train in the one loop, and are evaluated on the whole set at once."""

import copy
import math
from dataclasses import dataclass, field, replace

import pytest
import torch
from outside.objectives import Binarized, FittedVariance, FreeBits, WarmUp

from lecture_vae import TrainConfig, evaluate, fetch_run, train
from lecture_vae.data import Split
from lecture_vae.history import Checkpoint
from lecture_vae.likelihoods import BernoulliPixels
from lecture_vae.losses import NegativeELBO
from lecture_vae.networks import build_model

SHORT = TrainConfig(steps=25, batch_size=16, eval_every=10, seed=3)
ALL = [WarmUp(), FreeBits(), FittedVariance(), Binarized()]
NOT_MEANS = [FreeBits(), FittedVariance()]  # their loss is no mean of the images' losses


def trained(objective, data, config=SHORT, **keywords):
    model = build_model("linear-vae", seed=config.seed)
    return model, train(model, objective, data, config, device="cpu", **keywords)


def weights(model):
    return torch.cat([value.flatten().double() for value in model.state_dict().values()])


def named(objective):
    return type(objective).__name__


@pytest.fixture(scope="module")
def model(tiny):
    return trained(NegativeELBO(), tiny, TrainConfig(steps=60))[0]


@pytest.fixture(scope="module")
def uneven(tiny):
    """Test images that brighten from the first to the last: no two parts are alike."""
    return tiny.test.images * torch.linspace(0, 1, 70)[:, None, None, None]


# --------------------------------------------------------------------------------------- training


@pytest.mark.parametrize("objective", ALL, ids=named)
def test_an_objective_from_outside_lowers_its_loss(tiny, objective):
    _, history = trained(objective, tiny, TrainConfig(steps=150, eval_every=75))
    first, last = (history.rows[k]["test_loss"] for k in (0, -1))
    assert last < first - 0.2 * abs(first)


@pytest.mark.parametrize("objective", ALL, ids=named)
def test_a_run_resumed_at_step_10_ends_bit_for_bit_where_the_plain_one_does(tiny, objective):
    kept = []
    model, history = trained(
        objective, tiny, on_evaluate=lambda state: kept.append(copy.deepcopy(state))
    )
    at_step_10 = kept[1]
    assert at_step_10.history.steps == [0, 10]
    steps = []
    resumed, second = trained(
        objective,
        tiny,
        resume=Checkpoint(*at_step_10),
        on_evaluate=lambda state: steps.append(state.history.steps[-1]),
    )
    assert steps == [20, 25]
    assert torch.equal(weights(resumed), weights(model))
    assert second.rows == history.rows


@pytest.mark.parametrize("objective", ALL, ids=named)
def test_evaluating_more_often_changes_nothing(tiny, objective):
    (model, often), (other, rarely) = (
        trained(objective, tiny, replace(SHORT, eval_every=every)) for every in (1, 25)
    )
    assert torch.equal(weights(model), weights(other))
    assert often.rows[-1]["test_loss"] == rarely.rows[-1]["test_loss"]


# -------------------------------------------------------------------------------- the whole set


@pytest.mark.parametrize("objective", ALL, ids=named)
def test_how_an_evaluation_is_split_does_not_matter(uneven, model, monkeypatch, objective):
    whole = evaluate(model, objective, uneven)
    monkeypatch.setattr("lecture_vae.evaluation.EVALUATION_BATCH", 16)  # 4 parts, and 6 images
    split = evaluate(model, objective, uneven)
    assert split.loss == pytest.approx(whole.loss, rel=1e-6)
    assert split.terms == pytest.approx(whole.terms, rel=1e-6)


@pytest.mark.parametrize("objective", NOT_MEANS, ids=named)
def test_the_evaluated_loss_is_that_of_all_images_as_one_batch(
    uneven, model, monkeypatch, objective
):
    monkeypatch.setattr("lecture_vae.evaluation.EVALUATION_BATCH", 16)
    with torch.no_grad():
        terms = objective.terms(model, uneven, torch.zeros(70, 1, 2))
        as_one_batch = objective.loss(terms, 1).item()
    loss = evaluate(model, objective, uneven, seed=None).loss
    assert loss == pytest.approx(as_one_batch, rel=1e-6)


@pytest.mark.parametrize("objective", NOT_MEANS, ids=named)
def test_the_mean_of_the_losses_of_parts_is_another_number(uneven, model, objective):
    # Without this, the facts above would hold for an evaluation that averages over parts.
    parts = [evaluate(model, objective, part, seed=None).loss for part in uneven.split(16)]
    mean = sum(parts[:4]) * 16 / 70 + parts[4] * 6 / 70
    whole = evaluate(model, objective, uneven, seed=None).loss
    assert abs(mean - whole) > 1e-3 * abs(whole)


# ---------------------------------------------------------------------------------------- warm-up


def test_a_step_is_trained_and_evaluated_with_the_weight_of_that_step(tiny):
    _, history = trained(WarmUp(3.0, warm_up=20), tiny, replace(SHORT, eval_every=1))
    assert history.steps == list(range(26))
    for row in history.rows:
        weight = 3.0 * min(row["step"] / 20, 1)
        for kind in ("train", "test") if row["step"] else ("test",):
            expected = row[f"{kind}_squared_error"] + weight * row[f"{kind}_kl"]
            assert row[f"{kind}_loss"] == pytest.approx(expected, rel=1e-6)
            assert row[f"{kind}_kl"] > 0


def test_an_evaluation_after_training_has_the_full_weight(tiny):
    objective = WarmUp(3.0, warm_up=1_000_000)
    model, history = trained(objective, tiny)
    after = evaluate(model, objective, tiny.test.images, seed=SHORT.seed)
    full = after.terms["squared_error"] + 3.0 * after.terms["kl"]
    assert after.loss == pytest.approx(full, rel=1e-6)
    assert after.terms["squared_error"] == pytest.approx(history.rows[-1]["test_squared_error"])
    assert after.loss > history.rows[-1]["test_loss"] + 0.01


# ---------------------------------------------------------------------------- a number per latent


def test_a_term_per_latent_is_reported_as_its_sum_over_latents(tiny, model):
    reported = evaluate(model, FreeBits(), tiny.test.images).terms
    plain = evaluate(model, NegativeELBO(), tiny.test.images).terms
    assert reported == pytest.approx(plain, rel=1e-5)


def test_a_term_per_latent_is_a_sum_over_latents_in_the_training_columns_too(tiny):
    row = trained(FreeBits(nats=0.0), tiny)[1].rows[-1]  # nothing free: S + KL
    assert row["train_loss"] == pytest.approx(row["train_squared_error"] + row["train_kl"])
    assert row["train_kl"] > 0


def test_the_loss_is_given_each_latents_own_kl(tiny, model):
    # Far more free nats than there are: each of the two latents pays them all.
    result = evaluate(model, FreeBits(nats=1e3), tiny.test.images)
    assert result.loss == pytest.approx(result.terms["squared_error"] + 2e3)


# ------------------------------------------------------------------------------------- binarized


@dataclass(frozen=True)
class Watched(Binarized):
    """Keeps what it is given to learn from."""

    seen: list = field(default_factory=list)

    def terms(self, model, x, eps):
        self.seen.append(x)
        return super().terms(model, x, eps)


def watched_evaluation(model, images, **keywords):
    objective = Watched()
    evaluate(model, objective, images, **keywords)
    return torch.cat(objective.seen)


def test_binarized_inputs_are_zeros_and_ones_with_the_pixels_as_their_means(tiny):
    x = tiny.train.images[:4]
    draws = torch.stack([Binarized().inputs(x, seed=0, step=step) for step in range(1, 401)])
    assert set(draws.unique().tolist()) == {0.0, 1.0}
    assert draws.dtype == x.dtype
    error = 5.5 * (x * (1 - x) / 400).sqrt() + 1e-3  # standard errors of 4,096 means
    assert ((draws.mean(dim=0) - x).abs() < error).all()


def test_a_binarized_pixel_is_drawn_apart_from_its_neighbors():
    gray = torch.full((8, 1, 32, 32), 0.5)
    draw = Binarized().inputs(gray, seed=0, step=1)
    for axis in (0, 2, 3):
        agree = (draw == draw.roll(1, axis)).float().mean().item()
        assert agree == pytest.approx(0.5, abs=5 * 0.5 / math.sqrt(draw.numel()))


def test_one_seed_and_step_give_one_draw_and_others_another(tiny):
    x, binarized = tiny.train.images[:16], Binarized()
    draw = binarized.inputs(x, seed=3, step=5)
    torch.manual_seed(0)  # the global generator has no say
    assert torch.equal(draw, binarized.inputs(x, seed=3, step=5))
    assert not torch.equal(draw, binarized.inputs(x, seed=3, step=6))
    assert not torch.equal(draw, binarized.inputs(x, seed=4, step=5))


def test_each_step_of_a_training_learns_from_another_draw_of_its_images(tiny):
    one_image = replace(
        tiny,
        train=Split(tiny.train.images[:1], tiny.train.labels[:1]),
    )
    objective = Watched()
    trained(objective, one_image, TrainConfig(steps=6, batch_size=1, eval_every=6))
    steps = [x for x in objective.seen if len(x) == 1]
    assert len(steps) == 6
    assert len({tuple(x.flatten().tolist()) for x in steps}) == 6
    assert all(set(x.unique().tolist()) <= {0.0, 1.0} for x in steps)
    expected = Binarized().inputs(one_image.train.images, seed=0, step=4)
    assert torch.equal(steps[3], expected)


def test_every_evaluation_of_a_training_sees_the_same_binarized_images(tiny):
    objective = Watched()
    trained(objective, tiny, TrainConfig(steps=4, batch_size=16, eval_every=2))
    evaluations = [x for x in objective.seen if len(x) == 70]
    assert len(evaluations) == 3
    assert torch.equal(evaluations[0], evaluations[1])
    assert torch.equal(evaluations[0], evaluations[2])
    assert set(evaluations[0].unique().tolist()) == {0.0, 1.0}


def test_the_binarized_images_of_an_evaluation_do_not_depend_on_its_parts(tiny, model, monkeypatch):
    whole = watched_evaluation(model, tiny.test.images)
    monkeypatch.setattr("lecture_vae.evaluation.EVALUATION_BATCH", 16)
    assert torch.equal(watched_evaluation(model, tiny.test.images), whole)


def test_the_code_of_a_binarized_evaluation_is_that_of_the_binarized_images(tiny, model):
    seen = watched_evaluation(model, tiny.test.images)
    with torch.no_grad():
        mu = model.encode(seen).mu
    torch.testing.assert_close(evaluate(model, Binarized(), tiny.test.images).code, mu)


def test_the_code_of_a_run_is_that_of_its_last_evaluation(tiny):
    run = fetch_run("linear-vae", Binarized(), tiny, SHORT, device="cpu", store=None)
    assert torch.equal(run.code.half(), torch.from_numpy(run.history.latents[-1]))


def test_the_binarized_loss_is_minus_the_elbo_of_the_binarized_images(tiny, model):
    seen = watched_evaluation(model, tiny.test.images)
    plain = evaluate(model, NegativeELBO(likelihood=BernoulliPixels()), seen)
    assert evaluate(model, Binarized(), tiny.test.images).loss == pytest.approx(plain.loss)
