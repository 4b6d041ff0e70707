"""All kinds of stages there are, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pydantic import ConfigDict

from harness.pipeline import (
    comparing,
    corpus,
    failures,
    imports,
    judging,
    models,
    overlap,
    pair_kinds,
    scores,
    tasks,
    tokens,
    training_kinds,
    tuning,
)
from harness.pipeline.evaluations import MODULES
from harness.pipeline.graph import Input, Stage
from harness.pipeline.kind import Kind, Spec
from harness.store.artifacts import Artifact

CHAPTERS = (
    imports,
    models,
    tasks,
    corpus,
    tokens,
    judging,
    pair_kinds,
    training_kinds,
    tuning,
    scores,
    overlap,
    *MODULES,
    failures,
    comparing,
)

KINDS: Mapping[str, Kind] = MappingProxyType(
    {kind.name: kind for chapter in CHAPTERS for kind in vars(chapter).values() if isinstance(kind, Kind)}
)


class UnreadSpec(Spec):
    """Of a kind that this version does not know."""

    model_config = ConfigDict(extra="allow")


def noted_stage(kind: str, fingerprint: str, label: str, inputs: Mapping[str, Input] = MappingProxyType({})) -> Stage:
    """A stage by what an index notes of it: enough to be read, not to be run. Another version may know its kind."""
    known = KINDS.get(kind) or Kind(kind, 0, UnreadSpec, Artifact)
    return Stage(kind=known, spec=UnreadSpec(), identity={}, fingerprint=fingerprint, inputs=inputs, label=label)
