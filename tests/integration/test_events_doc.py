"""docs/events.md says what events there are, and its other sink works as it stands."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from pathlib import Path

import pytest

from harness.cli.workspace import Workspace
from harness.events import EVENT_KINDS, Metrics, Progress, read_events
from tests.integration.pipelines import ROOT, python

DOCUMENT = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    (text,) = re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)
    return str(text)


def event_files(workspace: Workspace) -> list[Path]:
    return sorted(workspace.store.root.glob("*/*/events.jsonl"))


def test_every_event_and_field_is_documented() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \|(.*)\|$", DOCUMENT, re.MULTILINE))
    for kind, event in EVENT_KINDS.items():
        fields = {field.name for field in dataclasses.fields(event)} - {"time"}
        assert fields == set(re.findall(r"`(\w+)`", rows[kind])) - {"steps", "groups", "pairs"}, kind


def test_the_example_shows_every_event(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(block("json"), encoding="utf-8")
    assert {event.kind for event in read_events(path)} == set(EVENT_KINDS)


def test_what_stages_say_is_documented(finished: Workspace) -> None:
    """Values and units of a whole run, and every value that is documented is said by some stage."""
    said: set[str] = set()
    for path in event_files(finished):
        for event in read_events(path):
            if isinstance(event, Metrics):
                said |= set(event.values)
            elif isinstance(event, Progress):
                assert f"`{event.unit}`" in DOCUMENT
    table = DOCUMENT[DOCUMENT.index("| value |") : DOCUMENT.index("```json")]
    rows = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    assert said == {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def test_the_other_sink_works_and_is_short(finished: Workspace, tmp_path: Path) -> None:
    script = block("python")
    code = [line for line in script.splitlines() if line]
    assert 8 <= len(code) <= 12
    (tmp_path / "curves.py").write_text(script, encoding="utf-8")
    process = python(tmp_path / "curves.py", finished.workdir)
    out, complaints = process.communicate(timeout=60)
    assert (process.returncode, complaints) == (0, "")
    rows = list(csv.DictReader(out.splitlines()))
    expected = []
    for path in event_files(finished):
        for line in path.read_text().splitlines():
            event = json.loads(line)
            if event["event"] == "metrics":
                stage = str(path.parent.relative_to(finished.store.root))
                expected += [(stage, event["step"], name, value) for name, value in event["values"].items()]
    assert expected
    assert [(row["stage"], int(row["step"]), row["metric"], float(row["value"])) for row in rows] == expected


@pytest.mark.parametrize("name", sorted(EVENT_KINDS))
def test_every_event_has_a_line_in_the_table(name: str) -> None:
    assert f"| `{name}` |" in DOCUMENT
