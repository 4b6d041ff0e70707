"""What a recipe says of retention: how well models do as language models before they are fine-tuned."""

from __future__ import annotations

from typing import Annotated

from pydantic import Discriminator, Field, Tag, model_validator

from harness.recipe.fields import Block, Count, Names, problem


class LmEvalBlock(Block):
    """Tasks of lm-evaluation-harness, which is an extra; what is left out is lm-eval's default."""

    tasks: Names = Field(description="Names of single tasks as lm-eval has them; no groups, no tags.")
    include_path: str | None = Field(None, description="A folder with tasks of your own, whose Python code is run.")
    limit: Count | None = Field(None, description="Documents of each task, from the first. Default: all.")
    num_fewshot: Annotated[int, Field(ge=0, le=1_000)] | None = Field(
        None, description="Examples before each document. Default: the task's own number."
    )

    @model_validator(mode="after")
    def _once(self) -> LmEvalBlock:
        if len(set(self.tasks)) != len(self.tasks):
            raise problem("`tasks` must name a task once", f"got {list(self.tasks)}", "drop the repeat")
        return self


class RetentionBlock(Block):
    """As `true`, and on tasks of lm-eval."""

    lm_eval: LmEvalBlock | None = Field(None, description="Tasks of lm-eval. Default: none.")


Retention = Annotated[
    Annotated[bool, Tag("bool")] | Annotated[RetentionBlock, Tag("RetentionBlock")],
    Discriminator(lambda value: "bool" if isinstance(value, bool) else "RetentionBlock"),
]
