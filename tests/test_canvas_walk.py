"""The instructor page: from a Canvas export to a file that Canvas imports, run as it stands."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from machine import needs, strongest

from lecture_grader.authoring.assignment import read_assignment
from lecture_grader.authoring.handout import student_notebook

ROOT = Path(__file__).parents[1]
AVERAGES = Path(__file__).with_name("other_course") / "averages.md"
PAGE = ROOT / "book" / "instructor.md"
TOTALS = ("Current Score", "Unposted Current Score", "Final Score", "Unposted Final Score")
CLASS = [  # name, Canvas's number, login, its homework of last week
    ("Doe, Jane", "12345", "jdoe", "9"), ("Müller, Zoë", "12346", "zmueller", "10"),
    ("O'Neil, Sean", "12347", "soneil", ""), ("Away, Ann", "12348", "aaway", "7.5"),
    ("Student, Test", "12399", "7d1b3c", ""),
]  # fmt: skip


def table(rows: list[list[str]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def prepare(folder: Path) -> None:
    """What an instructor has: the assignment, Canvas's export and Canvas's zip of submissions.

    ``class.csv`` is the export to which the instructor has added two columns at its end.
    """
    shutil.copy(AVERAGES, folder / "averages.md")
    rows = [
        ["Student", "ID", "SIS Login ID", "Section", "Homework 1 (801)", "Averages (802)", *TOTALS],
        ["    Points Possible", "", "", "", "10", "3", *["(read only)"] * len(TOTALS)],
        *[[name, number, login, "Section A", homework, "", *["90"] * len(TOTALS)]
          for name, number, login, homework in CLASS],
    ]  # fmt: skip
    (folder / "export.csv").write_text(table(rows), encoding="utf8")
    more = {"Student": ["Extra days", "Submitted"], "Müller, Zoë": ["2", "2026-11-24 10:00"]}
    rows = [[*row, *more.get(row[0], ["", ""])] for row in rows]
    (folder / "class.csv").write_text(table(rows), encoding="utf8")

    assignment = read_assignment(AVERAGES)
    first, second = assignment.exercises
    right = {first.name: first.solution, second.name: second.solution}
    swapped = right | {second.name: second.wrong[0].source}
    with zipfile.ZipFile(folder / "submissions.zip", "w") as archive:
        for name, answers in {
            "doejane_12345_55001_averages.ipynb": right,
            # Canvas marks a second attempt in the name of the file, and a late one.
            "müllerzoë_LATE_12346_55002_averages-1.ipynb": swapped,
            "oneilsean_12347_55003_averages.ipynb": {},
            "gonegus_12340_55004_averages.ipynb": right,  # who has left the course
        }.items():
            archive.writestr(name, json.dumps(student_notebook(assignment, answers)))


def walk() -> list[tuple[str, str]]:
    """The commands of the section, with what they are said to print."""
    page = PAGE.read_text(encoding="utf8")
    (section,) = re.findall(
        r"^\(canvas-walk\)=\n## [^\n]*\n(.*?)^## ", page, re.DOTALL | re.MULTILINE
    )
    found = []
    for block in re.findall(r"```text\n(.*?)```", section, re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, said = part.partition("\n")
            found.append((command, said))
    return found


@pytest.mark.slow
def test_the_walk_reaches_a_file_that_canvas_imports(tmp_path):
    needs(strongest())
    prepare(tmp_path)
    export = (tmp_path / "export.csv").read_bytes()
    scripts = Path(sys.executable).parent
    environment = os.environ | {
        "PATH": f"{scripts}:{os.environ['PATH']}", "TQDM_DISABLE": "1", "TZ": "UTC",
    }  # fmt: skip
    commands = walk()
    assert len(commands) >= 4
    for command, said in commands:
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True,
            timeout=400,
        )  # fmt: skip
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        assert done.stdout.strip() == said.strip(), command
    assert (tmp_path / "export.csv").read_bytes() == export  # the instructor's file is not touched
    rows = list(csv.reader((tmp_path / "marks" / "canvas.csv").read_text("utf8").splitlines()))
    before = list(csv.reader(export.decode().splitlines()))
    place = before[0].index("Averages (802)")
    assert [row[:place] + row[place + 1 :] for row in rows] == [
        row[:place] + row[place + 1 :] for row in before
    ]
    points = {row[1]: row[place] for row in rows[2:]}
    assert set(points) == {number for _, number, *_ in CLASS}
    assert points["12348"] == "0" and points["12399"] == ""


def test_every_sentence_of_the_walk_names_files_that_there_are(tmp_path):
    prepare(tmp_path)
    named = re.findall(r"\b(averages\.md|export\.csv|class\.csv|submissions\.zip)\b", str(walk()))
    assert set(named) == {path.name for path in tmp_path.iterdir()}
