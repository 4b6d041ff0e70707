"""A hub on this machine that the hub's own libraries talk to: models and data sets out of folders.

It answers what `huggingface_hub` and `datasets` ask when they read: facts, listings and files of a repository at a
revision. A repository has one commit, made of its files' contents; every branch stands for it.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

API = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)/(revision|tree|paths-info|auth-check)(?:/([^/]+))?(?:/(.*))?")
FILE = re.compile(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


@dataclass
class Hub:
    """Repositories below `root/models` and `root/datasets`.

    Attributes:
        commits: of repositories, `datasets/<id>` or `models/<id>`, that are not to have the one of their contents.
        gated: repositories whose terms nobody has accepted.
        asked: what was asked so far, "GET /api/...".
    """

    root: Path
    commits: dict[str, str] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    address: str = ""

    def environment(self, home: Path) -> dict[str, str]:
        """What a process is told to use this hub, with a cache of its own."""
        return {"HF_ENDPOINT": self.address, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": ""}

    def commit(self, repository: str) -> str:
        if repository not in self.commits:
            folder = self.root / repository
            told = "".join(f"{path}:{digest(folder / path)}\n" for path in self.files(repository))
            self.commits[repository] = hashlib.sha1(told.encode()).hexdigest()
        return self.commits[repository]

    def files(self, repository: str) -> list[str]:
        folder = self.root / repository
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def digest(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()


@contextmanager
def local_hub(root: Path) -> Iterator[Hub]:
    """A hub at work while the block lasts."""
    hub = Hub(root=root)

    class Answer(_Answer):
        of = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Answer(BaseHTTPRequestHandler):
    of: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        self.of.asked.append(f"{self.command} {self.path}")
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        if found := API.fullmatch(path):
            kind, name, what, revision, below = found.groups()
            self._facts(f"{kind}/{name}", what, revision, below or "", parse_qs(parts.query), body)
        elif found := FILE.fullmatch(path):
            dataset, name, revision, file = found.groups()
            self._file(f"{'datasets' if dataset else 'models'}/{name}", revision, file)
        else:
            self._say(404, {"error": f"no {path} here"})

    def _facts(
        self, repository: str, what: str, revision: str | None, below: str, query: Mapping[str, list[str]], body: bytes
    ) -> None:
        if not self._may(repository, revision, files=what == "auth-check"):
            return
        hub, (_, _, name) = self.of, repository.partition("/")
        files = hub.files(repository)
        if what == "auth-check":
            self._say(200, {})
        elif what == "revision":
            siblings = [{"rfilename": file} for file in files]
            gated = "manual" if repository in hub.gated else False
            facts = {"id": name, "sha": hub.commit(repository), "siblings": siblings, "private": False, "gated": gated}
            self._say(200, {**facts, "tags": [], "downloads": 0, "likes": 0})
        elif what == "tree":
            recursive = query.get("recursive", ["false"])[0].lower() in ("true", "1")
            self._say(200, self._entries(repository, below.rstrip("/"), recursive=recursive))
        else:
            if self.headers.get("Content-Type", "").startswith("application/json"):
                wanted = json.loads(body)["paths"]
            else:
                wanted = parse_qs(body.decode())["paths"]
            entries = self._entries(repository, "", recursive=True)
            self._say(200, [entry for entry in entries if entry["path"] in wanted])

    def _entries(self, repository: str, below: str, *, recursive: bool) -> list[dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for file in self.of.files(repository):
            if below and not file.startswith(f"{below}/"):
                continue
            steps = file.removeprefix(f"{below}/" if below else "").split("/")
            for depth in range(1, len(steps)):
                folder = "/".join([*([below] if below else []), *steps[:depth]])
                if recursive or depth == 1:
                    found[folder] = {"type": "directory", "oid": "0" * 40, "size": 0, "path": folder}
            if recursive or len(steps) == 1:
                path = self.of.root / repository / file
                found[file] = {"type": "file", "oid": digest(path), "size": path.stat().st_size, "path": file}
        return list(found.values())

    def _file(self, repository: str, revision: str, file: str) -> None:
        if not self._may(repository, revision, files=True):
            return
        path = self.of.root / repository / file
        if not path.is_file():
            self._say(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
            return
        content = path.read_bytes()
        headers = {"X-Repo-Commit": self.of.commit(repository), "ETag": f'"{digest(path)}"', "Accept-Ranges": "bytes"}
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        status = 200
        if asked:
            first = int(asked[1] or 0)
            last = min(int(asked[2] or len(content) - 1), len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            content, status = content[first : last + 1], 206
        self._send(status, content, {**headers, "Content-Type": "application/octet-stream"})

    def _may(self, repository: str, revision: str | None, *, files: bool) -> bool:
        """Whether there is such a revision, and who asks may have its files; tells them if not."""
        hub = self.of
        if not (hub.root / repository).is_dir():
            self._say(401, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        elif revision is not None and len(revision) == 40 and revision != hub.commit(repository):
            self._say(404, {"error": "Revision not found"}, {"X-Error-Code": "RevisionNotFound"})
        elif files and repository in hub.gated:
            told = f"Access to {repository} is restricted. You must have access to it."
            self._say(403, {"error": told}, {"X-Error-Code": "GatedRepo", "X-Error-Message": told})
        else:
            return True
        return False

    def _say(self, status: int, data: Any, headers: Mapping[str, str] | None = None) -> None:
        self._send(status, json.dumps(data).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _send(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
