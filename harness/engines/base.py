"""The two contracts every engine fulfils: writing texts for prompts, and giving rewards to token groups.

Holds values and protocols only. An engine's own library is imported by that engine's file and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a text is drawn.

    Attributes:
        temperature: 1 is the policy's own distribution, 0 its most probable text.
        max_tokens: longest completion, in the engine's own tokens.
    """

    temperature: float = 1.0
    max_tokens: int = 512


@dataclass(frozen=True, kw_only=True)
class Request:
    """One text wanted. Equal prompt, seed and sampling give an equal text, whatever `id` and the other requests."""

    id: str
    prompt: str
    seed: int
    sampling: Sampling = field(default_factory=Sampling)


@dataclass(frozen=True, kw_only=True)
class Completion:
    """The text written for the request `id`, without its prompt.

    Attributes:
        finish_reason: "stop" where the policy ended by itself, "length" where `max_tokens` cut it off.
        logprob: natural logarithm of the chance of drawing this text at the request's sampling, if the engine knows.
        metadata: what else the engine knows of it, as JSON data.
    """

    id: str
    text: str
    finish_reason: Literal["stop", "length"]
    logprob: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Generator(Protocol):
    """Writes texts. Contract, held by `tests/contract/test_engines.py`:

    * One completion a request, in the order of the requests, with the request's id.
    * A text depends on its own prompt, seed and sampling alone: any split into batches gives the same texts.
    * Different seeds may give different texts; the same seed always gives the same one.
    * A prompt the engine cannot serve raises a HarnessError that names it; nothing is left out silently.
    """

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Serve all requests.

        Raises:
            DataError: a prompt the engine cannot serve.
        """
        ...


@runtime_checkable
class Scorer(Protocol):
    """Gives rewards. Contract:

    * One array a group, in the order of the groups, one float64 a response, higher is better.
    * A reward depends on its own prompt and response alone: not on the group's other responses, on other groups, or
      on the batch, up to the rounding the engine's precision allows.
    """

    def score(self, groups: Sequence[Sequence[NDArray[np.integer[Any]]]]) -> list[NDArray[np.float64]]:
        """Score groups of token ids.

        Args:
            groups: each [prompt, response_0, ..., response_{k-1}], arrays of shape (tokens,); the prompt may be empty.

        Returns:
            For each group the rewards, shape (k,).
        """
        ...
