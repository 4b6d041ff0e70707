"""A judge that reads code without running it: the side with fewer visible defects is the better one.

A text's score is minus its number of defects (`DEFECTS`), every one counted alike. It is deterministic, knows nothing
of what a function ought to compute, and so has no opinion where both sides have as many defects: a tie.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.corpus.normalise import FunctionNode
from harness.pairs.judging import Judgements
from harness.pairs.reading import parse

Floats = NDArray[np.float64]

DEFECTS: Mapping[str, str] = {
    "unresolved_names": "names read that the text neither binds nor Python has built in, each once",
    "unused_parameters": "parameters of its functions that are never read (self, cls and _names aside)",
    "described_but_unused": "those of them that the prompt speaks of, once more",
    "unused_variables": "names assigned and never read, each once",
    "unreachable": "blocks with statements after return, raise, break or continue",
    "no_effect": "statements that compute a value and drop it (calls, awaits, yields, docstrings and ... aside)",
    "self_comparison": "comparisons, `and` and `or` of something with itself",
    "empty_body": "functions that only pass, although the prompt describes them",
    "returns_nothing": "no value is returned or yielded, although the description says it returns something",
    "other_name": "no function has the name of the prompt's signature",
    "other_parameters": "that function's parameters are not those of the prompt's signature",
}

_SIGNATURE = re.compile(r"(?:async )?def ")
_WORD = re.compile(r"\w+")
_RETURNS = re.compile(r"\b(returns?|yields?)\b", re.IGNORECASE)
_UNDEFINED_BUILTINS = frozenset({"__file__", "__path__", "__spec__", "__class__"})
_KNOWN = frozenset(dir(builtins)) | _UNDEFINED_BUILTINS
_ENDS = (ast.Return, ast.Raise, ast.Break, ast.Continue)
_DOING = (ast.Call, ast.Await, ast.Yield, ast.YieldFrom, ast.Constant)


def static_score(text: str, prompt: str) -> int | None:
    """Minus the number of defects; None where the text is no Python that parses."""
    found = static_defects(text, prompt)
    return None if found is None else -sum(found.values())


def static_scores(rows: Sequence[Mapping[str, Any]], side: str) -> Floats:
    """(pairs,) static scores of one side of pairs; NaN where it does not parse."""
    scores = [static_score(row[side], row["prompt"]) for row in rows]
    return np.array([np.nan if score is None else score for score in scores], dtype=np.float64)


def answers_of(chosen: Floats, rejected: Floats) -> Judgements:
    """What scores of both sides say of pairs. A score knows no order, so both orders have one answer."""
    difference = chosen - rejected
    better = np.where(np.isnan(difference), np.nan, (difference > 0) + 0.5 * (difference == 0))
    return Judgements(chosen_first=better, rejected_first=better)


def static_defects(text: str, prompt: str) -> dict[str, int] | None:
    """How many of each of `DEFECTS` a text has, those it lacks left out; None where it does not parse.

    Args:
        text: one side of a pair.
        prompt: its prompt; comment marks do not matter. A line that is a `def` is taken for the signature asked for.
    """
    tree = parse(text)
    if tree is None:
        return None
    description, asked = _read_prompt(prompt)
    nodes = list(ast.walk(tree))
    functions = [node for node in nodes if isinstance(node, FunctionNode)]
    loaded, stored, bound = _names(nodes)
    parameters = {name for function in functions for name in _parameters(function.args)}
    unused = {name for name in parameters - loaded - {"self", "cls"} if not name.startswith("_")}
    defects = {
        "unresolved_names": len(loaded - bound - parameters - _KNOWN),
        "unused_parameters": len(unused),
        "described_but_unused": len(unused & set(_WORD.findall(description))),
        "unused_variables": sum(not name.startswith("_") for name in stored - loaded - parameters),
        "unreachable": sum(_ends_early(block) for block in _blocks(nodes)),
        "no_effect": sum(_has_no_effect(node) for node in nodes),
        "self_comparison": sum(_compares_itself(node) for node in nodes),
        "empty_body": sum(bool(description) and _is_empty(function) for function in functions),
        "returns_nothing": int(bool(functions) and bool(_RETURNS.search(description)) and not _gives_value(nodes)),
        **_against_signature(functions, asked),
    }
    return {kind: number for kind, number in defects.items() if number}


@lru_cache(maxsize=8)  # both sides of a pair are asked about with one prompt
def _read_prompt(prompt: str) -> tuple[str, FunctionNode | None]:
    """(description, signature as a function without a body) of a prompt's comment lines."""
    description, signature = [], None
    for line in prompt.splitlines():
        text = line.strip().removeprefix("#").strip()
        if _SIGNATURE.match(text):
            signature = _parse_signature(text) or signature
        else:
            description.append(text)
    return "\n".join(description).strip(), signature


def _parse_signature(line: str) -> FunctionNode | None:
    tree = parse(f"{line.rstrip().removesuffix(':')}: pass")
    found = tree.body[0] if tree is not None and tree.body else None
    return found if isinstance(found, FunctionNode) else None


def _names(nodes: Sequence[ast.AST]) -> tuple[set[str], set[str], set[str]]:
    """(read, assigned, bound in any way) names. Scopes are not told apart: a name bound anywhere is known."""
    loaded: set[str] = set()
    stored: set[str] = set()
    bound: set[str] = set()
    outside: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Name):
            (loaded if isinstance(node.ctx, ast.Load) else stored).add(node.id)
        elif isinstance(node, FunctionNode | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            bound.add(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest:
            bound.add(node.rest)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            outside.update(node.names)
        elif isinstance(node, ast.Lambda):
            bound.update(_parameters(node.args))
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            loaded.add(node.target.id)
    return loaded, stored - outside, bound | stored | outside


def _parameters(arguments: ast.arguments) -> list[str]:
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    every += [one for one in (arguments.vararg, arguments.kwarg) if one is not None]
    return [one.arg for one in every]


def _blocks(nodes: Sequence[ast.AST]) -> Iterator[list[ast.stmt]]:
    for node in nodes:
        for field in ("body", "orelse", "finalbody"):
            block = getattr(node, field, None)
            if isinstance(block, list):
                yield block


def _ends_early(block: list[ast.stmt]) -> bool:
    return any(isinstance(statement, _ENDS) for statement in block[:-1])


def _has_no_effect(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and not isinstance(node.value, _DOING)


def _compares_itself(node: ast.AST) -> bool:
    """`x == x`, `x and x`; the sides are compared by how they are written."""
    if isinstance(node, ast.Compare):
        return len(node.comparators) == 1 and _same(node.left, node.comparators[0])
    return isinstance(node, ast.BoolOp) and len(node.values) == 2 and _same(*node.values)


def _same(one: ast.expr, other: ast.expr) -> bool:
    try:
        return type(one) is type(other) and ast.dump(one) == ast.dump(other)
    except (RecursionError, MemoryError):
        return False


def _is_empty(function: FunctionNode) -> bool:
    return all(
        isinstance(statement, ast.Pass)
        or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
        for statement in function.body
    )


def _gives_value(nodes: Sequence[ast.AST]) -> bool:
    return any(
        isinstance(node, ast.Yield | ast.YieldFrom) or (isinstance(node, ast.Return) and node.value is not None)
        for node in nodes
    )


def _against_signature(functions: list[FunctionNode], asked: FunctionNode | None) -> dict[str, int]:
    if asked is None:
        return {}
    named = [function for function in functions if function.name == asked.name]
    if not named:
        return {"other_name": 1}
    return {"other_parameters": int(_parameters(named[0].args) != _parameters(asked.args))}
