"""What is left when a program is killed, its disk fills up, or its file system becomes read-only.

`python benchmarks/kills.py --record` interrupts every verb that writes, at random moments, then
lets it run again, and compares all its results, byte for byte but for dates and durations, with
those of a run that nothing interrupted. It writes `results/kills.json`. Linux, and for the full
disk and the read-only file system either root or user namespaces.

Each case has a file system in memory and of its own, which nobody else sees:

* `SIGKILL`, `SIGTERM`: to the process, as from a scheduler or the kernel; its children must follow.
* `full`: another file takes all the space that is left, until the program has ended.
* `read-only`: the folder becomes read-only; what is open can still be written, as on a server that
  lost its disk.

An interrupted program may end well: it had written everything, or needed no more space.
"""

import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timing import ROOT, arguments_of, context, parser, write

SOURCES = "LECTURE_KILLS_SOURCES"  # in the mount namespace: a copy that nobody edits meanwhile
KINDS = ("SIGKILL", "SIGTERM", "full", "read-only")
LIMIT_S = 1800.0
STEPS = ["--steps", "3000", "--eval-every", "100"]
SWEEP = ["--kl-weight", ".25,4", "--seed", "0..1", "--steps", "1500", "--eval-every", "100"]
# Facts about a run, not results of it.
VOLATILE = {"seconds", "status", "attempts", "versions", "machine", "created", "graded"}
# The same on pages: how long a training took; and all numbers among the words to search for, since
# it is one of them.
TOOK = re.compile(rb"\b(?:took|in) [\d.]+ s(?:econds)?\b")
SEARCHED_NUMBER = re.compile(rb'"\d+": (?:\d+|\[[\d, ]*\])(?:, )?')


@dataclass(frozen=True)
class Program:
    """A verb: how it is called, what it needs first, and where its results lie."""

    name: str
    words: Callable[[Path], list[str]]
    results: tuple[str, ...]  # patterns below the case's folder
    grows: tuple[str, ...] = ()  # of these, those that an interrupted run may leave unfinished
    before: Callable[[Path], None] = lambda place: None
    megabytes: int = 512


def command(name: str, *words: str) -> list[str]:
    """The command line of a program of this environment."""
    return [str(Path(sys.executable).with_name(name)), *words]


def with_a_folder(place: Path) -> None:
    """A folder for what is written beside the runs."""
    (place / "out").mkdir()


def trained(place: Path) -> None:
    """A stored run of a linear VAE, whose key is kept."""
    done = run(command("lecture-vae", "train", "linear-vae", *STEPS, "--json"), place)
    (place / "films").mkdir()
    (place / "key").write_text(json.loads(done.stdout.splitlines()[-1])["key"])


def released(place: Path) -> None:
    """A class's submissions, each exercise answered in every way that its source names."""
    handout = str(place / "handout")
    run(command("lecture-grader", "release", exercises(), "--out", handout), place)
    (place / "marks").mkdir()
    (place / "marks" / "seed").write_text("0f" * 16 + "\n")  # the same probes in every case


def checked_out(place: Path) -> None:
    """A copy of the sources, and the runs of a build before, if there are any."""
    shutil.copytree(os.environ[SOURCES], place / "checkout", symlinks=True)
    if stored := os.environ.get("LECTURE_VAE_RUNS"):
        shutil.copytree(stored, place / "runs")


def exercises() -> str:
    """The assignment that is graded."""
    return str(Path(os.environ[SOURCES]) / "exercises" / "02_divergence.md")


def key(place: Path) -> str:
    """The key of the stored run."""
    return (place / "key").read_text()


RUNS = ("runs/*/*.json", "runs/*/*.safetensors", "runs/*/decoders/*")
PROGRAMS = (
    Program(
        "train",
        lambda at: command("lecture-vae", "train", "linear-vae", *STEPS, "--seed", "1"),
        RUNS,
        RUNS,
    ),
    Program(
        "sweep",
        lambda at: command("lecture-vae", "sweep", "linear-vae", *SWEEP, "--out", str(at / "out")),
        (*RUNS, "out/*"),
        (*RUNS, "out/*"),
        with_a_folder,
    ),
    Program("reproduce", lambda at: command("lecture-vae", "reproduce"), RUNS, RUNS),
    Program(
        "animate",
        lambda at: command(
            "lecture-vae", "animate", key(at), "--out", str(at / "films" / "codes.mp4")
        ),
        ("films/*",),
        before=trained,
    ),
    Program(
        "export",
        lambda at: command("lecture-vae", "export", key(at), "--out", str(at / "live")),
        ("live/*",),
        before=trained,
    ),
    Program(
        "grade",
        lambda at: command(
            "lecture-grader", "grade", exercises(),
            str(at / "handout" / "instructor" / "rehearsal"), "--out", str(at / "marks"),
        ),
        ("marks/*.csv", "marks/*.jsonl", "marks/feedback/*"),
        before=released,
    ),
    Program(
        "make book",
        lambda at: [sys.executable, "-m", "lecture_book.build"],
        ("checkout/_build/html/**/*",),
        ("checkout/_build/html/**/*",),
        checked_out,
        megabytes=4096,
    ),
)  # fmt: skip


# ---------------------------------------------------------------------------- a case


@contextmanager
def file_system(megabytes: int) -> Iterator[Path]:
    """An empty folder on a file system of its own, in memory."""
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    mount("-t", "tmpfs", "-o", f"size={megabytes}m,mode=755", "none", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


def mount(*words: str) -> None:
    """`mount`, which must succeed."""
    subprocess.run(["mount", *words], check=True)


def surroundings(place: Path) -> dict[str, str]:
    """The environment of a program: its store, data and temporary files lie in the place."""
    return {
        **os.environ, "LECTURE_VAE_RUNS": str(place / "runs"), "LECTURE_VAE_DATA": "digits",
        "LECTURE_VAE_BUDGET": "quick", "PYTHONPATH": str(sources(place)),
        "TMPDIR": str(place / "tmp"),
    }  # fmt: skip


def sources(place: Path) -> Path:
    """The sources that a program runs from, and reads."""
    return place / "checkout" if (place / "checkout").exists() else Path(os.environ[SOURCES])


def start(words: list[str], place: Path, output: Any = subprocess.PIPE) -> subprocess.Popen[str]:
    """The program, in a session of its own, by which its children are found."""
    (place / "tmp").mkdir(exist_ok=True)
    return subprocess.Popen(
        words, cwd=sources(place), env=surroundings(place), text=True, stdin=subprocess.DEVNULL,
        stdout=output, stderr=output, start_new_session=True,
    )  # fmt: skip


def run(words: list[str], place: Path) -> subprocess.CompletedProcess[str]:
    """The program, uninterrupted; its failure ends everything here."""
    process = start(words, place)
    output, errors = process.communicate(timeout=LIMIT_S)
    if process.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {process.returncode}:\n{errors[-3000:]}")
    return subprocess.CompletedProcess(words, 0, output, errors)


def results(program: Program, place: Path, patterns: tuple[str, ...]) -> dict[str, str]:
    """The SHA-256 of what a program wrote, without the seconds that it took."""
    files = {path for pattern in patterns for path in place.glob(pattern) if path.is_file()}
    files = {path for path in files if not path.name.startswith(".")}  # of a write that was killed
    return {
        str(path.relative_to(place)): hashlib.sha256(lasting(path, place)).hexdigest()
        for path in sorted(files)
    }


def lasting(path: Path, place: Path) -> bytes:
    """What of a file does not depend on time and place."""
    content = path.read_bytes().replace(str(place).encode(), b"PLACE")
    if path.suffix == ".json" and path.name == "run.json":
        return json.dumps(without(json.loads(content)), sort_keys=True).encode()
    if path.suffix == ".jsonl":
        rows = [without(json.loads(line)) for line in content.splitlines()]
        return json.dumps(rows, sort_keys=True).encode()
    if path.name == "sweep.csv":
        import pandas as pd

        table = pd.read_csv(path)
        return table.drop(columns=[*VOLATILE & {*table.columns}]).to_csv().encode()
    if path.suffix == ".html":
        return TOOK.sub(b"", content)
    if path.name == "searchindex.js":
        return SEARCHED_NUMBER.sub(b"", content)
    return content


def without(value: Any) -> Any:
    """A value of JSON without the facts that differ from run to run."""
    if isinstance(value, dict):
        return {name: without(part) for name, part in value.items() if name not in VOLATILE}
    return [*map(without, value)] if isinstance(value, list) else value


def left_running(session: int) -> list[int]:
    """Processes of a session that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


@contextmanager
def interrupted(kind: str, process: subprocess.Popen[str], place: Path) -> Iterator[None]:
    """What happens to the process, for as long as it lasts."""
    if kind.startswith("SIG"):
        process.send_signal(getattr(signal, kind))
        yield
    elif kind == "full":
        ballast = place / "ballast"
        with ballast.open("wb", buffering=0) as file:
            for size in (2**20, 2**12):  # tmpfs gives pages of 4 KiB
                with suppress(OSError):
                    while file.write(bytes(size)) == size:
                        pass
        yield
        ballast.unlink()
    else:
        mount("-o", "bind,ro", str(place), str(place))
        yield
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def interrupt(program: Program, kind: str, moment: float, whole: dict[str, str]) -> dict[str, Any]:
    """One case: interrupted after so many seconds, then run again."""
    with file_system(program.megabytes) as place, tempfile.TemporaryFile("w+") as output:
        program.before(place)
        process = start(program.words(place), place, output)
        with suppress(subprocess.TimeoutExpired):
            process.wait(moment)
        too_late = process.poll() is not None
        with interrupted(kind, process, place):
            status = process.wait(LIMIT_S)
            end = time.monotonic() + 60
            while (left := left_running(process.pid)) and time.monotonic() < end:
                time.sleep(0.1)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        output.seek(0)
        said = output.read().replace(str(place), "PLACE")
        final = tuple(pattern for pattern in program.results if pattern not in program.grows)
        wrong = [
            name for name, digest in results(program, place, final).items() if whole[name] != digest
        ]
        try:
            run(program.words(place), place)
            again = results(program, place, program.results)
            error = ""
        except RuntimeError as failure:
            again, error = {}, str(failure)
    return {
        "program": program.name, "kind": kind, "after_s": round(moment, 2), "status": status,
        "too_late": too_late, "traceback": "Traceback (most recent call last)" in said,
        "said": said.strip().splitlines()[-1:], "left_running": len(left), "half_written": wrong,
        "differs": sorted(n for n in whole.keys() | again.keys() if whole.get(n) != again.get(n)),
        "error": error,
    }  # fmt: skip


def is_fault(case: dict[str, Any]) -> bool:
    """Anything that nobody should have to see; a signal may end Python where it stands."""
    told = case["traceback"] and not case["kind"].startswith("SIG")
    return bool(told or case["left_running"] or case["half_written"] or case["differs"])


def tried(
    program: Program, kinds: Sequence[str], times: int, rng: random.Random
) -> list[dict[str, Any]]:
    """A program uninterrupted, then interrupted so many times."""
    with file_system(program.megabytes) as place:
        program.before(place)
        begun = time.monotonic()
        run(program.words(place), place)
        seconds = time.monotonic() - begun
        whole = results(program, place, program.results)
    assert whole, f"{program.name} has written nothing"
    cases = []
    for number in range(times):
        kind = kinds[number % len(kinds)]
        while (case := interrupt(program, kind, rng.uniform(0, seconds), whole))["too_late"]:
            pass
        cases.append(case)
        print("FAULT" if is_fault(case) else "whole", json.dumps(case), flush=True)
    return cases


def in_a_namespace() -> int:
    """The exit status of this script in a mount namespace, with a copy of the sources."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    words = ["unshare", *user, "--mount", sys.executable, *sys.argv]
    unneeded = shutil.ignore_patterns("_build", ".git", ".venv", "node_modules", ".*_cache")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "sources"
        shutil.copytree(ROOT, copy, symlinks=True, ignore=unneeded)
        return subprocess.run(words, env={**os.environ, SOURCES: str(copy)}).returncode


def main() -> None:
    """Interrupts, prints and, if asked, records."""
    options = parser(__doc__, rounds=12)
    names = [program.name for program in PROGRAMS]
    options.add_argument(
        "--programs", nargs="*", choices=names, default=names,
        help="those to interrupt now; of the others, what is recorded stays",
    )  # fmt: skip
    options.add_argument(
        "--kinds", nargs="*", choices=KINDS, default=KINDS,
        help="of interruptions, in turn; of the others, what is recorded stays",
    )  # fmt: skip
    options.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = arguments_of(options, "kills")
    if SOURCES not in os.environ:
        sys.exit(in_a_namespace())
    kept = arguments.out is not None and arguments.out.exists()
    recorded = json.loads(arguments.out.read_text()) if kept else {"cases": []}
    cases = [
        case
        for case in recorded["cases"]
        if case["program"] not in arguments.programs or case["kind"] not in arguments.kinds
    ]
    for program in PROGRAMS:
        if program.name not in arguments.programs:
            continue
        rng = random.Random(f"{arguments.seed} {program.name}")
        cases += tried(program, arguments.kinds, arguments.rounds, rng)
        faults = sum(map(is_fault, cases))
        print(f"{len(cases)} cases, {faults} faults", flush=True)
        found = {"seed": arguments.seed, "cases": cases, "faults": faults}
        write(context(None) | found, arguments.out)  # after each: one may take an hour
    sys.exit(any(map(is_fault, cases)))


if __name__ == "__main__":
    main()
