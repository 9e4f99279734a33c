"""What runs inside a student's kernel beside the answer: a clean slate and a probe's values.

Nothing here decides anything, and nothing here knows a right value: whatever a student's code
does to this module, it can only change what the grader hears, not what the grader expects.
"""

import builtins
import json
import random
from collections.abc import Callable
from typing import Any

from lecture_vae.grading.values import decode, encode, to_kernel

__all__ = ["MIME", "clean_slate", "report"]

MIME = "application/vnd.lecture-vae.values+json"


def clean_slate(names: dict[str, Any]) -> None:
    """Undoes what one answer may have left behind for the next: seeds, defaults, lost built-ins.

    Args:
        names: The namespace of the notebook. Functions and variables stay, because an answer may
            use an earlier one; only names that hide a built-in function go.
    """
    import numpy as np
    import torch

    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - answers may use the global generator
    np.seterr(divide="warn", over="warn", under="ignore", invalid="warn")
    random.seed(0)
    ours = {"exit", "quit", "open"}  # IPython has its own
    for name in set(names) & set(dir(builtins)) - ours:
        if not name.startswith("_"):
            del names[name]


def report(probe: Callable[..., Any], cases: str) -> None:
    """Displays what a probe gives on each case, as data of an own type.

    Raises:
        Exception: Whatever the answer raises, or TypeError if it returns no number.
    """
    from IPython.display import display

    values = [encode(probe(**to_kernel(decode(case)))) for case in json.loads(cases)]
    display({MIME: json.dumps(values)}, raw=True)
