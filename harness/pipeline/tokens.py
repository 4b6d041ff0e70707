"""Tokens: the tokenizer, the token ids of texts, pairs and candidates, and the rewards a model gives them."""

from __future__ import annotations

from typing import Literal

from harness.pipeline.corpus import CorpusStages
from harness.pipeline.graph import Stage
from harness.pipeline.kind import Basis, Kind, Known, NoSpec, Spec, Work
from harness.pipeline.models import ASSUMED_SHARE, PRETRAINED
from harness.pipeline.tasks import CANDIDATES, Split
from harness.pipeline.weights import FORWARD, model_shape, weights_of
from harness.recipe.blocks import TinyModel
from harness.recipe.schema import Experiment
from harness.recipe.tasks import TaskBlock
from harness.store.artifacts import Artifact, Scores, Tokenizer, Tokens, TrunkState

Content = Literal["texts", "pairs", "candidates"]
Text = Literal["raw", "chat"]
EndToken = Literal["none", "eos", "end_of_code"]
Precision = Literal["fp32", "bf16"]

ASSUMED_CHARACTERS_PER_TOKEN = 3.0
NUMBER = 8  # bytes of a segment's or group's number beside token ids
SMALL_VOCABULARY = 1 << 16  # up to it a token id takes two bytes, else four


# --------------------------------------------------------------------------------------------------------- kinds


class TokenizerSpec(Spec):
    vocabulary: int


class TokenizerKind(Kind[TokenizerSpec]):
    def rows(self, stage: Stage[TokenizerSpec], known: Known) -> float:
        return stage.spec.vocabulary


class EncodeSpec(Spec):
    """`limit` takes the first groups that fit."""

    content: Content
    max_tokens: int
    text: Text
    end_token: EndToken
    limit: int | None


class EncodeKind(Kind[EncodeSpec]):
    def groups(self, stage: Stage[EncodeSpec], known: Known) -> float:
        record = known.record(stage)
        if record is not None and record.result["groups"]:
            return float(record.result["groups"])
        if stage.spec.limit is not None:
            return stage.spec.limit
        source = stage.inputs["source"].stage
        return source.kind.groups(source, known)

    def tokens_a_group(self, stage: Stage[EncodeSpec], known: Known) -> tuple[float, Basis]:
        """Mean tokens, and what that rests on."""
        record = known.record(stage)
        if record is not None and record.result["groups"]:
            return record.result["tokens"] / record.result["groups"], "measured"
        record = known.record(stage.inputs["source"].stage)
        if record is not None and "characters" in record.result:
            characters = record.result["characters"] / record.result["groups"]
            return characters / ASSUMED_CHARACTERS_PER_TOKEN, "from characters"
        return (self.responses(stage, known) + 1) * stage.spec.max_tokens / ASSUMED_SHARE, "assumed"

    def tokens_a_response(self, stage: Stage[EncodeSpec], known: Known) -> float:
        """Mean tokens of a group's responses, all but its prompt's."""
        record, responses = known.record(stage), self.responses(stage, known)
        if record is not None and record.result.get("response_tokens"):
            return float(record.result["response_tokens"] / record.result["groups"] / responses)
        segments = responses if stage.spec.content == "texts" else responses + 1
        return self.tokens_a_group(stage, known)[0] / segments

    def responses(self, stage: Stage[EncodeSpec], known: Known) -> float:
        if stage.spec.content == "candidates":
            source = stage.inputs["source"].stage
            return source.kind.responses(source, known)
        return 1.0 if stage.spec.content == "texts" else 2.0

    def payload(self, stage: Stage[EncodeSpec], known: Known) -> tuple[float | None, Basis]:
        """Token ids, and the numbers that say where groups and segments end."""
        mean, basis = self.tokens_a_group(stage, known)
        segments = self.responses(stage, known) + 1
        width = 2 if self._vocabulary(stage, known) <= SMALL_VOCABULARY else 4
        return self.groups(stage, known) * (mean * width + NUMBER * (segments + 2)), basis

    def _vocabulary(self, stage: Stage[EncodeSpec], known: Known) -> int:
        tokenizer = stage.inputs["tokenizer"].stage
        if tokenizer.kind is TOKENIZER:
            return int(tokenizer.spec.vocabulary)
        shape = model_shape(tokenizer, known) if tokenizer.kind is PRETRAINED else None
        return SMALL_VOCABULARY + 1 if shape is None else int(shape["vocabulary"])


class ScoreSpec(Spec):
    precision: Precision


class ScoreKind(Kind[ScoreSpec]):
    def rows(self, stage: Stage[ScoreSpec], known: Known) -> float:
        return responses_in(stage.inputs["tokens"].stage, known) * (self._share(stage, known) or 1.0)

    def work(self, stage: Stage[ScoreSpec], known: Known) -> Work:
        """Of a pool that no model has scored yet, as if all of it were."""
        tokens = stage.inputs["tokens"].stage
        mean, basis = ENCODE.tokens_a_group(tokens, known)
        share = self._share(stage, known)
        if share is None:
            share, basis = 1.0, "assumed"
        total = mean * ENCODE.groups(tokens, known) * share
        weights = weights_of(stage, known)
        return Work(tokens=total, flops=None if weights is None else FORWARD * weights.layers * total, basis=basis)

    def _share(self, stage: Stage[ScoreSpec], known: Known) -> float | None:
        """Of a pool's responses, how many are scored; None where no model has scored the pool yet."""
        if "candidates" not in stage.inputs:
            return 1.0
        shares: dict[Stage, float] = known.once("scored shares", lambda: self._shares(known))
        return shares.get(stage.inputs["candidates"].stage)

    def _shares(self, known: Known) -> dict[Stage, float]:
        """The same by pool, of finished stages: every model scores the same candidates."""
        return {
            stage.inputs["candidates"].stage: record.result["responses"]
            / responses_in(stage.inputs["tokens"].stage, known)
            for stage, record in known.finished(self)
            if "candidates" in stage.inputs
        }


def responses_in(tokens: Stage[EncodeSpec], known: Known) -> float:
    """Responses of all groups; many stages ask for those of one pool."""

    def count() -> float:
        return ENCODE.groups(tokens, known) * ENCODE.responses(tokens, known)

    return known.once(("responses", tokens.fingerprint), count)


TOKENIZER = TokenizerKind("tokenizer", 2, TokenizerSpec, Tokenizer, row_bytes=40)
ENCODE = EncodeKind("encode", 3, EncodeSpec, Tokens)
TALLY: Kind[NoSpec] = Kind("tally", 1, NoSpec, Artifact)
SCORE = ScoreKind("score", 3, ScoreSpec, Scores, accelerated=True, row_bytes=10)
LIKELIHOOD = ScoreKind("likelihood", 1, ScoreSpec, Scores, accelerated=True, row_bytes=10)


# ------------------------------------------------------------------------------------------------------ planning


class TokenStages(CorpusStages):
    """Adds tokens to the data."""

    def tokenizer(self, experiment: Experiment) -> Stage:
        if not isinstance(experiment.model, TinyModel):
            return self.pretrained(experiment.model)
        spec = TokenizerSpec(vocabulary=experiment.model.vocabulary)
        key = ("tokenizer", spec.vocabulary, self._corpus_key(experiment), self._base_problems(experiment))

        def build() -> Stage[TokenizerSpec]:
            inputs: dict[str, Stage] = {"corpus": self.corpus(experiment)}
            for name, task in experiment.tasks.items():
                if isinstance(task, TaskBlock) and task.problems.base:
                    inputs[f"problems-{name}"] = self.problems(name, task, "base")
            return self.graph.stage(TOKENIZER, spec, inputs, label="tokenizer")

        return self._remember(key, build)

    def encode(
        self, experiment: Experiment, source: Stage, *, content: Content, max_tokens: int, label: str
    ) -> Stage[EncodeSpec]:
        """Token ids of a source's groups."""
        return self.encode_with(
            self.tokenizer(experiment), source, content=content, max_tokens=max_tokens, limit=None, label=label
        )

    def encode_with(
        self,
        tokenizer: Stage,
        source: Stage,
        *,
        content: Content,
        max_tokens: int,
        limit: int | None,
        label: str,
        text: Text = "raw",
        end_token: EndToken = "none",
    ) -> Stage[EncodeSpec]:
        """As `encode`, by any tokenizer, an imported checkpoint's too; `text` is raw or by its chat template.

        `limit` cuts to the first groups that fit, and is no part of the stream.
        """
        key = ("encode", tokenizer.fingerprint, source.fingerprint, content, max_tokens, limit, text, end_token)

        def build() -> Stage[EncodeSpec]:
            spec = EncodeSpec(content=content, max_tokens=max_tokens, text=text, end_token=end_token, limit=limit)
            stream = spec.identity()
            del stream["limit"]
            stream |= {"tokenizer": tokenizer.fingerprint, "source": source.stream or source.fingerprint}
            inputs = {"tokenizer": tokenizer, "source": source}
            return self.graph.stage(ENCODE, spec, inputs, stream=stream, label=f"encode {label}")

        return self._remember(key, build)

    def _base_problems(self, experiment: Experiment) -> str:
        return self._once("base problems", experiment, lambda: self._tasks(experiment, only_base=True))

    def _tasks(self, experiment: Experiment, *, only_base: bool = False) -> str:
        tasks = experiment.tasks.items()
        return "|".join(f"{name}={self._text(task)}" for name, task in tasks if task.problems.base or not only_base)

    def _task_key(self, experiment: Experiment) -> str:
        return self._once("tasks", experiment, lambda: self._tasks(experiment))

    def preference_tokens(self, experiment: Experiment, name: str, split: Split, count: int) -> Stage[EncodeSpec]:
        task = experiment.tasks[name]
        return self.encode(
            experiment,
            self.preferences(name, task, split, count),
            content="pairs",
            max_tokens=task.max_tokens,
            label=f"preferences {name} {split}",
        )

    def likelihoods(self, experiment: Experiment, model: Stage, tokens: Stage[EncodeSpec], label: str) -> Stage:
        """How probable a model without its head finds the chosen sides of pairs, and their prompts."""
        spec = ScoreSpec(precision=experiment.finetune.precision)
        return self.graph.stage(LIKELIHOOD, spec, {"checkpoint": model, "tokens": tokens}, label=f"likelihood {label}")

    def scored(self, experiment: Experiment, model: Stage, tokens: Stage[EncodeSpec], label: str) -> Stage[ScoreSpec]:
        """Rewards of everything in `tokens`; of a stream of pairs again a stream.

        Of a candidate pool only where a reward can decide anything, which its `candidates` say (`stages/score.py`).
        """
        spec = ScoreSpec(precision=experiment.finetune.precision)
        stream = None
        if tokens.stream:
            stream = {**spec.identity(), "checkpoint": model.fingerprint, "tokens": tokens.stream}
        inputs = {"trunk" if model.kind.artifact is TrunkState else "checkpoint": model, "tokens": tokens}
        source = tokens.inputs["source"].stage
        if source.kind is CANDIDATES:
            inputs["candidates"] = source
        return self.graph.stage(SCORE, spec, inputs, stream=stream, label=f"score {label}")
