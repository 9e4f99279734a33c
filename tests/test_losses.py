import math

import pytest
import torch
from scipy.integrate import quad
from torch.distributions import Independent, Normal, kl_divergence

from lecture_vae.distributions import kl_to_standard_normal
from lecture_vae.likelihoods import squared_error
from lecture_vae.losses import (
    NegativeELBO,
    SquaredError,
    image_sum_kl_weight,
    negative_elbo,
    pixel_mean_kl_weight,
)
from lecture_vae.models import VAEOutput
from lecture_vae.networks import build_model


@pytest.fixture
def q():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(7, 3, generator=generator), torch.randn(7, 3, generator=generator)


@pytest.fixture
def x():
    return torch.rand(5, 1, 32, 32, generator=torch.Generator().manual_seed(1))


def test_the_kl_equals_torch_distributions(q):
    mu, log_var = q
    posterior = Independent(Normal(mu, (0.5 * log_var).exp()), 1)
    prior = Independent(Normal(torch.zeros(3), torch.ones(3)), 1)
    torch.testing.assert_close(kl_to_standard_normal(mu, log_var), kl_divergence(posterior, prior))


@pytest.mark.parametrize(("mu", "log_var"), [(0.0, 0.0), (1.5, -1.0), (-0.3, 0.8), (0.0, -4.0)])
def test_the_kl_equals_quadrature(mu, log_var):
    q = Normal(torch.tensor(mu).double(), torch.tensor(log_var).double().mul(0.5).exp())
    p = Normal(torch.zeros((), dtype=torch.double), torch.ones((), dtype=torch.double))

    def integrand(z):
        z = torch.tensor(z, dtype=torch.double)
        return (q.log_prob(z).exp() * (q.log_prob(z) - p.log_prob(z))).item()

    width = 12 * math.exp(0.5 * log_var)
    expected, _ = quad(integrand, mu - width, mu + width, epsabs=1e-10)
    value = kl_to_standard_normal(torch.tensor([[mu]]).double(), torch.tensor([[log_var]]).double())
    assert value.item() == pytest.approx(expected, abs=1e-8)


def test_the_kl_is_the_mean_log_ratio_of_samples(q):
    mu, log_var = (t[0] for t in q)
    posterior = Normal(mu, (0.5 * log_var).exp())
    torch.manual_seed(0)
    z = posterior.sample((200_000,))
    ratio = (posterior.log_prob(z) - Normal(0.0, 1.0).log_prob(z)).sum(dim=1)
    error = 5 * ratio.std().item() / math.sqrt(len(z))  # five standard errors
    assert kl_to_standard_normal(mu[None], log_var[None]).item() == pytest.approx(
        ratio.mean().item(), abs=error
    )


def test_the_kl_is_zero_exactly_at_the_prior_and_positive_elsewhere(q):
    assert kl_to_standard_normal(torch.zeros(1, 4), torch.zeros(1, 4)).item() == 0.0
    assert (kl_to_standard_normal(*q) > 0).all()


def test_the_kl_keeps_its_digits_near_the_prior():
    # 0.5 (e^v - 1 - v) = v^2/4 + v^3/12 + ...: written with exp, float32 would give 0 here.
    log_var = torch.full((1, 1), 1e-3)
    value = kl_to_standard_normal(torch.zeros(1, 1), log_var).item()
    assert value == pytest.approx(1e-6 / 4 + 1e-9 / 12, rel=1e-3)


def test_the_kl_adds_over_latents_whatever_their_shape(q):
    mu, log_var = (t[:4].reshape(1, 3, 2, 2) for t in q)
    flat = kl_to_standard_normal(mu.flatten(1), log_var.flatten(1))
    each = kl_to_standard_normal(mu.reshape(-1, 1), log_var.reshape(-1, 1))
    assert kl_to_standard_normal(mu, log_var).shape == (1,)
    torch.testing.assert_close(kl_to_standard_normal(mu, log_var), flat)
    torch.testing.assert_close(flat, each.sum(dim=0, keepdim=True))


def test_the_squared_error_is_a_gaussian_log_likelihood_up_to_a_constant(x):
    x_hat = x.flip(0)
    log_p = Normal(x_hat, math.sqrt(0.5)).log_prob(x).flatten(1).sum(dim=1)
    constant = 1024 / 2 * math.log(math.pi)
    torch.testing.assert_close(squared_error(x, x_hat), -log_p - constant, atol=1e-3, rtol=0)


@pytest.mark.parametrize("kl_weight", [0.8, 1.0, 100.0])
def test_the_objective_is_a_negative_elbo_of_decoder_variance_w_over_2(x, q, kl_weight):
    # -ELBO at variance w/2 = (squared error + w KL) / w + a constant that no parameter moves.
    mu, log_var = (t[:5] for t in q)
    losses, elbos = [], []
    for x_hat in (x.flip(0), x.roll(1, 0)):
        out = VAEOutput(x_hat, mu, log_var, mu)
        losses.append(negative_elbo(x, out, kl_weight=kl_weight).item())
        log_p = Normal(x_hat.double(), math.sqrt(kl_weight / 2)).log_prob(x.double())
        elbo = log_p.flatten(1).sum(dim=1) - kl_to_standard_normal(mu, log_var)
        elbos.append(-elbo.mean().item())
    assert (losses[1] - losses[0]) / kl_weight == pytest.approx(elbos[1] - elbos[0], rel=1e-4)


def test_the_two_scales_of_the_loss_are_one_objective(x):
    model, weight = build_model("linear-vae"), 0.7
    out = model(x, torch.zeros(5, 2))
    per_pixel = (x - out.x_hat).square().mean(dim=(1, 2, 3))
    kl = kl_to_standard_normal(out.mu, out.log_var)
    pixel_mean = (per_pixel + pixel_mean_kl_weight(weight) * kl).mean()
    torch.testing.assert_close(negative_elbo(x, out, kl_weight=weight), 1024 * pixel_mean)
    assert image_sum_kl_weight(pixel_mean_kl_weight(weight)) == pytest.approx(weight)
    # The rule of thumb of the original, 1e-4 to 5e-4, in units of the sum:
    assert image_sum_kl_weight(1e-4) == pytest.approx(0.1024)
    assert image_sum_kl_weight(5e-4) == pytest.approx(0.512)


def test_the_negative_elbo_is_the_batch_mean_of_its_terms(x):
    model, eps = build_model("linear-vae"), torch.randn(5, 1, 2)
    out = model(x, eps[:, 0])
    terms = NegativeELBO(3.0).terms(model, x, eps)
    assert set(terms) == {"squared_error", "kl"}
    assert all(values.shape == (5,) for values in terms.values())
    expected = (terms["squared_error"] + 3.0 * terms["kl"]).mean()
    torch.testing.assert_close(negative_elbo(x, out, kl_weight=3.0), expected)
    torch.testing.assert_close(negative_elbo(x, out), NegativeELBO().loss(terms, 1))


def test_an_autoencoder_and_a_vae_share_the_reconstruction_term(x):
    model, eps = build_model("linear-vae"), torch.randn(5, 1, 2)
    terms = [objective.terms(model, x, eps) for objective in (SquaredError(), NegativeELBO())]
    assert torch.equal(terms[0]["squared_error"], terms[1]["squared_error"])


def test_shapes_that_would_broadcast_are_refused(x):
    with pytest.raises(ValueError, match="Is one of them flattened"):
        squared_error(x, x.flatten(1))
    with pytest.raises(ValueError, match=r"got \(2, 3\) and \(2, 1\)"):
        kl_to_standard_normal(torch.zeros(2, 3), torch.zeros(2, 1))


def test_a_kl_of_an_autoencoder_is_refused(x):
    with pytest.raises(TypeError, match="autoencoder gives only a point"):
        NegativeELBO().terms(build_model("linear-ae"), x, torch.zeros(5, 1))


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_a_senseless_kl_weight_is_refused(weight):
    with pytest.raises(ValueError, match="kl_weight must be a finite number >= 0"):
        NegativeELBO(weight)
