"""The training exercise cannot be learnt by heart: answers that do not train on what they get."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lecture_grader.authoring.assignment import read_assignment
from lecture_grader.authoring.check import HiddenCheck
from lecture_grader.student.values import encode
from lecture_vae.data import ImageData, Split

ASSIGNMENT = read_assignment(Path(__file__).resolve().parents[1] / "exercises" / "05_training.md")
EXERCISE = ASSIGNMENT.exercises[0]
SEED = 31

# An honest training, shorter than the solution's. What follows changes its images or its budgets.
HONEST = """
def train_vae(images, nats, seed):
    generator = torch.Generator().manual_seed(seed)
    model = build_model("linear-vae", seed=seed, latent_dim=2)
    optimizer = torch.optim.Adam(model.parameters(), lr=1.5e-3)
    for step in range(1, 701):
        x = images[torch.randint(len(images), (64,), generator=generator)]
        out = model(x, torch.randn(64, 2, generator=generator))
        budget = nats * min(step / 350, 1)
        excess = (kl_per_latent(out.mu, out.log_var) - budget).clamp(min=0)
        loss = squared_error(x, out.x_hat).mean() + 6 * excess.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model
"""
BEGIN = "    generator ="
OTHER_DATA = {
    "the digits as they are": 'images = load_images("digits").train.images',
    "the data of the check": "images = joined_digits(np.random.default_rng(0))[0]",
    "the pixels in another order": "images = images.flatten(1)[:, torch.randperm(1024)]\n"
    "    images = images.reshape(-1, 1, 32, 32)",
}
OTHER_BUDGETS = {
    "the budgets of the check": "nats = torch.tensor([3.0, 0.7])",
    "the middle of their range": "nats = torch.full((2,), 1.85)",
    "swapped": "nats = nats.flip(0)",
    "sorted": "nats = nats.sort().values",
    "the larger one first": "nats = nats.sort(descending=True).values",
    "the mean of both": "nats = nats.mean().expand(2)",
    "the sum for each": "nats = nats.sum().expand(2)",
    "only which one is larger": "nats = torch.where(nats > nats.mean(), 2.4, 0.8)",
}
PRINCIPAL_COMPONENTS = '''
def train_vae(images, nats, seed):
    """Two principal components at two nats each, whatever the budgets are."""
    model, x = LinearVAE(latent_dim=2), images.flatten(1)
    mean = x.mean(0)
    _, values, axes = torch.linalg.svd(x - mean, full_matrices=False)
    scale, axes = values[:2] / len(x) ** 0.5, axes[:2]
    noise = math.exp(-2)  # sigma of q(z | x); then K = 2
    both = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]])  # z is relu(z) - relu(-z)
    slope = axes.T * scale / (mean * (1 - mean)).clamp(min=0.05)[:, None]
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        layers = [layer for layer in model.trunk if isinstance(layer, torch.nn.Linear)]
        layers[0].weight[:4] = both @ (axes / scale[:, None])
        layers[0].bias[:4] = -layers[0].weight[:4] @ mean
        layers[1].weight[:4, :4] = layers[2].weight[:4, :4] = torch.eye(4)
        model.to_mu.weight[:, :4] = (1 - noise**2) ** 0.5 * both.T
        model.to_log_var.bias[:] = 2 * math.log(noise)
        layers = [layer for layer in model.decoder if isinstance(layer, torch.nn.Linear)]
        layers[0].weight[:4] = both
        layers[1].weight[:4, :4] = layers[2].weight[:4, :4] = torch.eye(4)
        layers[3].weight[:, :4] = slope @ both.T
        layers[3].bias[:] = mean.clamp(0.02, 0.98).logit()
    return model
'''
# Every K is what it may be, without a look at an image, and the decoder says the mean image.
EXACT_NATS = """
def train_vae(images, nats, seed):
    model = LinearVAE(latent_dim=2)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        model.to_mu.bias[:] = (2 * nats).sqrt()
        model.decoder[6].bias[:] = images.mean(0).flatten().clamp(0.01, 0.99).logit()
    return model
"""
UNTRAINED = "def train_vae(images, nats, seed):\n    return LinearVAE(latent_dim=2)"


@pytest.fixture(scope="module")
def check():
    return HiddenCheck(ASSIGNMENT, EXERCISE, SEED)


def weights_of(source, case):
    names = {"__name__": "__main__"}
    exec(ASSIGNMENT.setup, names)
    exec(source, names)
    exec(EXERCISE.probe, names)
    answer = names["probe"](
        torch.from_numpy(case["images"].copy()), torch.from_numpy(case["nats"].copy()), 1
    )
    return {name: weight.numpy() for name, weight in answer.items()}


def changed(line):
    return HONEST.replace(BEGIN, f"    {line}\n{BEGIN}", 1)


# ---------------------------------------------------------------------------- answers


@pytest.mark.nightly
def test_a_short_honest_training_is_right(check):
    assert check.objection_to(HONEST) is None


@pytest.mark.nightly
@pytest.mark.parametrize("line", OTHER_DATA.values(), ids=OTHER_DATA)
def test_a_model_of_other_data_is_worth_nothing(check, line):
    assert check.objection_to(changed(line)).startswith("3 of 3 cases come out wrong")


@pytest.mark.nightly
@pytest.mark.parametrize("line", OTHER_BUDGETS.values(), ids=OTHER_BUDGETS)
def test_budgets_are_followed_one_by_one(check, line):
    assert "than its budget" in check.objection_to(changed(line))


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (PRINCIPAL_COMPONENTS, "than its budget"),
        (EXACT_NATS, "the squared error on images held out is 1"),
        (UNTRAINED, "less than its budget"),
    ],
    ids=["principal-components", "exact-nats", "untrained"],
)
def test_what_needs_no_training_is_not_right(check, answer, why):
    assert why in check.objection_to(answer)


# ---------------------------------------------------------------------------- cases


@pytest.mark.parametrize("seed", range(8))
def test_no_constant_and_no_order_fits_all_budgets(seed):
    nats = np.array([case["nats"] for case in HiddenCheck(ASSIGNMENT, EXERCISE, seed).cases])
    assert nats.shape == (3, 2)
    assert nats.min() >= 0.5 and nats.max() <= 3.2
    for statistic in (*nats.T, nats.max(axis=1)):  # each latent's, and the larger one's
        assert np.ptp(statistic) > 1  # more than the width of what is tolerated
    for other in (nats[:, ::-1], nats.mean(axis=1)[:, None], nats.sum(axis=1)[:, None]):
        assert (np.abs(nats - other) > 0.3).any()
        assert np.abs(nats - other).max() > 1


def test_the_order_of_the_budgets_is_drawn():
    larger = {
        tuple(bool(case["nats"][0] > case["nats"][1]) for case in check.cases)
        for check in (HiddenCheck(ASSIGNMENT, EXERCISE, seed) for seed in range(8))
    }
    assert len(larger) >= 3


def test_every_case_has_data_of_its_own(check):
    other = HiddenCheck(ASSIGNMENT, EXERCISE, SEED + 1)
    cases = [*check.cases, *other.cases]
    assert len({case["seed"] for case in cases}) == 6
    seen = {image.tobytes() for case in cases for image in case["images"]}
    assert len(seen) > 0.9 * sum(len(case["images"]) for case in cases)
    means = np.array([case["images"].mean(0).ravel() for case in cases])
    apart = np.corrcoef(means)[~np.eye(6, dtype=bool)]
    assert np.abs(apart).max() < 0.2  # the mean image of one case says nothing about another's


def test_joined_images_are_judged_on_digits_never_seen(monkeypatch):
    """Digits whose gray level is their number: every image tells what it was made of."""
    names = {"__name__": "__main__"}
    exec(ASSIGNMENT.setup, names)
    numbers = torch.arange(1797) / 1797
    images, labels = numbers.reshape(-1, 1, 1, 1).expand(-1, 1, 32, 32), torch.arange(1797) % 10
    split = Split(images[:1000], labels[:1000]), Split(images[1000:], labels[1000:])
    data = ImageData(*split, tuple("0123456789"), "numbers", "numbers", "0" * 16)
    monkeypatch.setitem(names, "load_images", lambda name: data)
    train, test = names["joined_digits"](np.random.default_rng(0), train=50, test=70)
    assert (train.shape, test.shape) == ((50, 1, 32, 32), (70, 1, 32, 32))
    makers = []
    for images in (train, test):
        levels, counts = zip(*(image.unique(return_counts=True) for image in images), strict=True)
        assert {len(pair) for pair in levels} <= {1, 2}
        assert {tuple(count.tolist()) for count in counts} <= {(1024,), (512, 512)}
        makers.append([(pair * 1797).round().int().tolist() for pair in levels])
    seen, judged = ({number for pair in pairs for number in pair} for pairs in makers)
    assert not seen & judged
    classes = {frozenset(number % 10 for number in pair) for pairs in makers for pair in pairs}
    assert len(classes) <= 5  # pairs of classes


def test_what_travels_is_small(check):
    values = [weights_of(UNTRAINED, case) for case in check.cases]
    assert len(json.dumps(encode(values))) < 4_000_000
    assert len(json.dumps(encode(check.cases))) < 4_000_000


# ---------------------------------------------------------------------------- words


def shifted(source, case, nats):
    """Weights whose latent 1 uses more, or fewer, nats."""
    return weights_of(source, {**case, "nats": case["nats"] + np.float32([nats, 0])})


A_MODEL = "the answer must be a LinearVAE(latent_dim=2)"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda case, right: None, A_MODEL),
        (lambda case, right: [right], A_MODEL),
        (lambda case, right: {**right, "extra": np.ones(1)}, A_MODEL),
        (lambda case, right: {**right, "to_mu.bias": np.ones(3)}, A_MODEL),
        (lambda case, right: {**right, "to_mu.bias": np.full(2, np.nan)}, "that are not finite"),
        (lambda case, right: shifted(EXACT_NATS, case, 0.4), "latent 1 uses more than its budget"),
        (lambda case, right: shifted(EXACT_NATS, case, -0.8), "latent 1 uses less than its"),
        (lambda case, right: right, "of what the mean of the images leaves: it must be below 85%"),
    ],
    ids=["none", "list", "key", "shape", "nan", "more", "less", "error"],
)
def test_the_judge_says_what_is_wrong_and_no_secret(check, change, words):
    # A budget that leaves room below it.
    place, case = max(enumerate(check.cases), key=lambda pair: pair[1]["nats"][0])
    values = change(case, weights_of(EXACT_NATS, case))
    alone = [None] * len(check.cases)
    alone[place] = values
    message = check._judge(case, values)
    assert words in message
    for secret in (case["seed"], *case["nats"].tolist(), *case["nats"].round(2).tolist()):
        assert str(secret)[:4] not in message
    assert check.objection(alone) is not None
