"""A VQ-VAE in one file, which nothing here knows, lives like the lecture's own models.

And a model and an objective that a script defines for itself are trained, stored and found.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from lecture_vae import (
    RunSpec,
    TrainConfig,
    fetch_run,
    fetch_runs,
    fetching,
    import_definitions,
    load_images,
    open_run,
    plot_history,
    runs,
    side_by_side,
    store_folder,
    train,
)
from lecture_vae.cli import app
from lecture_vae.losses import OBJECTIVES, NegativeELBO
from lecture_vae.networks import MODELS, build_model, default_objective
from lecture_vae.recipe import describe, key_of

FILE = Path(__file__).parent / "outside" / "vq_vae.py"
SHORT = TrainConfig(steps=12, batch_size=8, eval_every=4, seed=3)


@pytest.fixture(scope="module")
def vq_vae():
    """The module, imported from its file; afterwards it is as if it had never been."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path])
        for registry in (MODELS, OBJECTIVES):
            patch.setattr(registry, "_builders", dict(registry._builders))
        import_definitions(str(FILE))
        yield sys.modules["vq_vae"]
        del sys.modules["vq_vae"]


def forget(patch):
    """As in a process that has not imported the file, until the patch is undone."""
    for registry, name in ((MODELS, "outside-vq-vae"), (OBJECTIVES, "vq")):
        others = {n: build for n, build in registry._builders.items() if n != name}
        patch.setattr(registry, "_builders", others)
    patch.delitem(sys.modules, "vq_vae", raising=False)


@pytest.fixture
def trainings(monkeypatch):
    """Counts how often something is trained in this process."""
    calls = []
    original = fetching.train

    def counted(*args, **keywords):
        calls.append(keywords["resume"])
        return original(*args, **keywords)

    monkeypatch.setattr(fetching, "train", counted)
    return calls


def weights(run):
    return torch.cat([value.flatten().double() for value in run.model.state_dict().values()])


def perplexity(code):
    """exp of the entropy of how often each vector of the codebook is used."""
    share = np.unique(np.asarray(code), return_counts=True)[1] / np.asarray(code).size
    return float(np.exp(-(share * np.log(share)).sum()))


def printed(*command):
    """The lines that another process prints."""
    result = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


# --------------------------------------------------------------------------------- the model


def test_the_outside_model_has_a_name_and_an_objective(vq_vae):
    assert isinstance(build_model("outside-vq-vae"), vq_vae.VQVAE)
    assert default_objective("outside-vq-vae") == "vq"
    assert OBJECTIVES["vq"]() == vq_vae.VQ()


def test_the_gradient_goes_straight_through_to_the_encoder(vq_vae, tiny):
    model = build_model("outside-vq-vae")
    q = model.encode(tiny.test.images[:3])
    assert torch.equal(q.z_q, model.codebook.weight[q.code].movedim(-1, 1))
    q.sample().sum().backward(retain_graph=True)
    assert model.codebook.weight.grad is None
    assert all(p.grad.abs().sum() > 0 for p in model.encoder.parameters())


def test_training_lowers_the_loss_and_moves_the_codebook(vq_vae, tiny):
    model = build_model("outside-vq-vae")
    first = model.codebook.weight.detach().clone()
    config = TrainConfig(steps=200, lr=2e-3, eval_every=100)
    history = train(model, vq_vae.VQ(), tiny, config, device="cpu")
    losses = history.frame()["test_loss"]
    assert losses.iloc[-1] < 0.5 * losses.iloc[0]
    assert not torch.equal(model.codebook.weight, first)


def test_every_term_has_its_columns(vq_vae, tiny):
    frame = fetch_run("outside-vq-vae", vq_vae.VQ(), tiny, SHORT).history.frame()
    names = ["squared_error", "codebook", "commitment", "loss"]
    expected = [*(f"train_{name}" for name in names), *(f"test_{name}" for name in names)]
    assert list(frame.columns) == ["step", *expected]
    total = frame["test_squared_error"] + frame["test_codebook"] + 0.25 * frame["test_commitment"]
    assert frame["test_loss"].to_numpy() == pytest.approx(total.to_numpy(), rel=1e-5)


# --------------------------------------------------------------------------------- the store


def test_an_outside_run_is_trained_once(vq_vae, tiny, trainings):
    one, two = (fetch_run("outside-vq-vae", vq_vae.VQ(), tiny, SHORT, entries=8) for _ in range(2))
    assert len(trainings) == 1
    assert one.key == two.key and one.seconds == two.seconds
    assert torch.equal(weights(one), weights(two))
    assert two.spec == RunSpec("outside-vq-vae", vq_vae.VQ(), SHORT, {"entries": 8})
    assert two.model.codebook.num_embeddings == 8


def test_what_an_outside_run_was_asked_for_names_it(vq_vae, tiny, trainings):
    asked = [(vq_vae.VQ(), {}), (vq_vae.VQ(0.5), {}), (vq_vae.VQ(), {"entries": 8})]
    keys = {fetch_run("outside-vq-vae", o, tiny, SHORT, **keywords).key for o, keywords in asked}
    assert len(keys) == len(trainings) == 3


def test_an_interrupted_outside_run_is_resumed_bit_for_bit(vq_vae, tiny, trainings, monkeypatch):
    plain = fetch_run("outside-vq-vae", vq_vae.VQ(), tiny, SHORT)
    monkeypatch.setenv("LECTURE_VAE_RUNS", str(store_folder().parent / "second"))
    original = fetching.save_checkpoint

    def stop_at_step_4(path, state):
        original(path, state)
        if state.history.steps[-1] == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fetching, "save_checkpoint", stop_at_step_4)
        with pytest.raises(KeyboardInterrupt):
            fetch_run("outside-vq-vae", vq_vae.VQ(), tiny, SHORT)
    resumed = fetch_run("outside-vq-vae", vq_vae.VQ(), tiny, SHORT)
    assert [checkpoint is None for checkpoint in trainings] == [True, True, False]
    assert resumed.key == plain.key
    assert resumed.history.rows == plain.history.rows
    assert torch.equal(weights(resumed), weights(plain))
    assert np.array_equal(resumed.history.latents, plain.history.latents)


OPEN = """
import sys
from lecture_vae import StoreError, import_definitions, open_run

key, file = sys.argv[1:]
try:
    open_run(key)
except StoreError as error:
    print(error)
import_definitions(file)
run = open_run(key)
print(type(run.model).__module__, run.spec.objective, run.code.sum().item())
"""


def test_a_fresh_process_opens_an_outside_run_as_soon_as_it_has_imported_the_file(vq_vae, tiny):
    run = fetch_run("outside-vq-vae", vq_vae.VQ(0.5), tiny, SHORT)
    refusal, opened = printed("-c", OPEN, run.key, FILE)
    assert refusal.startswith(
        f"run {run.key} needs a definition that is not registered: there is no model"
    )
    assert "'outside-vq-vae'" in refusal and "--import FILE.py" in refusal
    assert opened == f"vq_vae VQ(commitment=0.5) {run.code.sum().item()}"


def test_a_model_from_outside_leaves_the_keys_of_the_others_alone(tiny, monkeypatch):
    def keys():
        specs = [RunSpec(n, OBJECTIVES[default_objective(n)](), SHORT) for n in others]
        return [key_of(describe(spec, tiny, "cpu")) for spec in specs]

    forget(monkeypatch)
    others = [*MODELS]
    before = keys()
    import_definitions(str(FILE))
    assert "outside-vq-vae" in MODELS and len(set(before)) == len(others) > 4
    assert keys() == before


@pytest.fixture
def key_with(tiny, monkeypatch, tmp_path):
    """The key of a run of the file with some of its text replaced."""

    def key(*changes):
        text = FILE.read_text()
        for old, new in changes:
            assert text.count(old) == 1
            text = text.replace(old, new)
        file = tmp_path / str(len(list(tmp_path.iterdir()))) / "vq_vae.py"
        file.parent.mkdir()
        file.write_text(text)
        forget(monkeypatch)
        import_definitions(str(file))
        return key_of(describe(RunSpec("outside-vq-vae", OBJECTIVES["vq"](), SHORT), tiny, "cpu"))

    return key


def test_another_posterior_in_the_file_gives_another_key_and_another_comment_does_not(key_with):
    plain = key_with()
    assert key_with(("# encoding draws nothing", "# no noise")) == plain
    assert key_with(("(self.z_q - self.z_e).detach()", "0 * self.z_q")) != plain


def test_either_of_two_lambdas_in_the_file_counts(key_with):
    def key(first, second):
        definitions = f"first = lambda z: {first}\nsecond = lambda z: {second}\n\n\n"
        return key_with(
            ("z_e = self.encoder(x)", "z_e = first(second(self.encoder(x)))"),
            ("class VQVAE", definitions + "class VQVAE"),
        )

    assert len({key("z", "z"), key("2 * z", "z"), key("z", "2 * z")}) == 3


# --------------------------------------------------------------------------------- its codes


def test_whole_numbers_are_stored_as_such_and_come_back_exactly(vq_vae, tiny):
    run = fetch_run(
        "outside-vq-vae", vq_vae.VQ(), tiny, SHORT, entries=5_000
    )  # float16 ends at 2,048
    with torch.no_grad():
        code = run.model.encode(tiny.test.images).code
    assert code.shape == (70, 4, 4) and code.max() > 2_048
    assert not run.code.is_floating_point()
    assert torch.equal(run.code.long(), code.flatten(1))
    assert all(codes.dtype == "int32" for codes in run.history.latents)
    assert np.array_equal(run.history.latents[-1], code.flatten(1).numpy())


def test_the_perplexity_of_every_evaluation_follows_from_the_run(vq_vae, tiny):
    run = fetch_run("outside-vq-vae", vq_vae.VQ(), tiny, SHORT)
    over_training = [perplexity(codes) for codes in run.history.latents]
    assert len(over_training) == len(run.history.steps) == 4
    assert over_training[-1] == pytest.approx(perplexity(run.code))
    assert all(1 < value <= 16 for value in over_training)
    assert perplexity(np.arange(16).repeat(3)) == pytest.approx(16)
    assert perplexity(np.zeros(5, int)) == 1


def test_the_perplexity_is_plotted_over_training(vq_vae, tiny):
    run = fetch_run("outside-vq-vae", vq_vae.VQ(), tiny, SHORT)
    frame = run.history.frame()
    frame["test_perplexity"] = [perplexity(codes) for codes in run.history.latents]
    ax = plot_history({"VQ-VAE": frame}, column="test_perplexity")
    (line,) = ax.get_lines()
    assert list(line.get_xdata()) == [0, 4, 8, 12]
    assert list(line.get_ydata()) == list(frame["test_perplexity"])
    plt.close(ax.figure)


def test_without_a_store_the_codes_are_whole_numbers_too(vq_vae, tiny):
    kept = fetch_run("outside-vq-vae", vq_vae.VQ(), tiny, SHORT)
    loose = fetch_run("outside-vq-vae", vq_vae.VQ(), tiny, SHORT, store=None)
    assert loose.code.dtype == kept.code.dtype
    assert torch.equal(loose.code, kept.code)


# ------------------------------------------------------------- the command line, and side by side


def test_the_command_line_imports_the_file_and_trains_its_model(trainings, monkeypatch):
    forget(monkeypatch)
    words = ["train", "outside-vq-vae", "--data", "digits", "--steps", "4", "--eval-every", "2"]
    words += ["--batch-size", "8", "--device", "cpu", "--json"]
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 2 and "--import FILE.py brings yours" in refused.output
    result = CliRunner().invoke(app, [*words, "--import", os.path.relpath(FILE)])
    assert result.exit_code == 0, (result.output, result.exception)
    assert len(trainings) == 1
    figures = json.loads(result.stdout.splitlines()[-1])
    assert (figures["model"], figures["objective"]) == ("outside-vq-vae", "vq")
    assert figures["test_kl"] is None
    last = open_run(figures["key"]).history.rows[-1]
    assert figures["test_loss"] == last["test_loss"]
    assert figures["test_reconstruction"] == pytest.approx(last["test_squared_error"], rel=1e-6)


@pytest.mark.slow
def test_two_outside_runs_go_side_by_side_and_are_the_same_runs(vq_vae, trainings, monkeypatch):
    monkeypatch.setattr(runs, "cores", lambda: 2)
    digits = load_images("digits")
    specs = [RunSpec("outside-vq-vae", vq_vae.VQ(), replace(SHORT, seed=seed)) for seed in (0, 1)]
    together = fetch_runs(specs, digits, device="cpu")
    assert not trainings  # the other processes did it
    assert [run.spec for run in together] == specs
    monkeypatch.setenv("LECTURE_VAE_RUNS", str(store_folder().parent / "second"))
    alone = fetch_run("outside-vq-vae", vq_vae.VQ(), digits, specs[1].config, device="cpu")
    assert len(trainings) == 1
    assert alone.key == together[1].key
    assert torch.equal(weights(alone), weights(together[1]))
    assert torch.equal(alone.code, together[1].code)


# --------------------------------------------------------- definitions of a script of one's own

SCRIPT = """
import os
from dataclasses import dataclass

import torch
from torch import nn

import lecture_vae.runs
from lecture_vae import Autoencoder, ImageData, Objective, RunSpec, Split, TrainConfig
from lecture_vae import fetch_runs, register, register_objective


class Small(Autoencoder):
    def __init__(self, latent_dim=3):
        encoder = nn.Sequential(nn.Flatten(), nn.Linear(1024, latent_dim))
        decoder = nn.Sequential(nn.Linear(latent_dim, 1024), nn.Unflatten(1, (1, 32, 32)))
        super().__init__(encoder, decoder, (latent_dim,))


@dataclass(frozen=True)
class AbsoluteError(Objective):
    scale: float = 1.0

    def terms(self, model, x, eps):
        if len(x) == 8:  # a batch, not an evaluation
            print("trained in", os.getpid())
        return {"error": (x - model.decode(model.encode(x).code)).abs().flatten(1).sum(1)}

    def loss(self, terms, step):
        return self.scale * terms["error"].mean()


register("small", Small, objective="absolute-error")
register_objective("absolute-error", AbsoluteError)
lecture_vae.runs.cores = lambda: 2
split = Split(torch.eye(32).expand(20, 1, 32, 32), torch.zeros(20, dtype=torch.long))
data = ImageData(split, split, ("diagonal",), "diagonals", "nowhere", "0" * 16)
config = TrainConfig(steps=3, batch_size=8)
specs = [RunSpec("small", AbsoluteError(scale), config) for scale in (1.0, 2.0)]
for run in fetch_runs(specs, data, device="cpu"):
    print(run.key, run.spec.objective, run.seconds, run.model.latent_shape)
print("ended in", os.getpid())
"""


@pytest.mark.slow
def test_what_a_script_defines_is_trained_in_its_process_and_found_by_the_next(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    first, second = printed(script), printed(script)
    *steps, one, two, end = first
    # Two runs of three steps, and no other process ran the script.
    assert steps == [end.replace("ended", "trained")] * 6
    assert "AbsoluteError(scale=1.0)" in one and "AbsoluteError(scale=2.0)" in two
    assert len(list(store_folder().glob("*/run.json"))) == 2
    assert second[:-1] == [one, two]  # nothing was trained: the seconds are those of the first


def test_a_name_given_in_a_script_is_not_left_to_other_processes(monkeypatch):
    monkeypatch.setattr(MODELS, "_builders", dict(MODELS._builders))
    scope = {"__name__": "__main__"}
    exec("from lecture_vae import LinearVAE, register; register('mine', LinearVAE)", scope)
    ours, mine = (RunSpec(name, NegativeELBO(), SHORT) for name in ("linear-vae", "mine"))
    assert side_by_side.is_importable(ours)
    assert not side_by_side.is_importable(mine)


@pytest.mark.parametrize(
    ("files", "imported"),
    [
        ({"lone_file.py": "{define}{name}"}, "lone_file.py"),
        ({"nets.py": "{define}", "names.py": "from nets import Own\n{name}"}, "names.py"),
        ({"package/__init__.py": "{define}{name}"}, "package"),
        ({"package/__init__.py": "", "package/nets.py": "{define}{name}"}, "package.nets"),
    ],
    ids=["lone file", "two files", "package", "module of a package"],
)
def test_a_worker_is_given_what_registers_a_model(tmp_path, monkeypatch, files, imported):
    monkeypatch.setattr(MODELS, "_builders", dict(MODELS._builders))
    monkeypatch.syspath_prepend(tmp_path)
    define = "from lecture_vae import LinearVAE\nclass Own(LinearVAE):\n    pass\n"
    name = "from lecture_vae import register\nregister('own', Own)\n"
    for file, text in files.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(text.format(define=define, name=name))
    is_file = imported.endswith(".py")
    try:
        import_definitions(str(tmp_path / imported) if is_file else imported)
        imports = side_by_side.imports_of(RunSpec("own", NegativeELBO(), SHORT))
        assert imports == [str(tmp_path / imported) if is_file else imported]
    finally:
        for module in ("lone_file", "nets", "names", "package", "package.nets"):
            sys.modules.pop(module, None)
