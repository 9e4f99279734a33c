"""Run batches of notebooks with nbval in sandboxed kernels and observe what their cells do.

No expected values are known here.
"""

import json
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lecture_grader.cells import METADATA
from lecture_grader.kernels.forkserver import ForkServer
from lecture_grader.running.notebook import Notebook
from lecture_grader.running.observation import Begin, CellRun, End, Observation, read_report
from lecture_grader.sandbox.choose import Limits, Sandbox, choose_on_worker

__all__ = ["Conditions", "Stopping", "observe", "observe_on_worker", "stop", "warm_kernels"]

START_SECONDS = 240.0  # for pytest and the libraries of its kernels
GRACE_SECONDS = 4.0  # between the end of a notebook's wall time and the kill of pytest
LOG = "pytest.log"  # output of pytest; it contains no text of a student
INI = "[pytest]\nfilterwarnings = ignore\n"


class Stopping(Exception):
    """All runs of this process are being stopped."""


@dataclass(frozen=True)
class Conditions:
    """The conditions of a run: the sandbox of its kernel, its limits, and how it starts."""

    sandbox: Sandbox
    limits: Limits
    preload: tuple[str, ...] = ()  # modules that are imported before the fork
    environment: tuple[tuple[str, str], ...] = ()  # (variable, value)

    def forkserver(self) -> ForkServer:
        """Start a forkserver of kernels with these conditions."""
        return ForkServer(self.sandbox, self.limits, self.preload, self.environment)


def observe(notebooks: Sequence[Notebook], conditions: Conditions) -> Iterator[Observation]:
    """Runs a batch of notebooks in one pytest process with kernels from a forkserver.

    A notebook that crashes pytest is run once more, alone and after the others. If it crashes
    pytest again, or if pytest is killed after its wall time, the observation holds the cells that
    were reported until then.

    Args:
        notebooks: The notebooks to run, each in a kernel of its own.
        conditions: Sandbox and limits.

    Yields:
        One observation for each notebook.

    Raises:
        RuntimeError: After the last notebook, if the grader itself failed on one.
        Stopping: After :func:`stop`.
    """
    pending, retries = list(notebooks), list[Notebook]()
    failed = 0
    while pending or retries:
        batch = pending or retries[:1]
        with (
            tempfile.TemporaryDirectory(prefix="lv-batch-") as name,
            _forkservers.lease(conditions) as forkserver,
        ):
            run = _Run(Path(name), batch, forkserver)
            for observation in run:
                failed += bool(observation.failure)
                yield observation
            if run.ended or failed:  # it may have leftover kernels, or have failed itself
                forkserver.close()
        if run.ended and not run.done and not run.running:
            raise RuntimeError(f"no notebook could be started: {run.ended}, {run.log}")
        unfinished = batch[run.done : run.done + run.running]
        if unfinished and pending and run.ended == "crashed":
            retries += unfinished
        elif unfinished:
            yield run.unfinished()
        if pending:
            pending = batch[run.done + run.running :]
        else:
            retries = retries[1:]
    if failed:
        raise RuntimeError(f"{failed} of {len(notebooks)} notebooks did not run to the end")


def observe_on_worker(batch: Sequence[Notebook], conditions: Conditions) -> Iterator[Observation]:
    """As :func:`observe`, in a process that did not choose the sandbox: it is tested here first."""
    yield from observe(batch, replace(conditions, sandbox=choose_on_worker(conditions.sandbox)))


class _Run:
    """One pytest process over a folder of notebooks; iterates over those that are finished.

    Attributes:
        done: The number of finished notebooks.
        running: Whether a notebook was running when the process exited.
        ended: Why the process exited early: "timeout" or "crashed"; "" if it did not.
        log: The end of its output in this case.
    """

    def __init__(self, folder: Path, notebooks: Sequence[Notebook], forkserver: ForkServer):
        for position, notebook in enumerate(notebooks):
            _write(folder / f"{position:06d}" / "notebook.ipynb", notebook)
        (folder / "pytest.ini").write_text(INI, encoding="utf8")
        self.folder, self.notebooks, self.forkserver = folder, notebooks, forkserver
        self.done, self.running, self.ended, self.log = 0, False, "", ""
        self.cells: list[CellRun] = []
        self.started = time.monotonic()

    def __iter__(self) -> Iterator[Observation]:
        with _process(self.folder, self.forkserver) as lines:
            deadline = time.monotonic() + START_SECONDS
            while self.done < len(self.notebooks):
                line = lines.next(deadline)
                if line is None:
                    self.ended = "timeout" if time.monotonic() >= deadline else "crashed"
                    self.log = (self.folder / LOG).read_text(errors="replace")[-300:].strip()
                    return
                if isinstance(line, Begin):
                    self.started, self.running, self.cells = time.monotonic(), True, []
                    deadline = self.started + self.notebooks[self.done].wall + GRACE_SECONDS
                elif isinstance(line, CellRun):
                    self.cells.append(line)
                else:
                    self.done, self.running = self.done + 1, False
                    yield self._observation(self.done - 1, "")

    def unfinished(self) -> Observation:
        """The notebook that was running when the process exited."""
        return self._observation(self.done, self.ended)

    def _observation(self, position: int, ended: str) -> Observation:
        seconds = time.monotonic() - self.started
        return Observation(self.notebooks[position].key, tuple(self.cells), seconds, ended)


def _write(path: Path, notebook: Notebook) -> None:
    cells: list[dict[str, Any]] = [
        {
            "cell_type": "code",
            "id": cell.id,
            "metadata": {
                METADATA: {"timeout": cell.timeout, "probes": cell.probes, "wall": notebook.wall}
            },
            "source": cell.code,
            "execution_count": None,
            "outputs": [],
        }
        for cell in notebook.cells
    ]  # fmt: skip
    document = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(document), encoding="utf8")


# ---------------------------------------------------------------------------- processes


class _Lines:
    """The lines that a process writes to a pipe, read with a deadline."""

    def __init__(self, descriptor: int):
        self.descriptor, self.buffer = descriptor, b""
        self.poll = select.poll()
        self.poll.register(descriptor, select.POLLIN)

    def next(self, deadline: float) -> Begin | CellRun | End | None:
        """The next line; None at the deadline or if the process has exited."""
        while b"\n" not in self.buffer:
            if not self.poll.poll(max(deadline - time.monotonic(), 0) * 1000):
                return None
            chunk = os.read(self.descriptor, 1 << 16)
            if not chunk:
                return None
            self.buffer += chunk
        line, _, self.buffer = self.buffer.partition(b"\n")
        return read_report(line)


_running: set[subprocess.Popen[bytes]] = set()
_stopped = threading.Event()


def stop() -> None:
    """Stops all runs of this process, also later ones; their :func:`observe` raises Stopping."""
    _stopped.set()
    for process in list(_running):
        process.kill()


@contextmanager
def _process(folder: Path, forkserver: ForkServer) -> Iterator[_Lines]:
    """Runs pytest over a folder of notebooks; gives the lines that it reports."""
    reader, writer = os.pipe()
    command = [
        sys.executable, "-I", "-m", "pytest", str(folder),
        "-p", "nbval.plugin", "-p", "lecture_grader.running.plugin", "-p", "no:cacheprovider",
        "--noconftest", "-c", str(folder / "pytest.ini"), "--rootdir", str(folder), "--nbval-lax",
        "--continue-on-collection-errors", "-q", "--tb=no", "--color=no",
        "--grading-forkserver", str(forkserver.fileno()), "--grading-out", str(writer),
    ]  # fmt: skip
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": str(folder),  # so that the homes of boxes are deleted with the folder
    }
    with (folder / LOG).open("wb") as log:
        process = subprocess.Popen(
            command,
            pass_fds=(forkserver.fileno(), writer),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    os.close(writer)
    try:
        with _killed_at_exit(process):
            yield _Lines(reader)
    finally:
        os.close(reader)


@contextmanager
def _killed_at_exit(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Kills a process at the end, or earlier by :func:`stop` from another thread."""
    _running.add(process)
    try:
        if _stopped.is_set():
            raise Stopping
        yield
    finally:
        _running.discard(process)
        process.kill()
        process.wait()
        if _stopped.is_set():
            raise Stopping


# ---------------------------------------------------------------------------- forkservers


class _ForkServers:
    """A pool of forkservers, because importing torch takes longer than grading a notebook."""

    def __init__(self) -> None:
        self.idle: list[tuple[Conditions, ForkServer]] = []
        self.lock = threading.Lock()

    @contextmanager
    def lease(self, conditions: Conditions) -> Iterator[ForkServer]:
        """Lends a forkserver; it returns to the pool unless there was an exception."""
        with self.lock:
            matching = [pair for pair in self.idle if pair[0] == conditions]
            if matching:
                self.idle.remove(matching[0])
        forkserver = matching[0][1] if matching else conditions.forkserver()
        try:
            yield forkserver
        except BaseException:
            forkserver.close()
            raise
        if forkserver.fileno() >= 0:
            with self.lock:
                self.idle.append((conditions, forkserver))

    def close(self) -> None:
        with self.lock:
            while self.idle:
                self.idle.pop()[1].close()


_forkservers = _ForkServers()


@contextmanager
def warm_kernels(conditions: Conditions, number: int) -> Iterator[None]:
    """Starts forkservers, which import their libraries in the background; stops them at the end."""
    _stopped.clear()
    _forkservers.idle += [(conditions, conditions.forkserver()) for _ in range(number)]
    try:
        yield
    finally:
        _forkservers.close()
