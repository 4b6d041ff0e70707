"""Lists from reasoning-gym's `number_sorting`, sorted by insertion, asked for the number at one place.

A cluster is the order that the numbers of a question stand in, whatever numbers they are: 40 10 30 20 and 9 1 5 2 are
both 4 1 3 2. The lists are the library's. Its question asks for the whole sorted list; here it asks for one place,
because the last number of a list gives many mistakes away to whoever compares sizes without sorting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count, pairwise, permutations
from random import Random
from types import MappingProxyType
from typing import Any, ClassVar

from harness.errors import DataError
from harness.tasks.splits import SHARES, clusters_of_splits, fewest_and_most, read_options, whole_number
from harness.tasks.task import OptionRule, Problem, Task, stream
from harness.tasks.wording import Style, plain_solution, stated_number

DEFAULT_OPTIONS: Mapping[str, Any] = MappingProxyType(
    {
        "shares": {"base": 0.25, "finetune": 0.25, "dev": 0.15, "test": 0.35},
        "numbers": [4, 6],  # numbers of a list, fewest and most
        "digits": 2,  # of every number, so that none is longer than another
    }
)
OPTION_RULES: Mapping[str, OptionRule] = MappingProxyType(
    {"shares": SHARES, "numbers": fewest_and_most(3, 8), "digits": whole_number(1, 3)}
)
_VIRTUAL_SIZE = 1 << 30  # items are made on demand; the library only wants a number
_MOST_DRAWS_WITHOUT_PROBLEM = 20_000  # eight different digits of nine come up once in 150 draws
_PLACES = ("", "second ", "third ", "fourth ", "fifth ", "sixth ", "seventh ", "eighth ")

Step = tuple[int, list[int]]
"""The number inserted, and the line that the solution says this gives."""


class NumberSorting(Task):
    """Options: `shares` (split -> share of the orders), `numbers` (fewest and most of a list), `digits` (of each)."""

    name: ClassVar[str] = "number_sorting"
    seen_errors: ClassVar[tuple[str, ...]] = ("misplaced", "swapped", "overwritten")
    unseen_errors: ClassVar[tuple[str, ...]] = ("miscopied", "repeated", "descending", "wrong_place")
    licence: ClassVar[str] = "Apache-2.0"
    source: ClassVar[str] = "https://github.com/open-thought/reasoning-gym (number_sorting)"
    distribution: ClassVar[str] = "reasoning-gym"
    defaults = DEFAULT_OPTIONS
    rules = OPTION_RULES

    def problems(
        self, count_by_split: Mapping[str, int], *, seed: int, options: Mapping[str, Any] | None = None
    ) -> list[Problem]:
        settings = read_options(self.name, options, DEFAULT_OPTIONS, OPTION_RULES)
        orders = clusters_of_splits(self.name, count_by_split, _orders(*settings["numbers"]), settings["shares"], seed)
        split_of = {order: split for split in count_by_split for order in orders[split]}
        found: dict[str, dict[str, Problem]] = {split: {} for split in count_by_split}
        items = _load_items(settings, first=stream(self.name, seed).getrandbits(48))
        last_success = 0
        for draw in count():
            if all(len(found[split]) == wanted for split, wanted in count_by_split.items()):
                break
            if draw - last_success > _MOST_DRAWS_WITHOUT_PROBLEM:
                raise DataError(
                    f"task {self.name!r} must find as many different problems as requested",
                    "; ".join(f"{split}: {len(found[split]):,} of {count_by_split[split]:,}" for split in found),
                    "request fewer, or allow more `numbers` or `digits`",
                )
            numbers = _numbers_of(items[draw])
            split = split_of.get(_order(numbers))
            if split is None or len(set(numbers)) < len(numbers) or len(found[split]) == count_by_split[split]:
                continue
            place = stream(self.name, seed, draw).randrange(len(numbers))
            problem = _problem(numbers, place, settings["digits"], f"{self.name}/{draw:07d}", split)
            if problem.prompt not in found[split]:
                found[split][problem.prompt] = problem
                last_success = draw
        return [problem for of_split in found.values() for problem in of_split.values()]

    def propose_mistakes(self, problem: Problem, rng: Random, kind: str) -> Iterator[str]:
        numbers, place, digits = (problem.metadata[name] for name in ("numbers", "place", "digits"))
        if kind == "wrong_place":  # all steps are right, and the answer is the one beside the number asked for
            steps = _sorted_by_insertion(numbers)
            proposals = [_solution(steps, at) for at in (place - 1, place + 1) if 0 <= at < len(numbers)]
        else:
            others = [number for number in range(10 ** (digits - 1), 10**digits) if number not in numbers]
            proposals = [_solution(steps, place) for steps in _MISTAKES[kind](numbers, others)]
        rng.shuffle(proposals)
        return iter(proposals)

    def restyle(self, solution: str, rng: Random) -> str:
        return Style.draw(rng).apply(solution)

    def extract(self, text: str) -> str | None:
        return stated_number(text)

    def grade(self, problem: Problem, text: str) -> bool:
        return self.extract(text) == problem.answer


def _orders(fewest: int, most: int) -> list[str]:
    return [
        "".join(map(str, order)) for number in range(fewest, most + 1) for order in permutations(range(1, number + 1))
    ]


def _order(numbers: Sequence[int]) -> str:
    ranks = {number: rank for rank, number in enumerate(sorted(numbers), start=1)}
    return "".join(str(ranks[number]) for number in numbers)


def _load_items(settings: Mapping[str, Any], first: int) -> Any:
    """The library's endless list of items; item i depends on `first` + i alone."""
    from reasoning_gym.algorithmic.number_sorting import NumberSortingConfig, NumberSortingDataset

    config = NumberSortingConfig(
        min_numbers=settings["numbers"][0],
        max_numbers=settings["numbers"][1],
        min_decimals=0,
        max_decimals=0,
        min_value=10 ** (settings["digits"] - 1),
        max_value=10 ** settings["digits"] - 1,
        size=_VIRTUAL_SIZE,
        seed=first,
    )
    return NumberSortingDataset(config)


def _numbers_of(item: Mapping[str, Any]) -> list[int]:
    return [int(float(number)) for number in item["metadata"]["original_numbers"]]  # it writes 7 as "7.0"


def _problem(numbers: list[int], place: int, digits: int, identity: str, split: str) -> Problem:
    steps = _sorted_by_insertion(numbers)
    listed = ", ".join(map(str, numbers))
    return Problem(
        id=identity,
        cluster=_order(numbers),
        split=split,
        prompt=f"Question: Sort the numbers {listed}. Which is the {_PLACES[place]}smallest?\nAnswer:\n",
        answer=str(sorted(numbers)[place]),
        solution=_solution(steps, place),
        metadata={"numbers": numbers, "place": place, "digits": digits},
    )


def _solution(steps: Sequence[Step], place: int) -> str:
    lines = [f"Insert {number}: {' '.join(map(str, line))}." for number, line in steps]
    return plain_solution(lines, str(steps[-1][1][place]))


def _sorted_by_insertion(numbers: Sequence[int], before: Sequence[Step] = ()) -> list[Step]:
    """`before` and the steps that insert the rest, each number in front of the first larger one of its line."""
    steps = list(before)
    line = steps[-1][1] if steps else []
    for number in numbers[len(steps) :]:
        place = next((place for place, other in enumerate(line) if other > number), len(line))
        line = [*line[:place], number, *line[place:]]
        steps.append((number, line))
    return steps


# ---------------------------------------------------------------------------------------------------- mistakes


def _with_line(numbers: Sequence[int], steps: Sequence[Step], at: int, line: list[int]) -> list[Step]:
    """The solution in which step `at` gives `line`, and everything after follows from it."""
    return _sorted_by_insertion(numbers, [*steps[:at], (steps[at][0], line)])


def _misplaced(numbers: Sequence[int], _: Sequence[int]) -> Iterator[list[Step]]:
    """A number is inserted at another place than its own."""
    steps = _sorted_by_insertion(numbers)
    for at, (number, right) in enumerate(steps):
        rest = [other for other in right if other != number]
        for place in range(len(right)):
            line = [*rest[:place], number, *rest[place:]]
            if line != right:
                yield _with_line(numbers, steps, at, line)


def _swapped(numbers: Sequence[int], _: Sequence[int]) -> Iterator[list[Step]]:
    """Two neighbours that stood in the line already change places as it is written again."""
    steps = _sorted_by_insertion(numbers)
    for at, (number, right) in enumerate(steps):
        for place, (one, other) in enumerate(pairwise(right)):
            if number not in (one, other):
                yield _with_line(numbers, steps, at, [*right[:place], other, one, *right[place + 2 :]])


def _overwritten(numbers: Sequence[int], _others: Sequence[int]) -> Iterator[list[Step]]:
    """A number is written twice, the second time in the place of its neighbour."""
    steps = _sorted_by_insertion(numbers)
    for at, (_, right) in enumerate(steps):
        for place, pair in enumerate(pairwise(right)):
            for kept in pair:
                yield _with_line(numbers, steps, at, [*right[:place], kept, kept, *right[place + 2 :]])


def _miscopied(numbers: Sequence[int], others: Sequence[int]) -> Iterator[list[Step]]:
    """A number that the question does not state is inserted for one that it states."""
    for at in range(len(numbers)):
        for other in others:
            yield _sorted_by_insertion([*numbers[:at], other, *numbers[at + 1 :]])


def _repeated(numbers: Sequence[int], _: Sequence[int]) -> Iterator[list[Step]]:
    """A number is inserted a second time, and another one never."""
    for at in range(1, len(numbers)):
        for earlier in numbers[:at]:
            yield _sorted_by_insertion([*numbers[:at], earlier, *numbers[at + 1 :]])


def _descending(numbers: Sequence[int], _: Sequence[int]) -> Iterator[list[Step]]:
    """Everything is sorted from the largest down; in the middle of a list the answer is the same."""
    yield [(-number, [-other for other in line]) for number, line in _sorted_by_insertion([-n for n in numbers])]


_MISTAKES: Mapping[str, Callable[[Sequence[int], Sequence[int]], Iterator[list[Step]]]] = MappingProxyType(
    {
        "misplaced": _misplaced,
        "swapped": _swapped,
        "overwritten": _overwritten,
        "miscopied": _miscopied,
        "repeated": _repeated,
        "descending": _descending,
    }
)
