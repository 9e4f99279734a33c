"""Densities against torch.distributions, and the refusal of what would give a wrong number."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from lecture_vae.distributions import DiagonalGaussian, Point, Posterior, log_standard_normal
from lecture_vae.likelihoods import BernoulliPixels, GaussianPixels, Likelihood
from lecture_vae.models import VAE, Autoencoder
from lecture_vae.networks import AffineVAE, build_model

WITH_SIGMOID = ["linear-ae", "linear-vae", "conv-ae", "conv-vae"]
IMAGE = (1, 32, 32)


@pytest.fixture
def q():
    generator = torch.Generator().manual_seed(0)
    return DiagonalGaussian(
        mu=torch.randn(7, 3, generator=generator).double(),
        log_var=2 * torch.randn(7, 3, generator=generator).double(),
    )


@pytest.fixture
def eps():
    return torch.randn(7, 3, generator=torch.Generator().manual_seed(1)).double()


@pytest.fixture
def x():
    return torch.rand(5, *IMAGE, generator=torch.Generator().manual_seed(2)).double()


def reference(q):
    return Independent(Normal(q.mu, (0.5 * q.log_var).exp()), 1)


# ----------------------------------------------------------------------------------- posteriors


def test_the_log_density_of_a_diagonal_gaussian_equals_torch_distributions(q, eps):
    z = 3 * eps
    torch.testing.assert_close(q.log_prob(z), reference(q).log_prob(z))


def test_the_density_of_a_cube_of_latents_is_that_of_the_flat_vector(eps):
    mu, log_var, z = (t.reshape(1, 3, 7, 1) for t in (eps, eps.flip(0), eps.flip(1)))
    cube = DiagonalGaussian(mu, log_var)
    flat = DiagonalGaussian(mu.flatten(1), log_var.flatten(1))
    assert cube.log_prob(z).shape == (1,)
    torch.testing.assert_close(cube.log_prob(z), reference(flat).log_prob(z.flatten(1)))


def test_a_sample_of_a_diagonal_gaussian_is_as_many_standard_deviations_away_as_its_noise(q, eps):
    z = q.sample(eps)
    torch.testing.assert_close((z - q.mu) / reference(q).base_dist.scale, eps)


def test_the_density_at_a_sample_is_that_of_its_noise_divided_by_the_volume(q, eps):
    # Change of variables: log q(mu + sigma eps) = log N(eps; 0, I) - log sigma, summed.
    expected = log_standard_normal(eps) - 0.5 * q.log_var.sum(dim=1)
    torch.testing.assert_close(q.log_prob(q.sample(eps)), expected)


def test_the_kl_of_a_diagonal_gaussian_equals_torch_distributions(q):
    prior = Independent(Normal(torch.zeros_like(q.mu), torch.ones_like(q.mu)), 1)
    torch.testing.assert_close(q.kl(), kl_divergence(reference(q), prior))


def test_the_code_of_a_diagonal_gaussian_is_its_mean(q):
    assert q.code is q.mu
    assert torch.equal(q.sample(torch.zeros_like(q.mu)), q.code)


def test_a_point_gives_itself_whatever_the_noise(eps):
    point = Point(eps)
    assert point.sample() is point.sample(torch.ones(7)) is point.code is eps


def test_a_point_has_neither_density_nor_kl(eps):
    assert not hasattr(Point(eps), "log_prob") and not hasattr(Point(eps), "kl")


def test_points_and_gaussians_are_posteriors(q, eps):
    assert isinstance(q, Posterior) and isinstance(Point(eps), Posterior)
    assert not isinstance(eps, Posterior)


def test_the_log_density_of_the_prior_equals_torch_distributions(eps):
    z = eps.reshape(7, 3, 1, 1)
    torch.testing.assert_close(log_standard_normal(z), Normal(0, 1).log_prob(eps).sum(dim=1))


@pytest.mark.parametrize("shape", [(7, 1), (3,), (1, 3), (7, 3, 1)])
def test_a_density_at_latents_that_would_broadcast_is_refused(q, shape):
    with pytest.raises(ValueError, match=r"z needs one number for every image and latent"):
        q.log_prob(torch.zeros(shape))


# ------------------------------------------------------------------------------ Gaussian pixels


@pytest.mark.parametrize("variance", [0.01, 0.5, 1.0, 30.0])
def test_the_log_density_of_gaussian_pixels_equals_torch_distributions(x, variance):
    mean = x.flip(0)
    expected = Normal(mean, math.sqrt(variance)).log_prob(x).flatten(1).sum(dim=1)
    torch.testing.assert_close(GaussianPixels(variance).log_prob(x, mean), expected)


@pytest.mark.parametrize("variance", [0.01, 0.5, 30.0])
def test_a_squared_error_in_nats_is_divided_by_twice_the_variance(x, variance):
    pixels, mean = GaussianPixels(variance), x.flip(0)
    error = pixels.distortion(x, mean)
    torch.testing.assert_close(error, (x - mean).square().sum(dim=(1, 2, 3)))
    torch.testing.assert_close(pixels.nats(error), error / (2 * variance))


def test_the_constant_of_gaussian_pixels_is_in_the_log_density_alone(x):
    pixels = GaussianPixels(0.2)
    assert (pixels.nats(pixels.distortion(x, x)) == 0).all()
    constant = 512 * math.log(2 * math.pi * 0.2)
    torch.testing.assert_close(pixels.log_prob(x, x), torch.full((5,), -constant).double())


def test_gaussian_pixels_are_centered_at_what_the_decoder_gives():
    model, z = build_model("linear-vae"), torch.randn(4, 2)
    assert torch.equal(GaussianPixels().parameters(model, z), model.decode(z))


@pytest.mark.parametrize("variance", [0.0, -1.0, math.nan, math.inf])
def test_a_senseless_variance_is_refused(variance):
    with pytest.raises(ValueError, match="variance must be a finite number > 0, got"):
        GaussianPixels(variance)


def test_a_whole_variance_and_a_float_variance_are_one_likelihood():
    assert GaussianPixels(1) == GaussianPixels(1.0)
    assert isinstance(GaussianPixels(1).variance, float)


# ----------------------------------------------------------------------------- Bernoulli pixels


def test_the_log_probability_of_bernoulli_pixels_equals_torch_distributions(x):
    binary, logits = (x > 0.4).double(), 20 * (x.flip(0) - 0.5)
    expected = Bernoulli(logits=logits).log_prob(binary).flatten(1).sum(dim=1)
    torch.testing.assert_close(BernoulliPixels().log_prob(binary, logits), expected)


@pytest.mark.parametrize("logit", [-200.0, 200.0])
def test_extreme_logits_keep_their_exact_log_probability(logit):
    # In float32 the sigmoid of 200 is 1 and that of -200 is 0: their logarithms would be -infinity.
    logits = torch.full((2, *IMAGE), logit)
    binary = torch.stack([torch.zeros(IMAGE), torch.ones(IMAGE)])
    p = torch.sigmoid(logits)
    rounded = (binary * p.log() + (1 - binary) * (1 - p).log())[int(logit < 0)]
    assert torch.isneginf(rounded).any()
    unlikely = -200.0 * 1024
    expected = [unlikely, 0.0] if logit > 0 else [0.0, unlikely]
    assert BernoulliPixels().log_prob(binary, logits).tolist() == expected


def test_the_cross_entropy_of_gray_levels_is_that_of_expected_pixels(x):
    logits = 6 * (x.flip(0) - 0.5)
    p = torch.sigmoid(logits)
    expected = -(x * p.log() + (1 - x) * (1 - p).log()).flatten(1).sum(dim=1)
    torch.testing.assert_close(BernoulliPixels().distortion(x, logits), expected)


def test_a_cross_entropy_counts_nats_already(x):
    pixels, logits = BernoulliPixels(), x.flip(0)
    distortion = pixels.distortion(x, logits)
    assert torch.equal(pixels.nats(distortion), distortion)
    assert torch.equal(pixels.log_prob(x, logits), -distortion)


def test_bernoulli_pixels_take_the_logits_of_the_model():
    model, z = build_model("linear-vae"), torch.randn(4, 2)
    assert torch.equal(BernoulliPixels().parameters(model, z), model.decode_logits(z))


def test_bernoulli_pixels_of_a_model_without_logits_are_refused():
    class Bare(nn.Module):
        def decode(self, z):
            return z

    with pytest.raises(TypeError, match=r"need a model with decode_logits\(z\), and Bare has none"):
        BernoulliPixels().parameters(Bare(), torch.zeros(1, 2))


# ------------------------------------------------------------------------------ both likelihoods


@pytest.mark.parametrize("pixels", [GaussianPixels(), BernoulliPixels()])
def test_pixels_that_would_broadcast_are_refused(x, pixels):
    for other in (x.flatten(1), x[:1], x[:, :, :1]):
        with pytest.raises(ValueError, match=r"must have the same shape.*one of them flattened"):
            pixels.distortion(x, other)
        with pytest.raises(ValueError, match=r"must have the same shape.*one of them flattened"):
            pixels.log_prob(x, other)


@pytest.mark.parametrize("pixels", [GaussianPixels(0.3), BernoulliPixels()])
def test_without_its_constant_the_log_density_is_minus_the_distortion_in_nats(x, pixels):
    # Between two reconstructions of one image the constant cancels.
    one, two = x.flip(0), x.roll(1, 0)
    density = pixels.log_prob(x, one) - pixels.log_prob(x, two)
    nats = pixels.nats(pixels.distortion(x, one)) - pixels.nats(pixels.distortion(x, two))
    torch.testing.assert_close(density, -nats)


def test_the_lectures_likelihoods_are_likelihoods():
    assert isinstance(GaussianPixels(), Likelihood) and isinstance(BernoulliPixels(), Likelihood)
    assert GaussianPixels.term != BernoulliPixels.term


# ---------------------------------------------------------------------------------------- logits


@pytest.mark.parametrize("name", WITH_SIGMOID)
def test_decoding_passes_the_logits_through_the_sigmoid(name):
    model = build_model(name).eval()
    z = 3 * torch.randn(4, *model.latent_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = model.decode_logits(z)
        assert logits.shape == (4, *IMAGE)
        torch.testing.assert_close(torch.sigmoid(logits), model.decode(z))


def test_a_layer_used_twice_and_a_hidden_sigmoid_are_in_the_logits():
    relu = nn.ReLU()
    decoder = nn.Sequential(
        nn.Linear(2, 8), relu, nn.Linear(8, 8), relu, nn.Sigmoid(), nn.Linear(8, 1024),
        nn.Sigmoid(), nn.Unflatten(1, IMAGE),
    )  # fmt: skip
    model, z = Autoencoder(nn.Flatten(), decoder, (2,)), torch.randn(4, 2)
    torch.testing.assert_close(torch.sigmoid(model.decode_logits(z)), model.decode(z))


class Own(nn.Module):
    """A decoder that is no nn.Sequential, though it has one sigmoid."""

    def __init__(self):
        super().__init__()
        self.linear, self.sigmoid = nn.Linear(2, 1024), nn.Sigmoid()

    def forward(self, z):
        return self.sigmoid(self.linear(z)).view(-1, *IMAGE)


@pytest.mark.parametrize(
    "decoder",
    [
        Own(),
        nn.Sequential(nn.Linear(2, 1024), nn.Unflatten(1, IMAGE)),
        nn.Sequential(nn.Linear(2, 8), nn.Sigmoid(), nn.Linear(8, 1024), nn.Unflatten(1, IMAGE)),
        nn.Sequential(nn.Linear(2, 1024), nn.Sigmoid(), nn.Hardtanh(0.1, 0.9)),
        nn.Sequential(nn.Unflatten(1, (1, 2))),
        nn.Sequential(),
    ],
    ids=["own class", "no sigmoid", "hidden sigmoid", "clipped", "reshaping alone", "empty"],
)
@pytest.mark.parametrize("kind", [Autoencoder, VAE])
def test_logits_of_a_decoder_that_ends_otherwise_are_refused_with_what_to_do(decoder, kind):
    parts = [nn.Flatten()] if kind is Autoencoder else [nn.Flatten(), nn.Identity(), nn.Identity()]
    model = kind(*parts, decoder, (2,))
    with pytest.raises(TypeError, match=r"ends in nn\.Sigmoid\(\).*Define decode_logits\(z\)"):
        model.decode_logits(torch.zeros(1, 2))


def test_the_affine_vae_has_no_logits():
    with pytest.raises(TypeError, match=r"ends in nn\.Sigmoid\(\).*Define decode_logits\(z\)"):
        BernoulliPixels().parameters(AffineVAE(), torch.zeros(1, 2))
