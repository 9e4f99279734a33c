"""A task: one submission while it is graded, from its key to its last verdict."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from lecture_grader.reporting.result import Result
from lecture_grader.running.notebook import Notebook, Rebuilding, differs
from lecture_grader.submissions.submission import Answer, Submission
from lecture_grader.verdict import Verdict, better

__all__ = ["Run", "Task"]

MIN_SECONDS = 1.0  # wall time of a run, even if none is left


@dataclass
class Task:
    """One submission while it is graded.

    Attributes:
        submission: What the student handed in.
        key: Tasks with equal keys have equal results.
        wall: Seconds of wall time for all of its runs.
        extra_time: Factor of the limits of its cells.
        used: Seconds of wall time that its runs have used.
        verdicts: The verdicts so far, by exercise.
        kept: Results of an earlier grading, by exercise; these exercises are not run.
    """

    submission: Submission
    key: str
    wall: float
    extra_time: float = 1.0
    used: float = 0.0
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    kept: dict[str, Result] = field(default_factory=dict)

    @cached_property
    def answers(self) -> dict[str, Answer]:
        """The answers, by exercise."""
        return {answer.exercise: answer for answer in self.submission.answers}

    def decide_without_run(self, exercises: Iterable[str]) -> None:
        """Gives the verdicts on exercises that need no run."""
        for name in exercises:
            answer = self.answers.get(name)
            if self.submission.problem is not None:
                self.verdicts[name] = Verdict("unreadable", self.submission.problem)
            elif answer is None or not answer.matched_by:
                self.verdicts[name] = Verdict("missing")
            elif answer.unanswered or not answer.cells:
                self.verdicts[name] = Verdict("unanswered")

    def whole_run(self, rebuilding: Rebuilding, exercises: Sequence[str], canary: str) -> "Run":
        """The run of the whole notebook, with half of the wall time.

        Args:
            rebuilding: How submissions become notebooks.
            exercises: Names of the exercises that the run decides.
            canary: The exercise whose probe also runs on a wrong answer.
        """
        notebook = rebuilding.whole(self.key, self.submission, canary, self.wall / 2)
        notebook = notebook.with_extra_time(self.extra_time)
        return Run(self, notebook, tuple(exercises), canary)

    def single_runs(self, rebuilding: Rebuilding, wanted: Sequence[tuple[str, str]]) -> list["Run"]:
        """Runs of single exercises, which share the remaining wall time equally.

        Args:
            rebuilding: How submissions become notebooks.
            wanted: Name of the exercise and way, for each run.
        """
        wall = max(self.wall - self.used, MIN_SECONDS) / max(len(wanted), 1)
        runs = []
        for name, way in wanted:
            key = f"{self.key}/{name}/{way}"
            notebook = rebuilding.alone(key, self.submission, self.answers[name], way, wall)
            notebook = notebook.with_extra_time(self.extra_time)
            runs.append(Run(self, notebook, (name,), name))
        return runs

    def differs(self, exercise: str, way: str) -> bool:
        """Whether running an exercise alone differs from running the whole notebook."""
        return differs(self.submission, self.answers[exercise], way)

    def add(self, verdicts: Mapping[str, Verdict], seconds: float) -> None:
        """Adds what a run showed: of several verdicts on an exercise the better one counts.

        Args:
            verdicts: By exercise.
            seconds: Wall time of the run.
        """
        self.used += seconds
        for name, found in verdicts.items():
            before = self.verdicts.get(name)
            self.verdicts[name] = better(before, found) if before else found


@dataclass(frozen=True)
class Run:
    """One notebook of a task."""

    task: Task
    notebook: Notebook
    exercises: tuple[str, ...]  # names of the exercises that it decides
    canary: str  # the exercise whose probe also runs on a wrong answer
