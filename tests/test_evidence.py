"""Evidence by quadrature, its bounds and the aggregate posterior against exact answers.

The referee is a linear-Gaussian model: log p(x) and p(z | x) are known in closed form.
"""

import math
from dataclasses import dataclass

import pytest
import torch
from linear_gaussian import PIXELS, VARIANCE, LinearGaussian
from scipy import integrate
from scipy.optimize import minimize_scalar
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from lecture_vae.aggregate import aggregate_kl, information, log_aggregate
from lecture_vae.bounds import elbo, iwae_bound, posterior_gap
from lecture_vae.calibration import bits_per_dim, calibrated_variance
from lecture_vae.distributions import DiagonalGaussian, log_standard_normal
from lecture_vae.evidence import log_evidence, true_posterior
from lecture_vae.likelihoods import BernoulliPixels, GaussianPixels
from lecture_vae.networks import build_model
from lecture_vae.pairwise import log_normal_pairs, log_prob_pairs
from lecture_vae.quadrature import LatentGrid

PIXEL = GaussianPixels(VARIANCE)


@pytest.fixture
def x():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(5, 1, 32, 32, generator=generator, dtype=torch.double)


def random(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def close(found, expected, nats):
    torch.testing.assert_close(found, expected, atol=nats, rtol=0)


# ----------------------------------------------------------------------------------- the evidence


@pytest.mark.parametrize(("latent_dim", "tilted"), [(1, False), (2, False), (2, True)])
def test_the_evidence_is_exact_within_a_millionth_of_a_nat(x, latent_dim, tilted):
    model = LinearGaussian(latent_dim, tilted=tilted)
    grid = LatentGrid(128, dims=latent_dim)
    found = log_evidence(model, x, likelihood=PIXEL, grid=grid)
    close(found.log_prob, model.log_evidence(x).detach(), 1e-6)
    assert (found.error < 1e-6).all()
    assert (found.edge < 1e-9).all()


@pytest.mark.parametrize("points", [6, 7, 8, 10, 12, 16, 21, 24, 32, 48])
@pytest.mark.parametrize("latent_dim", [1, 2])
def test_the_error_of_a_coarse_grid_is_at_most_what_is_reported(x, latent_dim, points):
    model = LinearGaussian(latent_dim, tilted=latent_dim == 2)
    found = log_evidence(model, x, likelihood=PIXEL, grid=LatentGrid(points, dims=latent_dim))
    actual = (found.log_prob - model.log_evidence(x).detach()).abs()
    assert (actual <= found.error + 1e-9).all()
    assert (found.error < 100).all()  # and the report is a number, not a shrug


def test_a_grid_that_cuts_the_tails_is_reported(x):
    model = LinearGaussian(1)
    far = model.decode(torch.full((1, 1), 4.0, dtype=torch.double)).detach()
    cut, wide = (
        log_evidence(model, far, likelihood=PIXEL, grid=LatentGrid(256, reach, dims=1))
        for reach in (3.4, 6.0)
    )
    assert cut.log_prob < model.log_evidence(far) - 0.05
    assert cut.edge > 1e-4
    assert wide.edge < 1e-9
    close(wide.log_prob, model.log_evidence(far).detach(), 1e-6)


def narrow(latent_dim, length, tilted=False):
    """A referee whose posterior is ``length`` times as narrow, nearly."""
    model = LinearGaussian(latent_dim, tilted=tilted, side=4)
    with torch.no_grad():
        model.W.mul_(length)
    return model


# Standard deviations of the posterior, along the longer row: 0.34, 0.036, 0.006, 0.0024, where the
# cells of the default grid have sides of 0.047.
@pytest.mark.parametrize("length", [1, 10, 60, 150])
@pytest.mark.parametrize(("latent_dim", "tilted"), [(1, False), (2, False), (2, True)])
def test_without_a_grid_narrow_posteriors_are_found_and_the_error_is_at_most_the_report(
    latent_dim, tilted, length
):
    model = narrow(latent_dim, length, tilted)
    z = torch.tensor([[0.0, 0.0], [1.01, -0.52], [-2.777, 0.031], [3.456, 2.1]]).double()
    images = model.decode(z[:, :latent_dim]).detach()
    found = log_evidence(model, images, likelihood=PIXEL)
    actual = (found.log_prob - model.log_evidence(images).detach()).abs()
    assert (actual <= found.error + 1e-6).all()
    assert actual.max() < (1e-3 if length <= 60 else 0.05)
    coarse = log_evidence(model, images, likelihood=PIXEL, grid=LatentGrid(dims=latent_dim))
    refined = coarse.error > 1
    assert refined.any() == (length > 10)
    assert (found.error[refined] < coarse.error[refined]).all()
    assert torch.equal(found.log_prob[~refined], coarse.log_prob[~refined])  # nothing was done


def test_without_a_grid_a_posterior_beyond_it_is_found(x):
    model = narrow(2, 10)
    z = torch.tensor([[6.5, 0.0], [0.0, -7.0], [8.5, 8.5], [1.0, 1.0]]).double()
    images = model.decode(z).detach()
    found = log_evidence(model, images, likelihood=PIXEL)
    close(found.log_prob, model.log_evidence(images).detach(), 1e-3)
    assert (found.edge < 1e-6).all()
    cut = log_evidence(model, images, likelihood=PIXEL, grid=LatentGrid())
    assert (cut.edge > 1e-6).tolist() == [True, True, True, False]
    # Two peaks beyond and inside are refined each on its own grid.
    sharp = narrow(2, 60)
    images = sharp.decode(z).detach()
    found = log_evidence(sharp, images, likelihood=PIXEL)
    close(found.log_prob, sharp.log_evidence(images).detach(), 1e-3)


def test_many_images_are_refined_in_parts_and_stay_in_order():
    model = narrow(1, 60)
    images = model.decode(3 * random(300, 1)).detach()
    found = log_evidence(model, images, likelihood=PIXEL)
    close(found.log_prob, model.log_evidence(images).detach(), 1e-3)


def test_a_second_peak_and_all_of_a_ring_are_found():
    """A decoder that depends on |z|: two peaks, or a ring, in the plane of the latents."""

    class Ring(LinearGaussian):
        def decode(self, z):
            return (z.square().sum(dim=1, keepdim=True) * self.W[:1] + self.b).view(-1, 1, 4, 4)

    for latent_dim in (1, 2):
        model = Ring(latent_dim, side=4)
        with torch.no_grad():
            model.W.mul_(60)
        image = model.decode(torch.full((1, latent_dim), 0.7).double()).detach()
        found = log_evidence(model, image, likelihood=PIXEL)
        fine = LatentGrid(1_500, 2.0, latent_dim)
        whole = log_evidence(model, image, likelihood=PIXEL, grid=fine)
        close(found.log_prob, whole.log_prob, 1e-3)


def test_another_prior_is_another_model(x):
    # z ~ N(0, 4) with W is z ~ N(0, 1) with 2 W.
    model, doubled = LinearGaussian(2), LinearGaussian(2)
    doubled.W.data *= 2

    def wide(z):
        return Normal(0.0, 2.0).log_prob(z).sum(dim=1)

    found = log_evidence(model, x, likelihood=PIXEL, grid=LatentGrid(128, 12.0), log_prior=wide)
    close(found.log_prob, doubled.log_evidence(x).detach(), 1e-6)


def test_the_true_posterior_is_the_known_gaussian(x):
    model, grid = LinearGaussian(2, tilted=True), LatentGrid(64)
    mean, covariance = (part.detach() for part in model.posterior(x))
    expected = torch.stack(
        [MultivariateNormal(m, covariance).log_prob(grid.latents()) for m in mean]
    )
    close(true_posterior(model, x, likelihood=PIXEL, grid=grid), expected, 1e-5)


def test_the_evidence_of_bernoulli_pixels_is_the_sum_over_latents(x):
    model, grid = build_model("linear-vae", seed=1).double().eval(), LatentGrid(8)
    binary = (x > 0.5).double()
    z = grid.latents()
    with torch.no_grad():
        p = model.decode(z)
        log_p = torch.stack(
            [
                torch.where(image == 1, p.log(), (1 - p).log()).flatten(1).sum(dim=1)
                for image in binary
            ]
        )
    expected = (log_p + Normal(0.0, 1.0).log_prob(z).sum(dim=1)).logsumexp(dim=1)
    expected += 2 * math.log(12 / 8)
    close(
        log_evidence(model, binary, likelihood=BernoulliPixels(), grid=grid).log_prob,
        expected,
        1e-9,
    )


@dataclass(frozen=True)
class Tempered(GaussianPixels):
    """A subclass with a density of its own."""

    def log_prob(self, x, parameters):
        return 0.5 * super().log_prob(x, parameters)


@pytest.mark.parametrize("likelihood", [PIXEL, Tempered(0.2), BernoulliPixels()])
def test_pairs_are_what_the_likelihood_says_of_each_pair(likelihood):
    images, parameters = torch.rand(3, 1, 4, 4).double(), random(4, 1, 4, 4)
    pairs = log_prob_pairs(likelihood, images, parameters)
    for n, image in enumerate(images):
        for m, parameter in enumerate(parameters):
            expected = likelihood.log_prob(image[None], parameter[None])[0]
            close(pairs[n, m], expected, 1e-9)


def test_in_float32_the_evidence_is_good_to_a_thousandth_of_a_nat(x):
    model = build_model("linear-vae", seed=1).eval()
    options = {"likelihood": GaussianPixels(0.03), "grid": LatentGrid(64)}
    single = log_evidence(model, x.float(), **options)
    double = log_evidence(model.double(), x, **options)
    close(single.log_prob, double.log_prob, 3e-3)


def test_a_model_keeps_its_mode_and_many_images_are_taken_in_parts(x):
    model = build_model("linear-vae").double().train()
    many = x[:1].expand(2_501, -1, -1, -1)
    found = log_evidence(model, many, grid=LatentGrid(6)).log_prob
    assert model.training
    assert found.shape == (2_501,)
    close(found, found[:1].expand(2_501), 1e-9)


def test_more_latents_and_the_grid_of_another_model_are_refused(x):
    with pytest.raises(ValueError, match=r"1 or 2 latents, and LinearVAE has 3.*iwae_bound"):
        log_evidence(build_model("linear-vae", latent_dim=3), x)
    with pytest.raises(ValueError, match="1 or 2 latents, and ConvVAE has 64"):
        true_posterior(build_model("conv-vae"), x)
    with pytest.raises(ValueError, match=r"2 axes and LinearVAE has 1 latents"):
        log_evidence(build_model("linear-vae", latent_dim=1), x, grid=LatentGrid())


@pytest.mark.parametrize(
    "options", [{"points": 5}, {"points": 0}, {"reach": 0.0}, {"reach": -1.0}, {"dims": 3}]
)
def test_a_senseless_grid_is_refused(options):
    with pytest.raises(ValueError, match="a grid"):
        LatentGrid(**options)


@pytest.mark.parametrize("dims", [1, 2])
def test_the_sublattices_are_the_grid(dims):
    grid = LatentGrid(8, dims=dims)
    parts = torch.cat(grid.sublattices())
    assert {*map(tuple, parts.tolist())} == {*map(tuple, grid.latents().tolist())}
    assert len(grid.edge()) == 8**dims - 6**dims


# ------------------------------------------------------------------------------------- the bounds


@pytest.mark.parametrize(("shift", "stretch"), [(0.2, 1.0), (-0.1, 2.5), (0.0, 0.4)])
def test_elbo_and_gap_are_the_closed_forms_within_their_noise(x, shift, stretch):
    model = LinearGaussian(2, shift, stretch)
    close(elbo(model, x, likelihood=PIXEL, samples=4_000), model.elbo(x).detach(), 0.15)
    gap = posterior_gap(model, x, likelihood=PIXEL, grid=LatentGrid(96), samples=4_000)
    mean, covariance = model.posterior(x)
    q = model.encode(x)
    expected = [
        kl_divergence(MultivariateNormal(m, v.exp().diag()), MultivariateNormal(p, covariance))
        for m, v, p in zip(q.mu, q.log_var, mean, strict=True)
    ]
    close(gap, torch.stack(expected).detach(), 0.15)


def test_elbo_bounds_and_evidence_stand_in_order_for_a_network(x):
    model = build_model("linear-vae", seed=2).double().eval()
    wide = GaussianPixels(0.03)
    exact = log_evidence(model, x, likelihood=wide, grid=LatentGrid(96)).log_prob.mean().item()
    low = elbo(model, x, likelihood=wide, samples=500).mean().item()
    # One bound is noisy: their order is that of the means over the noise, here of 40 copies.
    copies = x.repeat(40, 1, 1, 1)
    means = [
        iwae_bound(model, copies, likelihood=wide, samples=k).mean().item() for k in (2, 8, 50)
    ]
    assert [low, *means, exact] == sorted([low, *means, exact])
    assert exact - low > 0.5


def test_with_the_exact_posterior_the_bound_is_the_evidence(x):
    model = LinearGaussian(2)
    found = iwae_bound(model, x, likelihood=PIXEL, samples=3)
    close(found, model.log_evidence(x).detach(), 1e-6)
    close(iwae_bound(model, x, likelihood=PIXEL, samples=3, seed=9), found, 1e-6)


def test_an_autoencoder_has_no_bound(x):
    for bound in (elbo, iwae_bound, posterior_gap):
        with pytest.raises(TypeError, match="Take a VAE"):
            bound(build_model("linear-ae"), x.float())


# ------------------------------------------------------------------------- the aggregate posterior


def test_pairs_of_normals_are_those_of_torch():
    q = DiagonalGaussian(random(4, 2), random(4, 2, seed=2))
    z = random(6, 2, seed=3)
    expected = Normal(q.mu[:, None], (q.log_var[:, None] / 2).exp()).log_prob(z).sum(dim=2)
    close(log_normal_pairs(q, z), expected, 1e-9)


def test_a_kl_is_information_and_the_aggregates_divergence():
    q = DiagonalGaussian(2 * random(40, 2), random(40, 2, seed=2) - 1)
    grid = LatentGrid(400, reach=12.0)
    log_q_bar = log_aggregate(q, grid.latents())
    log_q = log_normal_pairs(q, grid.latents())
    mutual = ((log_q + grid.log_cell).exp() * (log_q - log_q_bar)).sum(dim=1).mean().item()
    assert information(q, grid) == pytest.approx(mutual, abs=1e-6)
    total = aggregate_kl(q, grid) + information(q, grid)
    assert total == pytest.approx(q.kl().mean().item(), abs=1e-9)


def test_the_aggregates_divergence_of_one_latent_is_scipys_integral():
    q = DiagonalGaussian(random(7, 1), random(7, 1, seed=2) - 1)

    def integrand(z):
        density = log_aggregate(q, torch.tensor([[z]]).double()).exp().item()
        return density * (math.log(density) - log_standard_normal(torch.tensor([[z]])).item())

    expected, _ = integrate.quad(integrand, -8, 8, limit=200)
    assert aggregate_kl(q, LatentGrid(512, 8.0, 1)) == pytest.approx(expected, abs=1e-6)


def test_a_collapsed_posterior_tells_nothing_and_separate_ones_tell_which_image():
    collapsed = DiagonalGaussian(torch.zeros(9, 2), torch.zeros(9, 2))
    assert aggregate_kl(collapsed) == pytest.approx(0, abs=1e-6)
    assert information(collapsed) == pytest.approx(0, abs=1e-6)
    apart = DiagonalGaussian(
        torch.cartesian_prod(*[torch.tensor([-4.0, 0, 4])] * 2), torch.full((9, 2), -3.0)
    )
    assert information(apart) == pytest.approx(math.log(9), abs=1e-6)


@pytest.mark.parametrize(("length", "shift"), [(1, 0.0), (10, 0.0), (60, 0.25)])
def test_the_aggregate_of_exact_posteriors_is_the_product_of_two_known_mixtures(length, shift):
    """The posteriors of a linear-Gaussian model, of images placed by the quantiles of N(0, 1)."""
    model = LinearGaussian(2, shift)
    with torch.no_grad():
        model.W.mul_(length)  # at 60 the standard deviations are 0.006 and 0.015
        line = torch.special.ndtri((torch.arange(12).double() + 0.5) / 12)
        q = model.encode(model.decode(torch.cartesian_prod(line, line)))
    # All pairs of 12 means along the axes, and the same sigma: each axis is by itself.
    z, expected = torch.linspace(-9, 9, 200_001, dtype=torch.double), 0.0
    for axis, means in enumerate((q.mu[::12, 0], q.mu[:12, 1])):
        sigma = (0.5 * q.log_var[0, axis]).exp()
        density = Normal(means[:, None], sigma).log_prob(z).exp().mean(dim=0)
        ratio = torch.xlogy(density, density) - density * Normal(0.0, 1.0).log_prob(z)
        expected += torch.trapezoid(ratio, z).item()
    assert aggregate_kl(q) == pytest.approx(expected, abs=1e-4)
    assert information(q) == pytest.approx(q.kl().mean().item() - expected, abs=1e-4)
    assert information(q) < math.log(144)


@pytest.mark.parametrize("sigma", [1.0, 0.1, 0.01, 0.004])
@pytest.mark.parametrize("latents", [1, 2])
def test_without_a_grid_one_is_taken_that_is_as_fine_and_as_wide_as_the_posteriors(latents, sigma):
    one = DiagonalGaussian(
        torch.full((1, latents), 6.5), torch.full((1, latents), 2 * math.log(sigma))
    )
    assert aggregate_kl(one) == pytest.approx(one.kl().item(), rel=1e-6)
    assert information(one) == pytest.approx(0, abs=1e-4)
    # Neighbors that overlap: what one posterior gains on the other changes within a cell or two.
    two = DiagonalGaussian(
        sigma * torch.tensor([[0.0], [3.3]]).expand(2, latents),
        torch.full((2, latents), 2 * math.log(sigma)),
    )
    z = torch.linspace(-8, 12, 20_001, dtype=torch.double)
    shift = 3.3 * latents**0.5  # along the line through both means
    p = [Normal(mean, 1.0).log_prob(z) for mean in (0.0, shift)]
    mixed = torch.logaddexp(*p) - math.log(2)
    expected = torch.trapezoid(p[0].exp() * (p[0] - mixed), z).item()
    assert information(two) == pytest.approx(expected, abs=2e-4)


def test_a_posterior_too_narrow_for_any_grid_of_a_reasonable_size_is_refused():
    narrow = DiagonalGaussian(torch.ones(1, 2), torch.full((1, 2), -16.0))
    with pytest.raises(ValueError, match=r"at most 4,096 points .* needs 5,974: .* 0\.000335"):
        aggregate_kl(narrow)
    found = aggregate_kl(narrow, LatentGrid(6_000, 1.01))
    assert found == pytest.approx(narrow.kl().item(), rel=1e-6)
    broken = DiagonalGaussian(torch.ones(1, 2), torch.full((1, 2), math.nan))
    with pytest.raises(ValueError, match="needs nan"):
        aggregate_kl(broken)


@pytest.mark.parametrize(("mean", "log_var"), [(0.01, -12.0), (7.0, 0.0)])
def test_a_grid_that_does_not_hold_the_aggregate_is_refused(mean, log_var):
    q = DiagonalGaussian(torch.full((1, 2), mean), torch.full((1, 2), log_var))
    with pytest.raises(ValueError, match=r"must sum to 1 on the grid.*finer or a wider grid"):
        aggregate_kl(q, LatentGrid())


# ------------------------------------------------------------------------------------ calibration


def test_the_calibrated_variance_makes_the_errors_most_likely():
    errors = random(50, PIXELS) * 0.2

    def loss(log_variance):
        return -GaussianPixels(math.exp(log_variance)).log_prob(errors, 0 * errors).mean().item()

    best = minimize_scalar(loss, bounds=(-8, 0), method="bounded", options={"xatol": 1e-7}).x
    found = calibrated_variance(errors.square().sum(dim=1).mean().item())
    assert found == pytest.approx(math.exp(best), rel=1e-5)


@pytest.mark.parametrize("error", [0.0, -1.0, math.nan, math.inf])
def test_a_variance_is_not_fitted_to_no_error(error):
    with pytest.raises(ValueError, match=r"finite and > 0.*copies exactly"):
        calibrated_variance(error)


def test_bits_are_those_of_a_code_for_whole_gray_levels():
    # Pixels with the density 2u on [0, 1]: the probability of level k of 256 is an integral.
    k = torch.arange(256).double()
    p = ((k + 1) ** 2 - k**2) / 256**2
    entropy = -(p * p.log2()).sum().item()
    density = -integrate.quad(lambda u: 2 * u * math.log(2 * u), 0, 1)[0]
    assert bits_per_dim(-density, pixels=1) == pytest.approx(entropy, abs=1e-3)
    assert bits_per_dim(-10 * math.log(2), pixels=10, levels=1) == pytest.approx(1.0)
