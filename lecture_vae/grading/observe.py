"""Observations: rebuilt notebooks run through nbval in sandboxed kernels; what they did comes back.

Nothing here knows a right value. A notebook is rebuilt from the assignment, with the student's
answers in it and nothing else of the student's.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lecture_vae.grading.exercises import Assignment, Exercise
from lecture_vae.grading.sandbox import Limits, choose
from lecture_vae.grading.submission import Submission, source_of
from lecture_vae.grading.trial import HiddenCheck
from lecture_vae.grading.values import encode
from lecture_vae.grading.zygote import Zygote

__all__ = ["Cell", "Conditions", "Rebuilt", "observe", "rebuild", "warm_kernels"]

OUR_SECONDS = 60.0  # for cells that are ours alone
INI = "[pytest]\nfilterwarnings = ignore\n"


@dataclass(frozen=True)
class Cell:
    """One cell of a rebuilt notebook."""

    id: str
    source: str
    timeout: float  # CPU seconds
    replay: bool = False  # run again if the kernel had to be replaced


@dataclass(frozen=True)
class Rebuilt:
    """A notebook to run: the student's answers among our cells."""

    key: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Conditions:
    """Under which a notebook runs: the sandbox level and the limits of its box."""

    sandbox: str
    limits: Limits
    preload: tuple[str, ...] = ()  # modules that its kernel has imported before it starts

    def zygote(self) -> Zygote:
        """A new process that forks kernels under these conditions."""
        return Zygote(choose(self.sandbox), self.limits, self.preload)


def rebuild(
    key: str,
    assignment: Assignment,
    submission: Submission,
    checks: dict[str, HiddenCheck],
    canary: str | None,
    *,
    only: str | None = None,
    timeout: float | None = None,
) -> Rebuilt:
    """The notebook that is run for a submission.

    Args:
        key: Names the notebook in the observations.
        assignment: Where set-up, probes and public checks come from.
        submission: Where the answers come from, and nothing else.
        checks: The cases of each exercise, by name.
        canary: The exercise whose first wrong answer is planted at the end, or None.
        only: The one exercise to run, with the answers that it uses; all if None.
        timeout: CPU seconds for a cell of the student, in place of the exercise's own.
    """
    answers = {answer.exercise: answer for answer in submission.answers}
    wanted = {only} if only else set(answers)
    cells: list[Cell] = []
    planted: list[Cell] = []
    for exercise in assignment.exercises:
        answer = answers.get(exercise.name)
        if answer is None or answer.unanswered or not answer.cells:
            continue
        if exercise.name not in wanted:
            continue
        seconds = timeout or exercise.timeout
        stem = f"e{exercise.number}"
        cells.append(Cell(f"{stem}-before", _before(assignment), OUR_SECONDS))
        source = source_of(submission, answer)
        cells.append(Cell(f"{stem}-answer", source, seconds, replay=True))
        if only not in (None, exercise.name):
            continue
        cells.append(Cell(f"{stem}-probe", _probe(exercise, checks[exercise.name]), seconds))
        if not checks[exercise.name].judged:  # else the check is as long as the answer
            cells.append(Cell(f"{stem}-check", exercise.check, seconds))
        if exercise.name == canary:
            planted = [
                Cell("canary-before", _before(assignment), OUR_SECONDS),
                Cell("canary-answer", exercise.wrong[0].source, seconds),
                Cell("canary-probe", _probe(exercise, checks[exercise.name]), seconds),
            ]
    # At the end, because a later answer may use the one that is overwritten here.
    return Rebuilt(key, (*cells, *planted))


def _before(assignment: Assignment) -> str:
    return (
        "from lecture_vae.grading.inside import clean_slate\n"
        f"clean_slate(globals())\n{assignment.setup}\n"
    )


def _probe(exercise: Exercise, check: HiddenCheck) -> str:
    cases = json.dumps([encode(case) for case in check.cases])
    return (
        f"{exercise.probe}\n\n"
        f"from lecture_vae.grading.inside import report\nreport(probe, {cases!r})\n"
    )


# ---------------------------------------------------------------------------- running


def observe(notebooks: Sequence[Rebuilt], conditions: Conditions) -> Iterator[dict[str, Any]]:
    """Runs a batch of notebooks in one pytest process, whose kernels a zygote forks.

    Args:
        notebooks: What to run; each in a kernel of its own.
        conditions: Sandbox and limits.

    Yields:
        One observation for each notebook that ran to its end: ``notebook``, its key, and
        ``cells``, what each of its cells did. A notebook without one did not run to its end,
        because the process that ran it ended.

    Raises:
        RuntimeError: At the end, if a notebook failed for reasons that are not its own.
    """
    with tempfile.TemporaryDirectory(prefix="lv-batch-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # a box in it may belong to a user of its own, who must get through
        for place, notebook in enumerate(notebooks):
            _write(folder / f"{place:06d}" / "notebook.ipynb", notebook)
        seconds = 120 + 5 * sum(cell.timeout for notebook in notebooks for cell in notebook.cells)
        left = len(notebooks)
        with _zygotes.one(conditions) as zygote:
            for line in _lines(folder, zygote, seconds):
                observation = json.loads(line)
                observation["notebook"] = notebooks[int(observation["notebook"])].key
                left -= all(cell["outcome"] != "infrastructure" for cell in observation["cells"])
                yield observation
            if left:  # then the zygote may be what failed, and must not serve again
                raise RuntimeError(f"{left} of {len(notebooks)} notebooks did not run to their end")


def _write(path: Path, notebook: Rebuilt) -> None:
    cells: list[dict[str, Any]] = [
        {
            "cell_type": "code",
            "id": cell.id,
            "metadata": {"lecture_vae": {"timeout": cell.timeout, "replay": cell.replay}},
            "source": cell.source,
            "execution_count": None,
            "outputs": [],
        }
        for cell in notebook.cells
    ]
    document = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(document), encoding="utf8")


def _lines(folder: Path, zygote: Zygote, seconds: float) -> Iterator[str]:
    """The lines that a pytest process over a folder of notebooks reports."""
    ini = folder / "pytest.ini"
    ini.write_text(INI, encoding="utf8")
    reader, writer = os.pipe()
    command = [
        sys.executable, "-I", "-m", "pytest", str(folder),
        "-p", "nbval.plugin", "-p", "lecture_vae.grading.plugin", "-p", "no:cacheprovider",
        "--noconftest", "-c", str(ini), "--rootdir", str(folder), "--nbval-lax",
        "--continue-on-collection-errors", "-q", "--tb=no", "--color=no",
        "--grading-zygote", str(zygote.fileno()), "--grading-out", str(writer),
    ]  # fmt: skip
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": str(folder),  # boxes go there, and with it, whatever happens to this process
    }
    process = subprocess.Popen(
        command,
        pass_fds=(zygote.fileno(), writer),
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(writer)
    watch = threading.Timer(seconds, process.kill)  # every cell is bounded; this bounds the rest
    watch.start()
    try:
        with os.fdopen(reader, encoding="utf8") as lines:
            for line in lines:
                if line.endswith("\n"):  # else the process ended while it wrote
                    yield line
    finally:
        watch.cancel()
        process.kill()
        process.wait()


# ---------------------------------------------------------------------------- zygotes


class _Zygotes:
    """Those that wait for work: to import torch takes longer than to grade a notebook."""

    def __init__(self) -> None:
        self.idle: list[tuple[Conditions, Zygote]] = []
        self.lock = threading.Lock()

    @contextmanager
    def one(self, conditions: Conditions) -> Iterator[Zygote]:
        """A zygote for one user at a time; it goes back when all went well."""
        with self.lock:
            fitting = [pair for pair in self.idle if pair[0] == conditions]
            if fitting:
                self.idle.remove(fitting[0])
        zygote = fitting[0][1] if fitting else conditions.zygote()
        try:
            yield zygote
        except BaseException:
            zygote.close()
            raise
        with self.lock:
            self.idle.append((conditions, zygote))

    def close(self) -> None:
        with self.lock:
            while self.idle:
                self.idle.pop()[1].close()


_zygotes = _Zygotes()


@contextmanager
def warm_kernels(conditions: Conditions, number: int) -> Iterator[None]:
    """Has zygotes import their libraries while something else goes on; ends them afterwards."""
    _zygotes.idle += [(conditions, conditions.zygote()) for _ in range(number)]
    try:
        yield
    finally:
        _zygotes.close()
