"""What a recipe may say: frozen blocks, unknown keys refused. Knows nothing of stages, devices or libraries.

`Experiment` holds what the researcher chose (identity); `Runtime` how to run it (never identity). A `Recipe` is one
experiment with its ablation axes, seeds and runtime. Every field's description is the reference documentation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    model_validator,
)
from pydantic_core import PydanticCustomError

from harness.recipe.ablations import Ablations, nothing_if_null
from harness.recipe.blocks import WSD, Finetune, Model, Pretrain, Seeds, TinyModel
from harness.recipe.claims import Claim, Label
from harness.recipe.corpus import CorpusSource
from harness.recipe.evaluate import Evaluate
from harness.recipe.fields import (
    CODE,
    ENGINES,
    EVALUATIONS,
    LOSSES,
    MOST_FITS,
    MOST_PARTS,
    TASKS,
    Block,
    Name,
    as_tuple,
    problem,
    refuse,
    without_nulls,
)
from harness.recipe.models import DescriptionPrompt, ModelJudge, ModelSide
from harness.recipe.pairs import AnyPairs, ImportedPairs, MadePairs
from harness.recipe.runtime import Runtime
from harness.recipe.search import Search
from harness.recipe.tasks import AnyTask, PoolTaskBlock


class Experiment(Block):
    """Everything that decides a result, apart from seeds."""

    model: Model = Field(description="The model that every arm starts from.")
    corpus: CorpusSource = Field(description="Code or text that pairs and a tiny base model come from.")
    pairs: AnyPairs = Field(description="Preference pairs for pretraining.")
    tasks: Annotated[
        dict[Name, AnyTask], BeforeValidator(without_nulls, json_schema_input_type=dict[Name, AnyTask | None])
    ] = Field(min_length=1, description="Named tasks, used by finetune and evaluate.")
    pretrain: Pretrain | None = Field(description="null: the arm without preference-model pretraining.")
    finetune: Finetune = Field(description="Fine-tuning on reasoning preferences.")
    evaluate: Evaluate = Field(description="What models are judged by.")

    @model_validator(mode="after")
    def _consistent(self) -> Experiment:
        refuse(self._contradictions())
        return self

    @property
    def reads_pairs(self) -> bool:
        """Whether anything is trained on `pairs`: PMP, or fine-tuning that replays some."""
        return (self.pretrain is not None and self.pretrain.on == "pairs") or self.finetune.replay > 0

    def _contradictions(self) -> Iterator[PydanticCustomError]:
        """Everything that single blocks cannot see."""
        yield from self._kinds_exist()
        yield from self._tasks_exist()
        yield from self._is_judged()
        yield from self._finetune_fills_a_batch()
        yield from self._base_texts_are_there()
        yield from self._replay_is_there()
        yield from self._few_fits()
        yield from self._few_parts()
        if self.pretrain is not None:
            yield from self._branch_after_warmup(self.pretrain)

    def contradictions(self) -> list[PydanticCustomError]:
        """What is wrong beside single blocks; of a valid experiment, once counts of `all` are numbers."""
        return list(self._contradictions())

    def _kinds_exist(self) -> Iterator[PydanticCustomError]:
        for path, kind, known in kinds_of(self):
            if ":" not in kind and kind not in known:
                yield problem(
                    f"`{path}` must be built in or `package.module:name`",
                    f"{kind!r} is not one of {', '.join(known)}",
                    "correct the name",
                )

    def _tasks_exist(self) -> Iterator[PydanticCustomError]:
        if CODE in self.tasks:
            yield problem(f"`tasks.{CODE}` must be called otherwise", "it is the name of the code pairs", "rename it")
        asked, split = {"finetune.tasks": self.finetune.tasks}, self.evaluate.split
        asked |= {f"evaluate.{name}.tasks": tasks for name, tasks in self.evaluate.asked.items()}
        for row, block in self.evaluate.imported.items():
            asked[f"evaluate.imported.{row}.tasks"] = block.tasks or ()
        for path, names in asked.items():
            for name in names:
                if name not in self.tasks:
                    yield problem(
                        f"`{path}` must name tasks of `tasks`",
                        f"{name!r} is not one of {', '.join(self.tasks)}",
                        "correct the name or add the task",
                    )
                elif path != "finetune.tasks" and split not in self.tasks[name].problems.asked:
                    value = f"`tasks.{name}.problems.{split}` is 0"
                    remedy = "add some" if split == "test" else "add some, or set `evaluate.split: test`"
                    yield problem(f"`{path}` must name tasks with {split} problems", value, remedy)
            if len(set(names)) != len(names):
                yield problem(f"`{path}` must name a task once", f"got {list(names)}", "drop the repeat")
        for key in ("select", "tune"):
            for name in self.finetune.tasks if getattr(self.finetune, key) is not None else ():
                if name in self.tasks and "dev" not in self.tasks[name].problems.asked:
                    value = f"`tasks.{name}.problems.dev` is 0"
                    yield problem(f"`finetune.{key}` needs dev problems of every task", value, "add some")
        yield from self._tune_is_asked()

    def _is_judged(self) -> Iterator[PydanticCustomError]:
        heads = self.pretrain is not None and self.pretrain.loss.rm > 0
        if not (heads or self.evaluate.asked or self.evaluate.retention):
            yield problem(
                "`evaluate` must judge every setting",
                "`code_pairs` judges reward heads that PMP has trained, and this one has none",
                "add `best_of_n`, or drop the setting",
            )

    def _tune_is_asked(self) -> Iterator[PydanticCustomError]:
        tune = self.finetune.tune
        if tune is None or tune.on == "pair_accuracy":  # which needs nothing but preferences
            return
        for name in self.finetune.tasks:
            if name not in self.evaluate.asked.get(tune.on, ()):
                yield problem(
                    "`finetune.tune.on` must be an evaluation that `evaluate` asks about every fine-tuning task",
                    f"`evaluate.{tune.on}` does not name {name!r}",
                    "add it there, or set `on: pair_accuracy`",
                )

    def _finetune_fills_a_batch(self) -> Iterator[PydanticCustomError]:
        samples, batch = self.finetune.samples + self.finetune.replay, self.finetune.global_batch
        path = "finetune.global_batch"
        if self.finetune.tune is not None and self.finetune.tune.global_batch is not None:
            batch, path = max(self.finetune.tune.global_batch), "finetune.tune.global_batch"
        if samples < batch:
            yield problem(
                "`finetune.samples` must fill a global batch",
                f"{samples:,} pairs are fewer than `{path}` = {batch:,}",
                "raise the samples or lower the batch",
            )

    def _base_texts_are_there(self) -> Iterator[PydanticCustomError]:
        on_corpus = self.pretrain is not None and self.pretrain.on == "corpus"
        if (isinstance(self.model, TinyModel) or on_corpus) and not self.corpus.base:
            reader = "pretrain.on: corpus" if on_corpus else "model.source: tiny"
            yield problem(
                f"`corpus.base` must leave something to read with `{reader}`",
                "it is empty" if self.corpus.base == () else "it is 0",
                "name a package for it" if self.corpus.base == () else "raise it, e.g. to 0.05",
            )

    def _replay_is_there(self) -> Iterator[PydanticCustomError]:
        replay, count = self.finetune.replay, self.pairs.count
        if replay > count:
            yield problem(
                "`finetune.replay` draws from the pairs of `pairs`",
                f"{replay:,} are more than `pairs.count` = {count:,}",
                "lower it or raise the count",
            )

    def _few_fits(self) -> Iterator[PydanticCustomError]:
        fitted = len(self.finetune.tasks)
        judged = max(map(len, self.evaluate.asked.values()), default=0)
        if self.evaluate.reference_scorers and fitted * judged > MOST_FITS:
            yield problem(
                f"`finetune.tasks` times evaluated tasks must not exceed {MOST_FITS:,} with reference scorers",
                f"{fitted:,} × {judged:,} is {fitted * judged:,}",
                "take fewer `finetune.tasks`, split the recipe, or set `evaluate.reference_scorers: []`",
            )

    def _few_parts(self) -> Iterator[PydanticCustomError]:
        block = self.evaluate.best_of_n
        if block is None:
            return
        made = [name for name in block.tasks if name in self.tasks and not isinstance(self.tasks[name], PoolTaskBlock)]
        if block.candidates is None:
            if made:
                yield problem(
                    "`evaluate.best_of_n.candidates` is required", f"`{made[0]}` is no imported pool", "add it"
                )
            return
        # Beside imported pools, whose sizes a plan knows, a larger N may be for them.
        asked = max(block.n) if len(made) == len(block.tasks) else min(block.n)
        if made and asked > block.candidates.samples:
            yield problem(
                "`evaluate.best_of_n.n` must not exceed the candidate pool",
                f"it requests N = {asked:,} of {block.candidates.samples:,} samples",
                "lower `n` or raise `candidates.samples`",
            )
        for name in made:
            parts = (self.tasks[name].problems.of(self.evaluate.split) or 0) // block.candidates.part_size
            if parts > MOST_PARTS:
                yield problem(
                    f"`evaluate.best_of_n.candidates` may be made in {MOST_PARTS:,} parts a task",
                    f"`part_size` = {block.candidates.part_size:,} makes {parts:,} of `{name}`",
                    "raise it",
                )

    def _branch_after_warmup(self, pretrain: Pretrain) -> Iterator[PydanticCustomError]:
        steps = self.pairs.count // pretrain.global_batch * pretrain.epochs
        if steps == 0:
            yield problem(
                "`pairs.count` must fill a global batch",
                f"{self.pairs.count:,} pairs are fewer than `pretrain.global_batch` = {pretrain.global_batch:,}",
                "raise the count or lower the batch",
            )
            return
        schedule, average = pretrain.schedule, pretrain.average
        if average is not None and average.every_pairs is not None and isinstance(schedule, WSD):
            between = average.every_pairs // pretrain.global_batch
            first = (steps - (average.count - 1) * between) * pretrain.global_batch
            if first < max(schedule.warmup_pairs, pretrain.global_batch):
                yield problem(
                    "the states of `pretrain.average` must lie after `warmup_pairs`",
                    f"of {self.pairs.count:,} pairs the first would be at {max(0, first):,}",
                    "raise `pairs.count`, or lower `average.count` or `average.every_pairs`",
                )
        elif isinstance(schedule, WSD) and not schedule.allow_decay_inside_warmup:
            start = (steps - max(1, round(schedule.decay * steps))) * pretrain.global_batch
            if start < schedule.warmup_pairs:
                yield problem(
                    "`pretrain.schedule.decay` must start after `warmup_pairs`",
                    f"with {self.pairs.count:,} pairs it starts at {start:,}, inside a warm-up of "
                    f"{schedule.warmup_pairs:,}",
                    "raise `pairs.count`, lower `warmup_pairs`, or set `schedule.allow_decay_inside_warmup: true`",
                )


class Recipe(Experiment):
    """A base experiment, its ablations and how to run them."""

    name: Name = Field(description="What the report, its folder and MLflow's experiment are called.")
    notes: str = Field("", description="Shown at the head of the report.")
    tags: Annotated[dict[str, str], BeforeValidator(without_nulls, json_schema_input_type=dict[str, str | None])] = (
        Field(default_factory=dict, description="Shown in the report and set on the runs in MLflow.")
    )
    plugins: Annotated[tuple[Name, ...], BeforeValidator(as_tuple)] = Field(
        (), description="Packages that tasks, evaluations, engines and sides named `package.module:name` may come from."
    )
    seeds: Seeds = Field(Seeds(), description="How often each setting is repeated.")
    search: Search | None = Field(None, description="Trials that Optuna proposes, beside the ablations.")
    ablations: Annotated[Ablations, BeforeValidator(nothing_if_null, json_schema_input_type=Ablations | None)] = Field(
        Ablations(), description="Which settings there are."
    )
    baseline: Label | None = Field(
        None,
        description="Name of the setting that differences are taken from. Default: the first without PMP, else the "
        "first.",
    )
    claims: Annotated[
        dict[Name, Claim], BeforeValidator(nothing_if_null, json_schema_input_type=dict[Name, Claim] | None)
    ] = Field(
        default_factory=dict,
        description="What the recipe means to show. Not identity. `extends` brings along a claim only where the "
        "recipe names it: fields that it does not say are those of the extended one (`name: {}` takes it whole).",
    )
    runtime: Runtime = Field(Runtime(), description="How to run.")

    def _contradictions(self) -> Iterator[PydanticCustomError]:
        yield from super()._contradictions()
        if self.search is not None:
            yield from self._search_fits(self.search)
        for path, kind in plugin_kinds(self):
            package = kind.split(":")[0].split(".")[0]
            if package not in self.plugins:
                yield problem(
                    f"`{path}` may load code only from packages listed under `plugins`",
                    f"{kind!r} is in {package!r}",
                    f"add `plugins: [{package}]`",
                )

    def _search_fits(self, search: Search) -> Iterator[PydanticCustomError]:
        for number, objective in enumerate(search.objectives):
            path, name = f"search.objectives.{number}", objective.evaluation
            if objective.task == CODE:
                block = self.evaluate.retention if name == "retention" else self.evaluate.code_pairs
                if not block:
                    key = "retention" if name == "retention" else "code_pairs"
                    yield problem(f"`{path}` needs `evaluate.{key}`", "it is missing", "add it")
                split = self.pairs if isinstance(self.pairs, ImportedPairs) else self.corpus
                if not split.dev:
                    where = "pairs.dev" if split is self.pairs else "corpus.dev"
                    yield problem(f"`{path}` needs code pairs for dev", f"`{where}` is empty", f"add `{where}`")
            elif objective.task not in self.evaluate.asked.get(name, ()):
                yield problem(
                    f"`{path}` must be an evaluation and task that `evaluate` asks about",
                    f"`evaluate.{name}` does not name {objective.task!r}",
                    "add it there",
                )
            elif objective.task in self.tasks and "dev" not in self.tasks[objective.task].problems.asked:
                value = f"`tasks.{objective.task}.problems.dev` is 0"
                yield problem(f"`{path}` needs dev problems", value, "add some")
        for name in () if self.finetune.tune is None else self.finetune.tune.axes:
            if f"finetune.{name}" in search.parameters:
                yield problem(
                    "a search may not search what `finetune.tune` chooses",
                    f"`search.parameters` has `finetune.{name}`",
                    f"drop it there, or `finetune.tune.{name}`",
                )
        if search.pruner is not None and self.evaluate.probes is None:
            yield problem("`search.pruner` needs `evaluate.probes`", "there are none", "add it, or drop the pruner")
        if len(search.arms) > search.trials:
            value = f"{search.trials} are fewer than the {len(search.arms)} `search.arms`"
            yield problem("`search.trials` must leave room for the arms", value, "raise it")


def kinds_of(experiment: Experiment) -> list[tuple[str, str, tuple[str, ...]]]:
    """(path, kind, built-in kinds) of everything that may be built in or come from a plugin."""
    kinds: list[tuple[str, str, tuple[str, ...]]]
    kinds = [
        (f"tasks.{name}.kind", task.kind, TASKS)
        for name, task in experiment.tasks.items()
        if not isinstance(task, PoolTaskBlock)
    ]
    candidates = experiment.evaluate.candidates
    if candidates is not None:
        kinds.append(("evaluate.best_of_n.candidates.engine", candidates.engine, ENGINES))
    kinds += [(f"evaluate.{name}", name, EVALUATIONS) for name in experiment.evaluate.others]
    kinds.append(("finetune.loss.kind", experiment.finetune.loss.kind, LOSSES))
    if experiment.pretrain is not None:
        kinds.append(("pretrain.loss.kind", experiment.pretrain.loss.kind, LOSSES))
    return kinds


def models_of(experiment: Experiment) -> Iterator[tuple[str, Any]]:
    """(path, model) of every model from outside that an experiment names."""
    if not isinstance(experiment.model, TinyModel):
        yield "model", experiment.model
    pairs, pool = experiment.pairs, experiment.evaluate.candidates
    if isinstance(pairs, MadePairs):
        if isinstance(pairs.prompt, DescriptionPrompt):
            yield "pairs.prompt.describer.model", pairs.prompt.describer.model
        for name, side in pairs.all_sides.items():
            if isinstance(side, ModelSide):
                yield f"pairs.{name}.model", side.model
    for name, judge in pairs.judges.items():
        if isinstance(judge, ModelJudge):
            yield f"pairs.judges.{name}.model", judge.model
    if pool is not None and pool.writer is not None:
        yield "evaluate.best_of_n.candidates.writer.model", pool.writer.model


def plugin_kinds(experiment: Experiment) -> Sequence[tuple[str, str]]:
    """(path, `package.module:name`) of everything in the experiment that is not built in."""
    kinds = [(path, kind) for path, kind, _ in kinds_of(experiment)]
    if isinstance(experiment.pairs, MadePairs):
        kinds += [(f"pairs.{name}.from", side.origin) for name, side in experiment.pairs.all_sides.items()]
    return [(path, kind) for path, kind in kinds if ":" in kind]


EXPERIMENT_FIELDS = tuple(Experiment.model_fields)


def identity_of(block: BaseModel) -> dict[str, Any]:
    """The block as JSON data with the recipe's own key names."""
    data: Mapping[str, Any] = block.model_dump(mode="json", by_alias=True)
    return dict(data)
