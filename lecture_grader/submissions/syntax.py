"""Syntax: parse a cell of a notebook, including IPython's magics.

Nothing here runs a cell.
"""

import ast
import re
import warnings
from collections.abc import Sequence
from typing import Any

__all__ = ["UNPARSABLE", "parse", "written_module"]

MAX_SOURCE = 200_000  # characters; the tree of a longer cell could exhaust the memory
# Chains of dots or brackets: the parser's memory grows with their depth.
TOO_DEEP = re.compile(r"(?:\.\s*){500}|(?:[(\[{]\s*){200}")
UNPARSABLE = (SyntaxError, ValueError, RecursionError, MemoryError)
RUNS_PYTHON = {"debug", "lprun", "memit", "mprun", "prun", "time", "timeit"}  # line magics
OTHER_LANGUAGES = {  # cell magics whose body is not Python, or runs in another process
    "!", "HTML", "R", "SVG", "bash", "cmd", "cython", "file", "html", "javascript", "js", "latex",
    "markdown", "perl", "pypy", "python", "python2", "python3", "ruby", "script", "sh", "sql",
    "svg", "sx", "system", "writefile",
}  # fmt: skip


def parse(source: str) -> ast.Module:
    """The syntax tree of a cell; magics that run Python are replaced by their code.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: It is not code, or too complex.
    """
    if len(source) > MAX_SOURCE or TOO_DEEP.search(source):
        raise ValueError(f"more than {MAX_SOURCE:,} characters, or nested too deeply")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a formula in a docstring: invalid escape sequence
        try:
            return ast.parse(source)
        except SyntaxError:
            # Here, because importing IPython takes longer than reading a notebook.
            from IPython.core.inputtransformer2 import TransformerManager

            tree = ast.parse(TransformerManager().transform_cell(source))
    tree = _Magics().visit(tree)
    tree.body = [part for part in tree.body if not isinstance(part, ast.Pass)]
    return tree


class _Magics(ast.NodeTransformer):
    """Replaces a magic by code with the same effect on names."""

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
    """Name, line and body of a magic; shell commands and ``object?`` count as magics."""
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


def written_module(source: str) -> tuple[str, str] | None:
    """Name and source of the module that a cell with ``%%writefile`` writes; None without it."""
    head, _, text = source.lstrip().partition("\n")
    found = re.match(r"%%(?:writefile|file)\s+(?:-a\s+)?[\"']?(?:\./)?([^\s\"']+)", head)
    if found is None:
        return None
    return found[1].split("/")[0].removesuffix(".py"), text
