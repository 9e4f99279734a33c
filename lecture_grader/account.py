"""An account of a run: what was done with a student's notebook, step by step, with every limit.

The sentences are for the student, so that a dispute can be settled from the page alone. They hold
no wall time, and nothing of the hidden cases but their number.
"""

from lecture_grader.cells import is_student, probe_id, student_id
from lecture_grader.running.notebook import BY_NAME, UP_TO, Notebook, Probe
from lecture_grader.running.observation import CellRun, Observation
from lecture_grader.sandbox.choose import Limits
from lecture_grader.submissions.submission import Answer

__all__ = ["steps"]

WAYS = {
    BY_NAME: "your answer alone, with what it needs by name, each statement by itself",
    UP_TO: "all your cells up to this answer, in your order",
    "": "all your cells, in your order",
}
DID = {
    "ok": "ran to its end",
    "error": "raised {error}",
    "timeout": "was stopped: {message}",
    "crashed": "ended Python: {message}",
    "memory": "was stopped: {message}",
    "output": "was stopped: {message}",
    "not run": "was not run, because the run had ended before",
    "infrastructure": "could not be run; that is a failure of the grading",
}


def steps(
    notebook: Notebook, way: str, answer: Answer, probe: Probe, observation: Observation | None,
    limits: Limits, outcome: str,
) -> tuple[str, ...]:  # fmt: skip
    """What one run did for one exercise.

    Args:
        notebook: What ran.
        way: BY_NAME, UP_TO or "" for the whole notebook.
        answer: Of the exercise.
        probe: How the answer was called.
        observation: What was observed; None if nothing came back.
        limits: Of the kernel.
        outcome: The verdict of this run.
    """
    found = [
        f"In a new Python kernel, within {notebook.wall:.0f} s and {limits.memory_mb:,} MB: "
        f"{WAYS[way]}."
    ]
    if observation is None:
        return (*found, "Nothing came back from this run; that is a failure of the grading.")
    timeouts = {cell.id: cell.timeout for cell in notebook.cells}
    own = [student_id(at) for at in (answer.alone if way == BY_NAME else answer.cells)]
    stopped = [
        cell.id
        for cell in observation.cells
        if is_student(cell.id) and cell.outcome not in ("ok", "not run")
    ]
    for identity in dict.fromkeys((*stopped, *own)):
        if identity in timeouts:
            cell = observation.cell(identity)
            whose = "The cell of your answer" if identity in own else "Another cell of yours"
            limit = f"which may use {timeouts[identity]:g} s of CPU time"
            found.append(f"{whose}, {limit}, {_did(cell)}.")
    called = observation.cell(probe_id(probe.number))
    cases = f"{len(probe.cases)} case{'s' * (len(probe.cases) != 1)}"
    seconds = timeouts.get(probe_id(probe.number), probe.seconds)
    found.append(
        f"{probe.answer} was to be called on {cases}, within {seconds:g} s of CPU time: the call "
        f"{_did(called)}."
    )
    if called.outcome == "ok":
        found.append("What it returned was compared outside of the kernel.")
    return (*found, f"Verdict of this run: {outcome}.")


def _did(cell: CellRun) -> str:
    message = " ".join(cell.message.split())[:200] or "no reason was given"
    return DID[cell.outcome].format(error=cell.error or "an exception", message=message)
