"""One assignment, ready to grade: the secret seed, the checks, and what is stored of each task.

Every submission is one task, named by a hash of all that its verdict depends on.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import lecture_vae
from lecture_vae.grading.exercises import Assignment, Exercise, ExerciseError, read_assignment
from lecture_vae.grading.notebook import BY_NAME, UP_TO, Notebook, Rebuilding
from lecture_vae.grading.observe import Conditions
from lecture_vae.grading.sandbox import Limits, SandboxError, choose
from lecture_vae.grading.seed import number_from, read_seed
from lecture_vae.grading.submission import Answer, Submission
from lecture_vae.grading.trial import HiddenCheck
from lecture_vae.grading.verdict import (
    STOPS,
    Provenance,
    Result,
    Verdict,
    better,
    is_tampered,
    verdict,
)
from lecture_vae.storage import say, write_atomically

__all__ = ["TRIAL", "Grading", "Run", "Task"]

SEED_FILE, STORE, TRIAL = "seed", "graded", "trial"
# What a submission may take: time to start and to wait, and three times the CPU time of exercises.
WALL_SECONDS, WALL_FOR_CPU = 60.0, 3.0


@dataclass
class Task:
    """One submission while it is graded."""

    submission: Submission
    key: str
    verdicts: dict[str, Verdict] = field(default_factory=dict)  # so far, by exercise
    seconds: float = 0.0  # wall time that its runs took


@dataclass(frozen=True)
class Run:
    """One notebook of a task."""

    task: Task
    notebook: Notebook
    exercises: tuple[Exercise, ...]  # which it decides
    canary: str | None  # the exercise of which a wrong answer is planted


class Grading:
    """One assignment, ready to grade submissions into one folder.

    Attributes:
        assignment: The exercises.
        conditions: Sandbox level and limits.
        wall: Seconds of wall time for everything that runs of one submission.

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
        wall: float | None = None,
        memory_mb: int = 1024,
        sandbox: str = "auto",
    ):
        self.assignment: Assignment = read_assignment(source)
        self.out, self.timeout = out, timeout
        cpu = sum(timeout or exercise.timeout for exercise in self.assignment.exercises)
        self.wall = wall or WALL_SECONDS + WALL_FOR_CPU * cpu
        chosen = choose(sandbox)
        # The first optimizer of a process imports a compiler, which takes longer than a notebook.
        trains = any("torch.optim" in exercise.solution for exercise in self.assignment.exercises)
        self.conditions = Conditions(
            chosen.level, Limits(memory_mb=memory_mb), ("torch._dynamo",) if trains else ()
        )
        self.seed = read_seed(out / SEED_FILE)
        self.provenance = Provenance(
            self.assignment.version,
            _code_version(),
            chosen.description,
            hashlib.sha256(self.seed.encode()).hexdigest()[:16],
        )

    def warm_for(self, submissions: Sequence[Submission]) -> None:
        """Has kernels start with what takes longest to import, if a submission speaks of it."""
        sources = (cell.source for each in submissions for cell in each.cells)
        if any("matplotlib" in source for source in sources):
            preload = (*self.conditions.preload, "matplotlib.pyplot")
            self.conditions = replace(self.conditions, preload=preload)

    @cached_property
    def checks(self) -> dict[str, HiddenCheck]:
        """What decides about each exercise, on cases from the secret seed."""
        assignment = self.assignment
        checks = {
            exercise.name: HiddenCheck(
                assignment, exercise, number_from(self.seed, assignment.name, exercise.name)
            )
            for exercise in assignment.exercises
        }
        for name, check in checks.items():
            if check.survivors:
                raise ExerciseError(
                    f"{name}: the wrong answers {', '.join(check.survivors)} get every drawn case "
                    "right. Run `lecture-vae release` on the assignment: it tells which check is "
                    "too weak."
                )
        return checks

    @cached_property
    def rebuilding(self) -> Rebuilding:
        """How submissions become notebooks."""
        return Rebuilding(self.assignment, self.checks, self.timeout)

    def key(self, submission: Submission) -> str:
        """Names the task: equal keys, equal results."""
        parts = [
            submission.student, submission.digest, submission.problem or "", submission.remarks,
            submission.id, asdict(self.provenance), asdict(self.conditions.limits), self.timeout,
            self.wall,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]

    def stored(self, submission: Submission) -> list[Result] | None:
        """The results of a submission that was graded before, or None."""
        path = self.out / STORE / f"{self.key(submission)}.json"
        try:
            stored = json.loads(path.read_text(encoding="utf8"))
            results = [Result(**(each | {"remarks": tuple(each["remarks"])})) for each in stored]
        except OSError:  # there is none, or it cannot be had
            return None
        except (ValueError, TypeError, KeyError):  # not ours, or of another version
            return None
        names = [exercise.name for exercise in self.assignment.exercises]
        return results if [result.exercise for result in results] == names else None

    def store(self, submission: Submission, results: list[Result]) -> None:
        """Keeps the results of a submission, whole or not at all; failures of ours are not kept."""
        if any(result.outcome == "infrastructure" for result in results):
            return
        text = json.dumps([asdict(result) for result in results])
        name = f"{self.key(submission)}.json"

        path = self.out / STORE / name
        try:
            write_atomically(
                path, partial(Path.write_text, data=text, encoding="utf8"), private=True
            )
        except IsADirectoryError:
            say(f"{path} is a folder, so what was graded is not kept; the next run grades it again")

    def begin(self, submission: Submission) -> Task:
        """The task of a submission, with the verdicts on exercises that need no run."""
        task = Task(submission, self.key(submission))
        answers = {answer.exercise: answer for answer in submission.answers}
        for exercise in self.assignment.exercises:
            answer = answers.get(exercise.name)
            if submission.problem is not None:
                task.verdicts[exercise.name] = Verdict("unreadable", submission.problem)
            elif answer is None or not answer.matched_by:
                task.verdicts[exercise.name] = Verdict("missing")
            elif answer.unanswered or not answer.cells:
                task.verdicts[exercise.name] = Verdict("unanswered")
        return task

    def first(self, task: Task) -> list[Run]:
        """The run of the whole notebook; none if nothing of it is to be run."""
        wanted = [e for e in self.assignment.exercises if e.name not in task.verdicts]
        if not wanted:
            return []
        canary = self._canary(task.submission, wanted)
        notebook = self.rebuilding.whole(task.key, task.submission, canary, self.wall / 2)
        return [Run(task, notebook, tuple(wanted), canary)]

    def again(self, task: Task) -> list[Run]:
        """What runs alone, in which way: answers that did not come out right where that may help.

        What is left of the time of the submission is divided among these runs.
        """
        wanted = self.helpful(task)
        wall = max(self.wall - task.seconds, 1.0) / max(len(wanted), 1)
        runs = []
        for exercise, way in wanted:
            key = f"{task.key}/{exercise.name}/{way}"
            notebook = self.rebuilding.alone(key, task.submission, exercise, way, wall)
            runs.append(Run(task, notebook, (exercise,), exercise.name))
        return runs

    def helpful(self, task: Task) -> list[tuple[Exercise, str]]:
        """Which exercises another run may help, and in which way."""
        return [
            (exercise, way)
            for exercise in self.assignment.exercises
            for way in (BY_NAME, UP_TO)
            if self._may_help(task, exercise, way)
        ]

    def _may_help(self, task: Task, exercise: Exercise, way: str) -> bool:
        verdict = task.verdicts[exercise.name]
        if verdict.outcome in ("error", "wrong"):
            # Who gets the values of a named mistake on every case, alone as well, has made it.
            if verdict.resembles and way == UP_TO:
                return False
            return self.rebuilding.differs(task.submission, exercise, way)
        return verdict.outcome in ("infrastructure", "tampered", *STOPS)

    def judge(self, run: Run, observation: dict[str, Any] | None) -> None:
        """Puts what was observed of a run into the verdicts of its task."""
        submission, verdicts = run.task.submission, run.task.verdicts
        run.task.seconds += (observation or {}).get("seconds", 0.0)
        tampered = bool(run.canary) and is_tampered(self.checks[str(run.canary)], observation)
        answers = {answer.exercise: answer for answer in submission.answers}
        for exercise in run.exercises:
            found = verdict(
                exercise, answers[exercise.name], self.checks[exercise.name], run.notebook,
                observation,
            )  # fmt: skip
            if tampered:
                trick = "the wrong answer that was planted for comparison did not come out wrong"
                found = replace(found, outcome="tampered", message=trick, resembles=None, hint=None)
            before = verdicts.get(exercise.name)
            verdicts[exercise.name] = better(before, found) if before else found

    def _canary(self, submission: Submission, wanted: Sequence[Exercise]) -> str | None:
        """The exercise of which a wrong answer is planted: one that is run, by the seed."""
        names = [exercise.name for exercise in wanted]
        cheap = [name for name in names if not self.checks[name].judged] or names
        return cheap[number_from(self.seed, submission.digest) % len(cheap)] if cheap else None

    def trial(self) -> Notebook:
        """The right answers, run before the first student's in the same way."""
        return self.rebuilding.solutions(TRIAL, self.wall)

    def check_trial(self, observation: dict[str, Any] | None) -> None:
        """Sees that nothing on this machine would keep everybody from a right result.

        Raises:
            SandboxError: The right answers did not come out right.
        """
        for exercise in self.assignment.exercises:
            if not self.checks[exercise.name].judged:
                own = Answer(exercise.name, (), (), "id", unanswered=False)
                check = self.checks[exercise.name]
                found = verdict(exercise, own, check, self.trial(), observation)
                if found.outcome != "correct":
                    raise SandboxError(
                        f"notebooks cannot be graded here: the solution of {exercise.name} did "
                        f"not come out right in the sandbox ({found.outcome}: {found.message}). "
                        "Nobody was graded."
                    )

    def results(self, task: Task) -> list[Result]:
        """The lines of the gradebook for a submission."""
        answers = {answer.exercise: answer for answer in task.submission.answers}
        return [
            task.verdicts[exercise.name].result(
                exercise, task.submission, answers.get(exercise.name), self.provenance
            )
            for exercise in self.assignment.exercises
        ]


def _code_version() -> str:
    """Version and a hash of the grading code: other code may come to another verdict."""
    total = hashlib.sha256(lecture_vae.__version__.encode())
    files = sorted(Path(__file__).parent.glob("*.py"))
    for file in files:
        total.update(file.read_bytes())
    return total.hexdigest()[:16]
