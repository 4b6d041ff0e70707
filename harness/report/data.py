"""What the data was: cleaning, construction, splits, error types, tokens, examples. From records and Parquet files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from harness.pipeline.corpus import CORPUS
from harness.pipeline.graph import Stage
from harness.pipeline.imports import IMPORTED
from harness.pipeline.kind import Kind
from harness.pipeline.overlap import OVERLAP
from harness.pipeline.pair_kinds import CONSISTENT_PART, PAIR_QUALITY, PAIRS
from harness.pipeline.tasks import CANDIDATES, PREFERENCES, PROBLEM_SPLITS
from harness.pipeline.tokens import ENCODE
from harness.plan.plan import Plan
from harness.report.facts import Facts
from harness.report.pair_quality import quality_table, read_examples
from harness.report.render import paragraphs
from harness.report.status import StageStatus, Statuses
from harness.report.truncation import Truncation
from harness.report.words import RETRACTED, count, plural, share
from harness.store.artifacts import UNKNOWN_ERROR, Candidates, Pairs
from harness.store.identity import SHORT
from harness.store.record import Record
from harness.store.store import Store

MOST_EXAMPLES = 5
SPLITS = ("base", "finetune", "dev", "test")

Made = tuple[Stage, Record]  # a finished stage


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of an example; `changed` where the other side has none like it."""

    text: str
    changed: bool


@dataclass(frozen=True, kw_only=True)
class PairExample:
    """A preference pair as it was trained on."""

    prompt: str
    chosen: tuple[Line, ...]
    rejected: tuple[Line, ...]
    detail: str


@dataclass(frozen=True, kw_only=True)
class PoolExample:
    """A problem with a few of its candidates, rows of the pool."""

    pool: str
    prompt: str
    candidates: tuple[Mapping[str, Any], ...]


def data_tables(plan: Plan, statuses: Statuses) -> tuple[Facts, ...]:
    """Every table of the data section; tables of unfinished stages are left out and their stages listed elsewhere."""
    seen = (statuses[stage.fingerprint] for stage in plan.stages)
    done = [(_marked(status), status.record) for status in seen if status.record is not None]

    def each(*kinds: Kind) -> list[Made]:
        return [(stage, record) for stage, record in done if stage.kind in kinds]

    tables = [
        *_named((stage, _corpus(stage, record)) for stage, record in each(CORPUS)),
        _imported(each(*IMPORTED.values())),
        *_named((stage, _construction(stage, statuses)) for stage, _ in each(PAIRS)),
        _splits(each(PROBLEM_SPLITS)),
        _overlaps(each(OVERLAP)),
        *_named((stage, quality_table(record)) for stage, record in each(PAIR_QUALITY)),
        _preferences([one for one in each(PREFERENCES) if "pool" not in one[0].inputs]),
        _pool_preferences([one for one in each(PREFERENCES) if "pool" in one[0].inputs]),
        *_named((stage, _pool(stage, record)) for stage, record in each(CANDIDATES)),
        _tokens(each(ENCODE)),
    ]
    return tuple(table for table in tables if table.rows)


def _named(tables: Iterable[tuple[Stage, Facts]]) -> list[Facts]:
    """Tables, where several have one title with their stage's name: a heading stands once."""
    found = list(tables)
    times = Counter(table.title for _, table in found)
    return [
        replace(table, title=f"{table.title} ({stage.name})") if times[table.title] > 1 else table
        for stage, table in found
    ]


def _marked(status: StageStatus) -> Stage:
    """The stage, its label with a word where it is made from something retracted."""
    stage = status.stage
    return replace(stage, label=f"{stage.label} ({RETRACTED})") if status.retracted else stage


def _name(stage: Stage) -> str:
    """A stage's label without its first word, which is that of its kind."""
    return stage.label.partition(" ")[2]


def _words(reason: str) -> str:
    return reason.removeprefix("failed_").replace("_", " ")


def _falling(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Counts that are not 0, the largest first."""
    return sorted(((name, number) for name, number in counts.items() if number), key=lambda item: -item[1])


def _corpus(stage: Stage, record: Record) -> Facts:
    result = record.result
    cleaning = dict(result["cleaning"])
    read, kept = cleaning.pop("read"), cleaning.pop("kept")
    purposes = {
        "train": "PMP pairs",
        "base": "the base language model",
        "heldout": "held-out pairs",
        "dev": "dev pairs",
    }
    rows = [
        ("read", read),
        *((f"dropped: {_words(reason)}", number) for reason, number in _falling(cleaning)),
        ("kept", kept),
        *((f"of these, for {purposes.get(split, split)}", number) for split, number in result["kept"].items()),
    ]
    return Facts(
        title="Corpus: documents and cleaning",
        columns=("", "functions or documents", "share"),
        rows=tuple((name, count(number), share(number, read)) for name, number in rows),
        note=corpus_words(stage.spec, result),
    )


def corpus_words(spec: Any, result: Mapping[str, Any]) -> str:
    """Where a corpus is from, which evaluation problems were looked for in it, and what of it was not read."""
    found, read, passed_over = (result.get(name) for name in ("contamination", "read", "passed_over"))
    return " ".join(paragraphs("corpus.txt", spec=spec, found=found, read=read, passed_over=passed_over))


def _imported(done: Iterable[Made]) -> Facts:
    return Facts(
        title="From outside",
        columns=("import", "licence", "source", "digest of its content"),
        rows=tuple(
            (_name(stage), record.result["licence"], record.result["source"], stage.spec.digest[:SHORT])
            for stage, record in done
        ),
        words=range(4),
    )


def _construction(stage: Stage, statuses: Statuses) -> Facts:
    parts = [item.stage for item in stage.inputs.values()]
    totals: Counter[str] = Counter()
    for part in parts:
        filtered = part.kind is CONSISTENT_PART
        record = statuses[part.fingerprint].record
        if filtered and record is not None:
            totals["inconsistent"] += record.result["dropped"]
        made = statuses[part.inputs["pairs"].stage.fingerprint].record if filtered else record
        if made is not None:
            totals.update(made.result["counts"])
    slots = totals["slots"]
    names = {
        "slots": "slots tried",
        "pairs": "pairs constructed",
        "retries": "tries after a slot's first",
        "repeats": "repeats of an earlier pair",
        **{reason: f"no pair: {_words(reason)}" for reason, _ in _falling(totals) if reason.startswith("failed_")},
        **({"flipped": "labels flipped on purpose"} if "flipped" in totals else {}),
        **({"inconsistent": "dropped by the filter"} if "inconsistent" in totals else {}),
    }
    rows = [(name, count(totals[key]), share(totals[key], slots)) for key, name in names.items()]
    if totals["documents_unfit"]:
        unfit = totals["documents_unfit"] // len(parts)  # each part looked at the whole corpus
        rows.append(("documents skipped: no function", count(unfit), ""))
    return Facts(title=f"Pair construction: {_name(stage)}", columns=("", "number", "share of slots"), rows=tuple(rows))


def _splits(done: Iterable[Made]) -> Facts:
    rows = []
    for stage, record in done:
        problems, clusters = record.result["problems"], record.result["clusters"]
        cells = [f"{problems[split]:,} / {clusters[split]:,}" if split in problems else "" for split in SPLITS]
        rows.append((_name(stage), *cells))
    return Facts(
        title="Problems and clusters, by split",
        columns=("task", *SPLITS),
        rows=tuple(rows),
        note="Problems / clusters. A cluster (a template, a form, a passage) lies in one split only, and intervals "
        "resample clusters, not problems.",
    )


def _overlaps(done: Iterable[Made]) -> Facts:
    rows: list[tuple[str, ...]] = []
    for stage, record in done:
        result, task = record.result, stage.label.removesuffix(" in the training data")
        there = result["checked"] + result["too_short"]
        for source, numbers in result["held_by"].items():
            checked, found = numbers["plain_checked"], numbers["plain"]
            masked = [count(numbers[key]) for key in ("masked_checked", "masked") if key in numbers] or ["", ""]
            cells = (count(checked), count(there - checked), count(found), *masked)
            rows.append((task, source, count(numbers["documents"]), *cells))
        rows.append((task, "any of these", count(result["documents"]), "", "", count(result["problems"]), "", ""))
    return Facts(
        title="Problems in the training data",
        columns=(
            "task",
            "in",
            "texts",
            "looked for",
            "too short to look for",
            "found",
            "looked for with masks",
            "more found with masks",
        ),
        rows=tuple(dict.fromkeys(rows)),
        words=(0, 1),
        note="Problems of the dev and test splits, by what holds them. Those found judge nobody: they are left out of "
        "every row's numbers. Word n-grams find copies, and miss some with other names or numbers; "
        "evaluate.overlap.masked looks for those too.",
    )


def _preferences(done: Iterable[Made]) -> Facts:
    rows = []
    for stage, record in done:
        kinds = ", ".join(f"{_words(kind)} {number:,}" for kind, number in record.result["error_types"].items())
        refused = sum(record.result["refused"].values())
        rows.append((_name(stage), count(record.result["groups"]), kinds, count(refused)))
    return Facts(
        title="Reasoning preferences, by error type of the rejected side",
        columns=("pairs of", "pairs", "error types", "refused"),
        rows=tuple(rows),
        words=(0, 2),
        note="Refused: mistakes that came out right by chance, so that no pair has two right sides.",
    )


def _pool_preferences(done: Iterable[Made]) -> Facts:
    keys = ("groups", "problems", "problems_without")
    return Facts(
        title="Preferences of imported pools",
        columns=("pairs of", "pairs", "problems", "problems without a pair"),
        rows=tuple((_name(stage), *(count(record.result[key]) for key in keys)) for stage, record in done),
        note="A pair is a right and a wrong candidate of one problem; a problem whose candidates are all right or all "
        "wrong has none.",
    )


def _pool(stage: Stage, record: Record) -> Facts:
    result = record.result
    unseen = set(result["unseen_error_types"])
    rows = [("right", "", result["correct"])]
    for kind, number in sorted(result["error_types"].items(), key=lambda item: (item[0] in unseen, item[0])):
        seen = "" if kind == UNKNOWN_ERROR else "unseen" if kind in unseen else "seen"
        rows.append((_words(kind), seen, number))
    if "pool" in stage.inputs:
        smallest, largest, sources = (result[key] for key in ("smallest_pool", "largest_pool", "sources"))
        each = count(smallest) if smallest == largest else f"{count(smallest)} to {count(largest)}"
        origin = f"{each} imported candidates each, by {plural(sources, 'source')}"
    else:
        spec = next(iter(stage.inputs.values())).stage.spec
        origin = f"{count(spec.samples)} candidates each, by the {spec.engine} engine"
    return Facts(
        title=f"Candidate pool: {_name(stage)}",
        columns=("candidates", "in fine-tuning pairs", "number", "share"),
        rows=tuple((name, seen, count(number), share(number, result["candidates"])) for name, seen, number in rows),
        words=(0, 1),
        note=f"{count(result['groups'])} problems, {origin}; shared by all scorers.",
    )


def _tokens(done: Iterable[Made]) -> Facts:
    keys = ("groups", "tokens", "prompt_tokens", "response_tokens", "too_long_dropped", "prompts_cut", "responses_cut")
    rows = []
    for stage, record in done:
        found = Truncation.of(stage, record)
        counts = (count(record.result[key]) for key in keys)
        rows.append((_name(stage), *counts, found.share, count(found.most), count(found.longest)))
    return Facts(
        title="Tokens, and what did not fit",
        columns=(
            *("texts", "groups", "tokens", "of prompts", "of responses", "pairs left out", "prompts cut"),
            *("responses cut", "share", "max_tokens", "would fit all"),
        ),
        rows=tuple(rows),
        note="A task's pair that does not fit is left out; one for pretraining may lose the beginning of its prompt, "
        "or the next one is taken. Each candidate is cut alone: its prompt loses its beginning but keeps half of "
        "max_tokens, then the candidate loses its end. Share: pairs left out, or candidates of which anything was cut; "
        "above 1 % of a task's the report warns.",
    )


# ------------------------------------------------------------------------------------------------- examples


class Payloads:
    """The files of finished stages that examples are read from, each checked against its record.

    What does not match is not shown but discarded, as a run does, and reported.

    Attributes:
        damaged: what did not match, with the remedy.
    """

    def __init__(self, statuses: Statuses, store: Store) -> None:
        self._statuses, self._store = statuses, store
        self.damaged: list[str] = []

    def of(self, stage: Stage, *, most: int | None = None) -> Path | None:
        """A stage's folder; None where it is not made yet, was dropped or is damaged.

        Args:
            most: files that are read, the first by name; the others of a table of many parts are not looked at.
        """
        record = self._statuses[stage.fingerprint].record
        if record is None:
            return None
        damage = self._store.damage(record, most=most)
        if damage:
            self.damaged.append(f"{stage.label}: {damage}; discarded, the next run that needs it computes it again")
            self._store.drop_payload(record)
        return self._store.directory(stage.kind.name, stage.fingerprint) if self._store.has_payload(record) else None


def pair_examples(plan: Plan, payloads: Payloads) -> tuple[PairExample, ...]:
    """The first PMP training pairs; none where they are not made yet or were dropped."""
    for stage in plan.stages:
        folder = payloads.of(stage.inputs["pairs"].stage, most=1) if stage.kind is PAIR_QUALITY else None
        if folder is not None:
            batches = Pairs(folder).batches()  # of millions of pairs only the beginning
            return tuple(
                _pair_example(row) for batch in islice(batches, 1) for row in batch.to_pylist()[:MOST_EXAMPLES]
            )
    return ()


def quality_examples(plan: Plan, payloads: Payloads) -> tuple[PairExample, ...]:
    """Pairs that the quality stages found worth a look; `detail` says why."""
    found = []
    for stage in plan.stages:
        folder = payloads.of(stage) if stage.kind is PAIR_QUALITY else None
        if folder is not None:
            rows = (
                {**row, "detail": "; ".join(filter(None, (row["detail"], row["why"])))} for row in read_examples(folder)
            )
            found += [_pair_example(row) for row in rows]
    return tuple(found)


def pool_examples(plan: Plan, payloads: Payloads) -> tuple[PoolExample, ...]:
    """The first problem of each pool with a right candidate and one of each of a few error types."""
    found = []
    pools = [stage for stage in plan.stages if stage.kind is CANDIDATES]
    labels = Counter(stage.label for stage in pools)
    for stage in pools:
        folder = payloads.of(stage, most=1)
        if folder is not None:
            _, pool = next(groupby(Candidates(folder).stream(), key=lambda row: row["problem"]))
            name = stage.label.removeprefix("candidates ")
            found.append(_pool_example(f"{name} ({stage.name})" if labels[stage.label] > 1 else name, list(pool)))
    return tuple(found)


def _pair_example(row: Mapping[str, Any]) -> PairExample:
    chosen, rejected = row["chosen"].splitlines(), row["rejected"].splitlines()
    kept_left: set[int] = set()
    kept_right: set[int] = set()
    for block in SequenceMatcher(a=chosen, b=rejected, autojunk=False).get_matching_blocks():
        kept_left.update(range(block.a, block.a + block.size))
        kept_right.update(range(block.b, block.b + block.size))
    return PairExample(
        prompt=row["prompt"],
        chosen=tuple(Line(text=text, changed=at not in kept_left) for at, text in enumerate(chosen)),
        rejected=tuple(Line(text=text, changed=at not in kept_right) for at, text in enumerate(rejected)),
        detail=row["detail"],
    )


def _pool_example(name: str, pool: list[Mapping[str, Any]]) -> PoolExample:
    """Right first, then one candidate an error type, until there are enough."""
    chosen: dict[tuple[bool, str], Mapping[str, Any]] = {}
    for row in sorted(pool, key=lambda row: not row["correct"]):
        chosen.setdefault((row["correct"], row["error_type"]), row)
    return PoolExample(pool=name, prompt=pool[0]["prompt"], candidates=tuple(chosen.values())[:MOST_EXAMPLES])
