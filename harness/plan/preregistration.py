"""Which claims were written before their test problems were first scored, and which only afterwards.

One file a store, beside the stages: when each claim was first seen, by a digest of its content, and when each set of
test problems was first scored. Neither depends on a recipe's name or on where the claim stands in it. A time is written
once and never moves, so that computing a stage again, or restarting, makes no claim older.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from filelock import FileLock

from harness.errors import StoreError
from harness.pipeline.evaluation import JUDGED_ON
from harness.pipeline.evaluations import EVALUATIONS, evaluation_named
from harness.pipeline.graph import Stage
from harness.pipeline.tasks import PROBLEMS, judging_split
from harness.plan.plan import Plan
from harness.recipe.claims import comparisons, tasks_of
from harness.store.identity import SHORT, fingerprint
from harness.store.record import read_json, read_record, write_json
from harness.store.store import Store

REGISTER = "claims.json"
CLAIMS, SCORED = "claims", "scored"
Times = dict[str, float]
"""Seconds since the epoch by digest."""

On = tuple[str, str, str]
"""A claim's name, a task and an evaluation."""

IdentityOf = Callable[[str], Mapping[str, Any] | None]
"""Of a stage by its fingerprint; None where nothing is known of it."""


def register_claims(plan: Plan, store: Store) -> None:
    """Note the claims that are new, and the test problems that were scored since the last look.

    Called before a run scores anything and before a report; does nothing for a recipe without claims.

    Raises:
        StoreError: the register is damaged.
    """
    if not plan.loaded.recipe.claims:
        return
    store.create()
    claims = {digest for _, digest, _ in _claims(plan)}
    problems = {key for _, _, keys in _claims(plan) for key in keys}
    with FileLock(str(store.root / REGISTER) + ".lock"):
        known = _read(store)
        scored = {**_first_scores(plan, store, problems - known[SCORED].keys()), **known[SCORED]}
        now = round(time.time(), 3)
        found = {CLAIMS: {**dict.fromkeys(sorted(claims), now), **known[CLAIMS]}, SCORED: scored}
        if found != known:
            write_json(store.root / REGISTER, found)


def exploratory_claims(plan: Plan, store: Store) -> dict[On, float]:
    """The claims that were added or edited after their test problems were scored, with the time of the first score.

    A claim that is not registered counts as added now. Claims on dev problems are never listed: those results are no
    test of anything.

    Raises:
        StoreError: the register is damaged.
    """
    if not plan.loaded.recipe.claims:
        return {}
    known = _read(store)
    wanted = {key for _, _, keys in _claims(plan) for key in keys}
    scored = {**_first_scores(plan, store, wanted - known[SCORED].keys()), **known[SCORED]}
    found = {}
    for on, digest, keys in _claims(plan):
        first = min((scored[key] for key in keys if key in scored), default=None)
        if first is not None and known[CLAIMS].get(digest, time.time()) > first:
            found[on] = first
    return found


def _read(store: Store) -> dict[str, Times]:
    path = store.root / REGISTER
    try:
        data = read_json(path)
        found = {name: {str(key): float(value) for key, value in data[name].items()} for name in (CLAIMS, SCORED)}
    except (FileNotFoundError, NotADirectoryError):
        return {CLAIMS: {}, SCORED: {}}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        remedy = "delete it: claims then count as written after all that is scored already"
        raise StoreError(f"{path} is damaged", "", remedy) from None
    return found


def _claims(plan: Plan) -> Iterator[tuple[On, str, frozenset[str]]]:
    """Each claim on each task with the digest of what it says there, and the test problems that it is judged on."""
    loaded = plan.loaded
    settings = {name: setting for setting in plan.settings for name in setting.names}
    identities = {stage.fingerprint: stage.identity for stage in plan.stages}
    problems: dict[str, frozenset[str]] = {}  # by what is judged on, which settings share
    for name, claim in loaded.recipe.claims.items():
        compared = comparisons(claim, loaded.settings)
        involved = {one for pair in compared for one in (*pair.better, *pair.than)}
        evaluate = next(one for one in loaded.settings if one.name in involved).experiment.evaluate
        for evaluation, task in tasks_of(claim, evaluate):
            if judging_split(loaded.recipe, task) == "dev":
                continue
            content = {
                "says": claim.says,
                "pairs": [[list(pair.better), list(pair.than)] for pair in compared],
                "on": [evaluation, task],
                "rule": claim.rule,
                "margin": claim.margin_of(evaluation),
                "each": claim.each,
                **({} if claim.metric is None else {"metric": claim.metric}),
            }
            keys: set[str] = set()
            for data in dict.fromkeys(_data(settings[one].variants[0].outcomes, task, evaluation) for one in involved):
                if data is not None:
                    if data not in problems:
                        problems[data] = problems_of(data, identities.get)
                    keys |= problems[data]
            yield (name, task, evaluation), fingerprint(content), frozenset(keys)


def _data(outcomes: Iterable[Any], task: str, evaluation: str) -> str | None:
    """What a setting is judged on, by fingerprint; None where it is not."""
    stage: Stage | None = next((one.stage for one in outcomes if (one.task, one.metric) == (task, evaluation)), None)
    judged = {} if stage is None else stage.inputs
    return next((judged[name].stage.fingerprint for name in JUDGED_ON if name in judged), None)


def problems_of(data: str, identity_of: IdentityOf) -> frozenset[str]:
    """The streams of problems that candidates or pairs are made from, whatever their number.

    What is made from none, such as held-out code pairs, stands for itself.
    """
    found: set[str] = set()
    seen, waiting = {data}, [data]
    while waiting:
        identity = identity_of(waiting.pop()) or {"inputs": {}}
        for name, given in identity["inputs"].items():
            if name == "problems":
                key = given["stream"] if isinstance(given, Mapping) else _stream(identity_of(given))
                found.add(key or str(given))
            elif isinstance(given, str) and given not in seen:
                seen.add(given)
                waiting.append(given)
    return frozenset(found) or frozenset({data})


def _stream(identity: Mapping[str, Any] | None) -> str:
    """The stream of a stage of problems, as the planner names it; "" where nothing is known of the stage."""
    if identity is None or identity["kind"] != PROBLEMS.name:
        return ""
    stream = {name: value for name, value in identity["spec"].items() if name != "count"} | identity["inputs"]
    return fingerprint({"kind": PROBLEMS.name, "stream": stream})


def _first_scores(plan: Plan, store: Store, wanted: Iterable[str]) -> Times:
    """When any row of any recipe was first scored on sets of problems; without those that none was scored on.

    Raises:
        StoreError: a record or its times are damaged.
    """
    asked = set(wanted)
    if not asked:
        return {}
    own = (on for claim in plan.loaded.recipe.claims.values() for on in claim.on)
    kinds = dict.fromkeys(
        [one.kind.name for one in EVALUATIONS.values()] + [evaluation_named(on).kind.name for on in own]
    )
    by_data: Times = {}
    for record in (record for kind in kinds for record in store.records(kind)):
        inputs = record.identity["inputs"]
        data = next((inputs[name] for name in JUDGED_ON if isinstance(inputs.get(name), str)), None)
        if data is not None:
            finished = float(store.run_facts(record)["finished"])
            by_data[data] = min(finished, by_data.get(data, finished))

    def identity_of(key: str) -> Mapping[str, Any] | None:
        folders = store.root.glob(f"*/{key[:SHORT]}")
        records = (record for folder in folders if (record := read_record(folder)) is not None)
        return next((record.identity for record in records if record.fingerprint == key), None)

    found: Times = {}
    for data, finished in by_data.items():
        for key in problems_of(data, identity_of) & asked:
            found[key] = min(finished, found.get(key, finished))
    return found
