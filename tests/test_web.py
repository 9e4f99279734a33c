"""Web: packs hold what the run holds; the page's modules read and compute the same from them."""

import json
import re
import shutil
import struct
import subprocess
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from lecture_book.figures import record_runs
from lecture_vae import (
    NegativeELBO,
    SquaredError,
    TrainConfig,
    build_model,
    fetch_run,
    kl_per_latent,
    load_images,
    total_variance,
)
from lecture_vae.checkpoints import decoder_steps
from lecture_vae.cli import app
from lecture_vae.drawing import PALETTE
from lecture_vae.web import export_balance, export_run, pack

ROOT = Path(__file__).resolve().parents[1]
RUNS = ROOT / "book" / "_static" / "live" / "runs"
BALANCE = RUNS.parent / "balance"
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
    """A pack, read as its description says."""
    content = path.read_bytes()
    assert content[:4] == b"LVAE"
    (length,) = struct.unpack("<I", content[4:8])
    head, body = json.loads(content[8 : 8 + length]), content[8 + length :]
    assert (8 + length) % 4 == 0
    assert (len(body), zlib.crc32(body)) == (head["bytes"], head["crc32"])
    arrays = {}
    for name, stored in head["arrays"].items():
        assert stored["offset"] % 4 == 0
        count = int(np.prod(stored["shape"]))
        dtype = np.dtype(stored["dtype"]).newbyteorder("<")
        values = np.frombuffer(body, dtype, count, stored["offset"])
        arrays[name] = values.reshape(stored["shape"]) * stored.get("scale", 1)
    return head, arrays


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
    folder = tmp_path_factory.mktemp("packs")
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


# ---------------------------------------------------------------------------- packs


def test_the_packs_hold_the_run(runs, exported, digits):
    for name, files in exported.items():
        run = runs[name]
        assert [path.name for path in files] == [
            "model.bin", "encoder.bin", "training.bin",
            *(f"decoder-{step}.bin" for step in run.decoders),
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


def test_codes_that_are_all_zero_survive(tmp_path):
    path = tmp_path / "zero.bin"
    path.write_bytes(pack({}, {"mu": np.zeros((3, 2), np.float32)}))
    assert read(path)[1]["mu"].tolist() == [[0, 0]] * 3


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
    assert read(tmp_path / "ae" / "model.bin")[0]["run"]["key"] == run.key
    refused = CliRunner().invoke(app, ["export", "none", "--out", str(tmp_path)])
    assert refused.exit_code == 2
    assert "begin with 'none'" in refused.output


def test_the_recorded_packs_are_small_and_of_the_recorded_code():
    described = json.loads((ROOT / "results" / "reproduction.json").read_text(encoding="utf8"))
    for folder, key in (
        ("vae_1", "linear_vae_1"),
        ("vae_100", "linear_vae_100"),
        ("ae", "linear_ae"),
    ):
        head, arrays = read(RUNS / folder / "model.bin")
        ours = described["runs"][key]["ours"]
        assert (head["run"]["steps"], head["run"]["data"]) == (ours["steps"], "mnist")
        assert arrays["mu"].shape == (10_000, 2)
        last = read(RUNS / folder / "training.bin")[0]["rows"][-1]
        per = 1024 if folder == "ae" else 1
        assert last["test_loss"] / per == pytest.approx(ours["test_loss"], rel=1e-9)
        assert (RUNS / folder / "model.bin").stat().st_size <= LIMIT - 2**17  # scripts come on top
        for path in (RUNS / folder).iterdir():
            assert path.stat().st_size <= 2 * LIMIT, path.name


# ---------------------------------------------------------------------------- several weights


@pytest.fixture(scope="module")
def weights(store, digits):
    config = TrainConfig(steps=40, eval_every=5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LECTURE_VAE_RUNS", str(store))
        return [fetch_run("linear-vae", NegativeELBO(w), digits, config) for w in (9.0, 0.5, 1.0)]


def test_the_balance_holds_every_run_in_order_of_its_weight(weights, digits, tmp_path):
    files = export_balance(weights, digits, tmp_path)
    assert [f.name for f in files] == ["balance.bin", *(f"decoder-{k}.bin" for k in range(3))]
    head, arrays = read(files[0])
    assert [row["kl_weight"] for row in head["rows"]] == [0.5, 1.0, 9.0]
    images = digits.train.images.flatten(1).numpy()
    expected = np.linalg.svd(images - images.mean(0), compute_uv=False)[:2] ** 2 / len(images)
    np.testing.assert_allclose(head["variances"], expected, rtol=1e-4)
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
        decoder, arrays_k = read(files[1 + k])
        assert decoder["run"]["key"] == row["key"] == run.key
        for name, value in arrays_k.items():
            assert np.array_equal(value, run.model.state_dict()[name].half().numpy()), name


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
    assert len(read(tmp_path / "balance.bin")[0]["rows"]) == 3


def test_the_recorded_balance_is_small_and_of_the_recorded_runs():
    described = json.loads((ROOT / "results" / "reproduction.json").read_text(encoding="utf8"))
    head, arrays = read(BALANCE / "balance.bin")
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
    first = BALANCE / "balance.bin", BALANCE / "decoder-0.bin"
    assert sum(path.stat().st_size for path in first) <= LIMIT - 2**17  # scripts come on top


# ---------------------------------------------------------------------------- in the page


def half(model):
    """The model as a pack keeps it."""
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
    decoded = ask("run", file=folder / "model.bin", parts=["decoder"], inputs=z.tolist())
    np.testing.assert_allclose(decoded, x_hat, atol=1e-3)
    images = x.flatten(1).tolist()
    found = {"code": ["encoder"]}
    if hasattr(q, "log_var"):
        found = {"mu": ["trunk", "to_mu"], "log_var": ["trunk", "to_log_var"]}
    for name, parts in found.items():
        answer = ask("run", file=folder / "encoder.bin", parts=parts, inputs=images)
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
    head, decoder = read(RUNS / folder / "model.bin")
    _, encoder = read(RUNS / folder / "encoder.bin")
    model = build_model(head["run"]["model"])
    weights = {name: value for name, value in (decoder | encoder).items() if "." in name}
    model.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in weights.items()})
    check_against_torch(RUNS / folder, half(model))


@node
def test_the_page_reads_what_python_wrote(exported):
    for path in exported["linear-vae"]:
        head, arrays = read(path)
        answer = ask("read", file=path)
        assert answer["head"] == head
        for name, values in arrays.items():
            np.testing.assert_allclose(answer["arrays"][name], values.ravel(), rtol=1e-6)


DAMAGED = "PackError: file is damaged or was cut off."


@node
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: b"PNG\r" + c[4:], "PackError: file is not a pack of this lecture."),
        (lambda c: c[:7], "PackError: file is not a pack of this lecture."),
        (lambda c: c[:100], "PackError: file is damaged: its head cannot be read."),
        (lambda c: c.replace(b'"format":1', b'"format":2'), "PackError: file has format 2,"),
        (lambda c: c[:-4], DAMAGED),
        (lambda c: c[:-9] + bytes([c[-9] ^ 1]) + c[-8:], DAMAGED),
    ],
)  # fmt: skip
def test_a_pack_that_does_not_match_is_refused_in_words(exported, tmp_path, change, message):
    path = tmp_path / "pack.bin"
    path.write_bytes(change(exported["linear-vae"][0].read_bytes()))
    assert ask("refuse", file=path).startswith(message)


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
@pytest.mark.parametrize("index", range(len(list(BALANCE.glob("decoder-*.bin")))))
def test_the_page_decodes_what_torch_decodes_at_every_weight(index):
    _, weights = read(BALANCE / f"decoder-{index}.bin")
    model = build_model("linear-vae")
    state = {name: torch.from_numpy(value.copy()).float() for name, value in weights.items()}
    model.load_state_dict(state, strict=False)
    assert {f"decoder.{name}" for name in model.decoder.state_dict()} == {*state}
    z = 2 * torch.randn(10, 2, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        x_hat = model.decode(z).flatten(1)
    file = BALANCE / f"decoder-{index}.bin"
    decoded = ask("run", file=file, parts=["decoder"], inputs=z.tolist())
    np.testing.assert_allclose(decoded, x_hat, atol=1e-3)


@node
@pytest.mark.parametrize("w", [0.1, 1, 5, 9, 50])
def test_the_linear_theory_of_the_page_is_the_least_loss(w):
    """The best a, b, s for each direction, found by search, cost what the page says."""
    from scipy.optimize import minimize

    variances, total = (6.4, 4.4), 50.0

    def parts(p, variance):
        a, b, log_s2 = p
        error = variance * (1 - a * b) ** 2 + a**2 * np.exp(log_s2)
        return error, (b**2 * variance + np.expm1(log_s2) - log_s2) / 2

    def cost(p, variance):
        error, kl = parts(p, variance)
        return error + w * kl

    best = [
        min((minimize(cost, start, (v,), tol=1e-12) for start in ([2, 0.3, -2], [0.1, 0.1, 0])),
            key=lambda found: found.fun).x
        for v in variances
    ]  # fmt: skip
    found = [parts(p, v) for p, v in zip(best, variances, strict=True)]
    answer = ask("linearTheory", w=w, variances=variances, total=total)
    rest = total - sum(variances)
    assert answer["squaredError"] == pytest.approx(rest + sum(e for e, _ in found), abs=1e-3)
    assert answer["kl"] == pytest.approx([kl for _, kl in found], abs=1e-3)


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
    assert endings == {".bin", ".css", ".js", ".png", ".svg"}
    imported = {
        RUNS.parent / name
        for path in RUNS.parent.glob("*.js")
        for name in re.findall(r"\bfrom \"\./([^\"]+)\"", path.read_text(encoding="utf8"))
    }
    assert len(imported) > 5
    assert [path.name for path in imported if not path.is_file()] == []
