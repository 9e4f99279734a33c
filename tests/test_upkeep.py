"""Upkeep: dependencies with their reasons and licenses, and what the workflows may do and call."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, metadata, packages_distributions, requires
from pathlib import Path

import pytest
import yaml
from conftest import LONGEST, OF_THE_SITE
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = "lecture_vae", "lecture_grader", "lecture_book"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf8")


# ------------------------------------------------------------------------ dependencies

PYPROJECT = tomllib.loads(text_of("pyproject.toml"))
CONSTRAINTS = dict(line.split("==") for line in text_of("constraints.txt").split())
LOCK = json.loads(text_of("tests/browser/package-lock.json"))["packages"]

# How metadata older than License-Expression names a license: the identifiers that it can mean.
STATED = {
    "MIT License": {"MIT"},
    "MIT": {"MIT"},
    "BSD License": {"BSD-2-Clause", "BSD-3-Clause"},
    "BSD": {"BSD-2-Clause", "BSD-3-Clause"},
    "BSD-2-Clause": {"BSD-2-Clause"},
    "Apache Software License": {"Apache-2.0"},
    "Python Software Foundation License": {"PSF-2.0"},
    "MPL-2.0 AND MIT": {"MPL-2.0 AND MIT"},
}
LICENSE_FILE = {"sphinx-proof": "MIT"}  # its metadata says BSD, the license that it comes with MIT

# Imported, but not a dependency of its own: a part of the interface of one that is.
COMES_WITH = {
    "docutils": "sphinx",
    "ipython": "ipykernel",
    "nbformat": "nbclient",
    "pybtex": "sphinxcontrib-bibtex",
    "traitlets": "ipykernel",
}


def dependencies() -> set[str]:
    """The packages of pyproject.toml, what builds the wheel, and what installs all of them."""
    project = PYPROJECT["project"]
    extras = [line for extra in project["optional-dependencies"].values() for line in extra]
    lines = [*PYPROJECT["build-system"]["requires"], *project["dependencies"], *extras]
    return {"uv"} | {canonicalize_name(Requirement(line).name) for line in lines}


def table(text: str) -> dict[str, tuple[str, str]]:
    """The reason and the license of every package in CONTRIBUTING's table."""
    rows = re.findall(r"^\| `([\w.-]+)` \| (.+) \| (.+) \|$", text, re.MULTILINE)
    assert len({name for name, _, _ in rows}) == len(rows), "a package stands there twice"
    return {name: (reason, license_) for name, reason, license_ in rows}


def licenses(name: str) -> set[str] | None:
    """What an installed package may be licensed under; None where another version stands."""
    try:
        found = metadata(name)
    except PackageNotFoundError:
        return None
    if found["Version"] != CONSTRAINTS.get(name):
        return None
    if expression := found.get("License-Expression"):
        return {expression}
    stated = [line.rpartition(" :: ")[2] for line in found.get_all("Classifier", [])
              if line.startswith("License")] or [found.get("License", "")]  # fmt: skip
    return set().union(*(STATED[each] for each in stated))


DISTRIBUTIONS = packages_distributions()
LISTED = table(text_of("CONTRIBUTING.md"))
NPM = {name.rpartition("node_modules/")[2] for name in LOCK[""]["dependencies"]}


def test_every_dependency_has_a_line_and_every_line_a_dependency():
    assert sorted(LISTED) == sorted(dependencies() | NPM)


@pytest.mark.parametrize("name", sorted(dependencies()))
def test_a_license_in_the_table_is_the_one_that_the_package_states(name):
    stated = {LICENSE_FILE[name]} if name in LICENSE_FILE else licenses(name)
    if stated is None:
        pytest.skip(f"{name} {CONSTRAINTS.get(name, '(not pinned)')} is not installed here")
    assert LISTED[name][1] in stated


def test_the_licenses_of_the_tools_from_npm_are_those_of_the_lock_file():
    stated = {name: LOCK[f"node_modules/{name}"]["license"] for name in NPM}
    assert {name: LISTED[name][1] for name in NPM} == stated


def third_party(source: str) -> set[str]:
    """The distributions that Python source imports."""
    modules = set()
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        for dotted in (name.split(".") for name in names):
            # Extensions share the name before the first dot.
            modules.add(".".join(dotted[:2]) if dotted[0] == "sphinxcontrib" else dotted[0])
    outside = modules - {*sys.stdlib_module_names, *PACKAGES}
    return {
        canonicalize_name(
            each.replace(".", "-") if "." in each else DISTRIBUTIONS.get(each, [each])[0]
        )
        for each in outside
    }


def test_what_is_imported_is_a_dependency():
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    imported = set().union(*(third_party(path.read_text(encoding="utf8")) for path in files))
    assert sorted(imported - dependencies() - COMES_WITH.keys()) == []
    for name, parent in COMES_WITH.items():
        assert name in imported, f"{name} is imported no more"
        needed = {canonicalize_name(Requirement(line).name) for line in requires(parent) or []}
        assert parent in dependencies() and name in needed


def test_an_import_that_is_no_dependency_is_found():
    source = "import os, lecture_vae, yaml, foo.b\nfrom sphinxcontrib.bibtex.style import a"
    assert third_party(source) == {"pyyaml", "sphinxcontrib-bibtex", "foo"}
    assert third_party("import sphinxcontrib.katex") == {"sphinxcontrib-katex"}


def test_the_audit_asks_about_the_pins_and_passes_over_none():
    [command] = re.findall(r"^\t.*pip-audit.*$", text_of("Makefile"), re.MULTILINE)
    assert "--strict" in command and "--requirement constraints.txt" in command


def test_the_recorded_audit_says_what_it_asked_and_of_when_its_data_are():
    audit = json.loads(text_of("results/audit.json"))
    assert audit["packages"] > 100 and audit["affected"] == []
    assert audit["advisories_until"] <= audit["date"]


# --------------------------------------------------------------------------- workflows

# What a job may do beside reading the repository, and why.
MAY = {
    ("ci", "deploy"): {"pages": "write", "id-token": "write"},  # publishes the site
    ("weekly", "report"): {"issues": "write"},  # opens an issue
}


def workflow(path: Path) -> dict:
    return yaml.safe_load(path.read_text(encoding="utf8"))


def loose(source: str) -> list[str]:
    """The actions that are not pinned by the hash of a commit with its version beside it."""
    called = re.findall(r"^\s*(?:- )?uses:\s*(.*)$", source, re.MULTILINE)
    pinned = re.compile(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
    return [each for each in called if not pinned.fullmatch(each)]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_by_hash(path):
    assert loose(path.read_text(encoding="utf8")) == []


def test_an_action_that_is_not_pinned_is_reported():
    good = f"      - uses: actions/checkout@{'0a' * 20} # v6.1.0\n"
    bad = ["actions/checkout@v4", f"a/b@{'0a' * 20}", f"a/b@{'0a' * 19} # v1.2.3"]
    assert loose(good + "".join(f"      - uses: {each}\n" for each in bad)) == bad


def test_one_action_has_one_version():
    called = [use for path in WORKFLOWS for use in re.findall(r"uses: (\S+)", path.read_text())]
    assert len({use.partition("@")[0] for use in called}) == len(set(called))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_read_and_a_job_what_its_purpose_asks_for(path):
    content = workflow(path)
    assert content["permissions"] == {"contents": "read"}
    more = {(path.stem, name): job["permissions"] for name, job in content["jobs"].items()
            if "permissions" in job}  # fmt: skip
    assert more == {place: may for place, may in MAY.items() if place[0] == path.stem}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_no_job_keeps_the_token_or_runs_for_ever(path):
    for name, job in workflow(path)["jobs"].items():
        steps = job["steps"]
        for step in steps:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False, name
        if any("make" in step.get("run", "") for step in steps):
            assert job["timeout-minutes"] <= 90, name


def test_what_the_workflows_run_is_there():
    targets = set(re.findall(r"^([a-z]+):", text_of("Makefile"), re.MULTILINE))
    commands = [step["run"] for path in WORKFLOWS for job in workflow(path)["jobs"].values()
                for step in job["steps"] if "run" in step]  # fmt: skip
    made = {target for command in commands for target in re.findall(r"\bmake ([a-z]+)", command)}
    assert made - targets == set()
    assert {"book", "newest", "audit", "lowest", "nightly"} <= made
    assert "make book SPHINX=1" in commands


def test_make_test_finds_every_test_of_the_site():
    """Of those that are collected together with this one: all of them, in `make test`."""
    [pattern] = re.findall(r"^OF_THE_SITE = .*grep -lE '(.+?)'", text_of("Makefile"), re.MULTILINE)
    overlooked = {path.name for path in OF_THE_SITE if not re.search(pattern, path.read_text())}
    assert overlooked == set()


def test_the_files_that_come_first_are_there():
    tests = Path(__file__).parent
    assert [name for name in LONGEST if not (tests / name).exists()] == []


def test_every_night_the_tests_run_on_each_python_that_is_allowed():
    jobs = workflow(ROOT / ".github" / "workflows" / "nightly.yml")["jobs"]
    pythons = jobs["pythons"]["strategy"]["matrix"]["python"]
    assert pythons == ["3.11", "3.12", "3.13", "3.14"]
    assert PYPROJECT["project"]["requires-python"] == f">={pythons[0]}"
    assert any("pytest" in step.get("run", "") for step in jobs["pythons"]["steps"])


def test_the_weekly_run_reports_every_job():
    jobs = workflow(ROOT / ".github" / "workflows" / "weekly.yml")["jobs"]
    assert sorted(jobs["report"]["needs"]) == sorted(jobs.keys() - {"report"})
    assert jobs["report"]["if"] == "failure()"
    body = jobs["report"]["steps"][0]["env"]["BODY"]
    assert all(f"needs.{name}.result" in body for name in jobs["report"]["needs"])


@pytest.mark.parametrize(("open_issue", "called"), [("", "create --title"), ("7", "comment 7")])
def test_a_failure_opens_one_issue_and_then_comments_on_it(tmp_path, open_issue, called):
    """With a `gh` that notes how it was called and knows of one open issue or of none."""
    [step] = workflow(ROOT / ".github" / "workflows" / "weekly.yml")["jobs"]["report"]["steps"]
    gh = tmp_path / "gh"
    gh.write_text('#!/bin/sh\necho "$@" >> "$LOG"\n[ "$2" != list ] || echo "$OPEN"\n')
    gh.chmod(0o755)
    given = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "LOG": str(tmp_path / "log")}
    given |= {"OPEN": open_issue, "TITLE": "The weekly run fails", "BODY": "newest: failure"}
    subprocess.run(["bash", "-euo", "pipefail", "-c", step["run"]], env=given, check=True)
    asked, done = (tmp_path / "log").read_text().splitlines()
    assert asked.startswith("issue list --state open --search in:title")
    assert done.startswith(f"issue {called}") and done.endswith("--body newest: failure")
