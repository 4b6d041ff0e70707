"""What became of a recipe's claims: a verdict for each on each of its tasks, by the rules of docs/claims.md.

Reads the contrasts of the effects stage and computes no interval itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

from harness.pipeline.evaluations import metric_label
from harness.plan.claims import SEEDS, ClaimPower
from harness.plan.effects import claim_key
from harness.recipe.axes import BETWEEN
from harness.recipe.claims import Comparison, Rule
from harness.report.words import TIMES, listing, moment, task_title

Word = Literal["supported", "supported, small", "contradicted", "no meaningful effect", "inconclusive", "not tested"]
LEVEL = 0.95
SMALL = ", small"
MOST_NAMED = 4  # pairs of settings that a claim's line names


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """A difference as a share, with its 95 % interval and the limits of its 90 % interval."""

    estimate: float
    low: float
    high: float
    low_90: float
    high_90: float
    p_value: float

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Contrast:
        return cls(**{name: float(data[name]) for name in cls.__dataclass_fields__})


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A claim on a task.

    Attributes:
        power: the claim, what it compares, and what it can detect.
        why: why it is not tested; "" where it is.
        pairs: (more, less, difference) of every comparison; `difference` is their mean.
        holds: it is superior after Holm's correction over the recipe's claims of superiority on all tasks.
        first_scored: of a claim that was added or edited afterwards, when its test problems were first scored; "" of
            any other.
    """

    power: ClaimPower
    word: Word
    why: str = ""
    difference: Contrast | None = None
    problems: int = 0
    pairs: tuple[tuple[str, str, Contrast], ...] = ()
    holds: bool = False
    first_scored: str = ""

    @property
    def judged(self) -> tuple[Contrast, ...]:
        """The differences that the claim must hold of: each of its comparisons' or their mean; none is not tested."""
        if self.difference is None:
            return ()
        return tuple(one for *_, one in self.pairs) if self.power.each else (self.difference,)

    @property
    def exploratory(self) -> bool:
        """Whether the claim is younger than the first score on its test problems."""
        return bool(self.first_scored)

    @property
    def title(self) -> str:
        return f"{task_title(self.power.task)}, {metric_label(self.power.metric)}"

    @property
    def seeds(self) -> str:
        """PMP by fine-tuning seeds."""
        seeds = self.power.seeds or {}
        return f" {TIMES} ".join(str(seeds[kind]) for kind in SEEDS if seeds.get(kind))

    def as_json(self) -> dict[str, Any]:
        return {
            "claim": self.power.claim,
            "says": self.power.says,
            "task": self.power.task,
            "evaluation": self.power.evaluation,
            "metric": self.power.metric,
            "rule": self.power.rule,
            "margin": self.power.margin,
            "verdict": self.word,
            "why": self.why,
            "difference": None if self.difference is None else asdict(self.difference),
            "problems": self.problems,
            "seeds": self.power.seeds,
            "minimum_detectable_effect": self.power.effect,
            "holds_after_holm": self.holds,
            "exploratory": self.exploratory,
            "first_scored": self.first_scored,
            "pairs": [{"more": more, "less": less, **asdict(one)} for more, less, one in self.pairs],
        }


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What is claimed of two sides, `better` and `than` in words, over all tasks and metrics: claims that say the same
    of the same settings are one."""

    says: str
    better: str
    than: str
    results: tuple[Verdict, ...]

    @property
    def tested(self) -> bool:
        """On any task."""
        return any(one.difference is not None for one in self.results)

    @property
    def words(self) -> str:
        """The verdict over all tasks, with a word where the claim is exploratory on any of them."""
        return f"{self._verdict}, exploratory" if self.exploratory else self._verdict

    @property
    def exploratory(self) -> bool:
        """On any task."""
        return any(one.exploratory for one in self.results)

    @property
    def why(self) -> str:
        """What keeps it from being tested."""
        reasons = dict.fromkeys(one.why for one in self.results if one.why)
        return f"{'exploratory; ' if self.exploratory else ''}{'; '.join(reasons)}"

    @property
    def _verdict(self) -> str:
        """The verdict; where tasks differ, on how many of them it is which."""
        exact = {one.word for one in self.results}
        if len(exact) == 1:
            return exact.pop()
        plain = Counter(one.word.removesuffix(SMALL) for one in self.results)
        if len(plain) == 1:
            return next(iter(plain))
        total = len(self.results)
        held = sum(one.holds if one.power.rule == "superiority" else one.word == "supported" for one in self.results)
        parts = [f"supported on {held} of {total} tasks"] if held else []
        if plain["contradicted"]:
            parts.append(f"contradicted on {plain['contradicted']} of {total}")
        return ", ".join(parts) or "inconclusive"

    @property
    def mark(self) -> str:
        """`supported` or `contradicted` on every task, else `open`."""
        words = {one.word.removesuffix(SMALL) for one in self.results}
        return next((word for word in ("supported", "contradicted") if words == {word}), "open")


def findings(
    powers: Sequence[ClaimPower],
    effects: Mapping[str, Any] | None,
    first_scored: Mapping[tuple[str, str, str], float] = MappingProxyType({}),
) -> tuple[Finding, ...]:
    """What a recipe claims, with a verdict on each task.

    Args:
        powers: the claims on their tasks.
        effects: the JSON of the effects stage; None while there is none.
        first_scored: of claims that are exploratory, by name, task and evaluation: see `exploratory_claims`.
    """
    from harness.evaluation.ranks import holm  # numpy, which a recipe without claims does not wait for

    known = {one["key"]: one for one in (effects or {}).get("contrasts", ())}
    verdicts = [_verdict(power, known.get(claim_key(power.claim, power.task, power.evaluation))) for power in powers]
    tested = [at for at, one in enumerate(verdicts) if one.judged and one.power.rule == "superiority"]
    p_values = [max(one.p_value for one in verdicts[at].judged) for at in tested]
    for at, adjusted in zip(tested, holm(p_values).tolist(), strict=True):
        above = all(one.low > 0 for one in verdicts[at].judged)
        verdicts[at] = replace(verdicts[at], holds=above and adjusted <= 1 - LEVEL)
    claims: dict[tuple[str, str, str], list[Verdict]] = {}
    for one in verdicts:
        if (on := (one.power.claim, one.power.task, one.power.evaluation)) in first_scored:
            one = replace(one, first_scored=moment(first_scored[on]))
        claims.setdefault((one.power.says, *_sides(one.power.comparisons)), []).append(one)
    return tuple(
        Finding(says=says, better=better, than=than, results=tuple(results))
        for (says, better, than), results in claims.items()
    )


def _sides(compared: Sequence[Comparison]) -> tuple[str, str]:
    """Both in words. What the settings of a side have in common is said once where the other's differ by the same."""
    better = list(dict.fromkeys(name for one in compared for name in one.better))
    than = list(dict.fromkeys(name for one in compared for name in one.than))
    (ours, own), (theirs, other) = (in_common(names) for names in (better, than))
    if len(better) > 1 and ours and theirs and own == other and all(own):
        told = f"each with {listing(own)}" if len(own) <= MOST_NAMED else f"in {len(own):,} otherwise equal settings"
        return ours, f"{theirs}, {told}"
    return listing(better), listing(than)


def in_common(names: Sequence[str]) -> tuple[str, list[str]]:
    """What the names of settings have in common, and what else each has."""
    parts = [name.split(BETWEEN) for name in names]
    common = [part for part in parts[0] if all(part in one for one in parts)]
    return BETWEEN.join(common), [BETWEEN.join(part for part in one if part not in common) for one in parts]


def _verdict(power: ClaimPower, found: Mapping[str, Any] | None) -> Verdict:
    if power.lacking:
        return Verdict(power=power, word="not tested", why=power.lacking)
    if found is None:
        return Verdict(power=power, word="not tested", why="its evaluations are not finished")
    if found["why"] or found["lacking"]:
        return Verdict(power=power, word="not tested", why=found["why"] or f"{found['lacking']}: too few")
    pairs = tuple((listing(one["more"]), listing(one["less"]), Contrast.of(one)) for one in found["pairs"])
    difference = Contrast.of(found["mean"])
    tested = Verdict(power=power, word="inconclusive", difference=difference, problems=found["problems"], pairs=pairs)
    return replace(tested, word=_weakest([word_of(one, power.rule, power.margin) for one in tested.judged]))


def word_of(difference: Contrast, rule: Rule, margin: float) -> Word:
    """The verdict on one difference."""
    if difference.low == difference.high:  # no spread: nothing is known of other problems and runs
        return "inconclusive"
    return next(_words(difference, rule, margin))


def _words(difference: Contrast, rule: Rule, margin: float) -> Iterator[Word]:
    low, high = difference.low, difference.high
    same = -margin < difference.low_90 and difference.high_90 < margin
    if rule == "superiority":
        if low > 0:
            yield "supported" if difference.estimate >= margin else "supported, small"
        if high < 0:
            yield "contradicted"
        if same:
            yield "no meaningful effect"
    elif rule == "non_inferiority":
        if low > -margin:
            yield "supported"
        if high < -margin:
            yield "contradicted"
    else:
        if same:
            yield "supported"
        if low > margin or high < -margin:
            yield "contradicted"
    yield "inconclusive"


ORDER: tuple[Word, ...] = (
    "contradicted",
    "inconclusive",
    "no meaningful effect",
    "supported, small",
    "supported",
)


def _weakest(words: Sequence[Word]) -> Word:
    """Of a claim that every comparison must show."""
    return min(words, key=ORDER.index)
