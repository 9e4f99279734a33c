"""The grader on Gradescope: results.json, the zip file, and a grading in a copy of its folders."""

import json
import os
import stat
import subprocess
import sysconfig
import venv
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from test_lms import FIRST, SECOND

from lecture_grader.authoring.assignment import ExerciseError, read_assignment
from lecture_grader.authoring.handout import student_notebook
from lecture_grader.gradescope.pack import pack
from lecture_grader.gradescope.results import results_document
from lecture_grader.sandbox.escape_test import MARK

GOLDEN = Path(__file__).with_name("golden")
AVERAGES = Path(__file__).with_name("other_course") / "averages.md"


def test_results_json_is_the_golden_one():
    late = "Handed in late, by 1 day."
    first = replace(FIRST, points=1.5, remarks=(late,))
    second = replace(
        SECOND, title="The median", points=0, outcome="wrong", message="case 2: got 1, not 2",
        resembles="order-swapped", hint="Which one is subtracted?",
        remarks=(late, "Your cell is a Markdown cell."),
    )  # fmt: skip
    found = results_document([first, second], 7.2)
    golden = (GOLDEN / "gradescope_results.json").read_text(encoding="utf8")
    assert json.dumps(found, indent=2) == golden.strip()


def test_a_failure_of_the_grading_is_no_score():
    failed = replace(SECOND, outcome="infrastructure", points=0, message="the disk is full")
    with pytest.raises(ValueError, match="exercise 2 could not be graded: the disk is full"):
        results_document([FIRST, failed], 1.0)


def test_no_control_character_of_a_student_reaches_gradescope():
    hostile = replace(FIRST, outcome="error", message="\x1b[31mred\x1b[0m\x00 \u202egpj")
    (test,) = results_document([hostile], 1.0)["tests"]
    assert test["output"].endswith("\nred [U+202E]gpj")


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed")
    pack(AVERAGES, folder / "seed", folder / "averages-gradescope.zip", "none")
    return folder / "averages-gradescope.zip"


def test_the_zip_has_what_gradescope_asks_for_at_its_root(packed):
    with zipfile.ZipFile(packed) as archive:
        modes = {info.filename: info.external_attr >> 16 for info in archive.infolist()}
        wanted = ("setup.sh", "run_autograder", "requirements.txt", "seed")
        text = {name: archive.read(name).decode() for name in wanted}
    assert stat.S_IMODE(packed.stat().st_mode) == 0o600  # it holds solutions and the seed
    for name in ("setup.sh", "run_autograder"):
        assert text[name].startswith("#!/usr/bin/env bash\n") and modes[name] & 0o111
        subprocess.run(["bash", "-n"], input=text[name], text=True, check=True)
    assert text["seed"] == (packed.parent / "seed").read_text()
    assert "assignment/averages.md" in modes
    assert "packages/lecture_grader/gradescope/run.py" in modes
    assert "packages/lecture_grader/reporting/templates/feedback.html" in modes
    assert "packages/lecture_vae/storage.py" in modes
    assert not [name for name in modes if "__pycache__" in name]
    required = [line.partition("==") for line in text["requirements.txt"].splitlines()]
    assert all(name and version for name, _, version in required)
    names = {name.casefold() for name, _, _ in required}
    assert {"numpy", "jupytext", "nbval", "ipykernel", "jinja2", "safetensors", "typer"} <= names
    assert "torch" not in names  # this assignment does not import it


def test_the_same_assignment_is_the_same_zip(packed, tmp_path):
    again = tmp_path / "again.zip"
    pack(AVERAGES, packed.parent / "seed", again, "none")
    assert again.read_bytes() == packed.read_bytes()


def test_hidden_files_and_caches_are_no_part_of_a_package(tmp_path, monkeypatch):
    package = tmp_path / "course"
    files = ["code.py", "data/table.csv", ".code.py.swp", f"{MARK}-7", ".git/config",
             "__pycache__/code.pyc", "data/.ipynb_checkpoints/table.csv"]  # fmt: skip
    for name in files:
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).touch()
    monkeypatch.setattr("lecture_grader.gradescope.pack.package_paths", lambda _: [str(package)])
    pack(AVERAGES, tmp_path / "seed", tmp_path / "out.zip", "none")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        packed = [name for name in archive.namelist() if name.startswith("packages/")]
    assert packed == ["packages/course/code.py", "packages/course/data/table.csv"]


def test_a_module_that_cannot_be_installed_there_is_refused(tmp_path):
    source = tmp_path / "odd.md"
    text = AVERAGES.read_text(encoding="utf8")
    source.write_text(text.replace("import sys\n", "import sys\nimport nowhere_to_be_found\n"))
    with pytest.raises(ExerciseError, match="imports nowhere_to_be_found, which no installed"):
        pack(source, tmp_path / "seed", tmp_path / "odd.zip")
    assert not (tmp_path / "odd.zip").exists()


SOLVED = """
import json, sys
from pathlib import Path
from lecture_grader.authoring.assignment import read_assignment
from lecture_grader.authoring.handout import student_notebook
assignment = read_assignment(Path(sys.argv[1]))
answers = {each.name: each.solution for each in assignment.exercises[:1]}
Path(sys.argv[2]).write_text(json.dumps(student_notebook(assignment, answers)))
"""


@pytest.fixture(scope="module")
def unpacked(packed, tmp_path_factory):
    """Gradescope's folders after ``setup.sh``, and their Python: with our packages from the zip."""
    root = tmp_path_factory.mktemp("there") / "autograder"
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(root / "source")
    venv.create(root / "venv", with_pip=False, symlinks=True)
    (site,) = (root / "venv" / "lib").glob("python*/site-packages")
    libraries = sysconfig.get_path("purelib")  # in place of what pip would download
    (site / "lecture_grader.pth").write_text(f"{root}/source/packages\n{libraries}\n")
    return root


def grade(root):
    (root / "results").mkdir(exist_ok=True)
    command = [root / "venv/bin/python", "-m", "lecture_grader.gradescope.run", root, "none"]
    environment = {"PATH": os.environ["PATH"], "TQDM_DISABLE": "1"}
    return subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, timeout=500
    )


def test_what_cannot_be_graded_writes_no_results(unpacked):
    (unpacked / "submission").mkdir(exist_ok=True)
    done = grade(unpacked)
    assert done.returncode == 1 and "holds no notebook" in done.stderr, done.stderr
    assert list((unpacked / "results").iterdir()) == []


@pytest.mark.slow
def test_a_submission_is_graded_in_a_copy_of_gradescopes_folders(unpacked):
    # What a student uploads need not be called anything, and may lie beside other files.
    notebook = unpacked / "submission" / "doe_1_2_3" / "Untitled (1).ipynb"
    notebook.parent.mkdir(parents=True)
    (unpacked / "submission" / "notes.txt").write_text("hello")
    assignment = read_assignment(AVERAGES)
    first = assignment.exercises[0]
    answered = student_notebook(assignment, {first.name: first.solution})
    notebook.write_text(json.dumps(answered))
    done = grade(unpacked)
    assert done.returncode == 0, done.stderr
    found = json.loads((unpacked / "results" / "results.json").read_text(encoding="utf8"))
    assert found["score"] == 2
    assert [each["score"] for each in found["tests"]] == [2, 0]
    assert found["tests"][1]["output"].startswith("Unanswered: ")
