"""One grading: its assignment, its secret seed, its checks, and what is stored of each task.

Every submission is one task, named by a hash of all that its verdicts depend on.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path

from lecture_grader.authoring.assignment import (
    Assignment,
    ExerciseError,
    read_assignment,
)
from lecture_grader.authoring.check import HiddenCheck
from lecture_grader.course import FILE as COURSE_FILE
from lecture_grader.course import code_of, read_course
from lecture_grader.extracts import handed_out, rebuilding
from lecture_grader.reporting.result import Provenance, Result
from lecture_grader.running.batch import Conditions
from lecture_grader.running.notebook import BY_NAME, UP_TO, Notebook, Rebuilding
from lecture_grader.running.observation import Observation
from lecture_grader.sandbox.choose import Limits, SandboxError, choose
from lecture_grader.seed import number_from, read_seed
from lecture_grader.submissions.answers import HandedOut
from lecture_grader.submissions.submission import Answer, StudentCell, Submission
from lecture_grader.task import Run, Task
from lecture_grader.verdict import STOPS, is_tampered, verdict
from lecture_vae.storage import say, write_atomically

__all__ = ["TRIAL", "Grading"]

SEED_FILE, STORE, TRIAL = "seed", "graded", "trial"
# What a submission may take: time to start and to wait, and three times the CPU time of exercises.
WALL_SECONDS, WALL_SECONDS_PER_CPU_SECOND = 60.0, 3.0


class Grading:
    """One assignment, ready to grade submissions into one folder.

    Attributes:
        assignment: The exercises.
        conditions: Sandbox level, limits and what kernels have.
        wall: Seconds of wall time for everything that runs of one submission.

    Raises:
        ExerciseError: The assignment cannot be graded with.
        CourseError: What stands beside it in ``course.toml`` breaks a rule.
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
        self.course = read_course(source.parent)
        self.out, self.timeout = out, timeout
        cpu = sum(timeout or exercise.timeout for exercise in self.assignment.exercises)
        self.wall = wall or WALL_SECONDS + WALL_SECONDS_PER_CPU_SECOND * cpu
        chosen = choose(sandbox, self.course.packages)
        self.conditions = Conditions(
            chosen.level,
            Limits(memory_mb=memory_mb),
            self.course.packages,
            self.course.preload,
            self.course.environment,
        )
        self.seed = read_seed(out / SEED_FILE)
        self.provenance = Provenance(
            self.assignment.version,
            code_of(self.course.packages),
            chosen.description,
            hashlib.sha256(self.seed.encode()).hexdigest()[:16],
        )

    def warm_for(self, submissions: Sequence[Submission]) -> None:
        """Has kernels start with what takes long to import, where code holds the words for it."""
        sources = [cell.source for each in submissions for cell in each.cells]
        sources += [exercise.solution for exercise in self.assignment.exercises]
        self.conditions = replace(self.conditions, preload=self.course.preload_for(sources))

    @cached_property
    def handed_out(self) -> HandedOut:
        """The assignment as plain text, which is all that reading submissions needs."""
        return handed_out(self.assignment)

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
                    "right. Run `lecture-grader release` on the assignment: it tells which check "
                    "is too weak."
                )
        return checks

    @cached_property
    def rebuilding(self) -> Rebuilding:
        """How submissions become notebooks: all that runs may know of the exercises."""
        return rebuilding(self.assignment, self.checks, self.timeout)

    # ------------------------------------------------------------------------ one submission

    def task(self, submission: Submission) -> Task:
        """The task of a submission, with the verdicts on exercises that need no run."""
        parts = [
            submission.student, submission.digest, submission.problem or "", submission.remarks,
            submission.id, asdict(self.provenance), asdict(self.conditions.limits), self.timeout,
            self.wall, asdict(self.course),
        ]  # fmt: skip
        key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]
        task = Task(submission, key, self.wall)
        task.decide_without_run(exercise.name for exercise in self.assignment.exercises)
        return task

    def stored(self, task: Task) -> list[Result] | None:
        """The results of a submission that was graded before, or None."""
        try:
            stored = json.loads(self._place(task).read_text(encoding="utf8"))
            results = [Result(**(each | {"remarks": tuple(each["remarks"])})) for each in stored]
        except OSError:  # there is none, or it cannot be had
            return None
        except (ValueError, TypeError, KeyError):  # not ours, or of another version
            return None
        names = [exercise.name for exercise in self.assignment.exercises]
        return results if [result.exercise for result in results] == names else None

    def store(self, task: Task, results: list[Result]) -> None:
        """Keeps the results of a submission, whole or not at all; failures of ours are not kept."""
        if any(result.outcome == "infrastructure" for result in results):
            return
        path, text = self._place(task), json.dumps([asdict(result) for result in results])
        try:
            write_atomically(
                path, partial(Path.write_text, data=text, encoding="utf8"), private=True
            )
        except IsADirectoryError:
            say(
                f"{path} is a folder, so what was graded is not kept; the next run grades it again",
                "lecture_grader",
            )

    def _place(self, task: Task) -> Path:
        return self.out / STORE / f"{task.key}.json"

    def whole_run(self, task: Task) -> list[Run]:
        """The run of the whole notebook; none if every exercise is decided without."""
        names = [exercise.name for exercise in self.assignment.exercises]
        wanted = [name for name in names if name not in task.verdicts]
        if not wanted:
            return []
        return [task.whole_run(self.rebuilding, wanted, self._canary(task.submission, wanted))]

    def single_runs(self, task: Task) -> list[Run]:
        """What runs alone, in which way: answers that are not right, where that may help."""
        return task.single_runs(self.rebuilding, self.helpful(task))

    def helpful(self, task: Task) -> list[tuple[str, str]]:
        """Which exercises another run may help, and in which way."""
        return [
            (exercise.name, way)
            for exercise in self.assignment.exercises
            for way in (BY_NAME, UP_TO)
            if self._may_help(task, exercise.name, way)
        ]

    def _may_help(self, task: Task, name: str, way: str) -> bool:
        verdict = task.verdicts[name]
        if verdict.outcome in ("error", "wrong"):
            # Who gets the values of a named mistake on every case, alone as well, has made it.
            return not (verdict.resembles and way == UP_TO) and task.differs(name, way)
        return verdict.outcome in ("infrastructure", "tampered", *STOPS)

    def judge(self, run: Run, observation: Observation | None) -> None:
        """Adds what was observed of a run to the verdicts of its task."""
        tampered = is_tampered(self.checks[run.canary], observation)
        verdicts = {}
        for name in run.exercises:
            found = verdict(run.task.answers[name], self.checks[name], run.notebook, observation)
            if tampered:
                trick = "the wrong answer that was planted for comparison did not come out wrong"
                found = replace(found, outcome="tampered", message=trick, resembles=None, hint=None)
            verdicts[name] = found
        run.task.add(verdicts, observation.seconds if observation else 0.0)

    def _canary(self, submission: Submission, wanted: Sequence[str]) -> str:
        """The exercise of which a wrong answer is planted: one that is run, by the seed."""
        cheap = [name for name in wanted if not self.checks[name].judged] or wanted
        return cheap[number_from(self.seed, submission.digest) % len(cheap)]

    def results(self, task: Task) -> list[Result]:
        """The lines of the gradebook for a submission."""
        return [
            task.verdicts[exercise.name].result(
                exercise, task.submission, task.answers.get(exercise.name), self.provenance
            )
            for exercise in self.assignment.exercises
        ]

    # ------------------------------------------------------------------------ the trial

    @cached_property
    def _solved(self) -> Submission:
        """The right answers as somebody hands them in, but for those that take long."""
        quick = [e for e in self.assignment.exercises if not self.checks[e.name].judged]
        return Submission(
            TRIAL,
            "",
            tuple(StudentCell(each.solution, each.name, "id") for each in quick),
            tuple(
                Answer(each.name, (place,), (place,), "id", unanswered=False)
                for place, each in enumerate(quick)
            ),
        )

    @cached_property
    def trial(self) -> Notebook:
        """The right answers, run before the first student's in the same way."""
        return self.rebuilding.whole(TRIAL, self._solved, None, self.wall)

    def check_trial(self, observation: Observation | None) -> None:
        """Sees that nothing on this machine would keep everybody from a right result.

        Raises:
            SandboxError: The right answers did not come out right.
        """
        for answer in self._solved.answers:
            found = verdict(answer, self.checks[answer.exercise], self.trial, observation)
            if found.outcome != "correct":
                raise SandboxError(
                    f"notebooks cannot be graded here: the solution of {answer.exercise} did "
                    f"not come out right in the sandbox ({found.outcome}: {found.message}). "
                    "Nobody was graded."
                    + (
                        " Packages that are not installed among Python's libraries are named in "
                        f"{COURSE_FILE}, beside the assignment."
                        if "ModuleNotFoundError" in found.message
                        else ""
                    )
                )
