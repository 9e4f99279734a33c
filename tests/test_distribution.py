"""What `pip install` gets: a source archive, the wheel that is built from it, and both in use."""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from machine import needs, strongest
from test_layout import PACKAGES
from test_other_course import AVERAGES, WITHOUT_TORCH

from lecture_grader.sandbox.escape_test import MARK

ROOT = Path(__file__).resolve().parents[1]
UV = [sys.executable, "-m", "uv"]
pytestmark = pytest.mark.slow


def run(*words: object, **options) -> subprocess.CompletedProcess[str]:
    """A program in a folder of its own, without a word of the checkout in its environment."""
    mine = ("LECTURE_VAE_", "PYTHON", "VIRTUAL_ENV")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(mine)}
    done = subprocess.run(
        [*map(str, words)], capture_output=True, text=True, timeout=900, check=False,
        env=environment | options.pop("env", {}) | {"TQDM_DISABLE": "1"}, **options,
    )  # fmt: skip
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The source archive of what is here, and the wheel that is built from this archive."""
    folder = tmp_path_factory.mktemp("built")
    run(*UV, "build", "--quiet", "--python", sys.executable, "--out-dir", folder, ROOT)
    (wheel,), (archive,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, archive


def files_of_the_packages() -> set[str]:
    """What lies in the packages, without what Python and others leave there."""
    listed = run(
        "git", "ls-files", "--cached", "--others", "--exclude-standard", *PACKAGES, cwd=ROOT
    )
    return {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}


def test_the_wheel_has_every_file_of_the_packages_and_no_other(built):
    with zipfile.ZipFile(built[0]) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        (about,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
        metadata = wheel.read(about).decode()
    assert names == files_of_the_packages()
    assert "License-Expression: MIT" in metadata
    assert "# " in metadata.partition("\n\n")[2], "the README"


def test_what_the_escape_test_writes_is_in_no_distribution():
    """It tries to write into packages, and for a moment, where nothing confines it, it can."""
    marks = [f"{package}/{MARK}-123" for package in PACKAGES]
    assert run("git", "check-ignore", *marks, cwd=ROOT).stdout.split() == marks


def test_the_source_archive_has_what_the_tests_need_and_is_small(built):
    with tarfile.open(built[1]) as archive:
        members = archive.getmembers()
    names = {member.name.partition("/")[2] for member in members}
    assert {"pyproject.toml", "README.md", "LICENSE", "lecture_vae/__init__.py"} <= names
    assert not [name for name in names if name.startswith(("_build/", ".venv", ".git/"))]
    assert built[1].stat().st_size < 20e6


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """The programs of an empty environment into which the wheel was installed."""
    place = tmp_path_factory.mktemp("empty") / "environment"
    run(*UV, "venv", "--quiet", "--python", sys.executable, place)
    run(
        *UV, "pip", "install", "--quiet", "--python", place / "bin" / "python",
        "--constraint", ROOT / "constraints.txt", f"lecture-vae[grading] @ {built[0].as_uri()}",
    )  # fmt: skip
    return place / "bin"


def test_the_installed_package_trains(installed, tmp_path):
    ended = run(
        installed / "lecture-vae", "train", "linear-vae", "--data", "digits", "--steps", 50,
        "--json", cwd=tmp_path, env={"LECTURE_VAE_RUNS": str(tmp_path / "runs")},
    )  # fmt: skip
    report = json.loads(ended.stdout.splitlines()[-1])
    assert report["steps"] == 50
    assert (tmp_path / "runs" / report["key"] / "run.json").exists()


def test_the_installed_grader_grades_where_there_is_no_torch(installed, tmp_path):
    needs(strongest())
    ended = run(installed / "python", "-c", WITHOUT_TORCH, AVERAGES, tmp_path, cwd=tmp_path)
    found = {(who, what): how for who, what, how, _ in json.loads(ended.stdout)}
    for name in ("weighted-mean", "median-gap"):
        assert found["all-right", name] == "correct"
        assert found["untouched", name] == "unanswered"
