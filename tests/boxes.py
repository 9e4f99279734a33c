"""Programs that the tests run in a box, each from a process of its own that has no threads."""

import json
import subprocess
import sys
from collections.abc import Sequence

from lecture_grader.sandbox.confine import Box, Limits

LIMITS = Limits(cpu_s=20, memory_mb=64, processes=32, open_files=64, file_mb=2, disk_mb=4)
REPORT = """
import json, os, sys, tempfile
from contextlib import nullcontext
from pathlib import Path
from lecture_grader.sandbox import start as box
from lecture_grader.sandbox import confine
from lecture_grader.sandbox import linux
from lecture_grader.sandbox import seccomp
from lecture_grader.sandbox import mounts as tree
from lecture_grader.sandbox import supervisor

shut_in = confine.Box.from_json(sys.argv[1])
exec(sys.argv[3])
try:
    code = compile(sys.argv[2], "<boxed>", "exec")
    made = box.private_home(shut_in)
    with made if shut_in.home == "/tmp" else nullcontext(shut_in) as shut_in:
        run = lambda: exec(code, {})
        said = supervisor.supervise(os.getppid(), shut_in, run, None, lambda *_: None)
except confine.SandboxError as error:
    said = f"SandboxError: {error}"
print(json.dumps(said))
"""


def guarded(box: Box, code: str, before: str = "", wrapper: Sequence[str] = ()) -> str:
    """Why a program ended in a box, by its supervisor.

    Args:
        box: Where it runs.
        code: The program.
        before: What is done outside first, such as to break a part of the sandbox.
        wrapper: A command that runs the command after it, such as ``unshare --user``.
    """
    python = [*wrapper, sys.executable, "-P", "-c", REPORT, box.as_json(), code, before]
    done = subprocess.run(python, capture_output=True, timeout=30, check=False)
    assert not done.stderr, done.stderr.decode()
    said: str = json.loads(done.stdout)
    return said


def printed(code: str, *arguments: str, wrapper: Sequence[str] = ()) -> list[str]:
    """The lines that a program prints, which runs in no box."""
    python = [*wrapper, sys.executable, "-P", "-c", code, *arguments]
    done = subprocess.run(python, capture_output=True, text=True, timeout=60, check=False)
    assert not done.stderr, done.stderr
    assert done.returncode == 0
    return done.stdout.splitlines()
