"""Preference pairs: where prompt and sides come from, what is done to the pairs, and who looks at them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from harness.recipe.fields import (
    MOST_PARTS,
    MOST_TOKENS,
    Block,
    Count,
    Fraction,
    Name,
    Names,
    Options,
    PluginName,
    as_tuple,
    problem,
    refuse,
    without_nulls,
)
from harness.recipe.models import CodeWriter, DescriptionPrompt, ImportedRewardModel, Judge, ModelSide


class DocstringPrompt(Block):
    """The description that the corpus has: a docstring, a leading comment, a column."""

    origin: Literal["docstring"] = Field(alias="from")
    max_characters: Annotated[int, Field(ge=1, le=100_000)] = Field(
        200, description="Length at which a description is cut."
    )


Prompt = Annotated[DocstringPrompt | DescriptionPrompt, Field(discriminator="origin")]


class ReferenceSide(Block):
    """The document of the corpus as it is."""

    origin: Literal["reference"] = Field(alias="from")


class ShuffledSide(Block):
    """The chosen side with its words and signs in random order, between the same spaces: a control."""

    origin: Literal["shuffled"] = Field(alias="from")


USUAL_KINDS = ("arithmetic", "comparison", "boolean", "constant", "variable", "statement", "arguments")
MUTATION_KINDS = (*USUAL_KINDS, "order")


class MutationSide(Block):
    """The reference with semantic edits."""

    origin: Literal["mutation"] = Field(alias="from")
    edits: Annotated[
        tuple[Annotated[int, Field(ge=1, le=20)], Annotated[int, Field(ge=1, le=20)]], BeforeValidator(as_tuple)
    ] = Field((1, 3), description="Fewest and most edits a function.")
    kinds: Annotated[tuple[Literal[MUTATION_KINDS], ...], BeforeValidator(as_tuple), Field(min_length=1)] = Field(  # type: ignore[valid-type]
        USUAL_KINDS, description="Kinds of edits that are drawn from, by default all but `order`; see docs/pairs.md."
    )

    @model_validator(mode="after")
    def _ordered(self) -> MutationSide:
        if self.edits[0] > self.edits[1]:
            raise problem("`edits` is [fewest, most]", f"{list(self.edits)} is not ascending", "swap them")
        return self


class PluginSide(Block):
    """A side made by the recipe's own code, `(function, rng, **options) -> str | None`; see docs/extending.md."""

    origin: PluginName = Field(
        alias="from", description="`package.module:name`, from a package listed under `plugins`."
    )
    options: Options = Field(default_factory=dict, description="Keyword arguments of the function.")


def _side_tag(value: Any) -> str:
    origin = value.get("from") if isinstance(value, Mapping) else getattr(value, "origin", None)
    return "plugin" if isinstance(origin, str) and ":" in origin else str(origin)


def _known(value: Any) -> Any:
    if _side_tag(value) not in ORIGINS:
        rule = "a side's `from` must be `reference`, `mutation`, `model`, `shuffled` or `package.module:name`"
        origin = value.get("from") if isinstance(value, Mapping) else None
        raise problem(rule, "there is none" if origin is None else f"it is {origin!r}", "set `from`")
    return value


ORIGINS = ("reference", "mutation", "model", "shuffled", "plugin")

Side = Annotated[
    Annotated[ReferenceSide, Tag("reference")]
    | Annotated[MutationSide, Tag("mutation")]
    | Annotated[ModelSide, Tag("model")]
    | Annotated[ShuffledSide, Tag("shuffled")]
    | Annotated[PluginSide, Tag("plugin")],
    Discriminator(_side_tag),
    BeforeValidator(_known),
]


STATIC = "static"
"""The judge there always is: it counts visible defects and runs nothing."""

JudgeNames = Annotated[Names | None, Field(description="`static`, or names of `judges`. Default: all there are.")]


class Quality(Block):
    """How pairs are looked at before they are trained on, and what happens where they are found wanting."""

    judges: JudgeNames = None
    min_consistency: Fraction = Field(
        0.70,
        description="Agreement of a judge's preferences with the labels: fails if the whole interval is below it.",
    )
    on_fail: Literal["warn", "stop"] = Field(
        "warn", description="`stop`: nothing is pretrained on pairs that fail or are degenerate."
    )
    most_pairs: Annotated[int, Field(ge=100, le=1_000_000)] = Field(
        2_000,
        description="Pairs drawn for judges and separability. All are counted, a million at most parsed and compared.",
    )


class ConsistencyFilter(Block):
    """Only pairs whose judges agree with the label are kept; one that no judge has a say on stays."""

    judges: JudgeNames = None
    min_agreement: Fraction = Field(
        0.5, description="Least mean over the judges, each 1 where it prefers the chosen side, 0.5 on a tie, else 0."
    )


class LengthMatch(Block):
    """Of several drafts of the rejected side the one closest in length to the chosen: length is to tell less."""

    drafts: Annotated[int, Field(ge=2, le=64)] = Field(4, description="Drafts of the rejected side a slot.")
    tolerance: Annotated[float, Field(ge=0.0, le=10.0)] = Field(
        0.25, description="Largest difference as a share of the chosen side's characters; without one, no pair."
    )


class DifficultyOrder(ImportedRewardModel):
    """Pairs in order of how clearly a given reward model tells their sides apart, instead of an order by the seed."""

    first: Literal["hardest", "easiest"] = Field("easiest", description="Which pairs training reads first.")


class PairProperties(Block):
    """What any pairs have, made here or imported."""

    count: Count = Field(description="Pairs trained on.")
    max_tokens: Annotated[int, Field(ge=8, le=MOST_TOKENS)] = Field(
        256,
        description="Of prompt and response together. The prompt is cut to fit; a pair whose responses alone do not "
        "fit is left out.",
    )
    flip_rate: Fraction = Field(0.0, description="Share of training pairs whose label is turned round; 0.5 is a coin.")
    filter: ConsistencyFilter | None = Field(None, description="Default: every pair is kept.")
    order: DifficultyOrder | None = Field(None, description="Default: an order by the pretrain seed.")
    end_token: Literal["none", "eos", "end_of_code"] = Field(
        "none", description="What ends both sides: nothing, the tokenizer's end of text, or `<|end_of_code|>`."
    )
    judges: Annotated[
        dict[Name, Judge], BeforeValidator(without_nulls, json_schema_input_type=dict[Name, Judge | None])
    ] = Field(default_factory=dict, description="Judges beside `static`.")
    quality: Quality = Field(Quality(), description="The look at pairs before training.")

    @model_validator(mode="after")
    def _judges_exist(self) -> PairProperties:
        refuse(self._unknown_judges())
        return self

    def _unknown_judges(self) -> Iterator[PydanticCustomError]:
        if STATIC in self.judges:
            yield problem(f"a judge must not be called `{STATIC}`", "that one is built in", "rename it")
        known = (STATIC, *self.judges)
        asked = {"quality": self.quality.judges, "filter": None if self.filter is None else self.filter.judges}
        for owner, names in asked.items():
            for name in names or ():
                if name not in known:
                    yield problem(
                        f"`{owner}.judges` must name judges", f"{name!r} is not one of {', '.join(known)}", "correct it"
                    )

    def judges_of(self, names: tuple[str, ...] | None) -> tuple[str, ...]:
        """The judges that `quality` or `filter` asks for."""
        return (STATIC, *self.judges) if names is None else names


class MadePairs(PairProperties):
    """Pairs that are made from the corpus: one prompt, a chosen and a rejected response."""

    prompt: Prompt = Field(description="The text before both sides.")
    train_rejected: Side | None = Field(
        None,
        description="Rejected side of the training pairs alone: held-out pairs, which judge every setting, keep "
        "`rejected`. Default: `rejected`.",
    )
    match_length: LengthMatch | None = Field(None, description="Default: one draft, whatever its length.")
    part_size: Count = Field(
        2_000,
        description="Construction slots a part. Each reads the corpus once: of one of millions, take 50,000.",
    )
    spare: Annotated[float, Field(ge=0.0, le=10.0)] = Field(
        0.2, description="Extra share of slots tried, so that rejected ones can be replaced."
    )

    @property
    def sides(self) -> dict[str, Side]:
        """chosen and rejected, by these names; of training pairs see `training_sides`."""
        raise NotImplementedError

    @property
    def training_sides(self) -> dict[str, Side]:
        return self.sides if self.train_rejected is None else {**self.sides, "rejected": self.train_rejected}

    @property
    def all_sides(self) -> dict[str, Side]:
        """Those of both, by the recipe's keys."""
        return self.sides if self.train_rejected is None else {**self.sides, "train_rejected": self.train_rejected}

    @model_validator(mode="after")
    def _few_parts(self) -> MadePairs:
        parts = round(self.count * (1 + self.spare)) // self.part_size
        if parts > MOST_PARTS:
            raise problem(
                f"pairs may be made in {MOST_PARTS:,} parts",
                f"`part_size` = {self.part_size:,} makes {parts:,}",
                "raise it",
            )
        return self

    @model_validator(mode="after")
    def _drafts_differ(self) -> MadePairs:
        rejected = (self.sides["rejected"], self.train_rejected)
        if self.match_length is not None and any(isinstance(side, ReferenceSide) for side in rejected):
            raise problem(
                "`match_length` needs a rejected side with several drafts", "the reference is one text", "drop it"
            )
        return self

    @model_validator(mode="after")
    def _trains_on_two_sides(self) -> MadePairs:
        if self.train_rejected is not None and self.train_rejected == self.sides["chosen"]:
            raise problem(
                "`train_rejected` must differ from the chosen side", "both are made alike", "change one of them"
            )
        return self


class Pairs(MadePairs):
    """Each side chosen by itself."""

    chosen: Side = Field(description="The better side.")
    rejected: Side = Field(description="The worse side.")

    @property
    def sides(self) -> dict[str, Side]:
        return {"chosen": self.chosen, "rejected": self.rejected}

    @model_validator(mode="after")
    def _different(self) -> Pairs:
        if self.chosen == self.rejected:
            raise problem("`chosen` and `rejected` must differ", "both sides are made alike", "change one side")
        if isinstance(self.chosen, ShuffledSide):
            raise problem(
                "only the rejected side can be shuffled, of the chosen one", "`chosen.from` is shuffled", "change it"
            )
        return self


# The six constructions of CodePMP's ablation, after the names of its scripts: who writes chosen and who rejected, and
# whether the latter sees a clipped description.
CONSTRUCTIONS = {
    "reference-weak": ("reference", "weak", False),  # 1b
    "reference-strong": ("reference", "strong", False),  # 7b
    "reference-weak-clipped": ("reference", "weak", True),  # 1b_des_clip
    "strong-weak": ("strong", "weak", False),  # 7b_1b, the paper's main one
    "weak-weak-clipped": ("weak", "weak", True),  # 1b_1b_des_clip
    "strong-weak-clipped": ("strong", "weak", True),  # 7b_1b_des_clip
}


class NamedPairs(MadePairs):
    """A construction by name, between the reference, a strong writer and a weak one."""

    construction: Literal[tuple(CONSTRUCTIONS)] = Field(  # type: ignore[valid-type]
        description="Who writes chosen and who rejected; `clipped`: the latter sees a clipped description."
    )
    strong: CodeWriter | None = Field(None, description="The strong writer; needed where the construction names it.")
    weak: CodeWriter | None = Field(None, description="The weak writer; needed where the construction names it.")
    clip: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        0.5, description="How much of the description a writer sees where it is clipped."
    )
    chosen: None = Field(None, description="The construction says it.")
    rejected: None = Field(None, description="The construction says it.")

    @cached_property
    def sides(self) -> dict[str, Side]:
        better, worse, clipped = CONSTRUCTIONS[self.construction]
        return {"chosen": self._side(better, 1.0), "rejected": self._side(worse, self.clip if clipped else 1.0)}

    def _side(self, who: str, share: float) -> Side:
        if who == "reference":
            return ReferenceSide.model_validate({"from": "reference"})
        writer = getattr(self, who)
        if writer is None:
            raise problem(f"`construction: {self.construction}` needs `{who}`", "it is missing", "add the writer")
        return ModelSide.model_validate({"from": "model", "description_share": share, **dict(writer)})

    @model_validator(mode="before")
    @classmethod
    def _sides_by_name(cls, data: Any) -> Any:
        given = [side for side in ("chosen", "rejected") if isinstance(data, Mapping) and data.get(side) is not None]
        if given:
            raise problem(
                "`construction` replaces `chosen` and `rejected`",
                f"`{given[0]}` is there too",
                f"set `{given[0]}: null`",
            )
        return data

    @model_validator(mode="after")
    def _writers_exist(self) -> NamedPairs:
        for who in CONSTRUCTIONS[self.construction][:2]:
            self._side(who, 1.0)  # raises where it is missing
        return self


class ImportedPairs(PairProperties):
    """Published preference pairs, see `harness import pairs`; each cluster is either trained on or held out."""

    imported: Name = Field(alias="import", description="Name of imported pairs.")
    heldout: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(0.1, description="Share kept for `evaluate.code_pairs`.")
    dev: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        0.0, description="Share kept for choosing settings (`search`), beside the held-out one."
    )

    @model_validator(mode="after")
    def _leaves_something(self) -> ImportedPairs:
        if self.heldout + self.dev >= 1.0:
            told = f"{self.heldout:g} + {self.dev:g} is all"
            raise problem("`heldout` and `dev` must leave something to train on", told, "lower them")
        return self


def _pairs_tag(value: Any) -> str:
    kinds: tuple[tuple[str, type[Block]], ...] = (("import", ImportedPairs), ("construction", NamedPairs))
    for key, kind in kinds:
        if key in value if isinstance(value, Mapping) else isinstance(value, kind):
            return kind.__name__
    return Pairs.__name__


AnyPairs = Annotated[
    Annotated[Pairs, Tag("Pairs")]
    | Annotated[NamedPairs, Tag("NamedPairs")]
    | Annotated[ImportedPairs, Tag("ImportedPairs")],
    Discriminator(_pairs_tag),
]
