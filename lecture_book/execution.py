"""The execution of the chapters' cells: its cache key, data and environment."""

import atexit
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from lecture_book.project import package_digest

LIBRARIES = (
    "torch", "torchvision", "matplotlib", "numpy", "pandas", "scipy", "scikit-learn", "seaborn",
    "sympy",
)  # fmt: skip
STARTS = 3


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

    All paths are absolute, because kernels run in other folders than this process. A kernel has one
    thread, since as many kernels as cores run side by side: with more, each core would wait for
    threads that another kernel keeps from running.
    """
    from lecture_vae import store_folder

    environment = dict(os.environ)
    environment["LECTURE_VAE_DATA"] = data_source
    environment["LECTURE_VAE_RUNS"] = str(store_folder())
    environment["TQDM_DISABLE"] = "1"
    environment["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    environment["OMP_NUM_THREADS"] = "1"
    # A value from a test run or a server would override the inline backend.
    environment.pop("MPLBACKEND", None)
    return environment


def run_cells(
    notebook: NotebookNode,
    folder: str | Path,
    seconds: int,
    environment: dict[str, str] | None = None,
) -> None:
    """Run all cells of a notebook in a new kernel, and keep their outputs in the notebook.

    Jupyter looks for free ports and lets go of them. Until its kernel takes them, another process
    may, and such a kernel ends before it answers. No cell has run then, and new kernels get other
    ports, up to three times.

    Args:
        notebook: gets its outputs in place.
        folder: in which the kernel starts.
        seconds: that a cell may take.
        environment: of the kernel; by default that of this process.

    Raises:
        CellExecutionError: a cell raised.
        CellTimeoutError: a cell took too long.
        RuntimeError: three kernels in a row ended, or did not answer, before a cell ran.
        DeadKernelError: a kernel ended later, as for want of memory; this is not repeated.
        OSError: no kernel can be started, for instance because the disk is full.
    """
    for left in reversed(range(STARTS)):
        client = NotebookClient(
            notebook, timeout=seconds, record_timing=False,
            resources={"metadata": {"path": str(folder)}},
            # Else each kernel warns that who may read this machine's loopback may read along.
            extra_arguments=["--IPKernelApp.log_level=ERROR"],
        )  # fmt: skip
        try:
            client.execute(**({} if environment is None else {"env": environment}))
            return
        except (CellExecutionError, CellTimeoutError, DeadKernelError):
            raise
        except RuntimeError:
            if not left:
                raise
        finally:
            # Where no kernel has started, the client forgets to, and Python would end with a
            # traceback.
            atexit.unregister(client._cleanup_kernel)
