"""How one small edit makes a function wrong: each maker here returns the edit of one place in a syntax tree.

An edit changes its tree in place and says whether it could; it draws what it needs from the generator it is given.
Which places are worth editing is for `sites`. Replacements keep an operator's precedence where Python has one to offer,
so that no parentheses betray the changed side.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Callable, Sequence
from typing import Any

Edit = Callable[[random.Random], bool]

OPERATORS: dict[type[ast.operator], tuple[type[ast.operator], ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div, ast.FloorDiv),
    ast.Div: (ast.Mult, ast.FloorDiv),
    ast.FloorDiv: (ast.Div, ast.Mod),
    ast.Mod: (ast.FloorDiv,),
    ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
}
COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Lt: (ast.LtE, ast.GtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.Gt, ast.GtE),
    ast.Gt: (ast.GtE, ast.LtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.Lt, ast.LtE),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}


def other_operator(node: ast.BinOp | ast.AugAssign) -> Edit:
    """`a + b` becomes `a - b`."""

    def edit(rng: random.Random) -> bool:
        node.op = rng.choice(OPERATORS[type(node.op)])()
        return True

    return edit


def other_comparison(node: ast.Compare, index: int) -> Edit:
    """`a < b` becomes `a <= b`, `a >= b` or `a > b`."""

    def edit(rng: random.Random) -> bool:
        node.ops[index] = rng.choice(COMPARISONS[type(node.ops[index])])()
        return True

    return edit


def exchange_and_or(node: ast.BoolOp) -> Edit:
    """`a and b` becomes `a or b`."""

    def edit(rng: random.Random) -> bool:
        node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        return True

    return edit


def negate(parent: Any, field: str) -> Edit:
    """`if a` becomes `if not a`."""

    def edit(rng: random.Random) -> bool:
        setattr(parent, field, ast.UnaryOp(op=ast.Not(), operand=getattr(parent, field)))
        return True

    return edit


def remove_not(container: Any, place: str | int) -> Edit:
    """`not a` becomes `a`, in a node's field (`place` is its name) or a list of nodes (its index)."""

    def edit(rng: random.Random) -> bool:
        if isinstance(place, str):
            setattr(container, place, getattr(container, place).operand)
        else:
            container[place] = container[place].operand
        return True

    return edit


def other_number(node: ast.Constant, *, negated: bool) -> Edit:
    """True becomes False, an integer moves by one, a float is doubled, halved or moved by one.

    Args:
        node: a truth value, an integer or a finite float.
        negated: it stands behind a minus sign, where a zero would tell.
    """

    def edit(rng: random.Random) -> bool:
        value = node.value
        if isinstance(value, bool):
            node.value = not value
        elif isinstance(value, float):
            node.value = rng.choice([value + 1.0, value * 2.0, value / 2.0]) if value else 1.0
        elif isinstance(value, int):
            smallest = 1 if negated else 0
            node.value = rng.choice([other for other in (value - 1, value + 1) if other >= smallest])
        return True

    return edit


def other_string(node: ast.Constant, others: Sequence[str]) -> Edit:
    """`row["start"]` becomes `row["end"]`, one of the function's own strings."""

    def edit(rng: random.Random) -> bool:
        node.value = rng.choice(others)
        return True

    return edit


def other_variable(node: ast.Name, others: Sequence[str]) -> Edit:
    """`left` becomes `right`, one of the function's own variables."""

    def edit(rng: random.Random) -> bool:
        node.id = rng.choice(others)
        return True

    return edit


def drop(block: list[ast.stmt], statement: ast.stmt) -> Edit:
    """Leave a statement out, unless it is the last its block has left."""

    def edit(rng: random.Random) -> bool:
        if len(block) == 1:
            return False
        block[:] = [other for other in block if other is not statement]
        return True

    return edit


def swap_arguments(call: ast.Call, index: int) -> Edit:
    """`f(a, b)` becomes `f(b, a)`, for the arguments at `index` and after it."""

    def edit(rng: random.Random) -> bool:
        arguments = call.args
        arguments[index], arguments[index + 1] = arguments[index + 1], arguments[index]
        return True

    return edit
