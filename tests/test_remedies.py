"""The remedies against collapse: each loss against its definition, at both ends and in between."""

import math

import pytest
import torch

from lecture_vae import (
    FittedVariance,
    FreeBits,
    KLWarmUp,
    NegativeELBO,
    RunSpec,
    TrainConfig,
    bits_per_dim,
    build_model,
    fetch_run,
    kl_per_latent,
    open_run,
)

IMAGES = torch.rand(6, 1, 32, 32, generator=torch.Generator().manual_seed(0))
NOISE = torch.randn(6, 1, 2, generator=torch.Generator().manual_seed(1))


def terms_of(objective):
    return objective.terms(build_model("linear-vae", seed=0), IMAGES, NOISE)


@pytest.mark.parametrize("remedy", [KLWarmUp(3.0), FreeBits(3.0), FittedVariance()], ids=repr)
def test_the_terms_are_those_of_the_negative_elbo(remedy):
    ours, plain = terms_of(remedy), terms_of(NegativeELBO(3.0))
    torch.testing.assert_close(ours["squared_error"], plain["squared_error"])
    kl = ours["kl"].sum(dim=1) if ours["kl"].ndim == 2 else ours["kl"]
    torch.testing.assert_close(kl, plain["kl"])


def test_the_weight_rises_in_proportion_to_the_step_and_then_stays():
    warm = KLWarmUp(8.0, warm_up=40)
    terms = terms_of(warm)
    for step, weight in ((1, 0.2), (20, 4.0), (40, 8.0), (41, 8.0), (10**9, 8.0)):
        expected = NegativeELBO(weight).loss(terms, step)
        torch.testing.assert_close(warm.loss(terms, step), expected)


def test_free_bits_charge_what_a_latent_has_above_its_budget_and_no_latent_uses_that_of_another():
    model = build_model("linear-vae", seed=0)
    terms = FreeBits(3.0).terms(model, IMAGES, NOISE)
    q = model.encode(IMAGES)
    shares = kl_per_latent(q.mu, q.log_var)
    torch.testing.assert_close(terms["kl"].mean(dim=0), shares)
    between = shares.mean().item()  # above the KL of one latent, below that of the other
    charged = between + shares.max()
    expected = terms["squared_error"].mean() + 3.0 * charged
    torch.testing.assert_close(FreeBits(3.0, free=between).loss(terms, 1), expected)
    plain = NegativeELBO(3.0)
    torch.testing.assert_close(FreeBits(3.0, free=0).loss(terms, 1), plain.loss(terms_of(plain), 1))


def test_a_latent_within_its_budget_gets_no_gradient_from_the_kl():
    kl = torch.tensor([[0.1, 2.0]], requires_grad=True)
    terms = {"squared_error": torch.tensor([1.0]), "kl": kl}
    (gradient,) = torch.autograd.grad(FreeBits(3.0, free=0.5).loss(terms, 1), kl)
    assert gradient.tolist() == [[0.0, 3.0]]


def test_the_fitted_loss_is_the_least_negative_elbo_of_any_variance():
    terms = terms_of(FittedVariance())
    error, kl = terms["squared_error"].mean().item(), terms["kl"].mean().item()
    v = torch.logspace(-3, 1, 20_000, dtype=torch.float64)
    tried = error / (2 * v) + kl + 512 * (2 * math.pi * v).log()
    assert FittedVariance().loss(terms, 1).item() == pytest.approx(tried.min().item(), abs=1e-3)
    assert v[tried.argmin()].item() == pytest.approx(error / 1024, rel=1e-3)
    assert bits_per_dim(-tried.min().item()) > 0


def test_the_gradient_of_the_fitted_loss_is_that_of_the_weight_that_fits_up_to_a_factor():
    error = torch.tensor([30.0, 34.0], requires_grad=True)
    kl = torch.tensor([5.0, 7.0], requires_grad=True)
    terms = {"squared_error": error, "kl": kl}
    fitted = torch.autograd.grad(FittedVariance().loss(terms, 1), (error, kl))
    plain = torch.autograd.grad(NegativeELBO(2 * 32 / 1024).loss(terms, 1), (error, kl))
    for ours, theirs in zip(fitted, plain, strict=True):
        torch.testing.assert_close(ours, 1024 / (2 * 32) * theirs)


def test_free_bits_average_the_distortion_over_the_samples():
    noise = torch.randn(6, 2, 2, generator=torch.Generator().manual_seed(2))
    model = build_model("linear-vae", seed=0)
    both = FreeBits(3.0, samples=2).terms(model, IMAGES, noise)["squared_error"]
    plain = NegativeELBO(3.0, samples=2).terms(model, IMAGES, noise)["squared_error"]
    torch.testing.assert_close(both, plain)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: KLWarmUp(warm_up=0), "warm_up must be a whole number of steps >= 1, got 0"),
        (lambda: KLWarmUp(warm_up=2.5), "got 2.5"),
        (lambda: KLWarmUp(-1.0), "kl_weight must be a finite number >= 0"),
        (lambda: FreeBits(free=-0.1), "free must be a finite number of nats >= 0, got -0.1"),
        (lambda: FreeBits(free=math.inf), "got inf"),
    ],
)
def test_a_setting_out_of_range_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_one_and_one_point_zero_are_one_objective():
    assert FreeBits(free=1) == FreeBits(free=1.0) and isinstance(FreeBits(free=1).free, float)


@pytest.mark.parametrize(
    "remedy", [KLWarmUp(3.0, warm_up=2), FreeBits(3.0, free=0.25), FittedVariance()], ids=repr
)
def test_a_run_with_a_remedy_is_stored_and_found_again(remedy, tiny, tmp_path):
    config = TrainConfig(steps=3, eval_every=3)
    run = fetch_run("linear-vae", remedy, tiny, config, store=tmp_path)
    assert run.engine == "torch"  # there is no kernel for it
    again = open_run(run.key, store=tmp_path)
    assert again.spec == RunSpec("linear-vae", remedy, config)
