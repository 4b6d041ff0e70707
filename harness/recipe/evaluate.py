"""What models are judged by, as a recipe says it. Each block refuses what contradicts itself."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from harness.recipe.fields import (
    EVALUATIONS,
    MOST_TOKENS,
    PLUGIN_PATTERN,
    Block,
    Count,
    Fraction,
    KindName,
    Name,
    Names,
    Options,
    as_tuple,
    problem,
    without_nulls,
)
from harness.recipe.models import Writer
from harness.recipe.retention import LmEvalBlock, Retention, RetentionBlock


class CandidatesBlock(Block):
    """A pool of solutions. `simulated` draws from the task's own table of right and mistaken ones."""

    engine: KindName = Field(description="`simulated`, `model`, or `package.module:factory` of a Generator.")
    writer: Writer | None = Field(None, description="Who writes the solutions, with `engine: model`.")
    options: Options = Field(default_factory=dict, description="Arguments for the factory of a custom engine.")
    samples: Annotated[int, Field(ge=1, le=65_536)] = Field(description="Candidates a problem.")
    accuracy: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        0.5, description="Mean chance of a right simulated solution."
    )
    part_size: Count = Field(25, description="Problems a part.")

    @model_validator(mode="after")
    def _options_are_read(self) -> CandidatesBlock:
        if self.options and ":" not in self.engine:
            raise problem("`options` are for custom engines", f"`engine: {self.engine}` has none", "drop them")
        if (self.engine == "model") != (self.writer is not None):
            value = "it is missing" if self.writer is None else f"`engine: {self.engine}` has none"
            raise problem("`writer` goes with `engine: model`", value, "set both or neither")
        return self


class BestOfN(Block):
    """Accuracy of the best of N candidates by reward, exact over all draws of N from a pool."""

    tasks: Names = Field(description="Names of `tasks`.")
    n: Annotated[tuple[Annotated[int, Field(ge=1, le=65_536)], ...], BeforeValidator(as_tuple), Field(min_length=1)] = (
        Field(
            description="Points of the curves. A task leaves out those beyond its own smallest pool and adds those of "
            "the BoN area: 2, 4, 8 ... up to a quarter of it, 64 at most."
        )
    )
    candidates: CandidatesBlock | None = Field(None, description="Needed unless all tasks are imported pools.")

    @model_validator(mode="after")
    def _sizes(self) -> BestOfN:
        if list(self.n) != sorted(set(self.n)):
            raise problem("`n` must be ascending without repeats", f"got {list(self.n)}", "sort it")
        return self


class PairAccuracy(Block):
    """Accuracy on held-out reasoning preferences of the tasks' problems."""

    tasks: Names = Field(description="Names of `tasks`.")
    samples: Count = Field(description="Pairs a task.")


class CodePairs(Block):
    """Accuracy on pairs of held-out packages, before fine-tuning (what PMP itself learned)."""

    count: Count = Field(description="Pairs.")


class Probes(Block):
    """Looks at the stable path of PMP on its way, before any decay or fine-tuning. They change nothing."""

    every_pairs: Count = Field(description="Between two looks, in whole steps; the first is after as many.")


class OverlapBlock(Block):
    """How problems that judge models are looked for in what models were trained on; those found judge nobody."""

    n: Annotated[int, Field(ge=3, le=100)] = Field(13, description="Words of an n-gram.")
    threshold: Fraction = Field(
        0.0, description="A document or pair for PMP holds more than this share of a problem's."
    )
    near_equal: Fraction = Field(0.5, description="The same of prompts of fine-tuning, and of all texts with masks.")
    masked: bool = Field(False, description="Look again with numbers and names masked; see docs/pairs.md.")


class ImportedRow(Block):
    """A row of the board from outside: a reward model that scores here, or scores that somebody else made."""

    checkpoint: Name | None = Field(None, description="Name of an imported checkpoint.")
    text: Literal["raw", "chat"] = Field("raw", description="`chat` renders texts by the checkpoint's chat template.")
    max_tokens: Annotated[int, Field(ge=8, le=MOST_TOKENS)] | None = Field(None, description="Default: the task's.")
    scores: Name | None = Field(None, description="Name of imported scores.")
    tasks: Names | None = Field(None, description="Which tasks the scores are of, where their file names none.")

    @model_validator(mode="after")
    def _one(self) -> ImportedRow:
        if (self.checkpoint is None) == (self.scores is None):
            given = "there is neither" if self.scores is None else "there are both"
            raise problem("a row needs one of `checkpoint` and `scores`", given, "name one")
        for key in ("text", "max_tokens") if self.checkpoint is None else ("tasks",):
            if key in self.model_fields_set:
                owner = "`checkpoint`" if self.checkpoint is None else "`scores`"
                raise problem(f"`{key}` is for {owner}", "there is none", "drop it")
        return self


class OtherEvaluation(Block):
    """An evaluation by its own name, or a recipe's own (`package.module:Class`); what else it takes, it says itself."""

    model_config = ConfigDict(extra="allow")

    tasks: Names = Field(description="Names of `tasks`.")


def _is_evaluation(key: str) -> str:
    if key not in EVALUATIONS and not re.fullmatch(PLUGIN_PATTERN, key):
        raise PydanticCustomError("extra_forbidden", "no evaluation is called that")
    return key


class Evaluate(Block):
    """What models are judged by. Keys that are not listed here name further evaluations."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[Annotated[str, AfterValidator(_is_evaluation)], OtherEvaluation | None]

    split: Literal["test", "dev"] = Field(
        "test", description="Whose problems judge. With `dev`, test problems are neither made nor scored."
    )
    best_of_n: BestOfN | None = Field(None, description="Best-of-N on candidates. Default: not judged by it.")
    pair_accuracy: PairAccuracy | None = Field(None, description="Pair accuracy. Default: not judged by it.")
    code_pairs: CodePairs | None = Field(None, description="Held-out code pairs. Default: not judged by them.")
    retention: Retention = Field(
        False,
        description="How well PMP checkpoints and bases do as language models: how likely they find the held-out "
        "`code_pairs` (true), and with a block tasks of lm-eval.",
    )
    overlap: OverlapBlock | None = Field(OverlapBlock(), description="null: not looked for.")
    failures: Literal["none", "scores", "calibrated"] = Field(
        "scores", description="Where models fail, by their scores; `calibrated` scores the dev candidates too."
    )
    probes: Probes | None = Field(
        None, description="Pair accuracy on held-out code and dev preferences along every trunk of a WSD schedule."
    )
    reference_scorers: Annotated[
        tuple[Literal["length", "ngrams", "prompt_overlap", "source_prior", "logprob"], ...], BeforeValidator(as_tuple)
    ] = Field(
        ("length", "ngrams", "prompt_overlap", "source_prior", "logprob"),
        description="Scorers that understand nothing, fitted on the same pairs as the models. `source_prior` is only "
        "where an imported pool names several sources and its problems are fine-tuned on, `logprob` where candidates "
        "come with their generator's log-probability.",
    )
    imported: Annotated[
        dict[Name, ImportedRow], BeforeValidator(without_nulls, json_schema_input_type=dict[Name, ImportedRow | None])
    ] = Field(default_factory=dict, description="Rows of the board from outside.")

    @model_validator(mode="after")
    def _goes_together(self) -> Evaluate:
        if self.retention and self.code_pairs is None:
            raise problem("`retention` is judged on the held-out `code_pairs`", "there are none", "add `code_pairs`")
        if self.failures == "calibrated" and self.split == "dev":
            rule = "`failures: calibrated` fits temperatures on dev problems, which must not judge as well"
            raise problem(rule, "`split` is dev", "set `failures: scores`, or `split: test`")
        return self

    @property
    def lm_eval(self) -> LmEvalBlock | None:
        """The tasks of lm-eval that models before fine-tuning are judged on."""
        return self.retention.lm_eval if isinstance(self.retention, RetentionBlock) else None

    @property
    def others(self) -> dict[str, OtherEvaluation]:
        """Evaluations that are not listed, by name."""
        return {name: block for name, block in (self.model_extra or {}).items() if block is not None}

    @property
    def asked(self) -> dict[str, tuple[str, ...]]:
        """Evaluation -> the tasks that it is asked about."""
        blocks = {"best_of_n": self.best_of_n, "pair_accuracy": self.pair_accuracy, **self.others}
        return {name: block.tasks for name, block in blocks.items() if block is not None}

    @property
    def candidates(self) -> CandidatesBlock | None:
        """Who writes candidates for Best-of-N."""
        return None if self.best_of_n is None else self.best_of_n.candidates

    @model_validator(mode="after")
    def _something(self) -> Evaluate:
        if not self.asked and self.code_pairs is None:
            raise problem("`evaluate` must name an evaluation", "it names none", "add `best_of_n` or `code_pairs`")
        return self
