"""The two contracts every engine fulfils: writing texts for prompts, and giving rewards to token groups.

Holds values and protocols only. An engine's own library is imported by that engine's file and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Dtype = Literal["fp32", "bf16", "fp16"]
"""Of an engine's weights and products; sampling is always computed in fp32 or finer."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a text is drawn. There is no stop word: a text ends where the policy ends it, or at `max_tokens`.

    Attributes:
        temperature: 1 is the policy's own distribution, 0 its most probable text.
        top_p: draw among the fewest most probable tokens that together have at least this share (nucleus sampling,
            Holtzman et al. 2020, applied after the temperature); 1 draws among all.
        max_tokens: longest completion, in the engine's own tokens.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 512


@dataclass(frozen=True, kw_only=True)
class Request:
    """One text wanted. Equal prompt, seed and sampling give an equal text, whatever else is asked.

    Attributes:
        logprob: say how probable the draw was, see `Completion`.
    """

    id: str
    prompt: str
    seed: int
    sampling: Sampling = field(default_factory=Sampling)
    logprob: bool = False


@dataclass(frozen=True, kw_only=True)
class Completion:
    """The text written for the request `id`, without its prompt.

    Bytes that are no UTF-8, as where `max_tokens` cuts a character in two, show as U+FFFD.

    Attributes:
        finish_reason: "stop" where the policy ended by itself, "length" where `max_tokens` cut it off.
        logprob: natural logarithm of the chance of drawing this text at the request's sampling, if the engine knows; an
            engine that it costs time (vLLM) gives it only where the request asks for it.
        metadata: what else the engine knows of it, as JSON data. Engines that hold a model give `tokens` (drawn, the
            end token included), `prompt_tokens` (read) and `prompt_tokens_cut` (left out, see `engines/prompts.py`).
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

    An engine that holds a model computes in floating point, where the batch moves logits by rounding. What a request
    draws never depends on the batch, so a text changes only if a draw falls within that rounding of the border between
    two tokens. In fp32 that is about one draw in a million: the suite asks for equal texts, and for logprobs equal to
    1e-3. In bf16 and fp16 it is about one in a hundred: equal lists of requests still give equal texts on the same
    machine and settings, another split may not. Stages therefore ask in lists of one length, whatever an interrupted
    attempt has left (`engines/kept.py`), and part sizes are identity. An engine may say how long a list is to be, as
    `at_once`: what an interruption loses at most, while a longer list has fewer ends at which its batches run empty.
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
