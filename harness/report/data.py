"""What the data was: cleaning, construction, splits, error types, tokens, examples. From records and Parquet files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from itertools import groupby
from pathlib import Path
from typing import Any

from harness.pipeline.corpus import CORPUS
from harness.pipeline.graph import Stage
from harness.pipeline.imports import IMPORTED
from harness.pipeline.pairs import CONSISTENT_PART, PAIR_QUALITY, PAIRS, SPLIT_PAIRS
from harness.pipeline.tasks import CANDIDATES, POOL_CANDIDATES, POOL_PREFERENCES, POOL_PROBLEMS, PREFERENCES, PROBLEMS
from harness.pipeline.tokens import ENCODE
from harness.plan.plan import Plan
from harness.report.facts import Facts
from harness.report.pair_quality import quality_table, read_examples
from harness.report.status import StageStatus, Statuses
from harness.report.truncation import Truncation
from harness.report.words import RETRACTED, count, listing, plural, share
from harness.store.artifacts import UNKNOWN_ERROR, Candidates, Pairs
from harness.store.identity import SHORT
from harness.store.record import Record
from harness.store.store import Store

MOST_EXAMPLES = 5
POOLS = (CANDIDATES, POOL_CANDIDATES)
MOST_NAMED = 6  # files of a corpus told by name
SPLITS = ("base", "finetune", "dev", "test")


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
class CandidateExample:
    """One candidate of a pool."""

    text: str
    correct: bool
    error_type: str
    seen: bool


@dataclass(frozen=True, kw_only=True)
class PoolExample:
    """A problem with a few of its candidates."""

    pool: str
    prompt: str
    candidates: tuple[CandidateExample, ...]


def data_tables(plan: Plan, statuses: Statuses) -> tuple[Facts, ...]:
    """Every table of the data section; tables of unfinished stages are left out and their stages listed elsewhere."""
    seen = (statuses[stage.fingerprint] for stage in plan.stages)
    done = [(_marked(status), status.record) for status in seen if status.record is not None]
    tables = [
        *_named((stage, _corpus(stage, record)) for stage, record in done if stage.kind is CORPUS),
        _imported([one for one in done if one[0].kind in IMPORTED.values()]),
        *_named((stage, _construction(stage, statuses)) for stage, _ in done if stage.kind is PAIRS),
        _splits([one for one in done if one[0].kind in (PROBLEMS, POOL_PROBLEMS)]),
        *_named((stage, quality_table(record)) for stage, record in done if stage.kind is PAIR_QUALITY),
        _preferences([one for one in done if one[0].kind is PREFERENCES]),
        _pool_preferences([one for one in done if one[0].kind is POOL_PREFERENCES]),
        *_named((stage, _pool(stage, record)) for stage, record in done if stage.kind in POOLS),
        _tokens([one for one in done if one[0].kind is ENCODE]),
    ]
    return tuple(table for table in tables if table is not None and table.rows)


def _named(tables: Iterable[tuple[Stage, Facts | None]]) -> list[Facts]:
    """Tables, where several have one title with their stage's name: a heading stands once."""
    found = [(stage, table) for stage, table in tables if table is not None]
    times = Counter(table.title for _, table in found)
    return [
        replace(table, title=f"{table.title} ({stage.name})") if times[table.title] > 1 else table
        for stage, table in found
    ]


def _marked(status: StageStatus) -> Stage:
    """The stage, its label with a word where it is made from something retracted."""
    stage = status.stage
    return replace(stage, label=f"{stage.label} ({RETRACTED})") if status.retracted else stage


def _words(reason: str) -> str:
    return reason.removeprefix("failed_").replace("_", " ")


def _corpus(stage: Stage, record: Record) -> Facts:
    cleaning, kept = record.result["cleaning"], record.result["kept"]
    read = cleaning["read"]
    dropped = sorted(
        ((reason, number) for reason, number in cleaning.items() if reason not in ("read", "kept") and number),
        key=lambda item: -item[1],
    )
    rows = [("read", count(read), share(read, read))]
    rows += [(f"dropped: {_words(reason)}", count(number), share(number, read)) for reason, number in dropped]
    rows.append(("kept", count(cleaning["kept"]), share(cleaning["kept"], read)))
    purposes = {"train": "PMP pairs", "base": "the base language model", "heldout": "held-out pairs"}
    rows += [(f"of these, for {purposes.get(split, split)}", count(n), share(n, read)) for split, n in kept.items()]
    return Facts(
        title="Corpus: documents and cleaning",
        columns=("", "functions or documents", "share"),
        rows=tuple(rows),
        numbers=frozenset({1, 2}),
        note=" ".join([_corpus_origin(stage), _contamination(record), _passed_over(record)]).strip(),
    )


def _imported(done: Iterable[tuple[Stage, Record]]) -> Facts:
    columns = ("import", "licence", "source", "digest of its content")
    rows = [
        (stage.label.removeprefix("imported "), result["licence"], result["source"], stage.spec.digest[:SHORT])
        for stage, result in ((stage, record.result) for stage, record in done)
    ]
    return Facts(title="From outside", columns=columns, rows=tuple(rows))


def _corpus_origin(stage: Stage) -> str:
    """Where a corpus is from and how it is split, in a sentence or two."""
    spec = stage.identity["spec"]
    if "versions" in spec:
        packages = listing([f"{name} {version}" for name, version in spec["versions"].items()])
        return f"From {packages}; split by package. Held out: {listing(spec['heldout'])}."
    if "files" in spec:
        named = [entry["name"] for entry in spec["files"]]
        more = f" and {len(named) - MOST_NAMED:,} more" if len(named) > MOST_NAMED else ""
        source = f"{listing(named[:MOST_NAMED])}{more}"
    else:
        source = f"{spec['id']} at {spec['revision']} (commit {spec['commit']})"
    return f"From {source}; split by cluster, {spec['heldout']:.0%} held out."


def _contamination(record: Record) -> str:
    """What the check against evaluation problems found."""
    found = record.result.get("contamination")
    if found is None:
        return "Not checked for evaluation problems."
    checked, short = found["checked"], found["too_short"]
    told = f"Checked for {count(sum(checked.values()))} evaluation problems: "
    if short:
        tasks = listing([f"{count(n)} of {count(n + checked.get(task, 0))} of {task}" for task, n in short.items()])
        told = f"Too short to search for: {tasks}. {told}"
    if not found["documents"]:
        return told + "no document held one."
    shown = [
        f"{one['document']} ({one['problem']}, {one['shared']} of {one['of']} n-grams)" for one in found["examples"]
    ]
    return told + f"{count(found['documents'])} documents held one, such as {'; '.join(shown)}."


def _passed_over(record: Record) -> str:
    """What of the source could not be read, with the first by name."""
    counts = record.result["read"]
    reasons = [
        f"{_words(reason)} {count(counts[reason])} ({', '.join(places)}{', …' if counts[reason] > len(places) else ''})"
        for reason, places in record.result["passed_over"].items()
    ]
    return f"Left unread: {'; '.join(reasons)}." if reasons else ""


def _construction(stage: Stage, statuses: Statuses) -> Facts | None:
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
        "pairs": "pairs made",
        "retries": "tries after a slot's first",
        "repeats": "repeats of an earlier pair",
    }
    rows = [(names[name], count(totals[name]), share(totals[name], slots)) for name in names]
    rows += [
        (f"no pair: {_words(reason)}", count(number), share(number, slots))
        for reason, number in sorted(totals.items(), key=lambda item: -item[1])
        if reason.startswith("failed_")
    ]
    if "flipped" in totals:
        rows.append(("labels turned round on purpose", count(totals["flipped"]), share(totals["flipped"], slots)))
    if "inconsistent" in totals:
        rows.append(("dropped by the filter", count(totals["inconsistent"]), share(totals["inconsistent"], slots)))
    if totals["documents_unfit"]:
        unfit = totals["documents_unfit"] // len(parts)  # each part looked at the whole corpus
        rows.append(("documents left aside: no function", count(unfit), ""))
    return Facts(
        title=f"Pair construction: {stage.label.removeprefix('pairs ')}",
        columns=("", "number", "share of slots"),
        rows=tuple(rows),
        numbers=frozenset({1, 2}),
    )


def _splits(done: Iterable[tuple[Stage, Record]]) -> Facts:
    rows = []
    for stage, record in done:
        problems, clusters = record.result["problems"], record.result["clusters"]
        cells = [f"{problems[split]:,} / {clusters[split]:,}" if split in problems else "" for split in SPLITS]
        rows.append((stage.label.removeprefix("problems "), *cells))
    return Facts(
        title="Problems and clusters, by split",
        columns=("task", *SPLITS),
        rows=tuple(rows),
        numbers=frozenset({1, 2, 3, 4}),
        note="Problems / clusters. A cluster (a template, a form, a passage) lies in one split only, and intervals "
        "resample clusters, not problems.",
    )


def _preferences(done: Iterable[tuple[Stage, Record]]) -> Facts:
    rows = []
    for stage, record in done:
        kinds = ", ".join(f"{_words(kind)} {number:,}" for kind, number in record.result["error_types"].items())
        refused = sum(record.result["refused"].values())
        rows.append((stage.label.removeprefix("preferences "), count(record.result["groups"]), kinds, count(refused)))
    return Facts(
        title="Reasoning preferences, by error type of the rejected side",
        columns=("pairs of", "pairs", "error types", "refused"),
        rows=tuple(rows),
        numbers=frozenset({1, 3}),
        note="Refused: mistakes that came out right by chance, so that no pair has two right sides.",
    )


def _pool_preferences(done: Iterable[tuple[Stage, Record]]) -> Facts:
    columns = ("pairs of", "pairs", "problems", "problems without a pair")
    rows = [
        (
            stage.label.removeprefix("preferences "),
            *(count(record.result[key]) for key in ("groups", "problems", "problems_without")),
        )
        for stage, record in done
    ]
    return Facts(
        title="Preferences of imported pools",
        columns=columns,
        rows=tuple(rows),
        numbers=frozenset({1, 2, 3}),
        note="A right and a wrong candidate of one problem; a problem whose candidates are all right or all wrong has "
        "none.",
    )


def _pool(stage: Stage, record: Record) -> Facts:
    result = record.result
    unseen = set(result["unseen_error_types"])
    rows = [
        ("right", "", count(result["correct"]), share(result["correct"], result["candidates"])),
        *(
            (_words(kind), _seen(kind, unseen), count(number), share(number, result["candidates"]))
            for kind, number in sorted(result["error_types"].items(), key=lambda item: (item[0] in unseen, item[0]))
        ),
    ]
    return Facts(
        title=f"Candidate pool: {stage.label.removeprefix('candidates ')}",
        columns=("candidates", "in fine-tuning pairs", "number", "share"),
        rows=tuple(rows),
        numbers=frozenset({2, 3}),
        note=f"{count(result['groups'])} problems, {_origin(stage, record)}; shared by all scorers.",
    )


def _seen(error_type: str, unseen: Collection[str]) -> str:
    return "" if error_type == UNKNOWN_ERROR else "unseen" if error_type in unseen else "seen"


def _origin(stage: Stage, record: Record) -> str:
    """How many candidates each, and whose."""
    if stage.kind is POOL_CANDIDATES:
        smallest, largest, sources = (record.result[key] for key in ("smallest_pool", "largest_pool", "sources"))
        each = count(smallest) if smallest == largest else f"{count(smallest)} to {count(largest)}"
        return f"{each} imported candidates each, by {plural(sources, 'source')}"
    part = next(iter(stage.inputs.values())).stage
    return f"{count(part.spec['samples'])} candidates each, by the {part.spec.engine} engine"


def _tokens(done: Iterable[tuple[Stage, Record]]) -> Facts:
    keys = ("groups", "tokens", "prompt_tokens", "response_tokens", "too_long_dropped", "prompts_cut", "responses_cut")
    rows = []
    for stage, record in done:
        found = Truncation.of(stage, record)
        counts = (count(record.result[key]) for key in keys)
        limits = (found.share, count(found.most), count(found.longest))
        rows.append((stage.label.removeprefix("encode "), *counts, *limits))
    return Facts(
        title="Tokens, and what did not fit",
        columns=(
            *("texts", "groups", "tokens", "of prompts", "of responses", "pairs left out", "prompts cut"),
            *("responses cut", "share", "max_tokens", "would fit all"),
        ),
        rows=tuple(rows),
        numbers=frozenset(range(1, 11)),
        note="A task's pair that does not fit is left out; one for pretraining may lose the beginning of its prompt, "
        "or the next one is taken. Each candidate is cut for itself: its prompt loses its beginning, but keeps half of "
        "max_tokens, then it loses its own end. Share: pairs left out, or candidates of which anything was cut; above "
        "1 % of a task's the report warns.",
    )


# ------------------------------------------------------------------------------------------------- examples


class Payloads:
    """The files of finished stages that examples are read from, each checked against its record.

    What does not match is not shown but thrown away, as a run does with it, and said.

    Attributes:
        damaged: what was found so, with the remedy.
    """

    def __init__(self, statuses: Statuses, store: Store) -> None:
        self._statuses, self._store = statuses, store
        self.damaged: list[str] = []

    def of(self, stage: Stage) -> Path | None:
        """A stage's folder; None where it is not made yet, was dropped or is damaged."""
        record = self._statuses[stage.fingerprint].record
        if record is None:
            return None
        damage = self._store.damage(record)
        if damage:
            self.damaged.append(f"{stage.label}: {damage}; thrown away, the next run that needs it makes it again")
            self._store.drop_payload(record)
        return self._store.directory(stage.kind.name, stage.fingerprint) if self._store.has_payload(record) else None


def pair_examples(plan: Plan, payloads: Payloads) -> tuple[PairExample, ...]:
    """The first PMP training pairs; none where they are not made yet or were dropped."""
    for stage in plan.stages:
        if stage.kind in (PAIRS, SPLIT_PAIRS) and _split_of(stage) == "train":
            folder = payloads.of(stage)
            if folder is not None:
                rows = Pairs(folder).read().slice(0, MOST_EXAMPLES).to_pylist()
                return tuple(_pair_example(row) for row in rows)
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
    pools = [stage for stage in plan.stages if stage.kind in POOLS]
    labels = Counter(stage.label for stage in pools)
    for stage in pools:
        folder = payloads.of(stage)
        if folder is not None:
            rows = Candidates(folder).rows()
            _, pool = next(groupby(rows, key=lambda row: row["problem"]))
            name = stage.label.removeprefix("candidates ")
            found.append(_pool_example(f"{name} ({stage.name})" if labels[stage.label] > 1 else name, list(pool)))
    return tuple(found)


def _split_of(stage: Stage) -> str:
    part = stage if stage.kind is SPLIT_PAIRS else next(iter(stage.inputs.values())).stage
    return str(part.spec.split)


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
    return PoolExample(
        pool=name,
        prompt=pool[0]["prompt"],
        candidates=tuple(
            CandidateExample(
                text=row["text"], correct=row["correct"], error_type=_words(row["error_type"]), seen=row["seen"]
            )
            for row in list(chosen.values())[:MOST_EXAMPLES]
        ),
    )
