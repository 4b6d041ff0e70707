"""What models are asked for pairs, and what becomes of their answers. Knows generators by their protocol only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.corpus.normalise import FunctionNode, parse_quietly, print_function, strip
from harness.corpus.python_packages import Function
from harness.engines.base import Generator, Request, Sampling
from harness.tasks.task import stream

# A fenced block of an answer in Markdown; one that is cut off has no closing fence.
_FENCED = re.compile(r"^[ \t]*```[^\n`]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)


def signature_of(function: Function) -> str:
    """The first line of the function, which every side of its pairs is to have."""
    return function.source.partition("\n")[0]


def clipped(description: str, share: float) -> str:
    """The beginning of a description, cut after a word: at most this share of its characters, and one word at least."""
    words = description.split(" ")
    kept = words[:1]
    for word in words[1:]:
        if len(" ".join([*kept, word])) > share * len(description):
            break
        kept.append(word)
    return " ".join(kept)


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


def code_of(answer: str, signature: str) -> str:
    """The code of an answer: its first fenced block, or all of it.

    Where that parses and holds the function that was asked for (or is one function), only this function is kept, in the
    normal form that references have, without docstring and comments: a reward model is to learn what code does, not
    who formats how. What does not parse stays as it was written.
    """
    fenced = _FENCED.search(answer)
    code = (fenced.group(1) if fenced else answer).strip("\n").rstrip()
    try:
        body = parse_quietly(code).body
        functions = [node for node in body if isinstance(node, FunctionNode)]
        named = [node for node in functions if f"def {node.name}(" in signature]
        chosen = next(iter(named), functions[0] if len(functions) == 1 else None)
        if chosen is None:
            return code
        strip(chosen)
        return print_function(chosen)
    except SyntaxError:
        return code


def descriptions_of(rows: Sequence[Mapping[str, Any]], characters: int) -> dict[int, str]:
    """Slot -> description in one paragraph, cut to so many characters after a word; slots without a text are left out."""
    found = {}
    for row in rows:
        text = " ".join(row["text"].split())
        if len(text) > characters:
            text = text[: characters + 1].rpartition(" ")[0]
        if text:
            found[int(row["slot"])] = text
    return found
