"""Where MLflow's data are: a database in the workdir unless the recipe names another place. Imports no tracker."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

FOLDER, DATABASE, ARTIFACTS = "mlflow", "mlflow.db", "artifacts"
SECRET = "***"
_PASSWORD = re.compile(r"(\w://[^\s/?#:@]*):[^\s?#]*@")
_USER_ALONE = re.compile(r"(?i)(\bhttps?://)[^\s/?#:@]+@")  # of a web address: a token, as a rule
_BARE_QUERY = re.compile(r"(\w://[^\s?#]*\?)[^\s=&#]+(?=[\s&#]|$)")
_VALUES = re.compile(r"([?&][\w.~%\[\]-]+=)[^\s&#'\")>]+")


@dataclass(frozen=True, kw_only=True)
class Place:
    """A tracking URI; `artifacts` is where files go, None where a server decides.

    Attributes:
        database: the file of our own database, None where the recipe names another place.
    """

    uri: str
    artifacts: Path | None
    database: Path | None

    @property
    def is_server(self) -> bool:
        """Whether something at that address shows the runs already; a database needs a server started on it."""
        return self.artifacts is None

    @property
    def shown(self) -> str:
        return without_secrets(self.uri)

    @property
    def page(self) -> str:
        """A server's address without anything secret, to open in a browser."""
        parts = urlsplit(self.uri)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def place_of(uri: str | None, workdir: Path) -> Place:
    """Where runs of a recipe are tracked."""
    folder = workdir.resolve() / FOLDER
    if uri is None:
        return Place(uri=sqlite_uri(folder / DATABASE), artifacts=folder / ARTIFACTS, database=folder / DATABASE)
    is_database = uri.partition("://")[0].partition("+")[0] in ("sqlite", "postgresql", "mysql", "mssql")
    return Place(uri=uri, artifacts=folder / ARTIFACTS if is_database else None, database=None)


def sqlite_uri(path: Path) -> str:
    """The address of a database in a file, whatever characters its path holds."""
    quoted = quote(str(path), safe="/ +")
    if quoted == str(path):
        return f"sqlite:///{path}"
    return f"sqlite+pysqlite:///{quoted}"  # of the shorter form MLflow makes folders before it unquotes it


def without_secrets(text: str) -> str:
    """Text with addresses in which passwords, users that may be tokens, and values of queries are masked."""
    text = _PASSWORD.sub(rf"\1:{SECRET}@", text)
    text = _USER_ALONE.sub(rf"\1{SECRET}@", text)
    text = _BARE_QUERY.sub(rf"\1{SECRET}", text)
    return _VALUES.sub(rf"\1{SECRET}", text)
