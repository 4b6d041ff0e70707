"""corpus_part: documents of a part of a source, judged one by one. What copies are found by is worked out here too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from operator import attrgetter
from typing import Any

import pyarrow as pa

from harness.corpus.clean import Bounds, fit
from harness.corpus.decontaminate import Contamination, Problem, ProblemIndex
from harness.corpus.huggingface import resolved_commit
from harness.corpus.near import shingle_hashes
from harness.corpus.read import read_documents
from harness.corpus.tally import Tally, named_of
from harness.pipeline.corpus import CORPUS_PART, Check, HubPart, PartSpec
from harness.stages.context import StageContext
from harness.store.artifacts import Candidates, Corpus, CorpusPart, Problems
from harness.store.identity import text_key
from harness.store.tables import ROW_GROUP

_COLUMNS = attrgetter(*Corpus.columns[1:])
_SCHEMA = pa.schema(
    [*((name, pa.string()) for name in Corpus.columns[1:]), ("key", pa.uint64()), ("shingles", pa.binary())]
)


def run(context: StageContext) -> dict[str, Any]:
    """Read, judge and write; the result counts what may be kept and why the rest was not."""
    spec = CORPUS_PART.read(context.spec)
    read = Tally()
    cleaning: Counter[str] = Counter()
    contamination = None if spec.decontaminate is None else Contamination(_problem_index(context, spec.decontaminate))
    documents = fit(
        read_documents(spec, read),
        bounds=_bounds(spec),
        is_contaminated=lambda document: contamination is not None and contamination.holds_a_problem(document),
        counts=cleaning,
    )
    part = CorpusPart(context.directory)
    written = 0
    with part.adding(_SCHEMA, plain=("key", "shingles")) as add:
        rows = map(_COLUMNS, documents)  # without the parsed functions, which are much larger
        while batch := list(islice(rows, ROW_GROUP)):
            add(_table(batch))
            written += len(batch)
    facts = {
        "read": dict(sorted(read.items())),
        "passed_over": named_of([read.named]),
        "cleaning": dict(sorted(cleaning.items())),
        "contamination": None if contamination is None else contamination.counted(),
        **_commit(context, spec),
    }
    part.write_facts(facts)
    return {"documents": written, **facts}


def _table(rows: Sequence[tuple[str, ...]]) -> pa.Table:
    *others, texts = zip(*rows, strict=True)
    keys = [text_key(text) for text in texts]
    shingles = [hashes.tobytes() for hashes in shingle_hashes(texts)]
    return pa.table([*others, texts, keys, shingles], schema=_SCHEMA)


def _bounds(spec: PartSpec) -> Bounds:
    return Bounds(
        min_characters=spec.min_characters,
        max_characters=spec.max_characters,
        min_description_characters=spec.min_description_characters,
        languages=_lower(getattr(spec, "languages", None)),
        licences=_lower(getattr(spec, "licences", None)),
    )


def _lower(names: Iterable[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(name.lower() for name in names)


def _problem_index(context: StageContext, check: Check) -> ProblemIndex:
    """The problems no document may hold, by their n-grams; a warm worker has them already."""
    if "problems" not in context.held:
        context.held["problems"] = ProblemIndex(_questions(context), n=check.n, threshold=check.threshold)
    index: ProblemIndex = context.held["problems"]
    return index


def _questions(context: StageContext) -> Iterator[Problem]:
    """Problems with their solutions, and the questions of imported pools, which have none of their own."""
    for name, problems in context.inputs_like("problems", Problems):
        for row in problems.stream(["id", "prompt", "solution"]):
            yield Problem(task=name, id=row["id"], text=f"{row['prompt']}\n{row['solution']}")
    for name, pool in context.inputs_like("pool", Candidates):
        for row in pool.stream(["problem", "prompt", "index"]):
            if row["index"] == 0:
                yield Problem(task=name, id=row["problem"], text=row["prompt"])


def _commit(context: StageContext, spec: PartSpec) -> dict[str, str]:
    """What the hub's revision was when it was read: a fact of the record, not of the identity."""
    if not isinstance(spec, HubPart):
        return {}
    if spec.commit != "unresolved":
        return {"commit": spec.commit}
    commit = resolved_commit(spec.id, spec.revision)
    context.warn(f"`corpus.revision: {spec.revision}` may name other data tomorrow; today it is {commit}")
    return {"commit": commit}
