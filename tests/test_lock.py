"""Whoever waits for a run says for whom, and not for ever."""

import os
import subprocess
import sys
import time

import pytest

from lecture_vae import lock
from lecture_vae.lock import hold_lock
from lecture_vae.store import StoreError

HOLD = """
import sys
from pathlib import Path
from lecture_vae.lock import hold_lock
with hold_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def held(tmp_path):
    """The folder of a run whose lock another process holds, until its input ends."""
    folder = tmp_path / "0123456789abcdef"
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        yield folder, other
        other.stdin.close()
        assert other.wait(20) is not None


def test_waiting_says_for_whom_and_ends_when_the_other_does(held, capsys, monkeypatch):
    folder, other = held
    monkeypatch.setattr(lock, "say", lambda line: (print(line), other.stdin.close()))
    with hold_lock(folder):
        assert other.wait(10) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1
    assert f"run {folder.name} is being trained by process {other.pid} on " in said[0]


def test_the_lock_of_a_killed_process_falls_open(held):
    folder, other = held
    other.kill()
    other.wait()
    began = time.monotonic()
    with hold_lock(folder):
        assert time.monotonic() - began < 5


def test_waiting_ends_where_nothing_is_written_any_more(held, monkeypatch):
    folder, other = held
    os.utime(folder / "holder.txt", (0, time.time() - 1_000))
    stalled = rf"no progress for 1\d minutes.*{folder.name}\.lock"
    with pytest.raises(StoreError, match=stalled), hold_lock(folder):
        pytest.fail("it has the lock")
    assert other.poll() is None


def test_a_lock_that_was_held_is_free_again_and_says_nothing(tmp_path, capsys):
    for _ in range(2):
        with hold_lock(tmp_path / "run"):
            assert (
                (tmp_path / "run" / "holder.txt").read_text().startswith(f"process {os.getpid()}")
            )
    assert not (tmp_path / "run" / "holder.txt").exists()
    assert capsys.readouterr().err == ""
