"""What stages of preference pairs are: specs and kinds of making, gathering, filtering and rating them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from harness.pipeline.graph import Stage
from harness.pipeline.kind import Basis, Kind, Known, NoSpec, S, Spec, absent
from harness.pipeline.models import PromptedWriterSpec, Writing
from harness.recipe.pairs import (
    LengthMatch,
)
from harness.store.artifacts import Artifact, PairQuality, Pairs, Writings

Split = Literal["train", "heldout", "dev"]
TRAIN: Split = "train"
ASSUMED_IMPORTED_PAIRS = 2_000


class PromptSpec(Spec):
    """What pairs take of a prompt: who described stands among the inputs, and clipped texts only their writers see."""

    origin: Literal["docstring", "description"] = Field(alias="from")
    max_characters: int


class ReferenceSpec(Spec):
    origin: Literal["reference"] = Field(alias="from")


class MutationSpec(Spec):
    origin: Literal["mutation"] = Field(alias="from")
    edits: tuple[int, int]
    kinds: tuple[str, ...]


class WrittenSpec(Spec):
    """What a model wrote stands among the inputs."""

    origin: Literal["model"] = Field(alias="from")


class ShuffledSpec(Spec):
    """`only_functions` where the side that it stands for needs functions, so that both are made of the same ones."""

    origin: Literal["shuffled"] = Field(alias="from")
    only_functions: bool = absent(False)


class PluginSpec(Spec):
    """`source` is the digest of the plugin's code."""

    origin: Annotated[str, Field(alias="from", pattern=":")]
    options: Mapping[str, Any]
    source: str


SideSpec = ReferenceSpec | MutationSpec | WrittenSpec | ShuffledSpec | PluginSpec


class SpanSpec(Spec):
    """A range of a split's construction slots."""

    split: Split
    seed: int
    start: int
    stop: int

    @property
    def slots(self) -> int:
        return self.stop - self.start


class ConstructionSpec(Spec):
    """How pairs are made of a corpus."""

    prompt: PromptSpec
    chosen: SideSpec
    rejected: SideSpec
    match_length: LengthMatch | None = absent(None)
    flip_rate: float = absent(0.0)

    @property
    def mutates(self) -> bool:
        """Whether a side can be made of functions alone."""
        sides = (self.chosen, self.rejected)
        return any(
            side.only_functions if isinstance(side, ShuffledSpec) else side.origin == "mutation" for side in sides
        )


class PairsPartSpec(SpanSpec, ConstructionSpec):
    pass


class PairsKind(Kind[S]):
    """Rows are construction slots, as far as a plan can tell."""

    def groups(self, stage: Stage[S], known: Known) -> float:
        parts = [item.stage for item in stage.inputs.values() if isinstance(item.stage.kind, PairsKind)]
        return sum(part.kind.groups(part, known) for part in parts)


class PairsPartKind(PairsKind[PairsPartSpec]):
    def groups(self, stage: Stage[PairsPartSpec], known: Known) -> float:
        return stage.spec.slots


class GatheredPairs(PairsKind[NoSpec]):
    """Made of its parts' files, which are on disk once."""

    def size(self, stage: Stage[NoSpec], known: Known) -> tuple[float | None, Basis]:
        return 0.0, "measured"


class SplitPairsSpec(Spec):
    split: Split
    seed: int
    heldout: float
    dev: float = absent(0.0)
    flip_rate: float = absent(0.0)

    @property
    def share(self) -> float:
        """Of all pairs, about, since clusters stay whole."""
        held = {"heldout": self.heldout, "dev": self.dev}
        return held.get(self.split, max(0.0, 1 - self.heldout - self.dev))


class SplitPairsKind(PairsKind[SplitPairsSpec]):
    """As large as its share of the import, which is there when a recipe names it."""

    def groups(self, stage: Stage[SplitPairsSpec], known: Known) -> float:
        imported = known.record(stage.inputs["pairs"].stage)
        pairs = ASSUMED_IMPORTED_PAIRS if imported is None else imported.result["groups"]
        return float(stage.spec.share * pairs)

    def payload(self, stage: Stage[SplitPairsSpec], known: Known) -> tuple[float | None, Basis]:
        imported = known.bytes_of(stage.inputs["pairs"].stage)
        return super().payload(stage, known) if imported is None else (stage.spec.share * imported, "measured")


class ConsistentPartSpec(Spec):
    static: bool
    min_agreement: float


class WritingSpec(SpanSpec):
    """Only functions, so that a slot has the same one for every side."""

    only_functions: bool
    writer: PromptedWriterSpec


W = TypeVar("W", bound=WritingSpec)


class WritingsPartSpec(WritingSpec):
    prompt: PromptSpec
    description_share: float
    drafts: int


class DescriptionsPartKind(Writing[WritingSpec]):
    def texts(self, stage: Stage[WritingSpec], known: Known) -> int:
        return stage.spec.slots


class WritingsPartKind(Writing[WritingsPartSpec]):
    def texts(self, stage: Stage[WritingsPartSpec], known: Known) -> int:
        return stage.spec.slots * stage.spec.drafts


class PairQualitySpec(Spec):
    static: bool
    min_consistency: float
    most_pairs: int
    seed: int


PAIRS_PART = PairsPartKind("pairs_part", 1, PairsPartSpec, Pairs, row_bytes=300)
PAIRS = GatheredPairs("pairs", 1, NoSpec, Pairs, dataset=True)
SPLIT_PAIRS = SplitPairsKind("split_pairs", 1, SplitPairsSpec, Pairs, row_bytes=300, dataset=True)
CONSISTENT_PART: PairsKind[ConsistentPartSpec] = PairsKind(
    "consistent_part", 1, ConsistentPartSpec, Pairs, row_bytes=300
)
DESCRIPTIONS_PART = DescriptionsPartKind("descriptions_part", 3, WritingSpec, Writings, accelerated=True, row_bytes=200)
WRITINGS_PART = WritingsPartKind("writings_part", 3, WritingsPartSpec, Writings, accelerated=True, row_bytes=300)
PAIR_QUALITY: Kind[PairQualitySpec] = Kind("pair_quality", 2, PairQualitySpec, PairQuality)
PAIR_GATE: Kind[NoSpec] = Kind("pair_gate", 1, NoSpec, Artifact)
