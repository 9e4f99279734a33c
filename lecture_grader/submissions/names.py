"""Names: a static analysis of the names that a cell defines, changes and needs.

The module symtable is not used: since Python 3.12 it counts the variables of comprehensions as
variables of the enclosing scope. Nothing here runs a cell.
"""

import ast
import builtins
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from lecture_grader.submissions.scopes import Comprehension, Scope, add_bindings
from lecture_grader.submissions.syntax import UNPARSABLE, parse, written_module

__all__ = ["Names", "find_names"]

WORDS = re.compile(r"\b[^\W\d]\w*\b")
# Definitions in a cell that does not parse: lines that start like one.
DEFINITION = re.compile(
    r"^(?:(?:async\s+)?def|class|import|from\s+\S+\s+import)\s+(\w+)|^(\w+)\s*=(?!=)", re.MULTILINE
)
# Methods that change their object even if their value is used, and functions that change their
# arguments.
MUTATORS = {
    "add", "append", "appendleft", "clear", "discard", "extend", "extendleft", "insert", "pop",
    "popitem", "popleft", "remove", "reverse", "setdefault", "sort", "update",
}  # fmt: skip
CHANGES_ITS_ARGUMENTS = {
    "copyto", "delattr", "heapify", "heappop", "heappush", "insort", "setattr", "shuffle",
}  # fmt: skip
CHANGES_NOTHING = {*dir(builtins), "display"}
Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


@dataclass
class Names:
    """How a cell uses the names of the notebook's namespace and the modules that cells write.

    A file ``m.py`` that a cell writes has the name "m.py", and ``import m`` needs it.
    """

    defines: dict[str, str] = field(default_factory=dict)  # how: "def", "=", or the import
    needs: set[str] = field(default_factory=set)  # read before it defines them
    touches: set[str] = field(default_factory=set)  # all that it reads
    changes: set[tuple[str, str]] = field(default_factory=set)  # (object, method or "")
    calls: set[str] = field(default_factory=set)  # names of functions
    later: set[tuple[str, str]] = field(default_factory=set)  # changes when its functions run
    anything: bool = False  # it may define any name, as from m import * does


def find_names(source: str) -> Names:
    """The names of a cell; found by regular expressions if it does not parse."""
    file = written_module(source)
    if file is not None:
        inner = find_names(file[1])
        modules = {name for name in inner.needs if name.endswith(".py")}
        return Names({f"{file[0]}.py": "writefile"}, modules)
    try:
        finder = _Finder()
        finder.module(parse(source))
        return finder.names
    except UNPARSABLE:
        words = set(WORDS.findall(source))
        defines = {a or b: "def" if a else "=" for a, b in DEFINITION.findall(source)}
        return Names(defines, words - defines.keys(), words)


class _Finder(ast.NodeVisitor):
    """Visits a cell in order of evaluation, bodies of functions last."""

    def __init__(self) -> None:
        self.names = Names()
        self.scopes: list[Scope] = []
        self.bodies: deque[tuple[list[Scope], Sequence[ast.AST]]] = deque()
        self.called_later = False

    def module(self, tree: ast.Module) -> None:
        self.visit(tree)
        self.called_later = True
        while self.bodies:
            self.scopes, nodes = self.bodies.popleft()
            for node in nodes:
                self.visit(node)

    # -- names

    def _global(self, name: str) -> bool:
        """Whether a name refers to the notebook's namespace in the current scope."""
        for depth, scope in enumerate(reversed(self.scopes)):
            if name in scope.outside:
                return True
            if name in scope.bound and not (scope.is_class and depth):
                return False
        return True

    def _bind(self, name: str, how: str) -> None:
        if not self.scopes or name in self.scopes[-1].outside:
            self.names.defines[name] = how
        else:
            self.scopes[-1].bound.add(name)

    def _load(self, name: str) -> None:
        if self._global(name):
            self.names.touches.add(name)
            if name not in self.names.defines:
                self.names.needs.add(name)
            if name in ("globals", "exec"):
                self.names.anything = True

    def _change(self, node: ast.AST, method: str = "") -> None:
        """Records that the object at the root of an expression is changed in place."""
        while isinstance(node, ast.Attribute | ast.Subscript | ast.Call | ast.Starred):
            node = node.func if isinstance(node, ast.Call) else node.value
        if isinstance(node, ast.Name) and self._global(node.id):
            changes = self.names.later if self.called_later else self.names.changes
            changes.add((node.id, method))

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._load(node.id)
        elif isinstance(node.ctx, ast.Store):
            self._bind(node.id, "=")

    def visit_Global(self, node: ast.Global) -> None:
        if self.scopes:
            self.scopes[-1].outside |= set(node.names)

    def visit_Import(self, node: ast.Import) -> None:
        for each in node.names:
            root = each.name.split(".")[0]
            self.names.needs.add(f"{root}.py")
            self._bind(each.asname or root, f"import {each.name if each.asname else root}")

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        self.names.needs.add(f"{module.split('.')[0]}.py")
        for each in node.names:
            if each.name == "*":
                self.names.anything = True
            else:
                self._bind(each.asname or each.name, f"import {module}.{each.name}")

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self._bind(node.name, "=")
        self.generic_visit(node)

    def visit_MatchAs(self, node: ast.MatchAs | ast.MatchStar) -> None:
        if node.name:
            self._bind(node.name, "=")
        self.generic_visit(node)

    visit_MatchStar = visit_MatchAs

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        if node.rest:
            self._bind(node.rest, "=")
        self.generic_visit(node)

    # -- the order of evaluation

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self.visit(target)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.visit(node.annotation)
        if node.value is not None:  # else nothing is bound
            self.visit(node.value)
            self.visit(node.target)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.visit(node.value)
        if isinstance(node.target, ast.Name):
            self._load(node.target.id)
        self.visit(node.target)

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        for part in (node.iter, node.target, *node.body, *node.orelse):
            self.visit(part)

    visit_AsyncFor = visit_For

    def visit_Attribute(self, node: ast.Attribute | ast.Subscript) -> None:
        if not isinstance(node.ctx, ast.Load):
            self._change(node)
        self.generic_visit(node)

    visit_Subscript = visit_Attribute

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call):
            self._effect(node.value)
        self.visit(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        called = node.func
        if isinstance(called, ast.Attribute):
            name = called.attr
            if name in MUTATORS:  # of a module itself, as in np.sort, it is a function
                self._change(called, name if isinstance(called.value, ast.Name) else "")
        else:
            name = called.id if isinstance(called, ast.Name) else ""
            if not self.called_later:
                self.names.calls.add(name)
        if name in CHANGES_ITS_ARGUMENTS or (name.endswith("_") and not name.endswith("__")):
            for argument in node.args:
                self._change(argument, "argument")
        self.generic_visit(node)

    def _effect(self, call: ast.Call) -> None:
        """Records the effects of a call whose value is not used."""
        if isinstance(call.func, ast.Attribute):
            self._change(call.func, call.func.attr)
        elif isinstance(call.func, ast.Name) and call.func.id not in CHANGES_NOTHING:
            for argument in call.args:
                self._change(argument, "argument")

    # -- scopes

    def _function(self, node: Function) -> None:
        arguments = node.args
        for default in (*arguments.defaults, *arguments.kw_defaults):
            if default is not None:
                self.visit(default)
        parameters = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        parameters += [each for each in (arguments.vararg, arguments.kwarg) if each]
        for each in parameters:
            if each.annotation is not None:
                self.visit(each.annotation)
        body = [node.body] if isinstance(node, ast.Lambda) else node.body
        scope = Scope({each.arg for each in parameters})
        scope.bound |= {each.name for each in getattr(node, "type_params", [])}
        for part in body:
            add_bindings(part, scope)
        scope.bound -= scope.outside
        self.bodies.append(([*self.scopes, scope], body))

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._decorators(node)
        if node.returns is not None:
            self.visit(node.returns)
        self._function(node)
        self._bind(node.name, "def")

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._function(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._decorators(node)
        for part in (*node.bases, *node.keywords):
            self.visit(part)
        self.scopes.append(Scope({each.name for each in getattr(node, "type_params", [])}))
        self.scopes[-1].is_class = True
        for statement in node.body:
            self.visit(statement)
        self.scopes.pop()
        self._bind(node.name, "def")

    def _decorators(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        for each in node.decorator_list:
            self.visit(each)
            if isinstance(each, ast.Attribute | ast.Call):  # @table.register, @register("x")
                self._change(each.func if isinstance(each, ast.Call) else each, "register")

    def _comprehension(self, node: Comprehension) -> None:
        self.visit(node.generators[0].iter)
        scope = Scope(set())
        for each in node.generators:
            add_bindings(each.target, scope)
        self.scopes.append(scope)
        for number, each in enumerate(node.generators):
            for part in (*([each.iter] if number else []), *each.ifs):
                self.visit(part)
        results = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        for part in results:
            if isinstance(part, ast.Call):
                self._effect(part)
            self.visit(part)
        self.scopes.pop()

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        # It binds in the scope around all comprehensions, which matters at the top level only.
        if self._is_top_level():
            self.names.defines[node.target.id] = "="

    def _is_top_level(self) -> bool:
        return not self.called_later and not any(scope.is_class for scope in self.scopes)
