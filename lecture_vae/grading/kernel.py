"""The Jupyter kernel of a box: ipykernel's, without what a graded notebook has no use for."""

import importlib
import json
import os
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["serve", "warm_up"]

ROOMS = (
    "data",
    "models",
    "losses",
    "training",
    "randomness",
    "store",
    "runs",
    "diagnostics",
    "grading.inside",
)
WARM = (
    "numpy.random", "torch", "torch.nested._internal.nested_tensor", "ipykernel.kernelapp",
    "ipykernel.debugger", "IPython.core.completerlib", "IPython.core.debugger",
    "IPython.core.logger", "IPython.core.oinspect", "faulthandler", "tornado.platform.asyncio",
    "stack_data", "pygments.formatters.terminal256",
)  # fmt: skip


def warm_up(preload: Sequence[str] = ()) -> None:
    """Import what a kernel and an exercise need, and compute nothing.

    Threads and CUDA do not survive a fork, so none may come into being here.

    Args:
        preload: Further modules.
    """
    # The debugger of ipykernel takes longer to import than all the rest of a kernel's start.
    sys.modules["debugpy"] = None  # type: ignore[assignment]
    for name in (*WARM, *(f"lecture_vae.{room}" for room in ROOMS), *preload):
        importlib.import_module(name)


def serve(connection_file: str, folder: str, inside: str) -> None:
    """Be a kernel until it is shut down.

    Args:
        connection_file: As seen from outside.
        folder: The box, which holds the file and the sockets that it names.
        inside: The folder's name in the box.
    """
    import numpy.random
    import torch
    from ipykernel import kernelapp
    from ipykernel.iostream import IOPubThread
    from traitlets.config import Config

    def seen(path: str) -> str:
        return inside + path.removeprefix(folder)

    connection = json.loads(Path(seen(connection_file)).read_text(encoding="utf-8"))
    connection["ip"] = seen(connection["ip"])
    tempfile.tempdir = None  # chosen anew: this process has another TMPDIR than its parent

    class Publisher(IOPubThread):
        """Without the TCP port for what forked children print, which is lost."""

        def __init__(self, socket: Any, **keywords: Any) -> None:
            super().__init__(socket, **{**keywords, "pipe": False})

        def schedule(self, f: Any) -> None:
            if self._is_master_process():  # the thread that would send it is not in a child
                super().schedule(f)

    class Application(kernelapp.IPKernelApp):
        """Takes its connection from the caller and reads no one's settings."""

        def init_connection_file(self) -> None:
            self.load_connection_info(connection)

        def write_connection_file(self, **_: Any) -> None:
            pass

        def load_config_file(self, *_: Any, **__: Any) -> None:
            pass

        def init_extensions(self) -> None:
            pass

        def init_code(self) -> None:
            pass

    kernelapp.IOPubThread = Publisher  # type: ignore[misc, assignment]
    config = Config()
    config.HistoryManager.enabled = False
    app = Application.instance(config=config)
    app.initialize([])
    shell: Any = app.shell
    shell.system = shell.system_raw  # else a line with "!" asks for a terminal
    # Unseeded noise is the same in every kernel, so that a result can be repeated.
    random.seed(0)
    numpy.random.seed(0)  # noqa: NPY002 (students may use it)
    torch.manual_seed(0)
    app.start()


if __name__ == "__main__":
    from lecture_vae.grading.box import enter_and_tell

    code = 1
    try:
        warm_up()  # before its memory counts, as for a kernel that is forked
        box = enter_and_tell(int(sys.argv[-3]), sys.argv[-2], int(sys.argv[-1]))
        serve(sys.argv[1], str(box.folder), box.inside)
        code = 0
    finally:
        os._exit(code)  # threads that go on would keep the box
