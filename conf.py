"""Read by plain Sphinx (`make book SPHINX=1`), not by Jupyter Book; all is in _config.yml."""

from pathlib import Path

from lecture_book.sphinx_config import sphinx_settings

globals().update(sphinx_settings(Path(__file__).parent))
