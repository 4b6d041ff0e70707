"""Stages of real kinds with specs of any content: what graphs and schedules are tested with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict

from harness.pipeline.graph import Graph, Input, Stage
from harness.pipeline.kind import Spec
from harness.pipeline.kinds import KINDS


class AnySpec(Spec):
    model_config = ConfigDict(extra="allow")


def any_stage(
    graph: Graph,
    kind: str,
    spec: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Stage | Input] | None = None,
    *,
    stream: Mapping[str, Any] | None = None,
    label: str = "",
) -> Stage:
    return graph.stage(KINDS[kind], AnySpec(**(spec or {})), inputs, stream=stream, label=label)
