import pytest
import torch
from torch import nn

from lecture_vae import MODELS
from lecture_vae.distributions import reparameterize
from lecture_vae.losses import OBJECTIVES
from lecture_vae.models import AEOutput, VAEOutput
from lecture_vae.networks import build_model, default_objective

PARAMETERS = {"linear-ae": 284_226, "linear-vae": 284_292, "conv-ae": 3_793, "conv-vae": 4_089}


@pytest.fixture(params=MODELS)
def name(request):
    return request.param


@pytest.fixture
def x():
    return torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_parameter_counts_are_the_originals(name):
    assert sum(p.numel() for p in build_model(name).parameters()) == PARAMETERS[name]


def test_all_models_share_one_interface(name, x):
    model = build_model(name)
    eps = torch.randn(3, *model.latent_shape)
    out = model(x, eps)
    assert out.x_hat.shape == x.shape
    assert isinstance(out, AEOutput if model.noise_shape == () else VAEOutput)
    model.eval()
    q = model.encode(x)
    assert q.sample(eps).shape == (3, *model.latent_shape)
    assert q.code.shape == q.sample(eps).shape or q.code.dtype == torch.int64
    assert torch.equal(model.decode(q.sample(eps)), model(x, eps).x_hat)
    assert model.decode(eps).shape == x.shape
    assert model.noise_shape in ((), model.latent_shape)


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_mean_image_of_the_lectures_networks_lies_between_0_and_1(name, x):
    model = build_model(name)
    x_hat = model(x, torch.randn(3, *model.latent_shape)).x_hat
    assert x_hat.min() >= 0 and x_hat.max() <= 1


def test_every_parameter_receives_a_gradient(name, x):
    model = build_model(name)
    objective = OBJECTIVES[default_objective(name)]()
    eps = torch.randn(3, 1, *model.noise_shape)
    objective.loss(objective.terms(model, x, eps), 1).backward()
    for parameter, value in model.named_parameters():
        assert value.grad is not None, parameter
        assert value.grad.abs().sum() > 0, parameter


def test_the_linear_vae_has_no_relu_before_its_heads_and_the_autoencoder_has():
    vae, ae = build_model("linear-vae"), build_model("linear-ae")
    assert isinstance(vae.trunk[-1], nn.Linear)
    assert [type(layer) for layer in ae.encoder[-3:]] == [nn.Linear, nn.ReLU, nn.Linear]
    # What it means: where the 64 units are fixed, mu is an affine function of what they send.
    h = torch.randn(2, 64)
    to_mu = nn.Sequential(vae.trunk[-1], vae.to_mu)
    middle = to_mu(h.mean(dim=0, keepdim=True))
    torch.testing.assert_close(middle, to_mu(h).mean(dim=0, keepdim=True))


def test_the_convolutional_encoder_ends_in_relu_before_the_heads():
    assert isinstance(build_model("conv-vae").trunk[-1], nn.ReLU)


def test_decoding_the_sample_gives_the_reconstruction(x):
    model = build_model("linear-vae")
    out = model(x, torch.randn(3, 2))
    torch.testing.assert_close(model.decode(out.z), out.x_hat)


def test_zero_noise_decodes_the_mean(x):
    out = build_model("linear-vae")(x, torch.zeros(3, 2))
    torch.testing.assert_close(out.z, out.mu)


def test_reparameterized_samples_have_the_mean_and_the_variance_of_q():
    mu, log_var = torch.tensor([1.0, -2.0]), torch.tensor([0.0, 2.0])
    eps = torch.randn(200_000, 2, generator=torch.Generator().manual_seed(0))
    z = reparameterize(mu.expand_as(eps), log_var.expand_as(eps), eps)
    torch.testing.assert_close(z.mean(dim=0), mu, atol=0.03, rtol=0)
    torch.testing.assert_close(z.var(dim=0), log_var.exp(), atol=0, rtol=0.02)


def test_one_epsilon_for_the_whole_batch_is_refused(x):
    with pytest.raises(ValueError, match=r"shape \(3, 2\), got \(2,\)"):
        build_model("linear-vae")(x, torch.zeros(2))


@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 1024), (3, 1, 28, 28), (3, 3, 32, 32)])
def test_other_shapes_are_refused(name, shape):
    with pytest.raises(ValueError, match=r"\[B, 1, 32, 32\], got"):
        build_model(name)(torch.zeros(shape))


def test_same_seed_same_weights_and_the_global_generator_is_left_alone(name):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, two = build_model(name, seed=3), build_model(name, seed=3)
    other = build_model(name, seed=4)
    assert torch.equal(torch.rand(1), expected)
    pairs = list(zip(one.parameters(), two.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert not all(torch.equal(a, c) for a, _, c in pairs)


def test_the_size_of_the_latent_is_a_keyword():
    assert build_model("linear-vae", latent_dim=5).latent_shape == (5,)
    assert build_model("conv-ae", latent_channels=2).latent_shape == (2, 4, 4)
    with pytest.raises(ValueError, match="latent_dim must be at least 1, got 0"):
        build_model("linear-ae", latent_dim=0)


def test_an_unknown_model_is_refused_with_the_list():
    with pytest.raises(ValueError, match="'vae'; the models are linear-ae, linear-vae"):
        build_model("vae")
