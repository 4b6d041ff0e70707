"""A training in bf16 that saves itself after every step; as a program, one that can be killed and started again.

`interrupted_training.py FOLDER DEVICE STEP` dies without a word at STEP, before it is saved; at 0 it does not. Started
again it goes on. At the end it writes `FOLDER/state`, what `TrainingState.save` writes, and how many steps it made
itself.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from harness.events import Event, Metrics
from harness.training.checkpoints import ResumePoint
from tests.toys.small_training import build, train_case

CASE = "both-losses"
KILLED = 9
STEPS_FILE = "steps"


def main(folder: Path, device: str, killed_at: int) -> None:
    made = []

    def hear(event: Event) -> None:
        if isinstance(event, Metrics):
            made.append(event.step)
            if event.step == killed_at:
                os._exit(KILLED)

    model = build(CASE)
    resume = ResumePoint(directory=folder / "resume", every_seconds=0, beside=device != "cpu")
    result = train_case(CASE, model, device=device, precision="bf16", emit=hear, resume=resume)
    result.state.save(folder / "state", model)
    (folder / STEPS_FILE).write_text(str(len(made)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
