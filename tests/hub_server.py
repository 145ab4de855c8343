"""A server that speaks the Hub's protocol over HTTP, as far as uploading to and loading from a model repo need it."""

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

TOKEN = "hf_secretofthetests"
OWNER = "tester"
_LFS = (".safetensors", ".png", ".bin", ".pt")
_REPO = r"(?P<repo>[\w.-]+/[\w.-]+)"


@dataclass
class Repo:
    """Files by branch, each commit's message, and whether only its owner sees it."""

    private: bool
    branches: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"main": {".gitattributes": b"*\n"}})
    messages: list[str] = field(default_factory=list)


@dataclass
class Hub:
    """What the server holds, and what it was asked.

    Args:
        drop: part of a path; a request for it loses its connection.
        failing: by part of a path, the statuses that its next requests get; 0 is no answer for a second.
    """

    repos: dict[str, Repo] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str, int]] = field(default_factory=list)
    drop: str | None = None
    failing: dict[str, list[int]] = field(default_factory=dict)
    endpoint: str = ""

    def sent(self) -> int:
        """Bytes of files that clients have sent."""
        return sum(size for method, path, size in self.requests if method == "PUT" or "/commit/" in path)


class RefusedError(Exception):
    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _answer(self) -> None:
        path = self.path.partition("?")[0]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b"".join(iter(self._chunk, b""))
        self.hub.requests.append((self.command, path, len(body)))
        if self.hub.drop and self.hub.drop in path:
            self.close_connection = True
            self.connection.close()
            return
        try:
            self._fail(path)
            for method, pattern, action in _ROUTES:
                found = re.fullmatch(pattern, path)
                if found and method == self.command.replace("HEAD", "GET"):
                    status, content, headers = action(self, body, **found.groupdict())
                    break
            else:
                raise RefusedError(404, message=f"no such address: {path}")
        except RefusedError as refused:
            status, headers = refused.status, {"X-Error-Code": refused.code, "X-Error-Message": refused.message}
            content = json.dumps({"error": refused.message}).encode()
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json", "Content-Length": str(len(data))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _fail(self, path: str) -> None:
        for part, statuses in self.hub.failing.items():
            if part in path and statuses:
                status = statuses.pop(0)
                if not status:
                    time.sleep(1)
                raise RefusedError(status or 504, message="The server is busy.")

    do_GET = do_HEAD = do_POST = do_PUT = _answer  # noqa: N815

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline(), 16)
        data = self.rfile.read(size)
        self.rfile.readline()
        return data

    def authorised(self) -> None:
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise RefusedError(401, message="Invalid username or password.")

    def files(self, repo: str, revision: str) -> dict[str, bytes]:
        held = self.hub.repos.get(repo)
        if held is None:
            raise RefusedError(
                404 if self.headers.get("Authorization") else 401, "RepoNotFound", "Repository not found"
            )
        if held.private:
            self.authorised()
        for name, files in held.branches.items():
            if revision in (name, sha_of(files)):
                return files
        raise RefusedError(404, "RevisionNotFound", "Invalid rev id")


Answer = tuple[int, Any, dict[str, str]]


def sha_of(files: dict[str, bytes]) -> str:
    return hashlib.sha1(b"".join(name.encode() + data for name, data in sorted(files.items()))).hexdigest()


def blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def whoami(handler: _Handler, _body: bytes) -> Answer:
    handler.authorised()
    return 200, {"type": "user", "name": OWNER, "orgs": [], "auth": {}}, {}


def create(handler: _Handler, body: bytes) -> Answer:
    handler.authorised()
    wanted = json.loads(body)
    repo = f"{wanted.get('organization') or OWNER}/{wanted['name']}"
    url = {"url": f"{handler.hub.endpoint}/{repo}", "name": repo, "id": "0"}
    if repo in handler.hub.repos:
        return 409, url | {"error": "You already created this model repo"}, {}
    handler.hub.repos[repo] = Repo(bool(wanted.get("private")) or wanted.get("visibility") == "private")
    return 200, url, {}


def branch(handler: _Handler, _body: bytes, repo: str, name: str) -> Answer:
    handler.authorised()
    held = handler.hub.repos[repo]
    if name in held.branches:
        raise RefusedError(409, message="Reference already exists")
    held.branches[name] = dict(held.branches["main"])
    return 200, {}, {}


def info(handler: _Handler, _body: bytes, repo: str, revision: str = "main") -> Answer:
    files = handler.files(repo, revision)
    siblings = [{"rfilename": name} for name in files]
    return 200, {"_id": "0", "id": repo, "modelId": repo, "sha": sha_of(files), "siblings": siblings, "tags": []}, {}


def tree(handler: _Handler, _body: bytes, repo: str, revision: str) -> Answer:
    files = handler.files(repo, revision)
    return 200, [{"type": "file", "path": n, "size": len(d), "oid": blob_id(d)} for n, d in files.items()], {}


def preupload(handler: _Handler, body: bytes, repo: str, revision: str) -> Answer:
    handler.authorised()
    there = handler.files(repo, revision)
    answers = []
    for file in json.loads(body)["files"]:
        mode = "lfs" if file["path"].endswith(_LFS) else "regular"
        answer = {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}
        if file["path"] in there:
            data = there[file["path"]]
            answer["oid"] = hashlib.sha256(data).hexdigest() if mode == "lfs" else blob_id(data)
        answers.append(answer)
    return 200, {"files": answers}, {}


def batch(handler: _Handler, body: bytes, repo: str) -> Answer:
    handler.authorised()
    objects = []
    for wanted in json.loads(body)["objects"]:
        upload = {"upload": {"href": f"{handler.hub.endpoint}/lfs/{wanted['oid']}", "header": {}}}
        objects.append(wanted | ({} if wanted["oid"] in handler.hub.blobs else {"actions": upload}))
    return 200, {"transfer": "basic", "objects": objects}, {}


def put(handler: _Handler, body: bytes, oid: str) -> Answer:
    if hashlib.sha256(body).hexdigest() != oid:
        raise RefusedError(400, message="the content is not what was announced")
    handler.hub.blobs[oid] = body
    return 200, {}, {}


def commit(handler: _Handler, body: bytes, repo: str, revision: str) -> Answer:
    handler.authorised()
    files = handler.files(repo, revision)
    for line in map(json.loads, body.decode().splitlines()):
        value = line["value"]
        match line["key"]:
            case "header":
                handler.hub.repos[repo].messages.append(value["summary"])
            case "file":
                files[value["path"]] = base64.b64decode(value["content"])
            case "lfsFile":
                files[value["path"]] = handler.hub.blobs[value["oid"]]
    sha = sha_of(files)
    return 200, {"commitUrl": f"{handler.hub.endpoint}/{repo}/commit/{sha}", "commitOid": sha}, {}


def resolve(handler: _Handler, _body: bytes, repo: str, revision: str, path: str) -> Answer:
    files = handler.files(repo, revision)
    if path not in files:
        raise RefusedError(404, "EntryNotFound", "Entry not found")
    return 200, files[path], {"ETag": f'"{blob_id(files[path])}"', "X-Repo-Commit": sha_of(files)}


def validate(handler: _Handler, body: bytes) -> Answer:
    """The Hub's check of a card, as far as its documentation tells it: known keys of the right type."""
    _, header, _ = json.loads(body)["content"].split("---\n", 2)
    card = yaml.safe_load(header)
    for key in ("license", "library_name", "pipeline_tag"):
        if not isinstance(card.get(key, ""), str):
            raise RefusedError(400, message=f'"{key}" must be a string')
    for model in card.get("model-index", []):
        for result in model["results"]:
            if not {"task", "dataset", "metrics"} <= set(result) or "type" not in result["dataset"]:
                raise RefusedError(400, message='"model-index[0].results" is not valid')
    return 200, {"errors": [], "warnings": []}, {}


_ROUTES: list[tuple[str, str, Callable[..., Answer]]] = [
    ("GET", "/api/whoami-v2", whoami),
    ("POST", "/api/repos/create", create),
    ("POST", "/api/validate-yaml", validate),
    ("POST", f"/api/models/{_REPO}/branch/(?P<name>[^/]+)", branch),
    ("GET", f"/api/models/{_REPO}", info),
    ("GET", f"/api/models/{_REPO}/revision/(?P<revision>[^/]+)", info),
    ("GET", f"/api/models/{_REPO}/tree/(?P<revision>[^/]+)", tree),
    ("POST", f"/api/models/{_REPO}/preupload/(?P<revision>[^/]+)", preupload),
    ("POST", f"/{_REPO}\\.git/info/lfs/objects/batch", batch),
    ("PUT", "/lfs/(?P<oid>[0-9a-f]{64})", put),
    ("POST", f"/api/models/{_REPO}/commit/(?P<revision>[^/]+)", commit),
    ("GET", f"/{_REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", resolve),
]


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub on a free port of this machine, while the context lasts."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
