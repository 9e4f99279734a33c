"""The secret seed of a grading, and the numbers that are drawn from it."""

import hashlib
import hmac
import re
import secrets
from functools import partial
from pathlib import Path

from lecture_vae.storage import write_atomically

__all__ = ["number_from", "read_seed"]

SEED = re.compile(r"[A-Za-z0-9]+")


def read_seed(path: Path) -> str:
    """The secret that the cases are drawn from: made once, then kept.

    Raises:
        OSError: The file cannot be read or written, or holds no seed.
    """
    try:
        seed = path.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        seed = secrets.token_hex(16)
        write_atomically(
            path, partial(Path.write_text, data=seed + "\n", encoding="ascii"), private=True
        )
    if not SEED.fullmatch(seed):
        raise OSError(
            f"{path} holds the secret that hidden cases are drawn from, as a line of letters and "
            f"digits; it {'is empty' if not seed else 'holds something else'}. Put back a copy, so "
            "that the same answers meet the same cases, or delete it to have other ones drawn."
        )
    return seed


def number_from(seed: str, *parts: str) -> int:
    """A whole number that only the holder of the seed can tell."""
    digest = hmac.new(seed.encode(), "/".join(parts).encode(), hashlib.sha256).digest()
    return int.from_bytes(digest[:8], "big")
