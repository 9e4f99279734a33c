"""What a trained VAE did, checked on codes whose answer is known."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch.distributions import Normal, kl_divergence

from lecture_vae.diagnostics import (
    active_units,
    affine_vae_optimum,
    collapse_weights,
    kl_per_latent,
    principal_plane,
    principal_variances,
    rate_distortion,
    total_variance,
    used_latents,
)
from lecture_vae.distributions import kl_to_standard_normal
from lecture_vae.likelihoods import squared_error


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def test_kl_per_latent_of_known_gaussians():
    mu = torch.tensor([[0.0, 2.0], [0.0, 0.0]])
    log_var = torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    second = (0.5 * 2.0**2 + 0.5 * (torch.e - 1 - 1)) / 2
    torch.testing.assert_close(kl_per_latent(mu, log_var), torch.tensor([0.0, second]))


@pytest.mark.parametrize("shape", [(50, 3), (50, 4, 4, 4)], ids=["vector", "feature cube"])
def test_kl_per_latent_agrees_with_torch_distributions(shape, generator):
    mu, log_var = torch.randn(2, *shape, generator=generator)
    expected = kl_divergence(Normal(mu, (log_var / 2).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(kl_per_latent(mu, log_var), expected.flatten(1).mean(dim=0))


def test_kl_per_latent_adds_up_to_the_kl_of_the_objective(generator):
    mu, log_var = torch.randn(2, 50, 4, 4, 4, generator=generator)
    total = kl_to_standard_normal(mu, log_var).mean()
    torch.testing.assert_close(kl_per_latent(mu, log_var).sum(), total)


def test_a_collapsed_posterior_has_zero_kl_and_no_active_unit():
    mu, log_var = torch.zeros(2, 20, 2)
    assert kl_per_latent(mu, log_var).tolist() == [0.0, 0.0]
    assert active_units(mu).tolist() == [False, False]


def test_a_latent_with_one_mean_for_all_images_costs_kl_but_is_not_active():
    mu = torch.full((20, 1), 3.0)
    assert kl_per_latent(mu, torch.zeros(20, 1)).item() == 4.5
    assert active_units(mu).tolist() == [False]


def test_active_units_compares_the_variance_over_images_with_the_threshold():
    # +-a in equal numbers has variance a^2, exactly 0.0081, 0.0121 and 4 here.
    mu = torch.tensor([[0.09, 0.11, 2.0], [-0.09, -0.11, -2.0]])
    assert active_units(mu).tolist() == [False, True, True]
    assert active_units(mu, threshold=1.0).tolist() == [False, False, True]


def test_active_units_counts_a_feature_cube_in_flattened_order(generator):
    mu = torch.zeros(10, 2, 2, 2)
    mu[:, 1, 0, 1] = torch.randn(10, generator=generator)
    assert active_units(mu).nonzero().flatten().tolist() == [5]


def test_active_units_refuses_a_single_image():
    with pytest.raises(ValueError, match="at least 2 images, got 1"):
        active_units(torch.zeros(1, 2))


def test_total_variance_of_two_known_images():
    images = torch.zeros(2, 1, 32, 32)
    images[1] = 1.0  # mean image 0.5 everywhere: 1,024 pixels off by 0.5, both times
    assert total_variance(images) == 256.0


def test_total_variance_is_the_mean_squared_error_of_the_mean_image(generator):
    images = torch.rand(40, 1, 32, 32, generator=generator)
    mean_image = images.mean(dim=0, keepdim=True).expand_as(images)
    expected = squared_error(images, mean_image).mean().item()
    assert total_variance(images) == pytest.approx(expected, rel=1e-6)
    # No other constant answer is better.
    other = squared_error(images, mean_image + 0.01).mean().item()
    assert other > expected


def test_principal_variances_of_a_known_cloud():
    """Two directions of known variance, turned into ten dimensions."""
    codes = torch.tensor([[3.0, 0], [-3, 0], [0, 1], [0, -1]], dtype=torch.float64)
    turned, _ = torch.linalg.qr(torch.arange(100.0, dtype=torch.float64).sin().reshape(10, 10))
    images = (codes @ turned[:2] + 0.5).reshape(4, 1, 2, 5)
    found = principal_variances(images)
    assert found.shape == (10,)
    torch.testing.assert_close(found[:2], torch.tensor([4.5, 0.5], dtype=torch.float64))
    assert found[2:].abs().max() < 1e-12
    assert found.sum().item() == pytest.approx(total_variance(images))


def affine_terms(p, variance):
    """Squared error and KL of one direction: mu = b x, log_var = log_s2, x_hat = a z."""
    a, b, log_s2 = p
    error = variance * (1 - a * b) ** 2 + a**2 * np.exp(log_s2)
    return error, (b**2 * variance + np.expm1(log_s2) - log_s2) / 2


@pytest.mark.parametrize("w", [0.1, 1, 5, 8.8, 9, 12.8, 50])
def test_the_optimum_of_an_affine_vae_is_the_least_loss_that_a_search_finds(w):
    variances, total = torch.tensor([6.4, 4.4], dtype=torch.float64), 50.0

    def cost(p, variance):
        error, kl = affine_terms(p, variance)
        return error + w * kl

    starts = [2, 0.3, -2], [0.1, 0.1, 0]
    searched = [
        min(
            (minimize(cost, start, (variance,), tol=1e-12) for start in starts),
            key=lambda result: result.fun,
        )
        for variance in variances.tolist()
    ]
    found = affine_vae_optimum(w, variances, total)
    loss = found.squared_error + w * found.kl.sum().item()
    rest = total - variances.sum().item()
    assert loss == pytest.approx(rest + sum(result.fun for result in searched), abs=1e-6)
    if w not in (8.8, 12.8):  # there the optimum is flat, and a search stops beside it
        errors, kls = zip(
            *map(affine_terms, [result.x for result in searched], variances.tolist()), strict=True
        )
        assert found.squared_error == pytest.approx(rest + sum(errors), abs=1e-3)
        assert found.kl.tolist() == pytest.approx(kls, abs=1e-3)


def test_a_latent_collapses_at_its_weight_and_not_before():
    variances = torch.tensor([6.4, 4.4, 0.0], dtype=torch.float64)
    weights = collapse_weights(variances)
    for latent, weight in enumerate(weights[:2].tolist()):
        assert affine_vae_optimum(weight * (1 - 1e-6), variances, 20.0).kl[latent] > 0
        for above in (weight, weight * 1.5):
            assert affine_vae_optimum(above, variances, 20.0).kl[latent] == 0
    assert affine_vae_optimum(weights[0].item(), variances, 20.0).squared_error == 20.0
    assert affine_vae_optimum(0.1, variances, 20.0).kl[2] == 0  # a direction without variance


@pytest.mark.parametrize("w", [0, -1.0, float("nan")])
def test_without_a_kl_term_an_affine_vae_has_no_optimum(w):
    with pytest.raises(
        ValueError, match=rf"needs a KL weight above 0, got {w}\. Without a KL term"
    ):
        affine_vae_optimum(w, torch.ones(2), 3.0)


def test_two_dimensional_codes_are_their_own_plane():
    codes = np.zeros((2, 3, 2), dtype=np.float16)
    assert principal_plane(codes) is codes


def test_the_principal_plane_holds_the_two_widest_directions():
    rng = np.random.default_rng(0)
    codes = rng.standard_normal((2, 500, 4)) * np.array([0.1, 3.0, 0.2, 7.0])
    plane = principal_plane(codes)
    assert plane.shape == (2, 500, 2)
    # The widest direction comes first; its sign is free.
    assert abs(np.corrcoef(plane[-1, :, 0], codes[-1, :, 3])[0, 1]) > 0.999
    assert abs(np.corrcoef(plane[-1, :, 1], codes[-1, :, 1])[0, 1]) > 0.999


def test_one_principal_plane_serves_all_evaluations():
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(4, 50, 2)) * [3, 1]
    flat[0] = flat[0][:, ::-1]  # the first evaluation is widest in the other direction
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0][:2]  # two orthonormal rows
    shown = principal_plane((flat @ turn + 7).astype(np.float32))
    # A rotation and a shift, the same for all: no distance changes, also between evaluations.
    for a, b in [((0, 0), (3, 7)), ((0, 4), (1, 5)), ((2, 9), (3, 9))]:
        expected = np.linalg.norm(flat[a] - flat[b])
        assert np.linalg.norm(shown[a] - shown[b]) == pytest.approx(expected, abs=1e-4)
    # It is the plane of the last evaluation.
    wide, narrow = shown[-1].var(axis=0)
    assert wide > 4 * narrow


@pytest.mark.parametrize("shape", [(30, 5), (2, 30, 1), (2, 1, 5)])
def test_principal_plane_refuses_what_has_no_plane(shape):
    with pytest.raises(ValueError, match=r"N >= 2 and d >= 2.*Was latent_dim 1"):
        principal_plane(np.zeros(shape))


# ----------------------------------------------------------------------- used latents, the curve

VARIANCES = torch.tensor([6.0, 4.0, 2.5, 1.0], dtype=torch.double)


@pytest.mark.parametrize("weight", [0.0, 1.0, 3.0, 7.0, 9.0, 12.0, 50.0])
def test_the_used_latents_are_those_with_a_kl(weight):
    expected = 4 if weight == 0 else int((affine_vae_optimum(weight, VARIANCES, 20.0).kl > 0).sum())
    assert used_latents(weight, VARIANCES) == expected


def test_along_the_curve_a_nat_of_rate_saves_as_much_distortion_as_the_weight_says():
    weights = [0.5, 1.0, 3.0, 6.0, 9.0]
    for weight in weights:
        near = rate_distortion([weight * 0.999, weight * 1.001], VARIANCES, 20.0)
        slope = (near.distortion[1] - near.distortion[0]) / (near.rate[1] - near.rate[0])
        assert -slope.item() == pytest.approx(weight, rel=1e-5)
    curve = rate_distortion(weights, VARIANCES, 20.0)
    assert (curve.rate.diff() < 0).all()
    assert (curve.distortion.diff() > 0).all()


def test_a_curve_needs_weights_above_zero():
    with pytest.raises(ValueError, match="needs a KL weight above 0, got 0"):
        rate_distortion([1.0, 0.0], VARIANCES, 20.0)
