"""The real Triton server. If these fail, robots get wrong actions, or one bad client harms the others."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
from tritonclient.utils import InferenceServerException

from components.release import check
from components.release.client import PolicyClient
from components.release.errors import RequestRefused, ServerUnavailable
from components.release.serve import example_request
from components.release.triton_server import TritonServer
from components.store.errors import ConfigurationError

Tensors = dict[str, np.ndarray]
PROTOCOLS = ("http", "grpc")


def url(server: TritonServer, protocol: str) -> str:
    return server.http_url if protocol == "http" else server.grpc_url


@pytest.fixture(params=PROTOCOLS)
def client(request: Any, server: TritonServer, published: Any) -> Any:
    with PolicyClient(url(server, request.param), published.bundle.policy, timeout_s=60) as opened:
        yield opened


def tensors(bundle: Any, session: str, seed: int = 0, **more: np.ndarray) -> Tensors:
    frame, state, _ = next(check.moments(bundle, 1, seed))
    texts = {"instruction": b"press the red button", "session": session.encode()}
    return {"images": frame, "state": state, **{k: np.array([v], object) for k, v in texts.items()}, **more}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_54_actions_equal_to_the_policy_in_process(server: TritonServer, published: Any, protocol: str) -> None:
    bundle = published.bundle
    expected = list(check.in_process(bundle, published.folder, 5, seed=3))
    answers, _ = check.ask(url(server, protocol), bundle, published.version, 5, 3, session=f"happy-{protocol}")
    assert answers[0].shape == (54, 16)
    for answer, wanted in zip(answers, expected, strict=True):
        np.testing.assert_allclose(answer, wanted, atol=1e-4)


def test_sessions_at_the_same_time_keep_their_own_memory(server: TritonServer, published: Any) -> None:
    """Six robots at once over both protocols, each with its own past: every answer is the one it would get alone."""
    bundle, folder = published.bundle, published.folder

    def robot(number: int) -> list[np.ndarray]:
        protocol = PROTOCOLS[number % 2]
        return check.ask(url(server, protocol), bundle, published.version, 4, number % 3, session=f"at-once-{number}")[
            0
        ]

    with ThreadPoolExecutor(6) as pool:
        served = list(pool.map(robot, range(6)))
    alone = [list(check.in_process(bundle, folder, 4, seed)) for seed in range(3)]
    for number, answers in enumerate(served):
        np.testing.assert_allclose(answers, alone[number % 3], atol=1e-4)
    assert not np.allclose(alone[0][-1], alone[1][-1])


def test_the_same_frame_after_another_past_is_another_answer(client: PolicyClient, published: Any) -> None:
    """Memory reaches the actions through the server, not only in process."""
    names = [f"{client.url}-{part}".replace("/", "").replace(":", "-") for part in ("a", "b")]
    for seed, name in enumerate(names):
        client.infer(tensors(published.bundle, name, seed, reset=np.array([True])))
    executed = np.array([30], np.int32)
    now = [client.infer(tensors(published.bundle, name, 9, executed_steps=executed))[0] for name in names]
    assert not np.allclose(*now)


Spoil = Callable[[Tensors], Any]
MALFORMED: dict[str, tuple[Spoil, str]] = {
    "one camera less": (lambda t: t.update(images=t["images"][:1]), "images"),
    "images of another size": (lambda t: t.update(images=np.zeros((2, 32, 24, 3), np.uint8)), "images"),
    "images as floats": (lambda t: t.update(images=t["images"].astype(np.float32)), "images"),
    "images missing": (lambda t: t.pop("images"), "images|inputs"),
    "unknown input": (lambda t: t.update(depth=np.zeros(1, np.float32)), "depth|input"),
    "state too short": (lambda t: t.update(state=t["state"][:3]), "state"),
    "state with NaN": (lambda t: t.update(state=np.full(16, np.nan, np.float32)), r"state\[0\] \(left_joint1\) is nan"),
    "instruction empty": (lambda t: t.update(instruction=np.array([b""], object)), "instruction is empty"),
    "instruction too long": (lambda t: t.update(instruction=np.array([b"x" * 5000], object)), "5000 bytes; at most"),
    "instruction not UTF-8": (lambda t: t.update(instruction=np.array([b"\xc3\x28"], object)), "not UTF-8"),
    "two instructions": (lambda t: t.update(instruction=np.array([b"a", b"b"], object)), "instruction"),
    "session with spaces": (lambda t: t.update(session=np.array([b"my robot"], object)), "session must be"),
    "session missing": (lambda t: t.pop("session"), "session|inputs"),
    "session unknown but moving": (lambda t: t.update(session=np.array([b"lost"], object)), "send reset=true"),
    "steps negative": (lambda t: t.update(executed_steps=np.array([-1], np.int32)), "executed_steps is -1"),
    "steps as int64": (lambda t: t.update(executed_steps=np.array([1], np.int64)), "executed_steps"),
}  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_request_gets_a_clear_error(client: PolicyClient, published: Any, case: str) -> None:
    spoil, message = MALFORMED[case]
    bad = tensors(published.bundle, "malformed", executed_steps=np.array([18], np.int32))
    spoil(bad)
    with pytest.raises(RequestRefused, match=message) as refused:
        client.infer(bad)
    assert "Traceback" not in str(refused.value)
    assert refused.value.exit_code == 1


def test_malformed_requests_harm_nobody_else(server: TritonServer, published: Any) -> None:
    """Good and bad clients at once, the bad ones under the good ones' session names too: good answers stay exact."""
    bundle = published.bundle
    expected = list(check.in_process(bundle, published.folder, 6, seed=1))

    def good(number: int) -> None:
        link = url(server, PROTOCOLS[number % 2])
        answers, _ = check.ask(link, bundle, published.version, 6, 1, session=f"good-{number}")
        np.testing.assert_allclose(answers, expected, atol=1e-4)

    def bad(number: int) -> None:
        refused = 0
        with PolicyClient(url(server, PROTOCOLS[number % 2]), bundle.policy, timeout_s=60) as client:
            for case, (spoil, _) in MALFORMED.items():
                if "session" not in case:
                    request = tensors(bundle, f"good-{number}", executed_steps=np.array([18], np.int32))
                    spoil(request)
                    with pytest.raises(RequestRefused):
                        client.infer(request)
                    refused += 1
        assert refused > 10

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work, n) for n in range(4) for work in (good, bad)]:
            done.result(120)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'{"inputs": 7}', b'{"inputs": [{"name": "images"}]}', b"\x00" * 1000, b"null",
     b'{"inputs":[{"name":"state","datatype":"FP32","shape":[-1],"data":[1]}]}',
     b'{"inputs":[{"name":"state","datatype":"FP32","shape":[999999999999,99999999],"data":[1]}]}',
     b'{"inputs":[{"name":"state","datatype":"FP32","shape":[1000000000],"data":[1]}]}',
     b'{"inputs":[{"name":"state","datatype":"FP32","shape":[16],"data":' + b"[" * 10**5 + b"]" * 10**5 + b"}]}",
     b'{"inputs":' + b"[" * 500 + b"]" * 500 + b"}"],
)  # fmt: skip
def test_garbage_over_http_is_refused_and_the_server_lives(server: TritonServer, published: Any, body: bytes) -> None:
    status, answer = post(server, f"/v2/models/{published.bundle.policy}/infer", body)
    assert 400 <= status < 500
    assert json.loads(answer)["error"]
    with PolicyClient(server.http_url, published.bundle.policy) as client:
        client.infer(tensors(published.bundle, "after-garbage", reset=np.array([True])))


def test_the_example_request_works_as_printed(server: TritonServer, published: Any) -> None:
    body = json.dumps(example_request(published.bundle)).encode()
    status, answer = post(server, f"/v2/models/{published.bundle.policy}/infer", body)
    outputs = {o["name"]: o for o in json.loads(answer)["outputs"]}
    assert status == 200
    assert outputs["actions"]["shape"] == [54, 16]
    assert bytes(outputs["version"]["data"]).decode() == published.version


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_unknown_policy_is_said_to_be_unknown(server: TritonServer, published: Any, protocol: str) -> None:
    request = tensors(published.bundle, "nobody")
    with (
        PolicyClient(url(server, protocol), "no-such-policy", timeout_s=60) as client,
        pytest.raises(RequestRefused, match="no-such-policy"),
    ):
        client.infer(request)


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "grpc://127.0.0.1:9"])
def test_no_server_is_an_engine_that_is_not_there(published: Any, address: str) -> None:
    with (
        PolicyClient(address, "press-test", timeout_s=5) as client,
        pytest.raises(ServerUnavailable, match=r"127\.0\.0\.1:9") as missing,
    ):
        client.infer(tensors(published.bundle, "nobody"))
    assert missing.value.exit_code == 3


def test_an_address_needs_a_scheme() -> None:
    with pytest.raises(ConfigurationError, match="http://host:port or grpc://host:port"):
        PolicyClient("localhost:8000", "press-test")


def test_nobody_can_load_or_unload_models_over_the_network(server: TritonServer, published: Any) -> None:
    policy = published.bundle.policy
    status, _ = post(server, f"/v2/repository/models/{policy}/unload", b"{}")
    assert status >= 400
    with tritonclient.grpc.InferenceServerClient(server.grpc_url.removeprefix("grpc://")) as admin:
        for forbidden in (
            lambda: admin.unload_model(policy),
            lambda: admin.register_system_shared_memory("x", "/x", 16),
            lambda: admin.update_log_settings({"log_file": "/tmp/x"}),
        ):
            with pytest.raises(InferenceServerException, match="UNIMPLEMENTED"):
                forbidden()
    with PolicyClient(server.http_url, policy) as client:
        client.infer(tensors(published.bundle, "still-here", reset=np.array([True])))


@pytest.mark.parametrize("output", ["actions", "version"])
def test_an_answer_asked_for_as_classes_ends_nobody(server: TritonServer, published: Any, output: str) -> None:
    """Triton 2.51 dies when it is asked to classify a text output; over gRPC such a request reaches it."""
    policy, asked = published.bundle.policy, tensors(published.bundle, "classes", reset=np.array([True]))
    with (
        PolicyClient(server.grpc_url, policy, timeout_s=60) as client,
        tritonclient.grpc.InferenceServerClient(server.grpc_url.removeprefix("grpc://")) as raw,
    ):
        inputs = [client._tensor(name, value) for name, value in asked.items()]
        raw.infer(policy, inputs, outputs=[tritonclient.grpc.InferRequestedOutput(output, class_count=3)])
        assert client.infer(asked)[1] == published.version


def test_metrics_count_answers_and_refusals_by_version(server: TritonServer, published: Any) -> None:
    """What Grafana and a roll-out read."""
    before = {o: outcomes(server, published.version, o) for o in ("answered", "refused", "failed")}
    with PolicyClient(server.http_url, published.bundle.policy) as client:
        client.infer(tensors(published.bundle, "counted", reset=np.array([True])))
        with pytest.raises(RequestRefused):
            client.infer(tensors(published.bundle, "counted", state=np.full(16, np.nan, np.float32)))
    after = {o: outcomes(server, published.version, o) for o in before}
    assert {o: after[o] - before[o] for o in before} == {"answered": 1, "refused": 1, "failed": 0}


def test_a_wrong_version_is_noticed(server: TritonServer, published: Any) -> None:
    with pytest.raises(check.ServedDiffers, match="serves version"):
        check.ask(server.http_url, published.bundle, "f" * 16, 1, 0, session="wrong-version")


def post(server: TritonServer, path: str, body: bytes) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(server.host, server.http_port, timeout=60)
    try:
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def outcomes(server: TritonServer, version: str, outcome: str) -> float:
    connection = http.client.HTTPConnection(server.host, server.metrics_port, timeout=10)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    wanted = ("orrery_policy_requests_total{", f'version="{version}"', f'outcome="{outcome}"')
    (line,) = (x for x in text.splitlines() if all(part in x for part in wanted))
    return float(line.rsplit(" ", 1)[1])
