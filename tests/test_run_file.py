"""What a run.json says is checked before anything is built from it."""

import json
import resource
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from lecture_vae import NegativeELBO, TrainConfig, fetch_run
from lecture_vae.run_file import is_far_larger
from lecture_vae.store import StoreError, open_run


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny):
    """A stored run's key and the store."""
    store = tmp_path_factory.mktemp("store")
    config = TrainConfig(steps=2, eval_every=1, batch_size=8)
    return fetch_run("linear-vae", NegativeELBO(), tiny, config, store=store).key, store


@pytest.fixture
def run_json(trained):
    """The run's run.json, which may be changed."""
    key, store = trained
    path = store / key / "run.json"
    whole = path.read_bytes()
    yield path
    path.write_bytes(whole)


def opened(path: Path):
    return open_run(path.parent.name, store=path.parent.parent)


def changed(path: Path, *names, value):
    """Writes another value, or none, at a place in the file."""
    head = json.loads(path.read_text())
    at = head
    for name in names[:-1]:
        at = at[name]
    if value is DELETED:
        del at[names[-1]]
    else:
        at[names[-1]] = value
    path.write_text(json.dumps(head))


DELETED = object()


OTHERS = (DELETED, None, [], "x", True, 1.5)
# A place in the file, and those of the values above that could stand there.
PLACES: dict[tuple[str | int, ...], tuple[Any, ...]] = {
    ("recipe",): (), ("versions",): (), ("seconds",): (1.5,), ("history", 0): (),
    ("history", 1, "step"): (), ("recipe", "model"): ("x",), ("recipe", "keywords"): (),
    ("recipe", "objective"): (), ("recipe", "objective", "name"): ("x",),
    ("recipe", "config"): (), ("recipe", "data"): (), ("recipe", "data", "name"): ("x",),
    ("recipe", "data", "fingerprint"): ("x",), ("recipe", "device"): ("x",), ("history",): (),
}  # fmt: skip


@pytest.mark.parametrize(
    ("names", "value"),
    [(names, value) for names, fit in PLACES.items() for value in OTHERS if value not in fit],
)
def test_an_entry_of_another_type_is_named(run_json, names, value):
    changed(run_json, *names, value=value)
    with pytest.raises(StoreError, match=r"incomplete or damaged: ValueError: .*fresh=True"):
        opened(run_json)


@pytest.mark.parametrize(
    "content",
    [b"[]", b"null", b"7", b'"run"', b"{}", b"[" * 100_000, b"\xff\xfe{}", b"", b"\0" * 500],
)
def test_what_is_no_object_of_json_is_no_run(run_json, content):
    run_json.write_bytes(content)
    with pytest.raises(StoreError, match="incomplete or damaged"):
        opened(run_json)


@pytest.mark.parametrize(
    ("names", "value"),
    [
        (("recipe", "config", "steps"), "many"),
        (("recipe", "config", "batch_size"), -1),
        (("recipe", "config", "colour"), "red"),
        (("recipe", "keywords", "colour"), "red"),
        (("recipe", "keywords", "latent_dim"), "two"),
        (("recipe", "keywords", "latent_dim"), -3),
        (("recipe", "objective", "kl_weight"), -1.0),
        (("recipe", "objective", "colour"), "red"),
        (("recipe", "format"), "2"),
    ],
)
def test_a_value_that_cannot_be_is_told(run_json, names, value):
    changed(run_json, *names, value=value)
    with pytest.raises(StoreError, match="incomplete or damaged"):
        opened(run_json)


def test_an_unknown_likelihood_is_not_called_damaged(run_json):
    changed(run_json, "recipe", "objective", "likelihood", value={"name": "my-pixels"})
    with pytest.raises(StoreError, match=r"not registered: .*'my-pixels'"):
        opened(run_json)


def test_a_model_of_no_size_that_was_stored_takes_no_memory(run_json):
    changed(run_json, "recipe", "keywords", "latent_dim", value=10**9)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(StoreError, match=r"do not fit today's linear-vae: it is far larger"):
        opened(run_json)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


def test_a_model_of_its_own_size_is_none_too_large(run_json):
    run = opened(run_json)
    assert not is_far_larger("linear-vae", {}, run.model.state_dict())


@pytest.mark.parametrize("name", ["code", "latents"])
def test_codes_that_are_missing_are_told(run_json, name):
    path = run_json.parent / "codes.safetensors"
    whole = path.read_bytes()
    codes = load_file(path)
    save_file({other: value for other, value in codes.items() if other != name}, path)
    try:
        with pytest.raises(StoreError, match="incomplete or damaged"):
            opened(run_json)
    finally:
        path.write_bytes(whole)


def test_codes_of_another_number_of_evaluations_are_told(run_json):
    head = json.loads(run_json.read_text())
    del head["history"][-1]
    run_json.write_text(json.dumps(head))
    with pytest.raises(StoreError, match="codes of 3 evaluations, not 2"):
        opened(run_json)
