"""Names stand for one definition each, and a file brings its own."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from lecture_vae.registry import REGISTERING, Registry, import_definitions

PACKAGE = Path(__file__).resolve().parents[1] / "lecture_vae"


@pytest.fixture
def registry():
    return Registry("thing")


def test_a_name_stands_for_what_was_registered(registry):
    registry.register("list", list)
    assert registry["list"]() == []
    assert list(registry) == ["list"]
    assert "list" in registry and "tuple" not in registry and len(registry) == 1
    assert registry.name_of([1]) == "list"
    assert registry.name_of((1,)) is None


def test_a_missing_name_says_which_there_are_and_what_to_import(registry):
    registry.register("list", list)
    with pytest.raises(KeyError, match=r"no thing 'tuple'; there are list\..*--import FILE\.py"):
        registry["tuple"]


def test_one_name_for_two_definitions_is_refused(registry):
    registry.register("one", list)
    with pytest.raises(ValueError, match=r"'one' is already builtins\.list\. Register yours by an"):
        registry.register("one", tuple)
    for nameless in ("", None):
        with pytest.raises(ValueError, match="a thing needs a name"):
            registry.register(nameless, tuple)


def test_the_same_definition_once_more_replaces_itself_as_a_rerun_cell_does(registry):
    def define():
        class Cell:
            pass

        return Cell

    first, second = define(), define()
    registry.register("cell", first)
    registry.register("cell", second)
    assert registry["cell"] is second


def test_a_registration_says_which_module_gave_the_name(registry):
    registry.register("list", list)
    assert registry.registered_by("list") == __name__


def registers_by_name(module: Path) -> bool:
    """Whether importing a module registers a name."""
    calls = (
        statement.value.func
        for statement in ast.parse(module.read_text(encoding="utf8")).body
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
    )
    return any(isinstance(called, ast.Name) and "register" in called.id for called in calls)


def test_every_module_that_registers_a_name_defines_the_registry_or_is_listed():
    found = {f"lecture_vae.{file.stem}" for file in PACKAGE.glob("*.py") if registers_by_name(file)}
    definers = {f"lecture_vae.{name}" for name in ("likelihoods", "networks", "losses")}
    assert found == definers | set(REGISTERING)


@pytest.mark.parametrize(
    ("registry", "question", "answer"),
    [
        ("networks.MODELS", "found['vq-vae'].__name__", "VQVAE"),
        ("networks.MODELS", "found.registered_by('vq-vae')", "lecture_vae.quantized"),
        ("losses.OBJECTIVES", "'free-bits' in [*found]", "True"),
    ],
)
def test_a_fresh_process_knows_the_names_that_later_modules_register(registry, question, answer):
    module, _, name = registry.partition(".")
    code = f"from lecture_vae.{module} import {name} as found; print({question})"
    asked = [sys.executable, "-c", code]
    printed = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    assert printed == answer


@pytest.fixture
def definitions(tmp_path):
    """A file of definitions that imports its neighbor; a fresh name for each test."""
    name = f"definitions_{tmp_path.name}"
    (tmp_path / f"neighbor_of_{name}.py").write_text("VALUE = 3\n")
    path = tmp_path / f"{name}.py"
    path.write_text(f"from neighbor_of_{name} import VALUE\n")
    yield path
    sys.modules.pop(name, None)
    sys.modules.pop(f"neighbor_of_{name}", None)
    if str(tmp_path) in sys.path:
        sys.path.remove(str(tmp_path))


def test_a_file_is_imported_once_with_its_neighbors(definitions):
    import_definitions(str(definitions))
    module = sys.modules[definitions.stem]
    assert module.VALUE == 3
    import_definitions(str(definitions))
    assert sys.modules[definitions.stem] is module


def test_a_file_whose_code_fails_is_not_half_imported(definitions):
    definitions.write_text("1 / 0\n")
    with pytest.raises(ImportError, match=r"cannot be imported: ZeroDivisionError: division by"):
        import_definitions(str(definitions))
    assert definitions.stem not in sys.modules


@pytest.mark.parametrize("name", ["json", "queue", "pytest", "not a name"])
def test_a_file_that_would_hide_another_module_is_refused(tmp_path, name):
    (tmp_path / f"{name}.py").write_text("")
    with pytest.raises(ImportError, match=r"is not a name|already is another one.*Rename the file"):
        import_definitions(str(tmp_path / f"{name}.py"))


def test_a_module_is_imported_by_its_name(monkeypatch):
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    import_definitions("wave")
    assert "wave" in sys.modules
