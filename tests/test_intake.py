"""Whose the files in a folder of submissions are, and why a file is nobody's."""

import io
import json
import os
import stat
import struct
import time
import zipfile
from pathlib import Path

import pytest
from test_submission import SMALL, Notebook

from lecture_grader.extracts import handed_out
from lecture_grader.submissions.intake import LEFTOVER, collect
from lecture_grader.submissions.lms import owners
from lecture_grader.submissions.reading import Reader

EMPTY = b'{"cells": []}'
NEEDED = "a notebook file .ipynb is needed"


def put(folder, *names, content=EMPTY):
    for at, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (1e9 + at, 1e9 + at))


def zipped(*names, content=EMPTY, **more):
    """The bytes of an archive; `more` are archives in it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for at, name in enumerate(names):
            info = zipfile.ZipInfo(name, (2026, 1, 1, 12, at % 60, 0))
            info.create_system = 3
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
        for name, data in more.items():
            archive.writestr(name.replace("__", "."), data)
    return file.getvalue()


def files_of(collected):
    return {name: [file.name for file in each.files] for name, each in collected.found.items()}


def all_but_rubbish(root):
    return [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]


@pytest.fixture
def take(tmp_path):
    """Collects a folder and checks that every file in it is somebody's or has a line."""

    def collected():
        found = collect(tmp_path)
        shown = [file.name for each in found.found.values() for file in each.files]
        shown += [path for path, why in found.not_graded if why]
        common = [path for path, why in found.not_graded if why == LEFTOVER]
        for path in all_but_rubbish(tmp_path):
            name = path.relative_to(tmp_path).as_posix()
            said = [text for text in shown if text.startswith(name) or name.startswith(text)]
            assert said or common, name
        return found

    return collected


def test_a_student_is_a_notebook_a_folder_or_an_archive(tmp_path, take):
    put(
        tmp_path,
        "ada.ipynb",
        "ben/hw.ipynb",
        "cem/a/b/c/hw.ipynb",
        "dan.IPYNB",
        "eve.ipynb.json",
        "fay.ipynb.txt",
        "gil.Ipynb.JSON",
        "Zoë.ipynb",
        "a.b-c_d.ipynb",
        "hw-03-adal/src/x.ipynb",
    )
    put(tmp_path, "hal.zip", content=zipped("hw.ipynb"))
    put(tmp_path, "ivy.ZIP", content=zipped("ivy/work/hw.ipynb", "ivy/data.csv"))
    put(tmp_path, "jon/work.zip", content=zipped("hw.ipynb", inner__zip=zipped("more/hw.ipynb")))
    found = take()
    assert files_of(found) == {
        "Zoë": ["Zoë.ipynb"],
        "a.b-c_d": ["a.b-c_d.ipynb"],
        "ada": ["ada.ipynb"],
        "ben": ["ben/hw.ipynb"],
        "cem": ["cem/a/b/c/hw.ipynb"],
        "dan": ["dan.IPYNB"],
        "eve": ["eve.ipynb.json"],
        "fay": ["fay.ipynb.txt"],
        "gil": ["gil.Ipynb.JSON"],
        "hal": ["hal.zip/hw.ipynb"],
        "hw-03-adal": ["hw-03-adal/src/x.ipynb"],
        "ivy": ["ivy.ZIP/ivy/work/hw.ipynb"],
        "jon": ["jon/work.zip/hw.ipynb", "jon/work.zip/inner.zip/more/hw.ipynb"],
    }
    assert found.not_graded == [("ivy.ZIP/ivy/data.csv", NEEDED)]
    with Reader(handed_out(SMALL)) as reader:
        read = [reader.read(each) for each in found.found.values()]
    assert [each.problem for each in read] == [None] * len(read)


def test_what_is_no_notebook_is_said(tmp_path, take):
    put(
        tmp_path,
        "ada.ipynb",
        "ada.py",
        "ben/report.pdf",
        "ben/a.docx",
        "README.md",
        "x",
        "c.rar",
        "d.tar.gz",
        "e.ipynb.crdownload",
        ".hidden.ipynb",
        "f/.x/g.ipynb",
        "ada.json",
    )
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder.ipynb").mkdir()
    os.mkfifo(tmp_path / "pipe.ipynb")
    for link, target in {"l.ipynb": "ada.ipynb", "m": "ben", "n/o.ipynb": "../ada.ipynb"}.items():
        (tmp_path / link).parent.mkdir(exist_ok=True)
        (tmp_path / link).symlink_to(target)
    found = take()
    assert files_of(found) == {"ada": ["ada.ipynb"]}
    linked, hidden = (
        "it is a link, and links are not followed",
        "hidden: its name begins with a dot",
    )
    assert dict(found.not_graded) == {
        "ada.py": NEEDED,
        "ben/report.pdf": NEEDED,
        "ben/a.docx": NEEDED,
        "README.md": NEEDED,
        "x": NEEDED,
        "ada.json": NEEDED,
        "c.rar": "of archives only .zip is opened",
        "d.tar.gz": "of archives only .zip is opened",
        "e.ipynb.crdownload": f"a download that broke off; {NEEDED}",
        ".hidden.ipynb": hidden,
        "f/.x/": hidden,
        "empty/": "the folder is empty",
        "folder.ipynb/": "the folder is empty",
        "pipe.ipynb": "it is neither a file nor a folder",
        "l.ipynb": linked,
        "m": linked,
        "n/o.ipynb": linked,
    }


def test_known_rubbish_gets_one_common_line(tmp_path, take):
    rubbish = (
        "__MACOSX/._ada.ipynb",
        "._ada.ipynb",
        ".DS_Store",
        "ben/.ipynb_checkpoints/a.ipynb",
        "Thumbs.db",
        "ben/.git/hooks/x.ipynb",
        "ben/__pycache__/a.pyc",
        "ben/venv/x/y.ipynb",
        "~$report.docx",
    )
    put(tmp_path, "ada.ipynb", "ben/a.ipynb", *rubbish)
    put(tmp_path, "c.zip", content=zipped("c.ipynb", "__MACOSX/._c.ipynb", ".DS_Store"))
    found = take()
    assert files_of(found) == {
        "ada": ["ada.ipynb"],
        "ben": ["ben/a.ipynb"],
        "c": ["c.zip/c.ipynb"],
    }
    ((path, why),) = found.not_graded
    assert why == LEFTOVER and path.endswith(" and 10 more")


def test_a_folder_may_be_named_as_from_here(monkeypatch, tmp_path):
    put(tmp_path / "in", "ada.zip", content=zipped("a.ipynb"))
    put(tmp_path / "in", "ben.ipynb")
    monkeypatch.chdir(tmp_path)
    found = collect(Path("in")).found
    with Reader(handed_out(SMALL)) as reader:
        assert [reader.read(each).problem for each in found.values()] == [None, None]


def test_an_empty_or_unreadable_file_is_a_row(tmp_path):
    put(tmp_path, "ada.ipynb", content=b"")
    put(tmp_path, "ben.ipynb", content=b"<html>")
    put(tmp_path, "cem.zip", content=zipped("cem.ipynb", content=b""))
    with Reader(handed_out(SMALL)) as reader:
        read = [reader.read(each) for each in collect(tmp_path).found.values()]
    assert [each.student for each in read] == ["ada", "ben", "cem"]
    assert [each.problem.split(" (")[0] for each in read] == [
        "the file is empty",
        "the file is not JSON",
        "the file is empty",
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_without_rights_is_said(tmp_path):
    put(tmp_path, "ada.ipynb", "ben/ben.ipynb")
    (tmp_path / "ben").chmod(0)
    try:
        assert "ben/" in dict(collect(tmp_path).not_graded)
    finally:
        (tmp_path / "ben").chmod(0o700)


def test_a_class_in_which_nobody_handed_in_a_notebook(tmp_path):
    with pytest.raises(OSError, match=r"STUDENT\.zip or STUDENT/\*\.ipynb\. Found: nothing at all"):
        collect(tmp_path)
    put(tmp_path, "a.pdf", "b.py", "c/d.txt", "e.md", "f.md")
    with pytest.raises(OSError, match="holds no notebook") as caught:
        collect(tmp_path)
    said = str(caught.value)
    assert said.endswith(f"Found: a.pdf ({NEEDED}), b.py ({NEEDED}), c/d.txt ({NEEDED}), 2 more.")
    assert "\n" not in said
    with pytest.raises(FileNotFoundError):
        collect(tmp_path / "none")


# ---------------------------------------------------------------------------- whose it is


CANVAS = (
    "doejane_12345_67801_hw-1.ipynb",
    "roejim_LATE_222_67802_hw.ipynb",
    "müllerzoë_9_67803_a_b.ipynb",
)
MOODLE = (
    "Ada Lovelace_1234567_assignsubmission_file_/hw.ipynb",
    "Ada Lovelace_7654321_assignsubmission_file_/hw.ipynb",
    "Ben_Li_22_assignsubmission_file_hw.ipynb",
    "Participant_9_assignsubmission_file_/x/hw.ipynb",
)
BLACKBOARD = (
    "HW_3_ada_l_attempt_2026-11-20-10-11-12_hw.ipynb",
    "HW_3_ada_l_attempt_2026-11-21-10-11-12_hw.ipynb",
    "HW_3_ben_l_attempt_2026-11-20-10-11-13_hw.ipynb",
    "HW_3_ben_l_attempt_2026-11-20-10-11-13.txt",
)
GRADESCOPE = (
    "submission_101/hw.ipynb",
    "submission_102/hw.ipynb",
    "submission_103/hw.ipynb",
    "submission_104/hw.ipynb",
)
SUBMITTERS = b"""---
submission_101:
  :submitters:
  - :name: Ada Lovelace
    :sid: '0042'
    :email: ada@x.example
  :created_at: 2026-11-20 10:11:12.000000000 Z
submission_102:
  :submitters:
  - :name: Ada Lovelace
    :sid: '0043'
    :email: other@x.example
submission_103:
  :submitters:
  - :name: Cem
    :sid:
    :email: cem@x.example
  - :name: Dan
    :sid:
    :email: dan@x.example
"""


def ids_and_remarks(found):
    return {name: (each.id, each.remarks) for name, each in found.found.items()}


@pytest.mark.parametrize(
    "way", ["unpacked", "one zip", "a folder", "the zip itself", "with others"]
)
def test_downloads_of_learning_platforms_are_read_as_they_come(tmp_path, way):
    def of(*names, **more):
        root = tmp_path / names[0].replace("/", "_")
        root.mkdir()
        if way in ("unpacked", "a folder"):
            put(root / ("download" if way == "a folder" else ""), *names)
            for name, content in more.items():
                put(
                    root / ("download" if way == "a folder" else ""),
                    name.replace("__", "."),
                    content=content,
                )
        else:
            put(root, "download.zip", content=zipped(*names, **more))
        if way == "with others":
            put(root, "zed.ipynb")
        found = collect(root / "download.zip" if way == "the zip itself" else root)
        assert (found.found.pop("zed", None) is not None) == (way == "with others")
        return found

    late = ("Handed in late, as the name of the file says.",)
    assert ids_and_remarks(of(*CANVAS)) == {
        "doejane": ("12345", ()),
        "roejim": ("222", late),
        "müllerzoë": ("9", ()),
    }
    assert ids_and_remarks(of(*MOODLE)) == {
        "Ada Lovelace (1234567)": ("", ()),
        "Ada Lovelace (7654321)": ("", ()),
        "Ben_Li": ("", ()),
        "Participant": ("", ()),
    }
    found = of(*BLACKBOARD)
    assert ids_and_remarks(found) == {"ada_l": ("", ()), "ben_l": ("", ())}
    assert "2026-11-21" in found.found["ada_l"].files[0].name
    assert [why for _, why in found.not_graded] == [NEEDED]
    found = of(*GRADESCOPE, submission_metadata__yml=SUBMITTERS)
    assert ids_and_remarks(found) == {
        "Ada Lovelace (0042)": ("", ()),
        "Ada Lovelace (0043)": ("", ()),
        "Cem": ("", ("Handed in together with Dan.",)),
        "Dan": ("", ("Handed in together with Cem.",)),
        "submission_104": ("", ()),
    }
    assert found.found["Cem"].files == found.found["Dan"].files


def test_a_name_that_could_be_something_else_stands_for_itself(tmp_path):
    names = [
        "ada_2026_11_20.ipynb",
        "ben_2026_1120_final.ipynb",
        "cem_2026_1121_final.ipynb",
        "hw_3_1_final.ipynb",
        "a_b.ipynb",
        "1_2_3.ipynb",
        "x_attempt_2.ipynb",
    ]
    put(tmp_path, *names)
    found = collect(tmp_path)
    assert sorted(found.found) == sorted(name.removesuffix(".ipynb") for name in names)
    assert {each.id for each in found.found.values()} == {""}
    assert owners(["a_12_345_x.ipynb", "b_13_345_y.ipynb"]) == {}  # one attachment of two people


def test_two_persons_are_never_one_row(tmp_path, take):
    names = [
        "ada.ipynb",
        "Ada.ipynb",
        "Ä.ipynb",
        "A\u0308.ipynb",
        "ada_77_1001_x.ipynb",
        "ada (77).ipynb",
        "ada_LATE_78_1002_x.ipynb",
        "ada .ipynb",
        "ada_.ipynb",
    ]
    put(tmp_path, *names)
    found = take()
    assert len(found.found) == len(names)
    assert found.found["ada"].files[0].name == "ada.ipynb"
    assert {each.id for each in found.found.values()} == {"", "77", "78"}


@pytest.mark.parametrize(
    "gradescope",
    [
        b"",
        b"x: [",
        b"a: &a [*a, *a]",
        b"- 1\n- 2",
        b"\xff\xfe\x00",
        b"!!python/object:os.system {}",
    ],
)
def test_a_broken_list_of_submitters_is_said(tmp_path, gradescope):
    put(tmp_path, "submission_1/a.ipynb", "submission_2/b.ipynb")
    put(tmp_path, "submission_metadata.yml", content=gradescope)
    found = collect(tmp_path)
    assert list(found.found) == ["submission_1", "submission_2"]
    ((_, why),) = found.not_graded
    assert why.startswith("the names of the students could not be read from it: ")


# ---------------------------------------------------------------------------- which of several


def notebook_of(assignment, answer="def first(x):\n    return x.sum()"):
    notebook = Notebook(first=answer)
    notebook["second-answer"]["source"] = ""
    notebook.document["metadata"] = (
        {"lecture_vae": {"assignment": assignment}} if assignment else {}
    )
    return json.dumps(notebook.document).encode()


STUB = SMALL.exercises[0].stub


@pytest.mark.parametrize(
    ("older", "newer", "wins"),
    [
        (("small",), ("small",), "newer"),
        (("small",), ("other",), "older"),
        (("other",), ("small",), "newer"),
        (("small",), ("",), "older"),
        (("",), ("other",), "older"),
        (("other",), ("other",), "newer"),
        (("",), ("small", STUB), "older"),
        (("small",), ("small", STUB), "older"),
        (("small", STUB), ("other",), "older"),
        (("small",), (b"",), "older"),
        ((b"",), (b"{",), "newer"),
    ],
)
def test_of_several_notebooks_the_newest_of_this_assignment_counts(tmp_path, older, newer, wins):
    for at, (name, what) in enumerate({"ada/older.ipynb": older, "ada.ipynb": newer}.items()):
        content = what[0] if type(what[0]) is bytes else notebook_of(*what)
        put(tmp_path, name, content=content)
        os.utime(tmp_path / name, (1e9 + at, 1e9 + at))
    (hand_in,) = collect(tmp_path).found.values()
    assert [file.name for file in hand_in.files] == ["ada.ipynb", "ada/older.ipynb"]
    with Reader(handed_out(SMALL)) as reader:
        remark = reader.read(hand_in).remarks[-1]
    chosen, left = ("ada.ipynb", "ada/older.ipynb")[:: 1 if wins == "newer" else -1]
    assert remark.startswith(f"2 notebooks: graded {chosen} of 2001-09-0")
    assert remark.endswith(f"; not {left}.")


def test_in_an_archive_the_time_of_the_member_decides(tmp_path):
    put(
        tmp_path,
        "ada.zip",
        content=zipped("new.ipynb", "newest.ipynb", "newer.ipynb"[:0] or "a.ipynb"),
    )
    put(tmp_path, "ben.ipynb")
    names = [file.name for file in collect(tmp_path).found["ada"].files]
    assert names == ["ada.zip/a.ipynb", "ada.zip/newest.ipynb", "ada.zip/new.ipynb"]


def test_a_notebook_of_another_assignment_is_said(tmp_path):
    put(tmp_path, "ada.ipynb", content=notebook_of("04_gaussian_kl"))
    with Reader(handed_out(SMALL)) as reader:
        (hand_in,) = collect(tmp_path).found.values()
        assert reader.read(hand_in).remarks == (
            "This is the notebook of 04_gaussian_kl, not of small.",
        )


def test_of_very_many_notebooks_the_newest_are_read(tmp_path):
    put(tmp_path, *[f"ada/{number:03d}.ipynb" for number in range(60)])
    found = collect(tmp_path)
    assert [file.name for file in found.found["ada"].files][:2] == [
        "ada/059.ipynb",
        "ada/058.ipynb",
    ]
    assert len(found.found["ada"].files) == 50
    assert len(found.not_graded) == 10


# ---------------------------------------------------------------------------- archives


def test_names_in_archives_are_only_names(tmp_path):
    names = (
        "../../up.ipynb",
        "/etc/abs.ipynb",
        "C:\\win\\dos.ipynb",
        "./a/./b.ipynb",
        "a" * 300 + ".ipynb",
    )
    put(tmp_path / "in", "ada.zip", content=zipped(*names))
    put(tmp_path / "in", "ben.ipynb")
    before = {path for path in tmp_path.rglob("*")}
    found = collect(tmp_path / "in")
    assert len(found.found["ada"].files) == 5
    with Reader(handed_out(SMALL)) as reader:
        assert reader.read(found.found["ada"]).problem is None
    assert {path for path in tmp_path.rglob("*")} == before


def encrypted(data):
    """The archive with the flag of encryption on every member."""
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := data.find(mark, at + 1)) >= 0:
            flags = struct.unpack_from("<H", data, at + offset)[0] | 1
            data = data[: at + offset] + struct.pack("<H", flags) + data[at + offset + 2 :]
    return data


def declared_small(data, size=10):
    """The archive with a false size of its members."""
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = data.find(mark)
        data = data[: at + offset] + struct.pack("<I", size) + data[at + offset + 4 :]
    return data


@pytest.mark.parametrize(
    ("archive", "why"),
    [
        (b"PK\x03\x04 broken", "it is no zip file, or a damaged one"),
        (b"", "it is no zip file"),
        (
            zipped(*[f"{number}.txt" for number in range(10_001)]),
            "it holds 10,001 files; at most 10,000",
        ),
        (encrypted(zipped("a.ipynb")), "it is encrypted"),
        (zipped(), "the archive is empty"),
        (zipped(a__zip=b"PK"), "it is no zip file"),
        (
            zipped(a__zip=zipped(b__zip=zipped(c__zip=b""))),
            "an archive in an archive in an archive",
        ),
        (zipped(a__zip=bytes(70_000_000)), "at most 60,000,000 are read"),
        (zipped("a/" * 60 + "a.ipynb"), "too many folders or files"),
    ],
    # An archive holds the time, so it is no name: workers would collect different tests.
    ids=[
        "damaged", "empty-file", "many-files", "encrypted", "empty", "damaged-inside", "nested",
        "large", "deep",
    ],
)  # fmt: skip
def test_what_cannot_be_opened_is_said(tmp_path, archive, why):
    put(tmp_path, "ada.zip", content=archive)
    put(tmp_path, "ben.ipynb")
    found = collect(tmp_path)
    assert list(found.found) == ["ben"]
    assert [said for _, said in found.not_graded if why in said]


def test_a_bomb_in_an_archive_is_not_unpacked(tmp_path):
    bomb = zipped("a.ipynb", content=bytes(400_000_000))
    put(tmp_path, "ada.zip", content=bomb)
    put(tmp_path, "ben.zip", content=declared_small(bomb))
    found = collect(tmp_path)
    with Reader(handed_out(SMALL)) as reader:
        read = {name: reader.read(each).problem for name, each in found.found.items()}
    assert "400,000,000 bytes; at most 20,000,000 are read" in read["ada"]
    assert read["ben"] is not None


def test_names_in_utf_8_without_the_flag_are_read(tmp_path):
    data = zipped("Zo__.ipynb".replace("__", "ab"))
    put(tmp_path, "c.zip", content=data.replace(b"Zoab", "Zoë".encode()))
    put(tmp_path, "ben.ipynb")
    assert [file.name for file in collect(tmp_path).found["c"].files] == ["c.zip/Zoë.ipynb"]


def test_many_folders_in_folders_are_bounded(tmp_path):
    put(tmp_path, "ada.ipynb", "/".join(["ben", *"x" * 60, "b.ipynb"]))
    found = collect(tmp_path)
    assert list(found.found) == ["ada"]
    assert "more than 40 folders" in found.not_graded[0][1]


def test_modes_of_files_do_not_matter(tmp_path):
    put(tmp_path, "ada.ipynb")
    (tmp_path / "ada.ipynb").chmod(0o755)
    assert stat.S_IMODE(Path(tmp_path, "ada.ipynb").stat().st_mode) == 0o755
    assert list(collect(tmp_path).found) == ["ada"]


def test_two_files_of_one_person_in_canvas_are_one_students():
    found = owners(["anna_12_3451_a.ipynb", "anna_12_3462_b.ipynb"])
    assert {(each.name, each.number, each.canvas_id) for each in found.values()} == {
        ("anna", "12", "12")
    }


def test_a_date_in_a_name_is_no_number_of_canvas():
    assert owners(["anna_2026_11_final.ipynb"]) == {}


def test_blackboard_says_when_a_file_was_handed_in():
    (found,) = owners(["Sheet_anna_attempt_2026-11-05-10-30-07_x.ipynb"]).values()
    assert (found.name, found.modified) == ("anna", time.mktime((2026, 11, 5, 10, 30, 7, 0, 0, -1)))
