"""Trainer: a process that trains one run after another, and that may die alone.

Whoever trains many runs must outlive each of them: one may exhaust the memory or crash its process.
So :class:`Trainers` train nothing themselves. They ask a trainer, a child process that imports
the package once, is sent the images once, and stays for the next run. If it dies, another one
resumes the run from its last evaluation; after ``ATTEMPTS`` deaths the run is given up.

A trainer reads jobs from its standard input: a line of JSON with names and plain values, and the
images where it has not got them yet. Nothing is pickled. It exits at the end of its input, so that
it does not outlive its parent, and when nobody has asked for ``IDLE_SECONDS``.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any

from lecture_vae.data import ImageData
from lecture_vae.fetching import Request
from lecture_vae.packing import unpack_images
from lecture_vae.recipe import spec_of
from lecture_vae.registry import import_definitions
from lecture_vae.side_by_side import EXCEPTIONS
from lecture_vae.store import StoreError, open_run

__all__ = ["Job", "Trained", "Trainers", "fetch_in_trainer"]

ATTEMPTS = 3  # trainers that may die of one run
IDLE_SECONDS = 60.0  # without a job, after which a trainer exits
PROGRAM = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
PROGRAM += "from lecture_vae.trainer import serve; serve()"


@dataclass(frozen=True)
class Job:
    """A run to be trained by a process that may be on another machine.

    Examples:
        >>> job = Job({}, "0" * 16, (), "cpu", "auto", "/runs")
        >>> job.store
        '/runs'
    """

    recipe: dict[str, Any]  # what :func:`~lecture_vae.recipe.describe` returned
    images: str  # fingerprint of the images
    imports: tuple[str, ...]  # modules or files that register models and objectives
    device: str  # as for pick_device, on the machine of the trainer
    engine: str  # as for plan_for, likewise
    store: str  # a folder that all machines share, or the URL of an object store


@dataclass(frozen=True)
class Trained:
    """What became of a job: the key of the stored run and its last evaluation.

    Examples:
        >>> Trained("0" * 16, "cpu", "torch", 2.5, False, {"step": 2, "test_loss": 40.0}).seconds
        2.5
    """

    key: str
    device: str
    engine: str
    seconds: float  # of training, also if it was stored before
    found: bool  # it was stored before
    last: dict[str, float]  # row of the last evaluation


# ---------------------------------------------------------------------------- the parent's side


class _Trainer:
    """A child process and what it has been sent."""

    def __init__(self) -> None:
        path = json.dumps([os.path.abspath(entry) for entry in sys.path])
        self.images = ""  # fingerprint of those that it holds
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "TQDM_DISABLE": "1"},
        )

    def ask(self, job: Job, packed: bytes) -> dict[str, Any] | None:
        """The answer, or None if the process ended without one."""
        assert self.process.stdin is not None and self.process.stdout is not None
        payload = b"" if self.images == job.images else packed
        line = json.dumps({"job": vars(job), "bytes": len(payload)})
        try:
            self.process.stdin.write(line.encode() + b"\n" + payload)
            self.process.stdin.flush()
        except BrokenPipeError:
            return None
        self.images = job.images
        answer = self.process.stdout.readline()
        return json.loads(answer) if answer.endswith(b"\n") else None

    def end(self) -> int:
        """Its exit status, after it was killed if it still ran."""
        self.process.kill()
        status = self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            with suppress(OSError):  # what could not be sent is sent again when a stream is closed
                stream.close()  # type: ignore[union-attr]
        return status


class Trainers:
    """The trainers of a process; as a context, they end with it.

    Examples:
        >>> job = Job({}, "0" * 16, ("no_such_module",), "cpu", "auto", "/runs")
        >>> with Trainers() as trainers:
        ...     trainers.fetch(job, b"")
        Traceback (most recent call last):
        ...
        ImportError: no_such_module cannot be imported: ModuleNotFoundError: ...
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._idle: list[_Trainer] = []
        self._busy: list[_Trainer] = []
        self._closed = False

    def __enter__(self) -> "Trainers":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fetch(self, job: Job, packed: bytes) -> list[Trained]:
        """The stored run of a job, trained by a child process if it is new.

        May be called in several threads: each call has a trainer of its own.

        Args:
            job: What to train.
            packed: The images, as :func:`~lecture_vae.packing.pack_images` returned them.

        Returns:
            One entry.

        Raises:
            Exception: What training raised there, as :func:`~lecture_vae.runs.fetch_run`.
            RuntimeError: If the run killed several trainers, or they were closed.
        """
        ends = list[str]()
        while len(ends) < ATTEMPTS:
            trainer, reused = self._take()
            answer = trainer.ask(job, packed)
            with self._lock:
                self._busy.remove(trainer)
                stays = answer is not None and not self._closed
                if stays:
                    self._idle.append(trainer)
            status = 0 if stays else trainer.end()
            if answer is not None:
                if "error" in answer:
                    raise _exception(answer)
                return [Trained(**answer)]
            if not (reused and status == 0):  # else it had waited for long, and was just leaving
                ends.append(_how(status))
        raise RuntimeError(
            f"the process that trained it ended {ATTEMPTS} times: {', '.join(ends)}. Did it "
            "exhaust the memory? What was trained up to its last evaluation is kept."
        )

    def close(self) -> None:
        """Ends all trainers, in the middle of a run if need be, and starts no new ones."""
        with self._lock:
            self._closed = True
            for trainer in self._busy:
                trainer.process.kill()  # whoever waits for its answer collects it
            while self._idle:
                self._idle.pop().end()

    def _take(self) -> tuple[_Trainer, bool]:
        """A trainer that has nothing to do, and whether it is an old one."""
        with self._lock:
            if self._closed:
                raise RuntimeError("the training was interrupted; what was trained is kept.")
            while self._idle:
                trainer = self._idle.pop()
                if trainer.process.poll() is None:
                    self._busy.append(trainer)
                    return trainer, True
                trainer.end()
            self._busy.append(_Trainer())
            return self._busy[-1], False


_HERE = Trainers()  # of a worker of a cluster, for as long as it lives


def fetch_in_trainer(job: Job, packed: bytes) -> list[Trained]:
    """:meth:`Trainers.fetch` with trainers that this process keeps.

    Examples:
        >>> job = Job({}, "0" * 16, ("no_such_module",), "cpu", "auto", "/runs")
        >>> fetch_in_trainer(job, b"")
        Traceback (most recent call last):
        ...
        ImportError: no_such_module cannot be imported: ModuleNotFoundError: ...
    """
    return _HERE.fetch(job, packed)


def _how(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"status {status}"


def _exception(answer: dict[str, Any]) -> Exception:
    kinds = {kind.__name__: kind for kind in (*EXCEPTIONS, ImportError)}
    kind = kinds.get(answer["error"])
    if kind is None:
        return RuntimeError(f"{answer['error']}: {answer['message']}")
    return kind(answer["message"])


# ---------------------------------------------------------------------------- the child's side


def serve() -> None:
    """Does jobs until there are none: the main function of a trainer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt at a terminal reaches the parent
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a model prints is no answer
    images: ImageData | None = None
    for job, packed in _jobs():
        try:
            if packed:
                images = None  # not two at a time
                images = unpack_images(packed)
            for definitions in job.imports:
                import_definitions(definitions)
            assert images is not None
            answer = vars(_fetch(job, images))
        except Exception as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        print(json.dumps(answer), file=answers, flush=True)


def _fetch(job: Job, data: ImageData) -> Trained:
    request = Request(spec_of(job.recipe), data, job.device, job.engine, job.store)
    _check_same_code(request.recipe, job.recipe)
    stored = request.stored()
    run = request.fetch() if stored is None else open_run(stored.name, store=stored.parent)
    last = run.history.rows[-1]
    return Trained(run.key, run.device, run.engine, run.seconds, stored is not None, last)


def _check_same_code(here: Mapping[str, Any], there: Mapping[str, Any]) -> None:
    """Refuse to train for another version of the code: the runs would not be of one sweep."""
    other = [name for name, code in there["code"].items() if here["code"].get(name) != code]
    if here["torch"] != there["torch"]:
        other.append(f"torch {here['torch']}, not {there['torch']},")
    if other:
        raise StoreError(
            f"a run is trained by the code that it was asked for with, but on this machine "
            f"{' and '.join(other)} differs. Install the same versions everywhere."
        )


def _jobs() -> Iterator[tuple[Job, bytes]]:
    waiting: SimpleQueue[tuple[Job, bytes]] = SimpleQueue()

    def read() -> None:
        # Not sys.stdin: at the end Python closes that, and aborts if a thread still reads it.
        asked = os.fdopen(os.dup(0), "rb")
        while line := asked.readline():
            message = json.loads(line)
            waiting.put((Job(**message["job"]), asked.read(message["bytes"])))
        os._exit(1)  # the parent has gone

    Thread(target=read, daemon=True).start()
    while True:
        try:
            yield waiting.get(timeout=IDLE_SECONDS)
        except Empty:
            return
