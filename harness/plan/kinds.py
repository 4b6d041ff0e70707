"""Every kind of stage: where its code is, the version of its results, what of the code decides them.

Raise `code_version` when a stage's results change; a golden test fails where they changed and it was not raised.
Stage code is named by string only: planning imports none of it.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

PACKAGE = Path(__file__).parent.parent


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A stage kind.

    Attributes:
        sources: files and folders below the package whose code decides the results (environment, not identity).
        trains: it updates weights, so its cost is tokens times parameters and it can be resumed midway.
        accelerated: it wants a GPU where there is one.
    """

    code_version: int
    sources: tuple[str, ...]
    trains: bool = False
    accelerated: bool = False


_TRAINING = ("models", "training", "stages/train.py", "stages/order.py")
_TASKS = ("tasks",)

KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "corpus": Kind(code_version=2, sources=("corpus", "stages/corpus.py")),
        "pairs_part": Kind(code_version=1, sources=("pairs", "corpus/normalise.py", "stages/pairs_part.py")),
        "pairs": Kind(code_version=1, sources=("stages/gather.py", "stages/pairs.py")),
        "problems": Kind(code_version=1, sources=(*_TASKS, "stages/problems.py")),
        "preferences": Kind(code_version=1, sources=(*_TASKS, "stages/task_problems.py", "stages/preferences.py")),
        "candidates_part": Kind(
            code_version=1, sources=(*_TASKS, "engines", "stages/task_problems.py", "stages/candidates_part.py")
        ),
        "candidates": Kind(code_version=1, sources=("stages/gather.py", "stages/candidates.py")),
        "tokenizer": Kind(code_version=1, sources=("stages/tokenizer.py",)),
        "encode": Kind(code_version=1, sources=("stages/encode.py",)),
        "base": Kind(code_version=1, sources=(*_TRAINING, "stages/base.py"), trains=True, accelerated=True),
        "trunk_state": Kind(
            code_version=1, sources=(*_TRAINING, "stages/trunk_state.py"), trains=True, accelerated=True
        ),
        "pretrain": Kind(code_version=1, sources=(*_TRAINING, "stages/pretrain.py"), trains=True, accelerated=True),
        "finetune": Kind(code_version=1, sources=(*_TRAINING, "stages/finetune.py"), trains=True, accelerated=True),
        "score": Kind(
            code_version=1, sources=("models", "stages/score.py", "stages/write_scores.py"), accelerated=True
        ),
        "shallow_score": Kind(
            code_version=1,
            sources=(
                "evaluation/shallow.py",
                "evaluation/pair_accuracy.py",
                "evaluation/best_of_n.py",
                "stages/order.py",
                "stages/shallow_score.py",
                "stages/write_scores.py",
            ),
        ),
        "best_of_n": Kind(
            code_version=1,
            sources=(
                "evaluation/best_of_n.py",
                "evaluation/pair_accuracy.py",
                "stages/pools.py",
                "stages/best_of_n.py",
            ),
        ),
        "pool_baselines": Kind(
            code_version=1, sources=("evaluation/best_of_n.py", "stages/pools.py", "stages/pool_baselines.py")
        ),
        "pair_accuracy": Kind(
            code_version=1,
            sources=("evaluation/pair_accuracy.py", "evaluation/best_of_n.py", "stages/pair_accuracy.py"),
        ),
        "analysis": Kind(
            code_version=2, sources=("evaluation/statistics.py", "evaluation/ranks.py", "stages/analysis.py")
        ),
    }
)


def module_of(kind: str) -> str:
    """Dotted name of the module whose `run(context)` does the work."""
    return f"harness.stages.{kind}"


@functools.cache
def source_digest(kind: str) -> str:
    """Digest of a kind's code without comments and docstrings: where it differs at equal version, the plan says so."""
    digest = hashlib.sha256()
    for source in KINDS[kind].sources:
        path = PACKAGE / source
        files = sorted(path.glob("*.py")) if path.is_dir() else [path]
        for file in files:
            digest.update(_code(file).encode())
    return digest.hexdigest()


@functools.cache
def _code(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(
            node, clean=False
        ):
            node.body = node.body[1:]
    return ast.dump(tree)
