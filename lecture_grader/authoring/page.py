"""Pages of an assignment in MyST: for the book, with hints or with solutions, and the rubric."""

from lecture_grader.authoring.assignment import Assignment, Exercise

__all__ = ["page", "rubric"]


def rubric(assignment: Assignment) -> str:
    """The rubric as a Markdown table: exercise, points, what its checks tell apart."""
    lines = ["| | exercise | points | mistakes that its checks know |", "|---|---|---|---|"]
    for exercise in assignment.exercises:
        known = ", ".join(wrong.name.replace("-", " ") for wrong in exercise.wrong)
        lines.append(f"| {exercise.number} | {exercise.title} | {exercise.points} | {known} |")
    lines.append(f"| | **all** | **{assignment.points}** | |")
    return "\n".join(lines) + "\n"


def page(assignment: Assignment, *, solutions: bool, links: str = "") -> str:
    """The page of the book: statements with hints or, for instructors, with solutions.

    Args:
        assignment: The exercises.
        solutions: Whether to show solutions, wrong answers and hidden checks, folded.
        links: What stands below the introduction: where to get the notebook.
    """
    parts = [assignment.introduction, *filter(None, [links])]
    if solutions:
        parts.append(rubric(assignment))
    for exercise in assignment.exercises:
        parts += [exercise.statement, f"*{exercise.worth}*", _fence(exercise.stub)]
        parts.append(_solution(exercise) if solutions else _hints(exercise))
    return "\n\n".join(parts) + "\n"


def _hints(exercise: Exercise) -> str:
    hints = "\n".join(f"- {wrong.hint}" for wrong in exercise.wrong)
    return (
        f"::::{{admonition}} Hints: what goes wrong most often\n:class: dropdown tip\n{hints}\n::::"
    )


def _solution(exercise: Exercise) -> str:
    mistakes = "\n\n".join(
        f"**{wrong.name.replace('-', ' ')}.** {wrong.hint}\n\n{_fence(wrong.source)}"
        for wrong in exercise.wrong
    )
    return (
        f"::::{{admonition}} Solution\n:class: dropdown\n{_fence(exercise.solution)}\n::::\n\n"
        f"::::{{admonition}} Wrong answers\n:class: dropdown\n{mistakes}\n::::\n\n"
        f"::::{{admonition}} Hidden check\n:class: dropdown\n{_fence(exercise.hidden)}\n\n"
        f"{_fence(exercise.probe)}\n::::"
    )


def _fence(code: str) -> str:
    return f"```python\n{code}\n```"
