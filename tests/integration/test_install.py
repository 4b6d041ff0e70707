"""README's and docker's installs find versions on the package index alone, whatever else pip looks at on a machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMING = ("README.md", "docs/lm-eval.md", "docker/gpu.Dockerfile", "docker/mlflow.Dockerfile")
INSTALLS = sorted(
    {
        asked
        for file in NAMING
        for asked in re.findall(r"-c constraints.txt (.*?)(?: &&|$)", (ROOT / file).read_text(), re.MULTILINE)
    }
)


@pytest.mark.exhaustive("pip reads wheels of some gigabytes; tests/unit/test_constraints.py looks at what is pinned")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("asked", INSTALLS)
def test_versions_are_found_on_the_index_alone(asked: str) -> None:
    try:
        urllib.request.urlopen("https://pypi.org/simple/pip/", timeout=20).close()
    except OSError as error:
        pytest.skip(f"the package index does not answer: {error}")
    own = {name: value for name, value in os.environ.items() if not name.startswith("PIP_") or name == "PIP_CERT"}
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    done = subprocess.run(
        [*command, "-c", "constraints.txt", *asked.replace("'", "").split()],
        cwd=ROOT,
        env={**own, "PIP_CONFIG_FILE": os.devnull},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
