"""One assignment, ready to grade: the secret seed, the checks, and what is stored of each task.

Every submission is one task, named by a hash of all that its verdict depends on.
"""

import hashlib
import hmac
import json
import os
import secrets
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import lecture_vae
from lecture_vae.grading.exercises import Assignment, ExerciseError, read_assignment
from lecture_vae.grading.observe import Conditions, Rebuilt, rebuild
from lecture_vae.grading.sandbox import Limits, choose
from lecture_vae.grading.submission import Submission
from lecture_vae.grading.trial import HiddenCheck
from lecture_vae.grading.verdict import Provenance, Result, Verdict, is_tampered, verdicts
from lecture_vae.storage import write_atomically

__all__ = ["Grading"]

SEED_FILE, STORE = "seed", "graded"


class Grading:
    """One assignment, ready to grade submissions into one folder.

    Attributes:
        assignment: The exercises.
        conditions: Sandbox level and limits.

    Raises:
        ExerciseError: The assignment cannot be graded with.
        SandboxError: The sandbox asked for does not hold on this machine.
    """

    def __init__(
        self,
        source: Path,
        out: Path,
        *,
        timeout: float | None = None,
        memory_mb: int = 1024,
        sandbox: str = "auto",
    ):
        self.assignment: Assignment = read_assignment(source)
        self.out, self.timeout = out, timeout
        chosen = choose(sandbox)
        # The first optimizer of a process imports a compiler, which takes longer than a notebook.
        trains = any("torch.optim" in exercise.solution for exercise in self.assignment.exercises)
        self.conditions = Conditions(
            chosen.level, Limits(memory_mb=memory_mb), ("torch._dynamo",) if trains else ()
        )
        self.seed = _seed(out / SEED_FILE)
        self.provenance = Provenance(
            self.assignment.version,
            _code_version(),
            chosen.description,
            hashlib.sha256(self.seed.encode()).hexdigest()[:16],
        )

    @cached_property
    def checks(self) -> dict[str, HiddenCheck]:
        """What decides about each exercise, on cases from the secret seed."""
        checks = {
            exercise.name: HiddenCheck(
                self.assignment, exercise, _number(self.seed, self.assignment.name, exercise.name)
            )
            for exercise in self.assignment.exercises
        }
        for name, check in checks.items():
            if check.survivors:
                raise ExerciseError(
                    f"{name}: the wrong answers {', '.join(check.survivors)} get every drawn case "
                    "right. Run `lecture-vae release` on the assignment: it tells which check is "
                    "too weak."
                )
        return checks

    def key(self, submission: Submission) -> str:
        """Names the task: equal keys, equal results."""
        parts = [
            submission.student, submission.digest, submission.problem or "",
            asdict(self.provenance), asdict(self.conditions.limits), self.timeout,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]

    def stored(self, submission: Submission) -> list[Result] | None:
        """The results of a submission that was graded before, or None."""
        path = self.out / STORE / f"{self.key(submission)}.json"
        try:
            stored = json.loads(path.read_text(encoding="utf8"))
            return [Result(**(fields | {"remarks": tuple(fields["remarks"])})) for fields in stored]
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError):  # not ours, or of another version: graded again
            return None

    def store(self, submission: Submission, results: list[Result]) -> None:
        """Keeps the results of a submission, whole or not at all; failures of ours are not kept."""
        if any(result.outcome == "infrastructure" for result in results):
            return
        text = json.dumps([asdict(result) for result in results])
        path = self.out / STORE / f"{self.key(submission)}.json"
        write_atomically(path, lambda file: file.write_text(text, encoding="utf8"))

    def canary(self, submission: Submission) -> str | None:
        """The exercise after which a wrong answer is planted: an answered one, by the seed."""
        answered = [
            answer.exercise
            for answer in submission.answers
            if answer.cells and not answer.unanswered
        ]
        cheap = [name for name in answered if not self.checks[name].judged] or answered
        if not cheap:
            return None
        return cheap[_number(self.seed, submission.digest) % len(cheap)]

    def notebook(self, submission: Submission, only: str | None = None) -> Rebuilt:
        """The notebook that is run for a submission, or for one exercise of it."""
        return rebuild(
            self.key(submission) if only is None else f"{self.key(submission)}/{only}",
            self.assignment,
            submission,
            self.checks,
            only or self.canary(submission),
            only=only,
            timeout=self.timeout,
        )

    def judge(
        self, submission: Submission, observation: dict[str, Any] | None, only: str | None = None
    ) -> dict[str, Verdict]:
        """The verdicts on what was observed, by exercise."""
        expected = [cell.id for cell in self.notebook(submission, only).cells]
        found = {
            exercise.name: verdict
            for exercise, verdict in verdicts(
                self.assignment, submission, self.checks, expected, observation, only
            )
        }
        canary = only or self.canary(submission)
        if observation and canary and is_tampered(self.checks[canary], observation):
            trick = "the wrong answer that was planted for comparison did not come out wrong"
            for name, verdict in found.items():
                if verdict.outcome not in ("unanswered", "missing"):
                    found[name] = replace(
                        verdict, outcome="tampered", message=trick, resembles=None, hint=None
                    )
        return found

    def results(self, submission: Submission, found: dict[str, Verdict]) -> list[Result]:
        """The lines of the gradebook for a submission."""
        answers = {answer.exercise: answer for answer in submission.answers}
        return [
            found[exercise.name].result(
                exercise, submission, answers.get(exercise.name), self.provenance
            )
            for exercise in self.assignment.exercises
        ]


def _seed(path: Path) -> str:
    """The secret that the cases are drawn from: made once, then kept."""
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        seed = secrets.token_hex(16)

        def write(file: Path) -> None:
            os.close(os.open(file, os.O_CREAT | os.O_WRONLY, 0o600))
            file.write_text(seed + "\n", encoding="ascii")

        write_atomically(path, write)
        return seed


def _number(seed: str, *parts: str) -> int:
    """A whole number that only the holder of the seed can tell."""
    digest = hmac.new(seed.encode(), "/".join(parts).encode(), hashlib.sha256).digest()
    return int.from_bytes(digest[:8], "big")


def _code_version() -> str:
    """Version and a hash of the grading code: other code may come to another verdict."""
    total = hashlib.sha256(lecture_vae.__version__.encode())
    files = sorted(Path(__file__).parent.glob("*.py"))
    for file in files:
        total.update(file.read_bytes())
    return total.hexdigest()[:16]
