"""The blocks of an experiment: seeds, model and training. Each refuses what contradicts itself."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from harness.recipe.fields import (
    MOST_PAIRS,
    MOST_SEED,
    MOST_SEEDS,
    Block,
    Count,
    Fraction,
    KindName,
    Names,
    NotNegative,
    Positive,
    as_tuple,
    problem,
)
from harness.recipe.models import FolderModel, GgufModel, HubModel, PackagedModel

# ---------------------------------------------------------------------------------------------- seeds and model


Beta = Annotated[float, Field(ge=0.0, lt=1.0, allow_inf_nan=False)]


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
    """Warm-up, then a cosine or a line down to 0 over the whole run, or no decay."""

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
    kind: KindName = Field("bradley_terry", description="What compares the rewards of the two sides.")

    @model_validator(mode="after")
    def _some_weight(self) -> Loss:
        if self.rm == 0.0 and self.lm == 0.0:
            raise problem("at least one of `rm` and `lm` must be above 0", "both are 0", "raise one, or drop the stage")
        return self


class PretrainLoss(Loss):
    """The losses of preference-model pretraining."""

    labels: Literal["data", "coin"] = Field(
        "data",
        description="Which side of a pair the RM loss prefers: the chosen one, or, as a control, the side that a coin "
        "picked for this pair once and for all. The language-model loss always reads the chosen side.",
    )


Rate = Annotated[float, Field(gt=0.0, le=1.0)]
Batch = Annotated[int, Field(ge=1, le=1_048_576)]
Epochs = Annotated[int, Field(ge=1, le=1_000)]


class Optimization(Block):
    """What every training stage has in common. AdamW; gradients are clipped by their global norm."""

    learning_rate: Rate = Field(description="AdamW's, at its peak.")
    schedule: Schedule = Field(description="The learning rate over the run.")
    global_batch: Batch = Field(description="Groups (texts or pairs) a step.")
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="`bf16` runs matrix products in bf16; weights and moments stay fp32."
    )
    weight_decay: Fraction = Field(0.0, description="AdamW's, decoupled from the gradient.")
    clip_norm: Positive = Field(1.0, description="Global norm above which a gradient is scaled down to it.")
    betas: Annotated[tuple[Beta, Beta], BeforeValidator(as_tuple)] = Field(
        (0.9, 0.95), description="AdamW's decay of the first and the second moment."
    )


class BaseTraining(Optimization):
    """Plain language-model training of a tiny base model on code and reasoning text."""

    schedule: Anneal = Field(description="The learning rate over the run; no WSD here.")
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


TinyFamily = Literal["llama", "qwen2", "qwen3", "gemma2", "gemma3", "mistral"]


class TinyModel(Block):
    """A small decoder trained here from scratch, so that no hub and no GPU is needed."""

    source: Literal["tiny"]
    family: TinyFamily = Field(
        "llama",
        description="Gemma's and Mistral's have sliding windows of 64 tokens: every other layer of Gemma's, all of "
        "Mistral's.",
    )
    vocabulary: Annotated[int, Field(ge=300, le=262_144)] = Field(
        2048, description="Tokens of its own tokenizer, which is trained on the base texts."
    )
    hidden_size: Annotated[int, Field(ge=8, le=16_384)] = Field(
        128, description="Width of the residual stream; an even multiple of `heads`."
    )
    layers: Annotated[int, Field(ge=1, le=256)] = Field(4, description="Decoder layers.")
    heads: Annotated[int, Field(ge=1, le=256)] = Field(
        4, description="Attention heads; a multiple of `key_value_heads`."
    )
    key_value_heads: Annotated[int, Field(ge=1, le=256)] = Field(
        2, description="Heads of keys and values, each shared by several attention heads."
    )
    intermediate_size: Annotated[int, Field(ge=8, le=65_536)] = Field(352, description="Width inside the feed-forward.")
    tie_embeddings: bool = Field(True, description="One matrix for the input embedding and the language-model head.")
    base: BaseTraining = Field(description="How the model is trained before any preference is seen.")

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


class Match(Block):
    """As much computation as another setting's PMP."""

    flops: Annotated[str, StringConstraints(min_length=1, max_length=256)] = Field(
        description="The setting, or its value on an axis where the others are the same. As many pairs are read as "
        "compute what it does, `pairs.count` at most; solved from counted tokens before anything is trained."
    )


class Pretrain(Optimization):
    """Preference-model pretraining on `pairs`."""

    on: Literal["pairs", "corpus"] = Field(
        "pairs",
        description="`corpus`: as many steps of the same batch on texts of the corpus' `base` split, which a tiny base "
        "model was trained on, as a control: more training on code, and no preference. For `loss.rm: 0`.",
    )
    epochs: Epochs = Field(1, description="Times every pair is read, each time in another order.")
    loss: PretrainLoss = Field(PretrainLoss(rm=1.0, lm=1.0), description="L = rm * L_RM + lm * L_LM on the pairs.")
    match: Match | None = Field(None, description="Default: `pairs.count` says how much is read.")
    average: Averaging | None = Field(None, description="Default: the last checkpoint of one run.")
    start: StateName | None = Field(
        None,
        alias="from",
        description="A trunk's state in the workdir to resume from, `trunk_state/<fingerprint>@<step>`. Pairs before "
        "it count. Default: the base model.",
    )

    @model_validator(mode="after")
    def _texts_have_no_sides(self) -> Pretrain:
        if self.on == "corpus" and self.loss.rm:
            raise problem(
                "`pretrain.on: corpus` trains with the language-model loss alone",
                f"`loss.rm` is {self.loss.rm:g}",
                "set `loss: {rm: 0.0, lm: 1.0}`",
            )
        return self

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

    metric: Literal["pair_accuracy"] = Field("pair_accuracy", description="What is best: accuracy on preferences.")
    split: Literal["dev"] = Field("dev", description="Whose problems it is measured on.")
    every_steps: Annotated[int, Field(ge=1, le=MOST_PAIRS)] = Field(description="Steps between two measurements.")


Head = Literal["carry", "reinit", "linear_probe"]
MOST_TRIES = 256


def _each_once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise problem("a value must be tried once", f"got {', '.join(map(str, values))}", "drop the repeat")
    return values


_Value = TypeVar("_Value")
Tried = Annotated[tuple[_Value, ...], BeforeValidator(as_tuple), Field(min_length=1), AfterValidator(_each_once)]


class Tune(Block):
    """Fine-tune with every combination of these values, and hand on the model that is best on dev problems.

    Test problems are never available to this choice.
    """

    learning_rate: Tried[Rate] | None = Field(None, description="Rates to try.")
    epochs: Tried[Epochs] | None = Field(None, description="Numbers of epochs to try.")
    global_batch: Tried[Batch] | None = Field(None, description="Batches to try.")
    weight_decay: Tried[Fraction] | None = Field(None, description="Weight decays to try.")
    head: Tried[Head] | None = Field(None, description="Heads to try.")
    on: Literal["pair_accuracy", "best_of_n", "choices"] = Field(
        "pair_accuracy",
        description="Which evaluation values a try, by its main metric, on the dev problems of `finetune.tasks`: the "
        "mean over tasks. All but `pair_accuracy` must be asked about these tasks under `evaluate`.",
    )

    @model_validator(mode="after")
    def _some_to_choose_from(self) -> Tune:
        tries = math.prod(len(values) for values in self.axes.values())
        if tries < 2:
            raise problem(
                "`tune` must have two combinations at least",
                f"it has {tries}",
                "list more values, or set the value in `finetune` and drop `tune`",
            )
        if tries > MOST_TRIES:
            counts = " × ".join(f"{len(values):,}" for values in self.axes.values())
            raise problem(f"`tune` may have {MOST_TRIES:,} combinations", f"{counts} is {tries:,}", "list fewer values")
        return self

    @property
    def axes(self) -> dict[str, tuple[Any, ...]]:
        """{key of `finetune`: values to try}, in the order in which the combinations are counted."""
        listed = {name: getattr(self, name) for name in type(self).model_fields if name != "on"}
        return {name: values for name, values in listed.items() if values is not None}


class Finetune(Optimization):
    """Fine-tuning as a reward model on reasoning preferences."""

    tasks: Names = Field(description="Names of `tasks` whose finetune problems give the preferences.")
    samples: Count = Field(
        description="Preference pairs in all, shared evenly by the tasks. More than one a problem are for published "
        "tasks that have them; every seed then trains on the same pairs."
    )
    replay: Annotated[int, Field(ge=0, le=MOST_PAIRS)] = Field(
        0,
        description="Training code pairs of `pairs` read beside the samples, drawn and mixed in by the seed. With "
        "`pretrain: null` code and reasoning are learned in one stage.",
    )
    epochs: Epochs = Field(1, description="Times every pair is read, each time in another order.")
    loss: Loss = Field(Loss(rm=1.0, lm=0.0), description="L = rm * L_RM + lm * L_LM on the preferences.")
    head: Head = Field(
        "carry",
        description="Scalar head: as PMP left it (fresh where there is none), fresh, or fresh and trained alone.",
    )
    select: Selection | None = Field(None, description="Default: the last checkpoint.")
    tune: Tune | None = Field(None, description="Default: fine-tune once, with the values above.")

    def tries(self) -> Iterator[tuple[dict[str, Any], Finetune]]:
        """(values, the block with these values) of every combination of `tune`, the last axis varying fastest."""
        assert self.tune is not None
        axes = self.tune.axes
        for combination in itertools.product(*axes.values()):
            values = dict(zip(axes, combination, strict=True))
            yield values, self.model_copy(update={**values, "tune": None})

    @property
    def share(self) -> int:
        """Pairs of a task, of those that take the remainder."""
        return -(-self.samples // len(self.tasks))
