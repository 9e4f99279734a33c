"""The diagnosis of VAEs whose state is known because it was set by hand."""

import json
import math
from dataclasses import asdict, dataclass, replace

import pytest
import torch
from typer.testing import CliRunner

from lecture_vae import (
    BernoulliPixels,
    GaussianPixels,
    NegativeELBO,
    NegativeIWAE,
    SquaredError,
    TrainConfig,
    bernoulli,
    build_model,
    diagnose_run,
    elbo,
    fetch_run,
    load_images,
    principal_variances,
)
from lecture_vae.cli import app

SHORT = TrainConfig(steps=2, eval_every=1, batch_size=16)


@pytest.fixture(scope="module")
def digits():
    return load_images("digits")


def affine_run(digits, weight, used=2, variance=0.5):
    """The affine VAE in its optimum for S + w KL, but for all latents after the first ``used``."""
    objective = NegativeELBO(weight / (2 * variance), GaussianPixels(variance))
    run = fetch_run("affine-vae", objective, digits, SHORT, store=None)
    flat = digits.train.images.flatten(1).double()
    mean = flat.mean(dim=0)
    lengths, directions = torch.linalg.eigh((flat - mean).T @ (flat - mean) / len(flat))
    lengths, directions = lengths.flip(0)[:2], directions.flip(1)[:, :2]
    keep = torch.arange(2) < used
    v = weight / 2
    scale = torch.where(keep, (lengths - v).clamp(min=0).sqrt(), 0.0)
    W = directions * scale  # [1024, 2]
    precision = 1 + scale.square() / v
    model = build_model("affine-vae").double()
    with torch.no_grad():
        model.to_mu.weight.copy_(W.T / v / precision[:, None])
        model.to_mu.bias.copy_(-model.to_mu.weight @ mean)
        model.to_log_var.value.copy_(-precision.log())
        model.decoder[0].weight.copy_(W)
        model.decoder[0].bias.copy_(mean)
    return replace(run, model=model.float().eval())


@pytest.fixture(scope="module")
def thresholds(digits):
    return 2 * principal_variances(digits.train.images)[:2]


def test_a_weight_above_the_first_threshold_is_the_reason_of_a_collapse(digits, thresholds):
    found = diagnose_run(affine_run(digits, 100.0, used=0), digits, images=50)
    assert found.verdict == "collapsed because w > 2 lambda"
    assert found.first_threshold == pytest.approx(thresholds[0].item())
    assert (found.active_latents, found.predicted_latents) == (0, 0)
    assert found.kl == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("used", [0, 1])
def test_a_latent_that_a_lower_loss_would_use_has_collapsed_although_it_need_not(digits, used):
    found = diagnose_run(affine_run(digits, 1.0, used=used), digits, images=50)
    assert found.verdict == "collapsed although it need not be"
    assert (found.active_latents, found.predicted_latents) == (used, 2)


def test_a_weight_that_does_not_fit_the_errors_is_miscalibrated(digits):
    found = diagnose_run(affine_run(digits, 1.0), digits, images=200)
    assert found.verdict == "miscalibrated"
    assert found.implied_sigma == pytest.approx(math.sqrt(0.5))
    assert found.calibrated_sigma == pytest.approx(math.sqrt(found.squared_error / 1024))
    assert found.calibrated_weight == pytest.approx(2 * found.squared_error / 1024)
    assert f"{found.calibrated_weight:.3g}" in found.reason


def test_the_optimum_of_the_calibrated_weight_is_healthy(digits):
    weight = diagnose_run(affine_run(digits, 0.1), digits, images=None).calibrated_weight
    found = diagnose_run(affine_run(digits, weight), digits, images=200)
    assert found.verdict == "healthy"
    # Its posterior is exact: the three bounds are one, in a linear-Gaussian model.
    assert found.elbo == pytest.approx(found.log_evidence, abs=0.5)
    assert found.iwae_64 == pytest.approx(found.log_evidence, abs=0.5)
    assert found.log_evidence_error < 1
    assert sum(found.kl_per_latent) == pytest.approx(found.kl, rel=1e-4)


def test_the_weight_of_another_variance_is_the_effective_one(digits):
    one, other = (
        diagnose_run(affine_run(digits, 1.0, variance=v), digits, images=50) for v in (0.5, 0.1)
    )
    assert asdict(one) == asdict(other)


def test_the_elbo_is_of_the_variance_that_the_loss_implies(digits):
    run = affine_run(digits, 0.2)
    x = digits.test.images[:50]
    expected = elbo(run.model, x, likelihood=GaussianPixels(0.1)).mean().item()
    assert diagnose_run(run, digits, images=50).elbo == pytest.approx(expected)


def test_bernoulli_pixels_have_no_sigma_and_no_prediction(digits):
    objective = NegativeELBO(likelihood=BernoulliPixels())
    run = fetch_run("linear-vae", objective, digits, SHORT, store=None)
    found = diagnose_run(run, digits, images=20)
    rows = asdict(found)
    for name in ("implied_sigma", "calibrated_sigma", "predicted_latents", "first_threshold"):
        assert rows[name] is None
    assert found.bits_per_dim == pytest.approx(-found.log_evidence / (1024 * math.log(2)))
    assert "The images are gray, though" in found.reason


@dataclass(frozen=True)
class Binarized(NegativeELBO):
    """The ELBO of images that are drawn anew at each step."""

    def inputs(self, x, seed, step):
        return bernoulli(x, seed, step)


def test_the_images_are_those_that_an_evaluation_sees(digits):
    objective = Binarized(likelihood=BernoulliPixels())
    run = fetch_run("linear-vae", objective, digits, SHORT, store=None)
    seen = bernoulli(digits.test.images[:20], 0, 0)
    expected = elbo(run.model, seen, likelihood=BernoulliPixels()).mean().item()
    found = diagnose_run(run, digits, images=20)
    assert found.elbo == pytest.approx(expected)
    assert "gray" not in found.reason


def test_more_latents_have_a_bound_and_no_evidence(digits):
    run = fetch_run("conv-vae", NegativeIWAE(samples=2), digits, SHORT, store=None)
    found = diagnose_run(run, digits, images=20)
    assert found.log_evidence is None
    assert found.elbo < found.iwae_64
    assert len(found.kl_per_latent) == 64
    rows = dict(found.rows())
    assert "log evidence" not in rows and "log evidence error" not in rows
    assert rows["kl per latent"].endswith("and 56 more  (nats)")
    assert rows["iwae 64"] == f"{found.iwae_64:.1f}  (nats per image)"


def test_an_autoencoder_and_a_single_image_are_refused(digits):
    run = fetch_run("linear-ae", SquaredError(), digits, SHORT, store=None)
    with pytest.raises(TypeError, match=r"needs a VAE.*linear-ae gives a Point"):
        diagnose_run(run, digits)
    with pytest.raises(ValueError, match="needs 2 images or more, got 1"):
        diagnose_run(run, digits, images=1)


OWN = '''
import torch
from torch import nn
import lecture_vae as lv


class Offset(nn.Module):
    """A q(z | x) of one latent, from the mean of the image; not a subclass of VAE."""

    latent_shape = noise_shape = (1,)

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def encode(self, x):
        mu = self.scale * x.flatten(1).mean(dim=1, keepdim=True)
        return lv.DiagonalGaussian(mu, torch.zeros_like(mu))

    def decode(self, z):
        return z.sigmoid()[:, :, None, None].expand(-1, 1, 32, 32)


lv.register("offset", Offset)
'''


def test_the_command_diagnoses_an_own_model_and_prints_json(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    own, call = ["--import", str(tmp_path / "own.py")], CliRunner().invoke
    small = ["--data", "digits", "--steps", "4", "--eval-every", "2", "--batch-size", "8"]
    trained = call(app, ["train", "offset", *small, *own, "--json"])
    key = json.loads(trained.stdout.splitlines()[-1])["key"]
    words = ["diagnose", key[:8], "--data", "digits", "--images", "20", *own]
    found = json.loads(call(app, [*words, "--json"]).stdout.splitlines()[-1])
    assert found["run"] == key
    assert found["elbo"] <= found["iwae_64"] <= found["log_evidence"] + 1e-3
    table = call(app, words).stdout
    assert f"verdict                  {found['verdict']}\n" in table
    assert f"{'elbo':24} {found['elbo']:.1f}  (nats per image)\n" in table
    assert found["reason"] in table


def test_the_command_refuses_an_autoencoder_in_one_line():
    call = CliRunner().invoke
    small = ["--data", "digits", "--steps", "4", "--eval-every", "2", "--batch-size", "8"]
    trained = call(app, ["train", "linear-ae", *small, "--json"])
    key = json.loads(trained.stdout.splitlines()[-1])["key"]
    result = call(app, ["diagnose", key, "--data", "digits"])
    assert result.exit_code == 2
    assert "a diagnosis needs a VAE" in result.stderr
    assert len(result.stderr.splitlines()) == 1
