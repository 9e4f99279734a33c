"""The layout of the packages: what may import what.

``benchmarks -> lecture_book -> lecture_grader -> lecture_vae``: who stands higher imports from
below, never the other way round. Inside a package a module imports only from modules before it,
which is the order in which the package is to be read.
"""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = {"book", "tests", "benchmarks", "exercises"}

CORE = [
    "storage", "mnist", "data", "packing", "registry", "distributions", "likelihoods", "models",
    "networks", "losses", "quantized", "remedies", "randomness", "binarized", "code_prior",
    "native.build",
    "native.network", "native.modules", "native.structures", "native.checks", "native.plan",
    "native.engine", "evaluation", "history", "training", "budgets", "cluster", "source",
    "recipe", "checkpoints", "object_store", "run_file", "store", "lock", "fetching",
    "side_by_side", "trainer", "runs", "diagnostics", "calibration", "pairwise", "quadrature",
    "evidence", "bounds", "aggregate", "diagnosis", "reproduction", "sweep", "drawing", "plots",
    "grids", "video", "animation", "live", "options", "command_line", "verbs", "cli_sweep", "cli",
]  # fmt: skip

# Rooms of the grader in reading order, their modules, and what a room may import beside itself: of
# the grader the rooms and modules named, of the core the modules named.
GRADER: list[tuple[str, list[str], set[str], set[str]]] = [
    ("", ["signals", "cells", "course", "seed"], set(), {"storage"}),
    ("student", ["values", "selfcheck", "probe"], set(), set()),
    (
        "sandbox",
        [
            "linux", "seccomp", "mounts", "confine", "start", "supervisor", "escapes",
            "escape_test", "choose",
        ],
        {"course"},
        set(),
    ),
    (
        "kernels",
        ["frames", "shell", "serve", "forkserver", "client"],
        {"student", "sandbox"},
        set(),
    ),
    (
        "authoring",
        ["assignment", "check", "mutants", "handout", "page", "release"],
        {"cells", "student"},
        {"storage"},
    ),
    (
        "submissions",
        [
            "syntax", "scopes", "names", "needs", "submission", "notebook_file", "answers",
            "archives", "parsing", "reading", "listing", "lms", "intake",
        ],
        {"cells"},
        set(),
    ),
    # No right value, and nothing that decides: the authors' room is closed to it.
    (
        "running",
        ["notebook", "observation", "messages", "plugin", "batch"],
        {"cells", "student", "sandbox", "kernels", "submissions"},
        set(),
    ),
    # Who is in the class: files of the teacher, and no student's code.
    ("classroom", ["tables", "roster", "lateness", "matching"], {"submissions.submission"}, set()),
    (
        "reporting",
        [
            "result", "kept", "markup", "spreadsheet", "pages", "items", "summary", "lms",
            "nbgrader", "decisions", "changes", "gradebook",
        ],
        {"submissions.submission", "classroom"},
        {"storage"},
    ),
    ("", ["extracts"], {"authoring", "submissions", "running"}, set()),
    ("", ["verdict"], {"cells", "authoring", "submissions", "running", "reporting"}, set()),
    ("", ["account"], {"cells", "sandbox", "submissions", "running"}, set()),
    ("", ["task"], {"submissions", "running", "reporting", "verdict"}, set()),
    (
        "",
        ["session"],
        {
            "cells", "account", "task", "course", "seed", "sandbox", "authoring", "submissions",
            "running", "reporting", "verdict", "extracts",
        },
        set(),
    ),
    (
        "",
        ["register"],
        {"authoring", "submissions", "classroom", "reporting", "session"},
        set(),
    ),
    (
        "",
        ["grade"],
        {
            "signals", "sandbox", "submissions", "running", "classroom", "reporting", "session",
            "task", "register",
        },
        {"storage", "cluster"},
    ),
    (
        "gradescope",
        ["results", "pack", "run"],
        {
            "course", "seed", "sandbox", "authoring", "submissions", "reporting", "session",
            "grade",
        },
        {"storage"},
    ),
    (
        "",
        ["cli"],
        {
            "course", "sandbox", "authoring", "classroom", "reporting", "register", "grade",
            "gradescope",
        },
        {"command_line"},
    ),
]  # fmt: skip
# The book imports what it likes of the packages below it.
LECTURE_BOOK = [
    "project", "tables", "site", "evidence_record", "experiment_record", "robustness_record",
    "records", "controls",
    "published",
    "experiments.measuring", "experiments.training", "experiments.collapse",
    "experiments.evidence", "experiments.binarized", "experiments.codes",
    "experiments.record",
    "experiments.__main__", "execution",
    "notebooks.inline", "notebooks.myst",
    "notebooks.pages", "notebooks.labels", "notebooks.book", "notebooks.citations",
    "notebooks.cells", "notebooks.markdown", "notebooks.flatten", "notebooks.exercises",
    "notebooks.write", "solutions", "sphinx_config", "build", "joined", "pdf", "figures.svg",
    "figures.graphs", "figures.architectures", "figures.data_flow", "figures.models",
    "figures.record_codes", "figures.record_evidence", "figures.record_runs", "figures.overview",
    "figures.stills", "hooks.loading", "hooks.live_figures", "hooks.videos", "hooks.numbers",
    "hooks.citations", "hooks.formulas", "hooks.launching", "hooks.accessibility",
    "hooks.signatures", "hooks.solutions", "hooks.execution", "hooks.styles", "extension",
]  # fmt: skip
PACKAGES = "lecture_vae", "lecture_grader", "lecture_book"
# The one import upwards: notebooks that were handed out before version 0.3 name this module.
RE_EXPORT = "lecture_vae/grading/selfcheck.py"


def modules_of(package: str) -> dict[str, Path]:
    """The modules of a package by their dotted names below it, packages left out."""
    folder = ROOT / package
    return {
        ".".join(path.relative_to(folder).with_suffix("").parts): path
        for path in folder.rglob("*.py")
        if path.stem != "__init__"
    }


def imported(source: str) -> set[str]:
    """What Python source imports, modules of ours as 'package.room.module'."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def ours(source: str) -> set[str]:
    """The modules of our packages, and what lies outside of them, that a source imports."""
    known = {f"{package}.{name}" for package in PACKAGES for name in modules_of(package)}
    return {name for name in imported(source) if name in known or name.split(".")[0] in OUTSIDE}


def out_of_order(module: str, source: str) -> list[str]:
    """What a module of the core imports although it comes later, or is not of the core."""
    return sorted(ours(source) - {f"lecture_vae.{name}" for name in CORE[: CORE.index(module)]})


def allowed_to(place: int, module: str) -> set[str]:
    """What a module of the grader may import."""
    room, modules, rooms, core = GRADER[place]
    before = modules[: modules.index(module)]
    found = {f"lecture_vae.{name}" for name in core}
    found |= {f"lecture_grader.{f'{room}.' if room else ''}{name}" for name in before}
    for earlier, names, _, _ in GRADER[:place]:
        for name in names:
            dotted = f"{earlier}.{name}" if earlier else name
            if {earlier, dotted} & rooms:
                found.add(f"lecture_grader.{dotted}")
    return found


def against_the_rules(place: int, module: str, source: str) -> list[str]:
    """What a module of the grader imports and may not."""
    return sorted(ours(source) - allowed_to(place, module))


def test_modules_import_only_from_earlier_ones():
    files = modules_of("lecture_vae")
    assert sorted(files) == sorted([*CORE, "grading.selfcheck"])
    for module in CORE:
        assert out_of_order(module, files[module].read_text(encoding="utf8")) == [], module


def test_rooms_of_the_grader_import_what_the_table_allows():
    files = modules_of("lecture_grader")
    named = {
        f"{room}.{name}" if room else name: (place, name)
        for place, (room, modules, _, _) in enumerate(GRADER)
        for name in modules
    }
    assert sorted(files) == sorted(named)
    for dotted, (place, name) in named.items():
        source = files[dotted].read_text(encoding="utf8")
        assert against_the_rules(place, name, source) == [], dotted


def book_out_of_order(module: str, source: str) -> list[str]:
    """What a module of the book imports although it comes later, or lies outside."""
    before = {f"lecture_book.{name}" for name in LECTURE_BOOK[: LECTURE_BOOK.index(module)]}
    later = ours(source) - before
    return sorted(name for name in later if not name.startswith(("lecture_vae", "lecture_grader")))


def test_modules_of_the_book_import_only_from_earlier_ones():
    files = modules_of("lecture_book")
    assert sorted(files) == sorted(LECTURE_BOOK)
    for module in LECTURE_BOOK:
        source = files[module].read_text(encoding="utf8")
        assert book_out_of_order(module, source) == [], module


@pytest.mark.parametrize(
    ("module", "source", "found"),
    [
        ("site", "from lecture_book import build", ["lecture_book.build"]),
        ("notebooks.pages", "def f():\n    from lecture_book.notebooks.write import drift",
         ["lecture_book.notebooks.write"]),
        ("records", "import benchmarks.report", ["benchmarks.report"]),
        ("build", "from lecture_book.project import digest", []),
        ("build", "from lecture_grader.cells import ids", []),
    ],
)  # fmt: skip
def test_an_import_of_the_book_against_the_order_is_reported(module, source, found):
    assert book_out_of_order(module, source) == found


def test_what_is_below_the_book_does_not_import_it():
    assert out_of_order("cli", "from lecture_book import build") == ["lecture_book.build"]
    assert against_the_rules(0, "seed", "import lecture_book.site") == ["lecture_book.site"]


def test_the_wheel_holds_the_packages_and_no_module_lies_in_the_text_of_the_book():
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))
    wheel = pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert sorted(wheel) == sorted(PACKAGES)
    assert sorted(path.parent.name for path in ROOT.glob("*/__init__.py")) == sorted(PACKAGES)
    assert list((ROOT / "book").rglob("*.py")) == []


def test_the_book_does_not_change_where_python_looks_for_modules():
    for module, path in modules_of("lecture_book").items():
        assert "sys.path" not in path.read_text("utf8"), module


def test_one_module_of_the_core_imports_from_above():
    found = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "lecture_vae").rglob("*.py")
        if any(name.startswith("lecture_grader") for name in imported(path.read_text("utf8")))
    ]
    assert found == [RE_EXPORT]


@pytest.mark.parametrize(
    ("room", "module", "source", "found"),
    [
        ("running", "batch", "from lecture_grader.authoring.check import HiddenCheck",
         ["lecture_grader.authoring.check"]),
        ("running", "batch", "def f():\n    from lecture_grader import verdict",
         ["lecture_grader.verdict"]),
        ("student", "probe", "import lecture_grader.cells", ["lecture_grader.cells"]),
        ("sandbox", "linux", "from lecture_grader.sandbox import start",
         ["lecture_grader.sandbox.start"]),
        ("authoring", "page", "from lecture_vae import models", ["lecture_vae.models"]),
        ("authoring", "page", "import tests.conftest", ["tests.conftest"]),
        ("sandbox", "start", "from lecture_grader.sandbox import linux", []),
    ],
)  # fmt: skip
def test_an_import_against_the_rules_is_reported(room, module, source, found):
    (place,) = (at for at, (name, modules, *_) in enumerate(GRADER)
                if name == room and module in modules)  # fmt: skip
    assert against_the_rules(place, module, source) == found


def test_an_import_against_the_order_is_reported():
    assert out_of_order("losses", "from lecture_vae.training import train") == [
        "lecture_vae.training"
    ]
    assert out_of_order("losses", "def f():\n    import tests.conftest") == ["tests.conftest"]
    assert out_of_order("losses", "from lecture_vae import plots") == ["lecture_vae.plots"]
    assert out_of_order("losses", "from lecture_grader import cells") == ["lecture_grader.cells"]
    assert out_of_order("losses", "from lecture_vae.models import build_model") == []


def test_the_public_names_follow_the_order():
    import lecture_vae

    modules = [CORE.index(module) for module in lecture_vae._NAMES]
    assert modules == sorted(modules)


def test_no_file_of_the_packages_is_longer_than_300_lines():
    long = {
        path.relative_to(ROOT).as_posix(): lines
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if (lines := len(path.read_text("utf8").splitlines())) > 300
    }
    assert long == {}
