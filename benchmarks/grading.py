"""How many submissions a minute: `lecture-grader grade` beside nbgrader and otter-grader.

All of them grade the same generated answers on this machine, one after the other, as often as
`--rounds` says, in alternating order. Each must give the marks that the answers deserve. Below
them stands a floor: the same probes called in one process that is warm already and isolates
nothing, which is what the arithmetic alone costs.
"""

import argparse
import json
import platform
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from grading_peers import Answers, Marks, Run, nbgrader, otter
from measuring import environment, figures_of, machine, measure, version_in

from lecture_grader.authoring.assignment import Assignment, Exercise, read_assignment
from lecture_grader.authoring.check import HiddenCheck
from lecture_grader.authoring.handout import student_notebook
from lecture_vae.storage import write_atomically

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results" / "grading.json"
SHARES = {"wrong": 30, "stub": 5, "exception": 5}  # percent of the answers; the others are right
PEERS = {"nbgrader": "nbgrader>=0.9.6", "otter-grader": "otter-grader[grading]>=7,<8"}
PINNED = ("torch", "numpy", "ipykernel")  # of our version in the peers' environments, too
QUICK = 12  # submissions for the peers with --quick
OURS = "lecture-grader grade"

Makers = dict[str, Callable[[Answers, Path], Run]]


def main() -> None:
    """Prepares, measures, compares, prints and, if asked, records."""
    arguments = _arguments()
    assignment = read_assignment(arguments.assignment)
    answers, kinds = generate(assignment, arguments.submissions, arguments.seed)
    deserved = {
        student: {
            exercise.name: float(exercise.points * (kinds[student][exercise.name] == "solution"))
            for exercise in assignment.exercises
        }
        for student in answers
    }
    counts = Counter(kind for row in kinds.values() for kind in row.values())
    print(f"{len(answers)} submissions of {assignment.name}, answers: {dict(counts)}", flush=True)
    makers, versions = graders(arguments, assignment)
    results: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "versions": versions,
        "assignment": {"name": assignment.name, "version": assignment.version},
        "submissions": len(answers),
        "answers": dict(counts),
        "seed": arguments.seed,
        "jobs": arguments.jobs,
        "floor": floor(assignment, answers),
        "graders": {name: {"runs": []} for name in makers},
    }
    for make in makers.values():  # files into the cache, before anything is timed
        run_once(make, sample_of(answers, 2), deserved)
    for number in range(arguments.rounds):
        for name in list(makers)[:: -1 if number % 2 else 1]:
            small = arguments.quick and name != OURS
            figures = run_once(makers[name], sample_of(answers, QUICK if small else None), deserved)
            results["graders"][name]["runs"].append(figures)
            print(f"{name}: {figures}", flush=True)
    for figures in results["graders"].values():
        for key in ("wall_s_per_submission", "cpu_s_per_submission", "submissions_per_minute"):
            figures[key] = median(run[key] for run in figures["runs"])
    alone = [run_once(makers[OURS], sample_of(answers, 1), deserved) for _ in range(3)]
    results["one_submission_s"] = sorted(run["total_s"] for run in alone)
    results["ratios"] = ratios(results["graders"])
    print(table(results))
    if arguments.record:
        record(results, only_ours=arguments.only_ours)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--assignment", type=Path, default=ROOT / "exercises" / "03_elbo.md")
    parser.add_argument("--submissions", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=2, help="how often each grader runs")
    parser.add_argument("--jobs", type=int, default=2, help="processes, where a grader can share")
    parser.add_argument("--seed", type=int, default=0, help="which answers the students give")
    parser.add_argument("--sandbox", default="auto", help="as for lecture-grader grade")
    parser.add_argument("--only-ours", action="store_true", help="leave the peers out")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} submissions for the peers")
    parser.add_argument("--record", action="store_true", help=f"write {RESULTS.relative_to(ROOT)}")
    parser.add_argument(
        "--environments",
        type=Path,
        default=ROOT / "_build" / "benchmark-environments",
        help="folder for the peers' virtual environments",
    )
    arguments = parser.parse_args()
    if arguments.record and arguments.quick:
        parser.error("a recorded run has every grader grade every submission")
    return arguments


# ---------------------------------------------------------------------------- submissions


def generate(
    assignment: Assignment, students: int, seed: int
) -> tuple[Answers, dict[str, dict[str, str]]]:
    """Answers of a class, and of which kind each is, as SHARES says, at least one of each."""
    draw = random.Random(seed)
    total = students * len(assignment.exercises)
    counts = {kind: max(1, round(total * share / 100)) for kind, share in SHARES.items()}
    deck = [kind for kind, count in counts.items() for _ in range(count)]
    deck += ["solution"] * (total - len(deck))
    draw.shuffle(deck)
    answers: Answers = {}
    kinds: dict[str, dict[str, str]] = {}
    for number in range(1, students + 1):
        student = f"student{number:03d}"
        kinds[student] = {exercise.name: deck.pop() for exercise in assignment.exercises}
        answers[student] = {
            exercise.name: _answer(exercise, kinds[student][exercise.name], draw)
            for exercise in assignment.exercises
        }
    return answers, kinds


def _answer(exercise: Exercise, kind: str, draw: random.Random) -> str:
    if kind == "wrong":
        return draw.choice(exercise.wrong).source
    if kind == "exception":
        return f"def {exercise.answer}(*arguments):\n    return not_imported.answer(*arguments)"
    return exercise.solution if kind == "solution" else exercise.stub


# ---------------------------------------------------------------------------- graders


def graders(arguments: argparse.Namespace, assignment: Assignment) -> tuple[Makers, dict[str, str]]:
    """What is to be measured, and of which versions."""
    versions = {"python": platform.python_version()}
    versions |= {name: version(name) for name in ("lecture-vae", "nbval", *PINNED)}
    makers: Makers = {OURS: partial(ours, arguments)}
    if not arguments.only_ours:
        pythons = {}
        for name, requirement in PEERS.items():
            pythons[name] = environment(arguments.environments / name, requirement, PINNED)
            versions[name] = version_in(pythons[name], name)
        jobs = arguments.jobs
        prepare = partial(nbgrader, pythons["nbgrader"], assignment)
        makers["nbgrader, as it comes"] = partial(prepare, processes=1)
        makers[f"nbgrader, split by hand in {jobs}"] = partial(prepare, processes=jobs)
        prepare = partial(otter, pythons["otter-grader"], assignment)
        makers[f"otter-grader, split by hand in {jobs}"] = partial(prepare, processes=jobs)
    return makers, versions


def ours(arguments: argparse.Namespace, answers: Answers, folder: Path) -> Run:
    """Our student notebooks, and the command line that grades them."""
    submissions, out = folder / "submissions", folder / "graded"
    submissions.mkdir(parents=True)
    released = json.dumps(student_notebook(read_assignment(arguments.assignment)))
    for student, sources in answers.items():
        notebook = json.loads(released)
        for cell in notebook["cells"]:
            exercise = cell["id"].removesuffix("-answer")
            cell["source"] = sources.get(exercise, cell["source"])
        path = submissions / f"{student}.ipynb"
        path.write_text(json.dumps(notebook), encoding="utf8")

    def lines() -> list[dict[str, Any]]:
        text = (out / "results.jsonl").read_text(encoding="utf8")
        return [json.loads(line) for line in text.splitlines()]

    def marks() -> Marks:
        found: Marks = {}
        for line in lines():
            found.setdefault(line["student"], {})[line["exercise"]] = line["points"]
        return found

    def sandbox() -> str:
        return ", ".join(sorted({line["sandbox"] for line in lines()}))

    command = (
        Path(sys.executable).with_name("lecture-grader"), "grade", arguments.assignment.resolve(),
        submissions, "--out", out, "--jobs", str(arguments.jobs), "--sandbox", arguments.sandbox,
    )  # fmt: skip
    return Run(((command, folder),), marks, sandbox)


# ---------------------------------------------------------------------------- measuring


def floor(assignment: Assignment, answers: Answers) -> dict[str, float]:
    """What the probes alone cost, in this process, once everything is imported and warm."""
    checks = {each.name: HiddenCheck(assignment, each, seed=0) for each in assignment.exercises}
    wall, cpu = time.perf_counter(), time.process_time()
    for sources in answers.values():
        for name, source in sources.items():
            with suppress(Exception):
                checks[name].objection_to(source)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return figures_of(wall, cpu, len(answers))


def sample_of(answers: Answers, most: int | None) -> Answers:
    """The first submissions."""
    return dict(sorted(answers.items())[:most])


def run_once(
    make: Callable[[Answers, Path], Run], sample: Answers, deserved: Marks
) -> dict[str, Any]:
    """Prepares, runs and measures a grader in a folder of its own, and looks at its marks."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        run = make(sample, folder / "work")
        figures = measure(run.commands, folder, len(sample))
        figures["disagreements"] = disagreements(run.marks(), deserved, sample)
        if run.sandbox:
            figures["sandbox"] = run.sandbox()
    return figures


def disagreements(marks: Marks, deserved: Marks, sample: Answers) -> list[str]:
    """Where a grader's marks are not what the answers deserve."""
    return [
        f"{student}, {exercise}: {marks.get(student, {}).get(exercise)} instead of {points}"
        for student in sample
        for exercise, points in deserved[student].items()
        if marks.get(student, {}).get(exercise) != points
    ]


def ratios(figures: dict[str, Any]) -> dict[str, dict[str, float]]:
    """For each peer: how many times more submissions a minute ours grades, on less CPU time."""
    speed, cpu, mine = "submissions_per_minute", "cpu_s_per_submission", figures[OURS]
    return {
        name: {speed: round(mine[speed] / peer[speed], 2), cpu: round(peer[cpu] / mine[cpu], 2)}
        for name, peer in figures.items()
        if name != OURS
    }


# ---------------------------------------------------------------------------- reporting


def table(results: dict[str, Any]) -> str:
    """The figures as text; seconds are per submission."""
    rows = results["graders"] | {"floor: the probes alone, warm": results["floor"]}
    lines = [f"{'':36} {'per minute':>12} {'wall s':>9} {'CPU s':>9}  marks that differ"]
    for name, row in rows.items():
        differ = sum(len(run["disagreements"]) for run in row.get("runs", []))
        lines.append(
            f"{name:36} {row['submissions_per_minute']:12,.1f} {row['wall_s_per_submission']:9.3f} "
            f"{row['cpu_s_per_submission']:9.3f}  {differ if 'runs' in row else ''}"
        )
    seconds = median(results["one_submission_s"])
    lines.append(f"ours, from the start of the command to the marks of one submission: {seconds} s")
    for name, ratio in results["ratios"].items():
        lines.append(
            f"ours: {ratio['submissions_per_minute']} times the submissions a minute, and "
            f"1/{ratio['cpu_s_per_submission']} of the CPU time, of {name}"
        )
    return "\n".join(lines)


def record(results: dict[str, Any], *, only_ours: bool) -> None:
    """Writes the results; those of ours alone go beside the comparison that is there."""
    kept: dict[str, Any] = {}
    with suppress(FileNotFoundError):
        kept = json.loads(RESULTS.read_text(encoding="utf8"))
    kept["ours_alone" if only_ours else "comparison"] = results
    text = json.dumps(kept, indent=2, sort_keys=True) + "\n"
    write_atomically(RESULTS, lambda file: file.write_text(text, encoding="utf8"))
    print(f"written: {RESULTS.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
