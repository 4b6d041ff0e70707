"""Every exception a user can meet. Lowest room: imports nothing of ours.

HarnessError                 rule, value, remedy, where; `exit_code` decides what the shell sees
├── RecipeError              the recipe or the arguments are wrong (exit 2)
├── MissingRequirement       a package, GPU, hub or file the recipe needs is absent (exit 2)
├── StoreError               the workdir cannot be read or written as a store (exit 2)
├── PlanError                stages contradict one another, e.g. a budget is exceeded (exit 2)
├── StageError               a stage failed (exit 1)
│   ├── DataError            what only data can show: too few pairs, contamination
│   ├── TrainingDiverged     loss or gradient became NaN or infinite, or diverged
│   ├── TrainingStopped      stopped on request, after saving its state
│   ├── CorruptArtifact      an artifact's bytes no longer match its record
│   └── LeaseLost            another process took the stage over
└── ProblemList              several of the above at once, shown together
"""

from __future__ import annotations

import errno
from collections.abc import Sequence

LONGEST_REASON = 400
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def reason_of(error: BaseException) -> str:
    """The message of a library's exception on one line: all its lines, since the reason is often in the second."""
    said = error.args[0] if isinstance(error, KeyError) and error.args else error
    text = " ".join(line.strip() for line in str(said).splitlines() if line.strip()) or type(error).__name__
    if isinstance(error, KeyError) and " " not in text:  # its key and nothing else
        text = f"there is no {text!r}"
    return text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 3] + "..."


class HarnessError(Exception):
    """A problem as rule, value and remedy: "{rule}, but {value}; {remedy}". A rule may say it all.

    Args:
        rule: what must hold, e.g. "`pairs.count` must not exceed the corpus".
        value: what was found instead, e.g. "asked for 1,000,000 of 5,032 functions".
        remedy: what to do, e.g. "lower it or add a corpus".
        where: "file:line" or a stage's name, if known.
    """

    exit_code = 1

    def __init__(self, rule: str, value: str = "", remedy: str = "", where: str = "") -> None:
        self.rule = rule
        self.value = value
        self.remedy = remedy
        self.where = where
        super().__init__(self.one_line())

    def one_line(self) -> str:
        text = self.rule
        if self.value:
            text += f", but {self.value}"
        if self.remedy:
            text += f"; {self.remedy}"
        return f"{self.where}: {text}" if self.where else text

    def __reduce__(self) -> tuple[type[HarnessError], tuple[str, str, str, str]]:
        return (type(self), (self.rule, self.value, self.remedy, self.where))


class RecipeError(HarnessError):
    exit_code = 2


class MissingRequirement(HarnessError):
    exit_code = 2


class StoreError(HarnessError):
    exit_code = 2


class PlanError(HarnessError):
    exit_code = 2


class StageError(HarnessError):
    exit_code = 1


class DataError(StageError):
    pass


class TrainingDiverged(StageError):
    pass


class TrainingStopped(StageError):
    pass


class CorruptArtifact(StageError):
    pass


class LeaseLost(StageError):
    pass


class ProblemList(HarnessError):
    """Several problems found together, each with its own place; shown one a line."""

    def __init__(self, problems: Sequence[HarnessError]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problem.one_line() for problem in self.problems))
        self.exit_code = max((problem.exit_code for problem in self.problems), default=1)

    def __reduce__(self) -> tuple[type[ProblemList], tuple[tuple[HarnessError, ...]]]:  # type: ignore[override]
        return (ProblemList, (self.problems,))
