"""Syntax: a cell of a notebook as a tree, also where only IPython understands it.

Nothing here runs a cell.
"""

import ast
import re
import warnings
from collections.abc import Sequence
from typing import Any

__all__ = ["UNPARSABLE", "parse", "written"]

MAX_SOURCE = 200_000  # characters; the tree of one longer cell could fill the memory
# Dots in a row, or brackets opened: beyond what anybody writes, and parsers take memory by them.
TOO_DEEP = re.compile(r"(?:\.\s*){500}|(?:[(\[{]\s*){200}")
UNPARSABLE = (SyntaxError, ValueError, RecursionError, MemoryError)
RUNS_PYTHON = {"debug", "lprun", "memit", "mprun", "prun", "time", "timeit"}  # magics of a line
OTHER_LANGUAGES = {  # magics of a cell that is not Python, or that runs elsewhere
    "!", "HTML", "R", "SVG", "bash", "cmd", "cython", "file", "html", "javascript", "js", "latex",
    "markdown", "perl", "pypy", "python", "python2", "python3", "ruby", "script", "sh", "sql",
    "svg", "sx", "system", "writefile",
}  # fmt: skip


def parse(source: str) -> ast.Module:
    """The tree of a cell, without magics: those that run Python are what they run.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: It is no code, or too much.
    """
    if len(source) > MAX_SOURCE or TOO_DEEP.search(source):
        raise ValueError(f"more than {MAX_SOURCE:,} characters, or nested too deeply")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a formula in a docstring: invalid escape sequence
        try:
            return ast.parse(source)
        except SyntaxError:
            # Only here, because to import IPython takes longer than to read a notebook.
            from IPython.core.inputtransformer2 import TransformerManager

            tree = ast.parse(TransformerManager().transform_cell(source))
    tree = _Magics().visit(tree)
    tree.body = [part for part in tree.body if not isinstance(part, ast.Pass)]
    return tree


class _Magics(ast.NodeTransformer):
    """Puts what a magic means for names in its place."""

    def visit_Expr(self, node: ast.Expr) -> Any:
        magic = _magic(node.value)
        if magic is None:
            return self.generic_visit(node)
        return self._meaning(*magic) or ast.Pass()

    def _meaning(self, name: str, line: str, text: str) -> Sequence[ast.stmt]:
        if name == "run":  # which may define anything
            module = line.split(".py")[0].split("/")[-1].strip("'\" ")
            return parse(f"from {module if module.isidentifier() else 'it'} import *").body
        if name == "pylab":
            return parse("from pylab import *").body
        if text and name not in OTHER_LANGUAGES:
            return parse(text).body
        if not text and name in RUNS_PYTHON and not line.startswith("-"):
            return parse(line).body
        return []


def _magic(call: ast.expr) -> tuple[str, str, str] | None:
    """Name, line and text of a magic; a command for the shell and a question are magics too."""
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
        return None
    shell = call.func.value
    if not isinstance(shell, ast.Call) or not isinstance(shell.func, ast.Name):
        return None
    if shell.func.id != "get_ipython":
        return None
    if call.func.attr not in ("run_line_magic", "run_cell_magic"):
        return "!", "", ""
    values = [str(each.value) for each in call.args if isinstance(each, ast.Constant)]
    name, line, text = (*values, "", "", "")[:3]
    return name, line, text


def written(source: str) -> tuple[str, str] | None:
    """The name of the module that a cell with ``%%writefile`` writes, and its text."""
    head, _, text = source.lstrip().partition("\n")
    found = re.match(r"%%(?:writefile|file)\s+(?:-a\s+)?[\"']?(?:\./)?([^\s\"']+)", head)
    if found is None:
        return None
    return found[1].split("/")[0].removesuffix(".py"), text
