"""The importance-weighted bound against closed forms and sums written out by hand.

In a linear-Gaussian model p(x) is a Gaussian with covariance W W' + v I, and where the rows of W
are orthogonal p(z | x) is a diagonal Gaussian: the exact answers are known to the last digit.
"""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from linear_gaussian import VARIANCE, LinearGaussian

from lecture_vae.likelihoods import BernoulliPixels, GaussianPixels
from lecture_vae.losses import NegativeELBO, NegativeIWAE
from lecture_vae.networks import build_model


@pytest.fixture
def x():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(3, 1, 32, 32, generator=generator, dtype=torch.double)


def gaussian_noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.double)


def bound(model, x, eps, likelihood=None):
    """The bound of each image with as many samples as ``eps`` has."""
    objective = NegativeIWAE(eps.shape[1], likelihood or GaussianPixels(VARIANCE))
    with torch.no_grad():
        return -objective.terms(model, x, eps)["negative_iwae"]


def mean_bound(model, x, samples, nodes):
    """The mean of the bound over its noise, by Gauss-Hermite quadrature in each number of it."""
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    numbers = samples * model.noise_shape[0]
    eps = torch.tensor([*itertools.product(points, repeat=numbers)])
    weight = torch.tensor([*itertools.product(weights, repeat=numbers)]).prod(dim=1)
    eps = eps.view(len(eps), samples, -1)
    means = [bound(model, each.expand(len(eps), 1, 32, 32), eps) @ weight for each in x]
    return torch.stack(means) / weight.sum()


# ------------------------------------------------------------------------------- linear Gaussian


@pytest.mark.parametrize("samples", [1, 2, 5, 50])
@pytest.mark.parametrize("latent_dim", [1, 2])
def test_with_the_exact_posterior_every_bound_is_the_evidence(x, latent_dim, samples):
    model = LinearGaussian(latent_dim)
    eps = 3 * gaussian_noise(3, samples, latent_dim)  # whatever the noise
    torch.testing.assert_close(bound(model, x, eps), model.log_evidence(x), atol=1e-6, rtol=0)


@pytest.mark.parametrize("latent_dim", [1, 2])
@pytest.mark.parametrize(("shift", "stretch"), [(0.2, 1.0), (-0.1, 2.5), (0.0, 0.4)])
def test_the_mean_bound_of_one_sample_is_the_elbo(x, latent_dim, shift, stretch):
    # The bound is a quadratic function of one sample's noise, so three nodes are exact.
    model = LinearGaussian(latent_dim, shift, stretch)
    assert (model.elbo(x) < model.log_evidence(x) - 0.05).all()
    mean = mean_bound(model, x, samples=1, nodes=3)
    torch.testing.assert_close(mean, model.elbo(x), atol=1e-6, rtol=0)


def test_the_mean_bound_rises_with_the_samples_towards_the_evidence(x):
    model = LinearGaussian(1, shift=0.3, stretch=1.5)
    means = [mean_bound(model, x, k, nodes) for k, nodes in ((1, 12), (2, 12), (3, 10))]
    for lower, higher in itertools.pairwise([*means, model.log_evidence(x)]):
        assert (higher > lower + 0.02).all()


def test_with_very_many_samples_the_bound_is_close_to_the_evidence(x):
    model = LinearGaussian(1, shift=0.1, stretch=1.5)
    few, many = (bound(model, x, gaussian_noise(3, k, 1)) for k in (1, 1_000))
    gap = (model.log_evidence(x) - few).abs()
    assert (gap > 0.05).all()
    torch.testing.assert_close(many, model.log_evidence(x), atol=0.05, rtol=0)


def test_one_bound_of_many_samples_is_no_less_than_the_mean_of_bounds_of_fewer(x):
    # Jensen's inequality, for any noise: the logarithm of a mean, and the mean of logarithms.
    model, eps = LinearGaussian(2, shift=0.2, stretch=1.5), gaussian_noise(3, 12, 2)
    means = []
    for k in (1, 2, 4, 12):
        parts = [bound(model, x, part) for part in eps.split(k, dim=1)]
        means.append(torch.stack(parts).mean(dim=0))
    for lower, higher in itertools.pairwise(means):
        assert (higher > lower).all()


def test_the_order_of_the_samples_does_not_matter(x):
    model, eps = LinearGaussian(2, shift=0.2), gaussian_noise(3, 6, 2)
    torch.testing.assert_close(bound(model, x, eps), bound(model, x, eps.flip(1)))


def test_each_image_has_its_own_samples(x):
    model, eps = LinearGaussian(2, shift=0.2), gaussian_noise(3, 6, 2)
    alone = [bound(model, x[i : i + 1], eps[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(bound(model, x, eps), torch.cat(alone))


def test_the_mean_of_the_bounds_is_the_loss(x):
    objective, model = NegativeIWAE(4, GaussianPixels(VARIANCE)), LinearGaussian(2, shift=0.2)
    terms = objective.terms(model, x, gaussian_noise(3, 4, 2))
    assert list(terms) == ["negative_iwae"]
    torch.testing.assert_close(objective.loss(terms, 1), terms["negative_iwae"].sum() / 3)


def test_the_gradient_of_the_bound_weighs_samples_by_their_importance(x):
    # d log mean w_k = sum_k (w_k / sum w) d log w_k (Burda et al., 2016, equation 14).
    model, eps = LinearGaussian(1, shift=0.3), gaussian_noise(3, 4, 1)
    objective = NegativeIWAE(4, GaussianPixels(VARIANCE))
    (gradient,) = torch.autograd.grad(
        -objective.terms(model, x, eps)["negative_iwae"].sum(), model.b
    )
    one = replace(objective, samples=1)
    each = torch.stack([-one.terms(model, x, e)["negative_iwae"] for e in eps.split(1, dim=1)])
    weighed = (torch.softmax(each.detach(), dim=0) * each).sum()
    torch.testing.assert_close(gradient, torch.autograd.grad(weighed, model.b)[0])


# -------------------------------------------------------------------------------- written by hand


@pytest.fixture
def vae():
    return build_model("linear-vae", seed=1).double().eval()


def normal_log_density(value, mean, variance):
    return -0.5 * ((value - mean) ** 2 / variance + math.log(2 * math.pi * variance))


@torch.no_grad()
def bound_by_hand(model, x, eps, log_pixel):
    """log (1/K) sum_k p(x | z_k) p(z_k) / q(z_k | x), one number after the other."""
    bounds = []
    for n in range(len(x)):
        q, log_weights = model.encode(x[n : n + 1]), []
        for k in range(eps.shape[1]):
            z, log_weight = [], 0.0
            for mu, log_var, e in zip(
                q.mu[0].tolist(), q.log_var[0].tolist(), eps[n, k].tolist(), strict=True
            ):
                z.append(mu + math.exp(log_var / 2) * e)
                log_weight += normal_log_density(z[-1], 0.0, 1.0)
                log_weight -= normal_log_density(z[-1], mu, math.exp(log_var))
            x_hat = model.decode(torch.tensor([z], dtype=torch.double))
            for pixel, mean in zip(x[n].flatten().tolist(), x_hat.flatten().tolist(), strict=True):
                log_weight += log_pixel(pixel, mean)
            log_weights.append(log_weight)
        largest = max(log_weights)
        total = sum(math.exp(each - largest) for each in log_weights)
        bounds.append(largest + math.log(total / len(log_weights)))
    return torch.tensor(bounds, dtype=torch.double)


@pytest.mark.parametrize("samples", [1, 3])
def test_the_bound_with_bernoulli_pixels_is_the_one_computed_by_hand(vae, x, samples):
    binary, eps = (x > 0.5).double(), gaussian_noise(3, samples, 2)
    by_hand = bound_by_hand(
        vae, binary, eps, lambda pixel, p: pixel * math.log(p) + (1 - pixel) * math.log(1 - p)
    )
    torch.testing.assert_close(
        bound(vae, binary, eps, BernoulliPixels()), by_hand, atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("samples", [1, 3])
def test_the_bound_with_gaussian_pixels_is_the_one_computed_by_hand(vae, x, samples):
    eps = gaussian_noise(3, samples, 2)
    by_hand = bound_by_hand(
        vae, x, eps, lambda pixel, mean: normal_log_density(pixel, mean, VARIANCE)
    )
    torch.testing.assert_close(bound(vae, x, eps), by_hand, atol=1e-6, rtol=0)


@pytest.mark.parametrize("samples", [1, 4])
def test_the_negative_elbo_averages_the_distortion_over_its_samples(vae, x, samples):
    eps = gaussian_noise(3, samples, 2)
    with torch.no_grad():
        terms = NegativeELBO(samples=samples).terms(vae, x, eps)
        q = vae.encode(x)
        for n in range(3):
            total = 0.0
            for k in range(samples):
                z = q.mu[n] + q.log_var[n].mul(0.5).exp() * eps[n, k]
                total += (x[n] - vae.decode(z[None])[0]).square().sum().item()
            assert terms["squared_error"][n].item() == pytest.approx(total / samples, rel=1e-9)
    torch.testing.assert_close(terms["kl"], q.kl())


@pytest.mark.parametrize("variance", [0.1, 0.5, 2.0])
def test_the_loss_of_gaussian_pixels_is_the_error_over_twice_the_variance_and_the_kl(
    vae, x, variance
):
    objective = NegativeELBO(3.0, GaussianPixels(variance))
    terms = objective.terms(vae, x, gaussian_noise(3, 1, 2))
    by_hand = [
        s / (2 * variance) + 3.0 * kl
        for s, kl in zip(terms["squared_error"].tolist(), terms["kl"].tolist(), strict=True)
    ]
    assert objective.loss(terms, 1).item() == pytest.approx(sum(by_hand) / 3, rel=1e-9)


def test_the_negative_elbo_with_bernoulli_pixels_is_in_nats(vae, x):
    # At weight 1 it is -E_q log p(x | z) + KL with nothing left out: minus the ELBO.
    binary, eps = (x > 0.5).double(), gaussian_noise(3, 1, 2)
    objective = NegativeELBO(likelihood=BernoulliPixels())
    with torch.no_grad():
        terms = objective.terms(vae, binary, eps)
        p = vae.decode(vae.encode(binary).sample(eps[:, 0]))
        log_p = torch.where(binary == 1, p.log(), (1 - p).log()).flatten(1).sum(dim=1)
    assert set(terms) == {"cross_entropy", "kl"}
    torch.testing.assert_close(objective.loss(terms, 1), (terms["kl"] - log_p).mean())


# --------------------------------------------------------------------------------------- refusals


def test_a_bound_of_an_autoencoder_is_refused(x):
    with pytest.raises(TypeError, match=r"needs the density of q\(z \| x\).*Take a VAE"):
        NegativeIWAE().terms(build_model("linear-ae"), x.float(), torch.zeros(3, 5))


@pytest.mark.parametrize("kind", [NegativeIWAE, NegativeELBO])
@pytest.mark.parametrize("samples", [0, -1, 2.0, True])
def test_a_senseless_number_of_samples_is_refused(kind, samples):
    with pytest.raises(ValueError, match="samples must be a whole number >= 1, got"):
        kind(samples=samples)
