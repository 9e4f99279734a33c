"""Signatures in the reference of the package."""

from typing import Any

from sphinx.application import Sphinx


def readable_defaults(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None,
    returns: str | None,
) -> tuple[str | None, str | None]:  # fmt: skip
    """Write ``...`` for a default that a dataclass makes.

    Python shows it as ``<factory>``. A signature with that is no Python, so Sphinx 9 cuts it at
    commas, also within brackets, and looks for the pieces as types.
    """
    return signature and signature.replace("<factory>", "..."), returns
