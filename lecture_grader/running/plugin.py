"""The pytest plugin of the grader: nbval runs notebooks in boxed kernels, cells are reported.

nbval collects the rebuilt notebooks and runs each cell as a test. This plugin replaces its kernels
by those of a forkserver in a sandbox, and writes a line of JSON when a notebook starts, for each
of its cells, and when it has finished. No expected values are known here.
"""

import os
import resource
import time
from collections.abc import Iterator
from typing import Any

import nbval.plugin
import pytest

from lecture_grader.cells import METADATA
from lecture_grader.kernels.client import BoxedKernel, Stopped
from lecture_grader.kernels.forkserver import ForkServer
from lecture_grader.running.observation import Begin, CellRun, End, report
from lecture_grader.student.probe import MIME

MEMORY_MB = 320  # RLIMIT_DATA of this process; a batch takes about 60
MAX_TEXT = 4_000  # characters of printed text that are kept


def bound_memory(megabytes: int) -> None:
    """Set RLIMIT_DATA, soft and hard, for this process.

    It is defence in depth: what a kernel sends is limited before it is stored.

    Args:
        megabytes: Private writable memory in MiB.
    """
    resource.setrlimit(resource.RLIMIT_DATA, (megabytes << 20, megabytes << 20))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options for the inherited descriptors of the forkserver and of the pipe for reports."""
    parser.addoption("--grading-forkserver", type=int, required=True)
    parser.addoption("--grading-out", type=int, required=True)


def pytest_configure(config: pytest.Config) -> None:
    """Limits the memory of this process and replaces nbval's kernels by boxed ones."""
    bound_memory(MEMORY_MB)
    BoxedKernel.forkserver = ForkServer.attach(config.getoption("--grading-forkserver"))
    nbval.plugin.RunningKernel = BoxedKernel
    config.pluginmanager.register(_Reporter(config.getoption("--grading-out")))


class _Reporter:
    """Reports on the notebooks as they run."""

    def __init__(self, out: int):
        self.out = out
        self.notebook: Any = None  # the one that is running
        self.started = self.ends_at = 0.0

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        BoxedKernel.remaining = len({item.path for item in session.items})

    def pytest_unconfigure(self) -> None:
        if BoxedKernel.spare is not None:
            BoxedKernel.spare.end()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: Any, nextitem: Any | None) -> Iterator[None]:
        if item.parent is not self.notebook:
            self.notebook = item.parent
            self.ends_at = time.monotonic() + item.cell.metadata[METADATA]["wall"]
            self._write(Begin(item.path.parent.name))
        result = yield
        if nextitem is None or nextitem.parent is not item.parent:
            if item.parent.kernel is not None:
                item.parent.kernel.stop()  # nbval does not stop a dead one
            self._write(End(item.path.parent.name))
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: Any) -> Iterator[None]:
        result = yield
        kernel, limits = item.parent.kernel, item.cell.metadata[METADATA]
        if kernel is not None:
            item.parent.timed_out = False
            if not kernel.is_alive():
                pytest.skip("an earlier cell ended the kernel")
            kernel.cpu_limit, kernel.ends_at = limits["timeout"], self.ends_at
            self.started = time.monotonic()
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: Any, call: pytest.CallInfo[None]) -> Iterator[None]:
        result = yield
        if call.when == "call" or (call.when == "setup" and call.excinfo is not None):
            self._write(_cell_run(item, call, self._seconds(call)))
        return result

    def _seconds(self, call: pytest.CallInfo[None]) -> float:
        return round(time.monotonic() - self.started, 3) if call.when == "call" else 0.0

    def _write(self, event: Begin | CellRun | End) -> None:
        data = report(event)
        while data:
            data = data[os.write(self.out, data) :]


def _cell_run(item: Any, call: pytest.CallInfo[None], seconds: float) -> CellRun:
    """What one cell did."""
    outcome, message = "ok", ""
    if call.excinfo is not None:
        error = call.excinfo.value
        outcome, message = "error", str(error)
        if isinstance(error, pytest.skip.Exception):
            outcome = "not run"
        elif isinstance(error, Stopped):
            outcome = error.reason
        elif call.when == "setup":
            outcome, message = "infrastructure", f"{type(error).__name__}: {error}"
        elif not isinstance(error, nbval.plugin.NbCellError):  # nbval failed on a forged message
            outcome, message = "crashed", f"the kernel sent a malformed message: {error!r}"
        elif "waiting for output" in message:
            outcome = "output"
    printed, values, name = "", None, ""
    for out in item.test_outputs or []:
        if out.output_type == "stream":
            printed += str(out.text)[: MAX_TEXT - len(printed)]
        elif out.output_type == "error":
            name, message = str(out.ename)[:200], str(out.evalue)[:MAX_TEXT]
        elif isinstance(out.data, dict) and MIME in out.data:
            values = out.data[MIME]
    item.test_outputs = None  # frees memory: a batch has many notebooks
    reply = item.parent.kernel.reply if item.parent.kernel is not None else {}
    if outcome == "ok" and reply.get("status") == "error":  # the error message was withheld
        outcome, name, message = "error", reply["ename"][:200], reply["evalue"][:MAX_TEXT]
    probes = item.cell.metadata[METADATA]["probes"]
    return CellRun(
        id=item.cell.id,
        outcome=outcome,
        error=name,
        message=message[:MAX_TEXT],
        printed="" if probes else printed,  # it may reveal the hidden cases
        values=values if probes and isinstance(values, str) else None,
        seconds=seconds,
    )
