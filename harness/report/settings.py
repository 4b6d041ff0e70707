"""What each setting is: how it differs from the recipe's base in words, and what was really trained for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from harness.pipeline.evaluations.pair_accuracy import PairAccuracy
from harness.pipeline.graph import Stage
from harness.pipeline.optimization import steps_of
from harness.pipeline.training_kinds import AVERAGE, BASE
from harness.pipeline.tuning import TUNED, chosen_of
from harness.plan.plan import Plan, PlannedSetting
from harness.plan.rows import Variant
from harness.recipe.schema import EXPERIMENT_FIELDS, Experiment
from harness.report.facts import Facts
from harness.report.status import Statuses
from harness.report.words import DASH, RETRACTED, count, score, task_title, value_text

UNCHANGED = "the recipe as written"

ABSENT = object()

LOSS_TERMS = {"pretrain.loss.rm": "RM loss", "pretrain.loss.lm": "LM loss"}
NOUNS = {
    **LOSS_TERMS,
    "pairs.count": "PMP pairs",
    "finetune.samples": "fine-tuning pairs",
    "model.source": "model",
    "finetune.tasks": "fine-tuned on",
}
BLOCKS = {"pretrain": "PMP", "finetune": "fine-tuning", "pairs": ""}
"""What people call a parameter, else the block that it stands in."""

NOT_TRAINED = ("none", DASH, DASH)

MOST_IN_WORDS = 3
"""Differences named on the leaderboard; all of them stand under Settings."""


@dataclass(frozen=True, kw_only=True)
class SettingFacts:
    """A setting in words.

    Attributes:
        axes: its value on each ablation axis that it depends on.
        differs: how it differs from the base, a phrase each parameter, as the recipe names it.
        words: the same, short and without the recipe's names, such as "LM loss off"; "" where nothing differs.
        pairs: PMP pairs it trains on, in whole global batches; 0 without PMP.
    """

    name: str
    names: tuple[str, ...]
    axes: Mapping[str, str]
    differs: tuple[str, ...]
    words: str
    pairs: int


def setting_facts(plan: Plan) -> tuple[SettingFacts, ...]:
    """Every setting of the plan, in its order."""
    base = resolved(plan.loaded.recipe)
    found = []
    for setting in plan.settings:
        other = resolved(setting.setting.experiment)
        found.append(
            SettingFacts(
                name=setting.name,
                names=setting.names,
                axes=setting.values,
                differs=differences(base, other),
                words=in_words(base, other),
                pairs=pairs_trained(setting.setting.experiment),
            )
        )
    return tuple(found)


def resolved(experiment: Experiment) -> dict[str, Any]:
    """Every parameter of an experiment, defaults included, as the recipe would write it."""
    return experiment.model_dump(mode="json", by_alias=True, include=set(EXPERIMENT_FIELDS))


def pairs_trained(experiment: Experiment) -> int:
    """Whole global batches of the pairs asked for."""
    block = experiment.pretrain
    return 0 if block is None or block.on == "corpus" else steps_of(block, experiment.pairs.count).pairs


def differences(base: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, ...]:
    """How `other` differs from `base`, a phrase a parameter; one phrase where nothing differs."""
    phrases = []
    if base.get("pretrain") is not None and other.get("pretrain") is None:
        phrases.append("no PMP: fine-tuning starts at the base model")
    elif base.get("pretrain") is None and other.get("pretrain") is not None:
        phrases.append("PMP before fine-tuning")
    before, after = flat(base), flat(other)
    if phrases:
        before = {path: value for path, value in before.items() if path.split(".")[0] != "pretrain"}
        after = {path: value for path, value in after.items() if path.split(".")[0] != "pretrain"}
    for path in _changed(before, after):
        if path not in after:
            phrases.append(f"{path} is not set instead of {value_text(before[path])}")
        elif path not in before:
            phrases.append(f"{path} is {value_text(after[path])}")
        else:
            phrases.append(f"{path} is {value_text(after[path])} instead of {value_text(before[path])}")
    return tuple(phrases) or (UNCHANGED,)


def in_words(base: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """How `other` differs from `base`, as the leaderboard says it."""
    phrases, before, after = [], flat(base), flat(other)
    if (base.get("pretrain") is None) != (other.get("pretrain") is None):
        phrases.append("no PMP" if other.get("pretrain") is None else "with PMP")
        before, after = (
            {path: value for path, value in values.items() if path.split(".")[0] != "pretrain"}
            for values in (before, after)
        )

    def owner(path: str) -> str:
        """What is told in one phrase: all of a block that is new, anything else alone."""
        block = path.rpartition(".")[0]
        return block if block in before else path

    for _, paths in groupby(_changed(before, after), owner):
        first, *others = paths
        phrase = _phrase(first, before.get(first), after.get(first))
        more = [f"{path.rpartition('.')[2].replace('_', ' ')} {_short(after[path])}" for path in others]
        phrases.append(f"{phrase} ({'; '.join(more)})" if more else phrase)
    left = len(phrases) - MOST_IN_WORDS
    return ", ".join([*phrases[:MOST_IN_WORDS], *([f"{left:,} more"] if left > 0 else [])])


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The parameters that differ. Of a block that one side lacks: where it is new what is in it, else its name."""
    old, new = [path for path in before if path not in after], [path for path in after if path not in before]
    covered = {path for path in old if any(_within(path, one) or _within(one, path) for one in new)}
    both = dict.fromkeys((*before, *after))
    return [path for path in both if path not in covered and before.get(path, ABSENT) != after.get(path, ABSENT)]


def _within(path: str, block: str) -> bool:
    return path.startswith(f"{block}.")


def _phrase(path: str, before: Any, after: Any) -> str:
    block, _, rest = path.partition(".")
    noun = NOUNS.get(path) or f"{BLOCKS.get(block, block)} {rest}".strip().replace(".", " ").replace("_", " ")
    if after is None or after is False or (path in LOSS_TERMS and after == 0):
        return f"{noun} off"
    if after is True or (path in LOSS_TERMS and before == 0 and after == 1):
        return f"{noun} on"
    return f"{noun} {_short(after)}"


def _short(value: Any) -> str:
    """A value in words; of a long list its beginning."""
    if isinstance(value, list) and len(value) > MOST_IN_WORDS + 1:
        return f"{', '.join(map(value_text, value[:MOST_IN_WORDS]))} and {len(value) - MOST_IN_WORDS:,} more"
    return value_text(value).strip("[]")


def flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{dotted path: value} of nested mappings."""
    found: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def parameters(plan: Plan) -> Facts:
    """Every parameter of the base experiment."""
    rows = flat(resolved(plan.loaded.recipe))
    return Facts(
        title="Base experiment, every parameter",
        columns=("parameter", "value"),
        rows=tuple((path, value_text(value)) for path, value in rows.items()),
        words=(0, 1),
    )


def training_table(plan: Plan, statuses: Statuses) -> Facts:
    """What was really trained: pairs, steps, tokens and the losses at the end, a row a setting."""
    columns = ("", "PMP pairs", "tokens", "PMP loss at the end", "fine-tuning pairs", "tokens", "loss at the end")
    return Facts(
        title="What was trained",
        columns=columns,
        rows=tuple(_training_row(setting, statuses) for setting in plan.settings),
        words=(0, 3, 6),
        note=f"{_base_words(plan, statuses)}Losses at the end are smoothed over the last steps and averaged over "
        "seeds; accuracy is of training pairs. Tokens are those that went through the model, padding not counted; "
        "those of PMP include the trunk's.",
    )


def probe_table(plan: Plan, statuses: Statuses) -> Facts:
    """Pair accuracy along the trunks, a row a setting and number of pairs; no row where nothing was probed."""
    tasks = list(dict.fromkeys(probe.task for variant in plan.variants for probe in variant.probes))
    rows = []
    for setting in plan.settings:
        stages: dict[int, dict[str, list[Stage]]] = {}
        for variant in setting.variants:
            for probe in variant.probes:
                stages.setdefault(probe.pairs, {}).setdefault(probe.task, []).append(probe.stage)
        for pairs, by_task in sorted(stages.items()):
            values = [_probed(by_task.get(task, []), statuses) for task in tasks]
            rows.append((_name(setting, statuses), count(pairs), *values))
    return Facts(
        title="PMP on its way",
        columns=("", "pairs read", *map(task_title, tasks)),
        rows=tuple(rows),
        note="Pair accuracy of states along the stable path, before any decay or fine-tuning, on held-out code pairs "
        "and on dev preferences of the tasks; the mean over pretrain seeds. They choose nothing.",
    )


def tuning_table(plan: Plan, statuses: Statuses) -> Facts:
    """What fine-tuning the settings with `finetune.tune` chose, a row a setting and axis; no row where none has it."""
    rows = []
    for setting in plan.settings:
        stages = [stage for stage in _distinct(one.finetuned for one in setting.variants) if stage.kind is TUNED]
        results = _results(stages, statuses)
        for axis, values in stages[0].spec.axes if stages else ():
            chosen = Counter(result["tries"][result["chosen"]][axis] for result in results)
            told = ", ".join(f"{value_text(value)} in {chosen[value]:,}" for value in values if chosen[value])
            at = Counter(result["edges"][axis] for result in results if axis in result["edges"])
            edge = ", ".join(f"the {end} tried in {number:,} of {len(results):,}" for end, number in at.items())
            best = [result["tries"][result["chosen"]]["value"] for result in results]
            tried = ", ".join(map(value_text, values))
            mean = score(sum(best) / len(best)) if best else DASH
            rows.append((_name(setting, statuses), axis, tried, told or "not done", edge, mean))
    return Facts(
        title="What fine-tuning was chosen on dev problems",
        columns=("", "finetune", "tried", "chosen in runs", "at the end of what was tried", "value on dev"),
        rows=tuple(rows),
        words=range(5),
        note="Each run (PMP seed and fine-tuning seed) chooses for itself. Where most choose an end, better values may "
        "lie beyond it. The value is the chosen fine-tunings' mean over runs, and the highest of several: it is no "
        "estimate of how good they are.",
    )


def _probed(stages: list[Stage], statuses: Statuses) -> str:
    results = _results(_distinct(stages), statuses)
    accuracies = [result["means"][PairAccuracy.headline] for result in results]
    return score(sum(accuracies) / len(accuracies)) if accuracies else DASH


def _base_words(plan: Plan, statuses: Statuses) -> str:
    """What the base models were trained on, a sentence each."""
    results = _results([stage for stage in plan.stages if stage.kind is BASE], statuses)
    return "".join(
        f"The base model ({count(result['parameters'])} parameters) read {count(result['groups_trained'])} texts, "
        f"{count(result['tokens_trained'])} tokens; its loss at the end: {_losses([result])}. "
        for result in results
    )


def _training_row(setting: PlannedSetting, statuses: Statuses) -> tuple[str, ...]:
    pretrained, finetuned = (_results(stages, statuses) for stages in trainings_of(setting.variants, statuses))
    pmp = NOT_TRAINED if setting.setting.experiment.pretrain is None else _trained(pretrained)
    tuning = _trained(finetuned) if any(variant.finetuned for variant in setting.variants) else NOT_TRAINED
    return (_name(setting, statuses), *pmp, *tuning)


def trainings_of(variants: Iterable[Variant], statuses: Statuses) -> tuple[list[Stage], list[Stage]]:
    """The trainings that a setting's models come from: PMP's, and fine-tuning's."""
    many = list(variants)
    pretrained = _runs(_distinct(variant.pretrained for variant in many))
    return pretrained, _chosen(_distinct(variant.finetuned for variant in many), statuses)


def _name(setting: PlannedSetting, statuses: Statuses) -> str:
    """A setting's name, with a word where something its training is made from is retracted."""
    trained = _distinct(stage for one in setting.variants for stage in (one.pretrained, one.finetuned))
    doubtful = any(statuses[stage.fingerprint].retracted for stage in trained)
    return f"{setting.name} ({RETRACTED})" if doubtful else setting.name


def _runs(pretrained: list[Stage]) -> list[Stage]:
    """The trainings that checkpoints come from: of a mean over seeds all, of one over steps how far the run went."""
    found: list[Stage] = []
    for stage in pretrained:
        if stage.kind is AVERAGE:
            inputs = {name: item.stage for name, item in stage.inputs.items()}
            found += [inputs["trunk-0"]] if "trunk-0" in inputs else inputs.values()
        else:
            found.append(stage)
    return found


def _chosen(finetuned: list[Stage], statuses: Statuses) -> list[Stage]:
    """The trainings that models come from: of one that was chosen from several, that one once it is known."""
    found = []
    for stage in finetuned:
        record = statuses[stage.fingerprint].record if stage.kind is TUNED else None
        found.append(stage if record is None else chosen_of(stage, record.result))
    return found


def _distinct(stages: Any) -> list[Stage]:
    return list({stage.fingerprint: stage for stage in stages if stage is not None}.values())


def _results(stages: list[Stage], statuses: Statuses) -> list[Mapping[str, Any]]:
    records = [statuses[stage.fingerprint].record for stage in stages]
    return [record.result for record in records if record is not None]


def _trained(results: list[Mapping[str, Any]]) -> tuple[str, str, str]:
    """Pairs, tokens and losses of a training, each the mean over its seeds."""
    if not results:
        return ("not done", "", "")
    groups, tokens = (
        count(sum(result[name] for result in results) / len(results)) for name in ("groups_trained", "tokens_trained")
    )
    return (groups, tokens, _losses(results))


def _losses(results: list[Mapping[str, Any]]) -> str:
    """Mean over seeds of the smoothed losses and the pair accuracy on the training batches."""
    words = {"loss_rm": "RM", "loss_lm": "LM", "accuracy": "accuracy"}
    told = []
    for name, word in words.items():
        values = [result["last"][name] for result in results if name in result["last"]]
        if values:
            told.append(f"{word} {sum(values) / len(values):.3f}")
    return ", ".join(told)
