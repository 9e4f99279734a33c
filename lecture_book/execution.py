"""The execution of the chapters' cells: its cache key, data and environment."""

import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, TypeVar

from nbclient.exceptions import DeadKernelError

from lecture_book.project import package_digest

LIBRARIES = (
    "torch", "torchvision", "matplotlib", "numpy", "pandas", "scipy", "scikit-learn", "seaborn",
    "sympy",
)  # fmt: skip
STARTS = 3
T = TypeVar("T")


def execution_key(data: dict[str, str], budget: str) -> dict[str, Any]:
    """Everything but the cells themselves that their outputs depend on."""
    return {
        "package": package_digest("lecture_vae"),
        "data": data,
        "budget": budget,
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
    }


def choose_data() -> tuple[str, dict[str, str]]:
    """The value of LECTURE_VAE_DATA that loads the data directly, and their name and hash."""
    from lecture_vae import load_images

    data = load_images()
    return data.source, {"name": data.name, "fingerprint": data.fingerprint}


def kernel_environment(data_source: str) -> dict[str, str]:
    """The environment of the kernels: one data set and store, inline figures, no progress bars.

    All paths are absolute, because kernels run in other folders than this process.
    """
    from lecture_vae import store_folder

    environment = dict(os.environ)
    environment["LECTURE_VAE_DATA"] = data_source
    environment["LECTURE_VAE_RUNS"] = str(store_folder())
    environment["TQDM_DISABLE"] = "1"
    environment["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    # A value from a test run or a server would override the inline backend.
    environment.pop("MPLBACKEND", None)
    return environment


def with_a_kernel(execute: Callable[[], T]) -> T:
    """The result of `execute`, which starts a kernel and runs cells there; three times if it must.

    Jupyter looks for free ports and lets go of them. Until its kernel takes them, another process
    may, and such a kernel ends before it answers. No cell has run then, and new kernels get other
    ports.

    Raises:
        RuntimeError: three kernels in a row ended, or did not answer, before a cell ran.
        DeadKernelError: a kernel ended later, as for want of memory; this is not repeated.
    """
    for _ in range(STARTS - 1):
        try:
            return execute()
        except DeadKernelError:
            raise
        except RuntimeError:
            continue
    return execute()
