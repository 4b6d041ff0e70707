"""overlap: problems of a task's dev and test splits that stand in what models are trained on.

A document of the corpus and a pair for pretraining hold a problem if they hold more than `threshold` of the n-grams of
its prompt and solution: copies stand there by accident. Prompts of fine-tuning are problems of the same form, of which
many share a phrase, so one holds a problem if it is nearly equal to its prompt: if it holds more than `near_equal` of
that one's n-grams, without those of an instruction that many problems begin or end with. With
numbers and names masked, every text is looked in by that rule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from harness.corpus.decontaminate import Problem, ProblemIndex, is_mostly_masked, masked_words
from harness.pipeline.overlap import BASE, CORPUS, IMPORTED, OVERLAP, PREFERENCES, WRITTEN, OverlapSpec, held_by
from harness.stages.context import StageContext
from harness.store.artifacts import Corpus, Overlap, Pairs, Problems, Table

PROGRESS = 10_000  # documents between two reports

MOST_SHARED = 0.1
"""Share of the judged clusters; an n-gram of a prompt that more of them hold is of an instruction."""


@dataclass(frozen=True, kw_only=True)
class _Source:
    """Something that is trained on. `documents` are (place, text); of `prompts` the text is a prompt alone."""

    name: str
    documents: Iterator[tuple[str, str]]
    prompts: bool


def run(context: StageContext) -> dict[str, Any]:
    """Look for every problem in every document that is trained on.

    The result counts the problems found by what holds them (`held_by`: as they are, or only with masks), how many were
    looked for in it (`..._checked`), and those too short to be looked for at all.
    """
    spec = OVERLAP.read(context.spec)
    indexes = _indexes(context, spec)
    rows: list[dict[str, Any]] = []
    counts: dict[str, dict[str, int]] = {}
    documents = 0
    for source in _sources(context):
        passes = {"plain": indexes["prompts" if source.prompts else "texts"]}
        passes |= {"masked": indexes["masked"]} if spec.masked else {}
        found: dict[str, dict[str, dict[str, Any]]] = {one: {} for one in passes}
        read = 0
        for place, text in source.documents:
            read += 1
            if (documents + read) % PROGRESS == 0:
                context.progress(documents + read, 0, "documents")
            for one, index in passes.items():
                for hit in index.hits_in(text):
                    row = {"problem": hit.problem.id, "document": place, "shared": hit.shared, "of": hit.grams}
                    found[one].setdefault(hit.problem.id, row)
        documents += read
        first = {
            problem: {"held_by": source.name, "pass": one, **row}
            for one in reversed(passes)  # as they are before with masks
            for problem, row in found[one].items()
        }
        rows += [first[problem] for problem in sorted(first)]
        by_pass = Counter(row["pass"] for row in first.values())
        counts[source.name] = {
            "documents": read,
            **{f"{one}_checked": sum(index.checked.values()) for one, index in passes.items()},
            **{one: by_pass[one] for one in passes},
        }
    Overlap(context.directory).write(rows)
    texts = indexes["texts"]
    return {
        "documents": documents,
        "checked": sum(texts.checked.values()),
        "too_short": sum(texts.too_short.values()),
        "problems": len({row["problem"] for row in rows}),
        "held_by": counts,
    }


def _indexes(context: StageContext, spec: OverlapSpec) -> Mapping[str, ProblemIndex]:
    """The problems as they are looked for in documents, in prompts, and with masks."""
    near = max(spec.threshold, spec.near_equal)
    indexes = {
        "texts": ProblemIndex(_problems(context), n=spec.n, threshold=spec.threshold),
        "prompts": ProblemIndex(_prompts(context), n=spec.n, threshold=near, most_shared=MOST_SHARED),
    }
    if spec.masked:
        told = (one for one in _prompts(context) if not is_mostly_masked(one.text))
        indexes["masked"] = ProblemIndex(told, n=spec.n, threshold=near, words=masked_words, most_shared=MOST_SHARED)
    return indexes


def _problems(context: StageContext) -> Iterator[Problem]:
    """A task's problems with their solutions, where they have any."""
    for split, artifact in context.inputs_like("problems", Problems):
        for row in artifact.stream(["id", "prompt", "solution"]):
            yield Problem(task=split, id=row["id"], text=f"{row['prompt']}\n{row['solution']}")


def _prompts(context: StageContext) -> Iterator[Problem]:
    for split, artifact in context.inputs_like("problems", Problems):
        for row in artifact.stream(["id", "cluster", "prompt"]):
            yield Problem(task=split, id=row["id"], text=row["prompt"], cluster=row["cluster"])


def _sources(context: StageContext) -> Iterator[_Source]:
    if CORPUS in context.inputs:
        yield _Source(name=held_by(CORPUS), documents=_corpus(context.input(CORPUS, Corpus)), prompts=False)
    for name in (IMPORTED, WRITTEN):
        if name in context.inputs:
            yield _Source(name=held_by(name), documents=_pairs(context.input(name, Pairs)), prompts=False)
    for kind, artifact in ((PREFERENCES, Pairs), (BASE, Problems)):
        for task, table in context.inputs_like(kind, artifact):
            yield _Source(name=held_by(f"{kind}-{task}"), documents=_distinct(table), prompts=True)


def _corpus(corpus: Corpus) -> Iterator[tuple[str, str]]:
    """Not of held-out and dev documents: they are not trained on."""
    for row in corpus.stream(["split", "path", "name", "description", "text"]):
        if row["split"] not in ("heldout", "dev"):
            yield f"{row['path']} {row['name']}".strip(), f"{row['description']}\n{row['text']}"


def _pairs(pairs: Pairs) -> Iterator[tuple[str, str]]:
    for row in pairs.stream(["id", "prompt", "chosen", "rejected"]):
        yield row["id"], "\n".join((row["prompt"], row["chosen"], row["rejected"]))


def _distinct(table: Table) -> Iterator[tuple[str, str]]:
    """Every prompt once."""
    seen: set[str] = set()
    for row in table.stream(["id", "prompt"]):
        if row["prompt"] not in seen:
            seen.add(row["prompt"])
            yield row["id"], row["prompt"]
