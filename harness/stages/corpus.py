"""corpus: documents of a source, cleaned and split by cluster. They pass through; only what finds copies grows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import Any

from harness.corpus.clean import Bounds, clean
from harness.corpus.decontaminate import Contamination, Problem
from harness.corpus.document import Document
from harness.corpus.huggingface import resolved_commit
from harness.corpus.read import block_of, read_documents
from harness.corpus.splits import SPLITS, Split, check_filled, check_named, split_by_name, split_by_share
from harness.errors import DataError
from harness.recipe.corpus import CorpusSource, Files, HuggingFace, PythonPackages
from harness.stages.context import StageContext
from harness.store.artifacts import Candidates, Corpus, PoolSplits, Problems

JUDGED_BY = ("dev", "test")  # splits of problems that no document may hold
LANGUAGES_TOLD = 20


def run(context: StageContext) -> dict[str, Any]:
    """Read, clean, split and write; the result counts what was kept and why the rest was not.

    Raises:
        DataError: nothing was kept, a split is empty, or a document holds an evaluation problem and must not.
    """
    spec, block = context.spec, block_of(context.spec)
    read: Counter[str] = Counter()
    cleaning: Counter[str] = Counter()
    contamination = _contamination(context, block)
    kept = clean(
        read_documents(spec, read),
        bounds=_bounds(block),
        is_contaminated=lambda document: contamination is not None and contamination.holds_a_problem(document),
        near_duplicate_threshold=block.near_duplicate,
        seed=spec["seed"],
        scratch=context.directory,
        counts=cleaning,
    )
    splits: Counter[str] = Counter(dict.fromkeys(SPLITS, 0))
    units: Counter[str] = Counter()
    languages: Counter[str] = Counter()
    named: set[str] = set()
    characters = 0
    with Corpus(context.directory).writer() as add:
        for document in kept:
            split = _split(block, document, spec["seed"])
            splits[split] += 1
            units[document.unit] += 1
            languages[document.language] += 1
            if split == "base":
                characters += len(document.description) + len(document.text)
            if isinstance(block, PythonPackages):
                named.add(document.cluster)
            add({"split": split, **{name: getattr(document, name) for name in Corpus.columns if name != "split"}})
    _refuse(block, contamination, cleaning, splits, named)
    return {
        "groups": splits["base"],
        "characters": characters,
        "kept": dict(splits),
        "read": dict(sorted(read.items())),
        "cleaning": dict(sorted(cleaning.items())),
        "units": dict(sorted(units.items())),
        "languages": dict(languages.most_common(LANGUAGES_TOLD)),
        "contamination": None if contamination is None else contamination.result(),
        **_commit(context, block),
    }


def _bounds(block: CorpusSource) -> Bounds:
    if isinstance(block, PythonPackages):
        return Bounds(
            min_characters=block.min_characters,
            max_characters=block.max_characters,
            min_description_characters=block.min_docstring_characters,
        )
    return Bounds(
        min_characters=block.min_characters,
        max_characters=block.max_characters,
        min_description_characters=block.min_description_characters,
        languages=_lower(block.languages),
        licences=None if isinstance(block, Files) else _lower(block.licences),
    )


def _lower(names: tuple[str, ...] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(name.lower() for name in names)


def _split(block: CorpusSource, document: Document, seed: int) -> Split:
    if isinstance(block, PythonPackages):
        return split_by_name(document.cluster, base=block.base, heldout=block.heldout)
    return split_by_share(document.cluster, base=block.base, heldout=block.heldout, seed=seed)


def _contamination(context: StageContext, block: CorpusSource) -> Contamination | None:
    if block.decontaminate is None:
        return None
    problems = chain(_problems(context), _questions(context))
    return Contamination(problems, n=block.decontaminate.n, threshold=block.decontaminate.threshold)


def _problems(context: StageContext) -> Iterator[Problem]:
    """Evaluation problems of tasks, with their solutions."""
    for task, artifact in context.inputs_like("problems", Problems):
        for row in artifact.stream(["id", "split", "prompt", "solution"]):
            if row["split"] in JUDGED_BY:
                yield Problem(task=task, id=row["id"], text=f"{row['prompt']}\n{row['solution']}")


def _questions(context: StageContext) -> Iterator[Problem]:
    """Evaluation problems of imported pools: their questions, for a pool has no solution of its own."""
    for task, pool in context.inputs_like("pool", Candidates):
        splits = context.input(f"splits-{task}", PoolSplits)
        judged = {row["problem"] for row in splits.stream() if row["split"] in JUDGED_BY}
        for row in pool.stream(["problem", "prompt", "index"]):
            if row["index"] == 0 and row["problem"] in judged:
                yield Problem(task=task, id=row["problem"], text=row["prompt"])


def _refuse(
    block: CorpusSource,
    contamination: Contamination | None,
    cleaning: Counter[str],
    splits: Counter[str],
    named: set[str],
) -> None:
    """Stop where the corpus cannot be used."""
    if contamination is not None and block.decontaminate is not None and block.decontaminate.on_hit == "fail":
        found = contamination.result()
        if found["documents"]:
            first = found["examples"][0]
            raise DataError(
                "the corpus must not hold evaluation problems",
                f"{found['documents']:,} documents do; first {first['document']}: {first['shared']} of {first['of']} "
                f"n-grams of {first['problem']} ({first['task']})",
                "leave them out with `corpus.decontaminate.on_hit: drop`, or take another corpus",
            )
    if not cleaning["kept"]:
        reasons = [(count, name) for name, count in cleaning.items() if name not in ("read", "kept") and count]
        most = ", ".join(f"{name.replace('_', ' ')} {count:,}" for count, name in sorted(reasons, reverse=True)[:3])
        raise DataError(
            "a corpus must hold functions or documents",
            f"none of {cleaning['read']:,} was kept" + (f" ({most})" if most else ""),
            "widen the bounds, or read more",
        )
    if isinstance(block, PythonPackages):
        check_named(named, [*block.base, *block.heldout])
        check_filled(splits, "name packages for it, or add packages to the corpus")
    else:
        check_filled(splits, "raise its share, or read more clusters (repositories)")


def _commit(context: StageContext, block: CorpusSource) -> dict[str, str]:
    """What the hub's revision was when it was read: a fact of the record, not of the identity."""
    if not isinstance(block, HuggingFace):
        return {}
    if block.commit != "unresolved":
        return {"commit": block.commit}
    commit = resolved_commit(context.spec)
    context.warn(f"`corpus.revision: {block.revision}` may mean other data tomorrow; it is {commit} now")
    return {"commit": commit}
