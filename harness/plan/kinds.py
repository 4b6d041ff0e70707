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


_TRAINING = ("models", "training", "stages/train.py", "stages/order.py", "stages/pair_order.py")
_TASKS = ("tasks",)
_WRITING = (
    "engines",
    "models",
    "pairs",
    "corpus/normalise.py",
    "tasks/task.py",
    "stages/functions.py",
    "stages/writer.py",
)
_TABLES = ("imports/files.py", "imports/fields.py", "imports/tables.py", "tasks/grading.py", "stages/incoming.py")
_DEALT = ("tasks/task.py", "imports/deal.py")

KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "imported_checkpoint": Kind(
            code_version=1,
            sources=(
                "models",
                "engines/templates.py",
                "imports/files.py",
                "imports/chat.py",
                "imports/checkpoint.py",
                "stages/incoming.py",
                "stages/imported_checkpoint.py",
            ),
        ),
        "imported_pairs": Kind(code_version=1, sources=(*_TABLES, "stages/imported_pairs.py")),
        "imported_pool": Kind(code_version=2, sources=(*_TABLES, "stages/imported_pool.py")),
        "imported_scores": Kind(code_version=2, sources=(*_TABLES, "stages/imported_scores.py")),
        "pretrained": Kind(
            code_version=2,
            sources=(
                "models/sources.py",
                "models/gguf.py",
                "models/fetch.py",
                "models/folder.py",
                "models/hub.py",
                "models/perplexity.py",
                "models/spread.py",
                "models/reward_model.py",
                "models/attention.py",
                "models/losses.py",
                "models/packing.py",
                "engines/templates.py",
                "imports/chat.py",
                "stages/pretrained.py",
            ),
        ),
        "descriptions_part": Kind(code_version=3, sources=(*_WRITING, "stages/descriptions_part.py"), accelerated=True),
        "writings_part": Kind(
            code_version=3,
            sources=(*_WRITING, "stages/slot_descriptions.py", "stages/writings_part.py"),
            accelerated=True,
        ),
        "pairs_part": Kind(
            code_version=1,
            sources=(
                "pairs/__init__.py",
                "pairs/answers.py",
                "pairs/construct.py",
                "pairs/edits.py",
                "pairs/mutate.py",
                "pairs/properties.py",
                "pairs/sites.py",
                "corpus/normalise.py",
                "stages/functions.py",
                "stages/slot_descriptions.py",
                "stages/pairs_part.py",
            ),
        ),
        "corpus_part": Kind(code_version=2, sources=("corpus", "plan/text_files.py", "stages/corpus_part.py")),
        "corpus": Kind(
            code_version=4,
            sources=("corpus", "stages/corpus.py"),
        ),
        "pairs": Kind(code_version=1, sources=("stages/gather.py", "stages/pairs.py")),
        "split_pairs": Kind(code_version=1, sources=(*_DEALT, "pairs/properties.py", "stages/split_pairs.py")),
        "judgements": Kind(
            code_version=2,
            sources=(
                "engines",
                "models",
                "imports/chat.py",
                "pairs/judging.py",
                "stages/drawn.py",
                "stages/tokenise.py",
                "stages/writer.py",
                "stages/judgements.py",
            ),
            accelerated=True,
        ),
        "consistent_part": Kind(
            code_version=1,
            sources=(
                "engines/base.py",
                "pairs/judging.py",
                "pairs/properties.py",
                "pairs/reading.py",
                "pairs/static_judge.py",
                "stages/consistent_part.py",
            ),
        ),
        "pair_quality": Kind(
            code_version=1,
            sources=(
                "engines/base.py",
                "pairs/judging.py",
                "pairs/reading.py",
                "pairs/static_judge.py",
                "pairs/surface.py",
                "evaluation/best_of_n.py",
                "evaluation/consistency.py",
                "evaluation/pair_accuracy.py",
                "evaluation/separability.py",
                "evaluation/shallow.py",
                "evaluation/statistics.py",
                "stages/drawn.py",
                "stages/pair_quality.py",
            ),
        ),
        "pair_gate": Kind(code_version=1, sources=("stages/pair_gate.py",)),
        "problems": Kind(code_version=1, sources=(*_TASKS, "stages/problems.py")),
        "preferences": Kind(code_version=1, sources=(*_TASKS, "stages/task_problems.py", "stages/preferences.py")),
        "candidates_part": Kind(
            code_version=2,
            sources=(
                *_TASKS,
                "engines",
                "models",
                "stages/task_problems.py",
                "stages/writer.py",
                "stages/candidates_part.py",
            ),
        ),
        "candidates": Kind(code_version=2, sources=("stages/gather.py", "stages/candidates.py")),
        "pool_problems": Kind(code_version=1, sources=(*_DEALT, "stages/pool_problems.py")),
        "pool_preferences": Kind(
            code_version=1, sources=(*_DEALT, "stages/pool_rows.py", "stages/pool_preferences.py")
        ),
        "pool_candidates": Kind(code_version=1, sources=("stages/pool_rows.py", "stages/pool_candidates.py")),
        "tokenizer": Kind(code_version=2, sources=("stages/end_tokens.py", "stages/tokenizer.py")),
        "encode": Kind(
            code_version=3,
            sources=(
                "imports/chat.py",
                "engines/literal_text.py",
                "engines/templates.py",
                "stages/end_tokens.py",
                "stages/tokenise.py",
                "stages/encode.py",
            ),
        ),
        "base": Kind(code_version=2, sources=(*_TRAINING, "stages/base.py"), trains=True, accelerated=True),
        "trunk_state": Kind(
            code_version=3, sources=(*_TRAINING, "stages/trunk_state.py"), trains=True, accelerated=True
        ),
        "pretrain": Kind(code_version=2, sources=(*_TRAINING, "stages/pretrain.py"), trains=True, accelerated=True),
        "average": Kind(code_version=1, sources=("models", "stages/average.py")),
        "finetune": Kind(code_version=2, sources=(*_TRAINING, "stages/finetune.py"), trains=True, accelerated=True),
        "score": Kind(
            code_version=2, sources=("models", "stages/score.py", "stages/write_scores.py"), accelerated=True
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
        "aligned_scores": Kind(code_version=1, sources=("stages/write_scores.py", "stages/aligned_scores.py")),
        "best_of_n": Kind(
            code_version=3,
            sources=(
                "evaluation/best_of_n.py",
                "evaluation/pair_accuracy.py",
                "stages/pools.py",
                "stages/best_of_n.py",
            ),
        ),
        "pool_baselines": Kind(
            code_version=2,
            sources=(
                "evaluation/best_of_n.py",
                "tasks/grading.py",
                "tasks/task.py",
                "stages/pools.py",
                "stages/pool_baselines.py",
            ),
        ),
        "pair_accuracy": Kind(
            code_version=1,
            sources=("evaluation/pair_accuracy.py", "evaluation/best_of_n.py", "stages/pair_accuracy.py"),
        ),
        "analysis": Kind(
            code_version=5,
            sources=(
                "evaluation/statistics.py",
                "evaluation/seeds.py",
                "evaluation/ranks.py",
                "stages/outcome_tables.py",
                "stages/analysis.py",
            ),
        ),
        "comparison": Kind(
            code_version=3,
            sources=(
                "evaluation/statistics.py",
                "evaluation/seeds.py",
                "stages/outcome_tables.py",
                "stages/scored_rows.py",
                "stages/comparison.py",
            ),
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
