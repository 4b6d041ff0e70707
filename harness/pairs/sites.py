"""Where a function can be made wrong: every place one small edit would change what it computes.

Left alone are the signature (it is part of the prompt), annotations, `raise` statements and f-strings (their text is
not what a function computes), and places where any edit would give itself away by its looks alone: a minus between
strings, parentheses nobody writes, an empty block. Which of the sites are edited is for `mutate` to choose.
"""

from __future__ import annotations

import ast
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from harness.corpus.normalise import FunctionNode
from harness.pairs import edits

Edit = Callable[[random.Random], bool]

# Another operator · another comparison · and/or exchanged, `not` added or removed · another number, truth value or key
# string · another variable already bound · a statement left out · two neighbouring arguments exchanged · a statement
# exchanged with the one before it, which binds a name that it uses.
KINDS = ("arithmetic", "comparison", "boolean", "constant", "variable", "statement", "arguments", "order")

_UNTOUCHED = (ast.Raise, ast.JoinedStr, ast.arguments, ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal)
_UNTOUCHED_FIELDS = frozenset({"annotation", "returns", "decorator_list"})
# Names bound inside these are not the function's own.
_SCOPES = (
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
)
# Exchanging the receiver for another variable, or the other way round, is seen at a glance.
_RECEIVERS = frozenset({"self", "cls", "mcs", "_"})
# `+`, `*` and `%` on these mean joining, repeating and formatting: no other operator would even run.
_SEQUENCES = (ast.JoinedStr, ast.List, ast.Tuple, ast.Dict, ast.ListComp)
_SEQUENCE_CALLS = frozenset({"str", "repr", "list", "tuple", "join", "format", "strip", "lower", "upper", "replace"})
# Exchanging these calls' arguments changes nothing, or is seen at a glance.
_FIXED_ARGUMENTS = frozenset(
    {"min", "max", "gcd", "lcm", "union", "intersection", "isinstance", "issubclass", "getattr", "setattr", "hasattr"}
)
# Nothing follows these, and nothing that only defines uses a name before it is called.
_NO_SECOND = (
    *(ast.Return, ast.Raise, ast.Continue, ast.Break),
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef),
)
_SIMPLE_STATEMENTS = (ast.Expr, ast.Assign, ast.AugAssign, ast.Return, ast.Raise, ast.Continue, ast.Break, ast.Delete)


@dataclass(frozen=True, slots=True)
class Site:
    """One possible edit.

    Attributes:
        kind: one of `KINDS`.
        line: of the source the tree was parsed from, from 1.
        first, last: what it owns, as an inclusive range of pre-order node numbers. Of two sites whose ranges overlap
            only one can be edited.
        edit: changes the tree in place; False, and nothing changed, if an earlier edit stands in the way.
    """

    kind: str
    line: int
    first: int
    last: int
    edit: Edit

    def overlaps(self, other: Site) -> bool:
        return self.first <= other.last and other.first <= self.last


def find_sites(function: FunctionNode) -> dict[str, list[Site]]:
    """All sites of a function's body: kind -> sites in source order; every one of `KINDS` is a key."""
    finder = _Finder(function)
    finder.block(function.body)
    finder.add_strings_and_variables()
    return finder.sites


class _Finder:
    """Walks a body once, in source order, noting sites and what it has seen bound and compared on the way."""

    def __init__(self, function: FunctionNode) -> None:
        arguments = function.args
        parameters = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        self.sites: dict[str, list[Site]] = {kind: [] for kind in KINDS}
        self.body = function.body
        self.clock = 0  # pre-order number of the node being visited
        self.statement_line = 0
        self.scopes = 0  # how many scopes inside the function's own
        self.bound = {parameter.arg: 0 for parameter in parameters if parameter is not None}
        self.variables: list[tuple[ast.Name, int, int]] = []  # node, number, line of its statement
        self.strings: list[tuple[ast.Constant, int]] = []  # node, number
        # Nodes whose parent decides about them, by id; the tree keeps them alive.
        self.deciding = set[int]()  # strings compared or used as a key
        self.inside_boolean = set[int]()
        self.negative = set[int]()
        self.fixed = set[int]()  # variables called or unpacked: another one would not even run

    def add(self, kind: str, node: Any, edit: Edit, first: int | None = None) -> None:
        """Note a site that owns the node being visited or, given `first`, all from there to the latest node."""
        self.sites[kind].append(Site(kind, node.lineno, self.clock if first is None else first, self.clock, edit))

    def block(self, statements: list[ast.stmt]) -> None:
        start_before = 0
        for before, statement in zip([None, *statements], statements, strict=False):
            self.statement_line = statement.lineno
            first = self.clock + 1
            self.walk(statement)
            if len(statements) > 1 and self.is_droppable(statement):
                self.add("statement", statement, partial(edits.drop, statements, statement), first)
            if before is not None and self.needs(statement, before):
                self.add("order", statement, partial(edits.exchange, statements, before), start_before)
            start_before = first

    def walk(self, node: ast.AST) -> None:
        self.clock += 1
        if isinstance(node, _UNTOUCHED):
            return
        scope = isinstance(node, _SCOPES)
        self.scopes += scope
        visit = _VISITORS.get(type(node))
        if visit is not None:
            visit(self, node)
        for field in node._fields:
            value = getattr(node, field, None)
            if isinstance(value, ast.AST):
                if field not in _UNTOUCHED_FIELDS:
                    self.child(value, node, field)
            elif isinstance(value, list) and value and field not in _UNTOUCHED_FIELDS:
                if isinstance(value[0], ast.stmt):
                    self.block(value)
                elif field == "args" and isinstance(node, ast.Call):
                    self.arguments(node)
                else:
                    for index, item in enumerate(value):
                        if isinstance(item, ast.AST):
                            self.child(item, value, index)
        self.scopes -= scope

    def child(self, child: ast.AST, container: Any, place: str | int) -> None:
        """Walk one child, then note whether a `not` can be added to it or taken from it."""
        first = self.clock + 1
        self.walk(child)
        if isinstance(child, ast.UnaryOp) and isinstance(child.op, ast.Not):
            # `not (a or b)` beside another `and`/`or` would leave parentheses behind.
            if not (isinstance(child.operand, ast.BoolOp) and id(child) in self.inside_boolean):
                self.add("boolean", child, partial(edits.remove_not, container, place), first)
        # A comparison is negated by `comparison`, which looks natural; `not a == b` does not.
        elif place == "test" and not isinstance(child, ast.Compare | ast.Constant | ast.NamedExpr | ast.IfExp):
            self.add("boolean", child, partial(edits.negate, container, place), first)

    def arguments(self, call: ast.Call) -> None:
        """Walk a call's positional arguments and note which neighbours can be exchanged."""
        fixed = _called_name(call) in _FIXED_ARGUMENTS
        start_before = 0
        for index, argument in enumerate(call.args):
            start = self.clock + 1
            self.child(argument, call.args, index)
            if index > 0 and not fixed and _can_be_exchanged(call.args[index - 1], argument):
                self.add("arguments", argument, partial(edits.swap_arguments, call, index - 1), start_before)
            start_before = start

    def is_droppable(self, statement: ast.stmt) -> bool:
        """Whether a function without the statement still looks whole: it leaves no name undefined."""
        match statement:
            case ast.If(body=[ast.Return() | ast.Raise() | ast.Continue() | ast.Break() | ast.Expr()], orelse=[]):
                return True
            case ast.Expr(value=ast.Constant()):
                return False
            case ast.Return(value=None | ast.Constant(value=None)):
                return statement is not self.body[-1]
            case ast.Assign(targets=targets):
                names = [node for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
                stored = [name.id for name in names if isinstance(name.ctx, ast.Store)]
                return all(self.bound.get(name, statement.lineno) < statement.lineno for name in stored)
        return isinstance(statement, _SIMPLE_STATEMENTS)

    def needs(self, statement: ast.stmt, before: ast.stmt) -> bool:
        """Whether a statement uses a name that the one before it is the first to bind."""
        if not isinstance(before, ast.Assign) or isinstance(statement, _NO_SECOND):
            return False
        used = {
            node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
        }
        return any(self.bound.get(name) == before.lineno for name in used)

    def binary(self, node: ast.BinOp | ast.AugAssign) -> None:
        operands = [node.left, node.right] if isinstance(node, ast.BinOp) else [node.value]
        if type(node.op) in edits.OPERATORS and not any(map(_is_sequence, operands)):
            self.add("arithmetic", node, partial(edits.other_operator, node))

    def compare(self, node: ast.Compare) -> None:
        for index in range(len(node.ops)):
            self.add("comparison", node, partial(edits.other_comparison, node, index))
        for side in (node.left, *node.comparators):
            elements = side.elts if isinstance(side, ast.Tuple | ast.List | ast.Set) else [side]
            self.deciding.update(map(id, elements))

    def boolean(self, node: ast.BoolOp) -> None:
        self.inside_boolean.update(map(id, node.values))
        # Beside another `and`/`or` the exchanged operator would leave, or need, parentheses nobody writes.
        if id(node) not in self.inside_boolean and not any(isinstance(value, ast.BoolOp) for value in node.values):
            self.add("boolean", node, partial(edits.exchange_and_or, node))

    def unary(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.USub):
            self.negative.add(id(node.operand))

    def subscript(self, node: ast.Subscript) -> None:
        self.deciding.add(id(node.slice))

    def call(self, node: ast.Call) -> None:
        self.fixed.add(id(node.func))

    def unpacking(self, node: ast.Starred | ast.keyword) -> None:
        if isinstance(node, ast.Starred) or node.arg is None:
            self.fixed.add(id(node.value))

    def constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, str):
            if id(node) in self.deciding:
                self.strings.append((node, self.clock))
        elif isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
            self.add("constant", node, partial(edits.other_number, node, negated=id(node) in self.negative))

    def name(self, node: ast.Name) -> None:
        if node.id in _RECEIVERS:
            return
        if isinstance(node.ctx, ast.Store):
            if self.scopes == 0:
                self.bound.setdefault(node.id, self.statement_line)
        elif isinstance(node.ctx, ast.Load) and id(node) not in self.fixed:
            self.variables.append((node, self.clock, self.statement_line))

    def add_strings_and_variables(self) -> None:
        """Note the sites that depend on the whole function's strings and variables."""
        values = sorted({str(node.value) for node, _ in self.strings})
        for text, number in self.strings:
            others = [value for value in values if value != text.value]
            if others:
                self.sites["constant"].append(
                    Site("constant", text.lineno, number, number, partial(edits.other_of, others, text, "value"))
                )
        names = sorted(name for name in self.bound if name not in _RECEIVERS)
        for variable, number, line in self.variables:
            if variable.id not in self.bound:
                continue
            others = [name for name in names if self.bound[name] < line and name != variable.id]
            if others:
                self.sites["variable"].append(
                    Site("variable", variable.lineno, number, number, partial(edits.other_of, others, variable, "id"))
                )


_VISITORS: dict[type[ast.AST], Callable[[_Finder, Any], None]] = {
    ast.BinOp: _Finder.binary,
    ast.AugAssign: _Finder.binary,
    ast.Compare: _Finder.compare,
    ast.BoolOp: _Finder.boolean,
    ast.UnaryOp: _Finder.unary,
    ast.Subscript: _Finder.subscript,
    ast.Call: _Finder.call,
    ast.Starred: _Finder.unpacking,
    ast.keyword: _Finder.unpacking,
    ast.Constant: _Finder.constant,
    ast.Name: _Finder.name,
}


def _is_sequence(node: ast.expr) -> bool:
    """Whether an operand is plainly text or a list, looking through sums of them."""
    if isinstance(node, ast.BinOp):
        return _is_sequence(node.left) or _is_sequence(node.right)
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str | bytes)
    if isinstance(node, ast.Call):
        return _called_name(node) in _SEQUENCE_CALLS
    return isinstance(node, _SEQUENCES)


def _called_name(call: ast.Call) -> str:
    function = call.func
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")


def _can_be_exchanged(left: ast.expr, right: ast.expr) -> bool:
    """Whether two arguments differ and either could stand in the other's place: constants of a type, or neither one."""
    if isinstance(left, ast.Starred) or isinstance(right, ast.Starred):
        return False
    if isinstance(left, ast.Constant) and isinstance(right, ast.Constant):
        return type(left.value) is type(right.value) and left.value != right.value
    if isinstance(left, ast.Constant) or isinstance(right, ast.Constant):
        return False
    return type(left) is not type(right) or ast.dump(left) != ast.dump(right)
