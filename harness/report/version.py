"""Which harness wrote a report: its version and, where it was installed from a clone or by git, the commit."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

import harness

DISTRIBUTION = "codepmp-harness"
GIT_SECONDS = 5  # a clone on a slow disk; beyond, the report names the version alone


@dataclass(frozen=True, kw_only=True)
class HarnessVersion:
    """A version; `commit` is "" where none is known, and `changed` says that the clone's files differ from it."""

    version: str
    commit: str = ""
    changed: bool = False

    def __str__(self) -> str:
        commit = f", commit {self.commit[:12]}" if self.commit else ""
        return f"{DISTRIBUTION} {self.version}{commit}{' with uncommitted changes' if self.changed else ''}"


@cache
def harness_version() -> HarnessVersion:
    """The version of the harness that is running, looked up once."""
    return version_of(Path(harness.__file__).parent)


def version_of(package: Path) -> HarnessVersion:
    """The version and commit of the package in this folder.

    A repository counts only where the package lies directly below its root: an environment of installed packages may
    itself lie in somebody's repository.
    """
    root = package.resolve().parent
    top, commit, *_ = [*_git(root, "rev-parse", "--show-toplevel", "HEAD").splitlines(), "", ""]
    if top and commit and Path(top).resolve() == root:
        changed = bool(_git(root, "status", "--porcelain", "--untracked-files=no", "--", package.name))
        return HarnessVersion(version=harness.__version__, commit=commit, changed=changed)
    return HarnessVersion(version=harness.__version__, commit=_installed_commit())


def _git(folder: Path, *arguments: str) -> str:
    """What git prints; "" where there is no git, or it refuses. Variables such as GIT_DIR do not reach it."""
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        found = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=GIT_SECONDS, env={"PATH": os.defpath}
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout


def _installed_commit() -> str:
    """The commit that `pip install git+…` took, as pip recorded it (PEP 610); "" where it took none."""
    try:
        text = metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
        return str(json.loads(text or "{}").get("vcs_info", {}).get("commit_id", ""))
    except (metadata.PackageNotFoundError, ValueError, AttributeError):
        return ""
