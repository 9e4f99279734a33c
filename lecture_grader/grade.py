"""Grade a folder of submissions and write the gradebook.

The results of a submission are stored as soon as they are final. A stopped run continues where it
was, and a repeated run only writes the same gradebook again.
"""

from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from tqdm import tqdm

from lecture_grader.classroom.matching import Roll, call_roll
from lecture_grader.register import Register, Rules, extra_time, names_of
from lecture_grader.reporting.gradebook import write_gradebook
from lecture_grader.reporting.lms import check_column
from lecture_grader.reporting.result import Result
from lecture_grader.running.batch import observe, observe_on_worker, stop, warm_kernels
from lecture_grader.running.notebook import Notebook
from lecture_grader.running.observation import Observation
from lecture_grader.sandbox.choose import SandboxError
from lecture_grader.session import TRIAL, Grading
from lecture_grader.signals import ending_on_signals
from lecture_grader.submissions.intake import Collected, collect
from lecture_grader.submissions.reading import Reader
from lecture_grader.task import Run, Task
from lecture_vae.cluster import check_scheduler, cores, run_tasks
from lecture_vae.storage import say

__all__ = ["grade"]

BATCH = 25  # notebooks per pytest process, whose start takes longer than a notebook


def grade(
    source: Path,
    submissions: Path | Collected,
    out: Path,
    *,
    jobs: int | None = None,
    timeout: float | None = None,
    wall: float | None = None,
    memory_mb: int = 1024,
    sandbox: str = "auto",
    scheduler: str | None = None,
    only_changed: bool = True,
    rules: Rules | None = None,
    said: Callable[[str], object] = lambda line: None,
) -> list[Result]:
    """Grades every submission of a folder and writes the gradebook.

    Args:
        source: The source of the assignment, `exercises/NAME.md`.
        submissions: A folder of notebooks, or of one folder for each student; or what was
            collected from one.
        out: Folder of the gradebook and the secret seed. Keep it between regrades, so that the
            same answers meet the same cases.
        jobs: Notebooks at a time; the number of cores if None.
        timeout: CPU seconds for a cell; by default the timeout of each exercise.
        wall: Seconds of wall time for one submission, all its runs together; if None, 60 and three
            times the CPU seconds of its exercises.
        memory_mb: Memory in MiB for a student's kernel, in addition to the libraries.
        sandbox: auto, namespaces, bubblewrap, landlock or none.
        scheduler: Address of a Dask scheduler that runs the tasks.
        only_changed: Whether to reuse the results of submissions that were graded before under
            the same conditions.
        rules: What the teacher says about the class.
        said: Called with every sentence about the class.

    Returns:
        One result for each student and exercise.

    Raises:
        RosterError: The roster breaks a rule, or is that of another course.
        ExerciseError, CourseError, SandboxError: As :class:`Grading`.
        OSError: A folder is missing, or cannot be written.
        ValueError: The address of the scheduler is malformed.
    """
    if scheduler is not None:
        check_scheduler(scheduler)
    rules = rules or Rules()
    listed = rules.read_roster(out)  # first, because it is soon read
    with ending_on_signals():
        collected = submissions if isinstance(submissions, Collected) else collect(submissions)
        roll = call_roll(listed, collected.found) if listed else None
        grading = Grading(
            source, out, timeout=timeout, wall=wall, memory_mb=memory_mb, sandbox=sandbox
        )
        assignment = grading.assignment
        if listed:
            check_column(listed, assignment.title, assignment.name, rules.column)
        only = names_of(assignment, rules.only)
        results = _grade(collected, grading, roll, jobs or cores(), scheduler, only_changed, only)
        register = Register.of(grading, collected.found, results, roll, rules)
    lines = [line for student in sorted(register.students) for line in register.students[student]]
    write_gradebook(
        assignment.title, assignment.name, lines, out, collected.not_graded, roll,
        register.files, register.notes,
    )  # fmt: skip
    for line in register.lines:
        said(line)
    return lines


def _grade(
    collected: Collected,
    grading: Grading,
    roll: Roll | None,
    jobs: int,
    scheduler: str | None,
    only_changed: bool,
    only: Sequence[str],
) -> dict[str, list[Result]]:
    """The results of every submission."""
    if collected.not_graded:
        count = len(collected.not_graded)
        say(
            f"{count} of the files there are not graded; summary.html will say why",
            "lecture_grader",
        )
    results: dict[str, list[Result]] = {}
    pending: list[Task] = []
    keys: dict[str, str] = {}
    with Reader(grading.handed_out) as reader:
        for student, hand_in in collected.found.items():
            task = grading.task(reader.read(hand_in), extra_time(roll, student))
            if only:
                grading.keep_all_but(task, only)
            keys[student] = task.key
            known = grading.stored(task) if only_changed else None
            if known is not None:
                results[student] = known
            else:
                pending.append(task)
    progress = tqdm(
        total=len(collected.found), initial=len(results), unit="student", desc="grading"
    )
    with progress, closing(_graded(grading, pending, jobs, scheduler)) as tasks:
        for task in tasks:
            results[task.submission.student] = grading.results(task)
            grading.store(task, results[task.submission.student])
            progress.update()
    grading.kept.note_latest(keys)
    return results


def _graded(
    grading: Grading, tasks: list[Task], jobs: int, scheduler: str | None
) -> Generator[Task]:
    """Yields the task of each submission as soon as its verdicts are final."""
    if not tasks:
        return
    grading.warm_for([task.submission for task in tasks])
    # The forkservers import their libraries while this process prepares the checks.
    with warm_kernels(grading.conditions, 1 if scheduler else min(jobs, len(tasks))):
        observed = partial(_observed, grading, jobs=jobs, scheduler=scheduler)
        # Whole notebooks after a trial; then single exercises whose verdict may improve.
        runs = [run for task in tasks for run in grading.whole_run(task)]
        trial = [grading.trial] if runs else []
        notebooks = [*trial, *(run.notebook for run in runs)]
        left, again = [], []
        for task in _judged(grading, tasks, runs, observed(notebooks)):
            if single_runs := grading.single_runs(task):
                left.append(task)
                again += single_runs
            else:
                yield task
        yield from _judged(grading, left, again, observed([run.notebook for run in again]))


def _judged(
    grading: Grading,
    tasks: Sequence[Task],
    runs: Sequence[Run],
    observed: Iterable[tuple[str, Observation | None]],
) -> Iterator[Task]:
    """Yields each task as soon as all of its runs are judged, then those without runs.

    The runs of a task are judged in their order, whichever ended first, so that the same notebook
    gets the same page every time.
    """
    by_key = {run.notebook.key: run for run in runs}
    of_task: defaultdict[str, list[Run]] = defaultdict(list)
    for run in runs:
        of_task[run.task.key].append(run)
    without_runs = [task for task in tasks if task.key not in of_task]
    seen: dict[str, Observation | None] = {}
    for key, observation in observed:
        seen[key] = observation
        task = by_key[key].task
        if all(run.notebook.key in seen for run in of_task[task.key]):
            for run in of_task[task.key]:
                grading.judge(run, seen.pop(run.notebook.key))
            yield task
    yield from without_runs


def _observed(
    grading: Grading, notebooks: list[Notebook], *, jobs: int, scheduler: str | None
) -> Iterator[tuple[str, Observation | None]]:
    """Yields the key and observation of each notebook, after the trial has passed if there is one.

    Raises:
        SandboxError: The trial failed, so every notebook would fail.
    """
    # The same number of batches for each job, so that all finish at about the same time.
    count = jobs * -(-len(notebooks) // (jobs * BATCH))
    batches = [notebooks[at::count] for at in range(min(count, len(notebooks)))]
    observe_batch = partial(
        observe_on_worker if scheduler else observe, conditions=grading.conditions
    )
    pending = {notebook.key for notebook in notebooks}
    held_back: list[tuple[str, Observation | None]] = []
    observations = run_tasks(observe_batch, batches, jobs=jobs, scheduler=scheduler, stop=stop)
    with closing(observations):
        for batch, found in observations:
            if isinstance(found, Exception):  # its notebooks stay pending
                if TRIAL in pending and batch[0].key == TRIAL:
                    raise SandboxError(f"notebooks cannot be run here: {found}. Nobody was graded.")
                continue
            pending.remove(found.notebook)
            if found.notebook == TRIAL:
                grading.check_trial(found)
            else:
                held_back.append((found.notebook, found))
            if TRIAL not in pending:
                yield from held_back
                held_back.clear()
    yield from ((key, None) for key in pending)
