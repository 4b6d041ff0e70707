"""What a tracker shall show, as plain data: an experiment and its runs. No tracker's library is known here.

A run's `digest` covers everything in it but times, so that a tracker can leave alone what it shows already.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from harness.report.curves import Point
from harness.store.identity import file_digest, fingerprint

Kind = Literal["setting", "variant", "reference", "report", "study", "trial"]
Status = Literal["FINISHED", "FAILED", "KILLED", "RUNNING", "SCHEDULED"]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Something a run read: `digest` of its bytes, `source` its folder in the workdir, `context` what for."""

    name: str
    digest: str
    source: str
    rows: int
    context: Literal["training", "evaluation"]


@dataclass(frozen=True, kw_only=True)
class File:
    """A file to keep with a run: its content, or a path where there is one already."""

    name: str
    content: str | Path

    @property
    def digest(self) -> str:
        if isinstance(self.content, Path):
            return file_digest(self.content)
        return hashlib.sha256(self.content.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class RunView:
    """One run.

    Attributes:
        key: names the run among those of its kind, whatever else changes; stable over processes and workdirs.
        parent: key of the setting a variant belongs to, or of the study a trial belongs to; else "".
        start, end: milliseconds since the epoch.
        note: Markdown, the run's description; a tracker adds where its report is.
        metrics: ascending steps, at most `report.curves.MOST_POINTS`; a single number is one point at step 0.
    """

    kind: Kind
    key: str
    name: str
    status: Status
    start: int
    end: int
    parent: str = ""
    note: str = ""
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, tuple[Point, ...]]
    datasets: tuple[Dataset, ...] = ()
    files: tuple[File, ...] = ()

    def digest(self) -> str:
        return fingerprint(
            {
                "name": self.name,
                "note": self.note,
                "status": self.status,
                "params": self.params,
                "tags": self.tags,
                "metrics": {
                    name: [[point.step, repr(point.value)] for point in points] for name, points in self.metrics.items()
                },
                "datasets": [[one.name, one.digest, one.source, one.rows, one.context] for one in self.datasets],
                "files": {file.name: file.digest for file in self.files},
            }
        )

    def carrying_on(self, shown: RunView) -> RunView:
        """This run with curves that only grow: after what is shown come the points of later steps."""
        metrics = dict(shown.metrics)
        for name, points in self.metrics.items():
            before = metrics.get(name, ())
            metrics[name] = (*before, *(point for point in points if not before or point.step > before[-1].step))
        return replace(self, metrics=metrics)

    def continues(self, shown: RunView) -> bool:
        """Whether something need only be added to what is shown."""
        return (
            self.params == shown.params
            and self.tags.keys() >= shown.tags.keys()
            and set(self.datasets) >= set(shown.datasets)
            and self.metrics == self.carrying_on(shown).metrics
        )


@dataclass(frozen=True, kw_only=True)
class View:
    """An experiment.

    Attributes:
        note: Markdown, shown above the runs.
        whole: False while a run goes on; then runs may still be missing, and what a tracker shows beyond is left alone.
        columns: metrics that settings are compared by, the most important first.
        axes: tags that tell settings apart.
        ordered: whether any setting has a place; else no view puts runs in order of a metric.
    """

    experiment: str
    note: str
    runs: tuple[RunView, ...]
    whole: bool
    columns: tuple[str, ...] = ()
    axes: tuple[str, ...] = ()
    ordered: bool = True
