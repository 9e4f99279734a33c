"""The register of a class: from the results of submissions to the results of students.

Students of a roster who handed in nothing get results, and so do those whose team handed in
something; whoever has an accommodation gets more time.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lecture_grader.authoring.assignment import Assignment
from lecture_grader.classroom.lateness import Lateness, LateRule, lateness, submitted_at
from lecture_grader.classroom.matching import RULES, Roll
from lecture_grader.classroom.roster import CANVAS, Roster, read_roster
from lecture_grader.classroom.tables import RosterError
from lecture_grader.reporting.decisions import apply_decisions, read_decisions
from lecture_grader.reporting.lms import check_column, export
from lecture_grader.reporting.markup import one_line
from lecture_grader.reporting.nbgrader import nbgrader_text
from lecture_grader.reporting.result import Result
from lecture_grader.session import Grading
from lecture_grader.submissions.submission import HANDED_IN_LATE, HandIn

__all__ = ["Register", "Rules", "extra_time", "names_of"]


@dataclass(frozen=True)
class Rules:
    """What a teacher says about a class."""

    roster: Path | None = None  # Canvas's or Moodle's export, or a plain CSV file
    column: str = ""  # of the grade, in that export; found by the title if empty
    nbgrader: bool = False  # whether nbgrader.csv is written
    late: LateRule | None = None  # without one nothing is late but what the platform marks
    only: tuple[str, ...] = ()  # names or numbers of the exercises that run again; all if empty

    def read_roster(self, out: Path) -> Roster | None:
        """The roster, if there is one.

        Args:
            out: The folder of the gradebook.

        Raises:
            RosterError: The roster breaks a rule, lacks the column, or lies where files are
                overwritten.
            OSError: It cannot be read.
        """
        if self.roster is None:
            return None
        if self.roster.resolve().is_relative_to(out.resolve()):
            raise RosterError(
                f"{self.roster} lies in {out}, where a grading overwrites files: keep it elsewhere."
            )
        roster = read_roster(self.roster)
        if self.column:  # before anything is written
            check_column(roster, "", "", self.column)
        return roster


@dataclass(frozen=True)
class Register:
    """The results of a class.

    Attributes:
        students: The results of every student, in the order of the exercises.
        files: Files to import, by name.
        notes: Sentences on these files.
        lines: Sentences on the class for the terminal.
    """

    students: dict[str, list[Result]]
    files: dict[str, str]
    notes: tuple[str, ...]
    lines: tuple[str, ...]

    @classmethod
    def of(
        cls,
        grading: Grading,
        found: Mapping[str, HandIn],
        results: Mapping[str, Sequence[Result]],
        roll: Roll | None,
        rules: Rules,
    ) -> "Register":
        """Makes the register.

        Args:
            grading: The session.
            found: The submissions.
            results: The results of every submission.
            roll: Whose the submissions are; None without a roster.
            rules: What the teacher says.

        Raises:
            RosterError: There is no such column, or a time cannot be read.
            ValueError, OSError: The teacher's decisions cannot be read.
        """
        assignment = grading.assignment
        students = {name: list(row) for name, row in results.items()}
        files, notes, lines = dict[str, str](), tuple[str, ...](), list[str]()
        owners = {name: name for name in found}
        if roll is not None:
            students |= _without_own(grading, students, roll, rules.late)
            owners |= {name: own for name, (own, _) in roll.team.items()}
            lines += _lines(roll)
        if roll is not None and not rules.late:
            lines += _without_deadline(roll)
        if rules.late:
            times = {name: found[own] for name, own in owners.items()}
            students, said = _with_lateness(students, times, roll, rules.late)
            lines += said
        students, said = apply_decisions(students, read_decisions(grading.out))
        lines += said
        if roll is not None:
            exported = export(assignment.title, assignment.name, students, roll, rules.column)
            if exported:
                files[exported.name], notes = exported.text, exported.notes
        if rules.nbgrader:
            files["nbgrader.csv"] = nbgrader_text(
                assignment.name, students, roll, rules.late.deadline if rules.late else None,
                {name: _time(roll, name, found[own]) for name, own in owners.items()},
            )  # fmt: skip
        return cls(students, files, notes, (*lines, *notes))


def _time(roll: Roll | None, name: str, hand_in: HandIn) -> float | None:
    member = roll.members.get(name) if roll else None
    return submitted_at(roll.roster if roll else None, member, hand_in)


def _with_lateness(
    students: Mapping[str, Sequence[Result]],
    found: Mapping[str, HandIn],
    roll: Roll | None,
    rule: LateRule,
) -> tuple[dict[str, list[Result]], list[str]]:
    """The results with the penalties for lateness, and a sentence on the class."""
    changed = {name: list(row) for name, row in students.items()}
    late, unknown = 0, 0
    for name, hand_in in found.items():
        member = roll.members.get(name) if roll else None
        how = lateness(rule, roll.roster if roll else None, member, hand_in)
        late += bool(how.days)
        unknown += how.days is None
        changed[name] = [_penalized(result, how) for result in changed[name]]
    line = f"deadline: {late} late"
    if unknown:
        line += f"; of {unknown} it is not known when they were handed in, and nothing is deducted"
    return changed, [line]


def _penalized(result: Result, how: Lateness) -> Result:
    """A result after the penalty; what the platform said of its lateness is said anew."""
    points = round(result.points * (1 - how.percent / 100), 2)
    if not how.remark:
        return result
    others = [remark for remark in result.remarks if not remark.startswith(HANDED_IN_LATE)]
    return replace(
        result, points=points, deducted=round(result.points - points, 4),
        remarks=(how.remark, *others),
    )  # fmt: skip


def _without_own(
    grading: Grading,
    students: Mapping[str, Sequence[Result]],
    roll: Roll,
    late: LateRule | None,
) -> dict[str, list[Result]]:
    """The results of who has no own submission: of the teams and of the absent."""
    numbered = roll.roster.kind == CANVAS
    found = {}
    for name, (own, member) in roll.team.items():
        number, remark = member.number if numbered else "", f"Handed in by the team, as {own}."
        found[name] = [
            replace(each, student=name, id=number, remarks=(remark, *each.remarks))
            for each in students[own]
        ]
    for name, member in roll.absent.items():
        more_time = late is not None and late.due(member) > time.time()
        outcome = "pending" if more_time else "absent"
        found[name] = grading.absent(name, member.number if numbered else "", outcome)
    return found


def names_of(assignment: Assignment, wanted: Sequence[str]) -> list[str]:
    """The names of exercises that are given by name or number.

    Raises:
        ValueError: There is no such exercise.
    """
    known = {str(each.number): each.name for each in assignment.exercises}
    known |= {name: name for name in known.values()}
    for each in wanted:
        if each not in known:
            names = ", ".join(f"{one.number} ({one.name})" for one in assignment.exercises)
            raise ValueError(f"there is no exercise {each!r}; there are: {names}.")
    return [known[each] for each in wanted]


def extra_time(roll: Roll | None, student: str) -> float:
    """The factor of all limits of time of a student."""
    member = roll.of.get(student) if roll else None
    return 1 + member.extra_time / 100 if member else 1.0


def _without_deadline(roll: Roll) -> list[str]:
    """What the roster says of lateness and nobody asked for."""
    columns = [
        each
        for each in ("Extra days", "Submitted")
        if roll.roster.table.at(each.lower()) is not None
    ]
    if not columns:
        return []
    return [
        f"no --deadline is given, so these columns of the roster do nothing: {', '.join(columns)}"
    ]


def _lines(roll: Roll) -> tuple[str, ...]:
    rules = Counter(roll.by.values())
    found = ", ".join(f"{rules[rule]} by {rule}" for rule in RULES if rules[rule])
    lines = [
        f"roster: {len(roll.roster.members)} students; {len(roll.of)} submissions are theirs "
        f"({found})"
        + (f", {len(roll.team)} more in teams" if roll.team else "")
        + f"; {len(roll.absent)} handed in nothing; {len(roll.doubtful)} in doubt"
    ]
    return (*lines, *(f"in doubt: {one_line(name)}: {why}" for name, why in roll.doubtful))
