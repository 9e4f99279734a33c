"""Live: the files hold what the run holds; the page reads and computes the same from them."""

import json
import re
import shutil
import subprocess
import zlib
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save
from scipy.interpolate import RegularGridInterpolator
from typer.testing import CliRunner

from lecture_book.figures import record_evidence, record_runs
from lecture_vae import (
    GaussianPixels,
    LatentGrid,
    NegativeELBO,
    SquaredError,
    TrainConfig,
    affine_vae_optimum,
    build_model,
    elbo,
    fetch_run,
    iwae_bound,
    kl_per_latent,
    load_images,
    log_evidence,
    principal_variances,
    total_variance,
    true_posterior,
)
from lecture_vae.checkpoints import decoder_steps
from lecture_vae.cli import app
from lecture_vae.drawing import PALETTE
from lecture_vae.live import export_balance, export_run, quantize

ROOT = Path(__file__).resolve().parents[1]
RUNS = ROOT / "book" / "_static" / "live" / "runs"
BALANCE = RUNS.parent / "balance"
EVIDENCE = RUNS.parent / "evidence" / "evidence.safetensors"
LIMIT = 2**20  # bytes before the first interaction

node = pytest.mark.skipif(
    shutil.which("node") is None, reason="needs Node.js 20 or newer (Debian: apt install nodejs)"
)


def ask(task, **rest):
    """What the modules of the live figures answer."""
    command = ["node", ROOT / "tests" / "live.mjs"]
    asked = json.dumps({"task": task} | rest, default=str)
    done = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def read(path):
    """Metadata and arrays of a file, as its description says."""
    content = path.read_bytes()
    with safe_open(path, "numpy") as file:
        assert [*file.metadata()] == ["lecture_vae"]
        metadata = json.loads(file.metadata()["lecture_vae"])
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    digits = metadata["crc32"].encode()
    assert (metadata["format"], len(digits), content.count(digits)) == (3, 8, 1)
    assert int(digits, 16) == zlib.crc32(content.replace(digits, b"00000000"))
    scales = metadata.get("scales", {})
    assert {*scales} == {name for name, array in arrays.items() if array.dtype == np.int16}
    return metadata, {name: array * scales.get(name, 1) for name, array in arrays.items()}


@pytest.fixture(scope="module")
def digits():
    return load_images("digits")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def runs(store, digits):
    config = TrainConfig(steps=40, eval_every=5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LECTURE_VAE_RUNS", str(store))
        return {
            "linear-vae": fetch_run("linear-vae", NegativeELBO(1.0), digits, config),
            "linear-ae": fetch_run("linear-ae", SquaredError(), digits, config),
        }


@pytest.fixture(scope="module")
def exported(runs, digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    return {name: export_run(run, digits, folder / name) for name, run in runs.items()}


# ---------------------------------------------------------------------------- what is kept


def test_decoders_are_kept_at_evaluations_that_lie_closer_at_the_beginning():
    full = TrainConfig(steps=25_000, eval_every=250)
    assert sorted(decoder_steps(full)) == [0, 500, 1000, 1750, 3250, 6250, 12500]
    short = TrainConfig(steps=40, eval_every=5)
    assert sorted(decoder_steps(short)) == [0, 5, 10, 20]


def test_a_run_holds_the_decoders_of_its_training(runs, digits):
    run = runs["linear-vae"]
    assert list(run.decoders) == [0, 5, 10, 20]
    fresh = build_model("linear-vae", seed=run.spec.config.seed).state_dict()
    for name, value in run.decoders[0].items():
        assert torch.equal(value, fresh[name].half()), name
    shorter = replace(run.spec.config, steps=20)
    after_20 = fetch_run("linear-vae", NegativeELBO(1.0), digits, shorter).model.state_dict()
    for name, value in run.decoders[20].items():
        assert torch.equal(value, after_20[name].half()), name


# ---------------------------------------------------------------------------- files


def test_the_files_hold_the_run(runs, exported, digits):
    for name, files in exported.items():
        run = runs[name]
        assert [path.name for path in files] == [
            f"{name}.safetensors"
            for name in (
                "model", "encoder", "training", *(f"decoder-{step}" for step in run.decoders)
            )
        ]  # fmt: skip
        head, arrays = read(files[0])
        assert head["run"]["key"] == run.key
        assert head["run"]["kl_weight"] == (1.0 if name == "linear-vae" else None)
        width = np.abs(run.code.numpy()).max()
        np.testing.assert_allclose(arrays["mu"], run.code.numpy(), atol=width / 65_534 * 1.01)
        assert arrays["labels"].tolist() == digits.test.labels.tolist()
        state = run.model.state_dict()
        stored = {name for name in arrays if "." in name}
        assert stored == {key for key in state if key.startswith("decoder")}
        _, encoder = read(files[1])
        assert stored | {*encoder} == {*state}
        for key, value in ({k: arrays[k] for k in stored} | encoder).items():
            assert np.array_equal(value, state[key].half().numpy()), key
        head, training = read(files[2])
        assert [row["step"] for row in head["rows"]] == run.history.steps
        assert head["decoders"] == [*run.decoders]
        np.testing.assert_allclose(training["latents"], np.stack(run.history.latents), atol=2e-3)
        for path, (step, weights) in zip(files[3:], run.decoders.items(), strict=True):
            head, arrays = read(path)
            assert head["step"] == step
            for key, value in arrays.items():
                assert np.array_equal(value, weights[key].numpy()), key


def test_codes_that_are_all_zero_survive():
    codes, scale = quantize(np.zeros((3, 2), np.float32))
    assert (codes * scale).tolist() == [[0, 0]] * 3


def test_the_same_run_is_written_as_the_same_bytes(runs, exported, digits, tmp_path):
    for path in export_run(runs["linear-vae"], digits, tmp_path):
        assert path.read_bytes() == (exported["linear-vae"][0].parent / path.name).read_bytes()


def test_what_cannot_be_shown_is_refused(runs, digits, tmp_path):
    run = runs["linear-vae"]
    wide = fetch_run("linear-vae", NegativeELBO(1.0), digits, TrainConfig(steps=1), latent_dim=3)
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=r"2 latents whose .*; got linear-vae with 3 latents\.$"):
        export_run(wide, digits, out)
    conv = fetch_run("conv-ae", SquaredError(), digits, TrainConfig(steps=1), latent_channels=2)
    with pytest.raises(ValueError, match=r"conv-ae with 32 latents and BatchNorm2d, Conv2d, Conv"):
        export_run(conv, digits, out)
    with pytest.raises(ValueError, match=r"other data \(digits\) .* labels would be wrong"):
        export_run(run, replace(digits, fingerprint="0" * 16), out)
    with pytest.raises(ValueError, match=r"without the decoders .* --fresh"):
        export_run(replace(run, decoders={}), digits, out)
    assert not out.exists()


def test_the_command_exports_a_run(runs, store, tmp_path, monkeypatch):
    monkeypatch.setenv("LECTURE_VAE_RUNS", str(store))
    run = runs["linear-ae"]
    command = ["export", run.key[:8], "--out", str(tmp_path / "ae"), "--data", "digits"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert read(tmp_path / "ae" / "model.safetensors")[0]["run"]["key"] == run.key
    refused = CliRunner().invoke(app, ["export", "none", "--out", str(tmp_path)])
    assert refused.exit_code == 2
    assert "begin with 'none'" in refused.output


def test_the_recorded_files_are_small_and_of_the_recorded_code():
    described = json.loads((ROOT / "results" / "reproduction.json").read_text(encoding="utf8"))
    for folder, key in (
        ("vae_1", "linear_vae_1"),
        ("vae_100", "linear_vae_100"),
        ("ae", "linear_ae"),
    ):
        head, arrays = read(RUNS / folder / "model.safetensors")
        ours = described["runs"][key]["ours"]
        assert (head["run"]["steps"], head["run"]["data"]) == (ours["steps"], "mnist")
        assert arrays["mu"].shape == (10_000, 2)
        last = read(RUNS / folder / "training.safetensors")[0]["rows"][-1]
        per = 1024 if folder == "ae" else 1
        assert last["test_loss"] / per == pytest.approx(ours["test_loss"], rel=1e-9)
        assert (
            RUNS / folder / "model.safetensors"
        ).stat().st_size <= LIMIT - 2**17  # scripts come on top
        for path in (RUNS / folder).iterdir():
            assert path.stat().st_size <= 2 * LIMIT, path.name


def test_the_preview_of_the_first_page_is_that_of_its_run(tmp_path):
    folder = RUNS / record_runs.FIRST
    head, arrays = read(folder / "preview.safetensors")
    model_head, model = read(folder / "model.safetensors")
    assert (head["run"], head["limits"]) == (model_head["run"], model_head["limits"])
    assert np.array_equal(arrays["mu"], model["mu"][:2_000])
    assert np.array_equal(arrays["labels"], model["labels"][:2_000])
    decoder = build_model("linear-vae")
    names = [name for name in model if name.startswith("decoder")]
    state = {name: torch.tensor(model[name]).float() for name in names}
    decoder.load_state_dict(state, strict=False)
    with torch.inference_mode():
        image = 255 * decoder.decode(torch.tensor([head["start"]])).flatten().numpy()
    assert np.abs(arrays["image"] - image).max() <= 0.51
    nearest = np.square(arrays["mu"] - head["start"]).sum(1).argmin()
    assert arrays["labels"][nearest] == record_runs.START_CLASS
    shutil.copy(folder / "model.safetensors", tmp_path)
    assert (
        record_runs.export_preview(tmp_path).read_bytes()
        == (folder / "preview.safetensors").read_bytes()
    )


# ---------------------------------------------------------------------------- several weights


@pytest.fixture(scope="module")
def weights(store, digits):
    config = TrainConfig(steps=40, eval_every=5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LECTURE_VAE_RUNS", str(store))
        return [fetch_run("linear-vae", NegativeELBO(w), digits, config) for w in (9.0, 0.5, 1.0)]


def test_the_balance_holds_every_run_in_order_of_its_weight(weights, digits, tmp_path):
    files = export_balance(weights, digits, tmp_path)
    assert [f.name for f in files] == [
        "balance.safetensors",
        *(f"decoder-{k}.safetensors" for k in range(3)),
    ]
    head, arrays = read(files[0])
    assert [row["kl_weight"] for row in head["rows"]] == [0.5, 1.0, 9.0]
    images = digits.train.images.flatten(1).numpy()
    expected = np.linalg.svd(images - images.mean(0), compute_uv=False)[:2] ** 2 / len(images)
    np.testing.assert_allclose(head["collapse_weights"], 2 * expected, rtol=1e-4)
    assert head["total_variance"] == pytest.approx(total_variance(digits.train.images))
    assert arrays["labels"].tolist() == digits.test.labels[:2000].tolist()
    ordered = [weights[1], weights[2], weights[0]]
    for k, (run, row) in enumerate(zip(ordered, head["rows"], strict=True)):
        last = run.history.rows[-1]
        assert {name: row[name] for name in row if name.startswith("test_")} == {
            name: last[name] for name in ("test_loss", "test_squared_error", "test_kl")
        }
        with torch.inference_mode():
            code = run.model.encode(digits.test.images)
        assert row["kl_per_latent"] == pytest.approx(kl_per_latent(*code).tolist())
        assert sum(row["kl_per_latent"]) == pytest.approx(row["test_kl"], rel=1e-4)
        np.testing.assert_allclose(arrays["latents"][k], run.code[:2000], atol=2e-3)
        for low_high, codes in zip(head["limits"], run.code.T, strict=True):
            assert low_high[0] <= np.quantile(codes, 0.01) < np.quantile(codes, 0.99) <= low_high[1]
        best = affine_vae_optimum(
            row["kl_weight"],
            principal_variances(digits.train.images)[:2],
            total_variance(digits.train.images),
        )
        assert row["affine_vae"] == {"squared_error": best.squared_error, "kl": best.kl.tolist()}
        decoder, arrays_k = read(files[1 + k])
        assert decoder["run"]["key"] == row["key"] == run.key
        for name, value in arrays_k.items():
            assert np.array_equal(value, run.model.state_dict()[name].half().numpy()), name


def test_the_curves_of_the_theory_go_through_what_the_rows_say(weights, digits, tmp_path):
    metadata, arrays = read(export_balance(weights, digits, tmp_path)[0])
    over = arrays["theory_kl_weight"]
    assert over[0] < 0.5 < 9 < over[-1]
    assert (np.diff(np.log(over)) > 0).all()
    for row in metadata["rows"]:
        for name, expected in (
            ("theory_squared_error", [row["affine_vae"]["squared_error"]]),
            ("theory_kl", row["affine_vae"]["kl"]),
        ):
            curve = arrays[name].reshape(len(over), -1).T
            at = [np.interp(np.log(row["kl_weight"]), np.log(over), values) for values in curve]
            assert at == pytest.approx(expected, abs=0.01)
    # A latent's KL is 0 beyond the weight at which it collapses, and only there.
    for kl, collapse in zip(arrays["theory_kl"].T, metadata["collapse_weights"], strict=True):
        assert ((kl > 0) == (over < collapse)).all()


def test_runs_that_cannot_be_compared_are_refused(weights, runs, store, digits, tmp_path):
    config = TrainConfig(steps=20, eval_every=5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LECTURE_VAE_RUNS", str(store))
        shorter = fetch_run("linear-vae", NegativeELBO(2.0), digits, config)
    out = tmp_path / "out"
    for wrong in (
        [weights[0]],
        weights[:1] * 2,
        [weights[0], shorter],
        [weights[0], runs["linear-ae"]],
    ):
        with pytest.raises(ValueError, match="differ in their KL weight and in nothing else"):
            export_balance(wrong, digits, out)
    with pytest.raises(ValueError, match="labels would be wrong"):
        export_balance(weights, replace(digits, fingerprint="0" * 16), out)
    assert not out.exists()


def test_the_command_exports_several_runs_as_a_balance(weights, store, tmp_path, monkeypatch):
    monkeypatch.setenv("LECTURE_VAE_RUNS", str(store))
    keys = [run.key for run in weights]
    done = CliRunner().invoke(app, ["export", *keys, "--out", str(tmp_path), "--data", "digits"])
    assert done.exit_code == 0, done.output
    assert len(read(tmp_path / "balance.safetensors")[0]["rows"]) == 3


def test_the_recorded_balance_is_small_and_of_the_recorded_runs():
    described = json.loads((ROOT / "results" / "reproduction.json").read_text(encoding="utf8"))
    head, arrays = read(BALANCE / "balance.safetensors")
    assert arrays["latents"].shape == (len(head["rows"]), 2000, 2)
    found = {row["kl_weight"]: row for row in head["rows"]}
    for weight, key in ((1.0, "linear_vae_1"), (100.0, "linear_vae_100")):
        ours = described["runs"][key]["ours"]
        assert (found[weight]["steps"], found[weight]["data"]) == (ours["steps"], "mnist")
        assert found[weight]["test_loss"] == pytest.approx(ours["test_loss"], rel=1e-9)
    assert sorted(found) == sorted(record_runs.WEIGHTS)
    # What chapter 5 says of them. A latent is in use if its KL is above 0.01 nats.
    used = {w: sum(kl > 0.01 for kl in row["kl_per_latent"]) for w, row in found.items()}
    assert {w: n for w, n in used.items() if w >= 6} == {
        6: 2, 7: 1, 8: 1, 9: 1, 12: 1, 15: 0, 30: 0, 100: 0
    }  # fmt: skip
    six = found[6]["test_squared_error"] + 7 * found[6]["test_kl"]
    assert six < found[7]["test_loss"]
    assert head["total_variance"] == pytest.approx(described["data"]["total_variance"], rel=1e-6)
    first = BALANCE / "balance.safetensors", BALANCE / "decoder-0.safetensors"
    assert sum(path.stat().st_size for path in first) <= LIMIT - 2**17  # scripts come on top


# ---------------------------------------------------------------------------- in the page


def half(model):
    """The model as a file keeps it."""
    model.load_state_dict(
        {name: value.half().float() for name, value in model.state_dict().items()}
    )
    return model.eval()


def check_against_torch(folder, model):
    """Encoder and decoder of the page give what torch gives, for the same rounded weights."""
    generator = torch.Generator().manual_seed(0)
    z = 3 * torch.randn(20, 2, generator=generator)
    x = torch.rand(20, 1, 32, 32, generator=generator)
    with torch.inference_mode():
        x_hat, q = model.decode(z).flatten(1), model.encode(x)
    decoded = ask("run", file=folder / "model.safetensors", parts=["decoder"], inputs=z.tolist())
    np.testing.assert_allclose(decoded, x_hat, atol=1e-3)
    images = x.flatten(1).tolist()
    found = {"code": ["encoder"]}
    if hasattr(q, "log_var"):
        found = {"mu": ["trunk", "to_mu"], "log_var": ["trunk", "to_log_var"]}
    for name, parts in found.items():
        answer = ask("run", file=folder / "encoder.safetensors", parts=parts, inputs=images)
        expected = getattr(q, name).numpy()
        np.testing.assert_allclose(answer, expected, atol=1e-3, rtol=1e-4)


@node
@pytest.mark.parametrize("name", ["linear-vae", "linear-ae"])
def test_the_page_computes_what_torch_computes(runs, exported, name):
    model = build_model(name)
    model.load_state_dict(runs[name].model.state_dict())
    check_against_torch(exported[name][0].parent, half(model))


@node
@pytest.mark.parametrize("folder", ["vae_1", "vae_100", "ae"])
def test_the_page_computes_what_torch_computes_for_the_recorded_runs(folder):
    head, decoder = read(RUNS / folder / "model.safetensors")
    _, encoder = read(RUNS / folder / "encoder.safetensors")
    model = build_model(head["run"]["model"])
    weights = {name: value for name, value in (decoder | encoder).items() if "." in name}
    model.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in weights.items()})
    check_against_torch(RUNS / folder, half(model))


@node
def test_the_page_reads_what_python_wrote(exported, weights, digits, tmp_path):
    for path in (*exported["linear-vae"], *export_balance(weights, digits, tmp_path)):
        metadata, arrays = read(path)
        answer = ask("read", file=path)
        assert answer["metadata"] == metadata
        assert {*answer["arrays"]} == {*arrays}
        for name, values in arrays.items():
            np.testing.assert_allclose(answer["arrays"][name], values.ravel(), rtol=1e-6)


@node
@pytest.mark.parametrize("spaces", range(8))
def test_an_array_may_begin_at_any_byte(tmp_path, spaces):
    """The library aligns its arrays; another writer, or a header of any length, need not."""
    arrays = {
        "odd": np.array([1, 2, 3], np.uint8),
        "half": np.array([0.5, -2], np.float16),
        "step": np.array([-3, 4], np.int16),
        "single": np.array([0.25], np.float32),
    }
    parts = [array.tobytes() for array in arrays.values()]
    ends = np.cumsum([len(part) for part in parts]).tolist()
    dtypes = {"odd": "U8", "half": "F16", "step": "I16", "single": "F32"}
    body = b"".join(parts)
    metadata = {"format": 3, "crc32": "00000000", "scales": {"step": 0.5}}
    metadata_text = json.dumps(metadata, separators=(",", ":"))
    header = {"__metadata__": {"lecture_vae": metadata_text}} | {
        name: {
            "dtype": dtypes[name],
            "shape": list(array.shape),
            "data_offsets": [end - array.nbytes, end],
        }
        for (name, array), end in zip(arrays.items(), ends, strict=True)
    }
    text = json.dumps(header).encode() + b" " * spaces
    path = tmp_path / "odd.safetensors"
    content = len(text).to_bytes(8, "little") + text + body
    path.write_bytes(content.replace(b"00000000", b"%08x" % zlib.crc32(content)))
    found = ask("read", file=path)["arrays"]
    assert found == {"odd": [1, 2, 3], "half": [0.5, -2], "step": [-1.5, 2], "single": [0.25]}


DAMAGED = "FileError: file is damaged or was cut off. Reload the page."
FOREIGN = "FileError: file is not a safetensors file: did the server send something else?"
OTHER = save({"weight": np.zeros(3, np.float32)}, {"format": "pt"})


@node
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: b"", FOREIGN),
        (lambda c: c[:7], FOREIGN),
        (lambda c: c[:8], FOREIGN),
        (lambda c: b"<!DOCTYPE html><html>not here</html>", FOREIGN),
        (lambda c: b"LVAE" + c[4:8] + b"x" + c[9:], FOREIGN),
        (lambda c: OTHER, "FileError: file is not a file of this lecture."),
        (lambda c: save({}), "FileError: file is not a file of this lecture."),
        (lambda c: c[:9], DAMAGED),
        (lambda c: c[:100], DAMAGED),
        (lambda c: b"\xff" * 8 + c[8:], DAMAGED),
        (lambda c: c[:8] + c[8:].replace(b'"run\\"', b'"run\\\\', 1), DAMAGED),
        (lambda c: c.replace(b'format\\":3', b'format\\":2'), "FileError: file has format 2,"),
        (lambda c: (int.from_bytes(c[:8], "little") - 1).to_bytes(8, "little") + c[8:], DAMAGED),
        (lambda c: c.replace(b'"F16"', b'"F32"', 1), DAMAGED),
        (lambda c: c.replace(b'"F16"', b'"F61"', 1), DAMAGED),
        (lambda c: c.replace(b'"shape":[', b'"shape":9', 1), DAMAGED),
        (lambda c: c.replace(b"relu", b"ulre", 1), DAMAGED),
        (lambda c: c.replace(b"crc32", b"crc23", 1), DAMAGED),
        (lambda c: c[:-1], DAMAGED),
        (lambda c: c + b"\0", DAMAGED),
        (lambda c: c[:-9] + bytes([c[-9] ^ 1]) + c[-8:], DAMAGED),
    ],
)
def test_a_file_that_does_not_match_is_refused_in_one_line(exported, tmp_path, change, message):
    whole = exported["linear-vae"][0].read_bytes()
    path = tmp_path / "changed.safetensors"
    path.write_bytes(change(whole))
    answer = ask("refuse", file=path)
    assert answer.startswith(message)
    assert "\n" not in answer


@node
def test_every_half_and_the_checksum_are_those_of_python():
    numbers = np.arange(65_536, dtype=np.uint16).view(np.float16).astype(np.float64)
    found = np.array([float(text) for text in ask("halves")])
    np.testing.assert_array_equal(found, numbers)
    assert ask("crc", text="latent") == zlib.crc32(b"latent")


@node
def test_the_page_uses_the_colors_of_the_figures():
    assert tuple(ask("palette")) == PALETTE


@node
def test_a_drawing_is_fitted_and_centered_as_mnist_is():
    ink = np.zeros((256, 256), np.float32)
    ink[20:60, 30:40] = 1  # a small stroke in a corner, four times as high as wide
    image = np.array(ask("likeMnist", ink=ink.ravel().tolist())).reshape(32, 32)
    rows, columns = np.nonzero(image > 0.5)
    assert 22 <= rows.max() - rows.min() + 1 <= 24  # 20 of 28 pixels, on 32
    assert 5 <= columns.max() - columns.min() + 1 <= 7
    center = [(image.sum(axis=axis) @ (np.arange(32) + 0.5)) / image.sum() for axis in (0, 1)]
    np.testing.assert_allclose(center, [16, 16], atol=0.3)
    assert image.max() == pytest.approx(1)
    empty = ask("likeMnist", ink=[0.0] * 256**2)
    assert set(empty) == {0}


@node
def test_the_noise_of_the_page_is_normal_and_repeatable():
    values = np.array(ask("normals", count=20_000, seed=1))
    assert abs(values.mean()) < 0.03
    assert abs(values.std() - 1) < 0.03
    assert abs((values**3).mean()) < 0.1
    assert values[:10].tolist() == ask("normals", count=10, seed=1)
    assert values[:10].tolist() != ask("normals", count=10, seed=2)


@node
@pytest.mark.parametrize(
    ("p", "q"), [((0, 1), (0, 1)), ((-1, 0.7), (1, 1.4)), ((2, 3), (-1, 0.5)), ((4, 0.2), (-4, 3))]
)
def test_the_divergence_of_the_page_is_that_of_torch(p, q):
    ours = [{"mu": mu, "sigma": sigma} for mu, sigma in (p, q)]
    normal = [torch.distributions.Normal(*map(float, each)) for each in (p, q)]
    expected = torch.distributions.kl_divergence(*normal).item()
    assert ask("divergence", p=ours[0], q=ours[1]) == pytest.approx([expected] * 2, abs=1e-4)


@node
@pytest.mark.parametrize("index", range(len(list(BALANCE.glob("decoder-*.safetensors")))))
def test_the_page_decodes_what_torch_decodes_at_every_weight(index):
    _, weights = read(BALANCE / f"decoder-{index}.safetensors")
    model = build_model("linear-vae")
    state = {name: torch.from_numpy(value.copy()).float() for name, value in weights.items()}
    model.load_state_dict(state, strict=False)
    assert {f"decoder.{name}" for name in model.decoder.state_dict()} == {*state}
    z = 2 * torch.randn(10, 2, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        x_hat = model.decode(z).flatten(1)
    file = BALANCE / f"decoder-{index}.safetensors"
    decoded = ask("run", file=file, parts=["decoder"], inputs=z.tolist())
    np.testing.assert_allclose(decoded, x_hat, atol=1e-3)


@node
def test_the_derivatives_of_the_page_are_those_of_autograd():
    mu, log_var = (torch.tensor(value, requires_grad=True) for value in (0.5, -1.2))
    z = mu + (log_var / 2).exp() * 0.8
    z.backward()
    found = ask("reparameterize", mu=0.5, logVar=-1.2, eps=0.8)
    expected = {"z": z.item(), "byMu": mu.grad.item(), "byLogVar": log_var.grad.item()}
    assert found == pytest.approx(expected, rel=1e-6)


def test_scripts_have_names_that_every_server_knows_and_import_files_that_are_there():
    """Bytes are fetched whatever their type; a script that is not called one is refused."""
    static = ROOT / "book" / "_static"
    endings = {path.suffix for path in static.rglob("*") if path.is_file()}
    assert endings == {".css", ".js", ".png", ".safetensors", ".svg", ".txt", ".woff2"}
    imported = {
        RUNS.parent / name
        for path in RUNS.parent.glob("*.js")
        for name in re.findall(r"\bfrom \"\./([^\"]+)\"", path.read_text(encoding="utf8"))
    }
    assert len(imported) > 5
    assert [path.name for path in imported if not path.is_file()] == []


# ---------------------------------------------------------------------------- evidence


@pytest.fixture(scope="module")
def evidence_file(weights, digits, tmp_path_factory):
    """Five images under two VAEs, w = 0.5 and w = 1."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record_evidence, "GRID", LatentGrid(96, 4.0))
        patch.setattr(record_evidence, "COARSE", LatentGrid(48, 4.0))
        folder = tmp_path_factory.mktemp("evidence")
        [path] = record_evidence.export_evidence(weights[1:], digits, folder, 5, draws=2_048)
    return path


def test_the_evidence_is_that_of_the_package(weights, digits, evidence_file):
    head, arrays = read(evidence_file)
    x = digits.test.images[:5]
    assert [row["kl_weight"] for row in head["runs"]] == [0.5, 1.0]
    np.testing.assert_allclose(arrays["images"], 255 * x[:, 0], atol=0.01)
    assert arrays["labels"].tolist() == digits.test.labels[:5].tolist()
    for m, run in enumerate(weights[1:]):
        pixels = GaussianPixels(variance=head["runs"][m]["kl_weight"] / 2)
        exact = log_evidence(run.model, x, likelihood=pixels, grid=LatentGrid(128, 4.0))
        np.testing.assert_allclose(arrays["log_evidence"][m], exact.log_prob, atol=0.01)
        with torch.inference_mode():
            q = run.model.encode(x)
            image = run.model.decode(q.mu)
        np.testing.assert_allclose(arrays["mu"][m], q.mu)
        np.testing.assert_allclose(arrays["sigma"][m], (q.log_var / 2).exp(), rtol=1e-6)
        np.testing.assert_allclose(arrays["decoded"][m], 255 * image[:, 0], atol=0.51)
        below = elbo(run.model, x, likelihood=pixels, samples=1_024, seed=1)
        for K in (1, 2, 16):  # against 200 estimates of each bound, of other draws
            many = x.repeat_interleave(200, dim=0)
            each = iwae_bound(run.model, many, samples=K, likelihood=pixels, seed=1).view(5, 200)
            found = torch.from_numpy(arrays["bounds"][m][:, head["sizes"].index(K)])
            spread = each.std(dim=1)
            noise = spread * (1 / 200 + K / 2_048) ** 0.5
            assert ((each.mean(dim=1) - found).abs() < 5 * noise).all(), K
            if K == 1:
                noise = spread * (1 / 1_024 + 1 / 2_048) ** 0.5
                assert ((below - found).abs() < 5 * noise).all()


def test_a_stored_posterior_is_that_of_the_package(weights, digits, evidence_file):
    head, arrays = read(evidence_file)
    x, grid = digits.test.images[:5], LatentGrid(128, 4.0)
    for m, run in enumerate(weights[1:]):
        pixels = GaussianPixels(variance=head["runs"][m]["kl_weight"] / 2)
        expected = true_posterior(run.model, x, likelihood=pixels, grid=grid)
        for n in range(5):
            z = (grid.latents().numpy() - arrays["starts"][m, n]) / arrays["spacings"][m, n]
            inside = ((z >= 0) & (z <= record_evidence.SIDE - 1)).all(1)
            assert expected[n, inside].exp().sum() * grid.spacing**2 > 0.99
            stored = -head["nats"] * arrays["posteriors"][m, n]
            axes = [np.arange(record_evidence.SIDE)] * 2
            between = RegularGridInterpolator(axes, stored)(z[inside][:, ::-1])
            difference = (between - expected[n, inside].numpy())[between > -5]
            assert len(difference) > 50
            assert np.ptp(difference) < 0.1  # a missing constant, and the rest of a step


def test_the_recorded_bounds_rise_to_the_evidence_and_the_file_is_small():
    head, arrays = read(EVIDENCE)
    data = load_images("digits")
    count = len(arrays["labels"])
    assert EVIDENCE.stat().st_size <= 300_000
    assert [row["kl_weight"] for row in head["runs"]] == [*record_evidence.WEIGHTS]
    assert {row["data"] for row in head["runs"]} == {"digits"}
    np.testing.assert_allclose(arrays["images"], 255 * data.test.images[:count, 0], atol=0.01)
    short = arrays["log_evidence"][..., None] - arrays["bounds"]
    assert (np.diff(short) <= 1e-4).all()  # of each image: groups are joined
    assert short.min() > -0.05  # of the noise that is left after so many draws
    assert arrays["error"].max() / 9 < 0.05  # nats: see log_evidence
    mass = np.exp(-head["nats"] * arrays["posteriors"])
    inner = mass[..., 1:-1, 1:-1].sum((-2, -1)) / mass.sum((-2, -1))
    assert inner.min() > 0.998  # a window holds its posterior
    usual, sharp = np.median(short, axis=1)
    assert (sharp > 2 * usual).all()


@node
def test_the_page_reads_the_evidence_image_by_image(evidence_file):
    head, arrays = read(evidence_file)
    models = ask("evidence", file=evidence_file)
    assert [model["weight"] for model in models] == [0.5, 1.0]
    for m, model in enumerate(models):
        gaps = arrays["log_evidence"][m] - arrays["bounds"][m, :, 0]
        assert model["order"] == gaps.argsort().tolist()
        for n, image in enumerate(model["images"]):
            assert image["label"] == arrays["labels"][n]
            for name, stored in (
                ("given", arrays["images"][n]),
                ("decoded", arrays["decoded"][m, n]),
            ):
                np.testing.assert_allclose(image[name], stored.ravel() / 255, atol=1e-6)
            assert image["q"]["mu"] == pytest.approx(arrays["mu"][m, n].tolist())
            assert image["q"]["sigma"] == pytest.approx(arrays["sigma"][m, n].tolist())
            assert image["logEvidence"] == pytest.approx(arrays["log_evidence"][m, n])
            short = arrays["log_evidence"][m, n] - arrays["bounds"][m, n]
            assert image["short"] == pytest.approx(short.tolist(), abs=1e-6)
            posterior = image["posterior"]
            assert posterior["side"] == record_evidence.SIDE
            assert posterior["start"] == pytest.approx(arrays["starts"][m, n].tolist())
            assert posterior["spacing"] == pytest.approx(arrays["spacings"][m, n].tolist())
            stored = -head["nats"] * arrays["posteriors"][m, n].ravel()
            np.testing.assert_allclose(posterior["logDensity"], stored, atol=1e-5)


@node
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_region_holds_its_share_of_a_normal_density_and_of_two_peaks(share):
    axis = np.linspace(-5, 5, 81)
    z1, z2 = np.meshgrid(axis, axis)
    one = -0.5 * (z1**2 + z2**2)
    level, radius = ask("massLevel", logDensity=one.ravel().tolist(), share=share)
    # A normal density in a plane is below 1 - s of its peak outside of the region with the share s.
    assert level == pytest.approx(np.log(1 - share), abs=0.05)
    assert np.exp(-0.5 * radius**2) == pytest.approx(1 - share)
    two = np.logaddexp(-2 * ((z1 - 2) ** 2 + z2**2), -1 - 8 * ((z1 + 2) ** 2 + z2**2))
    level, _ = ask("massLevel", logDensity=two.ravel().tolist(), share=share)
    mass = np.exp(two)
    assert mass[two >= level].sum() / mass.sum() == pytest.approx(share, abs=0.02)


@node
def test_the_plane_of_a_posterior_shows_all_of_it_and_of_q():
    posterior = {"start": [1, 2], "spacing": [0.1, 0.001], "side": 11}
    limits = ask("limits", posterior=posterior, q={"mu": [3, 2], "sigma": [0.5, 0.01]})
    assert limits[0] == pytest.approx([1, 4.5])  # from the grid's edge to three deviations of q
    assert limits[1] == pytest.approx([1.9, 2.1])  # widened around the middle: 2 - 0.03 to 2 + 0.03


# ---------------------------------------------------------------------------- axes and dragging


@node
@pytest.mark.parametrize(
    ("kind", "middle"), [("linearScale", 50.05), ("logScale", 10**0.5)], ids=["linear", "log"]
)
def test_a_scale_and_its_inverse(kind, middle):
    values, pixels = [0.1, middle, 100.0], [200.0, 110.0, 20.0]
    found = ask(
        "scale", kind=kind, domain=[0.1, 100], range=[200, 20], values=values, pixels=pixels
    )
    assert found["pixels"] == pytest.approx(pixels)
    assert found["values"] == pytest.approx(values)


@node
@pytest.mark.parametrize(("width", "height", "per_unit"), [(400, 200, 50), (100, 300, 20)])
def test_a_plane_shows_its_limits_in_the_middle_of_its_box_with_equal_units(
    width, height, per_unit
):
    limits = [[-1, 4], [-3, 1]]
    box = {"left": 30, "top": 5, "right": 30 + width, "bottom": 5 + height}
    corners = [(1.5, -1), (2.5, -1), (1.5, 0), (-1, -3), (4, 1)]
    found = ask("equalScales", limits=limits, box=box, points=corners)
    middle, right, up, *ends = np.array(found["points"])
    assert found["perUnit"] == per_unit
    assert middle == pytest.approx([30 + width / 2, 5 + height / 2])
    assert right - middle == pytest.approx([per_unit, 0])
    assert up - middle == pytest.approx([0, -per_unit])
    for end in ends:
        assert (end >= [30 - 1e-9, 5 - 1e-9]).all()
        assert (end <= [30 + width + 1e-9, 5 + height + 1e-9]).all()


@node
@pytest.mark.parametrize(
    ("least", "low", "high", "step", "values"),
    [
        (0.9, -2.5, 2, 1, [-2, -1, 0, 1, 2]),
        (1.1, -2.5, 2, 2, [-2, 0, 2]),
        (3, 1, 11, 5, [5, 10]),
        (0.06, 0.05, 0.31, 0.1, [0.1, 0.2, 0.3]),
        (20, 1, 19, 20, []),
    ],
)
def test_ticks_lie_at_multiples_of_1_2_or_5(least, low, high, step, values):
    found = ask("ticks", least=least, low=low, high=high)
    assert found["step"] == pytest.approx(step)
    assert found["values"] == pytest.approx(values)


@node
def test_ticks_have_marks_and_numbers_where_there_is_room():
    style = {"color": "text", "markColor": "mark", "marks": [50, 54], "within": [0, 20]}
    along_x = ask("drawTicks", along="xTicks", values=[-1, 2, 3], style=style | {"baseline": 66})
    assert along_x == [
        ["mark", -10.5, 50, 1, 4],
        ["mark", 19.5, 50, 1, 4],
        ["text", "2", 20, 66, "center"],
        ["mark", 29.5, 50, 1, 4],
    ]
    along_y = ask("drawTicks", along="yTicks", values=[-1, 2], style=style | {"right": 44})
    assert along_y == [
        ["mark", 50, -10.5, 4, 1],
        ["mark", 50, 19.5, 4, 1],
        ["text", "2", 44, 24, "right"],
    ]
    numbers = ask("drawTicks", along="xTicks", values=[-2], style={"color": "text", "baseline": 9})
    assert numbers == [["text", "\N{MINUS SIGN}2", -20, 9, "center"]]


@node
def test_numbers_and_names_of_axes_stand_outside_of_the_box_and_apart():
    box = {"left": 40, "top": 10, "right": 240, "bottom": 210}
    drawn = ask("boxedAxes", box=box, values=[-4, -2, 0, 2, 4])
    assert ["frame", 40, 10, 200, 200] in drawn
    texts = [each[1:] for each in drawn if each[0] == "text"]
    assert {text for *_, text in texts} >= {"z₁", "z₂", "0", "2", "\N{MINUS SIGN}4"}
    below, beside = [], []
    for x, y, align, text in texts:
        width = 7 * len(text)
        left = {"left": x, "center": x - width / 2, "right": x - width}[align or "left"]
        if y >= 210 + 10:  # text is about 10 pixels high, above its baseline
            below.append((left, left + width))
        else:
            assert left + width < 40, text
            beside.append((y - 10, y))
    for row in (sorted(below), sorted(beside)):
        assert len(row) >= 4
        assert all(end < start for (_, end), (start, _) in pairwise(row))


# ---------------------------------------------------------------------------- contour lines


def grid_of(function, columns=9, rows=7):
    return [function(x, y) for y in range(rows) for x in range(columns)]


@node
def test_a_contour_of_a_linear_function_lies_where_the_function_says():
    [line] = ask("contours", values=grid_of(lambda x, y: x + 0.3 * y), columns=9, level=3.14)
    assert len(line) > 6
    for x, y in line:
        assert x + 0.3 * y == pytest.approx(3.14)  # also between the points of the grid
    assert {line[0][1], line[-1][1]} == {0, 6}  # from edge to edge


@node
def test_a_contour_of_a_hill_is_closed_and_smooth():
    values = grid_of(lambda x, y: (x - 20) ** 2 + (y - 20) ** 2, 41, 41)
    [line] = ask("contours", values=values, columns=41, level=150.0)
    assert line[0] == line[-1]
    radii = np.hypot(*(np.array(line) - 20).T)
    assert radii == pytest.approx(np.full(len(line), 150**0.5), abs=0.02)
    steps = np.diff(np.array(line), axis=0)
    turns = np.diff(np.unwrap(np.arctan2(steps[:, 1], steps[:, 0])))
    assert np.abs(turns).max() < 0.3  # stairs would turn by half a right angle and more


@node
def test_two_lines_at_a_saddle_do_not_cross_and_no_line_is_no_line():
    # 1 at the corners (0, 0) and (1, 1), 0 at the others, 1/2 in the middle.
    above = ask("contours", values=[1, 0, 0, 1], columns=2, level=0.6)
    assert sorted(round(x + y, 6) for line in above for x, y in line) == [0.4, 0.4, 1.6, 1.6]
    assert all(np.ptp(np.sum(line, axis=1)) < 1e-6 for line in above)  # around (0, 0) and (1, 1)
    below = ask("contours", values=[1, 0, 0, 1], columns=2, level=0.4)
    assert all(np.ptp(np.subtract(*np.transpose(line))) < 1e-6 for line in below)
    assert ask("contours", values=[1, 2, 3, 4], columns=2, level=9) == []


@node
def test_a_drag_begins_at_the_press_and_ends_when_it_is_lifted():
    told = ask("drag", events=[
        ("pointermove", 20, 30, 0), ("pointerdown", 30, 40, 1), ("pointermove", 35, 41, 1),
        ("pointermove", 37, 40, 1), ("pointerup", 37, 40, 0), ("pointermove", 38, 40, 0),
        ("pointerleave", 200, 40, 0),
    ])  # fmt: skip
    assert told == [
        ["hover", [10, 10]],
        ["capture", 7],
        ["start", [20, 20]],
        ["move", [20, 20], [20, 20]],
        ["move", [25, 21], [20, 20]],
        ["move", [27, 20], [25, 21]],
        ["end"],
        ["hover", [28, 20]],
        ["hover", None],
    ]


@node
@pytest.mark.parametrize("last", ["pointercancel", "pointermove"])
def test_a_drag_that_the_system_takes_away_ends_once(last):
    told = ask("drag", events=[
        ("pointerdown", 30, 40, 1), (last, 31, 40, 0), ("pointerup", 31, 40, 0),
        ("pointermove", 40, 40, 1),
    ])  # fmt: skip
    assert [name for name, *_ in told if name != "hover"] == [
        "capture", "start", "move", "end", "move",
    ]  # fmt: skip
    assert told[-1] == ["move", [30, 20], None]  # pressed elsewhere: no drag of this element


@node
def test_arrow_keys_give_a_direction_and_do_not_scroll_and_other_keys_do():
    told = ask("keys", events=[("ArrowUp", False), ("a", False), ("ArrowLeft", True)])
    assert told == [
        ["arrow", [0, 1], False], False, True, ["arrow", [-1, 0], True], False,
    ]  # fmt: skip
