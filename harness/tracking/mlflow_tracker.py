"""MLflow as a view of the store. This module and `mlflow_database` alone import mlflow.

Runs are found by tags, so that nothing is shown twice, whoever shows it from wherever. MLflow keeps parameters and
points of metrics for ever: a run that holds others than it should is made anew.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from mlflow import MlflowClient
from mlflow.entities import Dataset as MlflowDataset
from mlflow.entities import DatasetInput, Experiment, InputTag, Metric, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from harness.errors import MissingRequirement
from harness.tracking.places import without_secrets
from harness.tracking.shared_views import CURVES, TABLE, shared_views
from harness.tracking.tracker import Addresses, Applied
from harness.tracking.view import Dataset, Point, RunView, View
from harness.tracking.words import DIFFERENCE, ESTIMATE, LONGEST_TAG, clipped, first_line, plain

# MLflow's limits of one request, and how many runs it answers with.
METRICS_A_BATCH, PARAMS_A_BATCH, TAGS_A_BATCH, RUNS_A_PAGE = 1_000, 100, 100, 500
MOST_COMPARED = 100  # beyond it the comparison page is too slow to use

KIND, DIGEST, CURRENT, COMPARED = "harness.kind", "harness.digest", "harness.current", "harness.compared"
PARENT, NOTE, CONTEXT = "mlflow.parentRunId", "mlflow.note.content", "mlflow.data.context"
EXPERIMENT_KIND = ("mlflow.experimentKind", "custom_model_development")  # else the page asks what kind it is
SIDEBAR = "workflowType=machine_learning"  # else the pages of language-model applications stand beside the runs
OURS = ("harness.", "axis.", "interval.", "code.", "environment.", "stage.", "seeds.", "recipe.", ESTIMATE, DIFFERENCE)

Name = tuple[str, str]  # kind and key of a run
Have = dict[str, set[tuple[int, str]]]  # metric -> steps with values, as text: NaN equals itself
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Missing:
    """What a run lacks of what it should hold."""

    params: Mapping[str, str]
    metrics: Mapping[str, Sequence[Point]]
    datasets: Sequence[Dataset]


class MlflowTracker:
    """Tracker on any MLflow tracking URI.

    Args:
        artifacts: where files go, for a database; None where a server knows itself.
        answered: called after every few requests that were answered, so that whoever waits can tell slow from stuck.
    """

    def __init__(self, uri: str, artifacts: Path | None = None, answered: Callable[[], None] = lambda: None) -> None:
        self._uri = uri
        self._artifacts = artifacts
        self._answered = answered
        with self._answering():
            self._client = MlflowClient(tracking_uri=uri)

    def show(self, view: View) -> Applied:
        with self._answering():
            experiment = self._experiment(view)
            self._answered()
            existing = self._runs(experiment.experiment_id)
            counts = dict.fromkeys(("created", "updated", "replaced", "unchanged"), 0)
            ids: dict[str, str] = {}
            for run in view.runs:
                found = existing.pop((run.kind, run.key), None)
                how, run_id = self._show_run(experiment.experiment_id, run, found, ids.get(run.parent, ""), view.whole)
                self._answered()
                counts[how] += 1
                ids[run.key] = run_id
            retired = sum(self._retire(run) for run in existing.values()) if view.whole else 0
            return Applied(**counts, retired=retired)

    def addresses(self, experiment: str, base: str) -> Addresses:
        with self._answering():
            found = self._client.get_experiment_by_name(experiment)
            if found is None:
                raise MissingRequirement(
                    f"MLflow must have the experiment {experiment!r}",
                    f"{without_secrets(self._uri)} has none",
                    "run the recipe, or `harness sync` it",
                )
            runs = [run for run in self._runs(found.experiment_id).values() if run.data.tags.get(COMPARED) == "yes"]
            settings = [run for run in runs if run.data.tags[KIND] == "setting"]
            runs = sorted(settings if len(settings) > 1 else runs, key=lambda run: str(run.info.run_name))
            page = f"{base.rstrip('/')}/#/experiments/{quote(found.experiment_id)}/runs?{SIDEBAR}"
            ids = json.dumps([run.info.run_id for run in runs[:MOST_COMPARED]], separators=(",", ":"))
            compare = f"runs={quote(ids)}&experiments={quote(json.dumps([found.experiment_id]))}"
            return Addresses(
                experiment=page,
                table=f"{page}&viewStateShareKey={TABLE}",
                curves=f"{page}&viewStateShareKey={CURVES}&compareRunsMode=CHART",
                comparison=f"{base.rstrip('/')}/#/compare-runs?{compare}&{SIDEBAR}",  # that page wants `runs` first
            )

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except (MlflowException, SQLAlchemyError, OSError) as error:
            reason = first_line(error)
            raise MissingRequirement(
                "MLflow must answer",
                f"{without_secrets(self._uri)} does not: {plain(clipped(without_secrets(reason), 300))}",
                "see that it runs, then `harness sync` the recipe",
            ) from error

    # ------------------------------------------------------------------------------------------- experiment

    def _experiment(self, view: View) -> Experiment:
        found = self._client.get_experiment_by_name(view.experiment)
        if found is None:
            place = None if self._artifacts is None else self._artifacts.resolve().as_uri()
            found = self._client.get_experiment(
                self._client.create_experiment(view.experiment, artifact_location=place)
            )
        elif found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        for name, value in {NOTE: view.note, **dict([EXPERIMENT_KIND]), **shared_views(view)}.items():
            if found.tags.get(name, "") != value:
                self._client.set_experiment_tag(found.experiment_id, name, value)
        return found

    def _runs(self, experiment_id: str) -> dict[Name, Run]:
        """All runs of ours. Of two of one name, which only an interrupted creation could leave, the later goes."""
        found: dict[Name, Run] = {}
        token = None
        while True:
            page = self._client.search_runs(
                [experiment_id],
                filter_string=f"tags.`{KIND}` != ''",
                run_view_type=ViewType.ACTIVE_ONLY,
                max_results=RUNS_A_PAGE,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            self._answered()
            for run in page:
                kind = run.data.tags[KIND]
                name = (kind, run.data.tags.get(f"harness.{kind}", ""))
                if name in found:
                    self._client.delete_run(run.info.run_id)
                else:
                    found[name] = run
            token = page.token
            if not token:
                return found

    def _retire(self, run: Run) -> bool:
        """A run the recipe no longer asks for stays, and is no longer compared."""
        if run.data.tags.get(CURRENT) == "no":
            return False
        tags = {CURRENT: "no", COMPARED: "no", DIGEST: ""}
        self._client.log_batch(run.info.run_id, tags=[RunTag(name, value) for name, value in tags.items()])
        return True

    # -------------------------------------------------------------------------------------------------- runs

    def _show_run(
        self, experiment_id: str, run: RunView, found: Run | None, parent: str, whole: bool
    ) -> tuple[str, str]:
        """(what was done, run id). While a run goes on, what MLflow holds beyond is left alone: it may come back."""
        digest = run.digest()
        if found is None:
            return "created", self._create(experiment_id, run, parent, digest)
        run_id = found.info.run_id
        tags = found.data.tags
        if tags.get(DIGEST) == digest and tags.get(PARENT, "") == parent:
            return "unchanged", run_id
        if not whole and run.kind == "setting":
            return "unchanged", run_id
        missing = self._missing(run_id, run)
        if missing is None and not whole:
            return ("updated" if self._extend(run_id, run) else "unchanged"), run_id
        if missing is None:
            self._client.delete_run(run_id)
            return "replaced", self._create(experiment_id, run, parent, digest)
        self._fill(run_id, run, missing, parent, digest, tags)
        return "updated", run_id

    def _create(self, experiment_id: str, run: RunView, parent: str, digest: str) -> str:
        tags = {KIND: run.kind, f"harness.{run.kind}": run.key, **({PARENT: parent} if parent else {})}
        made = self._client.create_run(experiment_id, start_time=run.start, tags=tags, run_name=run.name)
        everything = Missing(params=run.params, metrics=run.metrics, datasets=run.datasets)
        self._fill(made.info.run_id, run, everything, parent, digest, tags)
        return str(made.info.run_id)

    def _missing(self, run_id: str, run: RunView) -> Missing | None:
        """What a run lacks; None if it holds something else than it should."""
        held = self._client.get_run(run_id)
        if any(run.params.get(name) != value for name, value in held.data.params.items()):
            return None
        datasets = {
            (one.dataset.name, one.dataset.digest) for one in (held.inputs.dataset_inputs if held.inputs else ())
        }
        if not datasets <= {(one.name, one.digest) for one in run.datasets}:
            return None
        points = self._points(run_id, held.data.metrics)
        metrics: dict[str, list[Point]] = {}
        for name, wanted in run.metrics.items():
            have = points.pop(name, set())
            metrics[name] = [point for point in wanted if _value(point) not in have]
            if not have <= {_value(point) for point in wanted}:
                return None
        if points:
            return None
        return Missing(
            params={name: value for name, value in run.params.items() if name not in held.data.params},
            metrics=metrics,
            datasets=[one for one in run.datasets if (one.name, one.digest) not in datasets],
        )

    def _extend(self, run_id: str, run: RunView) -> bool:
        """Carry on the curves of a run that holds something else besides, as after a training began again from its
        last saved step. Showing all of a recipe sets the rest right."""
        held = self._points(run_id, self._client.get_run(run_id).data.metrics)
        reached = {name: max(step for step, _ in points) for name, points in held.items()}
        later = {
            name: [point for point in points if point.step > reached[name]]
            for name, points in run.metrics.items()
            if name in reached
        }
        if not any(later.values()):
            return False
        self._client.set_tag(run_id, DIGEST, "")
        self._log(run_id, later)
        return True

    def _points(self, run_id: str, names: Mapping[str, float]) -> Have:
        return {name: self._history(run_id, name) for name in names}

    def _history(self, run_id: str, name: str) -> set[tuple[int, str]]:
        history = self._client.get_metric_history(run_id, name)
        self._answered()
        return {(metric.step, repr(float(metric.value))) for metric in history}

    def _fill(
        self, run_id: str, run: RunView, missing: Missing, parent: str, digest: str, held: Mapping[str, str]
    ) -> None:
        """Write what a run lacks; the digest last, so that a run left half written is completed next time."""
        for params in batches([Param(name, value) for name, value in missing.params.items()], PARAMS_A_BATCH):
            self._client.log_batch(run_id, params=params)
            self._answered()
        self._log(run_id, missing.metrics)
        if missing.datasets:
            self._client.log_inputs(run_id, [_dataset(one) for one in missing.datasets])
        self._tag(run_id, run, parent, held)
        for file in run.files:
            self._keep(run_id, file.name, file.content)
            self._answered()
        if run.status in ("FINISHED", "FAILED"):
            self._client.set_terminated(run_id, run.status, run.end)
        else:
            self._client.update_run(run_id, status=run.status)
        self._client.update_run(run_id, name=run.name)
        self._client.set_tag(run_id, DIGEST, digest)

    def _log(self, run_id: str, metrics: Mapping[str, Sequence[Point]]) -> None:
        listed = [
            Metric(name, _bounded(point.value), point.time, point.step)
            for name, points in metrics.items()
            for point in points
        ]
        for some in batches(listed, METRICS_A_BATCH):
            self._client.log_batch(run_id, metrics=some)
            self._answered()

    def _tag(self, run_id: str, run: RunView, parent: str, held: Mapping[str, str]) -> None:
        tags = {**run.tags, KIND: run.kind, f"harness.{run.kind}": run.key, CURRENT: "yes"}
        if run.parent:
            tags |= {PARENT: parent, "harness.setting": run.parent}
        new = [RunTag(name, clipped(value, LONGEST_TAG)) for name, value in tags.items() if held.get(name) != value]
        for some in batches(new, TAGS_A_BATCH):
            self._client.log_batch(run_id, tags=some)
        for name in held:
            if name.startswith(OURS) and name not in tags and name != DIGEST:
                self._client.delete_tag(run_id, name)

    def _keep(self, run_id: str, name: str, content: str | Path) -> None:
        if isinstance(content, Path):
            self._client.log_artifact(run_id, str(content))
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_text(content, encoding="utf-8")
            self._client.log_artifact(run_id, str(path))


def _value(point: Point) -> tuple[int, str]:
    return point.step, repr(_bounded(point.value))


def _bounded(value: float) -> float:
    """MLflow's databases hold no infinity: it is the largest number there."""
    largest = sys.float_info.max
    return value if value != value else max(-largest, min(largest, value))


def _dataset(one: Dataset) -> DatasetInput:
    return DatasetInput(
        MlflowDataset(
            name=one.name,
            digest=one.digest,
            source_type="local",
            source=json.dumps({"uri": one.source}),
            profile=json.dumps({"num_rows": one.rows}),
        ),
        tags=[InputTag(CONTEXT, one.context)],
    )


def batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """`items` in order, `size` at a time."""
    return (items[start : start + size] for start in range(0, len(items), size))
