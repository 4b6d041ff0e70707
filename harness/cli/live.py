"""The live view of a run: a reader of events, on a terminal a table that renews itself, elsewhere plain lines."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from rich.cells import cell_len
from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from harness.cli.console import UNBOUNDED, errors
from harness.errors import StoreError
from harness.events import Event, EventFollower, Metrics, Progress, Started
from harness.execution.executor import Outcome, StageTask
from harness.plan.cost import Estimate
from harness.report.words import duration, plural, quantity
from harness.store.record import EVENTS
from harness.store.store import Store

SHOWN_METRICS = ("loss", "loss_rm", "loss_lm", "accuracy")
REFRESH_SECONDS = 0.5
PLAIN_LINE_SECONDS = 15.0
BAR_WIDTH = 16
ENOUGH_SHARE, ENOUGH_SECONDS = 0.05, 10.0  # of work done, before the rest is estimated by it


class _Running:
    """A task under way: what its events file says so far, read on from where the last look ended."""

    def __init__(self, task: StageTask, store: Store) -> None:
        self.task = task
        self.began = time.time()
        self.progress: Progress | None = None
        self.metrics: Mapping[str, float] = {}
        self._store = store
        self._events = EventFollower()
        self._readable = True

    def look(self) -> str:
        """Take in what came since the last look; what keeps it from being shown, said once, "" if nothing does."""
        if self._readable:
            try:
                for event in self._events.new(self._store.partial(self.task.kind, self.task.fingerprint) / EVENTS):
                    self._take(event)
            except StoreError as error:
                self._readable = False
                return f"progress is not shown: {error.one_line()}"
        return ""

    def close(self) -> None:
        self._events.close()

    def _take(self, event: Event) -> None:
        if isinstance(event, Started):  # what an earlier attempt did is counted anew
            self.progress, self.metrics = None, {}
        elif isinstance(event, Progress):
            self.progress = event
        elif isinstance(event, Metrics):
            self.metrics = event.values

    @property
    def share(self) -> float:
        """How much of it is done; 0 where nobody knows how much there is."""
        return self.progress.done / self.progress.total if self.progress and self.progress.total else 0.0

    def facts(self, width: int = UNBOUNDED) -> str:
        """Progress, then as many metrics as fit on so many columns."""
        parts = []
        if self.progress:
            of = f"/{self.progress.total:,}" if self.progress.total else ""
            parts.append(f"{self.progress.done:,}{of} {self.progress.unit}")
        parts += [f"{name} {self.metrics[name]:.3f}" for name in SHOWN_METRICS if name in self.metrics]
        if "tokens_per_second" in self.metrics:
            parts.append(f"{quantity(self.metrics['tokens_per_second'])} tokens/s")
        while parts and cell_len("  ".join(parts)) > width:
            parts.pop()
        return "  ".join(parts)


class LiveView:
    """Shows a run while it goes; a listener of the runner and a context manager.

    It only shows: whatever goes wrong in it is said once, and the run goes on without it.
    """

    def __init__(self, store: Store, estimate: Estimate, before: int = 0) -> None:
        """`before` counts the stages of the same plan that were finished earlier."""
        self._store = store
        self._console = errors()
        self._console.soft_wrap = False  # a line that the terminal folds breaks the table that renews itself
        self._seconds = {cost.stage.fingerprint: cost.seconds for cost in estimate.costs}
        self._expected = estimate.seconds if estimate.speed_basis == "measured" else None
        self._total = before + len(estimate.costs)
        self._before = before
        self._work = sum(self._seconds.values())
        self._work_done = 0.0
        self._done = 0
        self._failed = 0
        self._running: dict[str, _Running] = {}
        self._began = time.time()
        self._last = 0.0
        self._waited_for: set[str] = set()
        self._live: Live | None = None
        self._works = True

    def __enter__(self) -> Self:
        self._show(self._begin)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._show(self._end)
        for running in self._running.values():
            running.close()

    def started(self, task: StageTask) -> None:
        self._running[task.fingerprint] = _Running(task, self._store)

    def finished(self, outcome: Outcome) -> None:
        running = self._running.pop(outcome.task.fingerprint, None)
        if running is not None:
            running.close()
        self._show(lambda: self._tell_end(outcome))

    def tick(self) -> None:
        self._show(self._look)

    def _show(self, part: Callable[[], None]) -> None:
        if not self._works:
            return
        try:
            part()
        except Exception as error:  # noqa: BLE001  a full disk under a log, a terminal that went away, a fault of ours
            self._works = False
            with contextlib.suppress(Exception):  # where nothing can be printed, nothing can be said
                self._end()
            with contextlib.suppress(Exception):
                self._console.print(
                    f"the run continues but is no longer shown: {type(error).__name__}: {error}",
                    soft_wrap=True,
                )

    def _begin(self) -> None:
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.__enter__()
        else:
            expected = "" if self._expected is None else f", about {duration(self._expected)}"
            self._console.print(f"running {plural(self._total - self._before, 'stage')}{expected}")

    def _end(self) -> None:
        if self._live is not None:
            self._live.__exit__(None, None, None)

    def _tell_end(self, outcome: Outcome) -> None:
        if outcome.status == "done":
            self._done += 1
            self._work_done += self._seconds.get(outcome.task.fingerprint, 0.0)
        elif outcome.status in ("failed", "corrupt"):
            self._failed += 1
            self._console.print(f"failed: {outcome.task.label}: {outcome.reason}", soft_wrap=True, style="red")
        elif outcome.status == "busy" and outcome.task.fingerprint not in self._waited_for:
            self._waited_for.add(outcome.task.fingerprint)
            self._console.print(f"waiting for {outcome.task.label}, which another command is computing", soft_wrap=True)
        if self._live is None and outcome.status == "done":
            done = f"[{self._before + self._done}/{self._total}]"
            self._console.print(f"{done} {outcome.task.label} ({duration(outcome.seconds)})")

    def _look(self) -> None:
        now = time.time()
        if now - self._last < (REFRESH_SECONDS if self._live is not None else PLAIN_LINE_SECONDS):
            return
        self._last = now
        for running in self._running.values():
            fault = running.look()
            if fault:
                self._console.print(f"{running.task.label}: {fault}", soft_wrap=True, style="yellow")
        if self._live is not None:
            self._live.update(self._picture(), refresh=True)
        else:
            for running in self._running.values():
                if running.progress:
                    self._console.print(f"  {running.task.label}: {running.facts()}")

    def _remaining(self) -> str:
        """Time left by the share of work that is done; until some is, by the estimate if it rests on measurements."""
        partly = sum(self._seconds.get(key, 0.0) * running.share for key, running in self._running.items())
        share = (self._work_done + partly) / self._work if self._work else 0.0
        spent = time.time() - self._began
        if share > ENOUGH_SHARE and spent > ENOUGH_SECONDS:
            return f"about {duration(spent / share - spent)} left"
        return "" if self._expected is None else f"about {duration(max(0.0, self._expected - spent))} left"

    def _picture(self) -> Group:
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        for _ in range(4):
            table.add_column(no_wrap=True, overflow="ellipsis")
        spent = {key: duration(time.time() - running.began) for key, running in self._running.items()}
        labels = max((cell_len(running.task.label) for running in self._running.values()), default=0)
        taken = labels + BAR_WIDTH + max(map(len, spent.values()), default=0) + 4 * 2  # and gaps
        for key, running in self._running.items():
            bar = ProgressBar(total=1.0, completed=running.share, width=BAR_WIDTH)
            table.add_row(running.task.label, bar, running.facts(self._console.width - taken), spent[key])
        done = self._before + self._done
        stages = f"{done}/{self._total} stages" if self._total else plural(done, "stage")
        head = f"{stages}  {duration(time.time() - self._began)}  {self._remaining()}"
        if self._failed:
            head += f"  {self._failed} failed"
        return Group(Text(head, style="bold"), table)
