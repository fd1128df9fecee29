"""A stand-in for Kubeflow Pipelines' API server: it keeps what the real client sends over HTTP, and runs nothing.

KFP's backend is in no package registry. This shows which requests are sent and that answers of the documented shape
(v2beta1) are understood; it shows nothing of what a real KFP does with them.
"""

from __future__ import annotations

import http.server
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

ROOT = "/apis/v2beta1"
Document = dict[str, Any]


class Recorder:
    """What it was sent, and what it would answer with. `states` are those that a run goes through, one a question.

    With `multi_user` it refuses, as KFP does then, what names no namespace.
    """

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, Document]] = {
            kind: {} for kind in ("pipelines", "versions", "experiments", "runs", "recurringruns")
        }
        self.uploads: list[bytes] = []
        self.states = ["PENDING", "RUNNING", "SUCCEEDED"]
        self.url = ""
        self.multi_user = False

    def add(self, kind: str, id_field: str, body: Document) -> Document:
        body = {**body, id_field: f"{kind}-{len(self.kept[kind]) + 1}", "created_at": "2030-01-01T00:00:00Z"}
        self.kept[kind][body[id_field]] = body
        return body

    def all(self, kind: str) -> list[Document]:
        return list(self.kept[kind].values())

    def answer(self, method: str, path: str, query: Document, data: bytes, content_type: str) -> Document | None:
        """The answer's document, or None for what is not there."""
        body = json.loads(data) if data and "json" in content_type else {}
        if path == "/healthz":
            return {"multi_user": self.multi_user}
        if path == "/pipelines/upload_version":
            self.uploads.append(data)
            named = {"display_name": query["name"][0], "pipeline_id": query["pipelineid"][0]}
            return self.add("versions", "pipeline_version_id", named)
        if re.fullmatch(r"/pipelines/[^/]+/versions", path):
            return {"pipeline_versions": self.all("versions")}
        ids = {"pipelines": "pipeline_id", "experiments": "experiment_id", "runs": "run_id",
               "recurringruns": "recurring_run_id"}  # fmt: skip
        kind, _, rest = path.strip("/").partition("/")
        if kind not in ids:
            return None
        if not rest:
            where = body.get("namespace") or "".join(query.get("namespace", ()))
            if self.multi_user and kind != "runs" and not (where or body.get("experiment_id")):
                return None
            if where and not self.multi_user:
                return None
            name = "recurringRuns" if kind == "recurringruns" else kind
            return self.add(kind, ids[kind], body) if method == "POST" else {name: self.all(kind)}
        found, _, action = rest.partition(":")
        document = self.kept[kind].get(found)
        if document is None:
            return None
        if method == "DELETE":
            del self.kept[kind][found]
        if action in ("enable", "disable"):
            document["status"] = f"{action.upper()}D"
        if kind == "runs" and method == "GET":
            document["state"] = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return document


@contextmanager
def recording() -> Iterator[Recorder]:
    """A server on a port of its own, for as long as the block lasts."""
    recorder = Recorder()

    class Handler(http.server.BaseHTTPRequestHandler):
        def _serve(self) -> None:
            url = urlsplit(self.path)
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = unquote(url.path).removeprefix(ROOT)
            kind = self.headers.get("Content-Type", "")
            found = recorder.answer(self.command, path, parse_qs(url.query), data, kind)
            text = json.dumps({"error_message": "it is not there"} if found is None else found).encode()
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_DELETE = _serve

        def log_message(self, *_: object) -> None:
            """Tests print nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    recorder.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield recorder
    finally:
        server.shutdown()
        server.server_close()
