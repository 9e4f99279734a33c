"""The live figure of codes: its file holds run and priors; the page computes what torch does."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_live_export import ROOT, ask, digits, node, read, store
from torch.nn.functional import conv_transpose2d

from lecture_book.experiments.codes import codes_of, independent_log_shares
from lecture_book.figures import record_codes
from lecture_book.figures.record_codes import code_file
from lecture_book.project import LIVE
from lecture_vae import CodePrior, build_model, fetch_runs, fit_code_prior
from lecture_vae.live import write_files

__all__ = ["digits", "store"]  # fixtures
RECORDED = ROOT / LIVE / "codes" / "codes.safetensors"
BITS = 1 / math.log(2)  # in a nat
DRAWS = torch.rand(30, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def run(store, digits):
    spec = record_codes.SPEC
    short = replace(spec, config=replace(spec.config, steps=60, eval_every=30))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LECTURE_VAE_RUNS", str(store))
        [run] = fetch_runs([short], digits)
    return run


@pytest.fixture(scope="module")
def priors(run, digits):
    """The autoregressive prior, a little fitted, and the shares of the independent one."""
    codes = codes_of(run, digits.train.images)
    return fit_code_prior(codes, 8, steps=50), independent_log_shares(codes, 8)


@pytest.fixture(scope="module")
def written(run, priors, digits, tmp_path_factory):
    file = code_file(run, *priors, digits)
    [path] = write_files(tmp_path_factory.mktemp("codes"), {"codes": file})
    return path


@pytest.fixture(params=["recorded", "written"])
def path(request):
    """The file of the site, and one of a run that was just trained."""
    return RECORDED if request.param == "recorded" else request.getfixturevalue("written")


def prior_of(arrays):
    """The prior that a file holds."""
    prior = CodePrior(16, 8, hidden=arrays["prior.bias"].shape[1])
    state = {name: torch.tensor(arrays[f"prior.{name}"]).float() for name in prior.state_dict()}
    prior.load_state_dict(state)
    return prior


def independent_of(arrays):
    """The log-probabilities of each code at each position; rounded, they would not sum to 1."""
    return torch.tensor(arrays["independent"]).double().log_softmax(dim=1)


def test_the_file_holds_the_codes_of_test_images_and_not_their_pixels(written, run, digits):
    _, arrays = read(written)
    labels = digits.test.labels
    for digit, starts in enumerate(arrays["starts"]):
        assert starts.tolist() == run.code[labels == digit][: record_codes.STARTS].tolist()
    assert arrays["starts"].shape == (10, 10, 16)
    assert not any(array.shape[-2:] == (32, 32) for array in arrays.values())


def test_the_folded_decoder_is_the_decoder_of_the_run(written, run):
    """Up to the rounding of the weights to float16."""
    head, arrays = read(written)
    z = run.model.vectors(torch.randint(8, (20, 4, 4), generator=torch.Generator().manual_seed(1)))
    x = z
    for layer in head["networks"]["decoder"]:
        weight, bias = (
            torch.tensor(arrays[f"{layer['layer']}.{part}"]).float() for part in ("weight", "bias")
        )
        assert layer["kernel"] == weight.shape[2]
        x = conv_transpose2d(x, weight, bias, layer["stride"], layer["padding"])
        x = x.relu() if layer["activation"] == "relu" else x.sigmoid()
    with torch.inference_mode():
        torch.testing.assert_close(x, run.model.decode(z), atol=5e-3, rtol=0)
    assert [layer["activation"] for layer in head["networks"]["decoder"]] == [
        "relu", "relu", "sigmoid"
    ]  # fmt: skip


def test_the_prices_in_the_file_are_means_over_the_test_images(written, run, priors):
    head, _ = read(written)
    prior, independent = priors
    codes = run.code.long()
    with torch.no_grad():
        autoregressive = -prior.log_prob(codes).mean().item() * BITS
    by_position = [-independent[j, codes[:, j]].mean().item() for j in range(16)]
    assert head["bits"] == pytest.approx(
        {"independent": sum(by_position) * BITS, "autoregressive": autoregressive}
    )


def test_independent_shares_are_counted_with_one_more_of_each():
    codes = torch.tensor([[0, 2], [0, 1], [1, 2]])
    shares = independent_log_shares(codes, 3).exp()
    assert shares.tolist() == pytest.approx(torch.tensor([[3, 2, 1], [1, 2, 3]]) / 6)


def test_the_recorded_file_is_small_and_of_what_the_chapter_trains():
    head, arrays = read(RECORDED)
    chapter = (ROOT / "book" / "10_discrete_codes.md").read_text(encoding="utf8")
    steps = head["run"]["steps"]
    every = record_codes.SPEC.config.eval_every
    assert f"TrainConfig(steps={steps:_}, eval_every={every})" in chapter
    assert f"entries, steps={record_codes.PRIOR_STEPS:_} if long" in chapter
    assert f"entries = {len(arrays['codebook'])}  # M" in chapter
    assert (head["run"]["model"], head["run"]["data"]) == ("vq-vae", "mnist")
    assert RECORDED.stat().st_size <= 100_000
    assert arrays["starts"].shape == (10, 10, 16)
    # What the figure is to show: a prior that knows more makes real codes cheaper.
    assert head["bits"]["autoregressive"] < 0.9 * head["bits"]["independent"] < 0.9 * 48


@node
def test_the_page_decodes_codes_as_torch_does(path):
    head, arrays = read(path)
    codes = torch.randint(8, (20, 16), generator=torch.Generator().manual_seed(2))
    z = torch.tensor(arrays["codebook"]).float()[codes].movedim(1, 2).reshape(20, -1, 4, 4)
    model = build_model("vq-vae").eval()
    model.load_state_dict({"codebook": torch.tensor(arrays["codebook"])}, strict=False)
    torch.testing.assert_close(model.vectors(codes.view(20, 4, 4)), z)
    for layer in head["networks"]["decoder"]:
        parts = (torch.tensor(arrays[f"{layer['layer']}.{p}"]).float() for p in ("weight", "bias"))
        z = conv_transpose2d(z, *parts, layer["stride"], layer["padding"])
        z = {"relu": torch.relu, "sigmoid": torch.sigmoid}[layer["activation"]](z)
    answer = ask("decodeCodes", file=path, grids=codes.tolist())
    np.testing.assert_allclose(answer, z.flatten(1), atol=1e-5)


@node
def test_the_page_prices_codes_as_torch_does(path):
    _, arrays = read(path)
    codes = (DRAWS * 8).long()
    found = ask("codeBits", file=path, grids=codes.tolist())
    assert found["uniform"] == pytest.approx(np.full((30, 16), 3.0))
    log_p = independent_of(arrays).gather(1, codes.T).T
    np.testing.assert_allclose(found["independent"], -log_p * BITS, rtol=1e-5)
    prior = prior_of(arrays)
    with torch.inference_mode():
        each = prior.logits(codes).log_softmax(dim=2).gather(2, codes[..., None])[..., 0]
        whole = prior.log_prob(codes)
    np.testing.assert_allclose(found["autoregressive"], -each * BITS, atol=1e-4)
    np.testing.assert_allclose(np.sum(found["autoregressive"], axis=1), -whole * BITS, rtol=1e-5)


@node
def test_the_page_draws_codes_as_torch_does(path):
    """With the same uniform numbers: the first entry up to which the shares exceed the number."""
    _, arrays = read(path)
    prior = prior_of(arrays)
    uniforms = DRAWS.double()
    shares = independent_of(arrays).exp().cumsum(dim=1)
    codes = torch.zeros(30, 16, dtype=torch.long)
    for j in range(16):
        with torch.inference_mode():
            below = prior.logits(codes)[:, j].double().softmax(dim=1).cumsum(dim=1)
        codes[:, j] = (below <= uniforms[:, j, None]).sum(dim=1)
    assert ask("drawCodes", file=path, uniforms=uniforms.tolist()) == {
        "uniform": (uniforms * 8).long().tolist(),
        "independent": (shares <= uniforms[..., None]).sum(dim=2).tolist(),
        "autoregressive": codes.tolist(),
    }


@node
def test_the_frame_holds_the_pixels_that_a_code_can_change_and_no_more(run, written):
    found = ask("reach", file=written)
    for place, (first, last) in enumerate(found):
        assert last - first == 13
        codes = torch.randint(8, (300, 4, 4), generator=torch.Generator().manual_seed(place))
        other = codes.clone()
        other[:, place, place] = (codes[:, place, place] + 1) % 8
        with torch.inference_mode():
            images, others = (run.model.decode(run.model.vectors(each)) for each in (codes, other))
        changed = (images != others).any(dim=0)[0]
        for axis in (0, 1):
            rows = changed.any(dim=axis).nonzero().flatten().tolist()
            assert (rows[0], rows[-1]) == (max(0, first), min(31, last))


@node
def test_uniform_numbers_of_the_page_are_uniform_and_repeatable():
    values = np.array(ask("uniforms", count=20_000, seed=1))
    assert ((values >= 0) & (values < 1)).all()
    assert np.abs(np.histogram(values, bins=10, range=(0, 1))[0] / 2_000 - 1).max() < 0.1
    assert values[:10].tolist() == ask("uniforms", count=10, seed=1)
    assert values[:10].tolist() != ask("uniforms", count=10, seed=2)


def test_the_colors_of_the_entries_are_those_of_the_chapter():
    from matplotlib import colormaps
    from matplotlib.colors import Normalize, to_hex

    script = (ROOT / LIVE / "codes.js").read_text(encoding="utf8")
    chapter = (ROOT / "book" / "10_discrete_codes.md").read_text(encoding="utf8")
    assert 'cmap="Pastel1", vmin=0, vmax=8' in chapter
    shown = [to_hex(colormaps["Pastel1"](Normalize(0, 8)(entry))) for entry in range(8)]
    listed = script.partition("ENTRY_COLORS = [")[2].partition("]")[0]
    assert [part.strip(' "\n') for part in listed.split(",") if part.strip()] == shown
