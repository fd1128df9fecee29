"""The door before Triton's HTTP. If these fail, one small request ends the server for every robot."""

from __future__ import annotations

import http.client
import json
import socket
import time
from typing import Any

import pytest

from components.release import http_guard
from components.release.http_guard import Refused, check_inference
from components.release.triton_server import TritonServer


def body(**tensor: Any) -> bytes:
    whole = {"name": "state", "datatype": "FP32", "shape": [2], "data": [0.5, 1]} | tensor
    return json.dumps({"inputs": [{k: v for k, v in whole.items() if v is not None}]}).encode()


@pytest.mark.parametrize(
    "good",
    [
        body(),
        body(shape=[2, 2], data=[[1, 2], [3, 4]]),
        body(shape=[2, 2], data=[1, 2, 3, 4]),
        body(shape=[0], data=[]),
        body(data=None, parameters={"binary_data_size": 8}),
    ],
)
def test_what_the_protocol_allows_passes(good: bytes) -> None:
    check_inference(good, None)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[]", "needs 'inputs'"),
        (b'{"inputs":[{"name":"s","shape":[9],"data":[1]}],' + body()[1:], "two members of the same name"),
        (body().decode().encode("utf-16"), "no JSON"),
        (b'{"inputs": []}', "needs 'inputs'"),
        (b'{"inputs": [3]}', "needs a 'name'"),
        (body(shape=[10**10]), "shape"),
        (body(shape=[10**9, 10**9]), "values, but holds 2"),
        (body(shape=[3]), "is 3 values, but holds 2"),
        (body(shape=[-1]), "non-negative"),
        (body(shape=[True, 2]), "non-negative"),
        (body(shape=[1] * 1000), "non-negative"),
        (body(shape="2"), "non-negative"),
        (body(shape=None), "non-negative"),
        (body(data="xx"), "must be a list"),
        (b'{"inputs":[{"name":"s","shape":[1],"data":' + b"[" * 50 + b"1" + b"]" * 50 + b"}]}", "nested too deeply"),
        (b'{"inputs":' + b"[" * 10**5 + b"]" * 10**5 + b"}", "nested too deeply"),
        (b'{"inputs":[{"name":"s","shape":[1],"data":[1]}],"id":' + b"[" * 50 + b"]" * 50 + b"}", "nested too deeply"),
    ],
)
def test_what_triton_might_not_survive_is_refused(bad: bytes, message: str) -> None:
    with pytest.raises(Refused, match=message) as refused:
        check_inference(bad, None)
    assert refused.value.status == 400


@pytest.mark.parametrize("length", ["-1", "0", "999999", "abc", "1e3", "٣"])
def test_a_header_length_that_lies_is_refused(length: str) -> None:
    with pytest.raises(Refused, match="does not fit"):
        check_inference(body(), length)


def test_binary_tensors_follow_the_header() -> None:
    header = body(data=None, parameters={"binary_data_size": 8})
    check_inference(header + b"\x00" * 8, str(len(header)))


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST /v2/models/press-test/infer HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n\r\n", 411),
        (b"POST /v2/models/press-test/infer HTTP/1.1\r\n\r\n", 411),
        (b"POST /v2/models/press-test/infer HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", 413),
        (b"POST /v2/models/press-test/infer HTTP/1.1\r\nContent-Length: 2\r\nContent-Encoding: gzip\r\n\r\n{}", 415),
        (b"POST /v2/repository/models/press-test/load HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", 404),
        (b"POST /v2/systemsharedmemory/region/x/register HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", 404),
        (b"GET /v2/models/press-test/../../logging HTTP/1.1\r\n\r\n", 404),
        (b"GET /v2/health/ready HTTP/1.1\r\n\r\n", 200),
        (b"GET /v2/models/press-test/config HTTP/1.1\r\n\r\n", 200),
        (b"DELETE /v2 HTTP/1.1\r\n\r\n", 501),
    ],
)
def test_only_inference_and_reading_pass(server: TritonServer, head: bytes, status: int) -> None:
    with socket.create_connection((server.host, server.http_port), timeout=20) as link:
        link.sendall(head)
        assert link.recv(4096).split(b" ", 2)[1] == str(status).encode()


def test_a_client_that_stops_in_the_middle_holds_nobody_up(server: TritonServer) -> None:
    with socket.create_connection((server.host, server.http_port), timeout=20) as link:
        link.sendall(b"POST /v2/models/press-test/infer HTTP/1.1\r\nContent-Length: 500\r\n\r\n{")
        began = time.monotonic()
        connection = http.client.HTTPConnection(server.host, server.http_port, timeout=20)
        connection.request("GET", "/v2/health/ready")
        assert connection.getresponse().status == 200
        assert time.monotonic() - began < 5
        connection.close()


def test_without_triton_the_door_says_so() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    guard = http_guard.HttpGuard("127.0.0.1", port, upstream=9, max_body=1000)
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/v2/health/ready")
        response = connection.getresponse()
        assert response.status == 503
        assert "does not answer" in json.loads(response.read())["error"]
        connection.close()
    finally:
        guard.close()
