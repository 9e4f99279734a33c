"""Names stand for one definition each, and a file brings its own."""

import sys

import pytest

from lecture_vae.registry import Registry, import_definitions


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
