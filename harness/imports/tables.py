"""Rows of pools, pairs and scores from outside, in the columns of the harness's own artifacts. See docs/import.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

from harness.errors import DataError
from harness.sources.fields import Fields
from harness.store.artifacts import UNKNOWN_ERROR
from harness.tasks.grading import canonical
from harness.tasks.stories import stories

MOST_CANDIDATES = 65_536  # a problem; what `candidates.samples` of a recipe may be, too
MOST_SOURCES = 1_000

Rows = Iterable[tuple[str, Mapping[str, Any]]]
"""(place in the file, row), see `sources.rows`."""


def read_pool(rows: Rows) -> list[dict[str, Any]]:
    """Candidate rows, problem after problem, `index` from 0.

    A row is a problem with its `candidates`, or one candidate in our own columns. Problems whose questions tell one
    story (`tasks.stories`) are one cluster unless the file names clusters.

    Raises:
        DataError: a wrong field, a problem twice, labels that contradict one another.
    """
    found: list[dict[str, Any]] = []
    seen: set[str] = set()
    without: list[list[dict[str, Any]]] = []  # candidates of problems without a cluster
    for place, problem, candidates in _problems(rows):
        if problem in seen:
            raise DataError(
                "the candidates of a problem must be in consecutive rows", f"{problem!r} appears again", "", place
            )
        seen.add(problem)
        if len(candidates) > MOST_CANDIDATES:
            raise DataError(f"a problem may have {MOST_CANDIDATES:,} candidates", "it has more", "take fewer", place)
        for index, row in enumerate(candidates):
            row["index"] = index
        _check_answers(candidates, place)
        if not candidates[0]["cluster"]:
            without.append(candidates)
        found += candidates
    for candidates, first in zip(without, stories([pool[0]["prompt"] for pool in without]), strict=True):
        for row in candidates:
            row["cluster"] = without[first][0]["problem"]
    _check_all_or_none(found)
    return found


def kept(rows: list[dict[str, Any]], models: Collection[str], first: int | None) -> list[dict[str, Any]]:
    """The candidates of some models (() is all), and of these the first of each problem; `index` from 0 again.

    A problem that has none left is gone. Clusters stay those of the whole pool.

    Raises:
        DataError: no candidate is of one of the models.
    """
    there = {row["source"] for row in rows}
    unknown = [model for model in models if model not in there]
    if unknown:
        known = ", ".join(sorted(there - {""})[:20]) or "none, since no candidate says its model"
        raise DataError("`--model` must name models of the pool", f"it has no {unknown[0]!r}", f"it has {known}")
    found = []
    for _, pool in groupby(rows, key=lambda row: row["problem"]):
        chosen = [row for row in pool if not models or row["source"] in models][:first]
        found += [{**row, "index": index} for index, row in enumerate(chosen)]
    return found


def _problems(rows: Rows) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
    """(place, problem, candidate rows without `index`, `cluster` "" where the file names none)."""
    typed = (Fields(row, place) for place, row in rows)
    for is_whole, some in groupby(typed, key=lambda fields: fields.has("candidates")):
        if is_whole:
            for fields in some:
                problem = fields.name("id")
                yield fields.place, problem, list(_nested(fields, problem))
        else:
            for problem, candidates in groupby(some, key=lambda fields: fields.name("problem")):
                rows_of_it = list(candidates)
                yield rows_of_it[0].place, problem, [_flat(fields, problem, at) for at, fields in enumerate(rows_of_it)]


def _nested(fields: Fields, problem: str) -> Iterator[dict[str, Any]]:
    common = {
        "problem": problem,
        "cluster": fields.optional_name("cluster", ""),
        "prompt": fields.text("question") + "\n",  # a solution begins on a line of its own
    }
    for candidate in fields.parts("candidates", MOST_CANDIDATES):
        correct = candidate.boolean("correct")
        yield {
            **common,
            "text": candidate.text("text", may_be_empty=True),
            "answer": candidate.answer("pred"),
            "correct": correct,
            "error_type": "" if correct else UNKNOWN_ERROR,
            "seen": False,
            "source": candidate.optional_name("model", ""),
            **_logprob(candidate),
        }


def _flat(fields: Fields, problem: str, position: int) -> dict[str, Any]:
    if fields.index("index") != position:
        raise fields.wrong("index", f"count a problem's candidates from 0 (here {position})", fields.index("index"))
    correct = fields.boolean("correct")
    return {
        "problem": problem,
        "cluster": fields.optional_name("cluster", ""),
        "prompt": fields.text("prompt"),
        "text": fields.text("text", may_be_empty=True),
        "answer": fields.answer("answer"),
        "correct": correct,
        "error_type": "" if correct else fields.optional_name("error_type", UNKNOWN_ERROR),
        "seen": not correct and fields.has("seen") and fields.boolean("seen"),
        "source": fields.optional_name("source", ""),
        **_logprob(fields),
    }


def _logprob(fields: Fields) -> dict[str, float]:
    """What the generator gave a text, where the file says so."""
    if not fields.has("logprob"):
        return {}
    value = fields.number("logprob")
    if value > 0:
        raise fields.wrong("logprob", "be the logarithm of a probability, at most 0", value)
    return {"logprob": value}


def _check_answers(candidates: list[dict[str, Any]], place: str) -> None:
    """Equal answers are equally right, in the plain sense of `canonical`, and so are equal texts."""
    for what in ("prompt", "cluster"):
        if len({row[what] for row in candidates}) > 1:
            raise DataError(f"a problem must have one {what}", "it has several", "correct the file", place)
    for what, remedy in (("text", "grade its texts alike"), ("answer", "grade answers, or leave them all out")):
        first: dict[Any, dict[str, Any]] = {}
        for row in candidates:
            if row[what] is None:
                continue
            other = first.setdefault(canonical(row[what]) if what == "answer" else row[what], row)
            if other["correct"] != row["correct"]:
                right, wrong = (other, row) if other["correct"] else (row, other)
                value = (
                    f"of {row['problem']}, candidate {right['index']} ({_short(right[what])}) is labelled right and "
                    f"candidate {wrong['index']} ({_short(wrong[what])}) wrong"
                )
                raise DataError(f"equal {what}s must be equally right", value, remedy, place)


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:37]}...")


def _check_all_or_none(rows: list[dict[str, Any]]) -> None:
    """A right candidate states an answer, unless no candidate of the pool does; all have a log-probability or none."""
    for row in rows:
        if ("logprob" in row) != ("logprob" in rows[0]):
            bare, full = (rows[0], row) if "logprob" in row else (row, rows[0])
            value = f"candidate {full['index']} of {full['problem']} has one, {bare['index']} of {bare['problem']} none"
            raise DataError("all candidates must have a `logprob`, or none", value, "add it, or leave it out of all")
    if all(row["answer"] is None for row in rows):
        return
    for row in rows:
        if row["correct"] and row["answer"] is None:
            value = f"candidate {row['index']} of {row['problem']} states none"
            raise DataError("a right candidate must state an answer", value, "add it, or leave all answers out")


def pool_facts(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What a pool holds, for its record and for planning.

    Raises:
        DataError: more sources than a pool can have.
    """
    sizes = Counter(row["problem"] for row in rows)
    clusters = Counter({row["problem"]: row["cluster"] for row in rows}.values())
    sources = sorted({row["source"] for row in rows})
    if len(sources) > MOST_SOURCES:
        raise DataError(f"a pool may have {MOST_SOURCES:,} sources", f"it has {len(sources):,}", "join some")
    return {
        "problems": len(sizes),
        "clusters": len(clusters),
        "largest_cluster": max(clusters.values()),
        "candidates": len(rows),
        "correct": sum(row["correct"] for row in rows),
        "smallest_pool": min(sizes.values()),
        "largest_pool": max(sizes.values()),
        "answers": any(row["answer"] is not None for row in rows),
        "sources": [source for source in sources if source],
        "mixed": len(sources) > 1,
        **({"logprobs": True} if all("logprob" in row for row in rows) else {}),
        "characters": sum(len(row["text"]) for row in rows),
    }


def read_scores(rows: Rows) -> list[dict[str, Any]]:
    """Scores in the columns of `CandidateScores`; `task` is "" where the file names none.

    Raises:
        DataError: a wrong field, a candidate scored twice, tasks named in some rows only.
    """
    found: list[dict[str, Any]] = []
    seen: set[tuple[str, str, int]] = set()
    for place, row in rows:
        fields = Fields(row, place)
        task, problem, candidate = fields.optional_name("task", ""), fields.name("problem"), fields.index("candidate")
        if (task, problem, candidate) in seen:
            value = f"candidate {candidate} of {problem} appears again"
            raise DataError("a candidate must be scored once", value, "keep one scorer a file", place)
        if found and bool(task) != bool(found[0]["task"]):
            raise DataError("`task` must be in all rows or in none", "it is in some", "correct the file", place)
        seen.add((task, problem, candidate))
        found.append({"task": task, "problem": problem, "candidate": candidate, "score": fields.number("score")})
    return found
