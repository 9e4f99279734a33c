"""A key says what decides the weights: it changes with that, and with nothing else."""

import copy
import sys
from dataclasses import dataclass, replace

import pytest
import torch

from lecture_vae import recipe
from lecture_vae.data import load_images
from lecture_vae.likelihoods import BernoulliPixels, GaussianPixels
from lecture_vae.losses import OBJECTIVES, NegativeELBO, NegativeIWAE, Objective, SquaredError
from lecture_vae.networks import MODELS
from lecture_vae.recipe import NotStorableError, RunSpec, describe, key_of, spec_of
from lecture_vae.registry import import_definitions
from lecture_vae.runs import fetch_run
from lecture_vae.source import SourceError, code_fingerprint
from lecture_vae.store import store_folder
from lecture_vae.training import TrainConfig

CONFIG = TrainConfig(steps=4, batch_size=8, eval_every=2)
SPEC = RunSpec("linear-vae", NegativeELBO(1.0), CONFIG, {"latent_dim": 3})


def key(spec, data, device="cpu"):
    return key_of(describe(spec, data, device))


@pytest.mark.parametrize(
    "other",
    [
        replace(SPEC, model="affine-vae"),
        replace(SPEC, keywords={}),
        replace(SPEC, objective=NegativeELBO(2.0)),
        replace(SPEC, objective=NegativeELBO(samples=2)),
        replace(SPEC, objective=NegativeELBO(likelihood=GaussianPixels(0.1))),
        replace(SPEC, objective=NegativeELBO(likelihood=BernoulliPixels())),
        replace(SPEC, objective=NegativeIWAE(1)),
        replace(SPEC, objective=SquaredError()),
        replace(SPEC, config=replace(CONFIG, steps=5)),
        replace(SPEC, config=replace(CONFIG, batch_size=9)),
        replace(SPEC, config=replace(CONFIG, lr=1e-3)),
        replace(SPEC, config=replace(CONFIG, eval_every=1)),
        replace(SPEC, config=replace(CONFIG, seed=1)),
        replace(SPEC, start_from="0" * 16),
    ],
)
def test_the_key_changes_with_whatever_was_asked_for(tiny, other):
    assert key(SPEC, tiny) == key(copy.deepcopy(SPEC), tiny)
    assert key(other, tiny) != key(SPEC, tiny)


def test_the_key_changes_with_data_device_torch_and_code(tiny, monkeypatch):
    before = key(SPEC, tiny)
    assert key(SPEC, replace(tiny, fingerprint="f" * 16)) != before
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: True)
        assert key(SPEC, tiny, "cuda") != before
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "9.9.9")
        assert key(SPEC, tiny) != before
    monkeypatch.setattr(recipe, "_training_code", lambda: "another")
    assert key(SPEC, tiny) != before


def test_a_whole_weight_and_a_float_weight_are_one_run(tiny):
    assert key(replace(SPEC, objective=NegativeELBO(1)), tiny) == key(SPEC, tiny)


@pytest.mark.parametrize(
    "objective",
    [
        SquaredError(),
        NegativeELBO(0.3, GaussianPixels(0.2), samples=3),
        NegativeELBO(likelihood=BernoulliPixels()),
        NegativeIWAE(7),
    ],
)
def test_a_recipe_gives_its_spec_back(tiny, objective):
    spec = replace(SPEC, objective=objective, start_from="1" * 16)
    assert spec_of(describe(spec, tiny, "cpu")) == spec


# ---------------------------------------------------------------------------- own definitions

MINE = '''
"""A model, an objective and a likelihood of somebody's own."""

from dataclasses import dataclass

from torch import nn

from lecture_vae import VAE, Objective, register, register_objective

WIDTH = 8
ACTIVATIONS = {"trunk": nn.ReLU}


def features():
    return nn.Sequential(nn.Flatten(), nn.Linear(1024, WIDTH), ACTIVATIONS["trunk"]())


class Mine(VAE):
    def __init__(self):
        super().__init__(
            features(), nn.Linear(WIDTH, 2), nn.Linear(WIDTH, 2),
            nn.Sequential(nn.Linear(2, 1024), nn.Sigmoid(), nn.Unflatten(1, (1, 32, 32))), (2,),
        )

    def decode(self, z):
        return self.decoder(z)  # a comment


@dataclass(frozen=True)
class Pull(Objective):
    strength: float = 2.0

    def terms(self, model, x, eps):
        return {"pull": distance(model.encode(x).code)}

    def loss(self, terms, step):
        return self.strength * terms["pull"].mean()


@dataclass(frozen=True)
class Share:
    part: float

    def of(self, code):
        return self.part * code


SHARE = Share(0.5)


def distance(code):
    return SHARE.of(code.square()).sum(dim=1)


register("NAME", Mine)
register_objective("NAME", Pull)
'''


def keys_of_mine(folder, old="", new="", file="mine"):
    """Keys of linear-vae, of MINE, and of MINE with its own objective, for a text of MINE."""
    assert old in MINE
    path = folder / f"{file}.py"
    path.write_text(MINE.replace(old, new).replace("NAME", "mine"))
    with pytest.MonkeyPatch.context() as patch:
        for registry in (MODELS, OBJECTIVES):
            patch.setattr(registry, "_builders", dict(registry._builders))
        import_definitions(str(path))
        pairs = [("linear-vae", NegativeELBO()), ("mine", NegativeELBO())]
        pairs.append(("mine", OBJECTIVES["mine"]()))
        specs = [RunSpec(name, objective, CONFIG) for name, objective in pairs]
        digits = load_images("digits")
        return [key(spec, digits) for spec in specs]


@pytest.fixture
def keys_with(tmp_path):
    files = iter(range(100))
    return lambda old, new: keys_of_mine(tmp_path, old, new, f"mine_{tmp_path.name}_{next(files)}")


@pytest.fixture(scope="module")
def own_keys(tmp_path_factory):
    return keys_of_mine(tmp_path_factory.mktemp("mine"))


def test_a_new_model_leaves_every_other_key_as_it_was(own_keys, keys_with):
    here = key(RunSpec("linear-vae", NegativeELBO(), CONFIG), load_images("digits"))
    assert own_keys[0] == here
    assert keys_with("", "")[1:] == own_keys[1:]  # nor does the name of a file count


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("WIDTH = 8", "WIDTH = 9"),  # the shapes of parameters
        ("nn.Linear(1024, WIDTH),", "nn.Linear(1024, WIDTH), nn.Tanh(),"),  # what the class calls
        ('"trunk": nn.ReLU', '"trunk": nn.Tanh'),  # seen in the structure alone
        ("return self.decoder(z)", "return 2 * self.decoder(z)"),  # what a method does
    ],
)
def test_another_layer_changes_the_keys_of_its_model_alone(own_keys, keys_with, old, new):
    changed = keys_with(old, new)
    assert [a == b for a, b in zip(own_keys, changed, strict=True)] == [True, False, False]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('terms["pull"].mean()', 'terms["pull"].sum()'),
        ("code.square()", "code.abs()"),  # in a function that the objective calls
        ("strength: float = 2.0", "strength: float = 3.0"),
        ("Share(0.5)", "Share(0.25)"),  # a field of what the module holds
        ("self.part * code", "code / self.part"),  # a method of what the module holds
    ],
)
def test_another_objective_changes_the_keys_of_its_runs_alone(own_keys, keys_with, old, new):
    changed = keys_with(old, new)
    assert [a == b for a, b in zip(own_keys, changed, strict=True)] == [True, True, False]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# a comment", "# another"),
        ('"""A model,', '"""One model,'),
        ("\n\n\ndef dist", "\ndef dist"),
    ],
)
def test_comments_docstrings_and_blank_lines_change_no_key(own_keys, keys_with, old, new):
    assert keys_with(old, new) == own_keys


# ---------------------------------------------------------------------------- what is refused


class Unfrozen(Objective):
    """Its behavior may depend on anything."""

    def terms(self, model, x, eps):
        return {"zero": model.decode(model.encode(x).sample(eps[:, 0])).flatten(1).sum(dim=1)}

    def loss(self, terms, step):
        return terms["zero"].mean()


@dataclass(frozen=True)
class Nameless(Unfrozen):
    """A frozen dataclass that nobody registered."""


@dataclass(frozen=True)
class Listed(Nameless):
    """A field that is no plain value."""

    weights: tuple[float, ...] = (1.0, 2.0)


@pytest.fixture
def listed():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OBJECTIVES, "_builders", dict(OBJECTIVES._builders))
        OBJECTIVES.register("listed", Listed)
        yield Listed()


def refused(spec, data, monkeypatch):
    """The message, seen to come before anything is trained."""
    trained = "lecture_vae.fetching.train"
    monkeypatch.setattr(trained, lambda *_, **__: pytest.fail("it was trained"))
    with pytest.raises(NotStorableError, match="pass store=None") as caught:
        fetch_run(spec.model, spec.objective, data, spec.config, device="cpu", **spec.keywords)
    return str(caught.value)


def test_what_cannot_be_stored_is_refused_before_the_first_step(tiny, monkeypatch, listed):
    spec = RunSpec("linear-vae", Unfrozen(), CONFIG)
    assert "Unfrozen is not a frozen dataclass" in refused(spec, tiny, monkeypatch)
    spec = replace(spec, objective=Nameless())
    assert 'register_objective("my-objective", Nameless)' in refused(spec, tiny, monkeypatch)
    spec = replace(spec, objective=listed)
    assert "the field weights of Listed must be a number" in refused(spec, tiny, monkeypatch)
    spec = RunSpec("linear-vae", NegativeELBO(), CONFIG, {"latent_dim": torch.tensor(2)})
    assert "the keyword latent_dim of the model must be" in refused(spec, tiny, monkeypatch)


def test_code_without_a_source_is_refused(tiny, monkeypatch):
    scope = {"__name__": "__main__", "Objective": Objective, "dataclass": dataclass}
    exec(
        "@dataclass(frozen=True)\nclass Typed(Objective):\n"
        "    def terms(self, model, x, eps): return {}\n"
        "    def loss(self, terms, step): return 0",
        scope,
    )
    monkeypatch.setattr(OBJECTIVES, "_builders", {**OBJECTIVES._builders, "typed": scope["Typed"]})
    spec = RunSpec("linear-vae", scope["Typed"](), CONFIG)
    assert "Typed.terms cannot be read" in refused(spec, tiny, monkeypatch)


def test_without_a_store_everything_trains_and_nothing_is_kept(tiny):
    run = fetch_run("linear-vae", Unfrozen(), tiny, CONFIG, device="cpu", store=None)
    assert run.history.steps == [0, 2, 4]
    assert run.code.shape == (70, 2)
    assert run.key == ""
    assert not store_folder().exists()
    kept = fetch_run("linear-vae", NegativeELBO(), tiny, CONFIG, device="cpu")
    loose = fetch_run("linear-vae", NegativeELBO(), tiny, CONFIG, device="cpu", store=None)
    assert loose.history.rows == kept.history.rows
    assert torch.equal(loose.code, kept.code)


def test_a_file_that_was_changed_since_it_was_imported_is_noticed(tmp_path):
    path = tmp_path / f"changed_{tmp_path.name}.py"
    path.write_text("def first():\n    return 1\n\n\ndef second():\n    return 2\n")
    imported = path.read_text()
    import_definitions(str(path))
    module = sys.modules[path.stem]
    path.write_text("def zeroth():\n    return 0\n\n\n" + imported)
    with pytest.raises(SourceError, match="changed since it was imported"):
        code_fingerprint(module.second)
    path.write_text(imported)
    before = code_fingerprint(module.second)
    # What was read is the code that was imported, whatever the file says later.
    path.write_text("def zeroth():\n    return 0\n\n\n" + imported)
    assert code_fingerprint(module.second) == before


def test_what_python_makes_of_annotations_is_no_source_of_a_class():
    names = {"__name__": "__main__"}  # as since Python 3.14: a place in a file, and no text there
    exec(compile("def __annotate__(format): return {}", __file__, "exec"), names)
    plain, made = type("Net", (), {}), type("Net", (), {"__annotate_func__": names["__annotate__"]})
    assert code_fingerprint(made) == code_fingerprint(plain)
