"""Mutated documents of JSON, as strategies of Hypothesis. No test in here."""

import copy
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

__all__ = ["mutated"]


@st.composite
def mutated(
    draw: st.DrawFn,
    documents: st.SearchStrategy[Any],
    spares: st.SearchStrategy[Any],
    keys: Sequence[str],
) -> Any:
    """A document of which up to four parts are a spare one, or stand under another key."""
    root = [copy.deepcopy(draw(documents))]
    for _ in range(draw(st.integers(1, 4))):
        parent, key = root, 0
        while isinstance(parent[key], dict | list) and parent[key] and draw(st.integers(0, 7)):
            parent = parent[key]
            key = draw(
                st.sampled_from(list(parent if isinstance(parent, dict) else range(len(parent))))
            )
        if isinstance(parent, dict) and not draw(st.integers(0, 4)):
            parent[draw(st.sampled_from(keys))] = parent.pop(key)
        else:
            parent[key] = copy.deepcopy(draw(spares))
    return root[0]
