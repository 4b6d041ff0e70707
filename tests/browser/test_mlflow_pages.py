"""MLflow's own pages at the addresses `harness ui` prints, in a real headless browser: readable with nothing set up."""

from __future__ import annotations

import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from harness.recipe.search import Search
from harness.report.curves import Point
from harness.search.state import SearchState, TrialState
from harness.tracking.mlflow_tracker import Addresses, MlflowTracker
from harness.tracking.search import search_runs
from harness.tracking.view import RunView, View

CHROMIUM = shutil.which("chromium") or ""
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--window-size=2400,2000")
PATIENCE = ("--virtual-time-budget=30000", "--timeout=60000")

pytestmark = [
    pytest.mark.skipif(not CHROMIUM, reason="needs chromium: apt-get install -y chromium"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of mlflow's own use of its libraries
]


def setting(name: str, area: float) -> RunView:
    return RunView(
        kind="setting",
        key=name,
        name=name,
        status="FINISHED",
        start=1_000_000,
        end=2_000_000,
        params={"axis.loss": name, "pairs.count": "5000"},
        tags={
            "axis.loss": name,
            "harness.compared": "yes",
            "estimate.logic/bon_area": f"{area:.3f} [0.100, 0.900]",
            "difference.logic/bon_area": "+0.125 [-0.100, +0.350]",
        },
        metrics={
            metric: (Point(step=0, value=area, time=1_000_000),) for metric in ("logic/bon_area", "code/pair_accuracy")
        },
    )


def trial(number: int, arm: str, rate: float, balance: float | None, value: float) -> TrialState:
    found = {"pretrain.learning_rate": rate, "pretrain.loss.balance": balance}
    return TrialState(
        number=number,
        name=f"trial {number}" + (f" ({arm})" if arm else ""),
        arm=arm,
        state="complete",
        parameters={path: value for path, value in found.items() if value is not None},
        overrides={},
        values=(value,),
        intermediate=((16, value - 0.1), (32, value - 0.05)),
        stages=(("pair_accuracy/0123456789ab",),),
        reason="",
        counted=True,
        started=1_000.0 + number,
        finished=1_001.0 + number,
    )


def search() -> tuple[RunView, ...]:
    objective = {"task": "code", "evaluation": "pair_accuracy"}
    space = {"pretrain.loss.balance": {"log_ratio": [-4, 4]}, "pretrain.learning_rate": {"low": 1e-4, "high": 1e-2}}
    block = Search.model_validate({"parameters": space, "objectives": [objective], "trials": 3})
    state = SearchState(
        study="side by side-1",
        storage="postgresql://me:***@host/db",
        objectives=("code/pair_accuracy",),
        directions=("maximize",),
        asked=3,
        trials=(
            trial(0, "one_to_one", 0.003, 0.0, 0.71234567),
            trial(1, "rm_only", 0.003, None, 0.6),
            trial(2, "", 0.0071, -1.25, 0.8),
        ),
        importances=(),
        best=(2, 0, 1),
        left_out={},
        ended=True,
    )
    return tuple(search_runs("side by side", block, state))


@pytest.fixture(scope="module")
def addresses(mlflow_server: str) -> Addresses:
    tracker = MlflowTracker(mlflow_server)
    runs = (setting("both-losses", 0.61803398875), setting("no-pretraining", 0.5), *search())
    axes, columns = ("axis.loss",), ("logic/bon_area",)
    tracker.show(View(experiment="side by side", note="why", runs=runs, whole=True, axes=axes, columns=columns))
    return tracker.addresses("side by side", mlflow_server)


def words(address: str, profile: Path) -> str:
    """The text of a page after its scripts ran."""
    command = [CHROMIUM, *FLAGS, *PATIENCE, f"--user-data-dir={profile}", "--dump-dom", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    text = re.sub(r"<(style|script).*?</\1>", " ", done.stdout, flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", text)))


def test_the_table_shows_axes_and_estimates_with_intervals(addresses: Addresses, tmp_path: Path) -> None:
    page = words(addresses.table, tmp_path / "profile")
    for part in ("axis.loss", "estimate.logic/bon_area", "0.618 [0.100, 0.900]", "+0.125 [-0.100, +0.350]"):
        assert part in page, page
    assert "0.61803398875" not in page
    assert page.index("both-losses") < page.index("no-pretraining")  # the best first


def test_settings_side_by_side_show_what_differs(addresses: Addresses, tmp_path: Path) -> None:
    page = words(addresses.comparison, tmp_path / "profile")
    for part in ("Comparing 2 Runs", "axis.loss", "both-losses", "no-pretraining", "logic/bon_area", "0.618"):
        assert part in page, page
    plot, _, _ = page.partition("Run details")
    assert "axis.loss" in plot
    assert "logic/bon_area" in plot
    assert "code/pair_accuracy" not in plot  # first by name, but written second


def test_trials_side_by_side_show_parameters_and_the_objective(addresses: Addresses, tmp_path: Path) -> None:
    page = words(addresses.trials, tmp_path / "profile")
    assert "Comparing 2 Runs" in page, page  # without the arm that has no balance
    plot, _, table = page.partition("Run details")
    for part in ("pretrain.learning_rate", "pretrain.loss.balance", "objective/code/pair_accuracy"):
        assert part in plot, page  # the axes of the parallel coordinates
        assert part in table, page
    for part in ("trial 0 (one_to_one)", "-1.25", "0.0071", "0.712"):
        assert part in table, page
