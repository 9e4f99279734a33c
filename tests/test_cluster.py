import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from lecture_vae.cluster import cores, run_tasks

PATIENCE = 60  # seconds; a test that fails waits so long


def double(number: int) -> Iterator[int]:
    if number == 13:
        raise ValueError("thirteen")
    yield 2 * number


def slow_pid(number: int) -> list[tuple[int, int]]:
    time.sleep(0.4)
    return [(number, os.getpid())]


def scaled(number: int, factor: int) -> list[int]:
    return [factor * number]


class Counted:
    """Writes a line into a file whenever it arrives in a process."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self):
        return arrived, (self.path,)


def arrived(path: str) -> Counted:
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
    return Counted(path)


def pid_with(number: int, counted: Counted) -> list[int]:
    time.sleep(0.05)
    return [os.getpid()]


def test_what_tasks_have_in_common_is_the_second_argument():
    assert dict(run_tasks(scaled, [2, 3], common=10)) == {2: 20, 3: 30}
    assert dict(run_tasks(scaled, [2, 3], common=0)) == {2: 0, 3: 0}


def test_every_task_comes_back_with_its_result():
    assert dict(run_tasks(double, range(5))) == {0: 0, 1: 2, 2: 4, 3: 6, 4: 8}


def test_a_task_that_fails_leaves_the_others_alone():
    found = dict(run_tasks(double, [1, 13, 2], jobs=1))
    assert (found[1], found[2]) == (2, 4)
    assert isinstance(found[13], ValueError)


def test_results_come_while_their_task_still_runs():
    heard = threading.Event()

    def waits(_: int) -> Iterator[str]:
        yield "first"
        yield "heard" if heard.wait(PATIENCE) else "not heard"

    results = run_tasks(waits, [5])
    assert next(results) == (5, "first")
    heard.set()
    assert list(results) == [(5, "heard")]


def test_whoever_stops_listening_stops_what_has_not_begun():
    begun, stopped = [], threading.Event()

    def waits(number: int) -> list[int]:
        begun.append(number)
        return [number] if number == 0 or stopped.wait(PATIENCE) else []

    results = run_tasks(waits, range(20), jobs=1, stop=stopped.set)
    assert next(results) == (0, 0)
    results.close()
    assert begun in ([0], [0, 1])


def test_jobs_run_side_by_side():
    all_four = threading.Barrier(4, timeout=PATIENCE)
    found = run_tasks(lambda _: [all_four.wait() in range(4)], range(4), jobs=4)
    assert dict(found) == dict.fromkeys(range(4), True)


def test_cores_are_those_that_this_process_may_use():
    assert 1 <= cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "20000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "odd\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({}, 8),
    ],
    ids=str,
)
def test_a_container_uses_no_more_cores_than_its_quota(files, wanted, tmp_path, monkeypatch):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr("lecture_vae.cluster.CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert cores() == wanted


def test_a_scheduler_that_is_not_there_is_an_error(monkeypatch):
    monkeypatch.setattr("lecture_vae.cluster.CONNECT_SECONDS", 0.5)
    with pytest.raises(OSError, match=r"127\.0\.0\.1:1"):
        list(run_tasks(double, [1], scheduler="tcp://127.0.0.1:1"))


# ---------------------------------------------------------------------------- a real scheduler


@pytest.fixture(scope="module")
def scheduler():
    """A scheduler and two workers, each a process of its own; gone with the test."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",  # else port 8787, which another user may have taken
        silence_logs=50,
    ) as cluster:
        yield cluster


@pytest.mark.slow
def test_a_scheduler_gives_what_this_machine_gives(scheduler):
    far = dict(run_tasks(double, [1, 13, 2], scheduler=scheduler.scheduler_address))
    assert (far[1], far[2]) == (2, 4)
    assert isinstance(far[13], ValueError)


@pytest.mark.slow
def test_a_killed_worker_loses_nothing(scheduler):
    killed = None
    found = {}
    for task, result in run_tasks(slow_pid, range(10), scheduler=scheduler.scheduler_address):
        found[task] = result
        if killed is None:
            killed = result[1]
            os.kill(killed, signal.SIGKILL)
    assert {task: result[0] for task, result in found.items()} == {n: n for n in range(10)}
    assert len({pid for _, pid in found.values()}) >= 2


@pytest.mark.slow
def test_what_tasks_have_in_common_travels_once_to_each_worker(scheduler, tmp_path):
    counted = Counted(str(tmp_path / "arrivals"))
    tasks = [*range(30)]
    found = dict(run_tasks(pid_with, tasks, common=counted, scheduler=scheduler.scheduler_address))
    assert sorted(found) == tasks
    arrivals = (tmp_path / "arrivals").read_text().split()
    workers = {str(pid) for pid in found.values()}
    assert len(workers) == 2
    assert sorted(pid for pid in arrivals if pid in workers) == sorted(workers)
