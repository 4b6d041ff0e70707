"""The blocks of an experiment: model, data, training, evaluation. Each refuses what contradicts itself."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from harness.recipe.fields import (
    EVALUATIONS,
    MOST_PAIRS,
    MOST_SEED,
    MOST_SEEDS,
    MOST_TOKENS,
    PLUGIN_PATTERN,
    Block,
    Count,
    Fraction,
    KindName,
    Name,
    Names,
    NotNegative,
    Options,
    Positive,
    as_tuple,
    problem,
    without_nulls,
)
from harness.recipe.models import FolderModel, GgufModel, HubModel, PackagedModel, Writer
from harness.recipe.retention import LmEvalBlock, Retention, RetentionBlock

# ---------------------------------------------------------------------------------------------- seeds and model


class Seeds(Block):
    """How many seeds of each kind; they nest: every pretrain seed is fine-tuned with every finetune seed."""

    data: Annotated[int, Field(ge=0, le=MOST_SEED)] = Field(
        0, description="Seed of data, pools, splits and the base model."
    )
    pretrain: Annotated[int, Field(ge=1, le=MOST_SEEDS)] = Field(1, description="Seeds of order and head in PMP.")
    finetune: Annotated[int, Field(ge=1, le=MOST_SEEDS)] = Field(1, description="Seeds of subset and order.")
    first: Annotated[int, Field(ge=0, le=MOST_SEED)] = Field(
        0, description="Number of the first seed of either kind: seeds that an earlier run has not seen."
    )

    @property
    def pretrains(self) -> range:
        return range(self.first, self.first + self.pretrain)

    @property
    def finetunes(self) -> range:
        return range(self.first, self.first + self.finetune)


class WSD(Block):
    """Warm-up, stable, decay: the pair-count axis shares its stable part (a trunk)."""

    kind: Literal["wsd"]
    warmup_pairs: Annotated[int, Field(ge=0, le=MOST_PAIRS)] = Field(
        description="Absolute, and so the same for every pair count."
    )
    decay: Annotated[float, Field(gt=0.0, le=1.0)] = Field(0.1, description="Last share of the run, linear to 0.")
    allow_decay_inside_warmup: bool = Field(False, description="Permit counts so small that the trunk has no end.")


class Anneal(Block):
    kind: Literal["cosine", "linear", "constant"]
    warmup: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(0.03, description="Share of the run.")


Schedule = Annotated[WSD | Anneal, Field(discriminator="kind")]


class Loss(Block):
    """L = rm * L_RM + lm * L_LM. A weight of 0 spends no compute."""

    rm: NotNegative = Field(1.0, description="Weight of the Bradley-Terry loss on chosen against rejected.")
    lm: NotNegative = Field(0.0, description="Weight of the language-model loss on the chosen response.")
    lm_normalization: Literal["token", "sequence"] = Field(
        "token", description="What counts alike in the language-model loss: every token, or every chosen response."
    )
    margin: NotNegative = Field(0.0, description="Subtracted from the reward difference inside the sigmoid.")
    kind: KindName = "bradley_terry"

    @model_validator(mode="after")
    def _some_weight(self) -> Loss:
        if self.rm == 0.0 and self.lm == 0.0:
            raise problem("at least one of `rm` and `lm` must be above 0", "both are 0", "raise one, or drop the stage")
        return self


class Optimization(Block):
    """What every training stage has in common. AdamW; gradients are clipped by their global norm."""

    learning_rate: Annotated[float, Field(gt=0.0, le=1.0)]
    schedule: Schedule
    global_batch: Annotated[int, Field(ge=1, le=1_048_576)] = Field(description="Groups (texts or pairs) a step.")
    precision: Literal["fp32", "bf16"] = "fp32"
    weight_decay: Fraction = 0.0
    clip_norm: Positive = 1.0
    betas: Annotated[tuple[Fraction, Fraction], BeforeValidator(as_tuple)] = (0.9, 0.95)


class BaseTraining(Optimization):
    """Plain language-model training of a tiny base model on code and reasoning text."""

    schedule: Anneal
    texts: Count = Field(description="Texts read in all; more than there are means several epochs.")

    @model_validator(mode="after")
    def _a_batch(self) -> BaseTraining:
        if self.texts < self.global_batch:
            raise problem(
                "`texts` must fill a global batch",
                f"{self.texts:,} are fewer than `global_batch` = {self.global_batch:,}",
                "raise it or lower the batch",
            )
        return self


class TinyModel(Block):
    """A small decoder trained here from scratch, so that no hub and no GPU is needed."""

    source: Literal["tiny"]
    family: Literal["llama", "qwen2"] = "llama"
    vocabulary: Annotated[int, Field(ge=300, le=262_144)] = 2048
    hidden_size: Annotated[int, Field(ge=8, le=16_384)] = 128
    layers: Annotated[int, Field(ge=1, le=256)] = 4
    heads: Annotated[int, Field(ge=1, le=256)] = 4
    key_value_heads: Annotated[int, Field(ge=1, le=256)] = 2
    intermediate_size: Annotated[int, Field(ge=8, le=65_536)] = 352
    tie_embeddings: bool = True
    base: BaseTraining

    @model_validator(mode="after")
    def _shape(self) -> TinyModel:
        if self.hidden_size % (2 * self.heads):
            raise problem(
                "`hidden_size` must be an even multiple of `heads`",
                f"{self.hidden_size} / {self.heads} is not",
                "change one of them",
            )
        if self.heads % self.key_value_heads:
            raise problem(
                "`heads` must be a multiple of `key_value_heads`",
                f"{self.heads} / {self.key_value_heads} is not",
                "change one of them",
            )
        return self


Model = Annotated[TinyModel | PackagedModel | FolderModel | GgufModel | HubModel, Field(discriminator="source")]


# -------------------------------------------------------------------------------------------------- training


StateName = Annotated[
    str, StringConstraints(pattern=r"^(trunk_state|pretrain)/[0-9a-f]{4,64}@[1-9][0-9]{0,11}$", max_length=128)
]


class Averaging(Block):
    """The mean of several checkpoints' weights in the place of one of them."""

    over: Literal["seeds", "steps"] = Field(
        description="Of several pretrain seeds' runs, or of the stable path's last states instead of a decay."
    )
    count: Annotated[int, Field(ge=2, le=MOST_SEEDS)] = Field(description="Checkpoints in a mean.")
    every_pairs: Count | None = Field(None, description="Between two states, in whole steps; with `over: steps`.")

    @model_validator(mode="after")
    def _one_distance(self) -> Averaging:
        if (self.over == "steps") != (self.every_pairs is not None):
            value = "it is missing" if self.every_pairs is None else f"`over: {self.over}` has none"
            raise problem("`every_pairs` goes with `over: steps`", value, "set it, or drop it")
        return self


class Pretrain(Optimization):
    """Preference-model pretraining on `pairs`."""

    epochs: Annotated[int, Field(ge=1, le=1_000)] = Field(
        1, description="Times every pair is read, each time in another order."
    )
    loss: Loss = Loss(rm=1.0, lm=1.0)
    average: Averaging | None = Field(None, description="Default: the last checkpoint of one run.")
    start: StateName | None = Field(
        None,
        alias="from",
        description="A trunk's state in the workdir to go on from, `trunk_state/<fingerprint>@<step>`. Pairs before "
        "it count. Default: the base model.",
    )

    @model_validator(mode="after")
    def _average_has_states(self) -> Pretrain:
        average = self.average
        if average is None or average.over == "seeds":
            return self
        if not isinstance(self.schedule, WSD):
            value = f"`schedule.kind` is {self.schedule.kind}"
            raise problem("only `schedule.kind: wsd` has states to average", value, "choose wsd, or `over: seeds`")
        if average.every_pairs is not None and average.every_pairs < self.global_batch:
            raise problem(
                "`average.every_pairs` must be a step at least",
                f"{average.every_pairs:,} pairs are fewer than `global_batch` = {self.global_batch:,}",
                "raise it",
            )
        return self


class Selection(Block):
    """Keep the checkpoint that is best on dev problems. Test problems are never available to a choice."""

    metric: Literal["pair_accuracy"] = "pair_accuracy"
    split: Literal["dev"] = "dev"
    every_steps: Annotated[int, Field(ge=1, le=MOST_PAIRS)]


class Finetune(Optimization):
    """Fine-tuning as a reward model on reasoning preferences."""

    tasks: Names
    samples: Count = Field(
        description="Preference pairs in all, shared evenly by the tasks. More than one a problem are for published "
        "tasks that have them; every seed then trains on the same pairs."
    )
    loss: Loss = Loss(rm=1.0, lm=0.0)
    head: Literal["carry", "reinit", "linear_probe"] = Field(
        "carry",
        description="Scalar head: as PMP left it (fresh where there is none), fresh, or fresh and trained alone.",
    )
    select: Selection | None = Field(None, description="Default: the last checkpoint.")

    @property
    def share(self) -> int:
        """Pairs of a task, of those that take the remainder."""
        return -(-self.samples // len(self.tasks))


# ------------------------------------------------------------------------------------------------ evaluation


class CandidatesBlock(Block):
    """A pool of solutions. `simulated` draws from the task's own table of right and mistaken ones."""

    engine: KindName = Field(description="`simulated`, `model`, or `package.module:factory` of a Generator.")
    writer: Writer | None = Field(None, description="Who writes the solutions, with `engine: model`.")
    options: Options = Field(default_factory=dict, description="Arguments of one's own engine's factory.")
    samples: Annotated[int, Field(ge=1, le=65_536)] = Field(description="Candidates a problem.")
    accuracy: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        0.5, description="Mean chance of a right simulated solution."
    )
    part_size: Count = Field(25, description="Problems a part.")

    @model_validator(mode="after")
    def _options_are_read(self) -> CandidatesBlock:
        if self.options and ":" not in self.engine:
            raise problem("`options` are for an engine of one's own", f"`engine: {self.engine}` has none", "drop them")
        if (self.engine == "model") != (self.writer is not None):
            value = "it is missing" if self.writer is None else f"`engine: {self.engine}` has none"
            raise problem("`writer` goes with `engine: model`", value, "set both or neither")
        return self


class BestOfN(Block):
    tasks: Names
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

    tasks: Names
    samples: Count = Field(description="Pairs a task.")


class CodePairs(Block):
    """Accuracy on pairs of held-out packages, before fine-tuning (what PMP itself learned)."""

    count: Count


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

    tasks: Names


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
    best_of_n: BestOfN | None = None
    pair_accuracy: PairAccuracy | None = None
    code_pairs: CodePairs | None = None
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
        if not self.asked:
            raise problem("`evaluate` must ask for an evaluation", "it asks for none", "add `best_of_n`")
        return self
