"""`pytest tests/golden --update-golden` writes `golden.json` anew (see test_golden.py for when it refuses)."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write tests/golden/golden.json anew")
