"""The register of a class: from the results of submissions to the results of students.

Students of a roster who handed in nothing get results, and so do those whose team handed in
something; whoever has an accommodation gets more time.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lecture_grader.classroom.matching import RULES, Roll
from lecture_grader.classroom.roster import CANVAS, Roster, read_roster
from lecture_grader.classroom.tables import RosterError
from lecture_grader.reporting.lms import check_column, export
from lecture_grader.reporting.markup import one_line
from lecture_grader.reporting.nbgrader import nbgrader_text
from lecture_grader.reporting.result import Result
from lecture_grader.session import Grading

__all__ = ["Register", "Rules", "extra_time"]


@dataclass(frozen=True)
class Rules:
    """What a teacher says about a class."""

    roster: Path | None = None  # Canvas's or Moodle's export, or a plain CSV file
    column: str = ""  # of the grade, in that export; found by the title if empty
    nbgrader: bool = False  # whether nbgrader.csv is written

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
        results: Mapping[str, Sequence[Result]],
        roll: Roll | None,
        rules: Rules,
    ) -> "Register":
        """Makes the register.

        Args:
            grading: The session.
            results: The results of every submission.
            roll: Whose the submissions are; None without a roster.
            rules: What the teacher says.

        Raises:
            RosterError: There is no such column.
        """
        assignment = grading.assignment
        students = {name: list(row) for name, row in results.items()}
        files, notes, lines = dict[str, str](), tuple[str, ...](), tuple[str, ...]()
        if roll is not None:
            students |= _without_own(grading, students, roll)
            exported = export(assignment.title, assignment.name, students, roll, rules.column)
            if exported:
                files[exported.name], notes = exported.text, exported.notes
            lines = (*_lines(roll), *notes)
        if rules.nbgrader:
            files["nbgrader.csv"] = nbgrader_text(assignment.name, students, roll)
        return cls(students, files, notes, lines)


def _without_own(
    grading: Grading, students: Mapping[str, Sequence[Result]], roll: Roll
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
        found[name] = grading.absent(name, member.number if numbered else "")
    return found


def extra_time(roll: Roll | None, student: str) -> float:
    """The factor of all limits of time of a student."""
    member = roll.of.get(student) if roll else None
    return 1 + member.extra_time / 100 if member else 1.0


def _lines(roll: Roll) -> tuple[str, ...]:
    rules = Counter(roll.by.values())
    found = ", ".join(f"{rules[rule]} by {rule}" for rule in RULES if rules[rule])
    lines = [
        f"roster: {len(roll.roster.members)} students; {len(roll.of)} submissions found ({found})"
        + (f", {len(roll.team)} more in teams" if roll.team else "")
        + f"; {len(roll.absent)} handed in nothing; {len(roll.doubtful)} in doubt"
    ]
    return (*lines, *(f"in doubt: {one_line(name)}: {why}" for name, why in roll.doubtful))
