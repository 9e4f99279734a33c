"""A grading session: assignment, secret seed, checks, verdicts and stored results.

Every submission is one task. Its key is a hash of everything that its verdicts depend on.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path

from lecture_grader.account import steps
from lecture_grader.authoring.assignment import (
    Assignment,
    ExerciseError,
    read_assignment,
)
from lecture_grader.authoring.check import HiddenCheck
from lecture_grader.course import FILE as COURSE_FILE
from lecture_grader.course import code_of, read_course
from lecture_grader.extracts import handed_out, rebuilding
from lecture_grader.reporting.kept import Kept
from lecture_grader.reporting.result import Provenance, Result
from lecture_grader.running.batch import Conditions
from lecture_grader.running.notebook import BY_NAME, UP_TO, Notebook, Probe, Rebuilding
from lecture_grader.running.observation import Observation
from lecture_grader.sandbox.choose import Limits, SandboxError, choose
from lecture_grader.seed import number_from, read_seed
from lecture_grader.submissions.answers import HandedOut
from lecture_grader.submissions.submission import Answer, StudentCell, Submission
from lecture_grader.task import Run, Task
from lecture_grader.verdict import STOPS, Verdict, is_tampered, verdict

__all__ = ["SEED_FILE", "TRIAL", "Grading"]

SEED_FILE, STORE, TRIAL = "seed", "graded", "trial"
# Wall time of a submission: a constant for starts and waits, and a multiple of its CPU time.
WALL_SECONDS, WALL_SECONDS_PER_CPU_SECOND = 60.0, 3.0


class Grading:
    """Grades the submissions of one assignment into one folder.

    Attributes:
        assignment: The exercises.
        conditions: Sandbox and limits of the kernels, and how they start.
        wall: Seconds of wall time for all runs of one submission.

    Raises:
        ExerciseError: The source of the assignment breaks a rule.
        CourseError: ``course.toml`` beside the assignment breaks a rule.
        SandboxError: The requested sandbox does not work on this machine.
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
            chosen,
            Limits(memory_mb=memory_mb),
            self.course.preload,
            self.course.environment,
        )
        self.seed = read_seed(out / SEED_FILE)
        self.kept = Kept(out / STORE, [each.name for each in self.assignment.exercises])
        self.provenance = Provenance(
            self.assignment.version,
            code_of(self.course.packages),
            chosen.description,
            hashlib.sha256(self.seed.encode()).hexdigest()[:16],
        )

    def warm_for(self, submissions: Sequence[Submission]) -> None:
        """Sets the modules that kernels preload, by the code of submissions and solutions."""
        sources = [cell.source for each in submissions for cell in each.cells]
        sources += [exercise.solution for exercise in self.assignment.exercises]
        self.conditions = replace(self.conditions, preload=self.course.preload_for(sources))

    @cached_property
    def handed_out(self) -> HandedOut:
        """The assignment as students received it, for reading submissions."""
        return handed_out(self.assignment)

    @cached_property
    def checks(self) -> dict[str, HiddenCheck]:
        """The hidden check of each exercise, on cases from the secret seed."""
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
                    "right. Run `lecture-grader release` on the assignment: it shows which check "
                    "is too weak."
                )
        return checks

    @cached_property
    def rebuilding(self) -> Rebuilding:
        """How submissions become notebooks; it contains no expected values."""
        return rebuilding(self.assignment, self.checks, self.timeout)

    @cached_property
    def _probes(self) -> dict[str, Probe]:
        return {probe.exercise: probe for probe in self.rebuilding.probes}

    # ------------------------------------------------------------------------ one submission

    def task(self, submission: Submission, extra_time: float = 1.0) -> Task:
        """The task of a submission, with the verdicts on exercises that need no run.

        Args:
            submission: What the student handed in.
            extra_time: Factor of all its limits of time.
        """
        parts = [
            submission.student, submission.digest, submission.problem or "", submission.remarks,
            submission.id, asdict(self.provenance), asdict(self.conditions.limits), self.timeout,
            self.wall, asdict(self.course), extra_time,
        ]  # fmt: skip
        key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]
        task = Task(submission, key, self.wall * extra_time, extra_time)
        task.decide_without_run(exercise.name for exercise in self.assignment.exercises)
        return task

    def keep_all_but(self, task: Task, only: Sequence[str]) -> None:
        """Keeps what the last grading found on other exercises, if it was about this submission.

        Args:
            task: The submission.
            only: Names of the exercises that are graded again.
        """
        last = self.kept.latest(task.submission.student)
        exercises = {each.name: each for each in self.assignment.exercises}
        if not last or any(each.submission != task.submission.digest for each in last):
            return
        for result in last:
            now = exercises.get(result.exercise)
            same = now and (now.number, now.title, now.points) == (
                result.number, result.title, result.possible,
            )  # fmt: skip
            if same and result.exercise not in only and result.outcome != "infrastructure":
                task.kept[result.exercise] = result
                task.verdicts.pop(result.exercise, None)
        if task.kept:
            parts = [task.key, [asdict(each) for each in task.kept.values()]]
            task.key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]

    def stored(self, task: Task) -> list[Result] | None:
        """The results of a submission that was graded before, or None."""
        return self.kept.read(task.key)

    def store(self, task: Task, results: list[Result]) -> None:
        """Stores the results of a submission, unless the grader itself failed."""
        if all(result.outcome != "infrastructure" for result in results):
            self.kept.write(task.key, results)

    def whole_run(self, task: Task) -> list[Run]:
        """The run of the whole notebook; none if every exercise is decided without."""
        names = [exercise.name for exercise in self.assignment.exercises]
        wanted = [name for name in names if name not in {**task.verdicts, **task.kept}]
        if not wanted:
            return []
        return [task.whole_run(self.rebuilding, wanted, self._canary(task.submission, wanted))]

    def single_runs(self, task: Task) -> list[Run]:
        """The second runs of a task: single exercises whose verdict another run may improve."""
        wanted = [
            (exercise.name, way)
            for exercise in self.assignment.exercises
            for way in (BY_NAME, UP_TO)
            if exercise.name not in task.kept and self._may_improve(task, exercise.name, way)
        ]
        return task.single_runs(self.rebuilding, wanted)

    def _may_improve(self, task: Task, name: str, way: str) -> bool:
        verdict = task.verdicts[name]
        if verdict.outcome in ("error", "wrong"):
            # An answer that resembles a known mistake when run alone is not run a third time.
            return not (verdict.resembles and way == UP_TO) and task.differs(name, way)
        return verdict.outcome in ("infrastructure", "tampered", *STOPS)

    def judge(self, run: Run, observation: Observation | None) -> None:
        """Adds what was observed of a run to the verdicts of its task."""
        tampered = is_tampered(self.checks[run.canary], observation)
        verdicts = {}
        for name in run.exercises:
            found = verdict(run.task.answers[name], self.checks[name], run.notebook, observation)
            if tampered:
                reason = "the wrong answer that was planted for comparison did not come out wrong"
                found = replace(
                    found, outcome="tampered", message=reason, resembles=None, hint=None
                )
            _, _, way = run.notebook.key.removeprefix(run.task.key).rpartition("/")
            done = steps(
                run.notebook, way, run.task.answers[name], self._probes[name], observation,
                self.conditions.limits, found.outcome,
            )  # fmt: skip
            verdicts[name] = replace(found, steps=done)
        run.task.add(verdicts, observation.seconds if observation else 0.0)

    def _canary(self, submission: Submission, names: Sequence[str]) -> str:
        """The exercise of the canary: chosen by the seed among those that run."""
        cheap = [name for name in names if not self.checks[name].judged] or names
        return cheap[number_from(self.seed, submission.digest) % len(cheap)]

    def results(self, task: Task) -> list[Result]:
        """The results of a submission, one for each exercise."""
        return [
            task.kept.get(exercise.name)
            or task.verdicts[exercise.name].result(
                exercise, task.submission, task.answers.get(exercise.name), self.provenance
            )
            for exercise in self.assignment.exercises
        ]

    def absent(self, student: str, number: str, outcome: str = "absent") -> list[Result]:
        """The results of a student who handed in nothing.

        Args:
            student: The name under which they stand.
            number: The student's number in Canvas, or "".
            outcome: absent, or pending if the student has more time.
        """
        nobody = Submission(student, "", id=number)
        return [
            Verdict(outcome, attempts=0).result(exercise, nobody, None, self.provenance)
            for exercise in self.assignment.exercises
        ]

    # ------------------------------------------------------------------------ the trial

    @cached_property
    def _solved(self) -> Submission:
        """A submission of the solutions, without those that take long."""
        quick = [e for e in self.assignment.exercises if not self.checks[e.name].judged]
        return Submission(
            TRIAL,
            "",
            tuple(StudentCell(each.solution, each.name, "id") for each in quick),
            tuple(
                Answer(each.name, (at,), (at,), "id", unanswered=False)
                for at, each in enumerate(quick)
            ),
        )

    @cached_property
    def trial(self) -> Notebook:
        """The notebook of the solutions, which runs before the students' do."""
        return self.rebuilding.whole(TRIAL, self._solved, None, self.wall)

    def check_trial(self, observation: Observation | None) -> None:
        """Checks that the solutions come out correct on this machine.

        Raises:
            SandboxError: A solution did not.
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
