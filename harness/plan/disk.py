"""What a plan's stages take on disk at the peak: what is there, what is added, what is there only while running.

Checkpoints follow from the model's shape, tokens from their number, tables from finished stages of the same plan where
there are any, else from stated assumptions. Everything is before `gc`, which drops only when it is called. Only the
store is meant: MLflow's database and reports come on top. Standard library only.
"""

from __future__ import annotations

import heapq
import os
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.plan.cost import (
    Basis,
    candidates_a_problem,
    model_origin,
    model_shape,
    parameters,
    responses_a_group,
    slots_of,
    texts_asked,
    tokens_a_group,
)
from harness.plan.graph import Stage
from harness.plan.kinds import KINDS
from harness.store.store import Snapshot, Store

FP32 = 4  # bytes of a weight in training, and of each of Adam's two moments, whatever the precision computed in
MOMENTS = 2
PUBLISHED = 2  # bytes of a weight of a model from outside (bf16)
NUMBER = 8  # bytes of a segment's or group's number beside token ids
SMALL_VOCABULARY = 1 << 16  # up to it a token id takes two bytes, else four

# What safetensors says of each tensor: one of a weight, three of its moments and their count with torch's own metadata.
HEADER, MOMENT_HEADERS = 100, 600
TENSORS_A_LAYER = {"llama": 9, "qwen2": 12}
CHECKPOINT_FILES = 1_200  # configurations, head and description
FILES_BESIDE = 3_000  # record, run facts, log and some events
CURVES = 2_000  # of a training, beside that: a line every `runtime.log_every` steps, nothing against its weights
TABLE = 1_000  # a table without rows: its columns' names and where they end

# Used only until a stage of the kind is finished: bytes a row of a table as it is packed.
ASSUMED_ROW_BYTES: Mapping[str, float] = {
    "problems": 250.0,
    "preferences": 250.0,
    "pool_problems": 50.0,
    "pool_preferences": 250.0,
    "pool_candidates": 200.0,
    "candidates_part": 200.0,
    "pairs_part": 300.0,
    "split_pairs": 300.0,
    "consistent_part": 300.0,
    "descriptions_part": 200.0,
    "writings_part": 300.0,
    "judgements": 20.0,
    "score": 10.0,
    "shallow_score": 10.0,
    "tokenizer": 40.0,
    "corpus_part": 300_000.0,  # a part is a row: some hundred documents and their shingles
}
ASSUMED_BYTES = 2_000.0  # of any other stage: values a problem, gates, checks
CORPUS_SHARE = 0.3  # of its parts: texts pack to a quarter, the shingles beside them hardly, and copies go
LINKED = frozenset({"pairs", "candidates"})  # made of their parts' files, which are on disk once


@dataclass(frozen=True, kw_only=True, slots=True)
class StageDisk:
    """One stage left to run.

    Attributes:
        size: bytes it adds for good; None where nobody has looked into its model yet.
        scratch: bytes there beyond that while it runs.
    """

    stage: Stage
    size: float | None
    scratch: float
    basis: Basis


@dataclass(frozen=True, kw_only=True)
class Disk:
    """Bytes of a plan's stages, before `gc`.

    Attributes:
        now: of each finished stage, by fingerprint: its files as they lie on disk, linked ones once.
        running: what the trainings that run at once hold beyond what they leave.
    """

    now: Mapping[str, int]
    stages: tuple[StageDisk, ...]
    running: float

    @property
    def finished(self) -> int:
        return sum(self.now.values())

    @property
    def added(self) -> float:
        return sum(stage.size or 0.0 for stage in self.stages)

    @property
    def needed(self) -> float:
        """What must be free to run the rest; what interrupted trainings already hold of it is not taken off."""
        return self.added + self.running

    @property
    def peak(self) -> float:
        return self.finished + self.needed

    @property
    def unknown(self) -> int:
        """Stages that are not counted, because nobody knows their model's weights yet."""
        return sum(stage.size is None for stage in self.stages)


def disk_of(to_run: Sequence[Stage], everything: Sequence[Stage], store: Store, slots: int) -> Disk:
    """Bytes of a plan's stages.

    `running` takes the largest trainings at once in as many slots, whether or not the plan's order lets them meet.

    Args:
        to_run: stages left; all others of `everything` count with what they have on disk.
    """
    known = Snapshot(store)
    left = {stage.fingerprint for stage in to_run}
    estimates = _Estimates(everything, known)
    stages = tuple(estimates.of(stage) for stage in to_run)
    return Disk(
        now=_bytes_on_disk([stage for stage in everything if stage.fingerprint not in left], known),
        stages=stages,
        running=sum(heapq.nlargest(max(1, slots), (stage.scratch for stage in stages))),
    )


def free_bytes(folder: Path) -> int:
    """Bytes that may still be written where a folder is, or will be."""
    nearest = next((path for path in (folder, *folder.absolute().parents) if path.is_dir()), Path())
    return shutil.disk_usage(nearest).free


# ---------------------------------------------------------------------------------------------------- what is there


def _bytes_on_disk(stages: Sequence[Stage], known: Snapshot) -> dict[str, int]:
    """Bytes of each finished stage's files; a file that several stages link counts for the first."""
    seen: set[int] = set()
    found = {}
    for stage in stages:
        if known.record(stage.kind, stage.fingerprint) is not None:
            with suppress(FileNotFoundError):  # a run may be at it: the stage is being made again
                folder = known.store.directory(stage.kind, stage.fingerprint)
                found[stage.fingerprint] = _folder_bytes(str(folder), seen)
    return found


def _folder_bytes(folder: str, seen: set[int]) -> int:
    total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                total += _folder_bytes(entry.path, seen)
                continue
            facts = entry.stat(follow_symlinks=False)
            if facts.st_nlink == 1:
                total += facts.st_size
            elif facts.st_ino not in seen:
                seen.add(facts.st_ino)
                total += facts.st_size
    return total


# --------------------------------------------------------------------------------------------------- what is to come


@dataclass(frozen=True, kw_only=True)
class _Weights:
    """A backbone: all its weights, those that only its LM head uses, how many tensors they are, the head's width."""

    count: int
    only_lm: int
    tensors: int
    width: int

    def checkpoint(self, precision: int = FP32) -> float:
        return precision * self.count + FP32 * self.width + HEADER * self.tensors + CHECKPOINT_FILES

    def moments(self, stage: Stage) -> float:
        """Of the weights that the stage's losses move: see `training.optimizer.select_parameters`."""
        loss = stage.spec["training"]["loss"]
        trained = self.width if loss["rm"] else 0
        if stage.spec.get("head") == "linear_probe":
            return MOMENTS * FP32 * trained + MOMENT_HEADERS
        trained += self.count if loss["lm"] else self.count - self.only_lm
        return MOMENTS * FP32 * trained + MOMENT_HEADERS * self.tensors


class _Estimates:
    """Sizes of stages to come, by what is known of the plan's finished ones."""

    def __init__(self, everything: Sequence[Stage], known: Snapshot) -> None:
        self._known = known
        self._weights: dict[str, _Weights | None] = {}
        self._rows: dict[str, float] = {}  # of tokens that many stages read
        self._measured = self._means(everything)

    def of(self, stage: Stage) -> StageDisk:
        size, basis = self._payload(stage)
        if size is None:
            return StageDisk(stage=stage, size=None, scratch=0.0, basis=basis)
        if not KINDS[stage.kind].trains:
            return StageDisk(stage=stage, size=size + FILES_BESIDE, scratch=0.0, basis=basis)
        return StageDisk(
            stage=stage, size=size + FILES_BESIDE + CURVES, scratch=self._scratch(stage, size), basis=basis
        )

    def _payload(self, stage: Stage) -> tuple[float | None, Basis]:
        if stage.kind in LINKED:
            return 0.0, "measured"
        recorded = self._recorded(stage)
        if recorded is not None:  # its files were dropped, or other code made them
            return recorded, "measured"
        if KINDS[stage.kind].trains or stage.kind == "average":
            weights = self._weights_of(stage)
            if weights is None:
                return None, "assumed"
            moments = weights.moments(stage) if stage.kind == "trunk_state" else 0.0
            return weights.checkpoint() + moments, "from shape"
        if stage.kind == "pretrained":
            return self._from_outside(stage)
        if stage.kind == "encode":
            return self._tokens(stage)
        if stage.kind == "corpus":
            return CORPUS_SHARE * self._parts(stage), "assumed"
        if stage.kind in self._measured:
            return TABLE + self._measured[stage.kind] * self._rows_of(stage), "measured"
        return TABLE + ASSUMED_ROW_BYTES.get(stage.kind, ASSUMED_BYTES) * self._rows_of(stage), "assumed"

    def _recorded(self, stage: Stage) -> float | None:
        record = self._known.record(stage.kind, stage.fingerprint)
        return None if record is None else float(sum(size for _, size in record.files.values()))

    def _means(self, stages: Sequence[Stage]) -> dict[str, float]:
        """Bytes a row of every kind of which a stage is finished."""
        sizes: dict[str, float] = defaultdict(float)
        rows: dict[str, float] = defaultdict(float)
        for stage in stages:
            size = self._recorded(stage)
            if size is not None:
                sizes[stage.kind] += max(0.0, size - TABLE)
                rows[stage.kind] += self._rows_of(stage)
        return {kind: size / rows[kind] for kind, size in sizes.items() if rows[kind]}

    def _scratch(self, stage: Stage, size: float) -> float:
        """What a training holds beyond the `size` it leaves, at worst.

        While it saves itself, the old and the new state, and nothing of its result; in the end one state beside the
        result. With `select`, every checkpoint that was the best so far as well.
        """
        weights = self._weights_of(stage)
        assert weights is not None
        state = weights.checkpoint() + weights.moments(stage)
        best = 0.0
        select = stage.spec.get("select")
        if select is not None:
            steps = int(stage.spec["samples"]) // int(stage.spec["training"]["global_batch"])
            best = -(-steps // int(select["every_steps"])) * weights.checkpoint()
        return max(state, 2 * state - size) + best

    def _weights_of(self, stage: Stage) -> _Weights | None:
        origin = model_origin(stage)
        if origin.fingerprint not in self._weights:
            self._weights[origin.fingerprint] = self._count(origin)
        return self._weights[origin.fingerprint]

    def _count(self, origin: Stage) -> _Weights | None:
        shape = model_shape(origin, self._known)
        if shape is not None:
            layers, vocabulary = parameters(shape)
            tied = bool(shape["tie_embeddings"])
            return _Weights(
                count=layers + vocabulary * (1 if tied else 2),
                only_lm=0 if tied else vocabulary,
                tensors=shape["layers"] * TENSORS_A_LAYER[shape["family"]] + (2 if tied else 3),
                width=shape["hidden_size"],
            )
        record = self._known.record(origin.kind, origin.fingerprint)
        if record is None or "parameters" not in record.result:
            return None
        return _Weights(count=int(record.result["parameters"]), only_lm=0, tensors=0, width=0)

    def _from_outside(self, stage: Stage) -> tuple[float | None, Basis]:
        """A model from outside: the files a recipe names, else its weights as they are usually published."""
        if stage.spec["source"] == "folder":
            return float(
                sum((Path(stage.source_path) / name).stat().st_size for name in stage.spec["files"])
            ), "measured"
        weights = self._weights_of(stage)
        return (None, "assumed") if weights is None else (weights.checkpoint(PUBLISHED), "from shape")

    def _tokens(self, stage: Stage) -> tuple[float, Basis]:
        """Token ids, and the numbers that say where groups and segments end."""
        mean, groups, basis = tokens_a_group(stage, self._known)
        segments = responses_a_group(stage, self._known) + 1
        width = 2 if self._vocabulary(stage) <= SMALL_VOCABULARY else 4
        return groups * (mean * width + NUMBER * (segments + 2)), basis

    def _vocabulary(self, encode: Stage) -> int:
        tokenizer = encode.inputs["tokenizer"].stage
        if tokenizer.kind == "tokenizer":
            return int(tokenizer.spec["vocabulary"])
        shape = model_shape(tokenizer, self._known) if tokenizer.kind == "pretrained" else None
        return SMALL_VOCABULARY + 1 if shape is None else int(shape["vocabulary"])

    def _parts(self, corpus: Stage) -> float:
        """Bytes of a corpus's parts."""
        parts = [item.stage for item in corpus.inputs.values() if item.stage.kind == "corpus_part"]
        return sum(self._payload(part)[0] or 0.0 for part in parts)

    def _rows_of(self, stage: Stage) -> float:
        """What a kind's bytes grow with; 1 where that is the stage itself."""
        spec: Mapping[str, Any] = stage.spec
        match stage.kind:
            case "problems" | "pool_problems":
                return float(sum(spec["problems"].values()))
            case "preferences" | "pool_preferences":
                return float(spec["count"])
            case "tokenizer":
                return float(spec["vocabulary"])
            case "candidates_part" | "descriptions_part" | "writings_part" | "judgements":
                return float(texts_asked(stage))
            case "pairs_part" | "split_pairs":
                return float(slots_of(stage))
            case "pool_candidates":
                problems = stage.inputs["problems"].stage.spec["problems"]["test"]
                return float(problems * candidates_a_problem(stage, self._known))
            case "consistent_part":
                return float(slots_of(stage.inputs["pairs"].stage))
            case "score" | "shallow_score":
                return self._responses(stage.inputs["tokens" if stage.kind == "score" else "target_tokens"].stage)
            case _:
                return 1.0

    def _responses(self, encode: Stage) -> float:
        if encode.fingerprint not in self._rows:
            _, groups, _ = tokens_a_group(encode, self._known)
            self._rows[encode.fingerprint] = groups * responses_a_group(encode, self._known)
        return self._rows[encode.fingerprint]
