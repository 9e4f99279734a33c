"""The chapters are executed side by side, before Sphinx reads them.

MyST-NB executes a chapter when Sphinx reads it, one after the other, while the other cores idle.
Here all chapters that are about to be read are executed, as many at a time as there are cores, and
kept in MyST-NB's cache, where the reading finds them. Chapters that need the same run wait for it.
"""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import Thread

from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from jupyter_cache.cache.main import JupyterCacheBase
from jupyter_core.utils import ensure_event_loop
from myst_nb.core.read import create_nb_reader
from myst_nb.sphinx_ import SphinxEnvType
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

from lecture_book.execution import run_cells
from lecture_vae.cluster import cores


def execute_side_by_side(app: Sphinx, env: SphinxEnvType, docnames: list[str]) -> None:
    """Execute those of the pages that have cells and are not in the cache yet.

    A chapter that fails is not kept, so that its reading executes it again and says what is wrong.
    """
    config = env.mystnb_config
    if config.execution_mode != "cache":
        return
    # Shared by the threads: each takes the next one. The last chapters come first, for they take
    # longest, and one that began at the end would be waited for.
    remaining = iter(sorted(docnames, reverse=True))
    failed: list[Exception] = []

    def work() -> None:
        with closing(ensure_event_loop()):  # the client's, one for each thread
            for docname in remaining:
                try:
                    _execute(env, docname)
                except Exception as error:  # such as a full disk: the others would fail, too
                    failed.append(error)
                if failed:
                    return

    try:
        with cache_in(config.execution_cache_path) as cache:
            cache.list_cache_records()  # made once, before the threads
        # As daemons they end with this process, when somebody interrupts it; kernels follow.
        threads = [Thread(target=work, daemon=True) for _ in range(cores())]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except Exception as error:
        failed.append(error)
    if failed:
        raise ExtensionError(
            f"The chapters cannot be executed: {_cause(failed[0])}", modname=__name__
        ) from failed[0]


def _cause(error: BaseException) -> str:
    """What lies behind an error, in one line; SQLAlchemy adds the statement to it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}".splitlines()[0]


@contextmanager
def cache_in(folder: str) -> Iterator[JupyterCacheBase]:
    """MyST-NB's cache in a folder; its database is closed at the end."""
    cache = get_cache(folder)
    try:
        yield cache
    finally:
        cache.db.dispose()


def _execute(env: SphinxEnvType, docname: str) -> None:
    config = env.mystnb_config
    path = Path(env.doc2path(docname))
    text = path.read_text(encoding="utf-8")
    reader = create_nb_reader(str(path), env.myst_config, config, text)
    if reader is None:  # a page without cells
        return
    notebook = reader.read(text)
    with cache_in(config.execution_cache_path) as cache, suppress(KeyError):
        cache.match_cache_notebook(notebook)
        return
    begun = time.monotonic()
    try:
        run_cells(notebook, path.parent, config.execution_timeout)
    except (CellExecutionError, CellTimeoutError, DeadKernelError):
        return
    taken = {"execution_seconds": time.monotonic() - begun}
    with cache_in(config.execution_cache_path) as cache:
        executed = CacheBundleIn(notebook, str(path), data=taken)
        cache.cache_notebook_bundle(executed, check_validity=False, overwrite=True)
