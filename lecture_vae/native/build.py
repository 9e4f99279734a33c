"""Build: the kernels as a shared library, compiled once with the machine's C compiler.

The library is kept in the user's cache folder. It is code that is loaded, so the folder and the
file must belong to the user, and nobody else may write to them.
"""

import ctypes
import hashlib
import json
import os
import platform
import shlex
import stat
import subprocess
from functools import cache
from importlib import resources
from pathlib import Path

import torch

from lecture_vae.storage import cache_folder, write_atomically

__all__ = [
    "FAMILIES", "FLAGS", "SOURCES", "NotNativeError", "compile_command", "compiler",
    "kernel_sources", "load_kernels", "vector_family",
]  # fmt: skip

SOURCES = ("vectors.h", "products.h", "layers.h", "kernels.c")
FLAGS = (
    "-std=gnu11 -O3 -ffp-contract=fast -fno-math-errno -fno-trapping-math -Wno-psabi -shared -fPIC"
)
# Flags by family, so that the machines of a mixed cluster can share a cache. "-march=native" would
# be no faster: the kernels use nothing but these.
FAMILIES = {
    "avx512": "-mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma",
    "avx2": "-mavx2 -mfma",
    "neon": "",
}
INSTALL = "on Debian and Ubuntu: apt install gcc; with conda: conda install c-compiler"
COMPILE_SECONDS = 120


class NotNativeError(ValueError):
    """A training cannot run in the native kernels; the message says why.

    Examples:
        >>> from lecture_vae.native.plan import Plan
        >>> Plan(build_model("linear-vae"), NegativeELBO(), batch_size=50)
        Traceback (most recent call last):
        ...
        lecture_vae.native.build.NotNativeError: the batch size must be a multiple of 16, got 50
    """


def vector_family() -> str | None:
    """The vector instructions to compile for: "avx512", "avx2", "neon"; None without any of them.

    It follows torch, so that ``ATEN_CPU_CAPABILITY=avx2`` restricts both.

    Examples:
        >>> vector_family() in ("avx512", "avx2", "neon", None)
        True
    """
    machine = platform.machine().lower()
    if machine in ("arm64", "aarch64"):
        return "neon"
    if machine in ("amd64", "x86_64"):
        capability = torch.backends.cpu.get_cpu_capability()
        return {"AVX512": "avx512", "AVX2": "avx2"}.get(capability)
    return None


def kernel_sources() -> dict[str, str]:
    """The C files of the kernels: name -> text.

    Examples:
        >>> list(kernel_sources())
        ['vectors.h', 'products.h', 'layers.h', 'kernels.c']
    """
    folder = resources.files("lecture_vae.native")
    return {name: folder.joinpath(name).read_text(encoding="utf-8") for name in SOURCES}


@cache
def load_kernels(batch_size: int) -> ctypes.CDLL:
    """The kernels for a batch size, compiled if they are not in the cache.

    Args:
        batch_size: Images in a batch, a multiple of 16.

    Raises:
        NotNativeError: If there is no compiler, no vector instructions, or no safe cache folder.
    """
    family = vector_family()
    if family is None or os.name != "posix":
        raise NotNativeError("this processor or system has none of AVX2, AVX-512, NEON")
    command = compile_command(family, batch_size)
    made_of = json.dumps([kernel_sources(), command, _version(compiler())])
    key = hashlib.sha256(made_of.encode()).hexdigest()[:16]
    folder = cache_folder()
    if folder is None:
        raise NotNativeError(
            "the compiled kernels need a cache folder, and this user has no home folder"
        )
    library = folder / "native" / f"{family}-{key}.so"
    try:
        if not library.exists():
            write_atomically(library, lambda path: _compile(command, path), private=True)
        _check_owner(library.parent)
        _check_owner(library)
        return ctypes.CDLL(str(library))
    except OSError as error:
        raise NotNativeError(f"the compiled kernels cannot be kept or loaded: {error}") from error


def compiler() -> list[str]:
    """The C compiler with its options: what the environment variable CC says, or else ``cc``.

    Examples:
        >>> len(compiler()) >= 1
        True
    """
    return shlex.split(os.environ.get("CC") or "cc")


def compile_command(family: str, batch_size: int) -> list[str]:
    """The compiler and its flags for a shared library with a family's vector instructions.

    Examples:
        >>> "-mavx2" in compile_command("avx2", 64)
        True
    """
    return [*compiler(), *FLAGS.split(), *FAMILIES[family].split(), f"-DBATCH={batch_size}"]


def _version(compiler: list[str]) -> str:
    try:
        return subprocess.run(
            [*compiler, "--version"], check=True, capture_output=True, text=True, timeout=30
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise NotNativeError(
            f"there is no C compiler, {shlex.join(compiler)} ({INSTALL})"
        ) from error


def _compile(command: list[str], library: Path) -> None:
    source = resources.files("lecture_vae.native").joinpath("kernels.c")
    with resources.as_file(source) as file:
        try:
            subprocess.run(
                [*command, "-o", str(library), str(file), "-lm"],
                check=True,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=COMPILE_SECONDS,
            )
        except subprocess.CalledProcessError as error:
            lines = error.stderr.strip().splitlines() or [f"status {error.returncode}"]
            said = next((line for line in lines if "error" in line), lines[0])
            raise NotNativeError(f"the C compiler {command[0]} failed: {said}") from error
        except subprocess.TimeoutExpired as error:
            raise NotNativeError(f"the C compiler {command[0]} did not end") from error


def _check_owner(path: Path) -> None:
    """Refuse code that another user could have written."""
    found = path.stat()
    if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise NotNativeError(
            f"code is loaded only from files that nobody else can write, and {path} has the owner "
            f"{found.st_uid} and the mode {stat.S_IMODE(found.st_mode):o}. Remove it"
        )
