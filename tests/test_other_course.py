"""Another course, on another subject: no PyTorch, no package of ours, its own description."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from machine import needs, strongest

from lecture_grader.course import Course, CourseError, code_of, package_paths, read_course

AVERAGES = Path(__file__).with_name("other_course") / "averages.md"
# The grader's own process, in which importing PyTorch raises.
WITHOUT_TORCH = """
import json, sys
sys.modules["torch"] = None
from pathlib import Path
from lecture_grader.authoring.release import release
from lecture_grader.grade import grade

source, folder = Path(sys.argv[1]), Path(sys.argv[2])
made = release(source, folder / "out")
handed_in = made.rehearsal
answered = json.loads((handed_in / "all-right.ipynb").read_text())
for cell in answered["cells"]:
    if cell["id"] == "weighted-mean-answer":
        cell["source"] += "\\nassert 'torch' not in sys.modules\\n1 / 0  # an experiment"
(handed_in / "no-torch.ipynb").write_text(json.dumps(answered))
results = grade(source, handed_in, folder / "marks", jobs=1)
print(json.dumps([[each.student, each.exercise, each.outcome, each.remarks] for each in results]))
"""


@pytest.mark.slow
def test_an_assignment_on_another_subject_is_released_and_graded_without_torch(tmp_path):
    needs(strongest())
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(AVERAGES), str(tmp_path)],
        capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "TQDM_DISABLE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = {(who, what): (how, said) for who, what, how, said in json.loads(done.stdout)}
    for name in ("weighted-mean", "median-gap"):
        assert found["all-right", name][0] == "correct"
        assert found["untouched", name][0] == "unanswered"
        assert found["no-torch", name][0] == "correct"
    assert found["weighted-mean--weights-ignored", "weighted-mean"][0] == "wrong"
    assert found["median-gap--order-swapped", "median-gap"][0] == "wrong"
    # The student's own experiment stopped, and nothing before it: PyTorch was not there.
    stopped, *more = found["no-torch", "weighted-mean"][1]
    assert "ZeroDivisionError" in stopped
    # A busy machine may have made a second run necessary; nothing else is to be remarked.
    assert [each for each in more if not each.startswith("Run once more alone")] == []


@pytest.mark.parametrize("verb", ["grade", "session", "authoring.release", "reporting.gradebook"])
def test_importing_the_grader_imports_neither_torch_nor_the_lecture(verb):
    code = (
        f"import sys, lecture_grader.{verb}\n"
        "core = sorted(name for name in sys.modules if name.startswith('lecture_vae.'))\n"
        "assert 'torch' not in sys.modules\n"
        "assert set(core) <= {'lecture_vae.storage', 'lecture_vae.cluster'}, core\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ---------------------------------------------------------------------------- course.toml


def course(folder: Path, text: str) -> Course:
    (folder / "course.toml").write_text(textwrap.dedent(text), encoding="utf8")
    return read_course(folder)


def test_a_course_needs_no_description(tmp_path):
    assert read_course(tmp_path) == Course()


def test_a_course_says_what_its_kernels_have(tmp_path):
    found = course(
        tmp_path,
        """
        packages = ["lecture_vae"]
        preload = ["json", "xml.dom"]
        [preload_where]
        "import pandas" = ["pandas", "json"]
        [environment]
        DATA = "small"
        """,
    )
    assert found.packages == ("lecture_vae",)
    assert found.environment == (("DATA", "small"),)
    assert found.preload_for(["x = 1"]) == ("json", "xml.dom")
    assert found.preload_for(["x = 1", "import pandas as pd"]) == ("json", "xml.dom", "pandas")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("packages = [", "described in TOML, but"),
        ('packages = "numpy"', "packages and preload are lists"),
        ("packages = [1]", "got packages = [1]"),
        ('packages = ["../course"]', "got packages ="),
        ('preload = ["os; os.abort()"]', "got preload ="),
        ('preloads = ["json"]', "got preloads ="),
        ("environment = 3", "got environment = 3"),
        ("[environment]\nA = 1", "got environment ="),
        ("[preload_where]\na = 1", "got preload_where ="),
        ('packages = ["nowhere_to_be_found"]', "nowhere_to_be_found, which is not installed"),
        ('preload = ["nowhere_to_be_found.x"]', "nowhere_to_be_found.x, which is not installed"),
        ('[preload_where]\na = ["nowhere_found"]', "nowhere_found, which is not installed"),
    ],
)
def test_a_malformed_description_is_refused_with_the_rule(tmp_path, text, message):
    with pytest.raises(CourseError, match=r"course\.toml") as caught:
        course(tmp_path, text)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_course_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "course.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(CourseError, match="described in TOML"):
        read_course(tmp_path)


def test_other_code_of_the_grader_or_of_the_course_has_another_hash(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "course_of_mine"
    (package / "rooms").mkdir(parents=True)
    for name in ("__init__.py", "rooms/__init__.py", "rooms/one.py"):
        (package / name).write_text("")
    assert package_paths(["course_of_mine"]) == [str(package)]
    before = code_of(["course_of_mine"])
    assert before != code_of([])
    (package / "rooms" / "one.py").write_text("x = 1")
    changed = code_of(["course_of_mine"])
    assert changed != before
    (package / "rooms" / "one.py").rename(package / "rooms" / "two.py")
    assert code_of(["course_of_mine"]) not in (before, changed)


def test_every_room_of_the_grader_counts_for_the_hash(tmp_path, monkeypatch):
    """Marks of before must not survive a changed sandbox."""
    import shutil

    import lecture_grader

    copy = tmp_path / "lecture_grader"
    shutil.copytree(Path(lecture_grader.__file__).parent, copy, ignore=shutil.ignore_patterns(".*"))
    monkeypatch.setattr("lecture_grader.course._paths", lambda name: iter([copy]))
    seen = {code_of([])}
    for path in [*copy.rglob("*.py")]:
        path.write_text(path.read_text("utf8") + "\n# changed\n", encoding="utf8")
        seen.add(code_of([]))
    assert len(seen) == 1 + len([*copy.rglob("*.py")])
