"""Cluster: independent tasks on the cores of this machine, or on the workers of a Dask scheduler.

A task is a picklable argument of a function that may be called more than once with it. The caller
stores the results.
"""

import logging
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from math import ceil, inf
from pathlib import Path
from queue import SimpleQueue
from time import monotonic, sleep
from typing import Any

from lecture_vae.storage import say

__all__ = ["check_scheduler", "cores", "run_tasks"]

CGROUP = Path("/sys/fs/cgroup")
CONNECT_SECONDS = 20.0
RETURN_SECONDS = 600.0  # that a scheduler may be away


def cores() -> int:
    """The number of cores that this process may use: its CPU affinity, and the quota of its cgroup.

    Examples:
        >>> cores() >= 1
        True
    """
    has_affinity = hasattr(os, "sched_getaffinity")
    found = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return max(1, ceil(min(found, _quota())))


def _quota() -> float:
    """Cores' worth of time that the control group of a container grants; infinity without one.

    A container sees its own group as the root: of cgroup v2, cpu.max; of v1, two files.
    """
    for names in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        with suppress(OSError, ValueError):
            quota, period = " ".join((CGROUP / name).read_text() for name in names).split()
            if quota not in ("max", "-1"):
                return float(quota) / float(period)
    return inf


def check_scheduler(address: str) -> None:
    """Check the form of a scheduler's address before long work.

    Raises:
        ValueError: If it is not PROTOCOL://HOST:PORT or HOST:PORT.

    Examples:
        >>> check_scheduler("tcp://10.0.0.1:8786")
        >>> check_scheduler("10.0.0.1")
        Traceback (most recent call last):
        ...
        ValueError: a scheduler is an address such as tcp://10.0.0.1:8786, ...
    """
    _, _, place = address.rpartition("://")
    host, _, port = place.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise ValueError(
            f"a scheduler is an address such as tcp://10.0.0.1:8786, as it prints when it starts; "
            f"got {address!r}."
        )


def run_tasks(
    function: Callable[..., Iterable[Any]],
    tasks: Sequence[Any],
    *,
    common: Any = None,
    jobs: int | None = None,
    scheduler: str | None = None,
    stop: Callable[[], object] = lambda: None,
) -> Generator[tuple[Any, Any]]:
    """Call a function with every task, and yield pairs of task and result as they are completed.

    If a task fails, its last result is the exception; other tasks are not affected.

    Args:
        function: Returns or yields the results of a task. On this machine it is called in threads,
            so it should start a process or release the global interpreter lock. With a scheduler it
            is pickled, and the results of a task are yielded when the task has ended.
        tasks: The arguments.
        common: If given, the second argument of every call. It travels to each worker once, however
            many tasks run there.
        jobs: Number of threads on this machine; None for the number of cores.
        scheduler: Address of a Dask scheduler, such as ``tcp://10.0.0.1:8786``. Its workers then
            run the tasks, and ``jobs`` is ignored. If a worker dies, its task is run by another; if
            the scheduler does, the tasks without a result are handed to the one that next listens
            at its address.
        stop: Called if the generator is closed, for instance by an interrupt, while tasks run on
            this machine. It must make the running calls of ``function`` return.

    Yields:
        A task, and one of its results or its exception.

    Raises:
        ImportError: If a scheduler is named but Dask is not installed.
        OSError: If the scheduler cannot be reached, or has been away for ten minutes.
        ValueError: As :func:`check_scheduler`.

    Examples:
        >>> sorted(run_tasks(lambda n: [n, n**2], [2, 3], jobs=2))
        [(2, 2), (2, 4), (3, 3), (3, 9)]
    """
    if scheduler is None:
        with_common = function if common is None else lambda task: function(task, common)
        yield from _on_this_machine(with_common, tasks, jobs or cores(), stop)
    else:
        check_scheduler(scheduler)
        yield from _on_workers(function, tasks, [] if common is None else [common], scheduler)


def _on_this_machine(
    function: Callable[[Any], Iterable[Any]],
    tasks: Sequence[Any],
    jobs: int,
    stop: Callable[[], object],
) -> Iterator[tuple[Any, Any]]:
    results: SimpleQueue[tuple[Any, Any] | None] = SimpleQueue()  # None: a task has ended

    def run(task: Any) -> None:
        try:
            for result in function(task):
                results.put((task, result))
        except Exception as error:
            results.put((task, error))
        finally:
            results.put(None)

    with ThreadPoolExecutor(jobs) as pool:
        open_tasks = len([pool.submit(run, task) for task in tasks])
        try:
            while open_tasks:
                pair = results.get()
                if pair is None:
                    open_tasks -= 1
                else:
                    yield pair
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # first: a stopped task makes room
            if open_tasks:
                stop()


def _on_workers(
    function: Callable[..., Iterable[Any]],
    tasks: Sequence[Any],
    more: Sequence[Any],
    scheduler: str,
) -> Iterator[tuple[Any, Any]]:
    try:
        from distributed import Client, as_completed
    except ImportError as error:
        raise ImportError(
            "a scheduler needs Dask: pip install 'lecture-vae[cluster]', here and on its workers."
        ) from error
    waiting, patience = list(tasks), 0.0
    while waiting:
        with _quiet(), _client(Client, scheduler, patience) as client:
            # A task, not scattered data: if the worker that holds it dies, it is made again.
            sent = [client.submit(_same, each, pure=False) for each in more]
            # Not pure: equal tasks are run separately. No retries: an exception would be raised
            # again, and the tasks of a dead worker are rescheduled anyway.
            futures = client.map(
                partial(_listed, function), waiting, *([each] * len(waiting) for each in sent),
                pure=False, retries=0,
            )  # fmt: skip
            task_of = {future.key: task for future, task in zip(futures, waiting, strict=True)}
            lost = []
            for future in as_completed(futures, loop=client.loop):
                task = task_of[future.key]
                try:
                    results = future.result()
                except CancelledError:  # the scheduler has gone
                    lost.append(task)
                except Exception as error:
                    yield task, error
                else:
                    yield from ((task, result) for result in results)
                future.release()
        waiting, patience = lost, RETURN_SECONDS
        if lost:
            say(
                f"the scheduler at {scheduler} has gone, and with it {len(lost)} tasks without a "
                "result. They are handed to the next one that listens there."
            )


def _client(client: Callable[..., Any], scheduler: str, patience: float) -> Any:
    """A connection to the scheduler, which may be away for some seconds."""
    until = monotonic() + patience
    while True:
        try:
            return client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
        except OSError:
            if monotonic() > until:
                raise
            sleep(1)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Dask's own tracebacks when a connection ends: what matters is raised or said."""
    names = [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]
    levels = {name: logging.getLogger(name).level for name in names}  # each has its own
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _same(common: Any) -> Any:
    return common


def _listed(function: Callable[..., Iterable[Any]], task: Any, *more: Any) -> list[Any]:
    return list(function(task, *more))
