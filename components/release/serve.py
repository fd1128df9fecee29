"""`orrery serve POLICY[@CHANNEL]`: a published policy on this machine, until it is told to stop."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable
from typing import Any

from components.release.errors import ServerUnavailable
from components.release.registry import resolve
from components.release.triton_repository import materialise
from components.release.triton_server import TritonServer
from components.store.api import Store
from components.store.errors import ConfigurationError
from components.store.files import scratch_folder
from data_contracts.base import Contract
from data_contracts.bundle import PolicyBundle


class Serving(Contract):
    """What a caller needs to know; the document of `orrery serve --json`."""

    policy: str
    version: str
    http: str
    grpc: str
    metrics: str
    request: str
    """A file with an example request, as JSON for `curl -d @FILE`."""
    bundle: PolicyBundle


def split_name(name: str) -> tuple[str, str | None]:
    """`POLICY` or `POLICY@CHANNEL`."""
    policy, at, channel = name.partition("@")
    if not policy or (at and not channel):
        raise ConfigurationError(f"{name!r} is not POLICY or POLICY@CHANNEL, e.g. press-button@production")
    return policy, channel or None


def serve(
    store: Store,
    policy: str,
    channel: str | None = None,
    *,
    version: str | None = None,
    host: str = "127.0.0.1",
    port: int | None = None,
    on_ready: Callable[[Serving], None] = lambda serving: print(how_to_call(serving)),
    stop: threading.Event | None = None,
) -> None:
    """Serve until `stop` is set, Ctrl-C or SIGTERM; returns when the server is gone.

    Args:
        store: where the policy was published.
        policy: its name.
        channel: candidate, canary or production; None: the most trusted one that is set.
        version: a version (or its beginning) instead of a channel.
        host: the address to listen on; other machines can call only if it is not the loopback address.
        port: of HTTP; gRPC and metrics get the next two. None: free ones.
        on_ready: called once with what a caller needs.
        stop: for callers that run this in a thread of their own.

    Raises:
        ConfigurationError: no such policy or channel. ServerUnavailable: no server here, or it ended by itself.
    """
    record = resolve(store, policy, channel, version)
    with scratch_folder("serve-") as scratch, _Signals(stop) as signals:
        folder = scratch / record.name
        repository = materialise(store, record, folder)
        bundle = PolicyBundle.model_validate_json((folder / "bundle.json").read_bytes())
        request = scratch / "request.json"
        request.write_text(json.dumps(example_request(bundle)))
        ports = (port, port + 1, port + 2) if port else None
        with TritonServer(repository, host=host, ports=ports, max_body=largest_request(bundle)) as server:
            signals.wait_for_us = True
            on_ready(
                Serving(
                    policy=policy, version=record.version, http=server.http_url, grpc=server.grpc_url,
                    metrics=f"http://{server.host}:{server.metrics_port}/metrics", request=str(request), bundle=bundle,
                )
            )  # fmt: skip
            while not signals.stopped.wait(0.5):
                if not server.running():
                    raise ServerUnavailable(f"the policy server ended by itself: {server.why()}")


def largest_request(bundle: PolicyBundle) -> int:
    """Bytes that a request may have: its images as JSON numbers with blanks, and room for the rest."""
    return 6 * len(bundle.cameras) * bundle.image_height * bundle.image_width * 3 + (1 << 20)


def example_request(bundle: PolicyBundle) -> dict[str, object]:
    """A request in the KServe v2 JSON form: grey frames, the mean state, a new session."""
    shape = [len(bundle.cameras), bundle.image_height, bundle.image_width, 3]
    size = shape[0] * shape[1] * shape[2] * shape[3]
    return {
        "inputs": [
            {"name": "images", "datatype": "UINT8", "shape": shape, "data": [127] * size},
            {
                "name": "state",
                "datatype": "FP32",
                "shape": [bundle.action.width],
                "data": list(bundle.action.state.mean),
            },
            {"name": "instruction", "datatype": "BYTES", "shape": [1], "data": [bundle.instructions[0]]},
            {"name": "session", "datatype": "BYTES", "shape": [1], "data": ["example"]},
            {"name": "reset", "datatype": "BOOL", "shape": [1], "data": [True]},
        ]
    }


def how_to_call(serving: Serving) -> str:
    """For a person: what is served, and two ways to call it."""
    bundle = serving.bundle
    shape = f"({len(bundle.cameras)}, {bundle.image_height}, {bundle.image_width}, 3)"
    return f"""\
{serving.policy} {serving.version} is ready: HTTP {serving.http}, gRPC {serving.grpc}, metrics {serving.metrics}

With curl:
  curl -s {serving.http}/v2/models/{serving.policy}/infer -H 'Content-Type: application/json' -d @{serving.request}

With Python ({", ".join(bundle.cameras)}; state: {", ".join(bundle.action.names)}):
  import numpy as np
  from components.release.client import PolicyClient
  with PolicyClient("{serving.http}", "{serving.policy}") as policy:
      images = np.zeros({shape}, np.uint8)
      state = np.zeros({bundle.action.width}, np.float32)
      actions, version = policy.act(images, state, {bundle.instructions[0]!r}, session="robot-1", reset=True)

Execute {bundle.execute_steps} of the {bundle.action.chunk} actions at {bundle.control_rate_hz:g} Hz,
then ask again with executed_steps={bundle.execute_steps}. Ctrl-C stops the server."""


class _Signals:
    """SIGINT and SIGTERM end the block in order. Only the main thread gets signals.

    While the policy is fetched and loaded they interrupt at once; with `wait_for_us` they only set `stopped`.
    """

    def __init__(self, stop: threading.Event | None) -> None:
        self.stopped, self.wait_for_us = stop or threading.Event(), False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Signals:
        if threading.current_thread() is threading.main_thread():
            self._before = {n: signal.signal(n, self._handle) for n in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        return kind is KeyboardInterrupt and self.stopped.is_set()

    def _handle(self, *_: object) -> None:
        first = not self.stopped.is_set()
        self.stopped.set()
        if first and not self.wait_for_us:
            raise KeyboardInterrupt
