"""Side by side: several runs trained at once, each in a process of its own.

A worker is a fresh Python that reads its job, one line of JSON with names and plain values, from
its standard input: nothing is pickled, and the caller's script is not run again in it. It ends when
that input ends, so that no worker outlives the call that started it, however that call ends.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import sleep
from typing import Any, NamedTuple

from lecture_vae.data import DataError, ImageData
from lecture_vae.likelihoods import LIKELIHOODS
from lecture_vae.losses import OBJECTIVES
from lecture_vae.networks import MODELS
from lecture_vae.recipe import NotStorableError, RunSpec, key_of
from lecture_vae.registry import Registry
from lecture_vae.store import StoreError
from lecture_vae.training import progress_bar

__all__ = ["can_be_defined_elsewhere", "end_with_input", "train_side_by_side"]

LOOK_EVERY = 0.05  # seconds
PATIENCE = 5.0  # seconds that a worker has to end when told to
START = "import json, sys; job = json.loads(sys.stdin.readline()); sys.path[:] = job['path']; "
START += "from lecture_vae.runs import work; work(job)"
RAISED = (DataError, FloatingPointError, NotStorableError, StoreError, TypeError, ValueError)


class _Worker(NamedTuple):
    key: str
    process: subprocess.Popen[str]


def can_be_defined_elsewhere(spec: RunSpec) -> bool:
    """Whether another process can import all that a run names."""
    return all(module != "__main__" for module in _modules(spec))


def _modules(spec: RunSpec) -> list[str]:
    """Which register the model, the objective and the likelihood."""
    found = [MODELS.registered_by(spec.model)]
    things: list[tuple[Registry[Any], object]] = [(OBJECTIVES, spec.objective)]
    things += [(LIKELIHOODS, value) for value in vars(spec.objective).values()]
    for registry, thing in things:
        if (name := registry.name_of(thing)) is not None:
            found.append(registry.registered_by(name))
    return found


def _places(spec: RunSpec) -> list[str]:
    """What a worker imports to know the same names: modules by name, lone files by path."""
    places = []
    for name in _modules(spec):
        file = getattr(sys.modules[name], "__file__", None)
        if name.partition(".")[0] != __name__.partition(".")[0]:
            if file and "." not in name and Path(file).stem != "__init__":
                name = os.path.abspath(file)
            places.append(name)
    return sorted(set(places))


def train_side_by_side(
    runs: Sequence[tuple[RunSpec, dict[str, Any]]],
    data: ImageData,
    store: Path,
    workers: int,
    *,
    fresh: bool,
) -> None:
    """Train runs into the store, so many at a time; returns when all have ended.

    Args:
        runs: Each spec with its recipe.
        data: Workers load ``data.source`` and check that it is the same.
        store: The folder of the store.
        workers: How many at a time.
        fresh: Replace what is stored.

    Raises:
        Exception: What the first failed run raised in its process; the others have been trained.
    """
    waiting, running, failures = list(runs), list[_Worker](), list[Exception]()
    try:
        with progress_bar(len(runs), unit="run") as bar:
            while waiting or running:
                while waiting and len(running) < workers:
                    running.append(_start(*waiting.pop(0), data, store, fresh))
                sleep(LOOK_EVERY)
                for worker in [w for w in running if w.process.poll() is not None]:
                    running.remove(worker)
                    bar.update()
                    if (failure := _failure(worker)) is not None:
                        failures.append(failure)
    finally:  # also when the caller is interrupted
        for worker in running:
            worker.process.terminate()
        for worker in running:
            _end(worker.process)
    if failures:
        raise failures[0]


def _start(
    spec: RunSpec, recipe: dict[str, Any], data: ImageData, store: Path, fresh: bool
) -> _Worker:
    key = key_of(recipe)
    job = {
        "key": key,
        "recipe": recipe,
        "imports": _places(spec),
        "path": [os.path.abspath(place) for place in sys.path],
        "data": {"source": data.source, "fingerprint": data.fingerprint},
        "store": str(store),
        "fresh": fresh,
    }
    process = subprocess.Popen(
        [sys.executable, "-c", START],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**os.environ, "TQDM_DISABLE": "1"},
    )
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()  # and stays open: its end is the worker's
    except BrokenPipeError:  # it ended at once; its status says so
        pass
    return _Worker(key, process)


def _failure(worker: _Worker) -> Exception | None:
    said, _ = worker.process.communicate()
    if worker.process.returncode == 0:
        return None
    lines = said.strip().splitlines()
    if worker.process.returncode == 1 and lines:
        try:
            told = json.loads(lines[-1])
            kinds = {kind.__name__: kind for kind in RAISED}
            return kinds.get(told["kind"], RuntimeError)(told["message"])
        except (ValueError, KeyError, TypeError):
            pass
    status = worker.process.returncode
    how = f"signal {-status}" if status < 0 else f"status {status}"
    return RuntimeError(
        f"the process that trained run {worker.key} ended with {how}. Did the machine run out of "
        "memory? What was trained up to its last evaluation is kept: fetch the runs again."
    )


def _end(process: "subprocess.Popen[str]") -> None:
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def end_with_input() -> None:
    """End this process when its standard input does.

    Whoever kills a parent does not look for its workers: they see that their input ends.
    """
    sys.stdin.read()
    os._exit(1)
