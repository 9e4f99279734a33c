"""The pytest plugin that grades: nbval executes, kernels come out of boxes, cells are reported.

nbval collects the rebuilt notebooks and runs their cells, one test a cell. This plugin gives it
kernels that a zygote forks inside a sandbox, forks again after a death, and writes one line of
JSON for each notebook. It knows no right value.
"""

import json
import os
import time
from collections.abc import Iterator
from typing import Any

import nbval.plugin
import pytest

from lecture_vae.grading.boxed import BoxedKernel, Stopped
from lecture_vae.grading.inside import MIME
from lecture_vae.grading.zygote import Zygote

MAX_TEXT = 4_000  # characters of printed text that are kept
REPLAY_SECONDS = 2.0  # answers that took longer are not run again after a death


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the zygote and the reader of the reports are: inherited file descriptors."""
    parser.addoption("--grading-zygote", type=int, required=True)
    parser.addoption("--grading-out", type=int, required=True)


def pytest_configure(config: pytest.Config) -> None:
    """Gives nbval the boxed kernels."""
    BoxedKernel.zygote = Zygote.attach(config.getoption("--grading-zygote"))
    nbval.plugin.RunningKernel = BoxedKernel
    config.pluginmanager.register(_Reporter(config.getoption("--grading-out")))


class _Reporter:
    """Writes one line for each notebook, when its last cell has run."""

    def __init__(self, out: int):
        self.out, self.cells = out, list[dict[str, Any]]()
        self.begun = time.monotonic()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        BoxedKernel.left = len({item.path for item in session.items})

    def pytest_unconfigure(self) -> None:
        if BoxedKernel.spare is not None:
            BoxedKernel.spare.end()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_setup(self, item: Any) -> Iterator[None]:
        yield
        kernel, ours = item.parent.kernel, item.cell.metadata["lecture_vae"]
        if kernel is not None:
            item.parent.timed_out = False
            if not kernel.is_alive():
                kernel.revive()
            kernel.cpu_limit = ours["timeout"]
            self.begun = time.monotonic()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: Any, call: pytest.CallInfo[None]) -> Iterator[None]:
        yield
        if call.when == "teardown" or (call.when == "setup" and call.excinfo is None):
            return
        seconds = time.monotonic() - self.begun
        report = _observation(item, call, seconds)
        self.cells.append(report)
        ours = item.cell.metadata["lecture_vae"]
        if ours["replay"] and report["outcome"] == "ok" and seconds < REPLAY_SECONDS:
            item.parent.kernel.played.append(item.cell.source)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: Any, nextitem: Any | None) -> Iterator[None]:
        yield
        if nextitem is None or nextitem.parent is not item.parent:
            line = json.dumps({"notebook": item.path.parent.name, "cells": self.cells}) + "\n"
            self.cells = []
            data = line.encode()
            while data:
                data = data[os.write(self.out, data) :]
            if item.parent.kernel is not None:
                item.parent.kernel.stop()  # nbval leaves a dead one alone


def _observation(item: Any, call: pytest.CallInfo[None], seconds: float) -> dict[str, Any]:
    """What one cell did, as JSON."""
    outcome, message = "ok", ""
    if call.excinfo is not None:
        error = call.excinfo.value
        outcome, message = "error", str(error)
        if call.when == "setup":
            outcome, message = "infrastructure", f"{type(error).__name__}: {error}"
        elif isinstance(error, Stopped):
            outcome = error.reason
        elif not isinstance(error, nbval.plugin.NbCellError):  # nbval met a forged message
            outcome, message = "crashed", f"the kernel sent what no kernel sends: {error!r}"
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
    item.test_outputs = None  # a batch is many notebooks
    return {
        "cell": item.cell.id,
        "outcome": outcome,
        "error": name,
        "message": message[:MAX_TEXT],
        "printed": printed,
        "values": values if isinstance(values, str) else None,
        "seconds": round(seconds, 3),
    }
