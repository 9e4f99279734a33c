"""Grading: a folder of submissions becomes a gradebook.

Every submission is one task, named by a hash of all that its verdict depends on. Its results are
stored as soon as they are there, so a run that was stopped goes on, and a run that is repeated
does nothing but write the same gradebook.
"""

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

import lecture_vae
from lecture_vae.cluster import cores, run_tasks
from lecture_vae.grading.exercises import Assignment, ExerciseError, read_assignment
from lecture_vae.grading.gradebook import write_gradebook
from lecture_vae.grading.observe import Conditions, Rebuilt, observe, rebuild, warm_kernels
from lecture_vae.grading.sandbox import Limits, choose
from lecture_vae.grading.submission import Submission, find_submissions, read_submission
from lecture_vae.grading.trial import HiddenCheck
from lecture_vae.grading.verdict import (
    INCIDENTS,
    Provenance,
    Result,
    Verdict,
    is_tampered,
    verdicts,
)
from lecture_vae.storage import write_atomically

__all__ = ["Grading", "grade"]

BATCH = 25  # notebooks for one pytest process: its start costs more than a notebook
SEED_FILE, STORE = "seed", "graded"


class Grading:
    """One assignment, ready to grade submissions into one folder.

    Attributes:
        assignment: The exercises.
        conditions: Sandbox level and limits.

    Raises:
        ExerciseError: The assignment cannot be graded with.
        SandboxError: The sandbox asked for does not hold on this machine.
    """

    def __init__(
        self,
        source: Path,
        out: Path,
        *,
        timeout: float | None = None,
        memory_mb: int = 1024,
        sandbox: str = "auto",
    ):
        self.assignment: Assignment = read_assignment(source)
        self.out, self.timeout = out, timeout
        chosen = choose(sandbox)
        # The first optimizer of a process imports a compiler, which takes longer than a notebook.
        trains = any("torch.optim" in exercise.solution for exercise in self.assignment.exercises)
        self.conditions = Conditions(
            chosen.level, Limits(memory_mb=memory_mb), ("torch._dynamo",) if trains else ()
        )
        self.seed = _seed(out / SEED_FILE)
        self.provenance = Provenance(
            self.assignment.version,
            _code_version(),
            chosen.description,
            hashlib.sha256(self.seed.encode()).hexdigest()[:16],
        )

    @cached_property
    def checks(self) -> dict[str, HiddenCheck]:
        """What decides about each exercise, on cases from the secret seed."""
        checks = {
            exercise.name: HiddenCheck(
                self.assignment, exercise, _number(self.seed, self.assignment.name, exercise.name)
            )
            for exercise in self.assignment.exercises
        }
        for name, check in checks.items():
            if check.survivors:
                raise ExerciseError(
                    f"{name}: the wrong answers {', '.join(check.survivors)} get every drawn case "
                    "right. Run `lecture-vae release` on the assignment: it tells which check is "
                    "too weak."
                )
        return checks

    def key(self, submission: Submission) -> str:
        """Names the task: equal keys, equal results."""
        parts = [
            submission.student, submission.digest, submission.problem or "",
            asdict(self.provenance), asdict(self.conditions.limits), self.timeout,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]

    def stored(self, submission: Submission) -> list[Result] | None:
        """The results of a submission that was graded before, or None."""
        path = self.out / STORE / f"{self.key(submission)}.json"
        try:
            return [Result(**fields) for fields in json.loads(path.read_text(encoding="utf8"))]
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):  # not ours, or of another version: graded again
            return None

    def store(self, submission: Submission, results: list[Result]) -> None:
        """Keeps the results of a submission, whole or not at all; failures of ours are not kept."""
        if any(result.outcome == "infrastructure" for result in results):
            return
        text = json.dumps([asdict(result) for result in results])
        path = self.out / STORE / f"{self.key(submission)}.json"
        write_atomically(path, lambda file: file.write_text(text, encoding="utf8"))

    def canary(self, submission: Submission) -> str | None:
        """The exercise after which a wrong answer is planted: an answered one, by the seed."""
        answered = [
            answer.exercise
            for answer in submission.answers
            if answer.source and not answer.unanswered
        ]
        cheap = [name for name in answered if not self.checks[name].judged] or answered
        if not cheap:
            return None
        return cheap[_number(self.seed, submission.digest) % len(cheap)]

    def notebook(self, submission: Submission, only: str | None = None) -> Rebuilt:
        """The notebook that is run for a submission, or for one exercise of it."""
        return rebuild(
            self.key(submission) if only is None else f"{self.key(submission)}/{only}",
            self.assignment,
            submission,
            self.checks,
            only or self.canary(submission),
            only=only,
            timeout=self.timeout,
        )

    def judge(
        self, submission: Submission, observation: dict[str, Any] | None, only: str | None = None
    ) -> dict[str, Verdict]:
        """The verdicts on what was observed, by exercise."""
        expected = [cell.id for cell in self.notebook(submission, only).cells]
        found = {
            exercise.name: verdict
            for exercise, verdict in verdicts(
                self.assignment, submission, self.checks, expected, observation, only
            )
        }
        canary = only or self.canary(submission)
        if observation and canary and is_tampered(self.checks[canary], observation):
            trick = "the wrong answer that was planted for comparison did not come out wrong"
            for name, verdict in found.items():
                if verdict.outcome not in ("unanswered", "missing"):
                    found[name] = replace(
                        verdict, outcome="tampered", message=trick, resembles=None, hint=None
                    )
        return found

    def results(self, submission: Submission, found: dict[str, Verdict]) -> list[Result]:
        """The lines of the gradebook for a submission."""
        answers = {answer.exercise: answer for answer in submission.answers}
        return [
            found[exercise.name].result(
                exercise, submission, answers.get(exercise.name), self.provenance
            )
            for exercise in self.assignment.exercises
        ]


def grade(
    source: Path,
    submissions: Path,
    out: Path,
    *,
    jobs: int | None = None,
    timeout: float | None = None,
    memory_mb: int = 1024,
    sandbox: str = "auto",
    scheduler: str | None = None,
    only_changed: bool = True,
) -> list[Result]:
    """Grades every submission of a folder and writes the gradebook.

    Args:
        source: The source of the assignment, `exercises/NAME.md`.
        submissions: A folder of notebooks, or of one folder for each student.
        out: Where the gradebook goes, and the secret seed: keep the folder between regrades, so
            that the same answer meets the same cases.
        jobs: Notebooks at a time; the number of cores if None.
        timeout: CPU seconds for a cell, in place of what each exercise says.
        memory_mb: What a student's kernel may use beyond the libraries.
        sandbox: auto, namespaces, bubblewrap, landlock or none.
        scheduler: Address of a Dask scheduler that runs the tasks.
        only_changed: Whether submissions that were graded before, under the same conditions, are
            left alone.

    Returns:
        One result for each student and exercise.

    Raises:
        ExerciseError, SandboxError: As :class:`Grading`.
        OSError: A folder is missing, or cannot be written.
    """
    found = find_submissions(submissions)
    if not found:
        raise OSError(
            f"{submissions} holds no notebook: expected STUDENT.ipynb or STUDENT/*.ipynb."
        )
    grading = Grading(source, out, timeout=timeout, memory_mb=memory_mb, sandbox=sandbox)
    results: dict[str, list[Result]] = {}
    open_tasks: list[Submission] = []
    for student, path in found.items():
        submission = read_submission(student, path, grading.assignment)
        known = grading.stored(submission) if only_changed else None
        if known is not None:
            results[student] = known
        else:
            open_tasks.append(submission)
    with tqdm(total=len(found), initial=len(results), unit="student", desc="grading") as progress:
        if open_tasks:
            for submission, verdict_of in _graded(grading, open_tasks, jobs or cores(), scheduler):
                results[submission.student] = grading.results(submission, verdict_of)
                grading.store(submission, results[submission.student])
                progress.update()
    lines = [line for student in sorted(results) for line in results[student]]
    write_gradebook(grading.assignment.title, grading.assignment.name, lines, out)
    return lines


def _graded(
    grading: Grading, open_tasks: list[Submission], jobs: int, scheduler: str | None
) -> Iterator[tuple[Submission, dict[str, Verdict]]]:
    """Each submission with the verdicts on its exercises, as they are there."""
    again: list[tuple[Submission, dict[str, Verdict]]] = []
    # The libraries are imported there while the checks are prepared here.
    with warm_kernels(grading.conditions, 1 if scheduler else min(jobs, len(open_tasks))):
        for submission, observation in _observed(grading, open_tasks, jobs, scheduler):
            verdict_of = grading.judge(submission, observation)
            if any(verdict.outcome in INCIDENTS for verdict in verdict_of.values()):
                again.append((submission, verdict_of))
            else:
                yield submission, verdict_of
        for submission, verdict_of in again:
            _alone(grading, submission, verdict_of)
            yield submission, verdict_of


def _observed(
    grading: Grading, open_tasks: list[Submission], jobs: int, scheduler: str | None
) -> Iterator[tuple[Submission, dict[str, Any] | None]]:
    """Each submission with what was observed of it, as they finish."""
    by_key = {}
    for submission in open_tasks:
        if submission.problem is None and grading.notebook(submission).cells:
            by_key[grading.key(submission)] = submission
        else:
            yield submission, None
    notebooks = [grading.notebook(submission) for submission in by_key.values()]
    # As many batches for each job: else one works on while the others have nothing left to do.
    count = jobs * -(-len(notebooks) // (jobs * BATCH))
    batches = [notebooks[at::count] for at in range(min(count, len(notebooks)))]
    observe_here = partial(observe, conditions=grading.conditions)
    for _, observation in run_tasks(observe_here, batches, jobs=jobs, scheduler=scheduler):
        if not isinstance(observation, Exception):  # else nothing came: see what is left over
            yield by_key.pop(observation["notebook"]), observation
    yield from ((submission, None) for submission in by_key.values())


def _alone(grading: Grading, submission: Submission, first: dict[str, Verdict]) -> None:
    """Runs what did not come out right once more, each exercise in a kernel of its own.

    One answer that kills the kernel or hangs may have spoiled the next; a busy machine may have
    turned a right answer into a slow one. Neither is the student's fault. Changes `first`.
    """
    for name, verdict in first.items():
        if verdict.outcome not in INCIDENTS | {"error", "wrong"}:
            continue
        try:
            seen = list(observe([grading.notebook(submission, name)], grading.conditions))
        except Exception as error:  # whatever it is, it is ours and not the student's
            seen = []
            verdict = replace(verdict, message=f"{verdict.message}; again: {error}")
        second = grading.judge(submission, seen[0] if seen else None, name)[name]
        better = second.outcome == "correct" or verdict.outcome == "infrastructure"
        if better or second.outcome == "tampered":
            verdict = second
        first[name] = replace(verdict, attempts=2)


def _seed(path: Path) -> str:
    """The secret that the cases are drawn from: made once, then kept."""
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        seed = secrets.token_hex(16)

        def write(file: Path) -> None:
            os.close(os.open(file, os.O_CREAT | os.O_WRONLY, 0o600))
            file.write_text(seed + "\n", encoding="ascii")

        write_atomically(path, write)
        return seed


def _number(seed: str, *parts: str) -> int:
    """A whole number that only the holder of the seed can tell."""
    digest = hmac.new(seed.encode(), "/".join(parts).encode(), hashlib.sha256).digest()
    return int.from_bytes(digest[:8], "big")


def _code_version() -> str:
    """Version and a hash of the grading code: other code may come to another verdict."""
    total = hashlib.sha256(lecture_vae.__version__.encode())
    files: Iterable[Path] = sorted(Path(__file__).parent.glob("*.py"))
    for file in files:
        total.update(file.read_bytes())
    return total.hexdigest()[:16]
