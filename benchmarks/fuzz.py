"""What do files that something has changed do to those who read them?

`python benchmarks/fuzz.py --record` lets Hypothesis change bytes of idx files, files of a stored
run, files of live figures, notebooks of students and rosters, reads each, and writes
`results/fuzz.json`. A case is
whole if it was read, or refused by the error that its reader documents. Any other exception, a
peak of memory above 2 GB, and any code from the file that begins to run are faults.
"""

import base64
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from timing import ROOT, arguments_of, context, parser, write

from lecture_grader.authoring.assignment import read_assignment
from lecture_grader.classroom.roster import read_roster
from lecture_grader.classroom.tables import RosterError
from lecture_grader.extracts import handed_out
from lecture_grader.submissions.reading import Reader
from lecture_vae import NegativeELBO, TrainConfig, fetch_run, load_images
from lecture_vae.mnist import DataError
from lecture_vae.store import StoreError, open_run

MEMORY = 2 * 2**30
# What a file must never cause: other programs, connections, pickles.
FORBIDDEN = {"os.system", "os.exec", "os.posix_spawn", "socket.connect", "pickle.find_class"}


@dataclass
class Kind:
    """A kind of file: whole examples, how one is read, and how it may be refused."""

    name: str
    examples: dict[str, bytes]  # name of the file -> content
    read: Callable[[str, bytes], Any]  # of the file that was changed and its content
    refused: tuple[type[Exception], ...]
    process: int | str = "self"  # that reads it
    cases: int = 0
    peak: int = 0  # bytes of memory, resident, of the process
    ends: Counter[str] = field(default_factory=Counter)
    faults: list[dict[str, str]] = field(default_factory=list)


# ---------------------------------------------------------------------------- changes

NUMBERS = b"0", b"-1", b"1e999", b"NaN", b"99999999999", b"null", b"[]", b"{}", b'"x"', b"true"
BYTES = b"\x00", b"\xff", b"\xef\xbb\xbf", b"\x1f\x8b", b"\xff\xfe", b'"', b"\\", b"\n", b",", b";"


# What happens to a file, where in it, to how many bytes, and the bytes that come in. Hypothesis
# keeps what it draws, so it draws this and not the content.
Change = tuple[str, float, int, bytes]
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["byte", "cut", "end", "double", "move", "piece", "swap"]),
        st.floats(0, 1),
        st.integers(0, 40),
        st.binary(min_size=1, max_size=8) | st.sampled_from(NUMBERS + BYTES),
    ),
    min_size=1,
    max_size=4,
)


def changed(content: bytes, changes: list[Change]) -> bytes:
    """The content after changes: bytes, numbers, pieces left out, doubled or moved."""
    for kind, place, length, piece in changes:
        at = int(place * len(content))
        head, middle, tail = content[:at], content[at : at + length], content[at + length :]
        content = {
            "byte": head + piece + content[at + len(piece) :],
            "cut": head + tail,
            "end": head,
            "double": head + middle * (length + 2) + tail,
            "move": tail + middle + head,
            "piece": head + piece + tail,
            "swap": head + middle[::-1] + tail,
        }[kind]
    return content


@st.composite
def changed_json(draw: st.DrawFn, content: bytes) -> bytes:
    """JSON of which up to three values are others, are missing or stand under another key."""
    root = [json.loads(content)]
    for _ in range(draw(st.integers(1, 3))):
        parent: Any = root
        key: Any = 0
        while isinstance(parent[key], dict | list) and parent[key] and draw(st.integers(0, 6)):
            parent = parent[key]
            keys = [*parent] if isinstance(parent, dict) else range(len(parent))
            key = draw(st.sampled_from(keys))
        if parent is not root and draw(st.booleans()):
            del parent[key]
        else:
            parent[key] = draw(
                st.none() | st.booleans() | st.integers(-9, 2**70) | st.floats()
                | st.text(max_size=9)
                | st.sampled_from([[], {}, [[]], {"name": "x"}])
            )  # fmt: skip
    return json.dumps(root[0]).encode()


# ---------------------------------------------------------------------------- cases


def replaced(folder: Path, examples: dict[str, bytes], name: str, content: bytes) -> None:
    """The examples in a folder, one of them changed."""
    shutil.rmtree(folder, ignore_errors=True)
    for each, original in examples.items():
        path = folder / each
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if each == name else original)


def idx_kind(folder: Path) -> Kind:
    """Images and labels in torchvision's layout, plain and compressed."""
    raw = Path("MNIST/raw")
    pixels = bytes(i % 251 for i in range(3 * 28 * 28))
    images = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (3, 28, 28)) + pixels
    labels = b"\0\0\x08\x01" + (3).to_bytes(4, "big") + bytes((1, 2, 3))
    examples = {
        str(raw / "train-images-idx3-ubyte"): images,
        str(raw / "train-labels-idx1-ubyte"): labels,
        str(raw / "t10k-images-idx3-ubyte.gz"): gzip.compress(images, mtime=0),
        str(raw / "t10k-labels-idx1-ubyte"): labels,
    }

    def read(name: str, content: bytes) -> None:
        replaced(folder, examples, name, content)
        load_images(str(folder))

    return Kind("idx files", examples, read, (DataError,))


def run_kind(folder: Path) -> Kind:
    """The files of a stored run."""
    data = load_images("digits")
    config = TrainConfig(steps=4, eval_every=2)
    stored = fetch_run("linear-vae", NegativeELBO(), data, config, store=folder, device="cpu")
    of_run = folder / stored.key
    examples = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in of_run.rglob("*") if path.suffix in {".json", ".safetensors"}
    }  # fmt: skip

    def read(name: str, content: bytes) -> None:
        (folder / name).write_bytes(content)
        try:
            run = open_run(stored.key, store=folder)
            _ = run.history.steps, run.spec.objective, run.model, run.seconds
        finally:
            (folder / name).write_bytes(examples[name])

    return Kind("run folders", examples, read, (StoreError,))


class FileRefused(Exception):
    """What the page says of a file that it cannot use."""


def live_kind(node: subprocess.Popen[str]) -> Kind:
    """The files of the live figures, read by the module that pages read them with."""
    folder = ROOT / "book" / "_static" / "live"
    names = (
        "runs/vae_1/preview.safetensors",
        "evidence/evidence.safetensors",
        "codes/codes.safetensors",
    )
    examples = {name: (folder / name).read_bytes() for name in names}
    assert node.stdin is not None and node.stdout is not None
    ask, answers = node.stdin, node.stdout

    def read(name: str, content: bytes) -> None:
        print(base64.b64encode(content).decode(), file=ask, flush=True)
        answer = json.loads(answers.readline())
        if answer.get("kind") == "FileError":
            raise FileRefused(answer["message"])
        if answer:
            raise RuntimeError(f"{answer['kind']}: {answer['message']}")
        if content != examples[name]:
            raise RuntimeError("a changed file was read, and a figure may be wrong")

    return Kind("live files", examples, read, (FileRefused,), node.pid)


def notebook_kind(folder: Path, reader: Reader) -> Kind:
    """A notebook as a student hands it in, read as the grader reads it."""
    examples = {"anna.ipynb": (ROOT / "book/exercises/02_divergence.ipynb").read_bytes()}

    def read(name: str, content: bytes) -> None:
        path = folder / name
        path.write_bytes(content)
        submission = reader.notebook("anna", path)
        if submission.problem is not None:
            raise ValueError(submission.problem)

    folder.mkdir()
    return Kind("notebooks", examples, read, (ValueError,))


def roster_kind(folder: Path) -> Kind:
    """The files that platforms export."""
    names = "canvas_export.csv", "moodle_worksheet.csv", "moodle_grades.csv"
    examples = {name: (ROOT / "tests" / "golden" / name).read_bytes() for name in names}

    def read(name: str, content: bytes) -> None:
        (folder / name).write_bytes(content)
        read_roster(folder / name)

    folder.mkdir()
    return Kind("rosters", examples, read, (RosterError, OSError))


# ---------------------------------------------------------------------------- the trial


@contextmanager
def watched(seen: list[str]) -> Iterator[None]:
    """Appends what begins to run meanwhile and must not."""
    WATCHING.append(seen)
    try:
        yield
    finally:
        WATCHING.pop()


WATCHING: list[list[str]] = []


def hook(event: str, values: tuple[Any, ...]) -> None:
    """Notes what must not happen. An audit hook cannot be removed."""
    if not WATCHING:
        return
    if event == "exec":  # modules are code, too, but lie in files
        file = getattr(values[0], "co_filename", "")
        if not os.path.isfile(file) and not file.startswith("<frozen "):
            WATCHING[-1].append(f"exec of {file}")
    elif event == "subprocess.Popen":  # a new reader is started if a file has stalled one
        if values[0] != sys.executable:
            WATCHING[-1].append(f"{event} of {values[0]}")
    elif event in FORBIDDEN:
        WATCHING[-1].append(event)


def peak_bytes(process: int | str) -> int:
    """The most memory that a process has held since its peak was forgotten; then forgets it."""
    of_it = Path("/proc") / str(process)
    found = re.search(r"VmHWM:\s*(\d+) kB", (of_it / "status").read_text())
    (of_it / "clear_refs").write_text("5")
    return 1024 * int(found[1]) if found else 0


def tried(kind: Kind, cases: int) -> None:
    """So many files of a kind, changed and read."""
    names = sorted(kind.examples)

    @settings(
        max_examples=cases, database=None, derandomize=True, deadline=None,
        phases=[Phase.generate], suppress_health_check=[*HealthCheck],
    )  # fmt: skip
    @given(st.data())
    def case(data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(names))
        whole = kind.examples[name]
        is_json = name.endswith((".json", ".ipynb"))
        if is_json and data.draw(st.booleans()):
            content = data.draw(changed_json(whole))
        else:
            content = changed(whole, data.draw(CHANGES))
        seen: list[str] = []
        try:
            with watched(seen):
                kind.read(name, content)
            end = "read"
        except kind.refused as error:
            end = "refused" if str(error).strip() else "refused without a word"
        except BaseException as error:
            end = f"{type(error).__name__}: {error}"[:200]
            place = traceback.extract_tb(error.__traceback__)[-1]
            kind.faults.append({"file": name, "end": end, "at": f"{place.name}:{place.lineno}"})
        if seen or end == "refused without a word":
            kind.faults.append({"file": name, "end": end, "ran": ", ".join(seen)})
        kind.cases += 1
        kind.ends[end if end in {"read", "refused"} else "fault"] += 1

    case()


def main() -> None:
    """Changes, reads, prints and, if asked, records."""
    options = parser(__doc__, rounds=1)
    options.add_argument("--cases", type=int, default=5000, help="of each kind")
    arguments = arguments_of(options, "fuzz")
    sys.addaudithook(hook)
    node = subprocess.Popen(
        ["node", str(Path(__file__).with_name("fuzz_live.mjs"))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with node, tempfile.TemporaryDirectory() as name, open(os.devnull, "w") as nowhere:
        folder = Path(name)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        assignment = read_assignment(ROOT / "exercises" / "02_divergence.md")
        with Reader(handed_out(assignment)) as reader:
            kinds = [
                idx_kind(folder / "idx"), run_kind(folder / "runs"),
                live_kind(node), notebook_kind(folder / "notebooks", reader),
                roster_kind(folder / "rosters"),
            ]  # fmt: skip
            for kind in kinds:
                peak_bytes(kind.process)
                with redirect_stderr(nowhere):
                    tried(kind, arguments.cases)
                kind.peak = peak_bytes(kind.process)
                print(
                    kind.name,
                    kind.cases,
                    dict(kind.ends),
                    f"{kind.peak / 2**30:.2f} GiB",
                    flush=True,
                )
                for fault, count in Counter(map(str, kind.faults)).most_common(20):
                    print("   FAULT", count, fault, flush=True)
    found = {
        kind.name: {
            "cases": kind.cases,
            **kind.ends,
            "peak_bytes": kind.peak,
            "faults": kind.faults,
        }
        for kind in kinds
    }
    write(context(None) | {"kinds": found}, arguments.out)
    faults = sum(len(kind.faults) for kind in kinds)
    print(f"{sum(kind.cases for kind in kinds):,} files, {faults} faults")
    sys.exit(bool(faults) or max(kind.peak for kind in kinds) > MEMORY)


if __name__ == "__main__":
    main()
