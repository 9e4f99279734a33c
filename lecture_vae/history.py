"""History: the results of a training, and the state from which it is resumed."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Shaped
from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Checkpoint", "History", "storable_codes"]


@dataclass
class History:
    """The results of each evaluation of a training.

    An entry of ``rows`` has ``step``; ``test_*`` for each term of the objective and for ``loss``,
    with the same noise at every evaluation; and ``train_*``, their means over the steps since the
    last evaluation (absent at step 0). Terms and losses are in the units of their objective.

    An entry of ``latents`` is [M, d]: the codes of the first M test images, flattened; float16, or
    int32 for integer codes. M is limited by 64 KiB per evaluation.

    ``code`` holds the codes of the whole test set at the last evaluation, [N, ...]; None if another
    process made it.

    Examples:
        >>> history = History([{"step": 0, "test_loss": 200.0}, {"step": 9, "test_loss": 50.0}])
        >>> history.steps
        [0, 9]
        >>> history.frame()
           step  test_loss
        0     0      200.0
        1     9       50.0
    """

    rows: list[dict[str, float | int]] = field(default_factory=list)
    latents: list[np.ndarray] = field(default_factory=list)
    seconds: float = 0.0  # spent training and evaluating
    code: Tensor | None = field(default=None, repr=False, compare=False)  # see below

    @property
    def steps(self) -> list[int]:
        """The step of each evaluation."""
        return [int(row["step"]) for row in self.rows]

    def frame(self) -> "pd.DataFrame":
        """The rows as a table, with one column for each entry; ``train_*`` is NaN at step 0.

        Raises:
            IndexError: If there is no row yet.
        """
        import pandas as pd

        return pd.DataFrame(self.rows, columns=list(self.rows[-1])).astype({"step": int})


class Checkpoint(NamedTuple):
    """The state of a training at an evaluation, from which it can be resumed.

    The tensors are the model's own and change with the next step: copy or save them at once.

    Examples:
        >>> checkpoint = Checkpoint(build_model("linear-ae").state_dict(), {}, History())
        >>> checkpoint.model["decoder.0.weight"].shape
        torch.Size([32, 2])
    """

    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    history: History


def storable_codes(code: Shaped[Tensor, "N ..."]) -> Shaped[Tensor, "N d"]:
    """Codes, flattened, in the type that a run stores: float16, or int32 for integer codes.

    Args:
        code: One code for each image, [N, ...].

    Returns:
        [N, d].

    Examples:
        >>> storable_codes(torch.zeros(5, 4, 4, 4)).shape
        torch.Size([5, 64])
        >>> storable_codes(torch.tensor([3, 1])).dtype
        torch.int32
    """
    flat = code.reshape(len(code), -1)
    return flat.half() if flat.is_floating_point() else flat.int()
