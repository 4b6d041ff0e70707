"""Candidates that an answer is picked from: those of a stage, or texts that an engine writes now."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from lm_eval.models.utils import normalize_gen_kwargs, postprocess_generated_text

from harness.engines.base import Generator, Request, Sampling
from harness.errors import RecipeError
from harness.tasks.task import stream

logger = logging.getLogger("lm_eval.harness")  # below lm-eval's own, so that it is shown as its messages are

Asked = tuple[str, Mapping[str, Any]]
"""(prompt, lm-eval's generation arguments, such as `until` and `max_gen_toks`)."""

KNOWN = {"until", "max_gen_toks", "do_sample", "temperature", "top_p"}


class Candidates(Protocol):
    def of(self, asked: Sequence[Asked]) -> list[list[str]]:
        """The candidates of each prompt, at least one.

        Raises:
            HarnessError: a prompt has none.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Candidates of a stage, whole: who wrote them has ended them, so no stop sequence cuts them.

    Attributes:
        name: of the stage.
        by_prompt: prompt, without white space around it -> its candidates.
    """

    name: str
    by_prompt: Mapping[str, Sequence[str]]

    def of(self, asked: Sequence[Asked]) -> list[list[str]]:
        missing = [prompt for prompt, _ in asked if prompt.strip() not in self.by_prompt]
        if missing:
            shown = missing[0] if len(missing[0]) <= 80 else f"{missing[0][:80]}..."
            raise RecipeError(
                "every prompt must have stored candidates",
                f"{len(missing):,} of {len(asked):,} have none in {self.name}, the first is {shown!r}",
                "let the task's `doc_to_text` give the pool's prompts, without few-shot examples or a description",
            )
        return [list(self.by_prompt[prompt.strip()]) for prompt, _ in asked]


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """Texts of a language model, `samples` a prompt, each cut at the first of the task's stop sequences.

    A task that samples (`do_sample: true`) says at which temperature; most ask for one greedy text, of which a second
    would be a copy.

    Attributes:
        open: opens the engine, for one round of texts.
    """

    open: Callable[[], AbstractContextManager[Generator]]
    samples: int
    temperature: float
    top_p: float
    seed: int

    def of(self, asked: Sequence[Asked]) -> list[list[str]]:
        requests: list[Request] = []
        stops: list[list[str]] = []
        before: Counter[str] = Counter()
        for number, (prompt, given) in enumerate(asked):
            wanted = normalize_gen_kwargs(dict(given))
            stops.append(list(wanted["until"]))
            for index in range(self.samples):
                seed = stream("lm-eval", self.seed, prompt, before[prompt], index).getrandbits(63)
                requests.append(
                    Request(id=f"{number}/{index}", prompt=prompt, seed=seed, sampling=self._sampling(wanted))
                )
            before[prompt] += 1  # a task may ask the same several times (`repeats`)
        unknown = sorted({key for _, given in asked for key in given} - KNOWN)
        if unknown:
            logger.warning("not used in sampling candidates: %s", ", ".join(unknown))
        with self.open() as generator:
            texts = [completion.text for completion in generator.generate(requests)]
        return [
            [
                postprocess_generated_text(text, stop, None)
                for text in texts[number * self.samples : (number + 1) * self.samples]
            ]
            for number, stop in enumerate(stops)
        ]

    def _sampling(self, wanted: Mapping[str, Any]) -> Sampling:
        temperature, top_p = self.temperature, self.top_p
        if wanted["do_sample"] and wanted.get("temperature", 0.0) > 0.0:
            temperature, top_p = float(wanted["temperature"]), float(wanted.get("top_p", top_p))
        return Sampling(temperature=temperature, top_p=top_p, max_tokens=wanted["max_gen_toks"])
