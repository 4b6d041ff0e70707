"""What recipe fields are made of: bounded types, names, kinds, and how a block refuses a value in the house form."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)
from pydantic_core import PydanticCustomError

# Bounds that only an absurd value passes: they turn a slipped exponent into an error instead of a full disk.
MOST_PAIRS = 1_000_000_000
MOST_TOKENS = 1_048_576
MOST_SEEDS = 1_000
MOST_VARIANTS = 100_000
MOST_PARTS = 100_000
MOST_SEED = (1 << 32) - 1  # the largest that NumPy, scikit-learn and torch all take
MOST_WHOLE = (1 << 63) - 1  # the largest whole number of a table
MOST_WEIGHT = 1e38  # within fp32; a training whose loss leaves it says so
MOST_FITS = 100_000  # tasks that a reference scorer is fitted on, times tasks it scores: what a plan names

PACKAGE = Path(__file__).parent.parent


def _files(folder: str) -> tuple[str, ...]:
    """Names of the modules of a folder of the package, none of which is imported."""
    return tuple(sorted(path.stem for path in (PACKAGE / folder).glob("[!_]*.py")))


EVALUATIONS = _files("pipeline/evaluations")
TASKS = _files("tasks/built_in")
"""What is built in has a file there, so that a slip in a name is seen before anything runs."""

# Other built-in kinds, named here for the same reason; tests hold them equal to what there is.
ENGINES = ("simulated", "model")
PACKAGED_MODELS = ("smollm2-135m-instruct",)
POOL = "pool"  # the kind of a task whose problems and candidates are an imported pool
LOSSES = ("bradley_terry",)
CODE = "code"  # what results call the held-out code pairs, beside the tasks


LM_EVAL_PREFIX = "lm_eval/"  # before the names of lm-eval's tasks in results; no task of a recipe is named so


def before_finetuning(task: str) -> bool:
    """Whether results of this name are of models as they are before fine-tuning."""
    return task == CODE or task.startswith(LM_EVAL_PREFIX)


def without_nulls(value: Any) -> Any:
    """Named entries without those that null removes from what a recipe extends."""
    return {name: entry for name, entry in value.items() if entry is not None} if isinstance(value, Mapping) else value


def as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def problem(rule: str, value: str, remedy: str) -> PydanticCustomError:
    """A validation error in the house form: rule, value, remedy."""
    return PydanticCustomError("recipe", "{rule}|{value}|{remedy}", {"rule": rule, "value": value, "remedy": remedy})


def refuse(found: Iterable[PydanticCustomError]) -> None:
    """Raise everything that was found as one error; nothing where there is nothing."""
    problems = [error.context for error in found]
    if problems:
        raise PydanticCustomError("recipes", "several problems", {"problems": problems})


NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}$"
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
# Lengths stand apart from the patterns: a repetition up to 1,024, or of the whole of Unicode's \w, takes
# milliseconds to compile wherever the type is used, which was a tenth of `harness plan`.
LINE_PATTERN = r"^[^\x00-\x1f]+$"
Line = Annotated[str, StringConstraints(pattern=LINE_PATTERN, max_length=1024)]
HUB_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,95}(/[A-Za-z0-9][A-Za-z0-9_.-]{0,95})?$"
HubName = Annotated[str, StringConstraints(pattern=HUB_PATTERN)]
Count = Annotated[int, Field(ge=1, le=MOST_PAIRS)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0.0, le=MOST_WEIGHT, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0.0, le=MOST_WEIGHT, allow_inf_nan=False)]
Names = Annotated[tuple[Name, ...], BeforeValidator(as_tuple), Field(min_length=1)]
_WORD = r"[A-Za-z_][A-Za-z0-9_]*"
_PLUGIN = rf"{_WORD}(\.{_WORD})*:{_WORD}"
PLUGIN_PATTERN = rf"^{_PLUGIN}$"
KIND_PATTERN = rf"^([a-z0-9_]+|{_PLUGIN})$"
PluginName = Annotated[str, StringConstraints(pattern=PLUGIN_PATTERN)]
KindName = Annotated[
    str,
    StringConstraints(pattern=KIND_PATTERN),
    Field(description="A built-in name, or `package.module:name` from a package listed under `plugins`."),
]


def _finite(options: dict[str, Any]) -> dict[str, Any]:
    """Options are identity, and what is no number equals nothing, not even itself; others read them as 64 bits."""
    waiting: list[tuple[str, Any]] = [("", options)]
    for path, value in waiting:
        if isinstance(value, float) and not math.isfinite(value):
            raise problem(
                "options must be texts, finite numbers, lists and mappings", f"`{path}` is {value}", "correct it"
            )
        if isinstance(value, int) and abs(value) > MOST_WHOLE:
            raise problem("whole numbers must be below 2^63", f"`{path}` is {value}", "correct it")
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        waiting += [(f"{path}.{key}" if path else str(key), item) for key, item in items]
    return options


Options = Annotated[dict[str, Any], AfterValidator(_finite)]


class Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=False)
