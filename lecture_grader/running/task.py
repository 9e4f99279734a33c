"""Tasks: one submission while it is graded, and the notebooks that are run for it.

What a submission decides about its runs is found once, here: its key, its notebooks with the ids
of the cells that are expected to run, and what is left of its time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from lecture_grader.running.notebook import Notebook, Rebuilding, differs
from lecture_grader.submissions.submission import Answer, Submission

__all__ = ["Run", "Task"]

LEAST_SECONDS = 1.0  # wall time for a run, whatever was used up


@dataclass
class Task:
    """One submission while it is graded."""

    submission: Submission
    key: str  # names it; equal keys, equal results
    wall: float  # seconds of wall time for all of its runs
    used: float = 0.0  # of these

    @cached_property
    def answers(self) -> dict[str, Answer]:
        """The answers, by exercise."""
        return {answer.exercise: answer for answer in self.submission.answers}

    def whole(self, rebuilding: Rebuilding, exercises: Sequence[str], canary: str) -> "Run":
        """The run of the whole notebook, in half of the time."""
        notebook = rebuilding.whole(self.key, self.submission, canary, self.wall / 2)
        return Run(self, notebook, tuple(exercises), canary)

    def alone(self, rebuilding: Rebuilding, wanted: Sequence[tuple[str, str]]) -> list["Run"]:
        """Runs of single exercises, among which the time that is left is divided.

        Args:
            rebuilding: How submissions become notebooks.
            wanted: Name of the exercise and way, for each run.
        """
        wall = max(self.wall - self.used, LEAST_SECONDS) / max(len(wanted), 1)
        runs = []
        for name, way in wanted:
            key = f"{self.key}/{name}/{way}"
            notebook = rebuilding.alone(key, self.submission, self.answers[name], way, wall)
            runs.append(Run(self, notebook, (name,), name))
        return runs

    def differs(self, exercise: str, way: str) -> bool:
        """Whether a way to run an exercise alone differs from how it ran in the whole notebook."""
        return differs(self.submission, self.answers[exercise], way)


@dataclass(frozen=True)
class Run:
    """One notebook of a task."""

    task: Task
    notebook: Notebook
    exercises: tuple[str, ...]  # names of those that it decides
    canary: str  # the exercise of which a wrong answer is planted
