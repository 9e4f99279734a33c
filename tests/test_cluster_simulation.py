"""The simulated cluster of benchmarks/cluster_simulation.py, beside what can be computed."""

from dataclasses import replace

import pytest
from cluster_simulation import Cluster, Costs, simulate

FREE = Costs(
    start_s=5, start_operations=0, run_s=60, evaluations=6, overhead_s=1, checkpoint_bytes=0,
    run_bytes=0, checkpoint_operations=0, run_operations=0, image_bytes=0, scheduler_s=0,
)  # fmt: skip
FAST = Cluster(nodes=2, workers_per_node=3)


def test_workers_that_share_nothing_take_the_time_of_their_runs():
    outcome = simulate(18, FREE, FAST)
    assert outcome.seconds == pytest.approx(5 + 3 * 61)
    assert outcome.training_s == 18 * 60
    assert outcome.efficiency(6) == pytest.approx(180 / 188)
    assert set(outcome.waited_s.values()) == {0.0}


def test_one_run_too_many_takes_as_long_as_a_run_for_everybody():
    assert simulate(19, FREE, FAST).seconds == pytest.approx(5 + 4 * 61)


def test_a_run_that_shares_nothing_takes_what_it_costs():
    costs = Costs(
        start_s=5, start_operations=20, run_s=60, evaluations=6, overhead_s=1,
        checkpoint_bytes=1e6, run_bytes=4e6, checkpoint_operations=2, run_operations=8,
        image_bytes=1e6, scheduler_s=0.5,
    )  # fmt: skip
    alone = Cluster(nodes=1, workers_per_node=1, operations_per_s=10, bytes_per_s=1e6,
                    link_bytes_per_s=1e6)  # fmt: skip
    files = 6 * (0.2 + 1) + 0.8 + 4
    assert simulate(1, costs, alone).seconds == pytest.approx(2 + 5 + 1 + 0.5 + 1 + 60 + files)
    local = replace(alone, shared_software=False)
    assert simulate(1, costs, local).seconds == pytest.approx(5 + 1 + 0.5 + 1 + 60 + files)


def test_a_shared_server_that_is_overloaded_decides_the_time():
    costs = replace(FREE, checkpoint_bytes=100e6)  # 6 a run: 18 runs need 108 s of it
    slow = replace(FAST, bytes_per_s=1e7)  # 1,080 s
    outcome = simulate(18, costs, slow)
    assert 1_080 < outcome.seconds < 1_080 + 5 + 61
    assert outcome.busy["files"] > 0.9
    assert outcome.waited_s["files"] > 6 * 800
    busy = simulate(600, replace(FREE, scheduler_s=20, run_s=1), FAST)
    assert busy.seconds == pytest.approx(600 * 20, rel=0.01)
    assert busy.busy["scheduler"] > 0.99


def test_what_is_done_for_each_run_costs_more_than_once_for_a_worker():
    shared = replace(FREE, start_operations=10_000, image_bytes=1e9)
    once = simulate(60, shared, FAST).seconds
    starts = simulate(60, shared, replace(FAST, starts_per_run=True)).seconds
    images = simulate(60, shared, replace(FAST, images_per_run=True)).seconds
    assert starts > once + 9 * 5
    assert once < images < starts


@pytest.mark.parametrize(("runs", "nodes"), [(0, 2), (1, 0)])
def test_a_sweep_of_nothing_or_nobody_is_refused(runs, nodes):
    with pytest.raises(ValueError, match="needs runs and workers"):
        simulate(runs, FREE, replace(FAST, nodes=nodes))
