"""The code cells and the metadata of a notebook."""

from pathlib import Path
from typing import Any

import nbformat
import yaml
from nbformat import NotebookNode

HIDDEN = {"hide-cell", "hide-input"}


def install_cell(root: Path) -> str:
    """The first code cell, which installs the package if it is missing, as on Colab."""
    repository = yaml.safe_load((root / "_config.yml").read_text(encoding="utf8"))["repository"]
    source = f"git+{repository['url']}@{repository['branch']}"
    return (
        "# Where the companion package is missing (a fresh Colab session), install it once.\n"
        "try:\n"
        "    import lecture_vae\n"
        "except ModuleNotFoundError:\n"
        f'    %pip install -q "lecture-vae @ {source}"'
    )


def code_cell(cell: NotebookNode) -> NotebookNode:
    """A code cell with its tags; cells that the site folds are folded in Jupyter and Colab too."""
    tags = list(cell.metadata.get("tags", []))
    metadata: dict[str, Any] = {"tags": tags} if tags else {}
    if HIDDEN & set(tags):
        metadata |= {"cellView": "form", "jupyter": {"source_hidden": True}}
    return nbformat.v4.new_code_cell(cell.source, metadata=metadata)


def notebook_metadata() -> dict[str, Any]:
    """The metadata of a notebook, without versions of the machine that ran it."""
    return {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
