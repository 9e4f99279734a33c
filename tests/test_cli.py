import json
import os
import re
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import pytest
import torch
from machine import strongest
from typer.testing import CliRunner

from lecture_grader.cli import app as grader
from lecture_vae.cli import app

SMALL = ["--data", "digits", "--steps", "4", "--eval-every", "2", "--batch-size", "8"]


@pytest.fixture
def call():
    runner = CliRunner()

    def invoke(*words, code=0):
        program = grader if words[0] in ("release", "grade", "regrade", "diff") else app
        result = runner.invoke(program, list(words))
        assert result.exit_code == code, (result.output, result.exception)
        return result

    return invoke


def test_train_prints_one_json_object_as_its_last_line(call):
    figures = json.loads(call("train", "linear-vae", *SMALL, "--json").stdout.splitlines()[-1])
    assert list(figures) == [
        "model", "steps", "kl_weight", "seed", "data", "train_loss", "test_loss",
        "test_reconstruction", "test_kl", "seconds", "objective", "engine", "key",
    ]  # fmt: skip
    assert figures["model"] == "linear-vae"
    assert figures["steps"] == 4
    assert figures["kl_weight"] == 1.0
    assert figures["data"] == "digits"


def test_a_stored_run_is_found_with_its_seconds_and_fresh_trains_again(call):
    def seconds(*more):
        return json.loads(call("train", "linear-ae", *SMALL, "--json", *more).stdout)["seconds"]

    first = seconds()
    assert seconds() == first
    assert seconds("--fresh") != first


def test_every_option_reaches_the_run(call):
    words = ["--lr", "0.01", "--seed", "7", "--kl-weight", "2.5", "--device", "cpu", "--json"]
    plain = json.loads(call("train", "conv-vae", *SMALL, *words).stdout)
    assert plain["seed"] == 7
    assert plain["kl_weight"] == 2.5
    other = json.loads(call("train", "conv-vae", *SMALL, *words, "--lr", "0.02").stdout)
    assert other["test_loss"] != plain["test_loss"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "vae"], "there is no model 'vae'; the models are linear-ae"),
        (["train", "linear-ae", "--steps", "0"], "steps must be a whole number >= 1, got 0"),
        (["train", "linear-vae", "--kl-weight", "-1"], "kl_weight must be a finite number"),
        (["train", "linear-ae", "--data", "nowhere"], "is not a folder"),
        (["train", "linear-ae", "--kl-weight", "2"], "squared-error has no kl_weight"),
        (["data", "nowhere"], "is not a folder"),
        (["animate", "0000"], "0 of the 0 runs"),
    ],
)
def test_bad_input_is_one_clear_line(call, words, message):
    data = [] if "--data" in words or words[0] != "train" else ["--data", "digits"]
    result = call(*words, *data, code=2)
    assert message in result.stderr
    assert re.match("lecture-(vae|grader): ", result.stderr)
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "words",
    [["grade"], ["release", "x.md", "--out", "y"], ["grade", "--help"], ["grade", "--", "-"]],
)
def test_verbs_that_have_moved_name_the_new_command_in_one_line(words):
    result = CliRunner().invoke(app, words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"lecture-grader {words[0]}" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert words[0] not in CliRunner().invoke(app, ["--help"]).stdout


def test_data_says_which_images_they_are(call):
    assert call("data", "digits").stdout.startswith("digits: 1,438 training and 359 test images")


@pytest.mark.parametrize("model", ["linear-vae", "conv-ae"])
def test_animate_writes_a_video_and_a_still(call, tmp_path, model):
    call("train", model, *SMALL)
    (run,) = (tmp_path / "runs").glob("*/run.json")
    path = tmp_path / "out" / "evolution.mp4"
    call("animate", run.parent.name[:6], "--data", "digits", "--out", str(path))
    frames, _ = imageio_ffmpeg.count_frames_and_secs(path)
    assert frames >= 3
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_animate_refuses_the_labels_of_other_data(call, tmp_path):
    call("train", "linear-ae", *SMALL)
    (head,) = (tmp_path / "runs").glob("*/run.json")
    trained_on = json.loads(head.read_text())
    trained_on["recipe"]["data"]["fingerprint"] = "f" * 16
    head.write_text(json.dumps(trained_on))
    result = call("animate", head.parent.name, "--data", "digits", code=2)
    assert "the data that it was trained on, digits" in result.stderr


def test_a_store_that_cannot_be_written_stops_a_verb_in_one_line(call, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LECTURE_VAE_RUNS", str(tmp_path / "file" / "runs"))
    monkeypatch.setattr("lecture_vae.runs.cores", lambda: 1)
    for words in (["train", "linear-ae", *SMALL], ["reproduce", "--data", "digits"]):
        result = call(*words, code=2)
        assert "must be writable" in result.stderr.splitlines()[-1]
        assert len(result.stderr.splitlines()) == 1


def test_reproduce_shows_ours_beside_the_originals(call, tmp_path, monkeypatch):
    from lecture_vae.training import TrainConfig

    monkeypatch.setattr(
        "lecture_vae.reproduction.lecture_config",
        lambda model, seed: TrainConfig(steps=2, batch_size=8, eval_every=2, seed=seed),
    )
    monkeypatch.setattr("lecture_vae.runs.cores", lambda: 1)
    quick = call("reproduce", "--data", "digits", "--out", str(tmp_path / "results"))
    assert "LinearVAE, kl_weight 100" in quick.stdout
    assert "use --full" in quick.stdout
    assert not (tmp_path / "results").exists()
    monkeypatch.setenv("LECTURE_VAE_BUDGET", "quick")  # so that --full's own setting is undone
    call("reproduce", "--full", "--data", "digits", "--out", str(tmp_path / "results"))
    results = json.loads((tmp_path / "results" / "reproduction.json").read_text())
    assert results["data"]["name"] == "digits"


DIVERGENCE = str(Path(__file__).parents[1] / "exercises" / "02_divergence.md")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["release", "nowhere.md"], "No such file or directory: 'nowhere.md'"),
        (["release", __file__], "an assignment is the .md source of the exercises, got a .py"),
        (["grade", DIVERGENCE, "nowhere"], "No such file or directory: 'nowhere'"),
        (["grade", DIVERGENCE, "empty"], "holds no notebook: expected STUDENT.ipynb"),
        (["grade", DIVERGENCE, "handed-in", "--sandbox", "jail"], "a sandbox is one of auto"),
    ],
)
def test_what_cannot_be_released_or_graded_is_one_clear_line(
    call, tmp_path, monkeypatch, words, message
):
    (tmp_path / "empty").mkdir()
    (tmp_path / "handed-in").mkdir()
    (tmp_path / "handed-in" / "ada.ipynb").write_text("{}")
    monkeypatch.chdir(tmp_path)
    result = call(*words, "--out", "out", code=2)
    assert message in result.stderr
    assert result.stderr.startswith("lecture-grader: ")
    assert len(result.stderr.splitlines()) == 1


def test_a_release_that_is_refused_shows_which_answer_fared_wrong(call, tmp_path):
    source = Path(DIVERGENCE).read_text(encoding="utf8")
    weak = tmp_path / "weak.md"
    weak.write_text(source.replace("torch.log2(q / p)", "torch.log2(p / q)").replace(
        "bits = q * torch", "bits = p * torch").replace("torch.where(q > 0", "torch.where(p > 0"
    ))  # fmt: skip
    result = call("release", str(weak), "--out", str(tmp_path / "out"), code=2)
    (row,) = [line for line in result.stdout.splitlines() if "<-- must not be" in line]
    words = " ".join(row.split())
    assert words == "arguments-swapped public passes hidden passes <-- must not be"
    assert "arguments-swapped must fail, but passes the public and the hidden" in result.stderr
    assert not (tmp_path / "out").exists()


def test_grading_without_its_extra_says_how_to_get_it(call, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jupytext", None)
    monkeypatch.delitem(sys.modules, "lecture_grader.authoring.assignment", raising=False)
    result = call("release", DIVERGENCE, "--out", str(tmp_path), code=2)
    assert "pip install 'lecture-vae[grading]'" in result.stderr


@pytest.mark.slow
def test_grade_prints_one_json_object_as_its_last_line(call, tmp_path):
    level = strongest()
    from lecture_grader.sandbox.choose import choose

    assert choose("auto").level == level
    call("release", DIVERGENCE, "--out", str(tmp_path / "handout"))
    submissions = tmp_path / "handout" / "instructor" / "rehearsal"
    words = ["grade", DIVERGENCE, str(submissions), "--out", str(tmp_path / "marks"), "--json"]
    figures = json.loads(call(*words).stdout.splitlines()[-1])
    assert figures["students"] == len(list(submissions.iterdir())) == 15
    rows = (tmp_path / "marks" / "gradebook.csv").read_text().splitlines()
    *each, total = map(int, rows[1].split(",")[-3:])  # points possible: two exercises, both
    points = {row.split(",")[0]: int(row.split(",")[-1]) for row in rows[2:]}
    assert points.pop("all-right") == total == sum(each)
    assert points.pop("untouched") == 0
    lost = dict(zip(("kl-in-bits", "kl-line-by-line"), each, strict=True))
    assert len(points) == 13  # one wrong answer each, and the rest right
    assert all(total - lost[name.split("--")[0]] == got for name, got in points.items())


@pytest.mark.parametrize(
    ("package", "verb"), [("lecture_vae", "reproduce"), ("lecture_grader", "release")]
)
def test_help_answers_without_importing_torch(package, verb):
    code = (
        "import sys; sys.argv = ['x', '--help']\n"
        f"import {package}.cli\n"
        f"try: {package}.cli.app()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'matplotlib', 'pandas', 'sklearn', 'torchvision'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert verb in result.stdout


# ---------------------------------------------------------------------------- any model

VQ = str(Path(__file__).with_name("outside") / "vq_vae.py")


@pytest.mark.parametrize(
    ("words", "objective"),
    [
        (["linear-ae"], {"name": "squared-error"}),
        (["linear-vae", "--objective", "squared-error"], {"name": "squared-error"}),
        (
            ["linear-vae", "--likelihood", "bernoulli", "--kl-weight", "2", "--samples", "3"],
            {"name": "negative-elbo", "kl_weight": 2.0, "samples": 3,
             "likelihood": {"name": "bernoulli"}},
        ),
        (
            ["affine-vae", "--variance", "0.1"],
            {"name": "negative-elbo", "kl_weight": 1.0, "samples": 1,
             "likelihood": {"name": "gaussian", "variance": 0.1}},
        ),
        (
            ["conv-vae", "--objective", "negative-iwae", "--samples", "4"],
            {"name": "negative-iwae", "samples": 4,
             "likelihood": {"name": "gaussian", "variance": 0.5}},
        ),
    ],
)  # fmt: skip
def test_the_options_make_the_objective_that_is_trained(call, tmp_path, words, objective):
    figures = json.loads(call("train", *words, *SMALL, "--json").stdout.splitlines()[-1])
    head = json.loads((tmp_path / "runs" / figures["key"] / "run.json").read_text())
    assert head["recipe"]["objective"] == objective
    assert figures["objective"] == objective["name"]
    assert figures["test_reconstruction"] > 0
    assert (figures["test_kl"] is None) == (words[0] == "linear-ae")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--objective", "elbo"],
            "there is no objective 'elbo'; there are squared-",
        ),
        (
            ["--likelihood", "poisson"],
            "no pixel likelihood 'poisson'; there are gauss",
        ),
        (["--likelihood", "bernoulli", "--variance", "1"], "--variance is that of Gaussian pixels"),
        (["--objective", "squared-error", "--samples", "2"], "squared-error has no samples"),
        (["--samples", "0"], "samples must be a whole number >= 1, got 0"),
        (["--variance", "0"], "variance must be a finite number > 0"),
        (["--start-from", "beef"], "0 of the 0 runs"),
        (["--device", "tpu9"], "a device is auto, cpu, cuda or mps, got 'tpu9'"),
        (["--import", "nowhere.py"], "a file of definitions must exist, but nowhere.py is none"),
        (["--import", "no.such.module"], "no.such.module cannot be imported: ModuleNotFoundError"),
    ],
)
def test_an_option_that_cannot_be_is_one_clear_line(call, words, message):
    result = call("train", "linear-vae", *SMALL, *words, code=2)
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_device_that_is_not_there_is_one_clear_line(call):
    result = call("train", "linear-vae", *SMALL, "--device", "cuda", code=2)
    assert "finds no cuda device on this machine" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_an_autoencoder_has_no_kl_to_train_with(call):
    result = call("train", "linear-ae", "--objective", "negative-elbo", *SMALL, code=2)
    assert "a KL needs a distribution q(z | x)" in result.stderr


@pytest.mark.parametrize("verb", ["train", "sweep", "reproduce", "animate", "export"])
def test_every_verb_that_meets_models_imports_what_registers_them(call, verb):
    words = {
        "train": ["linear-ae"],
        "sweep": ["linear-ae"],
        "animate": ["0"],
        "export": ["0", "--out", "x"],
    }.get(verb, [])
    result = call(verb, *words, "--import", "nowhere.py", code=2)
    assert "a file of definitions must exist" in result.stderr


def test_a_model_from_a_file_is_trained_with_the_objective_that_it_brings(tmp_path):
    environment = {**os.environ, "LECTURE_VAE_RUNS": str(tmp_path), "TQDM_DISABLE": "1"}
    train = ["train", "outside-vq-vae", "--import", VQ, *SMALL, "--json"]
    command = [sys.executable, "-c", "from lecture_vae.cli import app; app()"]
    done = subprocess.run([*command, *train], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert (figures["model"], figures["test_kl"]) == ("outside-vq-vae", None)
    animate = ["animate", figures["key"], "--data", "digits", "--out", str(tmp_path / "x.mp4")]
    lost = subprocess.run([*command, *animate], capture_output=True, text=True, env=environment)
    assert lost.returncode == 2
    assert "there is no model 'outside-vq-vae'" in lost.stderr
    assert "--import FILE.py" in lost.stderr
