"""Side by side: several runs are trained in parallel.

Runs in native kernels are trained in threads. Runs in PyTorch are trained in worker processes,
because Python's interpreter lock lets only one thread at a time run. A worker is a new process. It
reads its job, one line of JSON with names and plain values, from standard input: nothing is
pickled, and the caller's script is not run again. It exits at the end of its input, so that it does
not outlive its parent, even if the parent is killed.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Event, Thread
from time import sleep
from typing import Any, NamedTuple

from lecture_vae.cluster import run_tasks
from lecture_vae.data import DataError, load_images
from lecture_vae.fetching import Request
from lecture_vae.likelihoods import LIKELIHOODS
from lecture_vae.losses import OBJECTIVES
from lecture_vae.networks import MODELS
from lecture_vae.recipe import NotStorableError, RunSpec, key_of, spec_of
from lecture_vae.registry import Registry, import_definitions
from lecture_vae.store import Run, StoreError
from lecture_vae.training import progress_bar

__all__ = ["fetch_in_threads", "imports_of", "is_importable", "train_side_by_side"]

POLL_SECONDS = 0.05
TERMINATE_SECONDS = 5.0  # from SIGTERM to SIGKILL
PROGRAM = "import json, sys; job = json.loads(sys.stdin.readline()); sys.path[:] = job['path']; "
PROGRAM += "from lecture_vae.side_by_side import work; work(job)"
EXCEPTIONS = (  # that a worker reports by name
    DataError,
    FloatingPointError,
    NotStorableError,
    StoreError,
    TypeError,
    ValueError,
)


class _Worker(NamedTuple):
    key: str
    process: subprocess.Popen[str]


def is_importable(spec: RunSpec) -> bool:
    """Whether other processes can import the model, the objective and the likelihood of a run.

    They cannot import what is registered in a notebook or a script.

    Examples:
        >>> is_importable(RunSpec("linear-vae", NegativeELBO(), TrainConfig()))
        True
    """
    return all(module != "__main__" for module in _modules(spec))


def _modules(spec: RunSpec) -> list[str]:
    """The modules that register the model, the objective and the likelihood."""
    found = [MODELS.registered_by(spec.model)]
    things: list[tuple[Registry[Any], object]] = [(OBJECTIVES, spec.objective)]
    things += [(LIKELIHOODS, value) for value in vars(spec.objective).values()]
    for registry, thing in things:
        if (name := registry.name_of(thing)) is not None:
            found.append(registry.registered_by(name))
    return found


def imports_of(spec: RunSpec) -> list[str]:
    """What a worker imports to register the same names: modules by name, single files by path.

    Examples:
        >>> imports_of(RunSpec("linear-vae", NegativeELBO(), TrainConfig()))  # ours: nothing
        []
    """
    imports = []
    for name in _modules(spec):
        file = getattr(sys.modules[name], "__file__", None)
        if name.partition(".")[0] != __name__.partition(".")[0]:
            if file and "." not in name and Path(file).stem != "__init__":
                name = os.path.abspath(file)
            imports.append(name)
    return sorted(set(imports))


def fetch_in_threads(requests: Sequence[Request], workers: int, *, fresh: bool) -> None:
    """Train runs into the store in threads of this process, the longest first.

    Args:
        requests: Runs that native kernels can train.
        workers: Number of threads.
        fresh: Train again, and replace what is stored.

    Raises:
        Exception: That of the first run that failed; the others have been trained.
    """
    stopped = Event()
    failures = []

    def fetch(request: Request) -> list[Run]:
        return [request.fetch(fresh=fresh, stopped=stopped)]

    def work_of(request: Request) -> int:
        return request.spec.config.steps * request.spec.config.batch_size

    longest_first = sorted(requests, key=work_of, reverse=True)
    with progress_bar(len(requests), unit="run") as bar:
        for _, result in run_tasks(fetch, longest_first, jobs=workers, stop=stopped.set):
            bar.update()
            if isinstance(result, Exception):
                failures.append(result)
    if failures:
        raise failures[0]


def train_side_by_side(requests: Sequence[Request], workers: int, *, fresh: bool) -> None:
    """Train runs into the store in worker processes; return when all have ended.

    Args:
        requests: Runs that PyTorch trains. Workers load the source of their data again, and compare
            the fingerprints.
        workers: Number of processes at a time.
        fresh: Train again, and replace what is stored.

    Raises:
        Exception: The exception of the first run that failed; the others have been trained.
        RuntimeError: If a worker was killed, or failed with another exception.
    """
    waiting, running, failures = list(requests), list[_Worker](), list[Exception]()
    try:
        with progress_bar(len(requests), unit="run") as bar:
            while waiting or running:
                while waiting and len(running) < workers:
                    running.append(_start(waiting.pop(0), fresh))
                sleep(POLL_SECONDS)
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


def _start(request: Request, fresh: bool) -> _Worker:
    key, data = key_of(request.recipe), request.data
    job = {
        "key": key,
        "recipe": request.recipe,
        "imports": imports_of(request.spec),
        "path": [os.path.abspath(entry) for entry in sys.path],
        "data": {
            "source": data.source,
            "resize": data.resize,
            "fingerprint": data.fingerprint,
        },
        "store": request.place,
        "fresh": fresh,
    }
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**os.environ, "TQDM_DISABLE": "1"},
    )
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()  # and it stays open: the worker exits at its end
    except BrokenPipeError:  # the worker has exited; its status is read later
        pass
    return _Worker(key, process)


def _failure(worker: _Worker) -> Exception | None:
    output, _ = worker.process.communicate()
    if worker.process.returncode == 0:
        return None
    lines = output.strip().splitlines()
    if worker.process.returncode == 1 and lines:
        try:
            report = json.loads(lines[-1])
            kinds = {kind.__name__: kind for kind in EXCEPTIONS}
            return kinds.get(report["kind"], RuntimeError)(report["message"])
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
        process.wait(TERMINATE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def work(job: dict[str, Any]) -> None:
    """Train or load the run of a job: the main function of a worker process.

    An exception is printed as one line of JSON, and the process exits with status 1.
    """
    Thread(target=_exit_at_end_of_input, daemon=True).start()
    try:
        for definitions in job["imports"]:
            import_definitions(definitions)
        data = load_images(job["data"]["source"], resize=job["data"]["resize"])
        if data.fingerprint != job["data"]["fingerprint"]:
            raise StoreError(
                f"{job['data']['source']} now holds other images than when training was requested."
            )
        request = Request(spec_of(job["recipe"]), data, "cpu", "torch", job["store"])
        if key_of(request.recipe) != job["key"]:
            raise StoreError(
                "the code that decides the weights was changed while runs were trained. "
                "Start again."
            )
        request.fetch(fresh=job["fresh"])
    except Exception as error:
        print(json.dumps({"kind": type(error).__name__, "message": str(error)}), flush=True)
        sys.exit(1)


def _exit_at_end_of_input() -> None:
    """Read standard input to its end, then exit this process with status 1.

    So a worker ends if its parent is killed.
    """
    sys.stdin.read()
    os._exit(1)
