"""Independent tasks on the cores of this machine, or on the workers of a Dask scheduler.

The one place that knows the difference. A task is a picklable argument of a function that may be
called twice with it; whoever calls stores what comes back.
"""

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from typing import Any

__all__ = ["check_scheduler", "cores", "run_tasks"]


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_scheduler(address: str) -> None:
    """Find out before long work that an address could be none.

    Raises:
        ValueError: It is not PROTOCOL://HOST:PORT, or HOST:PORT.
    """
    _, _, place = address.rpartition("://")
    host, _, port = place.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise ValueError(
            f"a scheduler is an address such as tcp://10.0.0.1:8786, as it prints when it starts; "
            f"got {address!r}."
        )


def run_tasks(
    function: Callable[[Any], Iterable[Any]],
    tasks: Sequence[Any],
    *,
    jobs: int | None = None,
    scheduler: str | None = None,
    stop: Callable[[], object] = lambda: None,
) -> Generator[tuple[Any, Any]]:
    """Calls a function on every task and yields each of its results with the task, as they come.

    A task that fails yields its exception last and leaves the others alone.

    Args:
        function: Gives the results of a task, one or many. It does the heavy work in a process of
            its own, or releases the interpreter lock: here it is called from threads. With a
            scheduler it is pickled, and its results come when all of the task are there.
        tasks: The arguments.
        jobs: How many at a time on this machine; the number of cores if None.
        scheduler: Address of a Dask scheduler, such as ``tcp://10.0.0.1:8786``. Its workers then
            run the tasks, and `jobs` is theirs to say. A task whose worker dies goes to another.
        stop: Called if the caller goes away, be it by an interrupt, while tasks run on this
            machine: it has the calls of `function` that go on come to their end.

    Raises:
        ImportError: A scheduler is named but Dask is not installed.
        OSError: The scheduler does not answer.
        ValueError: As :func:`check_scheduler`.
    """
    if scheduler is None:
        yield from _here(function, tasks, jobs or cores(), stop)
    else:
        check_scheduler(scheduler)
        yield from _far(function, tasks, scheduler)


def _here(
    function: Callable[[Any], Iterable[Any]],
    tasks: Sequence[Any],
    jobs: int,
    stop: Callable[[], object],
) -> Iterator[tuple[Any, Any]]:
    found: SimpleQueue[tuple[Any, Any] | None] = SimpleQueue()

    def work(task: Any) -> None:
        try:
            for result in function(task):
                found.put((task, result))
        except Exception as error:
            found.put((task, error))
        finally:
            found.put(None)

    with ThreadPoolExecutor(jobs) as pool:
        open_tasks = len([pool.submit(work, task) for task in tasks])
        try:
            while open_tasks:
                pair = found.get()
                if pair is None:
                    open_tasks -= 1
                else:
                    yield pair
        finally:
            if open_tasks:
                stop()
            pool.shutdown(wait=True, cancel_futures=True)


def _far(
    function: Callable[[Any], Iterable[Any]], tasks: Sequence[Any], scheduler: str
) -> Iterator[tuple[Any, Any]]:
    try:
        from distributed import Client, as_completed
    except ImportError as error:
        raise ImportError(
            "a scheduler needs Dask: pip install 'lecture-vae[cluster]', here and on its workers."
        ) from error
    with Client(scheduler, timeout=20, set_as_default=False) as client:
        # Not pure: two equal tasks are two tasks. No retries: a task that fails by itself would
        # fail again, and one whose worker dies is moved by the scheduler anyway.
        futures = client.map(partial(_all, function), list(tasks), pure=False, retries=0)
        task_of = {future.key: task for future, task in zip(futures, tasks, strict=True)}
        for future in as_completed(futures, loop=client.loop):
            task = task_of[future.key]
            try:
                results = future.result()
            except Exception as error:
                yield task, error
            else:
                yield from ((task, result) for result in results)


def _all(function: Callable[[Any], Iterable[Any]], task: Any) -> list[Any]:
    return list(function(task))
