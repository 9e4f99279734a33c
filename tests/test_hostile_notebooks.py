"""What a hostile notebook costs: its own time, and bounded memory and disk; never a mark for it.

A batch of them, a sample of all kinds or the rest of one kind, is graded in one run beside honest
notebooks, in a process that is watched from outside.
Those that try to hold up the grader are also graded one by one, to see the time of each.
"""

from collections.abc import Callable, Iterable
from functools import cache

import pytest
from _pytest.mark import ParameterSet
from hostile_notebooks import HOSTILE, KINDS, Measured, measured
from machine import strongest
from submissions import CORRECT, FIRST, Notebook

WALL = 10.0  # seconds for a submission
GRACE = 5.0  # seconds above it
OPTIONS = {"jobs": 2, "timeout": 2.0, "wall": WALL}
MEMORY = 400_000_000  # bytes of any process of the grader
GROWTH = 60_000_000  # bytes above what honest notebooks need, of those that import torch
ENTRIES = 1_000
DISK = 100_000_000  # bytes
NEIGHBORS = 4

# One of each way to hold up, to swell and to fill, graded in one run. The others are for the night,
# kind by kind: dozens that cost their wall time take minutes.
SAMPLES = (
    "idle-withheld",
    "forty-cells-that-sleep", "cells-that-eat", "output-after-the-cell",
    "kills-the-kernel-before-every-cell",
    "frame-of-50-mb", "message-of-many-small-frames", "many-messages", "values-that-swell",
    "displays-values-itself",
    "parsed-import-of-40000-dots", "parsed-100000-parentheses", "parsed-many-names",
    "parsed-comment-that-backtracks", "parsed-powers",
    "file-of-many-lists", "600000-tags", "source-of-many-parts",
    "disk-files", "disk-sparse-files", "disk-sockets-gone",
    "processes-fork-bomb", "processes-children-that-sleep", "processes-child-that-outlives",
    "processes-grows-slowly",
)  # fmt: skip


def batch_of(name: str) -> str:
    """The run that a hostile notebook is graded in: that of the samples, or that of its kind."""
    return "samples" if name in SAMPLES else HOSTILE[name].kind


BATCHES = {
    batch: [name for name in HOSTILE if batch_of(name) == batch] for batch in ("samples", *KINDS)
}


def nightly(names: Iterable[str], batch: Callable[[str], str] = str) -> list[ParameterSet]:
    """Parameters of a test; those that are not of the samples' batch are for the night."""
    return [
        pytest.param(name, marks=() if batch(name) == "samples" else pytest.mark.nightly)
        for name in names
    ]


SLOW = [name for name, each in HOSTILE.items() if each.kind in ("silence", "cells")]
Run = Callable[[str], Measured]


def neighbors() -> dict[str, bytes]:
    """Honest submissions, whose names lie among those of the others."""
    letters = "adgj"[:NEIGHBORS]
    return {f"{letter}-neighbor": bytes(Notebook.solved()) for letter in letters}


@pytest.fixture(scope="session")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """What honest notebooks cost on this machine today."""
    strongest()
    return measured(tmp_path_factory.mktemp("honest"), neighbors(), 300, **OPTIONS)


@pytest.fixture(scope="session")
def run(honest: Measured, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Grades all notebooks of a batch, once."""

    @cache
    def run(batch: str) -> Measured:
        bad = {name: bytes(HOSTILE[name]) for name in BATCHES[batch]}
        patience = due(honest, len(bad)) + 30
        return measured(tmp_path_factory.mktemp(batch), bad | neighbors(), patience, **OPTIONS)

    return run


def due(honest: Measured, number: int) -> float:
    """Seconds that a run may take with as many hostile notebooks, two at a time."""
    return 2 * honest.seconds + (number + 1) // 2 * (WALL + GRACE)


def test_every_kind_has_a_sample():
    assert {HOSTILE[name].kind for name in SAMPLES} == set(KINDS)


@pytest.mark.slow
@pytest.mark.parametrize("name", nightly(HOSTILE, batch_of))
def test_a_hostile_notebook_gets_no_mark_for_a_wrong_formula(run, name):
    outcomes, each = run(batch_of(name)).outcomes(name), HOSTILE[name]
    assert outcomes.keys() == CORRECT.keys()
    assert outcomes[FIRST] in each.first
    assert {outcomes[other] for other in outcomes if other != FIRST} <= each.others


@pytest.mark.slow
@pytest.mark.parametrize("batch", nightly(BATCHES))
def test_the_others_are_graded_meanwhile(run, batch):
    for name in neighbors():
        assert set(run(batch).outcomes(name).values()) == {"correct"}


@pytest.mark.slow
@pytest.mark.parametrize("batch", nightly(BATCHES))
def test_the_memory_of_the_grader_is_bounded(run, honest, batch):
    # What imports torch is large from the start, and must not grow with what it is sent.
    allowed = {name: max(MEMORY, peak + GROWTH) for name, peak in honest.others.items()}
    seen = run(batch)
    assert seen.others
    too_large = {n: peak for n, peak in seen.others.items() if peak > allowed.get(n, MEMORY)}
    assert not too_large
    assert seen.main - honest.main < GROWTH


@pytest.mark.slow
@pytest.mark.parametrize("batch", nightly(BATCHES))
def test_the_disk_of_the_grader_is_bounded(run, batch):
    assert 0 < run(batch).entries <= ENTRIES
    assert run(batch).disk < DISK


@pytest.mark.slow
@pytest.mark.parametrize("batch", nightly(BATCHES))
def test_a_run_ends_in_time_and_leaves_nothing(run, honest, batch):
    assert run(batch).results
    assert run(batch).seconds < due(honest, len(BATCHES[batch]))
    assert run(batch).left == []


@pytest.mark.nightly
@pytest.mark.parametrize("name", SLOW)
def test_no_submission_takes_longer_than_its_wall_time(honest, tmp_path, name):
    allowed = 2 * honest.seconds + WALL + GRACE  # twice, because a machine is not always as fast
    submissions = {name: bytes(HOSTILE[name])} | neighbors()
    seen = measured(tmp_path, submissions, allowed + 20, **OPTIONS)
    assert seen.seconds < allowed
    assert seen.left == []
    assert [set(seen.outcomes(each).values()) for each in neighbors()] == [{"correct"}] * NEIGHBORS
