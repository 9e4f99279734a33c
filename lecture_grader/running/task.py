"""Tasks: one submission while it is graded, and the notebooks that are run for it.

A task determines once what all runs of a submission share: the key, the notebooks with the ids of
the cells that are expected to run, and the remaining time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from lecture_grader.running.notebook import Notebook, Rebuilding, differs
from lecture_grader.submissions.submission import Answer, Submission

__all__ = ["Run", "Task"]

MIN_SECONDS = 1.0  # wall time of a run, even if none is left


@dataclass
class Task:
    """One submission while it is graded."""

    submission: Submission
    key: str  # equal keys have equal results
    wall: float  # seconds of wall time for all of its runs
    used: float = 0.0  # seconds of these

    @cached_property
    def answers(self) -> dict[str, Answer]:
        """The answers, by exercise."""
        return {answer.exercise: answer for answer in self.submission.answers}

    def whole(self, rebuilding: Rebuilding, exercises: Sequence[str], canary: str) -> "Run":
        """The run of the whole notebook, with half of the wall time.

        Args:
            rebuilding: How submissions become notebooks.
            exercises: Names of the exercises that the run decides.
            canary: The exercise whose probe also runs on a wrong answer.
        """
        notebook = rebuilding.whole(self.key, self.submission, canary, self.wall / 2)
        return Run(self, notebook, tuple(exercises), canary)

    def alone(self, rebuilding: Rebuilding, wanted: Sequence[tuple[str, str]]) -> list["Run"]:
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
            runs.append(Run(self, notebook, (name,), name))
        return runs

    def differs(self, exercise: str, way: str) -> bool:
        """Whether running an exercise alone differs from running the whole notebook."""
        return differs(self.submission, self.answers[exercise], way)


@dataclass(frozen=True)
class Run:
    """One notebook of a task."""

    task: Task
    notebook: Notebook
    exercises: tuple[str, ...]  # names of the exercises that it decides
    canary: str  # the exercise whose probe also runs on a wrong answer
