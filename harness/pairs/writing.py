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
    generator: Generator,
    prompts: Iterable[tuple[int, str]],
    *,
    sampling: Sampling,
    seed: int,
    purpose: str,
    drafts: int = 1,
) -> list[dict[str, Any]]:
    """Texts for each (slot, prompt). A draft depends on the seed, the purpose, the slot and its own number alone.

    Returns:
        Rows as in `harness.store.artifacts.Writings`.
    """
    asked = [(slot, draft, prompt) for slot, prompt in prompts for draft in range(drafts)]
    requests = [
        Request(
            id=f"{purpose}/{slot}/{draft}",
            prompt=prompt,
            seed=stream(purpose, seed, slot, draft).getrandbits(63),
            sampling=sampling,
        )
        for slot, draft, prompt in asked
    ]
    return [
        {
            "slot": slot,
            "draft": draft,
            "text": completion.text,
            "finish_reason": completion.finish_reason,
            "prompt_tokens_cut": int(completion.metadata.get("prompt_tokens_cut", 0)),
            "tokens": int(completion.metadata.get("tokens", 0)),
        }
        for (slot, draft, _), completion in zip(asked, generator.generate(requests), strict=True)
    ]
