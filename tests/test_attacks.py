"""The attacks of the corpus succeed against plain nbval: that is why ours is built as it is."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest
from attacks import ON_NBVAL, Attack, World


def naive_notebook(attack: Attack, world: World) -> dict:
    """An executed notebook as a trusting instructor collects it: an answer, then a check."""
    cells = [({}, world.fill(attack.cell))]
    if not attack.deleted:
        cells.append(({"tags": list(attack.tags)}, attack.edit + attack.check))
    return {
        "cells": [
            {
                "cell_type": "code",
                "id": f"cell-{number}",
                "metadata": metadata,
                "source": source,
                "execution_count": number,
                "outputs": [],
            }
            for number, (metadata, source) in enumerate(cells, 1)
        ],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def run_plainly(folder: Path, attacks: list[Attack], world: World) -> int:
    """The exit code of plain nbval on the notebooks of some attacks."""
    for attack in attacks:
        place = folder / attack.name
        place.mkdir(parents=True)
        notebook = json.dumps(naive_notebook(attack, world))
        (place / "submission.ipynb").write_text(notebook, encoding="utf8")
        for name, text in attack.beside.items():
            (place / name).write_text(world.fill(text))
    home = folder / "home"
    home.mkdir()
    clean = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, *(f"{attack.name}/submission.ipynb" for attack in attacks)],
        cwd=folder,
        env=clean | dict.fromkeys(("HOME", "IPYTHONDIR", "MPLCONFIGDIR"), str(home)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=300,
    ).returncode


def against_plain_nbval(base: Path, attacks: list[Attack]) -> tuple[dict[str, int], set[str]]:
    """The exit code of plain nbval for each attack, and the damage that they did together."""
    neighbor = base / "neighbor.py"
    neighbor.write_text("def scaled_sum(x, scale):\n    return scale * sum(x)\n")
    (base / "outside").mkdir()
    world = World(base, [neighbor], [base / "outside"])
    # One process for all that are said to pass: it starts once, and ends with 0 only if all do.
    tame = [attack for attack in attacks if attack.plain == "passes" and not attack.beside]
    others = [attack for attack in attacks if attack not in tame]
    half = len(tame) // 2
    batches = [tame[:half], tame[half:], *([attack] for attack in others)]

    def run(numbered):
        number, batch = numbered
        code = run_plainly(base / str(number), batch, world)
        if code and len(batch) > 1:  # whose fault is it?
            return {a.name: run_plainly(base / f"{a.name}-alone", [a], world) for a in batch}
        return {attack.name: code for attack in batch}

    try:
        with ThreadPoolExecutor(2) as pool:
            codes = {k: v for found in pool.map(run, enumerate(batches)) for k, v in found.items()}
        return codes, world.damage()
    finally:
        world.close()


# What does harm is tried by day, because it shows that harm is seen; of what only passes, a sample.
PASSING_BY_DAY = (
    "skip-comment", "raises-tag", "exception-handler", "asserts-removed-from-text",
    "object-equal-to-everything", "isclose-patched", "searches-objects", "idle-forged-early",
    "own-conftest",
)  # fmt: skip


def at_night(attack: Attack) -> bool:
    """Whether an attack is one of many that plain nbval lets pass, and not their sample."""
    return attack.plain == "passes" and attack.name not in PASSING_BY_DAY


@pytest.fixture(scope="session")
def tried(tmp_path_factory):
    """What became of the attacks of the day, or of those of the night."""

    @cache
    def tried(night: bool) -> tuple[dict[str, int], set[str]]:
        attacks = [attack for attack in ON_NBVAL if at_night(attack) == night]
        return against_plain_nbval(tmp_path_factory.mktemp("plain"), attacks)

    return tried


def test_the_sample_of_passing_attacks_is_there():
    assert {attack.name for attack in ON_NBVAL} >= {*PASSING_BY_DAY}


@pytest.mark.slow
@pytest.mark.parametrize(
    "attack",
    [
        pytest.param(each, id=each.name, marks=pytest.mark.nightly if at_night(each) else ())
        for each in ON_NBVAL
    ],
)
def test_plain_nbval_lets_the_attack_succeed(attack, tried):
    codes, damage = tried(at_night(attack))
    if attack.plain == "passes":
        assert codes[attack.name] == 0
    elif attack.plain == "killed":
        assert codes[attack.name] == -9
    elif attack.plain.startswith("resists"):
        assert codes[attack.name] == 1
    else:
        assert attack.plain in damage


@pytest.mark.slow
def test_plain_nbval_does_tell_wrong_from_right(tmp_path):
    right = Attack("right", answer="def scaled_sum(x, scale):\n    return scale * sum(x)\n")
    world = World(tmp_path, [], [])
    try:
        assert run_plainly(tmp_path / "right", [right], world) == 0
        assert run_plainly(tmp_path / "wrong", [Attack("wrong")], world) == 1
    finally:
        world.close()
