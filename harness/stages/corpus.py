"""corpus: what the parts may keep, without copies, split by cluster. Rows pass through; what finds copies grows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from harness.corpus.clean import Copies
from harness.corpus.decontaminate import contamination_of, too_short_to_find
from harness.corpus.near import Hashes
from harness.corpus.splits import Split, check_filled, check_named, split_by_name, split_by_share
from harness.corpus.tally import named_of
from harness.errors import DataError
from harness.pipeline.corpus import CORPUS, CorpusSpec, NamedCorpus
from harness.stages.context import StageContext
from harness.store.artifacts import Corpus, CorpusPart

LANGUAGES_TOLD = 20


def run(context: StageContext) -> dict[str, Any]:
    """Gather the parts in order; the result counts what was kept of all that was read, and why the rest was not.

    Raises:
        DataError: nothing was kept, a split is empty, or a document holds an evaluation problem and must not.
    """
    spec = CORPUS.read(context.spec)
    parts = [part for _, part in context.inputs_like("part", CorpusPart)]
    facts = [part.facts() for part in parts]
    contamination = None if spec.decontaminate is None else contamination_of([one["contamination"] for one in facts])
    _refuse_contaminated(spec, contamination)
    if contamination is not None and contamination["too_short"]:
        context.warn(f"decontamination: {too_short_to_find(contamination)}")
    cleaning = _total(facts, "cleaning")
    asked = {"train": True, "base": bool(spec.base), "heldout": True, "dev": bool(spec.dev)}
    splits: Counter[str] = Counter({name: 0 for name, wanted in asked.items() if wanted})
    units: Counter[str] = Counter()
    languages: Counter[str] = Counter()
    split_of: dict[str, Split] = {}
    characters = 0
    schema = pa.schema([(name, pa.string()) for name in Corpus.columns])
    copies = Copies(
        near_duplicate_threshold=spec.near_duplicate, seed=spec.seed, scratch=context.directory, counts=cleaning
    )
    with copies, Corpus(context.directory).adding(schema) as add:
        for batch in (batch for part in parts for batch in part.batches()):
            left = copies.left(batch["key"].to_pylist(), _shingles(batch["shingles"]))
            kept = batch.take(pa.array(left, pa.int32()))
            for cluster in kept["cluster"].unique().to_pylist():
                split_of.setdefault(cluster, _split(spec, cluster))
            chosen = pa.array([split_of[cluster] for cluster in kept["cluster"].to_pylist()], pa.string())
            rows = pa.table([chosen, *(kept[name] for name in Corpus.columns[1:])], schema=schema)
            splits.update(chosen.to_pylist())
            units.update(kept["unit"].to_pylist())
            languages.update(kept["language"].to_pylist())
            characters += _characters(rows.filter(pa.compute.equal(chosen, "base")))
            add(rows)
    _refuse_unusable(spec, cleaning, splits, split_of)
    return {
        "groups": splits["base"],
        "characters": characters,
        "kept": dict(splits),
        "read": dict(sorted(_total(facts, "read").items())),
        "passed_over": named_of([part["passed_over"] for part in facts]),
        "cleaning": dict(sorted(cleaning.items())),
        "units": dict(sorted(units.items())),
        "languages": dict(languages.most_common(LANGUAGES_TOLD)),
        "contamination": contamination,
        **_commit(facts),
    }


def _total(facts: Sequence[Mapping[str, Any]], name: str) -> Counter[str]:
    total: Counter[str] = Counter()
    for part in facts:
        total.update(part[name])
    return total


def _shingles(column: pa.BinaryArray) -> list[Hashes]:
    return [np.frombuffer(value.as_buffer(), np.uint64) for value in column]


def _characters(rows: pa.Table) -> int:
    lengths = [pa.compute.sum(pa.compute.utf8_length(rows[name])).as_py() or 0 for name in ("description", "text")]
    return sum(lengths)


def _split(spec: CorpusSpec, cluster: str) -> Split:
    if isinstance(spec, NamedCorpus):
        return split_by_name(cluster, base=spec.base, heldout=spec.heldout, dev=spec.dev)
    return split_by_share(cluster, base=spec.base, heldout=spec.heldout, dev=spec.dev, seed=spec.seed)


def _refuse_contaminated(spec: CorpusSpec, found: Mapping[str, Any] | None) -> None:
    if found is None or not found["documents"]:
        return
    if spec.decontaminate is not None and spec.decontaminate.on_hit == "fail":
        first = found["examples"][0]
        raise DataError(
            "the corpus must not hold evaluation problems",
            f"{found['documents']:,} documents do; first {first['document']}: {first['shared']} of {first['of']} "
            f"n-grams of {first['problem']} ({first['task']})",
            "leave them out with `corpus.decontaminate.on_hit: drop`, or take another corpus",
        )


def _refuse_unusable(
    spec: CorpusSpec, cleaning: Counter[str], splits: Counter[str], split_of: Mapping[str, Split]
) -> None:
    """Stop where nothing can be made of the corpus."""
    if not cleaning["kept"]:
        reasons = [(count, name) for name, count in cleaning.items() if name not in ("read", "kept") and count]
        most = ", ".join(f"{name.replace('_', ' ')} {count:,}" for count, name in sorted(reasons, reverse=True)[:3])
        raise DataError(
            "a corpus must hold functions or documents",
            f"none of {cleaning['read']:,} was kept" + (f" ({most})" if most else ""),
            "widen the bounds, or read more"
            if cleaning["read"]
            else "read more; of Python, functions need a docstring or `min_description_characters: 0`",
        )
    if isinstance(spec, NamedCorpus):
        check_named(split_of, [*spec.base, *spec.heldout, *spec.dev])
        check_filled(splits, "name packages for it, or add packages to the corpus")
    else:
        check_filled(splits, "raise its share, or read more clusters (repositories)")


def _commit(facts: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The commit of the hub's revision that the parts have read.

    Raises:
        DataError: the revision was moved meanwhile.
    """
    commits = sorted({part["commit"] for part in facts if "commit" in part})
    if len(commits) > 1:
        raise DataError(
            "all of a corpus must be read of one commit",
            f"its revision was moved while it was read: {' and '.join(commits)}",
            "name a commit as `corpus.revision`",
        )
    return {"commit": commits[0]} if commits else {}
