"""What a verb cannot do is one clear line and status 2, whatever the verb and the bad value."""

import os
import stat
import sys
from pathlib import Path

import imageio_ffmpeg
import pytest
import torch
import torchvision.datasets
from safetensors import SafetensorError
from typer.testing import CliRunner

from lecture_book import build
from lecture_grader.cli import app as grader
from lecture_vae import NegativeELBO, TrainConfig, fetch_run, load_images
from lecture_vae.cli import app

ROW = (
    '{"student": "ada", "exercise": "kl", "number": 1, "title": "KL", "possible": 3, "points": 0, '
    '"outcome": "wrong", "submission": "5", "assignment": "a", "checks": "c", "seed": "s", '
    '"remarks": []}'
)
KEY = "the key of the stored run"
SMALL = ["--data", "digits", "--steps", "4", "--eval-every", "2", "--batch-size", "8"]
MNIST = "train-images-idx3-ubyte"


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A store with one run of the digits, and its key."""
    store = tmp_path_factory.mktemp("store")
    config = TrainConfig(steps=4, eval_every=2, batch_size=8)
    return store, fetch_run(
        "linear-vae", NegativeELBO(), load_images("digits"), config, store=store
    )


@pytest.fixture
def here(stored, tmp_path, monkeypatch):
    """A working folder with a file and folders of every kind; the stored run; one core."""
    store, run = stored
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LECTURE_VAE_RUNS", str(store))
    monkeypatch.setattr("lecture_vae.runs.cores", lambda: 1)
    Path("file").write_text("in the way")
    Path("folder.mp4").mkdir()
    Path("mnist/MNIST/raw").mkdir(parents=True)
    for name in (MNIST, "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte"):
        Path("mnist/MNIST/raw", name).touch()
    Path("mnist/MNIST/raw/t10k-labels-idx1-ubyte").touch()
    Path("odd/MNIST/raw", MNIST).mkdir(parents=True)
    for name in ("empty", "folder.md", "handed-in", "kept/seed"):
        Path(name).mkdir(parents=True)
    Path("handed-in/ada.ipynb").write_text("{}")
    Path("text.md").write_text("no exercises")
    for name, line in (("marks", ROW), ("odd-marks", "{}")):
        Path(name).mkdir()
        Path(name, "results.jsonl").write_text(f"{line}\n")
    Path("others.csv").write_text("login\nben\n")
    Path("class.csv").write_text("login\nada\n")
    Path("latin-1.md").write_bytes(b"# na\xefve")
    return run


def refuse(patch, where, error):
    def raise_it(*_, **__):
        raise error

    patch.setattr(where, raise_it)


def no_home(patch):
    patch.delenv("LECTURE_VAE_RUNS")
    for kind in ("cache", "data"):
        refuse(patch, f"platformdirs.user_{kind}_path", RuntimeError("no home directory"))


def no_network(patch):
    patch.setattr("lecture_vae.mnist.cache_folder", lambda: None)
    patch.setenv("no_proxy", "*")
    patch.setattr(torchvision.datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])


def unreadable(patch):
    for method in ("read_bytes", "read_text"):
        refuse(patch, f"pathlib.Path.{method}", PermissionError(13, "Permission denied"))


def read_only(patch):
    allowed = os.access
    patch.setattr(os, "access", lambda path, mode: not mode & os.W_OK and allowed(path, mode))


def full_disk(patch):
    for where in (
        "checkpoints.write_atomically", "store.write_atomically", "video.write_together",
        "live.write_atomically", "reproduction.write_atomically",
    ):  # fmt: skip
        refuse(patch, f"lecture_vae.{where}", OSError(28, "No space left on device"))


def full_disk_as_safetensors_says_it(patch):
    for module in ("checkpoints", "store"):
        refuse(patch, f"lecture_vae.{module}.save_file", SafetensorError("No space left on device"))


def read_only_store(patch):
    for module in ("checkpoints", "store"):
        refuse(
            patch, f"lecture_vae.{module}.write_atomically", OSError(30, "Read-only file system")
        )


def store_is_a_file(patch):
    patch.setenv("LECTURE_VAE_RUNS", "file")


def store_of_nobody(patch):
    patch.setenv("LECTURE_VAE_RUNS", "~nobody-such/runs")


def store_in_s3(patch):
    patch.setenv("LECTURE_VAE_RUNS", "s3://bucket/runs")
    patch.setitem(sys.modules, "s3fs", None)


def store_of_no_protocol(patch):
    patch.setenv("LECTURE_VAE_RUNS", "nonsense://runs")


def nothing_to_train(patch):
    patch.setattr("lecture_vae.reproduction.reproduce", lambda *_, **__: {})
    patch.setattr("lecture_vae.reproduction.table", lambda _: "")
    patch.setenv("LECTURE_VAE_BUDGET", "quick")  # so that --full's own setting is undone
    full_disk(patch)


def no_ffmpeg(patch):
    refuse(patch, "imageio_ffmpeg.get_ffmpeg_exe", RuntimeError("No ffmpeg exe could be found."))


def ffmpeg_is_misspelled(patch):
    patch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: "/nowhere/ffmpeg")


def ffmpeg_fails(patch):
    program = Path("ffmpeg").absolute()
    program.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('first line\\nlast line')\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    patch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(program))


def unreadable_folder(patch):
    error = PermissionError(13, "Permission denied", "handed-in")
    for method in ("iterdir", "glob", "rglob"):
        refuse(patch, f"pathlib.Path.{method}", error)
    refuse(patch, "os.scandir", error)


def full_disk_for_grades(patch):
    full = OSError(28, "No space left on device", "new/x")
    for where in (
        "authoring.release.write_together", "seed.write_atomically",
        "reporting.kept.write_atomically", "reporting.decisions.write_atomically",
    ):  # fmt: skip
        refuse(patch, f"lecture_grader.{where}", full)


def no_extra(patch):
    patch.setitem(sys.modules, "jupytext", None)
    patch.delitem(sys.modules, "lecture_grader.authoring.assignment", raising=False)


def impatient(patch):
    patch.setattr("lecture_vae.cluster.CONNECT_SECONDS", 0.5)


def no_dask(patch):
    patch.setitem(sys.modules, "distributed", None)


def no_cuda(patch):
    patch.setattr(torch.cuda, "is_available", lambda: False)


TRAIN = ["train", "linear-ae", *SMALL]
SWEEP = ["sweep", "linear-vae", *SMALL]
REPRODUCE = ["reproduce", "--data", "digits"]
ANIMATE = ["animate", KEY, "--data", "digits"]
EXPORT = ["export", KEY, "--data", "digits", "--out"]
SOURCE = str(Path(__file__).with_name("exercises") / "small.md")
RELEASE = ["release", SOURCE, "--out"]
GRADE = ["grade", SOURCE, "handed-in", "--out"]
NO_SOURCE = [
    ("nowhere.md", "No such file or directory: 'nowhere.md'"),
    ("*.md", "No such file or directory: '*.md'"),
    ("~nobody-such/x.md", "No such file or directory: '~nobody-such/x.md'"),
    ("folder.md", "Is a directory: 'folder.md'"),
    ("empty", "an assignment is the .md source of the exercises, got a folder"),
    ("file", "an assignment is the .md source of the exercises, got a folder or a file without"),
    ("text.md", "text.md: the first cell must start with '# Title'"),
    ("latin-1.md", "latin-1.md: an assignment is UTF-8 text; byte"),
]
NO_NUMBER = [
    ("--jobs", "0"), ("--jobs", "-1"), ("--jobs", "1.5"), ("--jobs", "many"), ("--jobs", ""),
    ("--timeout", "0"), ("--timeout", "-1"), ("--timeout", "inf"), ("--timeout", "nan"),
    ("--timeout", "long"), ("--memory", "1"), ("--memory", "9" * 20), ("--memory", "much"),
]  # fmt: skip
NO_KEY = ["*", "[0-9a-f]*", "?", "../runs", "/", "."]

BAD = [
    (["data", "nowhere"], None, "nowhere/MNIST/raw is not a folder"),
    (["data", "file"], None, "file/MNIST/raw is not a folder"),
    (["data", "*"], None, "*/MNIST/raw is not a folder"),
    (["data", "odd"], None, f"{MNIST} must be a file, got a folder"),
    (["data", "mnist/MNIST/raw"], None, "did you give MNIST/raw itself?"),
    (["data", "./mnist"], unreadable, "must be readable: [Errno 13] Permission denied"),
    (["data", "~nobody-such/x"], None, "no home folder that ~ could stand for"),
    (["data", "mnist"], no_network, "MNIST could not be downloaded"),
    ([*TRAIN, "--data", "nowhere"], None, "is not a folder"),
    ([*TRAIN, "--data", "mnist"], no_network, "MNIST could not be downloaded"),
    ([*TRAIN, "--start-from", "*"], None, "0 of the 1 runs"),
    ([*TRAIN, "--device", "cuda"], no_cuda, "finds no cuda device"),
    ([*TRAIN, "--import", "~nobody-such/x.py"], None, "no home folder that ~ could stand for"),
    ([*TRAIN, "--import", "folder.py"], None, "a file of definitions must exist"),
    (TRAIN, no_home, "Set LECTURE_VAE_RUNS"),
    (TRAIN, store_of_nobody, "no home folder that ~ could stand for"),
    (TRAIN, store_is_a_file, "must be writable"),
    (TRAIN, read_only_store, "Read-only file system. Is the disk full or the folder read-only"),
    (TRAIN, full_disk, "No space left on device. Is the disk full"),
    (TRAIN, full_disk_as_safetensors_says_it, "No space left on device. Is the disk full"),
    ([*SWEEP, "--data", "nowhere"], None, "is not a folder"),
    ([*SWEEP, "--data", "mnist"], no_network, "MNIST could not be downloaded"),
    ([*SWEEP, "--out", "file"], None, "must be a folder, but is none"),
    ([*SWEEP, "--out", "new"], read_only, "the folder is read-only for you"),
    ([*SWEEP, "--import", "folder.py"], None, "a file of definitions must exist"),
    (SWEEP, no_home, "Set LECTURE_VAE_RUNS"),
    (SWEEP, store_of_nobody, "no home folder that ~ could stand for"),
    (SWEEP, store_is_a_file, "which LECTURE_VAE_RUNS names, cannot be used: [Errno 20]"),
    (SWEEP, store_in_s3, "pip install 'lecture-vae[s3]'"),
    (TRAIN, store_in_s3, "pip install 'lecture-vae[s3]'"),
    (TRAIN, store_of_no_protocol, "the object store nonsense://runs cannot be used: ValueError"),
    ([*SWEEP, "--device", "cuda"], no_cuda, "finds no cuda device"),
    ([*SWEEP, "--engine", "steam"], None, "an engine is auto, torch, native, got 'steam'"),
    ([*SWEEP, "--seed", "9..0"], None, "--seed names a range as FIRST..LAST"),
    ([*SWEEP, "--seed", "-1"], None, "seed must be a whole number >= 0, got -1"),
    ([*SWEEP, "--kl-weight", "1,one"], None, "--kl-weight takes numbers with commas between them"),
    ([*SWEEP, "--kl-weight", "1,nan"], None, "kl_weight must be a finite number >= 0, got nan"),
    ([*SWEEP, "--kl-weight", "1,1.0"], None, "--kl-weight names each value once, got 1.0 2 times"),
    ([*SWEEP, "--latent-dim", "2,0"], None, "latent_dim must be at least 1, got 0"),
    ([*SWEEP, "--latent-dim", "2.5"], None, "--latent-dim takes whole numbers"),
    (["sweep", "conv-vae", "--latent-dim", "2"], None, "--latent-dim cannot be given to conv-vae"),
    (["sweep", "linear-ae", "--kl-weight", "2"], None, "squared-error has no kl_weight"),
    (["sweep", "linear-vea"], None, "there is no model 'linear-vea'"),
    ([*SWEEP, "--jobs", "0"], None, "invalid value for '--jobs'"),
    ([*SWEEP, "--scheduler", "10.0.0.1"], None, "a scheduler is an address such as tcp://"),
    ([*SWEEP, "--scheduler", "a:1", "--jobs", "2"], None, "--jobs is for this machine"),
    ([*SWEEP, "--scheduler", "127.0.0.1:1"], impatient, "127.0.0.1:1"),
    ([*SWEEP, "--scheduler", "127.0.0.1:1"], no_dask, "pip install 'lecture-vae[cluster]'"),
    (["reproduce", "--data", "nowhere"], None, "is not a folder"),
    (["reproduce", "--data", "mnist"], no_network, "MNIST could not be downloaded"),
    ([*REPRODUCE, "--device", "cuda"], no_cuda, "finds no cuda device"),
    (REPRODUCE, no_home, "Set LECTURE_VAE_RUNS"),
    (REPRODUCE, store_is_a_file, "must be writable"),
    (REPRODUCE, full_disk, "No space left on device. Is the disk full"),
    ([*REPRODUCE, "--full", "--out", "file"], None, "must be a folder, but is none"),
    ([*REPRODUCE, "--full", "--out", "file/x"], None, "must be a folder, but is none"),
    ([*REPRODUCE, "--full", "--out", "new"], read_only, "the folder is read-only for you"),
    ([*REPRODUCE, "--full", "--out", "new"], nothing_to_train, "new could not be written"),
    *[(["animate", key], None, "a run is opened by its key") for key in NO_KEY],
    *[(["diagnose", key], None, "a run is opened by its key") for key in NO_KEY],
    (["diagnose", KEY, "--data", "nowhere"], None, "is not a folder"),
    (["animate", KEY, "--data", "nowhere"], None, "is not a folder"),
    (["animate", KEY, "--data", "mnist"], no_network, "MNIST could not be downloaded"),
    *[
        ([*ANIMATE, "--out", name], None, f"a file whose name ends in .mp4, got {name}")
        for name in ("x.gif", "x.png", "x", ".mp4", "folder.mp4", "mp4")
    ],
    ([*ANIMATE, "--out", "file/x.mp4"], None, "must be a folder, but is none"),
    ([*ANIMATE, "--out", "new/x.mp4"], read_only, "the folder is read-only for you"),
    (ANIMATE, read_only, "the folder is read-only for you"),
    (ANIMATE, full_disk, "could not be written: [Errno 28] No space left on device"),
    (ANIMATE, no_home, "Set LECTURE_VAE_RUNS"),
    (ANIMATE, store_is_a_file, "cannot be read: [Errno 20] Not a directory"),
    (ANIMATE, unreadable, "may not be read: [Errno 13] Permission denied"),
    (ANIMATE, no_ffmpeg, "ffmpeg, which cannot be started here: No ffmpeg exe could be found."),
    (ANIMATE, ffmpeg_is_misspelled, "does IMAGEIO_FFMPEG_EXE name something else?"),
    (ANIMATE, ffmpeg_fails, "Its last lines: first line last line"),
    *[(["export", key, "--out", "new"], None, "a run is opened by its key") for key in NO_KEY],
    (["export", KEY, "--data", "nowhere", "--out", "new"], None, "is not a folder"),
    (["export", KEY, "--data", "mnist", "--out", "new"], no_network, "could not be downloaded"),
    ([*EXPORT, "file"], None, "must be a folder, but is none"),
    ([*EXPORT, "file/x"], None, "must be a folder, but is none"),
    ([*EXPORT, "new"], read_only, "the folder is read-only for you"),
    ([*EXPORT, "new"], full_disk, "new could not be written: [Errno 28] No space left on device"),
    ([*EXPORT, "new"], no_home, "Set LECTURE_VAE_RUNS"),
    ([*EXPORT, "new"], store_is_a_file, "cannot be read: [Errno 20] Not a directory"),
    ([*EXPORT, "new"], unreadable, "may not be read: [Errno 13] Permission denied"),
    *[(["release", name, "--out", "new"], None, message) for name, message in NO_SOURCE],
    ([*RELEASE, "new"], unreadable, "[Errno 13] Permission denied"),
    ([*RELEASE, "file"], None, "must be a folder, but is none: 'file'"),
    ([*RELEASE, "file/x"], None, "must be a folder, but is none"),
    ([*RELEASE, "new"], read_only, "the folder is read-only for you"),
    ([*RELEASE, "new"], full_disk_for_grades, "No space left on device: 'new/x'"),
    ([*RELEASE, "new"], no_extra, "jupytext is missing; releasing and grading need the grading"),
    *[(["grade", name, "handed-in", "--out", "new"], None, message) for name, message in NO_SOURCE],
    (["grade", SOURCE, "nowhere", "--out", "new"], None, "No such file or directory: 'nowhere'"),
    (["grade", SOURCE, "*", "--out", "new"], None, "No such file or directory: '*'"),
    (["grade", SOURCE, "file", "--out", "new"], None, "file is neither a folder nor a zip file"),
    (["grade", SOURCE, "empty", "--out", "new"], None, "empty holds no notebook"),
    ([*GRADE, "new"], unreadable_folder, "Permission denied: 'handed-in'"),
    ([*GRADE, "new"], unreadable, "[Errno 13] Permission denied"),
    ([*GRADE, "file"], None, "must be a folder, but is none: 'file'"),
    ([*GRADE, "file/x"], None, "must be a folder, but is none"),
    ([*GRADE, "new"], read_only, "the folder is read-only for you"),
    ([*GRADE, "new", "--sandbox", "none"], full_disk_for_grades, "No space left on device"),
    ([*GRADE, "kept", "--sandbox", "none"], None, "Is a directory: 'kept/seed'"),
    ([*GRADE, "new", "--sandbox", "jail"], None, "a sandbox is one of auto, namespaces"),
    ([*GRADE, "new", "--sandbox", ""], None, "a sandbox is one of auto, namespaces"),
    ([*GRADE, "new", "--roster", "nowhere"], None, "No such file or directory: 'nowhere'"),
    ([*GRADE, "new", "--roster", "empty"], None, "Is a directory: 'empty'"),
    ([*GRADE, "new", "--roster", "file"], None, "file is no roster: it needs the columns of"),
    ([*GRADE, "new", "--roster", "latin-1.md"], None, "line 1 is not UTF-8"),
    ([*GRADE, "new", "--roster", "others.csv"], None, "Is it the roster of another course?"),
    ([*GRADE, "handed-in", "--roster", "handed-in/r.csv"], None, "keep it elsewhere"),
    ([*GRADE, "new", "--column", "Homework"], None, "names a column of the --roster, and there"),
    ([*GRADE, "new", "--roster", "class.csv", "--column", "x"], None, "no file to import and no"),
    ([*GRADE, "new", "--deadline", "soon"], None, "a deadline is such as 2026-11-20 23:59, got"),
    ([*GRADE, "new", "--late-percent", "10"], None, "--late-percent needs a --deadline"),
    ([*GRADE, "new", "--deadline", "2026-11-20", "--late-percent", "101"], None, "percentages"),
    ([*GRADE, "new", "--deadline", "2026-11-20", "--late-cap", "nan"], None, "percentages from"),
    (["regrade", "nowhere", "ada", "1", "1", "--reason", "x"], None, "No such file or directory"),
    (["regrade", "odd-marks", "ada", "1", "1", "--reason", "x"], None, "line 1: no result of a"),
    (["regrade", "marks", "ada", "1", "+1", "--reason", "x"], None, "not what is added to them"),
    (["regrade", "marks", "eve", "1", "1", "--reason", "x"], None, "marks has no results of 'eve'"),
    (["regrade", "marks", "ada", "7", "1", "--reason", "x"], None, "no exercise '7'; there are:"),
    (["regrade", "marks", "ada", "1", "9", "--reason", "x"], None, "has 0 to 3 points, got 9"),
    (["regrade", "marks", "ada", "1", "nan", "--reason", "x"], None, "has 0 to 3 points, got nan"),
    (["regrade", "marks", "ada", "1", "1", "--reason", " "], None, "a reason of 1 to 500"),
    (["regrade", "marks", "ada", "1", "1", "--reason", "x"], full_disk_for_grades, "No space left"),
    (["diff", "marks", "nowhere"], None, "No such file or directory: 'nowhere/results.jsonl'"),
    (["diff", "odd-marks", "marks"], None, "odd-marks/results.jsonl, line 1: no result of a"),
    ([*RELEASE, "new", "--sandbox", "jail"], None, "a sandbox is one of auto, namespaces"),
    ([*GRADE, "new"], no_extra, "jupytext is missing; releasing and grading need the grading"),
    *[([*GRADE, "new", *words], None, f"invalid value for '{words[0]}'") for words in NO_NUMBER],
]
GRADERS = ("release", "grade", "regrade", "diff")


def program_of(words):
    """The program that has the verb, and its name."""
    return ("lecture-grader", grader) if words[0] in GRADERS else ("lecture-vae", app)


VERBS = {
    "data": [],
    "train": ["linear-ae"],
    "sweep": ["linear-vae"],
    "reproduce": [],
    "animate": [KEY],
    "diagnose": [KEY],
    "export": [KEY, "--out", "new"],
    "release": [SOURCE, "--out", "new"],
    "grade": [SOURCE, "handed-in", "--out", "new"],
    "regrade": ["marks", "ada", "1", "1", "--reason", "x"],
    "diff": ["marks", "marks"],
}  # with what each cannot do without
WRONG_WORDS = [
    *[([verb, *words, "--nonsense"], "no such option: --nonsense")
      for verb, words in VERBS.items()],
    *[([verb, *words[:-1]], "missing ") for verb, words in VERBS.items() if len(words) == 1],
    *[([verb, *words, "b"], "unexpected extra argument") for verb, words in VERBS.items()
      if verb not in ("data", "export")],
    *[([verb, *words, "--data"], "option '--data' requires an argument")
      for verb, words in VERBS.items() if verb not in ("data", *GRADERS)],
    *[([verb, *VERBS[verb][:-2]], "missing option '--out'")
      for verb in ("export", "release", "grade")],
    (["regrade", "marks", "ada", "1", "1"], "missing option '--reason'"),
    (["regrade", "marks", "ada", "1", "--reason", "x"], "missing argument 'points'"),
    (["regrade", "marks", "ada", "1", "many", "--reason", "x"], "invalid value for 'points'"),
    (["diff", "marks"], "missing argument 'new'"),
    (["export", "--out", "new"], "missing argument 'run...'"),
    (["release", "--out", "new"], "missing argument"),
    (["grade", SOURCE, "--out", "new"], "missing argument"),
    (["data", "digits", "b"], "unexpected extra argument"),
    (["train", "linear-ae", "--steps", "many"], "invalid value for '--steps'"),
    (["train", "linear-ae", "--fresh=yes"], "option '--fresh' does not take a value"),
    (["trian"], "no such command 'trian'"),
    (["--nonsense"], "no such option: --nonsense"),
    (["a\nb"], "no such command"),
    (["--"], "missing command"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "spoil", "message"),
    BAD,
    ids=[" ".join([*words, "with", getattr(how, "__name__", "nothing")]) for words, how, _ in BAD],
)
def test_what_a_verb_cannot_do_is_one_clear_line(here, monkeypatch, words, spoil, message):
    words = [here.key if word == KEY else word for word in words]
    with monkeypatch.context() as patch:
        if spoil is not None:
            spoil(patch)
        name, program = program_of(words)
        result = CliRunner().invoke(program, words)
    assert result.exit_code == 2, (result.output, result.exception)
    assert result.stderr.startswith(f"{name}: ")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr
    made = {str(path) for path in Path().rglob("*") if path.is_file()} - {"file", "ffmpeg"}
    there = ("mnist/", "handed-in/", "text.md", "latin-1.md", "others.csv", "class.csv", "marks/",
             "odd-marks/")  # fmt: skip
    assert not [name for name in made if not name.startswith(there)]


@pytest.mark.parametrize(
    ("words", "message"), WRONG_WORDS, ids=[repr(" ".join(words)) for words, _ in WRONG_WORDS]
)
def test_a_wrong_word_is_one_clear_line(here, words, message):
    name, program = program_of(words)
    result = CliRunner().invoke(program, words)
    assert result.exit_code == 2, (result.output, result.exception)
    assert result.stdout == ""
    assert result.stderr.startswith(f"{name}: ")
    assert message in result.stderr.lower()
    assert "--help" in result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr


def test_every_verb_is_in_the_tables():
    known = [*app.registered_commands, *grader.registered_commands]
    assert sorted(VERBS) == sorted(each.callback.__name__ for each in known if not each.hidden)
    assert {words[0] for words, _, _ in BAD} == set(VERBS)


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_is_what_it_was(verb):
    name, program = program_of([verb])
    result = CliRunner().invoke(program, [*([verb] if verb else []), "--help"])
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"Usage: {name} {verb}" in result.stdout


@pytest.mark.parametrize("verb", ["reproduce", "release"])
def test_no_word_at_all_is_a_call_for_help(verb):
    name, program = program_of([verb])
    result = CliRunner().invoke(program, [])
    assert result.exit_code == 2
    assert f"Usage: {name}" in result.output and verb in result.output


@pytest.mark.parametrize(
    "words",
    [
        [*SWEEP, "--out", "file"],
        [*REPRODUCE, "--full", "--out", "file"],
        [*ANIMATE, "--out", "x.gif"],
        [*ANIMATE, "--out", "file/x.mp4"],
        [*EXPORT, "file"],
        [*RELEASE, "file"],
        [*GRADE, "file"],
    ],
)
def test_where_nothing_can_be_written_is_said_before_the_work(here, monkeypatch, words):
    for work in (
        "lecture_vae.data.load_images", "lecture_vae.store.open_run",
        "lecture_grader.authoring.release.kill_matrix", "lecture_grader.grade.collect",
    ):  # fmt: skip
        monkeypatch.setattr(work, lambda *_, **__: pytest.fail("it works"))
    _, program = program_of(words)
    assert CliRunner().invoke(program, words).exit_code == 2


# ---------------------------------------------------------------------------- the book


def data_at(place):
    def spoil(patch):
        patch.setenv("LECTURE_VAE_DATA", place)

    return spoil


def budget_of_nobody(patch):
    patch.setenv("LECTURE_VAE_BUDGET", "huge")


def an_exercise_in_latin_1(patch):
    Path("exercises").mkdir()
    Path("exercises/odd.md").write_bytes(b"# na\xefve\n")


def output_is_a_file(patch):
    Path("_build").touch()


def output_on_a_full_disk(patch):
    refuse(
        patch, "lecture_book.build.write_stamp", OSError(28, "No space left on device", "_build/x")
    )


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (data_at("nowhere"), "LECTURE_VAE_DATA=nowhere cannot be used"),
        (data_at("file"), "LECTURE_VAE_DATA=file cannot be used"),
        (data_at("~nobody-such/x"), "no home folder that ~ could stand for"),
        (data_at("odd"), f"{MNIST} must be a file, got a folder"),
        (no_home, "Set LECTURE_VAE_RUNS"),
        (store_of_nobody, "no home folder that ~ could stand for"),
        (budget_of_nobody, "LECTURE_VAE_BUDGET must be quick or full, got 'huge'"),
        (an_exercise_in_latin_1, "an assignment is UTF-8 text; byte"),
        (output_is_a_file, "File exists: "),
        (output_on_a_full_disk, "No space left on device: '_build/x'"),
    ],
)
def test_a_book_that_cannot_be_built_is_one_clear_line(here, monkeypatch, capsys, spoil, message):
    monkeypatch.setattr(build, "run_jupyter_book", lambda *_: pytest.fail("it builds"))
    monkeypatch.setattr(sys, "argv", ["build.py"])
    Path("_config.yml").touch()
    monkeypatch.setenv("LECTURE_VAE_DATA", "digits")
    with monkeypatch.context() as patch:
        spoil(patch)
        assert build.main() == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("The book cannot be built: ")
    assert message in told.err
    assert len(told.err.splitlines()) == 1, told.err


# ---------------------------------------------------------------------------- video and still


@pytest.mark.parametrize("full_for", [".mp4", ".png"])
@pytest.mark.parametrize("fails", ["write", "fsync"])
def test_a_full_disk_leaves_the_video_and_the_still_that_belong_together(
    here, monkeypatch, full_for, fails
):
    words = ["animate", here.key, "--data", "digits", "--out", "x.mp4"]
    for name in ("x.mp4", "x.png"):
        Path(name).write_text("old")
    full = OSError(28, "No space left on device")
    write, sync = Path.write_bytes, os.fsync

    def write_half(path, data):
        if fails == "write" and path.suffix == full_for:
            write(path, data[: len(data) // 2])
            raise full
        return write(path, data)

    def sync_none(descriptor):
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        if fails == "fsync" and name.endswith(full_for):
            raise full
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", write_half)
        patch.setattr(os, "fsync", sync_none)
        result = CliRunner().invoke(app, words)
    assert result.exit_code == 2, (result.output, result.exception)
    assert "No space left on device" in result.stderr
    assert [Path(name).read_text() for name in ("x.mp4", "x.png")] == ["old", "old"]
    left = sorted(path.name for each in (".mp4", ".png") for path in Path().glob(f"*x*{each}"))
    assert left == ["x.mp4", "x.png"]


def test_an_animation_leaves_a_still_of_another_video_alone(here):
    Path("x.png").write_text("a picture")
    CliRunner().invoke(app, ["animate", here.key, "--data", "digits", "--out", "x.png"])
    assert Path("x.png").read_text() == "a picture"
