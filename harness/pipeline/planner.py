"""What every chapter's planning builds on: one graph, a memory of what was built, and what a recipe may name.

Everything that enters a spec in the chapters is identity. Nothing of `runtime` may be read there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar, cast

from pydantic import BaseModel

from harness.pipeline.graph import Graph, Stage
from harness.pipeline.imports import IMPORTED, NO_IMPORTS, AssetSpec, Imports
from harness.pipeline.models import PRETRAINED, PretrainedSpec
from harness.recipe.lock import NO_LOCK, Lock
from harness.recipe.models import FolderModel, GgufModel, HubModel, PackagedModel
from harness.sources.lm_eval_tasks import LmEvalName, LmEvalTask, find_lm_eval_task
from harness.sources.models import resolve_model
from harness.store.record import Record

Key = tuple[Any, ...]
T = TypeVar("T")


class Planner:
    """Builds stages into one graph; equal requests are answered from memory.

    Args:
        rows: pair stream -> the most pairs any setting of the recipe asks of it (n_max), from `pair_key`.
        lock: what is known of the hub's revisions.
        imports: what the recipe may name.
        forks: records of the trunk states that `pretrain.from` names.
    """

    def __init__(
        self,
        graph: Graph,
        data_seed: int,
        rows: Mapping[str, int],
        *,
        imports: Imports = NO_IMPORTS,
        lock: Lock = NO_LOCK,
        forks: Mapping[str, Record] = MappingProxyType({}),
    ) -> None:
        self.graph = graph
        self.lock = lock
        self.data_seed = data_seed
        self.rows = rows
        self.imports = imports
        self.forks = forks
        self._memory: dict[Key, Any] = {}
        self._texts: dict[tuple[str, int], tuple[object, str]] = {}

    def _remember(self, key: Key, build: Callable[[], T]) -> T:
        """What was built for this key; built once."""
        if key not in self._memory:
            self._memory[key] = build()
        return cast(T, self._memory[key])

    def _text(self, block: BaseModel) -> str:
        return self._once("", block, block.model_dump_json)

    def _once(self, what: str, owner: object, make: Callable[[], str]) -> str:
        """A text made once an object; the object is kept, so that its id stays its own."""
        found = self._texts.get((what, id(owner)))
        if found is None:
            found = self._texts[(what, id(owner))] = (owner, make())
        return found[1]

    def pretrained(self, model: PackagedModel | FolderModel | GgufModel | HubModel) -> Stage[PretrainedSpec]:
        """A model from outside, with its tokenizer."""

        def build() -> Stage[PretrainedSpec]:
            source = resolve_model(model, self.lock.commits)
            spec = PRETRAINED.read(source.spec)
            return self.graph.stage(PRETRAINED, spec, label=f"model {source.name}", source_path=source.place)

        return self._remember(("pretrained", self._text(model)), build)

    def lm_eval_task(self, asked: LmEvalName) -> LmEvalTask:
        """A task of lm-evaluation-harness."""
        return self._remember(("lm_eval", asked.task, asked.include_path), lambda: find_lm_eval_task(asked))

    def imported(self, what: str, name: str) -> Stage[AssetSpec]:
        """The stage that brought in a named asset; its identity is the content's digest, whatever the name."""
        spec = self.imports[what, name].spec
        return self.graph.stage(IMPORTED[what], spec, label=f"imported {what} {name}")
