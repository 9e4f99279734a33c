"""The VQ-VAE of chapter 10 and the prior of its codes, against what is known exactly."""

import json
import math

import pytest
import torch
from torch.distributions import Categorical, kl_divergence

from lecture_vae import (
    VQVAE,
    CodePrior,
    NegativeELBO,
    QuantizedError,
    SquaredError,
    TrainConfig,
    build_model,
    fetch_run,
    fit_code_prior,
    open_run,
    perplexity,
)
from lecture_vae.losses import OBJECTIVES
from lecture_vae.networks import default_objective

SHORT = TrainConfig(steps=12, batch_size=8, eval_every=4, seed=3)


@pytest.fixture
def model():
    return VQVAE(entries=5)


@pytest.fixture
def x():
    return torch.rand(6, 1, 32, 32, generator=torch.Generator().manual_seed(1))


def test_it_has_a_name_and_an_objective():
    assert isinstance(build_model("vq-vae"), VQVAE)
    assert OBJECTIVES[default_objective("vq-vae")]() == QuantizedError(0.25)


def test_a_code_is_the_number_of_the_nearest_vector(model, x):
    q = model.encode(x)
    for n, row, column in [(0, 0, 0), (3, 1, 2), (5, 3, 3)]:
        distances = (q.encoded[n, :, row, column] - model.codebook).square().sum(dim=1)
        assert q.code[n, row, column] == distances.argmin()
        found = q.quantized[n, :, row, column]
        assert torch.equal(found, model.codebook[distances.argmin()])
    assert torch.equal(q.quantized, model.vectors(q.code))
    torch.testing.assert_close(q.sample(), q.quantized)


def test_the_head_gives_numbers_of_mean_0_and_variance_1_in_training(model, x):
    e = model.encode(x).encoded
    torch.testing.assert_close(e.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(e.var(dim=(0, 2, 3), correction=0), torch.ones(4), atol=1e-2, rtol=0)


def test_each_term_moves_its_own_part(model, x):
    terms = QuantizedError().terms(model, x, torch.zeros(6, 1))
    assert torch.equal(terms["codebook"], terms["commitment"])
    moved = {}
    for name, values in terms.items():
        parts = (model.to_code[0].weight, model.codebook, model.decoder[0].weight)
        found = torch.autograd.grad(values.sum(), parts, retain_graph=True, allow_unused=True)
        moved[name] = [grad is not None and grad.abs().sum().item() > 0 for grad in found]
    assert moved == {
        "squared_error": [True, False, True],
        "codebook": [False, True, False],
        "commitment": [True, False, False],
    }


def test_the_loss_weighs_what_moves_the_encoder_and_not_what_moves_the_codebook(model, x):
    terms = QuantizedError().terms(model, x, torch.zeros(6, 1))
    at = model.to_code[0].weight, model.codebook

    def gradients(loss):
        return torch.autograd.grad(loss, at, retain_graph=True, allow_unused=True)

    encoder, codebook = gradients(QuantizedError(2.0).loss(terms, 1))
    of_error, _ = gradients(terms["squared_error"].mean())
    commitment, _ = gradients(terms["commitment"].mean())
    _, of_codebook = gradients(terms["codebook"].mean())
    torch.testing.assert_close(encoder, of_error + 2.0 * commitment, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(codebook, of_codebook)


def test_the_kl_is_that_of_a_certain_grid_to_the_uniform_prior(model, x):
    certain = Categorical(probs=torch.eye(5)[2])
    uniform = Categorical(probs=torch.full((5,), 0.2))
    each = kl_divergence(certain, uniform)
    torch.testing.assert_close(model.encode(x).kl(), 16 * each.expand(6), rtol=1e-5, atol=0)


@pytest.mark.parametrize("commitment", [-0.1, math.nan, math.inf])
def test_a_senseless_commitment_is_refused(commitment):
    with pytest.raises(ValueError, match="commitment must be a finite number >= 0, got"):
        QuantizedError(commitment)


def test_a_codebook_of_one_is_refused():
    with pytest.raises(ValueError, match="entries must be at least 2, got 1"):
        VQVAE(entries=1)


def test_a_model_without_a_codebook_is_refused(x):
    with pytest.raises(TypeError, match=r"what LinearVAE\.encode returns has none"):
        QuantizedError().terms(build_model("linear-vae"), x, torch.zeros(6, 1, 2))


def test_other_objectives_see_a_point_or_a_constant_kl(model, x):
    eps = torch.zeros(6, 1)
    assert set(SquaredError().terms(model, x, eps)) == {"squared_error"}
    kl = NegativeELBO().terms(model, x, eps)["kl"]
    assert kl.min() == kl.max()


def test_a_run_keeps_whole_numbers_and_opens_again(tiny):
    run = fetch_run("vq-vae", QuantizedError(0.5), tiny, SHORT, device="cpu", entries=5)
    assert run.code.dtype == torch.int32 and run.code.shape == (70, 16)
    assert all(codes.dtype == "int32" for codes in run.history.latents)
    opened = open_run(run.key)
    assert opened.spec.objective == QuantizedError(0.5)
    with torch.no_grad():
        assert torch.equal(opened.model.encode(tiny.test.images).code.flatten(1), run.code.long())


def test_the_command_line_trains_it(call, tmp_path):
    words = ["--data", "digits", "--steps", "4", "--eval-every", "2", "--batch-size", "8"]
    printed = call("train", "vq-vae", *words, "--device", "cpu", "--json").stdout
    figures = json.loads(printed.splitlines()[-1])
    assert figures["objective"] == "quantized-error"
    assert figures["test_kl"] == pytest.approx(16 * math.log(8))


@pytest.fixture
def call(monkeypatch):
    from typer.testing import CliRunner

    from lecture_vae.cli import app

    def run(*words):
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
        return result

    return run


def test_a_perplexity_counts_what_is_in_use():
    assert perplexity(torch.arange(6).repeat(3)) == pytest.approx(6)
    assert perplexity(torch.full((4, 2), 7)) == pytest.approx(1)
    halves = torch.tensor([0, 0, 1, 2])
    assert perplexity(halves) == pytest.approx(2**1.5)
    with pytest.raises(ValueError, match="needs at least one, got none"):
        perplexity(torch.tensor([], dtype=torch.int64))


# ---------------------------------------------------------------------------- the prior


def every_grid(positions: int, entries: int) -> torch.Tensor:
    return torch.cartesian_prod(*[torch.arange(entries)] * positions)


@pytest.mark.parametrize(("positions", "entries"), [(2, 5), (4, 3), (6, 2)])
def test_a_prior_sums_to_1_over_all_grids(positions, entries):
    torch.manual_seed(0)
    prior = CodePrior(positions, entries)
    total = prior.log_prob(every_grid(positions, entries)).double().exp().sum()
    assert total.item() == pytest.approx(1, abs=1e-5)


def test_a_position_sees_the_earlier_ones_and_no_other():
    torch.manual_seed(0)
    prior = CodePrior(5, 3)
    codes = torch.randint(3, (4, 5))
    before = prior.logits(codes)
    for place in range(5):
        changed = codes.clone()
        changed[:, place] = (changed[:, place] + 1) % 3
        differs = (prior.logits(changed) != before).any(dim=2).any(dim=0)
        assert differs.tolist() == [later > place for later in range(5)]


def test_samples_have_the_probabilities_that_log_prob_says():
    torch.manual_seed(0)
    prior = CodePrior(2, 3)
    with torch.no_grad():
        prior.read.mul_(20)  # far from uniform
        expected = prior.log_prob(every_grid(2, 3)).exp()
    drawn = prior.sample(20_000, seed=1)
    found = torch.bincount(drawn[:, 0] * 3 + drawn[:, 1], minlength=9) / 20_000
    torch.testing.assert_close(found, expected, atol=0.015, rtol=0)
    assert expected.max() > 1.5 * expected.min()
    assert torch.equal(prior.sample(5, seed=2), prior.sample(5, seed=2))


def test_a_fitted_prior_finds_what_two_positions_have_in_common():
    codes = torch.tensor([[0, 1], [1, 2], [2, 0]]).repeat(100, 1)
    prior = fit_code_prior(codes, 3, steps=300)
    assert -prior.log_prob(codes).mean().item() == pytest.approx(math.log(3), abs=0.05)


def test_a_prior_is_fitted_to_all_rows():
    codes = torch.tensor([[0, 1], [1, 0]]).repeat_interleave(200, dim=0)
    prior = fit_code_prior(codes, 2, steps=200)
    assert -prior.log_prob(codes).mean().item() == pytest.approx(math.log(2), abs=0.05)


def test_a_prior_follows_from_its_seed_and_leaves_the_rest_as_it_was():
    codes = torch.tensor([[0, 1], [1, 0]]).repeat(20, 1)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        first, other = (fit_code_prior(codes, 2, steps=3, seed=s) for s in (1, 2))
        torch.rand(1)  # the weights do not depend on torch's own generator
        state = torch.random.get_rng_state()
        again = fit_code_prior(codes, 2, steps=3, seed=1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first.read, again.read) and not torch.equal(first.read, other.read)


def test_the_step_size_of_a_prior_falls_in_a_straight_line(monkeypatch):
    step, seen = torch.optim.Adam.step, []

    def noted(self, *arguments):
        seen.append(self.param_groups[0]["lr"])
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.Adam, "step", noted)
    fit_code_prior(torch.tensor([[0, 1]]).repeat(20, 1), 2, steps=4, lr=0.1)
    assert seen == pytest.approx([0.1, 0.075, 0.05, 0.025])


def test_codes_beyond_the_codebook_are_refused():
    with pytest.raises(ValueError, match="from 0 to 2, got 0 to 3"):
        fit_code_prior(torch.tensor([[0, 3]]), 3)
    with pytest.raises(ValueError, match="must be at least 1, got 0, 3 and 16"):
        CodePrior(0, 3)
