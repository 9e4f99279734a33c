"""Honest notebooks with odd habits get full marks: whatever a student calls a thing, wherever it
stands, whatever was tried before. They are graded in one run by day and in one at night.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from machine import strongest
from odd_notebooks import HABITS, ODD
from submissions import CORRECT, SOURCE

from lecture_grader.grade import grade
from lecture_grader.reporting.gradebook import feedback_names
from lecture_grader.reporting.result import Result

HERE = [name for name, each in ODD.items() if each.runs_here]

# Of those that differ in one word, or in the place of what was tried, some are graded by day.
BY_DAY = {
    "helper-called-": ("report", "json", "display", "exit", "In", "mean"),
    "attempt-in-a-copy-": ("syntax-error", "raises"),
    "magic-in-a-cell-": ("autoreload", "cd"),
    "habit-in-the-answer-": ("patched-tensors", "stdout-none"),
}


def at_night(name: str) -> bool:
    """Whether a notebook is one of many that differ little, and not their sample."""
    return any(
        name.startswith(kind) and name.removeprefix(kind) not in samples
        for kind, samples in BY_DAY.items()
    )


ODD_BY_TIME = [
    pytest.param(name, marks=pytest.mark.nightly if at_night(name) else ()) for name in ODD
]


@pytest.fixture(scope="session")
def submissions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every notebook."""
    folder = tmp_path_factory.mktemp("odd")
    for name, each in ODD.items():
        (folder / f"{name}.ipynb").write_bytes(bytes(each))
    return folder


@dataclass(frozen=True)
class Graded:
    """A run over the notebooks of the day, or those of the night."""

    out: Path
    results: list[Result]

    def of(self, name: str) -> list[Result]:
        """The results of a notebook."""
        return [line for line in self.results if line.student == name]


@pytest.fixture(scope="session")
def graded(submissions: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Graded]:
    """Grades what is graded together with a notebook, in one run with two jobs."""
    strongest()

    @cache
    def run(night: bool) -> Graded:
        folder, out = tmp_path_factory.mktemp("odd"), tmp_path_factory.mktemp("out")
        for name in ODD:
            if at_night(name) == night:
                shutil.copy(submissions / f"{name}.ipynb", folder)
        return Graded(out, grade(SOURCE, folder, out, jobs=2, timeout=5))

    return lambda name: run(at_night(name))


def test_those_by_day_are_there():
    assert {kind + each for kind, samples in BY_DAY.items() for each in samples} <= ODD.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", ODD_BY_TIME)
def test_an_odd_notebook_gets_its_marks(graded, name):
    results = graded(name).of(name)
    said = {line.exercise: (line.outcome, line.message) for line in results}
    assert said.keys() == CORRECT.keys()
    assert all(said[each][0] in allowed for each, allowed in ODD[name].outcomes.items()), said
    for line in results:
        assert line.points == (line.possible if line.outcome == "correct" else 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("answer-turned-into-markdown", "Markdown"),
        ("answer-turned-into-raw-text", "raw"),
        ("attempt-in-the-cell-raises", "AttributeError"),
        ("attempt-in-the-cell-missing-library", "ModuleNotFoundError"),
        ("google-drive-above-the-answer", "ModuleNotFoundError"),
    ],
)
def test_what_was_odd_is_said_on_the_page(graded, name, words):
    run = graded(name)
    students = {line.student for line in run.results}
    page = run.out / "feedback" / feedback_names(students)[name]
    assert re.search(rf"\b{words}\b", page.read_text(encoding="utf8"), re.IGNORECASE)


# ---------------------------------------------------------------------------- the corpus itself

# A plain IPython for each notebook: cell after cell, and after each one every answer that is there
# is called. When a cell has ended the process, or a bad habit has spoilt what follows, the student
# starts anew and leaves it out.
STUDENT = r"""
import json, math, os, select, signal, sys, tempfile, time
from pathlib import Path

import torch
import torch._dynamo
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config



class Shell(InteractiveShell):
    def enable_gui(self, gui=None):
        pass


torch.set_num_threads(1)
rows = torch.tensor([[1.0, 2.0, 4.0], [0.5, -1.0, 3.0]])
clone = torch.Tensor.clone


def by_hand(row):
    mean = math.fsum(row) / len(row)
    variance = math.fsum((x - mean) ** 2 for x in row) / len(row)
    powers = [math.exp(x / 0.5) for x in row]
    return (
        mean, variance, [p / math.fsum(powers) for p in powers],
        [(x - mean) / math.sqrt(variance) for x in row],
    )


means, variances, softmaxes, standards = map(list, zip(*map(by_hand, rows.tolist())))
CALLS = {
    "scaled_sum": (rows[0].double(), (3.0,), 21.0),
    "mean_and_variance": (rows, (), [means, variances]),
    "softmax": (rows, (0.5,), softmaxes),
    "standardize": (rows, (), standards),
}


def near(wanted, got):
    if isinstance(got, tuple):
        return len(got) == len(wanted) and all(map(near, wanted, got))
    got = got.tolist() if hasattr(got, "tolist") else got
    if type(wanted) is list:
        return type(got) is list and len(got) == len(wanted) and all(map(near, wanted, got))
    return type(got) is float and math.isclose(got, wanted, rel_tol=1e-3, abs_tol=1e-3)


def run(cells, skipped, tell):
    config = Config()
    config.HistoryManager.enabled = False
    shell = Shell.instance(config=config)
    right = set()
    for place, source in enumerate(cells):
        if place in skipped:
            continue
        tell(f"cell {place}\n")
        shell.run_cell(source, store_history=True)
        for name, (x, more, wanted) in CALLS.items():
            try:
                if name not in right and near(wanted, shell.user_ns[name](clone(x), *more)):
                    right.add(name)
                    tell(f"right {name}\n")
            except BaseException:
                pass


def watched(cells, skipped):
    "What was right, and the cell in which the process ended, or None."
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.setsid()
        os.chdir(tempfile.mkdtemp(dir="."))
        write, end = os.write, os._exit
        try:
            run(cells, skipped, lambda line: write(writer, line.encode()))
            write(writer, b"end\n")
        finally:
            end(0)
    os.close(writer)
    said, waits, begun = "", 0, time.monotonic()
    while True:
        if select.select([reader], [], [], 25)[0]:
            got = os.read(reader, 1000).decode()
            said, waits = said + got, 0
            if not got or said.endswith("end\n"):
                break
        else:
            waits += 1
            os.kill(child, signal.SIGINT if waits < 3 else signal.SIGKILL)
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:
        pass
    os.waitpid(child, 0)
    os.close(reader)
    lines = said.split()
    right = {name for word, name in zip(lines, lines[1:]) if word == "right"}
    cells = [int(name) for word, name in zip(lines, lines[1:]) if word == "cell"]
    return right, None if lines[-1:] == ["end"] else cells[-1]


out, habits = open(sys.argv[1], "w"), json.loads(sys.argv[2])
for path in sys.argv[3:]:
    document = json.loads(Path(path).read_bytes().decode("utf-8-sig"))
    sheets = document.get("worksheets", [document])
    cells = [
        cell.get("source", cell.get("input"))
        for sheet in sheets for cell in sheet["cells"] if cell["cell_type"] == "code"
    ]
    # As a browser sends it: what is no Unicode is replaced.
    cells = ["".join(cell).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
             for cell in cells]
    right, skipped = set(), set()
    while len(right) < len(CALLS):
        more, ended = watched(cells, skipped)
        right |= more
        spoilt = {n for n, cell in enumerate(cells) if any(habit in cell for habit in habits)}
        if ended is None and spoilt <= skipped:
            break
        skipped |= spoilt if spoilt - skipped else {ended}
    print(json.dumps([Path(path).stem, sorted(right)]), file=out, flush=True)
"""


@pytest.fixture(scope="session")
def plainly(submissions: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The answers that were right when the student ran the notebook."""
    folder = tmp_path_factory.mktemp("plainly")
    environment = {
        **os.environ,
        "IPYTHONDIR": str(folder),
        "HOME": str(folder),
        "PIP_NO_INDEX": "1",
        "PYTHONWARNINGS": "ignore",
        "PYTHONIOENCODING": "utf-8:backslashreplace",  # as a kernel prints what is no Unicode
    }
    subprocess.run(
        [
            sys.executable,
            "-c",
            STUDENT,
            str(folder / "right"),
            json.dumps([*HABITS.values()]),
            *(str(submissions / f"{name}.ipynb") for name in HERE),
        ],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=1800,
        check=True,
    )
    return dict(json.loads(line) for line in (folder / "right").read_text().splitlines())


@pytest.mark.nightly
@pytest.mark.parametrize("name", HERE)
def test_it_was_right_where_its_student_ran_it(plainly, name):
    due = {each for each, allowed in ODD[name].outcomes.items() if allowed == {"correct"}}
    assert set(plainly[name]) >= {each.replace("-", "_") for each in due}
