"""The model that a stage has write texts: opened once a worker, kept for tasks of the same affinity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.engines.base import Completion, Generator, Request, Sampling
from harness.engines.kept import Kept
from harness.pipeline.models import WriterSpec
from harness.stages.context import StageContext
from harness.store.artifacts import Checkpoint

ALARM = 0.01
"""The share of prompts above which it is a warning that they were read without their beginning."""


@dataclass(frozen=True, kw_only=True)
class CountsCuts:
    """A generator that adds to `cut["questions"]` the prompts it read without their beginning."""

    generator: Generator
    cut: Counter[str]

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        completions = self.generator.generate(requests)
        self.cut["questions"] += sum(one.metadata.get("prompt_tokens_cut", 0) > 0 for one in completions)
        return completions


def open_writer(context: StageContext, writer: WriterSpec, *, progress: bool = True) -> Generator:
    """The writer's engine on the model of the input `model`; a warm worker has it already.

    Args:
        progress: say how far it is, for a stage that does not itself.
    """
    if "writer" not in context.held:
        context.held["writer"] = _open(context, writer)
    return kept(context, context.held["writer"], progress=progress)


def kept(context: StageContext, generator: Generator, *, progress: bool = True) -> Generator:
    """An engine whose texts an interrupted attempt of the stage leaves to the next."""

    def tell(done: int, total: int) -> None:
        if progress:
            context.progress(done, total, "texts")

    return Kept(generator=generator, folder=context.resume, progress=tell)


def _open(context: StageContext, spec: WriterSpec) -> Generator:
    folder = str(context.input("model", Checkpoint).model)
    if spec.engine == "transformers":
        from harness.engines.transformers_engine import TransformersGenerator

        return TransformersGenerator(
            folder,
            prompt_format=spec.format,
            dtype=spec.precision,
            context=spec.context,
            device=context.how.device,
            trust_remote_code=spec.trust_remote_code,
        )
    from harness.engines.vllm_engine import VllmGenerator
    from harness.engines.vllm_process import VllmRuntime

    return VllmGenerator(
        folder,
        prompt_format=spec.format,
        dtype=spec.precision,
        context=spec.context,
        trust_remote_code=spec.trust_remote_code,
        runtime=VllmRuntime(tensor_parallel=context.how.tensor_parallel),
    )


def sampling_of(writer: WriterSpec) -> Sampling:
    return Sampling(temperature=writer.temperature, top_p=writer.top_p, max_tokens=writer.max_tokens)


def facts_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the record says of written texts: how many, how long, how many were cut off or had their prompt cut."""
    reasons = Counter(row["finish_reason"] for row in rows)
    return {
        "groups": len(rows),
        "characters": sum(len(row["text"]) for row in rows),
        "tokens": sum(row["tokens"] for row in rows),
        "cut_off": reasons["length"],
        "empty": sum(not row["text"].strip() for row in rows),
        "prompts_cut": sum(row["prompt_tokens_cut"] > 0 for row in rows),
    }
