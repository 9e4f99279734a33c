"""Files are whole or absent, whatever stops the writer."""

import os
import stat
import subprocess
import sys
from contextlib import contextmanager
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


def rights(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def umask(mask: int):
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


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


def test_an_empty_file_was_written(tmp_path):
    write_atomically(tmp_path / "file.txt", lambda path: path.write_text(""))
    assert (tmp_path / "file.txt").read_text() == ""


UMASKS = [0o000, 0o022, 0o077, 0o377]


@pytest.mark.parametrize("mask", UMASKS, ids=oct)
def test_a_private_file_and_its_new_folders_are_the_users_only_at_every_moment(
    tmp_path, monkeypatch, mask
):
    if mask == 0:  # then they are born so: a change of rights would come a moment too late
        monkeypatch.setattr(Path, "chmod", lambda *_: None)
    seen = []

    def write(path: Path) -> None:
        seen.extend(rights(place) for place in (path, path.parent, path.parent.parent))
        path.write_text("secret")

    with umask(mask):
        write_atomically(tmp_path / "a" / "b" / "file.txt", write, private=True)
    assert seen == [0o600, 0o700, 0o700]
    assert rights(tmp_path / "a" / "b" / "file.txt") == 0o600


def test_a_private_file_takes_the_place_of_a_public_one_and_leaves_its_folder_alone(tmp_path):
    public = tmp_path / "public"
    public.mkdir()
    public.chmod(0o755)
    (public / "file.txt").write_text("old")
    write_atomically(public / "file.txt", lambda path: path.write_text("new"), private=True)
    assert (rights(public), rights(public / "file.txt")) == (0o755, 0o600)


def test_a_private_writer_that_makes_a_file_of_its_own_or_none_keeps_the_promise(tmp_path):
    def write(path: Path) -> None:
        path.unlink()
        path.touch(0o644)
        path.write_text("secret")

    write_atomically(tmp_path / "file.txt", write, private=True)
    assert rights(tmp_path / "file.txt") == 0o600
    with pytest.raises(FileNotFoundError, match="nothing was written"):
        write_atomically(tmp_path / "other.txt", lambda path: None, private=True)
    assert os.listdir(tmp_path) == ["file.txt"]


@pytest.mark.parametrize("mask", UMASKS[:3], ids=oct)
def test_other_files_and_folders_have_the_rights_of_the_umask(tmp_path, mask):
    with umask(mask):
        write_atomically(tmp_path / "a" / "file.txt", lambda path: path.write_text("whole"))
    assert rights(tmp_path / "a") == 0o777 & ~mask
    assert rights(tmp_path / "a" / "file.txt") == 0o666 & ~mask


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
