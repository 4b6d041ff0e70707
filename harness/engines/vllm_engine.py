"""Engines on vLLM: texts and rewards at the speed of its continuous batching, each model in a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from harness.engines.base import Completion, Dtype, Request
from harness.engines.prompts import Format
from harness.engines.vllm_process import VllmProcess, VllmRuntime


class _OnVllm:
    """Its worker starts with the first request and lives until `close`, the end of a `with` block or this object's end.

    Raises:
        MissingRequirement: vLLM is not installed, or the model or its weights are not there.
    """

    def __init__(self, runtime: VllmRuntime | None, **settings: Any) -> None:
        self.process = VllmProcess(settings, runtime or VllmRuntime())

    def close(self) -> None:
        """End the worker and free its memory; a later request starts another."""
        self.process.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class VllmGenerator(_OnVllm):
    """A Generator on vLLM's GPU or CPU build. Prompts, truncation and end tokens are those of the transformers engine;
    prompts that begin alike are computed once (prefix caching).

    Args:
        model: folder.
        prompt_format: raw text, or the user's message in the model's chat template.
        dtype: of weights and products.
        context: tokens the model may see, prompt and completion together; None is all it can. A shorter one needs less
            memory.
        trust_remote_code: run code shipped with the model.
        runtime: how to run.
    """

    at_once = 4_096
    """Many times what it decodes together, so that little of a list's time goes into its last texts."""

    def __init__(
        self,
        model: str,
        *,
        prompt_format: Format,
        dtype: Dtype,
        context: int | None = None,
        trust_remote_code: bool = False,
        runtime: VllmRuntime | None = None,
    ) -> None:
        super().__init__(
            runtime,
            serve="texts",
            model=model,
            prompt_format=prompt_format,
            dtype=dtype,
            context=context,
            trust_remote_code=trust_remote_code,
        )

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Serve all requests.

        Raises:
            DataError: a prompt the engine cannot serve.
            RecipeError: chat prompts without a chat template, or a context the model does not have.
            MissingRequirement, CorruptArtifact: the model cannot be loaded.
            StageError: the worker died, and died again after its restart.
        """
        if not requests:
            return []
        answer = self.process.ask({"requests": [asdict(request) for request in requests]})
        return [Completion(**completion) for completion in answer["completions"]]


class VllmScorer(_OnVllm):
    """A Scorer on vLLM's pooling runner.

    Args:
        model: folder of an ordinary sequence-classification checkpoint with one label, see `harness.models.export`.
        dtype: of weights and products.
        runtime: how to run.
    """

    def __init__(self, model: str, *, dtype: Dtype, runtime: VllmRuntime | None = None) -> None:
        super().__init__(runtime, serve="rewards", model=model, dtype=dtype, trust_remote_code=False)

    def score(self, groups: Sequence[Sequence[NDArray[np.integer[Any]]]]) -> list[NDArray[np.float64]]:
        """Score groups of token ids; see the protocol.

        Raises:
            StageError: the worker died, and died again after its restart.
        """
        if not groups:
            return []
        sequences = [np.concatenate([prompt, response]).tolist() for prompt, *rest in groups for response in rest]
        rewards = iter(self.process.ask({"sequences": sequences})["rewards"])
        return [np.array([next(rewards) for _ in group[1:]], dtype=np.float64) for group in groups]
