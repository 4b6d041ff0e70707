"""The live view of a run: a reader of events, on a terminal a table that renews itself, elsewhere plain lines."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from harness.cli.console import errors
from harness.execution.executor import Outcome, Task
from harness.plan.cost import Estimate
from harness.report.words import duration, quantity
from harness.store.record import EVENTS
from harness.store.store import Store

SHOWN_METRICS = ("loss", "loss_rm", "loss_lm", "accuracy")
REFRESH_SECONDS = 0.5
PLAIN_LINE_SECONDS = 15.0


class _Running:
    """A task under way: what its events file says so far, read on from where the last look ended."""

    def __init__(self, task: Task, store: Store) -> None:
        self.task = task
        self.began = time.time()
        self.progress: Mapping[str, Any] = {}
        self.metrics: Mapping[str, float] = {}
        self._store = store
        self._offset = 0

    def look(self) -> None:
        try:
            path = self._store.partial(self.task.kind, self.task.fingerprint) / EVENTS
            with path.open("rb") as file:
                file.seek(0, 2)
                if file.tell() < self._offset:  # rewritten after a resume
                    self._offset = 0
                file.seek(self._offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._offset += len(line)
                    self._take(json.loads(line))
        except FileNotFoundError:
            return  # not begun yet, or just finished and moved

    def _take(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "progress":
            self.progress = event
        elif event["event"] == "metrics":
            self.metrics = event["values"]

    @property
    def share(self) -> float:
        return self.progress["done"] / max(1, self.progress["total"]) if self.progress else 0.0

    def told(self) -> str:
        parts = []
        if self.progress:
            parts.append(f"{self.progress['done']:,}/{self.progress['total']:,} {self.progress['unit']}")
        parts += [f"{name} {self.metrics[name]:.3f}" for name in SHOWN_METRICS if name in self.metrics]
        if "tokens_per_second" in self.metrics:
            parts.append(f"{quantity(self.metrics['tokens_per_second'])} tokens/s")
        return "  ".join(parts)


class LiveView:
    """Shows a run while it goes; a listener of the runner and a context manager."""

    def __init__(self, store: Store, estimate: Estimate) -> None:
        self._store = store
        self._console = errors()
        self._seconds = {cost.stage.fingerprint: cost.seconds for cost in estimate.costs}
        self._expected = estimate.seconds
        self._total = len(estimate.costs)
        self._work = sum(self._seconds.values())
        self._work_done = 0.0
        self._done = 0
        self._failed = 0
        self._running: dict[str, _Running] = {}
        self._began = time.time()
        self._last = 0.0
        self._live: Live | None = None

    def __enter__(self) -> LiveView:
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.__enter__()
        else:
            self._console.print(f"running {self._total} stages, about {duration(self._expected)}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, trace)

    def started(self, task: Task) -> None:
        self._running[task.fingerprint] = _Running(task, self._store)

    def finished(self, outcome: Outcome) -> None:
        self._running.pop(outcome.task.fingerprint, None)
        if outcome.status == "done":
            self._done += 1
            self._work_done += self._seconds.get(outcome.task.fingerprint, 0.0)
        elif outcome.status in ("failed", "corrupt"):
            self._failed += 1
            self._console.print(
                f"failed: {outcome.task.label}: {outcome.reason}", markup=False, soft_wrap=True, style="red"
            )
        if self._live is None and outcome.status == "done":
            self._console.print(
                f"[{self._done}/{self._total}] {outcome.task.label} ({duration(outcome.seconds)})", markup=False
            )

    def tick(self) -> None:
        now = time.time()
        if now - self._last < (REFRESH_SECONDS if self._live is not None else PLAIN_LINE_SECONDS):
            return
        self._last = now
        for running in self._running.values():
            running.look()
        if self._live is not None:
            self._live.update(self._picture(), refresh=True)
        else:
            for running in self._running.values():
                if running.progress:
                    self._console.print(f"  {running.task.label}: {running.told()}", markup=False)

    def _remaining(self) -> str:
        """Seconds left by the share of expected work that is done; the estimate itself until some is."""
        partly = sum(self._seconds.get(key, 0.0) * running.share for key, running in self._running.items())
        share = (self._work_done + partly) / self._work if self._work else 0.0
        spent = time.time() - self._began
        left = spent / share - spent if share > 0.05 else max(0.0, self._expected - spent)
        return f"about {duration(left)} left"

    def _picture(self) -> Group:
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        for running in self._running.values():
            bar = ProgressBar(total=1.0, completed=running.share, width=16)
            spent = duration(time.time() - running.began)
            table.add_row(escape(running.task.label), bar, escape(running.told()), spent)
        head = f"{self._done}/{self._total} stages  {duration(time.time() - self._began)}  {self._remaining()}"
        if self._failed:
            head += f"  {self._failed} failed"
        return Group(Text(head, style="bold"), table)
