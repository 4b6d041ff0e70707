"""pytest plugin: a marker for every folder of tests and every need, a summary by marker, `--require-markers` for CI.

A test that is skipped although its marker was required fails the session: a green run must mean that it ran.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FOLDERS = ("unit", "contract", "integration", "golden", "browser", "database", "gpu")
NEEDS = ("vllm", "network", "published")
"""Markers that a test bears itself: what it needs that not every machine has. It counts there and not by its folder."""
WITH_WORKERS = {"contract", "integration", "golden", "browser", "database"}
"""Folders whose tests start worker processes."""
HERE = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-markers", default="", metavar="A,B", help="fail if a test with one of these markers was skipped"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder = item.path.relative_to(HERE).parts[0] if item.path.is_relative_to(HERE) else ""
        if folder in FOLDERS:
            item.add_marker(folder)


def pytest_collection_finish(session: pytest.Session) -> None:
    if {marker.name for item in session.items for marker in item.iter_markers()} & WITH_WORKERS:
        from tests.toys.executors import start_fork_server

        start_fork_server()


class MarkerCounts:
    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = {name: Counter() for name in (*FOLDERS, *NEEDS)}
        self.markers: dict[str, str] = {}
        self.skipped: list[str] = []

    def take(self, report: pytest.TestReport) -> None:
        folder = report.nodeid.split("/")[1] if report.nodeid.startswith("tests/") else report.nodeid.split("/")[0]
        folder = next((need for need in NEEDS if need in report.keywords), folder)
        if folder in self.counts and (report.when == "call" or report.skipped or report.failed):
            self.counts[folder][report.outcome] += 1
            if report.skipped:
                self.skipped.append(folder)


COUNTS = pytest.StashKey[MarkerCounts]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[COUNTS] = MarkerCounts()
    config.pluginmanager.register(_Reporter(config.stash[COUNTS]), "marker-counts")


class _Reporter:
    def __init__(self, counts: MarkerCounts) -> None:
        self._counts = counts

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._counts.take(report)


def _missing(config: pytest.Config) -> list[str]:
    required = [name for name in config.getoption("--require-markers").split(",") if name]
    return sorted(set(required) & set(config.stash[COUNTS].skipped))


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    yield
    if _missing(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    terminalreporter.section("by marker")
    for folder, counts in config.stash[COUNTS].counts.items():
        if counts:
            told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
            terminalreporter.write_line(f"{folder}: {told}")
    for folder in _missing(config):
        terminalreporter.write_line(f"ERROR: tests marked {folder} were skipped, and that marker is required")
