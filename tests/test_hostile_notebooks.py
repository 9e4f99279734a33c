"""What a hostile notebook costs: its own time, and bounded memory and disk; never a mark for it.

Each kind is graded in one run beside honest notebooks, in a process that is watched from outside.
Those that try to hold up the grader are also graded one by one, to see the time of each.
"""

from collections.abc import Callable
from functools import cache

import pytest
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

# A silent kernel costs its wall time: dozens of them take minutes.
NIGHTLY = ("silence",)


def nightly(names, kind_of=lambda name: HOSTILE[name].kind):
    """Parameters of a test, those of a slow kind for the night."""
    marks = {True: [pytest.mark.nightly], False: []}
    return [pytest.param(name, marks=marks[kind_of(name) in NIGHTLY]) for name in names]


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
    """Grades all notebooks of a kind, once."""

    @cache
    def run(kind: str) -> Measured:
        bad = {name: bytes(each) for name, each in HOSTILE.items() if each.kind == kind}
        patience = due(honest, len(bad)) + 30
        return measured(tmp_path_factory.mktemp(kind), bad | neighbors(), patience, **OPTIONS)

    return run


def due(honest: Measured, number: int) -> float:
    """Seconds that a run may take with as many hostile notebooks, two at a time."""
    return 2 * honest.seconds + (number + 1) // 2 * (WALL + GRACE)


@pytest.mark.slow
@pytest.mark.parametrize("name", nightly(HOSTILE))
def test_a_hostile_notebook_gets_no_mark_for_a_wrong_formula(run, name):
    outcomes, each = run(HOSTILE[name].kind).outcomes(name), HOSTILE[name]
    assert outcomes.keys() == CORRECT.keys()
    assert outcomes[FIRST] in each.first
    assert {outcomes[other] for other in outcomes if other != FIRST} <= each.others


@pytest.mark.slow
@pytest.mark.parametrize("kind", nightly(KINDS, str))
def test_the_others_are_graded_meanwhile(run, kind):
    for name in neighbors():
        assert set(run(kind).outcomes(name).values()) == {"correct"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", nightly(KINDS, str))
def test_the_memory_of_the_grader_is_bounded(run, honest, kind):
    # What imports torch is large from the start, and must not grow with what it is sent.
    allowed = {name: max(MEMORY, peak + GROWTH) for name, peak in honest.others.items()}
    seen = run(kind)
    assert seen.others
    too_large = {n: peak for n, peak in seen.others.items() if peak > allowed.get(n, MEMORY)}
    assert not too_large
    assert seen.main - honest.main < GROWTH


@pytest.mark.slow
@pytest.mark.parametrize("kind", nightly(KINDS, str))
def test_the_disk_of_the_grader_is_bounded(run, kind):
    assert 0 < run(kind).entries <= ENTRIES
    assert run(kind).disk < DISK


@pytest.mark.slow
@pytest.mark.parametrize("kind", nightly(KINDS, str))
def test_a_run_ends_in_time_and_leaves_nothing(run, honest, kind):
    number = sum(each.kind == kind for each in HOSTILE.values())
    assert run(kind).results
    assert run(kind).seconds < due(honest, number)
    assert run(kind).left == []


@pytest.mark.nightly
@pytest.mark.parametrize("name", SLOW)
def test_no_submission_takes_longer_than_its_wall_time(honest, tmp_path, name):
    allowed = 2 * honest.seconds + WALL + GRACE  # twice, because a machine is not always as fast
    submissions = {name: bytes(HOSTILE[name])} | neighbors()
    seen = measured(tmp_path, submissions, allowed + 20, **OPTIONS)
    assert seen.seconds < allowed
    assert seen.left == []
    assert [set(seen.outcomes(each).values()) for each in neighbors()] == [{"correct"}] * NEIGHBORS
