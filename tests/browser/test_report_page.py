"""The report in a real headless browser: figures are drawn, nothing is fetched, no script complains or is injected."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.report.write import write_report
from harness.store.store import Store
from tests.report_store import HOSTILE, analyse, fill, small

CHROMIUM = shutil.which("chromium") or ""
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--virtual-time-budget=10000",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # a page that fetched anything would fail to, and say so
)

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs chromium: apt-get install -y chromium")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """(document after its scripts ran, console output) of a report whose texts are hostile."""
    folder = tmp_path_factory.mktemp("browser")
    plan, store = small(), Store(folder / "store")
    store.create()
    fill(plan, store, text=HOSTILE)
    path = write_report(plan, store, analyse(plan, store), folder / "report").html
    return opened(path, folder / "profile")


def opened(path: Path, profile: Path) -> tuple[str, str]:
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "--dump-dom", path.resolve().as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, done.stderr


def test_figures_are_drawn(page: tuple[str, str]) -> None:
    document, _ = page
    assert document.count('class="main-svg"') >= 4
    assert len(re.findall(r'<path class="js-line"', document)) >= 8


def test_the_console_is_silent(page: tuple[str, str]) -> None:
    _, console = page
    assert [line for line in console.splitlines() if "CONSOLE" in line] == []


def test_a_complaint_would_be_seen(tmp_path: Path) -> None:
    path = tmp_path / "bad.html"
    path.write_text("<script>missing()</script><img src='http://example.invalid/x.png'>", encoding="utf-8")
    _, console = opened(path, tmp_path / "profile")
    assert any("CONSOLE" in line and "missing is not defined" in line for line in console.splitlines())


def test_hostile_texts_are_shown_and_not_run(page: tuple[str, str]) -> None:
    document, _ = page
    assert "&lt;script&gt;" in document
    assert "<script>alert" not in document
