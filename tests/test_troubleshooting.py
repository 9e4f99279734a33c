"""The page of failures: every message that it shows is what the project says today."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from bs4 import BeautifulSoup

from lecture_book.hooks.live_figures import LiveFigure
from lecture_book.notebooks import write
from lecture_book.notebooks.book import read_book
from lecture_grader.sandbox import choose as sandbox
from lecture_grader.sandbox.confine import SandboxError
from lecture_vae import (
    NegativeELBO,
    TrainConfig,
    budget,
    build_model,
    fetch_run,
    load_images,
    train,
)
from lecture_vae.native import build, plan
from lecture_vae.native.engine import plan_for

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "book" / "troubleshooting.md").read_text(encoding="utf8")
SHOWN = [
    " ".join(block.split())  # the page breaks long lines
    for block in re.findall(r"^```text\n(.+?)\n```$", PAGE, re.MULTILINE | re.DOTALL)
]


def raised(action) -> str:
    try:
        action()
    except Exception as error:
        return str(error)
    return "nothing was raised"


def without_packages() -> str:
    command = [sys.executable, "-I", "-S", "-c", "import lecture_vae"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


def still_picture() -> str:
    environment = SimpleNamespace(docname="a", srcdir=ROOT, note_dependency=lambda _: None)
    state = SimpleNamespace(
        nested_parse=lambda *_: None,
        document=SimpleNamespace(settings=SimpleNamespace(env=environment)),
    )
    machine = SimpleNamespace(reporter=None)
    opening, _ = LiveFigure("", ["explorer"], {"alt": "A"}, [], 0, 0, "", state, machine).run()
    return BeautifulSoup(opening.astext(), "html.parser").get_text()


def edited_chapter() -> str:
    book = read_book(ROOT)
    book.pages = [
        replace(page, text=page.text.replace("\n# ", "\n# A new title: ", 1))
        if page.stem == "03_elbo"
        else page
        for page in book.pages
    ]
    return "\n".join(write.drift(book))


def without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> str:
    """What is said to who asks for native kernels where there is no C compiler."""

    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError

    model, cpu = build_model("linear-vae"), torch.device("cpu")
    with monkeypatch.context() as patch:
        patch.delenv("CC", raising=False)
        patch.setattr(build, "vector_family", lambda: "avx2")
        patch.setattr(build.subprocess, "run", missing)
        patch.setattr(plan, "load_kernels", build.load_kernels.__wrapped__)
        return raised(lambda: plan_for(model, NegativeELBO(), 64, cpu, "native"))


@pytest.fixture
def messages(tmp_path, monkeypatch, capsys, tiny) -> list[str]:
    """What the project says when each of the failures is provoked."""
    said = [without_packages(), (ROOT / "Makefile").read_text(encoding="utf8")]

    def refuse(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.MNIST", refuse)
    monkeypatch.setattr("lecture_vae.mnist.cache_folder", lambda: tmp_path)
    load_images()
    said.append(capsys.readouterr().err)
    monkeypatch.setenv("LECTURE_VAE_DATA", str(tmp_path / "misspelled"))
    said.append(raised(load_images))
    monkeypatch.setenv("LECTURE_VAE_BUDGET", "fast")
    said.append(raised(budget))
    (tmp_path / "file").touch()
    monkeypatch.setenv("LECTURE_VAE_RUNS", str(tmp_path / "file"))
    model, objective, config = "linear-vae", NegativeELBO(), TrainConfig(steps=5, lr=1e3)
    said.append(raised(lambda: fetch_run(model, objective, tiny, config)))
    said.append(raised(lambda: train(build_model(model), objective, tiny, config)))
    said.append(without_a_compiler(monkeypatch))
    said += [still_picture(), edited_chapter()]

    def not_allowed(level, packages):
        raise SandboxError("not allowed")

    monkeypatch.setattr(sandbox, "measure_escapes", not_allowed)
    said.append(raised(sandbox.choose.__wrapped__))
    return said


def unsaid(shown: list[str], messages: list[str]) -> list[str]:
    """The messages of the page that nothing says; three dots stand for anything within a line."""
    patterns = {text: re.escape(text).replace(re.escape("..."), ".+") for text in shown}
    return [
        text
        for text, pattern in patterns.items()
        if not any(re.search(pattern, message) for message in messages)
    ]


def test_every_message_of_the_page_is_what_the_project_says(messages):
    assert unsaid(SHOWN, messages) == []


def test_every_provoked_failure_is_on_the_page(messages):
    assert [
        message[:80] for message in messages if len(unsaid(SHOWN, [message])) == len(SHOWN)
    ] == []


def test_a_message_that_nothing_says_is_reported():
    assert unsaid(["must be ... or b", "gone"], ["x must be a or b."]) == ["gone"]


def test_the_failures_are_ten_and_numbered():
    assert re.findall(r"^## (\d+)\. ", PAGE, re.MULTILINE) == [str(n) for n in range(1, 11)]
    assert len(SHOWN) >= 10
