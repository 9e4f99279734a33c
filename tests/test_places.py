"""Grading works wherever the checkout and its environment lie, and however they are reached."""

import json
import shutil
import subprocess
import sys

import pytest
from machine import PACKAGE, needs

# An ordinary user, as root too: the user of such a namespace has no second user to give to a box.
ORDINARY = ("unshare", "--user", "--map-root-user")
PRIVATE = ("sh", "-c", 'umask 077; exec "$@"', "sh")
PACKAGES = (PACKAGE, PACKAGE.with_name("lecture_vae"))
FILES = ("read", "write", "fill")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """A checkout with its environment below the temporary folder, and a link that leads to it."""
    folder = tmp_path_factory.mktemp("elsewhere")
    checkout = folder / "real" / "checkout"
    for package in PACKAGES:
        copy = checkout / package.name
        shutil.copytree(package, copy, ignore=shutil.ignore_patterns("*.pyc", ".*"))
    (checkout / "exercises").mkdir()
    (checkout / "exercises" / "solved.md").write_text("right answers")
    python = [sys.executable, "-m", "venv", "--without-pip", str(checkout / ".venv")]
    subprocess.run(python, check=True)
    (folder / "link").symlink_to("real")
    return folder


def escapes(checkout, package, level, *before):
    """What gets out of a box of a checkout that is reached, and was installed, by given names."""
    (site,) = (checkout / ".venv" / "lib").glob("python3*/site-packages")
    (site / "checkout.pth").write_text(f"{package}\n")
    python = [str(checkout / ".venv/bin/python"), "-s", "-P", "-B"]
    command = [*before, *python, "-m", "lecture_grader.sandbox.escape_test", level]
    command.append(str(package / "lecture_vae"))  # as the lecture's course shows it
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert not done.stderr, done.stderr
    told = json.loads(done.stdout)
    assert not told["error"], told["error"]
    # The others have nothing to do with places; and Linux does not count the processes of root.
    files = {name: got for name, got in told["results"].items() if name.startswith(FILES)}
    return {name: got for name, got in files.items() if got}


@pytest.mark.parametrize("level", ["namespaces", "bubblewrap"])
@pytest.mark.parametrize("installed", ["real", "link"])
@pytest.mark.parametrize("reached", ["real", "link"])
@pytest.mark.parametrize("before", [(), ORDINARY], ids=["this-user", "ordinary-user"])
def test_a_checkout_may_lie_below_the_temporary_folder_and_behind_a_link(
    elsewhere, level, reached, installed, before
):
    needs(level)
    if before:
        needs("namespaces")
    reached, installed = (elsewhere / way / "checkout" for way in (reached, installed))
    assert escapes(reached, installed, level, *before) == {}


@pytest.mark.parametrize("level", ["namespaces", "bubblewrap"])
@pytest.mark.parametrize("before", [(), ORDINARY], ids=["this-user", "ordinary-user"])
def test_the_umask_of_the_caller_closes_no_folder_of_a_box(elsewhere, level, before):
    """Root with a umask of 077 once could not grade, and Python's folder got the blame."""
    needs(level)
    if before:
        needs("namespaces")
    checkout = elsewhere / "real" / "checkout"
    assert escapes(checkout, checkout, level, *before, *PRIVATE) == {}
