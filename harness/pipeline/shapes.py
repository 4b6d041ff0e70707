"""Shapes of published models (`shapes.yaml`), for estimates before a model is there. They enter no identity."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from harness.sources.models import shape_of

UNVERIFIED = "unverified"


@dataclass(frozen=True, kw_only=True)
class PublishedShape:
    """A model's shape (see `sources.models.shape_of`) and where its sizes were read, or `unverified`."""

    shape: Mapping[str, Any]
    source: str

    @property
    def verified(self) -> bool:
        return self.source != UNVERIFIED


@functools.cache
def published_shapes() -> Mapping[str, PublishedShape]:
    """By the model's name on the hub."""
    data = yaml.safe_load(Path(__file__).with_name("shapes.yaml").read_text(encoding="utf-8"))
    found = {
        name: PublishedShape(shape=shape_of(entry["config"]), source=entry["source"]) for name, entry in data.items()
    }
    return MappingProxyType(found)
