"""Notebooks that end the process that runs them, hang or never begin cost their own time only."""

import json
import os
import pickle
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from lecture_grader.running import batch as observing
from lecture_grader.running.batch import Conditions, Stopping, observe, observe_on_worker, stop
from lecture_grader.running.notebook import Cell, Notebook
from lecture_grader.sandbox import choose as choosing
from lecture_grader.sandbox.choose import Limits, Sandbox, SandboxError, choose

CONDITIONS = Conditions(Sandbox("none", "rlimits"), Limits())

# In place of pytest: each notebook says by its first cell how the process shall behave.
FAKE = """
import json, os, pathlib, sys, time

from lecture_grader.running.observation import Begin, CellRun, End, report

out, folder = int(sys.argv[1]), pathlib.Path(sys.argv[2])

def say(what):
    os.write(out, report(what))

for path in sorted(folder.glob("*/notebook.ipynb")):
    cells = json.loads(path.read_text())["cells"]
    how = cells[0]["source"]
    if how == "never begins":
        print("no room on the disk")
        sys.exit(3)
    say(Begin(path.parent.name))
    for cell in cells:
        if how == "dies":
            os.abort()
        if how == "dies once" and not os.path.exists(os.environ["MARK"]):
            open(os.environ["MARK"], "w").close()
            os.abort()
        if how == "is silent" and cell is cells[-1]:
            time.sleep(60)
        say(CellRun(cell["id"], "infrastructure" if how == "fails" else "ok", message="no room"))
    say(End(path.parent.name))
"""


class NoForkServer:
    """Stands in for a forkserver, which the imitated pytest does not need."""

    open = 0

    def __init__(self) -> None:
        self.number = 0
        NoForkServer.open += 1

    def fileno(self) -> int:
        return self.number

    def close(self) -> None:
        if self.number == 0:
            NoForkServer.open -= 1
        self.number = -1


@pytest.fixture(autouse=True)
def imitated(monkeypatch, tmp_path):
    """pytest and forkservers are imitated; the processes and the waiting are real."""

    @contextmanager
    def process(folder, forkserver):
        reader, writer = os.pipe()
        with (folder / observing.LOG).open("wb") as log:
            run = subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(FAKE), str(writer), str(folder)],
                pass_fds=[writer], stdout=log, stderr=subprocess.STDOUT,
                env={"MARK": str(tmp_path / "mark")},
            )  # fmt: skip
        os.close(writer)
        with observing._killed_at_exit(run):
            yield observing._Lines(reader)
        os.close(reader)

    monkeypatch.setattr(observing, "_process", process)
    monkeypatch.setattr(Conditions, "forkserver", lambda _: NoForkServer())
    monkeypatch.setattr(observing, "GRACE_SECONDS", 0.5)
    monkeypatch.setattr(NoForkServer, "open", 0)
    yield
    observing._stopped.clear()
    observing._forkservers.close()
    assert NoForkServer.open == 0


def notebook(key: str, how: str = "is well", wall: float = 30.0) -> Notebook:
    return Notebook(key, (Cell("first", how, 1.0), Cell("second", "pass", 1.0)), wall)


def ran(*notebooks: Notebook) -> dict[str, tuple[int, str]]:
    """For each notebook how many of its cells are reported and why it ended, in their order."""
    seen = observe(notebooks, CONDITIONS)
    return {each.notebook: (len(each.cells), each.ended) for each in seen}


def test_notebooks_are_reported_in_their_order():
    assert list(ran(*map(notebook, "abc")).items()) == [(key, (2, "")) for key in "abc"]


def test_one_that_ends_the_process_is_run_again_alone_and_reported_as_far_as_it_came():
    found = ran(notebook("a"), notebook("b", "dies"), notebook("c"), notebook("d", "dies"))
    assert list(found.items()) == [
        ("a", (2, "")), ("c", (2, "")), ("b", (0, "crashed")), ("d", (0, "crashed"))
    ]  # fmt: skip


def test_one_that_died_by_accident_loses_nothing():
    assert ran(notebook("a", "dies once"), notebook("b")) == {"a": (2, ""), "b": (2, "")}


def test_a_silent_one_costs_its_own_time_and_what_it_did_is_reported():
    begun = time.monotonic()
    found = ran(notebook("a", "is silent", wall=1.0), notebook("b"), notebook("c"))
    assert list(found.items()) == [("a", (1, "timeout")), ("b", (2, "")), ("c", (2, ""))]
    assert time.monotonic() - begun < 30  # not the 60 s that it sleeps


def test_what_keeps_the_first_from_beginning_is_said():
    with pytest.raises(RuntimeError, match=r"no notebook could be started.*no room on the disk"):
        ran(notebook("a", "never begins"), notebook("b"))


def test_a_failure_of_ours_is_raised_after_all_were_reported():
    seen = []
    with pytest.raises(RuntimeError, match="1 of 2 notebooks did not run"):
        seen.extend(observe([notebook("a", "fails"), notebook("b")], CONDITIONS))
    assert [each.notebook for each in seen] == ["a", "b"]


def test_stopping_ends_what_runs():
    begun = time.monotonic()
    seen = observe([notebook("a"), notebook("b", "is silent")], CONDITIONS)
    assert next(seen).notebook == "a"
    stop()
    with pytest.raises(Stopping):
        next(seen)
    assert time.monotonic() - begun < 30
    with pytest.raises(Stopping):
        list(observe([notebook("c")], CONDITIONS))


def test_no_folder_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ran(notebook("a"), notebook("b", "dies"))
    assert [path.name for path in Path(tmp_path).glob("lv-*")] == []


@pytest.fixture
def measured(monkeypatch):
    """The levels whose escape tests ran; those in `open` let a program out."""

    class Measured(list[str]):
        open = ()

        def __call__(self, level, _paths):
            self.append(level)
            return {"udp": "3"} if level in self.open else {}

    told = Measured()
    monkeypatch.setattr(choosing, "measure_escapes", told)
    choose.cache_clear()
    yield told
    choose.cache_clear()


def test_a_chosen_sandbox_is_tested_once_here_and_again_on_a_worker(measured):
    conditions = pickle.loads(pickle.dumps(Conditions(choose("auto"), Limits())))
    assert [found.notebook for found in observe([notebook("a")], conditions)] == ["a"]
    assert measured == ["namespaces"]
    choose.cache_clear()  # as in the process of a worker
    assert [found.notebook for found in observe_on_worker([notebook("a")], conditions)] == ["a"]
    assert measured == ["namespaces"] * 2


def test_a_worker_on_which_the_chosen_level_does_not_hold_runs_nothing(measured):
    conditions = Conditions(
        Sandbox("namespaces", "as elsewhere", ("json",), ("/far/json",)), Limits()
    )
    measured.open = ("namespaces",)  # and bubblewrap would hold
    with pytest.raises(SandboxError, match="namespaces: a program in it could udp"):
        list(observe_on_worker([notebook("a")], conditions))
    assert measured == ["namespaces"]


def test_a_worker_has_its_own_paths_of_the_packages(measured):
    far = Sandbox("namespaces", "as elsewhere", ("json",), ("/far/json",))
    here = choosing.choose_on_worker(far)
    assert here.box(Limits()).packages == (str(Path(json.__file__).parent),)
    assert here.packages == far.packages
