"""Listing: the tree of a folder of submissions, through subfolders and archives.

Symbolic links are not followed, so that no submission can refer to another one. Only directories
are opened here; archives are listed by a process with rlimits.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lecture_grader.submissions.reading import Reader, Unreadable

__all__ = ["Node", "list_folder"]

MAX_DEPTH = 40  # of nested folders
MAX_ENTRIES = 200_000
MAX_ARCHIVES = 2  # of nested archives


@dataclass
class Node:
    """A file, a folder or an archive."""

    name: str
    shown: str  # its path below the folder of submissions
    path: Path  # on the disk: the file, the folder or the outermost archive
    inside: tuple[int, ...] = ()  # numbers of the members, in an archive
    modified: float = 0.0
    children: "list[Node] | None" = None  # None for a file
    problem: str = ""  # why it cannot be read
    children_by_name: "dict[str, Node]" = field(default_factory=dict)

    @property
    def is_archive(self) -> bool:
        """Whether it is an archive that could be listed."""
        return self.children is not None and self.name.lower().endswith(".zip")

    def files(self) -> "Iterator[Node]":
        """All files below this node, or the node itself if it is a file."""
        todo = [self]
        while todo:
            node = todo.pop()
            if node.children is None:
                yield node
            else:
                todo += node.children[::-1]


class _Lister:
    """Builds the tree; one reader lists all archives."""

    def __init__(self, reader: Reader):
        self.reader, self.remaining = reader, MAX_ENTRIES

    def folder(self, node: Node, depth: int) -> None:
        """Lists a folder on the disk."""
        node.children = []
        if depth > MAX_DEPTH:
            node.problem = f"more than {MAX_DEPTH} folders in folders are not looked at"
            return
        try:
            with os.scandir(node.path) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if depth == 0:
                raise
            node.problem = f"the folder cannot be read: {error.strerror}"
            return
        if not found and depth:
            node.problem = "the folder is empty"
        for entry in found:
            child = Node(entry.name, f"{node.shown}{entry.name}", Path(entry.path))
            node.children.append(child)
            self.remaining -= 1
            if self.remaining < 0:
                child.problem = f"more than {MAX_ENTRIES:,} files and folders are not looked at"
                return
            self._entry(child, entry, depth)

    def _entry(self, child: Node, entry: "os.DirEntry[str]", depth: int) -> None:
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError as error:
            child.problem = f"it cannot be looked at: {error.strerror}"
            return
        child.modified = status.st_mtime
        if stat.S_ISLNK(status.st_mode):
            child.problem = "it is a link, and links are not followed"
        elif stat.S_ISDIR(status.st_mode):
            child.shown += "/"
            self.folder(child, depth + 1)
        elif not stat.S_ISREG(status.st_mode):
            child.problem = "it is neither a file nor a folder"
        elif child.name.lower().endswith(".zip") and not child.name.startswith("."):
            self.archive(child)

    def archive(self, node: Node) -> None:
        """Lists an archive."""
        if len(node.inside) >= MAX_ARCHIVES:
            node.problem = "an archive in an archive in an archive is not opened"
            return
        try:
            listed = self.reader.members(node.path, node.inside)
        except Unreadable as error:
            node.problem = str(error)
            return
        node.children, node.shown = [], f"{node.shown}/"
        if not listed:
            node.problem = "the archive is empty"
        for number, name, _, modified, encrypted in listed:
            parts = [part for part in name.split("/") if part not in ("", ".", "..")]
            self.remaining -= 1
            if len(parts) > MAX_DEPTH or self.remaining < 0:
                parts, problem = parts[-1:], "too many folders or files are not looked at"
            else:
                problem = "it is encrypted: no password is known here" if encrypted else ""
            parent = node
            for part in parts[:-1]:
                parent = self._inner_folder(parent, part, node)
            label = parts[-1] if parts else name
            child = Node(
                label, f"{parent.shown}{label}", node.path, (*node.inside, number), modified
            )
            child.problem = problem
            assert parent.children is not None
            parent.children.append(child)
            if label.lower().endswith(".zip") and not label.startswith(".") and not problem:
                self.archive(child)

    def _inner_folder(self, parent: Node, name: str, archive: Node) -> Node:
        """A folder inside of an archive, made on first use."""
        if name not in parent.children_by_name:
            folder = Node(name, f"{parent.shown}{name}/", archive.path, archive.inside, children=[])
            parent.children_by_name[name] = folder
            assert parent.children is not None
            parent.children.append(folder)
        return parent.children_by_name[name]


def list_folder(folder: Path, reader: Reader) -> Node:
    """The tree of a folder, or of an archive of the whole class.

    Args:
        folder: The folder or the zip file.
        reader: Lists the archives.

    Raises:
        OSError: The folder or the archive cannot be read.
    """
    root = Node(folder.name, "", folder)
    lister = _Lister(reader)
    if folder.is_file():
        lister.archive(root)
        root.shown = ""
        if root.children is None:
            raise OSError(f"{folder} is neither a folder nor a zip file: {root.problem}.")
        return root
    lister.folder(root, 0)
    return root
