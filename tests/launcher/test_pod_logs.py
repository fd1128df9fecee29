"""What a step hears of its TrainJob's pods, and how it asks, with the real client over HTTP.

The server is a stand-in that answers as the API server does; tests/cluster asks the real one, and its pods. If these
fail, a person sees no progress, no reason of a failure, or a training ends with the token that its step began with.
"""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from components.launcher import client as client_module
from components.launcher import pod_logs
from components.launcher.client import TrainerClient
from components.launcher.pod_logs import RankLog, report
from components.launcher.trainjob import JOBSET_LABEL, RANK_LABEL
from tests.engines.cluster import wait_for

JOB = "ge-base-stage1-run-1-0123456789"


class Api:
    """`pods` by name: rank and lines, each with its time. `events` in the order of their names, two on a page."""

    def __init__(self) -> None:
        self.pods: dict[str, tuple[int, list[str]]] = {}
        self.events: list[tuple[str, str]] = []
        self.tokens: list[str] = []
        self.followed: list[tuple[str, str]] = []
        self.url = ""

    def answer(self, path: str, query: dict[str, str]) -> str:
        if path.endswith("/pods"):
            assert query["labelSelector"] == f"{JOBSET_LABEL}={JOB}"
            return json.dumps({"items": [self._pod(n, name) for n, name in enumerate(self.pods)]})
        if path.endswith("/events"):
            start = int(query.get("continue", 0))
            page = [
                {"involvedObject": {"kind": "Pod", "name": name}, "reason": "Told", "message": text}
                for name, text in self.events[start : start + 2]
            ]
            more = {"continue": str(start + 2)} if start + 2 < len(self.events) else {}
            return json.dumps({"items": page, "metadata": more})
        lines = self.pods[path.split("/")[-2]][1]
        if "tailLines" in query:
            return "".join(line.partition(" ")[2] + "\n" for line in lines[-int(query["tailLines"]) :])
        self.followed.append((path.split("/")[-2], query.get("sinceTime", "")))
        since = query.get("sinceTime", "")[:19]  # kubelet knows whole seconds: it says some lines twice
        return "".join(f"{line}\n" for line in lines if line[:19] >= since)

    def _pod(self, number: int, name: str) -> dict[str, Any]:
        labels = {JOBSET_LABEL: JOB, RANK_LABEL: str(self.pods[name][0])}
        metadata = {"name": name, "labels": labels, "creationTimestamp": f"2030-01-01T00:0{number}:00Z"}
        return {"metadata": metadata, "status": {"phase": "Running"}}


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    api = Api()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            api.tokens.append(self.headers["Authorization"])
            url = urlsplit(self.path)
            text = api.answer(url.path, {name: values[0] for name, values in parse_qs(url.query).items()})
            self.send_response(200)
            if "follow=true" not in url.query:
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())
                return
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for line in text.splitlines():  # and no last chunk: cut off, as by a restart of the API server
                self.wfile.write(f"{len(line) + 1:x}\r\n{line}\n\r\n".encode())
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    become(tmp_path, api, "first")
    yield api
    server.shutdown()
    server.server_close()


def become(folder: Path, api: Api, token: str) -> None:
    document = {
        "clusters": [{"name": "c", "cluster": {"server": api.url}}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "orrery"}}],
        "current-context": "c",
    }
    (folder / "kubeconfig").write_text(yaml.safe_dump(document))


def test_rank_0_is_heard_once_over_restarts(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its progress, in order and each line once, when the stream breaks and when JobSet starts all pods again."""
    monkeypatch.setattr(pod_logs, "_LOOK_SECONDS", 0.01)
    api.pods["node-0-1-a"] = 1, ["2030-01-01T00:00:00.1Z not rank 0"]
    log = RankLog(TrainerClient(), JOB)
    log.start()
    first = ["2030-01-01T00:00:01.1Z step 1", "2030-01-01T00:00:01.2Z [INFO] chatter", "2030-01-01T00:00:01.3Z step 2"]
    api.pods["node-0-0-a"] = 0, first
    wait_for("it is heard twice", lambda: len(api.followed) > 1)
    first.append("2030-01-01T00:00:01.4Z step 3")
    wait_for("it is heard again", lambda: api.followed[-1][1].endswith("01.4Z"))
    api.pods["node-0-0-b"] = 0, ["2030-01-01T00:00:09.5Z going on from step 3", "2030-01-01T00:00:09.6Z step 4"]
    wait_for("the new pod is heard", lambda: api.followed[-1] == ("node-0-0-b", "2030-01-01T00:00:09.6Z"))
    api.pods["node-0-0-b"][1].append("2030-01-01T00:00:10.1Z done")
    log.finish()
    assert capsys.readouterr().out.splitlines() == [
        "step 1",
        "step 2",
        "step 3",
        "going on from step 3",
        "step 4",
        "done",
    ]


def test_a_failure_is_told_with_events_and_the_last_lines_of_each_rank(api: Api) -> None:
    """A worker's own words first; and the job's events are found among those of everybody in the namespace."""
    for rank in (0, 1):
        lines = [f"2030-01-01T00:00:{n:02}Z rank {rank} line {n}" for n in range(30)]
        api.pods[f"node-0-{rank}-a"] = rank, lines
    api.pods["node-0-1-a"][1].append("2030-01-01T00:01:00Z orrery-error: the loss became nan")
    api.events = [("another", f"nothing of ours {n}") for n in range(4)]
    api.events += [(f"{JOB}-node-0-1-a", "0/3 nodes have nvidia.com/gpu"), (f"{JOB}2", "another's")]
    first, *rest = report(TrainerClient(), JOB, "JobFailed").splitlines()
    assert first == "the loss became nan"
    assert rest[:4] == [
        f"TrainJob {JOB} failed: JobFailed", "events:",
        f"Pod {JOB}-node-0-1-a: Told: 0/3 nodes have nvidia.com/gpu", "the last lines of rank 0:",
    ]  # fmt: skip
    assert rest[4:24] == [f"rank 0 line {n}" for n in range(10, 30)]
    assert rest[24] == "the last lines of rank 1:"
    assert len(rest) == 45


def test_a_token_is_read_anew_in_time(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is refused; and a file that is half written when it is looked at is read the next time."""
    client = TrainerClient()
    client.pods(JOB)
    become(tmp_path, api, "second")
    client.pods(JOB)
    monkeypatch.setattr(client_module, "RENEW_SECONDS", 0.0)
    client.pods(JOB)
    (tmp_path / "kubeconfig").write_text("half writ")
    client.pods(JOB)
    become(tmp_path, api, "third")
    client.pods(JOB)
    assert api.tokens == [f"Bearer {token}" for token in ("first", "first", "second", "second", "third")]
