"""How small an effect a comparison can show: its minimum detectable effect, before anything is trained.

The interval is that of `harness.evaluation.statistics.Components`, with the expected sizes of its parts instead of
estimated ones: seeds and problems are crossed, few seed degrees of freedom take the conservative interval of Graybill
and Wang, more take Satterthwaite's (a test holds both equal). How much seeds spread is itself estimated from few of
them, so power is a mean over what that estimate may come out as. Standard library only.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import NormalDist

from harness.recipe.claims import Rule
from harness.recipe.fields import MOST_SEEDS

POWER = 0.80
LEVEL = 0.95
EQUIVALENCE_LEVEL = 0.90  # two one-sided tests at 5 %
FEWEST_SEEDS = 3  # of what differs, below which the analysis claims nothing
FEWEST_DEGREES = 4.0  # of seeds, below which the interval is the conservative one
QUANTILES = 12  # of a seed variance's estimate: the effect is within 3 % of that with a hundred
MOST_PROBLEMS = 1_000_000
TRIED_TOGETHER = (
    5,
    10,
    20,
    50,
    100,
    200,
)  # seeds of each kind, where neither more seeds nor more problems are enough alone
NORMAL = NormalDist()


@dataclass(frozen=True, kw_only=True)
class SeedSpread:
    """Seeds of a kind whose spread enters an interval.

    Attributes:
        count: how many.
        variance: of one seed's mean over any number of problems.
        rest: variance a problem of what a seed and a problem share; over P problems a seed's mean has rest / P more.
        settings: how many independent spreads the analysis pools, by which degrees of freedom are multiplied.
    """

    count: int
    variance: float
    rest: float
    settings: int = 1


@dataclass(frozen=True, kw_only=True)
class Design:
    """What a comparison rests on.

    Attributes:
        problems: how many.
        clusters: of them, independent of one another.
        problem: variance of a problem's difference, times what clusters share.
        seeds: of each kind that enters.
    """

    problems: int
    clusters: float
    problem: float
    seeds: tuple[SeedSpread, ...]

    def with_problems(self, problems: int) -> Design:
        return replace(self, problems=problems, clusters=self.clusters * problems / self.problems)

    def with_seeds(self, count: int) -> Design:
        """At least so many of each kind."""
        return replace(self, seeds=tuple(replace(one, count=max(one.count, count)) for one in self.seeds))


Part = tuple[float, float]
"""A variance and its degrees of freedom."""


def half_width(level: float, seed: Part, problems: Part, rest: Part, more: Sequence[Part] = ()) -> float:
    """Half the width of the interval of a mean over crossed problems and seeds; see `Components.half_width`."""
    tail = (1 + level) / 2

    def total(scale: Callable[[float], float]) -> float:
        one, other, both = (variance * scale(degrees) for variance, degrees in (seed, problems, rest))
        return max(one + other - both, one, other) + sum(variance * scale(degrees) for variance, degrees in more)

    if any(variance > 0 and degrees < FEWEST_DEGREES for variance, degrees in (seed, *more)):
        return math.sqrt(total(lambda degrees: t_quantile(tail, degrees) ** 2))
    whole = total(lambda degrees: 1.0)
    if not whole:
        return 0.0
    spread = sum(variance**2 / degrees for variance, degrees in (seed, problems, rest, *more))
    return t_quantile(tail, whole**2 / spread) * math.sqrt(whole)


@lru_cache(maxsize=4096)
def smallest_effect(design: Design, rule: Rule) -> float:
    """The minimum detectable effect, in the units of the values.

    Of superiority the smallest difference that comes out above 0 four times in five; of non-inferiority and equivalence
    the smallest margin within which rows that are equal come out as often.
    """
    halves, deviation = _half_widths(design, _level(rule))
    if deviation == 0:
        return 0.0
    low, high = 0.0, max(halves) + 4 * deviation
    while high - low > 1e-4 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if _power(middle, halves, deviation, rule) >= POWER else (middle, high)
    return high


def is_detectable(design: Design, rule: Rule, effect: float) -> bool:
    """Whether an effect is at least the minimum detectable one, without finding that."""
    halves, deviation = _half_widths(design, _level(rule))
    return deviation == 0 or _power(effect, halves, deviation, rule) >= POWER


def _level(rule: Rule) -> float:
    return EQUIVALENCE_LEVEL if rule == "equivalence" else LEVEL


def _power(effect: float, halves: list[float], deviation: float, rule: Rule) -> float:
    within = [_normal((effect - half) / deviation) for half in halves]
    if rule == "equivalence":
        within = [max(0.0, 2 * one - 1) for one in within]
    return sum(within) / len(within)


def _half_widths(design: Design, level: float) -> tuple[list[float], float]:
    """Equally likely half widths, and the true standard error."""
    count = design.problems
    of_problems = design.problem / count + sum(one.rest / (one.count * count) for one in design.seeds)
    problems = (of_problems, max(1.0, design.clusters - 1))
    variances = [(one.variance + one.rest / count) / one.count for one in design.seeds]
    deviation = math.sqrt(design.problem / count + sum(variances))
    if not design.seeds:
        return [half_width(level, (0.0, 1e9), problems, (0.0, 1e9))], deviation
    first = design.seeds[0]
    rest = (first.rest / (first.count * count), (first.count - 1) * problems[1])
    estimates = [_estimates(one, variance) for one, variance in zip(design.seeds, variances, strict=True)]
    halves: list[float] = []
    for parts, times in Counter(itertools.product(*estimates)).items():  # pooled estimates are all the same
        halves += [half_width(level, parts[0], problems, rest, parts[1:])] * times
    return halves, deviation


def _estimates(seeds: SeedSpread, variance: float) -> list[Part]:
    """What a seed variance may be estimated as: pooled, unless the seeds of this comparison spread more than that."""
    own = float(seeds.count - 1)
    found: list[Part] = []
    for ratio in chi_square_ratios(own):
        pooled = seeds.settings > 1 and ratio <= 1
        found.append((variance, own * seeds.settings) if pooled else (variance * ratio, own))
    return found


def _normal(value: float) -> float:
    return 0.5 * math.erfc(-value / math.sqrt(2))


# ------------------------------------------------------------------------------------------------ what would suffice


@dataclass(frozen=True, kw_only=True)
class Enough:
    """What brings an effect to the margin: seeds of each kind, problems, or both together; None: not raised."""

    seeds: int | None = None
    problems: int | None = None


def enough(design: Design, rule: Rule, margin: float) -> list[Enough]:
    """Ways to make an effect detectable, more seeds alone and more problems alone first; empty where there is none."""

    def fits(one: Design) -> bool:
        return is_detectable(one, rule, margin)

    found = []
    fewest = min((one.count for one in design.seeds), default=MOST_SEEDS)
    seeds = _least(fewest + 1, MOST_SEEDS, lambda count: fits(design.with_seeds(count)))
    if seeds is not None:
        found.append(Enough(seeds=seeds))
    problems = _fewest_problems(design, fits)
    if problems is not None:
        found.append(Enough(problems=problems))
    for count in TRIED_TOGETHER if not found else ():
        more = design.with_seeds(count)
        problems = None if more == design else _fewest_problems(more, fits)
        if problems is not None:
            return [Enough(seeds=count, problems=problems)]
    return found


def _fewest_problems(design: Design, fits: Callable[[Design], bool]) -> int | None:
    return _least(design.problems + 1, MOST_PROBLEMS, lambda count: fits(design.with_problems(count)))


def _least(low: int, high: int, fits: Callable[[int], bool]) -> int | None:
    """The smallest number from low to high that fits, within 1 %, as more always fit better; None if none does."""
    if low > high or not fits(high):
        return None
    last = low
    while last < high and not fits(last):
        low, last = last + 1, min(high, 2 * last)
    while last - low > last // 100:
        middle = (low + last) // 2
        low, last = (low, middle) if fits(middle) else (middle + 1, last)
    return last


# --------------------------------------------------------------------------------------------------- distributions


@lru_cache(maxsize=65_536)
def t_quantile(probability: float, degrees: float) -> float:
    """Quantile of Student's t: closed forms for 1 and 2 degrees, a series for many, else Newton's method.

    Raises:
        ValueError: the probability is not between 0 and 1, or the degrees are not above 0.
    """
    if not (0 < probability < 1 and degrees > 0):
        raise ValueError(f"no t quantile at {probability} with {degrees} degrees of freedom")
    if probability < 0.5:
        return -t_quantile(1 - probability, degrees)
    if degrees == 1:
        return math.tan(math.pi * (probability - 0.5))
    if degrees == 2:
        ratio = 2 * probability - 1
        return ratio * math.sqrt(2 / (1 - ratio**2))
    z = NORMAL.inv_cdf(probability)
    if degrees >= 8:  # Cornish-Fisher (Abramowitz and Stegun 26.7.5): within 1e-4 of the quantile here
        terms = (
            (z**3 + z) / 4,
            (5 * z**5 + 16 * z**3 + 3 * z) / 96,
            (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
            (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92_160,
        )
        return z + sum(term / degrees**power for power, term in enumerate(terms, 1))
    # Newton's method rises to the quantile from the lower normal one: the distribution is concave there.
    found, more = z, math.inf
    log_scale = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2) - math.log(degrees * math.pi) / 2
    while more > 1e-9 * found:
        tail = _incomplete_beta(degrees / (degrees + found**2), degrees / 2, 0.5) / 2
        density = math.exp(log_scale - (degrees + 1) / 2 * math.log1p(found**2 / degrees))
        more = (tail - (1 - probability)) / density
        found += more
    return found


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function by its continued fraction (Lentz; DLMF 8.17.22)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(1 - x, b, a)
    log_front = a * math.log(x) + b * math.log1p(-x) - math.lgamma(a) - math.lgamma(b) + math.lgamma(a + b)
    tiny = 1e-300
    numerator, denominator = 1.0, 1 / (1 - (a + b) * x / (a + 1) or tiny)
    fraction = denominator
    for step in range(1, 400):
        for term in (
            step * (b - step) * x / ((a + 2 * step - 1) * (a + 2 * step)),
            -(a + step) * (a + b + step) * x / ((a + 2 * step) * (a + 2 * step + 1)),
        ):
            denominator = 1 / (1 + term * denominator or tiny)
            numerator = 1 + term / numerator or tiny
            change = numerator * denominator
            fraction *= change
        if abs(change - 1) < 1e-14:
            break
    return math.exp(log_front) * fraction / a


@lru_cache(maxsize=4096)
def chi_square_ratios(degrees: float) -> tuple[float, ...]:
    """Equally likely values of an estimated variance as shares of the true one: quantiles of chi-square / degrees."""
    return tuple(_chi_square_quantile((step + 0.5) / QUANTILES, degrees) / degrees for step in range(QUANTILES))


def _chi_square_quantile(probability: float, degrees: float) -> float:
    if degrees > 30:  # Wilson and Hilferty (1931): three digits here
        share = 2 / (9 * degrees)
        return degrees * (1 - share + NORMAL.inv_cdf(probability) * math.sqrt(share)) ** 3
    low, high = 0.0, 20 * degrees + 20
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if _incomplete_gamma(middle / 2, degrees / 2) < probability else (low, middle)
    return high


def _incomplete_gamma(x: float, a: float) -> float:
    """The regularised lower incomplete gamma function by its series (DLMF 8.11.4)."""
    if x <= 0:
        return 0.0
    term = total = 1.0
    for step in range(1, 2_000):
        term *= x / (a + step)
        total += term
        if term < 1e-14 * total:
            break
    return min(1.0, total * math.exp(a * math.log(x) - x - math.lgamma(a + 1)))
