"""Intake: assign each file in a folder of submissions to a student.

Every file belongs to a student or is listed with the reason why it is not graded. Students with
different names (also if only case or Unicode form differs) or different LMS numbers are never
merged.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lecture_grader.submissions.listing import Node, list_folder
from lecture_grader.submissions.lms import GRADESCOPE_LIST, Owner, owners, submitters
from lecture_grader.submissions.reading import Reader, Unreadable
from lecture_grader.submissions.submission import HANDED_IN_LATE, HandIn, NotebookFile

__all__ = ["Collected", "collect", "collect_one"]

MAX_FILES = 50  # notebooks of one student that are read
# Browsers add .json or .txt to what they save.
NOTEBOOK = re.compile(r"\.ipynb(?:\.(?:ipynb|json|txt))*$", re.IGNORECASE)
JUNK = re.compile(
    r"__MACOSX|__pycache__|\._.*|\.DS_Store|\.Spotlight-.*|\.Trashes|\.fseventsd|Thumbs\.db|"
    r"desktop\.ini|~\$.*|Icon\r|\.ipynb_checkpoints|\.git|\.gitignore|\.gitattributes|\.github|"
    r"\.gitkeep|\.vscode|\.idea|\.cache|\.virtual_documents|\.?venv|node_modules|site-packages",
    re.IGNORECASE | re.DOTALL,
)
LEFTOVER = "left by a system or a tool, nobody's work"
ARCHIVES = (".7z", ".bz2", ".gz", ".rar", ".tar", ".tgz", ".xz", ".zst")
NEEDED = "a notebook file .ipynb is needed"
REASONS = {
    **dict.fromkeys(ARCHIVES, "of archives only .zip is opened"),
    **dict.fromkeys((".crdownload", ".download", ".part"), f"a download that broke off; {NEEDED}"),
}


@dataclass(frozen=True)
class Collected:
    """The content of a folder of submissions."""

    found: dict[str, HandIn]  # by student
    not_graded: list[tuple[str, str]]  # (path, reason)


def collect(folder: Path) -> Collected:
    """Collects the notebooks of each student in a folder.

    A student is a notebook, a folder or a zip file. Downloads from Canvas, Moodle, Gradescope and
    Blackboard are read as they are, unpacked or not.

    Args:
        folder: The folder of submissions, or a zip file of it.

    Raises:
        OSError: The folder cannot be read or contains no notebook.
    """
    # Not the reader of the notebooks, which needs the assignment: a wrong folder is refused before
    # the assignment is read and the sandbox is tested. Only an archive starts this process.
    with Reader() as reader:
        sorter = _Sorter(reader)
        root = list_folder(folder, reader)
        sorter.add_class(root)
    sorter.note_junk()
    if not sorter.found:
        raise OSError(_without_notebooks(folder, sorter.not_graded))
    return Collected(sorter.hand_ins(), sorted(sorter.not_graded))


def collect_one(folder: Path, student: str) -> Collected:
    """Collects the notebooks in a folder that are all of one student, whatever their names.

    Args:
        folder: The folder of the submission.
        student: The name of the student.

    Raises:
        OSError: As :func:`collect`.
    """
    with Reader() as reader:
        sorter = _Sorter(reader)
        sorter.add_student(list_folder(folder, reader), [Owner(student)])
    sorter.note_junk()
    if not sorter.found:
        raise OSError(_without_notebooks(folder, sorter.not_graded))
    return Collected(sorter.hand_ins(), sorted(sorter.not_graded))


def _without_notebooks(folder: Path, not_graded: list[tuple[str, str]]) -> str:
    """The message for a folder without notebooks."""
    listed = [f"{path} ({why})" for path, why in not_graded[:3]]
    if len(not_graded) > 3:
        listed.append(f"{len(not_graded) - 3} more")
    return (
        f"{folder} holds no notebook: expected STUDENT.ipynb, STUDENT.zip or STUDENT/*.ipynb. "
        f"Found: {', '.join(listed) or 'nothing at all'}."
    )


@dataclass
class _Sorter:
    """Assigns every node of the tree to a student, or notes why not."""

    reader: Reader
    found: dict[tuple[str, str], list[tuple[Node, Owner]]] = field(default_factory=dict)
    not_graded: list[tuple[str, str]] = field(default_factory=list)
    junk: list[str] = field(default_factory=list)

    def add_class(self, node: Node) -> None:
        """Adds a folder of several students."""
        node, children = self._without_junk(node)
        known: Mapping[str, list[Owner]] = {
            name: [owner] for name, owner in owners(child.name for child in children).items()
        }
        known = {**known, **self._gradescope(children)}
        for child in children:
            if child.name == GRADESCOPE_LIST:
                continue
            named = known.get(child.name)
            if child.children is None:
                if self._is_notebook(child):
                    for owner in named or [Owner(NOTEBOOK.sub("", child.name))]:
                        self._assign(child, owner)
            elif not named and self._is_class(child, alone=len(children) == 1):
                self.add_class(child)
            else:
                name = child.name[:-4] if child.is_archive else child.name
                self.add_student(child, named or [Owner(name)])

    def add_student(self, node: Node, group: list[Owner]) -> None:
        """Adds a folder or an archive of one student, or of one group."""
        _, children = self._without_junk(node)
        for child in children:
            if child.children is not None:
                self.add_student(child, group)
            elif self._is_notebook(child):
                for owner in group:
                    self._assign(child, owner)

    def _assign(self, node: Node, owner: Owner) -> None:
        self.found.setdefault((owner.name, owner.number), []).append((node, owner))

    def _without_junk(self, node: Node) -> tuple[Node, list[Node]]:
        """The node and its children without junk files, which are noted."""
        if node.problem:
            self.not_graded.append((node.shown or node.name, node.problem))
        children = []
        for child in node.children or []:
            if JUNK.fullmatch(child.name):
                self.junk.append(child.shown)
            elif child.name.startswith("."):
                self.not_graded.append((child.shown, "hidden: its name begins with a dot"))
            else:
                children.append(child)
        return node, children

    def _is_notebook(self, node: Node) -> bool:
        """Whether a file is read as a notebook; if not, the reason is noted."""
        if node.problem:
            self.not_graded.append((node.shown, node.problem))
            return False
        if NOTEBOOK.search(node.name):
            return True
        suffix = Path(node.name).suffix.lower()
        self.not_graded.append((node.shown, REASONS.get(suffix, NEEDED)))
        return False

    def _is_class(self, node: Node, *, alone: bool) -> bool:
        """Whether a folder or archive holds a class rather than the work of one student."""
        packed = node.is_archive
        while True:
            children = [child for child in node.children or [] if not _is_ignored(child)]
            if len(children) != 1 or children[0].children is None:
                break
            node = children[0]
            packed |= node.is_archive
        names = [child.name for child in children]
        known = owners(names)
        named = {(owner.name, owner.number) for owner in known.values()}
        if GRADESCOPE_LIST in names or any(not owner.canvas_id for owner in known.values()):
            return True
        if len(named) > 1 or (named and alone):
            return True
        if not alone:
            return False
        holding = [child for child in children if _has_notebook(child)]
        groups = [child for child in holding if child.children is not None]
        return len(groups) > 1 or (packed and len(holding) > 1)

    def _gradescope(self, children: list[Node]) -> dict[str, list[Owner]]:
        """The owners of the folders of a Gradescope export."""
        for child in children:
            if child.name == GRADESCOPE_LIST and child.children is None:
                try:
                    listed = self.reader.submitters(child.path, child.inside)
                except Unreadable as error:
                    why = f"the names of the students could not be read from it: {error}"
                    self.not_graded.append((child.shown, why))
                    return {}
                self.not_graded.append((child.shown, "the names of the students were read from it"))
                return submitters(listed)
        return {}

    def note_junk(self) -> None:
        """Notes all junk files in one line."""
        if self.junk:
            first, *others = self.junk
            more = f" and {len(others)} more" if others else ""
            self.not_graded.append((f"{first}{more}", LEFTOVER))

    def hand_ins(self) -> dict[str, HandIn]:
        """What each student handed in; students of the same name are distinguished by number."""
        counts = Counter(name for name, _ in self.found)
        taken = {name for name, number in self.found if counts[name] == 1 or not number}
        found = {}
        for (name, number), files in self.found.items():
            student = name
            if counts[name] > 1 and number:
                student = f"{name} ({number})"
                while student in taken:
                    student += "'"
                taken.add(student)
            found[student] = self._hand_in(student, files)
        return dict(sorted(found.items()))

    def _hand_in(self, student: str, given: list[tuple[Node, Owner]]) -> HandIn:
        files = [
            NotebookFile(
                node.shown,
                node.path,
                node.inside,
                node.modified if owner.modified is None else owner.modified,
            )
            for node, owner in given
        ]
        files.sort(key=lambda file: (-file.modified, file.name))
        for file in files[MAX_FILES:]:
            self.not_graded.append((file.name, f"of {student} the newest {MAX_FILES} are read"))
        remarks = []
        if any(owner.late for _, owner in given):
            remarks.append(f"{HANDED_IN_LATE}, as the name of the file says.")
        if group := sorted({name for _, owner in given for name in owner.group}):
            remarks.append(f"Handed in together with {', '.join(group)}.")
        first = given[0][1]
        times = [owner.modified for _, owner in given if owner.modified is not None]
        return HandIn(
            student, tuple(files[:MAX_FILES]), first.canvas_id, tuple(remarks), first.name,
            first.scheme if first.number else "", first.number,
            any(owner.late for _, owner in given), max(times, default=None),
        )  # fmt: skip


def _is_ignored(node: Node) -> bool:
    return node.name.startswith(".") or JUNK.fullmatch(node.name) is not None


def _has_notebook(node: Node) -> bool:
    return any(NOTEBOOK.search(file.name) for file in node.files())
