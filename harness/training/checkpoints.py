"""The complete state of a training between two steps, on disk: safetensors and JSON, nothing pickled, no clock, no
random state.

    <folder>/
      model/                  what `RewardModel.save` writes: a trunk state is a usable checkpoint as it stands
      optimizer.safetensors   "<moment>/<parameter>": every moment and update count of the optimizer
      state.json              step, running statistics

Training draws nothing at random (no dropout; order and head are fixed beforehand) and the learning rate is a function
of the step, so this is all there is: the same step reached by any route gives the same bytes.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from safetensors.torch import load_file, save_file

from harness.errors import CorruptArtifact
from harness.models.reward_model import RewardModel
from harness.training.monitor import Monitor

MODEL_FOLDER = "model"
OPTIMIZER_FILE = "optimizer.safetensors"
STATE_FILE = "state.json"
PARTIAL_SUFFIX = ".partial"


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """Everything but the weights, after `step` updates.

    Attributes:
        step: updates made so far = the next step to run.
        optimizer: tensors by "<moment>/<parameter>".
        monitor: running statistics.

    Of a training in memory these are its own, not copies (moments take twice the room of the weights): training on
    changes them, so save a state that is to be kept.
    """

    step: int
    optimizer: dict[str, torch.Tensor]
    monitor: Monitor

    def save(self, directory: Path, model: RewardModel) -> None:
        """Writes state and weights to a folder that must not exist yet; it appears complete or not at all."""
        partial = directory.with_name(directory.name + PARTIAL_SUFFIX)
        shutil.rmtree(partial, ignore_errors=True)
        model.save(partial / MODEL_FOLDER)
        save_file({name: tensor.contiguous() for name, tensor in self.optimizer.items()}, partial / OPTIMIZER_FILE)
        content = {"step": self.step, "monitor": self.monitor.as_json()}
        (partial / STATE_FILE).write_text(json.dumps(content, sort_keys=True) + "\n", encoding="utf-8")
        partial.rename(directory)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """The state `save` wrote; its weights are `RewardModel.load(directory / MODEL_FOLDER)`.

        Raises:
            CorruptArtifact: the folder does not hold a training state.
        """
        try:
            content = json.loads((directory / STATE_FILE).read_text(encoding="utf-8"))
            optimizer = load_file(directory / OPTIMIZER_FILE)
            return cls(step=content["step"], optimizer=optimizer, monitor=Monitor(**content["monitor"]))
        except (FileNotFoundError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise CorruptArtifact("a training state must be complete", f"{directory} is not: {error}") from error


@dataclass(frozen=True, kw_only=True)
class ResumePoint:
    """Where a training saves itself while it runs, and goes on from after an interruption.

    Attributes:
        directory: of this one training; holds its latest state as `step-<number>`.
        every_seconds: time between saves; 0 saves after every step.
    """

    directory: Path
    every_seconds: float

    def latest(self) -> tuple[int, Path] | None:
        """Step and folder of the latest complete state, if there is one."""
        return max(self._found(), default=None)

    def save(self, state: TrainingState, model: RewardModel) -> None:
        """Saves the state, then drops the others. One already saved at this step is the same state."""
        others = self._found()
        if any(step == state.step for step, _ in others):
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        state.save(self.directory / f"step-{state.step}", model)
        for _, folder in others:
            shutil.rmtree(folder)

    def _found(self) -> list[tuple[int, Path]]:
        folders = self.directory.iterdir() if self.directory.exists() else ()
        return [(int(match[1]), path) for path in folders if (match := re.fullmatch(r"step-(\d+)", path.name))]

    def clear(self) -> None:
        """Removes all of it: the training's results are kept elsewhere by now."""
        shutil.rmtree(self.directory, ignore_errors=True)
