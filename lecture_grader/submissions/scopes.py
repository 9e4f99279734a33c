"""Scopes: the names that are local to a function, class or comprehension."""

import ast
from dataclasses import dataclass, field

__all__ = ["Comprehension", "Scope", "add_bindings"]

Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


@dataclass
class Scope:
    """The scope of a function, class or comprehension."""

    bound: set[str]
    outside: set[str] = field(default_factory=set)  # declared global
    is_class: bool = False


def add_bindings(node: ast.AST, scope: Scope) -> None:
    """Adds the names that a part of a function binds, without those of inner scopes."""
    todo = [node]
    while todo:
        each = todo.pop()
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            scope.bound.add(each.name)
            continue
        if isinstance(each, ast.Lambda):
            continue
        if isinstance(each, Comprehension):
            inner = [part for part in ast.walk(each) if isinstance(part, ast.NamedExpr)]
            scope.bound |= {part.target.id for part in inner}
            continue
        if isinstance(each, ast.Global):
            scope.outside |= set(each.names)
        elif isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
            scope.bound.add(each.id)
        elif isinstance(each, ast.alias):
            scope.bound.add((each.asname or each.name).split(".")[0])
        elif isinstance(each, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and each.name:
            scope.bound.add(each.name)
        elif isinstance(each, ast.MatchMapping) and each.rest:
            scope.bound.add(each.rest)
        todo += ast.iter_child_nodes(each)
