"""The chapters are executed side by side, before Sphinx reads them.

MyST-NB executes a chapter when Sphinx reads it, one after the other, while the other cores idle.
Here all chapters that are about to be read are executed, as many at a time as there are cores, and
kept in MyST-NB's cache, where the reading finds them. Chapters that need the same run wait for it.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import Thread

from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from jupyter_cache.cache.main import JupyterCacheBase
from jupyter_cache.executors.utils import single_nb_execution
from jupyter_core.utils import ensure_event_loop
from myst_nb.core.read import create_nb_reader
from myst_nb.sphinx_ import SphinxEnvType
from sphinx.application import Sphinx

from lecture_book.execution import with_a_kernel
from lecture_vae.cluster import cores


def execute_side_by_side(app: Sphinx, env: SphinxEnvType, docnames: list[str]) -> None:
    """Execute those of the pages that have cells and are not in the cache yet.

    A chapter that fails is not kept, so that its reading executes it again and says what is wrong.
    """
    config = env.mystnb_config
    if config.execution_mode != "cache":
        return
    with cache_in(config.execution_cache_path) as cache:
        cache.list_cache_records()  # made once, before the threads
    remaining = iter([*docnames])  # shared by the threads: each takes the next one

    def work() -> None:
        with closing(ensure_event_loop()):  # the client's, one for each thread
            for docname in remaining:
                with suppress(RuntimeError):  # a kernel that ended
                    _execute(env, docname)

    # As daemons they end with this process, when somebody interrupts it; kernels follow.
    threads = [Thread(target=work, daemon=True) for _ in range(cores())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


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
    result = with_a_kernel(
        lambda: single_nb_execution(
            notebook, cwd=str(path.parent), timeout=config.execution_timeout, allow_errors=False
        )
    )
    if result.err is None:
        executed = CacheBundleIn(notebook, str(path), data={"execution_seconds": result.time})
        with cache_in(config.execution_cache_path) as cache:
            cache.cache_notebook_bundle(executed, check_validity=False, overwrite=True)
