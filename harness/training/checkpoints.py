"""The complete state of a training between two steps, on disk: safetensors and JSON, nothing pickled, no clock, no
random state.

    <folder>/
      model/          what `RewardModel.save` writes: a trunk state is a usable checkpoint as it stands
      optimizer/      "<moment>/<parameter>": every moment and update count of the optimizer, by torch's distributed
                      checkpoint in safetensors: every process writes its part, any number of processes reads them
      state.json      step, running statistics

What a training resumes from has no `model/`: the weights it trains lie among the moments, as "weight/<parameter>", so
that no process writes what others hold.

Training draws nothing at random (no dropout; order and head are fixed beforehand) and the learning rate is a function
of the step, so this is all there is: the same step reached by any route gives the same bytes. Processes that train
together save and load together; what one of them writes for all is there for all when the call returns.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import distributed
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions
from torch.distributed.checkpoint.state_dict_loader import load as load_parts
from torch.distributed.checkpoint.state_dict_saver import save as save_parts

from harness.errors import CorruptArtifact
from harness.models.distributed import is_main, wait_for_all, world_size
from harness.models.reward_model import RewardModel
from harness.training.monitor import Monitor

MODEL_FOLDER = "model"
OPTIMIZER_FOLDER = "optimizer"
STATE_FILE = "state.json"
PARTIAL_SUFFIX = ".partial"

_COPIED_AT_ONCE = StagingOptions(
    use_pinned_memory=False, use_shared_memory=False, use_async_staging=False, use_non_blocking_copy=False
)


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """Everything but the weights, after `step` updates.

    Attributes:
        step: updates made so far = the next step to run.
        optimizer: tensors by "<moment>/<parameter>", or the folder they were saved to.
        monitor: running statistics.
        has_head: of a state whose trained weights lie with the moments, whether the reward head is one of them; None
            where all weights lie in `model/`.
        forked: whether what goes on from it may train other parameters: those it knows no moments of begin afresh.

    Of a training in memory these are its own, not copies (moments take twice the room of the weights): training on
    changes them, so save a state that is to be kept.
    """

    step: int
    optimizer: dict[str, torch.Tensor] | Path
    monitor: Monitor
    has_head: bool | None = None
    forked: bool = False

    def fork(self) -> Self:
        """The state for a training with other settings, whose statistics begin anew."""
        return replace(self, monitor=Monitor(), forked=True)

    def save(self, directory: Path, model: RewardModel) -> None:
        """Writes a training's state and weights to a folder that must not exist yet; it appears complete or not at
        all."""
        assert isinstance(self.optimizer, dict), "a state that was loaded lies in a folder already"
        partial = _begin(directory)
        model.save(partial / MODEL_FOLDER)
        _write_parts(partial / OPTIMIZER_FOLDER, self.optimizer)
        _complete(partial, directory, {"step": self.step, "monitor": asdict(self.monitor)})

    @classmethod
    def load(cls, directory: Path) -> Self:
        """The state that was saved; weights that do not lie with the moments are those of `MODEL_FOLDER`.

        Raises:
            CorruptArtifact: the folder does not hold a training state.
        """
        try:
            content = json.loads((directory / STATE_FILE).read_text(encoding="utf-8"))
            state = cls(
                step=content["step"],
                optimizer=directory / OPTIMIZER_FOLDER,
                monitor=Monitor(**content["monitor"]),
                has_head=content.get("has_head"),
            )
            if not (directory / OPTIMIZER_FOLDER).is_dir():
                raise FileNotFoundError(f"it lacks its {OPTIMIZER_FOLDER}")
        except (FileNotFoundError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise CorruptArtifact("a training state must be complete", f"{directory} is not: {error}") from error
        return state

    def restore(self, tensors: Mapping[str, torch.Tensor], parameters: Mapping[str, torch.nn.Parameter]) -> None:
        """Puts the moments back, in place, and the weights that lie among them.

        Args:
            tensors: of a new optimizer, by "<moment>/<parameter>"; where the model is sharded, sharded like it.
            parameters: those that are trained, by name.

        Raises:
            CorruptArtifact: the state's are not those of these parameters.
        """
        if isinstance(self.optimizer, dict):
            _require_same(self.optimizer.keys(), tensors.keys())
            for name, tensor in tensors.items():
                tensor.copy_(self.optimizer[name])
            return
        if self.has_head is not None:
            tensors = {**tensors, **_weights(parameters)}
        reader = HuggingFaceStorageReader(str(self.optimizer))
        saved = reader.read_metadata().state_dict_metadata.keys()
        if self.forked:
            tensors = {name: tensor for name, tensor in tensors.items() if name in saved}
        else:
            _require_same(saved, tensors.keys())
        with _alone_or_together() as alone, _as_it_was():
            load_parts(_with_a_dimension(tensors), storage_reader=reader, no_dist=alone)


def _begin(directory: Path, group: distributed.ProcessGroup | None = None) -> Path:
    """The folder that becomes `directory` when it is complete."""
    partial = directory.with_name(directory.name + PARTIAL_SUFFIX)
    if is_main():
        shutil.rmtree(partial, ignore_errors=True)
        (partial / OPTIMIZER_FOLDER).mkdir(parents=True)
    wait_for_all(group)
    return partial


def _write_parts(
    directory: Path, tensors: Mapping[str, torch.Tensor], group: distributed.ProcessGroup | None = None
) -> None:
    """Writes this process's part of the tensors; all are written when it returns."""
    writer = HuggingFaceStorageWriter(str(directory), save_distributed=True)
    with _alone_or_together() as alone, _as_it_was():
        save_parts(_with_a_dimension(tensors), storage_writer=writer, process_group=group, no_dist=alone)
    wait_for_all(group)
    if is_main():
        for path in directory.iterdir():
            _sort_metadata(path)


def _complete(
    partial: Path, directory: Path, content: Mapping[str, Any], group: distributed.ProcessGroup | None = None
) -> None:
    """Gives the folder its name, so that it is there for all processes."""
    if is_main():
        (partial / STATE_FILE).write_text(json.dumps(content, sort_keys=True) + "\n", encoding="utf-8")
        partial.rename(directory)
    wait_for_all(group)


def _weights(parameters: Mapping[str, torch.nn.Parameter]) -> dict[str, torch.Tensor]:
    """The weights themselves, by "weight/<parameter>"."""
    return {f"weight/{name}": parameter.detach() for name, parameter in parameters.items()}


@contextlib.contextmanager
def _alone_or_together() -> Iterator[bool]:
    """Whether this process saves and loads alone; that torch warns of it, as of a mistake, is left out."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield world_size() == 1


@contextlib.contextmanager
def _as_it_was() -> Iterator[None]:
    """What went wrong in one of the processes, as it was there: torch's collection of them is no `Exception`."""
    try:
        yield
    except CheckpointException as error:
        first, _ = next(iter(error.failures.values()))
        raise first from error


def _sort_metadata(path: Path) -> None:
    """Puts the entries of a safetensors file's metadata in order, in place: they are written in a random one, and the
    same state must have the same bytes."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(size)
        assert len(text) == size, path
        file.seek(8)
        file.write(text)


def _with_a_dimension(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Views of the tensors, single numbers as vectors: safetensors gives no slices of what has no dimension."""
    return {name: tensor if tensor.ndim else tensor.view(1) for name, tensor in tensors.items()}


def _require_same(saved: Set[str], needed: Set[str]) -> None:
    if saved != needed:
        raise CorruptArtifact(
            "a training goes on with the loss weights and the model it began with",
            f"moments differ in {sorted(saved ^ needed)[:3]}",
        )


@dataclass(kw_only=True)
class ResumePoint:
    """Where a training saves itself while it runs, and goes on from after an interruption.

    Attributes:
        directory: of this one training; holds its latest state as `step-<number>`.
        every_seconds: time between saves; 0 saves after every step.
        beside: states are copied to the CPU's memory and written while training goes on.
    """

    directory: Path
    every_seconds: float
    beside: bool = False
    _writing: Future[None] | None = field(default=None, init=False)
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1), init=False)
    _copies: DefaultStager = field(default_factory=lambda: DefaultStager(_COPIED_AT_ONCE), init=False)

    def latest(self) -> tuple[int, Path] | None:
        """Step and folder of the latest complete state, if there is one."""
        return max(self._found(), default=None)

    def save(self, state: TrainingState, model: RewardModel) -> None:
        """Saves the state, then drops the others. One already saved at this step is the same state.

        Raises:
            OSError: this one could not be written, or the one before that was written beside the training.
        """
        self.finish()
        others = self._found()
        if any(step == state.step for step, _ in others):
            return
        assert isinstance(state.optimizer, dict), "a state that was loaded lies in a folder already"
        trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        content = {"step": state.step, "monitor": asdict(state.monitor), "has_head": model.has_head}
        write = functools.partial(
            self._write, self.directory / f"step-{state.step}", content, [folder for _, folder in others]
        )
        tensors = {**state.optimizer, **_weights(trained)}
        if self.beside:
            self._writing = self._thread.submit(write, self._copies.stage(tensors), _group_of_threads())
        else:
            write(tensors, None)

    def finish(self) -> None:
        """Returns when no state is being written any more.

        Raises:
            OSError: it could not be written.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _write(
        self,
        directory: Path,
        content: Mapping[str, Any],
        others: Sequence[Path],
        tensors: Mapping[str, torch.Tensor],
        group: distributed.ProcessGroup | None,
    ) -> None:
        partial = _begin(directory, group)
        _write_parts(partial / OPTIMIZER_FOLDER, tensors, group)
        _complete(partial, directory, content, group)
        if is_main():
            for folder in others:
                shutil.rmtree(folder)
        wait_for_all(group)

    def _found(self) -> list[tuple[int, Path]]:
        folders = self.directory.iterdir() if self.directory.exists() else ()
        return [(int(match[1]), path) for path in folders if (match := re.fullmatch(r"step-(\d+)", path.name))]


@functools.cache
def _group_of_threads() -> distributed.ProcessGroup | None:
    """The processes, for their threads that write: these must not wait among what the trainings themselves exchange."""
    return distributed.new_group(backend="gloo") if world_size() > 1 else None
