"""The drawings of models: as the script writes them, true to the networks, readable."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from conftest import BROWSER
from torch import nn

from lecture_book.figures import architectures, models, svg
from lecture_book.notebooks.book import read_book
from lecture_book.project import MODELS
from lecture_vae import build_model

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / MODELS
SVG = "{http://www.w3.org/2000/svg}"
PHONE = 358  # CSS pixels for the text of a page that is 390 wide
NAMES = sorted(models.DRAWINGS)


@pytest.fixture(scope="module")
def drawings():
    return {name: draw() for name, draw in models.DRAWINGS.items()}


def texts_of(drawing):
    return ["".join(tag.itertext()) for tag in ElementTree.fromstring(drawing).iter(f"{SVG}text")]


@pytest.mark.parametrize("name", NAMES)
def test_the_files_are_what_the_script_writes(drawings, name):
    written = (FOLDER / f"{name}.svg").read_text(encoding="utf8")
    assert written == drawings[name], "run `python -m lecture_book.figures.models`"
    shown = models.digest_in(FOLDER / f"{name}.png")
    assert shown == models.digest_of(written), "run `python -m lecture_book.figures.models`"


def test_every_drawing_is_shown_by_a_chapter_and_no_file_is_left_over():
    shown = re.findall(
        r"\{figure\} _static/models/([\w-]+)\.svg\n", "".join(p.text for p in read_book(ROOT).pages)
    )
    assert sorted(shown) == NAMES
    assert sorted(path.stem for path in FOLDER.iterdir()) == sorted([*NAMES, *NAMES])


@pytest.mark.parametrize("name", NAMES)
def test_a_drawing_says_what_it_shows_and_can_be_read_on_a_phone(drawings, name):
    root = ElementTree.fromstring(drawings[name])
    assert len(root.findtext(f"{SVG}title")) > 20
    assert len(root.findtext(f"{SVG}desc")) > 100
    width = float(root.attrib["viewBox"].split()[2])
    sizes = [float(tag.attrib["font-size"]) for tag in root.iter(f"{SVG}text")]
    assert min(sizes) * min(1, PHONE / width) >= 11.5


def shapes_of(model):
    """The shape behind every layer with weights and the Unflatten, seen by hooks."""
    seen = []
    for part in (model.trunk, model.to_mu) if hasattr(model, "trunk") else (model.encoder,):
        seen += hook(part)
    seen += hook(model.decoder)
    with torch.inference_mode():
        model(torch.zeros(1, 1, 32, 32))
    return [tuple(each[-1].shape[1:]) for each in seen]


def hook(part):
    outputs = []
    for layer in part.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            outputs.append([])
            layer.register_forward_hook(lambda _m, _i, out, to=outputs[-1]: to.append(out))
        elif isinstance(layer, nn.Unflatten):
            layer.register_forward_hook(lambda _m, _i, out, to=outputs[-1]: to.append(out))
    return outputs


@pytest.mark.parametrize(
    ("name", "drawing", "latent"),
    [
        ("linear-ae", "linear-ae", None),
        ("linear-vae", "linear-vae", "2"),
        ("conv-ae", "convolutional", None),
        ("conv-vae", "convolutional", "4 × 4 × 4"),
    ],
)
def test_the_shapes_are_those_of_the_network(drawings, name, drawing, latent):
    shapes = [
        architectures.shape_text(s) for s in [(1, 32, 32), *shapes_of(build_model(name).eval())]
    ]
    bars = [
        text for text in texts_of(drawings[drawing]) if re.fullmatch(r"[\d,]+( × [\d,]+)*", text)
    ]
    if drawing == "convolutional":  # first the column of the autoencoder, then that of the VAE
        bars = bars[:7] if name == "conv-ae" else bars[7:]
    assert bars == shapes  # the shape of a head is that of z, which is drawn
    if latent:
        assert any(f"{latent} each" in text for text in texts_of(drawings[drawing]))


def test_layers_are_named_with_what_decides_their_shape():
    named = [
        (nn.Conv2d(1, 8, 5, stride=2), "conv 5 × 5, stride 2"),
        (nn.Conv2d(4, 4, 3, padding="same"), "conv 3 × 3"),
        (nn.ConvTranspose2d(8, 1, 2, stride=2), "transposed conv 2 × 2, stride 2"),
        (nn.Linear(2, 3), "linear"),
    ]
    assert [architectures.describe(layer) for layer, _ in named] == [text for _, text in named]
    with pytest.raises(ValueError, match=r"no drawing of a Tanh"):
        architectures.describe(nn.Tanh())


def test_networks_that_are_not_drawn_right_are_refused(monkeypatch):
    model = build_model("linear-vae")
    model.to_log_var = nn.Sequential(nn.Linear(32, 2))
    monkeypatch.setattr(architectures, "build_model", lambda _: model)
    with pytest.raises(ValueError, match="no drawing of a Sequential"):
        architectures.read_architecture("linear-vae")


def test_a_formula_sets_letters_in_italics_and_words_upright():
    text = ElementTree.fromstring(svg.formula((0, 0), "log σ^2 = x\u0302_n"))
    upright = {tag.text: "font-style" not in tag.attrib for tag in text}
    assert upright | {"log": True, "σ": False, "2": True, "x\u0302": False, "n": False} == upright
    drops = [float(tag.attrib.get("dy", 0)) for tag in text]
    assert sum(drops[:4]) < 0 < sum(drops), "2 stands above the line, n below"


@pytest.mark.site
@pytest.mark.skipif(BROWSER is None, reason="needs a browser (Debian: apt install chromium)")
@pytest.mark.parametrize("name", NAMES)
def test_no_text_leaves_a_drawing_or_covers_another(browser, drawings, name):
    page = browser.new_page()
    page.set_content(f"<body style='margin: 0'>{drawings[name]}</body>")
    boxes = page.eval_on_selector_all(
        "text", "texts => texts.map(t => [t.textContent, t.getBBox()]"
        ".map(v => typeof v === 'string' ? v : [v.x, v.y, v.x + v.width, v.y + v.height]))"
    )  # fmt: skip
    _, _, width, height = map(float, re.search(r'viewBox="([^"]*)"', drawings[name])[1].split())
    page.close()
    for text, (left, top, right, bottom) in boxes:
        assert left >= 0, text
        assert right <= width, text
        assert top >= 0, text
        assert bottom <= height, text
    for number, (one, a) in enumerate(boxes):
        for other, b in boxes[number + 1 :]:
            apart = a[2] <= b[0] or b[2] <= a[0] or a[3] - 4 <= b[1] or b[3] - 4 <= a[1]
            assert apart, f"{one!r} and {other!r}"
