"""Files are whole or absent, whatever stops the writer."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lecture_vae.storage import cache_folder, write_atomically


def write_half_then_fail(path: Path) -> None:
    path.write_text("half")
    raise OSError(28, "No space left on device")


def test_the_file_and_its_missing_folders_are_made(tmp_path):
    target = tmp_path / "a" / "b" / "file.txt"
    write_atomically(target, lambda path: path.write_text("whole"))
    assert target.read_text() == "whole"
    assert os.listdir(target.parent) == ["file.txt"]


def test_a_file_is_replaced(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("old")
    write_atomically(target, lambda path: path.write_text("new"))
    assert target.read_text() == "new"


def test_a_writer_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "file.txt", write_half_then_fail)
    assert os.listdir(tmp_path) == []


def test_a_writer_that_fails_leaves_the_old_file(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("old")
    with pytest.raises(OSError, match="No space left"):
        write_atomically(target, write_half_then_fail)
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_an_interrupted_writer_leaves_nothing(tmp_path):
    def interrupted(path: Path) -> None:
        path.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file.txt", interrupted)
    assert os.listdir(tmp_path) == []


def test_a_killed_writer_leaves_no_half_file(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("old")
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from lecture_vae.storage import write_atomically\n"
        "def write(path):\n"
        "    path.write_text('half')\n"
        "    os._exit(9)\n"  # no clean-up runs, as after SIGKILL
        "write_atomically(Path(sys.argv[1]), write)\n"
    )
    finished = subprocess.run([sys.executable, "-c", program, str(target)], check=False)
    assert finished.returncode == 9
    assert target.read_text() == "old"


def test_readers_never_see_the_file_before_it_is_whole(tmp_path):
    target = tmp_path / "file.txt"

    def write(path: Path) -> None:
        path.write_text("half")
        assert not target.exists()
        path.write_text("whole")

    write_atomically(target, write)
    assert target.read_text() == "whole"


def test_the_temporary_file_keeps_suffix_and_folder(tmp_path):
    # numpy adds ".npz" to any other suffix, and the rename would then miss the file.
    target = tmp_path / "arrays.npz"
    folders = []

    def write(path: Path) -> None:
        folders.append(path.parent)
        np.savez(path, x=np.arange(3))

    write_atomically(target, write)
    assert folders == [tmp_path]
    assert np.load(target)["x"].tolist() == [0, 1, 2]


def test_a_writer_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "file.txt", lambda path: None)
    assert os.listdir(tmp_path) == []


def test_the_cache_folder_is_named_and_not_created(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "platformdirs.user_cache_path", lambda name, appauthor: tmp_path / str(appauthor) / name
    )
    assert cache_folder() == tmp_path / "False" / "lecture_vae"
    assert os.listdir(tmp_path) == []
