"""Grading: a folder of submissions becomes a gradebook.

The results of a submission are stored as soon as they are there, so a run that was stopped goes
on, and a run that is repeated does nothing but write the same gradebook.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lecture_vae.cluster import cores, run_tasks
from lecture_vae.grading.gradebook import write_gradebook
from lecture_vae.grading.intake import collect
from lecture_vae.grading.observe import observe, warm_kernels
from lecture_vae.grading.reading import Reader
from lecture_vae.grading.submission import Submission
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
    collected = collect(submissions)
    grading = Grading(source, out, timeout=timeout, memory_mb=memory_mb, sandbox=sandbox)
    results: dict[str, list[Result]] = {}
    open_tasks: list[Submission] = []
    with Reader(grading.assignment) as reader:
        for student, hand_in in collected.found.items():
            submission = reader.read(hand_in)
            known = grading.stored(submission) if only_changed else None
            if known is not None:
                results[student] = known
            else:
                open_tasks.append(submission)
    with tqdm(
        total=len(collected.found), initial=len(results), unit="student", desc="grading"
    ) as progress:
        if open_tasks:
            for submission, verdict_of in _graded(grading, open_tasks, jobs or cores(), scheduler):
                results[submission.student] = grading.results(submission, verdict_of)
                grading.store(submission, results[submission.student])
                progress.update()
    lines = [line for student in sorted(results) for line in results[student]]
    write_gradebook(
        grading.assignment.title, grading.assignment.name, lines, out, collected.not_graded
    )
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
        seen = _observed_alone(
            grading,
            [(submission, name) for submission, first in again for name in _doubtful(first)],
        )
        for submission, first in again:
            for name in _doubtful(first):
                first[name] = _better(grading, submission, name, first[name], seen)
            yield submission, first


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


def _doubtful(first: dict[str, Verdict]) -> list[str]:
    """Exercises that ran and did not come out right."""
    again = INCIDENTS | {"error", "wrong"}
    return [name for name, verdict in first.items() if verdict.outcome in again]


def _observed_alone(
    grading: Grading, wanted: list[tuple[Submission, str]]
) -> dict[str, dict[str, Any]]:
    """Runs single exercises once more, each in a kernel of its own, one after the other.

    One answer that kills the kernel or hangs may have spoiled the next; a busy machine may have
    turned a right answer into a slow one. Neither is the student's fault.

    Returns:
        The observations by the key of their notebook.
    """
    notebooks = [grading.notebook(submission, name) for submission, name in wanted]
    seen: dict[str, dict[str, Any]] = {}
    # All in one process; those that it did not come to, because it ended, in one for each.
    for batch in [notebooks, *([notebook] for notebook in notebooks)]:
        left = [notebook for notebook in batch if notebook.key not in seen]
        with suppress(Exception):  # whatever it is, it is ours: the first verdict says so
            for each in observe(left, grading.conditions) if left else ():
                seen[each["notebook"]] = each
    return seen


def _better(
    grading: Grading,
    submission: Submission,
    name: str,
    first: Verdict,
    seen: dict[str, dict[str, Any]],
) -> Verdict:
    """The verdict on an exercise that ran twice: right once is right."""
    observation = seen.get(grading.notebook(submission, name).key)
    second = grading.judge(submission, observation, name)[name]
    better = second.outcome in ("correct", "tampered") or first.outcome == "infrastructure"
    return replace(second if better else first, attempts=2)
