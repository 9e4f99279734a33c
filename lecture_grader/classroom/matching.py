"""Matching: which student of a roster handed in what, by rules and never by a guess.

The rules, the strongest first. What a stronger rule decides, a weaker one does not change:

1. ``submission``: the roster names the submission itself.
2. ``id``: the platform's number in the name of the file.
3. ``login``: the name is the login, the e-mail address or the number of the institution.
4. ``name``: the same words in any order, or the same letters as Canvas writes them ("doejane").
   Case, Unicode form, hyphens and other signs do not count; accents do.

A rule decides only if it finds exactly one student for a submission and one submission for the
student. Everything else is listed with the students that it may be, for the teacher to decide.
"""

import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher

from lecture_grader.classroom.roster import CANVAS, PLAIN, WORKSHEET, Member, Roster
from lecture_grader.classroom.tables import RosterError
from lecture_grader.submissions.submission import HandIn

__all__ = ["RULES", "Roll", "call_roll", "key_of_name", "own_keys"]

SCHEMES = {CANVAS: ("canvas",), WORKSHEET: ("moodle",), PLAIN: ("canvas", "moodle", "gradescope")}
RULES = ("submission", "id", "login", "name")
SIMILAR = 0.8  # of SequenceMatcher; students that are named in a doubt, nothing more
MAX_NAMED = 3
APOSTROPHES = "'`\u2019\u02bc"  # inside a word, as in O'Neil
Rule = Callable[[str, HandIn, Member], bool]


@dataclass(frozen=True)
class Roll:
    """What the students of a roster handed in.

    Attributes:
        roster: The roster.
        of: The student of each submission that is somebody's.
        by: The rule that decided, for each of them.
        doubtful: Each other submission, and why it is nobody's.
        absent: Who handed in nothing, by a name that no submission has.
        team: Who is in the team of a submission without an own one, by a name that no submission
            has, with the submission.
    """

    roster: Roster
    of: dict[str, Member]
    by: dict[str, str]
    doubtful: tuple[tuple[str, str], ...]
    absent: dict[str, Member]
    team: dict[str, tuple[str, Member]]

    @property
    def members(self) -> dict[str, Member]:
        """Everybody, by the name under which the results are."""
        return {**self.of, **self.absent, **{name: who for name, (_, who) in self.team.items()}}


def call_roll(roster: Roster, found: Mapping[str, HandIn]) -> Roll:
    """Finds the student of each submission.

    Args:
        roster: Who is in the class.
        found: The submissions, by their names.

    Raises:
        RosterError: Not one submission is of a student of the roster, or the roster names a
            submission that there is not.
    """
    _check_named(roster, found)
    of: dict[str, Member] = {}
    by: dict[str, str] = {}
    doubts: dict[str, str] = {}
    for rule, fits in _rules(roster):
        open_names = [name for name in found if name not in of and name not in doubts]
        taken = {member.row for member in of.values()}
        fitting = {
            name: [member for member in roster.members if fits(name, found[name], member)]
            for name in open_names
        }
        rivals: dict[int, list[str]] = {}
        for name, members in fitting.items():
            for member in members:
                rivals.setdefault(member.row, []).append(name)
        for name, members in fitting.items():
            free = [member for member in members if member.row not in taken]
            if len(members) == 1 and len(free) == 1 and len(rivals[members[0].row]) == 1:
                of[name], by[name] = members[0], rule
            elif members:
                doubts[name] = _doubt(roster, rule, name, members, rivals, taken)
            elif rule == "id" and _has_number(roster, found[name]):
                doubts[name] = _unknown_number(roster, name, found[name])
    for name in found:
        if name not in of and name not in doubts:
            doubts[name] = _nobody(roster, name)
    if found and not of:
        raise RosterError(
            f"{roster.table.path}: none of the {len(found)} submissions is of a student of this "
            f"roster. Is it the roster of another course? For example, {_first(doubts)}."
        )
    absent, team = _without_own(roster, found, of)
    return Roll(roster, of, by, tuple(sorted(doubts.items())), absent, team)


def _rules(roster: Roster) -> list[tuple[str, Rule]]:
    schemes = SCHEMES.get(roster.kind, ())

    def named(name: str, _: HandIn, member: Member) -> bool:
        return bool(member.submission) and _fold(member.submission) == _fold(name)

    def number(_: str, hand_in: HandIn, member: Member) -> bool:
        return (
            bool(member.number)
            and hand_in.scheme in schemes
            and _fold(hand_in.number) == _fold(member.number)
        )

    def login(name: str, hand_in: HandIn, member: Member) -> bool:
        own = {_fold(each) for each in (member.login, member.email, member.sis_id) if each}
        if roster.kind == PLAIN and member.number:
            own.add(_fold(member.number))
        given = {_fold(hand_in.owner or name)}
        if hand_in.scheme == "gradescope" and hand_in.number:
            given.add(_fold(hand_in.number))
        return bool(own & given)

    def written(name: str, hand_in: HandIn, member: Member) -> bool:
        return key_of_name(hand_in.owner or name) in own_keys(member)

    return list(zip(RULES, (named, number, login, written), strict=True))


def key_of_name(name: str) -> str:
    """The same for names that are alike but for order, case, Unicode form and signs."""
    return " ".join(sorted(_words(name)))


def own_keys(member: Member) -> set[str]:
    """The keys of a student's name: of its words, and as one word in either order."""
    words = _words(member.name)
    last, comma, first = member.name.partition(",")
    orders = [words]
    if comma:
        orders.append(_words(first) + _words(last))
    elif member.first or member.last:
        orders.append(_words(member.last) + _words(member.first))
    else:  # any word may begin the last name
        orders += [words[at:] + words[:at] for at in range(1, len(words))]
    return {key for order in orders if order for key in (" ".join(sorted(order)), "".join(order))}


def _words(name: str) -> list[str]:
    """The words of a name: letters, marks and digits in NFKC form, without case."""
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    kept = [char if unicodedata.category(char)[0] in "LMN" else " " for char in text
            if char not in APOSTROPHES]  # fmt: skip
    return "".join(kept).split()


def _fold(text: str) -> str:
    return unicodedata.normalize("NFC", text.strip()).casefold()


# ---------------------------------------------------------------------------- doubts


def _check_named(roster: Roster, found: Mapping[str, HandIn]) -> None:
    known = {_fold(name) for name in found}
    for member in roster.members:
        if member.submission and _fold(member.submission) not in known:
            line = roster.table.rows[member.row].line
            raise RosterError(
                f"{roster.table.path}, line {line}: there is no submission {member.submission!r}; "
                "the summary of a grading lists their names."
            )


def _has_number(roster: Roster, hand_in: HandIn) -> bool:
    return roster.kind in (CANVAS, WORKSHEET) and hand_in.scheme in SCHEMES[roster.kind]


def _doubt(
    roster: Roster,
    rule: str,
    name: str,
    members: list[Member],
    rivals: Mapping[int, list[str]],
    taken: set[int],
) -> str:
    if len(members) > 1:
        return f"its {rule} fits {_listed(roster, members)}"
    (member,) = members
    if member.row in taken:
        return f"its {rule} fits {_listed(roster, members)}, who handed in another one"
    others = ", ".join(each for each in rivals[member.row] if each != name)
    return f"its {rule} fits {_listed(roster, members)}, as does that of {others}"


def _unknown_number(roster: Roster, name: str, hand_in: HandIn) -> str:
    like = _similar(roster, hand_in.owner or name)
    more = f"; by name it may be {_listed(roster, like)}" if like else ""
    return f"nobody in the roster has the id {hand_in.number} of its file{more}"


def _nobody(roster: Roster, name: str) -> str:
    like = _similar(roster, name)
    more = f"; it may be {_listed(roster, like)}" if like else ""
    return f"nobody in the roster has this id, login or name{more}"


def _similar(roster: Roster, name: str) -> list[Member]:
    """Students whose names are like a name: words in common, or almost the same letters."""
    words, glued = set(_words(name)), "".join(sorted("".join(_words(name))))

    def alike(member: Member) -> float:
        own = _words(member.name)
        if len(words & set(own)) >= min(2, len(words), len(own)) > 0:
            return 1.0
        return SequenceMatcher(None, glued, "".join(sorted("".join(own)))).ratio()

    ranked = sorted(((alike(member), -member.row, member) for member in roster.members),
                    key=lambda each: each[:2], reverse=True)  # fmt: skip
    return [member for ratio, _, member in ranked[:MAX_NAMED] if ratio >= SIMILAR]


def _listed(roster: Roster, members: Iterable[Member]) -> str:
    return " or ".join(
        f"{member.label} (line {roster.table.rows[member.row].line})" for member in members
    )


def _first(doubts: Mapping[str, str]) -> str:
    name, why = next(iter(doubts.items()))
    return f"{name}: {why}"


# ---------------------------------------------------------------------------- nothing handed in


def _without_own(
    roster: Roster, found: Mapping[str, HandIn], of: Mapping[str, Member]
) -> tuple[dict[str, Member], dict[str, tuple[str, Member]]]:
    """Who has no own submission: the absent, and those in the team of somebody who has one."""
    teams: dict[str, list[str]] = {}
    for name, member in of.items():
        if member.team:
            teams.setdefault(_fold(member.team), []).append(name)
    absent: dict[str, Member] = {}
    team: dict[str, tuple[str, Member]] = {}
    present = {member.row for member in of.values()}
    used = set(found)
    for member in roster.members:
        if member.row in present:
            continue
        name = _unused(member, used)
        used.add(name)
        own = teams.get(_fold(member.team), []) if member.team else []
        if len(own) == 1:
            team[name] = (own[0], member)
        else:
            absent[name] = member
    return absent, team


def _unused(member: Member, used: set[str]) -> str:
    name, more = member.label, member.number or member.login
    if name in used and more:
        name = f"{name} ({more})"
    while name in used:
        name += "'"
    return name
