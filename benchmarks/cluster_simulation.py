"""A sweep on a cluster, simulated: discrete events from measured costs.

Each worker starts (imports the package), receives the images, and then repeats: ask the scheduler
for a run, train to the next evaluation, write a checkpoint, ..., write the run, report. Three
things are shared by all workers and serve one request after the other: the scheduler, the network
that carries the images, and the file system (or, in its place, an object store, whose requests are
served side by side up to a bandwidth). What a worker waits for at each is added up.

Nothing here measures anything; `cluster.py` does.
"""

import heapq
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

__all__ = ["Cluster", "Costs", "Outcome", "simulate"]


@dataclass(frozen=True)
class Costs:
    """What one thing costs, in seconds, bytes and operations; measured on one machine."""

    start_s: float  # processor time of a trainer until it can train
    start_operations: float  # files that it opens on the way
    run_s: float  # of training a run, evaluations included
    evaluations: int  # of a run, each with a checkpoint
    overhead_s: float  # of a run, processor time beside training
    checkpoint_bytes: float  # at the middle of a run
    run_bytes: float  # of a finished run
    checkpoint_operations: float  # on files: opened, synced, renamed
    run_operations: float
    image_bytes: float  # of the data set, as it travels
    scheduler_s: float  # of the scheduler, for a run


@dataclass(frozen=True)
class Cluster:
    """The machines: assumptions, not measurements."""

    nodes: int = 100
    workers_per_node: int = 16
    operations_per_s: float = 10_000.0  # of the shared file system
    bytes_per_s: float = 2e9  # of the shared file system, or of the object store
    link_bytes_per_s: float = 1.25e9  # of a node: 10 Gbit/s
    starts_per_run: bool = False  # a new process for each run, not one for all
    images_per_run: bool = False  # the images travel for each run, not once to a worker
    shared_software: bool = True  # the package is on the shared file system, not on each node


@dataclass
class Outcome:
    """What a simulated sweep came to."""

    seconds: float = 0.0  # from its start to the last run
    training_s: float = 0.0  # of all workers together
    waited_s: dict[str, float] = field(default_factory=dict)  # all workers together, by cause
    busy: dict[str, float] = field(default_factory=dict)  # share of the time a server was busy

    def efficiency(self, workers: int) -> float:
        """The share of the workers' time in which they trained."""
        return self.training_s / (workers * self.seconds)


class _Server:
    """Serves one request after the other, in the order of their arrival."""

    def __init__(self) -> None:
        self.free_at = self.busy_s = 0.0

    def serve(self, now: float, seconds: float) -> float:
        """When a request that arrives now has been served."""
        self.free_at = max(now, self.free_at) + seconds
        self.busy_s += seconds
        return self.free_at


def simulate(runs: int, costs: Costs, cluster: Cluster) -> Outcome:
    """Simulate a sweep.

    Args:
        runs: How many.
        costs: What one of each thing costs.
        cluster: The machines.

    Raises:
        ValueError: If there is nothing to do or nobody to do it.
    """
    workers = cluster.nodes * cluster.workers_per_node
    if runs < 1 or workers < 1:
        raise ValueError(f"a sweep needs runs and workers, got {runs} and {workers}.")
    servers = {name: _Server() for name in ("scheduler", "images", "files")}
    outcome = Outcome(waited_s=dict.fromkeys(servers, 0.0))
    left = [runs]
    # Images go from worker to worker: each node's link carries those of its workers, and the nodes
    # that have them serve the others, so that all links are used. Then a link is the bottleneck.
    images_s = costs.image_bytes / cluster.link_bytes_per_s / cluster.nodes

    def files(operations: float, size: float) -> tuple[str, float]:
        seconds = operations / cluster.operations_per_s + size / cluster.bytes_per_s
        return "files", seconds

    def start() -> Generator[tuple[str, float]]:
        if cluster.shared_software:
            yield files(costs.start_operations, 0)
        yield "work", costs.start_s

    def worker() -> Generator[tuple[str, float]]:
        if not cluster.starts_per_run:
            yield from start()
        if not cluster.images_per_run:
            yield "images", images_s
        while left[0]:
            left[0] -= 1
            yield "scheduler", costs.scheduler_s
            if cluster.starts_per_run:
                yield from start()
            if cluster.images_per_run:
                yield "images", images_s
            yield "work", costs.overhead_s
            for _ in range(costs.evaluations):
                yield "train", costs.run_s / costs.evaluations
                yield files(costs.checkpoint_operations, costs.checkpoint_bytes)
            yield files(costs.run_operations, costs.run_bytes)

    _advance([worker() for _ in range(workers)], servers, outcome)
    outcome.busy = {name: server.busy_s / outcome.seconds for name, server in servers.items()}
    return outcome


def _advance(
    workers: "list[Generator[tuple[str, float]]]", servers: dict[str, _Server], outcome: Outcome
) -> None:
    """Let the workers go on in the order of time until all have ended."""
    queue: list[tuple[float, int, Callable[[], tuple[str, float]]]] = []
    for number, worker in enumerate(workers):
        heapq.heappush(queue, (0.0, number, worker.__next__))
    while queue:
        now, number, go_on = heapq.heappop(queue)
        outcome.seconds = max(outcome.seconds, now)
        try:
            kind, seconds = go_on()
        except StopIteration:
            continue
        if kind in servers:
            done = servers[kind].serve(now, seconds)
            outcome.waited_s[kind] += done - now
        else:
            done = now + seconds
            if kind == "train":
                outcome.training_s += seconds
        heapq.heappush(queue, (done, number, go_on))
