"""Submissions of tests/exercises/small.md: honest, wrong, hostile, malformed. No test in here.

:data:`CORPUS` says what must come of each, and :func:`write` fills a folder with them.
"""

import copy
import json
import os
import struct
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from attacks import ATTACKS, Attack, World

from lecture_grader.authoring.assignment import Assignment, read_assignment
from lecture_grader.authoring.handout import student_notebook

__all__ = [
    "CORPUS",
    "NO_SUBMISSIONS",
    "SOURCE",
    "Notebook",
    "Student",
    "assignment",
    "write",
    "write_what_is_no_submission",
]

SOURCE = Path(__file__).parent / "exercises" / "small.md"
FIRST, SECOND, THIRD, FOURTH = "scaled-sum", "mean-and-variance", "softmax", "standardize"
CORRECT = {name: {"correct"} for name in (FIRST, SECOND, THIRD, FOURTH)}
UNANSWERED = {name: {"unanswered"} for name in CORRECT}


@cache
def assignment() -> Assignment:
    """The assignment of the tests."""
    return read_assignment(SOURCE)


@cache
def _released() -> str:
    return json.dumps(student_notebook(assignment()))


class Notebook:
    """A student's notebook: as released, and then filled in and changed."""

    def __init__(self, **answers: str) -> None:
        self.document: dict[str, Any] = json.loads(_released())
        for name, source in answers.items():
            self.cell(f"{name.replace('_', '-')}-answer")["source"] = source

    @classmethod
    def solved(cls, **answers: str) -> "Notebook":
        """A faultless notebook, but for the answers given."""
        right = {e.name.replace("-", "_"): e.solution for e in assignment().exercises}
        return cls(**(right | answers))

    @property
    def cells(self) -> list[dict[str, Any]]:
        """The cells, to be changed in place."""
        cells: list[dict[str, Any]] = self.document["cells"]
        return cells

    def cell(self, identity: str) -> dict[str, Any]:
        """The cell with an id."""
        return next(cell for cell in self.cells if cell["id"] == identity)

    def add(self, source: str, before: str | None = None, kind: str = "code") -> dict[str, Any]:
        """A new cell, as Jupyter makes it, at the end or before another one."""
        cell: dict[str, Any] = {
            "cell_type": kind,
            "id": f"{len(self.cells):08x}",
            "metadata": {},
            "source": source,
        }
        if kind == "code":
            cell |= {"execution_count": None, "outputs": []}
        place = len(self.cells) if before is None else self.cells.index(self.cell(before))
        self.cells.insert(place, cell)
        return cell

    def remove(self, identity: str) -> None:
        """Deletes a cell."""
        self.cells.remove(self.cell(identity))

    def __bytes__(self) -> bytes:
        return json.dumps(self.document).encode()


# ---------------------------------------------------------------------------- honest

HONEST: dict[str, Callable[[Notebook], None]] = {}


def honest(change: Callable[[Notebook], None]) -> Callable[[Notebook], None]:
    """Registers a change that a correct notebook must survive with full marks."""
    HONEST[change.__name__.replace("_", "-")] = change
    return change


@honest
def as_it_should_be(notebook: Notebook) -> None:
    pass


@honest
def reordered(notebook: Notebook) -> None:
    notebook.cells.reverse()


@honest
def extra_cells(notebook: Notebook) -> None:
    notebook.add("# My notes\nI found this one easy.", before="softmax-answer", kind="markdown")
    notebook.add("scaled_sum(torch.ones(3), 2.0)", before="scaled-sum-check")
    notebook.add("raise RuntimeError('an experiment')", before="softmax-check")
    notebook.add("")
    notebook.add("1 +")


@honest
def helper_in_an_extra_cell(notebook: Notebook) -> None:
    notebook.add("HALF = 0.5", before="scaled-sum-answer")
    notebook.add("def centered(x):\n    return x - row_mean(x)[:, None]")
    notebook.add("def row_mean(x):\n    return 2 * HALF * x.mean(dim=1)")
    notebook.cell("standardize-answer")["source"] = (
        "def standardize(x):\n"
        "    away = centered(x)\n"
        "    return away / (away**2).mean(dim=1, keepdim=True).sqrt()"
    )


@honest
def noisy(notebook: Notebook) -> None:
    notebook.cell("scaled-sum-answer")["source"] = textwrap.dedent("""
        import logging
        import sys
        import warnings

        def scaled_sum(x, scale):
            print("called with", x)
            print("and on stderr", file=sys.stderr)
            warnings.warn("this is only a warning")
            logging.error("and this only a log")
            return scale * x.sum()

        scaled_sum
    """)


@honest
def slow_but_legal(notebook: Notebook) -> None:
    notebook.cell("scaled-sum-answer")["source"] = textwrap.dedent("""
        import time

        def scaled_sum(x, scale):
            end = time.process_time() + 0.1
            while time.process_time() < end:
                pass
            time.sleep(0.1)
            return scale * x.sum()
    """)


@honest
def check_edited(notebook: Notebook) -> None:
    notebook.cell("scaled-sum-check")["source"] = "assert False, 'I do not like this check'"
    notebook.cell("softmax-check")["source"] = "def softmax(logits, temperature):\n    return 0"


@honest
def check_deleted(notebook: Notebook) -> None:
    notebook.remove("scaled-sum-check")
    notebook.remove("setup")


@honest
def check_duplicated(notebook: Notebook) -> None:
    notebook.cells.append(copy.deepcopy(notebook.cell("scaled-sum-check")))


@honest
def check_split(notebook: Notebook) -> None:
    check = notebook.cell("mean-and-variance-check")
    half = check["source"].index("assert")
    rest = notebook.add(check["source"][half:], before="softmax-statement")
    rest["metadata"] = copy.deepcopy(check["metadata"])
    check["source"] = check["source"][:half]


@honest
def answer_in_a_new_cell(notebook: Notebook) -> None:
    answer = notebook.cell("scaled-sum-answer")
    notebook.add(answer["source"], before="scaled-sum-check")
    notebook.remove("scaled-sum-answer")
    kept = notebook.cell("softmax-answer")  # the stub stays where it was
    notebook.add(kept["source"], before="softmax-check")
    kept["source"] = assignment().exercises[2].stub


@honest
def answer_split(notebook: Notebook) -> None:
    answer = notebook.cell("mean-and-variance-answer")
    half = notebook.add("def squares(x):\n    return x**2", before="mean-and-variance-answer")
    half["metadata"] = copy.deepcopy(answer["metadata"])
    answer["source"] = (
        "def mean_and_variance(x):\n"
        "    mean = x.mean(dim=1)\n"
        "    return mean, squares(x - mean[:, None]).mean(dim=1)"
    )


@honest
def answer_copied(notebook: Notebook) -> None:
    answer = notebook.cell("scaled-sum-answer")
    place = notebook.cells.index(answer)
    notebook.cells.insert(place, copy.deepcopy(answer))
    # An earlier attempt above the final one, both with the id and the tag of the cell.
    notebook.cells[place]["source"] = "def scaled_sum(x, scale):\n    return x.sum()"


@honest
def nbformat_3(notebook: Notebook) -> None:
    cells = [
        {"cell_type": "code", "language": "python", "collapsed": False, "metadata": {},
         "input": cell["source"].splitlines(keepends=True), "outputs": [], "prompt_number": 1}
        if cell["cell_type"] == "code" else
        {"cell_type": "markdown", "metadata": {}, "source": cell["source"]}
        for cell in notebook.cells
    ]  # fmt: skip
    notebook.document = {
        "metadata": {"name": ""},
        "nbformat": 3,
        "nbformat_minor": 0,
        "worksheets": [{"cells": cells, "metadata": {}}],
    }


@honest
def wrong_kernelspec(notebook: Notebook) -> None:
    notebook.document["metadata"]["kernelspec"] = {
        "name": "conda-env-mine-py",
        "display_name": "Mine",
        "language": "R",
    }


@honest
def ids_all_the_same(notebook: Notebook) -> None:
    for cell in notebook.cells:
        cell["id"] = "same"


@honest
def ids_and_tags_lost(notebook: Notebook) -> None:
    for cell in notebook.cells:
        del cell["id"]
        cell["metadata"] = {}


@honest
def magics(notebook: Notebook) -> None:
    answer = notebook.cell("scaled-sum-answer")
    answer["source"] = f"%precision 4\n{answer['source']}\n%time scaled_sum(torch.ones(2), 1.0)"
    answer = notebook.cell("softmax-answer")
    answer["source"] = f"%%time\n{answer['source']}"
    answer = notebook.cell("standardize-answer")
    answer["source"] = f"!echo hello\nfiles = !echo more\n{answer['source']}\nstandardize?"


@honest
def experiment_that_fails(notebook: Notebook) -> None:
    notebook.cell("scaled-sum-answer")["source"] += "\n\nscaled_sum('what about text?', 2)"
    notebook.cell("standardize-answer")["source"] += "\n\nassert standardize(torch.ones(1, 2)) == 0"


@honest
def prints_a_lot(notebook: Notebook) -> None:
    notebook.cell("scaled-sum-answer")["source"] = (
        "def scaled_sum(x, scale):\n"
        "    for step in range(2000):\n"
        "        print('step', step, 'of many, with a rather long line of text behind it')\n"
        "    return scale * x.sum()"
    )


@honest
def further_libraries(notebook: Notebook) -> None:
    notebook.cell("softmax-answer")["source"] = (
        "import functools\n"
        "import torch.nn.functional as F\n"
        "from scipy import special\n\n"
        "def softmax(logits, temperature):\n"
        "    return torch.from_numpy(special.softmax(logits.numpy() / temperature, axis=1))"
    )


@honest
def uses_an_earlier_answer(notebook: Notebook) -> None:
    notebook.cell("standardize-answer")["source"] = (
        "def standardize(x):\n"
        "    mean, variance = mean_and_variance(x)\n"
        "    return (x - mean[:, None]) / variance.sqrt()[:, None]"
    )


@honest
def pollutes(notebook: Notebook) -> None:
    notebook.cell("scaled-sum-answer")["source"] += textwrap.dedent("""

        import warnings

        sum = 3
        list = [1, 2]
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        np.seterr(all="raise")
        warnings.simplefilter("error")
        np = math = probe = report = None
    """)
    # Three answers that each need what the first one took away.
    notebook.cell("mean-and-variance-answer")["source"] = (
        "def mean_and_variance(x):\n"
        "    weights = torch.ones(x.shape[1]) / x.shape[1]\n"
        "    mean = x @ weights\n"
        "    return mean, (x - mean[:, None]) ** 2 @ weights"
    )
    notebook.cell("softmax-answer")["source"] = (
        "def softmax(logits, temperature):\n"
        "    logits = (logits / temperature).requires_grad_()\n"
        "    logits.logsumexp(dim=1).sum().backward()\n"
        "    return logits.grad"
    )
    notebook.cell("standardize-answer")["source"] = (
        "def standardize(x):\n"
        "    n = sum(list(1 for _ in x[0]))\n"
        "    away = x - x.mean(dim=1, keepdim=True)\n"
        "    return away / (away**2).sum(dim=1, keepdim=True).div(n).sqrt()"
    )


@honest
def thread_that_sleeps(notebook: Notebook) -> None:
    notebook.cell("scaled-sum-answer")["source"] += (
        "\n\nimport threading, time\n\n"
        "threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n"
        "threading.Thread(target=time.sleep, args=(1000,)).start()"
    )


# ---------------------------------------------------------------------------- wrong

# Answers to the first exercise, and what each may be called. The other three are right, and
# must be graded as right, whatever the first one did to the kernel.
BODY = "def scaled_sum(x, scale):\n    "
WRONG: dict[str, tuple[str, set[str]]] = {
    "exception": (BODY + "return {}['scale']", {"error"}),
    "exception-at-once": ("import nowhere_to_be_found\n" + BODY + "return x", {"error"}),
    "syntax-error": ("def scaled_sum(x, scale)\n    return 3", {"error"}),
    "returns-nothing": (BODY + "x.sum() * scale", {"wrong"}),
    "returns-text": (BODY + "return f'{x.sum() * scale}'", {"wrong"}),
    "returns-nan": (BODY + "return float('nan')", {"wrong"}),
    "returns-a-row": (BODY + "return (scale * x.sum()).reshape(1, 1)", {"wrong"}),
    "returns-itself": (BODY + "return scaled_sum", {"error"}),
    "recursion": (BODY + "return scaled_sum(x, scale)", {"error", "timeout"}),
    "deep-recursion": (
        "import sys\n\nsys.setrecursionlimit(10**9)\n" + BODY + "return scaled_sum(x, scale)",
        {"error", "crashed", "memory", "timeout"},
    ),
    "sys-exit": (BODY + "import sys\n    sys.exit(0)", {"error"}),
    "quit": (BODY + "quit()", {"error"}),
    "os-exit": (BODY + "import os\n    os._exit(0)", {"crashed"}),
    "segfault": (BODY + "import ctypes\n    ctypes.string_at(0)", {"crashed"}),
    "loop": (BODY + "while True:\n        pass", {"timeout"}),
    "loop-at-once": ("while True:\n    pass", {"timeout"}),
    "loop-that-does-not-listen": (
        "import signal\n\n"
        + BODY
        + textwrap.dedent("""\
        signal.signal(signal.SIGINT, signal.SIG_IGN)
            while True:
                try:
                    while True:
                        pass
                except BaseException:
                    pass"""),
        {"timeout"},
    ),
    "sleeps": (BODY + "import time\n    time.sleep(1000)", {"timeout"}),
    "prints-forever": (BODY + "while True:\n        print('x' * 1000)", {"output", "timeout"}),
    "prints-60-mb": (BODY + "print('x' * 60_000_000)", {"output", "timeout"}),
    "asks": (BODY + "return float(input('How much is it? '))", {"error"}),
    "dies-later": (
        "import os, threading\n\nthreading.Timer(0.05, os._exit, (1,)).start()\n"
        + BODY
        + "return sum(x)",
        {"wrong", "crashed"},
    ),
    # 4 GiB that are never touched, should nothing stop it.
    "memory-bomb": (BODY + "return [np.zeros(2**23) for _ in range(64)][-1].sum()", {"memory"}),
    "torch-memory-bomb": (BODY + "return torch.ones(2**30).sum()", {"memory"}),
}


def dies_between(notebook: Notebook) -> None:
    """The third answer ends the kernel, and the fourth uses the second."""
    uses_an_earlier_answer(notebook)
    notebook.cell("softmax-answer")["source"] = (
        "import os\n\ndef softmax(logits, temperature):\n    os._exit(1)"
    )


# The same for the last exercise, which has more time.
WRONG_AND_SLOW: dict[str, tuple[str, set[str]]] = {
    "fork-bomb": (
        # 300 children that end by themselves, and no more, should nothing stop it.
        textwrap.dedent("""\
        import os
        import time

        def standardize(x):
            return 0.0

        refused = 0
        for _ in range(300):
            try:
                child = os.fork()
            except OSError:
                refused += 1
                continue
            if child == 0:
                time.sleep(2)
                os._exit(0)
        print("refused", refused)
        """),
        {"wrong", "error", "crashed"},
    ),
    "memory-bomb-in-parts": (
        # Four processes of 400 MB each, and no more: each alone would be allowed.
        textwrap.dedent("""\
        import os
        import time

        def standardize(x):
            for _ in range(4):
                if os.fork() == 0:
                    block = b"x" * 400_000_000
                    time.sleep(5)
                    os._exit(0)
            time.sleep(5)
            return 0.0
        """),
        {"memory"},
    ),
}

# ---------------------------------------------------------------------------- input

SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(2)>"


def renders() -> Notebook:
    """Markup, links to files and markup in outputs, wherever a page might show them."""
    notebook = Notebook()
    answer = notebook.cell("scaled-sum-answer")
    answer["source"] = (
        f"print('''{SCRIPT}''')\n"
        f"def scaled_sum(x, scale):\n    raise ValueError('''{SCRIPT}\n![](../../seed)''')"
    )
    answer["outputs"] = [
        {"output_type": "display_data", "metadata": {}, "data": {"text/html": SCRIPT}}
    ]
    notebook.add("![a figure](../../../../etc/passwd)\n" + SCRIPT, kind="markdown")
    return notebook


MALFORMED: dict[str, bytes] = {
    "not-json": b"{'cells': []",
    "empty": b"",
    "json-but-no-notebook": b"[1, 2, 3]",
    "cells-of-a-strange-kind": b'{"cells": {"a": 1}, "nbformat": 4}',
    "deeply-nested": b'{"cells": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deeply-nested-objects": b'{"cells":' * 100_000 + b"1" + b"}" * 100_000,
    "long-number": b'{"cells": [' + b"9" * 100_000 + b"]}",
    "not-utf-8": b'{"cells": [], "name": "\xff\xfe"}',
}
NO_ANSWERS: dict[str, bytes] = {
    "utf-16": '{"cells": []}'.encode("utf-16"),
    "no-cells": b'{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
    "no-code-cells": b'{"cells": [{"cell_type": "markdown", "source": "Hello."}], "nbformat": 4}',
    "cells-that-are-none": b'{"cells": [null, 1, "a", [], {}, {"cell_type": "code"}]}',
}
NAMES = [
    "Doe, Jane",
    "=cmd()|' -C calc'!A0",
    "-1+1",
    "line\nbreak",
    f"@{SCRIPT.replace('/', '_')}",
    "not utf-8 \udce9",
]


# ---------------------------------------------------------------------------- secrets

SHIFT = bytes((byte + 77) % 256 for byte in range(256))
DECOY = 1234.5678901234


def searches_everything(secrets: list[float]) -> Notebook:
    """Looks for the right values in all memory of its kernel, and for hidden checks in all files.

    The notebook holds the values only in disguise, so that it does not find itself. To show that
    it would find what is there, it first hides a value and a file of its own.
    """

    def disguised(value: float) -> list[bytes]:
        """The bytes of the number, and of the beginning of its text."""
        return [
            part.translate(SHIFT) for part in (struct.pack("<d", value), repr(value)[:10].encode())
        ]

    source = f"""
        import os

        shift = bytes((byte + 77) % 256 for byte in range(256))
        wanted = {[part for value in secrets for part in disguised(value)]}
        decoys = {disguised(DECOY)}
        hidden = [bytes((byte - 77) % 256 for byte in decoy) for decoy in decoys]
        with open("decoy.md", "w") as file:
            file.write("Nobody but" + " the grader reads this line.")


        def pieces():
            with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
                for line in list(maps):
                    span, rights = line.split()[:2]
                    first, last = (int(end, 16) for end in span.split("-"))
                    for at in range(first, last, 2**22) if rights.startswith("rw") else ():
                        try:
                            memory.seek(at)
                            yield memory.read(min(2**22, last - at))
                        except (OSError, ValueError, OverflowError):
                            pass


        found = set()
        try:
            for piece in pieces():
                if piece.count(0) < len(piece):
                    shifted = piece.translate(shift)
                    found |= {{part for part in wanted + decoys if part in shifted}}
            print("secrets in memory:", len(found & set(wanted)))
            print("decoys in memory:", len(found & set(decoys)))
        except OSError as error:
            print("no memory to read", error)

        closed = ("/proc", "/sys", "/dev", "/usr")
        for folder, folders, files in os.walk("/"):
            folders[:] = [
                name
                for name in folders
                if os.path.join(folder, name) not in closed and name != "site-packages"
            ]
            for name in files:
                path = os.path.join(folder, name)
                try:
                    if os.path.getsize(path) < 10**6:
                        with open(path, "rb") as file:
                            if b"Nobody but" + b" the grader" in file.read():
                                print("in a file:", name)
                except OSError:
                    pass


        def standardize(x):
            return x
    """
    return Notebook(scaled_sum=WRONG["returns-nan"][0], standardize=textwrap.dedent(source))


# ---------------------------------------------------------------------------- neighbors

NEIGHBORS = 30
NEIGHBORLY = """
import os
import time
from pathlib import Path


def scaled_sum(x, scale):
    folders = [Path.home(), *(f for f in [Path("/tmp"), Path("/dev/shm")] if os.access(f, os.W_OK))]
    notes = [folder / "note" for folder in folders]
    if any(note.exists() and note.read_text() != "NUMBER" for note in notes):
        return -1.0
    for note in notes:
        note.write_text("NUMBER")
    time.sleep(0.01)
    print("I am NUMBER")
    return scale * x.sum() if all(note.read_text() == "NUMBER" for note in notes) else -2.0
"""


# ---------------------------------------------------------------------------- the whole folder


@dataclass(frozen=True)
class Student:
    """A submission of the corpus, and what must come of it."""

    name: str
    outcomes: dict[str, set[str]]  # by exercise: what each may be called
    content: Callable[[World, list[float]], Notebook | bytes]
    resembles: str | None = None  # the named mistake of the exercise that is wrong
    beside: dict[str, str] | None = None  # further files; then the student has a folder

    @property
    def points(self) -> int:
        """The marks that it gets."""
        exercises = assignment().exercises
        return sum(e.points for e in exercises if self.outcomes[e.name] == {"correct"})


def _corpus() -> Iterator[Student]:
    def changed(change: Callable[[Notebook], None]) -> Notebook:
        notebook = Notebook.solved()
        change(notebook)
        return notebook

    for name, change in HONEST.items():
        yield Student(f"honest-{name}", CORRECT, lambda *_, change=change: changed(change))
    yield Student("untouched", UNANSWERED, lambda *_: Notebook())
    for family, exercise in ((WRONG, FIRST), (WRONG_AND_SLOW, FOURTH)):
        for name, (answer, outcomes) in family.items():
            yield _solved_but(f"wrong-{name}", exercise, answer, outcomes)
    yield Student(
        "wrong-dies-between",
        CORRECT | {THIRD: {"crashed"}},
        lambda *_: changed(dies_between),
    )
    for exercise in assignment().exercises:
        for wrong in exercise.wrong:
            name = f"mistake-{exercise.name}-{wrong.name}"
            student = _solved_but(name, exercise.name, wrong.source, {"wrong"})
            yield replace(student, resembles=wrong.name)
    for attack in ATTACKS:
        outcomes = UNANSWERED | {FIRST: set(attack.outcomes)}
        yield Student(
            f"attack-{attack.name}",
            outcomes,
            lambda world, _, attack=attack: attacked(attack, world),
            beside=attack.beside,
        )
    yield Student(
        "searches-everything",
        UNANSWERED | {FIRST: {"wrong"}, FOURTH: {"wrong"}},
        lambda _, secrets: searches_everything(secrets),
    )
    for family, outcome in ((MALFORMED, "unreadable"), (NO_ANSWERS, "missing")):
        for name, content in family.items():
            outcomes = {name: {outcome} for name in CORRECT}
            yield Student(f"malformed-{name}", outcomes, lambda *_, content=content: content)
    yield Student("malformed-huge", {name: {"unreadable"} for name in CORRECT}, lambda *_: b"{")
    yield Student("renders", UNANSWERED | {FIRST: {"error"}}, lambda *_: renders())
    for number in range(NEIGHBORS):
        answer = NEIGHBORLY.replace("NUMBER", f"{number:02d}")
        name = NAMES[number] if number < len(NAMES) else f"neighbor-{number:02d}"
        yield Student(
            name,
            UNANSWERED | {FIRST: {"correct"}},
            lambda *_, answer=answer: Notebook(scaled_sum=answer),
        )


def _solved_but(name: str, exercise: str, answer: str, outcomes: set[str]) -> Student:
    words = {exercise.replace("-", "_"): answer}
    return Student(name, CORRECT | {exercise: outcomes}, lambda *_: Notebook.solved(**words))


CORPUS = {student.name: student for student in _corpus()}
NO_SUBMISSIONS = ("folder.ipynb", "empty", "link.ipynb", "linked", "holds-a-link")


def write(folder: Path, students: Iterable[Student], world: World, secrets: list[float]) -> None:
    """Fills a folder with submissions.

    Args:
        folder: Gets one notebook, or one folder, for each student.
        students: Those of :data:`CORPUS`, or some of them.
        world: Where attacks could do harm.
        secrets: Right values of the first exercise, which no kernel may know.
    """
    for student in students:
        path = folder / f"{student.name}.ipynb"
        if student.beside:
            path = folder / student.name / "submission.ipynb"
            path.parent.mkdir()
            for name, text in student.beside.items():
                (path.parent / name).write_text(world.fill(text))
        path.write_bytes(bytes(student.content(world, secrets)))
        if student.name == "malformed-huge":
            os.truncate(path, 500_000_000)  # of which nothing is on the disk


def write_what_is_no_submission(folder: Path) -> None:
    """Folders without a notebook, and links to other students' notebooks."""
    for name in ("folder.ipynb", "empty", "holds-a-link"):
        (folder / name).mkdir()
    for name in ("link.ipynb", "holds-a-link/link.ipynb"):
        (folder / name).symlink_to(folder / "honest-as-it-should-be.ipynb")
    (folder / "linked").symlink_to(folder / "attack-own-torch")


def attacked(attack: Attack, world: World) -> Notebook:
    """The notebook of an attack on the first exercise; the others are left unanswered."""
    notebook = Notebook(scaled_sum=world.fill(attack.cell))
    check = notebook.cell(f"{FIRST}-check")
    check["source"] = attack.edit + check["source"]
    check["metadata"]["tags"] += attack.tags
    if attack.deleted:
        notebook.remove(f"{FIRST}-check")
    return notebook
