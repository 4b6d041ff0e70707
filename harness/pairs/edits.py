"""How one small edit makes a function wrong.

An edit changes one place of a syntax tree and returns whether it could; everything random in it comes from `rng`.
Which places are worth editing is for `sites`. Replacements keep an operator's precedence where Python has one to offer,
so that no parentheses betray the changed side.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Sequence
from typing import Any

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


def other_operator(node: ast.BinOp | ast.AugAssign, rng: random.Random) -> bool:
    """`a + b` becomes `a - b`."""
    node.op = rng.choice(OPERATORS[type(node.op)])()
    return True


def other_comparison(node: ast.Compare, index: int, rng: random.Random) -> bool:
    """`a < b` becomes `a <= b`, `a >= b` or `a > b`."""
    node.ops[index] = rng.choice(COMPARISONS[type(node.ops[index])])()
    return True


def exchange_and_or(node: ast.BoolOp, rng: random.Random) -> bool:
    """`a and b` becomes `a or b`."""
    node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    return True


def negate(parent: Any, field: str, rng: random.Random) -> bool:
    """`if a` becomes `if not a`."""
    setattr(parent, field, ast.UnaryOp(op=ast.Not(), operand=getattr(parent, field)))
    return True


def remove_not(container: Any, place: str | int, rng: random.Random) -> bool:
    """`not a` becomes `a`, in a node's field (`place` is its name) or a list of nodes (its index)."""
    if isinstance(place, str):
        setattr(container, place, getattr(container, place).operand)
    else:
        container[place] = container[place].operand
    return True


def other_number(node: ast.Constant, rng: random.Random, *, negated: bool) -> bool:
    """True becomes False, an integer moves by one, a float is doubled, halved or moved by one.

    Args:
        node: a truth value, an integer or a finite float.
        negated: it stands behind a minus sign, where a zero would tell.
    """
    value = node.value
    if isinstance(value, bool):
        node.value = not value
    elif isinstance(value, float):
        node.value = rng.choice([value + 1.0, value * 2.0, value / 2.0]) if value else 1.0
    elif isinstance(value, int):
        smallest = 1 if negated else 0
        node.value = rng.choice([other for other in (value - 1, value + 1) if other >= smallest])
    return True


def other_of(others: Sequence[str], node: ast.Constant | ast.Name, field: str, rng: random.Random) -> bool:
    """`row["start"]` becomes `row["end"]`, `left` becomes `right`: others of the function's own strings and names."""
    setattr(node, field, rng.choice(others))
    return True


def drop(block: list[ast.stmt], statement: ast.stmt, rng: random.Random) -> bool:
    """Leave a statement out, unless it is the last its block has left."""
    if len(block) == 1:
        return False
    block[:] = [other for other in block if other is not statement]
    return True


def exchange(block: list[ast.stmt], statement: ast.stmt, rng: random.Random) -> bool:
    """A statement and the one after it change places."""
    index = block.index(statement)
    block[index], block[index + 1] = block[index + 1], block[index]
    return True


def swap_arguments(call: ast.Call, index: int, rng: random.Random) -> bool:
    """`f(a, b)` becomes `f(b, a)`, for the arguments at `index` and after it."""
    arguments = call.args
    arguments[index], arguments[index + 1] = arguments[index + 1], arguments[index]
    return True
