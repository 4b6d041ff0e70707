"""Preference pairs: which stages make them part by part, filter them, and rate them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.pipeline.corpus import CorpusSpec
from harness.pipeline.graph import Stage
from harness.pipeline.judging import JudgeStages, asked_how
from harness.pipeline.kind import NoSpec
from harness.pipeline.models import PromptedWriterSpec, Writing
from harness.pipeline.pair_kinds import (
    CONSISTENT_PART,
    DESCRIPTIONS_PART,
    PAIR_GATE,
    PAIR_QUALITY,
    PAIRS,
    PAIRS_PART,
    SPLIT_PAIRS,
    TRAIN,
    WRITINGS_PART,
    ConsistentPartSpec,
    ConstructionSpec,
    MutationSpec,
    PairQualitySpec,
    PairsPartSpec,
    PluginSpec,
    PromptSpec,
    ReferenceSpec,
    ShuffledSpec,
    SideSpec,
    Split,
    SplitPairsSpec,
    W,
    WritingsPartSpec,
    WritingSpec,
    WrittenSpec,
)
from harness.recipe.models import DescriptionPrompt, ModelSide, Writer
from harness.recipe.pairs import (
    STATIC,
    DocstringPrompt,
    MadePairs,
    MutationSide,
    PairProperties,
    PluginSide,
    ReferenceSide,
    ShuffledSide,
    Side,
)
from harness.recipe.schema import Experiment
from harness.sources import resolve


class PairStages(JudgeStages):
    """Adds pairs to the data. What makes labels less or more certain, flips, a filter and `train_rejected`, touches
    training pairs only: held-out pairs stay what every arm is judged on."""

    def pair_key(self, experiment: Experiment) -> str:
        """What a setting's pairs have in common with another's, whatever their count, order or end token."""
        return self._once("pair_key", experiment, lambda: self._pair_text(experiment))

    def _pair_text(self, experiment: Experiment) -> str:
        pairs = experiment.pairs
        made = [str(pairs.max_tokens), str(pairs.flip_rate)]
        if pairs.filter is not None:
            made += [self._text(pairs.filter), *(f"{name}={self._text(pairs.judges[name])}" for name in pairs.judges)]
        if isinstance(pairs, MadePairs):
            made += [str(pairs.part_size), str(pairs.spare), self._text(pairs.prompt)]
            made += [f"{name}={self._text(side)}" for name, side in pairs.all_sides.items()]
            made += [] if pairs.match_length is None else [self._text(pairs.match_length)]
        else:
            made += [pairs.imported, str(pairs.heldout), str(pairs.dev)]
        return "|".join([self._corpus_key(experiment), self._text(experiment.model), *made])

    def pairs(self, experiment: Experiment, split: Split, count: int) -> Stage:
        """At least `count` pairs of a split, if their sides can be had."""
        key = ("pairs", self.pair_key(experiment), split, count)
        return self._remember(key, lambda: self._pairs(experiment, split, count))

    def _pairs(self, experiment: Experiment, split: Split, count: int) -> Stage:
        block = experiment.pairs
        flip_rate = block.flip_rate if split == TRAIN else 0.0
        if not isinstance(block, MadePairs):
            dealt = SplitPairsSpec(
                split=split, seed=self.data_seed, heldout=block.heldout, dev=block.dev, flip_rate=flip_rate
            )
            imported = {"pairs": self.imported("pairs", block.imported)}
            whole = self.graph.stage(SPLIT_PAIRS, dealt, imported, label=f"pairs {split}")
            return self._consistent(block, split, whole, f"pairs {split}")
        corpus = self.corpus(experiment)
        sides = block.training_sides if split == TRAIN else block.sides
        made: dict[str, Any] = {
            "prompt": _prompt(block.prompt),
            "chosen": _side(sides["chosen"]),
            "rejected": _side(sides["rejected"], mutates="mutation" in {one.origin for one in block.sides.values()}),
            "match_length": block.match_length,
            "flip_rate": flip_rate,
        }
        construction = ConstructionSpec(**made)
        slots = -(-round(count * (1 + block.spare)) // block.part_size) * block.part_size
        parts = {}
        for index, start in enumerate(range(0, slots, block.part_size)):
            span: dict[str, Any] = {
                "split": split,
                "seed": self.data_seed,
                "start": start,
                "stop": start + block.part_size,
            }
            writings = self._writings(block, sides, corpus, {**span, "only_functions": construction.mutates})
            label = f"pairs {split} part {index + 1}"
            part = self.graph.stage(
                PAIRS_PART, PairsPartSpec(**made, **span), {"corpus": corpus, **writings}, label=label
            )
            parts[f"part-{index:05d}"] = self._consistent(block, split, part, label)
        stream = {
            **construction.identity(),
            "split": split,
            "seed": self.data_seed,
            "part_size": block.part_size,
            "corpus": corpus.fingerprint,
            **self._who_said(block, sides, split),
        }
        return self.graph.stage(PAIRS, NoSpec(), parts, stream=stream, label=f"pairs {split}")

    def _writings(
        self, block: MadePairs, sides: Mapping[str, Side], corpus: Stage[CorpusSpec], span: Mapping[str, Any]
    ) -> dict[str, Stage]:
        """What models write for a range of slots: the descriptions, and each side of theirs."""
        found: dict[str, Stage] = {}
        inputs: dict[str, Stage] = {"corpus": corpus}
        if isinstance(block.prompt, DescriptionPrompt):
            describer = block.prompt.describer
            spec = WritingSpec(**span, writer=self._asked(describer))
            inputs["descriptions"] = found["descriptions"] = self._written(DESCRIPTIONS_PART, spec, describer, inputs)
        for name, side in sides.items():
            if isinstance(side, ModelSide):
                drafts = block.match_length.drafts if block.match_length is not None and name == "rejected" else 1
                asked = WritingsPartSpec(
                    **span,
                    writer=self._asked(side),
                    prompt=_prompt(block.prompt),
                    description_share=side.description_share,
                    drafts=drafts,
                )
                found[name] = self._written(WRITINGS_PART, asked, side, inputs)
        return found

    def _who_said(self, block: MadePairs, sides: Mapping[str, Side], split: Split) -> dict[str, Any]:
        """What of a pair stream stands among the inputs of its parts and not in their specs."""
        writers: dict[str, Writer] = {name: side for name, side in sides.items() if isinstance(side, ModelSide)}
        if isinstance(block.prompt, DescriptionPrompt):
            writers["descriptions"] = block.prompt.describer
        told: dict[str, Any] = {}
        if writers:
            told["writers"] = {
                name: {
                    "model": self.pretrained(writer.model).fingerprint,
                    "writer": PromptedWriterSpec.of(writer).identity(),
                    "description_share": writer.description_share if isinstance(writer, ModelSide) else 1.0,
                }
                for name, writer in writers.items()
            }
        if split == TRAIN and block.filter is not None:
            judges = {
                name: self.judge_model(block.judges[name]) for name in self.model_judges(block, block.filter.judges)
            }
            told["filter"] = {
                "spec": self._filter_spec(block).identity(),
                "judges": {
                    name: {**asked_how(asked), "model": model.fingerprint} for name, (asked, model) in judges.items()
                },
            }
        return told

    def _written(self, kind: Writing[W], spec: W, writer: Writer, inputs: Mapping[str, Stage]) -> Stage[W]:
        model = self.pretrained(writer.model)
        what = kind.name.partition("_")[0]
        return self.graph.stage(
            kind,
            spec,
            {**inputs, "model": model},
            label=f"{what} {model.label.removeprefix('model ')} {spec.split} {spec.start:,}",
            affinity=self._once(f"affinity {model.fingerprint}", spec.writer, lambda: spec.writer.affinity(model)),
        )

    def _asked(self, writer: Writer) -> PromptedWriterSpec:
        """How a model is asked: one object for all parts."""
        return self._remember(("asked", self._text(writer)), lambda: PromptedWriterSpec.of(writer))

    # ------------------------------------------------------------------------------------------ filter and judges

    def _consistent(self, block: PairProperties, split: Split, pairs: Stage, label: str) -> Stage:
        """The training pairs whose judges agree with the label, where a filter is asked for; else all."""
        if split != TRAIN or block.filter is None:
            return pairs
        judged = self.judgements(block, block.filter.judges, pairs, None, label)
        return self.graph.stage(
            CONSISTENT_PART, self._filter_spec(block), {"pairs": pairs, **judged}, label=f"consistent {label}"
        )

    def _filter_spec(self, block: PairProperties) -> ConsistentPartSpec:
        assert block.filter is not None
        names = block.judges_of(block.filter.judges)
        return ConsistentPartSpec(static=STATIC in names, min_agreement=block.filter.min_agreement)

    def pair_quality(self, experiment: Experiment) -> Stage[PairQualitySpec]:
        """What the training pairs are worth. Read by no training, so that looking changes nothing trained."""
        pairs = experiment.pairs
        block = pairs.quality
        judges = [f"{name}={self._text(pairs.judges[name])}" for name in self.model_judges(pairs, block.judges)]

        def build() -> Stage[PairQualitySpec]:
            made = self.pairs(experiment, TRAIN, self.rows[self.pair_key(experiment)])
            spec = PairQualitySpec(
                static=STATIC in pairs.judges_of(block.judges),
                min_consistency=block.min_consistency,
                most_pairs=block.most_pairs,
                seed=self.data_seed,
            )
            inputs = {"pairs": made, **self.judgements(pairs, block.judges, made, block.most_pairs, made.label)}
            return self.graph.stage(PAIR_QUALITY, spec, inputs, label="quality of pairs train")

        return self._remember(("pair_quality", self.pair_key(experiment), self._text(block), *judges), build)

    def pair_gate(self, experiment: Experiment) -> Stage[NoSpec]:
        """Fails where the training pairs are found wanting; pretraining waits for it without reading it."""
        return self.graph.stage(
            PAIR_GATE, NoSpec(), {"quality": self.pair_quality(experiment)}, label="gate of pairs train"
        )

    def checks(self, experiment: Experiment) -> tuple[Stage, ...]:
        """What looks at a setting's training pairs: their quality, and with `on_fail: stop` the gate."""
        if not experiment.reads_pairs:
            return ()
        quality = self.pair_quality(experiment)
        return (quality, self.pair_gate(experiment)) if experiment.pairs.quality.on_fail == "stop" else (quality,)


def _prompt(prompt: DocstringPrompt | DescriptionPrompt) -> PromptSpec:
    return PromptSpec(origin=prompt.origin, max_characters=prompt.max_characters)


def _side(side: Side, *, mutates: bool = False) -> SideSpec:
    """What pairs take of a side; `mutates` where the recipe's sides can be made of functions alone."""
    match side:
        case ModelSide():
            return WrittenSpec(origin=side.origin)
        case ReferenceSide():
            return ReferenceSpec(origin=side.origin)
        case MutationSide():
            return MutationSpec(origin=side.origin, edits=side.edits, kinds=side.kinds)
        case ShuffledSide():
            return ShuffledSpec(origin=side.origin, only_functions=mutates)
        case PluginSide():
            source = resolve.plugin_digest(side.origin)
            return PluginSpec(origin=side.origin, options=side.options, source=source)
