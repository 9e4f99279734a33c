"""The secret seed of a grading, and the seeds that are derived from it."""

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
    """Read the secret seed of the hidden cases from a file, which is made if it is missing.

    Raises:
        OSError: The file cannot be read or written, or does not hold a seed.
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
            f"digits; it {'is empty' if not seed else 'holds something else'}. Restore a copy, so "
            "that the same answers meet the same cases, or delete it to draw new cases."
        )
    return seed


def number_from(seed: str, *parts: str) -> int:
    """A 64-bit integer, derived by HMAC-SHA-256, that cannot be predicted without the seed."""
    digest = hmac.new(seed.encode(), "/".join(parts).encode(), hashlib.sha256).digest()
    return int.from_bytes(digest[:8], "big")
