"""pytest plugin: a marker for every folder of tests and every need, what runs beside what, a summary by marker.

A test that is skipped although its marker was required (`--require-markers`) fails the session: a green run must mean
that it ran. With several workers (`-n 2`) tests that share a module's fixtures stay together, all others are dealt one
by one, slow ones first.
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
LONG_SECONDS = 20
WITH_WORKERS = {"contract", "integration", "golden", "browser", "database"}
"""Folders whose tests start worker processes."""
HERE = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--exhaustive", action="store_true", help="also run what CI only samples")
    parser.addoption(
        "--require-markers", default="", metavar="A,B", help="fail if a test with one of these markers was skipped"
    )


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in its own
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--exhaustive"):
        left_out = [item for item in items if item.get_closest_marker("exhaustive")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    for item in items:
        folder = item.path.relative_to(HERE).parts[0] if item.path.is_relative_to(HERE) else ""
        if folder in FOLDERS:
            item.add_marker(folder)
        if item.get_closest_marker("vllm"):
            item.add_marker(pytest.mark.xdist_group("vllm"))  # two at once would each want all cores and memory
        elif folder == "unit" or _shares_its_module(item):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.split("::")[0]))
    items.sort(key=_turn)


def _shares_its_module(item: pytest.Item) -> bool:
    """Whether a test uses a fixture that is made once a module."""
    definitions = item._fixtureinfo.name2fixturedefs.values()  # type: ignore[attr-defined]  # there is no public way
    return any(one.scope == "module" for known in definitions for one in known)


def _turn(item: pytest.Item) -> tuple[bool, bool]:
    """Order of tests: slow ones first and unit tests last, so that at the end no worker is left with a long one."""
    slow = any(marker.name == "slow" for marker in item.iter_markers())
    return (not slow, "unit" in item.keywords)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`sampled` tests take some of their cases in CI and all with `--exhaustive`."""
    for marker in metafunc.definition.iter_markers("sampled"):
        name, everything, sample = marker.args
        chosen = (
            everything if metafunc.config.getoption("--exhaustive") else [one for one in everything if one in sample]
        )
        metafunc.parametrize(name, chosen, **marker.kwargs)


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


def _long(terminalreporter: Any) -> list[str]:
    """Tests that took long without a marker that says why."""
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    return [
        f"{report.nodeid}: {report.duration:.0f} s"
        for report in reports
        if isinstance(report, pytest.TestReport)
        and report.duration > LONG_SECONDS
        and not {"slow", "exhaustive"} & set(report.keywords)
    ]


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if long := _long(terminalreporter):
        terminalreporter.section(f"over {LONG_SECONDS} s and not marked slow")
        for line in long:
            terminalreporter.write_line(line)
    terminalreporter.section("by marker")
    for folder, counts in config.stash[COUNTS].counts.items():
        if counts:
            told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
            terminalreporter.write_line(f"{folder}: {told}")
    for folder in _missing(config):
        terminalreporter.write_line(f"ERROR: tests marked {folder} were skipped, and that marker is required")
