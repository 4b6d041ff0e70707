"""Stages of preference pairs: making them part by part, filtering, judging, their tokens and their order.

Everything that enters a `spec` here is identity. Nothing of `runtime` may be read in this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.plan import sources
from harness.plan.data_stages import DataStages, writer_affinity, writer_spec
from harness.plan.graph import Input, Stage
from harness.recipe.models import DescriptionPrompt, Judge, ModelJudge, ModelSide, Writer
from harness.recipe.pairs import (
    STATIC,
    DocstringPrompt,
    MadePairs,
    MutationSide,
    PairProperties,
    PluginSide,
    Side,
)
from harness.recipe.schema import Experiment, identity_of

TRAIN = "train"


class PairStages(DataStages):
    """Adds pairs to the data. What makes labels less or more certain, flips and a filter, touches training pairs only:
    held-out pairs stay what every arm is judged on."""

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
            made += [f"{name}={self._text(side)}" for name, side in pairs.sides.items()]
            made += [] if pairs.match_length is None else [self._text(pairs.match_length)]
        else:
            made += [pairs.imported, str(pairs.heldout)]
        return "|".join([self._corpus_key(experiment), self._text(experiment.model), *made])

    def pairs(self, experiment: Experiment, split: str, count: int) -> Stage:
        """At least `count` pairs of a split, as far as their sides could be had."""
        key = ("pairs", self.pair_key(experiment), split, count)
        if key not in self._memory:
            self._memory[key] = self._pairs(experiment, split, count)
        return self._memory[key]

    def _pairs(self, experiment: Experiment, split: str, count: int) -> Stage:
        block = experiment.pairs
        common: dict[str, Any] = {"split": split, "seed": self.data_seed}
        if split == TRAIN and block.flip_rate:
            common["flip_rate"] = block.flip_rate
        if not isinstance(block, MadePairs):
            spec = {**common, "heldout": block.heldout}
            imported = {"pairs": self.imported("pairs", block.imported)}
            whole = self.graph.stage("split_pairs", spec, imported, label=f"pairs {split}")
            return self._consistent(block, split, whole, f"pairs {split}")
        corpus = self.corpus(experiment)
        spec = {**common, "prompt": _prompt(block.prompt)}
        spec |= {name: _side(side) for name, side in block.sides.items()}
        if block.match_length is not None:
            spec["match_length"] = identity_of(block.match_length)
        slots = -(-round(count * (1 + block.spare)) // block.part_size) * block.part_size
        parts = {}
        for index, start in enumerate(range(0, slots, block.part_size)):
            span = {"split": split, "seed": self.data_seed, "start": start, "stop": start + block.part_size}
            inputs = {"corpus": corpus, **self._writings(block, corpus, span)}
            label = f"pairs {split} part {index + 1}"
            part = self.graph.stage("pairs_part", {**spec, **span}, inputs, label=label)
            parts[f"part-{index:05d}"] = self._consistent(block, split, part, label)
        stream = {**spec, "part_size": block.part_size, "corpus": corpus.fingerprint, **self._who_said(block, split)}
        return self.graph.stage("pairs", {}, parts, stream=stream, label=f"pairs {split}")

    def _writings(self, block: MadePairs, corpus: Stage, span: Mapping[str, Any]) -> dict[str, Stage]:
        """What models write for a range of slots: the descriptions, and each side of theirs."""
        found: dict[str, Stage] = {}
        described: dict[str, Stage] = {"corpus": corpus}
        mutates = any(isinstance(side, MutationSide) for side in block.sides.values())
        span = {**span, "only_functions": mutates}  # so that a slot has the same function everywhere
        if isinstance(block.prompt, DescriptionPrompt):
            found["descriptions"] = self._written("descriptions_part", block.prompt.describer, described, span)
            described["descriptions"] = found["descriptions"]
        for name, side in block.sides.items():
            if isinstance(side, ModelSide):
                drafts = block.match_length.drafts if block.match_length is not None and name == "rejected" else 1
                spec = {**span, "prompt": _prompt(block.prompt), "description_share": side.description_share}
                found[name] = self._written("writings_part", side, described, {**spec, "drafts": drafts})
        return found

    def _who_said(self, block: MadePairs, split: str) -> dict[str, Any]:
        """What of a pair stream stands among the inputs of its parts and not in their specs."""
        writers: dict[str, Writer] = {name: side for name, side in block.sides.items() if isinstance(side, ModelSide)}
        if isinstance(block.prompt, DescriptionPrompt):
            writers["descriptions"] = block.prompt.describer
        told: dict[str, Any] = {}
        if writers:
            told["writers"] = {
                name: {
                    "model": self.pretrained(writer.model).fingerprint,
                    "writer": writer_spec(writer),
                    "description_share": writer.description_share if isinstance(writer, ModelSide) else 1.0,
                }
                for name, writer in writers.items()
            }
        if split == TRAIN and block.filter is not None:
            judges = {name: self._judge(block.judges[name]) for name in self._asked(block, block.filter.judges)}
            told["filter"] = {
                "spec": self._filter_spec(block),
                "judges": {name: {**spec, "model": model.fingerprint} for name, (spec, model) in judges.items()},
            }
        return told

    def _written(self, kind: str, writer: Writer, inputs: Mapping[str, Stage], spec: Mapping[str, Any]) -> Stage:
        model = self.pretrained(writer.model)
        asked = writer_spec(writer)
        return self.graph.stage(
            kind,
            {**spec, "writer": asked},
            {**inputs, "model": model},
            label=f"{kind.partition('_')[0]} {model.label.removeprefix('model ')} {spec['split']} {spec['start']:,}",
            affinity=writer_affinity(model, asked),
        )

    # ------------------------------------------------------------------------------------------ filter and judges

    def _consistent(self, block: PairProperties, split: str, pairs: Stage, label: str) -> Stage:
        """The training pairs whose judges agree with the label, where a filter is asked for; else all."""
        if split != TRAIN or block.filter is None:
            return pairs
        judged = self._judgements(block, block.filter.judges, pairs, None, label)
        return self.graph.stage(
            "consistent_part", self._filter_spec(block), {"pairs": pairs, **judged}, label=f"consistent {label}"
        )

    def _filter_spec(self, block: PairProperties) -> dict[str, Any]:
        assert block.filter is not None
        names = block.judges_of(block.filter.judges)
        return {"static": STATIC in names, "min_agreement": block.filter.min_agreement}

    def _asked(self, block: PairProperties, names: tuple[str, ...] | None) -> list[str]:
        """The judges that are models."""
        return [name for name in block.judges_of(names) if name != STATIC]

    def _judgements(
        self, block: PairProperties, names: tuple[str, ...] | None, pairs: Stage, most: int | None, label: str
    ) -> dict[str, Stage]:
        """What each model judge says of `most` drawn pairs, or of all."""
        found = {}
        for name in self._asked(block, names):
            asked, model = self._judge(block.judges[name])
            writes = "writer" in asked
            found[f"judgements-{name}"] = self.graph.stage(
                "judgements",
                {**asked, "most_pairs": most, "seed": self.data_seed},
                {"pairs": pairs, "model" if writes else "checkpoint": model},
                label=f"judge {name} of {label}",
                affinity=writer_affinity(model, asked["writer"]) if writes else model.fingerprint,
            )
        return found

    def _judge(self, judge: Judge) -> tuple[dict[str, Any], Stage]:
        """(how it is asked, as identity; the stage of its model)."""
        if isinstance(judge, ModelJudge):
            return {"writer": writer_spec(judge)}, self.pretrained(judge.model)
        return {"reads": {"text": judge.text, "max_tokens": judge.max_tokens}}, self.imported(
            "checkpoint", judge.checkpoint
        )

    def pair_quality(self, experiment: Experiment) -> Stage:
        """What the training pairs are worth. Read by no training, so that looking changes nothing trained."""
        pairs = experiment.pairs
        block = pairs.quality
        judges = [f"{name}={self._text(pairs.judges[name])}" for name in self._asked(pairs, block.judges)]
        key = ("pair_quality", self.pair_key(experiment), self._text(block), *judges)
        if key not in self._memory:
            made = self.pairs(experiment, TRAIN, self.rows[self.pair_key(experiment)])
            spec = {
                "static": STATIC in pairs.judges_of(block.judges),
                "min_consistency": block.min_consistency,
                "most_pairs": block.most_pairs,
                "seed": self.data_seed,
            }
            inputs = {"pairs": made, **self._judgements(pairs, block.judges, made, block.most_pairs, made.label)}
            self._memory[key] = self.graph.stage("pair_quality", spec, inputs, label="quality of pairs train")
        return self._memory[key]

    def pair_gate(self, experiment: Experiment) -> Stage:
        """Fails where the training pairs are found wanting; pretraining waits for it without reading it."""
        quality = self.pair_quality(experiment)
        key = ("pair_gate", quality.fingerprint)
        if key not in self._memory:
            self._memory[key] = self.graph.stage("pair_gate", {}, {"quality": quality}, label="gate of pairs train")
        return self._memory[key]

    def checks(self, experiment: Experiment) -> tuple[Stage, ...]:
        """What looks at a setting's training pairs: their quality, and with `on_fail: stop` the gate."""
        if experiment.pretrain is None:
            return ()
        quality = self.pair_quality(experiment)
        return (quality, self.pair_gate(experiment)) if experiment.pairs.quality.on_fail == "stop" else (quality,)

    # ------------------------------------------------------------------------------------------ tokens and order

    def pair_tokens(self, experiment: Experiment) -> Stage:
        """The training pairs as tokens, as many as the recipe asks for most."""
        count = self.rows[self.pair_key(experiment)]
        return self._pair_tokens(experiment, TRAIN, count)

    def heldout_pairs(self, experiment: Experiment) -> Stage:
        return self.pairs(experiment, "heldout", self._code_pairs(experiment))

    def heldout_tokens(self, experiment: Experiment) -> Stage:
        return self._pair_tokens(experiment, "heldout", self._code_pairs(experiment))

    def _code_pairs(self, experiment: Experiment) -> int:
        assert experiment.evaluate.code_pairs is not None
        return experiment.evaluate.code_pairs.count

    def _pair_tokens(self, experiment: Experiment, split: str, count: int) -> Stage:
        return self.encode_with(
            self.tokenizer(experiment),
            self.pairs(experiment, split, count),
            content="pairs",
            max_tokens=experiment.pairs.max_tokens,
            limit=count,
            label=f"pairs {split}",
            end_token=experiment.pairs.end_token,
        )

    def pair_order(
        self, experiment: Experiment, seed: int, pairs: int, epochs: int
    ) -> tuple[dict[str, Any], dict[str, Input]]:
        """(spec of the order in which `pairs` pairs are read, what it is computed from)."""
        order: dict[str, Any] = {"seed": seed}
        if epochs > 1:  # more pairs an epoch are other second epochs
            order |= {"rows": pairs, "epochs": epochs}
        block = experiment.pairs.order
        if block is None:
            if (
                seed and epochs == 1
            ):  # seed 0 is row order, whose prefixes agree; others draw from the recipe's most rows
                order["rows"] = self.rows[self.pair_key(experiment)]
            return order, {}
        checkpoint = self.imported("checkpoint", block.checkpoint)
        made = self.pairs(experiment, TRAIN, self.rows[self.pair_key(experiment)])
        label = f"{block.checkpoint} on {made.label}"
        tokens = self.encode_with(
            checkpoint,
            made,
            content="pairs",
            max_tokens=block.max_tokens,
            limit=None,
            label=f"{made.label} for {block.checkpoint}",
            text=block.text,
        )
        scores = Input(stage=self.scored(experiment, checkpoint, tokens, label), rows=pairs)
        # Sorting more pairs is another order of the first ones, so that each count has a trunk of its own.
        return {**order, "rows": pairs, "first": block.first}, {"scores": scores}


def _prompt(prompt: DocstringPrompt | DescriptionPrompt) -> dict[str, Any]:
    """What pairs take of a prompt: who described stands among the inputs, and clipped texts only their writers see."""
    return {"from": prompt.origin, "max_characters": prompt.max_characters}


def _side(side: Side) -> dict[str, Any]:
    """What pairs take of a side: what a model wrote stands among the inputs."""
    if isinstance(side, ModelSide):
        return {"from": side.origin}
    spec = identity_of(side)
    if isinstance(side, PluginSide):
        spec["source"] = sources.plugin_digest(side.origin)
    return spec
