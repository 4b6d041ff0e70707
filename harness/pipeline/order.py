"""Pairs as tokens, and the order in which a training reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from harness.pipeline.graph import Input, Stage
from harness.pipeline.kind import Spec, absent
from harness.pipeline.pair_kinds import TRAIN, Split
from harness.pipeline.pairs import PairStages
from harness.pipeline.tasks import Split as ProblemSplit
from harness.pipeline.tokens import EncodeSpec
from harness.recipe.schema import Experiment

# Of which documents the code pairs of a split are made, none of which is trained on.
_HELD_OUT: Mapping[ProblemSplit, Split] = {"test": "heldout", "dev": "dev"}


class OrderSpec(Spec):
    """In which order a run reads pairs.

    Attributes:
        rows: a permutation, or an order by difficulty, is of so many rows; None where neither needs it.
        first: by difficulty; None by the seed.
        on: what is read: pairs, or texts of the corpus, all of them again and again, each time in another order.
    """

    seed: int
    rows: int | None = absent(None)
    epochs: int = absent(1)
    first: Literal["hardest", "easiest"] | None = absent(None)
    on: Literal["pairs", "corpus"] = absent("pairs")


class OrderStages(PairStages):
    """Adds tokens and order to pairs."""

    def pair_tokens(self, experiment: Experiment) -> Stage[EncodeSpec]:
        """The training pairs as tokens, as many as the recipe asks for most."""
        count = self.rows[self.pair_key(experiment)]
        return self._pair_tokens(experiment, TRAIN, count)

    def replayed_tokens(self, experiment: Experiment) -> Input:
        """The training pairs that fine-tuning draws from: the recipe's first `count`, whatever PMP reads of them."""
        count = experiment.pairs.count
        most = max(count, self.rows[self.pair_key(experiment)])
        return Input(stage=self._pair_tokens(experiment, TRAIN, most), rows=count)

    def heldout_pairs(self, experiment: Experiment, split: ProblemSplit = "test") -> Stage:
        return self.pairs(experiment, _HELD_OUT[split], self._code_pairs(experiment))

    def heldout_tokens(
        self, experiment: Experiment, split: ProblemSplit = "test", *, ended: bool = True
    ) -> Stage[EncodeSpec]:
        """The held-out pairs as tokens; not `ended`: without the end token that only PMP teaches."""
        return self._pair_tokens(experiment, _HELD_OUT[split], self._code_pairs(experiment), ended=ended)

    def _code_pairs(self, experiment: Experiment) -> int:
        assert experiment.evaluate.code_pairs is not None
        return experiment.evaluate.code_pairs.count

    def _pair_tokens(
        self, experiment: Experiment, split: Split, count: int, *, ended: bool = True
    ) -> Stage[EncodeSpec]:
        return self.encode_with(
            self.tokenizer(experiment),
            self.pairs(experiment, split, count),
            content="pairs",
            max_tokens=experiment.pairs.max_tokens,
            limit=count,
            label=f"pairs {split}",
            end_token=experiment.pairs.end_token if ended else "none",
        )

    def pair_order(
        self, experiment: Experiment, seed: int, pairs: int, epochs: int
    ) -> tuple[OrderSpec, dict[str, Input]]:
        """(the order in which `pairs` pairs are read, what it is computed from)."""
        block = experiment.pairs.order
        rows = pairs if epochs > 1 else None  # more pairs an epoch are other second epochs
        if block is None:
            if (
                seed and epochs == 1
            ):  # seed 0 is row order, whose prefixes agree; others draw from the recipe's most rows
                rows = self.rows[self.pair_key(experiment)]
            return OrderSpec(seed=seed, rows=rows, epochs=epochs), {}
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
        return OrderSpec(seed=seed, rows=pairs, epochs=epochs, first=block.first), {"scores": scores}
