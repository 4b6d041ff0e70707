"""The blocks of tasks: made, of published data, or an imported pool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from harness.recipe.fields import MOST_PAIRS, MOST_TOKENS, POOL, Block, KindName, Name, Options, problem

ALL = "all"
MAX_TOKENS = "Of prompt and response together; longer texts and candidates are cut, longer preferences left out."
SplitCount = Annotated[
    Annotated[int, Field(ge=0, le=MOST_PAIRS), Tag("number")] | Annotated[Literal["all"], Tag("all")],
    Discriminator(lambda value: "all" if isinstance(value, str) else "number"),
]


class ProblemCounts(Block):
    """Problems a split; splits share no problem, template or passage (the task's cluster key).

    `all`: those that the other splits leave, for tasks with a fixed number of problems.
    """

    base: Annotated[int, Field(ge=0, le=MOST_PAIRS)] = Field(0, description="Texts for the base language model.")
    finetune: SplitCount = Field(0, description="For the preferences of fine-tuning.")
    dev: SplitCount = Field(0, description="For choosing checkpoints and settings.")
    test: SplitCount = Field(0, description="For judging models.")

    @model_validator(mode="after")
    def _some(self) -> ProblemCounts:
        if not self.asked:
            raise problem("`problems` must not be empty", "all counts are 0", "set one")
        return self

    @property
    def asked(self) -> tuple[str, ...]:
        """The splits with problems."""
        return tuple(split for split in type(self).model_fields if getattr(self, split))

    def of(self, split: str) -> int | None:
        """Problems of a split; None for `all`."""
        count = getattr(self, split)
        return None if count == ALL else int(count)


class TaskBlock(Block):
    """A task made here, or of published data."""

    kind: KindName = Field(
        description="A built-in name, see docs/tasks.md, or `package.module:name` from a package under `plugins`."
    )
    problems: ProblemCounts = Field(description="How many of each split.")
    path: str | dict[str, str] | None = Field(
        None,
        description="For tasks of published data: a folder with a file a part, or the files by part. Default: the "
        "data set on the hub, at the commit that the task's file names.",
    )
    options: Options = Field(default_factory=dict, description="The task's own settings, see its file.")
    max_tokens: Annotated[int, Field(ge=8, le=MOST_TOKENS)] = Field(512, description=MAX_TOKENS)


class PoolTaskBlock(Block):
    """A task whose problems and candidates are an imported pool, see `harness import pool`."""

    kind: Literal["pool"]
    imported: Name = Field(alias="import", description="Name of an imported pool.")
    problems: ProblemCounts = Field(description="How many of each split; `base` stays 0.")
    max_tokens: Annotated[int, Field(ge=8, le=MOST_TOKENS)] = Field(512, description=MAX_TOKENS)

    @model_validator(mode="after")
    def _from_a_pool(self) -> PoolTaskBlock:
        if self.problems.base:
            raise problem("a pool holds no texts for the base model", f"`base: {self.problems.base}`", "drop it")
        for split in ("finetune", "dev"):
            if getattr(self.problems, split) == ALL:
                raise problem(f"`{split}` of a pool must be a number", "it is `all`", "only `test` takes what is left")
        return self


def _task_tag(value: Any) -> str:
    kind = value.get("kind") if isinstance(value, Mapping) else getattr(value, "kind", None)
    return PoolTaskBlock.__name__ if kind == POOL else TaskBlock.__name__


AnyTask = Annotated[
    Annotated[TaskBlock, Tag("TaskBlock")] | Annotated[PoolTaskBlock, Tag("PoolTaskBlock")], Discriminator(_task_tag)
]
