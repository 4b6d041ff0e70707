"""A training of seconds that several test processes can do alike; as a program, one of several processes that do it.

`torchrun --nproc-per-node 2 small_training.py FOLDER SHARING[,SHARING] DEVICE [CASE ...]` trains cases of `CASES`, all
of them where none is named, and writes `FOLDER/<sharing>/<case>/`: curve.json, what `TrainingState.save` writes as
`state`, and as `resume` what a second call goes on from.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.events import Event, Metrics
from harness.models.distributed import is_main, world_size
from harness.models.losses import LossWeights
from harness.models.reward_model import Precision, Recompute, RewardModel
from harness.models.sources import tiny_model
from harness.training.checkpoints import ResumePoint
from harness.training.loop import TrainingResult, TrainingRuntime, TrainingSettings, train
from harness.training.optimizer import AdamWSettings
from harness.training.parallel import Parallel, Sharing
from harness.training.schedules import Wsd

VOCABULARY = 61
GLOBAL_BATCH = 6
STEPS = 6
HALF = 3
SETTINGS = TrainingSettings(
    global_batch=GLOBAL_BATCH,
    schedule=Wsd(peak=5e-3, warmup_steps=2, decay_start=4, decay_steps=2),
    loss=LossWeights(rm=1.0, lm=1.0),
    optimizer=AdamWSettings(weight_decay=0.1, clip_norm=0.5),
)
RUNTIME = TrainingRuntime(row_tokens=64, rows_per_micro_batch=1, log_every=1, loss_balance_every=3)
ORDER = np.random.default_rng(0).permutation(40)[: GLOBAL_BATCH * STEPS]

# By name: the model's family and whether its embeddings are tied, and what is set otherwise.
CASES: Mapping[str, tuple[str, bool, dict[str, Any]]] = {
    "both-losses": ("llama", False, {}),
    "tied": ("qwen2", True, {}),
    "turned": ("llama", False, {"turned": np.random.default_rng(1).random(GLOBAL_BATCH * STEPS) < 0.5}),
    "rm-only": ("llama", False, {"loss": LossWeights(rm=1.0, lm=0.0)}),
    "lm-only": ("llama", True, {"loss": LossWeights(rm=0.0, lm=1.0, lm_normalization="sequence")}),
    "probe": ("llama", False, {"loss": LossWeights(rm=1.0, lm=0.0), "frozen_backbone": True}),
    "one-row": ("llama", True, {"row_tokens": 100_000}),
    "bf16": ("qwen2", False, {"precision": "bf16"}),
    "recomputed": ("llama", False, {"activation_checkpointing": True}),
    "recomputed-in-part": ("llama", False, {"activation_checkpointing": "selective"}),
}


class Pairs:
    """Pairs of very different lengths, numbered."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.groups = [
            [
                rng.integers(0, VOCABULARY, size)
                for size in (rng.integers(0, 9), rng.integers(1, 25), rng.integers(1, 12))
            ]
            for _ in range(40)
        ]

    def __len__(self) -> int:
        return len(self.groups)

    def group(self, index: int, /) -> list[Any]:
        return self.groups[index]


def build(case: str) -> RewardModel:
    family, tie, _ = CASES[case]
    return small_model(family, tie=tie)


def small_model(family: str, *, tie: bool) -> RewardModel:
    backbone = tiny_model(
        family,
        vocabulary=VOCABULARY,
        hidden_size=32,
        layers=2,
        heads=2,  # of 16 channels, the fewest that FlexAttention takes on GPUs
        key_value_heads=1,
        intermediate_size=48,
        max_positions=64,
        tie_embeddings=tie,
        seed=1,
    )
    return RewardModel(backbone, head_seed=1)


def train_case(
    case: str,
    model: RewardModel,
    *,
    device: str = "cpu",
    sharing: str = "ddp",
    precision: Precision = "fp32",
    stop: int = STEPS,
    emit: Callable[[Event], None] = lambda event: None,
    activation_checkpointing: Recompute = False,
    compile: bool | None = None,  # noqa: A002  the recipe's name
    **others: Any,
) -> TrainingResult:
    """Train a case's model up to `stop`, alone or with the other processes of this world."""
    changes = {"activation_checkpointing": activation_checkpointing, "compile": compile, **CASES[case][2]}
    of_runtime = {
        name: changes.pop(name) for name in ("row_tokens", "activation_checkpointing", "compile") if name in changes
    }
    others |= {"turned": changes.pop("turned")} if "turned" in changes else {}
    runtime = replace(RUNTIME, device=device, sharing=sharing, **of_runtime)  # type: ignore[arg-type]
    settings = replace(SETTINGS, **{"precision": precision, **changes})
    return train(model, [Pairs()], ORDER, settings=settings, runtime=runtime, stop_step=stop, emit=emit, **others)


def curve_of(events: list[Event]) -> list[dict[str, float]]:
    """What was logged of each step, without speeds."""
    return [
        {name: value for name, value in event.values.items() if not name.endswith(("second", "share"))}
        for event in events
        if isinstance(event, Metrics)
    ]


def main(folder: Path, sharings: Iterable[Sharing], device: str, cases: Sequence[str]) -> None:
    for sharing, case in itertools.product(sharings, cases):
        Parallel.on(device, sharing)
        shares = sharing != "ddp" and world_size() > 1
        model, events = build(case), []
        target = folder / sharing / case
        if is_main():
            target.mkdir(parents=True)
        if shares:  # as stages do it
            model.save(target / "start")
            model = RewardModel.load(target / "start", later=True)
        # in two calls, the first saved on its way, as fine-tuning with selection does it
        resume = ResumePoint(directory=target / "resume", every_seconds=0, beside=True)  # as on GPUs
        half = train_case(case, model, device=device, sharing=sharing, stop=HALF, emit=events.append, resume=resume)
        rest: dict[str, Any] = {"state": half.state}
        if shares:  # as after an interruption
            model = RewardModel.load(target / "start", later=True)
            rest = {"resume": replace(resume, every_seconds=1e9)}
        result = train_case(case, model, device=device, sharing=sharing, emit=events.append, **rest)
        result.state.save(target / "state", model)
        if is_main():
            (target / "curve.json").write_text(json.dumps(curve_of(events)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2].split(","), sys.argv[3], sys.argv[4:] or list(CASES))  # type: ignore[arg-type]
