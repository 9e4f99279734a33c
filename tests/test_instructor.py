"""The instructor page is run as it stands: what its commands print is what the page says."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from machine import strongest

from lecture_grader.sandbox.choose import choose
from lecture_grader.submissions.intake import collect
from lecture_grader.submissions.notebook_file import MAX_BYTES
from lecture_grader.submissions.parsing import MEMORY_MB, SECONDS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "book" / "instructor.md"


def transcripts(page: str) -> list[tuple[str, str]]:
    """Every command of the page's console blocks, with what it is said to print."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", page, re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            if part.rstrip().split("\n")[0].endswith('"'):  # a program over several lines
                end = part.index('\n"\n') + 3
            else:
                end = part.index("\n") + 1
            found.append((part[:end].strip(), part[end:]))
    return found


def stripped(text: str) -> list[str]:
    """Lines without the blanks at their ends, which an editor removes."""
    return [line.rstrip() for line in text.strip().splitlines()]


def test_the_page_has_the_commands_of_the_whole_way():
    commands = " ".join(command for command, _ in transcripts(PAGE.read_text(encoding="utf8")))
    assert "lecture-grader release" in commands
    assert commands.count("lecture-grader grade") == 2


def test_the_page_names_the_limits_that_hold():
    page = " ".join(PAGE.read_text(encoding="utf8").split())
    assert f"may use {SECONDS} seconds and {MEMORY_MB} MB for each file" in page
    assert f"is larger than {MAX_BYTES // 10**6} MB, is unreadable" in page


def test_the_names_in_the_table_are_read_as_it_says(tmp_path):
    table = re.findall(r"^\| (\w+|anything else) \| (`.*?) \| (.*?) \| (.*?) ?\|$",
                       PAGE.read_text(encoding="utf8"), re.MULTILINE)  # fmt: skip
    assert [row[0] for row in table] == [
        "Canvas", "Moodle", "Gradescope", "Blackboard", "anything else",
    ]  # fmt: skip
    for platform, shown, students, number in table:
        for place, (name, student) in enumerate(
            zip(re.findall(r"`([^`]*ipynb)`", shown), students.split(", "), strict=False)
        ):
            path = tmp_path / f"{platform}{place}" / name
            path.parent.mkdir(parents=True)
            path.touch()
            if platform == "Gradescope":
                listed = "submission_123456:\n  :submitters:\n  - :name: Jane\n"
                (path.parents[1] / "submission_metadata.yml").write_text(listed)
                student = "Jane"
            (hand_in,) = collect(tmp_path / f"{platform}{place}").found.values()
            assert (hand_in.student, hand_in.id) == (student, number.strip())
            assert any("late" in remark for remark in hand_in.remarks) == ("late" in students)


@pytest.mark.slow
def test_every_command_of_the_page_prints_what_the_page_says(tmp_path):
    assert strongest() == choose("auto").level
    shutil.copytree(ROOT / "exercises", tmp_path / "exercises")
    scripts = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{scripts}:{os.environ['PATH']}", "TQDM_DISABLE": "1"}
    for command, said in transcripts(PAGE.read_text(encoding="utf8")):
        ran = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert ran.returncode == 0, (command, ran.stdout, ran.stderr)
        assert stripped(ran.stdout) == stripped(said), command
