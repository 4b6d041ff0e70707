"""Models from outside, and the kinds of stages in which one writes or judges texts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from harness.pipeline.graph import Stage
from harness.pipeline.kind import Basis, Kind, Known, S, Spec, Work, absent
from harness.pipeline.weights import FORWARD, PUBLISHED, weights_of
from harness.recipe.models import HubModel, Writer
from harness.store.artifacts import Checkpoint
from harness.store.identity import fingerprint

ASSUMED_SHARE = 4  # of the most tokens that a prompt or response may have, it has one in so many
ASSUMED_PROMPT = 60.0  # tokens that a model is shown at the least


class Packaged(Spec):
    source: Literal["packaged"]
    name: str
    sha256: str
    shape: Mapping[str, Any]


class Folder(Spec):
    """Of a model in a folder: its files' digests."""

    source: Literal["folder"]
    files: Mapping[str, str]
    shape: Mapping[str, Any] | None = absent(None)


class Gguf(Spec):
    source: Literal["gguf"]
    sha256: str


class Hub(Spec):
    source: Literal["hub"]
    id: str
    revision: str
    trust_remote_code: bool = absent(False)


PretrainedSpec = Packaged | Folder | Gguf | Hub


class Pretrained(Kind[PretrainedSpec]):
    """A model from outside, with its tokenizer."""

    def payload(self, stage: Stage[PretrainedSpec], known: Known) -> tuple[float | None, Basis]:
        """The files a recipe names, else its weights as they are usually published."""
        if isinstance(stage.spec, Folder):
            sizes = [(Path(stage.source_path) / name).stat().st_size for name in stage.spec.files]
            return float(sum(sizes)), "measured"
        weights = weights_of(stage, known)
        return (None, "assumed") if weights is None else (weights.checkpoint(PUBLISHED), "from shape")


PRETRAINED = Pretrained("pretrained", 2, Annotated[PretrainedSpec, Field(discriminator="source")], Checkpoint)


# ------------------------------------------------------------------------------------------------ writing models


class WriterSpec(Spec):
    """How a model is asked for texts; which model it is stands among the inputs."""

    engine: Literal["vllm", "transformers"]
    format: Literal["chat", "raw"]
    precision: Literal["fp32", "bf16", "fp16"]
    context: int | None
    temperature: float
    top_p: float
    max_tokens: int
    trust_remote_code: bool

    @classmethod
    def of(cls, writer: Writer) -> Self:
        chosen = {name: getattr(writer, name) for name in cls.model_fields if hasattr(writer, name)}
        trust = isinstance(writer.model, HubModel) and writer.model.trust_remote_code
        return cls(**chosen, trust_remote_code=trust)

    def affinity(self, model: Stage) -> str:
        """Tasks with this in common need one opened model, however they ask it."""
        opened = self.model_dump(include={"engine", "format", "precision", "context", "trust_remote_code"})
        return f"{model.fingerprint}:{fingerprint(opened)}"


class PromptedWriterSpec(WriterSpec):
    """With the template of what it is asked."""

    prompt: str


class Writing(Kind[S]):
    """A model from outside writes or judges texts."""

    resumes = True

    reads = 1.0
    """Texts that it is shown for each it writes."""

    def writes(self, stage: Stage[S]) -> bool:
        return getattr(stage.spec, "writer", None) is not None

    @abstractmethod
    def texts(self, stage: Stage[S], known: Known) -> int:
        """Texts to be written or judged."""

    def rows(self, stage: Stage[S], known: Known) -> float:
        return float(self.texts(stage, known))

    def scratch(self, stage: Stage[S], known: Known, size: float) -> float:
        """Its finished texts, kept for an attempt that goes on from them: packed like the `size` it leaves."""
        return size if self.writes(stage) else 0.0

    def work(self, stage: Stage[S], known: Known) -> Work:
        """Prompts and texts, each token through all weights; a reward model reads texts alone."""
        asked = getattr(stage.spec, "writer", None) or getattr(stage.spec, "reads", None)
        if asked is None:
            return Work()
        record, texts = known.record(stage), self.texts(stage, known)
        basis: Basis = "assumed"
        text = asked.max_tokens / ASSUMED_SHARE
        shown = texts * self.reads * max(ASSUMED_PROMPT, text) if self.writes(stage) else 0.0
        tokens = shown + texts * text
        if record is not None and "tokens" in record.result:
            tokens, basis = float(record.result["tokens"]) + shown, "measured"
        weights = weights_of(stage, known)
        flops = None if weights is None else FORWARD * (weights.layers + weights.vocabulary) * tokens
        return Work(tokens=tokens, flops=flops, basis=basis)
