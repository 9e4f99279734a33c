"""The instructor page is run as it stands: what its commands print is what the page says."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from machine import strongest

from lecture_vae.grading.sandbox import choose

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
    assert "lecture-vae release" in commands
    assert commands.count("lecture-vae grade") == 2


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
