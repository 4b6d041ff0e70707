"""Commands run in the test's own process, as the entry point does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.cli.run_command import run_command


class Shell:
    """Runs commands in this process, as the entry point does; keeps what they print."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd = capfd
        self.out = ""
        self.err = ""

    def __call__(self, *arguments: str | Path) -> int:
        self._capfd.readouterr()
        code = run_command([str(argument) for argument in arguments])
        self.out, self.err = self._capfd.readouterr()
        assert "Traceback" not in self.out + self.err
        return code

    def json(self) -> Any:
        return json.loads(self.out)
