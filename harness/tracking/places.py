"""Where MLflow's data are: a database in the workdir unless the recipe names another place. Imports no tracker."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER, DATABASE, ARTIFACTS = "mlflow", "mlflow.db", "artifacts"
_PASSWORD = re.compile(r"(\w+://[^\s/:@]*):[^\s/@]*@")


@dataclass(frozen=True, kw_only=True)
class Place:
    """A tracking URI; `artifacts` is where files go, None where a server decides.

    Attributes:
        folder: of our own database, None where the recipe names another place.
    """

    uri: str
    artifacts: Path | None
    folder: Path | None

    @property
    def is_server(self) -> bool:
        """Whether something at that address shows the runs already; a database needs a server started on it."""
        return self.artifacts is None

    @property
    def shown(self) -> str:
        return without_password(self.uri)


def place_of(uri: str | None, workdir: Path) -> Place:
    """Where runs of a recipe are tracked."""
    folder = workdir.resolve() / FOLDER
    if uri is None:
        return Place(uri=f"sqlite:///{folder / DATABASE}", artifacts=folder / ARTIFACTS, folder=folder)
    is_database = uri.partition("://")[0].partition("+")[0] in ("sqlite", "postgresql", "mysql", "mssql")
    return Place(uri=uri, artifacts=folder / ARTIFACTS if is_database else None, folder=None)


def without_password(uri: str) -> str:
    return _PASSWORD.sub(r"\1:***@", uri)
