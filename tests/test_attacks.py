"""The attacks of the corpus succeed against plain nbval: that is why ours is built as it is."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
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


@pytest.fixture(scope="session")
def against_plain_nbval(tmp_path_factory):
    """The exit code of plain nbval for each attack, and the damage that they did."""
    base = tmp_path_factory.mktemp("plain")
    neighbor = base / "neighbor.py"
    neighbor.write_text("def scaled_sum(x, scale):\n    return scale * sum(x)\n")
    (base / "outside").mkdir()
    world = World(base, [neighbor], [base / "outside"])
    # One process for all that are said to pass: it starts once, and ends with 0 only if all do.
    tame = [attack for attack in ON_NBVAL if attack.plain == "passes" and not attack.beside]
    others = [attack for attack in ON_NBVAL if attack not in tame]
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
        yield codes, world.damage()
    finally:
        world.close()


@pytest.mark.slow
@pytest.mark.parametrize("attack", ON_NBVAL, ids=lambda attack: attack.name)
def test_plain_nbval_lets_the_attack_succeed(attack, against_plain_nbval):
    codes, damage = against_plain_nbval
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
