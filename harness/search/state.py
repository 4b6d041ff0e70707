"""What a search has come to, as plain data: `search.json`, which reports and tracking read without Optuna."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from harness.errors import StoreError
from harness.store.record import read_json, write_json

SEARCH, SEARCHES, STUDY = "search.json", "search", "study.db"
State = Literal["waiting", "running", "complete", "pruned", "failed"]


@dataclass(frozen=True, kw_only=True)
class TrialState:
    """One trial.

    Attributes:
        arm: of the paper's ablation, by its name; "" of a point that the sampler proposed.
        parameters: what a study calls it, choices by their label; without what an arm fixes otherwise.
        overrides: path in the recipe -> value; what makes the setting.
        values: one an objective, of a complete trial.
        intermediate: (pairs read, value) of looks on its way.
        stages: one list an objective, of the stages (`kind/fingerprint`) that its value is the mean of.
        reason: why it failed, or was stopped.
        counted: whether it is one of `search.trials`; what a driver left behind when it ended is asked again.
        started, finished: seconds since the epoch; 0 where it has not.
    """

    number: int
    name: str
    arm: str
    state: State
    parameters: Mapping[str, Any]
    overrides: Mapping[str, Any]
    values: tuple[float, ...]
    intermediate: tuple[tuple[int, float], ...]
    stages: tuple[tuple[str, ...], ...]
    reason: str
    counted: bool
    started: float
    finished: float


@dataclass(frozen=True, kw_only=True)
class SearchState:
    """A study.

    Attributes:
        study: its name, which says what makes trials comparable; `storage` its address, without secrets.
        objectives: their names; `directions` what is better.
        trials: asked for, in all.
        importances: parameter -> share, one an objective; empty while there are too few trials.
        best: numbers of complete trials that are different settings, or of the Pareto front, the best by dev first.
        analysis: fingerprint of the stage that compares its complete trials on dev, once they have ended; its
            rows are called `name` of the trials.
        left_out: arms that the objectives are not defined for -> why.
        ended: whether all trials have ended, so that the best are known.
    """

    study: str
    storage: str
    objectives: tuple[str, ...]
    directions: tuple[Literal["maximize", "minimize"], ...]
    asked: int
    trials: tuple[TrialState, ...]
    importances: tuple[Mapping[str, float], ...]
    best: tuple[int, ...]
    left_out: Mapping[str, str]
    ended: bool
    analysis: str = ""

    @property
    def counted(self) -> tuple[TrialState, ...]:
        """Those that stand for the search."""
        return tuple(trial for trial in self.trials if trial.counted)

    def has_ended(self, asked: int) -> bool:
        """Whether as many trials have ended as a recipe asks for by now."""
        return self.ended and self.asked >= asked

    def trial(self, number: int) -> TrialState:
        return next(trial for trial in self.trials if trial.number == number)

    def better(self, one: float, other: float, objective: int = 0) -> bool:
        return one > other if self.directions[objective] == "maximize" else one < other


_STATE: TypeAdapter[SearchState] = TypeAdapter(SearchState)


def folder_of(workdir: Path, recipe: str) -> Path:
    """Where a recipe's search keeps its study and what it has come to."""
    return workdir / SEARCHES / recipe


def write_state(folder: Path, state: SearchState) -> None:
    write_json(folder / SEARCH, asdict(state))


def read_state(folder: Path) -> SearchState | None:
    """What a search has come to so far; None before it began.

    Raises:
        StoreError: the file is damaged.
    """
    path = folder / SEARCH
    try:
        return _STATE.validate_python(read_json(path), strict=False)
    except FileNotFoundError:
        return None
    except (ValueError, ValidationError) as error:
        raise StoreError(
            f"{path} must be what a search wrote", str(error).splitlines()[0], "remove it and run the recipe again"
        ) from None
