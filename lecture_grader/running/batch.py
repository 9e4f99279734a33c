"""Observations: notebooks run through nbval in sandboxed kernels; what they did comes back.

Nothing here knows a right value.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lecture_grader.cells import METADATA
from lecture_grader.kernels.forkserver import ForkServer
from lecture_grader.running.notebook import Notebook
from lecture_grader.running.observation import Begin, CellRun, End, Observation, read_report
from lecture_grader.sandbox.choose import Limits, choose

__all__ = ["Conditions", "Stopping", "observe", "stop", "warm_kernels"]

START_SECONDS = 240.0  # for pytest and the libraries of its kernels
GRACE_SECONDS = 4.0  # after the end of a notebook's wall time; then its process is ended from here
SAID = "said.txt"  # what pytest printed, no word of it a student's
INI = "[pytest]\nfilterwarnings = ignore\n"


class Stopping(Exception):
    """The whole run is being stopped."""


@dataclass(frozen=True)
class Conditions:
    """Under which a notebook runs: the sandbox level and the limits of its box."""

    sandbox: str
    limits: Limits
    packages: tuple[str, ...] = ()  # names of packages that are shown in the box
    preload: tuple[str, ...] = ()  # modules that its kernel has imported before it starts
    environment: tuple[tuple[str, str], ...] = ()  # variables of its kernel, with their values

    def forkserver(self) -> ForkServer:
        """A new process that forks kernels under these conditions."""
        sandbox = choose(self.sandbox, self.packages)
        return ForkServer(sandbox, self.limits, self.preload, self.environment)


def observe(notebooks: Sequence[Notebook], conditions: Conditions) -> Iterator[Observation]:
    """Runs a batch of notebooks in one pytest process, whose kernels a forkserver forks.

    A notebook that ends that process is run once more, alone and after the others. If it ends it
    again, or if its time is over and the process has to be ended from here, it is reported as far
    as it came.

    Args:
        notebooks: What to run; each in a kernel of its own.
        conditions: Sandbox and limits.

    Yields:
        One observation for each notebook.

    Raises:
        RuntimeError: At the end, if a notebook failed for reasons that are not its own.
        Stopping: After :func:`stop`.
    """
    left, again = list(notebooks), list[Notebook]()
    failed = 0
    while left or again:
        batch = left or again[:1]
        with (
            tempfile.TemporaryDirectory(prefix="lv-batch-") as name,
            _forkservers.one(conditions) as z,
        ):
            run = _Run(Path(name), batch, z)
            for observation in run:
                failed += bool(observation.failure)
                yield observation
            if run.ended or failed:  # kernels may be left over, or the forkserver be what failed
                z.close()
        if run.ended and not run.done and not run.running:
            raise RuntimeError(f"no notebook could be begun: {run.ended}, {run.said}")
        unfinished = batch[run.done : run.done + run.running]
        if unfinished and left and run.ended == "crashed":
            again += unfinished
        elif unfinished:
            yield run.unfinished()
        left, again = (batch[run.done + run.running :], again) if left else ([], again[1:])
    if failed:
        raise RuntimeError(f"{failed} of {len(notebooks)} notebooks did not run to their end")


class _Run:
    """One pytest process over a folder of notebooks; iterating gives those that came to their end.

    Attributes:
        done: How many did.
        running: Whether one had begun when the process ended.
        ended: Why the process ended before the last one, "" if it did not.
        said: The end of what it printed then.
    """

    def __init__(self, folder: Path, notebooks: Sequence[Notebook], forkserver: ForkServer):
        for place, notebook in enumerate(notebooks):
            _write(folder / f"{place:06d}" / "notebook.ipynb", notebook)
        (folder / "pytest.ini").write_text(INI, encoding="utf8")
        self.folder, self.notebooks, self.forkserver = folder, notebooks, forkserver
        self.done, self.running, self.ended, self.said = 0, False, "", ""
        self.cells: list[CellRun] = []
        self.begun = time.monotonic()

    def __iter__(self) -> Iterator[Observation]:
        with _process(self.folder, self.forkserver) as lines:
            until = time.monotonic() + START_SECONDS
            while self.done < len(self.notebooks):
                line = lines.next(until)
                if line is None:
                    self.ended = "timeout" if time.monotonic() >= until else "crashed"
                    self.said = (self.folder / SAID).read_text(errors="replace")[-300:].strip()
                    return
                if isinstance(line, Begin):
                    self.begun, self.running, self.cells = time.monotonic(), True, []
                    until = self.begun + self.notebooks[self.done].wall + GRACE_SECONDS
                elif isinstance(line, CellRun):
                    self.cells.append(line)
                else:
                    self.done, self.running = self.done + 1, False
                    yield self._observation(self.done - 1, "")

    def unfinished(self) -> Observation:
        """The notebook that ran when the process ended."""
        return self._observation(self.done, self.ended)

    def _observation(self, place: int, ended: str) -> Observation:
        seconds = time.monotonic() - self.begun
        return Observation(self.notebooks[place].key, tuple(self.cells), seconds, ended)


def _write(path: Path, notebook: Notebook) -> None:
    cells: list[dict[str, Any]] = [
        {
            "cell_type": "code",
            "id": cell.id,
            "metadata": {
                METADATA: {
                    "timeout": cell.timeout, "probes": cell.probes, "wall": notebook.wall,
                }
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
    """What a process writes, line by line, for as long as one is ready to wait."""

    def __init__(self, descriptor: int):
        self.descriptor, self.text = descriptor, b""
        self.poll = select.poll()
        self.poll.register(descriptor, select.POLLIN)

    def next(self, until: float) -> Begin | CellRun | End | None:
        """The next line; None if the process ended, or `until` has come."""
        while b"\n" not in self.text:
            if not self.poll.poll(max(until - time.monotonic(), 0) * 1000):
                return None
            more = os.read(self.descriptor, 1 << 16)
            if not more:
                return None
            self.text += more
        line, _, self.text = self.text.partition(b"\n")
        return read_report(line)


_running: set[subprocess.Popen[bytes]] = set()
_stopped = threading.Event()


def stop() -> None:
    """Ends all runs of this process for good; their :func:`observe` raises Stopping."""
    _stopped.set()
    for process in list(_running):
        process.kill()


@contextmanager
def _process(folder: Path, forkserver: ForkServer) -> Iterator[_Lines]:
    """A pytest process over a folder of notebooks, and what it reports."""
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
        "TMPDIR": str(folder),  # boxes go there, and with it, whatever happens to this process
    }
    with (folder / SAID).open("wb") as said:
        process = subprocess.Popen(
            command,
            pass_fds=(forkserver.fileno(), writer),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
    os.close(writer)
    try:
        with _watched(process):
            yield _Lines(reader)
    finally:
        os.close(reader)


@contextmanager
def _watched(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Has a process ended at the end, or by :func:`stop` from another thread."""
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
    """Those that wait for work: to import torch takes longer than to grade a notebook."""

    def __init__(self) -> None:
        self.idle: list[tuple[Conditions, ForkServer]] = []
        self.lock = threading.Lock()

    @contextmanager
    def one(self, conditions: Conditions) -> Iterator[ForkServer]:
        """A forkserver for one user at a time; it goes back when all went well."""
        with self.lock:
            fitting = [pair for pair in self.idle if pair[0] == conditions]
            if fitting:
                self.idle.remove(fitting[0])
        forkserver = fitting[0][1] if fitting else conditions.forkserver()
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
    """Has forkservers import their libraries while something else goes on; ends them afterwards."""
    _stopped.clear()
    _forkservers.idle += [(conditions, conditions.forkserver()) for _ in range(number)]
    try:
        yield
    finally:
        _forkservers.close()
