"""What a recipe's claims can show, as `harness plan` prints it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from harness.cli.console import output
from harness.cli.tables import print_table, table
from harness.cli.workspace import Workspace
from harness.pipeline.evaluations import headline
from harness.plan.claims import SEEDS, WORDS, ClaimPower, claims_power
from harness.plan.power import Enough
from harness.plan.preregistration import exploratory_claims
from harness.report.words import TIMES, moment

COLUMNS = 100


def claims_data(workspace: Workspace) -> list[dict[str, Any]]:
    """Every claim on every task as plain data; effects and margins as shares, a time where a claim is exploratory."""
    since = exploratory_claims(workspace.plan, workspace.store)
    return [
        {**one.as_json(), "first_scored": since.get((one.claim, one.task, one.evaluation))}
        for one in claims_power(workspace.plan, workspace.store)
    ]


def print_claims(workspace: Workspace) -> None:
    """A table of the claims, and what those that cannot be told from noise would need; nothing without claims."""
    found = claims_power(workspace.plan, workspace.store)
    if not found:
        return
    numbers = ("problems", "seeds", "MDE", "margin")
    shown = table("claims: minimum detectable effects, in points", "claim", "on", *numbers, "detectable", right=numbers)
    before = ""
    for one in found:
        cells = ("", "", "")
        if one.effect is not None:
            cells = (f"{one.problems:,}", seeds_words(one.seeds), points(one.effect))
        answer = "yes" if one.detectable else "no claim" if one.lacking else "no"
        name = one.claim if one.claim != before else ""
        shown.add_row(name, _on(one), *cells, points(one.margin), answer)
        before = one.claim
    print_table(shown)
    for line in (*remedies(found), *exploratory(workspace), *sources(found)):
        output().print("\n".join(textwrap.wrap(line, COLUMNS, subsequent_indent="  ")))


def _on(one: ClaimPower) -> str:
    """The task and the evaluation, or a metric of it that is not its headline."""
    return f"{one.task} {one.evaluation if one.metric == headline(one.evaluation) else one.metric}"


def remedies(found: Sequence[ClaimPower]) -> list[str]:
    """What stands in the way of each claim, tasks with the same remedy together."""
    tasks: dict[tuple[str, str], list[str]] = {}
    for one in found:
        if not one.detectable:
            words = f"no claim can be made ({one.lacking})" if one.lacking else _noise(one)
            tasks.setdefault((one.claim, words), []).append(one.task)
    return [f"{claim} on {', '.join(dict.fromkeys(on))}: {words}" for (claim, words), on in tasks.items()]


def _noise(one: ClaimPower) -> str:
    told = "cannot be distinguished from noise"
    if one.rule == "superiority":
        size = points(one.margin)
        told = f"an effect of {size} point{'s' * (size != '1')} {told}"
    if not one.enough:
        return f"{told}, and neither more seeds nor more problems would change that; claim a wider margin"
    kinds = [WORDS[kind] for kind in SEEDS if (one.seeds or {}).get(kind)]
    noun = "seeds of each kind" if len(kinds) > 1 else f"{kinds[0]} seeds"
    return f"{told}; {', or '.join(_way(way, noun) for way in one.enough)} would be enough"


def _way(way: Enough, noun: str) -> str:
    seeds = "" if way.seeds is None else f"{way.seeds:,} {noun}"
    problems = "" if way.problems is None else f"{way.problems:,} problems"
    return " and ".join(filter(None, (seeds, problems)))


def exploratory(workspace: Workspace) -> list[str]:
    """The claims that come too late to be predictions, those with the same date together."""
    late: dict[str, dict[str, None]] = {}
    for (claim, *_), first in exploratory_claims(workspace.plan, workspace.store).items():
        late.setdefault(moment(first), {})[claim] = None
    return [
        f"exploratory, since added or edited after the test problems were first scored ({date}): {', '.join(claims)}"
        for date, claims in late.items()
    ]


def sources(found: Sequence[ClaimPower]) -> list[str]:
    """Where the variance components are from."""
    on: dict[str, list[str]] = {}
    for one in found:
        if one.components is not None:
            on.setdefault(one.components.source, []).append(f"{one.task} {one.evaluation}")
    return [f"variance {source}: {', '.join(dict.fromkeys(names))}" for source, names in on.items()]


def points(share: float) -> str:
    """A difference in points, 0.0123 as 1.2."""
    return f"{100 * share:.2g}" if share < 0.1 else f"{100 * share:.0f}"


def seeds_words(seeds: Mapping[str, int] | None) -> str:
    """PMP times fine-tuning seeds."""
    return f" {TIMES} ".join(str(seeds[kind]) for kind in SEEDS if seeds[kind]) if seeds else ""
