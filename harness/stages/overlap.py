"""overlap: problems of a task's dev and test splits that stand in a corpus or in imported pairs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness.corpus.decontaminate import Problem, ProblemIndex
from harness.pipeline.overlap import OVERLAP
from harness.stages.context import StageContext
from harness.store.artifacts import Corpus, Overlap, Pairs, Problems

PROGRESS = 10_000  # documents between two reports


def run(context: StageContext) -> dict[str, Any]:
    """Look for every problem in every document that is trained on; the result counts those too short to look for."""
    spec = OVERLAP.read(context.spec)
    index = ProblemIndex(_problems(context), n=spec.n, threshold=spec.threshold)
    found: dict[str, dict[str, Any]] = {}
    documents = 0
    for place, text in _documents(context):
        documents += 1
        if documents % PROGRESS == 0:
            context.progress(documents, 0, "documents")
        for hit in index.hits_in(text):
            found.setdefault(
                hit.problem.id,
                {"problem": hit.problem.id, "document": place, "shared": hit.shared, "of": hit.grams},
            )
    Overlap(context.directory).write([found[problem] for problem in sorted(found)])
    return {
        "documents": documents,
        "checked": sum(index.checked.values()),
        "too_short": sum(index.too_short.values()),
        "problems": len(found),
    }


def _problems(context: StageContext) -> Iterator[Problem]:
    """A task's problems with their solutions, where they have any."""
    for split, artifact in context.inputs_like("problems", Problems):
        for row in artifact.stream(["id", "prompt", "solution"]):
            yield Problem(task=split, id=row["id"], text=f"{row['prompt']}\n{row['solution']}")


def _documents(context: StageContext) -> Iterator[tuple[str, str]]:
    """(place, text) of what is trained on: not of held-out documents."""
    if "corpus" in context.inputs:
        for row in context.input("corpus", Corpus).stream(["split", "path", "name", "description", "text"]):
            if row["split"] != "heldout":
                yield f"{row['path']} {row['name']}".strip(), f"{row['description']}\n{row['text']}"
    if "pairs" in context.inputs:
        for row in context.input("pairs", Pairs).stream(["id", "prompt", "chosen", "rejected"]):
            yield row["id"], "\n".join((row["prompt"], row["chosen"], row["rejected"]))
