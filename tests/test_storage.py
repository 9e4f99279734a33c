"""Files are whole or absent, whatever stops the writer."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError

from lecture_vae.storage import (
    absolute,
    cache_folder,
    check_writable,
    data_folder,
    write_atomically,
)


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


@pytest.mark.parametrize("home", ["raises", "leaves the ~ in"])
def test_a_user_without_a_home_folder_has_neither_cache_nor_data_folder(monkeypatch, home):
    def folder(name, appauthor):
        if home == "raises":
            raise RuntimeError("Could not determine home directory.")
        return Path("~nobody-such/.cache") / name

    monkeypatch.setattr("platformdirs.user_cache_path", folder)
    monkeypatch.setattr("platformdirs.user_data_path", folder)
    assert cache_folder() is data_folder() is None


def test_a_named_path_is_absolute_and_knows_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert absolute("a") == tmp_path / "a"
    assert absolute("~/a") == tmp_path / "home" / "a"
    with pytest.raises(OSError, match="no home folder that ~ could stand for"):
        absolute("~nobody-such/a")


def test_the_word_of_safetensors_for_a_full_disk_is_an_os_error(tmp_path):
    def write(path: Path) -> None:
        path.write_text("half")
        raise SafetensorError("I/O error: No space left on device")

    with pytest.raises(OSError, match=r"file\.txt: I/O error: No space left"):
        write_atomically(tmp_path / "file.txt", write)
    assert os.listdir(tmp_path) == []


def test_where_nothing_can_be_written_is_known_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    check_writable(tmp_path / "new" / "folder")
    assert os.listdir(tmp_path) == ["file"]
    for place in (tmp_path / "file", tmp_path / "file" / "folder"):
        with pytest.raises(OSError, match=f"must be a folder, but is none: '{tmp_path}/file'"):
            check_writable(place)
    monkeypatch.setattr(os, "access", lambda place, _: Path(place) != tmp_path)
    with pytest.raises(OSError, match=f"read-only for you: '{tmp_path}'"):
        check_writable(tmp_path / "new")
