"""The scripts that interrupt programs and change files: they see faults, and what they recorded."""

import copy
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import colab
import fuzz
import kills
import pytest

from lecture_book.records import recorded_values
from lecture_book.robustness_record import INTERRUPTIONS, READERS

ROOT = Path(__file__).resolve().parents[1]
RECORDS = {name: json.loads((ROOT / "results" / f"{name}.json").read_text("utf8"))
           for name in ("kills", "fuzz", "colab")}  # fmt: skip


# ---------------------------------------------------------------------------- interruptions

# A program that takes a second to write a file, in place or by a rename, and one that leaves
# something different each time. They are interrupted after half of that.
TRIALS = """
import json, sys
import kills

WRITER = '''
import os, sys, time
way, path = sys.argv[1:]
if way == "other" and os.path.exists(path):
    sys.exit()
at = os.path.join(os.path.dirname(path), ".part") if way == "renamed" else path
with open(at, "wb", buffering=0) as file:
    for _ in range(20):
        file.write(bytes(10_000) if way != "other" else os.urandom(10_000))
        time.sleep(0.05)
os.replace(at, path)
'''
found = {}
for way in ("in place", "renamed", "other"):
    program = kills.Program(
        way, lambda at: [sys.executable, "-c", WRITER, way, str(at / "out")], ("out",),
        ("out",) if way == "other" else (), megabytes=8,
    )
    with kills.file_system(8) as place:
        kills.run(program.words(place), place)
        whole = kills.results(program, place, program.results)
    for kind in kills.KINDS:
        case = kills.interrupt(program, kind, 0.5, whole)
        found[f"{way}, {kind}"] = case | {"fault": kills.is_fault(case)}
print(json.dumps(found))
"""


def namespace() -> list[str]:
    """The command that gives a program mounts of its own."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *user, "--mount"]


@pytest.fixture(scope="module")
def found():
    allowed = shutil.which("unshare") and not subprocess.run([*namespace(), "true"]).returncode
    if not allowed:
        assert not os.environ.get("LECTURE_REQUIRE_SANDBOX"), "mount namespaces are refused here"
        pytest.skip("mount namespaces are refused here")
    done = subprocess.run(
        [*namespace(), sys.executable, "-c", TRIALS], capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "benchmarks"), kills.SOURCES: str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_a_file_that_is_written_in_place_is_seen_half_written(found):
    for kind in ("SIGKILL", "SIGTERM", "full"):
        case = found[f"in place, {kind}"]
        assert (case["half_written"], case["fault"]) == (["out"], True), kind
        assert case["differs"] == [], kind


@pytest.mark.slow
def test_what_appears_by_a_rename_is_whole_or_absent(found):
    for kind in kills.KINDS:
        case = found[f"renamed, {kind}"]
        assert not case["too_late"], kind
        # A full disk ends this writer with a traceback, which is a fault of its own.
        told = case["traceback"] and not kind.startswith("SIG")
        assert (case["half_written"], case["differs"], case["fault"]) == ([], [], told), kind


@pytest.mark.slow
def test_a_result_that_differs_after_the_second_run_is_seen(found):
    for kind in ("SIGKILL", "SIGTERM", "full"):
        case = found[f"other, {kind}"]
        assert (case["differs"], case["fault"]) == (["out"], True), kind


def test_of_a_result_what_depends_on_time_and_place_is_left_out(tmp_path):
    (tmp_path / "run.json").write_text(f'{{"seconds": 3, "loss": 2.5, "at": "{tmp_path}"}}')
    assert kills.lasting(tmp_path / "run.json", tmp_path) == b'{"at": "PLACE", "loss": 2.5}'
    (tmp_path / "marks.jsonl").write_text('{"graded": "today", "points": 2}\n')
    assert kills.lasting(tmp_path / "marks.jsonl", tmp_path) == b'[{"points": 2}]'
    (tmp_path / "page.html").write_text("<p>3,000 steps took 10 s, trained in 20 seconds, 5 s")
    assert kills.lasting(tmp_path / "page.html", tmp_path) == b"<p>3,000 steps , trained , 5 s"
    (tmp_path / "searchindex.js").write_text('{"terms": {"10": [1, 2], "58": 3, "elbo": [4]}}')
    assert kills.lasting(tmp_path / "searchindex.js", tmp_path) == b'{"terms": {"elbo": [4]}}'
    (tmp_path / "picture.svg").write_bytes(b"<svg/>")
    assert kills.lasting(tmp_path / "picture.svg", tmp_path) == b"<svg/>"


def test_every_program_was_interrupted_in_every_way_and_nothing_was_lost():
    cases = RECORDS["kills"]["cases"]
    assert len(cases) >= 60
    assert {(case["program"], case["kind"]) for case in cases} == {
        (program.name, kind) for program in kills.PROGRAMS for kind in kills.KINDS
    }
    assert not [case for case in cases if kills.is_fault(case) or case["too_late"]]
    assert RECORDS["kills"]["faults"] == 0


# ---------------------------------------------------------------------------- changed files


def kind_that(read, **rest):
    return fuzz.Kind("files", {"a.csv": b"name,points\nAnna,3\n"}, read, (ValueError,), **rest)


def test_an_exception_that_is_not_documented_is_a_fault():
    def read(name, content):
        content.decode()  # UnicodeDecodeError is a ValueError
        if b"3" not in content:
            raise KeyError("points")

    kind = kind_that(read)
    fuzz.tried(kind, 200)
    assert kind.cases == 200
    assert min(kind.ends[end] for end in ("read", "refused", "fault")) > 0
    assert {fault["end"] for fault in kind.faults} == {"KeyError: 'points'"}


def test_a_refusal_without_a_word_is_a_fault():
    def read(name, content):
        raise ValueError

    kind = kind_that(read)
    fuzz.tried(kind, 5)
    assert {fault["end"] for fault in kind.faults} == {"refused without a word"}


WATCHED = """
import json, sys
import fuzz

sys.addaudithook(fuzz.hook)
kind = fuzz.Kind("files", {"a.py": b"1 + 1"}, lambda name, content: eval("1 + 1"), (ValueError,))
fuzz.tried(kind, 5)
print(json.dumps(kind.faults))
"""


def test_code_that_begins_to_run_is_a_fault():
    done = subprocess.run(  # an audit hook cannot be removed
        [sys.executable, "-c", WATCHED], capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "benchmarks"), str(ROOT)])},
    )  # fmt: skip
    faults = json.loads(done.stdout)
    assert [fault["ran"] for fault in faults] == ["exec of <string>"] * 5


def test_the_most_memory_is_seen_and_then_forgotten():
    fuzz.peak_bytes("self")
    block = bytearray(b"x") * 300_000_000
    assert fuzz.peak_bytes("self") > len(block)
    del block
    fuzz.peak_bytes("self")
    assert fuzz.peak_bytes("self") < fuzz.MEMORY


def test_no_changed_file_was_read_wrongly():
    kinds = RECORDS["fuzz"]["kinds"]
    assert kinds.keys() == READERS.keys()
    for name, kind in kinds.items():
        assert kind["faults"] == [], name
        assert (kind["cases"], kind["read"] + kind["refused"]) == (5_000, 5_000), name
        assert min(kind["read"], kind["refused"]) > 50, name
        assert kind["peak_bytes"] < fuzz.MEMORY, name


# ---------------------------------------------------------------------------- environments


def test_what_stopped_and_what_was_replaced_is_seen():
    record = copy.deepcopy(RECORDS["colab"]["environments"])
    assert colab.faults_of(record) == []
    record[0]["notebooks"]["05_linear_vae"]["with"]["error"] = "NameError: x"
    record[1]["after"]["numpy"] = "9.9"
    assert colab.faults_of(record) == [
        (record[0]["versions"]["torch"], "05_linear_vae", "with", "NameError: x"),
        (record[1]["versions"]["torch"], "numpy", record[1]["versions"]["numpy"], "9.9"),
    ]


def test_a_notebook_that_takes_too_long_is_a_fault(tmp_path, monkeypatch):
    monkeypatch.setattr(colab, "LIMIT_S", 0.2)
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 60\n")
    python.chmod(0o755)
    found = colab.executed(python, tmp_path / "any.ipynb", tmp_path / "runs")
    assert found["error"] == "not done after 0.2 s"


def test_every_notebook_ran_in_every_environment_in_both_ways():
    environments = RECORDS["colab"]["environments"]
    assert [each["versions"] for each in environments] == [*colab.VERSIONS]
    names = {path.stem for path in (ROOT / "book").glob("*.ipynb")}
    for each in environments:
        assert {*each["notebooks"]} == names
        assert {way for ways in each["notebooks"].values() for way in ways} == {"without", "with"}


def test_the_first_cell_installs_what_lies_here(tmp_path):
    path = colab.from_here(ROOT / "book" / "02_divergence.ipynb", tmp_path)
    first = next(c for c in json.loads(path.read_text("utf8"))["cells"] if c["cell_type"] == "code")
    address = first["source"].rpartition("@ git+")[2]
    assert address.startswith(f"file://localhost{ROOT}@")


# ---------------------------------------------------------------------------- the page


def test_the_page_says_what_was_recorded():
    values = recorded_values(ROOT)
    cases = RECORDS["kills"]["cases"]
    assert values["kills_cases"] == str(len(cases))
    assert values["fuzz_cases"] == "25,000"
    for program in kills.PROGRAMS:
        count = sum(case["program"] == program.name for case in cases)
        (row,) = (
            line for line in values["kills_table"].splitlines() if f"`{program.name}`" in line
        )
        *counts, good = [cell.strip() for cell in row.strip("|").split("|")][1:]
        assert sum(map(int, counts)) == count
        assert len(counts) == len(INTERRUPTIONS)
        assert good == f"{count} of {count}"
    page = (ROOT / "book" / "how_it_is_built.md").read_text(encoding="utf8")
    for name in ("kills_table", "fuzz_table", "colab_table", "kills_cases", "fuzz_cases"):
        assert f"{{{{ {name} }}}}" in page
