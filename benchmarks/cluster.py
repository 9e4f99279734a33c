"""What does a sweep cost beside training, and where does it hurt on a hundred machines?

Measured here: a thousand tiny runs, the same runs on one worker and on as many as there are cores,
a trainer's start, what a run writes, what Dask's scheduler takes for a task. From these costs,
`cluster_simulation.py` says what 10,000 runs on 100 machines of 16 cores come to: as it is, and
without what was done about it. The speeds of network, file system and object store are assumptions.
"""

import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from cluster_simulation import Cluster, Costs, simulate
from timing import arguments_of, context, images, parser, table, timed, write

from lecture_vae import ImageData, NegativeELBO, RunSpec, TrainConfig, fetch_run, load_images
from lecture_vae.cluster import cores, run_tasks
from lecture_vae.packing import pack_images
from lecture_vae.sweep import sweep_runs

MODEL = "linear-vae"
TINY = TrainConfig(steps=20, eval_every=20)
RUNS, NODES, PER_NODE = 10_000, 100, 16
LONGER = TrainConfig(steps=2_000, eval_every=250)
FULL = TrainConfig(steps=25_000, eval_every=250)
WRITES = ("open", "os.rename", "os.remove", "os.mkdir", "os.listdir", "os.scandir")
START = "import sys, time; began = time.perf_counter(); opened = 0\n"
START += "def count(event, _):\n    global opened\n    opened += event == 'open'\n"
START += "sys.addaudithook(count); import lecture_vae.trainer, lecture_vae.runs\n"
START += "print(opened, time.perf_counter() - began)"


def main() -> None:
    """Measures, simulates, prints and, if asked, records."""
    options = parser(__doc__, rounds=3)
    options.add_argument("--runs", type=int, default=1000, help="tiny ones")
    arguments = arguments_of(options, "cluster")
    data, digits = images(), load_images("digits")
    measured: dict[str, Any] = {"tiny": tiny_runs(digits, arguments.runs)}
    measured["speed_up"] = [speed_up(data) for _ in range(arguments.rounds)]
    measured["start"] = start_of_a_trainer()
    measured["writes"] = writes_of_a_run(data)
    measured["scheduler_ms"] = [dask_ms() for _ in range(arguments.rounds)]
    costs = costs_of(measured, data)
    # A list: a row may add to the one before it.
    scenarios = [{"what": name} | simulated(*each) for name, each in scenarios_of(costs).items()]
    rows = [
        [
            each["what"], f"{each['minutes']:.1f}", f"{100 * each['efficiency']:.0f} %",
            each["waits_for"],
        ]
        for each in scenarios
    ]  # fmt: skip
    print(table(["10,000 runs on 100 machines", "min", "training", "waits for"], rows))
    results = {"cores": cores(), "measured": measured, "costs": asdict(costs),
               "assumed": asdict(Cluster()), "scenarios": scenarios}  # fmt: skip
    write(context(data, ["distributed"]) | results, arguments.out)


# ---------------------------------------------------------------------------- measured


@contextmanager
def own_store() -> Iterator[Path]:
    """A run store that nobody has used, and that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def specs_of(config: TrainConfig, count: int) -> list[RunSpec]:
    """Runs that differ in their seed."""
    return [RunSpec(MODEL, NegativeELBO(1.0), replace(config, seed=seed)) for seed in range(count)]


def tiny_runs(data: ImageData, count: int) -> dict[str, float]:
    """What a run takes beside its training, in a sweep of tiny ones; and to find them all again."""
    with own_store() as store:
        begun = time.perf_counter()
        ends, trained = [], 0.0
        for row in sweep_runs(specs_of(TINY, count), data, device="cpu", store=store):
            ends.append(time.perf_counter() - begun)
            trained += row.seconds or 0.0
            assert row.status == "trained", row.reason
        whole = time.perf_counter() - begun
        again = timed(lambda: list(sweep_runs(specs_of(TINY, count), data, device="cpu",
                                              store=store)))  # fmt: skip
    steady = ends[-1] - ends[count // 10]  # without the start of the trainers
    share = 1 - (count // 10 + 1) / count
    return {
        "runs": count, "steps": TINY.steps, "seconds": whole, "first_row_s": ends[0],
        "training_s": trained, "found_again_s": again,
        "overhead_s_per_run": (steady * cores() - share * trained) / (share * count),
    }  # fmt: skip


def speed_up(data: ImageData) -> dict[str, float]:
    """Seconds of as many runs on one worker and on all cores, without the start of the trainers."""
    runs, seconds = 4 * cores(), {}
    for jobs in (1, cores()):
        with own_store() as store:
            rows = sweep_runs(specs_of(LONGER, runs + jobs), data, device="cpu", jobs=jobs,
                              store=store)  # fmt: skip
            for _ in range(jobs):
                next(rows)
            seconds[jobs] = timed(lambda rows=rows: list(rows))
    one, all_cores = seconds[1], seconds[cores()]
    return {"runs": runs, "one_s": one, "cores_s": all_cores, "ratio": one / all_cores}


def start_of_a_trainer() -> dict[str, float]:
    """Seconds and opened files until a new process can train."""
    found = []
    for _ in range(3):
        ended = subprocess.run(
            [sys.executable, "-c", START], check=True, capture_output=True, text=True
        )
        opened, seconds = ended.stdout.split()
        found.append((float(seconds), int(opened)))
    seconds, opened = min(found)
    return {"seconds": seconds, "opened_files": opened}


class _Audit:
    """Counts what this process does to files, while it is on."""

    def __init__(self) -> None:
        self.counts: Counter[str] | None = None
        sys.addaudithook(self.hook)

    def hook(self, event: str, _: object) -> None:
        if self.counts is not None and event in WRITES:
            self.counts[event] += 1


def writes_of_a_run(data: ImageData) -> dict[str, Any]:
    """Operations and bytes of a run's files, for runs of one and of eleven evaluations."""
    audit, found = _Audit(), {}
    for evaluations in (1, 11):
        config = TrainConfig(steps=20 * evaluations, eval_every=20)
        with own_store() as store:
            fetch_run(MODEL, NegativeELBO(2.0), data, TINY, device="cpu", store=store)  # imports
            audit.counts = Counter()
            run = fetch_run(MODEL, NegativeELBO(1.0), data, config, device="cpu", store=store)
            counts, audit.counts = audit.counts, None
            files = [path for path in (store / run.key).rglob("*") if path.is_file()]
            found[str(evaluations)] = {
                "operations": sum(counts.values()),
                "bytes": sum(path.stat().st_size for path in files),
            }
    weights = sum(value.numel() for value in run.model.parameters())
    latents = run.history.latents[0].nbytes
    per_evaluation = (found["11"]["operations"] - found["1"]["operations"]) / 10
    return found | {"weights": weights, "latents_bytes": latents,
                    "operations_per_evaluation": per_evaluation}  # fmt: skip


def dask_ms() -> float:
    """Milliseconds of the processor that holds Dask's scheduler, for a task that does nothing."""
    from distributed import LocalCluster

    tasks = [*range(2_000)]
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1",
        dashboard_address=None, silence_logs=50,
    ) as cluster:  # fmt: skip
        address = cluster.scheduler_address
        list(run_tasks(_nothing, tasks[:20], common=b"x", scheduler=address))
        begun = time.process_time()  # scheduler and client are in this process
        list(run_tasks(_nothing, tasks, common=b"x", scheduler=address))
        return 1e3 * (time.process_time() - begun) / len(tasks)


def _nothing(task: int, common: bytes) -> list[int]:
    return [task]


# ---------------------------------------------------------------------------- simulated


def costs_of(measured: dict[str, Any], data: ImageData) -> Costs:
    """The costs of a run of the full budget."""
    writes, evaluations = measured["writes"], FULL.steps // FULL.eval_every
    run_s = min(each["one_s"] / each["runs"] for each in measured["speed_up"])
    weights = 4 * writes["weights"]
    return Costs(
        start_s=measured["start"]["seconds"],
        start_operations=2 * measured["start"]["opened_files"],  # looked up, then opened
        run_s=run_s * FULL.steps / LONGER.steps,
        evaluations=evaluations,
        overhead_s=measured["tiny"]["overhead_s_per_run"],
        checkpoint_bytes=3 * weights + evaluations / 2 * writes["latents_bytes"],
        run_bytes=weights + evaluations * writes["latents_bytes"] + 7 * weights / 4,
        checkpoint_operations=2 * writes["operations_per_evaluation"],
        run_operations=2 * writes["1"]["operations"],
        image_bytes=len(pack_images(data)),
        scheduler_s=min(measured["scheduler_ms"]) / 1e3,
    )


def scenarios_of(costs: Costs) -> dict[str, tuple[Costs, Cluster]]:
    """The sweep as it is, and with one thing changed."""
    here = Cluster(nodes=NODES, workers_per_node=PER_NODE)
    local = replace(here, shared_software=False)
    tenth = replace(costs, evaluations=costs.evaluations // 10)
    # A request for each file; the bandwidth is that of all links.
    objects = replace(costs, checkpoint_operations=1, run_operations=12)
    tiny = replace(costs, run_s=costs.run_s / 100, evaluations=1)
    return {
        "a process for each run": (costs, replace(here, starts_per_run=True)),
        "and images for each run": (
            costs, replace(here, starts_per_run=True, images_per_run=True)
        ),
        "resident trainers, images once": (costs, here),
        "and the package on each node": (costs, local),
        "and a tenth of the evaluations": (tenth, local),
        "in an object store": (objects, replace(local, operations_per_s=3_500, bytes_per_s=1e11)),
        "runs a hundred times shorter": (tiny, local),
        "and the package on the shared file system": (tiny, here),
    }  # fmt: skip


def simulated(costs: Costs, cluster: Cluster) -> dict[str, Any]:
    """What a scenario comes to."""
    outcome = simulate(RUNS, costs, cluster)
    workers = cluster.nodes * cluster.workers_per_node
    most = max(outcome.waited_s, key=outcome.waited_s.__getitem__)
    return {
        "minutes": outcome.seconds / 60,
        "efficiency": outcome.efficiency(workers),
        "waits_for": most,
        "waited_share": {
            name: waited / (workers * outcome.seconds) for name, waited in outcome.waited_s.items()
        },
        "busy": outcome.busy,
    }


if __name__ == "__main__":
    main()
