"""What did not fit `max_tokens`: candidates that were cut, pairs that were left out. From the records of encode."""

from __future__ import annotations

from dataclasses import dataclass

from harness.pipeline.graph import Stage
from harness.pipeline.tokens import ENCODE
from harness.report.status import Statuses
from harness.report.words import count, share
from harness.store.record import Record

ALARM = 0.01
"""The share of a task's candidates or pairs above which a report warns."""


@dataclass(frozen=True, kw_only=True)
class Truncation:
    """Of one set of tokens.

    Attributes:
        lost, read: candidates or texts of which anything was cut, of all; of pairs those left out whole.
        most, longest: the `max_tokens` that held, and the one that would fit all.
    """

    lost: int
    read: int
    most: int
    longest: int

    @classmethod
    def of(cls, stage: Stage, record: Record) -> Truncation:
        pairs, result = stage.spec.content == "pairs", record.result
        lost = result["too_long_dropped"] if pairs else result["cut"]
        read = result["groups"] + lost if pairs else result["responses"]
        return cls(lost=lost, read=read, most=stage.spec.max_tokens, longest=result["longest"])

    @property
    def share(self) -> str:
        return share(self.lost, self.read)


def truncation_alarms(statuses: Statuses) -> tuple[str, ...]:
    """A line for each set of a task's candidates or pairs of which more than `ALARM` was cut or left out.

    Pairs that are replaced by the next, and texts that only a base model learns from, raise none.
    """
    lines = []
    for status in statuses.values():
        stage, record = status.stage, status.record
        if stage.kind is not ENCODE or record is None:
            continue
        found, content, result = Truncation.of(stage, record), stage.spec.content, record.result
        replaced = content == "texts" or stage.spec.limit is not None
        if replaced or found.lost <= ALARM * found.read:
            continue
        what, how = "pairs", "were left out"
        if content == "candidates":
            what = "candidates"
            how = (
                f"were cut ({count(result['prompts_cut'])} lost the beginning of their prompt, "
                f"{count(result['responses_cut'])} their own end)"
            )
        lines.append(
            f"{stage.label.removeprefix('encode ')}: {count(found.lost)} of {count(found.read)} {what} ({found.share}) "
            f"{how} at {count(found.most)} tokens; max_tokens: {found.longest} would fit all"
        )
    return tuple(lines)
