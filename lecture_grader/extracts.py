"""The parts of an assignment that may be passed on to reading and running submissions."""

from collections.abc import Mapping

from lecture_grader.authoring.assignment import SELFCHECK, Assignment, Exercise
from lecture_grader.authoring.check import HiddenCheck
from lecture_grader.running.notebook import Probe, Rebuilding
from lecture_grader.submissions.answers import HandedOut, Question

__all__ = ["handed_out", "rebuilding"]

SELFCHECK_BEFORE_0_3 = "lecture_vae.grading.selfcheck"


def handed_out(assignment: Assignment) -> HandedOut:
    """The assignment as students received it, for reading submissions."""
    return HandedOut(assignment.name, assignment.setup, tuple(map(_question, assignment.exercises)))


def _question(exercise: Exercise) -> Question:
    """An exercise as this version or an earlier one handed it out."""
    checks = [
        cell(known) for cell in (exercise.check_cell, exercise.check_lines) for known in (None, "")
    ]
    checks += [check.replace(SELFCHECK, SELFCHECK_BEFORE_0_3) for check in checks]
    return Question(exercise.name, exercise.answer, exercise.stub, tuple(checks))


def rebuilding(
    assignment: Assignment, checks: Mapping[str, HiddenCheck], timeout: float | None = None
) -> Rebuilding:
    """How submissions become notebooks: the probes and their cases, without expected values.

    Args:
        assignment: The exercises.
        checks: The hidden check of each exercise, by name; only its cases are used.
        timeout: CPU seconds for a cell; by default the timeout of each exercise.
    """
    probes = [
        Probe(
            exercise=each.name,
            number=each.number,
            answer=each.answer,
            source=each.probe,
            cases=tuple(checks[each.name].cases),
            tensors=assignment.tensors,
            seconds=timeout or each.timeout,
            asserts=None if checks[each.name].judged else each.check,
            mistake=each.wrong[0].source,
        )
        for each in assignment.exercises
    ]
    return Rebuilding(assignment.setup, tuple(probes))
