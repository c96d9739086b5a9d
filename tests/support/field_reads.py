"""Which fields of the API's values a source tree reads, by following where the values go.

Owns a small flow analysis. Input: Python files. Output: pairs (class of `argosy.api`, field or property)
that are read, and pairs that are written by a constructor's keyword. It follows annotations, assignments,
loops, comprehensions, calls and attributes; a container counts as its items. Two shortcuts make it find
more than there is, never less: what a function or an attribute holds is looked up by its name alone, and
a call whose result is unknown holds what its arguments hold.
"""

from __future__ import annotations

import ast
import importlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from argosy.api.crd.table import values_in
from argosy.api.schema.value import Value

Types = frozenset[type[Value]]
Field = tuple[type[Value], str]
NONE: Types = frozenset()


@dataclass
class Reads:
    """What was found so far. `held`: classes by the name of a function or attribute that holds them."""

    read: set[Field] = field(default_factory=set)
    written: set[Field] = field(default_factory=set)
    held: defaultdict[str, set[type[Value]]] = field(default_factory=lambda: defaultdict(set))


def reads_of(paths: Iterable[Path]) -> Reads:
    """The fields that these modules read and write."""
    trees = [ast.parse(path.read_text("utf-8")) for path in paths]
    reads = Reads()
    # What one module holds another may read, whatever their order: a second pass sees it all.
    for _ in range(2):
        for tree in trees:
            _Flow(reads, _api_classes(tree)).block(tree.body, {})
    return reads


def _api_classes(tree: ast.Module) -> dict[str, type[Value]]:
    """The API's value classes by the names under which a module imports them."""
    found: dict[str, type[Value]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("argosy.api"):
            module = importlib.import_module(node.module or "")
            for alias in node.names:
                item = getattr(module, alias.name, None)
                if isinstance(item, type) and issubclass(item, Value):
                    found[alias.asname or alias.name] = item
    return found


Env = dict[str, Types]


@dataclass
class _Flow:
    """One pass over one module."""

    reads: Reads
    classes: Mapping[str, type[Value]]

    def block(self, body: Iterable[ast.stmt], env: Env) -> None:
        for statement in body:
            self.statement(statement, env)

    def statement(self, node: ast.stmt, env: Env) -> None:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self.reads.held[node.name] |= self.annotated(node.returns)
                args = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
                self.block(node.body, env | {a.arg: self.annotated(a.annotation) for a in args})
            case ast.ClassDef():
                for item in node.body:
                    if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                        self.reads.held[item.target.id] |= self.annotated(item.annotation)
                self.block(node.body, dict(env))
            case ast.Assign():
                for target in node.targets:
                    self.bind(target, self.value(node.value, env), env)
            case ast.AnnAssign():
                types = self.value(node.value, env) | self.annotated(node.annotation)
                self.bind(node.target, types, env)
            case ast.For() | ast.AsyncFor():
                self.bind(node.target, self.value(node.iter, env), env)
                self.block((*node.body, *node.orelse), env)
            case ast.Match():
                self.value(node.subject, env)
                for case in node.cases:
                    self.block(case.body, env)
            case _:
                self.other(node, env)

    def other(self, node: ast.AST, env: Env) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt):
                self.statement(child, env)
            elif isinstance(child, ast.expr):
                self.value(child, env)
            else:
                self.other(child, env)

    def bind(self, target: ast.expr, types: Types, env: Env) -> None:
        for node in ast.walk(target):
            if isinstance(node, ast.Name):
                env[node.id] = types
            elif isinstance(node, ast.Attribute):
                self.reads.held[node.attr] |= types

    def annotated(self, annotation: ast.expr | None) -> Types:
        """The API's classes that an annotation names."""
        names = (n.id for n in ast.walk(annotation) if isinstance(n, ast.Name)) if annotation else ()
        return frozenset(self.classes[name] for name in names if name in self.classes)

    def value(self, node: ast.AST | None, env: Env) -> Types:
        """The classes that an expression may hold; notes the fields read on the way."""
        match node:
            case None:
                return NONE
            case ast.Name():
                known = {self.classes[node.id]} if node.id in self.classes else NONE
                return env.get(node.id, NONE) | known
            case ast.Attribute():
                return self.attribute(node, env)
            case ast.Call():
                return self.call(node, env)
            case ast.Lambda():
                return self.value(node.body, env)
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                return self.comprehension(node, env)
            case ast.NamedExpr():
                types = self.value(node.value, env)
                self.bind(node.target, types, env)
                return types
            case _:
                return frozenset().union(*(self.value(child, env) for child in _expressions(node)))

    def attribute(self, node: ast.Attribute, env: Env) -> Types:
        known = self.value(node.value, env)
        owners = [o for o in known if node.attr in o.model_fields]
        properties = [o for o in known if isinstance(getattr(o, node.attr, None), property)]
        self.reads.read |= {(owner, node.attr) for owner in (*owners, *properties)}
        if owners:
            return frozenset(v for o in owners for v in values_in(o.model_fields[node.attr].annotation))
        return frozenset(self.reads.held[node.attr])

    def call(self, node: ast.Call, env: Env) -> Types:
        arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
        plain = [a for a in arguments if not isinstance(a, ast.Lambda)]
        given: Types = frozenset().union(*(self.value(a, env) for a in plain))
        for argument in arguments:
            if isinstance(argument, ast.Lambda):
                self.value(argument, env | {a.arg: given for a in argument.args.args})
        if isinstance(node.func, ast.Attribute):
            return self.value(node.func.value, env) | frozenset(self.reads.held[node.func.attr]) or given
        if isinstance(node.func, ast.Name):
            if made := self.classes.get(node.func.id):
                self.reads.written |= {(made, k.arg) for k in node.keywords if k.arg}
                return frozenset({made})
            return frozenset(self.reads.held[node.func.id]) or given
        return self.value(node.func, env) or given

    def comprehension(self, node: Any, env: Env) -> Types:
        inner = dict(env)
        for generator in node.generators:
            self.bind(generator.target, self.value(generator.iter, inner), inner)
            for condition in generator.ifs:
                self.value(condition, inner)
        if isinstance(node, ast.DictComp):
            self.value(node.key, inner)
            return self.value(node.value, inner)
        return self.value(node.elt, inner)


def _expressions(node: ast.AST) -> Iterator[ast.AST]:
    return (child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr))
