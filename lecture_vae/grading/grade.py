"""Grading: a folder of submissions becomes a gradebook.

The results of a submission are stored as soon as they are there, so a run that was stopped goes
on, and a run that is repeated does nothing but write the same gradebook.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lecture_vae.cluster import cores, run_tasks
from lecture_vae.grading.gradebook import write_gradebook
from lecture_vae.grading.observe import observe, warm_kernels
from lecture_vae.grading.submission import Submission, find_submissions, read_submission
from lecture_vae.grading.task import Grading
from lecture_vae.grading.verdict import INCIDENTS, Result, Verdict

__all__ = ["grade"]

BATCH = 25  # notebooks for one pytest process: its start costs more than a notebook


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
