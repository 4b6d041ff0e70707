"""MLflow as a view of the store. This module and `mlflow_database` alone import mlflow.

Runs are found by tags, so that nothing is shown twice, whoever shows it from wherever. Each has a tag with the digest
of its content, and is left alone where the content should be that. Any other run is deleted and created anew, as MLflow
keeps parameters and points of metrics for ever. A tracker appends only to unfinished runs that it created itself.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mlflow import MlflowClient
from mlflow.entities import Dataset as MlflowDataset
from mlflow.entities import DatasetInput, Experiment, InputTag, Metric, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from harness.errors import MissingRequirement
from harness.store.identity import fingerprint
from harness.tracking.places import without_secrets
from harness.tracking.shared_views import CURVES, TABLE, shared_views
from harness.tracking.view import Dataset, File, RunView, View
from harness.tracking.words import DIFFERENCE, ESTIMATE, LONGEST_TAG, POINT, SEARCH, clipped, first_line, plain

# MLflow's limits of one request, and how many runs it answers with.
METRICS_A_BATCH, PARAMS_A_BATCH, TAGS_A_BATCH, RUNS_A_PAGE = 1_000, 100, 100, 500
MOST_COMPARED = 100  # beyond it the comparison page is too slow to use

KIND, DIGEST, CURRENT, COMPARED = "harness.kind", "harness.digest", "harness.current", "harness.compared"
PARENT, NOTE, CONTEXT = "mlflow.parentRunId", "mlflow.note.content", "mlflow.data.context"
NOTED = "harness.note"  # digest of the description we wrote: another one was written by somebody, and stays
AXIS, REPORT = "axis.", "report.md"
EXPERIMENT_KIND = ("mlflow.experimentKind", "custom_model_development")  # else the page asks what kind it is
SIDEBAR = "workflowType=machine_learning"  # else the pages of language-model applications stand beside the runs
OURS = (
    *("harness.", "axis.", "interval.", "code.", "environment.", "stage.", "seeds.", "recipe."),
    *(SEARCH, ESTIMATE, DIFFERENCE),
)
RUN_NAME = "mlflow.runName"
ABOVE = {"variant": "harness.setting", "trial": "harness.study"}  # tag of a run: the key of its parent

Name = tuple[str, str]  # kind and key of a run


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Web addresses of an experiment: all runs, the table of settings, curves by setting, settings side by side, and
    trials of a search side by side, "" where there are none."""

    experiment: str
    table: str
    curves: str
    comparison: str
    trials: str = ""


class MlflowTracker:
    """Shows experiments on any MLflow tracking URI.

    Args:
        artifacts: where files go, for a database; None where a server knows itself.
    """

    def __init__(self, uri: str, artifacts: Path | None = None) -> None:
        self._uri = uri
        self._artifacts = artifacts
        self._written: dict[Name, tuple[str, RunView]] = {}  # run id and content of unfinished runs we created
        with self._answering():
            self._client = MlflowClient(tracking_uri=uri)

    def show(self, view: View) -> dict[str, int]:
        """Bring one experiment up to date. Doing it twice changes nothing the second time.

        Returns:
            Numbers of runs: `created`; `updated`, to which something was added; `replaced`, created anew; `unchanged`;
            `retired`, which the recipe no longer has: they stay, and are no longer compared.

        Raises:
            MissingRequirement: MLflow does not answer, or refuses; what was shown until then stays.
        """
        counts = dict.fromkeys(("created", "updated", "replaced", "unchanged", "retired"), 0)
        with self._answering():
            experiment = self._experiment(view)
            existing = self._runs(experiment.experiment_id)
            ids: dict[str, str] = {}
            for run in view.runs:
                found = existing.pop((run.kind, run.key), None)
                how, ids[run.key] = self._show(
                    experiment.experiment_id, run, found, ids.get(run.parent, ""), whole=view.whole
                )
                counts[how] += 1
            if view.whole:
                counts["retired"] = sum(map(self._retire, existing.values()))
        return counts

    def addresses(self, experiment: str, base: str) -> Addresses:
        """Where to look at an experiment, on the server at `base`.

        Raises:
            MissingRequirement: MLflow does not answer, or has no such experiment.
        """
        with self._answering():
            found = self._client.get_experiment_by_name(experiment)
            if found is None:
                raise MissingRequirement(
                    f"MLflow must have the experiment {experiment!r}",
                    f"{without_secrets(self._uri)} has none",
                    "run the recipe, or `harness sync` it",
                )
            everything = self._runs(found.experiment_id).values()
            runs = [run for run in everything if run.data.tags.get(COMPARED) == "yes"]
            settings = [run for run in runs if run.data.tags[KIND] == "setting"]
            axes = {name for run in settings for name in run.data.params if name.startswith(AXIS)}
            placed = [
                run for run in settings if axes <= run.data.params.keys()
            ]  # a missing value is drawn as "unknown"
            shown_runs = next((found for found in (placed, settings) if len(found) > 1), runs)
            runs = sorted(shown_runs, key=lambda run: str(run.info.run_name))
            page = f"{base.rstrip('/')}/#/experiments/{quote(found.experiment_id)}/runs?{SIDEBAR}"
            # A run without a parameter is drawn at the top of that axis, where an arm without one does not belong.
            shown = {KIND: "trial", CURRENT: "yes", POINT: "yes"}.items()
            trials = [run for run in everything if shown <= run.data.tags.items() and run.info.status == "FINISHED"]
            return Addresses(
                experiment=page,
                table=f"{page}&viewStateShareKey={TABLE}",
                curves=f"{page}&viewStateShareKey={CURVES}&compareRunsMode=CHART",
                comparison=_side_by_side(base, found.experiment_id, runs[:MOST_COMPARED]),
                trials=_side_by_side(base, found.experiment_id, trials[-MOST_COMPARED:]) if trials else "",
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

    def _show(
        self, experiment_id: str, run: RunView, found: Run | None, parent: str, *, whole: bool
    ) -> tuple[str, str]:
        """(what was done, run id)."""
        if found is None:
            return "created", self._create(experiment_id, run, parent)
        run_id, tags = found.info.run_id, found.data.tags
        written_id, written = self._written.get((run.kind, run.key), ("", None))
        mine = written if written_id == run_id else None
        if mine is not None and not whole:
            run = run.carrying_on(mine)
        if tags.get(DIGEST) == run.digest():
            if tags.get(PARENT, "") == parent:
                return "unchanged", run_id
            self._client.set_tag(run_id, PARENT, parent)
            return "updated", run_id
        if not whole and (run.kind == "setting" or (mine is None and (written is not None or _is_finished(found)))):
            return "unchanged", run_id  # it has results that may come back, or another process appends to it
        if mine is not None and run.continues(mine):
            self._client.set_tag(run_id, DIGEST, "")
            self._write(run_id, run, parent, mine, self._note(experiment_id, run_id, run, tags))
            return "updated", run_id
        self._client.delete_run(run_id)
        return "replaced", self._create(experiment_id, run, parent, tags)

    def _create(self, experiment_id: str, run: RunView, parent: str, before: Mapping[str, str] | None = None) -> str:
        """`before`: tags of the run in whose place it is created, of which those that people set are kept."""
        tags = {name: value for name, value in (before or {}).items() if not name.startswith((*OURS, RUN_NAME))}
        tags |= {KIND: run.kind, f"harness.{run.kind}": run.key}
        created = self._client.create_run(experiment_id, start_time=run.start, tags=tags, run_name=run.name)
        run_id = str(created.info.run_id)
        self._write(run_id, run, parent, None, self._note(experiment_id, run_id, run, before or {}))
        return run_id

    def _note(self, experiment_id: str, run_id: str, run: RunView, before: Mapping[str, str]) -> dict[str, str]:
        """Tags that describe a run and link its report; none where `before` has a description that somebody wrote."""
        shown = before.get(NOTE, "")
        if not run.note or (shown and fingerprint(shown) != before.get(NOTED)):
            return {}
        pages = [file.name for file in run.files if file.name == REPORT]
        place = f"#/experiments/{quote(experiment_id)}/runs/{quote(run_id)}/artifacts/{REPORT}"
        text = run.note + (f"\n\n[Report with all settings]({place})" if pages else "")
        return {NOTE: text, NOTED: fingerprint(text)}

    def _write(self, run_id: str, run: RunView, parent: str, before: RunView | None, note: Mapping[str, str]) -> None:
        """Write what a run lacks that shows `before`; the digest last, so that a run left half written is replaced."""
        self._written.pop((run.kind, run.key), None)
        metrics = before.metrics if before else {}
        points = [
            Metric(name, _bounded(point.value), point.time, point.step)
            for name, wanted in run.metrics.items()
            for point in wanted[len(metrics.get(name, ())) :]
        ]
        tags = {**run.tags, **note, CURRENT: "yes"}
        if run.parent:
            tags |= {PARENT: parent, ABOVE[run.kind]: run.parent}
        params = [] if before else [Param(name, value) for name, value in run.params.items()]
        self._log(run_id, "params", params, PARAMS_A_BATCH)
        self._log(run_id, "metrics", points, METRICS_A_BATCH)
        self._log(
            run_id, "tags", [RunTag(name, clipped(value, LONGEST_TAG)) for name, value in tags.items()], TAGS_A_BATCH
        )
        datasets = [_dataset(one) for one in run.datasets if before is None or one not in before.datasets]
        if datasets:
            self._client.log_inputs(run_id, datasets)
        for file in run.files:
            self._keep(run_id, file)
        self._client.update_run(run_id, run.status, run.name)
        if run.status in ("FINISHED", "FAILED", "KILLED"):
            self._client.set_terminated(run_id, run.status, run.end)
        self._client.set_tag(run_id, DIGEST, run.digest())
        if run.status != "FINISHED":
            self._written[run.kind, run.key] = run_id, run

    def _log(self, run_id: str, what: str, items: Sequence[Any], size: int) -> None:
        for start in range(0, len(items), size):
            self._client.log_batch(run_id, **{what: items[start : start + size]})

    def _keep(self, run_id: str, file: File) -> None:
        if isinstance(file.content, Path):
            self._client.log_artifact(run_id, str(file.content))
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / file.name
            path.write_text(file.content, encoding="utf-8")
            self._client.log_artifact(run_id, str(path))


def _side_by_side(base: str, experiment_id: str, runs: Sequence[Run]) -> str:
    ids = json.dumps([run.info.run_id for run in runs], separators=(",", ":"))
    compare = f"runs={quote(ids)}&experiments={quote(json.dumps([experiment_id]))}"  # that page wants `runs` first
    return f"{base.rstrip('/')}/#/compare-runs?{compare}&{SIDEBAR}"


def _is_finished(run: Run) -> bool:
    """Whether a run shows all of what ended: not one that somebody was stopped in writing."""
    return run.info.status == "FINISHED" and bool(run.data.tags.get(DIGEST))


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
