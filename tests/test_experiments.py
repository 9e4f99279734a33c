"""The experiments: their machinery on a tiny data set, and what the chapters conclude from them."""

import json
import math
import re
from functools import partial
from pathlib import Path

import pytest
import torch

from lecture_book.controls import CONTROL, LAYERS, OwnWeights, conv_vae_with
from lecture_book.experiments import binarized as chapter_9_binarized
from lecture_book.experiments import evidence as chapter_9
from lecture_book.experiments.binarized import MODELS as BINARIZED_MODELS
from lecture_book.experiments.binarized import Inner, binarized
from lecture_book.experiments.codes import code_rates, codes, independent_log_prob
from lecture_book.experiments.collapse import (
    FITTED,
    affine_optimum,
    calibration,
    objective_of,
    remedies,
)
from lecture_book.experiments.evidence import WEIGHTS, aggregate_parts, evidence, gap_parts
from lecture_book.experiments.measuring import SEEDS
from lecture_book.experiments.record import PARTS, write_part
from lecture_book.experiments.training import (
    CONTROLS,
    ON_MNIST,
    early_death,
    locality,
    price_of_order,
)
from lecture_book.published import PUBLISHED, published_vae
from lecture_book.records import experiment_groups, experiment_values
from lecture_vae import (
    MODELS,
    AffineVAE,
    BinarizedELBO,
    DiagonalGaussian,
    GaussianPixels,
    KLWarmUp,
    LatentGrid,
    LinearVAE,
    NegativeELBO,
    RunSpec,
    SquaredError,
    TrainConfig,
    aggregate_kl,
    build_model,
    log_evidence,
    posterior_gap,
)
from lecture_vae.recipe import describe, key_of, with_engine

ROOT = Path(__file__).resolve().parents[1]
RECORD = json.loads((ROOT / "results" / "experiments.json").read_text(encoding="utf8"))

OURS = {CONTROL: conv_vae_with, PUBLISHED: published_vae}
for each in OURS:
    del MODELS._builders[each]  # other tests try every model that there is


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setattr(MODELS, "_builders", MODELS._builders | OURS)


# ---------------------------------------------------------------------------- the controls


@pytest.mark.parametrize("layer", ["none", *LAYERS])
def test_a_control_has_the_weights_of_the_conv_vae_and_its_own_layer(layer):
    base = build_model("conv-vae", seed=3).state_dict()
    control = build_model(CONTROL, seed=3, layer=layer)
    weights = control.state_dict()
    shift = 0 if layer == "none" else 2  # the layer and a ReLU stand before the decoder
    for name, value in base.items():
        first, _, rest = name.partition(".")
        if first == "decoder":
            number, _, last = rest.partition(".")
            name = f"decoder.{int(number) + shift}.{last}"
        assert torch.equal(weights[name], value), name
    assert (len(weights) > len(base)) == (layer != "none")
    assert control(torch.zeros(2, 1, 32, 32)).x_hat.shape == (2, 1, 32, 32)


def reach(layer: torch.nn.Module) -> tuple[int, int]:
    """How many of the 16 positions change if one does, at the least and at the most."""
    cubes = torch.zeros(17, 4, 4, 4)
    for place in range(16):
        cubes[place + 1, :, place // 4, place % 4] = 1.0
    out = layer(cubes)
    changed = ((out[1:] - out[:1]).abs() > 1e-9).any(dim=1).flatten(1)
    reached = changed.sum(dim=1)
    return int(reached.min()), int(reached.max())


@pytest.mark.parametrize(
    ("layer", "positions"),
    [
        ("1x1", (1, 1)),
        ("3x3", (4, 9)),
        ("7x7", (16, 16)),
        ("own weights", (1, 1)),
        ("fully connected", (16, 16)),
    ],
)
def test_a_layer_reaches_as_far_as_the_chapter_says(layer, positions):
    torch.manual_seed(0)
    assert reach(LAYERS[layer]()) == positions


def test_own_weights_know_the_position_and_a_1x1_convolution_does_not():
    torch.manual_seed(0)
    cube = torch.randn(1, 4, 1, 1).expand(1, 4, 4, 4)
    assert LAYERS["1x1"]()(cube).std(dim=(2, 3)).max() < 1e-6
    assert OwnWeights()(cube).std(dim=(2, 3)).min() > 0.01


def test_widths_heads_and_the_last_relu_change_what_they_name():
    def size(part: torch.nn.Module) -> int:
        return sum(weight.numel() for weight in part.parameters())

    base = conv_vae_with()
    assert size(conv_vae_with(encoder_width=4).trunk) > 4 * size(base.trunk)
    assert size(conv_vae_with(encoder_width=4).decoder) == size(base.decoder)
    assert size(conv_vae_with(decoder_width=4).decoder) > 4 * size(base.decoder)
    assert size(conv_vae_with(heads="fully connected").to_mu) == 64 * 65
    x = torch.rand(50, 1, 32, 32)
    assert base.trunk(x).min() == 0
    assert conv_vae_with(last_relu=False).trunk(x).min() < 0


# ---------------------------------------------------------------------------- the machinery


@pytest.fixture
def one_core(monkeypatch):
    """The tiny data cannot be loaded by a child process."""
    monkeypatch.setattr("lecture_vae.runs.cores", lambda: 1)


def test_the_early_death_is_tried_from_random_weights_and_from_those_of_w_6(tiny, one_core):
    rows = early_death(tiny, steps=2, seeds=(0, 1))
    assert [(row["start"], row["kl_weight"], row["seed"]) for row in rows] == [
        ("random", 6, 0), ("random", 7, 0), ("random", 7, 1), ("w6", 7, 0),
    ]  # fmt: skip
    six, cold, _, warm = rows
    assert warm["squared_error"] != cold["squared_error"]
    # Two steps do not lead far away from where the warm start began.
    assert abs(warm["kl"] - six["kl"]) < abs(warm["kl"] - cold["kl"]) + 1
    for row in rows:
        assert row["loss"] == pytest.approx(row["squared_error"] + row["kl_weight"] * row["kl"])
        assert row["loss_at_7"] == pytest.approx(row["squared_error"] + 7 * row["kl"])
        assert sum(row["kl_shares"]) == pytest.approx(row["kl"], rel=1e-4)


def test_the_price_of_order_has_no_kl_for_the_autoencoder(tiny, one_core):
    rows = price_of_order(tiny, steps=2, seeds=(0, 1))
    assert [(row["model"], row["seed"]) for row in rows] == [
        ("linear-ae", 0), ("linear-ae", 1), ("linear-vae", 0), ("linear-vae", 1),
    ]  # fmt: skip
    assert ["kl" in row for row in rows] == [False, False, True, True]
    assert rows[0]["squared_error"] == pytest.approx(rows[0]["squared_error_at_mean"])
    assert rows[2]["squared_error"] != rows[2]["squared_error_at_mean"]


def test_codes_are_counted_in_bits_under_three_priors(tiny, one_core):
    (row,) = codes(tiny, steps=2, seeds=(1,), prior_steps=5)
    assert (row["seed"], row["entries"], row["bits_uniform"]) == (1, 8, 48)
    assert row["nats"] == pytest.approx(row["bits"] * math.log(2))
    assert 1 <= row["perplexity"] <= 8 - row["dead"] and 0 <= row["alone"] <= 1
    assert row["squared_error"] == pytest.approx(row["squared_error_at_mean"])  # nothing is drawn
    rates = code_rates(tiny, steps=2, weights=(0.2, 1.6))
    assert [rate["kl_weight"] for rate in rates] == [0.2, 1.6]
    assert rates[0]["bits"] == pytest.approx(rates[0]["kl"] / math.log(2))


def test_independent_positions_have_the_shares_that_were_counted():
    training, test = torch.tensor([[0, 1], [0, 1], [1, 1]]), torch.tensor([[0, 0]])
    # with one more of each: 3 of 5 and 1 of 5
    found = independent_log_prob(training, test, 2).exp().item()
    assert found == pytest.approx(3 / 5 * 1 / 5)


def test_controls_are_trained_with_every_seed_and_recorded_beside_other_parts(
    tiny, one_core, tmp_path
):
    names = ["ConvVAE", "1x1 convolution", "fully connected, both"]
    rows = locality(tiny, 2, (0, 1), names)
    assert [(row["control"], row["seed"]) for row in rows] == [
        (name, seed) for name in names for seed in (0, 1)
    ]
    path = tmp_path / "results" / "experiments.json"
    path.parent.mkdir()
    write_part("locality_digits", rows, tiny, path)
    write_part("locality_mnist", rows[:1], tiny, path)
    record = json.loads(path.read_text(encoding="utf8"))
    assert list(record) == ["locality_digits", "locality_mnist"]
    assert record["locality_digits"]["rows"] == rows
    values = experiment_values(tmp_path)
    mean = (rows[0]["kl"] + rows[1]["kl"]) / 2
    assert values["locality_digits_convvae_kl"] == f"{mean:.1f}"
    assert values["locality_digits_table"].count("\n") == 4  # header, rule, three rows
    assert "range" not in values["locality_mnist_table"]  # of one seed


def test_each_remedy_is_tried_at_both_weights_and_judged_by_the_plain_loss(tiny, one_core):
    rows = remedies(tiny, steps=2, seeds=(0, 1))
    names = "random start", "KL warm-up", "free bits", "warm start"
    assert [(row["remedy"], row["kl_weight"], row["seed"]) for row in rows] == [
        (name, weight, seed) for weight in (7.0, 14.0) for name in names for seed in (0, 1)
    ]
    assert objective_of("KL warm-up", 7.0, 25_000) == KLWarmUp(7.0, warm_up=10_000)
    for row in rows:
        assert row["loss"] == pytest.approx(row["squared_error"] + row["kl_weight"] * row["kl"])
        assert (row["start_from"] is not None) == (row["remedy"] == "warm start")
    assert len({row["key"] for row in rows}) == len(rows)


def test_a_fitted_weight_is_twice_the_mean_squared_error_of_a_pixel(tiny, one_core):
    plain, fitted = calibration(tiny, steps=2, seeds=(0,))
    assert (plain["kl_weight"], fitted["kl_weight"]) == (1.0, fitted["fitted_weight"])
    # Two steps leave S far above 512: no variance in between is better than the fitted one.
    for row in (plain, fitted):
        assert row["fitted_weight"] == pytest.approx(2 * row["squared_error"] / 1024, rel=0.2)
        assert row["bits_calibrated"] <= row["bits"] + 1e-9
    assert fitted["bits_calibrated"] == fitted["bits"]
    nats = plain["squared_error"] + plain["kl"] + 512 * math.log(math.pi)  # eq-notation-units
    assert plain["bits"] == pytest.approx(8 + nats / (1024 * math.log(2)))


def test_the_affine_vae_is_compared_with_its_closed_form(tiny, one_core):
    (row,) = affine_optimum(tiny, steps=2, seeds=(0,))
    assert len(row["model_variances"]) == 8 and row["worst_percent"] > 20  # after two steps
    assert row["train_squared_error"] + 4 * row["train_kl"] > (
        row["best_squared_error"] + 4 * row["best_kl"]
    )


def test_the_evidence_is_measured_for_both_weights_and_every_seed(tiny, one_core, monkeypatch):
    for name in ("TEST_IMAGES", "GAP_IMAGES", "OTHER_IMAGES"):
        monkeypatch.setattr(chapter_9, name, 4)
    monkeypatch.setattr(chapter_9, "POINTS", 48)
    monkeypatch.setattr(chapter_9, "FINE_POINTS", 256)
    monkeypatch.setattr(chapter_9, "log_evidence", partial(log_evidence, grid=LatentGrid(48)))
    rows = evidence(tiny, steps=2, seeds=(0, 1))
    assert [(row["kl_weight"], row["seed"]) for row in rows] == [
        (weight, seed) for weight in WEIGHTS for seed in (0, 1)
    ]
    for row in rows:
        assert row["elbo"] <= row["iwae_64"] + 0.5 and row["iwae_64"] <= row["log_evidence"] + 0.5
        whole = row["approximation_gap"] + row["amortization_gap"]
        assert whole == pytest.approx(row["log_evidence"] - row["elbo"], rel=0.1, abs=0.5)
        assert row["information"] + row["misfit"] > 0
        assert 0 <= row["hole_price"] <= row["misfit"] + 1e-6
        assert row["others"]["reconstructions"]["above_median"] == 1


def test_binarized_images_are_measured_for_both_networks_and_every_seed(
    tiny, one_core, monkeypatch
):
    monkeypatch.setattr(chapter_9_binarized, "FEW", 10)
    coarse = partial(log_evidence, grid=LatentGrid(48))
    monkeypatch.setattr(chapter_9_binarized, "log_evidence", coarse)
    rows = binarized(tiny, steps=2, seeds=(0, 1))
    assert [(row["control"], row["seed"]) for row in rows] == [
        (name, seed) for name in BINARIZED_MODELS for seed in (0, 1)
    ]
    for row in rows:
        assert row["images"] == 70 / 5
        assert row["elbo"] <= row["iwae_64"] + 0.2 and row["iwae_64"] <= row["log_evidence"] + 0.2
        assert row["padding"] > 50  # after two steps every pixel is a coin
        assert row["constant"] > row["log_evidence"]
    assert rows[0]["constant"] == rows[1]["constant"]  # of the same draw of the same test images
    assert rows[0]["log_evidence"] != rows[1]["log_evidence"]


def test_without_its_padding_an_image_is_the_inner_pixels_of_the_same_latent():
    model, z = LinearVAE(), torch.randn(3, 2)
    logits = Inner(model).decode_logits(z)
    assert torch.equal(logits, model.decode_logits(z)[:, :, 2:30, 2:30])


def test_a_gaussian_posterior_without_tilt_has_no_approximation_gap():
    torch.manual_seed(0)
    model, x = AffineVAE(), torch.rand(3, 1, 32, 32)
    with torch.no_grad():
        weight = next(p for name, p in model.named_parameters() if p.shape == (1024, 2))
        weight[:512, 1] = 0.0  # the two directions share no pixel: the posterior is not tilted
        weight[512:, 0] = 0.0
        weight *= 0.2
    pixels = GaussianPixels()
    approximation, amortization = gap_parts(model, x, pixels, steps=300)
    assert approximation.abs().max() < 0.01
    assert amortization.sum() == pytest.approx(
        posterior_gap(model, x, likelihood=pixels, samples=512).sum().item(), rel=0.1
    )


def test_a_collapsed_aggregate_has_no_holes_and_a_narrow_one_pays_less_than_its_misfit(monkeypatch):
    monkeypatch.setattr(chapter_9, "FINE_POINTS", 256)
    collapsed = DiagonalGaussian(torch.zeros(5, 2), torch.zeros(5, 2))
    parts = aggregate_parts(collapsed)
    assert parts["hole_share"] == 0 and abs(parts["misfit"]) < 1e-6
    narrow = DiagonalGaussian(torch.zeros(5, 2), torch.full((5, 2), -2.0))
    parts = aggregate_parts(narrow)
    assert 0.3 < parts["hole_share"] < 1 and parts["hole_used"] < 0.05
    assert 0 < parts["hole_price"] < parts["misfit"]
    assert parts["misfit"] == pytest.approx(aggregate_kl(narrow), abs=1e-4)


# ---------------------------------------------------------------------------- the record


def test_the_record_has_every_part_and_every_seed():
    assert set(RECORD) == set(PARTS)
    for name, (source, steps, seeds, _) in PARTS.items():
        assert RECORD[name]["data"]["name"] == source
        assert RECORD[name]["budget"]["steps"] == steps
        assert RECORD[name]["budget"]["seeds"] == list(seeds)
    digits, mnist = (
        [(row["control"], row["seed"]) for row in RECORD[f"locality_{data}"]["rows"]]
        for data in ("digits", "mnist")
    )
    assert digits == [(name, seed) for name in CONTROLS for seed in SEEDS]
    assert mnist == [(name, 0) for name in ON_MNIST]


def spec_of_row(part: str, row: dict) -> RunSpec:
    steps = RECORD[part]["budget"]["steps"]
    config = TrainConfig(steps=steps, eval_every=100 if steps == 3_000 else 250, seed=row["seed"])
    objective = NegativeELBO(row["kl_weight"]) if "kl_weight" in row else SquaredError()
    model, keywords = row.get("model", "linear-vae"), {}
    if part == "binarized":
        return RunSpec(model, BinarizedELBO(), config)
    if part == "affine_optimum":
        model, keywords = "affine-vae", {"latent_dim": 8}
    elif part == "calibration":
        objective = objective_of(row["control"], 1.0, steps)
    elif "control" in row:
        model, keywords = CONTROLS[row["control"]]
    start = RECORD[part]["rows"][0]["key"] if row.get("start") == "w6" else None
    return RunSpec(model, objective, config, keywords, start)


@pytest.mark.parametrize("part", PARTS)
def test_the_recorded_experiments_are_of_the_code_that_stands_here(part, tiny):
    content = RECORD[part]
    for row in content["rows"]:
        recipe = with_engine(describe(spec_of_row(part, row), tiny, "cpu"), row["engine"]) | {
            "torch": content["versions"]["torch"].split("+")[0],
            "data": content["data"],
        }
        assert row["key"] == key_of(recipe), (
            f"the code that decides the weights of {row} has changed since it was recorded: run "
            f"`python -m lecture_book.experiments {part}` again"
        )


# ---------------------------------------------------------------------------- what is concluded


def term(part: str, name: str, which: str) -> list[float]:
    """A term of the rows with this name, one for each seed."""
    return [row[which] for row in experiment_groups(RECORD[part]["rows"])[name]]


def mean_of(part: str, name: str, which: str) -> float:
    found = term(part, name, which)
    return sum(found) / len(found)


def test_a_better_model_at_w_7_has_both_latents_in_use_and_no_seed_finds_it():
    six, cold, warm = experiment_groups(RECORD["early_death"]["rows"]).values()
    assert [row["active"] for row in [*six, *cold, *warm]] == [2, 1, 1, 1, 2]
    best_cold = min(row["loss"] for row in cold)
    assert warm[0]["loss"] < six[0]["loss_at_7"] < best_cold
    # The seeds differ by much less than the two ways to start.
    spread = max(row["loss"] for row in cold) - best_cold
    assert best_cold - warm[0]["loss"] > 4 * spread


def test_the_price_of_order_is_small_beside_the_spread_of_the_seeds():
    part, which = "price_of_order", "squared_error_at_mean"
    ae, vae = term(part, "linear-ae", which), term(part, "linear-vae", which)
    price = sum(vae) / 3 - sum(ae) / 3
    assert 0 < price < max(ae) - min(ae)
    assert price < 0.03 * min(ae)
    assert min(vae) < max(ae)  # the ranges overlap


def test_at_w_1_the_vae_is_worse_than_uniform_noise_and_one_fitted_number_mends_it():
    plain, fitted = (
        experiment_groups(RECORD["calibration"]["rows"])[name][0] for name in ("linear VAE", FITTED)
    )
    assert plain["bits"] > 8.5 > 8 > plain["bits_calibrated"] > fitted["bits_calibrated"]
    # Nearly all of the gain is the number, not the training with it.
    gain = plain["bits"] - fitted["bits_calibrated"]
    assert plain["bits"] - plain["bits_calibrated"] > 0.9 * gain
    assert fitted["kl"] > 1.5 * plain["kl"]
    assert fitted["active"] == plain["active"] == 2
    assert fitted["fitted_weight"] < plain["fitted_weight"] < 0.07  # "about 0.06"


def test_a_trained_affine_vae_has_the_variances_of_its_closed_form():
    (row,) = RECORD["affine_optimum"]["rows"]
    assert row["worst_percent"] < 4
    assert row["train_squared_error"] == pytest.approx(row["best_squared_error"], rel=0.005)
    assert row["train_kl"] == pytest.approx(row["best_kl"], rel=0.01)
    # Nearer to the threshold a slope is further from its best value.
    last = abs(row["seventh"] / row["best_seventh"] - 1)
    assert 100 * last > 3 * row["worst_percent"]


DIGITS, MNIST = "locality_digits", "locality_mnist"


@pytest.mark.parametrize(
    "name",
    ["1x1 convolution", "fully connected, heads", "wide encoder", "no ReLU before the heads"],
)
def test_depth_and_the_encoder_are_not_the_reason(name):
    assert mean_of(DIGITS, name, "loss") > mean_of(DIGITS, "ConvVAE", "loss") - 1


def test_a_wider_decoder_gains_less_than_any_longer_reach():
    wide, base = (term(DIGITS, name, "loss") for name in ("wide decoder", "ConvVAE"))
    for name in ("3x3 convolution", "7x7 convolution", "fully connected, decoder"):
        for few, many, control in zip(base, wide, term(DIGITS, name, "loss"), strict=True):
            assert few - many < few - control, name


def test_reach_and_position_both_lower_the_kl_in_every_seed():
    names = ["1x1 convolution", "3x3 convolution", "7x7 convolution", "fully connected, decoder"]
    for seed in range(len(SEEDS)):
        found = [term(DIGITS, name, "kl")[seed] for name in names]
        assert found == sorted(found, reverse=True)
        assert found[2] - found[3] > 3  # "several nats"


def test_position_alone_saves_two_fifths_of_the_kl_and_with_reach_a_little_more():
    without, own, far, both = (
        term(DIGITS, name, "kl")
        for name in (
            "1x1 convolution",
            "own weights",
            "7x7 convolution",
            "fully connected, decoder",
        )
    )
    for seed in range(len(SEEDS)):
        assert 0.37 < 1 - own[seed] / without[seed] < 0.43  # "two fifths"
        assert both[seed] < min(own[seed], far[seed])


def test_with_a_longer_reach_the_loss_falls_on_average():
    names = ["1x1 convolution", "3x3 convolution", "7x7 convolution"]
    losses = [mean_of(DIGITS, name, "loss") for name in names]
    assert losses == sorted(losses, reverse=True)


def test_with_both_the_kl_is_less_than_half_and_no_other_conv_vae_has_so_low_a_loss():
    both = "fully connected, both"
    assert mean_of(DIGITS, both, "kl") < mean_of(DIGITS, "ConvVAE", "kl") / 2
    conv = [name for name, (model, _) in CONTROLS.items() if model != "linear-vae"]
    assert min(conv, key=lambda name: mean_of(DIGITS, name, "loss")) == both


def test_the_number_of_latents_is_not_the_reason():
    few, many = (term(DIGITS, f"linear VAE, {n} latents", "loss") for n in (2, 64))
    assert max(many) < min(few)


def test_on_mnist_the_fully_connected_layers_beat_the_linear_vae_which_beats_the_conv_vae():
    names = ["fully connected, both", "linear VAE, 2 latents", "ConvVAE"]
    losses = [mean_of(MNIST, name, "loss") for name in names]
    assert losses == sorted(losses)
    assert mean_of(MNIST, names[0], "kl") < 0.6 * mean_of(MNIST, "ConvVAE", "kl")


EVIDENCE = RECORD.get("evidence", {}).get("rows", [])


def test_bounds_are_below_the_evidence_and_the_sharp_model_misses_more():
    for row in EVIDENCE:
        assert row["elbo"] < row["iwae_64"] < row["log_evidence"]
        assert row["error"] < 0.5 or row["error"] < (row["log_evidence"] - row["elbo"]) / 5
    gaps = [
        [r["log_evidence"] - r["elbo"] for r in EVIDENCE if r["kl_weight"] == w] for w in WEIGHTS
    ]
    assert max(gaps[0]) < min(gaps[1])


def test_most_of_the_gap_is_amortization_and_holes_are_cheap():
    for row in EVIDENCE:
        if row["kl_weight"] == 1:
            assert row["approximation_gap"] < row["amortization_gap"] / 2
            assert 0.05 < row["hole_share"] < 0.5
            assert row["hole_price"] < row["misfit"] < 1 < row["information"]


BINARIZED = RECORD.get("binarized", {}).get("rows", [])


def test_of_binarized_images_bounds_are_close_and_two_latents_are_far_better_than_none():
    for row in BINARIZED:
        assert row["images"] == 2_000
        assert row["constant"] + 50 < row["elbo"] < row["iwae_64"] < row["log_evidence"] < -120
        assert row["error"] < 0.5 and row["edge"] < 0.1
        assert abs(row["padding"]) < 1e-3  # "costs nothing that can be seen"
        assert -1 < row["gray"] < 0  # gray levels give less, as Jensen says, and not much less
        assert row["log_evidence"] - row["iwae_64"] > 1  # the sum says more than 64 draws


def test_weight_1_loses_against_uniform_gray_and_a_fitted_variance_wins():
    for row in EVIDENCE:
        assert row["bits"] > 8 if row["kl_weight"] == 1 else row["bits"] < 8
        assert row["bits_fitted"] < 8


def test_reconstructions_are_more_probable_than_digits_for_each_seed():
    for row in EVIDENCE:
        others = row["others"]
        assert others["reconstructions"]["above_median"] == 1
        assert others["mean training image"]["above_median"] == 1
        assert others["inverted"]["above_median"] == others["uniform noise"]["above_median"] == 0


def test_an_image_without_ink_scores_like_a_digit_lower_or_higher_by_seed():
    above = [
        row["others"]["all background"]["log_evidence"]
        - row["others"]["test images"]["log_evidence"]
        for row in EVIDENCE
    ]
    assert min(above) < 0 < max(above) and max(map(abs, above)) < 300


def test_the_chapter_types_no_number_of_an_experiment():
    text = (ROOT / "book" / "07_convolutional_vae.md").read_text(encoding="utf8")
    section = text.partition("### Controls")[2].partition("\n## ")[0]
    prose = re.sub(r"```.*?```|\{\{.*?\}\}|\$[^$]*\$|`[^`]*`", "", section, flags=re.DOTALL)
    assert re.findall(r"\d+\.\d+", prose) == []
    assert "{{ locality_digits_table }}" in section
