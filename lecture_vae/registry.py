"""Registry: the names of models, objectives and pixel likelihoods.

A stored run and a command line hold names and plain values, never code. A registry maps a name to
the class or function that builds the object. Nothing here knows what the objects are.
"""

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Generic, TypeVar

from lecture_vae.storage import absolute

__all__ = ["Registry", "import_definitions"]

Built = TypeVar("Built")

# Modules of this package that register something, beside those that define a registry. They are
# imported when a name is first looked up, so that no reader of a registry has to know them.
REGISTERING = "lecture_vae.binarized", "lecture_vae.quantized", "lecture_vae.remedies"


class Registry(Mapping[str, Callable[..., Built]], Generic[Built]):
    """A mapping from names to the classes or functions that build objects of one kind.

    Args:
        kind: What is registered, for messages: ``"model"``.

    Examples:
        >>> sequences = Registry("sequence")
        >>> sequences.register("list", list)
        >>> sequences["list"]()
        []
        >>> sequences.name_of([1, 2])
        'list'
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._builders: dict[str, Callable[..., Built]] = {}
        self._modules: dict[str, str] = {}

    def register(self, name: str, build: Callable[..., Built]) -> None:
        """Let ``name`` stand for what ``build`` returns.

        The same definition may be registered again, as when a notebook cell is run twice: it
        replaces the first one.

        Args:
            name: Not empty.
            build: A class, or a function of plain keywords.

        Raises:
            ValueError: If the name is empty, or another definition has it already.

        Examples:
            >>> sequences = Registry("sequence")
            >>> sequences.register("list", list)
            >>> sequences.register("list", tuple)
            Traceback (most recent call last):
            ...
            ValueError: the sequence 'list' is already builtins.list. ...
        """
        if not name or not isinstance(name, str):
            raise ValueError(f"a {self.kind} needs a name to be registered, got {name!r}.")
        known = self._builders.get(name)
        if known is not None and _origin(known) != _origin(build):
            raise ValueError(
                f"the {self.kind} {name!r} is already {'.'.join(_origin(known))}. "
                "Register yours by another name; if it is the same one, moved to a file, restart "
                "the kernel."
            )
        self._builders[name] = build
        self._modules[name] = _registering_module()

    def registered_by(self, name: str) -> str:
        """The name of the module that registered ``name``; it may not be the one of the class.

        Raises:
            KeyError: If nothing has the name.

        Examples:
            >>> MODELS.registered_by("linear-vae")
            'lecture_vae.networks'
        """
        self._known()
        return self._modules[name]

    def name_of(self, thing: object) -> str | None:
        """The name of the class of ``thing``, or None if it is not registered.

        Examples:
            >>> MODELS.name_of(LinearVAE())
            'linear-vae'
        """
        return next((n for n, build in self._builders.items() if build is type(thing)), None)

    def __getitem__(self, name: str) -> Callable[..., Built]:
        """The class or function that builds ``name``.

        Raises:
            KeyError: If nothing has the name; the message lists all names.
        """
        if name not in self:
            raise KeyError(
                f"there is no {self.kind} {name!r}; there are {', '.join(self)}. Is the file that "
                "registers it not imported yet (on the command line: --import FILE.py)?"
            )
        return self._builders[name]

    def __contains__(self, name: object) -> bool:
        return name in self._known()

    def __iter__(self) -> Iterator[str]:
        return iter(self._known())

    def __len__(self) -> int:
        return len(self._known())

    def _known(self) -> dict[str, Callable[..., Built]]:
        for module in REGISTERING:
            importlib.import_module(module)
        return self._builders


def _registering_module() -> str:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_name == "register":  # it may have a wrapper
        frame = frame.f_back
    return frame.f_globals.get("__name__", "__main__") if frame else "__main__"


def _origin(build: Callable[..., object]) -> tuple[str, str]:
    return build.__module__, getattr(build, "__qualname__", repr(build))


def import_definitions(place: str) -> None:
    """Import a module that registers models, objectives or likelihoods.

    Args:
        place: The name of the module, or the path of its file, ``FILE.py``. A file is imported
            under its name without the suffix, and may import other files of its folder.

    Raises:
        ImportError: If there is no such module or file, if another module has the name, or if
            importing it fails.

    Examples:
        >>> import_definitions("no_such_module")
        Traceback (most recent call last):
        ...
        ImportError: no_such_module cannot be imported: ModuleNotFoundError: ...
    """
    if not place.endswith(".py"):
        try:
            importlib.import_module(place)
        except Exception as error:
            raise ImportError(f"{place} cannot be imported: {_one_line(error)}.") from error
        return
    try:
        path = absolute(place)
    except OSError as error:
        raise ImportError(f"{place} cannot be imported: {_one_line(error)}.") from error
    name, known = path.stem, sys.modules.get(path.stem)
    if known is not None and _file_of(known) == path:
        return
    if known is not None or name in sys.stdlib_module_names or not name.isidentifier():
        raise ImportError(
            f"{place} would be imported as the module {name!r}, which "
            f"{'is not a name' if not name.isidentifier() else 'already is another one'}. "
            "Rename the file."
        )
    if not os.path.isfile(path):
        raise ImportError(f"a file of definitions must exist, but {place} is none.")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ImportError(f"{place} cannot be imported: {_one_line(error)}.") from error


def _file_of(module: object) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).absolute() if file else None


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
