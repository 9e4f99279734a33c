"""What runs in a student's kernel beside their cells, tried in a shell of IPython's own."""

import json
import subprocess
import sys
from functools import cache

import pytest

from lecture_grader.running.notebook import _call
from lecture_grader.student.probe import MIME
from lecture_grader.student.values import encode

# A process that has imported what takes long, and a fork of it for each list of cells.
SERVER = """
import contextlib, io, json, os, sys
import torch
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.displaypub import DisplayPublisher

def run(cells):
    shell = InteractiveShell.instance()
    shown, said = [], io.StringIO()
    DisplayPublisher.publish = lambda self, data, *a, **k: shown.append(data)
    for cell in cells:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            done = shell.run_cell(cell, store_history=False)
    error = done.error_before_exec or done.error_in_exec
    return {
        "shown": shown, "said": said.getvalue(),
        "error": error and f"{type(error).__name__}: {error}",
        "names": sorted(name for name in shell.user_ns if not name.startswith("_")),
    }

torch.set_num_threads(1)
answers = os.fdopen(os.dup(1), "w")
for line in sys.stdin:
    if os.fork() == 0:
        print(json.dumps(run(json.loads(line))), file=answers, flush=True)
        os._exit(0)
    os.wait()
"""


@cache
def server() -> subprocess.Popen:
    command = [sys.executable, "-c", SERVER]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, **pipes)


@pytest.fixture(scope="module", autouse=True)
def ended():
    yield
    server().communicate(timeout=60)  # the end of its input is its own


SETUP = "import torch"
PROBE = "def probe(x):\n    return total(x)"


def ran(*cells: str) -> dict:
    """What came of cells that were run one after the other in one fresh shell."""
    process = server()
    assert process.stdin and process.stdout
    process.stdin.write(json.dumps(cells) + "\n")
    process.stdin.flush()
    line = process.stdout.readline()
    while not line.startswith('{"shown"'):  # what a shell prints when it starts or asks
        assert line
        line = process.stdout.readline()
    found: dict = json.loads(line)
    return found


def asked(**changes) -> str:
    """A cell that asks a probe two cases."""
    told = {"setup": SETUP, "probe": PROBE, "answers": ["total", "other"], "planted": "",
            "tensors": True,
            "cases": [encode({"x": 1.5}), encode({"x": 2.0})]}  # fmt: skip
    return _call("probe_answer", json.dumps(told | changes))


def values(found: dict) -> list:
    (data,) = found["shown"]
    return json.loads(data[MIME])["values"]


def statements(source: str) -> str:
    return _call("run_statements", source)


@cache
def before() -> set[str]:
    return set(ran("pass")["names"])


def new(found: dict) -> set[str]:
    """Names that the cells have left in the student's namespace."""
    return set(found["names"]) - before()


# ---------------------------------------------------------------------------- probes


def test_a_probe_finds_the_answer_and_leaves_no_name_behind():
    found = ran("def total(x):\n    return 2 * x", asked())
    assert values(found) == [3.0, 4.0]
    assert new(found) == {"total"}


NAMES = ["probe", "report", "known", "check", "json", "encode", "display", "cases", "values",
         "clean_slate", "torch", "probe_answer", "get_ipython", "setup", "list", "sum"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_whatever_a_student_calls_a_thing_it_stays_theirs(name):
    cell = f"def {name}(x):\n    return 7.0 * x\n\ndef total(x):\n    return {name}(x)"
    found = ran(cell, asked(), asked())
    assert [json.loads(data[MIME])["values"] for data in found["shown"]] == [[10.5, 14.0]] * 2
    assert new(found) == {name, "total"} - before()


def test_setup_and_probe_know_nothing_that_the_student_rebound():
    probe = "def probe(x):\n    return torch.tensor(total(x))"
    found = ran("torch = None\ndef total(x):\n    assert torch is None\n    return x")
    assert found["error"] is None
    found = ran("torch = None\ndef total(x):\n    return x", asked(probe=probe))
    assert [value["dtype"] for value in values(found)] == ["<f4", "<f4"]


def test_what_is_planted_takes_the_place_of_the_answer_and_leaves_it_alone():
    planted = asked(planted="def total(x):\n    return -1.0")
    found = ran("def total(x):\n    return x", planted, asked())
    assert [json.loads(data[MIME])["values"] for data in found["shown"]] == [[-1.0] * 2, [1.5, 2.0]]


def test_without_an_answer_the_error_names_it():
    found = ran("x = 1", asked())
    assert found["error"] == "NameError: your cells have run, and total is not defined"
    assert found["shown"] == []


def test_noise_without_a_seed_is_the_same_in_each_call():
    cell = "import random\ndef total(x):\n    return random.random() + torch.rand(()).item()"
    found = ran("import torch\n" + cell, asked(), "random.random()", asked())
    first, second = (json.loads(data[MIME])["values"] for data in found["shown"])
    assert first == second


def test_the_state_that_the_notebook_set_holds_when_its_answer_is_called():
    cell = "import torch\ntorch.set_default_dtype(torch.float64)\n"
    found = ran(cell + "def total(x):\n    return torch.ones(1) * x", asked())
    assert [value["dtype"] for value in values(found)] == ["<f8", "<f8"]


def test_files_that_were_written_are_named(tmp_path):
    setup = f"import os; os.environ['HOME'] = {str(tmp_path)!r}; os.chdir({str(tmp_path)!r})"
    cell = "open('table.csv', 'w').close()\nopen('.hidden', 'w').close()\ntotal = float"
    found = ran(setup, cell, asked())
    assert json.loads(found["shown"][0][MIME])["files"] == ["table.csv"]


def test_folders_that_lead_to_mounts_are_not_called_written(tmp_path):
    (tmp_path / "a course" / "packages").mkdir(parents=True)
    mounts = tmp_path / ".mounts"
    escaped = str(tmp_path / "a course" / "packages").replace(" ", "\\040")
    mounts.write_text(f"none / tmpfs rw 0 0\nnone {escaped} tmpfs ro 0 0\n")
    setup = (
        f"import os; os.environ['HOME'] = {str(tmp_path)!r}; os.chdir({str(tmp_path)!r})\n"
        f"import lecture_grader.student.probe as probe; probe.MOUNTS = {str(mounts)!r}"
    )
    cell = "import os; os.mkdir('own'); total = float"
    found = ran(setup, cell, asked())
    assert json.loads(found["shown"][0][MIME])["files"] == ["own"]


# ---------------------------------------------------------------------------- statements

RIGHT = "def total(x):\n    return 2 * x\n"
ATTEMPTS = {
    "syntax-error-above": "def total(x)\n    return x\n\n" + RIGHT,
    "syntax-error-below": RIGHT + "\ndef total(x)\n    return x\n",
    "indentation": "def total(x):\nreturn x\n\n" + RIGHT,
    "odd-indentation": "def total(x):\n    y = x\n  return y\n\n" + RIGHT,
    "open-bracket": "a = (1,\n\n" + RIGHT,
    "raises": "total('text')\n" + RIGHT,
    "raises-in-between": "def total(x):\n    return x\n\ntotal(1) / 0\n\n" + RIGHT,
    "import": "import nowhere_to_be_found\n" + RIGHT,
    "decorated": "def twice(f):\n    return f\n\nx = = 1\n\n@twice\n@twice\n" + RIGHT,
    "long-string": 'text = """\ndef total(x):\n    return 0\n"""\ny = = 2\n' + RIGHT,
    "class-and-else": "if True:\n    pass\nelse:\n    pass\nz = = 3\n" + RIGHT,
    "magic": "%nonsense\n!true\n" + RIGHT,
    "timed": "%%time\n1 / 0\n" + RIGHT,
    "semicolons": "a = 1; b = 1 / 0; c = 3\n" + RIGHT,
    "prose": "This is my answer, I hope.\n" + RIGHT,
    "exit": "exit_code = 1\nraise ValueError\n" + RIGHT,
    "null-character": "a = '\\0'\nb = 1 / 0\n" + RIGHT,
    "comment-first": "# first try\ndef total(x)\n# second try\n" + RIGHT,
    "nothing-wrong": RIGHT,
}


@pytest.mark.parametrize("name", ATTEMPTS)
def test_the_last_definition_that_runs_counts(name):
    found = ran("total = None", statements(ATTEMPTS[name]), asked())
    assert values(found) == [3.0, 4.0]
    if name != "nothing-wrong":
        assert found["said"]


def test_statements_leave_no_names_but_the_students():
    found = ran(statements("a, b = 1, 2\n" + RIGHT))
    assert new(found) == {"a", "b", "total"}


def test_the_source_of_what_was_run_by_statement_can_be_asked_for():
    cell = "import inspect\n" + RIGHT + "print(inspect.getsource(total))\n"
    assert RIGHT.strip() in ran(statements(cell))["said"]


def test_a_future_import_holds_for_the_statements_after_it():
    cell = "from __future__ import annotations\ndef total(x: NoSuchName) -> 3:\n    return 2 * x\n"
    assert values(ran(statements(cell), asked())) == [3.0, 4.0]


def test_statements_that_share_lines_are_all_run_once():
    found = ran("n = []", statements("n += [1]; n += [2]\nn += [3]"), "assert n == [1, 2, 3], n")
    assert found["error"] is None
