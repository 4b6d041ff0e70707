"""MLflow's own pages at the addresses `harness ui` prints, in a real headless browser: readable with nothing set up."""

from __future__ import annotations

import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from harness.report.curves import Point
from harness.tracking.mlflow_tracker import Addresses, MlflowTracker
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
        metrics={"logic/bon_area": (Point(step=0, value=area, time=1_000_000),)},
    )


@pytest.fixture(scope="module")
def addresses(mlflow_server: str) -> Addresses:
    tracker = MlflowTracker(mlflow_server)
    runs = (setting("both-losses", 0.61803398875), setting("no-pretraining", 0.5))
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
