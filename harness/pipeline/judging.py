"""What judges say of pairs: models asked in words, and imported reward models."""

from __future__ import annotations

from typing import Any

from harness.pipeline.graph import Stage
from harness.pipeline.kind import Known, Spec, absent
from harness.pipeline.models import PromptedWriterSpec, Writing
from harness.pipeline.tokens import Text, TokenStages
from harness.recipe.models import Judge, ModelJudge
from harness.recipe.pairs import STATIC, PairProperties
from harness.store.artifacts import Judgements


class ReadsSpec(Spec):
    """How an imported reward model reads a text."""

    text: Text
    max_tokens: int


class JudgementsSpec(Spec):
    """A model asked in words has a `writer`, an imported reward model `reads`."""

    writer: PromptedWriterSpec | None = absent(None)
    reads: ReadsSpec | None = absent(None)
    most_pairs: int | None
    seed: int


class JudgementsKind(Writing[JudgementsSpec]):
    reads = 3.0  # the prompt and both sides

    def texts(self, stage: Stage[JudgementsSpec], known: Known) -> int:
        """Two a pair, one in either order."""
        pairs, most = stage.inputs["pairs"].stage, stage.spec.most_pairs
        slots = int(pairs.kind.groups(pairs, known))
        return 2 * (slots if most is None else min(slots, most))


JUDGEMENTS = JudgementsKind("judgements", 2, JudgementsSpec, Judgements, accelerated=True, row_bytes=20)


class JudgeStages(TokenStages):
    """Adds judges to what they judge."""

    def model_judges(self, block: PairProperties, names: tuple[str, ...] | None) -> list[str]:
        """The judges that are models."""
        return [name for name in block.judges_of(names) if name != STATIC]

    def judgements(
        self, block: PairProperties, names: tuple[str, ...] | None, pairs: Stage, most: int | None, label: str
    ) -> dict[str, Stage[JudgementsSpec]]:
        """What each model judge says of `most` drawn pairs, or of all."""
        found = {}
        for name in self.model_judges(block, names):
            asked, model = self.judge_model(block.judges[name])
            writer = asked if isinstance(asked, PromptedWriterSpec) else None
            reads = asked if isinstance(asked, ReadsSpec) else None
            found[f"judgements-{name}"] = self.graph.stage(
                JUDGEMENTS,
                JudgementsSpec(writer=writer, reads=reads, most_pairs=most, seed=self.data_seed),
                {"pairs": pairs, "checkpoint" if writer is None else "model": model},
                label=f"judge {name} of {label}",
                affinity=model.fingerprint if writer is None else writer.affinity(model),
            )
        return found

    def judge_model(self, judge: Judge) -> tuple[PromptedWriterSpec | ReadsSpec, Stage]:
        """(how it is asked, the stage of its model)."""
        if isinstance(judge, ModelJudge):
            return PromptedWriterSpec.of(judge), self.pretrained(judge.model)
        reads = ReadsSpec(text=judge.text, max_tokens=judge.max_tokens)
        return reads, self.imported("checkpoint", judge.checkpoint)


def asked_how(asked: PromptedWriterSpec | ReadsSpec) -> dict[str, Any]:
    return {"writer" if isinstance(asked, PromptedWriterSpec) else "reads": asked.identity()}
