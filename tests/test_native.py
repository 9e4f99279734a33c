"""Native kernels against PyTorch: the same losses, the same gradients, the same files."""

import copy
import logging
import os
import shlex
import shutil
import stat
import threading
from math import prod
from pathlib import Path
from random import Random

import pytest
import torch
from torch import Tensor, nn

from lecture_vae import (
    VAE,
    Autoencoder,
    BernoulliPixels,
    GaussianPixels,
    NegativeELBO,
    NegativeIWAE,
    RunSpec,
    SquaredError,
    TrainConfig,
    build_model,
    evaluate,
    fetch_run,
    fetch_runs,
    load_images,
    recipe,
    train,
)
from lecture_vae.fetching import Request
from lecture_vae.history import Checkpoint
from lecture_vae.models import Model
from lecture_vae.native import build, engine, modules
from lecture_vae.native.build import NotNativeError, load_kernels, vector_family
from lecture_vae.native.checks import check_batches
from lecture_vae.native.plan import Plan
from lecture_vae.randomness import batches, noise
from lecture_vae.side_by_side import fetch_in_threads

DIGITS = load_images("digits")
COMPILER = shlex.split(os.environ.get("CC") or "cc")[0]
# A machine without a compiler is supported; one whose compiler fails is not.
needs_compiler = pytest.mark.skipif(
    shutil.which(COMPILER) is None or vector_family() is None,
    reason=f"no compiler {COMPILER}, or no vector instructions",
)
OBJECTIVES = [
    SquaredError(),
    NegativeELBO(10.0),
    NegativeELBO(2.0, GaussianPixels(0.1)),
    NegativeELBO(1.0, BernoulliPixels()),
]


def loop_losses(model: Model, objective, steps: int, size: int = 64) -> Tensor:
    """The terms and the loss of each step of today's loop in PyTorch."""
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4, fused=True)
    order = batches(len(DIGITS.train.images), size, seed=0)
    eps = noise((size, 1, *model.noise_shape), seed=0)
    model.train()
    log = []
    for step in range(steps):
        terms = objective.terms(model, DIGITS.train.images[next(order)], next(eps))
        loss = objective.loss(terms, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        log.append(torch.stack([*(t.detach().mean() for t in terms.values()), loss.detach()]))
    return torch.stack(log)


def native_losses(model: Model, objective, steps: int, size: int = 64) -> Tensor:
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4, fused=True)
    order = batches(len(DIGITS.train.images), size, seed=0)
    eps = noise((size, 1, *model.noise_shape), seed=0)
    model.train()
    plan = Plan(model, objective, size)
    return plan.steps(DIGITS.train.images, order, eps, steps, optimizer)


def drift(a: Tensor, b: Tensor) -> float:
    """The largest relative difference."""
    return ((a - b).abs() / b.abs().clamp_min(1e-6)).max().item()


@needs_compiler
@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
@pytest.mark.parametrize("name", ["linear-ae", "linear-vae", "affine-vae"])
def test_200_losses_of_a_linear_model_are_those_of_the_loop(name, objective):
    if name == "linear-ae" and objective != SquaredError():
        pytest.skip("an autoencoder has no KL")
    if name == "affine-vae" and objective == OBJECTIVES[-1]:
        pytest.skip("its decoder has no sigmoid, so that it has no logits")
    ours = native_losses(build_model(name), objective, 200)
    assert drift(ours, loop_losses(build_model(name), objective, 200)) < 2e-6


@needs_compiler
@pytest.mark.parametrize("name", ["conv-ae", "conv-vae"])
def test_200_losses_of_a_convolutional_model_drift_as_far_as_the_loop_from_itself(name):
    objective = SquaredError() if name == "conv-ae" else NegativeELBO(10.0)
    loop = loop_losses(build_model(name), objective, 200)
    ours = native_losses(build_model(name), objective, 200)
    assert drift(ours[:5], loop[:5]) < 1e-6
    shifted = build_model(name)  # the loop again, from weights that differ in the last digit
    with torch.no_grad():
        for parameter in shifted.parameters():
            parameter.mul_(1 + 2**-23)
    assert drift(ours, loop) < 20 * drift(loop_losses(shifted, objective, 200), loop)


def gradients(model: Model, objective, size: int, dtype: torch.dtype) -> list[Tensor]:
    """Of the first batch, by automatic differentiation."""
    model = copy.deepcopy(model).to(dtype).train()
    x = DIGITS.train.images[next(batches(len(DIGITS.train.images), size, seed=0))].to(dtype)
    eps = next(noise((size, 1, *model.noise_shape), seed=0)).to(dtype)
    objective.loss(objective.terms(model, x, eps), 1).backward()
    return [parameter.grad.double() for parameter in model.parameters()]


def check_gradients(model: Model, objective, size: int) -> None:
    """As exact as PyTorch's own in float32 to a digit, both held against float64."""
    exact = gradients(model, objective, size, torch.float64)
    theirs = gradients(model, objective, size, torch.float32)
    native = copy.deepcopy(model).train()
    optimizer = torch.optim.Adam(native.parameters(), lr=1e-9, fused=True)
    order = batches(len(DIGITS.train.images), size, seed=0)
    eps = noise((size, 1, *model.noise_shape), seed=0)
    Plan(native, objective, size).steps(DIGITS.train.images, order, eps, 1, optimizer)
    first_moments = [optimizer.state[p]["exp_avg"] for p in native.parameters()]
    ours = [moment.double() / 0.1 for moment in first_moments]
    whole = torch.cat([grad.flatten() for grad in exact]).norm()

    # A bias before batch normalisation has no gradient: what is computed there is rounding alone.
    real = [bool(grad.norm() > 1e-6 * whole) for grad in exact]
    for found, wanted, is_real in zip(ours, exact, real, strict=True):
        assert is_real or (found - wanted).norm() < 1e-4 * whole

    def differences(found: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        triples = zip(found, exact, real, strict=True)
        return [((a - b).flatten(), b) for a, b, is_real in triples if is_real]

    def errors(found: list[Tensor]) -> list[float]:
        """Of each parameter, relative to its gradient, if that is no mere cancellation."""
        pairs = differences(found)
        return [(diff.norm() / b.norm().clamp_min(1e-3 * whole)).item() for diff, b in pairs]

    def error(found: list[Tensor]) -> float:
        return torch.cat([diff for diff, _ in differences(found)]).norm()

    assert error(ours) <= 8 * error(theirs) + 1e-6 * whole
    assert max(errors(ours)) <= 10 * max(errors(theirs)) + 1e-5
    for own, wanted in zip(native.buffers(), after_one_pass(model, size), strict=True):
        torch.testing.assert_close(own, wanted, rtol=1e-5, atol=1e-6)


def after_one_pass(model: Model, size: int) -> list[Tensor]:
    """The running statistics after a batch in training mode."""
    model = copy.deepcopy(model).train()
    x = DIGITS.train.images[next(batches(len(DIGITS.train.images), size, seed=0))]
    model(x, next(noise((size, 1, *model.noise_shape), seed=0))[:, 0])
    return list(model.buffers())


def conv_layers(chance: Random, shape: tuple[int, ...]) -> tuple[list[nn.Module], tuple[int, ...]]:
    """Up to three convolutions with their norms and activations; the shape that they give."""
    layers: list[nn.Module] = []
    for _ in range(chance.randint(1, 3)):
        kernel = chance.randint(1, 4), chance.randint(1, 4)
        stride = chance.randint(1, 3), chance.randint(1, 3)
        is_same = stride == (1, 1) and chance.random() < 0.5
        kind = nn.Conv2d if is_same or chance.random() < 0.5 else nn.ConvTranspose2d
        layer = kind(
            shape[0],
            chance.randint(1, 9),
            kernel,
            stride=stride,
            padding="same" if is_same else tuple(chance.randint(0, k - 1) for k in kernel),
            bias=chance.random() < 0.5,
        )
        try:
            new = tuple(layer(torch.zeros(1, *shape)).shape[1:])
        except RuntimeError:  # larger than the map
            continue
        if max(new[1:]) > 40:
            continue
        layers.append(layer)
        shape = new
        for _ in range(chance.randint(0, 3)):
            more = [nn.BatchNorm2d(shape[0]), nn.ReLU(), nn.Sigmoid(), nn.Identity()]
            layers.append(chance.choice(more))
    return layers, shape


def random_model(chance: Random) -> Model:
    torch.manual_seed(chance.randint(0, 99))
    trunk, shape = conv_layers(chance, (1, 32, 32)) if chance.random() < 0.7 else ([], (1, 32, 32))
    width, latent = chance.randint(1, 40), chance.randint(1, 5)
    trunk += [nn.Flatten(), nn.Linear(prod(shape), width, bias=chance.random() < 0.5)]
    trunk += [chance.choice([nn.ReLU(), nn.Sigmoid()]) for _ in range(chance.randint(0, 2))]
    decoder: list[nn.Module] = [nn.Linear(latent, 32), nn.ReLU()]
    if chance.random() < 0.7:  # convolutions from maps of 4 x 8, then a linear layer to the pixels
        more, shape = conv_layers(chance, (1, 4, 8))
        decoder += [nn.Unflatten(1, (1, 4, 8)), *more, nn.Flatten(), nn.Linear(prod(shape), 1024)]
    else:
        decoder += [nn.Linear(32, 1024)]
    to_images = nn.Sequential(*decoder, nn.Sigmoid(), nn.Unflatten(1, (1, 32, 32)))
    if chance.random() < 0.3:
        trunk.append(nn.Linear(width, latent))
        return Autoencoder(nn.Sequential(*trunk), to_images, (latent,))
    heads = nn.Linear(width, latent), nn.Linear(width, latent)
    return VAE(nn.Sequential(*trunk), *heads, to_images, (latent,))


@needs_compiler
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("seed", range(40))
def test_gradients_of_any_layers_are_those_of_automatic_differentiation(seed):
    chance = Random(seed)
    model, size = random_model(chance), chance.choice([16, 48, 64])
    objective = chance.choice(OBJECTIVES[1:]) if isinstance(model, VAE) else SquaredError()
    check_gradients(model, objective, size)


@needs_compiler
@pytest.mark.parametrize("warm", [0, 100])
@pytest.mark.parametrize("name", ["linear-ae", "linear-vae", "affine-vae", "conv-ae", "conv-vae"])
def test_gradients_of_the_lectures_models_are_exact(name, warm):
    objective = NegativeELBO(10.0) if name.endswith("vae") else SquaredError()
    model = build_model(name)
    if warm:
        native_losses(model, objective, warm)
    check_gradients(model, objective, 64)


@needs_compiler
@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
@pytest.mark.parametrize("name", ["linear-vae", "conv-vae"])
@pytest.mark.parametrize("count", [1, 64, 147])
def test_an_evaluation_is_that_of_pytorch(name, objective, count):
    model = build_model(name)
    native_losses(model, objective, 20)  # running statistics of their own
    images = DIGITS.test.images[:count]
    theirs = evaluate(model, objective, images)
    ours = evaluate(model, objective, images, plan=Plan(model, objective, 64))
    assert list(ours.terms) == list(theirs.terms)
    assert [*ours.terms.values(), ours.loss] == pytest.approx(
        [*theirs.terms.values(), theirs.loss], rel=1e-6
    )
    torch.testing.assert_close(ours.code, theirs.code, rtol=1e-5, atol=1e-6)


def weights(model: Model) -> list[Tensor]:
    return [value.clone() for value in model.state_dict().values()]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@needs_compiler
@pytest.mark.parametrize("name", ["linear-vae", "conv-vae"])
def test_resuming_and_evaluating_more_often_change_no_bit(name):
    config = TrainConfig(steps=130, eval_every=130)
    whole = build_model(name)
    history = train(whole, NegativeELBO(), DIGITS, config, device="cpu", engine="native")
    often = build_model(name)
    frequent = TrainConfig(steps=130, eval_every=13)
    train(often, NegativeELBO(), DIGITS, frequent, device="cpu", engine="native")
    assert same(weights(whole), weights(often))
    kept: list[Checkpoint] = []
    train(
        build_model(name), NegativeELBO(), DIGITS, TrainConfig(steps=39, eval_every=13),
        device="cpu", engine="native",
        on_evaluate=lambda state: kept.append(copy.deepcopy(state)),
    )  # fmt: skip
    resumed = build_model(name, seed=5)
    again = train(
        resumed, NegativeELBO(), DIGITS, frequent, device="cpu", engine="native", resume=kept[-1]
    )
    assert same(weights(whole), weights(resumed))
    assert again.rows[-1]["test_loss"] == history.rows[-1]["test_loss"]


@needs_compiler
def test_a_checkpoint_has_the_format_of_the_loop_and_either_engine_goes_on_from_it():
    kept: dict[str, Checkpoint] = {}
    config = TrainConfig(steps=20, eval_every=20)
    for name in ("torch", "native"):
        train(
            build_model("conv-vae"), NegativeELBO(), DIGITS, config, device="cpu", engine=name,
            on_evaluate=lambda state, name=name: kept.update({name: copy.deepcopy(state)}),
        )  # fmt: skip
    torchs, natives = kept["torch"], kept["native"]
    assert list(natives.model) == list(torchs.model)
    assert natives.model["trunk.1.num_batches_tracked"] == 20
    assert natives.optimizer["param_groups"] == torchs.optimizer["param_groups"]
    for number, moments in torchs.optimizer["state"].items():
        own = natives.optimizer["state"][number]
        assert {k: (v.shape, v.dtype) for k, v in own.items()} == {
            k: (v.shape, v.dtype) for k, v in moments.items()
        }
        assert own["step"] == moments["step"]
    more = TrainConfig(steps=40, eval_every=20)
    losses = [
        train(
            build_model("conv-vae"), NegativeELBO(), DIGITS, more, device="cpu", engine=name,
            resume=copy.deepcopy(kept[other]),
        ).rows[-1]["test_loss"]
        for name, other in (("torch", "native"), ("native", "torch"), ("torch", "torch"))
    ]  # fmt: skip
    assert losses == pytest.approx([losses[-1]] * 3, rel=1e-3)


@needs_compiler
def test_two_threads_at_once_change_no_bit():
    def trained(seed: int, into: dict[int, list[Tensor]]) -> None:
        model = build_model("conv-vae", seed=seed)
        config = TrainConfig(steps=60, eval_every=20, seed=seed)
        train(model, NegativeELBO(), DIGITS, config, device="cpu", engine="native")
        into[seed] = weights(model)

    alone: dict[int, list[Tensor]] = {}
    together: dict[int, list[Tensor]] = {}
    for seed in (1, 2):
        trained(seed, alone)
    threads = [threading.Thread(target=trained, args=(seed, together)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(same(alone[seed], together[seed]) for seed in (1, 2))


def test_models_built_in_two_threads_draw_their_own_weights():
    wanted = {seed: weights(build_model("linear-vae", seed=seed)) for seed in range(2)}
    wrong: list[int] = []

    def build_often(seed: int) -> None:
        for _ in range(40):
            if not same(weights(build_model("linear-vae", seed=seed)), wanted[seed]):
                wrong.append(seed)

    threads = [threading.Thread(target=build_often, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@needs_compiler
@pytest.mark.parametrize("name", ["linear-vae", "conv-vae"])
def test_a_loss_that_is_not_finite_is_reported_as_by_the_loop(name):
    told = []
    for which in ("torch", "native"):
        config = TrainConfig(steps=40, eval_every=40, lr=1e4)
        with pytest.raises(FloatingPointError) as error:
            train(build_model(name), NegativeELBO(), DIGITS, config, device="cpu", engine=which)
        told.append(str(error.value).split(" is ")[0])
    assert told[0] == told[1]


class OwnDecode(Autoencoder):
    def decode(self, z: Tensor) -> Tensor:
        return super().decode(z) / 2


def small(*layers: nn.Module, kind: type = Autoencoder) -> Model:
    """An autoencoder that begins with these layers."""
    size = nn.Sequential(*layers)(DIGITS.test.images[:16])[0].numel()
    encoder = nn.Sequential(*layers, nn.Flatten(), nn.Linear(size, 2))
    to_images = nn.Sequential(nn.Linear(2, 1024), nn.Sigmoid(), nn.Unflatten(1, (1, 32, 32)))
    return kind(encoder, to_images, (2,))


def frozen() -> Model:
    model = build_model("linear-ae")
    next(model.parameters()).requires_grad_(False)
    return model


def hooked() -> Model:
    model = build_model("linear-ae")
    model.encoder[1].register_forward_hook(lambda *_: None)
    return model


def clipped() -> Model:
    model = build_model("linear-ae")
    next(model.parameters()).register_hook(lambda grad: grad.clamp(-1, 1))
    return model


def own_forward() -> Model:
    model = build_model("linear-ae")
    model.encoder[1].forward = lambda x: x
    return model


def made_of_heads(to_mu: nn.Module, *, nested: bool = False) -> Model:
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(1024, 8))
    decoder = [nn.Linear(2, 1024), nn.Sigmoid()]
    first = [nn.Sequential(*decoder)] if nested else decoder
    to_images = nn.Sequential(*first, nn.Unflatten(1, (1, 32, 32)))
    return VAE(trunk, to_mu, nn.Linear(8, 2), to_images, (2,))


def tied() -> Model:
    model = build_model("linear-ae")
    model.decoder[0].weight = nn.Parameter(model.encoder[-1].weight.T.contiguous())
    model.decoder[2].bias = model.encoder[3].bias
    return model


REFUSED = {
    "a batch size": (lambda: build_model("linear-ae"), SquaredError(), 50, "of 16, got 50"),
    "an objective": (lambda: build_model("linear-vae"), NegativeIWAE(), 64, "NegativeIWAE"),
    "samples": (lambda: build_model("linear-vae"), NegativeELBO(samples=2), 64, "not for 2"),
    "no q": (lambda: build_model("linear-ae"), NegativeELBO(), 64, "LinearAE gives no q"),
    "a layer": (lambda: small(nn.MaxPool2d(2)), SquaredError(), 64, r"MaxPool2d\(kernel"),
    "dropout": (lambda: small(nn.Dropout(0.1)), SquaredError(), 64, r"Dropout\(p=0.1"),
    "groups": (
        lambda: small(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 1, groups=2)),
        SquaredError(), 64, "groups=2",
    ),
    "dilation": (
        lambda: small(nn.Conv2d(1, 2, 3, dilation=2)), SquaredError(), 64, "dilation",
    ),
    "momentum": (
        lambda: small(nn.BatchNorm2d(1, momentum=None)), SquaredError(), 64, "momentum=None",
    ),
    "a method": (lambda: small(kind=OwnDecode), SquaredError(), 64, "OwnDecode has a method"),
    "a hook": (hooked, SquaredError(), 64, "hook on Linear"),
    "a hook on a parameter": (clipped, SquaredError(), 64, "hook on a parameter"),
    "a method of a layer": (own_forward, SquaredError(), 64, "Linear has a method forward"),
    "in place, where others read": (
        lambda: made_of_heads(nn.Sequential(nn.ReLU(inplace=True), nn.Linear(8, 2))),
        NegativeELBO(), 64, "inplace=True",
    ),
    "a sigmoid inside": (
        lambda: made_of_heads(nn.Linear(8, 2), nested=True), OBJECTIVES[-1], 64, "in a sigmoid",
    ),
    "a frozen parameter": (frozen, SquaredError(), 64, "frozen"),
    "a shared parameter": (tied, SquaredError(), 64, "share"),
    "double": (lambda: build_model("linear-ae").double(), SquaredError(), 64, "float32"),
    "no sigmoid": (
        lambda: build_model("affine-vae"), OBJECTIVES[-1], 64, "sigmoid",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_has_no_kernel_is_named(what):
    build_it, objective, size, said = REFUSED[what]
    with pytest.raises(NotNativeError, match=said):
        Plan(build_it(), objective, size)
    cpu = torch.device("cpu")
    with pytest.raises(NotNativeError, match=f"native training is not possible: .*{said}"):
        engine.plan_for(build_it(), objective, size, cpu, "native")
    assert engine.plan_for(build_it(), objective, size, cpu, "auto") is None


@needs_compiler
@pytest.mark.parametrize(
    "register",
    [
        "register_module_forward_pre_hook", "register_module_forward_hook",
        "register_module_full_backward_pre_hook", "register_module_full_backward_hook",
    ],
)  # fmt: skip
def test_a_hook_on_all_modules_leaves_the_training_to_torch(register):
    handle = getattr(nn.modules.module, register)(lambda *_: None)
    try:
        with pytest.raises(NotNativeError, match="there is a hook on all modules"):
            Plan(build_model("linear-ae"), SquaredError(), 64)
    finally:
        handle.remove()
    Plan(build_model("linear-ae"), SquaredError(), 64)


@needs_compiler
def test_a_moment_that_decays_to_nothing_does_not_slow_the_steps_and_changes_no_setting():
    # Where gradients have become zero Adam's moments decay through numbers below 1e-38, which a
    # processor is slow with: they count as zero, in the kernels alone.
    model = build_model("linear-ae")
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4, fused=True)
    plan = Plan(model.train(), SquaredError(), 64)
    images = torch.zeros(64, 1, 32, 32)  # the first weights have no gradient
    order, eps = iter([torch.arange(64)] * 3), iter([torch.zeros(64, 1)] * 3)
    plan.steps(images, order, eps, 1, optimizer)
    moments = optimizer.state[next(model.parameters())]
    moments["exp_avg"].fill_(1e-39)
    plan.steps(images, order, eps, 1, optimizer)
    if vector_family() != "neon":
        assert moments["exp_avg"].count_nonzero() == 0
    assert torch.tensor(1e-39).mul(0.5).item() > 0  # here they are numbers still


def test_what_batches_hold_is_checked_before_an_address_is_used():
    index, eps = torch.zeros(2, 16, dtype=torch.long), torch.zeros(2, 16, 1, 3)
    check_batches(index, eps, 1, (2, 16), 3)
    for wrong in (index + 1, index - 1, index.int(), index[:1]):
        with pytest.raises(ValueError, match="a batch names 16 of 1 images"):
            check_batches(wrong, eps, 1, (2, 16), 3)
    for wrong in (eps.double(), eps[:, :, :, :2]):
        with pytest.raises(ValueError, match=r"the noise of a batch is float32 \[16, 1, 3\]"):
            check_batches(index, wrong, 1, (2, 16), 3)


def test_the_kernels_read_no_images_of_another_shape_or_type():
    if shutil.which(COMPILER) is None or vector_family() is None:
        pytest.skip("no compiler")
    plan = Plan(build_model("linear-ae"), SquaredError(), 16)
    for images in (torch.zeros(4, 1, 28, 28), torch.zeros(4, 1024), DIGITS.test.images.double()):
        with pytest.raises(ValueError, match="float32, got"):
            plan.evaluate(images, torch.zeros(len(images), 1))


def test_the_engine_is_chosen_by_name(caplog, monkeypatch):
    cpu, model = torch.device("cpu"), build_model("linear-vae")
    with pytest.raises(ValueError, match="auto, torch, native, got 'fast'"):
        engine.plan_for(model, NegativeELBO(), 64, cpu, "fast")
    monkeypatch.setenv("LECTURE_VAE_ENGINE", "torch")
    assert engine.plan_for(model, NegativeELBO(), 64, cpu) is None
    assert engine.engine_names("auto", cpu) == ["torch"]
    monkeypatch.setenv("LECTURE_VAE_ENGINE", "")
    with caplog.at_level(logging.INFO, logger="lecture_vae"):
        engine.plan_for(model, NegativeIWAE(), 64, cpu)
    assert "LinearVAE is trained in PyTorch: there is no kernel for the objective" in caplog.text
    with pytest.raises(NotNativeError, match="on a CPU, not on meta"):
        engine.plan_for(model, NegativeELBO(), 64, torch.device("meta"), "native")


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    """A cache in which nothing is compiled yet, in this process either."""
    monkeypatch.setattr(build, "cache_folder", lambda: tmp_path / "cache")
    load_kernels.cache_clear()
    yield tmp_path / "cache" / "native"
    load_kernels.cache_clear()


def refusal(model: Model | None = None) -> str:
    with pytest.raises(NotNativeError) as error:
        Plan(model or build_model("linear-ae"), SquaredError(), 64)
    return str(error.value)


@pytest.mark.usefixtures("empty_cache")
def test_without_a_compiler_the_loop_trains_and_a_line_says_how_to_get_one(caplog, monkeypatch):
    if vector_family() is None:
        pytest.skip("no vector instructions")
    monkeypatch.setenv("CC", "no-such-compiler")
    assert "there is no C compiler, no-such-compiler" in refusal() and "apt install" in refusal()
    with caplog.at_level(logging.INFO, logger="lecture_vae"):
        config = TrainConfig(steps=2)
        run = fetch_run("linear-ae", SquaredError(), DIGITS, config, device="cpu", store=None)
    assert run.engine == "torch" and "is trained in PyTorch: there is no C compiler" in caplog.text


@pytest.mark.usefixtures("empty_cache")
def test_a_processor_without_vector_instructions_uses_the_loop(monkeypatch):
    monkeypatch.setattr(build, "vector_family", lambda: None)
    assert "none of AVX2, AVX-512, NEON" in refusal()


@pytest.mark.usefixtures("empty_cache")
def test_a_compiler_that_fails_is_quoted(monkeypatch, tmp_path):
    if vector_family() is None:
        pytest.skip("no vector instructions")
    program = tmp_path / "cc"
    program.write_text(
        '#!/bin/sh\ntest "$1" = --version || { echo "kernels.c: no" >&2; exit 1; }\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("CC", str(program))
    assert "failed: kernels.c: no" in refusal()


@needs_compiler
def test_the_compiled_code_belongs_to_its_user_alone(empty_cache):
    before = os.umask(0)
    try:
        load_kernels(16)
    finally:
        os.umask(before)
    (library,) = empty_cache.iterdir()
    assert stat.S_IMODE(empty_cache.stat().st_mode) == 0o700
    assert stat.S_IMODE(library.stat().st_mode) == 0o600
    assert library.name.startswith(f"{vector_family()}-")
    for path, mode in ((library, 0o666), (empty_cache, 0o777)):
        old = stat.S_IMODE(path.stat().st_mode)
        path.chmod(mode)
        load_kernels.cache_clear()
        with pytest.raises(NotNativeError, match=f"the mode {mode:o}"):
            load_kernels(16)
        path.chmod(old)
    load_kernels.cache_clear()
    written = library.stat().st_mtime_ns
    load_kernels(16)  # from the cache
    assert library.stat().st_mtime_ns == written


@needs_compiler
def test_a_place_that_cannot_be_written_or_is_missing_is_told(empty_cache, monkeypatch):
    empty_cache.parent.write_text("a file")
    assert "cannot be kept" in refusal()
    monkeypatch.setattr(build, "cache_folder", lambda: None)
    load_kernels.cache_clear()
    assert "no home folder" in refusal()


CONFIG = TrainConfig(steps=6, eval_every=3)


@needs_compiler
def test_auto_is_content_with_a_stored_run_of_either_engine(tmp_path, monkeypatch):
    monkeypatch.delenv("LECTURE_VAE_ENGINE", raising=False)

    def run(engine: str):
        return fetch_run(
            "linear-vae", NegativeELBO(), DIGITS, CONFIG, device="cpu", engine=engine,
            store=tmp_path,
        )  # fmt: skip

    by_torch = run("torch")
    assert run("auto").key == by_torch.key
    native = run("native")
    assert native.key != by_torch.key and native.engine == f"native-{vector_family()}"
    assert run("auto").key == native.key  # both are there: this machine's own first
    assert run("torch").key == by_torch.key


@needs_compiler
def test_a_read_only_store_serves_a_machine_without_a_compiler(tmp_path, monkeypatch):
    spec = "linear-vae", NegativeELBO(), DIGITS, CONFIG
    run = fetch_run(*spec, device="cpu", engine="native", store=tmp_path)
    monkeypatch.setattr("lecture_vae.fetching.plan_for", lambda *_: pytest.fail("it compiled"))
    assert fetch_run(*spec, device="cpu", store=tmp_path).key == run.key


@needs_compiler
def test_runs_go_side_by_side_in_threads_with_the_numbers_of_one_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("lecture_vae.runs.cores", lambda: 2)
    specs = [
        RunSpec(name, NegativeELBO(w), CONFIG)
        for name, w in (("linear-vae", 1.0), ("conv-vae", 1.0), ("linear-vae", 2.0))
    ]
    monkeypatch.setattr(
        "lecture_vae.runs.train_side_by_side", lambda *_, **__: pytest.fail("a worker process")
    )
    together = fetch_runs(specs, DIGITS, device="cpu", engine="native", store=tmp_path)
    assert [run.spec for run in together] == specs
    for spec, run in zip(specs, together, strict=True):
        alone = fetch_run(
            spec.model, spec.objective, DIGITS, CONFIG, device="cpu", engine="native", store=None
        )
        assert same(weights(alone.model), weights(run.model))


@needs_compiler
def test_fresh_runs_are_those_that_were_trained_now_and_a_warm_start_waits(tmp_path, monkeypatch):
    monkeypatch.setattr("lecture_vae.runs.cores", lambda: 2)
    monkeypatch.delenv("LECTURE_VAE_ENGINE", raising=False)
    specs = [RunSpec("linear-vae", NegativeELBO(w), CONFIG) for w in (1.0, 2.0)]
    old = fetch_runs(specs, DIGITS, device="cpu", engine="native", store=tmp_path)
    monkeypatch.setenv("CC", "no-such-compiler")  # now on a machine without one
    load_kernels.cache_clear()
    new = fetch_runs(specs, DIGITS, device="cpu", store=tmp_path, fresh=True)
    load_kernels.cache_clear()
    assert [run.engine for run in new] == ["torch", "torch"]
    assert not {run.key for run in old} & {run.key for run in new}
    monkeypatch.delenv("CC")
    warm = RunSpec("linear-vae", NegativeELBO(4.0), CONFIG, start_from=old[0].key)
    both = fetch_runs(
        [warm, *specs], DIGITS, device="cpu", engine="native", store=tmp_path, fresh=True
    )
    assert [run.spec.objective.kl_weight for run in both] == [4.0, 1.0, 2.0]


@needs_compiler
def test_an_interrupt_ends_the_threads_at_their_next_evaluation(tmp_path, monkeypatch):
    reached = threading.Event()

    def interrupted(*_: object) -> None:
        reached.wait(60)
        raise KeyboardInterrupt

    def save(path: Path, state: Checkpoint) -> None:
        reached.set()

    config = TrainConfig(steps=1_000_000, eval_every=10)
    specs = [RunSpec("linear-vae", NegativeELBO(w), config) for w in (1.0, 2.0)]
    requests = [Request(spec, DIGITS, "cpu", "native", tmp_path) for spec in specs]
    monkeypatch.setattr("lecture_vae.fetching.save_checkpoint", save)

    class Queue:
        put = staticmethod(lambda _: None)
        get = staticmethod(interrupted)

        def __class_getitem__(cls, _: object) -> type:
            return cls

    monkeypatch.setattr("lecture_vae.cluster.SimpleQueue", Queue)
    with pytest.raises(KeyboardInterrupt):
        fetch_in_threads(requests, 2, fresh=False)
    assert not [thread for thread in threading.enumerate() if "ThreadPool" in thread.name]


def test_a_change_of_the_kernels_changes_the_keys_of_native_runs_alone(monkeypatch):
    spec = RunSpec("linear-vae", NegativeELBO(), CONFIG)

    def keys() -> list[str]:
        recipe._native_code.cache_clear()
        found = recipe.describe(spec, DIGITS, "cpu")
        names = ["torch", "native-avx2", "native-avx512"]
        return [recipe.key_of(recipe.with_engine(found, name)) for name in names]

    before = keys()
    assert len(set(before)) == 3
    for thing, other in (
        (recipe, ("kernel_sources", lambda: {"kernels.c": "other"})),
        (modules, ("_padding", lambda module: ((0, 0), (0, 0)))),  # reached by a table alone
    ):
        with monkeypatch.context() as patch:
            patch.setattr(thing, *other)
            after = keys()
        assert after[0] == before[0] and not {*after[1:]} & {*before}
    assert keys() == before


def test_a_processor_with_vector_instructions_is_recognized():
    # Where it is not, the tests above would be skipped. The flags are those of the system.
    info = Path("/proc/cpuinfo")
    if not info.exists() or os.environ.get("ATEN_CPU_CAPABILITY"):
        pytest.skip("no list of the processor's flags, or torch is restricted on purpose")
    flags = info.read_text().split()
    if {"avx2", "fma"} <= {*flags}:
        assert vector_family() in ("avx2", "avx512")
    if "asimd" in flags:
        assert vector_family() == "neon"
