"""The process in which students' files are parsed: its limits, and what is taken from it."""

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from test_submission import SMALL, Notebook

from lecture_grader.extracts import handed_out
from lecture_grader.submissions import reading
from lecture_grader.submissions.notebook_file import MAX_BYTES
from lecture_grader.submissions.reading import Reader, Unreadable
from lecture_grader.submissions.submission import HandIn, NotebookFile

BEYOND = "the file could not be read within 10 s and 300 MB"


def put(path, content):
    path.write_bytes(content if type(content) is bytes else json.dumps(content.document).encode())
    return path


@pytest.fixture
def reader():
    with Reader(handed_out(SMALL)) as opened:
        yield opened


@pytest.fixture
def good(tmp_path):
    return put(tmp_path / "good.ipynb", Notebook())


def test_a_file_is_read_as_it_would_be_here(reader, good):
    from lecture_grader.submissions.answers import read_notebook

    here = read_notebook("anna", good.read_bytes(), handed_out(SMALL))
    assert reader.notebook("anna", good) == here
    hand_in = HandIn("anna", (NotebookFile("good.ipynb", good, (), 0.0),), "77", ("Late.",))
    found = reader.read(hand_in)
    assert (found.id, found.remarks, found.answers) == ("77", ("Late.",), here.answers)


def test_the_process_imports_neither_torch_nor_jupytext():
    source = (
        "import sys, lecture_grader.submissions.parsing\n"
        "print([m for m in ('torch', 'jupytext', 'numpy', 'IPython') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_a_file_too_large_is_not_read(reader, tmp_path):
    path = tmp_path / "huge.ipynb"
    path.touch()
    os.truncate(path, 10**12)  # of which nothing is on the disk
    found = reader.notebook("huge", path)
    assert found.problem.startswith(f"the file has 1,000,000,000,000 bytes; at most {MAX_BYTES:,}")
    assert (found.answers, len(found.digest)) == ((), 16)
    assert "cannot be read" in reader.notebook("none", tmp_path / "none.ipynb").problem


def test_what_took_the_place_of_a_file_is_not_opened(reader, good, tmp_path):
    (tmp_path / "link.ipynb").symlink_to(good)
    os.mkfifo(tmp_path / "pipe.ipynb")
    for name in ("link.ipynb", "pipe.ipynb"):
        assert "cannot be read" in reader.notebook("eve", tmp_path / name).problem
    assert reader.notebook("ada", good).problem is None


def test_a_path_means_what_it_means_to_the_caller(monkeypatch, reader, good):
    monkeypatch.chdir(good.parent)
    assert reader.notebook("ada", Path(good.name)).problem is None


def test_names_of_files_need_not_be_unicode(reader, tmp_path):
    path = tmp_path / os.fsdecode(b"\xe9.ipynb")
    assert reader.notebook("\udce9", put(path, Notebook())).problem is None


def resident_mb(process):
    fields = Path(f"/proc/{process.pid}/status").read_text().split()
    return int(fields[fields.index("VmHWM:") + 1]) / 1024


# Each takes hundreds of megabytes or minutes where nothing stops it.
GREEDY = {
    "lists": b'{"cells": [' + b"[]," * 6_000_000 + b"0]}",
    "objects": b'{"cells": [' + b'{"a":{}},' * 2_000_000 + b"0]}",
    "depth": b'{"cells":' * 2_000_000,
    "wide signs": b'{"cells": "' + b"a" * 19_000_000 + "\U0001f600".encode() + b'"}',
}


@pytest.mark.parametrize("name", GREEDY)
def test_what_would_fill_the_memory_is_a_problem_and_the_next_is_read(reader, good, tmp_path, name):
    path = put(tmp_path / "greedy.ipynb", GREEDY[name])
    peak = []

    def watch():
        while not done.wait(0.01):
            if (process := reader.process) is not None:
                with suppress(OSError, ValueError):
                    peak.append(resident_mb(process))

    done = threading.Event()
    watching = threading.Thread(target=watch)
    watching.start()
    found = reader.notebook("eve", path)
    done.set()
    watching.join()
    assert found.problem
    assert max(peak) < 400
    assert reader.notebook("ada", good).problem is None


@pytest.mark.parametrize(
    "source",
    ["from " + "." * 40_000 + " import x", "from " + ". " * 60_000 + " import x", "a:" * 80_000,
     "f" + '"{' * 50_000, "@a\n" * 60_000 + "def f(): pass", "[[]," * 45_000, "9" * 190_000,
     "if 1:\n" + "".join(" " * n + "if 1:\n" for n in range(1, 300)), "(.1j" * 40_000],
    ids=lambda source: source[:6],
)  # fmt: skip
def test_code_that_takes_parsers_memory_costs_no_other_cell(reader, tmp_path, source):
    notebook = Notebook()
    notebook.add(source)
    found = reader.notebook("eve", put(tmp_path / "eve.ipynb", notebook))
    assert found.problem is None
    assert [answer.alone for answer in found.answers] == [(0,), (1,)]


def stand_in(monkeypatch, script):
    """In place of the process with limits one that runs a script."""
    start = subprocess.Popen

    def popen(command, **options):
        return start([sys.executable, "-c", script], **options)

    monkeypatch.setattr(reading.subprocess, "Popen", popen)


@pytest.mark.parametrize(
    "script",
    ["import os; os._exit(3)", "import os; os.kill(os.getpid(), 9)", "import time; time.sleep(99)",
     "import os, time; os.write(1, b'\\0'); time.sleep(99)",  # a part of a length
     "import os, time; os.write(1, b'\\xff' * 9); time.sleep(99)",  # more than is taken
     "import os; os.write(1, b'\\0\\0\\0\\4null')",
     "import os, time; os.write(1, b'\\0\\0\\0\\2{}'); time.sleep(99)",
     "import os; os.write(1, b'\\0\\0\\0\\2{]')"],
)  # fmt: skip
def test_a_process_that_ends_stalls_or_babbles_is_a_problem(monkeypatch, good, script):
    monkeypatch.setattr(reading, "SECONDS", 1)
    stand_in(monkeypatch, script)
    with Reader(handed_out(SMALL)) as reader:
        begun = time.monotonic()
        assert "could not be read" in reader.notebook("eve", good).problem
        assert time.monotonic() - begun < 60
        assert reader.process is None
        monkeypatch.undo()
        assert reader.notebook("ada", good).problem is None


RIGHT = {
    "digest": "0" * 16, "problem": None, "assignment": "small",
    "cells": [{"source": "x", "exercise": "first", "matched_by": "id"}],
    "answers": [
        {"exercise": name, "cells": [0], "alone": [0], "matched_by": "id", "unanswered": False,
         "remark": ""} for name in ("first", "second")
    ],
}  # fmt: skip


def changed(path, value):
    answer = json.loads(json.dumps(RIGHT))
    *way, last = path
    place = answer
    for key in way:
        place = place[key]
    place[last] = value
    return answer


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["digest"], 3), (["cells"], {}), (["cells", 0], []), (["cells", 0, "source"], None),
        (["cells", 0, "more"], ""), (["answers"], []), (["answers", 0, "exercise"], "other"),
        (["answers", 0, "cells"], [1]), (["answers", 0, "alone"], [-1]),
        (["answers", 0, "cells"], [True]),
        (["answers", 0, "unanswered"], 0), (["problem"], 7), (["assignment"], None), (["more"], 1),
        (["answers", 1, "remark"], ["x"]), (["answers", 1], None),
    ],
)  # fmt: skip
def test_an_answer_of_another_form_is_refused(monkeypatch, good, path, value):
    with Reader(handed_out(SMALL)) as reader:
        monkeypatch.setattr(reader, "_ask", lambda *_: json.loads(json.dumps(RIGHT)))
        assert reader.notebook("ada", good).problem is None
        monkeypatch.setattr(reader, "_ask", lambda *_: changed(path, value))
        assert "could not be read" in reader.notebook("ada", good).problem


@pytest.mark.parametrize("members", [3, [[1]], [["0", "a", 1, 1.0, False]], [[0, "a", 1, 1.0, 0]]])
def test_a_list_of_members_of_another_form_is_refused(monkeypatch, good, members):
    with Reader() as reader:
        monkeypatch.setattr(reader, "_ask", lambda *_: {"members": members})
        with pytest.raises(Unreadable, match="wrong form"):
            reader.members(good)


def test_the_limits_hold_in_the_process(good):
    with Reader(handed_out(SMALL)) as reader:
        reader.notebook("ada", good)
        lines = Path(f"/proc/{reader.process.pid}/limits").read_text().splitlines()
        limits = {line[:26].strip(): line[26:].split()[:2] for line in lines}
        assert limits["Max data size"] == [str(300 << 20)] * 2
        assert limits["Max file size"] == ["0", "0"]
        assert int(limits["Max cpu time"][0]) <= 10 + 1 + 10
        assert Path(f"/proc/{reader.process.pid}/cwd").resolve() == Path("/")
        process = reader.process
    assert process.poll() is not None


def test_one_process_reads_many_files_and_its_end_is_nobodys_fault(monkeypatch, good, tmp_path):
    large = Notebook()
    large.cells += [{"cell_type": "raw", "source": "x" * 1000} for _ in range(900)]
    with Reader(handed_out(SMALL)) as reader:
        reader.notebook("ada", good)
        first = reader.process
        reader.notebook("ada", put(tmp_path / "large.ipynb", large))
        assert reader.process is first  # an honest notebook is nothing
        monkeypatch.setattr(reading, "SECONDS", 60)
        reader.process.kill()  # whoever ended it, the next file is not to blame
        assert reader.notebook("ada", good).problem is None
        assert reader.process is not first
