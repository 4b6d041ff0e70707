"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

DEFAULT_WORKDIR = Path("workdir")

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe, e.g. recipes/quickstart.yaml.")]
Assignments = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Override a recipe value, e.g. pairs.count=500.")
]
Name = Annotated[str | None, typer.Option("--name", help="Name of the report and of the MLflow experiment.")]
Workdir = Annotated[Path | None, typer.Option("--workdir", help="Instead of the recipe's `runtime.workdir`.")]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
StoreDir = Annotated[Path, typer.Option("--workdir", help="The workdir to read.")]
StageName = Annotated[
    str, typer.Argument(metavar="STAGE", help="kind/fingerprint, or the start of one; see `harness ls`.")
]
Recipes = Annotated[
    list[Path], typer.Argument(metavar="RECIPE", help="A recipe; several, or a folder, are planned together.")
]
Reported = Annotated[
    list[Path], typer.Argument(metavar="RECIPE|WORKDIR", help="A recipe or workdir; several give one report.")
]
Examples = Annotated[
    int, typer.Option("--examples", metavar="N", min=0, help="Problems to show a task, at most 6; default none.")
]
ImportKind = Literal["checkpoint", "pairs", "pool", "scores"]
