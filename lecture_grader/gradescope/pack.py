"""The zip file that runs this grader on Gradescope.

Its root holds ``setup.sh``, which installs what is needed while Gradescope builds the image, and
``run_autograder``, which grades one submission ("Autograder Specifications",
https://gradescope-autograders.readthedocs.io/en/latest/specs/). Beside them are the assignment,
the secret seed, and the packages: this grader, ``lecture_vae``, and those of the course.
Gradescope unpacks all of it to ``/autograder/source``.
"""

import ast
import io
import re
import sys
import zipfile
from collections.abc import Iterable, Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, packages_distributions, requires, version
from pathlib import Path

from lecture_grader.authoring.assignment import Assignment, ExerciseError, read_assignment
from lecture_grader.course import FILE as COURSE_FILE
from lecture_grader.course import package_paths, read_course
from lecture_grader.seed import read_seed
from lecture_vae.storage import write_atomically

__all__ = ["pack"]

DISTRIBUTION, EXTRA = "lecture-vae", "grading"
OURS = ("lecture_grader", "lecture_vae")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
EPOCH = (1980, 1, 1, 0, 0, 0)  # of all members, so that the same content is the same file
SETUP = """\
#!/usr/bin/env bash
# Runs once, while Gradescope builds the image.
set -euo pipefail
python=""
for name in python3 python3.13 python3.12 python3.11; do
  if ! command -v "$name" >/dev/null; then
    apt-get install -y --no-install-recommends "$name" "$name-venv" >/dev/null 2>&1 || continue
  fi
  if "$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < ({major}, {minor}))'; then
    python="$name"
    break
  fi
done
if [ -z "$python" ]; then
  echo "The grader needs Python {major}.{minor} or newer with venv; choose a newer base image." >&2
  exit 1
fi
"$python" -m venv /autograder/venv
/autograder/venv/bin/python -m pip install -r /autograder/source/requirements.txt
# Not PYTHONPATH, which the grader's own processes do not read.
site="$(/autograder/venv/bin/python -c 'import site; print(site.getsitepackages()[0])')"
echo /autograder/source/packages >"$site/lecture_grader.pth"
"""
RUN = """\
#!/usr/bin/env bash
# Runs for every submission, in /autograder.
exec /autograder/venv/bin/python -m lecture_grader.gradescope.run /autograder {sandbox}
"""


def pack(source: Path, seed: Path, out: Path, sandbox: str = "auto") -> None:
    """Writes the zip file, with mode 0600: it holds the solutions and the seed.

    Args:
        source: The source of the assignment.
        seed: The file of the secret seed; made if it is missing.
        out: The zip file.
        sandbox: As of ``lecture-grader grade``.

    Raises:
        ExerciseError: The source breaks a rule, or imports what is not installed here.
        CourseError: ``course.toml`` beside it breaks a rule.
        OSError: A file cannot be read or written.
    """
    assignment = read_assignment(source)
    course = read_course(source.parent)
    files: dict[str, bytes] = {
        "setup.sh": SETUP.replace("{major}", "3").replace("{minor}", "11").encode(),
        "run_autograder": RUN.replace("{sandbox}", sandbox).encode(),
        "requirements.txt": "".join(_requirements(assignment, course.packages)).encode(),
        f"assignment/{source.name}": source.read_bytes(),
        "seed": f"{read_seed(seed)}\n".encode(),
    }
    description = source.parent / COURSE_FILE
    if description.exists():
        files[f"assignment/{COURSE_FILE}"] = description.read_bytes()
    for root in map(Path, package_paths(dict.fromkeys((*OURS, *course.packages)))):
        files |= dict(_files(root))
    write_atomically(out, partial(Path.write_bytes, data=_zipped(files)), private=True)


def _files(root: Path) -> Iterator[tuple[str, bytes]]:
    """The files of a package, by their place in the zip file, without hidden ones and caches."""
    paths = sorted(root.rglob("*")) if root.is_dir() else [root]
    for path in paths:
        relative = path.relative_to(root.parent)
        left_out = any(part.startswith(".") or part == "__pycache__" for part in relative.parts)
        if not left_out and path.is_file():
            yield f"packages/{relative.as_posix()}", path.read_bytes()


def _zipped(files: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            member = zipfile.ZipInfo(name, EPOCH)
            member.create_system = 3  # Unix, so that the mode counts
            executable = name in ("setup.sh", "run_autograder")
            member.external_attr = (0o100755 if executable else 0o100644) << 16
            archive.writestr(member, files[name], zipfile.ZIP_DEFLATED)
    return data.getvalue()


def _requirements(assignment: Assignment, packages: Iterable[str]) -> list[str]:
    """Lines of requirements.txt: what is imported, in the versions that are installed here.

    Raises:
        ExerciseError: A module is installed by no distribution.
    """
    wanted = _of(DISTRIBUTION, EXTRA)
    known = packages_distributions()
    sources = [assignment.setup, *(each.solution for each in assignment.exercises)]
    sources += [each.hidden for each in assignment.exercises]
    for module in sorted(_imported(sources) - {*OURS, *packages} - sys.stdlib_module_names):
        if module not in known:
            raise ExerciseError(
                f"{assignment.name}: imports {module}, which no installed distribution provides, "
                "so it cannot be installed on Gradescope. Is it a package of the course? Then name "
                f"it in {COURSE_FILE}."
            )
        wanted.add(known[module][0])
    lines = []
    for name in sorted(wanted, key=str.casefold):
        try:
            lines.append(f"{name}=={version(name).partition('+')[0]}\n")
        except PackageNotFoundError:  # for another platform or version of Python
            continue
    return lines


def _of(distribution: str, extra: str) -> set[str]:
    """The requirements of a distribution that its extra needs, and those of its own modules."""
    core = {"safetensors", "platformdirs", "numpy", "tqdm", "typer"}  # of storage and cluster
    found = set()
    for requirement in requires(distribution) or ():
        name = NAME.match(requirement)
        if name and (f'extra == "{extra}"' in requirement.replace("'", '"')):
            found.add(name[0])
    return found | core


def _imported(sources: Iterable[str]) -> set[str]:
    found = set()
    for node in (node for source in sources for node in ast.walk(ast.parse(source))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found
