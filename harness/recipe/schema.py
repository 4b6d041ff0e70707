"""What a recipe may say: frozen blocks, unknown keys refused. Knows nothing of stages, devices or libraries.

`Experiment` holds what the researcher chose (identity); `Runtime` how to run it (never identity). A `Recipe` is one
experiment with its ablation axes, seeds and runtime. Every field's description is the reference documentation.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError

# Bounds that only an absurd value passes: they turn a slipped exponent into an error instead of a full disk.
MOST_PAIRS = 1_000_000_000
MOST_TOKENS = 1_048_576
MOST_SEEDS = 1_000
MOST_VARIANTS = 100_000
MOST_PARTS = 100_000

# Built-in kinds, named here so that a slip is seen before anything runs; tests hold them equal to what there is.
TASKS = ("circuit_logic", "gsm_symbolic")
ENGINES = ("simulated",)
LOSSES = ("bradley_terry",)
STAGE_KINDS = (
    "corpus",
    "pairs_part",
    "pairs",
    "problems",
    "preferences",
    "candidates_part",
    "candidates",
    "tokenizer",
    "encode",
    "base",
    "trunk_state",
    "pretrain",
    "finetune",
    "score",
    "shallow_score",
    "best_of_n",
    "pool_baselines",
    "pair_accuracy",
    "analysis",
)

CODE = "code"  # what results call the held-out code pairs, beside the tasks


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def problem(rule: str, value: str, remedy: str) -> PydanticCustomError:
    """A validation error in the house form: rule, value, remedy."""
    return PydanticCustomError("recipe", "{rule}|{value}|{remedy}", {"rule": rule, "value": value, "remedy": remedy})


def refuse(found: Iterable[PydanticCustomError]) -> None:
    """Raise everything that was found as one error; nothing where there is nothing."""
    problems = [error.context for error in found]
    if problems:
        raise PydanticCustomError("recipes", "several problems", {"problems": problems})


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}$")]
Count = Annotated[int, Field(ge=1, le=MOST_PAIRS)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Names = Annotated[tuple[Name, ...], BeforeValidator(_as_tuple), Field(min_length=1)]
_WORD = r"[A-Za-z_][A-Za-z0-9_]*"
_PLUGIN = rf"{_WORD}(\.{_WORD})*:{_WORD}"
PluginName = Annotated[str, StringConstraints(pattern=rf"^{_PLUGIN}$")]
Kind = Annotated[
    str,
    StringConstraints(pattern=rf"^([a-z0-9_]+|{_PLUGIN})$"),
    Field(description="A built-in name, or `package.module:name` from a package listed under `plugins`."),
]


def _finite(options: dict[str, Any]) -> dict[str, Any]:
    """Options are identity, and what is no number equals nothing, not even itself."""
    waiting: list[tuple[str, Any]] = [("", options)]
    for path, value in waiting:
        if isinstance(value, float) and not math.isfinite(value):
            raise problem(
                "options must be texts, finite numbers, lists and mappings", f"`{path}` is {value}", "correct it"
            )
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        waiting += [(f"{path}.{key}" if path else str(key), item) for key, item in items]
    return options


Options = Annotated[dict[str, Any], AfterValidator(_finite)]


class Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=False)


# ---------------------------------------------------------------------------------------------- seeds and model


class Seeds(Block):
    """How many seeds of each kind; they nest: every pretrain seed is fine-tuned with every finetune seed."""

    data: Annotated[int, Field(ge=0)] = Field(0, description="Seed of data, pools, splits and the base model.")
    pretrain: Annotated[int, Field(ge=1, le=MOST_SEEDS)] = Field(1, description="Seeds of order and head in PMP.")
    finetune: Annotated[int, Field(ge=1, le=MOST_SEEDS)] = Field(1, description="Seeds of subset and order.")


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
    margin: NotNegative = Field(0.0, description="Subtracted from the reward difference inside the sigmoid.")
    kind: Kind = "bradley_terry"

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
    betas: Annotated[tuple[Fraction, Fraction], BeforeValidator(_as_tuple)] = (0.9, 0.95)


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


# ------------------------------------------------------------------------------------------------------ data


class PythonPackages(Block):
    """Functions with docstrings from installed Python code; the packages' versions are identity."""

    kind: Literal["python_packages"]
    packages: Names = Field(description='Import names; "stdlib" is the standard library, a package per module.')
    heldout: Names = Field(description="Packages kept for judging pair accuracy, never trained on.")
    base: Names = Field(description="Packages that only the base language model reads.")
    min_characters: Annotated[int, Field(ge=1, le=100_000)] = 80
    max_characters: Annotated[int, Field(ge=1, le=1_000_000)] = 600
    min_docstring_characters: Annotated[int, Field(ge=1, le=100_000)] = 20
    near_duplicate: Fraction = Field(0.8, description="Jaccard similarity from which two functions are one.")

    @model_validator(mode="after")
    def _disjoint(self) -> PythonPackages:
        both = sorted(set(self.heldout) & set(self.base))
        if both:
            raise problem(
                "`heldout` and `base` must not share a package", f"both name {', '.join(both)}", "drop it from one"
            )
        unknown = [name for name in (*self.heldout, *self.base) if not self._is_read(name)]
        if unknown:
            raise problem(
                "`heldout` and `base` must name packages of `packages`",
                f"{unknown[0]!r} is none of {', '.join(self.packages)}",
                "correct the name or add the package",
            )
        if self.min_characters > self.max_characters:
            raise problem(
                "`min_characters` must not exceed `max_characters`",
                f"{self.min_characters} > {self.max_characters}",
                "swap them",
            )
        return self

    def _is_read(self, name: str) -> bool:
        if "stdlib" in self.packages and name in sys.stdlib_module_names:
            return True
        return name in self.packages and name != "stdlib"


class DocstringPrompt(Block):
    origin: Literal["docstring"] = Field(alias="from")
    max_characters: Annotated[int, Field(ge=1, le=100_000)] = 200


class ReferenceSide(Block):
    origin: Literal["reference"] = Field(alias="from")


MUTATION_KINDS = (
    "arithmetic",
    "comparison",
    "boolean",
    "constant",
    "variable",
    "statement",
    "arguments",
)


class MutationSide(Block):
    """The reference with semantic edits."""

    origin: Literal["mutation"] = Field(alias="from")
    edits: Annotated[
        tuple[Annotated[int, Field(ge=1, le=20)], Annotated[int, Field(ge=1, le=20)]], BeforeValidator(_as_tuple)
    ] = Field((1, 3), description="Fewest and most edits a function.")
    kinds: Annotated[tuple[Literal[MUTATION_KINDS], ...], BeforeValidator(_as_tuple), Field(min_length=1)] = (  # type: ignore[valid-type]
        MUTATION_KINDS
    )

    @model_validator(mode="after")
    def _ordered(self) -> MutationSide:
        if self.edits[0] > self.edits[1]:
            raise problem("`edits` is [fewest, most]", f"{list(self.edits)} is not ascending", "swap them")
        return self


class PluginSide(Block):
    """A side made by the recipe's own code: a callable `(function, rng, **options) -> str | None`."""

    origin: PluginName = Field(alias="from")
    options: Options = Field(default_factory=dict)


def _side_tag(value: Any) -> str:
    origin = value.get("from") if isinstance(value, Mapping) else getattr(value, "origin", None)
    return "plugin" if isinstance(origin, str) and ":" in origin else str(origin)


Side = Annotated[
    Annotated[ReferenceSide, Tag("reference")]
    | Annotated[MutationSide, Tag("mutation")]
    | Annotated[PluginSide, Tag("plugin")],
    Discriminator(
        _side_tag,
        custom_error_type="recipe",
        custom_error_message="{rule}|{value}|{remedy}",
        custom_error_context={
            "rule": "a side's `from` must be `reference`, `mutation` or `package.module:name`",
            "value": "it is none of them",
            "remedy": "set `from`",
        },
    ),
]


class Pairs(Block):
    """Preference pairs for PMP: one prompt, a chosen and a rejected response."""

    count: Count
    prompt: DocstringPrompt
    chosen: Side
    rejected: Side
    part_size: Count = Field(2_000, description="Construction slots a part.")
    spare: Annotated[float, Field(ge=0.0, le=10.0)] = Field(
        0.2, description="Extra share of slots tried, so that rejected ones can be replaced."
    )
    max_tokens: Annotated[int, Field(ge=8, le=MOST_TOKENS)] = 256

    @model_validator(mode="after")
    def _different(self) -> Pairs:
        if self.chosen == self.rejected:
            raise problem("`chosen` and `rejected` must differ", "both sides are made alike", "change one side")
        parts = round(self.count * (1 + self.spare)) // self.part_size
        if parts > MOST_PARTS:
            raise problem(
                f"pairs may be made in {MOST_PARTS:,} parts",
                f"`part_size` = {self.part_size:,} makes {parts:,}",
                "raise it",
            )
        return self


class ProblemCounts(Block):
    """Problems a split; splits share no problem, template or passage (the task's cluster key)."""

    base: Annotated[int, Field(ge=0, le=MOST_PAIRS)] = Field(0, description="Texts for the base language model.")
    finetune: Count
    dev: Count
    test: Count


class Task(Block):
    kind: Kind
    problems: ProblemCounts
    options: Options = Field(default_factory=dict, description="The task's own settings, see its file.")
    max_tokens: Annotated[int, Field(ge=8, le=MOST_TOKENS)] = 512


# -------------------------------------------------------------------------------------------------- training


class Pretrain(Optimization):
    """Preference-model pretraining on `pairs`."""

    loss: Loss = Loss(rm=1.0, lm=1.0)


class Selection(Block):
    """Keep the checkpoint that is best on dev problems. Test problems are never available to a choice."""

    metric: Literal["pair_accuracy"] = "pair_accuracy"
    split: Literal["dev"] = "dev"
    every_steps: Annotated[int, Field(ge=1, le=MOST_PAIRS)]


class Finetune(Optimization):
    """Fine-tuning as a reward model on reasoning preferences."""

    tasks: Names
    samples: Count = Field(description="Preference pairs in all, shared evenly by the tasks.")
    loss: Loss = Loss(rm=1.0, lm=0.0)
    head: Literal["carry", "reinit", "linear_probe"] = Field(
        "carry",
        description="Scalar head: as PMP left it (fresh where there is none), fresh, or fresh and trained alone.",
    )
    select: Selection | None = Field(None, description="Default: the last checkpoint.")


# ------------------------------------------------------------------------------------------------ evaluation


class Candidates(Block):
    """A pool of solutions. `simulated` draws from the task's own table of right and mistaken ones."""

    engine: Kind = Field(description="`simulated`, or `package.module:factory` of a Generator.")
    options: Options = Field(default_factory=dict, description="Arguments of one's own engine's factory.")
    samples: Annotated[int, Field(ge=1, le=65_536)] = Field(description="Candidates a problem.")
    accuracy: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        0.5, description="Mean chance of a right simulated solution."
    )
    part_size: Count = Field(25, description="Problems a part.")


class BestOfN(Block):
    tasks: Names
    n: Annotated[tuple[Annotated[int, Field(ge=1, le=65_536)], ...], BeforeValidator(_as_tuple), Field(min_length=1)]
    candidates: Candidates

    @model_validator(mode="after")
    def _sizes(self) -> BestOfN:
        if max(self.n) > self.candidates.samples:
            raise problem(
                "`n` must not exceed the candidate pool",
                f"asked for N = {max(self.n)} of {self.candidates.samples} samples",
                "lower `n` or raise `candidates.samples`",
            )
        if list(self.n) != sorted(set(self.n)):
            raise problem("`n` must be ascending without repeats", f"got {list(self.n)}", "sort it")
        return self


class PairAccuracy(Block):
    """Accuracy on held-out reasoning preferences of the tasks' test problems."""

    tasks: Names
    samples: Count = Field(description="Pairs a task.")


class CodePairs(Block):
    """Accuracy on pairs of held-out packages, before fine-tuning (what PMP itself learned)."""

    count: Count


class Evaluate(Block):
    best_of_n: BestOfN
    pair_accuracy: PairAccuracy | None = None
    code_pairs: CodePairs | None = None
    reference_scorers: Annotated[tuple[Literal["length", "ngrams"], ...], BeforeValidator(_as_tuple)] = (
        "length",
        "ngrams",
    )


class Experiment(Block):
    """Everything that decides a result, apart from seeds."""

    model: TinyModel
    corpus: PythonPackages
    pairs: Pairs
    tasks: dict[Name, Task] = Field(min_length=1, description="Named tasks, used by finetune and evaluate.")
    pretrain: Pretrain | None = Field(description="null: the arm without preference-model pretraining.")
    finetune: Finetune
    evaluate: Evaluate

    @model_validator(mode="after")
    def _consistent(self) -> Experiment:
        refuse(self._contradictions())
        return self

    def _contradictions(self) -> Iterator[PydanticCustomError]:
        """Everything that single blocks cannot see."""
        yield from self._kinds_exist()
        yield from self._tasks_exist()
        yield from self._finetune_fits()
        yield from self._few_parts()
        if self.pretrain is not None:
            yield from self._branch_after_warmup(self.pretrain)

    def _kinds_exist(self) -> Iterator[PydanticCustomError]:
        for path, kind, known in kinds_of(self):
            if ":" not in kind and kind not in known:
                yield problem(
                    f"`{path}` must be built in or `package.module:name`",
                    f"{kind!r} is none of {', '.join(known)}",
                    "correct the name",
                )

    def _tasks_exist(self) -> Iterator[PydanticCustomError]:
        if CODE in self.tasks:
            yield problem(f"`tasks.{CODE}` must be called otherwise", "it is the name of the code pairs", "rename it")
        asked = {"finetune.tasks": self.finetune.tasks, "evaluate.best_of_n.tasks": self.evaluate.best_of_n.tasks}
        if self.evaluate.pair_accuracy:
            asked["evaluate.pair_accuracy.tasks"] = self.evaluate.pair_accuracy.tasks
        for path, names in asked.items():
            for name in names:
                if name not in self.tasks:
                    yield problem(
                        f"`{path}` must name tasks of `tasks`",
                        f"{name!r} is none of {', '.join(self.tasks)}",
                        "correct the name or add the task",
                    )
            if len(set(names)) != len(names):
                yield problem(f"`{path}` must name a task once", f"got {list(names)}", "drop the repeat")

    def _finetune_fits(self) -> Iterator[PydanticCustomError]:
        samples, batch = self.finetune.samples, self.finetune.global_batch
        if samples < batch:
            yield problem(
                "`finetune.samples` must fill a global batch",
                f"{samples:,} pairs are fewer than `finetune.global_batch` = {batch:,}",
                "raise the samples or lower the batch",
            )
        share = -(-samples // len(self.finetune.tasks))
        for name in self.finetune.tasks:
            pool = self.tasks[name].problems.finetune if name in self.tasks else share
            if share > pool:
                yield problem(
                    f"`finetune.samples` must fit the fine-tuning problems of `{name}`",
                    f"needs {share:,} of {pool:,} (one pair a problem)",
                    f"lower it or raise `tasks.{name}.problems.finetune`",
                )

    def _few_parts(self) -> Iterator[PydanticCustomError]:
        block = self.evaluate.best_of_n
        for name in block.tasks:
            parts = self.tasks[name].problems.test // block.candidates.part_size if name in self.tasks else 0
            if parts > MOST_PARTS:
                yield problem(
                    f"`evaluate.best_of_n.candidates` may be made in {MOST_PARTS:,} parts a task",
                    f"`part_size` = {block.candidates.part_size:,} makes {parts:,} of `{name}`",
                    "raise it",
                )

    def _branch_after_warmup(self, pretrain: Pretrain) -> Iterator[PydanticCustomError]:
        steps = self.pairs.count // pretrain.global_batch
        if steps == 0:
            yield problem(
                "`pairs.count` must fill a global batch",
                f"{self.pairs.count:,} pairs are fewer than `pretrain.global_batch` = {pretrain.global_batch:,}",
                "raise the count or lower the batch",
            )
            return
        schedule = pretrain.schedule
        if isinstance(schedule, WSD) and not schedule.allow_decay_inside_warmup:
            start = (steps - max(1, round(schedule.decay * steps))) * pretrain.global_batch
            if start < schedule.warmup_pairs:
                yield problem(
                    "`pretrain.schedule.decay` must start after `warmup_pairs`",
                    f"with {self.pairs.count:,} pairs it starts at {start:,}, inside a warm-up of "
                    f"{schedule.warmup_pairs:,}",
                    "raise `pairs.count`, lower `warmup_pairs`, or set `schedule.allow_decay_inside_warmup: true`",
                )


# -------------------------------------------------------------------------------------------------- ablations


class Inclusion(Block):
    """One more setting beside the axes' combinations."""

    name: Name
    overrides: dict[str, Any] = Field(alias="set")


Axis = Annotated[
    Annotated[dict[Name, dict[str, Any]], Tag("named")] | Annotated[list[Any], Tag("listed")],
    Discriminator(lambda value: "listed" if isinstance(value, list) else "named"),
]


def _without_nulls(value: Any) -> Any:
    return {name: axis for name, axis in value.items() if axis is not None} if isinstance(value, Mapping) else value


def _nothing(value: Any) -> Any:
    return {} if value is None else value


class Ablations(Block):
    """Axes: a named value is a set of overrides {path: value}; an axis named by a path may list plain values.

    null in an axis's place drops the axis of an extended recipe, null for the whole block drops all of it.
    """

    mode: Literal["grid", "zip", "one_at_a_time"] = "grid"
    axes: Annotated[dict[str, Axis], BeforeValidator(_without_nulls, json_schema_input_type=dict[str, Axis | None])] = (
        Field(default_factory=dict)
    )
    include: Annotated[tuple[Inclusion, ...], BeforeValidator(_as_tuple)] = ()
    exclude: Annotated[tuple[dict[str, Any], ...], BeforeValidator(_as_tuple)] = Field(
        (), description="Combinations left out: {axis: value name}, matched on every axis named."
    )


# ---------------------------------------------------------------------------------------------------- runtime


class Budget(Block):
    hours: Positive | None = Field(None, description="Refuse to start if the plan's estimate is above this.")
    stages: Count | None = None


Keep = Literal["state", "weights", "record"]
StageKind = Literal[STAGE_KINDS]  # type: ignore[valid-type]


class Runtime(Block):
    """How to run; never part of any identity."""

    executor: Literal["local"] = "local"
    workdir: Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f]{1,1024}$")] = Field(
        "workdir", description="Relative to where `harness` is called."
    )
    slots: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None, description="Stages at once. Default: one a GPU, else one a core."
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    row_tokens: Annotated[int, Field(ge=16, le=MOST_TOKENS)] = Field(256, description="Token budget of a packed row.")
    rows_per_micro_batch: Annotated[int, Field(ge=1, le=65_536)] = 4
    checkpoint_seconds: NotNegative = Field(60.0, description="Training is resumable to the last such point.")
    log_every: Count = Field(10, description="Training steps between two points of a curve.")
    keep: dict[StageKind, Keep] = Field(default_factory=dict, description="What `gc` leaves of a stage kind.")
    stale_code: Literal["keep", "rerun"] = Field(
        "keep", description="What to do where a stage's source changed at the same code version."
    )
    budget: Budget = Budget()
    tracking: Literal["mlflow", "none"] = "mlflow"
    tracking_uri: Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f]{1,2048}$")] | None = Field(
        None, description="An MLflow tracking URI. Default: an sqlite database in the workdir."
    )


class Recipe(Experiment):
    """A base experiment, its ablations and how to run them."""

    name: Name
    notes: str = ""
    tags: dict[str, str] = Field(default_factory=dict)
    plugins: Annotated[tuple[Name, ...], BeforeValidator(_as_tuple)] = ()
    seeds: Seeds = Seeds()
    ablations: Annotated[Ablations, BeforeValidator(_nothing, json_schema_input_type=Ablations | None)] = Ablations()
    runtime: Runtime = Runtime()

    def _contradictions(self) -> Iterator[PydanticCustomError]:
        yield from super()._contradictions()
        for path, kind in plugin_kinds(self):
            package = kind.split(":")[0].split(".")[0]
            if package not in self.plugins:
                yield problem(
                    f"`{path}` may load code only from packages listed under `plugins`",
                    f"{kind!r} is in {package!r}",
                    f"add `plugins: [{package}]`",
                )


def kinds_of(experiment: Experiment) -> list[tuple[str, str, tuple[str, ...]]]:
    """(path, kind, built-in kinds) of everything that may be built in or come from a plugin."""
    kinds: list[tuple[str, str, tuple[str, ...]]]
    kinds = [(f"tasks.{name}.kind", task.kind, TASKS) for name, task in experiment.tasks.items()]
    kinds.append(("evaluate.best_of_n.candidates.engine", experiment.evaluate.best_of_n.candidates.engine, ENGINES))
    kinds.append(("finetune.loss.kind", experiment.finetune.loss.kind, LOSSES))
    if experiment.pretrain is not None:
        kinds.append(("pretrain.loss.kind", experiment.pretrain.loss.kind, LOSSES))
    return kinds


def plugin_kinds(experiment: Experiment) -> Sequence[tuple[str, str]]:
    """(path, `package.module:name`) of everything in the experiment that is not built in."""
    kinds = [(path, kind) for path, kind, _ in kinds_of(experiment)]
    for side, block in (("chosen", experiment.pairs.chosen), ("rejected", experiment.pairs.rejected)):
        kinds.append((f"pairs.{side}.from", block.origin))
    return [(path, kind) for path, kind in kinds if ":" in kind]


EXPERIMENT_FIELDS = tuple(Experiment.model_fields)


def identity_of(block: BaseModel) -> dict[str, Any]:
    """The block as JSON data with the recipe's own key names."""
    data: Mapping[str, Any] = block.model_dump(mode="json", by_alias=True)
    return dict(data)
