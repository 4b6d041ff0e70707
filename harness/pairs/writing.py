"""How models are asked for the texts of pairs. Knows generators by their protocol only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from harness.engines.base import Generator, Request, Sampling
from harness.tasks.task import stream


def filled(template: str, parts: Mapping[str, str]) -> str:
    """A template with `{name}` replaced by its part, once: what a part itself holds is left as it is."""
    pattern = re.compile("|".join(re.escape(f"{{{name}}}") for name in parts))
    return pattern.sub(lambda match: parts[match.group()[1:-1]], template)


def write(
    generator: Generator, prompts: Iterable[tuple[int, str]], *, sampling: Sampling, seed: int, purpose: str
) -> list[dict[str, Any]]:
    """A text for each (slot, prompt). A slot's draw depends on the seed, the purpose and the slot's number alone.

    Returns:
        Rows as in `harness.store.artifacts.Writings`.
    """
    asked = list(prompts)
    requests = [
        Request(
            id=f"{purpose}/{slot}",
            prompt=prompt,
            seed=stream(purpose, seed, slot).getrandbits(63),
            sampling=sampling,
        )
        for slot, prompt in asked
    ]
    return [
        {
            "slot": slot,
            "text": completion.text,
            "finish_reason": completion.finish_reason,
            "prompt_tokens_cut": int(completion.metadata.get("prompt_tokens_cut", 0)),
            "tokens": int(completion.metadata.get("tokens", 0)),
        }
        for (slot, _), completion in zip(asked, generator.generate(requests), strict=True)
    ]
