"""Where models fail: tables and worst examples by task, and the alarms at the top of a report.

All numbers are of the `failures` stages. Only Holm's correction is made here: it depends on what else was looked at.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.evaluation.ranks import holm
from harness.pipeline.failures import ALARM_LEVEL
from harness.plan.analysis import baseline_of
from harness.plan.plan import Plan
from harness.report.data import Payloads
from harness.report.facts import Facts
from harness.report.overview import Caution, caution
from harness.report.status import Statuses
from harness.report.words import MINUS, RETRACTED, interval, plural, score, signed, signed_interval, task_title
from harness.store.artifacts import Failures

MOST_EXAMPLES = 200
"""Of a task, over all its rows: each shows as many of its worst as that leaves it, and one at least."""

MOST_TEMPERATURES = 6
"""Of a row's models, told in a cell."""

Content = Mapping[str, Any]
Found = Sequence[tuple[str, Content]]  # row, its artifact
Row = tuple[str, ...]

SEED_KINDS = ("PMP seeds", "fine-tuning seeds")
SUBSETS = {"all": "all candidates", "right": "right ones", "wrong": "wrong ones"}


@dataclass(frozen=True, kw_only=True)
class FailureExample:
    """A problem on which a model prefers a wrong candidate to every right one; texts are cut to a readable length."""

    title: str
    prompt: str
    right_title: str
    right: str
    wrong_title: str
    wrong: str


@dataclass(frozen=True, kw_only=True)
class TaskFailures:
    """Of one task: tables over all rows, and each row's worst examples."""

    tables: tuple[Facts, ...]
    examples: tuple[tuple[str, tuple[FailureExample, ...]], ...]


def task_failures(plan: Plan, statuses: Statuses, payloads: Payloads) -> dict[str, TaskFailures]:
    """By task, of the stages that are done."""
    by_task: dict[str, list[tuple[str, Content]]] = {}
    for one in plan.failures:
        folder = payloads.of(one.stage)
        if folder is not None:
            content = json.loads(Failures(folder).path.read_text(encoding="utf-8"))
            marked = f"{one.row} ({RETRACTED})" if statuses[one.stage.fingerprint].retracted else one.row
            by_task.setdefault(one.task, []).append((marked, content))
    return {task: _of_task(task_title(task), found, baseline_of(plan)) for task, found in by_task.items()}


def _of_task(title: str, found: Found, baseline: str) -> TaskFailures:
    there = [(row, content) for row, content in found if "errors" in content]
    tables = [
        _bias(there),
        _margins(there),
        _errors(there),
        _categories(there, "by_type", "error type of the wrong pick"),
        _categories(there, "by_frequency", "how frequent the wrong pick's final answer is"),
        _calibration(there),
        _reliability(there),
        _disagreement(there, baseline),
        _ensembles(there),
    ]
    each = max(1, MOST_EXAMPLES // len(found))
    return TaskFailures(
        tables=tuple(replace(table, title=f"{title}: {table.title}") for table in tables if table.rows),
        examples=tuple(
            (row, tuple(_example(one) for one in content["worst"][:each])) for row, content in found if content["worst"]
        ),
    )


# ------------------------------------------------------------------------------------------------------- tables


def _cell(number: Mapping[str, Any] | None, *, difference: bool = False) -> str:
    """An estimate with its interval; "" where there is none."""
    if number is None:
        return ""
    write, limits = (signed, signed_interval) if difference else (score, interval)
    told = write(number["estimate"])
    return told if number["low"] is None else f"{told} {limits(number['low'], number['high'])}"


def _bias(found: Found) -> Facts:
    rows = [
        (row, one["feature"], *(_cell(one[subset], difference=True) for subset in SUBSETS))
        for row, content in found
        for one in content["bias"]
    ]
    return Facts(
        title="what rewards follow",
        columns=("setting", "feature of the text", *SUBSETS.values()),
        rows=tuple(rows),
        words=(0, 1),
        note="Rank correlation of reward and feature within problems. Among candidates that are equally right it is "
        "style alone.",
    )


def _margins(found: Found) -> Facts:
    quantiles = list(found[0][1]["margins"]["quantiles"]) if found else []
    rows = [
        (
            row,
            _cell(content["margins"]["negative"]),
            *(signed(content["margins"]["quantiles"][at]) for at in quantiles),
        )
        for row, content in found
    ]
    return Facts(
        title="margins of right over wrong",
        columns=("setting", "share below 0", *(f"{100 * float(at):g} %" for at in quantiles)),
        rows=tuple(rows),
        note="Reward of a right minus that of a wrong candidate of the same problem, every problem with the same "
        "weight: quantiles in units of the rewards' standard deviation within problems, means over models.",
    )


def _errors(found: Found) -> Facts:
    """The random pick of a bin is that of any row: the pool's."""
    bins = {(one["from"], one["to"]): one for _, content in found for one in content["errors"]["by_difficulty"]}
    order = sorted(bins)
    rows: list[Row] = []
    for row, content in found:
        mine = {(one["from"], one["to"]): one for one in content["errors"]["by_difficulty"]}
        rows.append(
            (
                row,
                _cell(content["errors"]["rate"]),
                *(_cell(mine[at]["rate"]) if at in mine else "" for at in order),
            )
        )
    if found:
        rows.append(
            (
                "random pick",
                score(found[0][1]["errors"]["random_pick"]),
                *(score(bins[at]["random_pick"]) for at in order),
            )
        )
    return Facts(
        title="errors by difficulty",
        columns=("setting", "all", *(f"{100 * low:g} to {100 * high:g} % right" for low, high in order)),
        rows=tuple(rows),
        note="An error: the candidate with the highest reward of the whole pool is wrong although a right one is "
        "there. Problems by the share of their candidates that is right.",
    )


def _categories(found: Found, key: str, title: str) -> Facts:
    rows = [
        (row, one["name"].replace("_", " "), _cell(one["picked"]), score(one["drawn"]))
        for row, content in found
        for one in content["errors"][key]
    ]
    return Facts(
        title=title,
        columns=("setting", "wrong pick", "share of errors", "of wrong candidates drawn at random"),
        rows=tuple(rows),
        words=(0, 1),
        note="The last column is what any wrong candidates of the same problems are: a model that errs at random has "
        "the same shares in both.",
    )


def _calibration(found: Found) -> Facts:
    rows = [
        (
            row,
            one["name"],
            ", ".join(f"{value:.3g}" for value in one["temperatures"][:MOST_TEMPERATURES])
            + (", …" if len(one["temperatures"]) > MOST_TEMPERATURES else ""),
            score(one["error"]),
            _cell(one["overconfidence"], difference=True),
        )
        for row, content in found
        for one in content["calibration"]
    ]
    fitted = any(one["name"] != "as trained" for _, content in found for one in content["calibration"])
    without = (
        ""
        if fitted
        else " There are no scores of dev candidates, so no temperature is fitted: evaluate.failures: calibrated asks "
        "for them. Nothing is fitted on test problems."
    )
    return Facts(
        title="calibration",
        columns=("setting", "", "temperature", "calibration error", f"confidence {MINUS} share right"),
        rows=tuple(rows),
        words=(0, 1, 2),
        note="Of two candidates of a problem, one right and one wrong, a model prefers one with the confidence "
        f"sigmoid(|margin| / temperature).{without}",
    )


def _reliability(found: Found) -> Facts:
    rows = [
        (
            row,
            one["name"],
            f"{place['from']:g} to {place['to']:g}",
            score(place["share"]),
            score(place["confidence"]),
            _cell(place["right"]),
        )
        for row, content in found
        for one in content["calibration"]
        for place in one["bins"]
    ]
    return Facts(
        title="reliability",
        columns=("setting", "", "confidence", "share of couples", "mean confidence", "share right"),
        rows=tuple(rows),
        words=(0, 1, 2),
    )


def _disagreement(found: Found, baseline: str) -> Facts:
    def differ(content: Content, key: str, what: str) -> str:
        return _cell(content["disagreement"].get(key, {}).get(what))

    rows = [
        (
            row,
            *(differ(content, kind, "differ") for kind in SEED_KINDS),
            *(differ(content, "baseline", what) for what in ("differ", "only_this", "only_baseline")),
        )
        for row, content in found
        if content["disagreement"]
    ]
    return Facts(
        title="disagreement",
        columns=(
            "setting",
            *(f"between {kind}" for kind in SEED_KINDS),
            f"from {baseline}",
            "only this",
            f"only {baseline}",
        ),
        rows=tuple(rows),
        note="Share of problems on which the picks of two models, out of the whole pool, are one right and one wrong; "
        "mean over pairs of models. Only this: this one is right and the other wrong.",
    )


def _ensembles(found: Found) -> Facts:
    rows = [
        (row, one["over"], str(one["models"]), _cell(one["accuracy"]), _cell(one["gain"], difference=True))
        for row, content in found
        if len(content["ensembles"]) > 1
        for one in content["ensembles"]
    ]
    size = found[0][1]["key_size"] if found else 0
    return Facts(
        title="ensembles",
        columns=("setting", "mean reward over", "models", f"BoN@{size}", "above single models"),
        rows=tuple(rows),
        words=(0, 1),
        note="Rewards are put on one scale by their spread within problems before they are averaged.",
    )


# ------------------------------------------------------------------------------------------------------ examples


def _example(one: Mapping[str, Any]) -> FailureExample:
    seeds = [
        f"{kind} seed {one[key]}"
        for kind, key in (("PMP", "pretrain_seed"), ("fine-tuning", "finetune_seed"))
        if one[key] is not None
    ]
    right, wrong = one["right"], one["wrong"]
    return FailureExample(
        title=", ".join([one["problem"], *seeds, f"{one['gap']:.2f} standard deviations apart"]),
        prompt=one["prompt"],
        right_title=f"best right candidate: {_told(right)}",
        right=right["text"],
        wrong_title=f"preferred, wrong: {_told(wrong)}",
        wrong=wrong["text"],
    )


def _told(side: Mapping[str, Any]) -> str:
    answer = "no answer" if side["answer"] is None else f"answer {side['answer']}"
    return f"reward {side['reward']:.4g}, {answer}".replace("-", MINUS)


# -------------------------------------------------------------------------------------------------------- alarms


def _falls(one: Mapping[str, Any]) -> str:
    return f"BoN@{one['n']} lies {_gap(one)} below the curve's peak: a higher reward buys less accuracy"


def _below(one: Mapping[str, Any]) -> str:
    return f"BoN@{one['n']} lies {_gap(one)} below {one['reference']}"


def _wrong(one: Mapping[str, Any]) -> str:
    return f"a right candidate beats a wrong one {score(0.5 + one['estimate'])} of the time, less than a coin"


def _length(one: Mapping[str, Any]) -> str:
    return (
        f"reward and length correlate by {signed(one['correlation'])} among equally right candidates, beyond "
        f"{one['level']:g}"
    )


def _pmp(one: Mapping[str, Any]) -> str:
    return f"BoN@{one['n']} lies {_gap(one)} below the same without PMP"


def _constant(one: Mapping[str, Any]) -> str:
    return (
        f"all candidates of a problem have one reward on {score(one['estimate'])} of the problems: no head was trained"
    )


WORDS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "falls with N": _falls,
    "below a reference": _below,
    "wrong above right": _wrong,
    "ranks by length": _length,
    "PMP below no PMP": _pmp,
    "constant rewards": _constant,
}


def _gap(one: Mapping[str, Any]) -> str:
    return f"{score(-one['estimate'])} {interval(-one['high'], -one['low'])}"


def alarms(plan: Plan, statuses: Statuses) -> list[Caution]:
    """Failure signatures that stand Holm's correction over everything that was looked at; none of what is retracted."""
    looks = list(_looks(plan, statuses))
    tested = [one for _, one in looks if one["p_value"] is not None]
    adjusted = holm([one["p_value"] for one in tested]).tolist()
    fires = {id(one) for one, p_value in zip(tested, adjusted, strict=True) if p_value <= ALARM_LEVEL}
    items = [
        f"{where}: {WORDS[one['rule']](one)}" + (f" (over {one['covers']})" if "covers" in one else "")
        for where, one in looks
        if id(one) in fires or one.get("fires")
    ]
    return caution(
        plural(len(items), "failure signature"),
        f"Found by rules that are under Methods, {len(tested):,} looks at all rows and tasks Holm-corrected at "
        f"{100 * ALARM_LEVEL:g} %. What covers problems alone is said of these models, not of others trained alike.",
        items,
    )


def _looks(plan: Plan, statuses: Statuses) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for one in plan.failures:
        status = statuses[one.stage.fingerprint]
        if status.record is not None and not status.retracted:
            yield from ((f"{one.row} on {task_title(one.task)}", found) for found in status.record.result["alarms"])
