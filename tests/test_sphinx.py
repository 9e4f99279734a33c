"""The way out of Jupyter Book: Sphinx alone builds the same site from the same `_config.yml`."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from bs4 import BeautifulSoup
from conftest import SITE

from lecture_book import build
from lecture_book.project import ProjectError
from lecture_book.site import pages_of
from lecture_book.sphinx_config import sphinx_settings

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = "lecture_vae", "lecture_grader", "lecture_book"
# The data and the budget of the site, which a fixture hides from the tests.
STARTED_WITH = {key: value for key, value in os.environ.items() if key.startswith("LECTURE_VAE_")}

# What Jupyter Book sets and `conf.py` does not, with the reason.
LEFT_OUT = {
    "analytics": "nobody is counted; without a domain the theme reads none of it",
    "comments_config": "the book has no comments, and sphinx_comments is not loaded",
    "latex_engine": "the PDF is printed from the site; nobody builds LaTeX",
    "nitpicky": "the option -n of both commands",
    "use_jupyterbook_latex": "Jupyter Book's own switch for LaTeX",
    "use_multitoc_numbering": "Jupyter Book's own switch; the extension is loaded",
}
ONLY_JUPYTER_BOOK = {"jupyter_book", "sphinx_comments", "sphinx_jupyterbook_latex"}

# Python that cannot find Jupyter Book: a file that Python runs at its start.
WITHOUT_JUPYTER_BOOK = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "jupyter_book":
            raise ModuleNotFoundError(f"No module named {name!r}: it is blocked", name=name)

sys.meta_path.insert(0, Blocked())
"""


# ------------------------------------------------------------------------- the settings


def jupyter_books_settings() -> dict:
    """What Jupyter Book makes of `_config.yml`, before and without the options of its command."""
    from jupyter_book.config import get_final_config

    settings, _ = get_final_config(
        user_yaml=ROOT / "_config.yml",
        sourcedir=ROOT,
        cli_config={
            "external_toc_path": "_toc.yml", "nitpicky": True, "latex_individualpages": False
        },
    )  # fmt: skip
    return settings


# The names of settings stand on its input; what `conf.py` does not say is a default of Sphinx, an
# extension or the theme. A process of its own, since extensions change what they find in memory.
SETTINGS_OF_SPHINX = """
import json, sys
from pathlib import Path
from sphinx.application import Sphinx
from lecture_book.sphinx_config import sphinx_settings

root, out = map(Path, sys.argv[1:])
app = Sphinx(root, root, out / "html", out / "doctrees", "html", status=sys.stderr)
found = {name: app.config[name] for name in json.load(sys.stdin) if name in app.config}
found |= sphinx_settings(root)
found["html_theme_options"] = app.builder.theme.get_options(found["html_theme_options"])
print(json.dumps(found, default=sorted))
"""


def without_jupyter_book(tmp_path: Path) -> dict[str, str]:
    """An environment in which Python finds no Jupyter Book."""
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_JUPYTER_BOOK, encoding="utf8")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    return os.environ | {"PYTHONPATH": path, "TQDM_DISABLE": "1"}


def settings_of_sphinx(names: list[str], tmp_path: Path) -> dict:
    """What Sphinx has read from `conf.py`, and its defaults after it has loaded the extensions."""
    ran = subprocess.run(
        [sys.executable, "-c", SETTINGS_OF_SPHINX, str(ROOT), str(tmp_path)],
        input=json.dumps(names), env=without_jupyter_book(tmp_path), cwd=tmp_path,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


def differences(theirs: dict, ours: dict) -> list[str]:
    """Where what Sphinx uses is not what Jupyter Book would have it use."""
    lines = []
    for name in sorted(theirs.keys() - LEFT_OUT.keys()):
        wanted, used = theirs[name], ours.get(name)
        if name == "extensions":
            used, wanted = sorted(used), sorted(set(wanted) - ONLY_JUPYTER_BOOK)
        elif name == "html_theme_options":  # Sphinx adds those of the theme
            wanted = {option: wanted[option] for option in wanted if option not in LEFT_OUT}
            used = {option: used.get(option) for option in wanted}
        if plain(used) != plain(wanted):
            lines.append(f"{name}: {used}; Jupyter Book has {wanted}")
    return lines


def plain(value: object) -> object:
    """A value without what shows nothing: an empty text, a button without an address."""
    if isinstance(value, dict):
        kept = {key: plain(inner) for key, inner in value.items()}
        return {key: inner for key, inner in kept.items() if inner is not None}
    return value if value is True or value not in ("", [], False, None) else None


@pytest.mark.slow
def test_sphinx_has_the_settings_that_jupyter_book_derives(tmp_path):
    theirs = jupyter_books_settings()
    ours = settings_of_sphinx([*theirs], tmp_path)
    assert differences(theirs, ours) == []


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"numfig": False}, ["numfig: False; Jupyter Book has True"]),
        ({"extensions": ["a"]}, ["extensions: ['a']; Jupyter Book has ['a', 'b']"]),
        (
            {"html_theme_options": {"button": False}},
            ["html_theme_options: {'button': False}; Jupyter Book has {'button': True}"],
        ),
        ({"latex_engine": "xelatex", "html_logo": None, "more": 1}, []),
    ],
)
def test_a_setting_that_differs_is_reported(change, found):
    theirs = {
        "numfig": True, "extensions": ["b", "a", "jupyter_book"], "latex_engine": "pdflatex",
        "html_theme_options": {"button": True, "analytics": {"url": "x"}}, "html_logo": "",
    }  # fmt: skip
    ours = {"numfig": True, "extensions": ["a", "b"], "html_theme_options": {"button": True}}
    assert differences(theirs, ours | change) == found


def test_a_key_of_jupyter_book_that_nobody_translates_stops_the_build(tmp_path):
    text = (ROOT / "_config.yml").read_text(encoding="utf8")
    config = yaml.safe_load(text)
    config["html"]["announcement"] = "New!"
    config["logo"] = "logo.png"
    (tmp_path / "_config.yml").write_text(yaml.safe_dump(config), encoding="utf8")
    with pytest.raises(ProjectError, match=r"has html\.announcement, logo, which .* not translate"):
        sphinx_settings(tmp_path)


def test_the_settings_stay_the_same_when_jupyter_books_extensions_are_named_no_more(tmp_path):
    """The last of the steps that the page for maintainers names."""
    text = (ROOT / "_config.yml").read_text(encoding="utf8")
    for old, new in [("jupyter_book", "sphinx_multitoc_numbering"), ("sphinx_comments", None)]:
        assert text.count(f"      - {old}\n") == 1
        text = text.replace(f"      - {old}\n", f"      - {new}\n" if new else "")
    (tmp_path / "_config.yml").write_text(text, encoding="utf8")
    assert sphinx_settings(tmp_path) == sphinx_settings(ROOT)


def test_no_module_needs_jupyter_book():
    """It is run as a program of its own, by its name."""
    packages = [path for name in PACKAGES for path in (ROOT / name).rglob("*.py")]
    importing = re.compile(r"^\s*(from|import) jupyter_book", re.MULTILINE)
    found = [path.name for path in packages if importing.search(path.read_text(encoding="utf8"))]
    assert found == ["build.py"]


# ------------------------------------------------------------------------- the build


@pytest.mark.parametrize(
    ("option", "runner"), [([], "run_jupyter_book"), (["--sphinx"], "run_sphinx")]
)
def test_the_option_chooses_who_builds(tmp_path, monkeypatch, option, runner):
    asked = []
    for name in ("run_jupyter_book", "run_sphinx"):
        monkeypatch.setattr(build, name, lambda *_, name=name: asked.append(name) or 0)
    monkeypatch.setattr(build, "choose_data", lambda: ("digits", {"name": "d", "fingerprint": "f"}))
    monkeypatch.setattr(build, "project_root", lambda: tmp_path)
    monkeypatch.setattr(sys, "argv", ["build", *option])
    assert build.main() == 0
    assert asked == [runner]


def shown(page: Path) -> tuple[str, list[str], list[str]]:
    """The text of a page, its links and images, and its headings with their places."""
    soup = BeautifulSoup(page.read_text(encoding="utf8"), "html.parser")
    for tag in soup(["script", "style"]):
        tag.decompose()
    links = [without_version(tag.get("href") or tag.get("src")) for tag in soup(["a", "img"])]
    places = [str(tag["id"]) for tag in soup.find_all(id=True)]
    return " ".join(soup.get_text(" ").split()), links, places


def without_version(address: str | None) -> str:
    """An address without the hash of the file that stands there."""
    return re.sub(r"\?v=[0-9a-f]+", "", address or "")


def site_differences(one: Path, other: Path) -> list[str]:
    """Where two sites do not show the same."""
    here, there = pages_of(one), pages_of(other)
    lines = [f"{name} is in one alone" for name in sorted({*here} ^ {*there})]
    for name in sorted({*here} & {*there}):
        parts = zip(
            ("text", "links", "places"), shown(one / name), shown(other / name), strict=True
        )
        lines += [f"{name}: another {part}" for part, a, b in parts if a != b]
    return lines


def test_sites_that_differ_are_reported(tmp_path):
    for name, text in [("one", "Text"), ("other", "Text")]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.html").write_text(f'<p id="x">{text} <a href="b?v=12">b</a></p>')
        (tmp_path / name / "b.html").write_text("B")
    assert site_differences(tmp_path / "one", tmp_path / "other") == []
    (tmp_path / "other" / "a.html").write_text('<p id="y">Text <a href="c">b</a></p>')
    (tmp_path / "other" / "b.html").unlink()
    assert site_differences(tmp_path / "one", tmp_path / "other") == [
        "b.html is in one alone", "a.html: another links", "a.html: another places"
    ]  # fmt: skip


@pytest.mark.nightly
@pytest.mark.site
def test_sphinx_alone_builds_the_same_site(tmp_path):
    """With what the cells put out from the cache of the site that stands here."""
    out = tmp_path / "out" / "_build"
    shutil.copytree(SITE.parent / ".jupyter_cache", out / ".jupyter_cache")
    shutil.copy(SITE.parent / "lecture_vae.json", out)
    ran = subprocess.run(
        [sys.executable, "-m", "lecture_book.build", "--sphinx", "--path-output", str(out.parent)],
        env=without_jupyter_book(tmp_path) | STARTED_WITH, cwd=ROOT,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert site_differences(SITE, out / "html") == []
