"""What a recipe may search: parameters by their path in the recipe, objectives on dev, and who proposes points."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from harness.recipe.fields import (
    MOST_SEED,
    MOST_SEEDS,
    MOST_WEIGHT,
    Block,
    KindName,
    Name,
    Options,
    as_tuple,
    problem,
    without_nulls,
)

BALANCE = ".loss.balance"  # the end of a derived path: the two weights of a loss by their ratio
MOST_TRIALS = 100_000
Arm = Literal["one_to_one", "rm_only", "lm_only", "no_pmp"]
ARMS: tuple[Arm, ...] = ("one_to_one", "rm_only", "lm_only", "no_pmp")
Number = (
    Annotated[int, Field(ge=-MOST_SEED, le=MOST_SEED)]
    | Annotated[float, Field(ge=-MOST_WEIGHT, le=MOST_WEIGHT, allow_inf_nan=False)]
)
Conditions = Annotated[dict[str, Any], Field(min_length=1)]


class _Parameter(Block):
    when: Conditions | None = Field(
        None, description="Asked for only where other parameters have these values: {path: value or list of values}."
    )


class Range(_Parameter):
    """Numbers from `low` to `high`, both included; whole ones where both are written without a point or exponent."""

    low: Number = Field(description="The smallest value.")
    high: Number = Field(description="The largest value.")
    log: bool = Field(False, description="Drawn evenly by their logarithm.")
    step: Number | None = Field(None, description="Between two values, counted from `low`.")

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    @model_validator(mode="after")
    def _in_order(self) -> Range:
        if self.low > self.high:
            raise problem("`low` must not exceed `high`", f"{self.low:g} > {self.high:g}", "swap them")
        if self.log and self.low <= 0:
            raise problem("`low` must be above 0 with `log: true`", f"it is {self.low:g}", "raise it or drop `log`")
        if self.log and self.step is not None:
            raise problem("`step` does not go with `log: true`", f"it is {self.step:g}", "drop one of them")
        if self.step is not None and self.step <= 0:
            raise problem("`step` must be above 0", f"it is {self.step:g}", "raise it")
        if self.whole and isinstance(self.step, float):
            value = f"`step` is {self.step:g} and the bounds are whole"
            raise problem("a range of whole numbers has a whole `step`", value, "write the bounds with a point")
        return self


class LogRatio(_Parameter):
    """ln(w_lm / w_rm) of a loss's weights, at w_rm + w_lm = 2."""

    log_ratio: Annotated[tuple[Number, Number], BeforeValidator(as_tuple)] = Field(description="From, to.")

    @model_validator(mode="after")
    def _in_order(self) -> LogRatio:
        low, high = self.log_ratio
        if low > high:
            raise problem("`log_ratio` must be [low, high]", f"{low:g} > {high:g}", "swap them")
        if max(abs(low), abs(high)) > 20:
            value = f"[{low:g}, {high:g}]: beyond 20 one weight is nothing"
            raise problem("`log_ratio` must lie between -20 and 20", value, "narrow it")
        return self


class Choices(_Parameter):
    """One of several values: numbers, words, or whole blocks."""

    choices: Annotated[tuple[Any, ...], BeforeValidator(as_tuple), Field(min_length=1, max_length=1_000)] = Field(
        description="The values."
    )

    @model_validator(mode="after")
    def _once(self) -> Choices:
        labels = [label_of(choice) for choice in self.choices]
        repeated = [label for index, label in enumerate(labels) if label in labels[:index]]
        if repeated:
            raise problem("`choices` must name a value once", f"it repeats {repeated[0]}", "drop the repeat")
        return self


def _parameter_tag(value: Any) -> str:
    given = value if isinstance(value, Mapping) else vars(value) if isinstance(value, Block) else {}
    return "Choices" if "choices" in given else "LogRatio" if "log_ratio" in given else "Range"


Parameter = Annotated[
    Annotated[Range, Tag("Range")] | Annotated[LogRatio, Tag("LogRatio")] | Annotated[Choices, Tag("Choices")],
    Discriminator(_parameter_tag),
]


class Objective(Block):
    """What a trial is worth: the mean of a metric over dev problems, averaged over `search.seeds`."""

    task: Name = Field(description="A task of `tasks`, or `code`: code pairs of `corpus.dev`, before fine-tuning.")
    evaluation: KindName = Field(description="An evaluation that `evaluate` asks about the task.")
    metric: str | None = Field(None, description="Default: what the evaluation ranks by.")
    direction: Literal["maximize", "minimize"] = Field("maximize", description="Which values are better.")
    split: Literal["dev"] = Field("dev", description="The test split is read once, by `confirm`.")

    @property
    def name(self) -> str:
        return "/".join(filter(None, (self.task, self.evaluation, self.metric)))


class Sampler(Block):
    """Who proposes points; see Optuna's documentation for kinds and arguments."""

    kind: Name = Field("TPESampler", description="A class of `optuna.samplers`.")
    seed: Annotated[int, Field(ge=0, le=MOST_SEED)] = Field(0, description="Of its draws.")
    arguments: Options = Field(default_factory=dict, description="Of its constructor.")


class Pruner(Block):
    """Who stops trials that fall behind, between two stages."""

    kind: Name = Field("HyperbandPruner", description="A class of `optuna.pruners`.")
    arguments: Options = Field(default_factory=dict, description="Of its constructor.")


class SearchSeeds(Block):
    """Seeds of each kind, as in `seeds`."""

    pretrain: Annotated[int, Field(ge=1, le=MOST_SEEDS)] = Field(1, description="Pretrain seeds a setting.")
    finetune: Annotated[int, Field(ge=1, le=MOST_SEEDS)] = Field(1, description="Fine-tuning seeds each.")


class Confirm(Block):
    """What is trained anew, with seeds that no trial had, and judged on test: the best trials by dev, and 1:1."""

    best: Annotated[int, Field(ge=1, le=100)] = Field(3, description="Settings; of a Pareto front, its first.")
    seeds: SearchSeeds = Field(SearchSeeds(pretrain=3, finetune=3), description="Fresh seeds of each setting.")


class Search(Block):
    """A search beside the grid. Its trials are settings with overrides, judged on dev."""

    parameters: Annotated[
        dict[str, Parameter], BeforeValidator(without_nulls, json_schema_input_type=dict[str, Parameter | None])
    ] = Field(min_length=1, description="Path in the recipe, or `pretrain.loss.balance`, -> its values.")
    objectives: Annotated[tuple[Objective, ...], BeforeValidator(as_tuple), Field(min_length=1, max_length=8)] = Field(
        description="Several give a Pareto front."
    )
    arms: Annotated[tuple[Arm, ...], BeforeValidator(as_tuple)] = Field(
        default=ARMS, description="Tried first, other parameters as the recipe has them: the ablation of the paper."
    )
    sampler: Sampler = Field(Sampler(), description="Who proposes points.")
    pruner: Pruner | None = Field(None, description="Default: every trial ends. Needs `evaluate.probes`.")
    trials: Annotated[int, Field(ge=1, le=MOST_TRIALS)] = Field(description="With the arms.")
    parallel: Annotated[int, Field(ge=1, le=1_000)] = Field(1, description="Trials at a time.")
    seeds: SearchSeeds = Field(SearchSeeds(), description="Seeds of each trial.")
    storage: str | None = Field(
        None, description="An SQLAlchemy address that drivers of several machines share. Default: in the workdir."
    )
    confirm: Confirm = Field(Confirm(), description="What is trained again, with new seeds, and judged on test.")

    @model_validator(mode="after")
    def _consistent(self) -> Search:
        if self.pruner is not None and len(self.objectives) > 1:
            value = f"there are {len(self.objectives)}"
            raise problem("`pruner` needs a single objective", value, "drop it or all objectives but one")
        for where, settings, seeds in (
            ("seeds", 1, self.seeds),
            ("confirm.seeds", self.confirm.best + 1, self.confirm.seeds),
        ):
            variants = settings * seeds.pretrain * seeds.finetune
            if variants > MOST_SEEDS:
                rule = f"settings times `{where}` may be {MOST_SEEDS:,}"
                raise problem(rule, f"they are {variants:,}", "lower them")
        names = [objective.name for objective in self.objectives]
        if len(set(names)) != len(names):
            raise problem("`objectives` must name one once", f"got {', '.join(names)}", "drop the repeat")
        for path, parameter in self.parameters.items():
            if isinstance(parameter, LogRatio) != path.endswith(BALANCE):
                raise problem(
                    f"`log_ratio` and `...{BALANCE}` go together",
                    f"`{path}` has the one without the other",
                    "search `pretrain.loss.balance: {log_ratio: [-4, 4]}`",
                )
            for other in parameter.when or {}:
                if other not in self.parameters or other == path or self.parameters[other].when is not None:
                    value = f"`{other}` is none" if other not in self.parameters else f"`{other}` is itself conditional"
                    raise problem(f"`when` of `{path}` must name other parameters", value, "correct it")
        return self

    @property
    def fresh(self) -> int:
        """The first seed that no trial had."""
        return max(self.seeds.pretrain, self.seeds.finetune)


# ------------------------------------------------------------------------------------------------------- points


def label_of(value: Any) -> str | int | float | bool | None:
    """A choice as studies store it: plain values as they are, others as JSON."""
    return value if value is None or isinstance(value, str | int | float | bool) else json.dumps(value, sort_keys=True)


def overrides_of(path: str, parameter: Parameter, value: Any) -> dict[str, Any]:
    """What a parameter's value overrides in the recipe: path -> value.

    Args:
        value: a number, or the label of a choice.
    """
    if isinstance(parameter, LogRatio):
        loss = path.removesuffix(".balance")
        return {f"{loss}.rm": 2.0 / (1.0 + math.exp(value)), f"{loss}.lm": 2.0 / (1.0 + math.exp(-value))}
    if isinstance(parameter, Choices):
        return {path: next(choice for choice in parameter.choices if label_of(choice) == value)}
    return {path: value}


def arm_overrides(arm: Arm) -> dict[str, Any]:
    """What an arm of the paper's ablation overrides; with one loss alone its weight is 1, as in the paper."""
    if arm == "no_pmp":
        return {"pretrain": None}
    rm, lm = {"one_to_one": (1.0, 1.0), "rm_only": (1.0, 0.0), "lm_only": (0.0, 1.0)}[arm]
    return {"pretrain.loss.rm": rm, "pretrain.loss.lm": lm}


def ends(parameter: Parameter) -> Iterator[Any]:
    """Values that stand for all: the bounds of a range, every choice."""
    if isinstance(parameter, Choices):
        yield from map(label_of, parameter.choices)
    elif isinstance(parameter, LogRatio):
        yield from dict.fromkeys(parameter.log_ratio)
    else:
        yield from dict.fromkeys((parameter.low, parameter.high))


def applies(parameter: Parameter, chosen: Mapping[str, Any]) -> bool:
    """Whether a parameter is asked for, where others have these values (choices by label)."""
    for path, wanted in (parameter.when or {}).items():
        allowed = wanted if isinstance(wanted, list) else [wanted]
        if path not in chosen or chosen[path] not in [label_of(one) for one in allowed]:
            return False
    return True
